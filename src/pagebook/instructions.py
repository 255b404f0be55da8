"""Which instructions use memory, and how: an encoding of 16 or 32 bits, and whether it loads or stores.

Not a disassembler: what uses no memory has no name here.  The rows are of the unprivileged specification (I, A, F, D,
Q, C, V, Zfh, Zcb, Zabha, Zacas, Zilsd, cache blocks, shadow stacks) and of the hypervisor's loads and stores.  The kind
is that of the fault: LR faults as a load; SC, AMOs, and what manages cache blocks or shadow stacks fault as stores.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from pagebook.mmu import Kind

LOAD, STORE, AMO = Kind.LOAD, Kind.STORE, Kind.AMO


class Row(NamedTuple):
    """Encodings that are ``match`` under ``mask``, on harts of ``xlen`` bits or, with 0, on all; the first row counts.

    Without a ``kind`` they are reserved.
    """

    mask: int
    match: int
    kind: Kind | None
    name: str
    xlen: int = 0


class Instruction(NamedTuple):
    """What stands at an address: ``size`` bytes, of which ``value`` has at most the first four.

    ``kind`` is LOAD, STORE or AMO, None for what uses no memory; ``name`` is then empty, else as a listing has it,
    the same for the compressed one.  Vendors' own encodings and those of more than four bytes are not ``known``.
    """

    value: int
    size: int
    kind: Kind | None = None
    name: str = ""
    known: bool = True

    def may(self, kind: Kind) -> bool:
        """Whether a fault of this kind, LOAD or STORE, can be of this instruction."""
        return not self.known or self.kind is kind or (kind is STORE and self.kind is AMO)


COMPRESSED = (
    Row(0xE003, 0x2000, LOAD, "fld"),
    Row(0xE003, 0x4000, LOAD, "lw"),
    Row(0xE003, 0x6000, LOAD, "flw", 32),
    Row(0xE003, 0x6000, LOAD, "ld", 64),
    Row(0xFC03, 0x8000, LOAD, "lbu"),
    Row(0xFC43, 0x8400, LOAD, "lhu"),
    Row(0xFC43, 0x8440, LOAD, "lh"),
    Row(0xFC03, 0x8800, STORE, "sb"),
    Row(0xFC43, 0x8C00, STORE, "sh"),
    Row(0xE003, 0xA000, STORE, "fsd"),
    Row(0xE003, 0xC000, STORE, "sw"),
    Row(0xE003, 0xE000, STORE, "fsw", 32),
    Row(0xE003, 0xE000, STORE, "sd", 64),
    Row(0xFFFF, 0x6081, STORE, "sspush"),
    Row(0xFFFF, 0x6281, STORE, "sspopchk"),
    Row(0xE003, 0x2002, LOAD, "fld"),
    Row(0xEF83, 0x4002, None, ""),  # into x0
    Row(0xE003, 0x4002, LOAD, "lw"),
    Row(0xE003, 0x6002, LOAD, "flw", 32),
    Row(0xEF83, 0x6002, None, "", 64),  # into x0
    Row(0xE003, 0x6002, LOAD, "ld", 64),
    Row(0xE003, 0xA002, STORE, "fsd"),
    Row(0xE003, 0xC002, STORE, "sw"),
    Row(0xE003, 0xE002, STORE, "fsw", 32),
    Row(0xE003, 0xE002, STORE, "sd", 64),
)

_PLAIN = (
    Row(0x707F, 0x0003, LOAD, "lb"),
    Row(0x707F, 0x1003, LOAD, "lh"),
    Row(0x707F, 0x2003, LOAD, "lw"),
    Row(0x707F, 0x3003, LOAD, "ld"),
    Row(0x707F, 0x4003, LOAD, "lbu"),
    Row(0x707F, 0x5003, LOAD, "lhu"),
    Row(0x707F, 0x6003, LOAD, "lwu", 64),
    Row(0x707F, 0x0023, STORE, "sb"),
    Row(0x707F, 0x1023, STORE, "sh"),
    Row(0x707F, 0x2023, STORE, "sw"),
    Row(0x707F, 0x3023, STORE, "sd"),
    Row(0x707F, 0x1007, LOAD, "flh"),
    Row(0x707F, 0x2007, LOAD, "flw"),
    Row(0x707F, 0x3007, LOAD, "fld"),
    Row(0x707F, 0x4007, LOAD, "flq"),
    Row(0x707F, 0x1027, STORE, "fsh"),
    Row(0x707F, 0x2027, STORE, "fsw"),
    Row(0x707F, 0x3027, STORE, "fsd"),
    Row(0x707F, 0x4027, STORE, "fsq"),
)
_VECTOR = tuple(
    Row(0x1000_707F, width << 12 | opcode, kind, name)
    for opcode, kind, name in ((0x07, LOAD, "a vector load"), (0x27, STORE, "a vector store"))
    for width in (0, 5, 6, 7)
)
_CACHE_BLOCKS = tuple(
    Row(0xFFF0_7FFF, number << 20 | 0x200F, STORE, name)
    for number, name in ((0, "cbo.inval"), (1, "cbo.clean"), (2, "cbo.flush"), (4, "cbo.zero"))
)
_SHADOW_STACKS = (
    Row(0xFFFF_FFFF, 0xCE10_4073, STORE, "sspush"),
    Row(0xFFFF_FFFF, 0xCE50_4073, STORE, "sspush"),
    Row(0xFFFF_FFFF, 0xCDC0_C073, STORE, "sspopchk"),
    Row(0xFFFF_FFFF, 0xCDC2_C073, STORE, "sspopchk"),
)
_OF_GUESTS = (
    Row(0xFFF0_707F, 0x6000_4073, LOAD, "hlv.b"),
    Row(0xFFF0_707F, 0x6010_4073, LOAD, "hlv.bu"),
    Row(0xFFF0_707F, 0x6400_4073, LOAD, "hlv.h"),
    Row(0xFFF0_707F, 0x6410_4073, LOAD, "hlv.hu"),
    Row(0xFFF0_707F, 0x6430_4073, LOAD, "hlvx.hu"),
    Row(0xFFF0_707F, 0x6800_4073, LOAD, "hlv.w"),
    Row(0xFFF0_707F, 0x6810_4073, LOAD, "hlv.wu", 64),
    Row(0xFFF0_707F, 0x6830_4073, LOAD, "hlvx.wu"),
    Row(0xFFF0_707F, 0x6C00_4073, LOAD, "hlv.d", 64),
    Row(0xFE00_7FFF, 0x6200_4073, STORE, "hsv.b"),
    Row(0xFE00_7FFF, 0x6600_4073, STORE, "hsv.h"),
    Row(0xFE00_7FFF, 0x6A00_4073, STORE, "hsv.w"),
    Row(0xFE00_7FFF, 0x6E00_4073, STORE, "hsv.d", 64),
)

AMOS = {
    0b00001: "amoswap", 0b00000: "amoadd", 0b00100: "amoxor", 0b01100: "amoand", 0b01000: "amoor",
    0b10000: "amomin", 0b10100: "amomax", 0b11000: "amominu", 0b11100: "amomaxu",
}  # fmt: skip
"""The upper five bits of an AMO, and its name."""
XLENS = (0, 0, 0, 64)
"""By the width of an AMO, of 1, 2, 4 or 8 bytes, the harts that have it."""


def _atomic(upper: int, width: int, kind: Kind, name: str, xlen: int, mask: int = 0xF800_707F) -> Row:
    return Row(mask, upper << 27 | width << 12 | 0x2F, kind, f"{name}.{'bhwdq'[width]}", xlen)


_ATOMIC = (
    *(_atomic(upper, width, AMO, name, xlen) for upper, name in AMOS.items() for width, xlen in enumerate(XLENS)),
    *(_atomic(0b00101, width, AMO, "amocas", 0 if width < 4 else 64) for width in range(5)),
    *(_atomic(0b01001, width, AMO, "ssamoswap", xlen) for width, xlen in ((2, 0), (3, 64))),
    *(_atomic(0b00010, width, LOAD, "lr", xlen, 0xF9F0_707F) for width, xlen in ((2, 0), (3, 64))),
    *(_atomic(0b00011, width, STORE, "sc", xlen) for width, xlen in ((2, 0), (3, 64))),
)

WIDE = (*_PLAIN, *_VECTOR, *_ATOMIC, *_CACHE_BLOCKS, *_SHADOW_STACKS, *_OF_GUESTS)
VENDORS = (0x0B, 0x2B, 0x5B, 0x7B)
"""The opcodes that are left to those who make harts: custom-0 to custom-3."""


def size_of(low: int) -> int:
    """The bytes of the instruction whose lowest 16 bits are ``low``: 2, 4, or 6 for all that are longer."""
    if low & 3 != 3:
        return 2
    return 4 if low & 0x1C != 0x1C else 6


@lru_cache(maxsize=1 << 12)
def decode(value: int, xlen: int = 64) -> Instruction:
    """The instruction whose lowest bits ``value`` has, all that `size_of` says or the first 32; bits above are cut."""
    size = size_of(value & 0xFFFF)
    value &= (1 << 8 * min(size, 4)) - 1
    if size > 4 or (size == 4 and value & 0x7F in VENDORS):
        return Instruction(value, size, known=False)
    for row in COMPRESSED if size == 2 else WIDE:
        if value & row.mask == row.match and row.xlen in (0, xlen):
            return Instruction(value, size, row.kind, row.name)
    return Instruction(value, size)
