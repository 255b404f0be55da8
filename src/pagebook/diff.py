"""What changed between two machines, or one machine at two times: spaces, mappings, and whose each frame is.

Spaces are matched by pid, the others by name.  A and D bits, which hardware sets when it likes, are no change.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from pagebook.columns import Columns
from pagebook.ledger import NOBODY, Ledger, Role
from pagebook.machine import Space
from pagebook.memory import U64
from pagebook.scan import Rows, Scan, merge
from pagebook.shown import in_notebook
from pagebook.sv import A, D
from pagebook.units import PAGE_SHIFT

NO_ROLE = len(Role)  # of a frame that only the other machine has


class Moved(NamedTuple):
    """``size`` bytes of mappings at ``va``: they led to ``old_pa`` with ``old_flags``, now to ``pa`` with ``flags``."""

    va: int
    size: int
    old_pa: int
    pa: int
    old_flags: int
    flags: int


@dataclass(frozen=True)
class SpaceChange:
    """``came`` and ``went`` are rows of RUN; ``moved`` lead elsewhere, ``rights`` have other flags.

    ``old`` is None for a space that is new, ``new`` for one that is gone.
    """

    old: Space | None
    new: Space | None
    came: Rows
    went: Rows
    moved: list[Moved]
    rights: list[Moved]

    @property
    def space(self) -> Space:
        """The space as it is, or was."""
        found = self.new or self.old
        assert found is not None
        return found

    def __bool__(self) -> bool:
        """Whether anything changed."""
        old, new = self.old, self.new
        if old is None or new is None or (own_name(old), old.size) != (own_name(new), new.size):
            return True
        if old.table.root != new.table.root:
            return True
        return bool(len(self.came) or len(self.went) or self.moved or self.rights)


class Handed(NamedTuple):
    """``frames`` that were in one role with one owner and are in another now; ``first`` is the lowest.

    A role is None where the machine has no such frame; an owner is the name of a space, or nothing.
    """

    frames: int
    first: int
    old_role: Role | None
    old_owner: str
    role: Role | None
    owner: str


@dataclass(frozen=True)
class Difference:
    """Everything that differs; ``old`` and ``new`` are the ledgers of the two."""

    old: Ledger
    new: Ledger
    spaces: list[SpaceChange]
    frames: list[Handed]

    def __bool__(self) -> bool:
        return bool(self.spaces or self.frames)

    def __repr__(self) -> str:
        return f"<Difference: {len(self.spaces)} spaces and {sum(one.frames for one in self.frames)} frames changed>"

    _repr_html_ = in_notebook


def own_name(space: Space) -> str:
    """The name of a process without the pid that it has behind it while another has the same name."""
    return space.name if space.pid is None else space.name.removesuffix(f".{space.pid}")


def compare(old: Ledger, new: Ledger) -> Difference:
    """What is other in ``new`` than in ``old``."""
    return Difference(old, new, [change for change in _spaces(old, new) if change], list(_frames(old, new)))


def _key(space: Space) -> str | int:
    return space.name if space.pid is None else space.pid


def _spaces(old: Ledger, new: Ledger) -> Iterator[SpaceChange]:
    before = {_key(space): (space, found) for space, found in zip(old.machine.spaces, old.scans, strict=True)}
    after = {_key(space): (space, found) for space, found in zip(new.machine.spaces, new.scans, strict=True)}
    for key in dict.fromkeys([*before, *after]):
        was, had = before.get(key, (None, None))
        now, has = after.get(key, (None, None))
        yield _space(was, now, _mappings(had), _mappings(has))


def _mappings(found: Scan | None) -> Columns | None:
    return None if found is None else found.mappings


def _space(old: Space | None, new: Space | None, before: Columns | None, after: Columns | None) -> SpaceChange:
    was, now = _places(before), _places(after)
    at_old, at_new = _in_both(was, now)
    came, went = _runs(after, _others(len(now), at_new)), _runs(before, _others(len(was), at_old))
    moved: list[Moved] = []
    rights: list[Moved] = []
    if before is not None and after is not None:
        elsewhere = before["pa"][at_old] != after["pa"][at_new]
        flags = np.uint8(0xFF & ~(A | D))
        other = (before["flags"][at_old] ^ after["flags"][at_new]) & flags != 0
        moved = _moved(before, after, at_old[elsewhere], at_new[elsewhere])
        rights = _moved(before, after, at_old[other & ~elsewhere], at_new[other & ~elsewhere])
    return SpaceChange(old, new, came, went, moved, rights)


Indices = npt.NDArray[np.intp]


def _places(rows: Columns | None) -> npt.NDArray[np.uint64]:
    """Each mapping's va, with its level where va has its page offset: a page and a superpage there are two things."""
    if rows is None:
        return np.empty(0, dtype=U64)
    places: npt.NDArray[np.uint64] = rows["va"] + rows["level"].astype(U64)
    return places


def _in_both(old: npt.NDArray[np.uint64], new: npt.NDArray[np.uint64]) -> tuple[Indices, Indices]:
    """Where the values that two arrays have in common stand in each; no array has a value twice."""
    if np.array_equal(old, new):
        return np.arange(len(old)), np.arange(len(new))
    _, at_old, at_new = np.intersect1d(old, new, assume_unique=True, return_indices=True)
    return at_old, at_new


def _others(count: int, chosen: Indices) -> Indices:
    """The numbers below ``count`` that are not chosen."""
    rest = np.ones(count, dtype=np.bool_)
    rest[chosen] = False
    return np.flatnonzero(rest)


def _runs(rows: Columns | None, chosen: Indices) -> Rows:
    return merge(rows[chosen] if rows is not None else np.empty(0, [("va", "<u8")]))


def _moved(before: Columns, after: Columns, at_old: Indices, at_new: Indices) -> list[Moved]:
    """Pairs of mappings of one address, neighbours that differ in the same way as one."""
    if not len(at_old):
        return []
    va, size = after["va"][at_new], after["size"][at_new]
    pas = before["pa"][at_old], after["pa"][at_new]
    flags = before["flags"][at_old] & ~np.uint8(A | D), after["flags"][at_new] & ~np.uint8(A | D)
    breaks = np.ones(len(va), dtype=np.bool_)
    breaks[1:] = va[1:] != va[:-1] + size[:-1]
    for pa in pas:
        breaks[1:] |= pa[1:] != pa[:-1] + size[:-1]
    for bits in flags:
        breaks[1:] |= bits[1:] != bits[:-1]
    first = np.flatnonzero(breaks)
    columns = va[first], np.add.reduceat(size, first), *(one[first] for one in (*pas, *flags))
    return [Moved(*row) for row in zip(*(column.tolist() for column in columns), strict=True)]


def _frames(old: Ledger, new: Ledger) -> Iterator[Handed]:
    """The frames whose role or owner is another, in groups; the largest first."""
    named = {_key(space): _owner(space) for ledger in (old, new) for space in ledger.machine.spaces}
    keys, names = list(named), list(named.values())
    (pfns, was), (others, now) = (_codes(ledger, keys) for ledger in (old, new))
    every = pfns if np.array_equal(pfns, others) else np.union1d(pfns, others)
    both = []
    for some, codes in ((pfns, was), (others, now)):
        column = np.full(len(every), NO_ROLE * (len(names) + 1), dtype=np.int64)
        column[np.searchsorted(every, some)] = codes
        both.append(column)
    changed = np.flatnonzero(both[0] != both[1])
    span = (NO_ROLE + 1) * (len(names) + 1)
    pairs, first, counts = np.unique(both[0][changed] * span + both[1][changed], return_index=True, return_counts=True)
    for index in np.argsort(-counts, kind="stable").tolist():
        before, after = divmod(int(pairs[index]), span)
        pa = int(every[changed[first[index]]]) << PAGE_SHIFT
        yield Handed(int(counts[index]), pa, *_decoded(before, names), *_decoded(after, names))


def _owner(space: Space) -> str:
    return space.name if space.pid is None else f"{own_name(space)} (pid {space.pid})"


def _codes(ledger: Ledger, keys: list[str | int]) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.int64]]:
    """The numbers of all frames, and role and owner of each as one number."""
    frames = ledger.frames()
    code = np.array([0] + [keys.index(_key(space)) + 1 for space in ledger.machine.spaces], dtype=np.int64)
    return frames["pfn"], frames["role"].astype(np.int64) * (len(keys) + 1) + code[frames["owner"] - NOBODY]


def _decoded(code: int, names: list[str]) -> tuple[Role | None, str]:
    role, owner = divmod(code, len(names) + 1)
    return (None if role == NO_ROLE else Role(role)), (names[owner - 1] if owner else "")
