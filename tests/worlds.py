"""Small machines for the tests: a RAM of a few pages, a free list over all of it, an empty page table.

Every test that changes a table ends by accounting for each frame, and every operation that fails is held to have
changed neither a byte nor the free list.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

from loop import Loop
from pagebook.errors import PagebookError
from pagebook.frames import FrameArray, FreeList
from pagebook.memory import Memory
from pagebook.pagetable import PageTable
from pagebook.scan import scan
from pagebook.sv import SV32, SV39, SV48, SV57, Format, R, U, W

PAGE = 4096
BASE = 0x8000_0000
FORMATS = (SV32, SV39, SV48, SV57)


class Budget(FreeList):
    """A free list that runs out after ``budget`` frames, and says so when it is asked."""

    budget = 1 << 30

    def alloc(self) -> int | None:
        if not self.budget:
            return None
        self.budget -= 1
        return super().alloc()

    def alloc_many(self, count: int) -> FrameArray:
        got = super().alloc_many(min(count, self.budget))
        self.budget -= len(got)
        return got

    def has(self, count: int) -> bool:
        return count <= self.budget and super().has(count)


class World:
    """``memory``, ``frames`` over all of it, and ``table``, which is empty; ``pages`` frames in all."""

    def __init__(self, format: Format = SV39, pages: int = 32, base: int = BASE) -> None:
        self.format = format
        self.pages = pages
        self.base = base
        self.memory = Memory.anonymous(pages * PAGE, base)
        self.stop = base + pages * PAGE
        self.frames = Budget(self.memory, base, self.stop)
        self.frames.free_range(base, self.stop)
        self.table = PageTable.create(self.memory, self.frames, format)

    @property
    def ram(self) -> bytes:
        return bytes(self.memory.regions[0].data)

    @property
    def state(self) -> tuple[bytes, int, int, list[int]]:
        """All that an operation that fails must leave alone."""
        return self.ram, self.frames.head, self.frames.count, self.frames.frames().tolist()

    def loop(self) -> Loop:
        """The page-by-page model, from where this world is now."""
        budget = self.frames.budget if self.frames.budget < 1 << 30 else None
        return Loop(self.format.name, self.ram, self.base, self.frames.head, self.table.root, budget)

    @contextmanager
    def unchanged(self) -> Iterator[None]:
        """Whatever happens inside changes no byte and no free frame."""
        before = self.state
        yield
        assert self.state == before

    def frame(self) -> int:
        """A frame from the allocator, zeroed."""
        pa = self.frames.alloc()
        assert pa is not None
        self.memory.write(pa, bytes(PAGE))
        return pa

    def put(self, table: int, index: int, pte: int) -> None:
        """Write a PTE by hand."""
        self.memory.write(table + index * self.format.pte_bytes, pte.to_bytes(self.format.pte_bytes, "little"))

    def pointer(self, pa: int) -> int:
        return pa // PAGE << 10 | 1

    def account(self, loose: list[int] | None = None) -> None:
        """Free frames, tables, mapped frames and the ``loose`` ones the test holds are every frame, each once."""
        found = scan(self.table)
        mapped = [
            pa + offset
            for pa, size in zip(found.mappings["pa"].tolist(), found.mappings["size"].tolist(), strict=True)
            if self.base <= pa < self.stop
            for offset in range(0, size, PAGE)
        ]
        free = self.frames.frames().tolist()
        assert len(free) == self.frames.count
        everything = free + np.unique(found.tables).tolist() + mapped + (loose or [])
        assert sorted(everything) == list(range(self.base, self.stop, PAGE))


def refused(world: World, call: Callable[[], Any], kind: type[PagebookError], message: str) -> PagebookError:
    """The error of ``call``, which must be of exactly this kind, say exactly this, and change nothing."""
    with world.unchanged(), pytest.raises(PagebookError) as caught:
        call()
    assert (type(caught.value), str(caught.value)) == (kind, message)
    return caught.value


def facts(error: PagebookError) -> tuple[int | None, ...]:
    return error.va, error.pa, error.level, error.pte, error.pte_pa


def three_pages(flags: int = R | W | U) -> World:
    """Pages 1, 2 and 4 mapped to the frames at 0x80001000, 0x80002000 and 0x80004000."""
    world = World(pages=16)
    world.table.map(0x1000, 2 * PAGE, BASE + PAGE, flags)
    world.table.map(0x4000, PAGE, BASE + 4 * PAGE, flags)
    return world
