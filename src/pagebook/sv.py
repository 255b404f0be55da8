"""The formats of RISC-V page tables, as data: Sv32, Sv39, Sv48, Sv57.

A format is a row of numbers: how many levels, how many index bits, how wide a PTE is and where its fields
stand.  One walker serves them all.  There is no memory here: every function takes plain ints and gives
plain ints.  Source: RISC-V Privileged Architecture, chapter "Supervisor-Level ISA", sections on satp,
Sv32, Sv39, Sv48, Sv57, Svnapot and Svpbmt.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple

from pagebook.errors import BadAddress
from pagebook.units import PAGE_MASK, PAGE_SHIFT

# The low ten bits of a PTE are the same in every format.
V, R, W, X, U, G, A, D = (1 << bit for bit in range(8))
RSW = 3 << 8
RWX = R | W | X
FLAGS = 0x3FF
FLAG_LETTERS = "vrwxugad"

# A PTE whose low four bits are exactly V points to the next table; with any of R, W, X it is a leaf.
KIND_MASK = V | RWX
POINTER = V


class Field(NamedTuple):
    """A run of bits: ``bits`` wide, its lowest at ``low``."""

    name: str
    low: int
    bits: int

    def of(self, value: int) -> int:
        """The field's value within ``value``."""
        return value >> self.low & ((1 << self.bits) - 1)


_FLAG_FIELDS = tuple(Field(letter.upper(), bit, 1) for bit, letter in enumerate(FLAG_LETTERS))
_PTE_32 = (*_FLAG_FIELDS, Field("RSW", 8, 2), Field("PPN", 10, 22))
_PTE_64 = (
    *_FLAG_FIELDS,
    Field("RSW", 8, 2),
    Field("PPN", 10, 44),
    Field("reserved", 54, 7),
    Field("PBMT", 61, 2),
    Field("N", 63, 1),
)
_SATP_32 = (Field("PPN", 0, 22), Field("ASID", 22, 9), Field("MODE", 31, 1))
_SATP_64 = (Field("PPN", 0, 44), Field("ASID", 44, 16), Field("MODE", 60, 4))


@dataclass(frozen=True)
class Format:
    """One row of the table of formats; sizes in bits unless the name says otherwise.

    ``shifts`` holds, from the root down, how far right a virtual address goes to bring that level's index
    to the bottom; levels are numbered as in the specification, the last one 0.
    """

    name: str
    xlen: int
    mode: int
    levels: int
    index_bits: int
    pte_bytes: int
    pte_fields: tuple[Field, ...]
    satp_fields: tuple[Field, ...]
    entries: int = field(init=False)
    index_mask: int = field(init=False)
    va_bits: int = field(init=False)
    ppn_mask: int = field(init=False)
    shifts: tuple[int, ...] = field(init=False)
    steps: tuple[tuple[int, int], ...] = field(init=False)

    def __post_init__(self) -> None:
        ppn_bits = next(f.bits for f in self.pte_fields if f.name == "PPN")
        shifts = tuple(PAGE_SHIFT + level * self.index_bits for level in range(self.levels - 1, -1, -1))
        for name, value in {
            "entries": 1 << self.index_bits,
            "index_mask": (1 << self.index_bits) - 1,
            "va_bits": PAGE_SHIFT + self.levels * self.index_bits,
            "ppn_mask": (1 << ppn_bits) - 1,
            "shifts": shifts,
            "steps": tuple(zip(range(self.levels - 1, -1, -1), shifts, strict=True)),
        }.items():
            object.__setattr__(self, name, value)

    def __repr__(self) -> str:
        return f"pagebook.sv.{self.name.upper()}"

    def page_bytes(self, level: int) -> int:
        """Bytes that one leaf at ``level`` maps: 4 KiB at level 0, times ``entries`` a level up."""
        return 1 << PAGE_SHIFT + level * self.index_bits

    def index(self, va: int, level: int) -> int:
        """The index that ``va`` has into a table at ``level`` (xv6: PX)."""
        return va >> PAGE_SHIFT + level * self.index_bits & self.index_mask

    def is_canonical(self, va: int) -> bool:
        """Whether the bits above ``va_bits`` all equal the top bit (on RV32 there are none)."""
        if not 0 <= va < 1 << self.xlen:
            return False
        top = va >> self.va_bits - 1
        return self.va_bits == self.xlen or top == 0 or top == (1 << self.xlen - self.va_bits + 1) - 1

    def check_canonical(self, va: int) -> int:
        """Return ``va``; BadAddress, with the remedy, when it is not canonical."""
        if self.is_canonical(va):
            return va
        if va < 0:
            raise BadAddress(f"{va:#x} is negative; an address is an unsigned {self.xlen}-bit number", va=va)
        if va >> self.xlen:
            raise BadAddress(f"{va:#x} does not fit in {self.xlen} bits", va=va)
        raise BadAddress(
            f"{va:#x} is not canonical in {self.name}: bits {self.xlen - 1} to {self.va_bits} must all equal "
            f"bit {self.va_bits - 1}; sign-extended from there it is {self.canonical(va):#x}",
            va=va,
        )

    def canonical(self, va: int) -> int:
        """``va`` cut to ``va_bits`` and sign-extended to the register's width."""
        va &= (1 << self.va_bits) - 1
        if self.va_bits < self.xlen and va >> self.va_bits - 1:
            va |= (1 << self.xlen) - (1 << self.va_bits)
        return va

    def pte(self, pa: int, flags: int) -> int:
        """The PTE for the page at ``pa`` with these low ten bits (xv6: PA2PTE(pa) | flags)."""
        return (pa >> PAGE_SHIFT) << 10 | flags

    def pte_pa(self, pte: int) -> int:
        """The physical address of the page or table that ``pte`` names (xv6: PTE2PA)."""
        return (pte >> 10 & self.ppn_mask) << PAGE_SHIFT

    def target(self, pte: int, level: int, va: int) -> int:
        """The physical address that a leaf at ``level`` gives ``va``; with N set, one of Svnapot's 64 KiB pages."""
        offset = 0xFFFF if pte >> 63 and not level else self.page_bytes(level) - 1
        return (pte >> 10 & self.ppn_mask) << PAGE_SHIFT & ~offset | va & offset

    def decode_pte(self, pte: int) -> dict[str, int]:
        """Every field of ``pte`` by name."""
        return {f.name: f.of(pte) for f in self.pte_fields}

    def split_va(self, va: int) -> tuple[tuple[int, ...], int]:
        """``va`` as its indices, the root's first, and the offset in a 4 KiB page."""
        return tuple(va >> shift & self.index_mask for shift in self.shifts), va & PAGE_MASK

    def satp(self, root: int, asid: int = 0) -> int:
        """The satp value that makes the table at physical address ``root`` current (xv6: MAKE_SATP)."""
        ppn, asid_field, mode = self.satp_fields
        if root & PAGE_MASK or root >> PAGE_SHIFT + ppn.bits or not 0 <= asid < 1 << asid_field.bits:
            raise BadAddress(
                f"satp of {self.name} holds a page-aligned root below {1 << PAGE_SHIFT + ppn.bits:#x} and an ASID "
                f"of {asid_field.bits} bits, not root {root:#x} and ASID {asid}",
                pa=root,
            )
        return self.mode << mode.low | asid << asid_field.low | root >> PAGE_SHIFT


SV32 = Format("Sv32", 32, 1, 2, 10, 4, _PTE_32, _SATP_32)
SV39 = Format("Sv39", 64, 8, 3, 9, 8, _PTE_64, _SATP_64)
SV48 = Format("Sv48", 64, 9, 4, 9, 8, _PTE_64, _SATP_64)
SV57 = Format("Sv57", 64, 10, 5, 9, 8, _PTE_64, _SATP_64)
FORMATS = {f.name.lower(): f for f in (SV32, SV39, SV48, SV57)}


class Satp(NamedTuple):
    """What a satp value says: ``format`` is None in Bare mode, where there is no translation."""

    format: Format | None
    asid: int
    root: int

    def __repr__(self) -> str:
        return f"Satp(format={self.format!r}, asid={self.asid:#x}, root={self.root:#x})"


def decode_satp(value: int, xlen: int = 64) -> Satp:
    """Take a satp value apart; BadAddress when its MODE is reserved."""
    if not 0 <= value < 1 << xlen:
        raise BadAddress(f"{value:#x} is not a {xlen}-bit satp value")
    ppn, asid, mode = (f.of(value) for f in (_SATP_32 if xlen == 32 else _SATP_64))
    formats: dict[int, Format | None] = {f.mode: f for f in FORMATS.values() if f.xlen == xlen}
    formats[0] = None
    if mode not in formats:
        raise BadAddress(f"satp {value:#x} has the reserved MODE {mode}")
    return Satp(formats[mode], asid, ppn << PAGE_SHIFT)


def flags_text(flags: int, letters: str = FLAG_LETTERS) -> str:
    """The chosen flag bits, of a whole PTE or alone, as text, a dash for each that is clear: ``"-rw-u---"``."""
    return _flags_text(flags & (1 << len(FLAG_LETTERS)) - 1, letters)


@lru_cache(maxsize=1024)
def _flags_text(flags: int, letters: str) -> str:
    return "".join(letter if flags >> FLAG_LETTERS.index(letter) & 1 else "-" for letter in letters)


def parse_flags(text: str) -> int:
    """The flag bits that letters of ``"vrwxugad"`` name, dashes passed over; ValueError for others."""
    flags = 0
    for letter in text.lower():
        if letter != "-":
            if letter not in FLAG_LETTERS:
                raise ValueError(f"{letter!r} is no permission; use letters of {FLAG_LETTERS!r}")
            flags |= 1 << FLAG_LETTERS.index(letter)
    return flags
