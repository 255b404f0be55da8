"""Reference counts of an xv6: found by what they count, whatever their name, width and place."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pytest

import dwarves as dw
from fake_xv6 import (
    END,
    KERNBASE,
    PAGE,
    TALLY,
    Fake,
    Shape,
    look,
)
from pagebook.guests.xv6 import read
from pagebook.ledger import Ledger
from pagebook.machine import Counts
from pagebook.source import Source
from pagebook.sv import W
from pagebook.units import page_up
from pagebook.xv6.proc import fork


@pytest.mark.parametrize(("tally", "width"), [("u8", 1), ("int", 4), ("member", 4)])
def test_counts_are_found_by_what_they_count(tally, width, tmp_path):
    fake = Fake(Shape(tally=tally, ram=4 << 20), tmp_path)
    found, *_ = look(fake)
    start = TALLY + (24 if tally == "member" else 0)
    assert found.counts == Counts("tally.cnt" if tally == "member" else "tally", start, width, 1024, KERNBASE)


def test_counts_made_after_the_image_are_found_and_their_frames_are_the_kernels(tmp_path):
    fake = Fake(Shape(tally="pointer"), tmp_path)
    room = fake.k.kmem.alloc()
    assert room is not None
    fake.tally_room = room
    found, remarks, *_ = look(fake)
    assert found.counts == Counts("tally", room, 4, 1024, KERNBASE), remarks
    assert Ledger(found).role_of(fake.k.kmem.frames()[:0]).tolist() == []
    assert any(area.start == room and "kernel" in area.name for area in found.areas)


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("tally", Shape(tally="pointer", mark=True)),
        ("tally", Shape(tally="pointer", mark=True, before=0xFD1)),
        ("tally.cnt", Shape(tally="held")),
        ("tally.cnt", Shape(tally="held", before=0xFD1)),
    ],
)
def test_counts_from_a_frame_that_only_a_pointer_knows_are_found(name, shape, tmp_path):
    first = page_up(END) + 3 * PAGE
    fake = Fake(replace(shape, first=first), tmp_path)
    fake.tally_room = END + 1
    rest = [pa for pa in fake.k.kmem.frames().tolist() if pa >= first]
    fake.k.kmem.head = fake.chain(rest)
    found, remarks, *_ = look(fake)
    assert found.counts == Counts(name, END + 1, 4, fake.frames, first), remarks


def test_counts_that_stay_when_frames_are_freed_are_counts_all_the_same(tmp_path):
    fake = Fake(Shape(tally="int"), tmp_path)
    frame = share(fake)
    fake.shared = dict.fromkeys(fake.k.kmem.frames().tolist(), 1) | {frame: 2}
    assert look(fake)[0].counts is not None


def test_of_two_arrays_that_could_be_counts_neither_is_used_until_one_is_told(tmp_path):
    fake = Fake(Shape(tally="int"), tmp_path)
    twin = fake.dies

    def dies() -> Any:
        made = twin()
        numbers = next(die for die in made if die.tag == 0x34 and die.attributes[0][2] == "tally").attributes[1][2]
        return [*made, dw.variable("twin", numbers, TALLY + 0x10000)]

    fake.dies = dies  # type: ignore[method-assign]
    fake.build()
    source = fake.source()
    fake.memory.write(TALLY + 0x10000, fake.memory.read(TALLY, 4 * fake.frames))
    found, remarks, *_ = read(source, fake.path)
    assert found.counts is None
    assert any("tally and twin can each be" in remark and "tally.base=0x80000000" in remark for remark in remarks)
    found, remarks, *_ = read(source, fake.path, {"twin.base": KERNBASE})
    assert found.counts == Counts("twin", TALLY + 0x10000, 4, fake.frames, KERNBASE)
    assert remarks == ()


def test_an_array_called_like_counts_that_counts_nothing_is_said(tmp_path):
    fake = Fake(Shape(tally="member"), tmp_path)
    fake.build()
    source = fake.source()
    fake.memory.write(TALLY + 24, bytes(4 * fake.frames))
    found, remarks, *_ = read(source, fake.path)
    assert found.counts is None
    assert any(remark.startswith("tally.cnt has a number for each frame") for remark in remarks)


def test_counts_in_records_are_read(tmp_path):
    found, remarks, *_ = look(Fake(Shape(tally="records"), tmp_path))
    assert found.counts is not None
    assert (found.counts.stride, remarks) == (32, ())
    numbers = found.counts.values(found.memory, 1 << 20)
    assert len(numbers) == found.counts.length
    assert set(numbers.tolist()) == {0, 1}


def share(fake: Fake) -> int:
    """Let a child of sh map its parent's first page instead of its own; the frame."""
    k = fake.k
    parent = next(p for p in k.proc if p.name == "sh")
    k.current = parent
    pid = fork(k)
    child = next(p for p in k.proc if p.pid == pid)
    theirs, pte, _ = k.table(parent.pagetable).find(0)
    mine, _, _ = k.table(child.pagetable).find(0)
    frame = pte >> 10 << 12
    for at in (theirs, mine):
        k.memory.write64(at, pte & ~W)
    return frame


def test_numbers_that_stay_1_where_frames_are_shared_are_no_counts(tmp_path):
    fake = Fake(Shape(tally="int"), tmp_path)
    frame = share(fake)
    fake.shared = {frame: 2}
    assert look(fake)[0].counts is not None
    fake.shared = {frame: 1}
    found, *_ = look(fake)
    assert found.counts is None


def test_numbers_that_count_something_else_are_no_counts(tmp_path):
    fake = Fake(Shape(tally="int"), tmp_path)
    fake.build()
    source = fake.source()
    for wrong in (0, 1, 7, 0x0101_0101):
        fake.memory.write(TALLY, wrong.to_bytes(4, "little") * fake.frames)
        assert read(source, fake.path)[0].counts is None
    fake.memory.write(TALLY, random.Random(1).randbytes(4 * fake.frames))
    assert read(source, fake.path)[0].counts is None


def test_counts_that_are_told_are_taken_and_what_speaks_against_them_is_said(tmp_path):
    fake = Fake(Shape(tally="int"), tmp_path)
    fake.build(dwarf=False)
    told = fake.told() | {"tally.counts": 0, "tally.width": 4, "tally.count": fake.frames, "tally.base": KERNBASE}
    found, remarks, *_ = read(fake.source(), fake.path, told)
    assert found.counts == Counts("tally.counts", TALLY, 4, fake.frames, KERNBASE)
    assert remarks == ()
    fake.memory.write(TALLY, bytes(4 * fake.frames))
    found, remarks, *_ = read(Source("guest", fake.memory), fake.path, told)
    assert found.counts is not None
    assert any("was told to be counts" in remark for remark in remarks)
