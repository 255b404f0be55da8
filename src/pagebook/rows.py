"""Many accesses at once, a row for each: the rules of `mmu`, over arrays.

Every row has a regime of its own.  All rows walk together, level by level, and those that have stopped wait for the
others; then each rule is asked of all of them.  There is no Python loop per address.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from pagebook.memory import U64, Memory
from pagebook.mmu import (
    ACCESS_FAULT,
    LARGEST,
    PAGE_FAULT,
    RULES,
    Extensions,
    Kind,
    pointer_mask,
    reserved_bits,
    split,
)
from pagebook.sv import RWX, A, D, Format, R, U, V, W, X, decode_satp
from pagebook.units import PAGE_MASK, PAGE_SHIFT, PAGE_SIZE

Words = npt.NDArray[np.uint64]
Bytes = npt.NDArray[np.uint8]
Flags = npt.NDArray[np.bool_]
Indices = npt.NDArray[np.intp]

RULE_NAMES = ("", *RULES)
STATUS = {name: number for number, name in enumerate(RULE_NAMES)}
"""What a status byte means: 0 for success, else the number of the broken rule, counted from 1 in the order of RULES."""

_FAULTS = np.array(
    [[0] * 4, *([(ACCESS_FAULT if r.access else PAGE_FAULT)[k] for k in Kind] for r in RULES.values())], np.uint8
)


class Rows(NamedTuple):
    """Accesses, one a row, all on harts of one XLEN.

    ``priv`` is 0 for U, 1 for S, 3 for M; ``kind`` a `Kind`; ``size`` in bytes, 8 at most.
    """

    satp: Words
    va: Words
    priv: Bytes
    sum: Flags
    mxr: Flags
    kind: Bytes
    size: Words


class Answers(NamedTuple):
    """What each access came to, row for row.

    ``cause`` and ``status`` are 0 where it succeeds; then ``pa`` is where its first byte is.  ``pte_pa`` is the last
    PTE read and ``pte_after`` its value afterwards; both are 0 where ``read`` is False and no PTE was.  For an access
    that straddles two pages these are of the page that faulted, or of the first.
    """

    cause: Bytes
    tval: Words
    status: Bytes
    pa: Words
    pte_pa: Words
    pte_after: Words
    read: Flags


class Found(NamedTuple):
    """One page's worth of every row, as in `Answers`, but for ``pa``: where a fault is, it is anything."""

    status: Bytes
    pa: Words
    pte_pa: Words
    pte_after: Words
    read: Flags


def answer(memory: Memory, extensions: Extensions, rows: Rows, xlen: int = 64) -> Answers:
    """What every access comes to; BadAddress where `Mmu.access` would refuse one of them."""
    _check(rows, xlen)
    va, size = rows.va, rows.size
    first = np.minimum(size, U64(PAGE_SIZE) - (va & U64(PAGE_MASK)))
    found = _one_page(memory, extensions, rows._replace(size=first), xlen)
    status, _, pte_pa, after, read = found
    misaligned = (rows.kind == Kind.AMO) & (va % size != 0)
    status[misaligned] = STATUS["amo-misaligned"]
    pte_pa[misaligned], after[misaligned], read[misaligned] = 0, 0, False
    tval = np.where(status != 0, va, U64(0))
    second = np.flatnonzero((first < size) & (status == 0))
    if len(second):
        at = va[second] + first[second] & U64((1 << xlen) - 1)
        rest = Rows._make(column[second] for column in rows)._replace(va=at, size=size[second] - first[second])
        other = _one_page(memory, extensions, rest, xlen)
        bad = other.status != 0
        where = second[bad]
        status[where], tval[where] = other.status[bad], at[bad]
        pte_pa[where], after[where], read[where] = other.pte_pa[bad], other.pte_after[bad], other.read[bad]
    pa = np.where(status == 0, found.pa, U64(0))
    return Answers(_FAULTS[status, rows.kind], tval, status, pa, pte_pa, after, read)


def _check(rows: Rows, xlen: int) -> None:
    """BadAddress when a row's satp, address or size is none that a hart has."""
    for satp in _distinct(rows.satp):
        decode_satp(satp, xlen)
    odd = (rows.va > U64((1 << xlen) - 1)) | (rows.size - U64(1) >= U64(LARGEST))
    odd |= (rows.kind == Kind.AMO) & (rows.size & rows.size - U64(1) != 0)
    if odd.any():
        row = int(odd.argmax())
        split(Kind(int(rows.kind[row])), int(rows.va[row]), int(rows.size[row]), xlen)


def _distinct(values: Words) -> list[int]:
    """The different values, of which there are few and often one."""
    if len(values) and (values[0] == values).all():
        return [int(values[0])]
    found: list[int] = np.unique(values).tolist()
    return found


def _one_page(memory: Memory, extensions: Extensions, rows: Rows, xlen: int) -> Found:
    """`answer` for rows that stay in one page each: those of each mode together."""
    modes = np.where(rows.priv == 3, U64(0), rows.satp >> U64(60 if xlen == 64 else 31))
    distinct = _distinct(modes)
    if len(distinct) == 1:
        return _one_mode(memory, extensions, rows, xlen, distinct[0])
    out = _nothing_read(np.zeros(len(modes), np.uint8), np.zeros_like(rows.va))
    for mode in distinct:
        here = np.flatnonzero(modes == mode)
        part = _one_mode(memory, extensions, Rows._make(column[here] for column in rows), xlen, mode)
        out.status[here], out.pa[here], out.read[here] = part.status, part.pa, part.read
        out.pte_pa[here], out.pte_after[here] = part.pte_pa, part.pte_after
    return out


def _nothing_read(status: Bytes, pa: Words) -> Found:
    """What is found without a PTE."""
    return Found(status, pa, np.zeros_like(pa), np.zeros_like(pa), np.zeros(len(pa), np.bool_))


def _one_mode(memory: Memory, extensions: Extensions, rows: Rows, xlen: int, mode: int) -> Found:
    """`_one_page` for rows of one mode, 0 where addresses are not translated."""
    if mode == 0:
        return _nothing_read(reach(memory, rows.va, rows.size), rows.va)
    format = decode_satp(int(rows.satp[0]), xlen).format
    assert format
    return Walks(memory, extensions, format, rows).run()


def reach(memory: Memory, pa: Words, size: Words) -> Bytes:
    """0 where one region or device has all of [pa, pa + size), else the status of an access outside memory."""
    fine = np.zeros(len(pa), np.bool_)
    for there in (*(range(region.base, region.end) for region in memory.regions), *memory.devices):
        offset = pa - U64(there.start)
        fine |= (offset < U64(len(there))) & (U64(len(there)) - offset >= size)
    return np.where(fine, 0, STATUS["target-outside"]).astype(np.uint8)


def read_ptes(memory: Memory, at: Words, format: Format) -> tuple[Words, Flags]:
    """The PTEs at addresses ``at``, and which of them memory holds."""
    ptes, inside = np.zeros(len(at), U64), np.zeros(len(at), np.bool_)
    for region in memory.regions:
        offset = at - U64(region.base)
        here = offset < U64(region.size & -format.pte_bytes)
        if here.all():
            return region.words_at(offset, format.pte_bytes).astype(U64, copy=False), here
        ptes[here] = region.words_at(offset[here], format.pte_bytes)
        inside |= here
    return ptes, inside


class Walks:
    """The general way: every row walks level by level, and those that have stopped wait for the others."""

    def __init__(self, memory: Memory, extensions: Extensions, format: Format, rows: Rows) -> None:
        self.memory = memory
        self.extensions = extensions
        self.format = format
        self.rows = rows
        count = len(rows.va)
        self.status: Bytes = np.zeros(count, np.uint8)
        self.pte: Words = np.zeros(count, U64)
        self.pte_pa = np.zeros(count, U64)
        self.level = np.zeros(count, np.uint8)
        self.read: Flags = np.zeros(count, np.bool_)

    def run(self) -> Found:
        """Walk to the end, and `settle`."""
        self.walk(self.format.steps)
        return self.settle()

    def settle(self) -> Found:
        """Judge the PTEs where the walks stopped, and find the physical addresses that they give."""
        reached = np.flatnonzero(self.status == 0)
        self.status[reached] = self._judge(reached)
        rows = self.rows
        pte = self.pte
        span = U64(PAGE_SIZE) << (self.level.astype(U64) * U64(self.format.index_bits))
        low: Words = span - U64(1)
        if self.format.xlen == 64:
            low = np.where(pte >> U64(63) != 0, U64(0xFFFF), low)
        pa: Words = (pte >> U64(10) & U64(self.format.ppn_mask)) << U64(PAGE_SHIFT) & ~low | rows.va & low
        good = np.flatnonzero(self.status == 0)
        after: Words = pte.copy()
        after[good] |= U64(A) | np.where(rows.kind[good] & 1, U64(D), U64(0))
        self.status[good] = reach(self.memory, pa[good], rows.size[good])
        return Found(self.status, pa, self.pte_pa, np.where(self.read, after, U64(0)), self.read)

    def walk(self, steps: tuple[tuple[int, int], ...]) -> Indices:
        """Find for every row the PTE where its walk stops on these levels; the rows that would go on below."""
        fmt, rows = self.format, self.rows
        self.status[~canonical(rows.va, fmt)] = STATUS["non-canonical"]
        active = np.flatnonzero(self.status == 0)
        table = (rows.satp[active] & U64(fmt.ppn_mask)) << U64(PAGE_SHIFT)
        mask = U64(pointer_mask(fmt, self.extensions))
        for level, shift in steps:
            at = table + (rows.va[active] >> U64(shift) & U64(fmt.index_mask)) * U64(fmt.pte_bytes)
            pte, inside = read_ptes(self.memory, at, fmt)
            if not inside.all():
                self.status[active[~inside]] = STATUS["table-outside"]
                active, at, pte = active[inside], at[inside], pte[inside]
            self.read[active] = True
            self.pte[active], self.pte_pa[active], self.level[active] = pte, at, level
            on = pte & mask == V
            active, table = active[on], (pte[on] >> U64(10) & U64(fmt.ppn_mask)) << U64(PAGE_SHIFT)
        return active

    def _judge(self, rows: Indices) -> Bytes:
        """The first rule, in the specification's order, that each row's last PTE breaks; 0 for none."""
        fmt, ext = self.format, self.extensions
        pte, level, kind = self.pte[rows], self.level[rows], self.rows.kind[rows]
        user = self.rows.priv[rows] == 0
        has = {name: pte & U64(bit) != 0 for name, bit in zip("VRWXUAD", (V, R, W, X, U, A, D), strict=True)}
        none = np.zeros(len(pte), np.bool_)
        reserved, pbmt, n = none, np.zeros(len(pte), U64), none
        if fmt.xlen == 64:
            reserved = pte & U64(reserved_bits(ext)) != 0
            pbmt, n = pte >> U64(61) & U64(3), pte >> U64(63) != 0
        pointer = pte & U64(RWX) == 0
        fetch, load, store = kind == Kind.FETCH, kind == Kind.LOAD, kind & 1 != 0
        span = U64(1) << (level.astype(U64) * U64(fmt.index_bits))
        rules: list[tuple[str, Flags]] = [
            ("v-clear", ~has["V"]),
            ("w-without-r", has["W"] & ~has["R"]),
            ("reserved-bits", reserved),
            ("n-reserved", none if ext.svnapot else n),
            ("pbmt-reserved", none if ext.svpbmt else pbmt != 0),
            ("pointer-reserved", pointer & (pte & U64(D | A | U) != 0) | pointer & (n | (pbmt != 0))),
            ("last-pointer", pointer),
            ("pbmt-3", pbmt == 3),
            ("napot-reserved", n & ((level != 0) | (pte >> U64(10) & U64(15) != 8))),
            ("misaligned-superpage", pte >> U64(10) & U64(fmt.ppn_mask) & (span - U64(1)) != 0),
            ("supervisor-page", user & ~has["U"]),
            ("user-page", ~user & has["U"] & (fetch | ~self.rows.sum[rows])),
            ("not-executable", fetch & ~has["X"]),
            ("not-readable", load & ~has["R"] & ~(self.rows.mxr[rows] & has["X"])),
            ("not-writable", store & ~has["W"]),
        ]
        if not ext.svadu:
            rules += [("a-clear", ~has["A"]), ("d-clear", store & ~has["D"])]
        status = np.zeros(len(pte), np.uint8)
        for name, broken in reversed(rules):
            status[broken] = STATUS[name]
        return status


def canonical(va: Words, format: Format) -> Flags:
    """Which addresses have above their top bit only copies of it."""
    if format.va_bits == format.xlen:
        return np.ones(len(va), np.bool_)
    top = va.view(np.int64) >> np.int64(format.va_bits - 1)
    same: Flags = (top == 0) | (top == -1)
    return same
