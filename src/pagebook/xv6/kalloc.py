"""kernel/kalloc.c: the frames of physical memory, on a free list threaded through themselves."""

from __future__ import annotations

from pagebook.errors import BadFrame, Panic
from pagebook.xv6.kernel import Kernel

STRIDE = 1 << 28  # bytes that freerange fills between two words of progress


def kinit(k: Kernel) -> None:
    """Put every frame from ``end`` to PHYSTOP on the free list."""
    freerange(k, k.layout.end, k.layout.physstop)
    k.tell(
        "kinit",
        f"{k.kmem.count} frames, from {k.kmem.start:#x} to {k.kmem.stop:#x}, are filled with 0x01 and put on the free "
        f"list, which runs through the frames themselves; the last one in, {k.kmem.head:#x}, is the first one out",
    )


def freerange(k: Kernel, pa_start: int, pa_end: int) -> None:
    """kfree every whole page of [pa_start, pa_end), lowest first, as array work."""
    try:
        while pa_start < pa_end:
            stop = min((pa_start | STRIDE - 1) + 1, pa_end)
            k.kmem.free_range(pa_start, stop)
            if k.progress:
                k.progress(stop - pa_start)
            pa_start = stop
    except BadFrame as error:
        raise Panic("kfree", str(error), pa=error.pa) from error


def kfree(k: Kernel, pa: int) -> None:
    """Give the frame at ``pa`` back: filled with 0x01, it becomes the head of the free list."""
    try:
        k.kmem.free(pa)
    except BadFrame as error:
        raise Panic("kfree", str(error), pa=pa) from error


def kalloc(k: Kernel) -> int:
    """Take the frame at the head of the free list, filled with 0x05; 0 when the list is empty."""
    return k.kmem.alloc() or 0
