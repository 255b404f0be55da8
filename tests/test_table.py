"""Looking at an address space: walks, entries, translations, slices."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pagebook.errors import BadAddress, NotATable, OutsideMemory, PagebookError
from pagebook.sv import SV32, SV39, Format, R, U, V, W, X
from pagebook.table import AddressSpace, Entry, Slice
from worlds import BASE, FORMATS, PAGE, World, facts, three_pages

MiB = 1 << 20
GiB = 1 << 30


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


def test_a_superpage_whose_address_its_size_does_not_divide_translates_nothing(fmt: Format):
    for level in range(1, fmt.levels):
        world = World(fmt, pages=8)
        va = fmt.page_bytes(level)
        world.table.map(va, va, 0, R, level=level)
        pte_pa, pte, _ = world.table.find(va)
        world.put(pte_pa, 0, pte | 1 << 10)
        assert [world.table.translate(at) for at in (va, va + PAGE, 2 * va - 1)] == [None] * 3
        assert world.table.entry(va) == Entry(level, pte_pa, pte | 1 << 10)


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
