"""What `pagebook.scan` lists beside what a machine reached: the third translator.

A listing says nothing of privileges, so it is held against the machine where the machine got through, and against the
raw PTEs everywhere.  A page that was reached has one row, with that frame and that PTE; where nothing translates there
is no row, and a pointer or a superpage that no walk can use is listed as a problem.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from conformance.compare import Results, memory_of
from conformance.generate import Batch, naive_walk, parts
from conformance.layout import NONE, OP_FETCH
from conformance.tables import Words, ptes_at
from pagebook.columns import Columns
from pagebook.errors import OutsideMemory
from pagebook.memory import Memory
from pagebook.scan import Scan, scan
from pagebook.sv import RWX, A, D, Format, V
from pagebook.table import AddressSpace

U64 = np.uint64
Flags = npt.NDArray[np.bool_]
OUTSIDE, LAST_POINTER, MISALIGNED = range(3)


@dataclass(frozen=True)
class Pages:
    """One page of some cases: its address, the last PTE that a naive walk reads and the address that it would give.

    ``frame`` is where the machine got if it ``reached`` the page; a fetch tells only the bits of ``frame_mask``.
    """

    va: Words
    at: Words
    pte: Words
    level: npt.NDArray[np.uint8]
    pa: Words
    reached: Flags
    frame: Words
    frame_mask: Words

    def __getitem__(self, rows: npt.NDArray[np.intp] | Flags) -> Pages:
        return Pages(*(column[rows] for column in vars(self).values()))


def contradictions(batch: Batch, machine: Results) -> Flags:
    """The cases of a listable batch in which the listing is not what the machine or the PTEs say."""
    format, cases = batch.format, batch.cases
    memory = memory_of(batch)
    bad = np.zeros(len(cases), np.bool_)
    roots = (cases["satp"] & U64(format.ppn_mask)) << U64(12)
    for root in np.unique(roots).tolist():
        rows = np.flatnonzero(roots == root)
        try:
            listing = _listing(memory, root, format)
        except OutsideMemory:  # nothing to list, and nothing to reach
            bad[rows] = machine["cause"][rows] == NONE
            continue
        for number in (0, 1):
            pages = _pages(batch, machine, rows, number)
            chosen = _straddles(batch)[rows] if number else np.ones(len(rows), np.bool_)
            bad[rows[chosen]] |= listing.wrong(pages[chosen])
    return bad


@lru_cache(maxsize=128)
def _listing(memory: Memory, root: int, format: Format) -> _Listing:
    """The same listing serves every set of extensions."""
    return _Listing(scan(AddressSpace(memory, root, format)), format)


def _straddles(batch: Batch) -> Flags:
    first, second = parts(batch.cases)
    return first != second


def _pages(batch: Batch, machine: Results, rows: npt.NDArray[np.intp], number: int) -> Pages:
    """The first or the second page of each case."""
    format, cases, results = batch.format, batch.cases[rows], machine[rows]
    va = parts(cases)[number] & U64((1 << format.xlen) - 1)
    walk = naive_walk(va, cases["satp"], batch.tables, format)
    good = results["cause"] == NONE
    fetch = cases["op"] == OP_FETCH
    frame = np.where(fetch, results["value"], results["witness"][:, number])
    mask = np.where(fetch, U64(0xFFFF_F000), ~U64(0xFFF))
    return Pages(va, walk.at, ptes_at(batch.tables, walk.at, format), walk.level, walk.pa, good, frame, mask)


class _Listing:
    """A scan, ready to be asked for an address."""

    def __init__(self, found: Scan, format: Format) -> None:
        self.format = format
        self.mappings = found.mappings
        self.rows = _recorded(found.mappings)
        self.runs = found.runs()
        self.problems = found.problems
        self.tables = set(zip(found.tables.tolist(), found.table_levels.tolist(), strict=True))
        self.sound = len(self.tables) == len(found.tables) and _ascending(self.rows) and _ascending(self.runs)
        self.run_flags = _run_flags(self.rows, self.runs)

    def wrong(self, pages: Pages) -> Flags:
        """Which pages the listing gets wrong."""
        canonical = self._canonical(pages.va)
        leaf = canonical & (pages.pte & U64(V) != 0) & (pages.pte & U64(RWX) != 0)
        row, covered = _covering(self.rows, pages.va)
        bad = covered != leaf
        bad |= pages.reached & ~covered
        bad |= self._problem(pages.va, pages.at) != np.where(canonical, self._expected(pages), -1)
        bad |= pages.reached & (self._problem(pages.va, pages.at) >= 0)
        both = np.flatnonzero(covered & leaf)
        bad[both] |= self._row_wrong(self.rows[row[both]], pages[both])
        bad[both] |= self._run_wrong(row[both], pages[both])
        return bad | (not self.sound)

    def _canonical(self, va: Words) -> Flags:
        if self.format.va_bits == self.format.xlen:
            return np.ones(len(va), np.bool_)
        top = va.view(np.int64) >> np.int64(self.format.va_bits - 1)
        return (top == 0) | (top == -1)

    def _expected(self, pages: Pages) -> npt.NDArray[np.int64]:
        """The number of the problem that the last PTE is, -1 for none."""
        level = pages.level.astype(np.uint64)
        pointer = pages.pte & U64(V | RWX) == V
        leaf = (pages.pte & U64(V) != 0) & ~pointer
        span = (U64(1) << level * U64(self.format.index_bits)) - U64(1)
        crooked = leaf & (pages.pte >> U64(10) & U64(self.format.ppn_mask) & span != 0)
        return np.select([pointer & (level == 0), pointer, crooked], [LAST_POINTER, OUTSIDE, MISALIGNED], -1)

    def _problem(self, va: Words, at: Words) -> npt.NDArray[np.int64]:
        """The number of the problem that is listed for each page's PTE at this address, -1 for none."""
        problems = self.problems
        if not len(problems):
            return np.full(len(va), -1)
        place = np.searchsorted(problems["va"], va, side="right").astype(np.int64) - 1
        found = problems[np.maximum(place, 0)]
        reach = U64(4096) << found["level"].astype(np.uint64) * U64(self.format.index_bits)
        hit = (place >= 0) & (va - found["va"] < reach) & (found["pte_pa"] == at)
        return np.where(hit, found["kind"].astype(np.int64), -1)

    def _row_wrong(self, rows: npt.NDArray[np.void], pages: Pages) -> Flags:
        """Every column beside the PTE, and the frame beside the one that was reached."""
        pte, level = pages.pte, pages.level
        size = U64(4096) << level.astype(np.uint64) * U64(self.format.index_bits)
        wide = self.format.xlen == 64
        bad = (rows["pte_pa"] != pages.at) | (rows["pte"] != pte) | (rows["level"] != level) | (rows["size"] != size)
        bad |= rows["va"] & (size - U64(1)) != 0
        bad |= rows["flags"] != pte.astype(np.uint8)
        bad |= rows["rsw"] != (pte >> U64(8) & U64(3))
        bad |= rows["pbmt"] != (pte >> U64(61) & U64(3) if wide else 0)
        bad |= rows["napot"] != (pte >> U64(63) != 0 if wide else False)
        reached = rows["pa"] + (pages.va - rows["va"])
        bad |= pages.reached & ((reached ^ pages.frame) & pages.frame_mask != 0)
        bad |= (self._expected(pages) != MISALIGNED) & (reached != pages.pa)
        tables = zip((pages.at & ~U64(0xFFF)).tolist(), level.tolist(), strict=True)
        return bad | np.array([pair not in self.tables for pair in tables], np.bool_)

    def _run_wrong(self, row: npt.NDArray[np.intp], pages: Pages) -> Flags:
        """The merged run that covers the page: the same frame, the same rights, and it starts where it must."""
        number, covered = _covering(self.runs, pages.va)
        runs, rows = self.runs[number], self.rows[row]
        bad = ~covered | (runs["level"] != rows["level"]) | (runs["flags"] != self.run_flags[number])
        bad |= ((runs["flags"] ^ rows["flags"]) & np.uint8(~(A | D) & 0xFF)) != 0
        bad |= runs["size"] != runs["pages"] * rows["size"]
        reached = runs["pa"] + (pages.va - runs["va"])
        bad |= pages.reached & ((reached ^ pages.frame) & pages.frame_mask != 0)
        before = np.maximum(row - 1, 0)
        together = _covering(self.runs, self.rows["va"][before])[0] == number
        return bad | (row > 0) & (together != _joins(self.rows[before], rows))


def _recorded(mappings: Columns) -> npt.NDArray[np.void]:
    """The columns as one array of records."""
    out = np.empty(len(mappings), mappings.dtype)
    for name in mappings.dtype.names or ():
        out[name] = mappings[name]
    return out


def _ascending(rows: npt.NDArray[np.void]) -> bool:
    """Whether rows stand by address and none reaches into the next."""
    va, size = rows["va"], rows["size"]
    return bool((va[1:] > va[:-1]).all() and (va[1:] - va[:-1] >= size[:-1]).all())


def _covering(rows: npt.NDArray[np.void], va: Words) -> tuple[npt.NDArray[np.intp], Flags]:
    """The row at or before each address, and whether it reaches that far."""
    if not len(rows):
        return np.zeros(len(va), np.intp), np.zeros(len(va), np.bool_)
    place = np.searchsorted(rows["va"], va, side="right") - 1
    row = np.maximum(place, 0)
    return row, (place >= 0) & (va - rows["va"][row] < rows["size"][row])


def _joins(before: npt.NDArray[np.void], rows: npt.NDArray[np.void]) -> Flags:
    """Whether each row goes on where the one before it ends, with the same rights, page size and memory type."""
    rights = np.uint8(~(A | D) & 0xFF)
    same = (before["flags"] & rights == rows["flags"] & rights) & (before["level"] == rows["level"])
    same &= before["pbmt"] == rows["pbmt"]
    same &= before["va"] + before["size"] == rows["va"]
    return same & (before["pa"] + before["size"] == rows["pa"])


def _run_flags(rows: npt.NDArray[np.void], runs: npt.NDArray[np.void]) -> npt.NDArray[np.uint8]:
    """For each run, every flag that a row inside it has."""
    out = np.zeros(len(runs), np.uint8)
    if len(runs):
        number, covered = _covering(runs, rows["va"])
        np.bitwise_or.at(out, number[covered], rows["flags"][covered])
    return out
