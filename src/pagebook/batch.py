"""Many accesses at once, in one regime and of one kind, a chunk at a time: `translate`.

It goes the way that most addresses allow.  A directory, made once a call, says for each 2 MiB of addresses where the
last-level table is, so that an address costs two gathers whatever the number of levels, and the rest is a few passes
over arrays that stay in the cache.  What is decided above the last level is decided once for its 2 MiB.  The few
addresses that are left - two pages touched, high bits of a PTE in use - are rows for `rows.answer`.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt

from pagebook.errors import OutsideMemory
from pagebook.memory import U64, Memory
from pagebook.mmu import Extensions, Kind, Mmu, Regime, pointer_mask, split
from pagebook.rows import (
    RULE_NAMES,
    STATUS,
    Answers,
    Bytes,
    Flags,
    Indices,
    Rows,
    Walks,
    Words,
    answer,
    canonical,
    reach,
)
from pagebook.sv import A, D, Format, R, U, V, W, X, decode_satp
from pagebook.units import PAGE_MASK, PAGE_SHIFT, PAGE_SIZE

__all__ = ["RULE_NAMES", "STATUS", "Answers", "Rows", "answer", "translate"]

Signed = npt.NDArray[np.int64]

CHUNK = 32768
FEWEST = 1024
"""Fewer addresses than this are answered as rows: a directory would not pay."""
MOST_SLOTS = 1 << 19
SAMPLE = 1024
"""Addresses, about, that are looked at to see how far apart all are; only the speed depends on them."""

SLOT_SHIFT = 21  # a slot is what one last-level table reaches: 512 pages
GROUP = 512  # slots that have their table's PTE in one table
HIGH = U64(1 << 54)  # PTEs from here up have a bit set that only some extension may
NOWHERE = -1 << 62
_UNASKED, _AS_ROWS = 254, 255
_NONE = np.empty(0, np.intp)


def translate(
    memory: Memory,
    extensions: Extensions,
    regime: Regime,
    vas: Words,
    kind: Kind = Kind.LOAD,
    size: int = 1,
    *,
    out: tuple[Words, Bytes] | None = None,
) -> tuple[Words, Bytes]:
    """The physical address of each of ``vas``, 0 where it faults, and its status (`RULE_NAMES`).

    ``vas`` is an array of uint64; all accesses are of one ``kind`` and ``size`` (1 to 8 bytes) in one ``regime``.  The
    results go into ``out`` if it is given, arrays of uint64 and uint8 apart from ``vas``.
    BadAddress where `Mmu.access` would refuse one of them.
    """
    split(kind, 0, size, regime.xlen)
    vas = np.ascontiguousarray(vas, dtype=U64)
    pas, status = _results(vas, out)
    plain = _Plain.of(memory, extensions, regime, vas, kind, size)
    rest = plain.run(vas, pas, status) if plain else np.arange(len(vas))
    for low in range(0, len(rest), CHUNK):
        part = rest[low : low + CHUNK]
        found = answer(memory, extensions, _same(regime, vas[part], kind, size), regime.xlen)
        pas[part], status[part] = found.pa, found.status
    return pas, status


def _results(vas: Words, out: tuple[Words, Bytes] | None) -> tuple[Words, Bytes]:
    pas, status = out or (np.empty(len(vas), U64), np.empty(len(vas), np.uint8))
    if pas.dtype != U64 or status.dtype != np.uint8 or not pas.shape == status.shape == vas.shape:
        raise ValueError(f"out is an array of uint64 and one of uint8, {len(vas)} long each")
    if np.may_share_memory(pas, vas) or np.may_share_memory(status, vas):
        raise ValueError("out lies over the addresses that are to be translated")
    return pas, status


def _same(regime: Regime, vas: Words, kind: Kind, size: int) -> Rows:
    count = len(vas)
    priv = {"U": 0, "S": 1, "M": 3}[regime.priv]
    return Rows(
        np.full(count, regime.satp, U64), vas, np.full(count, priv, np.uint8), np.full(count, regime.sum),
        np.full(count, regime.mxr), np.full(count, kind, np.uint8), np.full(count, size, U64),
    )  # fmt: skip


class _Directory:
    """What is known of each slot of addresses: its last-level table, or what all its addresses come to without one.

    ``offsets`` turns a page number into the index of its PTE among the words of the root's region: added to it.  It is
    `NOWHERE` for a slot without a table there, and for the two that stand for everything below and above the others.
    ``status`` and ``pas`` then say what becomes of the slot's first address, once it has been asked for.
    """

    def __init__(self, memory: Memory, extensions: Extensions, regime: Regime, format: Format, kind: Kind) -> None:
        self.memory = memory
        self.extensions = extensions
        self.regime = regime
        self.format = format
        self.kind = kind
        self.region = memory.region(decode_satp(regime.satp).root, PAGE_SIZE)
        self.words = np.frombuffer(self.region.words, dtype="<u8")
        self.below = 0
        self.offsets: Signed = np.empty(0, np.int64)
        self.status: Bytes = np.empty(0, np.uint8)
        self.pas: Words = np.empty(0, U64)

    def cover(self, vas: Words) -> bool:
        """Find the tables for as far as ``vas`` reach; False when that is too far."""
        sample = np.append(vas[:: max(1, len(vas) // SAMPLE)], vas[-1])
        near = sample[canonical(sample, self.format)].view(np.int64) >> SLOT_SHIFT
        if not len(near):
            return False
        first, last = int(near.min()) // GROUP, int(near.max()) // GROUP
        count = (last - first + 1) * GROUP
        if count > min(MOST_SLOTS, 8 * len(vas)):
            return False
        self.below = first * GROUP - 1
        self.offsets = np.full(count + 2, NOWHERE, np.int64)
        self.status = np.full(count + 2, _UNASKED, np.uint8)
        self.status[[0, -1]] = _AS_ROWS
        self.pas = np.zeros(count + 2, U64)
        self._find_tables(np.arange(first, last + 1, dtype=np.int64))
        waiting = np.flatnonzero(self.offsets[1:-1] == NOWHERE) + 1
        if len(waiting) <= len(vas) // 8:  # few enough to ask for all at once, where one call for each chunk costs more
            self.ask(waiting)
        return True

    def _find_tables(self, groups: Signed) -> None:
        """Fill in ``offsets``, a whole table of pointers to last-level tables at a time."""
        mask = U64(self.format.ppn_mask)
        walks = self._walks((groups << SLOT_SHIFT + 9).view(U64))
        there = walks.walk(self.format.steps[:-2])
        ptes, _ = self.memory.gather((walks.pte[there] >> U64(10) & mask) << U64(PAGE_SHIFT))
        table = ((ptes >> U64(10) & mask) << U64(PAGE_SHIFT)) - U64(self.region.base)
        points = ptes & U64(pointer_mask(self.format, self.extensions)) == V
        points &= table < U64(self.region.size & ~PAGE_MASK)
        pages = np.arange(GROUP, dtype=np.int64) * 512 + groups[there, np.newaxis] * (GROUP * 512)
        offsets = np.where(points, (table >> U64(3)).view(np.int64) - pages, NOWHERE)
        self.offsets[1:-1].reshape(-1, GROUP)[there] = offsets

    def _walks(self, vas: Words) -> Walks:
        return Walks(self.memory, self.extensions, self.format, _same(self.regime, vas, self.kind, 1))

    def ask(self, slots: Signed) -> tuple[Bytes, Words]:
        """For slots without a table: the status and the address that their first address comes to.

        The status is `_AS_ROWS` where the slot's addresses differ; whether memory is there is not looked at.
        """
        unasked = self.status.take(slots, mode="clip") == _UNASKED
        if unasked.any():
            new = np.unique(slots[unasked])
            walks = self._walks((new + self.below << SLOT_SHIFT).view(U64))
            below = walks.walk(self.format.steps[:-1])
            found = walks.settle()
            found.status[found.status == STATUS["target-outside"]] = 0
            found.status[below] = _AS_ROWS
            self.status[new], self.pas[new] = found.status, found.pa
        return self.status.take(slots, mode="clip"), self.pas.take(slots, mode="clip")


class _Plain:
    """The optimistic way, for 64-bit formats: a chunk is passed over as if every address met a 4 KiB leaf.

    A leaf's low bits decide by a table of verdicts, and whether all of a chunk's leaves are good shows in the bits that
    all have and that any has.
    """

    def __init__(self, directory: _Directory, size: int) -> None:
        self.directory = directory
        self.size = size
        self.aligned = size - 1 if directory.kind is Kind.AMO else 0
        regime, extensions, kind = directory.regime, directory.extensions, directory.kind
        self.need, self.bad = map(U64, _plain_bits(extensions, regime, kind))
        self.verdicts = _verdicts(extensions, regime._replace(satp=0), directory.format, kind)
        self.page = U64(directory.format.ppn_mask << PAGE_SHIFT)
        self.low, self.high = U64(directory.region.base), U64(directory.region.end - size)
        self.slot, self.index, self.at = (np.empty(CHUNK, np.int64) for _ in range(3))

    @classmethod
    def of(
        cls, memory: Memory, extensions: Extensions, regime: Regime, vas: Words, kind: Kind, size: int
    ) -> _Plain | None:
        """A way for these addresses; None where it would not pay or there is no translation."""
        format = decode_satp(regime.satp, regime.xlen).format
        if regime.priv == "M" or format is None or format.xlen == 32 or len(vas) < FEWEST:
            return None
        try:
            if not memory.region(decode_satp(regime.satp).root, PAGE_SIZE).direct:
                return None  # a gather from all of the region's words would fetch them all
            directory = _Directory(memory, extensions, regime, format, kind)
        except OutsideMemory:
            return None
        if not directory.words.flags.aligned:  # a dump's: NumPy's take would first copy all of them
            return None
        return cls(directory, size) if directory.cover(vas) else None

    def run(self, vas: Words, pas: Words, status: Bytes) -> Indices:
        """Translate all into ``pas`` and ``status``; the indices of what is left to be answered as rows."""
        rest = []
        for low in range(0, len(vas), CHUNK):
            part = slice(low, low + CHUNK)
            rest.append(self._chunk(vas[part], pas[part], status[part]) + low)
        return np.concatenate(rest)

    def _chunk(self, vas: Words, pas: Words, status: Bytes) -> Indices:
        pte, offset, away, slots = self._read(vas)
        every, any_ = np.bitwise_and.reduce(pte), np.bitwise_or.reduce(pte)
        rest = self._rest(pte, offset, away, any_)
        good = not len(away) and every & self.need == self.need and not any_ & self.bad
        if good:
            status.fill(0)
        else:
            flags = np.bitwise_and(pte, U64(0xFF), out=self.index[: len(vas)].view(U64)).view(np.int64)
            self.verdicts.take(flags, out=status, mode="clip")
        np.left_shift(pte, U64(2), out=pte)
        np.bitwise_and(pte, self.page, out=pte)
        np.bitwise_or(pte, offset, out=pas)
        if len(away):
            rest = np.concatenate([rest, self._away(away, slots, vas, pas, status)])
        if pas.min() < self.low or pas.max() > self.high:
            self._outside(pas, status)
        if not good:
            np.multiply(pas, status == 0, out=pas)
        return rest

    def _read(self, vas: Words) -> tuple[Words, Words, Indices, Signed]:
        """The last-level PTEs, the offsets in the page, and which rows have no PTE (theirs is any), in which slots.

        The arrays are this object's own, and good until the next chunk.
        """
        count, va = len(vas), vas.view(np.int64)
        slot, index, at = self.slot[:count], self.index[:count], self.at[:count]
        np.right_shift(va, SLOT_SHIFT, out=slot)
        np.subtract(slot, self.directory.below, out=slot)
        self.directory.offsets.take(slot, out=at, mode="clip")
        away = _NONE if at.min() > NOWHERE else np.flatnonzero(at == NOWHERE)
        slots = slot[away]
        np.right_shift(va, PAGE_SHIFT, out=index)
        np.add(index, at, out=index)
        pte = at.view(U64)
        self.directory.words.take(index, out=pte, mode="clip")
        return pte, np.bitwise_and(va, PAGE_MASK, out=slot).view(U64), away, slots

    def _rest(self, pte: Words, offset: Words, away: Indices, any_: U64) -> Indices:
        """What a leaf's low bits cannot decide: high bits are in use, the access is misaligned or of two pages."""
        if any_ < HIGH and not self._some_odd(offset):
            return _NONE
        high = pte >= HIGH
        high[away] = False  # nothing was read for these
        return np.flatnonzero(high | self._odd(offset))

    def _some_odd(self, offset: Words) -> bool:
        if self.aligned:
            return bool(np.bitwise_or.reduce(offset) & U64(self.aligned))
        return self.size > 1 and bool(offset.max() > PAGE_SIZE - self.size)

    def _odd(self, offset: Words) -> Flags:
        odd: Flags = offset & U64(self.aligned) != 0 if self.aligned else offset > U64(PAGE_SIZE - self.size)
        return odd

    def _away(self, rows: Indices, slots: Signed, vas: Words, pas: Words, status: Bytes) -> Indices:
        """Answer the rows whose slot has no last-level table; the indices of those that are left."""
        va = vas[rows]
        found, first = self.directory.ask(slots)
        found[~canonical(va, self.directory.format)] = STATUS["non-canonical"]
        status[rows], pas[rows] = found, first + (va & U64((1 << SLOT_SHIFT) - 1))
        left: Indices = rows[found == _AS_ROWS]
        return left

    def _outside(self, pas: Words, status: Bytes) -> None:
        """Those that would be good and are not in the root's region: what other memory there is decides."""
        rows = np.flatnonzero((pas < self.low) | (pas > self.high))
        rows = rows[status[rows] == 0]
        found = reach(self.directory.memory, pas[rows], np.full(len(rows), self.size, U64))
        status[rows] = found
        pas[rows[found != 0]] = 0


@lru_cache(maxsize=64)
def _verdicts(extensions: Extensions, regime: Regime, format: Format, kind: Kind) -> Bytes:
    """The status of a last-level PTE by its low eight bits, its high ones being 0."""
    judge = Mmu(Memory([]), extensions).judge
    return np.array([STATUS[judge(flags, 0, format, regime, kind) or ""] for flags in range(256)], np.uint8)


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
