"""An xv6 whose memory is torn, damaged or in part: a machine with remarks, or a sentence."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fake_xv6 import (
    END,
    ETEXT,
    KERNBASE,
    PAGE,
    PLAIN,
    PROCS,
    Fake,
    Shape,
    busy,
)
from pagebook.checks.looks import check
from pagebook.checks.registry import choose
from pagebook.errors import PagebookError
from pagebook.guests import kernelfile
from pagebook.guests.kernelfile import kernel_file
from pagebook.guests.xv6 import read
from pagebook.ledger import Ledger
from pagebook.memory import Memory, Region
from pagebook.source import Source
from pagebook.sv import R, V, W
from pagebook.units import page_up
from pagebook.xv6.memlayout import KSTACK


def test_a_root_that_is_none_leaves_the_space_out_with_a_remark(tmp_path):
    fake = Fake(Shape(), tmp_path)
    fake.build()
    source = fake.source()
    for root in (0x1000, fake.k.proc[1].pagetable + 8, 1 << 63, KERNBASE + fake.shape.ram):
        fake.memory.write64(fake.address(1, "pagetable"), root)
        found, remarks, *_ = read(source, fake.path)
        assert [s.name for s in found.spaces] == ["kernel", "init"]
        assert any(f"{root:#x}" in remark for remark in remarks)
    fake.memory.write64(fake.address(1, "pagetable"), 0)
    assert [s.name for s in read(source, fake.path)[0].spaces] == ["kernel", "init"]


@pytest.mark.parametrize("filling", [b"\1", b"\5", b"\xff", b"\0"])
def test_a_root_in_a_frame_that_was_freed_is_a_space_and_no_error(filling, tmp_path):
    fake = Fake(Shape(), tmp_path)
    fake.build()
    source = fake.source()
    fake.memory.write(fake.k.proc[1].pagetable, filling * PAGE)
    found, *_ = read(source, fake.path)
    assert [s.name for s in found.spaces] == ["kernel", "init", "sh"]
    fake.memory.write(fake.k.kernel_pagetable, filling * PAGE)
    found, *_ = read(source, fake.path)
    assert [s.name for s in found.spaces] == ["kernel", "init", "sh"]
    assert sum(Ledger(found).counts().values()) == fake.shape.ram // PAGE


def test_a_page_table_that_an_unused_slot_has_kept_is_a_space(tmp_path):
    fake = Fake(Shape(), tmp_path)
    fake.build()
    source = fake.source()
    root = fake.k.proc[1].pagetable
    fake.memory.write64(fake.address(5, "pagetable"), root)
    fake.memory.write64(fake.address(6, "pagetable"), 0x123)
    found, remarks, *_ = read(source, fake.path)
    assert (found.spaces[-1].name, found.spaces[-1].state, found.spaces[-1].table.root) == ("slot 5", "unused", root)
    assert len(found.spaces) == 4
    assert remarks == ()


def test_a_torn_name_is_cut_and_cleaned(tmp_path):
    fake = Fake(Shape(), tmp_path)
    fake.build()
    source = fake.source()
    for raw, name in (
        (b"a\nb\xff\0secret", "a?b?"),
        (b"0123456789abcdef", "0123456789abcdef"),
        (b"../../etc/passwd", "../../etc/passwd"),
        (b"\0sh", "process"),
        (b"kernel\0", "kernel.2"),
        (b"init\0", "init.2"),
    ):
        fake.memory.write(fake.address(1, "name"), raw.ljust(16, b"\0"))
        found, *_ = read(source, fake.path)
        assert found.spaces[2].name == name
        assert found.spaces[2].symbols == {} or name == "init.2"


def test_two_processes_with_one_name_and_one_pid_still_have_names_of_their_own(tmp_path):
    fake = Fake(Shape(), tmp_path)
    busy(fake)
    fake.build()
    source = fake.source()
    for slot in (1, 2, 3):
        fake.memory.write32(fake.address(slot, "pid"), 0)
    names = [s.name for s in read(source, fake.path)[0].spaces]
    assert names == ["kernel", "init", "sh.0", "sh.0 in slot 2", "sh.0 in slot 3"]


@pytest.mark.parametrize(
    ("field", "value", "words", "rules"),
    [
        ("sz", 1 << 62, "has sz 0x4000000000000000", ["PB120"]),
        ("trapframe", KERNBASE + 8, "is no frame of memory", ["PB110"]),
        ("trapframe", KERNBASE, "does not map that below the trampoline", ["PB110"]),
        ("kstack", 0x1234_5000, "which the kernel's table does not map", ["PB119"]),
        ("kstack", KSTACK(0), "and so has process 1", ["PB119"]),
        ("state", 99, "has state 99", ["PB120"]),
    ],
)
def test_what_does_not_fit_is_said_and_found(field, value, words, rules, tmp_path):
    fake = Fake(Shape(), tmp_path)
    fake.build()
    source = fake.source()
    fake.memory.write(fake.address(1, field), value.to_bytes(dict(PLAIN)[field], "little"))
    found, remarks, *_ = read(source, fake.path)
    assert any(words in remark for remark in remarks), remarks
    assert [s.name for s in found.spaces] == ["kernel", "init", "sh"]
    told = check(found, choose()).findings
    assert sorted({one.rule for one in told}) == rules
    assert any(words in one.message and one.va == fake.address(1, field) - fake.shape.offsets[field] for one in told)


def test_memory_in_pieces_is_read_as_far_as_the_first_goes(tmp_path):
    fake = Fake(Shape(), tmp_path)
    fake.build()
    data = bytes(fake.source().memory.regions[0].data)
    half = len(data) // 2
    pieces = Memory([Region(KERNBASE, data[:half]), Region(KERNBASE + half, data[half:])])
    found, remarks, *_ = read(Source("pieces", pieces), fake.path)
    assert found.free_range == (page_up(END), KERNBASE + half)
    assert any("in one piece" in remark for remark in remarks)
    assert any("kmem.freelist leads on to" in remark for remark in remarks), remarks
    assert found.pools is None, "the rest of the list was not read"
    assert not {one.rule for one in check(found, choose()).findings} & {"PB102", "PB113"}
    assert sum(Ledger(found).counts().values()) == len(data) // PAGE


def test_thousands_of_torn_processes_make_few_remarks(tmp_path):
    fake = Fake(Shape(nproc=300), tmp_path)
    fake.build()
    source = fake.source()
    fake.memory.write(PROCS, b"\xa5" * (fake.shape.stride * 300))
    found, remarks, *_ = read(source, fake.path)
    assert [s.name for s in found.spaces] == ["kernel"]
    assert 3 < len(remarks) < 10  # alike of all
    assert {finding.rule for finding in check(found, choose()).findings} >= {"PB119", "PB120"}


def test_a_kernel_without_its_table_yet_has_only_its_image(tmp_path):
    fake = Fake(Shape(), tmp_path)
    fake.build()
    source = fake.source()
    fake.memory.write(PROCS, bytes(fake.shape.stride * fake.shape.nproc))
    fake.memory.write64(fake.symbols["kernel_pagetable"], 0)
    found, remarks, *_ = read(source, fake.path)
    assert found.spaces == ()
    assert found.free_range == (page_up(END), KERNBASE + fake.shape.ram)
    assert any("has not made its page table" in remark for remark in remarks)
    fake.memory.write64(fake.symbols["kernel_pagetable"], 0x1234)
    assert any("no table can be there" in remark for remark in read(source, fake.path).remarks)


def test_a_kernel_table_that_points_at_itself_is_no_hang(tmp_path):
    fake = Fake(Shape(), tmp_path)
    fake.build()
    source = fake.source()
    root = fake.k.kernel_pagetable
    fake.memory.write(root, (root >> 12 << 10 | V).to_bytes(8, "little") * 512)
    started = time.monotonic()
    found, *_ = read(source, fake.path)
    assert found.spaces[0].name == "kernel"
    assert time.monotonic() - started < 5


def test_memory_that_ends_before_physstop_is_said(tmp_path):
    fake = Fake(Shape(), tmp_path)
    fake.build()
    source = fake.source()
    end = KERNBASE + fake.shape.ram
    fake.k.table(fake.k.kernel_pagetable).map(end, PAGE, end, R | W)
    found, remarks, *_ = read(source, fake.path)
    assert any("in one piece" in remark for remark in remarks)
    assert found.free_range == (page_up(END), end)


def test_a_panic_is_said(tmp_path):
    fake = Fake(Shape(), tmp_path)
    fake.build()
    source = fake.source()
    fake.memory.write32(fake.symbols["panicked"], 1)
    assert "the kernel has panicked" in read(source, fake.path).remarks


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> tuple[Path, bytes]:
    fake = Fake(Shape(tally="int", lists="harts", fields=(*PLAIN, ("kpagetable", 8))), tmp_path_factory.mktemp("whole"))
    busy(fake)
    fake.build()
    return fake.path, bytes(fake.source().memory.regions[0].data)


@given(
    st.lists(st.tuples(st.integers(ETEXT - KERNBASE, (4 << 20) - 1), st.binary(min_size=1, max_size=64)), max_size=8),
    st.lists(st.tuples(st.integers(0, 0x4000), st.binary(min_size=1, max_size=64)), max_size=8),
)
def test_any_damage_to_memory_is_a_machine_or_a_sentence(whole, anywhere, globals_):
    path, data = whole
    room = bytearray(data)
    for at, octets in [*anywhere, *((ETEXT - KERNBASE + at, octets) for at, octets in globals_)]:
        octets = octets[: len(room) - at]
        room[at : at + len(octets)] = octets
    try:
        found, remarks, *_ = read(Source("damaged", Memory([Region(KERNBASE, room)])), path)
    except PagebookError:
        return
    assert all(isinstance(remark, str) for remark in remarks)
    assert sum(Ledger(found).counts().values()) == len(room) // PAGE


@given(st.lists(st.tuples(st.integers(64, 1 << 16), st.binary(min_size=1, max_size=8)), min_size=1, max_size=6))
def test_any_damage_to_the_kernels_file_is_a_machine_or_a_sentence(whole, changes):
    path, data = whole
    room = bytearray(path.read_bytes())
    for at, octets in changes:
        at %= len(room) - len(octets)
        room[at : at + len(octets)] = octets
    damaged = path.parent / "damaged"
    damaged.write_bytes(room)
    try:
        kernel = kernel_file(damaged)
        read(Source("guest", Memory([Region(KERNBASE, data)])), kernel)
    except PagebookError as error:
        assert str(error)
    finally:
        damaged.unlink()  # and with it the stamp by which the next would be taken for this one
        kernelfile._kernels.clear()


def test_the_rom_that_a_dump_holds_is_no_ram(tmp_path):
    fake = Fake(Shape(), tmp_path)
    fake.build()
    source = fake.source()
    rom = Region(0x1000, bytes(4 * PAGE), name="rom")
    found, remarks, *_ = read(replace(source, memory=Memory([rom, *source.memory.regions])), fake.path)
    plain, *_ = read(source, fake.path)
    assert remarks == ()
    assert sum(Ledger(found).counts().values()) == sum(Ledger(plain).counts().values())
    assert found.memory.answers(0x1000, 8) and 0x1000 not in found.memory


@pytest.mark.parametrize("part", ["a frame in the middle", "the last 32 frames"])
def test_a_hole_in_the_kernels_map_is_told_as_that_and_ram_goes_on_behind_it(part, tmp_path):
    fake = Fake(Shape(), tmp_path)
    fake.build()
    source = fake.source()
    end = KERNBASE + fake.shape.ram
    start, stop = (fake.k.kmem.head, fake.k.kmem.head + PAGE) if "middle" in part else (end - 32 * PAGE, end)
    table = fake.k.table(fake.k.kernel_pagetable)
    for va in range(start, stop, PAGE):
        fake.memory.write64(table.find(va)[0], 0)
    found, *_ = read(source, fake.path)
    assert found.free_range == (page_up(END), end)
    told = check(found, choose()).findings
    assert [(one.rule, one.va, one.size) for one in told] == [("PB121", start, stop - start)]
