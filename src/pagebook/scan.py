"""Whole page tables at once: every mapping of an address space as columns.

The tables are read level by level, each level in one gather, so there is no Python loop per PTE.  A table that
several PTEs point to is read once per level.  A hostile table can make a few pages list 512^3 mappings; a scan
counts before it builds, and gives up with TooManyMappings at ``limit``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from pagebook.errors import TooManyMappings
from pagebook.memory import U64, Memory
from pagebook.sv import RWX, A, D, Format, V
from pagebook.table import AddressSpace
from pagebook.units import PAGE_SHIFT, PAGE_SIZE

MAPPING = np.dtype(
    [
        ("va", "<u8"),
        ("pa", "<u8"),
        ("size", "<u8"),
        ("pte", "<u8"),
        ("pte_pa", "<u8"),
        ("level", "u1"),
        ("flags", "u1"),
        ("rsw", "u1"),
        ("pbmt", "u1"),
        ("napot", "?"),
    ]
)
"""A row of the mappings table: addresses and size in bytes, ``flags`` the PTE's low eight bits, V to D."""

RUN = np.dtype([("va", "<u8"), ("pa", "<u8"), ("size", "<u8"), ("flags", "u1"), ("level", "u1"), ("pages", "<u8")])
"""A row of the runs table: neighbouring mappings with the same rights; A and D are those of any of its pages."""

PROBLEM = np.dtype([("va", "<u8"), ("pte", "<u8"), ("pte_pa", "<u8"), ("level", "u1"), ("kind", "u1")])
PROBLEM_KINDS = ("table outside memory", "pointer on the last level", "misaligned superpage")

DEFAULT_LIMIT = 1 << 24
Mappings = npt.NDArray[np.void]


@dataclass(frozen=True)
class Scan:
    """What an address space holds: its mappings by ascending va, its tables, and what no walk can use.

    ``tables`` and ``table_levels`` name every table page once per level it is used on.
    """

    mappings: Mappings
    tables: npt.NDArray[np.uint64]
    table_levels: npt.NDArray[np.uint8]
    problems: Mappings

    def runs(self, ignore: int = A | D) -> Mappings:
        """Neighbours in va and pa with the same rights and page size, merged; flags in ``ignore`` do not count."""
        return merge(self.mappings, ignore)


class _Level(NamedTuple):
    """The tables of one level as a walk meets them: each where it is and the address its first entry translates."""

    tables: npt.NDArray[np.uint64]
    vas: npt.NDArray[np.uint64]


def scan(space: AddressSpace, limit: int = DEFAULT_LIMIT) -> Scan:
    """List ``space``; TooManyMappings when it has more than ``limit`` leaves, or as many pointers on one level."""
    fmt = space.format
    found: list[Mappings] = []
    problems: list[Mappings] = []
    tables: list[npt.NDArray[np.uint64]] = []
    levels: list[npt.NDArray[np.uint8]] = []
    here = _Level(np.array([space.root], dtype=U64), np.zeros(1, dtype=U64))
    total = 0
    for level in range(fmt.levels - 1, -1, -1):
        unique, which = np.unique(here.tables, return_inverse=True)
        ptes, inside = _read_tables(space.memory, unique, fmt)
        tables.append(unique[inside])
        levels.append(np.full(len(tables[-1]), level, dtype=np.uint8))
        valid = ptes & V != 0
        pointer = valid & (ptes & RWX == 0)
        total += int(np.count_nonzero(valid & ~pointer, axis=1)[which].sum())
        pointers = int(np.count_nonzero(pointer, axis=1)[which].sum())
        if max(total, pointers) > limit:
            raise TooManyMappings(
                f"the table at {space.root:#x} lists more than {limit} mappings, through {len(unique)} table pages on "
                f"level {level} that are used {len(which)} times; it is damaged, points at itself, "
                "or needs a higher limit",
                pa=space.root, level=level,
            )  # fmt: skip
        rows = _Rows(ptes, unique, which, here.vas, fmt, level)
        found.append(rows.mappings(valid & ~pointer))
        problems += rows.problems(pointer, found[-1])
        if not level:
            break
        here = rows.children(pointer)
        outside = ~_inside(space.memory, here.tables)
        if outside.any():
            problems.append(rows.outside(pointer, outside))
            here = _Level(here.tables[~outside], here.vas[~outside])
        if not len(here.tables):
            break
    return Scan(_by_va(found, MAPPING), np.concatenate(tables), np.concatenate(levels), _by_va(problems, PROBLEM))


def _by_va(parts: list[Mappings], dtype: np.dtype[np.void]) -> Mappings:
    rows = np.concatenate([np.empty(0, dtype), *parts])
    if len(rows) and sum(len(part) > 0 for part in parts) > 1:
        rows = rows[np.argsort(rows["va"], kind="stable")]
    return rows


def _inside(memory: Memory, pas: npt.NDArray[np.uint64]) -> npt.NDArray[np.bool_]:
    held = np.zeros(len(pas), dtype=np.bool_)
    for region in memory.regions:
        held |= (pas >= U64(region.base)) & (pas < U64(region.base + len(region.pages) * PAGE_SIZE))
    return held


def _read_tables(
    memory: Memory, tables: npt.NDArray[np.uint64], fmt: Format
) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.bool_]]:
    """The PTEs of many tables, of shape (tables, entries), as uint64 whatever the format."""
    pages, inside = memory.gather(tables)
    return (pages if fmt.pte_bytes == 8 else pages.view("<u4").astype(U64)), inside


class _Rows:
    """One level's PTEs, and how its unique tables spread over the addresses that use them."""

    def __init__(
        self,
        ptes: npt.NDArray[np.uint64],
        unique: npt.NDArray[np.uint64],
        which: npt.NDArray[np.intp],
        vas: npt.NDArray[np.uint64],
        fmt: Format,
        level: int,
    ) -> None:
        shared = len(which) > len(unique)
        self.ptes = ptes
        self.tables = unique
        self.which = which if shared or not _is_identity(which) else None
        self.vas = vas
        self.fmt = fmt
        self.level = level
        self.shift = U64(PAGE_SHIFT + level * fmt.index_bits)

    def _where(
        self, mask: npt.NDArray[np.bool_]
    ) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp], npt.NDArray[np.intp]]:
        """For each chosen PTE of each use: the use, the row in the unique tables, the index in the table."""
        if self.which is None:
            use, index = np.nonzero(mask)
            return use, use, index
        if len(self.which) <= 2 * len(mask):
            use, index = np.nonzero(mask[self.which])
            return use, self.which[use], index
        # A hostile table has millions of uses of a few pages, and mask[which] would be 512 bytes for each.
        row, index = np.nonzero(mask)
        counts = np.bincount(row, minlength=len(mask))
        uses = counts[self.which]
        use = np.repeat(np.arange(len(uses)), uses)
        skipped = (np.cumsum(counts) - counts)[self.which] - (np.cumsum(uses) - uses)
        at = np.arange(len(use)) + np.repeat(skipped, uses)
        return use, row[at], index[at]

    def _va(self, use: npt.NDArray[np.intp], index: npt.NDArray[np.intp]) -> npt.NDArray[np.uint64]:
        va = self.vas[use] | index.astype(U64) << self.shift
        if self.fmt.va_bits < self.fmt.xlen:
            top = U64((1 << self.fmt.xlen) - (1 << self.fmt.va_bits))
            va = np.where(va >> U64(self.fmt.va_bits - 1), va | top, va)
        return va

    def _pa(self, pte: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
        return (pte >> U64(10) & U64(self.fmt.ppn_mask)) << U64(PAGE_SHIFT)

    def _pte_pa(self, row: npt.NDArray[np.intp], index: npt.NDArray[np.intp]) -> npt.NDArray[np.uint64]:
        return self.tables[row] + index.astype(U64) * U64(self.fmt.pte_bytes)

    def mappings(self, leaf: npt.NDArray[np.bool_]) -> Mappings:
        """The leaves as rows of MAPPING, a row for each of the sixteen PTEs of a 64 KiB page."""
        use, row, index = self._where(leaf)
        pte = self.ptes[row, index]
        out = np.empty(len(pte), MAPPING)
        out["va"] = self._va(use, index)
        out["pte"] = pte
        out["pte_pa"] = self._pte_pa(row, index)
        out["size"] = self.fmt.page_bytes(self.level)
        out["level"] = self.level
        out["flags"] = pte & U64(0xFF)
        out["rsw"] = pte >> U64(8) & U64(3)
        pa = self._pa(pte)
        if self.fmt.pte_bytes == 8:
            out["pbmt"] = pte >> U64(61) & U64(3)
            napot = pte >> U64(63) != 0
            out["napot"] = napot
            if not self.level and napot.any():
                pa = np.where(napot, pa & ~U64(0xFFFF) | index.astype(U64) << U64(PAGE_SHIFT) & U64(0xFFFF), pa)
        else:
            out["pbmt"] = 0
            out["napot"] = False
        out["pa"] = pa
        return out

    def problems(self, pointer: npt.NDArray[np.bool_], leaves: Mappings) -> list[Mappings]:
        """Pointers on the last level, and superpages whose address their size does not divide."""
        if not self.level:
            return [self._problem(*self._where(pointer), kind=1)] if pointer.any() else []
        crooked = leaves[leaves["pa"] & U64(self.fmt.page_bytes(self.level) - 1) != 0]
        if not len(crooked):
            return []
        out = np.empty(len(crooked), PROBLEM)
        for name in ("va", "pte", "pte_pa", "level"):
            out[name] = crooked[name]
        out["kind"] = 2
        return [out]

    def _problem(
        self, use: npt.NDArray[np.intp], row: npt.NDArray[np.intp], index: npt.NDArray[np.intp], kind: int
    ) -> Mappings:
        out = np.empty(len(use), PROBLEM)
        out["va"] = self._va(use, index)
        out["pte"] = self.ptes[row, index]
        out["pte_pa"] = self._pte_pa(row, index)
        out["level"] = self.level
        out["kind"] = kind
        return out

    def children(self, pointer: npt.NDArray[np.bool_]) -> _Level:
        """The tables one level down, in the order of the addresses they translate."""
        use, row, index = self._where(pointer)
        return _Level(self._pa(self.ptes[row, index]), self.vas[use] | index.astype(U64) << self.shift)

    def outside(self, pointer: npt.NDArray[np.bool_], outside: npt.NDArray[np.bool_]) -> Mappings:
        """The pointers whose table no memory holds."""
        use, row, index = self._where(pointer)
        return self._problem(use[outside], row[outside], index[outside], kind=0)


def _is_identity(which: npt.NDArray[np.intp]) -> bool:
    return bool((which == np.arange(len(which))).all())


def merge(mappings: Mappings, ignore: int = A | D) -> Mappings:
    """Rows of MAPPING, by ascending va, merged into rows of RUN."""
    if not len(mappings):
        return np.empty(0, RUN)
    va, pa, size = mappings["va"], mappings["pa"], mappings["size"]
    rights = mappings["flags"] & np.uint8(~ignore & 0xFF)
    breaks = np.empty(len(mappings), dtype=np.bool_)
    breaks[0] = True
    breaks[1:] = (
        (va[1:] != va[:-1] + size[:-1])
        | (pa[1:] != pa[:-1] + size[:-1])
        | (rights[1:] != rights[:-1])
        | (size[1:] != size[:-1])
        | (mappings["pbmt"][1:] != mappings["pbmt"][:-1])
    )
    first = np.flatnonzero(breaks)
    runs = np.empty(len(first), RUN)
    runs["va"], runs["pa"], runs["level"] = va[first], pa[first], mappings["level"][first]
    runs["size"] = np.add.reduceat(size, first)
    runs["flags"] = np.bitwise_or.reduceat(mappings["flags"], first)
    runs["pages"] = np.diff(np.append(first, len(mappings)))
    return runs
