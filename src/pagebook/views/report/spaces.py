"""The address spaces in a report: a table of all, then each with its figure and its runs while there is room."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator
from itertools import islice

import numpy as np

from pagebook.errors import PagebookError
from pagebook.ledger import NOBODY, Ledger
from pagebook.scan import Scan, merge
from pagebook.sv import flags_text
from pagebook.units import size_text
from pagebook.views.facts import Filter, Listing, Run, listing
from pagebook.views.report.found import Found, Room
from pagebook.views.report.markup import MOST_NAME, Html, code, element, figure, folded, joined, row, short, table
from pagebook.views.svg.layout import layout
from pagebook.views.text import RIGHTS, count_text

MOST_ROWS = 1000  # of the table of all spaces
MOST_RUNS = 400  # of one space
MOST_PROBLEMS = 50
FEW = 6  # spaces that are shown unfolded
FEW_RUNS = 24  # and runs of them
HEADS = ("name", "pid", "state", "size", "format", "root", "pages mapped", "runs", "own frames", "findings")

Progress = Callable[[int], None]


class Spaces:
    """The address spaces of a machine as a report tells of them; what their table needs is taken from ``room``."""

    def __init__(self, found: Found, room: Room) -> None:
        self._found = found
        self._wrong = Counter(one.space for one in found.checked.findings) if found.checked else Counter()
        self._rows = list(islice(_cells(found, self._wrong), MOST_ROWS))
        longest = self._table(range(len(self._rows)))
        self._rows = self._rows[: len(list(room.first(longest, MOST_ROWS)))]
        self._numbers = {space.name: at for at, space in enumerate(found.machine.spaces[: len(self._rows)])}

    def link(self, name: str) -> str | None:
        """Where the report tells of the space of that name."""
        return f"#space-{self._numbers[name]}" if name in self._numbers else None

    def told(self, room: Room, progress: Progress) -> Html:
        """The table, and the spaces that have room: first those that a finding or a walk is about."""
        every = self._found.machine.spaces
        if not every:
            return element("p", "No address space was found.", class_="left-out")
        parts: dict[int, Html] = {}
        for number in self._order():
            part = self._space(number)
            progress(1)
            if not room.takes(part):
                break
            parts[number] = part
        listed = table(HEADS, self._table(parts), "Every address space")
        return joined((listed, *self._left_out(len(parts)), *(parts[number] for number in sorted(parts))))

    def _left_out(self, parts: int) -> Iterator[Html]:
        """What has no room, in words."""
        every = len(self._found.machine.spaces)
        for number, what in ((every - len(self._rows), "are not in this table"),
                             (len(self._rows) - parts, "have no room for their figure and their runs")):  # fmt: skip
            if number:
                words = f"{number:,} of the {every:,} address spaces {what}; 'pagebook maps' lists them."
                yield element("p", words, class_="left-out")

    def _order(self) -> list[int]:
        """The spaces of the table, those that the rest of the report is about before the others."""
        about = set(self._wrong) | {walk.space.name for walk in self._found.walks}
        return sorted(range(len(self._rows)), key=lambda at: self._found.machine.spaces[at].name not in about)

    def _table(self, told: Collection[int]) -> Iterator[Html]:
        """The rows; a name leads to its space where that is told."""
        for number, (name, *cells) in enumerate(self._rows):
            if number in told:
                yield row(element("a", name, href=f"#space-{number}"), *cells)
            else:
                yield row(name, *cells, id=f"space-{number}")

    def _space(self, number: int) -> Html:
        """One space."""
        found = self._found
        space = found.machine.spaces[number]
        fmt, root = space.table.format, space.table.root
        few = len(found.machine.spaces) <= FEW
        said = f"{fmt.name}, root {root:#x}"
        if space.pid is not None:
            said = f"pid {space.pid}, {space.size or 0:#x} bytes, {said}"
        heading = joined((element("h3", short(space.name, MOST_NAME)), element("span", f" {said}")))
        try:
            listed = listing(space, Filter())
            parts = [figure(layout(found.machine, space), f"space-{number}-layout"), _runs(listed, few)]
        except PagebookError as error:  # a hostile space does not hide the others
            return folded(heading, element("p", short(str(error)), class_="bad"), class_="space", id_=f"space-{number}")
        if len(listed.problem_rows):
            parts.append(_problems(listed))
        return folded(heading, *parts, class_="space", open_=few, id_=f"space-{number}")


def _cells(found: Found, wrong: Counter[str | None]) -> Iterator[tuple[str, ...]]:
    """What the table says of each space."""
    own = _own(found.ledger)
    for number, (space, scanned) in enumerate(zip(found.machine.spaces, found.ledger.scans, strict=True)):
        yield (
            short(space.name, MOST_NAME),
            "" if space.pid is None else str(space.pid),
            short(space.state or "", MOST_NAME),
            "" if space.size is None else f"{space.size:#x}",
            space.table.format.name,
            f"{space.table.root:#x}",
            *_mapped(scanned),
            f"{own[number]:,}",
            f"{wrong[space.name]:,}" if wrong[space.name] else "",
        )


def _own(ledger: Ledger) -> list[int]:
    """How many frames belong to each space: its pages and its tables."""
    count = len(ledger.machine.spaces)
    own = np.zeros(count, dtype=np.int64)
    for holding in ledger.holdings:
        own += np.bincount(holding.owner[holding.owner != NOBODY], minlength=count)
    return [int(number) for number in own]


def _mapped(scanned: Scan | None) -> tuple[str, str]:
    """How many pages and runs a space has."""
    return ("too many", "") if scanned is None else (f"{len(scanned.mappings):,}", f"{len(merge(scanned.mappings)):,}")


def _runs(listed: Listing, few: bool) -> Html:
    """The runs, folded where they are many."""
    count = len(listed.run_rows)
    rows = [_run(run) for run in islice(listed.runs(), MOST_RUNS)]
    caption = f"What {short(listed.space.name, MOST_NAME)} maps: {count_text(count, 'run')}"
    heads = ("virtual addresses", "physical", "size", "rights", "what is there")
    more = ""
    if count > MOST_RUNS:
        more = element("p", f"and {count - MOST_RUNS:,} more runs; 'pagebook maps' lists them", class_="left-out")
    return folded(count_text(count, "run"), table(heads, rows, caption), more, open_=few and count <= FEW_RUNS)


def _run(run: Run) -> Html:
    size = size_text(run.size) + (f", level {run.level}" if run.level else "")
    return row(
        code(f"{run.va:#x}-{run.va + run.size:#x}"), code(f"{run.pa:#x}"), size, code(flags_text(run.flags, RIGHTS)),
        short(run.name, MOST_NAME),
    )  # fmt: skip


def _problems(listed: Listing) -> Html:
    """The PTEs that no walk can use."""
    count = len(listed.problem_rows)
    rows = [
        row(code(f"{one.va:#x}"), code(f"{one.pte:#x}"), code(f"{one.pte_pa:#x}"), str(one.level), one.kind)
        for one in islice(listed.problems(), MOST_PROBLEMS)
    ]
    more = element("p", f"and {count - MOST_PROBLEMS:,} more", class_="left-out") if count > MOST_PROBLEMS else ""
    caption = f"{count_text(count, 'PTE')} that no walk can use"
    return joined((table(("virtual address", "PTE", "at", "level", "what is wrong"), rows, caption), more))
