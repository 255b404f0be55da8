"""A Machine out of a Source: what runs there decides how its tables, processes and free frames are found."""
