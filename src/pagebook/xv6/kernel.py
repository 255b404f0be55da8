"""The kernel's globals: what the C files keep in static variables, and the story of what was done to them.

A `Kernel` holds no mapping and no free frame: those are bytes in its memory.  It knows the addresses from which
they can be found, and the process table.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from pagebook.errors import Panic
from pagebook.frames import FreeList
from pagebook.memory import Memory
from pagebook.pagetable import PageTable
from pagebook.sv import SV39
from pagebook.xv6.memlayout import Layout, Revision


class State(StrEnum):
    """enum procstate (kernel/proc.h), without those that only a processor reaches."""

    UNUSED = "unused"
    USED = "used"
    RUNNABLE = "runnable"
    ZOMBIE = "zombie"


@dataclass(eq=False)
class Proc:
    """struct proc: ``pagetable`` and ``trapframe`` are physical addresses, 0 when there is none.

    ``image`` is not in C: what exec put where, as (start, size, name), for people to read.
    """

    index: int
    state: State = State.UNUSED
    pid: int = 0
    name: str = ""
    sz: int = 0
    pagetable: int = 0
    trapframe: int = 0
    kstack: int = 0
    xstate: int = 0
    killed: bool = False
    parent: Proc | None = None
    image: tuple[tuple[int, int, str], ...] = ()


class Event(NamedTuple):
    """A sentence of the story: the function that did it, what it did, and how many frames were free after it."""

    function: str
    text: str
    free: int


@dataclass(eq=False)
class Kernel:
    """One kernel: memory, layout, allocator, page tables, processes, files.

    ``strict`` chooses what a range operation leaves behind when it fails: nothing (False), or what the C code
    leaves (True).  ``current`` is the process that myproc() would give.  ``files`` stands for the disk: path without
    leading slash to contents.  ``progress`` is called with the bytes of RAM that kinit has just filled, ``told`` with
    each sentence of the story.
    """

    memory: Memory
    revision: Revision
    layout: Layout
    strict: bool = False
    symbols: dict[str, int] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)
    kernel_pagetable: int = 0
    satp: int = 0
    initproc: Proc | None = None
    current: Proc | None = None
    nextpid: int = 1
    disk: tuple[int, int, int] | None = None
    story: list[Event] = field(default_factory=list)
    told: Callable[[Event], None] | None = None
    progress: Callable[[int], None] | None = None
    kmem: FreeList = field(init=False)
    proc: list[Proc] = field(init=False)
    _tables: dict[int, PageTable] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        self.kmem = FreeList(self.memory, self.layout.end, self.layout.physstop)
        self.proc = [Proc(index) for index in range(self.layout.nproc)]

    def table(self, pagetable: int) -> PageTable:
        """The page table whose root is at ``pagetable``, as an object; it holds nothing but that address."""
        table = self._tables.get(pagetable)
        if table is None or table.frames is not self.kmem:
            table = self._tables[pagetable] = PageTable(self.memory, pagetable, self.kmem, SV39)
        return table

    @property
    def roots(self) -> list[int]:
        """The addresses for which there was a `table`, but those that were forgotten."""
        return list(self._tables)

    def forget(self, pagetable: int) -> None:
        """The frame at ``pagetable`` is no root any more."""
        self._tables.pop(pagetable, None)

    def myproc(self) -> Proc:
        """The current process; Panic when there is none, where the C code would follow a null pointer."""
        if self.current is None:
            raise Panic("myproc", "no process is running; the C code would follow a null pointer here")
        return self.current

    def tell(self, function: str, text: str) -> None:
        """Add a sentence to the story."""
        self.story.append(Event(function, text, self.kmem.count))
        if self.told:
            self.told(self.story[-1])
