"""How things show themselves in a notebook: not here.

A class of any room says ``_repr_html_ = in_notebook``.  What that looks like is the business of `views.notebook`, high
above; it is loaded when a notebook first asks, so that whoever never asks pays nothing.
"""

from __future__ import annotations


def in_notebook(self: object) -> str:
    """The object as HTML, for Jupyter and all that ask as it does; text from memory is escaped, the size is bounded."""
    from pagebook.views.notebook import html  # the one import upwards; the contract of the rooms names it

    return html(self)
