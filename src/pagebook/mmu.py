"""What one access by a hart comes to: a physical address, or a fault and the rule that was broken.

The rules are those of the privileged specification's address-translation process and of the extensions that change it;
`RULES` lists them all.  An access is looked at, never made: nothing is written unless `Mmu.access` is told to commit
the A and D bits it would set.  The walk itself is `AddressSpace.find`, here with the strict reading of what a pointer
is.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

from pagebook.errors import BadAddress, OutsideMemory
from pagebook.memory import Memory
from pagebook.sv import KIND_MASK, RWX, A, D, Format, R, Satp, U, V, W, X, decode_satp
from pagebook.table import AddressSpace, Entry
from pagebook.units import PAGE_MASK, PAGE_SHIFT, PAGE_SIZE


class Kind(IntEnum):
    """What the access does."""

    LOAD = 0
    STORE = 1
    FETCH = 2
    AMO = 3


LARGEST = 8
PAGE_FAULT = {Kind.FETCH: 12, Kind.LOAD: 13, Kind.STORE: 15, Kind.AMO: 15}
ACCESS_FAULT = {Kind.FETCH: 1, Kind.LOAD: 5, Kind.STORE: 7, Kind.AMO: 7}
CAUSES = {
    1: "instruction access fault",
    5: "load access fault",
    7: "store/AMO access fault",
    12: "instruction page fault",
    13: "load page fault",
    15: "store/AMO page fault",
}


@dataclass(frozen=True)
class Rule:
    """A reason to fault: its name, the step of the specification's algorithm, access fault or page fault, in words."""

    id: str
    step: int
    access: bool
    text: str


RULES = {
    rule.id: rule
    for rule in (
        Rule("amo-misaligned", 0, True, "an AMO's address is not a multiple of its size; seen before any translation"),
        Rule("non-canonical", 1, False, "the bits above the virtual address's top bit do not all equal it"),
        Rule("table-outside", 2, True, "the PTE to read is outside memory"),
        Rule("v-clear", 3, False, "V is 0: the entry is absent"),
        Rule("w-without-r", 3, False, "W is 1 and R is 0, a reserved encoding"),
        Rule("reserved-bits", 3, False, "a bit of 60 to 54 is set, and no extension gives it a meaning"),
        Rule("n-reserved", 3, False, "N is set, and Svnapot is not implemented"),
        Rule("pbmt-reserved", 3, False, "PBMT is not 0, and Svpbmt is not implemented"),
        Rule("pbmt-3", 3, False, "PBMT is 3, a reserved encoding"),
        Rule("pointer-reserved", 3, False, "a pointer to a table has D, A, U, PBMT or N set, which must be 0 there"),
        Rule("napot-reserved", 3, False, "N is set above the last level, or the low PPN bits are not 1000"),
        Rule("last-pointer", 4, False, "the last-level PTE is a pointer: R, W and X are all 0"),
        Rule("misaligned-superpage", 5, False, "a superpage's physical address is not aligned to its size"),
        Rule("user-page", 6, False, "U is set, and supervisor mode may use such a page only with SUM, and never fetch"),
        Rule("supervisor-page", 6, False, "U is 0, and the access is by user mode"),
        Rule("not-readable", 8, False, "R is 0, and MXR with X does not make up for it"),
        Rule("not-writable", 8, False, "W is 0"),
        Rule("not-executable", 8, False, "X is 0"),
        Rule("a-clear", 9, False, "A is 0, and with Svade the hardware does not set it"),
        Rule("d-clear", 9, False, "D is 0 at a store, and with Svade the hardware does not set it"),
        Rule("target-outside", 10, True, "the translation is fine, and no memory is at the physical address"),
    )
}


@dataclass(frozen=True)
class Extensions:
    """What the hart implements; with neither ``svadu``, Svade is."""

    svadu: bool = True
    svnapot: bool = False
    svpbmt: bool = False
    svrsw60t59b: bool = False


def pointer_mask(format: Format, extensions: Extensions) -> int:
    """The bits that decide whether a PTE points to the next table: V alone of them must be set."""
    low = KIND_MASK | D | A | U
    return low if format.xlen == 32 else low | reserved_bits(extensions) | 7 << 61


def reserved_bits(extensions: Extensions) -> int:
    """The high bits that no extension gives a meaning to."""
    return (0x7F << 54) & ~(3 << 59 if extensions.svrsw60t59b else 0)


class Regime(NamedTuple):
    """The state of a hart that decides an access: ``priv`` is the effective privilege, ``"U"``, ``"S"`` or ``"M"``."""

    satp: int
    priv: str = "S"
    sum: bool = False
    mxr: bool = False
    xlen: int = 64


class Part(NamedTuple):
    """The part of an access that lies in one page: the PTEs read, and either ``pa`` or the ``rule`` that was broken.

    ``leaf`` is the PTE that decided; ``after`` its value afterwards.
    """

    va: int
    size: int
    steps: tuple[Entry, ...]
    pa: int | None
    after: int | None
    rule: Rule | None

    @property
    def leaf(self) -> Entry | None:
        """The last PTE read."""
        return self.steps[-1] if self.steps else None


class Outcome(NamedTuple):
    """What the access came to.  ``cause`` is None when it succeeds; ``parts`` has two pages at most."""

    kind: Kind
    parts: tuple[Part, ...]
    cause: int | None
    tval: int

    @property
    def pa(self) -> int | None:
        """The physical address of the first byte, None when the access faults."""
        return self.parts[0].pa if self.cause is None else None

    @property
    def rule(self) -> Rule | None:
        """The rule that was broken."""
        return self.parts[-1].rule


def split(kind: Kind, va: int, size: int, xlen: int) -> list[tuple[int, int]]:
    """The address and size of an access in each page it touches; the last page is followed by the first.

    A misaligned AMO stays whole: it touches none.  BadAddress when a hart has no such access.
    """
    if not 0 <= va < 1 << xlen:
        raise BadAddress(f"{va:#x} is no {xlen}-bit address", va=va)
    if not 1 <= size <= LARGEST:
        raise BadAddress(f"an access of {size} bytes: a hart makes accesses of 1 to {LARGEST}", va=va)
    if kind is Kind.AMO and size & size - 1:
        raise BadAddress(f"an AMO of {size} bytes: its size is a power of two", va=va)
    first = PAGE_SIZE - (va & PAGE_MASK)
    if first >= size or kind is Kind.AMO:
        return [(va, size)]
    return [(va, first), (va + first & (1 << xlen) - 1, size - first)]


def outcome(kind: Kind, parts: list[Part]) -> Outcome:
    """What these parts come to; only the last may have broken a rule."""
    last = parts[-1]
    if last.rule is None:
        return Outcome(kind, tuple(parts), None, 0)
    return Outcome(kind, tuple(parts), (ACCESS_FAULT if last.rule.access else PAGE_FAULT)[kind], last.va)


class Mmu:
    """The translation hardware of harts that share ``memory`` and implement ``extensions``."""

    def __init__(self, memory: Memory, extensions: Extensions = Extensions()) -> None:
        self.memory = memory
        self.extensions = extensions
        self._spaces: dict[tuple[int, Format], AddressSpace | None] = {}
        self._reserved = reserved_bits(extensions)

    def access(self, regime: Regime, kind: Kind, va: int, size: int = 8, *, commit: bool = False) -> Outcome:
        """What an access of ``size`` bytes at ``va`` comes to; with ``commit``, A and D are set in memory.

        One that straddles two pages is two accesses, the first of which may succeed alone.  BadAddress when ``va`` does
        not fit the registers, ``size`` is not 1 to 8 (a power of two for an AMO), or satp has a reserved MODE.
        """
        pieces = split(kind, va, size, regime.xlen)
        satp = decode_satp(regime.satp, regime.xlen)
        parts = []
        for at, count in pieces:
            part = self._part(regime, satp, kind, at, count)
            parts.append(part)
            if commit:
                self._commit(part, satp.format)
            if part.rule:
                break
        return outcome(kind, parts)

    def reach(self, va: int, size: int, steps: tuple[Entry, ...], pa: int, after: int | None) -> Part:
        """The end of a translation: is there memory, or a device?"""
        if self.memory.answers(pa, size):
            return Part(va, size, steps, pa, after, None)
        return Part(va, size, steps, None, after, RULES["target-outside"])

    def _commit(self, part: Part, format: Format | None) -> None:
        leaf = part.leaf
        if format and leaf and part.after is not None and part.after != leaf.pte:
            self.memory.write(leaf.pte_pa, part.after.to_bytes(format.pte_bytes, "little"))

    def _part(self, regime: Regime, satp: Satp, kind: Kind, va: int, size: int) -> Part:
        if kind is Kind.AMO and va % size:
            return Part(va, size, (), None, None, RULES["amo-misaligned"])
        format = satp.format
        if regime.priv == "M" or format is None:
            return self.reach(va, size, (), va, None)
        if not format.is_canonical(va):
            return Part(va, size, (), None, None, RULES["non-canonical"])
        steps, outside = self._walk(satp, format, va)
        if outside:
            return Part(va, size, steps, None, None, RULES["table-outside"])
        leaf = steps[-1]
        broken = self.judge(leaf.pte, leaf.level, format, regime, kind)
        if broken:
            return Part(va, size, steps, None, leaf.pte, RULES[broken])
        pte, level = leaf.pte, leaf.level
        after = pte | A | (D if kind in (Kind.STORE, Kind.AMO) else 0)
        return self.reach(va, size, steps, format.target(pte, level, va), after)

    def _walk(self, satp: Satp, format: Format, va: int) -> tuple[tuple[Entry, ...], bool]:
        """The PTEs that the walk reads, and whether the next one was outside memory."""
        space = self._space(satp, format)
        if space is None:
            return (), True
        mask = pointer_mask(format, self.extensions)
        found: list[Entry] = []
        for depth in range(1, format.levels + 1):
            try:
                pte_pa, pte, level = space.find(va, format.steps[:depth], mask)
            except OutsideMemory:
                return tuple(found), True
            if found and level == found[-1].level:
                break
            found.append(Entry(level, pte_pa, pte))
        return tuple(found), False

    def _space(self, satp: Satp, format: Format) -> AddressSpace | None:
        key = satp.root, format
        if key not in self._spaces:
            try:
                self._spaces[key] = AddressSpace(self.memory, satp.root, format)
            except OutsideMemory:
                self._spaces[key] = None
        return self._spaces[key]

    def judge(self, pte: int, level: int, format: Format, regime: Regime, kind: Kind) -> str | None:
        """The rule that the PTE at which a walk stopped breaks, in the specification's order; None for a good leaf."""
        broken = self._invalid(pte, level, format)
        if broken:
            return broken
        if level and (pte >> 10 & format.ppn_mask) << PAGE_SHIFT & format.page_bytes(level) - 1:
            return "misaligned-superpage"
        if regime.priv == "U":
            if not pte & U:
                return "supervisor-page"
        elif pte & U and (kind is Kind.FETCH or not regime.sum):
            return "user-page"
        if kind is Kind.FETCH:
            if not pte & X:
                return "not-executable"
        elif kind is Kind.LOAD:
            if not pte & R and not (regime.mxr and pte & X):
                return "not-readable"
        elif not pte & W:
            return "not-writable"
        if not self.extensions.svadu:
            if not pte & A:
                return "a-clear"
            if kind in (Kind.STORE, Kind.AMO) and not pte & D:
                return "d-clear"
        return None

    def _invalid(self, pte: int, level: int, format: Format) -> str | None:
        """Steps 3 and 4: is it a leaf at all, with no reserved bit or encoding?"""
        if not pte & V:
            return "v-clear"
        if pte & (R | W) == W:
            return "w-without-r"
        if pte & self._reserved and format.xlen == 64:
            return "reserved-bits"
        pbmt, n = (pte >> 61 & 3, pte >> 63) if format.xlen == 64 else (0, 0)
        if n and not self.extensions.svnapot:
            return "n-reserved"
        if pbmt and not self.extensions.svpbmt:
            return "pbmt-reserved"
        if not pte & RWX:
            return "pointer-reserved" if pte & (D | A | U) or pbmt or n else "last-pointer"
        if pbmt == 3:
            return "pbmt-3"
        if n and (level or pte >> 10 & 0xF != 8):
            return "napot-reserved"
        return None
