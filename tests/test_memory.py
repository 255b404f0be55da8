"""Physical memory: regions, holes, words on any boundary, whole pages."""

from __future__ import annotations

import mmap

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pagebook.errors import BadAddress, OutsideMemory, PagebookError, ReadOnlyMemory
from pagebook.memory import Memory, Region

PAGE = 4096

# A RAM of two pages and a tail, one right above it, a hole, a read-only page, a hole, a region shorter than a page.
LAYOUT = [("low", 0x1000, 2 * PAGE, True), ("next", 0x3000, PAGE + 5, True), ("rom", 0x8000, PAGE, False),
          ("tail", 0xA000, 21, True)]  # fmt: skip
EDGES = [0x1000, 0x3000, 0x4000, 0x8000, 0x9000, 0xA000]
ADDRESSES = st.one_of(st.integers(0, 0xC000), st.builds(int.__add__, st.sampled_from(EDGES), st.integers(-20, 30)))


def content(base: int, size: int) -> bytes:
    """Bytes of which no two near ones are alike."""
    return bytes((base + i * 7 + (i >> 8)) & 0xFF for i in range(size))


HOME = {base + i: name for name, base, size, _ in LAYOUT for i in range(size)}
OURS = {base + i for _, base, size, writable in LAYOUT if writable for i in range(size)}
CONTENT = {base: content(base, size) for _, base, size, _ in LAYOUT}


class Model:
    """The same memory as one array of bytes; which of them exist is in HOME, which are ours in OURS."""

    def __init__(self) -> None:
        self.memory = Memory(
            Region(base, bytearray(CONTENT[base]), name=name, writable=writable)
            for name, base, _, writable in reversed(LAYOUT)
        )
        self.bytes = bytearray(0xB000)
        for base, data in CONTENT.items():
            self.bytes[base : base + len(data)] = data

    def put(self, pa: int, data: bytes) -> None:
        self.bytes[pa : pa + len(data)] = data

    def same(self) -> None:
        for base, data in CONTENT.items():
            assert self.memory.read(base, len(data)) == self.bytes[base : base + len(data)]


@given(ADDRESSES, st.integers(0, 40))
def test_reading_gives_the_bytes_of_the_model_or_says_which_byte_is_outside(pa: int, size: int):
    model = Model()
    missing = next((at for at in range(pa, pa + size) if at not in HOME), None)
    if missing is None:
        assert model.memory.read(pa, size) == model.bytes[pa : pa + size]
    else:
        with pytest.raises(OutsideMemory) as caught:
            model.memory.read(pa, size)
        assert caught.value.pa == missing


@given(ADDRESSES, st.sampled_from([1, 2, 4, 8]))
@example(0x2FF9, 8)
@example(0x2FFD, 4)
@example(0x2FFF, 2)
def test_a_word_of_any_size_is_read_at_any_address_even_across_two_regions_that_touch(pa: int, size: int):
    model = Model()
    read = getattr(model.memory, f"read{8 * size}")
    if all(at in HOME for at in range(pa, pa + size)):
        assert read(pa) == sum(model.bytes[pa + i] << 8 * i for i in range(size))
    else:
        with pytest.raises(OutsideMemory):
            read(pa)


@given(ADDRESSES, st.sampled_from([1, 2, 4, 8]), st.integers(0, (1 << 64) - 1))
def test_a_word_is_written_whole_into_one_region_of_ours_or_not_at_all(pa: int, size: int, value: int):
    model = Model()
    value &= (1 << 8 * size) - 1
    write = getattr(model.memory, f"write{8 * size}")
    span = range(pa, pa + size)
    if len({HOME.get(at) for at in span}) > 1 or pa not in HOME:
        with pytest.raises(OutsideMemory):
            write(pa, value)
    elif pa not in OURS:
        with pytest.raises(ReadOnlyMemory):
            write(pa, value)
    else:
        write(pa, value)
        model.put(pa, value.to_bytes(size, "little"))
        assert getattr(model.memory, f"read{8 * size}")(pa) == value
    model.same()


@given(ADDRESSES, st.binary(max_size=30))
def test_bytes_are_written_whole_or_not_at_all(pa: int, data: bytes):
    model = Model()
    try:
        model.memory.write(pa, data)
    except (OutsideMemory, ReadOnlyMemory):
        assert (
            not all(at in OURS for at in range(pa, pa + len(data)))
            or len({HOME[at] for at in range(pa, pa + len(data))}) != 1
        )
    else:
        model.put(pa, data)
    model.same()


@given(ADDRESSES)
def test_an_address_is_in_memory_exactly_when_a_region_holds_it(pa: int):
    model = Model()
    assert (pa in model.memory) == (pa in HOME)
    if pa in HOME:
        assert model.memory.region(pa).name == HOME[pa]


@given(ADDRESSES)
def test_a_page_is_a_view_of_the_memory_itself(pa: int):
    model = Model()
    start = pa & -PAGE
    if all(at in HOME for at in (start, start + PAGE - 1)):
        page = model.memory.page(pa)
        assert page.shape == (512,)
        assert page.tobytes() == model.memory.read(start, PAGE)
        assert page.flags.writeable == (start in OURS)
        if start in OURS:
            page[3] = 0x1122334455667788
            assert model.memory.read64(start + 24) == 0x1122334455667788
    else:
        with pytest.raises(OutsideMemory):
            model.memory.page(pa)


PAGES = st.lists(
    st.sampled_from([0, 0x1000, 0x2000, 0x3000, 0x4000, 0x5000, 0x8000, 0x9000, 0xA000, 1 << 56]), max_size=7
)


@given(PAGES)
def test_pages_are_gathered_with_zeros_and_false_for_those_that_no_region_holds_whole(pas: list[int]):
    model = Model()
    whole = {0x1000, 0x2000, 0x3000, 0x8000}
    pages, inside = model.memory.gather(np.array(pas, dtype=np.uint64))
    assert pages.shape == (len(pas), 512)
    assert inside.tolist() == [pa in whole for pa in pas]
    for pa, page in zip(pas, pages, strict=True):
        assert page.tobytes() == (model.memory.read(pa, PAGE) if pa in whole else bytes(PAGE))
    pages[:] = 1
    model.same()


def test_gathering_from_one_region_copies_too():
    memory = Memory.anonymous(4 * PAGE)
    pages, inside = memory.gather(np.array([0x80001000, 0x80001000], dtype=np.uint64))
    pages[:] = 7
    assert inside.all() and memory.read(0x80000000, 4 * PAGE) == bytes(4 * PAGE)
    assert memory.gather(np.empty(0, np.uint64))[0].shape == (0, 512)
    assert Memory([]).gather(np.zeros(1, np.uint64))[1].tolist() == [False]


@given(PAGES, st.integers(0, (1 << 64) - 1))
def test_pages_are_scattered_to_all_their_addresses_or_to_none(pas: list[int], word: int):
    model = Model()
    pages = np.full((len(pas), 512), word, dtype=np.uint64) + np.arange(len(pas), dtype=np.uint64)[:, None]
    bad = next((pa for pa in pas if pa not in (0x1000, 0x2000, 0x3000)), None)
    if bad is None:
        model.memory.scatter(np.array(pas, dtype=np.uint64), pages)
        for index, pa in enumerate(pas):
            model.put(pa, pages[index].tobytes())
    else:
        with pytest.raises((OutsideMemory, ReadOnlyMemory)):
            model.memory.scatter(np.array(pas, dtype=np.uint64), pages)
    model.same()


def test_one_page_or_one_word_is_scattered_to_many_addresses_in_several_regions():
    model = Model()
    model.memory.scatter(np.array([0x3000, 0x1000], dtype=np.uint64), np.uint64(0x0505050505050505))
    assert model.memory.read(0x1000, PAGE) == model.memory.read(0x3000, PAGE) == bytes([5]) * PAGE
    model.memory.scatter(np.array([0x2000, 0x3000], dtype=np.uint64), np.arange(512, dtype=np.uint64))
    assert model.memory.read64(0x2000 + 8 * 511) == model.memory.read64(0x3000 + 8 * 511) == 511


def test_the_messages_say_where_memory_is():
    memory = Model().memory
    where = "low 0x1000-0x3000, next 0x3000-0x4005, rom 0x8000-0x9000, tail 0xa000-0xa015"
    for call, message in (
        (lambda: memory.read8(0), f"physical address 0x0 is outside memory, which has {where}"),
        (lambda: memory.write32(0x4002, 0),
         f"4 bytes at physical address 0x4002 are outside memory, which has {where}"),
        (lambda: memory.read64(0xA010), f"8 bytes at physical address 0xa010 are outside memory, which has {where}"),
        (lambda: memory.page(0xA000), f"4096 bytes at physical address 0xa000 are outside memory, which has {where}"),
        (lambda: memory.region(-1), f"physical address -0x1 is outside memory, which has {where}"),
        (lambda: Memory([]).read8(1), "physical address 0x1 is outside memory, which has no region at all"),
        (lambda: memory.scatter(np.array([0x1000, 0x8000], dtype=np.uint64), 0),
         "<Region rom 0x8000-0x9000 4K ro> is not ours to change: write to 0x8000 refused"),
        (lambda: memory.write(0x8010, b"x"),
         "<Region rom 0x8000-0x9000 4K ro> is not ours to change: write to 0x8010 refused"),
        (lambda: memory.write64(0x8010, 1),
         "<Region rom 0x8000-0x9000 4K ro> is not ours to change: write to 0x8010 refused"),
    ):  # fmt: skip
        with pytest.raises(PagebookError) as caught:
            call()
        assert str(caught.value) == message
        assert caught.value.pa is not None


@pytest.mark.parametrize(
    ("base", "size", "message"),
    [
        (0x80000001, 8, "region 'ram' starts at 0x80000001, which is not page-aligned"),
        (-4096, 8, "region 'ram' at -0x1000 of 0x8 bytes does not fit in 56 bits"),
        ((1 << 56) - PAGE, PAGE + 1, "region 'ram' at 0xfffffffffff000 of 0x1001 bytes does not fit in 56 bits"),
    ],
)
def test_a_region_that_cannot_be_physical_memory_is_refused(base: int, size: int, message: str):
    with pytest.raises(BadAddress) as caught:
        Region(base, bytes(size))
    assert (str(caught.value), caught.value.pa) == (message, base)


@pytest.mark.parametrize("size", [0, 1, 7, 8, 9, 4095, 4096, 4097, 4100, 8191, 8192])
def test_a_region_of_any_size_has_only_whole_words_and_whole_pages_as_such(size: int):
    region = Region((1 << 56) - 2 * PAGE, bytes(size), name="x")
    assert (len(region.data), len(region.words), len(region.words32)) == (size, size // 8, size // 4)
    assert region.pages.shape == (size // PAGE, 512)
    memory = Memory([region])
    if size:
        assert memory.read8(region.end - 1) == 0
    with pytest.raises(OutsideMemory):
        memory.read8(region.end)
    with pytest.raises(OutsideMemory):
        memory.read64(region.base + (size & -8))


@pytest.mark.parametrize(
    ("buffer", "asked", "writable"),
    [(bytearray(PAGE), True, True), (bytearray(PAGE), False, False), (bytes(PAGE), True, False),
     (memoryview(bytearray(PAGE)).cast("Q"), True, True), (mmap.mmap(-1, PAGE), True, True)],
    ids=["bytearray", "not asked", "bytes", "words", "mmap"],
)  # fmt: skip
def test_a_region_is_writable_when_that_is_asked_and_its_buffer_is(buffer, asked: bool, writable: bool):
    region = Region(0x1000, buffer, writable=asked)
    assert (region.writable, region.data.readonly, region.words.readonly) == (writable, not writable, not writable)
    assert (region.pages.flags.writeable, region.size) == (writable, PAGE)
    assert repr(region) == f"<Region ram 0x1000-0x2000 4K {'rw' if writable else 'ro'}>"
    assert repr(Memory([region])) == f"Memory([{region!r}])"


def test_regions_that_overlap_are_refused_and_regions_that_touch_are_not():
    low, high = Region(0x1000, bytes(PAGE + 1), name="low"), Region(0x2000, bytes(PAGE), name="high")
    with pytest.raises(BadAddress) as caught:
        Memory([high, low])
    assert str(caught.value) == ("two pieces of memory overlap: low 0x1000-0x2001 and high 0x2000-0x3000")
    assert caught.value.pa == 0x2000
    assert [r.name for r in Memory([high, Region(0x1000, bytes(PAGE), name="low")]).regions] == ["low", "high"]


@pytest.mark.parametrize("size", [0, -4096, 1, 4097])
def test_anonymous_ram_is_whole_pages(size: int):
    with pytest.raises(BadAddress) as caught:
        Memory.anonymous(size)
    assert str(caught.value) == f"RAM of {size} bytes is not a whole number of 4096-byte pages"


@pytest.mark.parametrize("name", ["MAP_PRIVATE", "MADV_HUGEPAGE"])
def test_anonymous_ram_is_the_same_on_a_system_that_has_no_huge_pages(monkeypatch: pytest.MonkeyPatch, name: str):
    monkeypatch.delattr(mmap, name, raising=False)
    memory = Memory.anonymous(2 * PAGE)
    assert memory.read(0x80000000, 2 * PAGE) == bytes(2 * PAGE)
    memory.write64(0x80001000, 5)
    assert memory.read64(0x80001000) == 5


def test_anonymous_ram_is_zero_and_ours_at_the_address_asked_for():
    memory = Memory.anonymous(PAGE, base=0x4000, name="sram")
    assert repr(memory) == "Memory([<Region sram 0x4000-0x5000 4K rw>])"
    assert memory.read(0x4000, PAGE) == bytes(PAGE)
    assert Memory.anonymous(PAGE).regions[0].base == 0x80000000
    assert memory.ours(0x4000, PAGE) is memory.regions[0]
