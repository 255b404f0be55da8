"""What every view shows, put together once: runs with their names, the steps of a walk, the tree of tables.

Rows are plain tuples and ints; a view only chooses how they look.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from pagebook.machine import Area, Space
from pagebook.scan import RUN, Mappings, Scan, merge, scan
from pagebook.sv import RWX, A, D, V
from pagebook.table import Entry
from pagebook.units import PAGE_SHIFT

FIRST_NAMES = 3


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


def runs(space: Space, chosen: Filter, single: bool = False) -> tuple[Scan, list[Run]]:
    """The scan of a space and its runs as chosen; every mapping on its own with ``single``."""
    found = scan(space.table)
    rows = _merged(_by_flags(found.mappings, chosen), chosen, single)
    for column, bounds in (("va", chosen.va), ("pa", chosen.pa)):
        if bounds:
            rows = rows[(rows[column] < np.uint64(bounds[1])) & (rows[column] + rows["size"] > np.uint64(bounds[0]))]
    listed = rows[["va", "pa", "size", "flags", "level", "pages"]].tolist()
    return found, [
        Run(va, pa, size, flags, level, pages, name_of(space.areas, va, size))
        for va, pa, size, flags, level, pages in listed
    ]


def _by_flags(mappings: Mappings, chosen: Filter) -> Mappings:
    flags = mappings["flags"]
    rows: Mappings = mappings[(flags & chosen.has == chosen.has) & (flags & chosen.lacks == 0)]
    return rows


def _merged(mappings: Mappings, chosen: Filter, single: bool) -> Mappings:
    if not single:
        return merge(mappings, ignore=(A | D) & ~(chosen.has | chosen.lacks))
    rows = np.empty(len(mappings), RUN)
    for name in ("va", "pa", "size", "flags", "level"):
        rows[name] = mappings[name]
    rows["pages"] = 1
    return rows


def name_of(areas: tuple[Area, ...], start: int, size: int) -> str:
    """The names of the areas that [start, start + size) touches, in order of address."""
    names = list(dict.fromkeys(a.name for a in sorted(areas) if a.start < start + size and start < a.end))
    if len(names) > FIRST_NAMES + 1:
        return ", ".join(names[:FIRST_NAMES]) + f" and {len(names) - FIRST_NAMES} more"
    return ", ".join(names)


@dataclass(frozen=True, slots=True)
class Node:
    """One or several PTEs of a table: ``count`` equal neighbours from ``index``, the first one's value and address.

    ``depth`` counts from 1 under the root; ``va`` is the first address the PTE translates.
    """

    depth: int
    level: int
    index: int
    count: int
    va: int
    pte_pa: int
    pte: int
    pa: int

    @property
    def is_table(self) -> bool:
        """Whether it points to a table one level down."""
        return not self.pte & RWX and self.level > 0


def nodes(space: Space, *, fold: bool, depth: int | None = None) -> Iterator[Node]:
    """Every valid PTE in the order of a depth-first walk; equal neighbours as one when ``fold``.

    TooManyMappings, before anything is given, when the tables are hostile.  Tables outside memory are not entered.
    """
    scan(space.table)
    fmt = space.table.format
    yield from _nodes(space, space.table.root, fmt.levels - 1, 0, fold, fmt.levels if depth is None else depth)


def _nodes(space: Space, table: int, level: int, va: int, fold: bool, depth: int) -> Iterator[Node]:
    fmt = space.table.format
    ptes = space.table.ptes(table, fmt.entries)
    indices = np.flatnonzero(ptes & V)
    values = ptes[indices].astype(np.uint64)
    starts = _groups(indices, values, fmt.page_bytes(level) >> PAGE_SHIFT, level) if fold else np.arange(len(indices))
    counts = np.diff(np.append(starts, len(indices)))
    for start, count in zip(starts.tolist(), counts.tolist(), strict=True):
        index, pte = int(indices[start]), int(values[start])
        at = fmt.canonical(va | index << PAGE_SHIFT + level * fmt.index_bits)
        node = Node(fmt.levels - level, level, index, count, at, table + index * fmt.pte_bytes, pte, fmt.pte_pa(pte))
        yield node
        if node.is_table and node.depth < depth and node.pa in space.table.memory:
            yield from _nodes(space, node.pa, level - 1, at, fold, depth)


def _groups(
    indices: npt.NDArray[np.intp], values: npt.NDArray[np.uint64], frames: int, level: int
) -> npt.NDArray[np.intp]:
    """Where a run of PTEs starts that differ from their neighbours by exactly the next page; pointers stand alone."""
    if not len(indices):
        return np.empty(0, dtype=np.intp)
    same = (np.diff(indices) == 1) & (np.diff(values.astype(np.int64)) == frames << 10)
    if level:
        leaf = values & np.uint64(RWX) != 0
        same &= leaf[1:] & leaf[:-1]
    return np.flatnonzero(np.append(True, ~same))


class Walk(NamedTuple):
    """One translation: the PTEs read, the physical address or None, and the verdict in words."""

    va: int
    space: Space
    entries: list[Entry]
    pa: int | None
    verdict: str


def walk(space: Space, va: int) -> Walk:
    """Translate ``va`` in ``space``; BadAddress when not canonical, OutsideMemory when a table is."""
    entries = space.table.steps(va)
    last = entries[-1]
    pa = space.table.translate(va)
    if pa is not None:
        size = space.table.format.page_bytes(last.level)
        verdict = (
            f"{va:#x} is mapped: the level-{last.level} PTE is a leaf for {size:#x} bytes, physical address {pa:#x}"
        )
    elif last.kind == "absent":
        verdict = f"{va:#x} is not mapped: the level-{last.level} PTE at {last.pte_pa:#x} has V = 0"
    else:
        verdict = f"{va:#x} is not mapped: the level-0 PTE at {last.pte_pa:#x} has none of R, W, X"
    return Walk(va, space, entries, pa, verdict)
