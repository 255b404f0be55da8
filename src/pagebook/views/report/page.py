"""The whole report: one page of HTML with its style inside, and a policy that lets it fetch nothing and run nothing."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.resources import files

from pagebook import __version__
from pagebook.units import PAGE_SHIFT, size_text
from pagebook.views.report.book import book
from pagebook.views.report.findings import findings, total
from pagebook.views.report.found import MOST_BYTES, Found, Room
from pagebook.views.report.head import head
from pagebook.views.report.markup import MOST_NAME, Html, element, joined, short
from pagebook.views.report.spaces import Progress, Spaces
from pagebook.views.report.walks import title, walks
from pagebook.views.svg.themes import variables
from pagebook.views.text import count_text

POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"


def page(found: Found, progress: Progress) -> Html:
    """The report; ``progress`` is called with how many of its parts are done, of `parts` in all."""
    room = Room()
    memory = room.held(book(found))
    progress(1)
    top = head(found, room)
    listed = Spaces(found, room)
    progress(1)
    walked, told = walks(found, room)
    sections = {"walks": ("Walks", walked)} if found.walks else {}
    progress(1)
    sections["findings"] = ("Findings", findings(found, room, listed.link))
    progress(1)
    sections["memory"] = ("Physical memory", memory)
    sections["spaces"] = ("Address spaces", listed.told(room, progress))
    name = f"{short(found.machine.name, MOST_NAME)}: a report"
    body = element(
        "body",
        element("a", "skip to the findings", href="#findings", class_="skip"),
        element("header", element("h1", name), _glance(found, told), top),
        element("main", *(_section(id, title, part) for id, (title, part) in sections.items())),
        element("footer", element("p", _foot())),
    )
    return joined((Html("<!doctype html>\n"), element("html", _before(name), body, lang="en"), Html("\n")))


def _section(id: str, title: str, part: Html) -> Html:
    heading = f"{id}-heading"
    return element("section", element("h2", title, id=heading), part, id=id, aria_labelledby=heading)


def _before(name: str) -> Html:
    """What a browser must know first."""
    return element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=POLICY),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("meta", name="generator", content=f"pagebook {__version__}"),
        element("title", name),
        element("style", Html(style())),
    )


def style() -> str:
    """The style sheet, with the colours of the figures."""
    text = (files("pagebook.views.report") / "report.css").read_text(encoding="utf-8")
    for theme in ("light", "dark", "print"):
        text = text.replace(f"/* {theme} */", variables(theme))
    return text


def _glance(found: Found, told: int) -> Html:
    """The report in a few words, each of which leads to its part; ``told`` of the walks have one."""
    return element("nav", element("ul", *(element("li", one) for one in _words(found, told))), aria_label="Parts")


def _words(found: Found, told: int) -> Iterator[Html]:
    for number, walk in enumerate(found.walks, 1):
        bad = walk.outcome.rule is not None
        words = f"{title(walk)} {'faults' if bad else 'is allowed'}"
        to = f"#walk-{number}" if number <= told else "#walks"
        yield element("a", words, href=to, class_="bad" if bad else None)
    count = total(found.checked) if found.checked else 0
    said = "nothing checked" if found.checked is None else count_text(count, "finding") if count else "no findings"
    yield element("a", said, href="#findings", class_="bad" if count else None)
    frames = sum(len(holding) for holding in found.ledger.holdings)
    yield element("a", f"{frames:,} frames of memory, {size_text(frames << PAGE_SHIFT)}", href="#memory")
    yield element("a", count_text(len(found.machine.spaces), "address space"), href="#spaces")


def _foot() -> str:
    return (
        f"Made by pagebook {__version__}. This file is whole: it loads nothing and runs nothing. A report is at most "
        f"{size_text(MOST_BYTES)}; what had no room is named where it would stand."
    )
