"""The page of a rule as HTML: it comes with the package, as Markdown."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING

from pagebook.checks.registry import page
from pagebook.views.report.markup import Html

if TYPE_CHECKING:
    from markdown_it.token import Token

BELOW = 2  # levels by which a heading of the page is lower in a report


def story(id: str, told: Collection[str]) -> Html:
    """What the page of a rule says below its summary; links lead to rules that are ``told`` in the same report."""
    from markdown_it import MarkdownIt

    reader = MarkdownIt("commonmark", {"html": False})
    text = page(id)
    tokens = reader.parse(text[text.index("\n## ") :])
    for token in tokens:
        if token.type in ("heading_open", "heading_close"):
            token.tag = f"h{int(token.tag[1]) + BELOW}"
        if token.children:
            token.children = list(_linked(token.children, told))
    return Html(reader.renderer.render(tokens, reader.options, {}))


def _linked(tokens: list[Token], told: Collection[str]) -> Iterator[Token]:
    """The parts of a paragraph with links to the pages of rules as links in the report, or as words alone."""
    inside = False
    for token in tokens:
        if token.type == "link_open":
            rule = str(token.attrs["href"]).removesuffix(".md")
            inside = rule in told
            token.attrs["href"] = f"#{rule}"
        if inside or token.type not in ("link_open", "link_close"):
            yield token
