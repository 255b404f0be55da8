"""A writer of cores as QEMU's ``dump-guest-memory`` writes them, for tests only; it checks nothing."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence

from elves import CORE, READ, build_elf, note

PAGE = 4096
RAM = 0x8000_0000
PHDRS, PHDR = 64, 56


def prstatus(registers: Sequence[int]) -> bytes:
    """The note of one hart: pc, then x1 to x31."""
    return note(b"CORE", 1, bytes(112) + struct.pack("<32Q", *registers) + bytes(8))


def registers(hart: int) -> tuple[int, ...]:
    """Registers that are all different, and different for every hart."""
    return tuple(RAM + 1000 * hart + number for number in range(32))


def core(
    loads: Iterable[tuple[int, bytes]] = ((RAM, bytes(PAGE)),), harts: int = 1, *, more: int = 0, notes: bytes = b""
) -> bytes:
    """A core with these bytes at these physical addresses; each segment promises ``more`` bytes than it holds."""
    return build_elf(
        [(pa, len(data), len(data) + more, READ, data) for pa, data in loads],
        kind=CORE,
        notes=b"".join(prstatus(registers(hart)) for hart in range(harts)) + notes,
    )


def patched(data: bytes, layout: str, at: int, *values: int) -> bytes:
    """The same file with other numbers at byte ``at``."""
    changed = bytearray(data)
    struct.pack_into("<" + layout, changed, at, *values)
    return bytes(changed)


def filled(pages: int, seed: int = 1) -> bytes:
    """Pages that are all different, none of zeros."""
    return b"".join(struct.pack("<Q", seed << 32 | number + 1) * (PAGE // 8) for number in range(pages))
