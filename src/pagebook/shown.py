"""How things show themselves: in a notebook, and not here; and the names in their plain forms.

A class of any room says ``_repr_html_ = in_notebook``.  What that looks like is the business of `views.notebook`, high
above; it is loaded when a notebook first asks, so that whoever never asks pays nothing.
"""

from __future__ import annotations

MOST_LETTERS = 60


def plain(name: str, most: int = MOST_LETTERS) -> str:
    """Text from memory for a ``__repr__``: what cannot be printed is written out, and what is too long is cut."""
    kept = name if len(name) <= most else name[: most - 1] + "…"
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in kept)


def in_notebook(self: object) -> str:
    """The object as HTML, for Jupyter and all that ask as it does; text from memory is escaped, the size is bounded."""
    from pagebook.views.notebook import html  # the one import upwards; the contract of the rooms names it

    return html(self)
