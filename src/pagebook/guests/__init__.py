"""A Machine out of bytes: what each room here knows is one kind of guest."""
