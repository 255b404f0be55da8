"""The walk of one address from table to table: the real indices, PTEs and arrows, for any number of levels.

Each table stands with entry 0 at its bottom, and the entry that the address chooses at its true height.  A walk that
ends early shows where, and what it did not reach.
"""

from __future__ import annotations

from typing import NamedTuple

from pagebook.sv import FLAG_LETTERS, Format, flags_text
from pagebook.table import Entry
from pagebook.units import PAGE_SHIFT, size_text
from pagebook.views.facts import Walk, leaf
from pagebook.views.svg.drawing import MARGIN, SIZE, Drawing, text_width
from pagebook.views.svg.fields import SMALL, Part, bottom_of, strip, va_parts

COLUMN, GAP = 178, 62
HEIGHT = 330
CHOSEN = 46  # height of the entry that is chosen
LANE = 13  # between the lines that lead from the address to the tables
ROOT = 118  # for satp, left of the first table


class Column(NamedTuple):
    """A table of the walk, or the page at its end, or what was not reached; ``y`` is the middle of what is chosen."""

    x: float
    y: float


def directories(found: Walk) -> Drawing:
    """What `facts.walk` found."""
    space, fmt = found.space, found.space.table.format
    title = f"The walk of {found.va:#x} in {space.name}"
    drawing = Drawing(title, f"{title}, by {fmt.name}: {found.verdict}.")
    top = drawing.heading(f"{fmt.name}, {fmt.levels} levels; the root is at {space.table.root:#x}")
    last = found.entries[-1]
    shift = PAGE_SHIFT + last.level * fmt.index_bits if found.pa is not None else PAGE_SHIFT
    size = 1 << shift if found.pa is None else leaf(fmt, last.pte, last.level)[1]  # 64 KiB from sixteen PTEs
    parts = _parts(found.va, fmt, shift)
    places = strip(drawing, MARGIN + ROOT, top, parts)
    sources = [((left + right) / 2, bottom) for left, right, bottom in places]
    sources = sources[len(sources) - 1 - (fmt.levels - (shift - PAGE_SHIFT) // fmt.index_bits) :]
    count = len(sources)
    head = bottom_of(places) + 12 + LANE * count + 40
    columns = [
        Column(MARGIN + ROOT + n * (COLUMN + GAP), _height(found.va, fmt, n, count, size, head)) for n in range(count)
    ]
    _root(drawing, found, head)
    for number, column in enumerate(columns[:-1]):
        entry = found.entries[number] if number < len(found.entries) else None
        _table(drawing, found, column, head, fmt.levels - 1 - number, entry)
        if number < len(found.entries) - 1 or (found.pa is not None and entry is last):
            _pointer(drawing, column, columns[number + 1], head)
    _page(drawing, found, columns[-1], head, size)
    _lanes(drawing, sources, columns, bottom_of(places) + 12, len(found.entries) if found.pa is None else count)
    _verdict(drawing, found, head + HEIGHT + 2 * MARGIN)
    return drawing


def _parts(va: int, fmt: Format, shift: int) -> list[Part]:
    """The parts of an address, where a superpage takes the lower indices as part of its offset."""
    parts = va_parts(va, fmt)
    if shift == PAGE_SHIFT:
        return parts
    offset = va & (1 << shift) - 1
    above = [part for part in parts if part.low >= shift]
    return [*above, Part(f"offset in {size_text(1 << shift)}", shift - 1, 0, offset, f"{offset:#x}", "mark")]


def _height(va: int, fmt: Format, number: int, count: int, size: int, head: float) -> float:
    """How far down the entry stands that the address chooses, or the byte in the page."""
    level = fmt.levels - 1 - number
    share = (va & size - 1) / size if number == count - 1 else fmt.index(va, level) / fmt.entries
    return head + HEIGHT - CHOSEN / 2 - share * (HEIGHT - CHOSEN)


def _root(drawing: Drawing, found: Walk, head: float) -> None:
    y = head + HEIGHT
    drawing.text(MARGIN, y - 30, "satp", bold=True)
    drawing.text(MARGIN, y - 12, f"{found.space.table.root:#x}", size=SMALL)
    drawing.arrow([(MARGIN, y - 4), (MARGIN + ROOT, y - 4)])


def _table(drawing: Drawing, found: Walk, column: Column, head: float, level: int, entry: Entry | None) -> None:
    """A table and the entry that is read; dashed and empty where the walk did not come."""
    x, fmt = column.x, found.space.table.format
    index = fmt.index(found.va, level)
    ghost = entry is None
    drawing.text(x, head - 24, f"level {level}", bold=True, ink="faint" if ghost else "ink", font="sans")
    if entry is None:
        drawing.text(x, head - 8, "not reached", size=SMALL, ink="faint", font="sans")
        drawing.box(x, head, COLUMN, HEIGHT, "", line="ghost", dash="5 4")
        return
    at = entry.pte_pa - index * fmt.pte_bytes
    drawing.text(x, head - 8, f"table at {at:#x}", size=SMALL, room=COLUMN)
    drawing.box(x, head, COLUMN, HEIGHT, "panel")
    _ends(drawing, x, head, column.y, f"{fmt.entries - 1}", "0")
    bad = found.pa is None and entry is found.entries[-1]
    fill = "wrong" if bad else "table" if entry.kind == "table" else "leaf"
    edge, top = ("bad", 2.5) if bad else ("ink", 1.5), column.y - CHOSEN / 2
    drawing.box(x, top, COLUMN, CHOSEN, fill, line=edge[0], weight=edge[1])
    drawing.text(x + 6, top + 18, f"[{index}]", bold=True)
    drawing.text(x + COLUMN - 6, top + 18, f"{entry.pte:#x}", size=_size(f"{entry.pte:#x}", 112), anchor="end")
    drawing.text(
        x + COLUMN - 6, top + 37, flags_text(entry.pte, FLAG_LETTERS), anchor="end", ink="bad" if bad else "ink"
    )
    drawing.text(
        x + 6, top + 37, {"absent": "V = 0", "table": "pointer", "mapped": "leaf"}[entry.kind], size=SMALL, font="sans"
    )


def _size(text: str, room: float) -> float:
    """The size in which a text has room."""
    return min(SIZE, SIZE * room / text_width(text))


def _ends(drawing: Drawing, x: float, head: float, y: float, highest: str, lowest: str) -> None:
    """The numbers of the last and the first entry, and dots for those between, where the chosen one leaves room."""
    above, below = y - CHOSEN / 2 - head, head + HEIGHT - y - CHOSEN / 2
    if above > 20:
        drawing.text(x + 6, head + 15, highest, size=SMALL, ink="faint")
    if below > 20:
        drawing.text(x + 6, head + HEIGHT - 6, lowest, size=SMALL, ink="faint")
    for room, middle in ((above, head + above / 2), (below, head + HEIGHT - below / 2)):
        if room > 64:
            for step in (-8, 0, 8):
                drawing.box(x + COLUMN / 2 - 1.5, middle + step - 1.5, 3, 3, "faint", line="", round=1.5)


def _page(drawing: Drawing, found: Walk, column: Column, head: float, size: int) -> None:
    x = column.x
    if found.pa is None:
        drawing.text(x, head - 24, "page", bold=True, ink="faint", font="sans")
        drawing.text(x, head - 8, "not reached", size=SMALL, ink="faint", font="sans")
        drawing.box(x, head, COLUMN, HEIGHT, "", line="ghost", dash="5 4")
        return
    page = found.pa & -size
    drawing.text(x, head - 24, f"page of {size_text(size)}", bold=True, font="sans")
    drawing.text(x, head - 8, f"at {page:#x}", size=SMALL)
    drawing.box(x, head, COLUMN, HEIGHT, "leaf", hatch="slash")
    _ends(drawing, x, head, column.y, "", "")
    top = column.y - CHOSEN / 2
    drawing.box(x, top, COLUMN, CHOSEN, "mark", line="ink", weight=1.5)
    drawing.text(x + COLUMN / 2, top + 18, f"byte {found.pa - page:#x}", anchor="middle", bold=True)
    drawing.text(
        x + COLUMN / 2, top + 37, f"= {found.pa:#x}", anchor="middle", size=_size(f"= {found.pa:#x}", COLUMN - 12)
    )


def _pointer(drawing: Drawing, column: Column, following: Column, head: float) -> None:
    """From a PTE to the start of what it points to."""
    x, base = column.x + COLUMN, head + HEIGHT - 4
    drawing.arrow([(x, column.y), (x + 20, column.y), (x + 20, base), (following.x, base)])


def _lanes(drawing: Drawing, sources: list[tuple[float, float]], columns: list[Column], y: float, used: int) -> None:
    """From each part of the address to what it chooses, on lanes whose order keeps them from crossing."""
    targets = [column.x - 16 for column in columns]
    leftward = [n for n, (x, _) in enumerate(sources) if targets[n] <= x]
    rightward = [n for n in range(len(sources)) if n not in leftward]
    for lane, number in enumerate([*leftward, *reversed(rightward)]):
        if number >= used:
            continue
        (x, start), to, column = sources[number], targets[number], columns[number]
        at = y + LANE * lane
        drawing.arrow([(x, start + 4), (x, at), (to, at), (to, column.y), (column.x, column.y)], "ink", weight=1.2)


def _verdict(drawing: Drawing, found: Walk, y: float) -> None:
    bad = found.pa is None
    drawing.paragraph(MARGIN + ROOT, y, found.verdict, 800, ink="bad" if bad else "ink")
