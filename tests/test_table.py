"""Page tables by example: what is refused and in which words, superpages, hostile tables, several regions.

What random operations do is in test_table_properties.py.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loop import Stopped
from pagebook.errors import (
    AlreadyMapped,
    BadAddress,
    BadFrame,
    NotATable,
    NotMapped,
    OutOfFrames,
    OutsideMemory,
    PagebookError,
    ReadOnlyMemory,
)
from pagebook.frames import FreeList
from pagebook.memory import Memory, Region
from pagebook.pagetable import PageTable
from pagebook.sv import SV32, SV39, SV48, SV57, A, D, Format, G, R, U, V, W, X
from pagebook.table import AddressSpace, Entry, Slice
from worlds import BASE, FORMATS, PAGE, Budget, World

MiB = 1 << 20
GiB = 1 << 30


def refused(world: World, call: Callable[[], Any], kind: type[PagebookError], message: str) -> PagebookError:
    """The error of ``call``, which must be of exactly this kind, say exactly this, and change nothing."""
    with world.unchanged(), pytest.raises(PagebookError) as caught:
        call()
    assert (type(caught.value), str(caught.value)) == (kind, message)
    return caught.value


def facts(error: PagebookError) -> tuple[int | None, ...]:
    return error.va, error.pa, error.level, error.pte, error.pte_pa


def three_pages(flags: int = R | W | U) -> World:
    """Pages 1, 2 and 4 mapped to the frames at 0x80001000, 0x80002000 and 0x80004000."""
    world = World(pages=16)
    world.table.map(0x1000, 2 * PAGE, BASE + PAGE, flags)
    world.table.map(0x4000, PAGE, BASE + 4 * PAGE, flags)
    return world


# Looking


def test_an_entry_is_absent_a_table_or_mapped():
    assert [Entry(0, 0, pte).kind for pte in (0, R | W, V, V | U, V | R, V | X, V | W)] == [
        "absent", "absent", "table", "table", "mapped", "mapped", "mapped",
    ]  # fmt: skip


def test_an_entry_shows_its_addresses_in_hexadecimal():
    assert repr(Entry(0, BASE, 0x21FDD0C7)) == "Entry(level=0, pte_pa=0x80000000, pte=0x21fdd0c7)"


def test_the_steps_of_a_walk_are_the_ptes_it_reads_from_the_root_on():
    world = three_pages()
    low, high = BASE + 13 * PAGE, BASE + 14 * PAGE
    assert world.table.steps(0x2345) == [
        Entry(2, world.table.root, low + PAGE >> 2 | V), Entry(1, high, low >> 2 | V), Entry(0, low + 16, 0x20000817),
    ]  # fmt: skip
    assert world.table.entry(0x2345) == Entry(0, low + 16, 0x20000817)
    assert world.table.steps(1 << 30) == [Entry(2, world.table.root + 8, 0)]
    assert world.table.steps(0x0020_0000) == [Entry(2, world.table.root, low + PAGE >> 2 | V), Entry(1, high + 8, 0)]
    assert [world.table.translate(va) for va in (0x2345, 0x3000, 1 << 30, 0x4FFF)] == [
        0x80002345,
        None,
        None,
        0x80004FFF,
    ]


def test_a_space_shows_what_it_is_made_of():
    world = World(pages=4)
    assert (
        repr(world.table)
        == "PageTable(Memory([<Region ram 0x80000000-0x80004000 16K rw>]), 0x80003000, pagebook.sv.SV39)"
    )
    assert repr(AddressSpace(world.memory, BASE, SV32)).startswith("AddressSpace(Memory(")
    assert repr(AddressSpace(world.memory, BASE, SV32)).endswith(", 0x80000000, pagebook.sv.SV32)")


@pytest.mark.parametrize("va", [-1, -4096, 1 << 64, 1 << 80])
def test_an_address_that_is_no_address_is_refused_by_every_question(fmt: Format, va: int):
    table = World(fmt).table
    for ask in (table.translate, table.entry, table.steps):
        with pytest.raises(BadAddress) as caught:
            ask(va)
        assert caught.value.va == va


@given(st.integers(-(1 << 65), 1 << 65))
def test_translate_answers_for_canonical_addresses_only(va: int):
    for fmt in FORMATS:
        table = TABLES[fmt.name]
        if fmt.is_canonical(va):
            assert table.translate(va) is None
        else:
            with pytest.raises(BadAddress):
                table.translate(va)


TABLES = {fmt.name: World(fmt, pages=2).table for fmt in FORMATS}


@pytest.mark.parametrize("flags", [R, X, R | X, R | W, R | W | X | U])
def test_superpages_on_every_level_translate_every_offset_whatever_their_rights(fmt: Format, flags: int):
    for level in range(1, fmt.levels):
        world = World(fmt, pages=8)
        span = fmt.page_bytes(level)
        va = fmt.canonical(3 * span)
        world.table.map(va, span, span, flags, level=level)
        for offset in (0, 1, PAGE, span // 2 + 5, span - 1):
            assert world.table.translate(va + offset) == span + offset
        assert world.table.entry(va) == Entry(level, world.table.find(va)[0], fmt.pte(span, flags | V))
        assert len(world.table.steps(va)) == fmt.levels - level
        assert world.table.translate(va - 1) is None and world.table.translate(fmt.canonical(va + span)) is None
        world.account()


def test_bits_above_the_page_number_of_a_pointer_do_not_change_the_walk():
    world = three_pages()
    for step in world.table.steps(0x1000)[:2]:
        world.put(step.pte_pa, 0, 1 << 63 | 3 << 61 | 0x7F << 54 | step.pte)
    assert world.table.translate(0x1FFF) == 0x80001FFF
    assert world.table.missing_tables(np.array([0x1000], dtype=np.uint64)) == 0
    world.table.map(0x5000, 3 * PAGE, 0, R)
    world.table.unmap(0x1000, 2 * PAGE)
    assert [world.table.translate(va) for va in (0x1000, 0x7FFF)] == [None, 0x2FFF]


@pytest.mark.parametrize("fmt", FORMATS, ids=lambda fmt: fmt.name)
@pytest.mark.parametrize("where", ["just below", "just above", "far above"])
def test_a_table_just_outside_ram_is_outside_memory_at_its_first_and_its_last_entry(fmt: Format, where: str):
    world = World(fmt, pages=4)
    table = {"just below": BASE - PAGE, "just above": world.stop, "far above": 0x3FFFFF000}[where]
    world.put(world.table.root, 0, world.pointer(table))
    for index in (0, 1, fmt.entries - 1):
        va = index * fmt.page_bytes(fmt.levels - 2)
        at = table + index * fmt.pte_bytes
        for ask in (world.table.translate, world.table.entry, world.table.steps):
            with pytest.raises(OutsideMemory) as caught:
                ask(va)
            assert (caught.value.va, caught.value.level, caught.value.pte_pa) == (va, fmt.levels - 2, at)


def test_a_misaligned_superpage_translates_with_the_low_bits_of_the_address():
    world = World(pages=4)
    world.put(world.table.root, 0, (BASE + PAGE) >> 2 | V | R)
    assert world.table.translate(0x1234) == 0x80001234


def test_the_sixteen_ptes_of_a_64_kib_page_translate_to_their_own_pages(fmt: Format):
    if fmt is SV32:
        return
    world = World(fmt, pages=8)
    world.table.map(0x10000, 16 * PAGE, 0, R)
    table = world.table.find(0x10000)[0] & -PAGE
    for index in range(16, 32):
        world.put(table, index, 1 << 63 | (0x120000 | 0x8000) >> 2 | V | R | U)
    assert [world.table.translate(0x10000 + offset) for offset in (0, 0x1001, 0xFFFF)] == [0x120000, 0x121001, 0x12FFFF]


def test_bits_above_the_page_number_do_not_change_the_translation():
    world = three_pages()
    table = world.table.find(0x1000)[0] & -PAGE
    world.put(table, 1, 3 << 61 | 0x7F << 54 | world.table.entry(0x1000).pte)
    assert world.table.translate(0x1FFF) == 0x80001FFF


@pytest.mark.parametrize(
    ("root", "fmt", "kind", "message"),
    [
        (BASE + 8, SV39, BadAddress, "root 0x80000008 is not page-aligned"),
        (1 << 34, SV32, BadAddress,
         "root 0x400000000 is not below 0x400000000, and no PTE of Sv32 names a page above that"),
        (1 << 56, SV39, BadAddress,
         "root 0x100000000000000 is not below 0x100000000000000, and no PTE of Sv39 names a page above that"),
        (BASE - PAGE, SV39, OutsideMemory,
         "4096 bytes at physical address 0x7ffff000 are outside memory, which has ram 0x80000000-0x80004000"),
    ],
)  # fmt: skip
def test_a_root_that_cannot_be_one_is_refused(root: int, fmt: Format, kind: type[PagebookError], message: str):
    with pytest.raises(kind) as caught:
        AddressSpace(World(pages=4).memory, root, fmt)
    assert (str(caught.value), caught.value.pa) == (message, root)


# What no operation takes


RANGES: dict[str, tuple[Format, int, int, str]] = {
    "empty": (SV39, 0x1000, 0, "a range of 0 bytes at 0x1000: the size must be above zero"),
    "negative size": (SV39, 0x1000, -4096, "a range of -4096 bytes at 0x1000: the size must be above zero"),
    "unaligned va": (SV39, 0x1001, 4096, "va 0x1001 is not a multiple of the page size 0x1000"),
    "unaligned size": (SV39, 0x1000, 4097, "size 0x1001 is not a multiple of the page size 0x1000"),
    "negative va": (SV39, -4096, 4096, "-0x1000 is negative; an address is an unsigned 64-bit number"),
    "too wide": (SV39, 1 << 64, 4096, "0x10000000000000000 does not fit in 64 bits"),
    "not canonical": (
        SV39, 1 << 38, 4096,
        "0x4000000000 is not canonical in Sv39: bits 63 to 39 must all equal bit 38; the nearest canonical address is "
        "0xffffffc000000000",
    ),
    "past the low half": (
        SV39, (1 << 38) - 4096, 8192,
        "0x2000 bytes from 0x3ffffff000 end at 0x4000000fff, past the last canonical address in Sv39",
    ),
    "past the top": (
        SV48, (1 << 64) - 4096, 8192,
        "0x2000 bytes from 0xfffffffffffff000 end at 0x10000000000000fff, past the last canonical address in Sv48",
    ),
    "through the hole": (
        SV39, 0, 1 << 64,
        "0x10000000000000000 bytes from 0x0 end at 0xffffffffffffffff, past the last canonical address in Sv39",
    ),
    "wraps": (
        SV57, 0x1000, 1 << 64,
        "0x10000000000000000 bytes from 0x1000 end at 0x10000000000000fff, past the last canonical address in Sv57",
    ),
    "past the top of 32 bits": (
        SV32, 0xFFFFF000, 8192,
        "0x2000 bytes from 0xfffff000 end at 0x100000fff, past the last canonical address in Sv32",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("fmt", "va", "size", "message"), RANGES.values(), ids=RANGES)
def test_no_operation_takes_a_range_that_no_table_could_hold(fmt: Format, va: int, size: int, message: str):
    world = World(fmt, pages=8)
    for strict in (False, True):
        for call in (
            lambda strict=strict: world.table.map(va, size, 0, R, strict=strict),
            lambda strict=strict: world.table.unmap(va, size, holes=True, strict=strict),
            lambda: world.table.protect(va, size, R),
        ):
            assert refused(world, call, BadAddress, message).va == va


def test_a_range_may_cross_the_middle_of_sv32_where_there_is_no_hole():
    world = World(SV32, pages=8)
    world.table.map(0x7FFFE000, 4 * PAGE, 0x1000, R)
    assert [world.table.translate(va) for va in (0x7FFFF000, 0x80000000, 0x80001FFF)] == [0x2000, 0x3000, 0x4FFF]
    world.table.unmap(0x7FFFE000, 4 * PAGE)
    world.account()


def test_all_of_each_half_can_be_mapped_to_its_last_byte(fmt: Format):
    if fmt.xlen == fmt.va_bits:
        halves = [(0, 1 << 32)]
    else:
        halves = [(0, 1 << fmt.va_bits - 1), ((1 << 64) - (1 << fmt.va_bits - 1), 1 << fmt.va_bits - 1)]
    level = fmt.levels - 1
    for va, size in halves:
        world = World(fmt, pages=2)
        world.table.map(va, size, 0, R, level=level)
        assert world.table.translate(va + size - 1) == size - 1
        world.table.unmap(va, size)
        assert world.table.translate(va) is None
        world.account()


@pytest.mark.parametrize("level", [-1, 3, 5, 99])
def test_a_level_the_format_does_not_have_is_refused(level: int):
    world = World(pages=4)
    refused(
        world, lambda: world.table.map(0, PAGE, 0, R, level=level), BadAddress, f"Sv39 has levels 0 to 2, not {level}"
    )


@pytest.mark.parametrize(
    ("fmt", "pa", "size", "level"),
    [
        (SV39, 0x1001, PAGE, 0),
        (SV39, -PAGE, PAGE, 0),
        (SV39, 1 << 56, PAGE, 0),
        (SV39, (1 << 56) - PAGE, 2 * PAGE, 0),
        (SV39, PAGE, 2 * MiB, 1),
        (SV39, GiB // 2, GiB, 2),
        (SV32, 1 << 34, PAGE, 0),
        (SV32, 1 << 21, 4 * MiB, 1),
    ],
)
def test_a_physical_address_that_no_leaf_can_name_is_refused(fmt: Format, pa: int, size: int, level: int):
    world = World(fmt, pages=8)
    span = fmt.page_bytes(level)
    error = refused(
        world, lambda: world.table.map(0, size, pa, R, level=level), BadAddress,
        f"pa {pa:#x} is not aligned to {span:#x}, or {size:#x} bytes more do not fit",
    )  # fmt: skip
    assert error.pa == pa


def test_the_last_page_that_a_leaf_can_name_can_be_mapped(fmt: Format):
    world = World(fmt, pages=8)
    top = fmt.ppn_mask + 1 << 12
    world.table.map(0, 3 * PAGE, top - 3 * PAGE, R)
    assert world.table.translate(3 * PAGE - 1) == top - 1
    world.account()


@pytest.mark.parametrize("flags", [0, V, U, A | D, W, W | X, 1 << 10 | R, -1, 1 << 63 | R])
def test_flags_that_make_no_leaf_are_refused(flags: int):
    world = World(pages=4)
    error = refused(
        world, lambda: world.table.map(0x1000, PAGE, 0, flags), BadAddress,
        f"flags {flags:#x} make no leaf: ten bits, one of R, W, X at least, and W only with R",
    )  # fmt: skip
    assert error.va == 0x1000


def test_map_pages_takes_flags_as_they_come_as_mappages_does():
    world = World(pages=8)
    world.table.map_pages(0x1000, PAGE, BASE, 0)
    world.table.map_pages(0x2000, 2 * PAGE, BASE, W | U)
    assert [world.table.entry(va).pte & 0x3FF for va in (0x1000, 0x2000, 0x3000)] == [V, V | W | U, V | W | U]
    assert world.table.translate(0x1000) is None


@pytest.mark.parametrize("flags", [0, V | R, U, W, W | X | U, R | A, R | 1 << 8])
def test_rights_that_are_none_are_refused(flags: int):
    world = three_pages()
    error = refused(
        world, lambda: world.table.protect(0x1000, PAGE, flags), BadAddress,
        f"flags {flags:#x} are no rights: of R, W, X, U, G, with one of R, W, X and W only with R",
    )  # fmt: skip
    assert error.va == 0x1000


# What stands in the way


@pytest.mark.parametrize("strict", [False, True], ids=["whole", "strict"])
@pytest.mark.parametrize("pages", [1, 5])
def test_already_mapped_names_the_old_mapping(strict: bool, pages: int):
    world = three_pages()
    pte_pa = world.table.find(0x4000)[0]
    va = 0x4000 if pages == 1 else 0x3000
    world.table.map(0x6000, PAGE, 0, R)
    before = world.state
    with pytest.raises(AlreadyMapped) as caught:
        world.table.map(va, pages * PAGE, 0, R, strict=strict)
    assert str(caught.value) == f"0x4000 is already mapped: PTE 0x20001017 at {pte_pa:#x} -> 0x80004000 rw-u"
    assert facts(caught.value) == (0x4000, None, 0, 0x20001017, pte_pa)
    assert (world.state == before) == (not strict or pages == 1)
    assert (world.table.translate(0x3000) == 0) == (strict and pages == 5)


@pytest.mark.parametrize("strict", [False, True], ids=["whole", "strict"])
@pytest.mark.parametrize("pages", [1, 3, 600])
def test_a_superpage_in_the_way_is_already_mapped_however_much_is_asked_for(strict: bool, pages: int):
    world = World(pages=8)
    world.table.map(0x200000, 2 * MiB, 0x40000000, R | X, level=1)
    pte_pa = world.table.find(0x200000)[0]
    error = refused(
        world, lambda: world.table.map(0x201000, pages * PAGE, 0, R, strict=strict), AlreadyMapped,
        f"0x201000 is already mapped: PTE 0x1000000b at {pte_pa:#x} -> 0x40000000 r-x-",
    )  # fmt: skip
    assert facts(error) == (0x201000, None, 1, 0x1000000B, pte_pa)


def test_a_table_in_the_way_of_a_superpage_is_already_mapped_even_when_it_is_empty():
    world = World(pages=8)
    world.table.map(0x200000, PAGE, 0, R)
    world.table.unmap(0x200000, PAGE)
    _, pte, _ = world.table.find(0x200000, SV39.steps[:2])
    table = SV39.pte_pa(pte)
    for va, size in ((0x200000, 2 * MiB), (0, 8 * MiB)):
        error = refused(
            world, lambda va=va, size=size: world.table.map(va, size, 0, R, level=1), AlreadyMapped,
            f"0x200000 is already mapped: PTE {pte:#x} at {BASE + 6 * PAGE + 8:#x} -> {table:#x} ----",
        )  # fmt: skip
        assert facts(error) == (0x200000, None, 1, pte, BASE + 6 * PAGE + 8)


@pytest.mark.parametrize("pages", [1, 2])
def test_out_of_frames_says_how_many_tables_are_needed(pages: int):
    world = World(pages=8)
    world.frames.budget = 1
    error = refused(
        world, lambda: world.table.map(0x1000, pages * PAGE, 0, R), OutOfFrames,
        "mapping 0x1000 needs 2 frames for tables, and the allocator has fewer",
    )  # fmt: skip
    assert facts(error) == (0x1000, None, None, None, None)


def test_a_range_over_two_halves_of_one_missing_upper_table_counts_it_once():
    for fmt in (SV48, SV57):
        world = World(fmt, pages=16)
        needed = fmt.levels - 2 + 3  # one table on each upper level, two on level 1's row, two of leaves
        world.frames.budget = needed
        world.table.map(GiB - PAGE, 2 * PAGE, 0, R)
        assert world.frames.budget == 0
        world.account()


def test_strict_mapping_has_small_pages_only():
    world = World(pages=4)
    error = refused(
        world, lambda: world.table.map(0, 2 * MiB, 0, R, level=1, strict=True), BadAddress,
        "strict mapping is xv6's, which has 4096-byte pages only",
    )  # fmt: skip
    assert (error.va, error.level) == (0, 1)


def test_a_damaged_free_list_stops_a_map_before_it_writes():
    world = World(pages=8)
    world.memory.write64(world.frames.head, 0x123)
    before = world.ram, world.frames.head
    for size in (PAGE, 2 * MiB):
        with pytest.raises(BadFrame, match="the free list leads to 0x123"):
            world.table.map(0x1000, size, 0, R)
        assert (world.ram, world.frames.head) == before


def test_an_allocator_that_lies_about_what_it_has_is_found_out():
    world = World(pages=8)
    world.frames.has = lambda count: True  # type: ignore[method-assign]
    world.frames.budget = 1
    with pytest.raises(AssertionError, match="the survey asked for these frames"):
        world.table.map(0x1000, 1024 * PAGE, 0, R)
    world.frames.budget = 0
    with pytest.raises(OutOfFrames):
        world.table.map(1 << 30, PAGE, 0, R)


# protect and unmap


def test_protect_changes_the_rights_and_nothing_else_of_each_page():
    world = World(pages=8)
    world.table.map(0x1000, 3 * PAGE, 0x5000, R | W | U | A | D | 3 << 8)
    world.table.map(0x4000, PAGE, 0x9000, X | G)
    world.table.protect(0x2000, 3 * PAGE, R | X)
    assert [world.table.entry(va).pte & 0x3FF for va in (0x1000, 0x2000, 0x3000, 0x4000)] == [
        V | R | W | U | A | D | 3 << 8, V | R | X | A | D | 3 << 8, V | R | X | A | D | 3 << 8, V | R | X,
    ]  # fmt: skip
    assert [world.table.translate(va) for va in (0x1000, 0x2000, 0x3000, 0x4000)] == [0x5000, 0x6000, 0x7000, 0x9000]
    world.account()


def test_a_page_that_is_not_mapped_is_named_with_the_pte_that_is_absent():
    world = three_pages()
    at = world.table.find(0x3000)[0]
    for call in (
        lambda: world.table.protect(0x1000, 4 * PAGE, R),
        lambda: world.table.unmap(0x1000, 4 * PAGE),
        lambda: world.table.unmap(0x1000, 4 * PAGE, free=True),
        lambda: world.table.unmap(0x3000, PAGE, strict=True),
    ):
        error = refused(world, call, NotMapped, f"0x3000 is not mapped: PTE 0x0 at {at:#x} has V = 0")
        assert facts(error) == (0x3000, None, 0, 0, at)
    above = world.table.find(0x200000)[0]
    error = refused(
        world, lambda: world.table.unmap(0x200000, PAGE), NotMapped,
        f"0x200000 is not mapped: there is no level-0 table for it (PTE 0x0 at {above:#x})",
    )  # fmt: skip
    assert facts(error) == (0x200000, None, 1, 0, above)


def test_an_absent_pte_above_the_last_level_is_shown_as_it_is():
    world = World(pages=4)
    world.put(world.table.root, 1, 0x21FDD0C6)
    refused(
        world, lambda: world.table.protect(GiB, PAGE, R), NotMapped,
        f"0x40000000 is not mapped: there is no level-1 table for it (PTE 0x21fdd0c6 at {world.table.root + 8:#x})",
    )  # fmt: skip


def test_a_pte_without_v_is_absent_whatever_else_it_holds():
    world = three_pages()
    world.put(world.table.find(0x3000)[0] & -PAGE, 3, 0x21FDD0C6)
    at = world.table.find(0x3000)[0]
    assert world.table.translate(0x3000) is None
    refused(
        world,
        lambda: world.table.unmap(0x3000, PAGE),
        NotMapped,
        f"0x3000 is not mapped: PTE 0x21fdd0c6 at {at:#x} has V = 0",
    )
    world.table.unmap(0x1000, 4 * PAGE, holes=True)
    assert world.memory.read64(at) == 0x21FDD0C6
    world.table.map(0x3000, PAGE, 0x5000, R)
    assert world.table.translate(0x3000) == 0x5000


@pytest.mark.parametrize("flags", [V, V | U | 3 << 8])
def test_a_pointer_on_the_last_level_is_no_mapping(flags: int):
    world = three_pages()
    at = world.table.find(0x2000)[0]
    world.put(at & -PAGE, 2, 0x20000800 | flags)
    message = f"0x2000 is not mapped by a leaf: PTE {0x20000800 | flags:#x} at {at:#x} has V, and none of R, W, X"
    error = refused(world, lambda: world.table.protect(0x1000, 2 * PAGE, R), NotATable, message)
    assert facts(error) == (0x2000, None, 0, 0x20000800 | flags, at)
    assert world.table.translate(0x2000) is None
    assert world.table.entry(0x2000).kind == "table"
    if flags == V:  # xv6's uvmunmap looks at all ten bits
        refused(world, lambda: world.table.unmap(0x1000, 2 * PAGE), NotATable, message)
    refused(
        world, lambda: world.table.map(0x2000, PAGE, 0, R), AlreadyMapped,
        f"0x2000 is already mapped: PTE {0x20000800 | flags:#x} at {at:#x} -> 0x80002000 ---"
        + ("u" if flags & U else "-"),
    )  # fmt: skip
    world.table.unmap(0x1000, 2 * PAGE, holes=True)
    assert world.memory.read64(at) == 0


def test_freeing_a_page_that_is_not_the_allocators_is_refused_before_anything_is_freed():
    world = three_pages()
    world.table.map(0x3000, PAGE, 0x10000000, R | W)
    at = world.table.find(0x3000)[0]
    for holes in (False, True):
        error = refused(
            world, lambda holes=holes: world.table.unmap(0x1000, 3 * PAGE, free=True, holes=holes), BadFrame,
            f"0x3000 maps 0x10000000, which is no frame of the allocator's (PTE 0x4000007 at {at:#x})",
        )  # fmt: skip
        assert facts(error) == (0x3000, 0x10000000, 0, 0x4000007, at)


def mine(world: World, pages: int) -> list[int]:
    """Frames of the allocator, mapped from page 1 on."""
    found = [world.frame() for _ in range(pages)]
    for index, pa in enumerate(found):
        world.table.map((index + 1) * PAGE, PAGE, pa, R | W)
    return found


def test_frames_are_freed_in_the_order_of_their_addresses():
    world = World(pages=16)
    frames = mine(world, 5)
    world.table.unmap(0x2000, 3 * PAGE, free=True)
    assert world.frames.frames().tolist()[:3] == [frames[3], frames[2], frames[1]]
    assert [world.table.translate(page * PAGE) for page in range(1, 6)] == [frames[0], None, None, None, frames[4]]
    world.account()


def test_strict_unmapping_frees_what_comes_before_the_page_that_stops_it():
    world = World(pages=16)
    frames = mine(world, 3)
    world.table.unmap(0x2000, PAGE)
    with pytest.raises(NotMapped):
        world.table.unmap(0x1000, 3 * PAGE, free=True, strict=True)
    assert world.frames.head == frames[0]
    assert [world.table.translate(page * PAGE) for page in (1, 3)] == [None, frames[2]]
    world.account(loose=[frames[1]])


def test_strict_unmapping_stops_at_the_frame_that_is_not_the_allocators():
    world = World(pages=16)
    frames = mine(world, 2)
    world.table.map(0x3000, PAGE, 0, R)
    world.table.map(0x4000, PAGE, 0, R)
    with pytest.raises(BadFrame) as caught:
        world.table.unmap(0x1000, 4 * PAGE, free=True, strict=True)
    assert caught.value.va == 0x3000
    assert world.frames.frames().tolist()[:2] == frames[::-1]
    assert [world.table.translate(page * PAGE) for page in range(1, 5)] == [None, None, 0, 0]
    world.account()


@pytest.mark.parametrize("strict", [False, True], ids=["whole", "strict"])
def test_a_superpage_is_never_cut_in_two(strict: bool):
    world = World(pages=8)
    world.table.map(0x200000, 4 * MiB, 0x40000000, R, level=1)
    world.table.map(0x600000, PAGE, 0, R)
    first, second = world.table.find(0x200000)[0], world.table.find(0x400000)[0]
    text = "the range cuts the 0x200000-byte page at {:#x} (PTE {:#x} at {:#x})"
    for va, size, message, at in (
        (0x201000, 2 * MiB - PAGE, text.format(0x200000, 0x10000003, first), 0x201000),
        (0x200000, PAGE, text.format(0x200000, 0x10000003, first), 0x200000),
        (0x400000, 2 * MiB - PAGE, text.format(0x400000, 0x10080003, second), 0x400000),
        (0x401000, 2 * MiB, text.format(0x400000, 0x10080003, second), 0x401000),
    ):
        calls = [lambda va=va, size=size: world.table.unmap(va, size, strict=strict, holes=True)]
        if not strict:
            calls.append(lambda va=va, size=size: world.table.protect(va, size, R))
        for call in calls:
            error = refused(world, call, BadAddress, message)
            assert (error.va, error.level, error.pte_pa) == (at, 1, first if at < 0x400000 else second)
    world.table.protect(0x200000, 4 * MiB + PAGE, R | X)
    assert world.table.entry(0x400000).pte & 0x3FF == V | R | X
    world.table.unmap(0x200000, 4 * MiB + PAGE, strict=strict)
    assert world.table.translate(0x200000) is None
    world.account()


def test_a_superpage_whose_frames_are_all_the_allocators_is_freed_frame_by_frame():
    pages = 1024 + 512
    memory = Memory.anonymous(pages * PAGE, BASE)
    frames = FreeList(memory, BASE, BASE + pages * PAGE)
    frames.free_range(BASE + 1024 * PAGE, BASE + pages * PAGE)
    table = PageTable.create(memory, frames)
    table.map(0x200000, 2 * MiB, BASE + 2 * MiB, R | W, level=1)
    table.map(0x400000, 2 * MiB, BASE - 2 * MiB, R | W, level=1)
    before = bytes(memory.regions[0].data), frames.head
    with pytest.raises(BadFrame):
        table.unmap(0x200000, 4 * MiB, free=True)
    assert (bytes(memory.regions[0].data), frames.head) == before
    free = frames.count
    table.unmap(0x200000, 2 * MiB, free=True)
    assert frames.count == free + 512
    assert frames.frames().tolist()[:512] == list(range(BASE + 4 * MiB - PAGE, BASE + 2 * MiB - PAGE, -PAGE))


@pytest.mark.parametrize("edge", ["first", "last"])
def test_a_superpage_of_which_one_frame_is_not_the_allocators_is_not_freed(edge: str):
    memory = Memory.anonymous(1024 * PAGE, BASE)
    start = BASE + 512 * PAGE + (PAGE if edge == "first" else 0)
    frames = FreeList(memory, start, BASE + 1024 * PAGE - (PAGE if edge == "last" else 0))
    memory.write(BASE, bytes(PAGE))
    table = PageTable(memory, BASE, frames)
    memory.write64(BASE, BASE + PAGE >> 2 | V)
    memory.write64(BASE + PAGE, BASE + 2 * MiB >> 2 | V | R)
    with pytest.raises(BadFrame) as caught:
        table.unmap(0, 2 * MiB, free=True)
    assert caught.value.pa == BASE + 2 * MiB
    assert frames.count == 0


def test_freeing_a_page_of_256_tib_is_refused_without_listing_its_frames():
    world = World(SV57, pages=4)
    world.put(world.table.root, 0, V | R | W)
    refused(
        world, lambda: world.table.unmap(0, 1 << 48, free=True), BadFrame,
        f"0x0 maps 0x0, which is no frame of the allocator's (PTE 0x7 at {world.table.root:#x})",
    )  # fmt: skip
    world.table.unmap(0, 1 << 48)
    world.account()


def test_a_page_of_256_tib_that_begins_with_a_frame_of_the_allocators_is_not_listed_either():
    memory = Memory.anonymous(4 * PAGE, base=0)
    frames = FreeList(memory, 0, 2 * PAGE)
    table = PageTable(memory, 3 * PAGE, frames, SV57)
    memory.write64(3 * PAGE, V | R)
    with pytest.raises(BadFrame, match="0x0 maps 0x0, which is no frame of the allocator's"):
        table.unmap(0, 1 << 48, free=True)
    assert frames.count == 0


def test_freeing_a_pointer_to_a_frame_of_the_allocators_is_not_a_table_unless_holes_are_allowed():
    world = World(pages=16)
    frame = mine(world, 1)[0]
    at = world.table.find(PAGE)[0]
    world.put(at, 0, world.pointer(frame))
    refused(
        world, lambda: world.table.unmap(PAGE, PAGE, free=True), NotATable,
        f"0x1000 is not mapped by a leaf: PTE {world.pointer(frame):#x} at {at:#x} has V, and none of R, W, X",
    )  # fmt: skip
    world.table.unmap(PAGE, PAGE, free=True, holes=True)
    assert world.frames.head == frame
    world.account()
    world.put(at, 0, world.pointer(0x5000))
    refused(
        world, lambda: world.table.unmap(PAGE, PAGE, free=True, holes=True), BadFrame,
        f"0x1000 maps 0x5000, which is no frame of the allocator's (PTE 0x1401 at {at:#x})",
    )  # fmt: skip


def test_an_empty_half_is_passed_over_by_unmap_with_holes(fmt: Format):
    world = World(fmt, pages=4)
    with world.unchanged():
        world.table.unmap(0, 1 << fmt.va_bits - 1, holes=True, free=True)


def test_slices_are_the_runs_of_ptes_of_a_range():
    world = World(pages=8)
    world.table.map(0x1FF000, 2 * PAGE, 0, R)
    world.table.map(4 * MiB, 2 * MiB, 0, R, level=1)
    found = [part._replace(ptes=None) for part in world.table.slices(0x1FE000, 8 * MiB)]
    low, high, middle = world.table.find(0x1FE000)[0], world.table.find(0x200000)[0], world.table.find(6 * MiB)[0]
    assert found == [
        Slice(0x1FE000, 0, low, 2, None), Slice(0x200000, 0, high, 512, None), Slice(4 * MiB, 1, middle - 8, 1, None),
        Slice(6 * MiB, 1, middle, 512, None), Slice(8 * MiB, 1, middle + 8, 510, None),
    ]  # fmt: skip
    with pytest.raises(NotATable) as caught:
        world.table.present(0, 8 * MiB)
    assert str(caught.value) == f"a superpage maps 0x400000: PTE 0x3 at {middle - 8:#x} -> 0x0 r--- on level 1"
    assert facts(caught.value) == (4 * MiB, None, 1, 3, middle - 8)


def test_pte_address_is_xv6s_walk(fmt: Format):
    world = World(fmt, pages=8)
    with world.unchanged():
        assert world.table.pte_address(0x5000) is None
    at = world.table.pte_address(0x5000, alloc=True)
    assert at == world.table.pte_address(0x5000) == world.table.find(0x5000)[0]
    assert world.frames.count == 8 - fmt.levels
    world.table.map(fmt.page_bytes(1) * 2, fmt.page_bytes(1), 0, R, level=1)
    for alloc in (False, True):
        with world.unchanged(), pytest.raises(NotATable, match=r"^a superpage maps .* on level 1$"):
            world.table.pte_address(fmt.page_bytes(1) * 2 + PAGE, alloc)
    world.account()


# free_tree


def test_free_tree_frees_children_before_parents_and_the_root_last():
    world = World(SV48, pages=16)
    for va in (0, 2 * MiB, GiB, 1 << 39):
        world.table.map(va, PAGE, 0, R)
        world.table.unmap(va, PAGE)
    root = world.table.root
    loop = world.loop()
    loop.freewalk()
    world.table.free_tree()
    assert (world.ram, world.frames.head, world.frames.count) == (loop.ram, loop.head, 16)
    assert world.frames.head == root


@pytest.mark.parametrize("strict", [False, True], ids=["whole", "strict"])
def test_free_tree_stops_at_the_first_leaf_and_says_where_it_is(strict: bool):
    world = World(pages=16)
    world.table.map(0, PAGE, 0, R)
    world.table.unmap(0, PAGE)
    high = (1 << 64) - GiB
    world.table.map(high, PAGE, 0x10000000, R | W)
    world.table.map(high + 2 * PAGE, PAGE, 0x10000000, R | W)
    at = world.table.find(high)[0]
    loop = world.loop()
    before = world.state
    with pytest.raises(NotATable) as caught:
        world.table.free_tree(strict=strict)
    assert str(caught.value) == (
        f"a leaf is still mapped at 0xffffffffc0000000: PTE 0x4000007 at {at:#x} -> 0x10000000 rw--"
    )
    assert facts(caught.value) == (high, None, 0, 0x4000007, at)
    with pytest.raises(Stopped):
        loop.freewalk()
    if strict:
        assert (world.ram, world.frames.head) == (loop.ram, loop.head)
        assert world.frames.count == len(loop.free_frames()) == len(before[3]) + 2
    else:
        assert world.state == before


def test_a_superpage_is_a_leaf_to_free_tree():
    world = World(pages=4)
    world.table.map(0, GiB, 0, R, level=2)
    refused(
        world, world.table.free_tree, NotATable,
        f"a leaf is still mapped at 0x0: PTE 0x3 at {world.table.root:#x} -> 0x0 r---",
    )  # fmt: skip


def test_free_tree_of_a_pointer_on_the_last_level_is_not_a_table():
    world = three_pages()
    world.table.unmap(0x1000, 4 * PAGE, holes=True)
    at = world.table.find(0x2000)[0]
    world.put(at & -PAGE, 2, 0x20000801)
    error = refused(
        world,
        world.table.free_tree,
        NotATable,
        f"a pointer on the last level at 0x2000: PTE 0x20000801 at {at:#x} -> 0x80002000 ----",
    )
    assert facts(error) == (0x2000, None, 0, 0x20000801, at)


@pytest.mark.parametrize("strict", [False, True], ids=["whole", "strict"])
def test_free_tree_of_a_table_that_is_not_the_allocators_frees_nothing_or_what_comes_before(strict: bool):
    world = World(pages=8)
    table, foreign = world.frame(), world.frame()
    world.frames = Budget(world.memory, BASE, foreign)
    world.frames.free_range(BASE, BASE)
    world.table = PageTable(world.memory, BASE + PAGE, world.frames)
    world.memory.write(BASE, bytes(2 * PAGE))
    world.put(BASE + PAGE, 0, world.pointer(BASE))
    world.put(BASE + PAGE, 1, world.pointer(foreign))
    before = world.ram
    with pytest.raises(BadFrame) as caught:
        world.table.free_tree(strict=strict)
    if strict:
        assert world.frames.frames().tolist() == [BASE]
        assert world.memory.read64(BASE + PAGE) == 0
        assert world.memory.read64(BASE + PAGE + 8) == world.pointer(foreign)
    else:
        assert str(caught.value) == f"the table at {foreign:#x} is on no frame of the allocator's"
        assert (caught.value.pa, caught.value.pte_pa) == (foreign, BASE + PAGE + 8)
        assert (world.ram, world.frames.count) == (before, 0)
    assert table > foreign


def test_free_tree_of_a_root_that_is_not_the_allocators_frees_nothing():
    world = World(pages=8)
    outside = PageTable(world.memory, world.table.root, FreeList(world.memory, BASE, BASE + PAGE))
    error = refused(
        world, outside.free_tree, BadFrame, f"the table at {world.table.root:#x} is on no frame of the allocator's"
    )
    assert (error.pa, error.pte_pa) == (world.table.root, None)


# Hostile tables


def test_a_root_that_points_at_itself_on_every_entry_ends_every_walk(fmt: Format):
    world = World(fmt, pages=4)
    root, pointer = world.table.root, world.pointer(world.table.root)
    for index in range(fmt.entries):
        world.put(root, index, pointer)
    assert [step.pte for step in world.table.steps(0)] == [pointer] * fmt.levels
    assert world.table.translate(0x1234) is None
    assert world.table.entry(fmt.canonical(-1)).kind == "table"
    error = refused(
        world, world.table.free_tree, NotATable,
        f"a second pointer to one table at 0x0: PTE {pointer:#x} at {root:#x} -> {root:#x} ----",
    )  # fmt: skip
    assert facts(error) == (0, None, fmt.levels - 1, pointer, root)
    half = 1 << fmt.va_bits - 1
    with world.unchanged():
        with pytest.raises(NotATable, match="is not mapped by a leaf"):
            world.table.protect(0, half, R)
        with pytest.raises(NotATable, match="is not mapped by a leaf"):
            world.table.unmap(0, half)
        with pytest.raises(AlreadyMapped):
            world.table.map(0, 3 * PAGE, 0, R)


@pytest.mark.parametrize("strict", [False, True], ids=["whole", "strict"])
def test_a_pointer_out_of_ram_is_outside_memory_with_the_walk_that_met_it(strict: bool):
    world = World(pages=8)
    world.put(world.table.root, 0, world.pointer(0x1000))
    where = "which has ram 0x80000000-0x80008000"
    message = (
        "the walk of 0x3000 needs a level-1 PTE at 0x1000: 8 bytes at physical address 0x1000 are outside memory, "
        + where
    )
    table = world.table
    for call in (
        lambda: table.translate(0x3000),
        lambda: table.entry(0x3000),
        lambda: table.steps(0x3000),
        lambda: table.map(0x3000, PAGE, 0, R, strict=strict),
        lambda: table.map(0x3000, 2 * PAGE, 0, R, strict=strict),
        lambda: table.unmap(0x3000, PAGE, strict=strict, holes=True),
        lambda: table.protect(0x3000, PAGE, R),
        lambda: table.present(0x3000, PAGE),
        lambda: table.pte_address(0x3000, True),
    ):
        error = refused(world, call, OutsideMemory, message)
        assert facts(error) == (0x3000, 0x1000, 1, None, 0x1000)
    refused(
        world, lambda: table.free_tree(strict=strict), OutsideMemory,
        "the walk of 0x0 needs a level-1 PTE at 0x1000: 4096 bytes at physical address 0x1000 are outside memory, "
        + where,
    )  # fmt: skip


def test_a_last_level_table_out_of_ram_is_found_before_anything_is_written():
    world = World(pages=8)
    world.table.map(0, PAGE, 0, R)
    middle = world.table.find(0, SV39.steps[:2])[0] & -PAGE
    world.put(middle, 1, world.pointer(0x1000))
    error = refused(
        world, lambda: world.table.map(PAGE, 1024 * PAGE, 0, R), OutsideMemory,
        "the walk of 0x200000 needs a level-0 PTE at 0x1000: 4096 bytes at physical address 0x1000 are outside memory, "
        "which has ram 0x80000000-0x80008000",
    )  # fmt: skip
    assert facts(error) == (0x200000, 0x1000, 0, None, 0x1000)


def test_in_sv32_too_a_table_may_be_outside_memory():
    world = World(SV32, pages=8)
    world.put(world.table.root, 0, world.pointer(0x1000))
    refused(
        world, lambda: world.table.translate(0x3000), OutsideMemory,
        "the walk of 0x3000 needs a level-0 PTE at 0x100c: physical address 0x100c is outside memory, which has ram "
        "0x80000000-0x80008000",
    )  # fmt: skip


def shared(fmt: Format = SV39) -> tuple[World, int]:
    """The first two pointers of the lowest upper table lead to one last-level table, at the address given back."""
    world = World(fmt, pages=16)
    world.table.map(0, PAGE, 0, R)
    world.table.unmap(0, PAGE)
    at, pte, _ = world.table.find(0, fmt.steps[:-1])
    world.put(at & -PAGE, 1, pte)
    return world, fmt.pte_pa(pte)


def test_a_range_that_meets_one_table_twice_is_not_mapped(fmt: Format):
    world, table = shared(fmt)
    reach = fmt.page_bytes(1)
    refused(
        world, lambda: world.table.map(0, reach + PAGE, 0, R), NotATable,
        f"the pages from 0x0 and from {reach:#x} have PTEs in common, at {table:#x}: two pointers lead to one table",
    )  # fmt: skip
    loop = world.loop()
    with pytest.raises(Stopped):
        loop.map(0, reach + PAGE, 0, R)
    with pytest.raises(AlreadyMapped) as caught:
        world.table.map(0, reach + PAGE, 0, R, strict=True)
    assert (caught.value.va, world.ram) == (reach, loop.ram)


def test_a_range_that_uses_two_parts_of_one_table_is_mapped_as_the_loop_maps_it(fmt: Format):
    world, _ = shared(fmt)
    loop = world.loop()
    va, size = fmt.page_bytes(1) - 3 * PAGE, 7 * PAGE
    loop.map(va, size, 0, R)
    world.table.map(va, size, 0, R)
    assert world.ram == loop.ram
    loop.protect(va, size, R | X)
    world.table.protect(va, size, R | X)
    loop.unmap(va, size, False, False)
    world.table.unmap(va, size)
    assert world.ram == loop.ram


@pytest.mark.parametrize("free", [False, True])
def test_a_range_that_meets_one_table_twice_is_not_unmapped_unless_holes_are_allowed(fmt: Format, free: bool):
    world, table = shared(fmt)
    reach = fmt.page_bytes(1)
    frames = [world.frame() for _ in range(2)]
    for page, pa in enumerate(frames):
        world.table.map(page * PAGE, PAGE, pa, R)
    world.table.map(2 * PAGE, reach - 2 * PAGE, frames[0] if free else 0, R)
    if free:  # make every leaf name a frame of the allocator's, so that only the sharing is wrong
        for page in range(2, fmt.entries):
            world.put(table, page, world.format.pte(frames[page % 2], V | R))
    error = refused(
        world, lambda: world.table.unmap(0, 2 * reach, free=free), NotATable,
        f"the pages from 0x0 and from {reach:#x} have PTEs in common, at {table:#x}: two pointers lead to one table",
    )  # fmt: skip
    assert (error.va, error.pte_pa) == (reach, table)
    world.table.protect(0, 2 * reach, R | X)
    assert world.table.entry(reach).pte & 0x3FF == V | R | X
    world.table.unmap(2 * PAGE, reach - 2 * PAGE)
    loop = world.loop()
    loop.unmap(0, 2 * reach, free, True)
    world.table.unmap(0, 2 * reach, free=free, holes=True)
    assert (world.ram, world.frames.head) == (loop.ram, loop.head)


def test_free_tree_of_a_shared_table_frees_nothing():
    world, table = shared()
    at = world.table.find(0, SV39.steps[:2])[0] + 8
    refused(
        world, world.table.free_tree, NotATable,
        f"a second pointer to one table at 0x200000: PTE {table >> 2 | V:#x} at {at:#x} -> {table:#x} ----",
    )  # fmt: skip


@given(st.data())
def test_no_bytes_make_a_walk_do_worse_than_say_that_a_table_is_outside_memory(data: st.DataObject):
    fmt = data.draw(st.sampled_from(FORMATS))
    world = World(fmt, pages=4)
    pages = st.sampled_from([BASE + page * PAGE for page in range(5)] + [0, 0x3FFFFF000])
    ptes = st.builds(lambda pa, low: fmt.pte(pa, low), pages, st.sampled_from([0, V, V, V | R, V | W, V | U, 0x3FF]))
    for table in range(BASE, BASE + 4 * PAGE, PAGE):
        for index in data.draw(st.lists(st.sampled_from([0, 1, fmt.entries - 1]), max_size=3)):
            world.put(table, index, data.draw(ptes))
    va = data.draw(st.sampled_from([0, PAGE, fmt.page_bytes(1), fmt.canonical(-PAGE)]))
    loop = world.loop()
    try:
        expected = loop.path(va)
    except IndexError:
        expected = None
    for ask in (world.table.steps, world.table.entry, world.table.translate):
        try:
            answer = ask(va)
        except OutsideMemory as error:
            assert error.va == va
        else:
            if ask == world.table.steps and all(BASE <= at < world.stop for _, at, _ in expected or []):
                assert [tuple(step) for step in answer] == expected
    for change in (lambda: world.table.unmap(va, PAGE), lambda: world.table.map(va, PAGE, 0, R), world.table.free_tree):
        before = world.ram, world.frames.head
        try:
            change()
        except PagebookError:
            assert (world.ram, world.frames.head) == before


# Several regions, and regions that are not ours


def split(writable: bool = True) -> tuple[Memory, FreeList, PageTable]:
    """A RAM in two parts with a hole between; the table and the allocator are in the upper one."""
    low = Region(0x1000, bytearray(4 * PAGE), name="low", writable=writable)
    memory = Memory([low, Region(BASE, bytearray(8 * PAGE), name="high", writable=True)])
    frames = FreeList(memory, BASE, BASE + 8 * PAGE)
    frames.free_range(BASE, BASE + 8 * PAGE)
    return memory, frames, PageTable.create(memory, frames)


def all_of(memory: Memory) -> tuple[bytes, ...]:
    return tuple(bytes(region.data) for region in memory.regions)


@pytest.mark.parametrize("fmt", [SV32, SV39], ids=["Sv32", "Sv39"])
def test_tables_in_another_region_than_the_root_are_walked_and_changed(fmt: Format):
    memory, frames, _ = split()
    table = PageTable.create(memory, frames, fmt)
    for page, above in zip((0x1000, 0x2000)[: fmt.levels - 1], (table.root, 0x1000), strict=False):
        memory.write(above, (page >> 2 | V).to_bytes(fmt.pte_bytes, "little"))
    table.map(0x5000, PAGE, BASE, R | W)
    table.map(0x6000, 4 * PAGE, BASE, R | W)
    assert [table.translate(va) for va in (0x5123, 0x6000, 0x9FFF)] == [0x80000123, 0x80000000, 0x80003FFF]
    assert table.find(0x5000)[0] < 0x5000
    table.protect(0x5000, 2 * PAGE, R)
    table.unmap(0x5000, 5 * PAGE)
    assert table.translate(0x5000) is None
    with pytest.raises(BadFrame):
        table.free_tree()


def test_whole_tables_in_two_regions_are_filled_in_one_map():
    memory, frames, table = split()
    table.map(0, PAGE, 0, R)
    table.unmap(0, PAGE)
    at = table.find(0, SV39.steps[:2])[0]
    memory.write64(at, 0x2000 >> 2 | V)  # the first of three tables is in the lower region
    loop_order = frames.frames().tolist()
    table.map(0, 6 * MiB, 0, R | X)
    assert [table.translate(va) for va in range(0, 6 * MiB, PAGE)] == list(range(0, 6 * MiB, PAGE))
    assert frames.frames().tolist() == loop_order[2:]


def test_a_page_table_in_memory_that_is_not_ours_is_refused():
    memory, frames, _ = split(writable=False)
    with pytest.raises(ReadOnlyMemory) as caught:
        PageTable(memory, 0x1000, frames)
    assert str(caught.value) == "<Region low 0x1000-0x5000 16K ro> is not ours to change: write to 0x1000 refused"
    assert AddressSpace(memory, 0x1000).translate(0) is None


def test_no_operation_changes_a_table_in_a_region_that_is_not_ours_or_anything_before_it():
    memory, frames, table = split(writable=False)
    table.map(GiB - PAGE, PAGE, 0, R)
    memory.write64(table.root + 8, 0x1000 >> 2 | V)
    before = all_of(memory), frames.head
    for call in (
        lambda: table.map(GiB, PAGE, 0, R),
        lambda: table.map(GiB, 2 * PAGE, 0, R),
        lambda: table.pte_address(GiB, True),
        lambda: table.unmap(GiB, PAGE, holes=True, strict=True) or table.map(GiB, PAGE, 0, R, strict=True),
        table.free_tree,
    ):
        with pytest.raises((ReadOnlyMemory, NotATable)):
            call()
        assert (all_of(memory), frames.head) == before
    memory, frames, table = split(writable=False)
    table.map(GiB - PAGE, PAGE, 0, R)
    middle = table.find(0, SV39.steps[:2])[0] & -PAGE
    memory.write64(middle + 8 * 510, 0x1000 >> 2 | V)
    before = all_of(memory), frames.head
    va = GiB - 4 * MiB
    for call in (
        lambda: table.map(va, PAGE, 0, R),
        lambda: table.map(va, 1023 * PAGE, 0, R),
        lambda: table.map(va - PAGE, 2 * PAGE, 0, R),
        lambda: table.protect(va, PAGE, R),
        lambda: table.unmap(va, PAGE, holes=True),
    ):
        with pytest.raises(ReadOnlyMemory):
            call()
        assert (all_of(memory), frames.head) == before


def test_describe_pte_is_the_same_in_every_message(fmt: Format):
    table = TABLES[fmt.name]
    assert table.describe_pte(fmt.pte(0x87F74000, 0xC7 | U)) == "-> 0x87f74000 rw-u"
    assert re.fullmatch(r"-> 0x0 ----", table.describe_pte(V))


def test_the_ptes_of_a_space_are_a_view_of_its_memory():
    world = three_pages()
    space = AddressSpace(world.memory, world.table.root)
    ptes = space.ptes(world.table.find(0x1000)[0], 4)
    assert ptes.tolist() == [0x20000417, 0x20000817, 0, 0x20001017]
    world.table.unmap(0x1000, PAGE)
    assert ptes.tolist()[0] == 0
    assert space.present(0, 8 * PAGE)[0].tolist() == [0x2000, 0x4000]
    assert space.missing_tables(np.array([0x1000, 0x200000, GiB, GiB + PAGE], dtype=np.uint64)) == 3
