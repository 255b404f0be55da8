"""An address space beside physical memory, as textbooks draw it: regions, rights, guard pages, gaps, and links.

High addresses are at the top.  Heights grow with the logarithm of what they stand for; gaps are all of one height.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from math import log2
from typing import NamedTuple

from pagebook.machine import Machine, Names, Space
from pagebook.sv import U, flags_text
from pagebook.units import PAGE_SHIFT, size_text
from pagebook.views.facts import Filter, listing
from pagebook.views.svg.drawing import MARGIN, SIZE, Drawing, text_width
from pagebook.views.svg.fields import SMALL
from pagebook.views.svg.regions import Mapped, Segment, regions, segments
from pagebook.views.text import count_text

WIDTH, BETWEEN = 390, 190
LEAST, PER_DOUBLING, MOST_HEIGHT, GAP = 38, 2.5, 84, 34
MOST_RAM = 6  # regions of RAM that are drawn
TOOTH = 12
GUARD = "guard page"


class Placed(NamedTuple):
    """What is drawn from ``top`` to ``bottom`` for the addresses [start, stop)."""

    start: int
    stop: int
    top: float
    bottom: float

    def y(self, address: int) -> float:
        """How far down an address is."""
        return self.bottom - (address - self.start) / (self.stop - self.start) * (self.bottom - self.top)


def layout(machine: Machine, space: Space) -> Drawing:
    """One address space of a machine; TooManyMappings when its tables are hostile."""
    listed = listing(space, Filter())
    found = regions(listed)
    fmt, root = space.table.format, space.table.root
    title = f"The address space of {space.name}, and where it is in memory"
    mapped = f"{count_text(listed.mappings, 'page')} mapped in {count_text(len(listed.run_rows), 'run')}"
    places = "; ".join(f"{region.name or 'unnamed'} from {region.start:#x}" for region in found)
    drawing = Drawing(title, f"{title}: {mapped}. {places}." if places else f"{title}: {mapped}.")
    notes = [f"{fmt.name}, root {root:#x}: {mapped}; not to scale"]
    if len(listed.problem_rows):
        wrong = count_text(len(listed.problem_rows), "PTE")
        notes.append(f"{wrong} that no walk can use, not drawn; 'pagebook maps' lists what is wrong")
    y = drawing.heading(*notes)
    labels = [f"{address:#x}" for region in found for address in (region.start, region.stop)]
    left = MARGIN + max((text_width(label, SMALL) for label in labels), default=0) + 10
    right = left + WIDTH + BETWEEN
    drawing.text(left + WIDTH / 2, y, "virtual addresses", bold=True, font="sans", anchor="middle")
    drawing.text(right + WIDTH / 2, y, "physical addresses", bold=True, font="sans", anchor="middle")
    y += 16
    held = [(region.base, region.end) for region in machine.memory.regions]
    parts = segments(found, held[:MOST_RAM])
    heights = _total(found), _total(parts)
    start = [y + max(max(heights) - height, 0) / 2 for height in heights]
    virtual = _virtual(drawing, found, left, start[0])
    physical = _physical(drawing, machine, parts, right, start[1])
    _links(drawing, found, virtual, physical, left + WIDTH, right)
    if len(held) > MOST_RAM:
        more = f"{len(held) - MOST_RAM} more regions of RAM are not drawn"
        drawing.text(right, drawing.bottom + 16, more, font="sans")
    return drawing


def _height(size: int) -> float:
    """How high the part for so many bytes is: two lines of text have room."""
    return min(LEAST + PER_DOUBLING * log2(max(size >> PAGE_SHIFT, 1)), MOST_HEIGHT)


def _total(parts: Sequence[Mapped | Segment]) -> float:
    """How high a column will be, its gaps included."""
    gaps = sum(above.start > below.stop for below, above in pairwise(parts))
    return sum(_height(part.stop - part.start) for part in parts) + GAP * gaps


def about(size: int) -> str:
    """A size: exactly where that is short, else to three digits."""
    text = size_text(size)
    for suffix, shift in (("T", 40), ("G", 30), ("M", 20), ("K", 10)):
        if len(text) > 5 and size >> shift:
            many = size >> shift >= 1000
            return f"about {size >> shift:,}{suffix}" if many else f"about {size / (1 << shift):.3g}{suffix}"
    return text


def _virtual(drawing: Drawing, found: list[Mapped], x: float, y: float) -> list[Placed]:
    """The regions, the highest at the top; where each of them is, in the order of ``found``."""
    placed: list[Placed] = []
    above: int | None = None
    if not found:
        drawing.box(x, y, WIDTH, GAP, "", line="ghost", dash="5 4")
        drawing.text(x + WIDTH / 2, y + GAP / 2 + 4, "nothing is mapped", font="sans", anchor="middle", ink="faint")
    for region in reversed(found):
        if above is not None and above > region.stop:
            _gap(drawing, x, y, f"{about(above - region.stop)} not mapped")
            y += GAP
        height = _height(region.stop - region.start)
        _region(drawing, region, x, y, height)
        if above is None or above > region.stop:
            drawing.text(x - 6, y + SMALL * 0.9, f"{region.stop:#x}", size=SMALL, ink="faint", anchor="end")
        drawing.text(x - 6, y + height - 1, f"{region.start:#x}", size=SMALL, ink="faint", anchor="end")
        placed.append(Placed(region.start, region.stop, y, y + height))
        above = region.start
        y += height
    return placed[::-1]


def _region(drawing: Drawing, region: Mapped, x: float, y: float, height: float) -> None:
    guard = region.name == GUARD
    user = region.flags is not None and region.flags & U
    drawing.box(x, y, WIDTH, height, "wrong" if guard else "leaf" if user else "panel", hatch="cross" if guard else "")
    rights = "several rights" if region.flags is None else flags_text(region.flags, "rwxu")
    size = about(region.size)
    if region.runs > 1:
        each = f"{region.runs:,} × {about(region.pieces)}" if region.pieces else f"{region.runs:,} runs, {size}"
        size = each + (f", {about(region.gaps)} gaps" if region.gaps else "")
    words, plate = f"{rights}  {size}", "paper" if guard else ""
    room = WIDTH - text_width(words) - 28
    fits = text_width(region.name, font="sans", bold=True) <= room
    first = second = y + height / 2 + SIZE * 0.36
    if not fits:
        first, second, room = y + height / 2 - 4, y + height / 2 + SIZE + 3, WIDTH - 16.0
    drawing.text(x + 8, first, region.name, font="sans", bold=True, room=room, plate=plate)
    drawing.text(x + WIDTH - 8, second, words, anchor="end", plate=plate, room=WIDTH - 16)


def _gap(drawing: Drawing, x: float, y: float, words: str) -> None:
    """A gap: torn edges, and how much is not there."""
    for edge, up in ((y + 5, 1), (y + GAP - 5, -1)):
        teeth = int(WIDTH / TOOTH)
        drawing.line([(x + n * TOOTH, edge + (3 * up if n % 2 else -3 * up)) for n in range(teeth + 1)], "ghost")
    drawing.text(x + WIDTH / 2, y + GAP / 2 + 4, words, anchor="middle", ink="faint", font="sans")


def _physical(drawing: Drawing, machine: Machine, parts: list[Segment], x: float, y: float) -> list[Placed]:
    placed = []
    above: int | None = None
    for part in reversed(parts):
        if above is not None and above > part.stop:
            _gap(drawing, x, y, f"{about(above - part.stop)} between")
            y += GAP
        height = _height(part.stop - part.start)
        fill = "table" if part.is_ram and part.mapped else "paper"
        drawing.box(x, y, WIDTH, height, fill, dash="" if part.is_ram else "5 3", hatch="" if part.is_ram else "dots")
        if above is None or above > part.stop:
            drawing.text(x + WIDTH + 6, y + SMALL * 0.9, f"{part.stop:#x}", size=SMALL, ink="faint")
        drawing.text(x + WIDTH + 6, y + height - 1, f"{part.start:#x}", size=SMALL, ink="faint")
        words = _what(machine, part) if part.mapped else f"{_what(machine, part)}, not mapped"
        middle = y + height / 2 + SIZE * 0.36
        used = drawing.text(x + WIDTH - 8, middle, about(part.stop - part.start), anchor="end", plate=fill)
        drawing.text(x + 10, middle, words, font="sans", room=WIDTH - used - 28, plate=fill)
        placed.append(Placed(part.start, part.stop, y, y + height))
        above = part.start
        y += height
    return placed[::-1]


def _what(machine: Machine, part: Segment) -> str:
    """What is there: the area that holds all of it, or RAM and the areas in it, or what is no RAM."""
    if not part.is_ram:
        if any(one.base < part.stop and part.start < one.end for one in machine.memory.regions):
            return "RAM, in part"
        known = any(one.start < part.stop and part.start < one.stop for one in machine.memory.devices)
        return "a device" if known else "no RAM, and no device known"
    around = [area.name for area in machine.areas if area.start <= part.start and part.stop <= area.end]
    inside = Names(machine.areas).of(part.start, part.stop - part.start)
    return around[0] if around else f"RAM with {inside}" if inside else "RAM"


def _links(
    drawing: Drawing, found: list[Mapped], virtual: list[Placed], physical: list[Placed], left: float, right: float
) -> None:
    """From each region to where it is: two lines for the ends of what is in one piece, a dashed one for what is not."""
    for region, here in zip(found, virtual, strict=True):
        for low, high in region.places:
            first = next(part for part in physical if part.start <= low < part.stop)
            last = next(part for part in physical if part.start < high <= part.stop)
            there = (right, last.y(high) + 1, first.y(low) - 1)
            dash = "" if region.runs == 1 else "4 3"
            drawing.band((left, here.top + 1, here.bottom - 1), there, "accent", dash)
