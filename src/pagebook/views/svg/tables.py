"""One table page: its entries, folded into runs, with their PTEs, their rights and where they lead."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import NamedTuple

from pagebook.errors import BadTarget
from pagebook.machine import Space
from pagebook.sv import FLAG_LETTERS, Format, flags_text
from pagebook.units import size_text
from pagebook.views import facts
from pagebook.views.facts import Node
from pagebook.views.svg.drawing import MARGIN, SIZE, Drawing, text_width
from pagebook.views.svg.fields import SMALL

MOST_ROWS = 40
LAST_ROWS = 12  # of more than the most: so many of the last, and of the first as many as have room
INDEX, PTE = 92, 300  # pixels
FROM = "from address"
HEIGHTS = {"empty": 26, "pointer": 28, "leaf": 28, "problem": 28, "several": 34}
LOOKS = {
    "empty": ("paper", ""), "pointer": ("table", "backslash"), "leaf": ("leaf", "slash"), "problem": ("wrong", "cross"),
    "several": ("panel", "dots"),
}  # fmt: skip
"""The colour and the pattern of each kind of entry."""
PLURALS = {"empty": "empty", "pointer": "pointers", "leaf": "leaves", "problem": "that no walk can use"}


class Run(NamedTuple):
    """Neighbouring entries that are alike, ``length`` of them from ``first``.

    ``kind`` is empty, pointer, leaf or problem, and ``node`` the first where they are not empty; or it is several, for
    runs that have no room, and ``words`` say what they are.
    """

    kind: str
    first: int
    length: int
    node: Node | None = None
    words: str = ""


def page_table(space: Space, table: int | None) -> Drawing:
    """One table page of a space, the root unless ``table`` is another; BadTarget when the space has no such table."""
    fmt = space.table.format
    level, va, at = _find(space, table)
    runs = list(_runs(facts.entries(space, at, level, va), fmt.entries))
    counts = _counts(runs)
    root = " (the root)" if level == fmt.levels - 1 else ""
    title = f"The level-{level} table at {at:#x}{root} of {space.name}"
    sums = ", ".join(f"{counts[kind]} {PLURALS[kind]}" for kind in PLURALS if counts[kind])
    drawing = Drawing(title, f"{title}: {sums}.")
    span = size_text(fmt.page_bytes(level))
    y = drawing.heading(
        f"{fmt.name}: one page of {fmt.entries} entries of {fmt.pte_bytes} bytes, each for {span} of addresses."
    )
    addresses = [text_width(f"{run.node.va:#x}", SMALL) for run in runs if run.node]
    left = MARGIN + max([text_width(FROM, SMALL, "sans"), *addresses]) + 12
    top = y
    y = _head(drawing, left, y)
    for run in _shortened(runs):
        _draw(drawing, fmt, run, level, left, y)
        y += HEIGHTS[run.kind]
    drawing.box(left, top + 24, INDEX + PTE, y - top - 24, "", line="ink", weight=1.5)
    _legend(drawing, counts, fmt.entries, left, y + MARGIN)
    return drawing


def _find(space: Space, table: int | None) -> tuple[int, int, int]:
    """The level of a table, the first address that it translates, and where it is."""
    if table is None or table == space.table.root:
        return space.table.format.levels - 1, 0, space.table.root
    for node in facts.nodes(space, fold=True):
        if node.is_table and not node.problem and node.pa == table:
            return node.level - 1, node.va, table
    raise BadTarget(f"{space.name} has no page table at {table:#x}; those that it has are listed by 'pagebook tree'")


def _runs(nodes: Iterable[Node], entries: int) -> Iterator[Run]:
    """The entries of a table from the first to the last: what is valid, and the empty ones between."""
    following = 0
    for node in nodes:
        if node.index > following:
            yield Run("empty", following, node.index - following)
        kind = "problem" if node.problem else "pointer" if node.is_table else "leaf"
        yield Run(kind, node.index, node.count, node)
        following = node.index + node.count
    if following < entries:
        yield Run("empty", following, entries - following)


def _counts(runs: Iterable[Run]) -> Counter[str]:
    counts: Counter[str] = Counter()
    for run in runs:
        counts[run.kind] += run.length
    return counts


def _shortened(runs: list[Run]) -> list[Run]:
    """At most `MOST_ROWS` runs: pointers side by side become one, and if that is not enough, the middle does."""
    if len(runs) > MOST_ROWS:
        runs = [one for kind, alike in groupby(runs, key=lambda run: run.kind) for one in _together(kind, list(alike))]
    if len(runs) <= MOST_ROWS:
        return runs
    middle = slice(MOST_ROWS - LAST_ROWS - 1, len(runs) - LAST_ROWS)
    return [*runs[: middle.start], _several(runs[middle]), *runs[middle.stop :]]


def _together(kind: str, alike: list[Run]) -> list[Run]:
    """The first and the last of pointers side by side, and one for those between."""
    if kind != "pointer" or len(alike) < 4:
        return alike
    return [alike[0], _several(alike[1:-1]), alike[-1]]


def _several(runs: list[Run]) -> Run:
    counts: Counter[str] = Counter()
    for run in runs:
        counts[run.kind] += run.length
    words = ", ".join(f"{counts[kind]} {PLURALS[kind]}" for kind in PLURALS if counts[kind])
    return Run("several", runs[0].first, sum(counts.values()), None, words)


def _head(drawing: Drawing, left: float, y: float) -> float:
    middle = left + INDEX + PTE / 2
    drawing.text(left + INDEX / 2, y + 14, "index", size=SMALL, ink="faint", anchor="middle", font="sans")
    drawing.text(
        middle, y + 14, f"PTE and its flags, {FLAG_LETTERS}", size=SMALL, ink="faint", anchor="middle", font="sans"
    )
    drawing.text(left - 10, y + 14, FROM, size=SMALL, ink="faint", anchor="end", font="sans")
    drawing.text(left + INDEX + PTE + 46, y + 14, "leads to", size=SMALL, ink="faint", font="sans")
    return y + 24


def _draw(drawing: Drawing, fmt: Format, run: Run, level: int, left: float, y: float) -> None:
    height, (fill, hatch) = HEIGHTS[run.kind], LOOKS[run.kind]
    middle = y + height / 2 + SIZE * 0.36
    index = f"{run.first}" if run.length == 1 else f"{run.first} – {run.first + run.length - 1}"
    drawing.box(left, y, INDEX, height, "panel")
    drawing.text(left + INDEX / 2, middle, index, anchor="middle")
    dash = "4 3" if run.kind == "empty" else ""
    drawing.box(left + INDEX, y, PTE, height, fill, hatch=hatch, dash=dash)
    x = left + INDEX + PTE
    if run.node is None:
        words = run.words or f"empty: V = 0 in {'it' if run.length == 1 else f'all {run.length}'}"
        ink = "faint" if run.kind == "empty" else "ink"
        drawing.text(
            left + INDEX + PTE / 2, middle, words, anchor="middle", font="sans", ink=ink, plate="paper", room=PTE
        )
        return
    node = run.node
    drawing.text(left - 10, middle, f"{node.va:#x}", size=SMALL, ink="faint", anchor="end")
    pte = f"{node.pte:#x}  {flags_text(node.pte)}"
    drawing.text(left + INDEX + PTE / 2, middle, pte, anchor="middle", plate="paper", room=PTE - 8)
    bad = run.kind == "problem"
    drawing.arrow(
        [(x + 2, y + height / 2), (x + 40, y + height / 2)], "bad" if bad else "accent", dash="4 3" if bad else ""
    )
    drawing.text(x + 46, middle, _leads(fmt, node, level), ink="bad" if bad else "ink", font="sans")


def _leads(fmt: Format, node: Node, level: int) -> str:
    """Where an entry leads, in words."""
    if node.problem:
        return f"{node.pa:#x}: {node.problem}"
    if node.is_table:
        return f"the level-{level - 1} table at {node.pa:#x}"
    size = node.count * fmt.page_bytes(level)
    what = "a page" if node.count == 1 else f"{node.count} pages side by side"
    return f"{what} from {node.pa:#x}, {size_text(size)}, {flags_text(node.pte, 'rwxu')}"


def _legend(drawing: Drawing, counts: Counter[str], entries: int, left: float, y: float) -> None:
    x = left
    for kind in ("pointer", "leaf", "problem", "empty"):
        if counts[kind]:
            fill, hatch = LOOKS[kind]
            drawing.box(x, y, 28, 18, fill, hatch=hatch, dash="4 3" if kind == "empty" else "")
            plural = PLURALS[kind] if counts[kind] != 1 or kind == "problem" else kind
            x += 36 + drawing.text(x + 36, y + 14, f"{counts[kind]} {plural}", font="sans") + 24
    drawing.text(x, y + 14, f"= {entries} entries", font="sans", bold=True)
