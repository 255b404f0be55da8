"""kernel/trap.c: what a store or load of a program does to its memory, and what the kernel makes of a page fault.

There is no processor in the model; `store` and `load` stand for the one instruction that a program would run.
"""

from __future__ import annotations

from pagebook.sv import R, U, V, W
from pagebook.xv6.kernel import Kernel
from pagebook.xv6.memlayout import MAXVA, PGROUNDDOWN, PGSIZE
from pagebook.xv6.proc import exit as exit_
from pagebook.xv6.vm import vmfault

LOAD_PAGE_FAULT = 13
STORE_PAGE_FAULT = 15


def usertrap(k: Kernel, scause: int, stval: int) -> bool:
    """A fault of the current process: True when the access may be tried again, False when it was killed.

    A process that is killed exits; when it is init, that is a Panic.
    """
    p = k.myproc()
    repairable = k.revision.lazy and scause in (LOAD_PAGE_FAULT, STORE_PAGE_FAULT)
    if repairable and vmfault(k, p.pagetable, stval, int(scause == LOAD_PAGE_FAULT)) != 0:
        k.tell("vmfault", f"process {p.pid} touched {stval:#x}, which sbrk had promised: it gets a frame")
        return True
    p.killed = True
    k.tell("usertrap", f"unexpected scause {scause:#x} pid={p.pid}, stval={stval:#x}: the process is killed")
    exit_(k, -1)
    return False


def store(k: Kernel, va: int, data: bytes) -> bool:
    """The current process stores ``data`` at ``va``; False when the fault killed it."""
    done = 0
    while done < len(data):
        pa = _user_page(k, va + done, W, STORE_PAGE_FAULT)
        if pa is None:
            return False
        n = min(len(data) - done, PGSIZE - (va + done) % PGSIZE)
        k.memory.write(pa, data[done : done + n])
        done += n
    return True


def load(k: Kernel, va: int, length: int) -> bytes | None:
    """The current process loads ``length`` bytes from ``va``; None when the fault killed it."""
    data = b""
    while len(data) < length:
        pa = _user_page(k, va + len(data), R, LOAD_PAGE_FAULT)
        if pa is None:
            return None
        data += k.memory.read(pa, min(length - len(data), PGSIZE - (va + len(data)) % PGSIZE))
    return data


def _user_page(k: Kernel, va: int, right: int, scause: int) -> int | None:
    """The physical address that ``va`` reaches with this right in user mode, after the fault if there is one."""
    table = k.table(k.myproc().pagetable)
    while True:
        pte = table.find(va)[1] if 0 <= va < MAXVA else 0
        if pte & V and pte & U and pte & right:
            return table.format.pte_pa(pte) + va - PGROUNDDOWN(va)
        if not usertrap(k, scause, va):
            return None
