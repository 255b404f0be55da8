"""Memory as a book: the frames of a machine, cell by cell, and whose they are.

A cell stands for one frame while that has room, else for as many as it takes.  Rows that are all of one kind are one
band, so the size of the figure does not grow with RAM.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from pagebook.ledger import NOBODY, Holding, Ledger, Role
from pagebook.units import PAGE_SHIFT, size_text
from pagebook.views.svg.drawing import MARGIN, SIZE, Drawing, spread, text_width
from pagebook.views.svg.fields import SMALL
from pagebook.views.svg.themes import ROLE_HATCH, ROLE_ORDER, role_fill

COLUMNS = 64
MOST_ROWS = 30  # and bands between them
MOST_REGIONS = 8
CELL, CELL_HEIGHT, BAND = 14, 18, 26
LEAST_SHARE = 4  # pixels of a cell's second role, however few its frames


class Row(NamedTuple):
    """Cells of one row: the address of the first, and for each how many of its frames are in each role.

    ``owners`` has the space that all frames of a cell belong to, or NOBODY; ``per_cell`` is frames a cell.
    """

    pa: int
    counts: npt.NDArray[np.int64]
    owners: npt.NDArray[np.int64]


class Band(NamedTuple):
    """Frames from ``pa`` that are all in one role and of one owner."""

    pa: int
    frames: int
    role: Role
    owner: int


def memory(ledger: Ledger) -> Drawing:
    """The frames of RAM by role; every frame is in one cell or band, and the legend's counts sum to RAM."""
    machine, counts = ledger.machine, ledger.counts()
    total = sum(counts.values())
    shown, left_out = ledger.holdings[:MOST_REGIONS], ledger.holdings[MOST_REGIONS:]
    per_cell = _frames_per_cell(shown)
    drawing = Drawing(
        f"The memory of {machine.name}: {total:,} frames, {size_text(total << PAGE_SHIFT)}",
        f"Frames by role: {', '.join(f'{counts[role]} {role.label}' for role in ROLE_ORDER if counts[role])}.",
    )
    each = "a frame, 4096 bytes" if per_cell == 1 else f"{per_cell:,} frames, {size_text(per_cell << PAGE_SHIFT)}"
    notes = [f"A cell is {each}; addresses grow to the right and down. Bands are frames that are all alike."]
    if per_cell > 1:
        notes.append("A cell in two parts shows its two commonest roles; a dot says that there are more.")
    y = drawing.heading(*notes, *(f"{name}: {error}" for name, error in list(ledger.refused.items())[:3]))
    left = MARGIN + text_width("0" * _digits(ledger)) + 12
    for number, holding in enumerate(shown):
        y = _region(drawing, ledger, holding, per_cell, left, y + (MARGIN if number else 0))
    if left_out:
        frames = sum(map(len, left_out))
        y += MARGIN
        drawing.text(left, y, f"and {frames:,} frames in {len(left_out):,} more regions, counted below but not drawn")
    _legend(drawing, counts, total, left, y + MARGIN)
    return drawing


def _digits(ledger: Ledger) -> int:
    return max((len(f"{holding.region.end:#x}") for holding in ledger.holdings), default=3)


def _breaks(holding: Holding) -> npt.NDArray[np.intp]:
    """The frames whose role or owner is not that of the frame before; the first one too."""
    breaks = np.ones(len(holding), dtype=np.bool_)
    breaks[1:] = (holding.role[1:] != holding.role[:-1]) | (holding.owner[1:] != holding.owner[:-1])
    return np.flatnonzero(breaks)


def _frames_per_cell(holdings: list[Holding]) -> int:
    """The smallest power of two with which all rows that are not alike have room."""
    breaks = [_breaks(holding)[1:] for holding in holdings if len(holding)]
    per_cell = 1
    while sum(len(np.unique(found // (per_cell * COLUMNS))) for found in breaks) > MOST_ROWS:
        per_cell *= 2
    return per_cell


def _rows(holding: Holding, per_cell: int) -> Iterator[Row | Band]:
    """The rows of a region that have more than one kind of frame, and the bands between them."""
    per_row = per_cell * COLUMNS
    breaks = _breaks(holding)
    mixed = np.unique(breaks[1:][breaks[1:] % per_row != 0] // per_row) if len(breaks) else breaks
    edges = sorted({0, len(holding), *(breaks[breaks % per_row == 0]).tolist(), *(mixed * per_row).tolist(),
                    *np.minimum((mixed + 1) * per_row, len(holding)).tolist()})  # fmt: skip
    rows = set((mixed * per_row).tolist())
    for first, stop in pairwise(edges):
        pa = holding.region.base + (first << PAGE_SHIFT)
        if first in rows:
            yield _row(holding, pa, first, stop, per_cell)
        else:
            yield Band(pa, stop - first, Role(int(holding.role[first])), int(holding.owner[first]))


def _row(holding: Holding, pa: int, first: int, stop: int, per_cell: int) -> Row:
    cells = -(-(stop - first) // per_cell)
    cell = np.arange(stop - first) // per_cell
    counts = np.bincount(cell * len(Role) + holding.role[first:stop], minlength=cells * len(Role))
    owners = holding.owner[first:stop].astype(np.int64)
    starts = np.arange(cells) * per_cell
    lowest, highest = np.minimum.reduceat(owners, starts), np.maximum.reduceat(owners, starts)
    return Row(pa, counts.reshape(cells, len(Role)), np.where(lowest == highest, lowest, NOBODY))


def _region(drawing: Drawing, ledger: Ledger, holding: Holding, per_cell: int, left: float, y: float) -> float:
    top, last = y, COLUMNS
    for row in _rows(holding, per_cell):
        height = BAND if isinstance(row, Band) else CELL_HEIGHT
        drawing.text(left - 10, y + height / 2 + SMALL * 0.35, f"{row.pa:#x}", size=SMALL, ink="faint", anchor="end")
        if isinstance(row, Band):
            _band(drawing, ledger, row, left, y)
        else:
            _cells(drawing, ledger, row, left, y)
        last = COLUMNS if isinstance(row, Band) else len(row.counts)
        y += height
    right, step = left + COLUMNS * CELL, y - CELL_HEIGHT
    edge = [(left, top), (right, top), (right, y), (left, y), (left, top)]
    if last < COLUMNS:  # the last row ends early
        edge[2:3] = [(right, step), (left + last * CELL, step), (left + last * CELL, y)]
    drawing.line(edge, "ink", weight=1.5)
    drawing.text(left - 10, y + SMALL * 1.2, f"{holding.region.end:#x}", size=SMALL, ink="faint", anchor="end")
    return y


def _band(drawing: Drawing, ledger: Ledger, band: Band, left: float, y: float) -> None:
    drawing.box(left, y, COLUMNS * CELL, BAND, role_fill(band.role), hatch=ROLE_HATCH[band.role])
    whose = f" of {ledger.machine.spaces[band.owner].name}" if band.owner != NOBODY else ""
    words = f"{band.frames:,} frame{'s' * (band.frames != 1)}: {band.role.label}{whose}"
    drawing.text(
        left + COLUMNS * CELL / 2, y + BAND / 2 + SMALL * 0.4, words, anchor="middle", font="sans", plate="paper",
        room=COLUMNS * CELL - 8,
    )  # fmt: skip


def _cells(drawing: Drawing, ledger: Ledger, row: Row, left: float, y: float) -> None:
    """The cells of a row, those with one role side by side as one box with lines in it."""
    whole = np.count_nonzero(row.counts, axis=1) == 1
    role = np.argmax(row.counts, axis=1)
    key = np.where(whole, role * (1 << 32) + row.owners, -np.arange(1, len(role) + 1))
    starts = np.flatnonzero(np.append(True, key[1:] != key[:-1])).tolist()
    for start, stop in zip(starts, [*starts[1:], len(key)], strict=True):
        x, width = left + start * CELL, (stop - start) * CELL
        if whole[start]:
            kind = Role(int(role[start]))
            drawing.box(x, y, width, CELL_HEIGHT, role_fill(kind), hatch=ROLE_HATCH[kind])
            for inner in range(start + 1, stop):
                at = left + inner * CELL
                drawing.line([(at, y), (at, y + CELL_HEIGHT)], "ghost", weight=0.6)
            _label(drawing, ledger, kind, int(row.owners[start]), x, y, width)
        else:
            _mixed(drawing, row.counts[start], x, y)


def _label(drawing: Drawing, ledger: Ledger, kind: Role, owner: int, x: float, y: float, width: float) -> None:
    """Whose the cells are, where there is room for it whole."""
    name = ledger.machine.spaces[owner].name if owner != NOBODY else ""
    both = f"{kind.label} · {name}" if name and name not in kind.label else kind.label
    for words in (both, name or kind.label):
        if words and text_width(words, SMALL, "sans") + 12 < width:
            middle = y + CELL_HEIGHT / 2 + SMALL * 0.36
            drawing.text(x + width / 2, middle, words, size=SMALL, anchor="middle", font="sans", plate="paper")
            return


def _mixed(drawing: Drawing, counts: npt.NDArray[np.int64], x: float, y: float) -> None:
    """A cell with several roles: the commonest above, the next below by its share, a dot for the others."""
    order = np.argsort(-counts, kind="stable")
    first, second = Role(int(order[0])), Role(int(order[1]))
    share = int(counts[order[1]]) / int(counts[order[:2]].sum())
    low = max(round(CELL_HEIGHT * share), LEAST_SHARE)
    drawing.box(x, y, CELL, CELL_HEIGHT - low, role_fill(first), hatch=ROLE_HATCH[first])
    drawing.box(x, y + CELL_HEIGHT - low, CELL, low, role_fill(second), hatch=ROLE_HATCH[second])
    if np.count_nonzero(counts) > 2:
        drawing.box(x + CELL / 2 - 2, y + 3, 4, 4, "ink", line="", round=2)


def _legend(drawing: Drawing, counts: dict[Role, int], total: int, left: float, y: float) -> float:
    """A sample of each role that there is, with its count; then the sum."""
    entries = [(role, f"{counts[role]:,} {role.label}") for role in ROLE_ORDER if counts[role]]
    column = max([text_width(words, SIZE, "sans") for _, words in entries] or [0]) + 60
    across = max(int(COLUMNS * CELL / column), 1)
    for number, (role, words) in enumerate(entries):
        x, top = spread([column] * across, 0, left)[number % across], y + number // across * 28
        drawing.box(x, top, 28, 18, role_fill(role), hatch=ROLE_HATCH[role])
        drawing.text(x + 36, top + 14, words, font="sans")
    y += -(-len(entries) // across) * 28 + SIZE
    drawing.text(left, y + 4, f"= {total:,} frames in all, each in exactly one role", font="sans", bold=True)
    return y
