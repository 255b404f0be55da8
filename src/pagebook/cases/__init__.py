"""Accesses by the million: written down by people and programs, read, answered, and written out again."""
