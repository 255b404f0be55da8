"""Deliberate faults, one line each: what the case set must catch, or it proves nothing.

`mutate` puts each into a copy of the package.  Every ``old`` text stands once in its file today; a test holds that, so
that the list cannot outlive the code.
"""

from __future__ import annotations

from typing import NamedTuple


class Mutant(NamedTuple):
    """A fault: in which file of the package, what text becomes what, and what is wrong then."""

    file: str
    old: str
    new: str
    breaks: str


MUTANTS = (
    Mutant("mmu.py", "KIND_MASK | D | A | U\n", "KIND_MASK | A | U\n", "a pointer with D set is followed"),
    Mutant("mmu.py", "KIND_MASK | D | A | U\n", "KIND_MASK | D | U\n", "a pointer with A set is followed"),
    Mutant("mmu.py", "KIND_MASK | D | A | U\n", "KIND_MASK | D | A\n", "a pointer with U set is followed"),
    Mutant("mmu.py", "| 7 << 61", "| 3 << 61", "a pointer with N set is followed"),
    Mutant("mmu.py", "| 7 << 61", "| 4 << 61", "a pointer with a memory type is followed"),
    Mutant("mmu.py", "(0x7F << 54)", "(0x3F << 54)", "bit 60 is not reserved"),
    Mutant("mmu.py", "(0x7F << 54)", "(0x7E << 54)", "bit 54 is not reserved"),
    Mutant("mmu.py", "if first >= size or", "if first > size or", "an access up to a page's end touches the next"),
    Mutant("mmu.py", "(va + first & (1 << xlen) - 1,", "(va + first,", "no first page follows the last"),
    Mutant("mmu.py", "[kind], last.va)", "[kind], parts[0].va)", "tval names the first page when the second faults"),
    Mutant("mmu.py", "Kind.STORE: 15, Kind.AMO: 15}", "Kind.STORE: 15, Kind.AMO: 13}", "AMO page faults are loads'"),
    Mutant("mmu.py", "Kind.STORE: 7, Kind.AMO: 7}", "Kind.STORE: 7, Kind.AMO: 5}", "AMO access faults are loads'"),
    Mutant(
        "mmu.py",
        'Rule("table-outside", 2, True',
        'Rule("table-outside", 2, False',
        "a PTE outside memory is a page fault",
    ),
    Mutant(
        "mmu.py",
        'Rule("target-outside", 10, True',
        'Rule("target-outside", 10, False',
        "an address without memory is a page fault",
    ),
    Mutant(
        "mmu.py", "kind is Kind.AMO and va % size:", "kind is Kind.AMO and va % 4:", "an 8-byte AMO may be aligned to 4"
    ),
    Mutant(
        "mmu.py", "            if part.rule:\n", "            if not part.rule:\n", "the second page is not looked at"
    ),
    Mutant("mmu.py", 'if regime.priv == "M" or format is None:', "if format is None:", "M-mode is translated"),
    Mutant("mmu.py", "if not format.is_canonical(va):", "if va >> 62 == 1:", "non-canonical addresses are translated"),
    Mutant(
        "mmu.py", "D if kind in (Kind.STORE, Kind.AMO) else 0)", "D if kind is Kind.STORE else 0)", "an AMO sets no D"
    ),
    Mutant("mmu.py", "after = pte | A | (D", "after = pte | (D", "A is not set"),
    Mutant(
        "mmu.py",
        "Part(va, size, steps, None, leaf.pte, RULES[broken])",
        "Part(va, size, steps, None, leaf.pte | A, RULES[broken])",
        "A is set at a fault",
    ),
    Mutant("mmu.py", "return (), True", "return (), False", "a root outside memory is not noticed"),
    Mutant(
        "mmu.py", "return tuple(found), True", "return tuple(found), False", "a table outside memory is not noticed"
    ),
    Mutant(
        "mmu.py",
        "format.page_bytes(level) - 1:",
        "(format.page_bytes(level) >> 1) - 1:",
        "a superpage may be aligned to half its size",
    ),
    Mutant(
        "mmu.py",
        "if level and (pte >> 10",
        "if level == 1 and (pte >> 10",
        "superpages of 1 GiB and above may be misaligned",
    ),
    Mutant(
        "mmu.py",
        "            if not pte & U:",
        "            if not pte & U and kind is not Kind.FETCH:",
        "U-mode runs supervisor pages",
    ),
    Mutant("mmu.py", "(kind is Kind.FETCH or not regime.sum)", "not regime.sum", "S-mode runs user pages with SUM"),
    Mutant(
        "mmu.py",
        "(kind is Kind.FETCH or not regime.sum)",
        "kind is Kind.FETCH",
        "S-mode reads user pages without SUM",
    ),
    Mutant("mmu.py", "            if not pte & X:", "            if not pte & (R | X):", "what can be read can be run"),
    Mutant("mmu.py", "not (regime.mxr and pte & X):", "not pte & X:", "what can be run can be read without MXR"),
    Mutant("mmu.py", "not (regime.mxr and pte & X):", "True:", "MXR makes nothing readable"),
    Mutant("mmu.py", "elif not pte & W:", "elif kind is Kind.STORE and not pte & W:", "an AMO needs no W"),
    Mutant(
        "mmu.py",
        "            if not pte & A:",
        "            if kind is not Kind.FETCH and not pte & A:",
        "with Svade a fetch needs no A",
    ),
    Mutant(
        "mmu.py",
        "if kind in (Kind.STORE, Kind.AMO) and not pte & D:",
        "if kind is Kind.STORE and not pte & D:",
        "with Svade an AMO needs no D",
    ),
    Mutant("mmu.py", "        if not pte & V:", "        if not pte:", "absent means zero"),
    Mutant("mmu.py", "if pte & (R | W) == W:", "if pte & RWX == W:", "W and X without R is a right"),
    Mutant(
        "mmu.py",
        "if pte & self._reserved and",
        "if not level and pte & self._reserved and",
        "superpages may have reserved bits",
    ),
    Mutant(
        "mmu.py", "if n and not self", "if n and level and not self", "without Svnapot N is ignored on the last level"
    ),
    Mutant("mmu.py", "if pbmt and not self", "if pbmt == 3 and not self", "without Svpbmt memory types are taken"),
    Mutant("mmu.py", "if pbmt == 3:", "if pbmt == 3 and not level:", "memory type 3 is taken in superpages"),
    Mutant("mmu.py", "if n and (level or pte", "if n and (not level and pte", "N in a superpage is ignored"),
    Mutant("mmu.py", "& 0xF != 8):", "& 0x7 != 0):", "N with low bits 0000 is a page"),
    Mutant("mmu.py", "& 0xF != 8):", "& 0x8 != 8):", "N with any low bits from 1000 on is a page"),
    Mutant(
        "scan.py",
        "pointer = flags & KIND_MASK == POINTER",
        "pointer = flags & (KIND_MASK | A) == POINTER",
        "a pointer with A is a leaf",
    ),
    Mutant(
        "scan.py",
        "leaf = (flags & V).view",
        "leaf = (flags & V | flags >> 6 & V).view",
        "an absent entry with A is a leaf",
    ),
    Mutant(
        "scan.py",
        "U64(PAGE_SHIFT + level * fmt.index_bits)",
        "U64(PAGE_SHIFT + level * 9)",
        "every index has nine bits",
    ),
    Mutant("scan.py", "dtype=U64) * U64(fmt.pte_bytes)", "dtype=U64) * U64(8)", "every PTE has eight bytes"),
    Mutant(
        "scan.py",
        "va[va >> U64(fmt.va_bits - 1) != 0]",
        "va[va >> U64(fmt.va_bits) != 0]",
        "the upper half is not sign-extended",
    ),
    Mutant(
        "scan.py", "pa &= U64(self.fmt.ppn_mask)", "pa &= U64(self.fmt.ppn_mask >> 1)", "the top bit of the PPN is lost"
    ),
    Mutant(
        "scan.py",
        "found & ~U64(0xFFFF) | va & U64(0xF000)",
        "found & ~U64(0x7FFF) | va & U64(0x7000)",
        "64 KiB pages have 32",
    ),
    Mutant("scan.py", "lambda: (pte >> U64(8) & U64(3))", "lambda: (pte >> U64(8) & U64(1))", "RSW has one bit"),
    Mutant("scan.py", "lambda: high(3, 61, np.uint8)", "lambda: high(1, 61, np.uint8)", "PBMT has one bit"),
    Mutant("scan.py", "lambda: high(1, 63, np.bool_)", "lambda: high(1, 62, np.bool_)", "N is bit 62"),
    Mutant(
        "scan.py",
        "size, level = self.fmt.page_bytes(self.level)",
        "size, level = self.fmt.page_bytes(0)",
        "superpages have 4 KiB",
    ),
    Mutant(
        "scan.py",
        "kind=LAST_POINTER)]",
        "kind=TABLE_OUTSIDE)]",
        "a pointer on the last level is called a table outside memory",
    ),
    Mutant(
        "scan.py",
        "U64(self.fmt.page_bytes(self.level) - 1) != 0",
        "U64(self.fmt.page_bytes(1) - 1) != 0",
        "gigapages are aligned to 2 MiB",
    ),
    Mutant(
        "scan.py",
        "(pas < U64(region.base + (region.size & ~PAGE_MASK)))",
        "(pas < U64(region.base + (region.size & ~PAGE_MASK) - 4096))",
        "no table on the last page of memory",
    ),
    Mutant(
        "scan.py",
        "(pas < U64(region.base + (region.size & ~PAGE_MASK)))",
        "(pas <= U64(region.base + (region.size & ~PAGE_MASK)))",
        "a table just above memory",
    ),
    Mutant("scan.py", "return use, self.which[use], index", "return use, use, index", "shared tables are mixed up"),
    Mutant(
        "scan.py",
        "use = np.repeat(np.arange(len(uses)), uses)",
        "use = np.sort(np.arange(uses.sum()) % len(uses))",
        "tables used often are mixed up",
    ),
    Mutant(
        "scan.py",
        "self.vas[use] | self.reach[index])\n\n    def outside",
        "self.vas[row] | self.reach[index])\n\n    def outside",
        "all uses of a shared table are the first",
    ),
    Mutant(
        "scan.py", 'mappings[np.argsort(mappings["va"], kind="stable")]', "mappings", "superpages stand behind pages"
    ),
    Mutant("scan.py", "(va + size)[:-1] != va[1:]", "va[:-1] == va[1:]", "runs go on over a hole"),
    Mutant("scan.py", "for same in (pa - va,", "for same in (", "runs go on over scattered frames"),
    Mutant("scan.py", "np.uint8(~ignore & 0xFF)", "np.uint8(~ignore & 0xDF)", "runs go on over a change of G"),
    Mutant("scan.py", "& 0xFF), level, *(", "& 0xFF), *(", "runs go on from superpages to pages"),
    Mutant(
        "scan.py",
        'for x in names if x == "pbmt"',
        'for x in names if x == ""',
        "runs go on over a change of memory type",
    ),
    Mutant(
        "scan.py",
        "np.bitwise_or.reduceat(rows",
        "np.bitwise_and.reduceat(rows",
        "a run has A only if all pages have",
    ),
    Mutant("scan.py", "np.add.reduceat(size, first)", "size[first]", "a run is as long as its first page"),
    Mutant("sv.py", "offset = 0xFFFF if pte >> 63 and", "offset = 0x7FFF if pte >> 63 and", "64 KiB pages have 32"),
    Mutant(
        "sv.py",
        "0xFFFF if pte >> 63 and not level else",
        "0xFFFF if pte >> 63 and level else",
        "64 KiB pages are not met on the last level",
    ),
    Mutant("sv.py", "top == 0 or top ==", "top == 0 or top >", "no address of the upper half is canonical"),
    Mutant("sv.py", "ppn_bits = next(f.bits for", "ppn_bits = next(f.bits - 1 for", "the top bit of the PPN is lost"),
    Mutant(
        "table.py",
        "table = (pte >> 10 & ppn_mask) << 12",
        "table = (pte >> 10 & 0xFFFFF) << 12",
        "tables lie below 4 GiB",
    ),
    Mutant(
        "table.py",
        "if pte & pointer_mask != 1:",
        "if pte & KIND_MASK != 1:",
        "reserved bits of a pointer do not stop a walk",
    ),
)
