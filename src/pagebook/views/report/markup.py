"""Elements of HTML out of plain text.

Text becomes markup only here, and is escaped on the way, so that nothing that stands in a guest's memory can be more
than text.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

from pagebook.views.svg.drawing import Drawing

PIXELS = 16  # of a figure, in the size of the page's letters
MOST_NAME = 80  # characters of a name from the machine's memory
MOST_SENTENCE = 1000  # characters of what is said with such names
VOID = frozenset({"meta"})


class Html(str):
    """Markup.  Any other text is escaped where it becomes a part of an element."""

    __slots__ = ()


def plain(text: str) -> str:
    """``text`` with what has no shape of its own written out: what controls a terminal, turns or joins letters."""
    return "".join(char if char.isprintable() else f"\\u{ord(char):04x}" for char in text)


def short(text: str, most: int = MOST_SENTENCE) -> str:
    """``text``, or its start where it is longer than anybody reads."""
    return text if len(text) <= most else text[: most - 1] + "…"


def joined(parts: Iterable[str]) -> Html:
    """Texts and markup, one after the other."""
    return Html("".join(part if isinstance(part, Html) else escape(plain(part), quote=False) for part in parts))


def element(tag: str, *content: str, **attributes: str | int | bool | None) -> Html:
    """An element around ``content``; attributes may end with an underscore, and those that are None or False go."""
    words = [tag]
    for name, value in attributes.items():
        name = name.rstrip("_").replace("_", "-")
        if value is True:
            words.append(name)
        elif value is not None and value is not False:
            words.append(f'{name}="{escape(plain(str(value)))}"')
    start = f"<{' '.join(words)}>"
    return Html(start if tag in VOID else f"{start}{joined(content)}</{tag}>")


def code(text: str) -> Html:
    """A name, an address or a command, which is not for translation and is never mixed with its surroundings."""
    return element("code", short(text, MOST_SENTENCE))


def facts(rows: Iterable[tuple[str, str]], class_: str = "facts") -> Html:
    """Names and what they are, as a list of descriptions."""
    return element("dl", *(joined((element("dt", name), element("dd", words))) for name, words in rows), class_=class_)


def table(heads: Sequence[str], rows: Iterable[Html], caption: str, foot: Html | None = None) -> Html:
    """A table of ``rows`` that scrolls by itself where the page is narrow."""
    top = element("thead", element("tr", *(element("th", head, scope="col") for head in heads)))
    bottom = element("tfoot", foot) if foot is not None else Html("")
    whole = element("table", element("caption", caption), top, element("tbody", *rows), bottom)
    return element("div", whole, class_="scroll", tabindex=0, role="group", aria_label=caption)


def row(*cells: str, head: bool = True, **attributes: str | None) -> Html:
    """A row of a table; the first cell names it."""
    first = element("th", cells[0], scope="row") if head else element("td", cells[0])
    return element("tr", first, *(element("td", cell) for cell in cells[1:]), **attributes)


def folded(summary: str, *content: str, class_: str = "", open_: bool = False, id_: str | None = None) -> Html:
    """What is shown when its ``summary`` is chosen."""
    return element("details", element("summary", summary), *content, class_=class_ or None, open=open_, id=id_)


def figure(drawing: Drawing, name: str) -> Html:
    """A figure, whose ids start with ``name``; it grows with the page's letters, and scrolls where it has no room."""
    wide = f"--wide: {drawing.width / PIXELS:.1f}rem"
    return element("figure", Html(drawing.inline(name)), tabindex=0, aria_label=short(drawing.title), style=wide)
