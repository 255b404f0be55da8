"""BTF: members of structs by name, out of a blob that is trusted in nothing."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from linuxes import MM, TASK, btf, linux_btf
from pagebook.errors import BadFile
from pagebook.guests.btf import Btf, Layout

INT = (1, "int", 4, [], struct.pack("<I", 32))


def test_members_of_structs_without_a_name_are_those_of_the_struct_around_them():
    assert Btf(linux_btf()).layout("mm_struct") == Layout("mm_struct", 0x100, MM)


def test_of_structs_with_one_name_the_one_with_the_wanted_members_is_told():
    types = Btf(linux_btf())
    found = types.layout("task_struct", "pid", "comm")
    assert found is not None
    assert found.offsets == TASK
    assert types.layout("task_struct", "pid", "not_this_one") is None
    assert types.layout("task") is None


def test_bit_fields_are_left_out_and_what_follows_them_is_not():
    strings = b"\0outer\0b\0after\0"
    body = struct.pack("<III", 1, 1 << 31 | 4 << 24 | 2, 24)
    body += struct.pack("<III", strings.index(b"b"), 1, 3 << 24 | 8)  # three bits, from bit 8
    body += struct.pack("<III", strings.index(b"after"), 1, 16 * 8)
    header = struct.pack("<HBBIIIII", 0xEB9F, 1, 0, 24, 0, len(body), len(body), len(strings))
    assert Btf(header + body + strings).layout("outer") == Layout("outer", 24, {"after": 16})


def test_every_kind_of_type_is_passed_over_by_its_length():
    each = [
        (2, "", 1, [], b""), (3, "", 0, [], bytes(12)), (7, "f", 0, [], b""), (8, "t", 1, [], b""), (9, "", 1, [], b""),
        (10, "", 1, [], b""), (11, "", 1, [], b""), (12, "f", 1, [], b""), (14, "v", 1, [], bytes(4)),
        (15, "d", 0, [("", 0, 1)], b""), (16, "float", 4, [], b""), (17, "tag", 1, [], bytes(4)),
        (18, "tag", 1, [], b""), (19, "e", 8, [("one", 0, 0)], b""), (4, "last", 8, [("here", 4, 1)], b""),
    ]  # fmt: skip
    assert Btf(btf([INT, *each])).layout("last") == Layout("last", 8, {"here": 4})


@pytest.mark.parametrize(
    ("blob", "message"),
    [
        (b"", "BTF of 0 bytes is shorter than its header of 24"),
        (bytes(24), "starts with magic 0x0, version 0"),
        (linux_btf()[:-1], "cut short"),
        (btf([(25, "x", 0, [], b"")]), "a type of unknown kind 25, number 1"),
        (btf([(3, "x", 0, [], b"")]), "its last type ends after all types"),
    ],
)
def test_a_damaged_blob_is_refused_with_what_is_wrong(blob: bytes, message: str):
    with pytest.raises(BadFile, match=message):
        Btf(blob)


def test_a_struct_that_holds_itself_without_a_name_ends():
    itself = [("", 0, 2)] * 20
    with pytest.raises(BadFile, match="more than 16384 members"):
        Btf(btf([INT, (4, "loop", 8, itself, b"")])).layout("loop")


@given(st.binary(max_size=64), st.integers(0, 400))
def test_any_bytes_give_types_or_one_sentence(data: bytes, at: int):
    whole = linux_btf()
    for blob in (data, whole[:at] + data + whole[at + len(data) :]):
        try:
            Btf(blob).layout("task_struct", "pid")
        except BadFile as error:
            assert "\n" not in str(error)
