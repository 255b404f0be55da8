"""Any sequence of the model's operations, with memory made short at random, against dicts and a twin.

The dicts know what each process may see - page, contents, rights - and how many frames are free.  They hold no
address of any frame.  After every step each frame must have one owner, every byte and every right must be what the
dicts say, and nothing else in the kernel's memory may have changed.  Beside a strict kernel runs the page-by-page one
of by_page.py, and all of RAM must be equal.
"""

from __future__ import annotations

import itertools
import os
import random
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test
from twins import (
    BASE,
    MAXVA,
    MODEL,
    PAGE,
    REVISIONS,
    TRAMPOLINE,
    TRAPFRAME,
    R,
    Twins,
    U,
    V,
    W,
    X,
    account,
    free_frames,
    leave,
    outcome,
    small,
    snapshot,
    tables_and_leaves,
    twin_of,
)

from elves import build_elf
from pagebook.errors import Panic
from pagebook.xv6 import vm
from pagebook.xv6.kernel import State
from pagebook.xv6.proc import procinit, userinit
from pagebook.xv6.sysfile import sys_exec
from pagebook.xv6.trap import load, store
from pagebook.xv6.virtio_disk import virtio_disk_init

FRAMES = 158
NPROC = 8
UART = 0x1000_0000

Counts = Counter[str]
DONE: Counts = Counter()
SHORT: Counts = Counter()


def up(size: int) -> int:
    return (size + PAGE - 1) // PAGE * PAGE


def tables_over(va: int) -> tuple[tuple[int, int], tuple[int, int]]:
    """The tables that a walk of ``va`` passes below the root: (level, which)."""
    return (1, va >> 30), (0, va >> 21)


TOP_TABLES = frozenset(tables_over(TRAMPOLINE))


@dataclass
class Page:
    """What a page holds, and its PTE's bits but V; a device's page has no contents of ours."""

    rights: int
    data: bytearray | None


@dataclass
class Table:
    """A page table: which tables it has, and its pages."""

    tables: set[tuple[int, int]] = field(default_factory=set)
    pages: dict[int, Page] = field(default_factory=dict)

    def frames(self) -> int:
        return 1 + len(self.tables) + sum(page.data is not None for page in self.pages.values())


@dataclass
class Task(Table):
    """A process; its trapframe is one frame more."""

    pid: int = 0
    slot: int = 0
    sz: int = 0
    parent: int | None = None
    zombie: bool = False
    status: int = 0


# Programs: segments as (va, memsz, flags, data), and what exec must make of them.

PROGRAMS: dict[str, list[tuple[int, int, int, bytes]]] = {
    "one": [(0, 100, 5, b"text of one")],
    "two": [(0, 2 * PAGE, 5, b"2" * 2 * PAGE), (2 * PAGE, 5000, 6, b"data of two")],
    "gap": [(PAGE, 10, 4, b"constants"), (4 * PAGE, PAGE + 1, 7, b"all rights" * 300)],
    "bss": [(0, 6 * PAGE + 5, 6, b"")],
    "none": [],
}
FILES = {
    name: build_elf([(va, len(data), memsz, flags, data) for va, memsz, flags, data in segments])
    for name, segments in PROGRAMS.items()
}
FILES["cut"] = FILES["two"][:-3000]
FILES["text"] = b"echo no program\n" * 8


def image_of(name: str) -> dict[int, Page]:
    """The pages of a program, in the order in which they are allocated."""
    pages: dict[int, Page] = {}
    size = 0
    for va, memsz, flags, data in PROGRAMS[name]:
        for at in range(up(size), va + memsz, PAGE):
            pages[at] = Page(R | U | (X if flags & 1 else 0) | (W if flags & 2 else 0), bytearray(PAGE))
        size = va + memsz
        for at in range(0, len(data), PAGE):
            piece = data[at : at + PAGE]
            pages[va + at].data[: len(piece)] = piece  # type: ignore[index]
    return pages


def push(argv: list[str], stack: bytearray, top: int) -> bool:
    """Put arguments and argv on a stack page that ends at ``top``; False when they do not fit."""
    bottom, sp, pointers = top - PAGE, top, []
    for text in [*(argument.encode() + b"\0" for argument in argv), None]:
        if text is None:
            text = b"".join(pointer.to_bytes(8, "little") for pointer in [*pointers, 0])
        sp = (sp - len(text)) // 16 * 16
        if sp < bottom:
            return False
        stack[sp - bottom : sp - bottom + len(text)] = text
        pointers.append(sp)
    return True


# What rules draw.
numbers = st.integers(0, 1 << 16)
offsets = st.integers(0, PAGE - 1)
lengths = st.integers(1, 5000)
few_pages = st.integers(0, 6 * PAGE)
names = st.sampled_from([*FILES, "absent"])
extra_rights = st.sampled_from([0, W, X])


class ModelMachine(RuleBasedStateMachine):
    """One kernel, and the dicts beside it."""

    def __init__(self, rev: str, strict: bool) -> None:
        super().__init__()
        self.k = k = small(rev, frames=FRAMES, strict=strict, nproc=NPROC, files=FILES)
        self.strict, self.lazy, self.year = strict, rev == "2025", int(rev)
        vm.kvminit(k)
        procinit(k)
        virtio_disk_init(k)
        userinit(k)
        k.current = k.initproc
        assert sys_exec(k, "/one", ["one"]) == 1
        pages = image_of("one")
        stack = bytearray(PAGE)
        assert push(["one"], stack, 3 * PAGE)
        pages |= {PAGE: Page(R | W, bytearray(PAGE)), 2 * PAGE: Page(R | W | U, stack)}
        init = Task(set(TOP_TABLES) | set(tables_over(0)), pages, pid=1, sz=3 * PAGE)
        self.tasks: dict[int, Task] = {1: init}
        self.scratch: dict[int, Table] = {}
        self.now = init
        self.next_pid = 2
        kernel_tables, leaves = tables_and_leaves(k, k.kernel_pagetable)
        stacks = [pte >> 10 << 12 for va, pte in leaves if TRAMPOLINE - 16 * PAGE <= va < TRAMPOLINE]
        self.kernels_own = [BASE, BASE + PAGE, *kernel_tables, *stacks, *(k.disk or ())]
        self.kernels_bytes = self.kernel_bytes()
        self.free = FRAMES - (len(self.kernels_own) - 2) - init.frames() - 1
        self.hidden: list[int] = []
        self.hidden_for = 0
        self.twins = Twins(k) if strict else None

    def kernel_bytes(self) -> bytes:
        return b"".join(self.k.memory.read(frame, PAGE) for frame in self.kernels_own)

    def call(self, name: str, *arguments: Any) -> Any:
        """What the model returned, or "panic: " and its words; a strict one is held against its twin."""
        return self.twins.call(name, *arguments) if self.twins else outcome(MODEL[name], self.k, *arguments)

    def new_twin(self) -> None:
        """After a change that was not made through `call`."""
        if self.twins:
            self.twins.other = twin_of(self.k)

    # The arithmetic of frames

    def take(self, table: Table, vas: Iterable[int]) -> bool:
        """Count a page and its tables for each va; when frames run out only a strict kernel keeps the tables."""
        free, made = self.free, set[tuple[int, int]]()
        for va in vas:
            wanted = [key for key in tables_over(va) if key not in table.tables and key not in made]
            short = free < 1 + len(wanted)
            made.update(wanted[: max(free - 1, 0)])
            free -= 1 + len(wanted)
            if short:
                self.short()
                if self.strict:
                    table.tables |= made
                    self.free -= len(made)
                return False
        table.tables |= made
        self.free = free
        return True

    def short(self) -> None:
        SHORT[self.doing] += 1

    def did(self, what: str) -> None:
        self.doing = what
        DONE[what] += 1
        if self.hidden:
            self.hidden_for -= 1
            if self.hidden_for < 0:
                self.relax()

    def relax(self) -> None:
        """Put the hidden frames back at the end of the free list."""
        frames = free_frames(self.k)
        if frames:
            self.k.memory.write64(frames[-1], self.hidden[0])
        else:
            self.k.kmem.head = self.hidden[0]
        self.k.kmem.count += len(self.hidden)
        self.free += len(self.hidden)
        self.hidden = []
        self.new_twin()

    def drop(self, task: Task) -> None:
        self.free += 1 + task.frames()
        del self.tasks[task.pid]

    def slot(self) -> int | None:
        used = {task.slot for task in self.tasks.values()}
        return next((slot for slot in range(NPROC) if slot not in used), None)

    def address(self, where: int, offset: int) -> int:
        """An address in or near the current process's memory."""
        near = [*sorted(self.now.pages)[:: 1 + where % 3], up(self.now.sz), max(up(self.now.sz) - PAGE, 0)]
        if self.now.sz > PAGE:
            near.append(where * PAGE % self.now.sz // PAGE * PAGE)
        return near[where % len(near)] + offset

    # What the kernel does for or to the current process

    def fault_in(self, va: int) -> bool:
        """vmfault in the dicts: whether the page of ``va`` is there now that was not."""
        page = va // PAGE * PAGE
        if not self.lazy or va >= self.now.sz or page in self.now.pages:
            return False
        if not self.take(self.now, [page]):
            return False
        self.now.pages[page] = Page(R | W | U, bytearray(PAGE))
        return True

    def reach(self, va: int, right: int, lazily: bool, at: int) -> Page | None:
        """The page that kernel or program finds, with U and these rights, after a fault if there is one."""
        found = self.now.pages.get(va // PAGE * PAGE)
        if found is None and lazily and self.fault_in(at):
            found = self.now.pages[va // PAGE * PAGE]
        return found if found and found.rights & U and found.rights & right == right else None

    def transfer(self, va: int, length: int, right: int, lazily: bool, exact: bool) -> Iterable[tuple[Page, int, int]]:
        """The pieces (page, start, stop) that a copy reaches, up to the first that it may not."""
        while length:
            page = self.reach(va, right, lazily, va if exact else va // PAGE * PAGE)
            if page is None:
                return
            start, stop = va % PAGE, min(va % PAGE + length, PAGE)
            yield page, start, stop
            va += stop - start
            length -= stop - start

    def write(self, va: int, data: bytes, right: int, lazily: bool, exact: bool = False) -> bool:
        done = 0
        for page, start, stop in self.transfer(va, len(data), right, lazily, exact):
            page.data[start:stop] = data[done : done + stop - start]  # type: ignore[index]
            done += stop - start
        return done == len(data)

    def read(self, va: int, length: int, right: int, lazily: bool, exact: bool = False) -> bytes:
        return b"".join(
            bytes(page.data[start:stop])  # type: ignore[index]
            for page, start, stop in self.transfer(va, length, right, lazily, exact)
        )

    def die(self, status: int) -> None:
        for task in self.tasks.values():
            if task.parent == self.now.pid:
                task.parent = 1
        self.now.zombie, self.now.status = True, status
        self.choose(1)

    def choose(self, pid: int) -> None:
        self.now = self.tasks[pid]
        self.k.current = self.k.proc[self.now.slot]
        if self.twins:
            self.twins.run(self.now.slot)

    # Rules: processes

    @rule(number=numbers)
    def switch(self, number: int) -> None:
        self.did("switch")
        alive = [pid for pid, task in self.tasks.items() if not task.zombie]
        self.choose(alive[number % len(alive)])

    @rule()
    def fork(self) -> None:
        self.did("fork")
        slot, parent = self.slot(), self.now
        pid = self.call("fork")
        if slot is None:
            assert pid == -1
            return
        self.next_pid += 1
        before = self.free
        child = Task(set(TOP_TABLES), {}, self.next_pid - 1, slot, parent.sz, parent.pid)
        self.free -= 4
        if self.free < 0:
            self.short()
        elif self.take(child, sorted(parent.pages)):
            assert pid == child.pid
            child.pages = {va: Page(page.rights, bytearray(page.data or b"")) for va, page in parent.pages.items()}
            self.tasks[pid] = child
            return
        self.free = before
        assert pid == -1

    @rule(name=names, arguments=st.integers(0, 5), length=numbers, direct=st.booleans())
    def exec(self, name: str, arguments: int, length: int, direct: bool) -> None:
        self.did("exec")
        argv = [chr(97 + number) * (length >> number & 0x7FF) for number in range(arguments)]
        if arguments == 5:
            argv[0] = "x" * (length % 5000)
        result = self.call("exec", name, argv) if direct else self.call("sys_exec", f"/{name}", argv)
        before, self.free = self.free, self.free - (0 if direct else len(argv))
        done = self.exec_in_dicts(name, argv, direct)
        if done is None:
            self.free = before
            assert result == -1
            return
        self.free += self.now.frames() + (0 if direct else len(argv))
        self.now.tables, self.now.pages, self.now.sz = done.tables, done.pages, done.sz
        assert result == len(argv)

    def exec_in_dicts(self, name: str, argv: list[str], direct: bool) -> Task | None:
        if self.free < 0 or (not direct and any(len(argument) >= PAGE for argument in argv)):
            if self.free < 0:
                self.short()
            return None
        if name in ("absent", "text"):
            return None
        self.free -= 3
        if self.free < 0:
            self.short()
            return None
        new = Task(set(TOP_TABLES))
        if name == "cut":
            self.take(new, [0, PAGE])
            return None
        new.pages = image_of(name)
        guard = max(new.pages, default=-PAGE) + PAGE
        stack = bytearray(PAGE)
        if not self.take(new, [*new.pages, guard, guard + PAGE]) or not push(argv, stack, guard + 2 * PAGE):
            return None
        new.pages |= {guard: Page(R | W, bytearray(PAGE)), guard + PAGE: Page(R | W | U, stack)}
        new.sz = guard + 2 * PAGE
        return new

    @rule(n=st.integers(-3 * PAGE, 9 * PAGE), by_growproc=st.booleans())
    def sbrk(self, n: int, by_growproc: bool) -> None:
        self.did("sbrk eager" if n > 0 else "sbrk shrink")
        old = self.now.sz
        result = self.call("growproc" if by_growproc else "sbrk", n)
        if self.grow_in_dicts(n):
            assert result == (0 if by_growproc else old)
        else:
            assert result == -1

    @precondition(lambda self: self.lazy)
    @rule(n=st.integers(0, 20 * PAGE) | st.integers(0, 1 << 30), shrink=st.booleans())
    def sbrk_lazy(self, n: int, shrink: bool) -> None:
        self.did("sbrk lazy")
        n = -n if shrink else n
        old = self.now.sz
        assert self.call("sbrk", n, 2) == old
        if n < 0:
            assert self.grow_in_dicts(n)
        else:
            self.now.sz += n

    def grow_in_dicts(self, n: int) -> bool:
        task = self.now
        if n > 0:
            new = range(up(task.sz), task.sz + n, PAGE)
            if not self.take(task, new):
                return False
            task.pages |= {va: Page(R | W | U, bytearray(PAGE)) for va in new}
        elif task.sz + n < 0:
            return True
        for va in [va for va in task.pages if va >= up(task.sz + n)]:
            del task.pages[va]
            self.free += 1
        task.sz += n
        return True

    @rule(status=st.integers(-3, 300))
    def exit(self, status: int) -> None:
        self.did("exit")
        if self.now.pid == 1:
            assert self.call("exit", status) == "panic: init exiting"
        else:
            self.call("exit", status)
            self.die(status)

    @rule(where=numbers, offset=offsets, tell=st.booleans())
    def wait(self, where: int, offset: int, tell: bool) -> None:
        self.did("wait")
        addr = self.address(where, offset) if tell else 0
        result = self.call("wait", addr)
        children = sorted((task for task in self.tasks.values() if task.parent == self.now.pid), key=lambda t: t.slot)
        ended = next((task for task in children if task.zombie), None)
        if ended is None:
            assert result == (0 if children else -1)
            return
        status = (ended.status & 0xFFFF_FFFF).to_bytes(4, "little")
        if addr and not self.write(addr, status, W if self.year >= 2024 else 0, self.lazy):
            assert result == -1
            return
        assert result == ended.pid
        self.drop(ended)

    # Rules: programs and copies

    @rule(where=numbers, offset=offsets, length=lengths, fill=st.integers(1, 255))
    def store(self, where: int, offset: int, length: int, fill: int) -> None:
        self.did("store")
        va = self.address(where, offset)
        data = bytes([fill]) * length
        self.as_program(lambda: store(self.k, va, data), lambda: self.write(va, data, W, self.lazy, exact=True) or None)

    @rule(where=numbers, offset=offsets, length=lengths)
    def load(self, where: int, offset: int, length: int) -> None:
        self.did("load")
        va = self.address(where, offset)

        def expected() -> bytes | None:
            data = self.read(va, length, R, self.lazy, exact=True)
            return data if len(data) == length else None

        self.as_program(lambda: load(self.k, va, length), expected)

    def as_program(self, act: Any, expected: Any) -> None:
        """Run the access; a fault that cannot be repaired ends the process, and with init the kernel."""
        actor = self.now
        if actor.pid == 1:
            try:
                result = act()
            except Panic as panic:
                assert panic.reason == "init exiting"
                result = None
                self.k.proc[0].killed = False
        else:
            result = act() or None
        assert result == expected()
        if result is None and actor.pid != 1:
            self.die(-1)
        self.new_twin()

    @rule(where=numbers, offset=offsets, length=st.integers(0, 9000), fill=st.integers(0, 255))
    def copyout(self, where: int, offset: int, length: int, fill: int) -> None:
        self.did("copyout")
        va = self.address(where, offset)
        result = self.call("copyout", self.pagetable(), va, bytes([fill]) * length)
        right = W if self.year >= 2024 else 0
        assert result == (0 if self.write(va, bytes([fill]) * length, right, self.lazy) else -1)

    @rule(where=numbers, offset=offsets, length=st.integers(0, 9000))
    def copyin(self, where: int, offset: int, length: int) -> None:
        self.did("copyin")
        va = self.address(where, offset)
        result, data = self.call("copyin", self.pagetable(), va, length)
        assert data == self.read(va, length, 0, self.lazy)
        assert result == (0 if len(data) == length else -1)

    @rule(where=numbers, offset=offsets, length=st.integers(0, 6000))
    def copyinstr(self, where: int, offset: int, length: int) -> None:
        self.did("copyinstr")
        va = self.address(where, offset)
        result, data = self.call("copyinstr", self.pagetable(), va, length)
        text, nul, _ = self.read(va, length, 0, lazily=False).partition(b"\0")
        assert data == text + nul
        assert result == (0 if nul else -1)

    @precondition(lambda self: self.lazy)
    @rule(where=numbers, offset=offsets)
    def vmfault(self, where: int, offset: int) -> None:
        self.did("vmfault")
        va = self.address(where, offset)
        assert (self.call("vmfault", self.pagetable(), va) != 0) == self.fault_in(va)

    def pagetable(self) -> int:
        return self.k.proc[self.now.slot].pagetable

    # Rules: page tables of no process

    @precondition(lambda self: len(self.scratch) < 3)
    @rule()
    def uvmcreate(self) -> None:
        self.did("uvmcreate")
        root = self.call("uvmcreate")
        if self.free:
            self.free -= 1
            self.scratch[root] = Table()
        else:
            self.short()
            assert root == 0

    def spot(self, where: int) -> int:
        """A page address near the ends of tables, where things go wrong."""
        ends = (0, 4 * PAGE, (1 << 21) - 2 * PAGE, (1 << 30) - 2 * PAGE, (5 << 30) - PAGE, MAXVA - 4 * PAGE)
        return ends[where % len(ends)]

    def pick(self, where: int) -> tuple[int, Table]:
        root = sorted(self.scratch)[where % len(self.scratch)]
        return root, self.scratch[root]

    def refused(self, reason: str, *call: Any) -> None:
        """A panic in prospect: it comes and changes nothing. (A strict kernel would lose frames: it is let be.)"""
        if not self.strict:
            before = snapshot(self.k)
            assert self.call(*call) == f"panic: {reason}"
            assert snapshot(self.k) == before

    @precondition(lambda self: self.scratch)
    @rule(
        which=numbers,
        where=numbers,
        less=offsets,
        n=few_pages,
        perm=extra_rights,
    )
    def uvmalloc(self, which: int, where: int, less: int, n: int, perm: int) -> None:
        self.did("uvmalloc")
        root, table = self.pick(which)
        oldsz = max(self.spot(where) - less, 0)
        newsz = min(oldsz + n, MAXVA)
        new = range(up(oldsz), newsz, PAGE)
        if table.pages.keys() & set(new):
            if self.free >= len(new) + 4:
                self.refused("mappages: remap", "uvmalloc", root, oldsz, newsz, perm)
            return
        result = self.call("uvmalloc", root, oldsz, newsz, perm)
        if self.take(table, new):
            assert result == newsz
            table.pages |= {va: Page(R | U | perm, bytearray(PAGE)) for va in new}
        else:
            assert result == 0

    @precondition(lambda self: self.scratch)
    @rule(which=numbers, where=numbers, more=few_pages, n=few_pages)
    def uvmdealloc(self, which: int, where: int, more: int, n: int) -> None:
        self.did("uvmdealloc")
        root, table = self.pick(which)
        newsz = self.spot(where) + more
        oldsz = min(newsz + n, MAXVA)
        if newsz >= oldsz:
            assert self.call("uvmdealloc", root, oldsz, newsz) == oldsz
        else:
            self.unmap(table, range(up(newsz), up(oldsz), PAGE), True, newsz, "uvmdealloc", root, oldsz, newsz)

    @precondition(lambda self: self.scratch)
    @rule(which=numbers, where=numbers, skip=st.integers(0, 5), npages=st.integers(0, 6), free=st.booleans())
    def uvmunmap(self, which: int, where: int, skip: int, npages: int, free: bool) -> None:
        self.did("uvmunmap")
        root, table = self.pick(which)
        va = self.spot(where) + skip * PAGE
        pages = range(va, min(va + npages * PAGE, MAXVA), PAGE)
        owned = any(table.pages[page].data is not None for page in pages if page in table.pages)
        if owned and not free:
            return  # its frames would have no owner
        self.unmap(table, pages, free, None, "uvmunmap", root, va, len(pages), int(free))

    def unmap(self, table: Table, pages: range, free: bool, returns: int | None, *call: Any) -> None:
        """Unmap in kernel and dicts, or see the panic of the first page that cannot be."""
        for va in pages:
            if va not in table.pages and not self.lazy:
                missing = next((key for key in tables_over(va) if key not in table.tables), None)
                self.refused("uvmunmap: walk" if missing else "uvmunmap: not mapped", *call)
                return
            if free and va in table.pages and table.pages[va].data is None:
                self.refused("kfree", *call)
                return
        assert self.call(*call) == returns
        for va in pages:
            page = table.pages.pop(va, None)
            self.free += page is not None and page.data is not None

    @precondition(lambda self: self.scratch)
    @rule(which=numbers, where=numbers, npages=st.integers(1, 6), perm=st.sampled_from([R, R | W, R | X]))
    def mappages(self, which: int, where: int, npages: int, perm: int) -> None:
        self.did("mappages")
        root, table = self.pick(which)
        va = self.spot(where)
        pages = range(va, min(va + npages * PAGE, MAXVA), PAGE)
        call = ("mappages", root, va, len(pages) * PAGE, UART, perm)
        if table.pages.keys() & set(pages):
            if self.free >= 4:
                self.refused("mappages: remap", *call)
            return
        result = self.call(*call)
        free, tables = self.free, set(table.tables)
        for number, page in enumerate(pages):
            for key in tables_over(page):
                if key not in tables and free:
                    free -= 1
                    tables.add(key)
            if not set(tables_over(page)) <= tables:
                self.short()
                assert result == -1
                if self.strict:
                    self.free, table.tables = free, tables
                    self.map_device(table, pages[:number], perm)
                return
        assert result == 0
        self.free, table.tables = free, tables
        self.map_device(table, pages, perm)

    def map_device(self, table: Table, pages: Iterable[int], perm: int) -> None:
        table.pages |= {va: Page(perm, None) for va in pages}

    @precondition(lambda self: self.scratch)
    @rule(which=numbers, pages=st.integers(0, 9))
    def uvmcopy(self, which: int, pages: int) -> None:
        """From the current process into a table of no process."""
        self.did("uvmcopy")
        root, table = self.pick(which)
        sz = min(self.now.sz, pages * PAGE)
        copied = [va for va in sorted(self.now.pages) if va < sz]
        if table.pages.keys() & set(copied):
            if self.free >= len(copied) + 4:
                self.refused("mappages: remap", "uvmcopy", self.pagetable(), root, sz)
            return
        if any(va < sz for va in table.pages):
            return  # after a failure the kernel would unmap what it had not mapped
        result = self.call("uvmcopy", self.pagetable(), root, sz)
        if self.take(table, copied):
            assert result == 0
            for va in copied:
                page = self.now.pages[va]
                table.pages[va] = Page(page.rights, bytearray(page.data or b""))
        else:
            assert result == -1

    @precondition(lambda self: self.scratch)
    @rule(which=numbers, empty=st.booleans())
    def freewalk(self, which: int, empty: bool) -> None:
        self.did("freewalk")
        root, table = self.pick(which)
        if table.pages and not empty:
            self.refused("freewalk: leaf", "freewalk", root)
            return
        for va, page in table.pages.items():
            self.call("uvmunmap", root, va, 1, int(page.data is not None))
        self.call("freewalk", root)
        self.free += self.scratch.pop(root).frames()

    # Rules: less memory

    @precondition(lambda self: not self.hidden)
    @rule(frames=st.integers(0, 12), steps=st.integers(1, 30))
    def squeeze(self, frames: int, steps: int) -> None:
        """Hide all but a few free frames for some steps."""
        self.did("squeeze")
        self.hidden = leave(self.k, frames)
        self.hidden_for = steps
        self.free -= len(self.hidden)
        self.new_twin()

    # What must hold after every step

    @invariant()
    def every_frame_has_one_owner(self) -> None:
        account(self.k, self.scratch, self.hidden)
        assert self.k.kmem.count == self.free

    @invariant()
    def the_process_table_is_what_the_dicts_say(self) -> None:
        k = self.k
        assert {p.pid: p.index for p in k.proc if p.state is not State.UNUSED} == {
            pid: task.slot for pid, task in self.tasks.items()
        }
        for task in self.tasks.values():
            p = k.proc[task.slot]
            assert (p.sz, p.state is State.ZOMBIE) == (task.sz, task.zombie)
            assert (p.parent.pid if p.parent else None) == task.parent
            assert not task.zombie or p.xstate == task.status
        assert k.nextpid == self.next_pid

    @invariant()
    def every_page_holds_what_the_dicts_say(self) -> None:
        for task in self.tasks.values():
            found = self.compare(self.k.proc[task.slot].pagetable, task)
            assert set(found) == {TRAMPOLINE, TRAPFRAME}
        for root, table in self.scratch.items():
            assert not self.compare(root, table)

    def compare(self, root: int, table: Table) -> dict[int, int]:
        """Hold a page table against its dict; the leaves that the dict does not have."""
        tables, leaves = tables_and_leaves(self.k, root)
        assert len(tables) == 1 + len(table.tables)
        found = dict(leaves)
        for va, page in table.pages.items():
            pte = found.pop(va)
            assert pte & 0x3FF == page.rights | V, f"rights of {va:#x}"
            if page.data is not None:
                assert self.k.memory.read(pte >> 10 << 12, PAGE) == page.data, f"contents of {va:#x}"
        return found

    @invariant()
    def the_kernels_own_memory_is_untouched(self) -> None:
        assert self.kernel_bytes() == self.kernels_bytes


def run(rev: str, strict: bool, examples: int, steps: int, number: int | None = None) -> None:
    """Run that many sequences; always the same ones without a ``number`` to start from."""

    def machine() -> ModelMachine:
        return ModelMachine(rev, strict)

    chosen = settings(
        max_examples=examples, stateful_step_count=steps, deadline=None, database=None, derandomize=number is None,
        suppress_health_check=list(HealthCheck), phases=[Phase.generate, Phase.shrink],
    )  # fmt: skip
    run_state_machine_as_test(machine if number is None else seed(number)(machine), settings=chosen)


def test_any_sequence_of_operations_does_what_the_dicts_say(rev, strict):
    before = sum(DONE.values())
    run(rev, strict, examples=8, steps=40)
    assert sum(DONE.values()) - before >= 200


@pytest.mark.nightly
def test_a_night_of_random_sequences_does_what_the_dicts_say(capsys):
    wanted = int(os.environ.get("PAGEBOOK_STEPS", "100000"))
    number = int(os.environ.get("PAGEBOOK_SEED", random.randrange(1 << 32)))
    kinds = itertools.cycle((rev, strict) for strict in (False, True) for rev in REVISIONS)
    DONE.clear()
    SHORT.clear()
    while (left := wanted - sum(DONE.values())) > 0:
        rev, strict = next(kinds)
        with capsys.disabled():
            print(f"{left:9,} steps to go: xv6 {rev}, {'strict' if strict else 'undoing'}, PAGEBOOK_SEED={number}")
        run(rev, strict, examples=20, steps=100, number=number)
        number += 1
    with capsys.disabled():
        print(f"{sum(DONE.values()):,} steps, and {sum(SHORT.values()):,} times an allocation was made to fail:")
        for name, count in DONE.most_common():
            print(f"  {name:12} {count:7,} steps, {SHORT[name]:6,} of them ran out of frames")
    assert sum(SHORT.values()) >= wanted // 200
