"""The corners of memory and of the address space: PTEs in the last word of memory, accesses that run over the top.

An access that straddles the last page is followed by the first; one at the edge of the canonical halves runs into
addresses that are none.  Each is made with sound and faulty pages on either side.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np

from conformance.generate import Batch, harmless_part
from conformance.layout import (
    CASE,
    CODE_SLOT,
    DATA,
    HOLE,
    LAST_PAGE,
    MPP_SHIFT,
    MPRV,
    MXR,
    OP_FETCH,
    RAM,
    RAM_BYTES,
    SUM,
    TABLE_PAGES,
)
from conformance.tables import Words, page_address
from pagebook.mmu import Extensions
from pagebook.sv import A, D, Format, R, U, V, W, X

U64 = np.uint64
Row = tuple[int, int, tuple[int, int], int, int]
LOAD2, LOAD4, LOAD8, STORE2, STORE4, STORE8, SWAP4, SWAP8 = 1, 2, 3, 5, 6, 7, 8, 9
# How far below an end an access starts: over it, just up to it, and AMOs that are aligned and not.
OVER = (
    (LOAD2, 1), (LOAD4, 2), (STORE2, 1), (STORE4, 3), (LOAD8, 4), (STORE8, 7),
    (LOAD2, 2), (LOAD4, 4), (STORE8, 8), (SWAP4, 4), (SWAP4, 2), (SWAP8, 8), (SWAP8, 4),
)  # fmt: skip
SUPERPAGE = DATA + (4 << 20)  # aligned to 4 MiB, so that it is sound on the first two levels
EDGES = (
    V | R | W | X | U | A | D,
    V | R | W | X | U,
    V | R | W | A | D,
    V | R | X | U | A,
    R | W | X | U | A | D,
    V | X | U | A | D,
)


def make_corners(format: Format, extensions: Extensions) -> Batch:
    """One batch with every corner of a format."""
    tables = np.zeros((TABLE_PAGES, format.entries), np.uint64)
    rows = [*_last_word(format, tables), *_edges(format, tables), *_no_root(format)]
    return harmless_part(Batch("corners", format, extensions, 0, tables, np.array(rows, dtype=CASE)))


def _pointer(page: int) -> int:
    return page_address(page) >> 2 | V


def _satp(format: Format, page: int) -> int:
    return format.satp(page_address(page))


def _regimes() -> Iterator[int]:
    for bits in range(8):
        yield (bits & 1) << MPP_SHIFT | MPRV | (SUM if bits & 2 else 0) | (MXR if bits & 4 else 0)


def _last_word(format: Format, tables: Words) -> Iterator[Row]:
    """The last page of memory is a table whose last entry is a leaf with A and D clear, and the two before it point
    back at the table: so the last word of memory serves as a PTE of every level, by many ways."""
    last = format.entries - 1
    tables[LAST_PAGE, last] = format.pte(SUPERPAGE, V | R | W | X | U)
    tables[LAST_PAGE, last - 2 : last] = _pointer(LAST_PAGE)
    for level in range(format.levels):
        va = 0
        for other, shift in format.steps:
            va |= (last if other == level else last - 1 - other % 2 if other > level else 0) << shift
        if level > 1:
            va |= SUPERPAGE & format.page_bytes(level) - 1
        for op, offset in ((LOAD4, 0x248), (STORE4, 0x248), (SWAP4, 0x248), (OP_FETCH, CODE_SLOT)):
            for mstatus in _regimes():
                yield _satp(format, LAST_PAGE), format.canonical(va) | offset, (0, 0), op, mstatus


def _edges(format: Format, tables: Words) -> Iterator[Row]:
    """For every pair of leaves, one at each end of the address space: accesses over the ends."""
    count, top = len(EDGES) + 1, format.entries - 1
    leaves = [*(format.pte(DATA + 0x10_0000, flags) for flags in EDGES), format.pte(HOLE, EDGES[0])]
    page = count * count
    chains: list[tuple[int, int]] = []
    for pte in leaves:
        for index in (top, 0):
            chain = list(range(page, page + format.levels - 1))
            page += len(chain)
            for here, below in pairwise(chain):
                tables[here, index] = _pointer(below)
            tables[chain[-1], index] = pte + (index << 10) if pte != leaves[-1] else pte
            chains.append((chain[0], index))
    for number in range(count * count):
        high, low = chains[number // count * 2][0], chains[number % count * 2 + 1][0]
        tables[number, top] = tables[number, top // 2] = _pointer(high)
        tables[number, 0] = tables[number, top // 2 + 1] = _pointer(low)
        yield from _over(format, _satp(format, number))


def _over(format: Format, satp: int) -> Iterator[Row]:
    """Accesses that start below the end of the address space, or of its lower half, or of what is not canonical."""
    ends = {1 << format.xlen, 1 << format.va_bits - 1, (1 << format.xlen) - (1 << format.va_bits - 1)}
    for end in sorted(ends):
        for op, back in OVER:
            if format.xlen == 64 or op not in (LOAD8, STORE8, SWAP8):
                for mpp in (0, 1):
                    yield satp, end - back, (0, 0), op, mpp << MPP_SHIFT | MPRV | SUM


def _no_root(format: Format) -> Iterator[Row]:
    """satp names a table where no memory is: just below RAM, just above it, and far away."""
    far = format.ppn_mask << 12
    for root in (HOLE, RAM - 4096, RAM + RAM_BYTES, far):
        for op, offset in ((LOAD4, 0), (STORE4, 0xFFE), (SWAP4, 0), (OP_FETCH, CODE_SLOT)):
            yield format.satp(root), DATA | offset, (0, 0), op, MPRV
