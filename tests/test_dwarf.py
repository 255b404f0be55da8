"""Layouts out of DWARF: types as C declares them, and that bad information is BadFile and nothing else."""

from __future__ import annotations

import io
from typing import Any

import pytest
from elftools.elf.elffile import ELFFile
from hypothesis import given
from hypothesis import strategies as st

import dwarves as dw
from elves import build_elf
from pagebook.errors import BadFile
from pagebook.guests.dwarf import Array, Layouts, Number, Opaque, Pointer, Struct, read_layouts

UINT64 = dw.base("unsigned long", 8)
INT = dw.base("int", 4, 5)
CHAR = dw.base("char", 1, 8)


def layouts(*dies: dw.Die, **options: Any) -> Layouts:
    found = read(build_elf([], symbols={"x": 1}, sections=dw.sections(dies, **options)))
    assert found is not None
    return found


def read(data: bytes) -> Layouts | None:
    return read_layouts(ELFFile(io.BytesIO(data)), "kernel")


def test_a_file_without_debugging_information_has_no_layouts():
    assert read(build_elf([], symbols={"x": 1})) is None


def test_a_variable_has_its_address_its_type_and_its_typedef():
    found = layouts(INT, word := dw.typedef("uint", INT), dw.variable("ticks", word, 0x8000_1000))
    (ticks,) = found.variables
    assert (ticks.name, ticks.address, ticks.type, ticks.alias) == ("ticks", 0x8000_1000, Number(4, True), "uint")
    assert found.variable("ticks") is ticks
    assert found.variable("tocks") is None


def test_addresses_in_a_table_of_their_own_are_found_there():
    found = layouts(INT, dw.indexed("a", INT, 1), dw.indexed("b", INT, 0), version=5, addresses=[0x8000, 0x9000])
    assert [(v.name, v.address) for v in found.variables] == [("a", 0x9000), ("b", 0x8000)]


def test_a_variable_that_is_only_declared_is_none():
    declared = dw.Die(
        dw.VARIABLE, [(dw.NAME, dw.STRP, "elsewhere"), (dw.TYPE, dw.REF4, INT), (dw.DECLARATION, dw.FLAG, 1)]
    )
    assert layouts(INT, declared).variables == ()


def test_a_definition_takes_name_and_type_from_the_declaration_it_completes():
    declared = dw.Die(dw.VARIABLE, [(dw.NAME, dw.STRP, "cpus"), (dw.TYPE, dw.REF4, INT), (dw.DECLARATION, dw.FLAG, 1)])
    location = b"\x03" + (0x8001_0000).to_bytes(8, "little")
    defined = dw.Die(dw.VARIABLE, [(dw.SPECIFICATION, dw.REF4, declared), (dw.LOCATION, dw.BLOCK1, location)])
    (cpus,) = layouts(INT, declared, defined).variables
    assert (cpus.name, cpus.address, cpus.type) == ("cpus", 0x8001_0000, Number(4, True))


@pytest.mark.parametrize("expression", [False, True], ids=["numbers", "expressions"])
@pytest.mark.parametrize("siblings", [False, True], ids=["counted", "skipped"])
def test_a_struct_has_its_members_where_c_puts_them(expression, siblings):
    name = dw.array(CHAR, 16)
    inner = dw.structure("spinlock", 8, [dw.member("locked", INT, 0, expression=expression)])
    outer = dw.structure(
        "proc",
        0x1A8,
        [dw.member("lock", inner, 0, expression=expression), dw.member("name", name, 400, expression=expression)],
    )
    function = dw.Die(
        dw.SUBPROGRAM, [(dw.NAME, dw.STRING, "f")], [dw.variable("inside", INT, 0x10), dw.structure("not_me", 8, [])]
    )
    found = layouts(
        INT,
        CHAR,
        name,
        function,
        inner,
        outer,
        dw.variable("one", outer, 0x8000),
        siblings=siblings,
        version=2 if expression else 4,
    )
    (one,) = found.variables
    assert isinstance(one.type, Struct)
    assert (one.type.name, one.type.size) == ("proc", 0x1A8)
    assert {n: (m.offset, m.type.size) for n, m in one.type.members.items()} == {"lock": (0, 8), "name": (400, 16)}


def test_pointers_to_structs_go_by_name_so_that_a_list_is_no_endless_type():
    run = dw.structure("run", 8, [])
    link = dw.pointer(run)
    run.children.append(dw.member("next", link, 0))
    found = layouts(run, link, dw.variable("head", link, 0x8000))
    head = found.variables[0].type
    assert head == Pointer("run")
    assert found.target(Pointer("run")) is found.structs["run"]
    assert found.structs["run"].members["next"].type == Pointer("run")
    assert found.target(Pointer("stranger")) == Opaque()


def test_pointers_to_numbers_and_to_unnamed_structs_know_their_target():
    record = dw.structure("", 8, [dw.member("count", INT, 0)])
    to_record, to_int, to_void = dw.pointer(record), dw.pointer(INT), dw.pointer()
    found = layouts(
        INT, record, to_record, to_int, to_void,
        dw.variable("records", to_record, 8), dw.variable("ints", to_int, 16), dw.variable("anything", to_void, 24),
    )  # fmt: skip
    records, ints, anything = (v.type for v in found.variables)
    assert isinstance(records, Pointer) and isinstance(records.target, Struct) and "count" in records.target.members
    assert ints == Pointer(Number(4, True))
    assert anything == Pointer(Opaque())


def test_arrays_have_their_dimensions_and_one_of_unknown_length_has_none():
    open_ended = dw.Die(dw.ARRAY, [(dw.TYPE, dw.REF4, INT)], [dw.Die(dw.SUBRANGE)])
    counted = dw.Die(dw.ARRAY, [(dw.TYPE, dw.REF4, INT)], [dw.Die(dw.SUBRANGE, [(dw.COUNT, dw.DATA4, 5)])])
    matrix = dw.array(INT, 3, 7)
    empty = dw.array(INT, 0)
    kinds = [open_ended, counted, matrix, empty]
    found = layouts(INT, *kinds, *(dw.variable(f"v{i}", kind, 8) for i, kind in enumerate(kinds)))
    integer = Number(4, True)
    assert [v.type for v in found.variables] == [
        Array(integer, 0), Array(integer, 5), Array(Array(integer, 7), 3), Array(integer, 0),
    ]  # fmt: skip
    assert found.variables[2].type.size == 84


def test_an_enumeration_has_its_names_and_const_and_volatile_change_nothing():
    states = dw.enumeration({0: "UNUSED", 1: "USED", -1: "BROKEN"})
    kept = dw.typedef("", dw.typedef("", states, dw.VOLATILE), dw.CONST)
    volatile = kept.attributes[1][2]
    found = layouts(states, volatile, kept, dw.variable("state", kept, 8))
    assert found.variables[0].type == Number(4, names={0: "UNUSED", 1: "USED", -1: "BROKEN"})


def test_unions_unnamed_members_and_bit_fields():
    inner = dw.structure("", 16, [dw.member("a", INT, 0), dw.member("b", INT, 8)])
    bits = dw.member("bits", INT, 0)
    bits.attributes.append((dw.BIT_SIZE, dw.DATA4, 3))
    choice = dw.structure("choice", 16, [dw.member("c", INT, 0), dw.member("d", UINT64, 0)], dw.UNION)
    outer = dw.structure("outer", 40, [dw.member("", inner, 8), bits, dw.member("u", choice, 24)])
    found = layouts(INT, UINT64, inner, choice, outer, dw.variable("v", outer, 8))
    kind = found.variables[0].type
    assert isinstance(kind, Struct)
    assert {n: m.offset for n, m in kind.members.items()} == {"a": 8, "b": 16, "u": 24}


def test_a_declared_struct_is_found_where_another_unit_defines_it():
    declared = dw.Die(dw.STRUCT, [(dw.NAME, dw.STRP, "proc"), (dw.DECLARATION, dw.FLAG, 1)])
    link = dw.pointer(declared)
    complete = dw.structure("proc", 24, [dw.member("pid", INT, 4)])
    found = layouts(INT, declared, link, complete, dw.variable("current", link, 8))
    assert found.structs["proc"].members["pid"].offset == 4


def test_a_float_has_a_size_and_no_more():
    assert layouts(half := dw.base("double", 8, 4), dw.variable("load", half, 8)).variables[0].type == Opaque(8)


def test_a_type_that_contains_itself_is_refused():
    loop = dw.structure("loop", 8, [])
    loop.children.append(dw.member("itself", loop, 0))
    with pytest.raises(BadFile, match="contains itself"):
        layouts(loop, dw.variable("v", loop, 8))
    ring = dw.typedef("ring", INT)
    ring.attributes[1] = (dw.TYPE, dw.REF4, ring)
    with pytest.raises(BadFile, match="never comes to an end"):
        layouts(INT, ring, dw.variable("v", ring, 8))


def test_a_file_that_leads_back_to_where_it_was_is_refused():
    backwards = dw.structure("s", 8, [dw.member("m", INT, 0)])
    backwards.attributes.insert(0, (dw.SIBLING, dw.REF4, INT))
    with pytest.raises(BadFile, match="leads back"):
        layouts(INT, backwards, siblings=False)


def test_more_debugging_information_than_any_kernel_has_is_refused(monkeypatch):
    monkeypatch.setattr("pagebook.guests.dwarf.MOST_BYTES", 10)
    with pytest.raises(BadFile, match="more than 10"):
        layouts(INT)


def test_reading_gives_up_when_it_takes_too_long(monkeypatch):
    monkeypatch.setattr("pagebook.guests.dwarf.LONGEST", -1.0)
    with pytest.raises(BadFile, match="takes more than"):
        layouts(INT)


RUN = dw.structure("run", 8, [])
LINK = dw.pointer(RUN)
RUN.children.append(dw.member("next", LINK, 0))
KMEM = dw.structure("", 32, [dw.member("freelist", LINK, 24), dw.member("name", dw.array(CHAR, 16), 0)])
WHOLE = build_elf(
    [], symbols={"x": 1},
    sections=dw.sections([CHAR, KMEM.children[1].attributes[1][2], RUN, LINK, KMEM, dw.variable("kmem", KMEM, 8)]),
)  # fmt: skip


@given(st.lists(st.tuples(st.integers(64, len(WHOLE) - 1), st.integers(0, 255)), min_size=1, max_size=6))
def test_damaged_information_is_layouts_or_bad_file(changes):
    data = bytearray(WHOLE)
    for at, value in changes:
        data[at] = value
    try:
        file = ELFFile(io.BytesIO(bytes(data)))
    except Exception:
        return
    try:
        found = read_layouts(file, "kernel")
    except BadFile as error:
        assert "kernel" in str(error)
        return
    assert found is None or isinstance(found, Layouts)
