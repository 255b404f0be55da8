"""Tables that lie: loops, shared tables, pointers out of RAM; tables in several regions, and in regions not ours."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loop import Stopped
from pagebook.errors import AlreadyMapped, BadFrame, NotATable, OutsideMemory, PagebookError, ReadOnlyMemory
from pagebook.frames import FreeList
from pagebook.memory import Memory, Region
from pagebook.pagetable import PageTable
from pagebook.sv import SV32, SV39, Format, R, U, V, W, X
from pagebook.table import AddressSpace
from worlds import BASE, FORMATS, PAGE, World, facts, refused

MiB = 1 << 20
GiB = 1 << 30


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


def test_a_range_that_meets_a_part_of_one_table_twice_is_not_mapped(fmt: Format):
    world, table = shared(fmt)
    reach = fmt.page_bytes(1)
    with world.unchanged(), pytest.raises(NotATable) as caught:
        world.table.map(3 * PAGE, reach + PAGE, 0, R)
    assert (caught.value.va, caught.value.pte_pa) == (reach, table + 3 * fmt.pte_bytes)
    loop = world.loop()
    loop.map(3 * PAGE, reach, 0, R)
    world.table.map(3 * PAGE, reach, 0, R)
    assert world.ram == loop.ram


def test_a_range_that_meets_one_upper_table_twice_is_not_mapped():
    world = World(pages=600)
    world.table.map(0, PAGE, 0, R)
    world.table.unmap(0, PAGE)
    upper = world.table.find(0, SV39.steps[:2])[0]
    world.put(world.table.root, 1, world.pointer(upper))
    world.put(upper, 0, 0)
    refused(
        world, lambda: world.table.map(0, GiB + 2 * MiB, 0, R), NotATable,
        f"the pages from 0x0 and from 0x40000000 have PTEs in common, at {upper:#x}: two pointers lead to one table",
    )  # fmt: skip


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
