"""Cores that others wrote of a machine: what they hold is read, what they claim is not believed."""

from __future__ import annotations

import mmap
import struct
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cores import PAGE, PHDR, PHDRS, RAM, core, filled, patched, prstatus, registers
from elves import CORE, READ, build_elf, note
from pagebook.batch import FEWEST, translate
from pagebook.errors import BadFile
from pagebook.machine import Hart, Machine
from pagebook.memory import Memory, Region
from pagebook.mmu import Extensions, Regime
from pagebook.rows import read_ptes
from pagebook.source import Source
from pagebook.sources.elfcore import read_core, write_core
from pagebook.sources.files import open_file
from pagebook.sv import FORMATS

Opener = Callable[[bytes], Source]


@pytest.fixture
def opened(tmp_path: Path) -> Opener:
    """The source in a file of these bytes."""

    def open_bytes(data: bytes) -> Source:
        (tmp_path / "dump").write_bytes(data)
        found = open_file(str(tmp_path / "dump"))
        assert isinstance(found, Source)
        assert found.name == str(tmp_path / "dump")
        return found

    return open_bytes


def refusal(opened: Opener, data: bytes) -> str:
    with pytest.raises(BadFile) as caught:
        opened(data)
    return str(caught.value).partition("/dump")[2].lstrip(": ")


def regions(source: Source) -> list[tuple[int, int]]:
    return [(region.base, region.size) for region in source.memory.regions]


def test_memory_is_what_the_segments_hold_and_a_hart_has_its_registers_but_no_satp(opened: Opener) -> None:
    rom, ram = filled(15, 7), filled(64)
    source = opened(core([(0x1000, rom), (RAM, ram)], harts=3))
    assert regions(source) == [(0x1000, len(rom)), (RAM, len(ram))]
    assert source.memory.read(0x1000, len(rom)) == rom
    assert source.memory.read(RAM, len(ram)) == ram
    assert source.harts == tuple(Hart(number, None, None, registers(number)) for number in range(3))
    assert (source.kernel, source.live) == (None, False)
    assert source.no_satp.endswith("does not say what satp was: name the kernel with --kernel")
    assert source.remarks == ()


def test_a_core_without_harts_is_still_memory(opened: Opener) -> None:
    assert opened(core(harts=0)).harts == ()
    assert opened(build_elf([(RAM, PAGE, PAGE, READ, bytes(PAGE))], kind=CORE)).harts == ()


def test_notes_of_other_kinds_and_notes_too_short_for_registers_make_no_hart(opened: Opener) -> None:
    others = note(b"VMCOREINFO", 0, b"OSRELEASE=6.12\n") + note(b"CORE", 1, bytes(111 + 256)) + note(b"CORE", 2, b"x")
    assert [hart.registers[0] for hart in opened(core(harts=2, notes=others)).harts] == [RAM, RAM + 1000]


def test_pagebooks_own_core_is_the_whole_machine(tmp_path: Path) -> None:
    memory = Memory([Region(RAM, filled(3))])
    write_core(Machine("mine", memory, ()), tmp_path / "own")
    found = open_file(str(tmp_path / "own"))
    assert isinstance(found, Machine)
    assert found.name == "mine"
    (tmp_path / "dump").write_bytes(core())
    with pytest.raises(BadFile, match="an ELF core, but not one that pagebook saved"):
        read_core(tmp_path / "dump")


def test_segments_that_touch_in_memory_and_in_the_file_are_one_region(opened: Opener) -> None:
    ram = filled(6)
    source = opened(core([(RAM, ram[: 2 * PAGE]), (RAM + 2 * PAGE, ram[2 * PAGE :]), (RAM + 0x9000, bytes(PAGE))]))
    assert regions(source) == [(RAM, 6 * PAGE), (RAM + 0x9000, PAGE)]
    assert source.memory.read(RAM, 6 * PAGE) == ram


def test_segments_over_the_same_bytes_of_the_file_are_one_region(opened: Opener) -> None:
    """A dump with paging has a segment for every virtual range, and two ranges may map the same frames."""
    ram = filled(4)
    data = core([(RAM, ram), (RAM + PAGE, b"")])
    place = struct.unpack_from("<Q", data, PHDRS + 8)[0]
    twice = patched(data, "Q", PHDRS + PHDR + 8, place + PAGE)
    twice = patched(twice, "QQ", PHDRS + PHDR + 32, 2 * PAGE, 2 * PAGE)
    assert regions(opened(twice)) == [(RAM, 4 * PAGE)]


def test_a_segment_that_repeats_what_another_holds_is_passed_over(opened: Opener) -> None:
    ram = filled(4)
    again = ram[PAGE : 3 * PAGE]
    source = opened(core([(RAM, ram), (RAM + PAGE, again)]))
    assert regions(source) == [(RAM, 4 * PAGE)]
    assert source.memory.read(RAM, 4 * PAGE) == ram


@pytest.mark.parametrize(
    "other",
    [(RAM + PAGE, filled(1, 9)), (RAM + 3 * PAGE, filled(2, 1)), (RAM, filled(4, 9)), (RAM + 3 * PAGE, filled(1))],
)
def test_segments_that_overlap_and_differ_are_refused(other: tuple[int, bytes], opened: Opener) -> None:
    text = refusal(opened, core([(RAM, filled(4)), other]))
    assert text == f"two segments overlap at {other[0]:#x} and do not hold the same bytes there"


def test_what_a_segment_promises_beyond_its_bytes_reads_as_zeros_and_is_told(opened: Opener) -> None:
    source = opened(core([(RAM, filled(2) + b"tail")], more=3 * PAGE - 4))
    assert regions(source) == [(RAM, 2 * PAGE), (RAM + 2 * PAGE, 3 * PAGE)]
    assert source.memory.read(RAM, 5 * PAGE) == filled(2) + b"tail" + bytes(3 * PAGE - 4)
    assert not any(region.writable for region in source.memory.regions)
    assert source.remarks[0].startswith("0x2ffc bytes at 0x80002004 are not in ")


def test_a_segment_of_nothing_but_promises_may_have_any_offset(opened: Opener) -> None:
    data = core([(RAM, filled(1)), (RAM + 0x10000, b"")], more=0)
    data = patched(data, "Q", PHDRS + PHDR + 8, (1 << 64) - 1)
    source = opened(patched(data, "QQ", PHDRS + PHDR + 32, 0, 1 << 20))
    assert regions(source) == [(RAM, PAGE), (RAM + 0x10000, 1 << 20)]
    assert source.memory.read64(RAM + 0x10008) == 0


@pytest.mark.parametrize("more", [(1 << 30) + PAGE, 1 << 40, 1 << 60])
def test_absurd_promises_are_refused(more: int, opened: Opener) -> None:
    text = refusal(opened, core([(RAM, filled(1))], more=more))
    assert text.startswith("promises memory that it does not hold, at 0x80000000 ")
    assert text.endswith("up to 1G is taken for zeros")


def test_promises_that_memory_has_no_room_for_are_refused(opened: Opener, monkeypatch: pytest.MonkeyPatch) -> None:
    real = mmap.mmap

    def full(fileno: int, *rest: int, **how: int) -> mmap.mmap:
        if fileno == -1:
            raise OSError(12, "Cannot allocate memory")
        return real(fileno, *rest, **how)

    monkeypatch.setattr("mmap.mmap", full)
    data = core([(RAM, filled(1))], more=PAGE)
    with pytest.raises(BadFile, match=r"no room for the 0x1000 bytes that follow 0x80001000: .*Cannot allocate memory"):
        opened(data)


def test_many_small_promises_are_an_absurd_one(opened: Opener) -> None:
    loads = [(RAM + (number << 28), b"") for number in range(9)]
    assert "promises memory" in refusal(opened, core(loads, more=1 << 27))


def test_a_promise_over_what_another_segment_holds_is_refused(opened: Opener) -> None:
    text = refusal(opened, core([(RAM, filled(1)), (RAM + PAGE, filled(1))], more=PAGE))
    assert "overlap" in text


def test_a_segment_that_starts_within_a_page_loses_the_part_before_the_next_and_that_is_told(opened: Opener) -> None:
    source = opened(core([(RAM + 0x800, bytes(0x800) + filled(2)), (RAM + 0x9100, b"few")]))
    assert regions(source) == [(RAM + PAGE, 2 * PAGE)]
    assert source.memory.read(RAM + PAGE, 2 * PAGE) == filled(2)
    assert source.remarks == (
        "2048 bytes at 0x80000800 are left out: they are not the start of a page",
        "3 bytes at 0x80009100 are left out: they are not the start of a page",
    )


def test_a_tail_that_is_no_whole_page_stays_readable_and_is_told(opened: Opener) -> None:
    source = opened(core([(RAM, filled(1) + b"12345678")]))
    assert regions(source) == [(RAM, PAGE + 8)]
    assert source.memory.read(RAM + PAGE, 8) == b"12345678"
    assert source.remarks == ("the last 8 bytes at 0x80001000 are no whole page: no table is seen there",)


def test_a_core_of_a_process_is_told_from_one_of_a_machine(opened: Opener) -> None:
    data = core([(0x10000, filled(1)), (0x20000, filled(2))])
    for number in range(2):
        data = patched(data, "Q", PHDRS + number * PHDR + 24, 0)
    assert refusal(opened, data).startswith("is the core of a process, not of a machine")


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (core([]), "holds no memory at all"),
        (core([(RAM, b"")]), "holds no memory at all"),
        (core([(RAM + 8, b"few")]), "holds no memory at all"),
        (core([(1 << 56, filled(1))]), "does not fit in 56 bits"),
        (core()[:-5], "is cut short"),
        (core()[:100], "is not a whole ELF file"),
        (patched(core(), "H", 56, 0xFFFE), "claims 65534 program headers; no such file has more than 4096"),
        (patched(core(), "Q", PHDRS + 8, 1 << 63), "is cut short"),
        (patched(core(), "Q", PHDRS + 32, 1 << 60), "is cut short"),
        (patched(core(), "Q", PHDRS + 40, 1), "claims 0x1 bytes of memory for 0x1000 in the file"),
        (core(notes=struct.pack("<III", 5, 0xFFFF_FFFF, 1) + b"CORE\0\0\0\0"), "a note of 4294967295 bytes runs out"),
        (core(notes=struct.pack("<III", 0xFFFF_FFFF, 8, 1) + b"CORE\0\0\0\0"), "runs out of its segment"),
        (core(notes=struct.pack("<III", 4, 0, 1) + b"CORE"), "the name of a note has a missing terminator"),
        (core(notes=bytes(12 * 70_000)), "has more than 65536 notes"),
        (build_elf([(RAM, PAGE, PAGE, READ, bytes(PAGE))]), "is an ELF file of type ET_EXEC"),
        (build_elf([], kind=CORE, machine=62), "for EM_X86_64"),
        (build_elf([], kind=CORE, elfclass=32), "is a 32-bit little-endian ELF file"),
    ],
)  # fmt: skip
def test_what_cannot_be_true_is_refused(data: bytes, why: str, opened: Opener) -> None:
    start = time.perf_counter()
    assert why in refusal(opened, data)
    assert time.perf_counter() - start < 5


def test_a_note_of_four_gigabytes_that_is_there_is_refused_unread(tmp_path: Path) -> None:
    head = patched(core([(RAM, filled(1))]), "Q", PHDRS + PHDR + 32, 5 << 30)
    with (tmp_path / "large").open("wb") as file:
        file.write(head)
        file.truncate(6 << 30)
    tracemalloc.start()
    with pytest.raises(BadFile, match=r"claims 5368709120 bytes of notes; no such file has more than 25165824"):
        open_file(str(tmp_path / "large"))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 << 20


def test_four_thousand_segments_are_opened_and_more_are_refused(opened: Opener) -> None:
    loads = [(RAM + 2 * PAGE * number, filled(1, number)) for number in range(4000)]
    start = time.perf_counter()
    source = opened(core(loads))
    assert time.perf_counter() - start < 10
    assert len(source.memory.regions) == 4000
    assert source.memory.read(loads[3999][0], PAGE) == loads[3999][1]
    text = refusal(opened, core([(RAM + 2 * PAGE * number, b"") for number in range(4100)]))
    assert text == "claims 4101 program headers; no such file has more than 4096"


HOSTILE = core([(0x1000, filled(2)), (RAM, filled(3) + b"tail"), (RAM + 0x8000, filled(1))], harts=2)
EDGES = st.sampled_from([0, 1, 7, 8, 0xFFF, 0x1000, 0x7FFF_FFFF, 0xFFFF_FFFF, 1 << 56, 1 << 60, 1 << 63, (1 << 64) - 1])


@given(
    st.lists(st.tuples(st.integers(0, PHDRS + 4 * PHDR + 400), EDGES, st.sampled_from("BHIQ")), min_size=1, max_size=4)
)
def test_any_numbers_in_any_header_are_a_source_or_a_bad_file(
    tmp_path: Path, changes: list[tuple[int, int, str]]
) -> None:
    data = HOSTILE
    for at, value, layout in changes:
        data = patched(data, layout, at, value % (1 << 8 * struct.calcsize(layout)))
    survives(tmp_path, data)


@given(
    st.lists(st.tuples(st.integers(0, PHDRS + 4 * PHDR), st.integers(0, 255)), min_size=1, max_size=6), st.integers(0)
)
def test_random_bytes_in_a_header_and_a_cut_anywhere_are_a_source_or_a_bad_file(
    tmp_path: Path, changes: list[tuple[int, int]], cut: int
) -> None:
    data = bytearray(HOSTILE)
    for at, byte in changes:
        data[at] = byte
    survives(tmp_path, bytes(data[: len(data) - cut % 3000]))


def survives(folder: Path, data: bytes) -> None:
    """Open it and look at all it has; anything but a BadFile is an error of the test."""
    (folder / "hostile").write_bytes(data)
    try:
        source = open_file(str(folder / "hostile"))
    except BadFile as error:
        assert "hostile" in str(error)
        return
    assert isinstance(source, Source)
    assert all(len(hart.registers) == 32 for hart in source.harts)
    for region in source.memory.regions:
        assert region.base % PAGE == 0
        source.memory.read(region.end - 1, 1)
        source.memory.gather(np.array([region.base], np.uint64))


def test_a_table_in_a_dump_whose_bytes_are_not_aligned_is_read_without_copying_all(opened: Opener) -> None:
    """QEMU's notes are an odd number of words, so every other dump's memory starts in the middle of one."""
    ram = bytearray(32 << 20)
    struct.pack_into("<Q", ram, 0, (RAM + PAGE) >> 12 << 10 | 1)
    struct.pack_into("<Q", ram, PAGE, (RAM + 2 * PAGE) >> 12 << 10 | 1)
    ram[2 * PAGE : 3 * PAGE] = np.arange(512, dtype=np.uint64).tobytes()
    data = build_elf([(RAM, len(ram), len(ram), READ, bytes(ram))], kind=CORE)
    place = struct.unpack_from("<Q", data, PHDRS + 8)[0]
    source = opened(patched(data[:place] + b"skip" + data[place:], "Q", PHDRS + 8, place + 4))
    memory = source.memory
    assert not memory.regions[0].pages.flags.aligned
    vas = np.arange(FEWEST, dtype=np.uint64) % np.uint64(512) << np.uint64(12)
    tracemalloc.start()
    pages, inside = memory.gather(np.array([RAM + 2 * PAGE], np.uint64))
    ptes, there = read_ptes(memory, np.array([RAM, RAM + PAGE], np.uint64), FORMATS["sv39"])
    translate(memory, Extensions(), Regime(satp=8 << 60 | RAM >> 12, priv="S"), vas)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (pages[0].tolist(), inside.tolist(), there.tolist()) == (list(range(512)), [True], [True, True])
    assert ptes.tolist() == [memory.read64(RAM), memory.read64(RAM + PAGE)]
    assert peak < 8 << 20


def test_every_registers_note_is_as_linux_lays_it_out() -> None:
    assert len(prstatus(registers(0))) == 12 + 8 + 376
