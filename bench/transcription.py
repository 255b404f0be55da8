"""xv6's memory manager as one would first write it down in Python: a page at a time, a PTE at a time.

It is what pagebook is measured against, so it is written to be plain and not to be slow: words are read through a
64-bit memoryview, pages are filled by slices.  Names and order of arguments are those of the kernel; a null pointer
is 0.  What can go wrong in the kernel is checked where the kernel checks it.
"""

from __future__ import annotations

from pagebook.xv6.memlayout import KERNBASE, KSTACK, MAXVA, TRAMPOLINE, Layout

PGSIZE = 4096
PTE_V, PTE_R, PTE_W, PTE_X = 1, 2, 4, 8
FREED = b"\x01" * PGSIZE
ALLOCATED = b"\x05" * PGSIZE
ZEROS = bytes(PGSIZE)


class Transcription:
    """One machine: RAM from KERNBASE to ``physstop``, the kernel in it up to ``end``, a free list."""

    def __init__(self, ram: memoryview, end: int, physstop: int) -> None:
        self.ram = ram
        self.words = ram.cast("Q")
        self.end = end
        self.physstop = physstop
        self.freelist = 0

    def kinit(self) -> None:
        """Free every page between the kernel and the end of RAM."""
        first = (self.end + PGSIZE - 1) & ~(PGSIZE - 1)
        for pa in range(first, self.physstop - PGSIZE + 1, PGSIZE):
            self.kfree(pa)

    def kfree(self, pa: int) -> None:
        """Fill a page with junk and put it in front of the free list."""
        if pa % PGSIZE or pa < self.end or pa >= self.physstop:
            raise RuntimeError("kfree")
        offset = pa - KERNBASE
        self.ram[offset : offset + PGSIZE] = FREED
        self.words[offset >> 3] = self.freelist
        self.freelist = pa

    def kalloc(self) -> int:
        """Take the first free page and fill it with other junk; 0 when there is none."""
        pa = self.freelist
        if pa:
            offset = pa - KERNBASE
            self.freelist = self.words[offset >> 3]
            self.ram[offset : offset + PGSIZE] = ALLOCATED
        return pa

    def new_table(self) -> int:
        """A page of zeros, 0 when there is none."""
        table = self.kalloc()
        if table:
            self.ram[table - KERNBASE : table - KERNBASE + PGSIZE] = ZEROS
        return table

    def walk(self, pagetable: int, va: int, alloc: bool) -> int:
        """The address of the last-level PTE for ``va``, missing tables made if asked; 0 when there is none."""
        if va >= MAXVA:
            raise RuntimeError("walk")
        words = self.words
        for shift in (30, 21):
            index = (pagetable - KERNBASE >> 3) + (va >> shift & 0x1FF)
            pte = words[index]
            if pte & PTE_V:
                pagetable = pte >> 10 << 12
            else:
                pagetable = self.new_table() if alloc else 0
                if not pagetable:
                    return 0
                words[index] = pagetable >> 12 << 10 | PTE_V
        return pagetable + (va >> 12 & 0x1FF) * 8

    def mappages(self, pagetable: int, va: int, size: int, pa: int, perm: int) -> int:
        """Write a PTE for every page of the range; 0, or -1 when no page is left for a table."""
        if va % PGSIZE or size % PGSIZE or size == 0:
            raise RuntimeError("mappages")
        words = self.words
        for at in range(va, va + size, PGSIZE):
            pte_pa = self.walk(pagetable, at, True)
            if not pte_pa:
                return -1
            index = pte_pa - KERNBASE >> 3
            if words[index] & PTE_V:
                raise RuntimeError("mappages: remap")
            words[index] = pa >> 12 << 10 | perm | PTE_V
            pa += PGSIZE
        return 0

    def kvmmap(self, pagetable: int, va: int, pa: int, size: int, perm: int) -> None:
        """Map a range that there must be room for."""
        if self.mappages(pagetable, va, size, pa, perm):
            raise RuntimeError("kvmmap")

    def kvmmake(self, layout: Layout) -> int:
        """Make the kernel's page table: devices, text, data and RAM, trampoline, stacks; its root."""
        root = self.new_table()
        for device in layout.devices:
            self.kvmmap(root, device.base, device.base, device.size, PTE_R | PTE_W)
        etext = layout.etext
        self.kvmmap(root, KERNBASE, KERNBASE, etext - KERNBASE, PTE_R | PTE_X)
        self.kvmmap(root, etext, etext, self.physstop - etext, PTE_R | PTE_W)
        self.kvmmap(root, TRAMPOLINE, layout.trampoline, PGSIZE, PTE_R | PTE_X)
        self.proc_mapstacks(root, layout.nproc)
        return root

    def proc_mapstacks(self, root: int, nproc: int) -> None:
        """A page for each kernel stack, with a hole below it."""
        for slot in range(nproc):
            pa = self.kalloc()
            if not pa:
                raise RuntimeError("kalloc")
            self.kvmmap(root, KSTACK(slot), pa, PGSIZE, PTE_R | PTE_W)

    def mappings(self, root: int) -> list[tuple[int, int, int]]:
        """Every leaf below ``root`` as (va, pa, flags), by ascending va."""
        found: list[tuple[int, int, int]] = []
        self._list(root, 0, 30, found)
        return found

    def _list(self, table: int, va: int, shift: int, found: list[tuple[int, int, int]]) -> None:
        start = table - KERNBASE >> 3
        for index, pte in enumerate(self.words[start : start + 512]):
            if pte & PTE_V:
                at = va | index << shift
                if pte & (PTE_R | PTE_W | PTE_X):
                    found.append((at, pte >> 10 << 12, pte & 0x3FF))
                else:
                    self._list(pte >> 10 << 12, at, shift - 9, found)


def bare_walk(words: memoryview, base: int, table: int, va: int) -> int:
    """The three reads that a walk is made of, and nothing else: no check of anything."""
    for shift in (30, 21, 12):
        pte = words[(table - base >> 3) + (va >> shift & 511)]
        table = pte >> 10 << 12
    return table
