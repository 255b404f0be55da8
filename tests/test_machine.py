"""Machine: its spaces by name, its free list, and the note that a saved machine is."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pagebook.errors import BadAddress, BadFile, BadTarget, OutsideMemory, PagebookError
from pagebook.machine import NOTE_VERSION, Area, Counts, Doubt, Hart, Machine, Pool, Space, from_note, to_note
from pagebook.memory import Memory
from pagebook.sv import SV32, SV39, SV48, SV57
from pagebook.table import AddressSpace
from worlds import BASE, PAGE, World

WORLD = World(pages=16)
ROOT = WORLD.table.root


def full() -> Machine:
    """A machine with something in every field."""
    return Machine(
        name="a machine",
        memory=WORLD.memory.with_devices([range(0x1000_0000, 0x1000_1000)]),
        spaces=(
            Space("kernel", WORLD.table, (Area(0x3FFFFFD000, PAGE, "stack of 0"),)),
            Space("init", AddressSpace(WORLD.memory, BASE, SV48), (Area(0, PAGE, "code"),), 1, 0x4000, {"main": 0}),
            Space("sh", AddressSpace(WORLD.memory, BASE, SV57), (), pid=2, size=0),
            Space("32", AddressSpace(WORLD.memory, BASE, SV32), (), pid=77, state="run"),
        ),
        harts=(Hart(0, SV39.satp(ROOT)), Hart(1, None, "S", (BASE, 1))),
        symbols={"end": BASE + 8, "etext": (1 << 64) - 1},
        areas=(Area(BASE, PAGE, "kernel image"),),
        pools=(Pool("free", WORLD.frames.head), Pool("large", 0, 2 << 20)),
        free_range=(BASE, BASE + 16 * PAGE),
        counts=Counts("refs", BASE + PAGE, 1, 16, BASE, 4),
        guest="xv6",
        doubts=(Doubt("state", 2, BASE + 8, "process 2 has state 99"),),
    )


BARE = Machine("bare", WORLD.memory, ())


def parts(machine: Machine) -> tuple:
    """All that a machine says, with its tables as root and format."""
    spaces = tuple(
        (s.name, s.table.root, s.table.format, s.areas, s.pid, s.size, dict(s.symbols), s.state) for s in machine.spaces
    )
    return (
        machine.name, spaces, machine.harts, dict(machine.symbols), machine.areas, machine.pools,
        machine.free_range, machine.counts, machine.guest, machine.doubts,
    )  # fmt: skip


@pytest.mark.parametrize(
    "machine", [full(), BARE, Machine("empty list", WORLD.memory, (), pools=(), free_range=(BASE, BASE))]
)
def test_a_machine_comes_back_from_its_note_through_json_with_nothing_lost(machine: Machine):
    again = from_note(json.loads(json.dumps(to_note(machine))), machine.memory)
    assert parts(again) == parts(machine)
    assert to_note(again) == to_note(machine)
    assert again.memory.regions == machine.memory.regions
    assert again.memory.devices == machine.memory.devices


def test_the_note_is_the_plain_data_that_is_promised():
    note = to_note(full())
    assert note["version"] == NOTE_VERSION == 2
    assert set(note) == {
        "version", "name", "spaces", "harts", "symbols", "areas", "devices", "pools", "free_range", "counts",
        "guest", "doubts",
    }  # fmt: skip
    assert note["spaces"][1] == {
        "name": "init", "format": "sv48", "root": BASE, "pid": 1, "size": 0x4000, "areas": [[0, PAGE, "code"]],
        "symbols": {"main": 0}, "state": None,
    }  # fmt: skip
    assert (note["harts"], note["free_range"]) == (
        [[0, SV39.satp(ROOT), None, []], [1, None, "S", [BASE, 1]]],
        [BASE, BASE + 16 * PAGE],
    )
    assert to_note(BARE)["free_range"] is None


@pytest.mark.parametrize(
    ("note", "version"),
    [(None, "None"), ([], "None"), ("note", "None"), ({}, "None"), ({"version": 1}, "1"), ({"version": "1"}, "'1'")],
)
def test_a_note_of_another_version_or_no_note_at_all_is_refused(note: Any, version: str):
    with pytest.raises(BadFile) as caught:
        from_note(note, WORLD.memory)
    assert str(caught.value) == (
        f"the note of this saved machine has version {version}; this pagebook reads version 2: save it anew"
    )


@pytest.mark.parametrize(
    ("path", "value", "reason"),
    [
        (("name",), 7, "TypeError: 7 is no text"),
        (("spaces", 0, "root"), "x", "TypeError: 'x' is no address"),
        (("spaces", 0, "root"), True, "TypeError: True is no address"),
        (("spaces", 0, "root"), -4096, "TypeError: -4096 is no address"),
        (("spaces", 0, "root"), 1 << 64, "TypeError: 18446744073709551616 is no address"),
        (("spaces", 0, "root"), None, "TypeError: None is no address"),
        (("spaces", 0, "format"), "sv64", "KeyError: 'sv64'"),
        (("free_range",), [BASE + PAGE, BASE], "ValueError: the free range ends at 0x80000000, before it starts"),
        (("free_range",), [1, 2, 3], "ValueError: too many values to unpack (expected 2)"),
        (("symbols",), [], "AttributeError: 'list' object has no attribute 'items'"),
        (("symbols", "end"), 1.5, "TypeError: 1.5 is no address"),
        (
            ("harts", 0),
            [1],
            "ValueError: not enough values to unpack (expected 4, got 1)",
        ),
        (("pools", 0), ["free", 0, 5], "ValueError: frames of 5 bytes"),
        (("pools", 1, 2), 1 << 50, "ValueError: frames of 1125899906842624 bytes"),
        (("pools", 1, 2), 3 << 20, "ValueError: frames of 3145728 bytes"),
        (("pools", 1, 0), 1, "TypeError: 1 is no text"),
        (("counts", 2), 3, "ValueError: counts of 3 bytes"),
        (("counts", 5), 8192, "ValueError: counts 8192 bytes apart"),
        (("counts", 5), -4, "TypeError: -4 is no address"),
        (("guest",), None, "TypeError: None is no text"),
        (("areas", 0, 2), None, "TypeError: None is no text"),
        (("devices",), [[1]], "ValueError: not enough values to unpack (expected 2, got 1)"),
        (("devices",), [[-1, 5]], "TypeError: -1 is no address"),
        (("devices",), [[1, 1 << 56]], "ValueError: a device ends at 0x100000000000001, where no physical address is"),
        (("spaces", 1, "symbols"), {"main": -1}, "TypeError: -1 is no address"),
    ],
)
def test_a_damaged_note_is_refused_with_what_is_wrong(path: tuple, value: Any, reason: str):
    note = to_note(full())
    inner: Any = note
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    with pytest.raises(BadFile) as caught:
        from_note(json.loads(json.dumps(note)), WORLD.memory)
    assert str(caught.value) == f"the note of this saved machine is damaged: {reason}"


def test_a_note_over_another_memory_says_what_is_outside_it():
    small = Memory.anonymous(PAGE, BASE)
    note = to_note(full())
    with pytest.raises(OutsideMemory):
        from_note(note, small)
    note["spaces"] = []
    with pytest.raises(OutsideMemory):
        from_note(note, small)
    note["free_range"] = note["counts"] = None
    assert from_note(note, small).free_lists() == []
    with pytest.raises(BadAddress):
        from_note({**note, "spaces": [{**to_note(full())["spaces"][0], "root": BASE + 8}]}, small)


def places(value: Any, path: tuple = ()) -> list[tuple]:
    """The path to every value within a note."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(found for key, child in inner for found in places(child, (*path, key)))]


NOTE = to_note(full())
PLACES = places(NOTE)[1:]
JUNK = st.one_of(
    st.none(), st.booleans(), st.integers(-(1 << 70), 1 << 70), st.floats(), st.text(max_size=3), st.just([]),
    st.just({}), st.lists(st.integers(), max_size=3), st.sampled_from([BASE, 1 << 64, "sv39", PAGE, (1 << 64) - PAGE]),
)  # fmt: skip


@settings(max_examples=400)
@given(
    st.lists(
        st.tuples(st.sampled_from(PLACES), st.one_of(st.just("delete"), JUNK.map(lambda junk: (junk,)))),
        min_size=1,
        max_size=3,
    )
)
def test_a_note_with_anything_deleted_or_replaced_is_a_machine_or_a_pagebook_error(changes: list[tuple[tuple, Any]]):
    note = copy.deepcopy(NOTE)
    for path, change in changes:
        inner: Any = note
        try:
            for key in path[:-1]:
                inner = inner[key]
            if change == "delete":
                del inner[path[-1]]
            else:
                inner[path[-1]] = change[0]
        except (KeyError, IndexError, TypeError):
            continue  # an earlier change removed the place of this one
    try:
        machine = from_note(note, WORLD.memory)
        machine.free_lists()
    except PagebookError:
        return
    assert from_note(to_note(machine), WORLD.memory).name == machine.name


def test_a_space_is_found_by_its_name_or_its_pid():
    machine = full()
    assert machine.space("init") is machine.space("1") is machine.spaces[1]
    assert machine.space("kernel") is machine.spaces[0]
    assert machine.space("32") is machine.spaces[3]
    root = machine.spaces[1].table.root
    assert machine.space(hex(root)) is next(one for one in machine.spaces if one.table.root == root)


def test_without_a_name_the_kernel_s_space_is_meant_or_else_the_first():
    machine = full()
    assert machine.space(None) is machine.spaces[0]
    assert replace(machine, spaces=machine.spaces[1:]).space(None) is machine.spaces[1]
    with pytest.raises(BadTarget, match="bare has no address space 'kernel'; it has none at all"):
        BARE.space(None)


@pytest.mark.parametrize("name", ["None", "", "3", "Kernel", "01"])
def test_a_space_that_is_not_there_is_refused_with_the_names_there_are(name: str):
    with pytest.raises(BadTarget) as caught:
        full().space(name)
    assert str(caught.value) == f"a machine has no address space {name!r}; it has kernel, init, sh, 32"
    with pytest.raises(BadTarget) as caught:
        BARE.space(name)
    assert str(caught.value) == f"bare has no address space {name!r}; it has none at all"


def test_the_free_lists_of_a_machine_are_read_from_its_memory():
    small, large = full().free_lists()
    assert small.frames.tolist() == WORLD.frames.frames().tolist()
    assert len(small.frames) == 15
    assert (small.broken, large.broken, len(large.frames)) == (None, None, 0)
    assert BARE.free_lists() == []
    assert Machine("half", WORLD.memory, (), pools=(Pool("free", BASE),)).free_lists() == []
    assert Machine("half", WORLD.memory, (), free_range=(BASE, BASE + PAGE)).free_lists() == []


@pytest.mark.parametrize(("width", "stride"), [(1, 0), (4, 0), (4, 24), (8, 9)])
def test_counts_are_read_side_by_side_or_as_parts_of_records(width: int, stride: int):
    memory = Memory.anonymous(PAGE, BASE)
    for number in range(10):
        memory.write(BASE + 100 + number * (stride or width), (number + 3).to_bytes(width, "little"))
    counts = Counts("refs", BASE + 100, width, 10, BASE, stride)
    assert counts.values(memory, 99).tolist() == list(range(3, 13))
    assert counts.values(memory, 4).tolist() == [3, 4, 5, 6]
    assert Counts("none", BASE, width, 0, BASE, stride).values(memory, 4).tolist() == []
