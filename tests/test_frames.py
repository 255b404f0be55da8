"""The free list: xv6's kalloc and kfree, byte for byte, alone and in bulk."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loop import Loop, words
from pagebook.errors import BadFrame, OutsideMemory, ReadOnlyMemory
from pagebook.frames import FrameArray, FreeList
from pagebook.memory import Memory, Region
from worlds import BASE, PAGE, World

PAGES = 12
STOP = BASE + PAGES * PAGE


def fresh(start: int = BASE, stop: int = STOP) -> FreeList:
    return FreeList(Memory.anonymous(PAGES * PAGE), start, stop)


def ram(frames: FreeList) -> bytes:
    return bytes(frames.memory.regions[0].data)


def state(frames: FreeList) -> tuple[bytes, int, int]:
    return ram(frames), frames.head, frames.count


def array(*pas: int) -> FrameArray:
    return np.array(pas, dtype=np.uint64)


@given(
    st.lists(
        st.tuples(st.sampled_from(["alloc", "alloc_many", "free", "free_many", "has"]), st.integers(0, 14)), max_size=12
    )
)
def test_any_sequence_of_calls_leaves_the_bytes_and_the_list_that_kalloc_and_kfree_leave(calls: list[tuple[str, int]]):
    frames = fresh()
    frames.free_range(BASE, STOP)
    loop = Loop("Sv39", ram(frames), BASE, frames.head, 0)
    used: list[int] = []
    for name, number in calls:
        if name == "alloc":
            got = frames.alloc()
            assert got == (loop.kalloc() or None)
            used += [got] if got else []
        elif name == "alloc_many":
            taken = frames.alloc_many(number)
            assert taken.dtype == np.uint64
            assert taken.tolist() == [pa for pa in (loop.kalloc() for _ in range(number)) if pa]
            used += taken.tolist()
        elif name == "free" and used:
            pa = used.pop(number % len(used))
            frames.free(pa)
            loop.kfree(pa)
        elif name == "free_many":
            several, used = used[:number], used[number:]
            frames.free_many(array(*several))
            for pa in several:
                loop.kfree(pa)
        elif name == "has":
            assert frames.has(number) == (number <= len(loop.free_frames()))
        assert (ram(frames), frames.head) == (loop.ram, loop.head)
        assert frames.frames().tolist() == loop.free_frames()
        assert frames.count == len(frames.frames()) == PAGES - len(used)


@given(st.integers(-3 * PAGE, 15 * PAGE), st.integers(-3 * PAGE, 15 * PAGE))
def test_freeing_a_range_writes_what_freeing_its_whole_pages_one_by_one_writes(start: int, stop: int):
    start, stop = BASE + start, BASE + stop
    whole, single = fresh(), fresh()
    whole.free(BASE + PAGE)
    single.free(BASE + PAGE)
    whole.alloc()
    single.alloc()
    pages = list(range((start + PAGE - 1) // PAGE * PAGE, stop // PAGE * PAGE, PAGE))
    bad = [pa for pa in pages if not BASE <= pa < STOP]
    before = state(whole)
    if bad:
        with pytest.raises(BadFrame):
            whole.free_range(start, stop)
        assert state(whole) == before
    else:
        whole.free_range(start, stop)
        for pa in pages:
            single.free(pa)
        assert state(whole) == state(single)
        assert whole.frames().tolist() == pages[::-1]


def test_freeing_a_range_of_more_than_a_megabyte_is_the_same_as_page_by_page_too():
    size = 600 * PAGE
    lists = [FreeList(Memory.anonymous(size), BASE + 3 * PAGE, BASE + size) for _ in range(2)]
    for frames in lists:
        frames.free(BASE + 3 * PAGE)
    lists[0].free_range(BASE + 4 * PAGE, BASE + size)
    for pa in range(BASE + 4 * PAGE, BASE + size, PAGE):
        lists[1].free(pa)
    assert state(lists[0]) == state(lists[1])
    assert lists[0].frames().tolist() == list(range(BASE + size - PAGE, BASE + 2 * PAGE, -PAGE))


def test_a_free_frame_is_a_link_and_junk_and_a_frame_handed_out_is_junk():
    frames = fresh()
    frames.free(BASE)
    frames.free(BASE + PAGE)
    assert words(frames.memory.read(BASE + PAGE, PAGE)) == [BASE] + [0x0101010101010101] * 511
    assert words(frames.memory.read(BASE, PAGE)) == [0] + [0x0101010101010101] * 511
    assert frames.alloc() == BASE + PAGE
    assert frames.memory.read(BASE + PAGE, PAGE) == bytes([5]) * PAGE
    assert frames.memory.read(BASE, PAGE) == bytes(8) + bytes([1]) * (PAGE - 8)
    assert repr(frames) == "<FreeList 0x80000000-0x8000c000 head 0x80000000>"


def test_an_empty_list_hands_out_nothing():
    frames = fresh()
    before = state(frames)
    assert frames.alloc() is None
    assert frames.alloc_many(3).tolist() == frames.alloc_many(0).tolist() == frames.alloc_many(-1).tolist() == []
    assert (frames.has(0), frames.has(1), frames.frames().tolist()) == (True, False, [])
    frames.free_many(array())
    frames.free_range(BASE, BASE)
    assert state(frames) == before


OUTSIDE = st.sampled_from(
    [0, -PAGE, BASE - PAGE, BASE, BASE + PAGE + 1, BASE + 8, STOP - PAGE, STOP, STOP + PAGE, 1 << 60]
)


@given(OUTSIDE, st.integers(0, 3))
def test_a_frame_that_is_not_the_allocators_is_refused_and_a_batch_with_it_frees_nothing(bad: int, place: int):
    frames = fresh(BASE + PAGE, STOP - PAGE)
    frames.free_range(BASE + PAGE, STOP - PAGE)
    good = frames.alloc_many(3).tolist()
    before = state(frames)
    why = "not page-aligned" if bad % PAGE else "not in the range the allocator owns"
    with pytest.raises(BadFrame) as caught:
        frames.free(bad)
    assert str(caught.value) == f"{bad:#x} is {why}, 0x80001000-0x8000b000"
    assert caught.value.pa == bad
    if bad >= 0:
        with pytest.raises(BadFrame) as caught:
            frames.free_many(array(*good[:place], bad, *good[place:]))
        assert str(caught.value) == f"{bad:#x} is {why}, 0x80001000-0x8000b000"
        assert frames.owns(array(*good, bad)).tolist() == [True, True, True, False]
    assert state(frames) == before


def test_an_allocator_that_begins_or_ends_within_a_page_owns_the_whole_pages_only():
    frames = fresh(BASE + 8, BASE + 4 * PAGE + 0x800)
    assert frames.owns(array(BASE, BASE + PAGE, BASE + 3 * PAGE, BASE + 4 * PAGE)).tolist() == [
        False,
        True,
        True,
        False,
    ]
    before = state(frames)
    for bad in (BASE, BASE + 4 * PAGE):
        with pytest.raises(BadFrame):
            frames.free(bad)
    with pytest.raises(BadFrame):
        frames.free_range(BASE + PAGE, BASE + 5 * PAGE)
    assert state(frames) == before
    frames.free_range(BASE + 8, BASE + 4 * PAGE + 0x800)
    assert frames.frames().tolist() == [BASE + 3 * PAGE, BASE + 2 * PAGE, BASE + PAGE]


def test_an_allocator_over_memory_that_is_not_there_is_refused():
    with pytest.raises(OutsideMemory):
        FreeList(Memory.anonymous(PAGE), BASE, BASE + 2 * PAGE)
    with pytest.raises(OutsideMemory):
        FreeList(Memory.anonymous(PAGE), BASE - PAGE, BASE)


@pytest.mark.parametrize("link", [0x0505050505050505, BASE + PAGE + 8, BASE - PAGE, STOP, 1])
def test_a_list_that_leads_out_of_range_is_an_error_and_nothing_is_taken(link: int):
    frames = fresh()
    frames.free_range(BASE, STOP)
    head = frames.head
    frames.memory.write64(head - PAGE, link)  # the second frame of the list
    before = state(frames)
    message = (
        f"the free list leads to {link:#x}, which is no frame of 0x80000000-0x8000c000: a free frame's first word was "
        "overwritten"
    )
    for call in (frames.frames, lambda: frames.alloc_many(3), lambda: frames.has(3)):
        with pytest.raises(BadFrame) as caught:
            call()
        assert (str(caught.value), caught.value.pa) == (message, link)
        assert state(frames) == before
    assert frames.has(2)
    assert frames.alloc_many(2).tolist() == [head, head - PAGE]
    with pytest.raises(BadFrame, match=f"the free list leads to {link:#x}"):
        frames.alloc()
    assert frames.head == link


def test_a_frame_freed_twice_makes_the_list_loop_and_listing_it_says_so():
    frames = fresh()
    frames.free_range(BASE, BASE + 3 * PAGE)
    frames.free(BASE)
    assert frames.count == 4
    with pytest.raises(BadFrame) as caught:
        frames.frames()
    assert caught.value.pa in (BASE, BASE + PAGE, BASE + 2 * PAGE)
    assert str(caught.value) == f"the free list loops: it comes back to {caught.value.pa:#x}; a frame was freed twice"
    assert frames.has(3) and not frames.has(4) and not frames.has(1000)
    with pytest.raises(BadFrame) as caught:  # as kalloc: the frame's second owner finds the first one's junk as a link
        frames.alloc_many(5)
    assert caught.value.pa == 0x0505050505050505


def test_a_list_of_every_frame_the_allocator_owns_does_not_loop():
    frames = fresh()
    frames.free_range(BASE, STOP)
    assert len(frames.frames()) == PAGES == frames.count


def test_a_batch_that_names_a_frame_twice_leaves_what_two_frees_leave():
    many, single = fresh(), fresh()
    pas = [BASE, BASE + PAGE, BASE, BASE + 2 * PAGE]
    many.free_many(array(*pas))
    for pa in pas:
        single.free(pa)
    assert state(many) == state(single)


def test_a_free_list_in_memory_that_is_not_ours_is_read_and_not_changed():
    source = fresh()
    source.free_range(BASE, STOP)
    frames = FreeList(Memory([Region(BASE, ram(source))]), BASE, STOP)
    frames.head, frames.count = source.head, source.count
    assert frames.frames().tolist() == source.frames().tolist()
    assert frames.has(PAGES) and not frames.has(PAGES + 1)
    before = state(frames)
    for call in (
        frames.alloc,
        lambda: frames.alloc_many(2),
        lambda: frames.free(BASE),
        lambda: frames.free_many(array(BASE)),
        lambda: frames.free_range(BASE, STOP),
    ):
        with pytest.raises(ReadOnlyMemory, match="is not ours to change"):
            call()
        assert state(frames) == before


def test_a_free_list_may_stand_in_the_middle_of_one_of_several_regions():
    memory = Memory([Region(0x1000, bytearray(PAGE), writable=True), Region(BASE, bytearray(8 * PAGE), writable=True)])
    frames = FreeList(memory, BASE + 2 * PAGE, BASE + 6 * PAGE)
    frames.free_range(BASE + 2 * PAGE, BASE + 6 * PAGE)
    assert frames.alloc_many(9).tolist() == [BASE + page * PAGE for page in (5, 4, 3, 2)]
    frames.free_many(array(BASE + 2 * PAGE, BASE + 4 * PAGE))
    assert (frames.alloc(), frames.alloc(), frames.alloc()) == (BASE + 4 * PAGE, BASE + 2 * PAGE, None)
    assert memory.read(0x1000, PAGE) == bytes(PAGE)
    assert memory.read(BASE, 2 * PAGE) == memory.read(BASE + 6 * PAGE, 2 * PAGE) == bytes(2 * PAGE)


def test_the_frames_of_a_world_are_all_free_but_the_root():
    world = World(pages=5)
    assert world.frames.frames().tolist() == [BASE + page * PAGE for page in (3, 2, 1, 0)]
    assert world.table.root == BASE + 4 * PAGE
    world.account()


@pytest.mark.parametrize(("start", "stop"), [(BASE, BASE), (BASE + 100, BASE + 200), (BASE + 8, BASE + PAGE)])
def test_an_allocator_of_no_whole_page_has_an_empty_chain_or_one_that_leads_astray(start: int, stop: int):
    frames = FreeList(Memory.anonymous(2 * PAGE, BASE), start, stop)
    assert (frames.chain().frames.tolist(), frames.chain().broken) == ([], None)
    frames.head = BASE + PAGE
    assert frames.chain().frames.tolist() == []
    assert str(frames.chain().broken).startswith(f"the free list leads to {BASE + PAGE:#x}")
