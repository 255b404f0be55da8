"""What a kernel did to its memory, a step at a time, kept so that it can be played forwards and backwards.

A `Tape` has a memory of its own, which stands as the kernel's did at one moment; `seek` moves it.  A step is one frame
that kalloc gave or kfree took, one PTE that was written, or other bytes of one frame.  What is no byte of memory, the
process table and satp, is kept beside the steps whenever it changed.  The steps are made by `recording`.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from dataclasses import replace
from enum import IntEnum
from itertools import chain, takewhile
from typing import NamedTuple

from pagebook.frames import FreeList
from pagebook.machine import Machine, Space, Spaces
from pagebook.memory import Memory
from pagebook.units import PAGE_SIZE
from pagebook.xv6.boot import machine
from pagebook.xv6.kernel import Event, Kernel, Proc, State

_TAKEN = bytes([FreeList.JUNK_ALLOC]) * PAGE_SIZE
_FREED = bytes([FreeList.JUNK_FREE]) * (PAGE_SIZE - 8)
_ZEROS = bytes(PAGE_SIZE)


class Kind(IntEnum):
    """What a step is."""

    ALLOC = 0
    FREE = 1
    PTE = 2
    BYTES = 3


class Step(NamedTuple):
    """One step: ``pa`` is the frame's address, or the PTE's, or that of the first byte.

    ``before`` and ``after`` are the PTE's values.  Of other bytes, ``after`` is how many there are; of a frame given or
    taken, it is the address of the free frame behind it.  A PTE stands in a table of ``level`` in the tree from
    ``root``, for ``va``.
    """

    kind: Kind
    pa: int
    before: int
    after: int
    root: int = 0
    level: int = 0
    va: int = 0


class Told(NamedTuple):
    """A sentence of the story, told when so many steps were done."""

    steps: int
    event: Event


class Row(NamedTuple):
    """A process as it was, in its slot: the fields of `Proc`, its parent as a slot, too."""

    slot: int
    state: State
    pid: int
    name: str
    sz: int
    pagetable: int
    trapframe: int
    kstack: int
    xstate: int
    killed: bool
    parent: int | None
    image: tuple[tuple[int, int, str], ...]


class Moment(NamedTuple):
    """What is no byte of memory: the kernel's root and satp, the disk's frames, the processes, all roots of tables."""

    kernel_pagetable: int
    satp: int
    disk: tuple[int, int, int] | None
    processes: tuple[Row, ...]
    roots: tuple[int, ...]


def moment_of(k: Kernel, roots: tuple[int, ...]) -> Moment:
    """The moment that ``k`` is in."""
    rows = tuple(_row(p) for p in k.proc if p.state is not State.UNUSED)
    return Moment(k.kernel_pagetable, k.satp, k.disk, rows, roots)


def _row(p: Proc) -> Row:
    parent = None if p.parent is None else p.parent.index
    return Row(
        p.index, p.state, p.pid, p.name, p.sz, p.pagetable, p.trapframe, p.kstack, p.xstate, p.killed, parent, p.image
    )


def _owner(moment: Moment, root: int) -> str | None:
    if root == moment.kernel_pagetable:
        return "kernel"
    return next((f"{p.name or 'process'} (pid {p.pid})" for p in moment.processes if p.pagetable == root), None)


class Tape:
    """Steps, the story told between them, and a memory that stands at one of them; ``position`` says at which."""

    def __init__(self, k: Kernel) -> None:
        """An empty tape of ``k``, which has not run yet: its memory is copied as it is."""
        ram = k.memory.regions[0]
        self.memory = Memory.anonymous(ram.size, ram.base, ram.name).with_devices(k.memory.devices)
        self.memory.write(ram.base, ram.view(0, k.layout.end - ram.base))
        self.told: list[Told] = []
        self.position = 0
        self._kernel = Kernel(self.memory, k.revision, k.layout, k.strict, k.symbols, k.files)
        self._region = self.memory.regions[0]
        self._kinds, self._levels = bytearray(), bytearray()
        self._pas, self._befores, self._afters = array("Q"), array("Q"), array("Q")
        self._roots, self._vas = array("Q"), array("Q")
        self._bytes: dict[int, tuple[bytes, bytes]] = {}
        self._moments: list[Moment] = []
        self._since: list[int] = []

    def __len__(self) -> int:
        return len(self._kinds)

    def step(self, number: int) -> Step:
        """The step of this number; the first is 0."""
        return Step(
            Kind(self._kinds[number]), self._pas[number], self._befores[number], self._afters[number],
            self._roots[number], self._levels[number], self._vas[number],
        )  # fmt: skip

    def add(self, step: Step, old: bytes = b"", new: bytes = b"") -> None:
        """Put a step at the end, where the memory must stand, and take it.

        ``old`` and ``new`` are what other bytes were and are; ``old`` is also what a frame held before kfree took it,
        which is not kept when it was zeros.
        """
        assert self.position == len(self), "steps are added at the end"
        if step.kind is Kind.BYTES or old not in (b"", _ZEROS):
            self._bytes[len(self)] = old, new
        self._kinds.append(step.kind)
        self._pas.append(step.pa)
        self._befores.append(step.before)
        self._afters.append(step.after)
        self._roots.append(step.root)
        self._levels.append(step.level)
        self._vas.append(step.va)
        self._do(self.position)
        self.position += 1

    def tell(self, event: Event) -> None:
        """Put a sentence at the end."""
        self.told.append(Told(len(self), event))

    def note(self, moment: Moment) -> None:
        """Keep what is no byte of memory, as it is from the end of the tape on."""
        if not self._moments or self._moments[-1] != moment:
            self._moments.append(moment)
            self._since.append(len(self))

    def seek(self, position: int) -> None:
        """Have the memory, the free list with it, as it was when ``position`` steps were done."""
        if not 0 <= position <= len(self):
            raise IndexError(f"step {position} of a tape of {len(self)}")
        while self.position < position:
            self._do(self.position)
            self.position += 1
        while self.position > position:
            self.position -= 1
            self._undo(self.position)

    def _do(self, number: int) -> None:
        kind, pa, after = self._kinds[number], self._pas[number], self._afters[number]
        at, kmem, region = pa - self._region.base, self._kernel.kmem, self._region
        if kind == Kind.PTE:
            region.words[at >> 3] = after
        elif kind == Kind.BYTES:
            region.data[at : at + after] = self._bytes[number][1]
        elif kind == Kind.ALLOC:
            region.data[at : at + PAGE_SIZE] = _TAKEN
            kmem.head, kmem.count = after, kmem.count - 1
        else:
            self._put_free(at, after)
            kmem.head, kmem.count = pa, kmem.count + 1

    def _undo(self, number: int) -> None:
        kind, pa, after = self._kinds[number], self._pas[number], self._afters[number]
        at, kmem, region = pa - self._region.base, self._kernel.kmem, self._region
        if kind == Kind.PTE:
            region.words[at >> 3] = self._befores[number]
        elif kind == Kind.BYTES:
            region.data[at : at + after] = self._bytes[number][0]
        elif kind == Kind.ALLOC:
            self._put_free(at, after)
            kmem.head, kmem.count = pa, kmem.count + 1
        else:
            region.data[at : at + PAGE_SIZE] = self._bytes[number][0] if number in self._bytes else _ZEROS
            kmem.head, kmem.count = after, kmem.count - 1

    def _put_free(self, at: int, following: int) -> None:
        """Make the frame at this offset what a free frame is."""
        self._region.words[at >> 3] = following
        self._region.data[at + 8 : at + PAGE_SIZE] = _FREED

    @property
    def free(self) -> int:
        """How many frames are free at this position."""
        return self._kernel.kmem.count

    def machine(self) -> Machine:
        """The machine as it was at this position, over the tape's own memory.

        Page tables that no process has yet, while fork or exec builds them, are spaces too.
        """
        k, moment = self._kernel, self._moment(self.position)
        k.kernel_pagetable, k.satp, k.disk = moment.kernel_pagetable, moment.satp, moment.disk
        k.proc = [Proc(slot) for slot in range(len(k.proc))]
        for row in moment.processes:
            k.proc[row.slot] = Proc(row.slot, *row[1:-2], image=row.image)
        for row in moment.processes:
            k.proc[row.slot].parent = None if row.parent is None else k.proc[row.parent]
        found = machine(k)
        known = {space.table.root for space in found.spaces}
        building = [Space(f"new table {root:#x}", k.table(root)) for root in moment.roots if root not in known]
        return replace(found, spaces=Spaces((*found.spaces, *building)))

    def _moment(self, position: int) -> Moment:
        at = bisect_right(self._since, position) - 1
        return self._moments[at] if at >= 0 else Moment(0, 0, None, (), ())

    def name(self, root: int, position: int) -> str | None:
        """Whose the page table at ``root`` is at this position, or was, or will be; None when nobody ever has it."""
        at = max(bisect_right(self._since, position) - 1, 0)
        before = takewhile(lambda one: root in one.roots, reversed(self._moments[: at + 1]))
        after = takewhile(lambda one: root in one.roots, self._moments[at:])
        return next((name for moment in chain(before, after) if (name := _owner(moment, root))), None)
