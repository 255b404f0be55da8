"""The book of memory: frames of RAM in cells of a power of two, however large the machine.

Frames are numbered through all regions, in order of address and without the holes.  The numbers of frames by role are
counted once for blocks of frames, so that a view of all of RAM adds up blocks and not frames.

A book may be folded: of each long run of free frames only the first ones are left, and a machine that has hardly begun
to use its memory is seen in large cells.  While a guest runs, what it gave back a moment ago is not folded yet.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from pagebook.errors import BadAddress
from pagebook.ledger import Ledger, Role
from pagebook.units import PAGE_SHIFT

BLOCK_SHIFT = 6  # frames of a block, as a power of two
MOST_CELLS = 1 << 14
SEVERAL = -2  # owners of one cell
ROLES = len(Role)
LEAST_FOLD_SHIFT = 8  # a fold begins and ends at multiples of this many frames at least, so that it seldom moves
FOLDS = 128  # into how many parts a large RAM is divided where folds begin and end
FOLD_PARTS = 4  # how many of them a fold has at least
SHOWN_SHIFT = 2  # a fold shows the frames of one part, divided by this power of two
RESTING = 60.0  # seconds that a part has to be free before it is folded, where it was seen in use


class Cells(NamedTuple):
    """Neighbouring cells of ``1 << shift`` frames from frame number ``first``; the last may be shorter.

    ``roles`` is the role that most frames of a cell have, the later one of equals; ``present`` has a bit for each role
    that any has; ``owners`` is their owner where all have the same one, else `SEVERAL`.
    """

    first: int
    shift: int
    roles: npt.NDArray[np.uint8]
    present: npt.NDArray[np.uint16]
    owners: npt.NDArray[np.int32]


class Part(NamedTuple):
    """``frames`` frames of a book from physical address ``base``, the first of the ``all`` that there are."""

    base: int
    frames: int
    all: int


class Book:
    """Frames, one after the other: their parts by address, and the role and the owner of each."""

    def __init__(self, parts: list[Part], role: npt.NDArray[np.uint8], owner: npt.NDArray[np.int32]) -> None:
        self.parts = parts
        self.role = role
        self.owner = owner
        self._counts = _counted(self.role, BLOCK_SHIFT)
        self._least, self._most = _extremes(self.owner, self.owner, BLOCK_SHIFT)

    @classmethod
    def of(cls, ledger: Ledger) -> Book:
        """The book of every frame of a ledger."""
        parts = [Part(holding.region.base, len(holding), len(holding)) for holding in ledger.holdings]
        role = _joined([holding.role for holding in ledger.holdings])
        return cls(parts, role, _joined([holding.owner for holding in ledger.holdings]))

    def __len__(self) -> int:
        return len(self.role)

    def number(self, pa: int) -> int | None:
        """The number of the frame that holds ``pa``; None where there is no RAM, or it is folded away."""
        before = 0
        for base, frames, _ in self.parts:
            if base <= pa < base + (frames << PAGE_SHIFT):
                return before + (pa - base >> PAGE_SHIFT)
            before += frames
        return None

    def parts_of(self, *roles: Role) -> npt.NDArray[np.bool_]:
        """Of each whole part of RAM, in order of address, whether all of its frames have one of these roles."""
        shift = self._part_shift
        found = []
        for role in self._roles():
            whole = role[: len(role) >> shift << shift].reshape(-1, 1 << shift)
            found.append(np.logical_or.reduce([whole == one for one in roles]).all(axis=1))
        return np.concatenate(found or [np.empty(0, np.bool_)])

    def folded(self, foldable: npt.NDArray[np.bool_] | None = None) -> Book:
        """The book without most of its free frames, where many follow each other; itself where none do.

        ``foldable`` says of each part, as `parts_of`, whether it may be folded; without it all may that are free.
        """
        shift = self._part_shift
        foldable = self.parts_of(Role.FREE) if foldable is None else foldable
        parts: list[Part] = []
        kept: list[slice] = []
        before = done = 0
        for base, frames, _ in self.parts:
            at = 0
            for start, stop in _long_runs(foldable[done : done + (frames >> shift)], shift):
                shown = 1 << shift - SHOWN_SHIFT
                parts += [Part(base + (at << PAGE_SHIFT), start - at, start - at)] if start > at else []
                parts.append(Part(base + (start << PAGE_SHIFT), shown, stop - start))
                kept.append(slice(before + at, before + start + shown))
                at = stop
            if at < frames:
                parts.append(Part(base + (at << PAGE_SHIFT), frames - at, frames - at))
                kept.append(slice(before + at, before + frames))
            before += frames
            done += frames >> shift
        if parts == self.parts:
            return self
        return Book(parts, _joined([self.role[one] for one in kept]), _joined([self.owner[one] for one in kept]))

    @property
    def _part_shift(self) -> int:
        """The frames of a part of RAM, as a power of two; folds begin and end where parts do."""
        return max(LEAST_FOLD_SHIFT, (len(self) // FOLDS).bit_length() - 1)

    def _roles(self) -> Iterator[npt.NDArray[np.uint8]]:
        """The roles of the frames of each part of the book."""
        before = 0
        for part in self.parts:
            yield self.role[before : before + part.frames]
            before += part.frames

    def cells(self, first: int, stop: int, most: int) -> Cells:
        """The frames [first, stop) in at most ``most`` cells, each as small as that allows, the first one aligned.

        What lies behind the last frame counts as if it were there, so that a view past the end has cells of one size.
        BadAddress when there is no such range, or more than `MOST_CELLS` are asked for.
        """
        if not 0 <= first < stop or first >= len(self):
            raise BadAddress(f"frames {first} to {stop} are no range of this machine's {len(self)} frames")
        if not 1 <= most <= MOST_CELLS:
            raise BadAddress(f"{most} cells: ask for 1 to {MOST_CELLS}")
        shift = 0
        while (stop - 1 >> shift) - (first >> shift) >= most:
            shift += 1
        first = first >> shift << shift
        stop = min((stop - 1 >> shift) + 1 << shift, len(self))
        counts, least, most_owner = self._in_cells(first, stop, shift)
        roles = (ROLES - 1 - counts[:, ::-1].argmax(axis=1)).astype(np.uint8)
        present = ((counts > 0) @ (1 << np.arange(ROLES))).astype(np.uint16)
        return Cells(first, shift, roles, present, np.where(least == most_owner, least, SEVERAL).astype(np.int32))

    def _in_cells(
        self, first: int, stop: int, shift: int
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int32], npt.NDArray[np.int32]]:
        """For each cell how many frames have each role, and the least and the greatest owner."""
        if shift < BLOCK_SHIFT:
            owner = self.owner[first:stop]
            return _counted(self.role[first:stop], shift), *_extremes(owner, owner, shift)
        low, high = first >> BLOCK_SHIFT, (stop - 1 >> BLOCK_SHIFT) + 1
        starts = np.arange(0, high - low, 1 << shift - BLOCK_SHIFT)
        counts: npt.NDArray[np.int64] = np.add.reduceat(self._counts[low:high], starts, axis=0)
        return counts, *_extremes(self._least[low:high], self._most[low:high], shift - BLOCK_SHIFT)


class Folding:
    """How the books of one machine are folded, look by look: what was in use a moment ago is left unfolded.

    So a book that is looked at grows when its machine takes memory, and does not change its size at every look.
    """

    def __init__(self) -> None:
        self._used: npt.NDArray[np.float64] = np.empty(0)  # when each part was last seen in use
        self._base: list[int] = []

    def fold(self, book: Book, now: float) -> Book:
        """The book as it is ``now``, in seconds of a clock that never goes back, folded."""
        free, used = book.parts_of(Role.FREE), ~book.parts_of(Role.FREE, Role.UNKNOWN)
        bases = [part.base for part in book.parts]
        if len(self._used) != len(free) or self._base != bases:
            self._used, self._base = np.where(used, now, -np.inf), bases
        self._used[used] = now
        return book.folded(free & (now - self._used >= RESTING))


def _long_runs(foldable: npt.NDArray[np.bool_], shift: int) -> list[tuple[int, int]]:
    """The frames [start, stop) of runs of at least `FOLD_PARTS` such parts of ``1 << shift`` frames."""
    edges = np.flatnonzero(np.diff(foldable, prepend=False, append=False)).reshape(-1, 2)
    return [(int(start) << shift, int(stop) << shift) for start, stop in edges if stop - start >= FOLD_PARTS]


def _joined(parts: list[npt.NDArray[Any]]) -> npt.NDArray[Any]:
    """One array of several; the only one as it is."""
    return parts[0] if len(parts) == 1 else np.concatenate(parts or [np.empty(0, np.int32)])


def _counted(role: npt.NDArray[np.uint8], shift: int) -> npt.NDArray[np.int64]:
    """How many frames of each cell have each role, of shape (cells, roles)."""
    cells = (len(role) + (1 << shift) - 1) >> shift
    key = (np.arange(len(role)) >> shift) * ROLES + role
    counts: npt.NDArray[np.int64] = np.bincount(key, minlength=cells * ROLES).reshape(cells, ROLES)
    return counts


def _extremes(
    least: npt.NDArray[np.int32], most: npt.NDArray[np.int32], shift: int
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
    """The least of ``least`` and the greatest of ``most`` in each cell."""
    starts = np.arange(0, len(least), 1 << shift)
    if not len(starts):
        return least, most
    return np.minimum.reduceat(least, starts), np.maximum.reduceat(most, starts)
