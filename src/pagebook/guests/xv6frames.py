"""What an xv6 kernel says of its frames: where RAM ends, its devices, its free lists, its disk's queue.

Addresses come from the kernel's layout; what stands there is held against what else is known, and a remark says where
the two part.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pagebook.errors import PagebookError, TooManyMappings
from pagebook.guests.kernelfile import KernelFile
from pagebook.guests.xv6layout import Head, Layout
from pagebook.machine import Area, Pool
from pagebook.memory import U64, Memory
from pagebook.scan import Rows, merge, scan
from pagebook.sv import Format
from pagebook.table import AddressSpace
from pagebook.units import PAGE_MASK, PAGE_SHIFT, PAGE_SIZE, page_up

SUPERPAGE = 2 << 20
SAMPLE = 8
MOST_HARTS = 1024
LEAST_LIMIT = 1 << 21
# Where QEMU's virt board has them; a page-table run that touches several is cut there.
DEVICES = (
    (0x10_0000, "power switch"),
    (0x10_1000, "clock"),
    (0x200_0000, "CLINT"),
    (0xC00_0000, "PLIC"),
    (0x1000_0000, "uart0"),
    *((0x1000_1000 + number * PAGE_SIZE, f"virtio{number}") for number in range(8)),
    (0x1000_9000, "device"),
    (0x1010_0000, "firmware"),
    (0x2000_0000, "flash"),
    (0x3000_0000, "PCIe configuration"),
    (0x4000_0000, "PCIe devices"),
)
_JUNK = 0x0101_0101_0101_0101
Remark = Callable[[str], None]
Addresses = npt.NDArray[np.uint64]


@dataclass(frozen=True)
class KernelTable:
    """The kernel's table as it is: where RAM ends by it, its devices, and the virtual pages it maps, ascending.

    Of RAM up to ``mapped`` only what is below ``physstop`` was read in one piece, and is looked at.
    """

    table: AddressSpace | None
    physstop: int
    mapped: int
    devices: tuple[Area, ...]
    vas: Addresses
    sizes: Addresses


def ram_end(memory: Memory, start: int) -> int:
    """The end of the whole pages of the region that holds ``start``: a free list is read in one piece."""
    return next(
        (r.base + (r.size & ~PAGE_MASK) for r in memory.regions if r.base <= start < r.base + r.size), page_up(start)
    )


def kernel_table(memory: Memory, kernel: KernelFile, fmt: Format, remark: Remark) -> KernelTable:
    """Read the kernel's table; without one, RAM ends where the memory does."""
    end = ram_end(memory, kernel.start)
    nothing = np.empty(0, U64)
    root = word(memory, kernel.symbols["kernel_pagetable"])
    if not root:
        remark(
            "kernel_pagetable is 0: the kernel has not made its page table yet; if that stays so, it may be built for "
            "more RAM than it was given, which is QEMU's -m"
        )
        return KernelTable(None, end, end, (), nothing, nothing)
    try:
        table = AddressSpace(memory, root, fmt)
        found = scan(table, max(LEAST_LIMIT, 2 * (end - kernel.start >> PAGE_SHIFT)))
    except TooManyMappings as error:
        remark(f"the kernel's page table cannot be listed: {error}")
        return KernelTable(table, end, end, (), nothing, nothing)
    except PagebookError as error:
        remark(f"kernel_pagetable is {root:#x}, and no table can be there: {error}")
        return KernelTable(None, end, end, (), nothing, nothing)
    mappings, runs = found.mappings, merge(found.runs(), ignore=0xFF)
    image = page_up(kernel.symbols["end"])
    identity = runs[runs["va"] == runs["pa"]]
    mapped = stop = end
    over = identity[(identity["va"] <= U64(image)) & (identity["va"] + identity["size"] > U64(image))]
    if len(over):
        mapped = stop = max(int(over["va"][0] + over["size"][0]), _seen_end(identity, root, image, end))
        if stop > end:
            remark(
                f"the kernel maps RAM up to {stop:#x}, and the memory that was read goes in one piece to {end:#x}: "
                "what is free beyond that is not known"
            )
            stop = end
    else:
        remark(
            f"the kernel's page table does not map the page after its image, {image:#x}; RAM is taken to end at "
            f"{end:#x}"
        )
    below = identity[identity["va"] < U64(kernel.start)]
    places = zip(below["va"].tolist(), (below["va"] + below["size"]).tolist(), strict=True)
    devices = [part for start, stop in places for part in _devices(start, stop, memory)]
    return KernelTable(table, stop, mapped, tuple(devices), mappings["va"], mappings["size"])


def _seen_end(identity: Rows, root: int, image: int, end: int) -> int:
    """The end of what must be RAM beyond any hole in the kernel's table: other runs, and the frame of its root."""
    inside = identity[(identity["va"] >= U64(image)) & (identity["va"] < U64(end))]
    ends: list[int] = (inside["va"] + inside["size"]).tolist()
    return max([*ends, root + PAGE_SIZE if image <= root < end else 0])


def _devices(start: int, stop: int, memory: Memory) -> list[Area]:
    """A run of the kernel's table below RAM, cut where one device ends and another starts."""
    if start in memory:
        return []
    inner = [(at, name) for at, name in DEVICES if start < at < stop]
    before = [(at, name) for at, name in DEVICES if at <= start]
    cuts = [(start, before[-1][1] if before else "device"), *inner]
    ends = [at for at, _ in inner] + [stop]
    return [Area(at, end - at, name) for (at, name), end in zip(cuts, ends, strict=True)]


def word(memory: Memory, pa: int, size: int = 8) -> int:
    """The little-endian number of ``size`` bytes at ``pa``; 0 where no memory is."""
    try:
        return memory.read64(pa) if size == 8 else int.from_bytes(memory.read(pa, size), "little")
    except PagebookError:
        return 0


def pools(
    memory: Memory, heads: tuple[Head, ...], free: tuple[int, int], mapped: int, remark: Remark
) -> tuple[Pool, ...] | None:
    """The free lists; None, with a remark, when there is none that pagebook knows, or one leads on in unread RAM."""
    if not heads:
        remark(
            "the kernel has no free list of frames that pagebook knows (a global struct run *, or a member of that "
            "type); free frames are not known, unless --offsets tells where its head is, as in kmem.freelist=24"
        )
        return None
    found = []
    for head in heads:
        first = word(memory, head.address)
        after = _after(memory, first, free) if mapped > free[1] else 0
        if free[1] <= after < mapped and not after & PAGE_MASK:
            remark(f"{head.name} leads on to {after:#x}, beyond what was read in one piece: free frames are not known")
            return None
        sample = follow(memory, first, free, SAMPLE)
        found.append(Pool(head.name, first, _frame_bytes(memory, head.name, sample, remark)))
    return tuple(found)


def follow(memory: Memory, pa: int, free: tuple[int, int], most: int) -> list[int]:
    """The first frames of a list, ``most`` at most, as long as they are frames."""
    listed: list[int] = []
    while free[0] <= pa < free[1] and not pa & PAGE_MASK and len(listed) < most:
        listed.append(pa)
        pa = word(memory, pa)
    return listed


def _after(memory: Memory, first: int, free: tuple[int, int]) -> int:
    """Where a list leads behind the last of its frames that is in the range; 0 at its end."""
    listed = follow(memory, first, free, free[1] - free[0] >> PAGE_SHIFT)
    return word(memory, listed[-1]) if listed else first


def _frame_bytes(memory: Memory, name: str, sample: list[int], remark: Remark) -> int:
    """4096, or 2 MiB when the frames of the list say so, or when it is empty and its name does."""
    named = any(part in name.lower() for part in ("super", "huge", "mega", "2m"))
    if not sample:
        return SUPERPAGE if named else PAGE_SIZE
    if any(pa & SUPERPAGE - 1 for pa in sample):
        if named:
            remark(f"{name} sounds like a list of superpages, but has frames on it that are no multiple of 2M")
        return PAGE_SIZE
    junk = all(word(memory, pa + PAGE_SIZE) == _JUNK for pa in sample)  # kfree fills a frame; this is its middle
    return SUPERPAGE if named or len(sample) > 1 or junk else PAGE_SIZE


def named_frames(memory: Memory, kernel: KernelFile, layout: Layout) -> list[Area]:
    """The physical ranges that have names: the kernel's image, the disk's queue, the stacks that harts boot on."""
    end = page_up(kernel.symbols["end"])
    areas = [Area(kernel.start, end - kernel.start, "kernel image")]
    rings = dict.fromkeys(word(memory, address) & ~PAGE_MASK for address in layout.queue)
    areas += [Area(pa, PAGE_SIZE, "disk queue") for pa in rings if pa in memory]
    if layout.stacks:
        start, size = layout.stacks
        areas += [
            Area(at, PAGE_SIZE, f"kernel stack of hart {number}")
            for number, at in enumerate(range(start, start + size, PAGE_SIZE)[:MOST_HARTS])
        ]
    return areas
