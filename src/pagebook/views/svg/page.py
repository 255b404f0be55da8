"""One page of the book: its 4096 bytes by their offsets, whose it is, and who maps it."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby

from pagebook.ledger import Role
from pagebook.units import PAGE_SHIFT, PAGE_SIZE
from pagebook.views import frames
from pagebook.views.frames import Owners
from pagebook.views.svg.drawing import LINE, MARGIN, SIZE, Drawing, text_width
from pagebook.views.svg.fields import SMALL
from pagebook.views.svg.themes import ROLE_HATCH, role_fill

BYTES = 32  # in a row
MOST_ROWS = 24
MOST_USES = 12
ROW = 18


def page(found: Owners) -> Drawing:
    """The first of the frames that `frames.owners` found, which must be in RAM."""
    run = found.runs[0]
    pa = max(found.start, run.pa)
    machine = found.machine
    title = f"The page at {pa:#x} of {machine.name}"
    drawing = Drawing(title, f"{title}: frame {pa >> PAGE_SHIFT:#x}, {run.role.label}.")
    y = drawing.heading(
        f"frame {pa >> PAGE_SHIFT:#x}: {PAGE_SIZE:,} bytes in hexadecimal, each row with the offset of its first byte"
    )
    y = _bytes(drawing, machine.memory.read(pa, PAGE_SIZE), run.role, y)
    lines = list(frames.text(found))
    y += 2 * MARGIN
    for line in lines[: MOST_USES + 1]:
        drawing.text(MARGIN, y, "".join(text for text, _ in line).strip(), room=900)
        y += SIZE * LINE
    if len(lines) > MOST_USES + 1:
        drawing.text(
            MARGIN, y, f"and {len(lines) - MOST_USES - 1:,} more, which 'pagebook owners {pa:#x}' lists", font="sans"
        )
    return drawing


def _bytes(drawing: Drawing, data: bytes, role: Role, y: float) -> float:
    left = MARGIN + text_width("0x1000", SMALL) + 10
    width = text_width("00 " * BYTES, SMALL) + 12
    stripe = 14
    top = y
    for offset, count, row in _rows(data):
        drawing.text(left - 8, y + ROW * 0.7, f"{offset:#05x}", size=SMALL, ink="faint", anchor="end")
        x = left + stripe + 8
        if row is None:
            drawing.text(
                x, y + ROW * 0.7, f"{count:,} more bytes that differ, not shown", size=SMALL, font="sans", ink="faint"
            )
        elif count > BYTES:
            drawing.box(left + stripe, y, width, ROW, "panel", line="ghost", dash="4 3")
            alike = (
                f"{count:,} bytes of 0x{row[0]:02x}"
                if len(set(row)) == 1
                else f"{count // BYTES} rows of {row[:8].hex(' ')} …"
            )
            drawing.text(left + stripe + width / 2, y + ROW * 0.72, alike, size=SMALL, anchor="middle", font="sans")
        else:
            drawing.text(x, y + ROW * 0.7, row.hex(" "), size=SMALL)
        y += ROW
    drawing.box(left, top, stripe, y - top, role_fill(role), hatch=ROLE_HATCH[role])
    drawing.box(left, top, stripe + width, y - top, "", line="ink", weight=1.5)
    drawing.text(left - 8, y + SMALL, f"{len(data):#x}", size=SMALL, ink="faint", anchor="end")
    return y


def _rows(data: bytes) -> Iterator[tuple[int, int, bytes | None]]:
    """Rows of bytes by their offset, equal neighbours as one; None for what has no room."""
    rows = [data[at : at + BYTES] for at in range(0, len(data), BYTES)]
    offset, folded = 0, []
    for row, alike in groupby(rows):
        count = BYTES * len(list(alike))
        folded.append((offset, count, row))
        offset += count
    shown = folded if len(folded) <= MOST_ROWS else folded[: MOST_ROWS - 1]
    yield from shown
    if len(shown) < len(folded):
        start = folded[len(shown)][0]
        yield start, len(data) - start, None
