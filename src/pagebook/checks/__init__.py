"""A linter for page tables: one rule, one small function, one id, one page of documentation.

The rules read an `Evidence`, built once from a Machine.  They trust nothing of what they read, and count
for themselves.
"""
