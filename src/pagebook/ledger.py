"""Whose each frame is: every frame of RAM in exactly one role, found from the bytes.

The ledger never asks an allocator what it believes: the free list is walked where it lies, tables and user pages are
found by scanning every address space.  What nobody claims is ``unknown``.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np
import numpy.typing as npt

from pagebook.columns import Columns
from pagebook.machine import Area, Machine, Space
from pagebook.memory import U64
from pagebook.scan import Scan, scan
from pagebook.sv import U
from pagebook.units import PAGE_SHIFT, page_up


class Role(IntEnum):
    """What a frame is used for; where two claim it, the later one here is told."""

    UNKNOWN = 0
    FREE = 1
    KERNEL_IMAGE = 2
    DEVICE_QUEUE = 3
    KERNEL_STACK = 4
    TRAPFRAME = 5
    USER = 6
    PAGE_TABLE = 7

    @property
    def label(self) -> str:
        """The role in words."""
        return self.name.lower().replace("_", " ")


class Ledger:
    """The role of every frame of a machine's RAM, region by region."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.regions = machine.memory.regions
        self.roles = [np.zeros(region.size >> PAGE_SHIFT, dtype=np.uint8) for region in self.regions]
        frames = machine.free_list()
        if frames is not None:
            self._claim(frames.frames(), Role.FREE)
        for area in machine.areas:
            role = Role.KERNEL_IMAGE if "kernel" in area.name else Role.DEVICE_QUEUE
            self._claim_range(area.start, area.end, role)
        for space in machine.spaces:
            self._claim_space(space, scan(space.table))

    def _claim_space(self, space: Space, found: Scan) -> None:
        mappings = found.mappings
        for area in space.areas:
            role = _role_of(space, area)
            if role is not None:
                inside = (mappings["va"] >= U64(area.start)) & (mappings["va"] - U64(area.start) < U64(area.size))
                self._claim(mappings["pa"][inside], role)
        user = mappings[mappings["flags"] & U != 0] if space.pid is None else mappings[self._below(space, mappings)]
        self._claim_spans(user["pa"], user["size"], Role.USER)
        self._claim(found.tables, Role.PAGE_TABLE)

    @staticmethod
    def _below(space: Space, mappings: Columns) -> npt.NDArray[np.bool_]:
        """A process's own pages: those with U, and the guard page below its size."""
        own: npt.NDArray[np.bool_] = (mappings["flags"] & U != 0) | (mappings["va"] < U64(space.size or 0))
        return own

    def _claim(self, pas: npt.NDArray[np.uint64], role: Role) -> None:
        for region, roles in zip(self.regions, self.roles, strict=True):
            here = pas[(pas >= U64(region.base)) & (pas < U64(region.base + (len(roles) << PAGE_SHIFT)))]
            index = ((here - U64(region.base)) >> U64(PAGE_SHIFT)).astype(np.intp)
            roles[index] = np.maximum(roles[index], role.value)

    def _claim_spans(self, starts: npt.NDArray[np.uint64], sizes: npt.NDArray[np.uint64], role: Role) -> None:
        """Claim every frame of many ranges, by counting how many begin and end at each: a page can be 256 TiB."""
        for region, roles in zip(self.regions, self.roles, strict=True):
            low, high = U64(region.base), U64(region.base + (len(roles) << PAGE_SHIFT))
            begin, stop = (
                np.bincount(
                    ((np.clip(at, low, high) - low) >> U64(PAGE_SHIFT)).astype(np.intp), minlength=len(roles) + 1
                )
                for at in (starts, starts + sizes)
            )
            inside = np.cumsum(begin - stop)[:-1] > 0
            roles[inside] = np.maximum(roles[inside], role.value)

    def _claim_range(self, start: int, stop: int, role: Role) -> None:
        """Claim the frames that [start, stop) touches; a range as long as a file may claim costs no more than RAM."""
        for region, roles in zip(self.regions, self.roles, strict=True):
            first = max(start - region.base >> PAGE_SHIFT, 0)
            last = max(page_up(stop) - region.base >> PAGE_SHIFT, 0)
            roles[first:last] = np.maximum(roles[first:last], role.value)

    def counts(self) -> dict[Role, int]:
        """Frames in each role; their sum is all of RAM."""
        total = np.zeros(len(Role), dtype=np.int64)
        for roles in self.roles:
            total += np.bincount(roles, minlength=len(Role))
        return {role: int(total[role.value]) for role in Role}


def _role_of(space: Space, area: Area) -> Role | None:
    """The role that an area's name gives to the frames under it: kernel stacks, trapframes."""
    if space.pid is None:
        return Role.KERNEL_STACK if area.name.startswith("stack of ") else None
    return Role.TRAPFRAME if area.name == "trapframe" else None
