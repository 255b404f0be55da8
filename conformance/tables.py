"""The pages that hold a batch's tables: 256 side by side, and one that is the last page of memory.

Where each page is, which page an address is in, and the PTE at an address.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from conformance.layout import LAST, LAST_PAGE, TABLE_PAGES, TABLES
from pagebook.sv import Format

U64 = np.uint64
Words = npt.NDArray[np.uint64]


def page_address(page: int) -> int:
    """Where table page ``page`` is in memory."""
    return LAST if page == LAST_PAGE else TABLES + page * 4096


def page_addresses(pages: npt.NDArray[np.integer]) -> Words:
    """`page_address` of each."""
    return np.where(pages == LAST_PAGE, U64(LAST), U64(TABLES) + pages.astype(np.uint64) * U64(4096))


def page_of(at: Words) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.bool_]]:
    """The table page that each address is in, 0 where it is in none, and whether it is in one."""
    low = (at >= U64(TABLES)) & (at < U64(TABLES + (TABLE_PAGES - 1) * 4096))
    last = (at >= U64(LAST)) & (at < U64(LAST + 4096))
    page = np.where(low, at - U64(TABLES), U64(0)) >> U64(12)
    return np.where(last, LAST_PAGE, page.astype(np.intp)), low | last


def ptes_at(tables: Words, at: Words, format: Format) -> Words:
    """The PTE at each address, 0 where no table is."""
    page, inside = page_of(at)
    index = (at & U64(0xFFF)) // U64(format.pte_bytes)
    return np.where(inside, tables[page, index.astype(np.intp)], U64(0))


def pieces(tables: Words, format: Format) -> list[tuple[int, bytes]]:
    """The tables as bytes at addresses."""
    ptes = tables.astype(f"<u{format.pte_bytes}")
    return [(TABLES, ptes[:LAST_PAGE].tobytes()), (LAST, ptes[LAST_PAGE].tobytes())]
