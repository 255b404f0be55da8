"""Changing and removing mappings, and freeing the tables: what is refused and in which words."""

from __future__ import annotations

import pytest

from loop import Stopped
from pagebook.errors import AlreadyMapped, BadAddress, BadFrame, NotATable, NotMapped
from pagebook.frames import FreeList
from pagebook.memory import Memory
from pagebook.pagetable import PageTable
from pagebook.sv import SV48, SV57, A, D, Format, G, R, U, V, W, X
from worlds import BASE, PAGE, Budget, World, facts, refused, three_pages

MiB = 1 << 20
GiB = 1 << 30


@pytest.mark.parametrize("flags", [0, V | R, U, W, W | X | U, R | A, R | 1 << 8])
def test_rights_that_are_none_are_refused(flags: int):
    world = three_pages()
    error = refused(
        world, lambda: world.table.protect(0x1000, PAGE, flags), BadAddress,
        f"flags {flags:#x} are no rights: of R, W, X, U, G, with one of R, W, X and W only with R",
    )  # fmt: skip
    assert error.va == 0x1000


def mine(world: World, pages: int) -> list[int]:
    """Frames of the allocator, mapped from page 1 on."""
    found = [world.frame() for _ in range(pages)]
    for index, pa in enumerate(found):
        world.table.map((index + 1) * PAGE, PAGE, pa, R | W)
    return found


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
