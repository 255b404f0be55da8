"""What every view shows, put together once: runs with their names, the steps of a walk, the tree of tables.

Rows are plain tuples and ints; a view only chooses how they look.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import repeat
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from pagebook.columns import Columns
from pagebook.errors import OutsideMemory, TooManyMappings
from pagebook.machine import Names, Space
from pagebook.memory import U64, Memory
from pagebook.scan import (
    LAST_POINTER,
    MISALIGNED,
    PROBLEM_KINDS,
    RUN,
    TABLE_OUTSIDE,
    Rows,
    canonical,
    explained,
    merge,
    scan,
)
from pagebook.shown import in_notebook, plain
from pagebook.sv import RWX, Format, V
from pagebook.table import Entry
from pagebook.units import PAGE_MASK, PAGE_SHIFT, PAGE_SIZE, size_text

FIRST_FREE = 4
NAPOT_SIZE = 1 << 16
MOST_ROWS = 1 << 20  # more than anybody reads; hostile tables have them by the hundred million
LEAST_ROWS = 1 << 15  # allowed however small the memory is


@dataclass(frozen=True)
class Filter:
    """Which mappings to show: flags that must be set, flags that must be clear, address ranges [start, end)."""

    has: int = 0
    lacks: int = 0
    va: tuple[int, int] | None = None
    pa: tuple[int, int] | None = None


class Run(NamedTuple):
    """Neighbouring mappings with the same rights, and what the machine calls the place."""

    va: int
    pa: int
    size: int
    flags: int
    level: int
    pages: int
    name: str


class Problem(NamedTuple):
    """A valid PTE that no walk can use: the first address it stands for, its value and place, what is wrong."""

    va: int
    pte: int
    pte_pa: int
    level: int
    kind: str


@dataclass(frozen=True)
class Listing:
    """The chosen rows of a space, of RUN and of PROBLEM; ``mappings`` counts its leaf PTEs, chosen or not.

    Hostile tables have millions of rows, so these stay arrays until they are shown.  False when there are none.
    """

    space: Space
    mappings: int
    run_rows: Rows
    problem_rows: Rows

    def __bool__(self) -> bool:
        return len(self.run_rows) + len(self.problem_rows) > 0

    def runs(self) -> Iterator[Run]:
        """The runs by ascending va, with their names."""
        names = Names(self.space.areas)
        for va, pa, size, flags, level, pages in _tuples(self.run_rows[list(Run._fields[:-1])]):
            yield Run(va, pa, size, flags, level, pages, names.of(va, size))

    def problems(self) -> Iterator[Problem]:
        """The problems by ascending va."""
        for va, pte, pte_pa, level, kind in _tuples(self.problem_rows):
            yield Problem(va, pte, pte_pa, level, PROBLEM_KINDS[kind])


def _tuples(rows: Rows, piece: int = 1 << 14) -> Iterator[Any]:
    for low in range(0, len(rows), piece):
        yield from rows[low : low + piece].tolist()


def listing(space: Space, chosen: Filter, single: bool = False) -> Listing:
    """What ``space`` maps, as chosen, merged into runs; with ``single`` each mapping on its own.

    A run is shown whole when any of it is in the address ranges.  TooManyMappings when the tables are hostile.
    """
    found = scan(space.table, explained(space.table.memory))
    mappings, some = found.usable, chosen.has or chosen.lacks
    if some:
        mappings = mappings[_by_flags(mappings["flags"], chosen)]
    rows = _each(mappings) if single else merge(mappings) if some else found.usable_runs()
    rows = rows[_by_place(rows["va"], rows["pa"], rows["size"], chosen)]
    problems = _problems(space.table.format, found.problems, chosen)
    most = explained(space.table.memory, LEAST_ROWS, MOST_ROWS)
    if max(len(rows), len(problems)) > most:
        useless = f" and {len(problems)} PTEs that no walk can use" if len(problems) else ""
        raise TooManyMappings(
            f"{space.name} has {len(rows)} runs{useless} to show, more than {most}: its tables are hostile, or ask "
            "for a part with --va, --pa, --has or --lacks"
        )
    return Listing(space, len(found.usable), rows, problems)


def _by_flags(flags: npt.NDArray[np.uint8], chosen: Filter) -> npt.NDArray[np.bool_]:
    kept: npt.NDArray[np.bool_] = (flags & chosen.has == chosen.has) & (flags & chosen.lacks == 0)
    return kept


def _by_place(
    va: npt.NDArray[np.uint64], pa: npt.NDArray[np.uint64], size: npt.NDArray[np.uint64], chosen: Filter
) -> npt.NDArray[np.bool_]:
    """Which of these touch the chosen ranges; compared by their last bytes, as an end may be 2^64."""
    kept = np.ones(len(va), dtype=np.bool_)
    for start, bounds in ((va, chosen.va), (pa, chosen.pa)):
        if bounds:
            kept &= (start <= U64(bounds[1] - 1)) & (start + (size - U64(1)) >= U64(bounds[0]))
    return kept


def _each(mappings: Columns) -> Rows:
    """Every mapping as a run of its own."""
    rows = np.empty(len(mappings), RUN)
    for name in ("va", "pa", "size", "flags", "level"):
        rows[name] = mappings[name]
    rows["pages"] = 1
    return rows


def _problems(fmt: Format, rows: Rows, chosen: Filter) -> Rows:
    """The problems whose PTE and addresses are as chosen."""
    pa = (rows["pte"] >> U64(10) & U64(fmt.ppn_mask)) << U64(PAGE_SHIFT)
    size = U64(PAGE_SIZE) << rows["level"].astype(U64) * U64(fmt.index_bits)
    kept = _by_flags((rows["pte"] & U64(0xFF)).astype(np.uint8), chosen) & _by_place(rows["va"], pa, size, chosen)
    chosen_rows: Rows = rows[kept]
    return chosen_rows


@dataclass(slots=True)
class Node:
    """One or several PTEs of a table: ``count`` neighbours from ``index``, the first one's value and address.

    ``depth`` counts from 1 under the root; ``va`` is the first address the PTE translates, ``pa`` where that goes or
    the table it points to; ``problem`` says why no walk can use it, or is empty.
    """

    depth: int
    level: int
    index: int
    count: int
    va: int
    pte_pa: int
    pte: int
    pa: int
    problem: str

    @property
    def is_table(self) -> bool:
        """Whether it points to a table, be it one that cannot be."""
        return not self.pte & RWX


def nodes(space: Space, *, fold: bool, depth: int | None = None) -> Iterator[Node]:
    """Every valid PTE in the order of a depth-first walk; with ``fold``, leaves that map on and on are one node.

    TooManyMappings, before anything is given, when the tables are hostile.  Tables outside memory are not entered.
    """
    scan(
        space.table, explained(space.table.memory, LEAST_ROWS, MOST_ROWS)
    )  # here and now, not when the first node is asked for
    fmt = space.table.format
    return _nodes(space, space.table.root, fmt.levels - 1, 0, fold, fmt.levels if depth is None else depth)


def _nodes(space: Space, table: int, level: int, va: int, fold: bool, depth: int) -> Iterator[Node]:
    for node in _of_table(space, table, level, va, fold):
        yield node
        if node.depth < depth and node.is_table and not node.problem:
            yield from _nodes(space, node.pa, level - 1, node.va, fold, depth)


def _of_table(space: Space, table: int, level: int, va: int, fold: bool) -> Iterator[Node]:
    """The nodes of one table page on ``level``, whose first PTE translates ``va``."""
    fmt = space.table.format
    ptes = space.table.ptes(table, fmt.entries)
    indices = np.flatnonzero(ptes & V)
    values = ptes[indices].astype(U64)
    starts = _groups(indices, values, fmt, level) if fold else np.arange(len(indices))
    counts = np.diff(np.append(starts, len(indices)))
    index, pte = indices[starts].astype(U64), values[starts]
    vas = canonical(U64(va) | index << U64(PAGE_SHIFT + level * fmt.index_bits), fmt)
    pas = (pte >> U64(10) & U64(fmt.ppn_mask)) << U64(PAGE_SHIFT)
    if not level:
        pas = np.where(pte >> U64(63) != 0, pas & ~U64(NAPOT_SIZE - 1) | vas & U64(NAPOT_SIZE - PAGE_SIZE), pas)
    plain_leaf = (pte & U64(RWX) != 0) & (pas & U64(fmt.page_bytes(level) - 1) == 0)
    numbers, problems = pte.tolist(), [""] * len(pte)
    for place in np.flatnonzero(~plain_leaf).tolist():
        problems[place] = _problem(space.table.memory, fmt, numbers[place], level)
    at = (U64(table) + index * U64(fmt.pte_bytes)).tolist()
    rows = (repeat(fmt.levels - level), repeat(level), index.tolist(), counts.tolist(), vas.tolist(), at, numbers)
    return map(Node, *rows, pas.tolist(), problems)


def entries(space: Space, table: int, level: int, va: int) -> Iterator[Node]:
    """The valid PTEs of one table page on ``level``, whose first translates ``va``; leaves that map on are one node.

    OutsideMemory when the table is not in memory.
    """
    yield from _nodes(space, table, level, va, True, space.table.format.levels - level)


def _groups(
    indices: npt.NDArray[np.intp], values: npt.NDArray[np.uint64], fmt: Format, level: int
) -> npt.NDArray[np.intp]:
    """Where a run of leaves starts that each map the next page, or of the sixteen equal PTEs of a 64 KiB page."""
    if not len(indices):
        return np.empty(0, dtype=np.intp)
    steps = np.diff(values)
    same = steps == U64(fmt.page_bytes(level) >> PAGE_SHIFT << 10)
    if not level:
        same = np.where(values[1:] >> U64(63) != 0, (steps == 0) & (indices[1:] % 16 != 0), same)
    is_leaf = values & U64(RWX) != 0
    same &= (np.diff(indices) == 1) & is_leaf[1:] & is_leaf[:-1]
    return np.flatnonzero(np.append(True, ~same))


def leaf(fmt: Format, pte: int, level: int, va: int = 0) -> tuple[int, int]:
    """The address in a PTE, and the bytes that it maps if it is a leaf: with Svnapot 64 KiB, from sixteen PTEs.

    With Svnapot the address is that of the 4 KiB page of ``va``.
    """
    pa = fmt.pte_pa(pte)
    if pte >> 63 and not level:
        return pa & -NAPOT_SIZE | va & NAPOT_SIZE - 1 & ~PAGE_MASK, NAPOT_SIZE
    return pa, fmt.page_bytes(level)


def _problem(memory: Memory, fmt: Format, pte: int, level: int) -> str:
    """What makes a valid PTE useless to a walk, in the words of `scan`; nothing for most."""
    pa = fmt.pte_pa(pte)
    if pte & RWX:
        return PROBLEM_KINDS[MISALIGNED] if pa & fmt.page_bytes(level) - 1 else ""
    if not level:
        return PROBLEM_KINDS[LAST_POINTER]
    return "" if _holds(memory, pa) else PROBLEM_KINDS[TABLE_OUTSIDE]


def _holds(memory: Memory, table: int) -> bool:
    try:
        memory.region(table, PAGE_SIZE)
    except OutsideMemory:
        return False
    return True


class Walk(NamedTuple):
    """One translation: the PTEs read, the physical address or None, and the verdict in words."""

    va: int
    space: Space
    entries: list[Entry]
    pa: int | None
    verdict: str

    def __repr__(self) -> str:
        return f"<Walk in {plain(self.space.name)}: {self.verdict}>"

    def _repr_html_(self) -> str:
        return in_notebook(self)


def walk(space: Space, va: int) -> Walk:
    """Translate ``va`` in ``space``; BadAddress when it is not canonical.

    Read, write and execute rights and the privilege are not asked for: only whether there is a translation.
    """
    entries = _entries(space, va)
    last = entries[-1]
    where = f"the level-{last.level} PTE at {last.pte_pa:#x}"
    problem = _problem(space.table.memory, space.table.format, last.pte, last.level)
    if last.kind == "absent":
        return Walk(va, space, entries, None, f"{va:#x} is not mapped: {where} has V = 0")
    if problem:
        return Walk(va, space, entries, None, f"{va:#x} is not mapped: {where} is no use, {_WHY[problem]}")
    pa = space.table.translate(va)
    _, size = leaf(space.table.format, last.pte, last.level)
    verdict = f"{va:#x} is mapped to {pa or 0:#x}: the level-{last.level} PTE is a leaf of {size_text(size)}"
    return Walk(va, space, entries, pa, verdict)


_WHY = {
    PROBLEM_KINDS[TABLE_OUTSIDE]: "it points to a table outside memory",
    PROBLEM_KINDS[LAST_POINTER]: "it has none of R, W, X on the last level",
    PROBLEM_KINDS[MISALIGNED]: "its superpage is misaligned",
}


def _entries(space: Space, va: int) -> list[Entry]:
    """The PTEs that the translation of ``va`` reads, up to one that points outside memory."""
    try:
        return space.table.steps(va)
    except OutsideMemory as error:
        fmt = space.table.format
        above = fmt.steps[: fmt.levels - 1 - (error.level or 0)]
        found = [space.table.find(va, above[: depth + 1]) for depth in range(len(above))]
        return [Entry(level, pte_pa, pte) for pte_pa, pte, level in found]
