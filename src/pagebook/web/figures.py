"""The figures of the page: what a view shows, drawn by the same code as 'pagebook draw' draws it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from pagebook.views import facts, frames
from pagebook.web.accesses import explained
from pagebook.web.answers import space_of
from pagebook.web.looks import Look, Seen
from pagebook.web.query import Json, Query

if TYPE_CHECKING:
    from pagebook.views.svg.drawing import Drawing

THEMES = {name: name for name in ("light", "dark", "print")}


def figure(seen: Seen, query: Query) -> Json:
    """The figure ``of`` something, in a theme: its SVG, and its words for those who do not see it."""
    look = seen.now()
    drawn: Drawing = query.one_of("of", FIGURES, "")(seen, look, query)
    theme = query.one_of("theme", THEMES, "light")
    return {
        "generation": look.generation,
        "title": drawn.title,
        "description": drawn.description,
        "svg": drawn.svg(theme),
    }


def _memory(seen: Seen, look: Look, query: Query) -> Drawing:
    from pagebook.views.svg import book

    return book.memory(look.ledger)


def _page(seen: Seen, look: Look, query: Query) -> Drawing:
    from pagebook.views.svg import page

    pa = query.address("pa")
    return page.page(frames.owners(look.ledger, (pa, pa + 1)))


def _layout(seen: Seen, look: Look, query: Query) -> Drawing:
    from pagebook.views.svg import layout

    return layout.layout(look.machine, space_of(seen, look, query))


def _page_table(seen: Seen, look: Look, query: Query) -> Drawing:
    from pagebook.views.svg import tables

    return tables.page_table(space_of(seen, look, query), query.address("table"))


def _directories(seen: Seen, look: Look, query: Query) -> Drawing:
    from pagebook.views.svg import directories

    return directories.directories(facts.walk(space_of(seen, look, query), query.address("va")))


def _walk(seen: Seen, look: Look, query: Query) -> Drawing:
    from pagebook.views.svg import steps

    return steps.walk(explained(seen, look, query))


FIGURES: dict[str, Callable[[Seen, Look, Query], Drawing]] = {
    "memory": _memory,
    "page": _page,
    "layout": _layout,
    "page-table": _page_table,
    "directories": _directories,
    "walk": _walk,
}
"""What draws the figures by their names, which are those of the verb."""
