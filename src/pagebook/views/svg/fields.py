"""Numbers as bit fields: physical addresses, virtual addresses, PTEs; of a value, or of none, the format alone."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from pagebook.decode import FLAG_NAMES, PteMeaning
from pagebook.errors import BadAddress
from pagebook.sv import Format
from pagebook.units import PAGE_MASK, PAGE_SHIFT, PAGE_SIZE
from pagebook.views import access
from pagebook.views.svg.drawing import LINE, MARGIN, SIZE, Drawing, spread, text_width
from pagebook.views.text import Line

SMALL = 11
PAD = 8
NARROWEST = 30
ROW = 28
TEXT_ROOM = 860  # for the words under a figure

FIELD_WORDS = {
    "RSW": "free for the kernel's own use",
    "PPN": "the number of the frame that the PTE leads to",
    "reserved": "must be 0",
    "PBMT": "memory type (Svpbmt)",
    "N": "part of a 64 KiB page (Svnapot)",
}
"""What the fields above the flags are for."""


class Part(NamedTuple):
    """Neighbouring bits with a name: the highest and the lowest of them, their value if there is one, a word on it.

    ``fill`` is a colour's name; ``marked`` puts a heavy edge around it.
    """

    name: str
    high: int
    low: int
    value: int | None = None
    word: str = ""
    fill: str = "panel"
    marked: bool = False

    @property
    def digits(self) -> str:
        """The value in binary, or how many bits it has."""
        bits = self.high - self.low + 1
        return f"{bits} bit{'s' * (bits != 1)}" if self.value is None else f"{self.value:0{bits}b}"

    @property
    def width(self) -> float:
        """How wide its box is: as wide as what stands in it, above and below it."""
        digits = self.digits if self.value is not None or self.high > self.low else ""
        numbers = 5 if self.high > self.low else 2
        texts = text_width(digits), text_width(self.name, bold=True), text_width("0" * numbers, SMALL)
        return max(*texts, text_width(self.word, SMALL), NARROWEST - PAD) + PAD


def strip(drawing: Drawing, x: float, y: float, parts: Sequence[Part]) -> list[tuple[float, float, float]]:
    """The parts side by side, the highest bits on the left: numbers of bits, names, values, words.

    Gives for each part the left and right edge of its box, and the bottom of what stands under it.
    """
    widths = [part.width for part in parts]
    places = []
    for part, left, width in zip(parts, spread(widths, 0, x), widths, strict=True):
        middle = left + width / 2
        if part.high == part.low:
            drawing.text(middle, y + SMALL, f"{part.low}", size=SMALL, ink="faint", anchor="middle")
        else:
            drawing.text(left + 3, y + SMALL, f"{part.high}", size=SMALL, ink="faint")
            drawing.text(left + width - 3, y + SMALL, f"{part.low}", size=SMALL, ink="faint", anchor="end")
        top = y + SMALL + 6
        drawing.box(left, top, width, ROW, part.fill)
        drawing.text(middle, top + ROW / 2 + SIZE * 0.35, part.name, anchor="middle", bold=True)
        bottom = top + ROW
        if part.value is not None or part.high > part.low:
            ink = "ink" if part.value is not None else "faint"
            drawing.box(left, bottom, width, ROW - 4, "paper")
            drawing.text(middle, bottom + ROW / 2 + SIZE * 0.25, part.digits, ink=ink, anchor="middle")
            bottom += ROW - 4
        if part.marked:
            drawing.box(left, top, width, bottom - top, "", line="bad", weight=3)
        if part.word:
            bottom += SMALL + 6
            drawing.text(middle, bottom, part.word, size=SMALL, anchor="middle")
        places.append((left, left + width, bottom))
    return places


def bottom_of(places: Iterable[tuple[float, float, float]]) -> float:
    """Where a strip ends."""
    return max(bottom for _, _, bottom in places)


def words(drawing: Drawing, x: float, y: float, lines: Iterable[Line], room: float = TEXT_ROOM) -> float:
    """Lines of the text views: the first span as a label, the rest beside it, in columns where it has them, or wrapped.

    Gives where the next line may start.
    """
    rows = [(line[0][0].strip(), _columns(line), line[-1][1] == "bad") for line in lines]
    left = x + max((text_width(label, bold=True) for label, _, _ in rows), default=0) + 2 * PAD
    inner = [row for _, row, _ in rows if len(row) > 1]
    widths = [max(text_width(row[at], font="sans") for row in inner) for at in range(2)] if inner else []
    y += SIZE
    for label, columns, bad in rows:
        ink = "bad" if bad else "ink"
        drawing.text(x, y, label, bold=True, ink="bad" if bad else "faint")
        if len(columns) > 1:
            for at, word in zip(spread([*widths, 0], 2 * PAD, left), columns, strict=True):
                drawing.text(at, y, word, ink=ink, font="sans")
            y += SIZE * LINE
        else:
            y = drawing.paragraph(left, y, columns[0], room - (left - x), ink=ink)
    return y


def _columns(line: Line) -> list[str]:
    """The words after the label: three columns, where the label is bits, or one."""
    said = "".join(text for text, _ in line[1:]).strip()
    found = re.fullmatch(r"(\S+) +(\S+) +(.*)", said) if line[0][0].strip()[:1].isdigit() else None
    return [found[1], found[2], found[3]] if found else [said]


def physical_address(pa: int | None, fmt: Format) -> Drawing:
    """A physical address as frame number and offset; BadAddress when it has more bits than the format's."""
    bits = (fmt.ppn_mask + 1).bit_length() - 1 + PAGE_SHIFT
    if pa is not None and not 0 <= pa < 1 << bits:
        raise BadAddress(f"{pa:#x} is no physical address of {fmt.name}: that has {bits} bits", pa=pa)
    of = f"{pa:#x}" if pa is not None else f"of {fmt.name}"
    drawing = Drawing(
        f"A physical address{':' if pa is not None else ''} {of}",
        "A physical address as the number of a frame and an offset in it.",
    )
    y = drawing.heading(f"{bits} bits name a byte of memory: which page of the book, and where on it.")
    ppn, offset = (None, None) if pa is None else (pa >> PAGE_SHIFT, pa & PAGE_MASK)
    parts = [
        Part("PPN, the frame", bits - 1, PAGE_SHIFT, ppn, "" if ppn is None else f"{ppn:#x}", "leaf"),
        Part("offset", PAGE_SHIFT - 1, 0, offset, "" if offset is None else f"{offset:#x}", "mark"),
    ]
    y = bottom_of(strip(drawing, MARGIN, y, parts)) + MARGIN
    if ppn is None or offset is None:
        drawing.paragraph(
            MARGIN, y, f"A frame is {PAGE_SIZE} bytes, so {PAGE_SHIFT} bits say where in it; the rest is its number.",
            TEXT_ROOM,
        )  # fmt: skip
        return drawing
    told = f"frame {ppn:,}, which is the bytes {ppn << PAGE_SHIFT:#x} to {(ppn << PAGE_SHIFT) + PAGE_MASK:#x}"
    words(drawing, MARGIN, y, [_line("PPN", told), _line("offset", f"byte {offset:,} of the {PAGE_SIZE:,} in it")])
    return drawing


def va_parts(va: int | None, fmt: Format) -> list[Part]:
    """A virtual address in its parts: the bits above, an index for each level, the offset."""
    parts = []
    if fmt.va_bits < fmt.xlen:
        above = None if va is None else va >> fmt.va_bits
        wrong = va is not None and not fmt.is_canonical(va)
        parts.append(
            Part(
                f"copies of bit {fmt.va_bits - 1}", fmt.xlen - 1, fmt.va_bits, above,
                "not canonical" if wrong else "", "wrong" if wrong else "panel", wrong,
            )
        )  # fmt: skip
    for level, shift in fmt.steps:
        index = None if va is None else fmt.index(va, level)
        word = "" if index is None else f"index {index}"
        parts.append(Part(f"VPN[{level}]", shift + fmt.index_bits - 1, shift, index, word, "table"))
    offset = None if va is None else va & PAGE_MASK
    parts.append(Part("offset", PAGE_SHIFT - 1, 0, offset, "" if offset is None else f"{offset:#x}", "mark"))
    return parts


def virtual_address(va: int | None, fmt: Format) -> Drawing:
    """A virtual address as indices and offset; BadAddress when it has more bits than a register."""
    if va is not None and not 0 <= va < 1 << fmt.xlen:
        raise BadAddress(f"{va:#x} does not fit in {fmt.xlen} bits", va=va)
    of = f"{va:#x} in {fmt.name}" if va is not None else f"of {fmt.name}"
    drawing = Drawing(
        f"A virtual address {of}", "A virtual address as an index into a table of each level, and an offset."
    )
    y = drawing.heading(
        f"{fmt.va_bits} bits: an index for each of {fmt.levels} levels of tables, and the byte in the page."
    )
    y = bottom_of(strip(drawing, MARGIN, y, va_parts(va, fmt))) + MARGIN
    lines = [
        _line(
            f"VPN[{level}]", f"which of the {fmt.entries} PTEs of a level-{level} table" + (", the root" * (not depth))
        )
        for depth, (level, _) in enumerate(fmt.steps)
    ]
    lines.append(_line("offset", f"which of the {PAGE_SIZE:,} bytes of the page; it is not translated"))
    if va is not None:
        try:
            fmt.check_canonical(va)
        except BadAddress as error:
            lines.append([("wrong", "title"), (str(error), "bad")])
    words(drawing, MARGIN, y, lines)
    return drawing


def pte_parts(pte: int | None, fmt: Format, marked: Iterable[str] = ()) -> list[Part]:
    """A PTE in its fields, the highest first; those ``marked`` decided something."""
    fields = fmt.decode_pte(pte) if pte is not None else {}
    marked = set(marked)
    parts = []
    for field in reversed(fmt.pte_fields):
        value = fields.get(field.name)
        word = f"{value:#x}" if value is not None and field.name == "PPN" else ""
        fill = "leaf" if field.name == "PPN" else "panel"
        if field.bits == 1 and value:
            fill = "mark"
        high = field.low + field.bits - 1
        parts.append(Part(field.name, high, field.low, value, word, fill, field.name in marked))
    return parts


def pte(found: PteMeaning) -> Drawing:
    """A PTE's value in its fields, and what `decode` says of it."""
    fmt = found.format
    drawing = Drawing(f"PTE {found.pte:#x} as {fmt.name} reads it", "A page-table entry taken apart, bit by bit.")
    said = list(access.pte(found))[2:]
    y = bottom_of(strip(drawing, MARGIN, drawing.heading(), pte_parts(found.pte, fmt))) + MARGIN
    words(drawing, MARGIN, y, said)
    return drawing


def pte_format(fmt: Format) -> Drawing:
    """The fields of a format's PTEs."""
    bits = 8 * fmt.pte_bytes
    drawing = Drawing(f"A page-table entry of {fmt.name}", f"The fields of the {bits} bits of a page-table entry.")
    y = drawing.heading(f"{bits} bits lead to a table of the next level, or to a page, and say who may do what there.")
    y = bottom_of(strip(drawing, MARGIN, y, pte_parts(None, fmt))) + MARGIN
    words(drawing, MARGIN, y, [_line(f.name, FLAG_NAMES.get(f.name) or FIELD_WORDS[f.name]) for f in fmt.pte_fields])
    return drawing


def _line(label: str, text: str) -> Line:
    return [(label, "title"), (text, "")]
