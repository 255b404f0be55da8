"""What changed, for people and for JSON: a block for each space that did, then which frames changed hands."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pagebook.diff import Difference, Handed, Moved, SpaceChange, own_name
from pagebook.ledger import Role
from pagebook.machine import Machine, Names, Space
from pagebook.scan import Rows
from pagebook.sv import A, D, flags_text
from pagebook.units import size_text
from pagebook.views.data import Json, document
from pagebook.views.text import Line, count_text

RIGHTS = "rwxug"
MOST_LINES = 40  # of one kind in one space; JSON has all


def text(found: Difference) -> Iterator[Line]:
    """What differs, or one line that nothing does."""
    old, new = found.old.machine, found.new.machine
    if not found:
        yield [("no difference", "title"), (f": {_both(old, new)}", "")]
        return
    yield [
        ("changed", "title"),
        (f": {count_text(len(found.spaces), 'space')}, {count_text(_handed(found), 'frame')}; {_both(old, new)}", ""),
    ]
    yield from changes(found)


def changes(found: Difference) -> Iterator[Line]:
    """The lines of what differs, without a heading."""
    for change in found.spaces:
        yield from _space(change)
    for handed in found.frames:
        yield [
            (f"  {count_text(handed.frames, 'frame')}", ""),
            (f": {_held(handed.old_role, handed.old_owner)} -> {_held(handed.role, handed.owner)}", ""),
            (f"  from {handed.first:#x}" if handed.frames > 1 else f"  {handed.first:#x}", "address"),
        ]


def _both(old: Machine, new: Machine) -> str:
    return old.name if old.name == new.name else f"{old.name} -> {new.name}"


def _handed(found: Difference) -> int:
    return sum(handed.frames for handed in found.frames)


def _held(role: Role | None, owner: str) -> str:
    """A role and an owner in words."""
    if role is None:
        return "no RAM"
    return f"{role.label} of {owner}" if owner else role.label


def _title(space: Space) -> str:
    return space.name if space.pid is None else f"{own_name(space)} (pid {space.pid})"


def _space(change: SpaceChange) -> Iterator[Line]:
    yield [(_title(change.space), "title"), (f": {', '.join(_what(change))}", "")]
    signs = (("+", change.came, change.new), ("-", change.went, change.old))
    for sign, rows, space in signs:
        if space is not None:
            yield from _runs(sign, rows, space)
    for sign, moved in (("~", change.moved), ("!", change.rights)):
        for one in moved[:MOST_LINES]:
            yield _moved(sign, one)
        if len(moved) > MOST_LINES:
            yield [(f"  {sign} and {len(moved) - MOST_LINES} more", "dim")]


def _what(change: SpaceChange) -> list[str]:
    """A space's change in words."""
    old, new = change.old, change.new
    if old is None or new is None:
        return ["new" if old is None else "gone", f"root {change.space.table.root:#x}"]
    words = []
    if own_name(old) != own_name(new):
        words.append(f"was {own_name(old)}: another program (exec)")
    if old.table.root != new.table.root:
        words.append(f"root {old.table.root:#x} -> {new.table.root:#x}")
    if old.size != new.size:
        words.append(f"size {old.size or 0:#x} -> {new.size or 0:#x}")
    counts = (
        (sum(change.came["pages"].tolist()), "came"),
        (sum(change.went["pages"].tolist()), "went"),
    )
    words += [f"{count_text(number, 'page')} {verb}" for number, verb in counts if number]
    words += ["pages moved"] * bool(change.moved) + ["rights changed"] * bool(change.rights)
    return words


def _runs(sign: str, rows: Rows, space: Space) -> Iterator[Line]:
    names = Names(space.areas)
    for number, (va, pa, size, flags, scattered, name) in enumerate(_neighbours(rows, names)):
        if number == MOST_LINES:
            yield [(f"  {sign} and more", "dim")]
            return
        yield [
            (f"  {sign} ", "title"),
            (f"{va:#x}-{va + size:#x}", "address"),
            (f" -> {'scattered from ' if scattered else ''}{pa:#x} {size_text(size)}", ""),
            (f" {flags_text(flags, RIGHTS)}", "rights"),
            (f"  {name}" if name else "", ""),
        ]


def _neighbours(rows: Rows, names: Names) -> Iterator[tuple[int, int, int, int, bool, str]]:
    """Runs that follow each other in va with the same rights and name as one, wherever they lead to."""
    start = None
    for va, pa, size, flags in rows[["va", "pa", "size", "flags"]].tolist():
        name = names.of(va, size)
        if start and va == start[0] + start[2] and (flags & ~(A | D), name) == (start[3], start[5]):
            start = (start[0], min(start[1], pa), start[2] + size, start[3], True, name)
            continue
        if start:
            yield start
        start = (va, pa, size, flags & ~(A | D), False, name)
    if start:
        yield start


def _moved(sign: str, one: Moved) -> Line:
    flags = flags_text(one.flags, RIGHTS)
    rights = flags if one.old_flags == one.flags else f"{flags_text(one.old_flags, RIGHTS)} -> {flags}"
    where = f"{one.pa:#x}" if one.old_pa == one.pa else f"{one.old_pa:#x} -> {one.pa:#x}"
    return [
        (f"  {sign} ", "title"),
        (f"{one.va:#x}-{one.va + one.size:#x}", "address"),
        (f" at {where} {size_text(one.size)}", ""),
        (f" {rights}", "rights"),
    ]


def data(found: Difference) -> Json:
    """The same as a document."""
    return document(
        "diff",
        old=found.old.machine.name,
        new=found.new.machine.name,
        spaces=[_space_data(change) for change in found.spaces],
        frames=[_handed_data(handed) for handed in found.frames],
    )


def _space_data(change: SpaceChange) -> dict[str, Any]:
    old, new = change.old, change.new
    return {
        "pid": change.space.pid,
        "old_name": old and old.name,
        "name": new and new.name,
        "old_root": old and hex(old.table.root),
        "root": new and hex(new.table.root),
        "old_size": _size(old),
        "size": _size(new),
        "came": _rows_data(change.came),
        "went": _rows_data(change.went),
        "moved": [_moved_data(one) for one in change.moved],
        "rights": [_moved_data(one) for one in change.rights],
    }


def _size(space: Space | None) -> str | None:
    return None if space is None or space.size is None else hex(space.size)


def _rows_data(rows: Rows) -> list[dict[str, Any]]:
    return [
        {"va": hex(va), "pa": hex(pa), "size": hex(size), "flags": flags_text(flags)}
        for va, pa, size, flags in rows[["va", "pa", "size", "flags"]].tolist()
    ]


def _moved_data(one: Moved) -> dict[str, Any]:
    return {
        "va": hex(one.va),
        "size": hex(one.size),
        "old_pa": hex(one.old_pa),
        "pa": hex(one.pa),
        "old_flags": flags_text(one.old_flags),
        "flags": flags_text(one.flags),
    }


def _handed_data(handed: Handed) -> dict[str, Any]:
    return {
        "frames": handed.frames,
        "first": hex(handed.first),
        "old_role": None if handed.old_role is None else handed.old_role.label,
        "old_owner": handed.old_owner or None,
        "role": None if handed.role is None else handed.role.label,
        "owner": handed.owner or None,
    }
