"""kernel/sysproc.c: sbrk, eager in every revision and since 2025 lazy too."""

from __future__ import annotations

from pagebook.xv6.kernel import Kernel
from pagebook.xv6.memlayout import TRAPFRAME
from pagebook.xv6.proc import growproc

SBRK_EAGER = 1
SBRK_LAZY = 2


def sys_sbrk(k: Kernel, n: int, t: int = SBRK_EAGER) -> int:
    """Grow or shrink the current process by ``n`` bytes; its old size, or -1.

    With ``t`` SBRK_LAZY, which only 2025 knows, growing takes no memory until a page is touched.
    """
    p = k.myproc()
    n = (n + (1 << 31)) % (1 << 32) - (1 << 31)  # argint gives an int, of the register's low 32 bits
    addr = p.sz
    if t == SBRK_EAGER or n < 0 or not k.revision.lazy:
        if growproc(k, n) < 0:
            return -1
        how = "at once"
    else:
        if addr + n > TRAPFRAME:
            return -1
        p.sz += n
        how = "without a frame, until it is touched"
    k.tell("sbrk", f"process {p.pid} ({p.name}) goes from {addr:#x} to {p.sz:#x} bytes, {how}")
    return addr
