"""Cases that chance does not reach: every flag combination on every level, each reserved bit, and the odd corners.

The tables are a chain, one page for each level, so that the entry under test stands on the level it is meant for; each
entry is accessed in every way from every privilege.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from conformance.generate import Batch, harmless_part
from conformance.layout import (
    CASE,
    CODE_SLOT,
    DATA,
    HOLE,
    MPP_SHIFT,
    MPRV,
    MXR,
    OP_FETCH,
    SUM,
    TABLE_PAGES,
    TABLES,
)
from pagebook.mmu import Extensions
from pagebook.sv import RWX, Format, V

U64 = np.uint64
FULL = 0xDF  # V R W X U A D: a leaf that allows everything
LOAD4, STORE4, SWAP4 = 2, 6, 8


def make_directed(format: Format, extensions: Extensions) -> Batch:
    """One batch with every directed case of a format."""
    tables = np.zeros((TABLE_PAGES, format.entries), dtype=np.uint64)
    targets: list[tuple[int, int]] = []
    for level in range(format.levels):
        page = format.levels - 1 - level
        if level:
            tables[page, format.entries - 1] = _pointer(page + 1)
        for index, pte in enumerate(_entries(format, level)):
            tables[page, index] = pte
            targets.append((level, index))
    cases = _accesses(format, targets)
    return harmless_part(Batch("directed", format, extensions, 0, tables, cases))


def _pointer(page: int) -> int:
    return TABLES + page * 4096 >> 12 << 10 | V


def _entries(format: Format, level: int) -> list[int]:
    """What stands in the table of this level: at most all entries but the last, which leads on."""
    base = DATA & -format.page_bytes(level) if level < 2 else 0x8000_0000 & -format.page_bytes(level)
    ppn = base >> 12
    if level == 1:
        ppn = (DATA + (4 << 20)) >> 12
    if level == 0:
        ppn = DATA + 0x10_0000 >> 12
    entries = [ppn << 10 | flags for flags in range(256) if flags & RWX or not flags & V]
    entries += [_pointer(format.levels - level) | bit for bit in (1 << 4, 1 << 5, 1 << 6, 1 << 7)]
    entries += [format.pte(HOLE, V)]  # a table in a hole
    entries += [ppn + (1 << bit) << 10 | FULL for bit in range(4 + level * format.index_bits)]
    if format.xlen == 64:
        entries += [ppn << 10 | FULL | 1 << bit for bit in range(54, 64)]
        entries += [_pointer(format.levels - level) | 1 << bit for bit in range(54, 64)]
        entries += [ppn << 10 | FULL | pbmt << 61 for pbmt in range(4)]
        entries += [(ppn & ~15 | low) << 10 | FULL | 1 << 63 for low in range(16)]
        entries += [(ppn & ~15 | 8) << 10 | FULL | 1 << 63 | pbmt << 61 for pbmt in range(4)]
    return entries[: format.entries - 1]


def _accesses(format: Format, targets: list[tuple[int, int]]) -> npt.NDArray[np.void]:
    """Every target by load, store, AMO and fetch, as U and as S, with and without SUM and MXR; and across its end."""
    rows = []
    top = format.mode << format.satp_fields[2].low | TABLES >> 12
    for level, index in targets:
        va = _address(format, level, index)
        for op, offset in ((LOAD4, 0x248), (STORE4, 0x248), (SWAP4, 0x248), (OP_FETCH, CODE_SLOT)):
            for regime in range(8):
                mstatus = (regime & 1) << MPP_SHIFT | MPRV | (SUM if regime & 2 else 0) | (MXR if regime & 4 else 0)
                rows.append((top, va | offset, (0, 0), op, mstatus))
        for op in (LOAD4, STORE4):
            for mpp in (0, 1):
                rows.append((top, va | 0xFFE, (0, 0), op, mpp << MPP_SHIFT | MPRV | SUM))
    return np.array(rows, dtype=CASE)


def _address(format: Format, level: int, index: int) -> int:
    """An address whose walk meets entry ``index`` on ``level``, and stays among data pages if that is a superpage.

    Below a superpage of 2 MiB or more the page number is chosen so that a leaf at 0x80000000 reaches the data pages;
    below a pointer the last entry of each table follows.
    """
    va = 0
    for other, shift in format.steps:
        if other > level:
            va |= (format.entries - 1) << shift
        elif other == level:
            va |= index << shift
    if level:
        within = (DATA - 0x8000_0000 + 0x30_0000) & format.page_bytes(level) - 1
        va |= within & ~0xFFF
        if level >= 3:
            va |= 2 << 30
        if level == 1 and format.index_bits == 10:
            va |= 0x5000
    return format.canonical(va)
