"""What the rules look at, put together once for a look: leaves, tables, frames and who has them, as arrays.

Nothing here decides what is wrong.  An `Evidence` reads the machine's bytes and no more; every column is made when a
rule first asks for it.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from pagebook.checks.tables import Tables, read_tables
from pagebook.columns import Columns
from pagebook.ledger import Ledger
from pagebook.machine import Area, Machine, Space
from pagebook.memory import U64, Memory
from pagebook.scan import MAPPING
from pagebook.sv import R, U, W
from pagebook.units import PAGE_MASK, PAGE_SHIFT, PAGE_SIZE, page_up

LEAF = np.dtype([("space", "<i4"), *((name, MAPPING[name]) for name in MAPPING.names or ())])
"""A row of leaves: ``space`` is an index into the machine's spaces, the rest is a row of MAPPING."""

STACK = "stack of "
UNUSED_STACK = ", unused"
DEAD = "unused"
MOST_LEAVES = 1 << 20  # of a space, beside two for each frame
KERNELS = ("", "the kernel's image", "a device's queue", "a kernel stack", "a trapframe", "a page table")
IMAGE, QUEUE, STACK_FRAME, TRAPFRAME, TABLE_FRAME = range(1, 6)
Mask = npt.NDArray[np.bool_]
Addresses = npt.NDArray[np.uint64]
Indices = npt.NDArray[np.intp]


class FrameNumbers:
    """The frames of all regions of a memory under numbers from 0 on, so that an array can have an entry for each."""

    def __init__(self, memory: Memory) -> None:
        self.regions = [(region.base, region.size >> PAGE_SHIFT) for region in memory.regions]
        self.count = sum(count for _, count in self.regions)

    def __len__(self) -> int:
        return self.count

    def of(self, pas: Addresses) -> Indices:
        """The numbers of the frames of these addresses, -1 where there is no RAM."""
        numbers = np.full(len(pas), -1, dtype=np.intp)
        skipped = 0
        for base, count in self.regions:
            offset = (pas - U64(base)) >> U64(PAGE_SHIFT)
            here = offset < U64(count)
            numbers[here] = offset[here].astype(np.intp) + skipped
            skipped += count
        return numbers

    def pas(self, numbers: Indices) -> Addresses:
        """The addresses of frames by their numbers."""
        out = np.zeros(len(numbers), dtype=U64)
        skipped = 0
        for base, count in self.regions:
            here = (numbers >= skipped) & (numbers < skipped + count)
            out[here] = (numbers[here] - skipped).astype(U64) << U64(PAGE_SHIFT)
            out[here] += U64(base)
            skipped += count
        return out

    def spans(self, starts: Addresses, sizes: Addresses) -> npt.NDArray[np.int64]:
        """How many of the ranges cover each frame, however long they are."""
        parts = []
        for base, count in self.regions:
            low, high = U64(base), U64(base + (count << PAGE_SHIFT))
            ends = starts + sizes
            ends[ends < starts] = U64(0xFFFF_FFFF_FFFF_F000)
            begin, stop = (
                np.bincount(((np.clip(at, low, high) - low) >> U64(PAGE_SHIFT)).astype(np.intp), minlength=count + 1)
                for at in (starts, ends)
            )
            parts.append(np.cumsum(begin - stop)[:-1])
        return np.concatenate([np.empty(0, np.int64), *parts])


class Evidence:
    """A machine as the rules see it, at one look."""

    def __init__(self, machine: Machine, ledger: Ledger | None = None) -> None:
        self.machine = machine
        self.memory = machine.memory
        self.spaces = machine.spaces
        self.guest = machine.guest
        self.ledger = ledger or Ledger(machine)
        self.frames = FrameNumbers(machine.memory)

    @cached_property
    def kernel(self) -> int | None:
        """The number of the kernel's own space; None where there is none or it was not read."""
        return next((n for n, space in enumerate(self.spaces) if space.name == "kernel" and space.pid is None), None)

    @cached_property
    def refused(self) -> frozenset[int]:
        """Spaces with more mappings than memory explains, one by one or together: their leaves are not looked at."""
        each, room = MOST_LEAVES + 2 * len(self.frames), 2 * (MOST_LEAVES + 2 * len(self.frames))
        refused = set()
        for number, found in enumerate(self.ledger.scans):
            if found is None or len(found.mappings) > min(each, room):
                refused.add(number)
            else:
                room -= len(found.mappings)
        return frozenset(refused)

    @cached_property
    def leaves(self) -> Columns:
        """Every leaf of every space, rows of LEAF; those of a space by ascending va, the spaces in their order."""
        scans = [
            (number, found.mappings)
            for number, found in enumerate(self.ledger.scans)
            if found is not None and number not in self.refused
        ]
        numbers = [np.full(len(mappings), number, dtype=np.int32) for number, mappings in scans]

        def column(name: str) -> npt.NDArray[Any]:
            return np.concatenate([np.empty(0, MAPPING[name]), *(mappings[name] for _, mappings in scans)])

        columns: list[Any] = [np.concatenate([np.empty(0, np.int32), *numbers])]
        columns += [lambda name=name: column(name) for name in MAPPING.names or ()]
        return Columns(LEAF, sum(map(len, numbers)), columns)

    @cached_property
    def tables(self) -> Tables:
        """The tables of every space, and the pointers between them."""
        return read_tables(self.memory, self.spaces)

    @cached_property
    def processes(self) -> Mask:
        """For each space whether it is a living process's; one entry more, False, for what belongs to no space."""
        living = (space.pid is not None and space.state != DEAD for space in self.spaces)
        return np.array([*living, False], dtype=np.bool_)

    @cached_property
    def ends(self) -> Addresses:
        """For each space the end of the process's memory, rounded up to a page; 0 for the kernel's."""
        sizes = [min(page_up(space.size or 0), (1 << 64) - PAGE_SIZE) for space in self.spaces]
        return np.array([*sizes, 0], dtype=U64)

    @cached_property
    def of_process(self) -> Mask:
        """Which leaves are in a process's space."""
        found: Mask = self.processes[self.leaves["space"]]
        return found

    @cached_property
    def of_kernel(self) -> Mask:
        """Which leaves are in a kernel's space."""
        kernels = np.array([*(space.pid is None for space in self.spaces), False], dtype=np.bool_)
        found: Mask = kernels[self.leaves["space"]]
        return found

    @cached_property
    def user(self) -> Mask:
        """Which leaves have U."""
        found: Mask = self.leaves["flags"] & U != 0
        return found

    @cached_property
    def below(self) -> Mask:
        """Which leaves are below the size of their process."""
        found: Mask = self.leaves["va"] < self.ends[self.leaves["space"]]
        return found

    @cached_property
    def frame(self) -> Indices:
        """For each leaf the number of the first frame it maps, -1 where that is no RAM."""
        return self.frames.of(self.leaves["pa"])

    @cached_property
    def small(self) -> Mask:
        """Which leaves map 4096 bytes."""
        found: Mask = self.leaves["size"] == U64(PAGE_SIZE)
        return found

    @cached_property
    def roles(self) -> npt.NDArray[np.uint8]:
        """The ledger's role of each frame, by number."""
        return np.concatenate([np.empty(0, np.uint8), *(holding.role for holding in self.ledger.holdings)])

    @property
    def knows_free(self) -> bool:
        """Whether the machine says which frames are free."""
        return self.machine.pools is not None and self.machine.free_range is not None

    def blind_to_free(self) -> str:
        """Why nothing can be said of free frames; nothing where it can."""
        return "" if self.knows_free else "it is not known which frames are free"

    @cached_property
    def free_frames(self) -> list[Indices]:
        """For each pool the numbers of its frames, in the order of the list; -1 where the list names no RAM."""
        found = []
        for pool, chain in zip(self.machine.pools or (), self.ledger.chains, strict=False):
            steps = np.arange(0, min(pool.size, 1 << 30), PAGE_SIZE, dtype=U64)
            found.append(self.frames.of((chain.frames[:, None] + steps).reshape(-1)))
        return found

    @cached_property
    def free(self) -> Mask:
        """For each frame, by number, whether it is on a free list."""
        free = np.zeros(len(self.frames), dtype=np.bool_)
        for numbers in self.free_frames:
            free[numbers[numbers >= 0]] = True
        return free

    @cached_property
    def confused(self) -> Addresses:
        """Tables that some space uses on two levels: what their PTEs say on the lower one is noise."""
        rows = self.tables.tables
        order = np.lexsort((rows["pa"], rows["space"]))
        space, pa = rows["space"][order], rows["pa"][order]
        again = (space[1:] == space[:-1]) & (pa[1:] == pa[:-1])
        return np.unique(pa[1:][again])

    @cached_property
    def noise(self) -> Addresses:
        """Tables whose PTEs say nothing: confused ones, and those whose frame is free and may hold anything."""
        tables = np.unique(self.tables.tables["pa"])
        numbers = self.frames.of(tables)
        free = tables[(numbers >= 0) & self.free[numbers]] if len(self.frames) else tables[:0]
        return np.union1d(self.confused, free)

    @cached_property
    def damaged(self) -> Mask:
        """For each space whether any of its tables is noise; one entry more, False."""
        rows = self.tables.tables
        found = np.zeros(len(self.spaces) + 1, dtype=np.bool_)
        found[rows["space"][np.isin(rows["pa"], self.noise)]] = True
        return found

    def sound(self, found: Columns) -> Mask:
        """Which rows, of leaves or pointers, stand in tables that are not noise."""
        if not len(self.noise):
            return np.ones(len(found), dtype=np.bool_)
        return ~np.isin(found["pte_pa"] & ~U64(PAGE_MASK), self.noise)

    @cached_property
    def usable(self) -> Mask:
        """Which leaves are no reserved encoding and no noise: what hardware would make use of."""
        flags, pte, pa = (self.leaves[name] for name in ("flags", "pte", "pa"))
        found: Mask = (flags & (R | W) != W) & (pte >> U64(54) & U64(0x7F) == 0)
        found &= pa & (self.leaves["size"] - U64(1)) == 0
        return found & self.sound(self.leaves)

    @cached_property
    def text(self) -> tuple[int, int] | None:
        """The physical range of the kernel's text, [start, stop); None where it is not known."""
        etext = self.machine.symbols.get("etext")
        for area in self.machine.areas:
            if etext is not None and area.name == "kernel image" and area.start < etext <= area.end:
                return area.start, etext
        return None

    @cached_property
    def stacks(self) -> list[tuple[int, Area]]:
        """The kernel stacks: the index of the space and the area of each."""
        return [
            (number, area)
            for number, space in enumerate(self.spaces)
            if space.pid is None
            for area in space.areas
            if area.name.startswith(STACK) and area.end < 1 << 64
        ]

    @cached_property
    def on_stacks(self) -> Mask:
        """Which leaves are those of a kernel stack."""
        found = np.zeros(len(self.leaves), dtype=np.bool_)
        for number in {number for number, _ in self.stacks}:
            own = slice(*np.searchsorted(self.leaves["space"], [number, number + 1]).tolist())
            va = self.leaves["va"][own]
            areas = [area for at, area in self.stacks if at == number]
            start = np.sort(np.array([area.start for area in areas], dtype=U64))
            end = np.sort(np.array([area.end for area in areas], dtype=U64))
            at = np.searchsorted(start, va, side="right") - 1
            found[own] = (at >= 0) & (va < end[np.maximum(at, 0)])
        return found

    def within(self, number: int, start: int, size: int) -> Mask:
        """Which leaves of a space begin in a range of virtual addresses."""
        mask: Mask = (self.leaves["space"] == number) & (self.leaves["va"] - U64(start & ~PAGE_MASK) < U64(size))
        return mask

    def place_of(self, space: Space, name: str, below_top: int) -> int:
        """Where a process keeps what xv6 maps at a fixed address: its area, or so many pages under MAXVA."""
        for area in space.areas:
            if area.name == name:
                return area.start
        return (1 << space.table.format.va_bits - 1) - below_top * PAGE_SIZE

    @cached_property
    def trampolines(self) -> Addresses:
        """For each space the address of the trampoline."""
        return np.array([*(self.place_of(space, "trampoline", 1) for space in self.spaces), 0], dtype=U64)

    @cached_property
    def trapframes(self) -> Addresses:
        """For each space the address of the trapframe."""
        return np.array([*(self.place_of(space, "trapframe", 2) for space in self.spaces), 0], dtype=U64)

    @cached_property
    def roots(self) -> Addresses:
        """The root of each space; one entry more, 0."""
        return np.array([*(space.table.root for space in self.spaces), 0], dtype=U64)

    def has_call(self, *words: str) -> bool:
        """Whether the kernel has a system call whose name has one of these words in it."""
        calls = [name for name in self.machine.symbols if name.startswith("sys_")]
        return any(word in name for name in calls for word in words)

    @cached_property
    def kernels(self) -> npt.NDArray[np.uint8]:
        """For each frame what of the kernel's it is, an index into KERNELS: found anew, whatever role it got later."""
        kinds = np.zeros(len(self.frames), dtype=np.uint8)
        self._mark(kinds, self.of_process & (self.leaves["va"] == self.trapframes[self.leaves["space"]]), TRAPFRAME)
        for area in self.machine.areas:
            kind = IMAGE if "kernel" in area.name else QUEUE
            kinds[self.frames.spans(np.array([area.start], U64), np.array([area.size], U64)) > 0] = kind
        self._mark(kinds, self.on_stacks, STACK_FRAME)
        tables = self.frames.of(self.tables.tables["pa"])
        kinds[tables[tables >= 0]] = TABLE_FRAME
        return kinds

    def _mark(self, kinds: npt.NDArray[np.uint8], leaves: Mask, kind: int) -> None:
        numbers = self.frame[leaves]
        kinds[numbers[numbers >= 0]] = kind
