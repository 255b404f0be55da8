"""kernel/virtio_disk.c: the three frames of the disk's queue, all that the driver takes from the allocator."""

from __future__ import annotations

from pagebook.errors import Panic
from pagebook.xv6.kalloc import kalloc
from pagebook.xv6.kernel import Kernel
from pagebook.xv6.memlayout import PGSIZE


def virtio_disk_init(k: Kernel) -> None:
    """Allocate and zero the descriptor table, the available ring and the used ring."""
    desc, avail, used = kalloc(k), kalloc(k), kalloc(k)
    if not desc or not avail or not used:
        raise Panic("virtio disk kalloc", "no frame is left for the disk's queue")
    for frame in (desc, avail, used):
        k.memory.write(frame, bytes(PGSIZE))
    k.disk = (desc, avail, used)
    k.tell("virtio_disk_init", f"three frames for the disk's queue: {desc:#x}, {avail:#x}, {used:#x}")
