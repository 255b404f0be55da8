"""Whose each frame is, for people and for JSON: runs of frames with one owner, and who maps a frame."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from pagebook.columns import Columns, Tabled
from pagebook.errors import BadTarget
from pagebook.ledger import NOBODY, Ledger, Role, Use, frame_words
from pagebook.machine import Machine, Names
from pagebook.shown import in_notebook, plain
from pagebook.sv import flags_text
from pagebook.units import PAGE_MASK, PAGE_SHIFT, page_up, size_text
from pagebook.views.data import Json, document
from pagebook.views.text import RIGHTS, Line, count_text

MOST_RUNS = 1 << 20
MOST_USES = 1 << 12  # of one frame or range; a hostile table leads to one frame millions of times


class Owned(NamedTuple):
    """Neighbouring frames with one role, one owner and one number of uses: ``frames`` of them from ``pa``.

    ``owner`` is the name of an address space, or nothing; ``level`` is that of page tables, None for all else; ``refs``
    counts the mappings of processes that lead to each.
    """

    pa: int
    frames: int
    role: Role
    owner: str
    level: int | None
    refs: int


OWNED = np.dtype([("pa", "<u8"), ("frames", "<u8"), ("role", "u1"), ("owner", "<i4"), ("level", "u1"), ("refs", "<u4")])
"""A row of the owners table: as `Owned`, with the place of the owner among the machine's spaces, or NOBODY."""


@dataclass(frozen=True)
class Owners(Tabled):
    """What was asked for: all frames by role, the runs in the range, and who maps it when it is not all of RAM."""

    ledger: Ledger
    start: int
    stop: int
    runs: list[Owned]
    uses: list[Use] | None
    more_uses: bool

    @property
    def machine(self) -> Machine:
        """The machine whose frames these are."""
        return self.ledger.machine

    def __repr__(self) -> str:
        return f"<Owners: {count_text(len(self.runs), 'run')} of frames of {plain(self.machine.name)}>"

    _repr_html_ = in_notebook

    def table(self) -> Columns:
        """The runs as rows of OWNED."""
        names = [space.name for space in self.machine.spaces]
        places = {"": NOBODY, **{name: place for place, name in reversed(list(enumerate(names)))}}
        rows = [(*run[:3], places[run.owner], run.level or 0, run.refs) for run in self.runs]
        columns = list(zip(*rows, strict=True)) or [()] * len(OWNED.names or ())
        made = [np.array(column, OWNED[name]) for name, column in zip(OWNED.names or (), columns, strict=True)]
        return Columns(OWNED, len(rows), made, frame_words(names), {"level": made[2] != Role.PAGE_TABLE})


def owners(ledger: Ledger, asked: tuple[int, int] | None) -> Owners:
    """The frames of a machine, or those that the physical range [start, stop) touches, and who maps them.

    A number that is no address in RAM is a frame's number when that frame is in RAM.  BadTarget when no frame and no
    mapping is there.
    """
    machine = ledger.machine
    start, stop = (0, 1 << 64) if asked is None else _frames_meant(machine, *asked)
    runs = list(_runs(ledger, start, stop))
    if asked is None:
        return Owners(ledger, start, stop, runs, None, False)
    uses = []
    for use in ledger.uses(start, stop):
        uses.append(use)
        if len(uses) > MOST_USES:
            break
    if not runs and not uses:
        where = ", ".join(f"{r.base:#x}-{r.end:#x}" for r in machine.memory.regions) or "no address at all"
        raise BadTarget(f"{asked[0]:#x} is no address of this machine's RAM, which has {where}, and nothing maps it")
    return Owners(ledger, start, stop, runs, uses[:MOST_USES], len(uses) > MOST_USES)


def _frames_meant(machine: Machine, start: int, stop: int) -> tuple[int, int]:
    """Whole frames as physical addresses: what was given as frame numbers is not in RAM, and in it times 4096."""
    if start not in machine.memory and start << PAGE_SHIFT in machine.memory:
        return start << PAGE_SHIFT, stop << PAGE_SHIFT
    return start & ~PAGE_MASK, page_up(stop)


def _runs(ledger: Ledger, start: int, stop: int) -> Iterator[Owned]:
    names = [space.name for space in ledger.machine.spaces]
    for holding in ledger.holdings:
        base = holding.region.base
        first = min(max(start - base >> PAGE_SHIFT, 0), len(holding))
        last = min(max(stop - base >> PAGE_SHIFT, 0), len(holding))
        columns = [getattr(holding, name)[first:last] for name in ("role", "owner", "level", "refs")]
        if first >= last:
            continue
        breaks = np.zeros(last - first, dtype=np.bool_)
        breaks[0] = True
        for column in columns:
            breaks[1:] |= column[1:] != column[:-1]
        at = np.flatnonzero(breaks)
        if len(at) > MOST_RUNS:
            raise BadTarget(
                f"{len(at)} runs of frames are to be shown, more than {MOST_RUNS}; ask for a part: owners START-END"
            )
        counts = np.diff(np.append(at, last - first)).tolist()
        rows = zip(*(column[at].tolist() for column in columns), strict=True)
        for index, count, (role, owner, level, refs) in zip(at.tolist(), counts, rows, strict=True):
            yield Owned(
                base + (first + index << PAGE_SHIFT),
                count,
                Role(role),
                "" if owner == NOBODY else names[owner],
                level if role == Role.PAGE_TABLE else None,
                refs,
            )


def text(found: Owners) -> Iterator[Line]:
    """The frames by role and by space, then a line for each run; for a part of RAM the runs and who maps it."""
    if found.uses is None:
        yield from _sums(found.ledger)
    width = max((len(f"{run.pa + (run.frames << PAGE_SHIFT):x}") for run in found.runs), default=1)
    for run in found.runs:
        end = run.pa + (run.frames << PAGE_SHIFT)
        yield [
            (f"  0x{run.pa:0{width}x}-0x{end:0{width}x}", "address"),
            (f" {run.frames:>8} {'frame ' if run.frames == 1 else 'frames'}", ""),
            (f"  {run.role.label}", "bad" if run.role is Role.UNKNOWN else ""),
            (f"  {whose(found.machine, run)}" if run.owner or run.refs else "", ""),
        ]
    if found.uses is not None:
        yield from who_maps(found)


def _sums(ledger: Ledger) -> Iterator[Line]:
    counts = ledger.counts()
    total = sum(counts.values())
    yield [("frames", "title"), (f": {total} of RAM ({size_text(total << PAGE_SHIFT)}), each in one role", "")]
    for role in sorted(counts, key=lambda role: -counts[role]):
        if counts[role]:
            yield [(f"  {counts[role]:>8}", ""), (f"  {role.label}", "bad" if role is Role.UNKNOWN else "")]
    for name, error in ledger.refused.items():
        yield [(f"  {name}: {error}", "bad")]
    for chain in ledger.chains:
        if chain.broken:
            unread = ", or it goes on where memory was not read" * ((chain.broken.pa or 0) not in ledger.machine.memory)
            yield [(f"  {chain.broken}{unread}", "bad")]


def whose(machine: Machine, run: Owned) -> str:
    """The owner of a run in a few words: the space, the level of a table, how often it is mapped."""
    words = [run.owner] if run.owner else []
    if run.level is not None:
        top = machine.space(run.owner).table.format.levels - 1 if run.owner else -1
        words.append("root" if run.level == top else f"level {run.level}")
    if run.refs > 1 or run.role is Role.SHARED:
        words.append(f"mapped {run.refs} times")
    return ", ".join(words)


def who_maps(found: Owners) -> Iterator[Line]:
    """A line for each mapping that leads to the frames."""
    if not found.runs:
        device = any(one.start < found.stop and found.start < one.stop for one in found.machine.memory.devices)
        yield [(f"  {found.start:#x}", "address"), (f": no RAM, {'a device' if device else 'and no device known'}", "")]
    uses = found.uses or []
    if not uses:
        yield [("  no address space maps it", "")]
        return
    yield [
        ("mapped by", "title"),
        (f": {count_text(len(uses), 'mapping')}{' and more' if found.more_uses else ''}", ""),
    ]
    spaces = max(len(use.space.name) for use in uses)
    for use in uses:
        name = Names(use.space.areas).of(use.va, use.size)
        yield [
            (f"  {use.space.name:<{spaces}}", ""),
            (f"  {use.va:#x}", "address"),
            (f" {size_text(use.size)}", ""),
            (f"  {flags_text(use.flags, RIGHTS)}", "rights"),
            (f"  level-{use.level} PTE {use.pte:#x} at {use.pte_pa:#x}", ""),
            (f"  {name}" if name else "", ""),
        ]


def data(found: Owners) -> Json:
    """The same as a document."""
    return document(
        "owners",
        machine=found.machine.name,
        frames={role.label: count for role, count in found.ledger.counts().items()},
        runs=[
            {
                "pa": hex(run.pa),
                "frames": run.frames,
                "role": run.role.label,
                "owner": run.owner or None,
                "level": run.level,
                "refs": run.refs,
            }
            for run in found.runs
        ],
        uses=None if found.uses is None else [_use(use) for use in found.uses],
        more_uses=found.more_uses,
    )


def _use(use: Use) -> dict[str, Any]:
    return {
        "space": use.space.name,
        "va": hex(use.va),
        "pa": hex(use.pa),
        "size": hex(use.size),
        "level": use.level,
        "flags": flags_text(use.flags),
        "pte": hex(use.pte),
        "pte_pa": hex(use.pte_pa),
    }
