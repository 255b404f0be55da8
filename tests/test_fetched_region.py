"""A region whose bytes must be fetched: every page once, nothing more than is needed, and the same answers."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pagebook.batch import translate
from pagebook.errors import BadAddress, ReadOnlyMemory, SourceLost
from pagebook.memory import MOST_AT_ONCE, FetchedRegion, Memory, Region
from pagebook.mmu import Extensions, Kind, Regime
from pagebook.scan import scan
from pagebook.sv import Format
from pagebook.table import AddressSpace
from pagebook.xv6.boot import boot, machine
from worlds import FORMATS, World

PAGE = 4096
BASE = 0x8000_0000


class Far:
    """Bytes elsewhere, and a list of what was fetched of them: (first page, pages)."""

    def __init__(self, data: bytes, base: int = BASE, absent: Callable[[], np.ndarray] | None = None) -> None:
        self.data = data
        self.fetched: list[tuple[int, int]] = []
        self.region = FetchedRegion(base, len(data), self.fill, absent=absent)
        self.memory = Memory([self.region])

    def fill(self, offset: int, room: memoryview) -> None:
        self.fetched.append((offset // PAGE, len(room) // PAGE))
        room[:] = self.data[offset : offset + len(room)]

    @property
    def pages(self) -> list[int]:
        return [page for first, count in self.fetched for page in range(first, first + count)]


def junk(pages: int) -> bytes:
    return np.random.default_rng(pages).integers(0, 256, pages * PAGE, np.uint8).tobytes()


def test_nothing_is_fetched_before_somebody_asks():
    far = Far(junk(3))
    assert (far.region.size, far.region.end, far.region.direct, far.region.writable) == (
        3 * PAGE, BASE + 3 * PAGE, False, False,
    )  # fmt: skip
    assert BASE in far.memory
    assert repr(far.region) == "<Region ram 0x80000000-0x80003000 12K ro>"
    assert far.fetched == []


READS = st.lists(st.tuples(st.sampled_from(["read", "read64", "read32", "read8", "page", "gather", "words_at"]),
                           st.integers(0, 8 * PAGE - 8), st.integers(1, 3 * PAGE)), max_size=8)  # fmt: skip


@given(READS)
def test_every_way_to_read_gives_the_same_bytes_as_memory_that_is_here_and_fetches_no_page_twice(reads):
    data = junk(8)
    far, near = Far(data), Memory([Region(BASE, data)])
    for name, at, size in reads:
        size = min(size, 8 * PAGE - at)
        here, there = [], []
        for memory, out in ((near, here), (far.memory, there)):
            if name == "read":
                out.append(memory.read(BASE + at, size))
            elif name == "gather":
                pas = np.array([BASE + at & -PAGE, 0x1000, BASE + 7 * PAGE, BASE + 8 * PAGE], np.uint64)
                out += [part.tolist() for part in memory.gather(pas)] + [memory.gather(pas[::2])[0].tolist()]
            elif name == "words_at":
                for width in (4, 8):
                    offsets = np.array([at // width * width, at // width * width, 0], np.uint64)
                    out.append(memory.regions[0].words_at(offsets, width).tolist())
            else:
                found = getattr(memory, name)(BASE + at)
                out.append(found.tolist() if name == "page" else found)
        assert here == there
    assert len(set(far.pages)) == len(far.pages)


def test_only_the_pages_asked_for_are_fetched_and_neighbours_in_one_piece():
    far = Far(junk(16))
    far.memory.gather(np.array([9, 3, 4, 5, 9, 11], np.uint64) * np.uint64(PAGE) + np.uint64(BASE))
    assert far.fetched == [(3, 3), (9, 1), (11, 1)]
    far.memory.read(BASE + 2 * PAGE + 4095, 2 * PAGE)
    assert far.fetched[3:] == [(2, 1)]
    far.memory.read64(BASE)
    assert far.fetched[4:] == [(0, 1)]
    assert not far.region.direct


@pytest.mark.parametrize("name", ["data", "words", "words32", "pages"])
def test_whoever_takes_the_whole_gets_what_was_missing_and_the_region_is_then_as_direct_as_any(name: str):
    data = junk(6)
    far, near = Far(data), Region(BASE, data)
    far.memory.read8(BASE + 2 * PAGE)
    assert bytes(getattr(far.region, name)) == bytes(getattr(near, name))
    assert far.fetched == [(2, 1), (0, 2), (3, 3)]
    assert far.region.direct
    assert far.region.data.readonly
    assert not far.region.pages.flags.writeable
    assert bytes(far.region.data) == data
    assert far.memory.read64(BASE + 8) == int.from_bytes(data[8:16], "little")
    assert len(far.fetched) == 3


def test_pages_known_to_be_zeros_are_not_fetched_with_the_whole():
    data = junk(2) + bytes(2 * PAGE) + junk(1)
    asked = []

    def absent() -> np.ndarray:
        asked.append(1)
        return np.array([False, False, True, True, False])

    far = Far(data, absent=absent)
    far.memory.read8(BASE)
    assert asked == []
    assert bytes(far.region.data) == data
    assert far.fetched == [(0, 1), (1, 1), (4, 1)]


def test_a_large_whole_comes_in_pieces():
    far = Far(bytes((MOST_AT_ONCE + 1) * PAGE))
    assert far.region.pages.shape == (MOST_AT_ONCE + 1, 512)
    assert far.fetched == [(0, MOST_AT_ONCE), (MOST_AT_ONCE, 1)]


def test_a_page_that_could_not_be_fetched_is_asked_for_again():
    data = junk(4)
    far = Far(data)
    lost = True

    def fill(offset: int, room: memoryview) -> None:
        if lost and offset:
            raise SourceLost("the guest has ended")
        room[:] = data[offset : offset + len(room)]

    far.memory.read8(BASE)
    far.region._fill = fill
    with pytest.raises(SourceLost, match="the guest has ended"):
        far.memory.read(BASE + PAGE, 8)
    with pytest.raises(SourceLost):
        _ = far.region.words
    assert not far.region.direct
    lost = False
    assert far.memory.read(BASE + PAGE, 8) == data[PAGE : PAGE + 8]
    assert bytes(far.region.words) == data


def test_it_is_not_ours_to_change():
    far = Far(junk(1))
    with pytest.raises(ReadOnlyMemory):
        far.memory.write64(BASE, 1)
    with pytest.raises(TypeError, match="read-only"):
        far.region.view(0, 8)[0] = 1
    assert far.memory.page(BASE).flags.writeable is False


def test_a_size_or_base_that_is_not_whole_pages_is_refused():
    for base, size in ((BASE, 0), (BASE, 100), (BASE + 1, PAGE), (-PAGE, PAGE), (1 << 56, PAGE)):
        with pytest.raises(BadAddress):
            FetchedRegion(base, size, lambda offset, room: None)


@pytest.mark.parametrize("size", [1 << 46, 1 << 47, 1 << 55])
def test_memory_larger_than_any_room_is_refused_or_costs_nothing(size: int):
    far = Far(bytes(PAGE))
    try:
        assert FetchedRegion(0, size, far.fill).size == size
    except BadAddress as error:
        assert "there is no room for a copy of" in str(error)


def test_a_system_without_room_for_the_list_of_pages_is_told(monkeypatch: pytest.MonkeyPatch):
    def none(*args: object, **more: object) -> None:
        raise MemoryError

    monkeypatch.setattr(np, "zeros", none)
    with pytest.raises(BadAddress, match="no room for a copy of 4K of memory: out of memory"):
        FetchedRegion(BASE, PAGE, lambda offset, room: None)


def test_an_attribute_that_no_region_has_fetches_nothing():
    far = Far(junk(1))
    with pytest.raises(AttributeError, match="no attribute 'wrods'"):
        _ = far.region.wrods
    assert far.fetched == []


def test_one_address_costs_its_tables_and_a_listing_costs_the_tables():
    near = machine(boot(ram=2 << 20))
    far = Far(bytes(near.memory.regions[0].data))
    kernel = near.space("kernel").table
    table = AddressSpace(far.memory, kernel.root)
    assert far.fetched == []
    va = 0x8000_0000
    assert table.translate(va) == kernel.translate(va)
    assert sorted(far.pages) == sorted({(step.pte_pa - BASE) // PAGE for step in kernel.steps(va)})
    listed = scan(table)
    assert listed.mappings.tolist() == scan(kernel).mappings.tolist()
    assert sorted(far.pages) == sorted({(int(pa) - BASE) // PAGE for pa in listed.tables})
    assert table.present(va, PAGE)[1].tolist() == kernel.present(va, PAGE)[1].tolist()
    assert not far.region.direct


def test_a_thousand_addresses_are_translated_without_fetching_all():
    near = machine(boot(ram=2 << 20))
    kernel = near.space("kernel").table
    far = Far(bytes(near.memory.regions[0].data))
    regime = Regime(8 << 60 | kernel.root >> 12, "S")
    vas = np.arange(2000, dtype=np.uint64) * np.uint64(1024) + np.uint64(BASE)
    pas, status = translate(far.memory, Extensions(), regime, vas, Kind.LOAD, 8)
    same = translate(near.memory, Extensions(), regime, vas, Kind.LOAD, 8)
    assert (pas.tolist(), status.tolist()) == (same[0].tolist(), same[1].tolist())
    assert not far.region.direct
    assert len(far.pages) < 10


@pytest.mark.parametrize("fmt", FORMATS, ids=lambda fmt: fmt.name)
def test_every_format_lists_the_same_from_fetched_memory(fmt: Format):
    world = World(fmt)
    near = world.table
    world.table.map(0x4000, 3 * PAGE, 0x8000_3000, 7)
    far = Far(bytes(world.memory.regions[0].data), world.memory.regions[0].base)
    table = AddressSpace(far.memory, near.root, near.format)
    assert scan(table).mappings.tolist() == scan(near).mappings.tolist()
    assert table.translate(0x5123) == near.translate(0x5123)
