"""Many accesses at once: the rules of `mmu`, over arrays.

Two ways through, with the same answers.  `translate` takes addresses that share one regime and one kind of access, a
chunk at a time: first as if every one of them met a 4 KiB leaf, which a few passes over the chunk can tell, and only
those that do not go through the general rules.  `answer` takes rows that each have a regime of their own.
There is no Python loop per address.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from pagebook.errors import OutsideMemory
from pagebook.memory import U64, Memory, Region
from pagebook.mmu import (
    ACCESS_FAULT,
    LARGEST,
    PAGE_FAULT,
    RULES,
    Extensions,
    Kind,
    Mmu,
    Regime,
    pointer_mask,
    reserved_bits,
    split,
)
from pagebook.sv import RWX, A, D, Format, R, U, V, W, X, decode_satp
from pagebook.units import PAGE_MASK, PAGE_SHIFT, PAGE_SIZE

Words = npt.NDArray[np.uint64]
Bytes = npt.NDArray[np.uint8]
Flags = npt.NDArray[np.bool_]

CHUNK = 16384
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
    PTE read, 0 when none was, and ``pte_after`` its value afterwards; for an access that straddles two pages these are
    of the page that faulted, or of the first.
    """

    cause: Bytes
    tval: Words
    status: Bytes
    pa: Words
    pte_pa: Words
    pte_after: Words


class _Found(NamedTuple):
    """One page's worth of every row: as `Answers`, and the PTE that was read."""

    status: Bytes
    pa: Words
    pte_pa: Words
    pte_after: Words


def answer(memory: Memory, extensions: Extensions, rows: Rows, xlen: int = 64) -> Answers:
    """What every access comes to; BadAddress where `Mmu.access` would refuse one of them."""
    _check(rows, xlen)
    va, size = rows.va, rows.size
    first = np.minimum(size, U64(PAGE_SIZE) - (va & U64(PAGE_MASK)))
    found = _one_page(memory, extensions, rows._replace(size=first), xlen)
    status, _, pte_pa, after = found
    misaligned = (rows.kind == Kind.AMO) & (va % size != 0)
    status[misaligned], pte_pa[misaligned], after[misaligned] = STATUS["amo-misaligned"], 0, 0
    tval = np.where(status != 0, va, U64(0))
    second = np.flatnonzero((first < size) & (status == 0))
    if len(second):
        at = va[second] + first[second] & U64((1 << xlen) - 1)
        rest = Rows._make(column[second] for column in rows)._replace(va=at, size=size[second] - first[second])
        other = _one_page(memory, extensions, rest, xlen)
        bad = other.status != 0
        where = second[bad]
        status[where], tval[where] = other.status[bad], at[bad]
        pte_pa[where], after[where] = other.pte_pa[bad], other.pte_after[bad]
    pa = np.where(status == 0, found.pa, U64(0))
    return Answers(_FAULTS[status, rows.kind], tval, status, pa, pte_pa, after)


def _check(rows: Rows, xlen: int) -> None:
    """BadAddress when a row's satp, address or size is none that a hart has."""
    for satp in np.unique(rows.satp).tolist():
        decode_satp(satp, xlen)
    odd = (rows.va > U64((1 << xlen) - 1)) | (rows.size - U64(1) >= U64(LARGEST))
    odd |= (rows.kind == Kind.AMO) & (rows.size & rows.size - U64(1) != 0)
    if odd.any():
        row = int(odd.argmax())
        split(Kind(int(rows.kind[row])), int(rows.va[row]), int(rows.size[row]), xlen)


def _one_page(memory: Memory, extensions: Extensions, rows: Rows, xlen: int) -> _Found:
    """`answer` for rows that stay in one page each: those of each mode together."""
    modes = np.where(rows.priv == 3, U64(0), rows.satp >> U64(60 if xlen == 64 else 31))
    out = _Found(np.zeros(len(modes), np.uint8), rows.va.copy(), np.zeros_like(rows.va), np.zeros_like(rows.va))
    for mode in np.unique(modes).tolist():
        here = np.flatnonzero(modes == mode)
        if mode == 0:
            out.status[here] = _reach(memory, rows.va[here], rows.size[here])
            continue
        format = decode_satp(int(rows.satp[here[0]]), xlen).format
        assert format
        part = _Walks(memory, extensions, format, Rows._make(column[here] for column in rows)).run()
        out.status[here], out.pa[here] = part.status, part.pa
        out.pte_pa[here], out.pte_after[here] = part.pte_pa, part.pte_after
    return out


def _reach(memory: Memory, pa: Words, size: Words) -> Bytes:
    """0 where one region holds all of [pa, pa + size), else the status of an access outside memory."""
    fine = np.zeros(len(pa), np.bool_)
    for region in memory.regions:
        offset = pa - U64(region.base)
        fine |= (offset < U64(region.size)) & (U64(region.size) - offset >= size)
    return np.where(fine, 0, STATUS["target-outside"]).astype(np.uint8)


def read_ptes(memory: Memory, at: Words, format: Format) -> tuple[Words, Flags]:
    """The PTEs at addresses ``at``, and which of them memory holds."""
    ptes, inside = np.zeros(len(at), U64), np.zeros(len(at), np.bool_)
    for region in memory.regions:
        words = _words(region, format)
        offset = at - U64(region.base)
        here = offset < U64(len(words) * format.pte_bytes)
        index = (offset >> U64(3 if format.pte_bytes == 8 else 2)).astype(np.intp)
        if here.all():
            return words.take(index).astype(U64, copy=False), here
        ptes[here] = words[index[here]]
        inside |= here
    return ptes, inside


def _words(region: Region, format: Format) -> npt.NDArray[np.uint64]:
    words = region.words if format.pte_bytes == 8 else region.words32
    return np.frombuffer(words, dtype=f"<u{format.pte_bytes}")


class _Walks:
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

    def run(self) -> _Found:
        """Walk, judge, and find the physical addresses."""
        self._walk()
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
        self.status[good] = _reach(self.memory, pa[good], rows.size[good])
        return _Found(self.status, pa, self.pte_pa, np.where(self.pte_pa != 0, after, U64(0)))

    def _walk(self) -> None:
        """Find for every row the PTE where its walk stops."""
        fmt, rows = self.format, self.rows
        self.status[~_canonical(rows.va, fmt)] = STATUS["non-canonical"]
        active = np.flatnonzero(self.status == 0)
        table = (rows.satp[active] & U64(fmt.ppn_mask)) << U64(PAGE_SHIFT)
        mask = U64(pointer_mask(fmt, self.extensions))
        for level, shift in fmt.steps:
            at = table + (rows.va[active] >> U64(shift) & U64(fmt.index_mask)) * U64(fmt.pte_bytes)
            pte, inside = read_ptes(self.memory, at, fmt)
            if not inside.all():
                self.status[active[~inside]] = STATUS["table-outside"]
                active, at, pte = active[inside], at[inside], pte[inside]
            self.pte[active], self.pte_pa[active], self.level[active] = pte, at, level
            on = pte & mask == V
            active, table = active[on], (pte[on] >> U64(10) & U64(fmt.ppn_mask)) << U64(PAGE_SHIFT)

    def _judge(self, rows: npt.NDArray[np.intp]) -> Bytes:
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


def _canonical(va: Words, format: Format) -> Flags:
    if format.va_bits == format.xlen:
        return np.ones(len(va), np.bool_)
    top = va.view(np.int64) >> np.int64(format.va_bits - 1)
    canonical: Flags = (top == 0) | (top == -1)
    return canonical


def translate(
    memory: Memory,
    extensions: Extensions,
    regime: Regime,
    vas: Words,
    kind: Kind = Kind.LOAD,
    size: int = 1,
) -> tuple[Words, Bytes]:
    """The physical address of each of ``vas``, 0 where it faults, and its status (`RULE_NAMES`).

    ``vas`` is an array of uint64; all accesses are of one ``kind`` and ``size`` (1 to 8 bytes) in one ``regime``.
    BadAddress where `Mmu.access` would refuse one of them.
    """
    split(kind, 0, size, regime.xlen)
    vas = np.ascontiguousarray(vas, dtype=U64)
    pas, status = np.empty(len(vas), U64), np.zeros(len(vas), np.uint8)
    plain = _Plain.of(memory, extensions, regime, vas, kind, size)
    for low in range(0, len(vas), CHUNK):
        part = slice(low, low + CHUNK)
        rest = (
            plain.run(vas[part], pas[part], status[part]) if plain else np.arange(low, min(low + CHUNK, len(vas))) - low
        )
        if len(rest):
            found = answer(memory, extensions, _same(regime, vas[part][rest], kind, size), regime.xlen)
            pas[part][rest], status[part][rest] = found.pa, found.status
    return pas, status


def _same(regime: Regime, vas: Words, kind: Kind, size: int) -> Rows:
    count = len(vas)
    priv = {"U": 0, "S": 1, "M": 3}[regime.priv]
    return Rows(
        np.full(count, regime.satp, U64), vas, np.full(count, priv, np.uint8), np.full(count, regime.sum),
        np.full(count, regime.mxr), np.full(count, kind, np.uint8), np.full(count, size, U64),
    )  # fmt: skip


class _Plain:
    """The optimistic way, for 64-bit formats: every address meets a sound 4 KiB leaf in one page.

    A directory, made once a call, says for each last-level table's reach of addresses where that table is, so that an
    address costs two gathers whatever the number of levels.  A 4 KiB leaf's low bits decide by a table of verdicts.
    What is not so plain is left to the general rules: superpages, high bits, straddles, tables and targets in other
    regions than the root's.
    """

    MOST_SLOTS = 1 << 19

    def __init__(
        self, memory: Memory, regime: Regime, format: Format, need: int, bad: int, size: int, verdicts: Bytes
    ) -> None:
        self.memory = memory
        self.format = format
        self.need, self.bad = U64(need), U64(bad)
        self.verdicts = verdicts
        self.size = size
        self.region = memory.region(decode_satp(regime.satp).root, PAGE_SIZE)
        self.words = np.frombuffer(self.region.words, dtype="<u8")
        self.slot_mask = (1 << format.va_bits - 21) - 1
        self.first = 0
        self.directory = np.empty(0, np.int64)
        self.index, self.other, self.at = (np.empty(CHUNK, np.int64) for _ in range(3))
        self.pte = np.empty(CHUNK, U64)

    @classmethod
    def of(
        cls, memory: Memory, extensions: Extensions, regime: Regime, vas: Words, kind: Kind, size: int
    ) -> _Plain | None:
        """A way for these addresses; None where it would not pay or there is no translation."""
        format = decode_satp(regime.satp, regime.xlen).format
        if regime.priv == "M" or format is None or format.xlen == 32 or len(vas) < CHUNK:
            return None
        if kind is Kind.AMO and (vas % U64(size)).any():
            return None
        need, bad = _plain_bits(extensions, regime, kind)
        try:
            judge = Mmu(memory, extensions).judge
            verdicts = np.array([STATUS[judge(flags, 0, format, regime, kind) or ""] for flags in range(256)], np.uint8)
            plain = cls(memory, regime, format, need, bad, size, verdicts)
        except OutsideMemory:
            return None
        return plain if plain.prepare(extensions, decode_satp(regime.satp).root, vas) else None

    def prepare(self, extensions: Extensions, root: int, vas: Words) -> bool:
        """Make the directory for the slots that ``vas`` use; False when they are too far apart."""
        slots = (vas >> U64(21)).astype(np.int64) & self.slot_mask
        self.first, last = int(slots.min()), int(slots.max())
        count = last - self.first + 1
        if count > min(self.MOST_SLOTS, 8 * len(vas)):
            return False
        slot = np.arange(self.first, last + 1, dtype=np.int64).astype(U64) << U64(21)
        table, alive = np.full(count, root, U64), np.arange(count)
        mask = U64(pointer_mask(self.format, extensions))
        for _, shift in self.format.steps[:-1]:
            at = table[alive] + (slot[alive] >> U64(shift) & U64(511)) * U64(8)
            pte, inside = read_ptes(self.memory, at, self.format)
            on = inside & (pte & mask == V)
            alive = alive[on]
            table[alive] = (pte[on] >> U64(10) & U64(self.format.ppn_mask)) << U64(PAGE_SHIFT)
        base, end = U64(self.region.base), U64(self.region.base + len(self.region.pages) * PAGE_SIZE)
        alive = alive[(table[alive] >= base) & (table[alive] < end)]
        self.directory = np.full(count, -1, np.int64)
        self.directory[alive] = ((table[alive] - base) >> U64(3)).astype(np.int64)
        return True

    def run(self, vas: Words, out: Words, status: Bytes) -> npt.NDArray[np.intp]:
        """Translate a chunk into ``out`` and ``status``; the indices of what is left to the general rules."""
        count = len(vas)
        va = vas.view(np.int64)
        slot, index, at, pte = self.index[:count], self.other[:count], self.at[:count], self.pte[:count]
        np.right_shift(va, 21, out=slot)
        np.bitwise_and(slot, self.slot_mask, out=slot)
        np.subtract(slot, self.first, out=slot)
        self.directory.take(slot, out=at, mode="clip")
        np.right_shift(va, PAGE_SHIFT, out=index)
        np.bitwise_and(index, 511, out=index)
        np.add(index, at, out=index)
        self.words.take(index, out=pte, mode="clip")
        np.bitwise_and(va, PAGE_MASK, out=slot)
        limit = 1 << self.format.va_bits - 1
        usual = (
            np.bitwise_or.reduce(pte) >> U64(54) == 0
            and int(at.min()) >= 0
            and int(slot.max()) <= PAGE_SIZE - self.size
            and -limit <= int(va.min()) <= int(va.max()) < limit
        )
        good = bool(np.bitwise_and.reduce(pte) & self.need == self.need and np.bitwise_or.reduce(pte) & self.bad == 0)
        rest = _NONE
        if not usual:
            rest = np.flatnonzero(
                (pte >> U64(54) != 0) | (at < 0) | (slot > PAGE_SIZE - self.size) | (va < -limit) | (va >= limit)
            )
        if not good:
            np.bitwise_and(pte, U64(0xFF), out=index.view(U64))
            self.verdicts.take(index, out=status, mode="clip")
        np.left_shift(pte, U64(2), out=pte)
        np.bitwise_and(pte, U64(self.format.ppn_mask << PAGE_SHIFT), out=pte)
        np.bitwise_or(pte, slot.view(U64), out=out)
        low, high = U64(self.region.base), U64(self.region.end - self.size)
        if good and not len(rest) and out.min() >= low and out.max() <= high:
            return _NONE
        outside = (out < low) | (out > high)
        outside &= status == 0
        out[status != 0] = 0
        return np.union1d(rest, np.flatnonzero(outside)) if outside.any() else rest


_NONE = np.empty(0, np.intp)


def _plain_bits(extensions: Extensions, regime: Regime, kind: Kind) -> tuple[int, int]:
    """The bits that a 4 KiB leaf must have, and must not have, to be plainly good, its high bits aside."""
    need = V | R | {Kind.LOAD: 0, Kind.FETCH: X}.get(kind, W)
    bad = 0
    if not extensions.svadu:
        need |= A | (D if kind in (Kind.STORE, Kind.AMO) else 0)
    if regime.priv == "U":
        need |= U
    elif kind is Kind.FETCH or not regime.sum:
        bad |= U
    return need, bad
