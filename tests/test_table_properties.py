"""PageTable and AddressSpace against a dict and against a page-by-page loop, over random operations.

The loop (tests/loop.py) works on its own copy of the RAM, and after every operation every byte and the free list must
be the same; the dict holds what is mapped, and translate, entry, steps and scan must all say that.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loop import Loop, Stopped
from pagebook.errors import NotATable, OutOfFrames, PagebookError
from pagebook.pagetable import PageTable
from pagebook.scan import scan
from pagebook.sv import RWX, A, D, Format, G, R, U, V, W, X
from worlds import FORMATS, PAGE, World

RIGHTS = [R, R | W, X, R | X, R | W | X]
LEAVES = [rights | more for rights in RIGHTS for more in (0, U, G | A, U | A | D, 3 << 8, V)]


def edges(fmt: Format) -> list[int]:
    """Addresses where tables end or halves meet, the places where arithmetic goes wrong."""
    reach = fmt.page_bytes(1)
    found = [0, reach, 3 * reach, fmt.page_bytes(fmt.levels - 1), 1 << fmt.va_bits - 1, 1 << fmt.va_bits]
    return found if fmt.levels == 2 else [*found, fmt.page_bytes(2), fmt.page_bytes(fmt.levels - 1) * 5]


@cache
def ranges(fmt: Format) -> st.SearchStrategy[tuple[int, int]]:
    """A va that may be good, and a number of pages."""
    vas = st.builds(
        lambda edge, page: fmt.canonical(edge + page * PAGE), st.sampled_from(edges(fmt)), st.integers(-4, 4)
    )
    many = [fmt.entries - 1, fmt.entries, fmt.entries + 1, 2 * fmt.entries + 3]
    return st.tuples(vas, st.sampled_from([1, 1, 2, 3, 4, 5, 6, 7, *many]))


@cache
def operations(fmt: Format) -> st.SearchStrategy[list[tuple[Any, ...]]]:
    where = ranges(fmt)
    one = st.one_of(
        st.tuples(st.just("map"), where, st.integers(0, 1 << 16), st.sampled_from(LEAVES), st.booleans()),
        st.tuples(st.just("grow"), where, st.sampled_from(LEAVES), st.integers(1, 4)),
        st.tuples(st.just("super"), where, st.integers(1, fmt.levels - 1), st.integers(1, 2)),
        st.tuples(st.just("protect"), where, st.sampled_from([*RIGHTS, R | U, R | W | G])),
        st.tuples(st.just("unmap"), where, st.booleans(), st.booleans(), st.booleans()),
        st.tuples(st.just("pointer"), where),
    )
    return st.lists(one, min_size=1, max_size=9)


@dataclass
class Twin:
    """A world, and the dict of what should be mapped in it: va -> (pa, size, low ten bits)."""

    world: World
    pages: dict[int, tuple[int, int, int]] = field(default_factory=dict)
    loose: list[int] = field(default_factory=list)

    def mapped(self, va: int, size: int) -> list[int]:
        return [at for at in sorted(self.pages) if va <= at < va + size]

    def is_good(self, va: int, size: int) -> bool:
        """Whether [va, va + size) is canonical from end to end, said in another way than pagebook says it."""
        fmt = self.world.format
        half = 1 << fmt.va_bits - 1
        if fmt.xlen == fmt.va_bits:
            return va + size <= 2 * half
        return va + size <= half or ((1 << 64) - half <= va and va + size <= 1 << 64)

    def do(self, what: str, strict: bool, va: int, size: int, **how: Any) -> bool:
        """The operation in the world and in the loop; whether both could do it, for they must agree."""
        world = self.world
        loop = world.loop()
        before = world.state
        stop: Stopped | None = None
        try:
            getattr(loop, what)(va, size, **how)
        except Stopped as error:
            stop = error
        call = dict(how)
        if what != "protect":
            call["strict"] = strict
        try:
            getattr(world.table, what)(va, size, **call)
        except PagebookError as error:
            assert stop is not None, f"pagebook refused what the loop did: {error}"
            if strict or what != "map":
                assert (type(error).__name__, error.va) == (stop.kind, stop.va)
            if strict:
                self.same(loop)
            else:
                assert world.state == before
        else:
            assert stop is None, f"pagebook did what the loop could not: {stop}"
            self.same(loop)
        self.stopped_at = stop.va if stop else va + size
        return stop is None

    def same(self, loop: Loop) -> None:
        assert self.world.ram == loop.ram
        assert self.world.frames.head == loop.head
        assert self.world.frames.frames().tolist() == loop.free_frames()

    def forget(self, va: int, size: int, freed: bool) -> None:
        for at in self.mapped(va, size):
            pa = self.pages.pop(at)[0]
            if not freed and self.world.base <= pa < self.world.stop:
                self.loose.append(pa)

    def map(self, where: tuple[int, int], pfn: int, flags: int, strict: bool) -> None:
        va, size = where[0], where[1] * PAGE
        if self.is_good(va, size) and (self.do("map", strict, va, size, pa=pfn * PAGE, flags=flags) or strict):
            for at in range(va, self.stopped_at, PAGE):
                self.pages[at] = pfn * PAGE + at - va, PAGE, flags | V

    def grow(self, where: tuple[int, int], flags: int, count: int) -> None:
        for va in range(where[0], where[0] + count * PAGE, PAGE):
            if self.is_good(va, PAGE) and (pa := self.world.frames.alloc()) is not None:
                if self.do("map", False, va, PAGE, pa=pa, flags=flags):
                    self.pages[va] = pa, PAGE, flags | V
                else:
                    self.world.frames.free(pa)

    def super(self, where: tuple[int, int], level: int, count: int) -> None:
        span = self.world.format.page_bytes(level)
        va = where[0] & -span
        if self.is_good(va, count * span) and self.do("map", False, va, count * span, pa=0, flags=R | U, level=level):
            for index in range(count):
                self.pages[va + index * span] = index * span, span, R | U | V

    def protect(self, where: tuple[int, int], flags: int) -> None:
        va, size = where[0], where[1] * PAGE
        if self.is_good(va, size) and self.do("protect", False, va, size, flags=flags):
            for at in self.mapped(va, size):
                pa, span, old = self.pages[at]
                self.pages[at] = pa, span, old & ~(RWX | U | G) | flags

    def unmap(self, where: tuple[int, int], free: bool, holes: bool, strict: bool) -> None:
        va, size = where[0], where[1] * PAGE
        if self.is_good(va, size):
            done = self.do("unmap", strict, va, size, free=free, holes=holes)
            if done or strict:
                self.forget(va, self.stopped_at - va, free)

    def pointer(self, where: tuple[int, int]) -> None:
        """A PTE with only V on the last level: nothing is mapped there, but nothing can be mapped either."""
        va = where[0]
        pte_pa, pte, level = self.world.table.find(va)
        if self.is_good(va, PAGE) and not level and not pte & V:
            self.world.table._write_pte(pte_pa, V)
            self.pages.pop(va, None)

    def check(self) -> None:
        """Every way to ask agrees with the dict, and every frame is accounted for."""
        table = self.world.table
        loop = self.world.loop()
        rows = scan(table).mappings
        assert rows["va"].tolist() == sorted(self.pages)
        assert dict(
            zip(rows["va"].tolist(), zip(rows["pa"].tolist(), rows["size"].tolist(), strict=True), strict=True)
        ) == {va: (pa, size) for va, (pa, size, _) in self.pages.items()}
        for row in rows[:: max(len(rows) // 40, 1)]:
            va = int(row["va"])
            pa, size, flags = self.pages[va]
            assert table.translate(va) == pa
            assert table.translate(va + size - 1) == pa + size - 1
            entry = table.entry(va)
            assert (entry.kind, entry.pte & 0x3FF, entry.pte_pa, entry.level, entry.pte) == (
                "mapped", flags, int(row["pte_pa"]), int(row["level"]), int(row["pte"]),
            )  # fmt: skip
            assert int(row["flags"]) | int(row["rsw"]) << 8 == flags
        for va in edges(self.world.format):
            va = self.world.format.canonical(va)
            assert [tuple(step) for step in table.steps(va)] == loop.path(va)
            assert table.steps(va)[-1] == table.entry(va)
            assert (table.translate(va) is None) == all(not at <= va < at + self.pages[at][1] for at in self.pages)
        self.world.account(self.loose)


@pytest.mark.parametrize("fmt", FORMATS, ids=lambda fmt: fmt.name)
@given(data=st.data())
def test_every_operation_leaves_what_a_page_by_page_loop_leaves_and_a_failed_one_leaves_nothing(
    fmt: Format, data: st.DataObject
):
    twin = Twin(World(fmt, pages=data.draw(st.sampled_from([6, 12, 40]), "pages of RAM")))
    for name, *arguments in data.draw(operations(fmt), "operations"):
        getattr(twin, name)(*arguments)
    twin.check()


@pytest.mark.parametrize("fmt", FORMATS, ids=lambda fmt: fmt.name)
@settings(max_examples=25)
@given(data=st.data())
def test_a_table_that_is_emptied_and_freed_gives_every_frame_back(fmt: Format, data: st.DataObject):
    twin = Twin(World(fmt, pages=24))
    world = twin.world
    for name, *arguments in data.draw(operations(fmt), "operations"):
        if name != "pointer":
            getattr(twin, name)(*arguments)
    if twin.pages:
        with world.unchanged(), pytest.raises(NotATable):
            world.table.free_tree()
    for va, (pa, size, _) in list(twin.pages.items()):
        world.table.unmap(va, size, free=world.base <= pa < world.stop)
    for pa in twin.loose:
        world.frames.free(pa)
    loop = world.loop()
    loop.freewalk()
    world.table.free_tree()
    twin.same(loop)
    assert sorted(world.frames.frames().tolist()) == list(range(world.base, world.stop, PAGE))
    assert world.frames.count == world.pages


@pytest.mark.parametrize("fmt", FORMATS, ids=lambda fmt: fmt.name)
@pytest.mark.parametrize("strict", [False, True], ids=["whole", "strict"])
def test_a_map_that_runs_out_after_any_number_of_frames_is_undone_or_left_as_the_loop_leaves_it(
    fmt: Format, strict: bool
):
    reach = fmt.page_bytes(1)
    for level in range(1, fmt.levels):
        # The range starts below an address where a table on this level ends, so two are needed on each lower level.
        va, size = fmt.page_bytes(level) * 3 - 2 * PAGE, 2 * reach + 5 * PAGE
        needed = fmt.levels - 1 - level + 2 * (level - 1) + 4
        for budget in range(needed + 1):
            world = World(fmt, pages=24)
            world.frames.budget = budget
            assert Twin(world).do("map", strict, va, size, pa=0, flags=R | W) == (budget == needed)
            world.account()


@pytest.mark.parametrize("fmt", FORMATS, ids=lambda fmt: fmt.name)
@pytest.mark.parametrize("strict", [False, True], ids=["whole", "strict"])
def test_mapping_one_page_needs_a_frame_for_each_level_below_the_root(fmt: Format, strict: bool):
    for budget in range(fmt.levels - 1):
        world = World(fmt, pages=8)
        world.frames.budget = budget
        twin = Twin(world)
        assert not twin.do("map", strict, 0, PAGE, pa=0, flags=R)
        assert world.frames.count == 7 - (budget if strict else 0)
        world.account()
    world = World(fmt, pages=8)
    world.frames.budget = fmt.levels - 1
    assert Twin(world).do("map", strict, 0, PAGE, pa=0, flags=R)
    world.account()


def test_pte_address_keeps_the_tables_it_made_before_the_frames_ran_out_as_xv6_does(fmt: Format):
    for budget in range(fmt.levels):
        world = World(fmt, pages=8)
        world.frames.budget = budget
        free = world.frames.count
        loop = world.loop()
        at = world.table.pte_address(5 * PAGE, alloc=True)
        try:
            expected = loop.walk(5 * PAGE, 0)
        except Stopped:
            expected = None
        assert at == expected
        assert world.ram == loop.ram
        assert world.frames.count == free - min(budget, fmt.levels - 1)
        world.account()


@pytest.mark.parametrize("fmt", FORMATS, ids=lambda fmt: fmt.name)
@given(data=st.data())
@settings(max_examples=25)
def test_tables_come_from_the_allocator_in_the_order_in_which_mapping_page_by_page_takes_them(
    fmt: Format, data: st.DataObject
):
    order = data.draw(st.permutations(range(1, 24)))
    worlds = [World(fmt, pages=24), World(fmt, pages=24)]
    for world in worlds:
        while world.frames.alloc() is not None:
            pass
        for page in order:
            if world.base + page * PAGE != world.table.root:
                world.frames.free(world.base + page * PAGE)
    (va, pages), pfn = data.draw(ranges(fmt)), data.draw(st.integers(0, 1 << 20))
    bulk, single = worlds
    if not Twin(bulk).is_good(va, pages * PAGE):
        return
    bulk.table.map(va, pages * PAGE, pfn * PAGE, R | X)
    for page in range(pages):
        single.table.map(va + page * PAGE, PAGE, (pfn + page) * PAGE, R | X)
    assert bulk.ram == single.ram
    assert bulk.frames.frames().tolist() == single.frames.frames().tolist()


@pytest.mark.parametrize("fmt", FORMATS, ids=lambda fmt: fmt.name)
@given(data=st.data())
@settings(max_examples=25)
def test_missing_tables_is_the_number_of_frames_that_mapping_those_pages_takes(fmt: Format, data: st.DataObject):
    world = World(fmt, pages=64)
    twin = Twin(world)
    for _ in range(data.draw(st.integers(0, 3))):
        twin.map(data.draw(ranges(fmt)), 0, R, False)
    vas = sorted({data.draw(ranges(fmt))[0] for _ in range(data.draw(st.integers(0, 8)))} - set(twin.pages))
    expected = world.table.missing_tables(np.array(vas, dtype=np.uint64))
    free = world.frames.count
    for va in vas:
        world.table.map(va, PAGE, 0, R)
    assert free - world.frames.count == expected


@pytest.mark.parametrize("fmt", FORMATS, ids=lambda fmt: fmt.name)
@given(data=st.data())
@settings(max_examples=25)
def test_present_lists_exactly_the_valid_pages_of_the_range(fmt: Format, data: st.DataObject):
    twin = Twin(World(fmt, pages=40))
    for _ in range(data.draw(st.integers(0, 4))):
        twin.map(data.draw(ranges(fmt)), data.draw(st.integers(0, 9)), data.draw(st.sampled_from(LEAVES)), False)
    va, pages = data.draw(ranges(fmt))
    if twin.is_good(va, pages * PAGE):
        vas, ptes = twin.world.table.present(va, pages * PAGE)
        inside = twin.mapped(va, pages * PAGE)
        assert vas.tolist() == inside
        assert ptes.tolist() == [twin.world.format.pte(twin.pages[at][0], twin.pages[at][2]) for at in inside]


def test_a_root_needs_a_frame():
    world = World(pages=1)
    with world.unchanged(), pytest.raises(OutOfFrames, match=r"^no frame is left for a root table$"):
        PageTable.create(world.memory, world.frames)
