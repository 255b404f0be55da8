"""Small kernels for the tests, and each one's twin: the model and the page-by-page kernel over equal bytes.

Everything that the two can disagree about is compared after each call: what it returned or the words it died with,
every byte of RAM, the free list, the process table.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from by_page import ByPage, Died, Process

from pagebook.errors import Panic
from pagebook.xv6 import vm
from pagebook.xv6.boot import power_on
from pagebook.xv6.exec import exec as exec_
from pagebook.xv6.kalloc import kalloc, kfree, kinit
from pagebook.xv6.kernel import Kernel, Proc, State
from pagebook.xv6.memlayout import Device
from pagebook.xv6.proc import allocproc, exit, fork, growproc, wait
from pagebook.xv6.programs import KernelImage
from pagebook.xv6.sysfile import sys_exec
from pagebook.xv6.sysproc import sys_sbrk

PAGE = 4096
BASE = 0x8000_0000
MAXVA = 1 << 38
TRAMPOLINE = MAXVA - PAGE
TRAPFRAME = TRAMPOLINE - PAGE
V, R, W, X, U = 1, 2, 4, 8, 16
REVISIONS = ("2022", "2024", "2025")

# A kernel of two pages, the first of them text, so that a RAM of a few pages can be compared after every call.
SYMBOLS = {"etext": BASE + PAGE, "end": BASE + 2 * PAGE, "trampoline": BASE}


def small(
    rev: str,
    *,
    frames: int = 62,
    strict: bool = False,
    nproc: int = 8,
    userstack: int = 1,
    devices: tuple[Device, ...] = (),
    files: dict[str, bytes] | None = None,
) -> Kernel:
    """A kernel with ``frames`` free frames and nothing done but kinit."""
    image = KernelImage(SYMBOLS, ((BASE, bytes(range(256)) * 16),))
    k = power_on(
        rev, ram=(frames + 2) * PAGE, kernel=image, nproc=nproc, userstack=userstack, devices=devices, strict=strict,
    )  # fmt: skip
    kinit(k)
    k.files = dict(files or {})
    return k


def first_process(k: Kernel) -> Proc:
    """A process without user memory, made init and current."""
    p = allocproc(k)
    assert p is not None
    p.state = State.RUNNABLE
    k.initproc = k.current = p
    return p


def ram(k: Kernel) -> bytes:
    return bytes(k.memory.regions[0].data)


def snapshot(k: Kernel) -> tuple[bytes, int, int]:
    """Every byte, and the free list's head and count."""
    return ram(k), k.kmem.head, k.kmem.count


def free_frames(k: Kernel) -> list[int]:
    frames: list[int] = k.kmem.frames().tolist()
    assert len(frames) == len(set(frames)) == k.kmem.count
    return frames


def leave(k: Kernel, count: int) -> list[int]:
    """Cut the free list after ``count`` frames, so that the allocation after the next ``count`` fails; the rest."""
    frames = free_frames(k)
    if count < len(frames):
        if count:
            k.memory.write64(frames[count - 1], 0)
        else:
            k.kmem.head = 0
        k.kmem.count = count
    return frames[count:]


def tables_and_leaves(k: Kernel, root: int) -> tuple[list[int], list[tuple[int, int]]]:
    """The table pages under ``root`` and its leaves as (va, pte), read word by word from RAM."""
    words = np.frombuffer(k.memory.regions[0].data, "<u8")
    tables, leaves, waiting = [], [], [(root, 0, 30)]
    while waiting:
        table, va, shift = waiting.pop()
        tables.append(table)
        at = (table - BASE) // 8
        page = words[at : at + 512]
        for index in np.flatnonzero(page & np.uint64(V)).tolist():
            pte = int(page[index])
            if pte & (R | W | X):
                leaves.append((va | index << shift, pte))
            else:
                assert pte & 0x3FF == V and shift > 12, f"PTE {pte:#x} in the table at {table:#x}"
                waiting.append((pte >> 10 << 12, va | index << shift, shift - 9))
    return tables, sorted(leaves)


def account(k: Kernel, roots: Iterable[int] = (), loose: Iterable[int] = ()) -> dict[int, str]:
    """Whose each frame is; fails unless every frame of the allocator's has exactly one owner.

    ``roots`` are page tables of no process, ``loose`` frames that the test itself holds.
    """
    owners: dict[int, str] = {}

    def claim(frame: int, what: str) -> None:
        assert frame % PAGE == 0 and k.layout.end <= frame < k.layout.physstop, f"{what} at {frame:#x}"
        assert frame not in owners, f"{frame:#x} is {owners[frame]} and {what}"
        owners[frame] = what

    def claim_table(root: int, name: str) -> list[tuple[int, int]]:
        tables, leaves = tables_and_leaves(k, root)
        for table in tables:
            claim(table, f"table of {name}")
        return leaves

    for frame in free_frames(k):
        claim(frame, "free")
    for frame in (*loose, *(k.disk or ())):
        claim(frame, "held")
    if k.kernel_pagetable:
        for va, pte in claim_table(k.kernel_pagetable, "kernel"):
            if TRAMPOLINE - 2 * PAGE * k.layout.nproc <= va < TRAMPOLINE:
                claim(pte >> 10 << 12, "stack")
    for p in k.proc:
        if p.state is State.UNUSED:
            assert not p.pagetable and not p.trapframe and not p.sz and not p.pid and p.parent is None
            continue
        claim(p.trapframe, f"trapframe of {p.pid}")
        leaves = dict(claim_table(p.pagetable, str(p.pid)))
        assert leaves.pop(TRAMPOLINE) == k.layout.trampoline >> 12 << 10 | X | R | V
        assert leaves.pop(TRAPFRAME) == p.trapframe >> 12 << 10 | W | R | V
        for va, pte in leaves.items():
            assert va < p.sz, f"{va:#x} of process {p.pid} is mapped beyond its size {p.sz:#x}"
            claim(pte >> 10 << 12, f"page {va:#x} of {p.pid}")
    for root in roots:
        for va, pte in claim_table(root, f"{root:#x}"):
            if k.layout.end <= pte >> 10 << 12 < k.layout.physstop:
                claim(pte >> 10 << 12, f"page {va:#x} of {root:#x}")
    first = (k.layout.end + PAGE - 1) // PAGE * PAGE
    assert len(owners) == (k.layout.physstop - first) // PAGE, "frames are lost"
    return owners


def processes(k: Kernel | ByPage) -> list[tuple[object, ...]]:
    """The process table in plain words."""
    return [
        (
            str(p.state), p.pid, p.name, p.sz, p.pagetable, p.trapframe,
            p.xstate if p.state == "zombie" else 0, p.parent.pid if p.parent else None,
        )
        for p in k.proc
    ]  # fmt: skip


def twin_of(k: Kernel) -> ByPage:
    """The page-by-page kernel in the same state."""
    other = ByPage(
        int(k.revision.name),
        bytearray(ram(k)),
        end=k.layout.end,
        etext=k.layout.etext,
        trampoline=k.layout.trampoline,
        head=k.kmem.head,
        nproc=k.layout.nproc,
        userstack=k.layout.userstack,
        devices=tuple((device.base, device.size) for device in k.layout.devices),
        files=k.files,
        nextpid=k.nextpid,
    )
    for p, q in zip(k.proc, other.proc, strict=True):
        q.state, q.pid, q.name, q.sz = str(p.state), p.pid, p.name, p.sz
        q.pagetable, q.trapframe, q.xstate = p.pagetable, p.trapframe, p.xstate
        q.parent = other.proc[p.parent.index] if p.parent else None
    other.current = other.proc[k.current.index] if k.current else None
    other.init = other.proc[k.initproc.index] if k.initproc else None
    return other


def outcome(function: Any, *arguments: Any) -> Any:
    """What a call returned, or the words of the panic it ended in."""
    try:
        returned = function(*arguments)
    except Panic as panic:
        return f"panic: {panic.reason}"
    except Died as died:
        return f"panic: {died}"
    return returned.pid if isinstance(returned, Proc | Process) else returned


def _copyin(k: Kernel, pagetable: int, va: int, length: int) -> tuple[int, bytes]:
    data = bytearray()
    return vm.copyin(k, pagetable, data, va, length), bytes(data)


def _copyinstr(k: Kernel, pagetable: int, va: int, most: int) -> tuple[int, bytes]:
    data = bytearray()
    return vm.copyinstr(k, pagetable, data, va, most), bytes(data)


def _vmfault(k: Kernel, pagetable: int, va: int) -> int:
    return vm.vmfault(k, pagetable, va, 0)


MODEL: dict[str, Any] = {
    "kalloc": kalloc, "kfree": kfree, "allocproc": allocproc, "fork": fork, "exit": exit, "wait": wait,
    "growproc": growproc, "sbrk": sys_sbrk, "exec": exec_, "sys_exec": sys_exec,
    "copyin": _copyin, "copyinstr": _copyinstr, "vmfault": _vmfault,
}  # fmt: skip
MODEL |= {
    name: getattr(vm, name)
    for name in (
        "walk", "walkaddr", "kvmmap", "mappages", "uvmunmap", "uvmcreate", "uvmfirst", "uvmalloc", "uvmdealloc",
        "freewalk", "uvmfree", "uvmcopy", "uvmclear", "copyout", "ismapped", "proc_mapstacks",
    )
}  # fmt: skip


class Twins:
    """The model and the page-by-page kernel; `call` makes the same call on both.

    Failed range operations leave the same behind only when the model is strict.
    """

    def __init__(self, k: Kernel) -> None:
        self.k = k
        self.other = twin_of(k)

    def call(self, name: str, *arguments: Any) -> Any:
        """What both did; fails unless they did the same and are the same afterwards."""
        mine = outcome(MODEL[name], self.k, *arguments)
        his = outcome(getattr(self.other, name), *arguments)
        assert mine == his, f"{name}{arguments}"
        self.compare(f"{name}{arguments} -> {mine}")
        return mine

    def compare(self, after: str) -> None:
        if ram(self.k) != self.other.ram:
            frames = [pa for pa in range(BASE, self.other.stop, PAGE) if not self._same(pa)]
            raise AssertionError(f"after {after}: bytes differ in {[hex(pa) for pa in frames]}")
        assert self.k.kmem.head == self.other.head, after
        assert self.k.kmem.count == len(self.other.free_frames()), after
        assert processes(self.k) == processes(self.other), after
        assert self.k.nextpid == self.other.nextpid, after

    def _same(self, pa: int) -> bool:
        return self.k.memory.read(pa, PAGE) == self.other.get_bytes(pa, PAGE)

    def run(self, slot: int) -> None:
        """Make the process in ``slot`` the current one."""
        self.k.current = self.k.proc[slot]
        self.other.current = self.other.proc[slot]
