"""Random address spaces that can be listed whole: trees of tables, every table kept to one level.

They hold what a listing must get right: runs of neighbours that differ in a bit or not at all, superpages of every
level, 64 KiB pages, memory types, both halves of the address space, tables that several pointers share, and pointers
that lead nowhere.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from conformance.generate import Batch, harmless_part, operations, regimes
from conformance.layout import CASE, DATA, DATA_END, HOLE, LAST_PAGE, OP_FETCH, RAM, RAM_BYTES, TABLE_PAGES
from conformance.tables import Words, page_address, page_addresses, page_of
from pagebook.mmu import Extensions
from pagebook.sv import RWX, A, D, Format, G, R, U, V, W, X

U64 = np.uint64
ROOTS = 6
POINTERS = {2: 24, 3: 7, 4: 4, 5: 3}  # in each table, by the number of levels: some hundred tables in each space
RIGHTS = (R, R | W, X, R | X, R | W | X, R | W | X)
N = 1 << 63
FULL = V | R | W | X | U | A | D


def make_spaces(format: Format, extensions: Extensions, seed: int, count: int) -> Batch:
    """``count`` cases over six address spaces."""
    rng = np.random.default_rng([seed, format.mode, format.xlen, 1])
    levels = _levels(format)
    tables = np.zeros((TABLE_PAGES, format.entries), np.uint64)
    for page, level in enumerate(levels):
        _fill(rng, tables[page], format, level, np.flatnonzero(levels == level - 1))
    cases = _cases(rng, format, tables, count + count // 2)
    batch = harmless_part(Batch("spaces", format, extensions, seed, tables, cases))
    return Batch("spaces", format, extensions, seed, tables, batch.cases[:count])


def _levels(format: Format) -> npt.NDArray[np.intp]:
    """The level of each table page: a few roots, the rest shared out; the last page of memory is on level 0."""
    levels = np.arange(TABLE_PAGES) % (format.levels - 1)
    levels[:ROOTS] = format.levels - 1
    levels[LAST_PAGE] = 0
    return levels


def _fill(rng: np.random.Generator, table: Words, format: Format, level: int, below: npt.NDArray[np.intp]) -> None:
    """Runs of leaves, then pointers over them, some of which share a table or lead nowhere."""
    for _ in range(int(rng.integers(3, 9))):
        start = int(rng.integers(0, format.entries))
        run = _run(rng, format, level, start)[: format.entries - start]
        table[start : start + len(run)] = run
    if not level:
        table[0] = format.pte(DATA + (4 << 20), FULL)
        table[-1] = format.pte(DATA + int(rng.integers(0, 4000)) * 4096, V | R | W | X | U)
        return
    places = rng.choice(format.entries, POINTERS[format.levels], replace=False)
    places[:3] = rng.choice([0, format.entries // 2 - 1, format.entries // 2, format.entries - 1], 3, replace=False)
    for place in places.tolist():
        table[place] = _pointer(rng, format, below)
    if rng.random() < 0.5:
        table[places[0]] = table[places[1]]
    if level == 1:  # a superpage, and 4 KiB pages where it ends in both address spaces
        table[5] = format.pte(DATA + (4 << 20) - format.page_bytes(1), FULL)
        table[6] = _pointer(rng, format, below)


def _pointer(rng: np.random.Generator, format: Format, below: npt.NDArray[np.intp]) -> int:
    """Most point to a table one level down; some outside memory, some with a bit that no pointer may have."""
    page = page_address(int(rng.choice(below))) if len(below) else DATA
    chance = rng.random()
    if chance < 0.06:
        page = int(rng.choice([HOLE, RAM - 4096, RAM + RAM_BYTES, page | _far(rng, format)]))
    pte = format.pte(page, V)
    if chance > 0.94:
        pte |= int(rng.choice([A, D, U, *(1 << bit for bit in range(54, 64) if format.xlen == 64)]))
    return pte


def _run(rng: np.random.Generator, format: Format, level: int, start: int) -> Words:
    """Leaves for neighbouring addresses and frames, alike but for what chance changes in a few of them."""
    count = int(rng.integers(1, 25))
    span = format.page_bytes(level)
    base = DATA if span <= DATA_END - DATA else 0x8000_0000 & -span
    first = base + int(rng.integers(0, max(1, (DATA_END - DATA) // span))) * span
    if level and rng.random() < 0.15:
        first += 4096 << int(rng.integers(0, level * format.index_bits))
    if rng.random() < 0.06:
        first |= _far(rng, format)
    pas = U64(first) + np.arange(count, dtype=np.uint64) * U64(span)
    flags = V | int(rng.choice(RIGHTS)) | int(rng.choice([0, U])) | int(rng.choice([0, G])) | int(rng.choice(4)) << 8
    ptes = (pas >> U64(12) & U64(format.ppn_mask)) << U64(10) | U64(flags)
    if format.xlen == 64:
        if rng.random() < 0.2:
            ptes |= U64(int(rng.integers(0, 4)) << 61)
        if rng.random() < (0.08 if level else 0.4):
            ptes = _napot(rng, ptes, level, start)
    ptes |= U64(int(rng.choice([0, A, A | D, A | D])))
    return _spoilt(rng, ptes, format)


def _far(rng: np.random.Generator, format: Format) -> int:
    """A bit above all memory, so that an address with it looks like one in memory to those who forget the bit."""
    return 1 << int(rng.integers(33, 12 + format.ppn_mask.bit_length()))


def _napot(rng: np.random.Generator, ptes: Words, level: int, start: int) -> Words:
    """The run as 64 KiB pages: sixteen equal PTEs each, if it starts where one may; on higher levels a wrong thing."""
    if level:
        return ptes | U64(N)
    group = (np.arange(len(ptes)) + start) // 16
    first = (ptes[0] >> U64(10) & ~U64(15)) + (group - group[0]).astype(np.uint64) * U64(16)
    low = U64(8) if rng.random() < 0.8 else U64(int(rng.integers(0, 16)))
    return ptes & U64(0x3FF | 7 << 61) | (first | low) << U64(10) | U64(N)


def _spoilt(rng: np.random.Generator, ptes: Words, format: Format) -> Words:
    """One bit changed in a few PTEs: a flag, RSW, the frame, or one above the PPN."""
    bits = [*range(10), *range(10, 14), *(range(54, 64) if format.xlen == 64 else ())]
    flip = U64(1) << rng.choice(np.array(bits, np.uint64), len(ptes))
    ptes = np.where(rng.random(len(ptes)) < 0.12, ptes ^ flip, ptes)
    dirty = rng.random(len(ptes)) < 0.12
    ptes = np.where(dirty, ptes ^ U64(A | D), ptes)
    return np.insert(ptes, len(ptes) // 2, 0) if rng.random() < 0.2 else ptes  # the frames go on behind a hole


def _cases(rng: np.random.Generator, format: Format, tables: Words, count: int) -> npt.NDArray[np.void]:
    """Accesses that follow what is in the tables, to the frames that the probe can tell apart."""
    cases = np.zeros(count, CASE)
    op, offset = operations(rng, format, count, straddling=0.25)
    root = page_addresses(rng.integers(0, ROOTS, count))
    va = _descend(rng, format, tables, root, offset + np.where(op == OP_FETCH, U64(0), U64(16)) > 4096)
    spoil = rng.random(count) < 0.03
    if format.va_bits < format.xlen:
        high = U64(1) << rng.integers(format.va_bits, 64, count, dtype=np.uint64)
        va = np.where(spoil, va ^ high, va)
    cases["op"], cases["va"] = op, va | offset
    asid = rng.integers(0, 1 << format.satp_fields[1].bits, count, dtype=np.uint64)
    cases["satp"] = U64(format.satp(0)) | asid << U64(format.satp_fields[1].low) | root >> U64(12)
    cases["mstatus"] = regimes(rng, rng.integers(0, 2, count).astype(np.uint32))
    return cases


def _descend(
    rng: np.random.Generator, format: Format, tables: Words, root: Words, to_end: npt.NDArray[np.bool_]
) -> Words:
    """Page addresses whose walks meet entries that are not zero; ``to_end`` takes the last page of a leaf."""
    count = len(root)
    filled = [np.flatnonzero(table) for table in tables]
    most = max(len(places) for places in filled)
    choices = np.array([np.resize(places if len(places) else [0], most) for places in filled])
    pointers = np.array(
        [np.resize(_pointing(table, places), most) for table, places in zip(tables, filled, strict=True)]
    )
    va, page, active = np.zeros(count, np.uint64), page_of(root)[0], np.ones(count, np.bool_)
    for level, shift in format.steps:
        down = (rng.random(count) < 0.8) & (level > 0)
        column = rng.integers(0, most, count)
        index = np.where(down, pointers[page, column], choices[page, column])
        index = np.where(rng.random(count) < 0.05, rng.integers(0, format.entries, count), index)
        va = np.where(active, va | index.astype(np.uint64) << U64(shift), va)
        pte = tables[page, index]
        low = U64(format.page_bytes(level) - 1)
        leaf = active & (pte & U64(RWX) != 0)
        want = U64(DATA) + (rng.integers(0, DATA_END - DATA >> 12, count, dtype=np.uint64) << U64(12))
        want = np.where(to_end & (rng.random(count) < 0.5) & (level < 2), low & ~U64(0xFFF), want & low)
        va = np.where(leaf, va | want & ~U64(0xFFF), va)
        page, inside = page_of((pte >> U64(10) & U64(format.ppn_mask)) << U64(12))
        active &= inside & (pte & U64(V | RWX) == V)
    high = va >> U64(format.va_bits - 1) & U64(1) != 0
    extension = U64((1 << format.xlen) - (1 << format.va_bits) if format.va_bits < format.xlen else 0)
    return np.where(high, va | extension, va)


def _pointing(table: Words, places: npt.NDArray[np.intp]) -> npt.NDArray[np.intp]:
    """The places of a table's pointers, or all that are filled."""
    found = places[table[places] & U64(V | RWX) == V]
    return found if len(found) else places if len(places) else np.zeros(1, np.intp)
