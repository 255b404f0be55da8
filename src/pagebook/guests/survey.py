"""Which frames can be page tables, and on which level: all of memory judged in array passes.

Nothing is known of the guest: a frame is a table of level n when its valid entries make sense there, as leaves that
are aligned, or as pointers to frames that are tables of level n - 1.  Who is a root, and how sure that is, is decided
in `roots`.  Every pass works on a few hundred frames at a time, so memory stays bounded whatever is found.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from pagebook.memory import U64, Memory
from pagebook.sv import KIND_MASK, POINTER, RWX, A, D, Format, R, U, V, W
from pagebook.units import PAGE_MASK, PAGE_SHIFT, PAGE_SIZE

CHUNK = 256  # frames in hand at a time: a MiB, which the processor's caches hold
SAMPLE = 8  # the first look at a frame takes every eighth word
TOLERATED = 2  # entries of a table that may be wrong whatever their share; one eighth may be beyond that
SHARE = 8
FAR = 1 << 40  # no device is expected beyond a TiB, unless memory itself is

TABLE, EMPTY = 1, 2

_RESERVED = U64(0x1F << 54)  # 60:59 belong to Svrsw60t59b
_PBMT = U64(3 << 61)
_NAPOT = U64(1 << 63)
_NOT_IN_POINTERS = U64(U | A | D) | _PBMT | _NAPOT
_SATP_PPN = U64((1 << 44) - 1)

Words = npt.NDArray[np.uint64]
Bits = npt.NDArray[np.bool_]
Index = npt.NDArray[np.intp]


class Frames:
    """The whole frames of a memory, numbered from 0 in the order of their addresses."""

    def __init__(self, memory: Memory) -> None:
        self.memory = memory
        regions = [region for region in memory.regions if region.size >= PAGE_SIZE]
        counts = np.array([region.size >> PAGE_SHIFT for region in regions], dtype=np.int64)
        self._bases = np.array([region.base for region in regions], dtype=U64)
        self._firsts = np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)])
        self._counts = counts
        self._regions = regions
        self.count = int(self._firsts[-1])
        self.low = int(self._bases[0]) if regions else 0
        self.high = regions[-1].base + (regions[-1].size & ~PAGE_MASK) if regions else 0

    def numbers(self, pas: Words) -> Index:
        """The number of the frame at each address, -1 where no frame is."""
        if not self.count:
            return np.full(pas.shape, -1, dtype=np.intp)
        if len(self._regions) == 1:
            offset = pas - self._bases[0] >> U64(PAGE_SHIFT)
            return np.where((pas >= self._bases[0]) & (offset < U64(self.count)), offset.view(np.int64), -1)
        which = np.maximum(np.searchsorted(self._bases, pas, side="right") - 1, 0)
        inside = pas - self._bases[which] >> U64(PAGE_SHIFT)
        held = (pas >= self._bases[which]) & (inside < self._counts[which].astype(U64))
        return np.where(held, self._firsts[which] + inside.astype(np.int64), -1)

    def addresses(self, numbers: Index) -> Words:
        """The physical address of each numbered frame."""
        if len(self._regions) == 1:
            found: Words = self._bases[0] + (numbers.astype(U64) << U64(PAGE_SHIFT))
            return found
        which = np.searchsorted(self._firsts, numbers, side="right") - 1
        found = self._bases[which] + ((numbers - self._firsts[which]).astype(U64) << U64(PAGE_SHIFT))
        return found

    def chunks(self) -> Iterator[tuple[int, Words]]:
        """All that is known to be no zeros, at most CHUNK frames at a time: the number of the first, and the words."""
        for region, first in zip(self._regions, self._firsts.tolist(), strict=False):
            for low, high in region.runs():
                for start in range(low, high, CHUNK):
                    yield first + start, region.pages[start : min(start + CHUNK, high)]


class Named:
    """How often each frame is named by words in memory, and where the first of them stands."""

    def __init__(self, frames: Frames) -> None:
        self.counts = np.zeros(frames.count, dtype=np.uint32)
        self.first = np.zeros(frames.count, dtype=U64)

    def add(self, numbers: Index, at: _Places) -> None:
        """Count words that name the frames ``numbers``; ``at`` says where they stand, in ascending order."""
        fresh = self.counts[numbers] == 0
        if fresh.any():
            self.first[numbers[fresh][::-1]] = at.of(fresh)[::-1]  # of several for one frame the last one written stays
        np.add.at(self.counts, numbers, np.uint32(1))


class _Places(NamedTuple):
    """Where words stand: ``flat`` counts them through the pages ``numbers``, each of ``width`` words."""

    frames: Frames
    numbers: Index
    flat: Index
    width: int

    def of(self, chosen: Bits) -> Words:
        """The addresses of some of them."""
        row, column = np.divmod(self.flat[chosen], self.width)
        found: Words = self.frames.addresses(self.numbers[row]) + column.astype(U64) * U64(PAGE_SIZE // self.width)
        return found


class Survey:
    """The frames of a memory that can be tables of a format's kind, level by level.

    ``rows`` numbers the frames that may be tables at all; ``like[n]`` says of each of those whether it can be one on
    level n, ``leaves[n]`` how many mappings of RAM it then leads to, ``tables[n]`` through how many tables, used as
    often as they are.  ``child`` says that a table points to it.  ``satps`` by MODE, and ``pointers``, count the words
    of memory that name a frame as a satp value or by its address.
    """

    def __init__(self, memory: Memory, fmt: Format, top: int, progress: Callable[[int], None] | None = None) -> None:
        self.frames = Frames(memory)
        self.fmt = fmt
        self.zero = np.ones(self.frames.count, dtype=np.bool_)
        self.pointers = Named(self.frames)
        self.satps = {mode: Named(self.frames) for mode in ((1,) if fmt.xlen == 32 else (8, 9, 10))}
        self._far = U64(max(FAR, self.frames.high))
        self.rows = self._first_pass(progress or (lambda count: None))
        self._row_of = np.zeros(self.frames.count, dtype=np.int32)  # of those in rows; of others it is never asked
        self._row_of[self.rows] = np.arange(len(self.rows), dtype=np.int32)
        self.child = np.zeros(len(self.rows), dtype=np.bool_)
        # What a pointer to each frame would find: a table of the level below, nothing yet, or no table.
        self._kinds = np.zeros(self.frames.count + 1, dtype=np.uint8)  # -1 stands for no frame at all
        np.multiply(self.zero, EMPTY, out=self._kinds[:-1], dtype=np.uint8)
        self._upper = np.zeros(len(self.rows), dtype=np.bool_)  # what may be a table above the last level
        self.like: list[Bits] = []
        self.leaves: list[npt.NDArray[np.float64]] = []
        self.tables: list[npt.NDArray[np.float64]] = []
        for level in range(top + 1):
            self._judge(level)

    # The first pass: every word of memory.

    def _first_pass(self, progress: Callable[[int], None]) -> Index:
        kept: list[Index] = []
        unread = self.frames.count << PAGE_SHIFT
        for first, words in self.frames.chunks():
            union = np.bitwise_or.reduce(words, axis=1)
            self.zero[first : first + len(words)] = union == 0
            some = np.flatnonzero(union)
            if len(some):
                nonzero = words if len(some) == len(words) else words[some]
                self._note_names(first + some, nonzero)
                odd = self._has_valid(union[some])
                kept.append(first + some[odd][self._may_be_table(nonzero if odd.all() else nonzero[odd])])
            progress(words.nbytes)
            unread -= words.nbytes
        if unread:
            progress(unread)
        return np.concatenate([np.empty(0, np.intp), *kept])

    def _has_valid(self, union: Words) -> Bits:
        """Which pages have an entry with V set, by the union of their words."""
        found: Bits = union & U64(V if self.fmt.xlen == 64 else V | V << 32) != 0
        return found

    def _note_names(self, numbers: Index, words: Words) -> None:
        """Count the words that hold a frame's address, or a satp value that names one."""
        low, span = U64(self.frames.low), U64(self.frames.high - self.frames.low)
        if self.fmt.xlen == 32:
            words = np.ascontiguousarray(words).view("<u4").astype(U64)
            satp = words >> U64(31) != 0
            self._note(numbers, words, satp, lambda found: [(self.satps[1], found & U64((1 << 22) - 1), None)])
        else:
            ppn = words & _SATP_PPN
            ppn -= low >> U64(PAGE_SHIFT)
            self._note(numbers, words, ppn < span >> U64(PAGE_SHIFT), self._satps_in)
        pointer = words - low < span
        if pointer.any():
            pointer &= words & U64(PAGE_SIZE - 1) == 0
        self._note(numbers, words, pointer, lambda found: [(self.pointers, found >> U64(PAGE_SHIFT), None)])

    def _satps_in(self, words: Words) -> list[tuple[Named, Words, Bits | None]]:
        modes = words >> U64(60)
        return [(named, words & _SATP_PPN, modes == mode) for mode, named in self.satps.items()]

    def _note(
        self,
        numbers: Index,
        words: Words,
        hits: Bits,
        read: Callable[[Words], list[tuple[Named, Words, Bits | None]]],
    ) -> None:
        """Count the words that hit; ``read`` gives what counts them, the page numbers they hold, and which count."""
        if not hits.any():
            return
        flat = np.flatnonzero(hits)
        for named, ppns, chosen in read(words.reshape(-1)[flat]):
            places = flat if chosen is None else flat[chosen]
            found = self.frames.numbers((ppns if chosen is None else ppns[chosen]) << U64(PAGE_SHIFT))
            held = found >= 0
            if held.any():
                named.add(found[held], _Places(self.frames, numbers, places[held], words.shape[1]))

    def _may_be_table(self, words: Words) -> Bits:
        """Which pages hold valid entries, and few that no table would hold, whatever the level."""
        if self.fmt.xlen == 32:
            words = np.ascontiguousarray(words).view("<u4").astype(U64)
        may = np.ones(len(words), dtype=np.bool_)
        for look in (self._sample_right, self._reserved_right, self._encodings_right):
            some = np.flatnonzero(may)
            if not len(some):
                break
            may[some] = look(words if len(some) == len(words) else words[some])
        return may

    def _sample_right(self, words: Words) -> Bits:
        """Whether an eighth of the words has few that are wrong, measured by the whole page."""
        sample = words[:, ::SAMPLE]
        wrong = np.count_nonzero((sample & U64(V) != 0) & self._broken(sample), axis=1)
        found: Bits = wrong <= max(TOLERATED, words.shape[1] // SHARE)
        return found

    def _reserved_right(self, words: Words) -> Bits:
        if self.fmt.xlen == 32:
            return np.ones(len(words), dtype=np.bool_)
        odd = words & U64(int(_RESERVED) | V)
        wrong = np.count_nonzero((odd > V) & (odd & U64(V)).astype(np.bool_), axis=1)
        found: Bits = wrong <= max(TOLERATED, words.shape[1] // SHARE)
        return found

    def _encodings_right(self, words: Words) -> Bits:
        valid = words & U64(V) != 0
        count = np.count_nonzero(valid, axis=1)
        wrong = np.count_nonzero(valid & self._broken(words), axis=1)
        found: Bits = (wrong <= np.maximum(TOLERATED, count // SHARE)) & (count > wrong)
        return found

    def _broken(self, ptes: Words) -> Bits:
        """Which entries, if valid, are encoded as none may be."""
        broken: Bits = ptes & U64(R | W) == W
        broken |= (ptes & U64(KIND_MASK) == POINTER) & (ptes & _NOT_IN_POINTERS != 0)
        if self.fmt.xlen == 64:
            broken |= ptes & _RESERVED != 0
            broken |= ptes & _PBMT == _PBMT
        return broken

    # Then, for each level, the frames that are left.

    def _judge(self, level: int) -> None:
        """Find the tables of ``level``, and mark what they point to."""
        count = len(self.rows)
        self.like.append(np.zeros(count, dtype=np.bool_))
        self.leaves.append(np.zeros(count))
        self.tables.append(np.zeros(count))
        rows = np.flatnonzero(self._upper) if level else np.arange(count)
        if level:
            self._kinds[self.rows] = np.where(self.like[level - 1], TABLE, 0)
        for start in range(0, len(rows), CHUNK):
            part = rows[start : start + CHUNK]
            self._judge_part(level, part, self.ptes(self.rows[part]))

    def ptes(self, numbers: Index) -> Words:
        """The entries of the frames, of shape (frames, entries)."""
        pages, _ = self.frames.memory.gather(self.frames.addresses(numbers))
        return pages if self.fmt.pte_bytes == 8 else pages.view("<u4").astype(U64)

    def _judge_part(self, level: int, part: Index, ptes: Words) -> None:
        pa = (ptes >> U64(10) & U64(self.fmt.ppn_mask)) << U64(PAGE_SHIFT)
        valid: Bits = ptes & U64(V) != 0
        sound = valid & ~self._broken(ptes)
        is_leaf = ptes & U64(RWX) != 0
        leaf = sound & is_leaf & (pa < self._far)
        if not level:
            self._upper[part] = self._may_be_upper(ptes, pa, sound, is_leaf)
        else:
            leaf &= pa & U64(self.fmt.page_bytes(level) - 1) == 0
            if self.fmt.xlen == 64:
                leaf &= ptes & _NAPOT == 0
        right = np.count_nonzero(leaf, axis=1)
        wrong = np.count_nonzero(valid, axis=1) - right
        mapped = self._in_ram(pa, leaf)
        tables = np.ones(len(ptes))
        if level:
            numbers = self.frames.numbers(pa)
            kind = self._kinds[numbers]
            pointer = sound & ~is_leaf
            kind[pointer & (numbers == self.rows[part][:, None])] = EMPTY  # some roots map themselves, to reach tables
            kind *= pointer
            row, column = np.nonzero(kind == TABLE)
            below = self._row_of[numbers[row, column]]
            right = right + np.bincount(row, minlength=len(ptes))
            wrong = wrong - np.count_nonzero(kind, axis=1)
            wrong += np.count_nonzero((ptes != 0) & ~valid, axis=1)  # kernels swap pages out, not tables
            mapped = mapped + np.bincount(row, self.leaves[level - 1][below], minlength=len(ptes))
            tables += np.bincount(row, self.tables[level - 1][below], minlength=len(ptes))
        like = _enough(right, wrong)
        self.like[level][part] = like
        self.leaves[level][part] = np.where(like, mapped, 0)
        self.tables[level][part] = np.where(like, tables, 0)
        if level:
            self.child[below[like[row]]] = True

    def _may_be_upper(self, ptes: Words, pa: Words, sound: Bits, is_leaf: Bits) -> Bits:
        """Whether pointers, and leaves aligned as on level 1, are enough to make a table of a higher level."""
        aligned = pa & U64(self.fmt.page_bytes(1) - 1) == 0
        near = (pa >= U64(self.frames.low)) & (pa < U64(self.frames.high))
        most = np.count_nonzero(sound & np.where(is_leaf, aligned, near), axis=1)
        return _enough(most, np.count_nonzero(ptes, axis=1) - most)

    def _in_ram(self, pa: Words, leaf: Bits) -> npt.NDArray[Any]:
        """How many of the leaves of each page map RAM."""
        near = leaf & (pa >= U64(self.frames.low)) & (pa < U64(self.frames.high))
        if len(self.frames.memory.regions) > 1:
            row, column = np.nonzero(near)
            inside = self.frames.numbers(pa[row, column]) >= 0
            near[row[~inside], column[~inside]] = False
        count: npt.NDArray[Any] = np.count_nonzero(near, axis=1)
        return count

    def names(self, numbers: Index, offset: int) -> npt.NDArray[np.uint32]:
        """How many words of memory hold the address of each frame plus ``offset``, as a kernel's own pointers do."""
        wanted = np.zeros(self.frames.count, dtype=np.bool_)
        wanted[numbers] = True
        counts = np.zeros(self.frames.count, dtype=np.uint32)
        start, span = U64(self.frames.low + offset & (1 << 64) - 1), U64(self.frames.high - self.frames.low)
        for first, words in self.frames.chunks():
            if self.zero[first : first + len(words)].all():
                continue
            hits = words - start < span
            if hits.any():
                found = words[hits] - U64(offset & (1 << 64) - 1)
                held = self.frames.numbers(found[found & U64(PAGE_SIZE - 1) == 0])
                held = held[held >= 0]
                np.add.at(counts, held[wanted[held]], 1)
        return counts[numbers]


def _enough(right: Index, wrong: Index) -> Bits:
    """Whether a page with so many entries that make sense, and so many that do not, may be a table."""
    found: Bits = (right > wrong) & (wrong <= np.maximum(TOLERATED, (right + wrong) // SHARE))
    return found
