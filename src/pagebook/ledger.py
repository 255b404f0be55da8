"""Whose each frame is: every frame of RAM in exactly one role, found from the bytes.

The ledger never asks an allocator what it believes: the free lists are walked where they lie, tables and user pages are
found by scanning every address space.  What nobody claims is ``unknown``.  It is also the map the other way round: who
maps a frame, where, with which rights.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from enum import IntEnum
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from pagebook.columns import Columns, Tabled
from pagebook.errors import TooManyMappings
from pagebook.machine import Area, Machine, Space
from pagebook.memory import U64, Region
from pagebook.scan import Scan, scan
from pagebook.shown import in_notebook, plain
from pagebook.sv import U
from pagebook.units import PAGE_SHIFT, PAGE_SIZE, page_up

NOBODY = -1
LEAST_BUDGET, MOST_BUDGET = 1 << 18, 1 << 25  # mappings of all spaces together

FRAME = np.dtype([("pfn", "<u8"), ("role", "u1"), ("owner", "<i4"), ("level", "u1"), ("refs", "<u4")])
"""A row of the frames table: ``owner`` is an index into the machine's spaces or NOBODY, ``level`` that of a page table,
``refs`` how many mappings of processes lead to the frame."""


class Role(IntEnum):
    """What a frame is used for; where two claim it, the later one here is told."""

    UNKNOWN = 0
    FREE = 1
    KERNEL_IMAGE = 2
    DEVICE_QUEUE = 3
    KERNEL_STACK = 4
    TRAPFRAME = 5
    USER = 6
    SHARED = 7
    PAGE_TABLE = 8

    @property
    def label(self) -> str:
        """The role in words."""
        return self.name.lower().replace("_", " ")


def frame_words(spaces: Sequence[str]) -> dict[str, Sequence[str]]:
    """What the numbers in the columns role and owner of frames stand for."""
    return {"role": [role.label for role in Role], "owner": spaces}


class Use(NamedTuple):
    """A mapping that leads to a frame, from the virtual address ``va`` of ``space``: a leaf of ``size`` bytes."""

    space: Space
    va: int
    pa: int
    size: int
    flags: int
    level: int
    pte: int
    pte_pa: int


class Holding:
    """The columns of the frames of one region, each an array with an entry a frame; the names are those of FRAME."""

    __slots__ = ("level", "owner", "refs", "region", "role")

    def __init__(self, region: Region) -> None:
        count = region.size >> PAGE_SHIFT
        self.region = region
        self.role = np.zeros(count, dtype=np.uint8)
        self.owner = np.full(count, NOBODY, dtype=np.int32)
        self.level = np.zeros(count, dtype=np.uint8)
        self.refs = np.zeros(count, dtype=np.uint32)

    def __len__(self) -> int:
        return len(self.role)

    def which(self, pas: npt.NDArray[np.uint64]) -> npt.NDArray[np.bool_]:
        """Which of these addresses are in frames of the region."""
        inside: npt.NDArray[np.bool_] = pas - U64(self.region.base) < U64(len(self) << PAGE_SHIFT)
        return inside

    def index(self, pas: npt.NDArray[np.uint64]) -> npt.NDArray[np.intp]:
        """The frames of addresses that are in the region."""
        return ((pas - U64(self.region.base)) >> U64(PAGE_SHIFT)).astype(np.intp)

    def claim(self, frames: npt.NDArray[np.intp], role: Role, owner: int = NOBODY) -> npt.NDArray[np.intp]:
        """Give frames a role and an owner where what they have does not come later; those that were given."""
        given = frames[self.role[frames] <= role.value]
        self.role[given] = role.value
        self.owner[given] = owner
        return given

    def use(self, frames: npt.NDArray[np.intp], owner: int) -> None:
        """Count a use of each frame by a process: its page, or shared when another has it too."""
        one, times = np.unique(frames, return_counts=True)
        self.refs[one] = np.minimum(self.refs[one] + times.astype(np.uint64), np.uint64(0xFFFF_FFFF))
        others = (self.role[one] == Role.USER) & (self.owner[one] != owner)
        self.claim(one[others], Role.SHARED)
        self.claim(one[~others], Role.USER, owner)


class Ledger(Tabled):
    """The role and the owner of every frame of a machine's RAM, region by region, in ``holdings``.

    ``scans`` are the listings of the machine's spaces, in their order; None for one with more mappings than this
    machine's frames could explain, which is in ``refused`` with the reason.  ``chains`` are the free lists.
    """

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.holdings = [Holding(region) for region in machine.memory.regions]
        self.scans: list[Scan | None] = []
        self.refused: dict[str, TooManyMappings] = {}
        self.chains = machine.free_lists()
        for pool, chain in zip(machine.pools or (), self.chains, strict=False):
            self._claim(_every_frame(chain.frames, pool.size), Role.FREE)
        for area in machine.areas:
            role = Role.KERNEL_IMAGE if "kernel" in area.name else Role.DEVICE_QUEUE
            self._claim_range(area.start, area.end, role)
        budget = _budget(sum(map(len, self.holdings)), len(machine.spaces))
        for number, space in enumerate(machine.spaces):
            found = self._scan(space, budget)
            self.scans.append(found)
            if found is not None:
                budget -= len(found.mappings)
                self._claim_space(number, space, found)

    def __repr__(self) -> str:
        return f"<Ledger of {plain(self.machine.name)}: {sum(map(len, self.holdings))} frames, each in one role>"

    _repr_html_ = in_notebook

    def _scan(self, space: Space, budget: int) -> Scan | None:
        try:
            return scan(space.table, budget)
        except TooManyMappings as error:
            self.refused[space.name] = error
            return None

    def _claim_space(self, number: int, space: Space, found: Scan) -> None:
        mappings = found.usable
        for area in space.areas:
            role = _role_of(space, area)
            if role is not None:
                inside = (mappings["va"] >= U64(area.start)) & (mappings["va"] - U64(area.start) < U64(area.size))
                self._claim(mappings["pa"][inside], role, number)
        own = users_own(space, mappings)
        wide = mappings["size"][own] != U64(PAGE_SIZE)
        starts, sizes = mappings["pa"][own], mappings["size"][own]
        for holding in self.holdings:
            here = holding.which(starts) & ~wide
            frames = [holding.index(starts[here])]
            if wide.any():
                frames.append(_under(holding, starts[wide], sizes[wide]))
            holding.use(np.concatenate(frames), number)
        self._claim_tables(number, found)

    def _claim_tables(self, number: int, found: Scan) -> None:
        for holding in self.holdings:
            here = holding.which(found.tables)
            tables, levels = holding.index(found.tables[here]), found.table_levels[here]
            fresh = holding.role[tables] != Role.PAGE_TABLE  # the first space to use a table is told as its owner
            holding.level[tables[fresh]] = levels[fresh]
            holding.claim(tables[fresh], Role.PAGE_TABLE, number)

    def _claim(self, pas: npt.NDArray[np.uint64], role: Role, owner: int = NOBODY) -> None:
        for holding in self.holdings:
            holding.claim(holding.index(pas[holding.which(pas)]), role, owner)

    def _claim_range(self, start: int, stop: int, role: Role) -> None:
        """Claim the frames that [start, stop) touches; a range as long as a file may claim costs no more than RAM."""
        for holding in self.holdings:
            base = holding.region.base
            first = max(start - base >> PAGE_SHIFT, 0)
            last = min(max(page_up(stop) - base >> PAGE_SHIFT, 0), len(holding))
            holding.claim(np.arange(first, last), role)

    def counts(self) -> dict[Role, int]:
        """Frames in each role; their sum is all of RAM."""
        total = np.zeros(len(Role), dtype=np.int64)
        for holding in self.holdings:
            total += np.bincount(holding.role, minlength=len(Role))
        return {role: int(total[role.value]) for role in Role}

    def frames(self) -> Columns:
        """Every frame of RAM by ascending address, as rows of FRAME."""
        pfns = [
            np.arange(len(holding), dtype=U64) + U64(holding.region.base >> PAGE_SHIFT) for holding in self.holdings
        ]
        columns = [np.concatenate([*pfns, np.empty(0, U64)])]
        for name in FRAME.names[1:] if FRAME.names else ():
            parts = [getattr(holding, name) for holding in self.holdings]
            columns.append(np.concatenate([*parts, np.empty(0, FRAME[name])]))
        words = frame_words([space.name for space in self.machine.spaces])
        return Columns(FRAME, len(columns[0]), columns, words, {"level": columns[1] != Role.PAGE_TABLE})

    def table(self) -> Columns:
        """The frames."""
        return self.frames()

    def role_of(self, pas: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint8]:
        """The roles of the frames of these addresses, UNKNOWN where there is no RAM."""
        roles = np.zeros(len(pas), dtype=np.uint8)
        for holding in self.holdings:
            here = holding.which(pas)
            roles[here] = holding.role[holding.index(pas[here])]
        return roles

    def uses(self, start: int, stop: int) -> Iterator[Use]:
        """Every mapping of every space that leads into the physical range [start, stop)."""
        for space, found in zip(self.machine.spaces, self.scans, strict=True):
            if found is None:
                continue
            mappings = found.usable
            pa, size = mappings["pa"], mappings["size"]
            chosen = mappings[(pa <= U64(max(stop - 1, 0))) & (pa + (size - U64(1)) >= U64(start))]
            columns = [chosen[name].tolist() for name in Use._fields[1:]]
            for row in zip(*columns, strict=True):
                yield Use(space, *row)


def _budget(frames: int, spaces: int) -> int:
    """How many mappings a machine may list: a kernel's table of all frames in each space, and as much again."""
    return max(LEAST_BUDGET, 2 * frames, min(2 * frames * spaces, MOST_BUDGET))


def users_own(space: Space, mappings: Columns) -> npt.NDArray[np.bool_]:
    """Which mappings are of a process's own pages: those with U, and the guard page below its size."""
    own: npt.NDArray[np.bool_] = mappings["flags"] & U != 0
    if space.pid is not None:
        own = own | (mappings["va"] < U64(space.size or 0))
    return own


def _every_frame(pas: npt.NDArray[np.uint64], size: int) -> npt.NDArray[np.uint64]:
    """The 4096-byte frames of free blocks of ``size`` bytes."""
    if size == PAGE_SIZE:
        return pas
    every: npt.NDArray[np.uint64] = (pas[:, None] + np.arange(0, size, PAGE_SIZE).astype(U64)).reshape(-1)
    return every


def _under(holding: Holding, starts: npt.NDArray[np.uint64], sizes: npt.NDArray[np.uint64]) -> npt.NDArray[np.intp]:
    """The frames that many ranges touch, by counting how many begin and end at each: a page can be 256 TiB."""
    low, high = U64(holding.region.base), U64(holding.region.base + (len(holding) << PAGE_SHIFT))
    begin, stop = (
        np.bincount(((np.clip(at, low, high) - low) >> U64(PAGE_SHIFT)).astype(np.intp), minlength=len(holding) + 1)
        for at in (starts, starts + sizes)
    )
    return np.flatnonzero(np.cumsum(begin - stop)[:-1] > 0)


def _role_of(space: Space, area: Area) -> Role | None:
    """The role that an area's name gives to the frames under it: kernel stacks, trapframes."""
    if space.pid is None:
        return Role.KERNEL_STACK if area.name.startswith("stack of ") else None
    return Role.TRAPFRAME if area.name == "trapframe" else None
