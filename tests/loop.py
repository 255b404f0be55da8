"""Page tables as a kernel's C code makes them: one page at a time, over a bytearray.

This is the model that the tests hold pagebook against, so it imports nothing from pagebook: its own formats, its own
free list, its own walk.  Where the C code would panic or return -1 it raises `Stopped` and leaves what it had done.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

PAGE = 4096
ROWS = {"Sv32": (2, 10, 4, 32), "Sv39": (3, 9, 8, 64), "Sv48": (4, 9, 8, 64), "Sv57": (5, 9, 8, 64)}
PPN = {4: (1 << 22) - 1, 8: (1 << 44) - 1}


class Stopped(Exception):
    """The loop cannot go on: the name of the error, and the page it had come to."""

    def __init__(self, kind: str, va: int) -> None:
        super().__init__(f"{kind} at {va:#x}")
        self.kind = kind
        self.va = va


class Loop:
    """``ram`` from ``base`` on, a free list that starts at ``head``, and a table at ``root``.

    ``budget`` frames may be taken; None means as many as there are.
    """

    def __init__(self, name: str, ram: bytes, base: int, head: int, root: int, budget: int | None = None) -> None:
        self.name = name
        self.levels, self.bits, self.size, self.xlen = ROWS[name]
        self.ram = bytearray(ram)
        self.base = base
        self.head = head
        self.root = root
        self.budget = budget

    def copy(self) -> Loop:
        return Loop(self.name, self.ram, self.base, self.head, self.root, self.budget)

    def get(self, pa: int, size: int) -> int:
        return int.from_bytes(self.ram[pa - self.base : pa - self.base + size], "little")

    def put(self, pa: int, value: int, size: int) -> None:
        self.ram[pa - self.base : pa - self.base + size] = value.to_bytes(size, "little")

    def fill(self, pa: int, byte: int) -> None:
        self.ram[pa - self.base : pa - self.base + PAGE] = bytes([byte]) * PAGE

    def kalloc(self) -> int:
        pa = self.head
        if not pa or self.budget == 0:
            return 0
        if self.budget is not None:
            self.budget -= 1
        self.head = self.get(pa, 8)
        self.fill(pa, 5)
        return pa

    def kfree(self, pa: int, va: int = 0) -> None:
        if pa % PAGE or not self.base <= pa < self.base + len(self.ram):
            raise Stopped("BadFrame", va)
        self.fill(pa, 1)
        self.put(pa, self.head, 8)
        self.head = pa

    def free_frames(self) -> list[int]:
        found = []
        pa = self.head
        while pa:
            found.append(pa)
            pa = self.get(pa, 8)
        return found

    def span(self, level: int) -> int:
        return PAGE << self.bits * level

    def slot(self, table: int, va: int, level: int) -> int:
        return table + (va // self.span(level)) % (1 << self.bits) * self.size

    def target(self, pte: int) -> int:
        return (pte >> 10 & PPN[self.size]) * PAGE

    def path(self, va: int) -> list[tuple[int, int, int]]:
        """(level, address, value) of every PTE that the translation of ``va`` reads."""
        found = []
        table = self.root
        for level in range(self.levels - 1, -1, -1):
            at = self.slot(table, va, level)
            pte = self.get(at, self.size)
            found.append((level, at, pte))
            if not pte & 1 or pte & 0xE:
                break
            table = self.target(pte)
        return found

    def walk(self, va: int, level: int) -> int:
        """The address of the PTE for ``va`` on ``level``, tables made on the way."""
        table = self.root
        for above in range(self.levels - 1, level, -1):
            at = self.slot(table, va, above)
            pte = self.get(at, self.size)
            if pte & 1 and pte & 0xE:
                raise Stopped("AlreadyMapped", va)
            if pte & 1:
                table = self.target(pte)
            else:
                table = self.kalloc()
                if not table:
                    raise Stopped("OutOfFrames", va)
                self.fill(table, 0)
                self.put(at, table // PAGE << 10 | 1, self.size)
        return self.slot(table, va, level)

    def map(self, va: int, size: int, pa: int, flags: int, level: int = 0) -> None:
        for done in range(0, size, self.span(level)):
            at = self.walk(va + done, level)
            if self.get(at, self.size) & 1:
                raise Stopped("AlreadyMapped", va + done)
            self.put(at, (pa + done) // PAGE << 10 | flags | 1, self.size)

    def leaves(self, va: int, size: int, holes: bool) -> Iterator[tuple[int, int, int, int]]:
        """(va, level, PTE address, PTE) of every page of the range, superpages whole."""
        end = va + size
        while va < end:
            level, at, pte = self.path(va)[-1]
            span = self.span(level)
            if pte & 1:
                if va % span or va + span > end:
                    raise Stopped("BadAddress", va)
                yield va, level, at, pte
            elif not holes:
                raise Stopped("NotMapped", va)
            va += span - va % span

    def unmap(self, va: int, size: int, free: bool, holes: bool) -> None:
        for at_va, level, at, pte in self.leaves(va, size, holes):
            if pte & 0x3FF == 1 and not holes:
                raise Stopped("NotATable", at_va)
            if free:
                for frame in range(0, self.span(level), PAGE):
                    self.kfree(self.target(pte) + frame, at_va)
            self.put(at, 0, self.size)

    def protect(self, va: int, size: int, flags: int) -> None:
        for at_va, _, at, pte in self.leaves(va, size, False):
            if not pte & 0xE:
                raise Stopped("NotATable", at_va)
            self.put(at, pte & ~0x3E | flags, self.size)

    def freewalk(self) -> None:
        self._freewalk(self.root, self.levels - 1, 0)

    def _freewalk(self, table: int, level: int, va: int) -> None:
        for index in range(1 << self.bits):
            at = table + index * self.size
            pte = self.get(at, self.size)
            here = va + index * self.span(level)
            if pte & 1:
                if pte & 0xE or not level:
                    raise Stopped("NotATable", here)
                self._freewalk(self.target(pte), level - 1, here)
                self.put(at, 0, self.size)
        self.kfree(table)


def words(ram: bytes) -> list[int]:
    """The 64-bit words of ``ram``."""
    return list(struct.unpack(f"<{len(ram) // 8}Q", ram))
