"""Mapping: what is refused and in which words, what stands in the way, what it takes.

What random operations do is in test_table_properties.py.
"""

from __future__ import annotations

import pytest

from pagebook.errors import AlreadyMapped, BadAddress, BadFrame, NotATable, OutOfFrames
from pagebook.sv import SV32, SV39, SV48, SV57, A, D, Format, R, U, V, W, X
from worlds import BASE, PAGE, World, facts, refused, three_pages

MiB = 1 << 20
GiB = 1 << 30

RANGES: dict[str, tuple[Format, int, int, str]] = {
    "empty": (SV39, 0x1000, 0, "a range of 0 bytes at 0x1000: the size must be above zero"),
    "negative size": (SV39, 0x1000, -4096, "a range of -4096 bytes at 0x1000: the size must be above zero"),
    "unaligned va": (SV39, 0x1001, 4096, "va 0x1001 is not a multiple of the page size 0x1000"),
    "unaligned size": (SV39, 0x1000, 4097, "size 0x1001 is not a multiple of the page size 0x1000"),
    "negative va": (SV39, -4096, 4096, "-0x1000 is negative; an address is an unsigned 64-bit number"),
    "too wide": (SV39, 1 << 64, 4096, "0x10000000000000000 does not fit in 64 bits"),
    "not canonical": (
        SV39, 1 << 38, 4096,
        "0x4000000000 is not canonical in Sv39: bits 63 to 39 must all equal bit 38; sign-extended from there it is "
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


def test_a_free_list_that_loops_has_no_more_frames_than_it_has():
    for size in (PAGE, 2 * MiB, 4 * MiB, 32 * MiB):
        world = World(pages=8)
        first, second = world.frame(), world.frame()
        world.frames.head = 0
        for pa in (first, second, first):
            world.frames.free(pa)
        before = world.ram, world.frames.head, world.frames.count
        if size > 2 * MiB:
            with pytest.raises(OutOfFrames):
                world.table.map(0, size, 0, R)
            assert (world.ram, world.frames.head, world.frames.count) == before
        else:
            world.table.map(0, size, 0, R)
            assert world.table.translate(size - 1) == size - 1


def test_an_allocator_that_lies_about_what_it_has_is_found_out():
    world = World(pages=8)
    world.frames.has = lambda count: True  # type: ignore[method-assign]
    world.frames.budget = 1
    with pytest.raises(AssertionError, match="the survey asked for these frames"):
        world.table.map(0x1000, 1024 * PAGE, 0, R)
    world.frames.budget = 0
    with pytest.raises(OutOfFrames):
        world.table.map(1 << 30, PAGE, 0, R)


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


def test_tables_that_exist_need_no_frame(fmt: Format):
    reach = fmt.page_bytes(1)
    for pages, budget in ((2, 0), (fmt.entries - 1, 0), (fmt.entries, 1), (2 * fmt.entries + 5, 2)):
        world = World(fmt, pages=16)
        world.table.map(2 * reach, PAGE, 0, R)
        world.frames.budget = budget
        world.table.map(2 * reach + PAGE, pages * PAGE, 0x10000000, R)
        assert world.table.translate(2 * reach + pages * PAGE) == 0x10000000 + (pages - 1) * PAGE
        assert world.frames.budget == 0
        world.account()


def test_the_last_entry_of_a_root_on_the_last_page_of_ram_can_be_used(fmt: Format):
    world = World(fmt, pages=16)
    assert world.table.root + PAGE == world.stop
    size = 3 * fmt.page_bytes(1)
    va = (1 << fmt.xlen) - size
    world.table.map(va, size, 0, R)
    assert world.table.translate(va + size - 1) == size - 1
    world.account()


def test_a_pointer_without_v_is_absent_whatever_else_it_holds(fmt: Format):
    for pages in (1, 2, fmt.entries + 2):
        worlds = [World(fmt, pages=16) for _ in range(2)]
        for world in worlds:
            world.table.map(0, PAGE, 0, R)
            world.table.unmap(0, PAGE)
            at = world.table.find(0, fmt.steps[:-1])[0]
            world.put(at, 0, 0x3FE)
            world.put(at, 1, 0x3FE)
        loop = worlds[0].loop()
        loop.map(0, pages * PAGE, 0, R)
        worlds[0].table.map(0, pages * PAGE, 0, R)
        worlds[1].table.map(0, pages * PAGE, 0, R, strict=True)
        assert worlds[0].ram == worlds[1].ram == loop.ram
