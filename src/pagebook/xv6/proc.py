"""kernel/proc.c: the process table, and the memory that processes are born with, grow into and leave behind."""

from __future__ import annotations

from pagebook.errors import Panic
from pagebook.sv import R, W, X
from pagebook.xv6.kalloc import kalloc, kfree
from pagebook.xv6.kernel import Kernel, Proc, State
from pagebook.xv6.memlayout import KSTACK, PGSIZE, TRAMPOLINE, TRAPFRAME
from pagebook.xv6.programs import INITCODE
from pagebook.xv6.vm import (
    copyout,
    mappages,
    uvmalloc,
    uvmcopy,
    uvmcreate,
    uvmdealloc,
    uvmfirst,
    uvmfree,
    uvmunmap,
)

# Where struct trapframe (kernel/proc.h) keeps the registers that this code sets, in bytes, and its size.
EPC, SP, A0, A1 = 24, 48, 112, 120
TRAPFRAME_BYTES = 288


def procinit(k: Kernel) -> None:
    """Every slot unused, each with the address of its kernel stack."""
    for p in k.proc:
        p.state = State.UNUSED
        p.kstack = KSTACK(p.index)
    k.tell("procinit", f"{len(k.proc)} process slots, all unused")


def allocpid(k: Kernel) -> int:
    """The next process number."""
    pid = k.nextpid
    k.nextpid += 1
    return pid


def allocproc(k: Kernel) -> Proc | None:
    """An unused slot with a trapframe and a page table without user memory; None when there is no slot or frame."""
    p = next((p for p in k.proc if p.state is State.UNUSED), None)
    if p is None:
        return None
    p.pid = allocpid(k)
    p.state = State.USED
    p.trapframe = kalloc(k)
    if p.trapframe == 0:
        freeproc(k, p)
        return None
    p.pagetable = proc_pagetable(k, p)
    if p.pagetable == 0:
        freeproc(k, p)
        return None
    k.tell(
        "allocproc",
        f"process {p.pid} in slot {p.index}: a frame for its trapframe, {p.trapframe:#x}, and a page table with root "
        f"{p.pagetable:#x} that maps only the trampoline and, below it, the trapframe",
    )
    return p


def freeproc(k: Kernel, p: Proc) -> None:
    """Free a process's frames and its slot."""
    if p.trapframe:
        kfree(k, p.trapframe)
    p.trapframe = 0
    if p.pagetable:
        proc_freepagetable(k, p.pagetable, p.sz)
    p.pagetable = 0
    p.sz = 0
    p.pid = 0
    p.parent = None
    p.name = ""
    p.image = ()
    p.killed = False
    p.xstate = 0
    p.state = State.UNUSED


def proc_pagetable(k: Kernel, p: Proc) -> int:
    """A page table with only the trampoline and ``p``'s trapframe; 0 when frames ran out."""
    pagetable = uvmcreate(k)
    if pagetable == 0:
        return 0
    if mappages(k, pagetable, TRAMPOLINE, PGSIZE, k.layout.trampoline, R | X) < 0:
        uvmfree(k, pagetable, 0)
        return 0
    if mappages(k, pagetable, TRAPFRAME, PGSIZE, p.trapframe, R | W) < 0:
        uvmunmap(k, pagetable, TRAMPOLINE, 1, 0)
        uvmfree(k, pagetable, 0)
        return 0
    return pagetable


def proc_freepagetable(k: Kernel, pagetable: int, sz: int) -> None:
    """Free a process's page table and the user memory it maps."""
    uvmunmap(k, pagetable, TRAMPOLINE, 1, 0)
    uvmunmap(k, pagetable, TRAPFRAME, 1, 0)
    uvmfree(k, pagetable, sz)


def userinit(k: Kernel) -> None:
    """Set up the first process: a page of code that calls exec, or since 2025 no memory at all."""
    p = allocproc(k)
    if p is None:
        raise Panic("userinit", "no frame is left; the C code would follow a null pointer here")
    k.initproc = p
    if k.revision.initcode:
        uvmfirst(k, p.pagetable, INITCODE)
        p.sz = PGSIZE
        k.memory.write64(p.trapframe + EPC, 0)
        k.memory.write64(p.trapframe + SP, PGSIZE)
        p.name = "initcode"
        p.image = ((0, PGSIZE, "initcode"),)
        k.tell(
            "userinit",
            f"a page of code at address 0 of process {p.pid} and the two tables over it; all the code does is exec",
        )
    else:
        k.tell("userinit", f'process {p.pid} starts without memory; forkret will call exec("/init") for it')
    p.state = State.RUNNABLE


def growproc(k: Kernel, n: int) -> int:
    """Grow or shrink the current process by ``n`` bytes; 0, or -1 when frames ran out."""
    p = k.myproc()
    sz = p.sz
    if n > 0:
        if k.revision.lazy and sz + n > TRAPFRAME:
            return -1
        sz = uvmalloc(k, p.pagetable, sz, sz + n, W)
        if sz == 0:
            return -1
    elif n < 0:
        sz = uvmdealloc(k, p.pagetable, sz, (sz + n) % (1 << 64))
    p.sz = sz
    return 0


def fork(k: Kernel) -> int:
    """Copy the current process; the child's number, or -1 when there is no slot or frame."""
    p = k.myproc()
    np = allocproc(k)
    if np is None:
        return -1
    if uvmcopy(k, p.pagetable, np.pagetable, p.sz) < 0:
        freeproc(k, np)
        return -1
    np.sz = p.sz
    k.memory.write(np.trapframe, k.memory.read(p.trapframe, TRAPFRAME_BYTES))
    k.memory.write64(np.trapframe + A0, 0)
    np.name = p.name
    np.image = p.image
    np.parent = p
    np.state = State.RUNNABLE
    k.tell(
        "fork",
        f"process {p.pid} ({p.name}) forks process {np.pid}: its {p.sz:#x} bytes are copied page by page into "
        "frames of the child's own, mapped at the same addresses with the same rights",
    )
    return np.pid


def reparent(k: Kernel, p: Proc) -> None:
    """Give the children of ``p`` to init."""
    for pp in k.proc:
        if pp.parent is p:
            pp.parent = k.initproc


def exit(k: Kernel, status: int) -> None:
    """End the current process; its frames stay until its parent waits for it."""
    p = k.myproc()
    if p is k.initproc:
        raise Panic("init exiting", f"process {p.pid} is the one that waits for all others")
    reparent(k, p)
    p.xstate = status
    p.state = State.ZOMBIE
    k.current = None
    k.tell("exit", f"process {p.pid} ({p.name}) exits with status {status}; its frames wait for its parent")


def wait(k: Kernel, addr: int) -> int:
    """The number of a child that exited, its frames freed, its status copied to user address ``addr`` unless that is 0.

    -1 when there is no child or ``addr`` cannot be written; 0 when no child has exited yet, where C would sleep.
    """
    p = k.myproc()
    children = [pp for pp in k.proc if pp.parent is p]
    zombie = next((pp for pp in children if pp.state is State.ZOMBIE), None)
    if zombie is None:
        return 0 if children and not p.killed else -1
    status = (zombie.xstate & 0xFFFF_FFFF).to_bytes(4, "little")
    if addr != 0 and copyout(k, p.pagetable, addr, status) < 0:
        return -1
    pid, name = zombie.pid, zombie.name
    freeproc(k, zombie)
    k.tell("wait", f"process {p.pid} ({p.name}) waits for process {pid} ({name}), and its frames are freed")
    return pid
