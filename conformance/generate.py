"""Random page tables and random accesses, made to reach every rule.

The tables are a random graph of 257 pages: an entry is a pointer to any of them, a leaf of any alignment, or either
with bits corrupted, so that every page serves on every level and superpages, misalignment, reserved bits and missing
memory all occur.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from conformance.layout import (
    CASE,
    CODE_SLOT,
    DATA,
    DATA_END,
    FETCH,
    HOLE,
    HOLE_END,
    MPP_SHIFT,
    MPRV,
    MXR,
    OP_BYTES,
    OP_FETCH,
    OP_KIND,
    OPERATIONS,
    RAM,
    RAM_BYTES,
    SUM,
    TABLE_PAGES,
    WINDOWS,
    WITNESS_SLOT,
)
from conformance.tables import page_addresses, page_of
from pagebook.mmu import Extensions
from pagebook.sv import Format

U64 = np.uint64
Words = npt.NDArray[np.uint64]


@dataclass(frozen=True)
class Batch:
    """One run of the probe: tables of shape (257, entries), and the cases; what they are for."""

    name: str
    format: Format
    extensions: Extensions
    seed: int
    tables: Words
    cases: npt.NDArray[np.void]

    @property
    def listable(self) -> bool:
        """Whether `pagebook.scan` can list its address spaces: the random graphs have far too many mappings."""
        return self.name in ("corners", "spaces")


def make_batch(format: Format, extensions: Extensions, seed: int, count: int) -> Batch:
    """``count`` cases over one random graph of tables."""
    rng = np.random.default_rng([seed, format.mode, format.xlen])
    tables = _tables(rng, format)
    cases = _cases(rng, format, count + count // 2)
    batch = harmless_part(Batch("random", format, extensions, seed, tables, cases))
    return replace(batch, cases=batch.cases[:count])


def _tables(rng: np.random.Generator, format: Format) -> Words:
    """Entries of all kinds; a third of the tables lean to pointers, so that walks go deep."""
    shape = (TABLE_PAGES, format.entries)
    pointer = page_addresses(rng.integers(0, TABLE_PAGES, shape)) >> U64(2) | U64(1)
    leaf = _leaf_ppns(rng, shape, format) << U64(10) | _leaf_flags(rng, shape)
    lean = rng.random((TABLE_PAGES, 1))
    entries = np.where(rng.random(shape) < 0.15 + 0.6 * lean, pointer, leaf)
    if format.xlen == 64:
        napot = rng.random(shape) < 0.06
        entries = np.where(napot, _napot(rng, entries), entries)
        pbmt = rng.random(shape) < 0.08
        entries = np.where(pbmt, entries | rng.integers(0, 4, shape, dtype=np.uint64) << U64(61), entries)
    return _corrupt(rng, entries, format)


def _leaf_ppns(rng: np.random.Generator, shape: tuple[int, int], format: Format) -> Words:
    """PPNs of the data pages, of superpages of every level, and of places without memory."""
    ppn = U64(DATA >> 12) + rng.integers(0, DATA_END - DATA >> 12, shape, dtype=np.uint64)
    for level in range(1, format.levels):
        aligned = ppn & ~U64((1 << level * format.index_bits) - 1)
        ppn = np.where(rng.random(shape) < 0.25, aligned, ppn)
    nowhere = U64(HOLE >> 12) + rng.integers(0, 1 << 12, shape, dtype=np.uint64)
    far = rng.integers(0, 1 << 63, shape, dtype=np.uint64) & U64(format.ppn_mask) | U64((format.ppn_mask + 1) >> 1)
    choice = rng.random(shape)
    return np.where(choice < 0.03, nowhere, np.where(choice < 0.05, far, ppn))


def _leaf_flags(rng: np.random.Generator, shape: tuple[int, int]) -> Words:
    """Ten flag bits: mostly sensible rights, A and D often set."""
    rights = np.array([0x2, 0x6, 0x8, 0xA, 0xE, 0xE, 0x6, 0xA], dtype=np.uint64)[rng.integers(0, 8, shape)]
    bits = rng.integers(0, 1 << 10, shape, dtype=np.uint64) & U64(0x330)  # RSW, G, U
    dirty = np.array([0xC0, 0xC0, 0x40, 0x80, 0], dtype=np.uint64)[rng.integers(0, 5, shape)]
    return U64(1) | rights | bits | dirty


def _napot(rng: np.random.Generator, entries: Words) -> Words:
    """N set, the low PPN bits 1000 in most."""
    low = np.where(rng.random(entries.shape) < 0.75, U64(8), rng.integers(0, 16, entries.shape, dtype=np.uint64))
    return entries & ~U64(0xF << 10) | low << U64(10) | U64(1 << 63)


def _corrupt(rng: np.random.Generator, entries: Words, format: Format) -> Words:
    """One bit flipped in some entries: a flag, or one above the PPN; and some that are absent or all zero."""
    flags = U64(1) << rng.integers(0, 8, entries.shape, dtype=np.uint64)
    entries = np.where(rng.random(entries.shape) < 0.08, entries ^ flags, entries)
    if format.xlen == 64:
        high = U64(1) << rng.integers(54, 64, entries.shape, dtype=np.uint64)
        entries = np.where(rng.random(entries.shape) < 0.04, entries ^ high, entries)
    entries = np.where(rng.random(entries.shape) < 0.02, entries & ~U64(1), entries)
    outside = U64(HOLE >> 12) << U64(10) | U64(1)
    entries = np.where(rng.random(entries.shape) < 0.01, outside, entries)
    return np.where(rng.random(entries.shape) < 0.01, U64(0), entries)


def _cases(rng: np.random.Generator, format: Format, count: int) -> npt.NDArray[np.void]:
    """Accesses of every kind from every privilege at random addresses; straddling and misaligned ones among them."""
    cases = np.zeros(count, CASE)
    cases["op"], offset = operations(rng, format, count, straddling=0.12)
    cases["va"] = _vas(rng, format, count) & ~U64(0xFFF) | offset
    root = page_addresses(rng.integers(0, TABLE_PAGES, count)) >> U64(12)
    asid = rng.integers(0, 1 << format.satp_fields[1].bits, count, dtype=np.uint64)
    cases["satp"] = U64(format.mode << format.satp_fields[2].low) | asid << U64(format.satp_fields[1].low) | root
    bare = rng.random(count) < 0.01
    cases["satp"] = np.where(bare, U64(0), cases["satp"])
    priv = np.array([0, 0, 0, 1, 1, 1, 1, 3], dtype=np.uint32)[rng.integers(0, 8, count)]
    direct = bare | (priv == 3)
    physical = U64(DATA) + (rng.integers(0, DATA_END - DATA >> 12, count, dtype=np.uint64) << U64(12)) | offset
    cases["va"] = np.where(direct & (rng.random(count) < 0.8), physical, cases["va"])
    cases["mstatus"] = regimes(rng, priv)
    return cases


def operations(
    rng: np.random.Generator, format: Format, count: int, straddling: float
) -> tuple[npt.NDArray[np.uint32], Words]:
    """What the accesses do, and their offsets in a page: most aligned, some not, some over the page's end."""
    usable = [i for i, (_, size, _) in enumerate(OPERATIONS) if size * 8 <= format.xlen]
    op = np.array(usable, dtype=np.uint32)[rng.integers(0, len(usable), count)]
    op = np.where(rng.random(count) < 0.2, np.uint32(OP_FETCH), op)
    size = OP_BYTES[op]
    offset = rng.integers(0, WITNESS_SLOT - 8, count, dtype=np.uint64) & ~(size - U64(1))
    loose = (rng.random(count) < 0.05) & (OP_KIND[op] != FETCH)
    offset = np.where(
        loose, np.minimum(offset + rng.integers(0, 8, count, dtype=np.uint64), U64(WITNESS_SLOT - 8)), offset
    )
    straddle = (rng.random(count) < straddling) & (OP_KIND[op] != FETCH) & (size > 1)
    back = U64(1) + rng.integers(0, 8, count, dtype=np.uint64) % np.maximum(size - U64(1), U64(1))
    offset = np.where(straddle, U64(4096) - back, offset)
    return op, np.where(op == OP_FETCH, U64(CODE_SLOT), offset)


def regimes(rng: np.random.Generator, priv: npt.NDArray[np.uint32]) -> npt.NDArray[np.uint32]:
    """The mstatus bits of accesses by these privileges; SUM and MXR by chance."""
    count = len(priv)
    return (
        priv << np.uint32(MPP_SHIFT)
        | np.uint32(MPRV)
        | np.where(rng.random(count) < 0.5, np.uint32(SUM), np.uint32(0))
        | np.where(rng.random(count) < 0.5, np.uint32(MXR), np.uint32(0))
    )


def _vas(rng: np.random.Generator, format: Format, count: int) -> Words:
    """Canonical addresses, a twentieth of them spoilt above the top bit."""
    va = rng.integers(0, 1 << format.va_bits, count, dtype=np.uint64)
    if format.xlen == format.va_bits:
        return va
    edge = rng.random(count) < 0.01
    va = np.where(edge, va | U64((1 << format.va_bits) - (1 << 12)), va)
    high = U64((1 << 64) - (1 << format.va_bits))
    va = np.where(va >> U64(format.va_bits - 1) != 0, va | high, va)
    flip = U64(1) << rng.integers(format.va_bits, 64, count, dtype=np.uint64)
    return np.where(rng.random(count) < 0.05, va ^ flip, va)


class Naive(NamedTuple):
    """Where a walk ends that follows pointers and checks nothing: the last PTE read (0 for none), its level, the pa.

    One that goes ``astray`` would read the probe, the cases or data pages as tables.
    """

    at: Words
    level: npt.NDArray[np.uint8]
    pa: Words
    astray: npt.NDArray[np.bool_]


def naive_walk(va: Words, satp: Words, tables: Words, format: Format) -> Naive:
    """Keeps the probe from being overwritten, tells it which PTEs may change, and says what a listing should show."""
    table = (satp & U64(format.ppn_mask)) << U64(12)
    at = np.zeros(len(va), dtype=np.uint64)
    levels = np.zeros(len(va), dtype=np.uint8)
    astray = np.zeros(len(va), dtype=np.bool_)
    pa = va.copy()
    active = satp >> U64(format.satp_fields[2].low) != 0
    for level, shift in format.steps:
        page, inside = page_of(table)
        astray |= active & ~inside & (table >= U64(RAM)) & (table < U64(RAM + RAM_BYTES))
        inside &= active
        index = va >> U64(shift) & U64(format.index_mask)
        pte = tables[page, index.astype(np.intp)]
        at = np.where(inside, table + index * U64(format.pte_bytes), at)
        levels[inside] = level
        target = (pte >> U64(10) & U64(format.ppn_mask)) << U64(12)
        low = U64(format.page_bytes(level) - 1)
        napot = (pte >> U64(63) != 0) & (level == 0)
        low_here = np.where(napot, U64(0xFFFF), low)
        pa = np.where(inside, target & ~low_here | va & low_here, pa)
        pointer = inside & (pte & U64(0xF) == 1)
        active, table = pointer, target
    return Naive(at, levels, pa, astray)


def parts(cases: npt.NDArray[np.void]) -> tuple[Words, Words]:
    """The first byte of each access, and the first byte of its second page, or the same where there is none."""
    va = cases["va"]
    boundary = va + OP_BYTES[cases["op"]] - U64(1) & ~U64(0xFFF)
    return va, np.where(boundary != va & ~U64(0xFFF), boundary, va)


def harmless(cases: npt.NDArray[np.void], tables: Words, format: Format) -> npt.NDArray[np.bool_]:
    """Cases whose every page is a data page or where no machine has anything, and whose walks read tables only."""
    fine = np.ones(len(cases), dtype=np.bool_)
    for va in parts(cases):
        va = va & U64((1 << format.xlen) - 1)
        direct = cases["mstatus"] >> np.uint32(MPP_SHIFT) & 3 == 3
        walk = naive_walk(va, np.where(direct, U64(0), cases["satp"]), tables, format)
        pa = walk.pa
        data = (pa >= U64(DATA)) & (pa < U64(DATA_END))
        hole = (pa >= U64(HOLE)) & (pa < U64(HOLE_END))
        nowhere = hole | in_window(pa) & (pa < U64(RAM)) | (pa >= U64(RAM + RAM_BYTES))
        fine &= (data | nowhere) & ~walk.astray
    return fine


def in_window(pa: Words) -> npt.NDArray[np.bool_]:
    """Where QEMU has a bus with nothing on it."""
    return np.any([(pa >= U64(low)) & (pa < U64(end)) for low, end in WINDOWS], axis=0)


def with_ptes(cases: npt.NDArray[np.void], tables: Words, format: Format) -> npt.NDArray[np.void]:
    """Tell the probe which PTEs to write down and to restore."""
    first, second = parts(cases)
    cases["pte"][:, 0] = naive_walk(first, cases["satp"], tables, format).at
    at = naive_walk(second & U64((1 << format.xlen) - 1), cases["satp"], tables, format).at
    cases["pte"][:, 1] = np.where(second != first, at, U64(0))
    return cases


def harmless_part(batch: Batch) -> Batch:
    """The batch without cases that could overwrite the probe, each told which PTEs it may change."""
    cases = batch.cases[harmless(batch.cases, batch.tables, batch.format)]
    return replace(batch, cases=with_ptes(cases, batch.tables, batch.format))
