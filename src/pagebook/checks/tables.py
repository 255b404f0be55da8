"""The tables of every address space at once: which page is a table of whom, on which level, and the PTEs between them.

A table that several PTEs point to is read once a level, so that tables which point at themselves cost no more than the
memory they are in.  What a rule needs of leaves is in `evidence`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pagebook.columns import Columns
from pagebook.machine import Space
from pagebook.memory import U64, Memory
from pagebook.sv import KIND_MASK, POINTER, Format, V
from pagebook.units import PAGE_SHIFT

PIECE = 1 << 12  # tables read at a time
MOST_POINTERS = 1 << 21  # a level; more than the tables of a terabyte of 4 KiB pages

TABLE = np.dtype(
    [
        ("space", "<i4"),
        ("pa", "<u8"),
        ("va", "<u8"),
        ("pte", "<u8"),
        ("pte_pa", "<u8"),
        ("level", "u1"),
        ("used", "<u2"),
    ]
)
"""A row of tables, one a space and level: the first PTE that points to it (0 for a root), ``used`` its valid PTEs."""

POINTERS = np.dtype(
    [
        ("space", "<i4"),
        ("va", "<u8"),
        ("pa", "<u8"),
        ("size", "<u8"),
        ("pte", "<u8"),
        ("pte_pa", "<u8"),
        ("level", "u1"),
    ]
)
"""A row of pointers: ``level`` is that of the PTE, ``pa`` the table it names, ``size`` the bytes it translates."""

Rows = npt.NDArray[np.void]
Indices = npt.NDArray[np.intp]


@dataclass(frozen=True)
class Tables:
    """Rows of TABLE and of POINTERS, and the spaces whose tables were too many to follow."""

    tables: Rows
    pointers: Columns
    cut: frozenset[int]


def read_tables(memory: Memory, spaces: Sequence[Space]) -> Tables:
    """Every table that a walk can reach, and every pointer, of all spaces."""
    tables, pointers = [np.empty(0, TABLE)], [np.empty(0, POINTERS)]
    cut: set[int] = set()
    for fmt in dict.fromkeys(space.table.format for space in spaces):
        here = np.zeros(sum(space.table.format is fmt for space in spaces), TABLE)
        here["space"] = [number for number, space in enumerate(spaces) if space.table.format is fmt]
        here["pa"] = [space.table.root for space in spaces if space.table.format is fmt]
        for level in range(fmt.levels - 1, -1, -1):
            here["level"] = level
            found = _level(memory, fmt, here, level, cut)
            tables.append(here)
            pointers.append(found)
            here = _tables_under(memory, found) if level else here[:0]
            if not len(here):
                break
    joined = np.concatenate(pointers)
    columns = Columns(POINTERS, len(joined), [joined[name].copy() for name in POINTERS.names or ()])
    return Tables(np.concatenate(tables), columns, frozenset(cut))


def _level(memory: Memory, fmt: Format, here: Rows, level: int, cut: set[int]) -> Rows:
    """The pointers in the tables ``here``, whose ``used`` is filled in; past MOST_POINTERS the rest is cut."""
    unique, which = np.unique(here["pa"], return_inverse=True)
    row, index, ptes, used = _pointers(memory, fmt, unique)
    here["used"] = used[which]
    counts = np.bincount(row, minlength=len(unique))
    times = counts[which]
    many = np.cumsum(times) > MOST_POINTERS
    cut.update(here["space"][many].tolist())
    times = np.where(many, 0, times)
    use: Indices = np.repeat(np.arange(len(here)), times)
    at = np.arange(len(use)) + np.repeat((np.cumsum(counts) - counts)[which] - (np.cumsum(times) - times), times)
    out = np.empty(len(use), POINTERS)
    out["space"] = here["space"][use]
    va = here["va"][use] & U64((1 << fmt.va_bits) - 1)
    va |= index[at].astype(U64) << U64(PAGE_SHIFT + level * fmt.index_bits)
    if fmt.va_bits < fmt.xlen:
        va[va >> U64(fmt.va_bits - 1) != 0] |= U64((1 << fmt.xlen) - (1 << fmt.va_bits))
    out["va"] = va
    out["pte"] = ptes[at]
    out["pa"] = (ptes[at] >> U64(10) & U64(fmt.ppn_mask)) << U64(PAGE_SHIFT)
    out["pte_pa"] = here["pa"][use] + index[at].astype(U64) * U64(fmt.pte_bytes)
    out["level"] = level
    out["size"] = fmt.page_bytes(level)
    return out


def _pointers(
    memory: Memory, fmt: Format, unique: npt.NDArray[np.uint64]
) -> tuple[Indices, Indices, npt.NDArray[np.uint64], npt.NDArray[np.int64]]:
    """Of each pointer: the table, the index in it and the PTE; and for each table how many PTEs are valid."""
    rows, indices, values = [np.empty(0, np.intp)], [np.empty(0, np.intp)], [np.empty(0, U64)]
    used = np.zeros(len(unique), dtype=np.int64)
    found = 0
    for low in range(0, len(unique), PIECE):
        pages, _ = memory.gather(unique[low : low + PIECE])
        ptes = pages if fmt.pte_bytes == 8 else pages.view("<u4")
        flags = ptes.astype(np.uint8)
        used[low : low + PIECE] = np.count_nonzero(flags & V, axis=1)
        if found <= MOST_POINTERS:
            row, index = np.nonzero(flags & KIND_MASK == POINTER)
            rows.append(row + low)
            indices.append(index)
            values.append(ptes[row, index].astype(U64))
            found += len(row)
    return np.concatenate(rows), np.concatenate(indices), np.concatenate(values), used


def _tables_under(memory: Memory, found: Rows) -> Rows:
    """The tables one level down, each once a space, with the first PTE that points to it."""
    inside = np.zeros(len(found), dtype=np.bool_)
    for region in memory.regions:
        inside |= found["pa"] - U64(region.base) < U64(len(region.pages) << PAGE_SHIFT)
    found = found[inside]
    key = found["pa"] | found["space"].astype(U64) << U64(56) ^ found["space"].astype(U64) >> U64(8)
    _, first = np.unique(key, return_index=True)
    first.sort()
    out = np.zeros(len(first), TABLE)
    for name in ("space", "pa", "va", "pte", "pte_pa"):
        out[name] = found[name][first]
    return out
