"""Whole page tables at once: every mapping of an address space as columns.

The tables are read level by level, each level in one gather, so there is no Python loop per PTE.  A table that
several PTEs point to is read once per level.  A hostile table can make a few pages list 512^3 mappings; a scan
counts before it builds, and gives up with TooManyMappings at ``limit``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from pagebook.columns import Columns
from pagebook.errors import TooManyMappings
from pagebook.memory import U64, Memory
from pagebook.sv import KIND_MASK, POINTER, A, D, Format, V, flags_text
from pagebook.table import AddressSpace
from pagebook.units import PAGE_MASK, PAGE_SHIFT

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
TABLE_OUTSIDE, LAST_POINTER, MISALIGNED = range(len(PROBLEM_KINDS))

WORDS = {"flags": tuple(flags_text(flags) for flags in range(256))}
"""Flags as words, for tables that leave."""

DEFAULT_LIMIT = 1 << 24
MOST_TABLES = 1 << 14
"""Tables on a level that are fetched together, before anybody lists them."""
LEAST_MAPPINGS = 1 << 18  # allowed however small the memory is
Rows = npt.NDArray[np.void]


@dataclass(frozen=True)
class Scan:
    """What an address space holds: its mappings by ascending va, its tables, and what no walk can use.

    ``tables`` and ``table_levels`` name every table page once per level it is used on; ``most`` is the number of
    leaves, or of the pointers on one level when those are more: a limit is held against it.
    """

    mappings: Columns
    tables: npt.NDArray[np.uint64]
    table_levels: npt.NDArray[np.uint8]
    problems: Rows
    most: int

    def __repr__(self) -> str:
        return f"<Scan: {len(self.mappings)} mappings, {len(self.tables)} tables, {len(self.problems)} problems>"

    def runs(self) -> Rows:
        """Neighbours in va and pa with the same rights, page size and memory type, merged; A and D do not count."""
        return self._merged

    @cached_property
    def _merged(self) -> Rows:
        return merge(self.mappings)

    @cached_property
    def usable(self) -> Columns:
        """The mappings without the misaligned superpages, at which every walk faults."""
        if not (self.problems["kind"] == MISALIGNED).any():
            return self.mappings
        aligned: npt.NDArray[np.bool_] = self.mappings["pa"] & (self.mappings["size"] - U64(1)) == 0
        return self.mappings[aligned]

    def usable_runs(self) -> Rows:
        """The runs of what is `usable`."""
        return self._merged if self.usable is self.mappings else merge(self.usable)


class _Level(NamedTuple):
    """The tables of one level as a walk meets them: each where it is and the address its first entry translates."""

    tables: npt.NDArray[np.uint64]
    vas: npt.NDArray[np.uint64]


def scan(space: AddressSpace, limit: int = DEFAULT_LIMIT) -> Scan:
    """List ``space``; TooManyMappings when it has more than ``limit`` leaves, or as many pointers on one level."""
    kept = space.memory.kept
    known: Scan | None = None if kept is None else kept.get((space.root, space.format.name))
    if known is not None and known.most <= limit:
        return known
    found = _scan(space, limit)
    if kept is not None:
        kept[space.root, space.format.name] = found
    return found


def fetch_tables(memory: Memory, roots: npt.NDArray[np.uint64], fmt: Format) -> bool:
    """Have the tables under these roots as they are now, level by level, those of all roots at once.

    True when one holds a PTE above the last level that no walk can use, or when they are more than `MOST_TABLES`.
    """
    tables, broken = np.unique(roots), False
    for level in range(fmt.levels - 1, -1, -1):
        ptes, inside = _read_tables(memory, tables, fmt, np.empty((len(tables), fmt.entries), dtype=U64))
        broken |= not inside.all()
        if not level:
            break
        kinds, numbers = ptes & U64(KIND_MASK), ptes >> U64(10) & U64(fmt.ppn_mask)
        leaves = (ptes & U64(V) != 0) & (kinds != U64(POINTER))
        broken |= bool((numbers[leaves] & U64((fmt.page_bytes(level) >> PAGE_SHIFT) - 1)).any())
        tables = np.unique(numbers[kinds == U64(POINTER)]) << U64(PAGE_SHIFT)
        if len(tables) > MOST_TABLES:
            return True
    return broken


def explained(memory: Memory, least: int = LEAST_MAPPINGS, most: int = DEFAULT_LIMIT) -> int:
    """How many mappings a table may have, for a machine of this memory: twice its frames, between the two bounds."""
    return min(max(2 * sum(region.size >> PAGE_SHIFT for region in memory.regions), least), most)


def _scan(space: AddressSpace, limit: int) -> Scan:
    fmt = space.format
    found: list[Columns] = []
    problems: list[Rows] = []
    tables: list[npt.NDArray[np.uint64]] = []
    levels: list[npt.NDArray[np.uint8]] = []
    here = _Level(np.array([space.root], dtype=U64), np.zeros(1, dtype=U64))
    total = most = 0
    for level in range(fmt.levels - 1, -1, -1):
        unique, which = _unique(here.tables)
        room = np.empty((3, len(unique), fmt.entries), dtype=U64)
        ptes, inside = _read_tables(space.memory, unique, fmt, room[0])
        tables.append(np.sort(unique[inside]))
        levels.append(np.full(len(tables[-1]), level, dtype=np.uint8))
        flags = ptes.astype(np.uint8)
        pointer = flags & KIND_MASK == POINTER
        leaf = (flags & V).view(np.bool_) ^ pointer
        total += _count(leaf, which)
        most = max(most, total, _count(pointer, which))
        if most > limit:
            raise TooManyMappings(
                f"the table at {space.root:#x} lists more than {limit} mappings, through {len(unique)} table pages on "
                f"level {level} that are used {len(here.tables)} times; it is damaged or points at itself",
                pa=space.root, level=level,
            )  # fmt: skip
        rows = _Uses(room, flags, unique, which, here.vas, fmt, level)
        found.append(rows.mappings(leaf))
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
    mappings = Columns.stacked(MAPPING, found)
    if sum(len(part) > 0 for part in found) > 1:
        mappings = mappings[np.argsort(mappings["va"], kind="stable")]
    wrong = np.concatenate([np.empty(0, PROBLEM), *problems])
    wrong = wrong[np.argsort(wrong["va"], kind="stable")]
    return Scan(mappings, np.concatenate(tables), np.concatenate(levels), wrong, most)


def _unique(tables: npt.NDArray[np.uint64]) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.intp] | None]:
    """The different tables, and for each use which of them; None for that when each is used once, in this order."""
    ordered = np.sort(tables)
    if not (ordered[1:] == ordered[:-1]).any():
        return tables, None
    return np.unique(tables, return_inverse=True)


def _count(mask: npt.NDArray[np.bool_], which: npt.NDArray[np.intp] | None) -> int:
    """How often a PTE in the mask is used."""
    if which is None:
        return int(np.count_nonzero(mask))
    return int(np.count_nonzero(mask, axis=1)[which].sum())


def _inside(memory: Memory, pas: npt.NDArray[np.uint64]) -> npt.NDArray[np.bool_]:
    held = np.zeros(len(pas), dtype=np.bool_)
    for region in memory.regions:
        held |= (pas >= U64(region.base)) & (pas < U64(region.base + (region.size & ~PAGE_MASK)))
    return held


def _read_tables(
    memory: Memory, tables: npt.NDArray[np.uint64], fmt: Format, out: npt.NDArray[np.uint64]
) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.bool_]]:
    """The PTEs of many tables, of shape (tables, entries), as uint64 whatever the format."""
    if fmt.pte_bytes == 8:
        return memory.gather(tables, out)
    pages, inside = memory.gather(tables)
    out[:] = pages.view("<u4")
    return out, inside


class _Uses:
    """One level's PTEs, and how its tables spread over the addresses that use them.

    ``room`` is of shape (3, tables, entries): the PTEs, and place for the columns va and pa of a level whose every PTE
    is a leaf.  One block of memory is cheaper than three: from 4 MiB on the system gives it in huge pages.
    """

    def __init__(
        self,
        room: npt.NDArray[np.uint64],
        flags: npt.NDArray[np.uint8],
        tables: npt.NDArray[np.uint64],
        which: npt.NDArray[np.intp] | None,
        vas: npt.NDArray[np.uint64],
        fmt: Format,
        level: int,
    ) -> None:
        self.ptes, self.room = room[0], room[1:]
        self.flags = flags
        self.tables = tables
        self.which = which
        self.vas = vas
        self.fmt = fmt
        self.level = level
        self.reach = np.arange(fmt.entries, dtype=U64) << U64(PAGE_SHIFT + level * fmt.index_bits)
        self.offsets = np.arange(fmt.entries, dtype=U64) * U64(fmt.pte_bytes)

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
        return canonical(self.vas[use] | self.reach[index], self.fmt)

    def _pa(self, pte: npt.NDArray[np.uint64], room: npt.NDArray[np.uint64] | None = None) -> npt.NDArray[np.uint64]:
        pa: npt.NDArray[np.uint64] = np.right_shift(pte, U64(10), out=room)
        pa &= U64(self.fmt.ppn_mask)
        pa <<= U64(PAGE_SHIFT)
        return pa

    def mappings(self, leaf: npt.NDArray[np.bool_]) -> Columns:
        """The leaves as rows of MAPPING, a row for each of the sixteen PTEs of a 64 KiB page."""
        if self.which is not None:
            use, row, index = self._where(leaf)
            va, pte_pa = self.vas[use] | self.reach[index], lambda: self.tables[row] + self.offsets[index]
            return self._columns(va, self.ptes[row, index], self.flags[row, index], pte_pa)
        chosen = _chosen(leaf.reshape(-1))
        va = np.bitwise_or(self.vas[:, None], self.reach, out=self.room[0]).reshape(-1)[chosen]
        pte, flags = self.ptes.reshape(-1)[chosen], self.flags.reshape(-1)[chosen]
        pte_pa = lambda: (self.tables[:, None] + self.offsets).reshape(-1)[chosen]  # noqa: E731
        return self._columns(va, pte, flags, pte_pa, self.room[1].reshape(-1)[: len(pte)])

    def _columns(
        self,
        va: npt.NDArray[np.uint64],
        pte: npt.NDArray[np.uint64],
        flags: npt.NDArray[np.uint8],
        pte_pa: Callable[[], npt.NDArray[np.uint64]],
        room: npt.NDArray[np.uint64] | None = None,
    ) -> Columns:
        size, level = self.fmt.page_bytes(self.level), self.level
        va = canonical(va, self.fmt)
        extended = self.fmt.pte_bytes == 8 and bool(len(pte)) and int(np.bitwise_or.reduce(pte)) >> 61 != 0

        def high(bits: int, low: int, kind: type) -> npt.NDArray[Any]:
            return (pte >> U64(low) & U64(bits)).astype(kind) if extended else np.zeros(len(pte), kind)

        def pa() -> npt.NDArray[np.uint64]:
            found = self._pa(pte, room)
            napot = pte >> U64(63) != 0 if extended and not level else None
            return found if napot is None else np.where(napot, found & ~U64(0xFFFF) | va & U64(0xF000), found)

        rest: list[Callable[[], npt.NDArray[Any]]] = [
            lambda: (pte >> U64(8) & U64(3)).astype(np.uint8),
            lambda: high(3, 61, np.uint8),
            lambda: high(1, 63, np.bool_),
        ]
        sizes, levels = lambda: np.full(len(pte), size, U64), lambda: np.full(len(pte), level, np.uint8)
        return Columns(MAPPING, len(pte), [va, pa, sizes, pte, pte_pa, levels, flags, *rest], WORDS)

    def problems(self, pointer: npt.NDArray[np.bool_], leaves: Columns) -> list[Rows]:
        """Pointers on the last level, and superpages whose address their size does not divide."""
        if not self.level:
            return [self._problem(*self._where(pointer), kind=LAST_POINTER)] if pointer.any() else []
        wrong = leaves["pa"] & U64(self.fmt.page_bytes(self.level) - 1) != 0
        if not wrong.any():
            return []
        crooked = leaves[wrong]
        out = np.empty(len(crooked), PROBLEM)
        for name in ("va", "pte", "pte_pa", "level"):
            out[name] = crooked[name]
        out["kind"] = MISALIGNED
        return [out]

    def _problem(
        self, use: npt.NDArray[np.intp], row: npt.NDArray[np.intp], index: npt.NDArray[np.intp], kind: int
    ) -> Rows:
        out = np.empty(len(use), PROBLEM)
        out["va"] = self._va(use, index)
        out["pte"] = self.ptes[row, index]
        out["pte_pa"] = self.tables[row] + self.offsets[index]
        out["level"] = self.level
        out["kind"] = kind
        return out

    def children(self, pointer: npt.NDArray[np.bool_]) -> _Level:
        """The tables one level down, in the order of the addresses they translate."""
        use, row, index = self._where(pointer)
        return _Level(self._pa(self.ptes[row, index]), self.vas[use] | self.reach[index])

    def outside(self, pointer: npt.NDArray[np.bool_], outside: npt.NDArray[np.bool_]) -> Rows:
        """The pointers whose table no memory holds."""
        use, row, index = self._where(pointer)
        return self._problem(use[outside], row[outside], index[outside], kind=TABLE_OUTSIDE)


def canonical(va: npt.NDArray[np.uint64], fmt: Format) -> npt.NDArray[np.uint64]:
    """Addresses (N,) with the bits above the format's filled from its top bit, in place."""
    if fmt.va_bits < fmt.xlen and len(va) and int(va.max()) >> fmt.va_bits - 1:
        va[va >> U64(fmt.va_bits - 1) != 0] |= U64((1 << fmt.xlen) - (1 << fmt.va_bits))
    return va


def _chosen(mask: npt.NDArray[np.bool_]) -> slice | npt.NDArray[np.bool_]:
    """What is set in a mask: a slice when that is one run, which is then looked at in place; else the mask."""
    first, count = int(mask.argmax()), int(np.count_nonzero(mask))
    return slice(first, first + count) if mask[first : first + count].all() else mask


def merge(rows: Columns | Rows, ignore: int = A | D) -> Rows:
    """Rows of MAPPING, or of RUN, by ascending va, merged into rows of RUN; flags in ``ignore`` do not count."""
    if not len(rows):
        return np.empty(0, RUN)
    names = rows.names if isinstance(rows, Columns) else rows.dtype.names or ()
    va, pa, size, level = (rows[name] for name in ("va", "pa", "size", "level"))
    breaks = np.ones(len(rows), dtype=np.bool_)
    breaks[1:] = (va + size)[:-1] != va[1:]
    for same in (pa - va, rows["flags"] & np.uint8(~ignore & 0xFF), level, *(rows[x] for x in names if x == "pbmt")):
        breaks[1:] |= same[1:] != same[:-1]
    first = np.flatnonzero(breaks)
    runs = np.empty(len(first), RUN)
    runs["va"], runs["pa"], runs["level"] = va[first], pa[first], level[first]
    runs["size"] = np.add.reduceat(size, first)
    runs["flags"] = np.bitwise_or.reduceat(rows["flags"], first)
    pages = np.add.reduceat(rows["pages"], first) if "pages" in names else np.diff(np.append(first, len(rows)))
    runs["pages"] = pages
    return runs
