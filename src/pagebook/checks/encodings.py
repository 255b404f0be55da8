"""Rules about single PTEs: what the privileged specification reserves, and what no walk can use."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from pagebook.checks.evidence import Evidence, Mask
from pagebook.checks.rule import Hits, Rule, Severity, mapping_hits
from pagebook.columns import Columns
from pagebook.memory import U64
from pagebook.sv import A, D, R, U, W

N = U64(1 << 63)
PBMT = U64(3 << 61)
RESERVED = U64(0x7F << 54)
UNUSED_BY_XV6 = ("xv6",)
NAPOT_PPN = U64(0xF << 10)
NAPOT_64K = U64(0x8 << 10)


def _sound(evidence: Evidence, found: Columns, mask: Mask) -> Columns:
    """The rows of leaves or pointers in the mask, without those in tables that are free or misread."""
    rows = found[mask]
    return rows[evidence.sound(rows)]


def _wide(evidence: Evidence, found: Columns) -> Columns:
    """Rows of leaves or pointers whose PTE has any of the bits above the PPN."""
    return _sound(evidence, found, found["pte"] >> U64(54) != 0)


def write_without_read(evidence: Evidence) -> Iterator[Hits]:
    """Leaves with W and no R."""
    leaves = evidence.leaves
    yield mapping_hits(
        _sound(evidence, leaves, leaves["flags"] & (R | W) == W),
        lambda place: (
            f"{place.what} {place.verb('has', 'have')} W without R, an encoding that is reserved: every "
            "access is a page fault"
        ),
    )


def reserved_bits(evidence: Evidence) -> Iterator[Hits]:
    """PTEs with any of the bits 54 to 60."""
    say = "a bit of 54 to 60 is set in {}, and no extension that this kernel enables gives it a meaning: a page fault"
    for found, kind in ((evidence.leaves, "a leaf"), (evidence.tables.pointers, "a pointer to a table")):
        rows = _wide(evidence, found)
        yield mapping_hits(rows[rows["pte"] & RESERVED != 0], lambda place, kind=kind: say.format(kind))  # type: ignore[misc]


def napot_or_pbmt(evidence: Evidence) -> Iterator[Hits]:
    """Leaves whose N or PBMT cannot be; in xv6, which enables neither extension, any that is set."""
    rows = _wide(evidence, evidence.leaves)
    pte = rows["pte"]
    if evidence.guest in UNUSED_BY_XV6:
        yield mapping_hits(
            rows[pte & (N | PBMT) != 0],
            lambda place: "N or PBMT is set, and xv6 enables neither Svnapot nor Svpbmt: every access is a page fault",
        )
        return
    napot = pte & N != 0
    wrong = napot & ((rows["level"] != 0) | (pte & NAPOT_PPN != NAPOT_64K))
    yield mapping_hits(
        rows[wrong],
        lambda place: (
            "N is set where no 64 KiB page can be: above the last level, or with low PPN bits that are not 1000"
        ),
    )
    yield mapping_hits(rows[(pte & PBMT == PBMT) & ~wrong], lambda place: "PBMT is 3, an encoding that is reserved")


def pointer_flags(evidence: Evidence) -> Iterator[Hits]:
    """Pointers with A, D, U, N or PBMT."""
    found = evidence.tables.pointers
    bits = U64(A | D | U) | N | PBMT
    yield mapping_hits(
        _sound(evidence, found, (found["pte"] & bits != 0) & (found["level"] > 0)),
        lambda place: (
            f"a pointer to a table has {_names(place.pte or 0)} set, which must be 0 there: no walk goes on, "
            "everything under it is a page fault"
        ),
    )


def _names(pte: int) -> str:
    named = [("A", A), ("D", D), ("U", U), ("N", int(N)), ("PBMT", int(PBMT))]
    return " and ".join(name for name, bits in named if pte & bits)


def misaligned_superpage(evidence: Evidence) -> Iterator[Hits]:
    """Superpages whose physical address is not a multiple of their size."""
    leaves = evidence.leaves[~evidence.small]
    size = leaves["size"]
    yield mapping_hits(
        _sound(evidence, leaves, leaves["pa"] & (size - U64(1)) != 0),
        lambda place: (
            f"a superpage of {place.size // place.pages:#x} bytes leads to {place.pa:#x}, which is no "
            "multiple of that: every access is a page fault"
        ),
    )


def last_level_pointer(evidence: Evidence) -> Iterator[Hits]:
    """PTEs of the last level that are valid and have none of R, W and X."""
    found = evidence.tables.pointers
    yield mapping_hits(
        _sound(evidence, found, found["level"] == 0),
        lambda place: (
            f"a PTE on the last level is valid and has none of R, W, X, as if it pointed to one more table: "
            f"{place.what} on which every access faults"
        ),
    )


def outside_memory(evidence: Evidence) -> Iterator[Hits]:
    """Pointers to tables where no memory is; leaves to where neither memory nor a known device is."""
    found = evidence.tables.pointers
    yield mapping_hits(
        _sound(evidence, found, (found["level"] > 0) & (evidence.frames.of(found["pa"]) < 0)),
        lambda place: (
            f"a PTE points to a table at {place.pa:#x}, and no memory is there: a walk through it is an access fault"
        ),
    )
    if evidence.memory.devices:
        leaves = evidence.leaves
        yield mapping_hits(
            _sound(evidence, leaves, _nowhere(evidence)),
            lambda place: (
                f"{place.what} {place.verb('leads', 'lead')} to {place.pa:#x}, where neither memory nor a "
                "device is: an access fault"
            ),
        )


def _nowhere(evidence: Evidence) -> Mask:
    leaves = evidence.leaves
    nowhere: Mask = evidence.frame < 0
    start, last = leaves["pa"][nowhere], leaves["pa"][nowhere] + (leaves["size"][nowhere] - U64(1))
    answered = np.zeros(len(start), dtype=np.bool_)
    for device in evidence.memory.devices:
        answered |= (start < U64(device.stop)) & (last >= U64(device.start))
    for region in evidence.memory.regions:
        answered |= (start < U64(region.end)) & (last >= U64(region.base))
    nowhere[nowhere] = ~answered
    return nowhere


RULES = (
    Rule(
        "PB001", "write-without-read", "W without R is a reserved encoding.", Severity.ERROR,
        "Set R together with W where the mapping is made.", write_without_read,
    ),
    Rule(
        "PB002", "reserved-bits", "Bits 54 to 60 of a PTE must be 0.", Severity.ERROR,
        "Find who wrote this PTE: an address put into it without its shift, or data over a table.", reserved_bits,
    ),
    Rule(
        "PB003", "napot-or-pbmt", "N and PBMT only as Svnapot and Svpbmt define them.", Severity.ERROR,
        "Clear bits 63 to 61, or set them as the extension says, in every PTE of the 64 KiB page.", napot_or_pbmt,
    ),
    Rule(
        "PB004", "pointer-flags", "A pointer to a table must not have A, D, U, N or PBMT.", Severity.ERROR,
        "Write pointers as PA2PTE(table) | PTE_V and nothing more.", pointer_flags,
    ),
    Rule(
        "PB005", "misaligned-superpage", "A superpage's physical address must be a multiple of its size.",
        Severity.ERROR, "Take superpages from a pool whose frames are aligned to their size.", misaligned_superpage,
    ),
    Rule(
        "PB006", "last-level-pointer", "A PTE on the last level must be a leaf.", Severity.ERROR,
        "Give the mapping R, W or X, or clear V where there is none.", last_level_pointer,
    ),
    Rule(
        "PB009", "outside-memory", "A PTE must lead to memory or to a device.", Severity.ERROR,
        "Look where the PPN comes from: an address without its shift, a freed table, a wrong PHYSTOP, RAM that a dump "
        "leaves out.", outside_memory,
    ),
)  # fmt: skip
