"""Write again the outlines of reports that the tests hold reports against: their words, without figures and style.

    python -m tools.make_reports            write what is stale
    python -m tools.make_reports --check    name what is stale, write nothing, and exit 1 if there is any

What changes from one computer and day to the next is left out.  Everything runs in this process.
"""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Iterator
from html.parser import HTMLParser

from tools import kept
from tools.kept import ROOT, Stale

FOLDER = ROOT / "tests" / "reports"
HELD = {
    "model": "--walk sh:0x2ff8 --walk sh:0x1ffe --access store --size 4 -o -",
    "rules": "rules --walk reserved-bits:0x401000 --walk 0x1000000000000000 -o -",
}
"""What follows ``pagebook report``, by the name of the outline."""

BLOCKS = frozenset(
    ("h1", "h2", "h3", "h4", "p", "li", "dt", "dd", "div", "tr", "summary", "caption", "pre", "figure", "title")
)
MARKS = {"h1": "# ", "h2": "## ", "h3": "### ", "h4": "#### ", "li": "- ", "summary": "> ", "dd": "  "}
CHANGING = re.compile(r"(?<=pagebook )\d+\.\d+\.\d+|(?<=Python )\d\S*|\d{4}-\d\d-\d\d \d\d:\d\d:\d\d [+-]\d{4}")


class Outline(HTMLParser):
    """The lines of a report; of a figure its title and its description."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []
        self._line, self._mark = "", ""
        self._inside: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """A block starts a line."""
        self._inside.append(tag)
        if tag in BLOCKS or tag == "desc":
            self._end()
            self._mark = MARKS.get(tag, "")
        elif tag in ("th", "td") and self._line:
            self._line += " | "

    def handle_endtag(self, tag: str) -> None:
        """And ends it."""
        if tag in BLOCKS or tag == "desc":
            self._end()
        while self._inside and self._inside.pop() != tag:
            pass

    def handle_data(self, data: str) -> None:
        """Words, but for those inside a figure."""
        if "style" in self._inside or ("svg" in self._inside and self._inside[-1] not in ("title", "desc")):
            return
        self._line += data if "pre" in self._inside else re.sub(r"\s+", " ", data)

    def _end(self) -> None:
        for line in self._line.rstrip().splitlines():
            self.lines.append(f"{self._mark}{line.rstrip()}".rstrip())
        self._line, self._mark = "", ""


def outline(html: str) -> str:
    """The words of a report, a block a line."""
    parser = Outline()
    parser.feed(html)
    parser.close()
    return CHANGING.sub("…", "\n".join(line for line in parser.lines if line.strip())) + "\n"


def report(words: str) -> str:
    """What ``pagebook report`` prints."""
    return kept.printed("report", *shlex.split(words))


def stale() -> Iterator[Stale]:
    """Every outline that is another now."""
    return kept.differing((FOLDER / f"{name}.txt", outline(report(words))) for name, words in HELD.items())


if __name__ == "__main__":
    sys.exit(kept.main(__doc__, stale(), sys.argv[1:]))
