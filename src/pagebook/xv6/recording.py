"""Watching a kernel: every frame it takes or gives back, every PTE and every other byte it writes, put on a tape.

The model works in arrays: it takes many frames at once and then writes many PTEs.  The steps stand on the tape as the
C code would have done them, page by page: a frame is taken, filled, and then the PTE that maps it is written.  Nothing
of the model is made slower for that: what was written is found by comparing the frames in use with the tape's own.
While a call takes and gives back frames, those that programs have had for long are not compared; at its end all are.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import NamedTuple

import numpy as np

from pagebook.frames import FrameArray, FreeList
from pagebook.memory import U64, Memory
from pagebook.sv import KIND_MASK, POINTER, SV39, V
from pagebook.units import PAGE_SHIFT, PAGE_SIZE
from pagebook.xv6.kernel import Event, Kernel
from pagebook.xv6.tape import Kind, Step, Tape, moment_of

_EMPTY = np.zeros(SV39.entries, "<u8")
RECENT = 2048  # frames taken last that are compared each time a frame changes hands


class Place(NamedTuple):
    """Where a table stands in its tree: the PTEs in it are of ``level``, the first of them for ``va``."""

    root: int
    level: int
    va: int


class Write(NamedTuple):
    """A PTE that was written: its table, its number there, its values."""

    table: int
    number: int
    before: int
    after: int


class _Watched(FreeList):
    """xv6's free list, which tells a recorder before and after a frame changes hands."""

    def __init__(self, k: Kernel, recorder: Recorder) -> None:
        super().__init__(k.memory, k.layout.end, k.layout.physstop)
        self._recorder = recorder

    def alloc(self) -> int | None:
        self._recorder.settle(in_a_call=True)
        pa = super().alloc()
        if pa is not None:
            self._recorder.taken(np.array([pa], dtype=U64), self.head)
        return pa

    def alloc_many(self, count: int) -> FrameArray:
        self._recorder.settle(in_a_call=True)
        frames = super().alloc_many(count)
        self._recorder.taken(frames, self.head)
        return frames

    def free(self, pa: int) -> None:
        self._recorder.settle(in_a_call=True)
        head = self.head
        super().free(pa)
        self._recorder.given(np.array([pa], dtype=U64), head)

    def free_many(self, pas: FrameArray) -> None:
        self._recorder.settle(in_a_call=True)
        head = self.head
        super().free_many(pas)
        self._recorder.given(pas, head)

    def free_range(self, start: int, stop: int) -> None:
        self._recorder.settle(in_a_call=True)
        head = self.head
        super().free_range(start, stop)
        first = start + PAGE_SIZE - 1 >> PAGE_SHIFT
        self._recorder.given(np.arange(first, stop >> PAGE_SHIFT, dtype=U64) << U64(PAGE_SHIFT), head)


class Recorder:
    """Finds what was written since it last looked, and puts it on its tape in the C code's order."""

    def __init__(self, k: Kernel) -> None:
        self.tape = Tape(k)
        self._kernel = k
        self._live: set[int] = set()
        self._recent: dict[int, None] = {}  # in the order in which they were taken
        self._tables: dict[int, Place] = {}
        self._taken: dict[int, int] = {}
        self._given: dict[int, int] = {}
        self._later: dict[int, list[Write]] = {}

    @classmethod
    def on(cls, k: Kernel) -> Recorder:
        """A recorder of all that ``k``, which has not run yet, is going to do."""
        recorder = cls(k)
        k.kmem = _Watched(k, recorder)
        k.told = recorder.tell
        return recorder

    def tell(self, event: Event) -> None:
        """A sentence of the story, after all that was done until now."""
        self.settle()
        self.tape.tell(event)

    def taken(self, frames: FrameArray, head: int) -> None:
        """kalloc gave these frames, and ``head`` is first in the list now; what becomes of them is seen later."""
        listed = frames.tolist()
        self._taken = dict(zip(listed, [*listed[1:], head], strict=True))
        self._live.update(listed)
        self._recent.update(dict.fromkeys(listed))
        for frame in list(islice(self._recent, max(len(self._recent) - max(RECENT, len(listed)), 0))):
            del self._recent[frame]

    def given(self, frames: FrameArray, head: int) -> None:
        """kfree took these frames, before which ``head`` was first in the list."""
        listed = frames.tolist()
        self._given = dict(zip(listed, [head, *listed[:-1]], strict=True))
        for frame in self._live.intersection(listed):
            self._live.remove(frame)
            self._recent.pop(frame, None)
            self._tables.pop(frame, None)
            self._kernel.forget(frame)

    def settle(self, in_a_call: bool = False) -> None:
        """Put on the tape what was done since the last time, and the moment it led to."""
        changed = self._changed(self._hot() if in_a_call else self._live)
        others = [frame for frame in changed if frame not in self._taken]
        at_once: list[Write] = []
        after: list[Write] = []
        for write in sorted(self._writes(changed), key=self._order):
            first = next((frame for frame in (_target(write), write.table) if self._is_to_come(frame)), None)
            if first is not None:
                self._later.setdefault(first, []).append(write)
            else:
                (after if write.before & V else at_once).append(write)
        for write in at_once:
            self._pte(write)
        for frame, following in list(self._taken.items()):
            del self._taken[frame]
            self.tape.add(Step(Kind.ALLOC, frame, 0, following))
            self._bytes(frame)
            self._follow(frame)
        for frame, following in list(self._given.items()):
            del self._given[frame]
            self.tape.add(Step(Kind.FREE, frame, 0, following), old=self._page(self.tape.memory, frame))
            self._follow(frame)
        for frame in others:
            if frame not in self._tables:
                self._bytes(frame)
        for write in after:
            self._pte(write)
        roots = tuple(table for table, place in self._tables.items() if place.root == table)
        self.tape.note(moment_of(self._kernel, roots))

    def _is_to_come(self, frame: int) -> bool:
        """Whether the frame is one that was taken or given back and is not on the tape as that."""
        return frame in self._taken or frame in self._given

    def _follow(self, frame: int) -> None:
        """Now that the frame is on the tape: the PTEs that waited for it, or wait on for their table."""
        for write in self._later.pop(frame, ()):
            if self._is_to_come(write.table):
                self._later.setdefault(write.table, []).append(write)
            else:
                self._pte(write)

    def _hot(self) -> set[int]:
        """The frames in use that the kernel may have written in the middle of a call."""
        trapframes = {p.trapframe for p in self._kernel.proc}
        return self._live & {*self._recent, *self._tables, *self._kernel.roots, *trapframes}

    def _changed(self, among: set[int]) -> list[int]:
        """Of these frames, those that are other than on the tape, by address; those just taken are."""
        frames = np.array(sorted(among), dtype=U64)
        ours, kept = self._kernel.memory.regions[0], self.tape.memory.regions[0]
        pages = (frames - U64(ours.base) >> U64(PAGE_SHIFT)).astype(np.intp)
        other = (ours.pages[pages] != kept.pages[pages]).any(axis=1)
        found: list[int] = frames[other].tolist()
        return found

    def _writes(self, changed: list[int]) -> Iterator[Write]:
        """The PTEs that are other than on the tape, in the tables among these frames, which are found on the way."""
        for root in self._kernel.roots:
            if root in self._live:
                self._tables.setdefault(root, Place(root, SV39.levels - 1, 0))
        waiting = [frame for frame in changed if frame in self._tables]
        for table in waiting:  # grows
            new = np.frombuffer(self._page(self._kernel.memory, table), "<u8")
            old = _EMPTY if table in self._taken else np.frombuffer(self._page(self.tape.memory, table), "<u8")
            for index in np.flatnonzero(new != old).tolist():
                write = Write(table, index, int(old[index]), int(new[index]))
                yield write
                child, place = SV39.pte_pa(write.after), self._tables[table]
                if write.after & KIND_MASK == POINTER and place.level and child in self._live:
                    if child not in self._tables and child in changed:
                        waiting.append(child)
                    self._tables.setdefault(child, Place(place.root, place.level - 1, self._va(write)))

    def _va(self, write: Write) -> int:
        """The first address that the PTE translates."""
        place = self._tables[write.table]
        return place.va | write.number << PAGE_SHIFT + place.level * SV39.index_bits

    def _order(self, write: Write) -> tuple[int, int, int]:
        """By tree, then by address, pointers before what they lead to."""
        place = self._tables[write.table]
        return place.root, self._va(write), -place.level

    @staticmethod
    def _page(memory: Memory, frame: int) -> bytes:
        return memory.read(frame, PAGE_SIZE)

    def _bytes(self, frame: int) -> None:
        """What a frame holds now, if that is other than on the tape; a table begins as zeros."""
        old = self._page(self.tape.memory, frame)
        new = bytes(PAGE_SIZE) if frame in self._tables else self._page(self._kernel.memory, frame)
        if new != old:
            other = np.flatnonzero(np.frombuffer(old, "u1") != np.frombuffer(new, "u1"))
            first, stop = int(other[0]), int(other[-1]) + 1
            step = Step(Kind.BYTES, frame + first, 0, stop - first)
            self.tape.add(step, old[first:stop], new[first:stop])

    def _pte(self, write: Write) -> None:
        place = self._tables[write.table]
        pte_pa = write.table + write.number * SV39.pte_bytes
        step = Step(Kind.PTE, pte_pa, write.before, write.after, place.root, place.level, self._va(write))
        self.tape.add(step)


def _target(write: Write) -> int:
    """The frame that the PTE leads to, or led to when it does no more."""
    return SV39.pte_pa(write.after if write.after & V else write.before)
