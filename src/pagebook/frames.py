"""Frame allocators: who hands out the pages of physical memory.

`Frames` is the protocol that page tables allocate through; `FreeList` is xv6's way to meet it, a list
threaded through the free frames themselves, so that it costs no memory of its own.  An allocator knows
frames, not mappings: nothing here can say who uses a frame.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from pagebook.errors import BadFrame
from pagebook.memory import U64, Memory
from pagebook.units import PAGE_MASK, PAGE_SHIFT, PAGE_SIZE, page_down

FrameArray = npt.NDArray[np.uint64]
STRIDE = 256  # links followed one by one between two tries in arrays, which pay for long runs only


class Frames(Protocol):
    """What a page table asks of an allocator; frames are physical addresses of 4096-byte pages."""

    def alloc(self) -> int | None:
        """One frame, its contents junk; None when there is none left."""
        ...

    def alloc_many(self, count: int) -> FrameArray:
        """The frames that ``count`` calls of `alloc` would give, fewer when they run out."""
        ...

    def free(self, pa: int) -> None:
        """Give a frame back; BadFrame when it cannot be one of this allocator's."""
        ...

    def free_many(self, pas: FrameArray) -> None:
        """Free frames in this order; BadFrame, and nothing freed, when one of them cannot be this allocator's."""
        ...

    def owns(self, pas: FrameArray) -> npt.NDArray[np.bool_]:
        """Which of these addresses are frames that `free` would take."""
        ...

    def has(self, count: int) -> bool:
        """Whether ``count`` calls of `alloc` would all succeed."""
        ...


class Chain(NamedTuple):
    """The frames of a free list in the order they would be handed out; ``broken`` says where it stopped being one."""

    frames: FrameArray
    broken: BadFrame | None

    @property
    def end(self) -> tuple[int, int | None]:
        """The last frame, 0 when there is none, and where it leads from there if that is no frame."""
        return (int(self.frames[-1]) if len(self.frames) else 0), (self.broken.pa if self.broken else None)


class FreeList:
    """xv6's allocator over the whole pages of [start, stop): last freed, first handed out.

    The first word of a free frame is the address of the next one, 0 at the end; ``head`` is the address of the
    first.  A freed frame is filled with ``JUNK_FREE``, a frame handed out with ``JUNK_ALLOC``, so that stale and
    uninitialised reads show.  Like the original it keeps no record of what is free: a frame freed twice makes the
    list loop, and ``count``, which counts frees and allocations, then differs from its length (kernel/kalloc.c).
    Over memory that is not ours the list can be read; what would change it raises ReadOnlyMemory.
    """

    JUNK_FREE = 0x01
    JUNK_ALLOC = 0x05
    _FREE_WORD = U64(0x0101_0101_0101_0101)
    _ALLOC_PAGE = bytes([JUNK_ALLOC]) * PAGE_SIZE
    _FREE_TAIL = bytes([JUNK_FREE]) * (PAGE_SIZE - 8)

    def __init__(self, memory: Memory, start: int, stop: int) -> None:
        self.memory = memory
        self.start = start
        self.stop = page_down(stop)
        self.head = 0
        self.count = 0
        self._region = memory.region(start, max(stop - start, 1))
        self._read_only = not self._region.writable
        self._base = self._region.base
        self._words = self._region.words
        self._data = self._region.data

    def __repr__(self) -> str:
        return f"<FreeList {self.start:#x}-{self.stop:#x} head {self.head:#x}>"

    def _next(self, pa: int) -> int:
        """The link in the free frame ``pa``; BadFrame when the list has left the allocator's range."""
        if not self.start <= pa < self.stop or pa & PAGE_MASK:
            raise self._astray(pa)
        return self._words[pa - self._base >> 3]

    def _astray(self, pa: int) -> BadFrame:
        return BadFrame(
            f"the free list leads to {pa:#x}, which is no frame of {self.start:#x}-{self.stop:#x}: a free frame's "
            "first word was overwritten",
            pa=pa,
        )

    def alloc(self) -> int | None:
        """Take the head of the list and fill it with 0x05 (kernel/kalloc.c: kalloc)."""
        pa = self.head
        if not pa:
            return None
        after = self._next(pa)
        if self._read_only:
            self.memory.ours(pa, PAGE_SIZE)
        self.head = after
        self.count -= 1
        offset = pa - self._base
        self._data[offset : offset + PAGE_SIZE] = self._ALLOC_PAGE
        return pa

    def alloc_many(self, count: int) -> FrameArray:
        """The frames of up to ``count`` calls of `alloc`, as an array in the order they come."""
        taken, left = self._first(count)
        if len(set(taken)) < len(taken):  # the list loops; alloc would fill a frame, and then read its link
            return np.array([self.alloc() for _ in taken], dtype=U64)
        if taken and self._read_only:
            self.memory.ours(taken[0], PAGE_SIZE)
        data, base, junk = self._data, self._base, self._ALLOC_PAGE
        for pa in taken:
            data[pa - base : pa - base + PAGE_SIZE] = junk
        self.head = left
        self.count -= len(taken)
        return np.array(taken, dtype=U64)

    def _first(self, count: int) -> tuple[list[int], int]:
        """The first ``count`` frames of the list, fewer when it ends, and the head that would be left."""
        words, base, start, stop = self._words, self._base, self.start, self.stop
        listed = self._descent(self.head, count) if count > STRIDE else []
        pa = self._next(listed[-1]) if listed else self.head
        for _ in range(count - len(listed)):
            if not pa:
                break
            listed.append(pa)
            pa = words[pa - base >> 3] if start <= pa < stop and not pa & PAGE_MASK else self._next(pa)
        return listed, pa

    def _descent(self, pa: int, count: int) -> list[int]:
        """Up to ``count`` frames from ``pa`` that each lead to the page just below: the whole list, after kinit."""
        if not self.start <= pa < self.stop or pa & PAGE_MASK:
            return []
        last = pa - self._base >> PAGE_SHIFT
        count = min(count, (pa - self.start >> PAGE_SHIFT) + 1)
        links = self._region.pages[last - count + 1 : last + 1, 0][::-1]
        frames = np.arange(pa, pa - count * PAGE_SIZE, -PAGE_SIZE, dtype=np.int64).astype(U64)
        elsewhere = links[:-1] != frames[1:]
        chain: list[int] = frames[: int(elsewhere.argmax()) + 1 if elsewhere.any() else count].tolist()
        return chain

    def free(self, pa: int) -> None:
        """Fill the frame with 0x01 and put it at the head of the list (kernel/kalloc.c: kfree)."""
        if pa & PAGE_MASK or not self.start <= pa < self.stop:
            raise self._not_ours(pa)
        if self._read_only:
            self.memory.ours(pa, PAGE_SIZE)
        offset = pa - self._base
        self._words[offset >> 3] = self.head
        self._data[offset + 8 : offset + PAGE_SIZE] = self._FREE_TAIL
        self.head = pa
        self.count += 1

    def _not_ours(self, pa: int) -> BadFrame:
        why = "not page-aligned" if pa & PAGE_MASK else "not in the range the allocator owns"
        return BadFrame(f"{pa:#x} is {why}, {self.start:#x}-{self.stop:#x}", pa=pa)

    def free_many(self, pas: FrameArray) -> None:
        """What `free` of each in turn does, as array work."""
        if not len(pas):
            return
        ours = self.owns(pas)
        if not ours.all():
            raise self._not_ours(int(pas[ours.argmin()]))
        self.memory.scatter(pas, self._FREE_WORD)
        pages = (pas - U64(self._base)) >> U64(PAGE_SHIFT)
        self._region.pages[pages[0], 0] = self.head
        self._region.pages[pages[1:], 0] = pas[:-1]
        self.head = int(pas[-1])
        self.count += len(pas)

    def owns(self, pas: FrameArray) -> npt.NDArray[np.bool_]:
        """Which of ``pas`` are page-aligned and in the allocator's range; it cannot know which are in use."""
        owned: npt.NDArray[np.bool_] = (pas & U64(PAGE_MASK) == 0) & (pas >= U64(self.start)) & (pas < U64(self.stop))
        return owned

    def free_range(self, start: int, stop: int) -> None:
        """Free every whole page of [start, stop), lowest first (kernel/kalloc.c: freerange)."""
        first = (start + PAGE_MASK) >> PAGE_SHIFT
        count = (stop >> PAGE_SHIFT) - first
        if count <= 0:
            return
        for pa in (first << PAGE_SHIFT, (first + count - 1) << PAGE_SHIFT):
            if not self.start <= pa < self.stop:
                raise self._not_ours(pa)
            self.memory.ours(pa, PAGE_SIZE)
        page = first - (self._base >> PAGE_SHIFT)
        pages = self._region.pages[page : page + count]
        step = 256  # a megabyte at a time, so that the links are written while their pages are in the cache
        for low in range(0, count, step):
            part = pages[low : low + step]
            part[:] = self._FREE_WORD
            part[:, 0] = (np.arange(low, low + len(part), dtype=U64) + U64(first - 1)) << U64(PAGE_SHIFT)
        pages[0, 0] = self.head
        self.head = (first + count - 1) << PAGE_SHIFT
        self.count += count

    def has(self, count: int) -> bool:
        """Whether the list has ``count`` different frames, for one that loops has no more; walks that many links."""
        return len(set(self._first(count)[0])) >= count

    def frames(self) -> FrameArray:
        """Every free frame in the order it would be handed out; BadFrame when the list is damaged or loops."""
        found = self.chain()
        if found.broken:
            raise found.broken
        return found.frames

    def chain(self) -> Chain:
        """The list as far as it is one: up to where it leaves the allocator's range, or comes back to itself."""
        words, base, start, stop = self._words, self._base, self.start, self.stop
        most = max(stop - start >> PAGE_SHIFT, 0) + 1
        listed: list[int] = []
        pa = self.head
        while start <= pa < stop and not pa & PAGE_MASK and len(listed) < most:
            run = self._descent(pa, most - len(listed)) if not len(listed) % STRIDE else []
            if len(run) > 1:
                listed += run
                pa = words[run[-1] - base >> 3]
                continue
            listed.append(pa)
            pa = words[pa - base >> 3]
        if len(listed) == most:  # more than there are frames
            distinct = list(dict.fromkeys(listed))
            again = listed[len(distinct)]
            loops = BadFrame(f"the free list loops: it comes back to {again:#x}; a frame was freed twice", pa=again)
            return Chain(np.array(distinct, dtype=U64), loops)
        return Chain(np.array(listed, dtype=U64), self._astray(pa) if pa else None)
