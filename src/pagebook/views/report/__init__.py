"""A machine as one page of HTML that needs nothing beside itself: no script, no file, no network.

`page` puts it together; `head`, `walks`, `findings`, `book` and `spaces` are its parts, `markup` writes elements, and
`found` says what there is to tell and how much room it has.
"""
