"""A kernel's memory by its own virtual addresses: every read is a walk of the kernel's table, and nothing is assumed.

Reads are bounded, and what is not mapped or not in memory is None or an error with the address, never a traceback.
"""

from __future__ import annotations

from pagebook.errors import NotMapped
from pagebook.table import AddressSpace
from pagebook.units import PAGE_MASK, PAGE_SIZE

LONGEST = 64 << 20


class View:
    """Numbers, strings and bytes at virtual addresses of ``table``."""

    def __init__(self, table: AddressSpace) -> None:
        self.table = table

    def read(self, va: int, size: int) -> bytes:
        """``size`` bytes from ``va``; NotMapped or OutsideMemory when a page of them is not there."""
        if not 0 <= size <= LONGEST:
            raise NotMapped(f"{size} bytes at {va:#x} are more than a kernel holds in one piece", va=va)
        pieces = []
        while size:
            count = min(size, PAGE_SIZE - (va & PAGE_MASK))
            pieces.append(self.table.memory.read(self.pa(va), count))
            va += count
            size -= count
        return b"".join(pieces)

    def pa(self, va: int) -> int:
        """Where ``va`` is; NotMapped when the table does not say."""
        pa = self.table.translate(va)
        if pa is None:
            raise NotMapped(f"the kernel's table does not map {va:#x}", va=va)
        return pa

    def number(self, va: int, size: int = 8) -> int:
        """The ``size``-byte number at ``va``."""
        return int.from_bytes(self.read(va, size), "little")

    def text(self, va: int, size: int) -> str:
        """The string at ``va``, of at most ``size`` bytes, what cannot be printed replaced."""
        raw = self.read(va, size).split(b"\0", 1)[0].decode("utf-8", errors="replace")
        return "".join(letter if letter.isprintable() else "?" for letter in raw)
