"""Whole tables at once, against a recursive listing in plain Python, and against hostile tables."""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pagebook.errors import TooManyMappings
from pagebook.memory import FetchedRegion, Memory, Region
from pagebook.scan import (
    LAST_POINTER,
    MAPPING,
    PROBLEM,
    PROBLEM_KINDS,
    RUN,
    fetch_tables,
    merge,
    scan,
)
from pagebook.sv import RWX, SV32, SV39, SV48, SV57, A, D, Format, G, R, U, V, W, X
from pagebook.table import AddressSpace
from test_views import worlds
from worlds import BASE, FORMATS, PAGE, World

OUTSIDE, LAST_LEVEL, MISALIGNED = range(3)
NAPOT = 1 << 63


def listed(space: AddressSpace) -> tuple[list[tuple], list[tuple], set[tuple[int, int]]]:
    """Mappings, problems and (table, level) of a space, by walking every entry in turn."""
    fmt, memory = space.format, space.memory
    mappings, problems = [], []
    tables = {(space.root, fmt.levels - 1)}

    def visit(table: int, level: int, va: int) -> Iterator[None]:
        data = memory.read(table, PAGE)
        for index in range(fmt.entries):
            pte = int.from_bytes(data[index * fmt.pte_bytes : (index + 1) * fmt.pte_bytes], "little")
            pte_pa, at = table + index * fmt.pte_bytes, fmt.canonical(va + index * fmt.page_bytes(level))
            pa, size = fmt.pte_pa(pte), fmt.page_bytes(level)
            if not pte & V:
                continue
            if pte & RWX:
                napot = fmt.xlen == 64 and bool(pte & NAPOT)
                if level and pa % size:
                    problems.append((at, pte, pte_pa, level, MISALIGNED))
                if napot and not level:
                    pa = pa // 0x10000 * 0x10000 + index % 16 * PAGE
                pbmt = pte >> 61 & 3 if fmt.xlen == 64 else 0
                mappings.append((at, pa, size, pte, pte_pa, level, pte & 0xFF, pte >> 8 & 3, pbmt, napot))
            elif not level:
                problems.append((at, pte, pte_pa, level, LAST_LEVEL))
            elif not any(r.base <= pa and pa + PAGE <= r.end for r in memory.regions):
                problems.append((at, pte, pte_pa, level, OUTSIDE))
            else:
                tables.add((pa, level - 1))
                visit(pa, level - 1, va + index * size)

    visit(space.root, fmt.levels - 1, 0)
    return sorted(mappings), sorted(problems), tables


def check(space: AddressSpace) -> None:
    """scan and the listing agree, and every row that translates is what translate says."""
    found = scan(space)
    mappings, problems, tables = listed(space)
    assert found.mappings.tolist() == mappings
    assert sorted(found.problems.tolist()) == problems
    assert found.problems["va"].tolist() == sorted(found.problems["va"].tolist())
    pairs = list(zip(found.tables.tolist(), found.table_levels.tolist(), strict=True))
    assert sorted(pairs) == sorted(tables)
    crooked = {row[0] for row in problems if row[4] == MISALIGNED}
    for va, pa, size, pte, pte_pa, level, *_ in mappings[:: max(len(mappings) // 30, 1)]:
        assert space.find(va) == (pte_pa, pte, level)
        last = va + size - 1
        reached = (None, None) if va in crooked else (pa, pa + size - 1)
        assert (space.translate(va), space.translate(last)) == reached


TABLE = BASE, BASE + PAGE, BASE + 2 * PAGE, BASE + 3 * PAGE


@st.composite
def hostile(draw: st.DrawFn) -> AddressSpace:
    """Four pages of RAM, any of which may be any table, with a few PTEs of every kind."""
    fmt = draw(st.sampled_from(FORMATS))
    world = World(fmt, pages=5)
    pages = st.sampled_from([*TABLE, 0, BASE + 5 * PAGE, 0x3FFFFF000, 0x40000000])
    low = st.sampled_from([V, V, V, V, V | R, V | R | W | U | A | D, V | X | G | 3 << 8, V | W, R, 0])
    high = st.sampled_from([0, 0, 0, NAPOT, 1 << 61, 3 << 61 | NAPOT, 0x7F << 54]) if fmt.xlen == 64 else st.just(0)
    indices = st.sampled_from([0, 1, 2, 17, fmt.entries // 2, fmt.entries - 1])
    for table in (*TABLE, world.table.root):
        for index in draw(st.lists(indices, max_size=3)):
            world.put(table, index, fmt.pte(draw(pages), draw(low)) | draw(high))
    return AddressSpace(world.memory, world.table.root, fmt)


@given(hostile())
def test_scan_lists_what_walking_every_entry_lists_whatever_the_tables_hold(space: AddressSpace):
    check(space)


def test_an_empty_table_holds_nothing_but_itself(fmt: Format):
    world = World(fmt, pages=2)
    found = scan(world.table)
    assert (len(found.mappings), len(found.problems), len(found.runs())) == (0, 0, 0)
    assert (found.mappings.dtype, found.problems.dtype, found.runs().dtype) == (MAPPING, PROBLEM, RUN)
    assert (found.tables.tolist(), found.table_levels.tolist()) == ([world.table.root], [fmt.levels - 1])
    check(world.table)


def test_leaves_on_every_level_and_in_both_halves_come_by_ascending_address(fmt: Format):
    world = World(fmt, pages=32)
    high = fmt.canonical(-fmt.page_bytes(fmt.levels - 1))
    for va in (0x1000, 0x3000, high):
        world.table.map(va, 2 * PAGE, 0x5000, R | W | A)
    for level in range(1, fmt.levels):
        world.table.map(fmt.page_bytes(level) * 3, fmt.page_bytes(level) * 2, 0, R | X, level=level)
    vas = scan(world.table).mappings["va"].tolist()
    assert vas == sorted(vas) and len(vas) == 6 + 2 * (fmt.levels - 1)
    assert vas[-1] == high + PAGE
    check(world.table)
    world.account()


def test_tables_that_do_not_stand_in_the_order_of_their_addresses_are_listed_right():
    world = World(pages=16)
    world.table.map(0, 2048 * PAGE, 0x10000000, R)
    found = scan(world.table)
    assert len(set(found.tables.tolist())) == 6
    assert found.mappings["pa"].tolist() == list(range(0x10000000, 0x10000000 + 2048 * PAGE, PAGE))
    check(world.table)


def test_a_table_that_two_pointers_share_is_read_once_and_listed_twice():
    world = World(pages=8)
    world.table.map(0, 3 * PAGE, 0x10000000, R)
    at, pte, _ = world.table.find(0, SV39.steps[:2])
    world.put(at & -PAGE, 7, pte)
    found = scan(world.table)
    assert len(found.tables) == 3
    assert found.mappings["va"].tolist() == [0, 0x1000, 0x2000, 0xE00000, 0xE01000, 0xE02000]
    for index in range(8, 60):
        world.put(at & -PAGE, index, pte)
    check(world.table)


@pytest.mark.parametrize("base", [0x1000, 0xFFF000, (1 << 56) - 16 * PAGE])
def test_tables_in_several_regions_are_listed(base: int):
    memory = Memory(
        [Region(base, bytearray(16 * PAGE), writable=True), Region(BASE, bytearray(PAGE + 100), writable=True)]
    )
    memory.write64(BASE, base >> 2 | V)
    memory.write64(base + 8, BASE >> 2 | V)
    memory.write64(base + 16, BASE + PAGE >> 2 | V)  # a page of which memory has a part
    memory.write64(BASE + 16, 0x5000 >> 2 | V | R)
    space = AddressSpace(memory, BASE)
    check(space)
    assert {PROBLEM_KINDS[kind] for kind in scan(space).problems["kind"]} == set(PROBLEM_KINDS)


def test_the_problems_are_named():
    world = World(pages=8)
    world.table.map(0, PAGE, 0, R)
    last, middle, root = (step.pte_pa & -PAGE for step in world.table.steps(0)[::-1])
    world.put(last, 3, 0x1000 >> 2 | V)
    world.put(middle, 5, 0x1000 >> 2 | V | R)
    world.put(root, 9, 0x1000 >> 2 | V)
    found = scan(world.table)
    assert [(hex(row["va"]), PROBLEM_KINDS[row["kind"]], row["level"]) for row in found.problems] == [
        ("0x3000", "pointer on the last level", 0),
        ("0xa00000", "misaligned superpage", 1),
        ("0x240000000", "table outside memory", 2),
    ]
    assert found.mappings["va"].tolist() == [0, 0xA00000]


# Hostile tables


@pytest.mark.parametrize(
    ("fmt", "level", "uses"),
    [(SV39, 0, 512 * 512), (SV48, 1, 512 * 512), (SV57, 2, 512 * 512)],
)
def test_a_root_that_points_at_itself_on_every_entry_is_given_up_quickly(fmt: Format, level: int, uses: int):
    world = World(fmt, pages=2)
    for index in range(fmt.entries):
        world.put(world.table.root, index, world.pointer(world.table.root))
    before = time.perf_counter()
    with pytest.raises(TooManyMappings) as caught:
        scan(world.table)
    assert time.perf_counter() - before < 2
    assert str(caught.value) == (
        f"the table at {world.table.root:#x} lists more than 16777216 mappings, through 1 table pages on level {level} "
        f"that are used {uses} times; it is damaged or points at itself"
    )
    assert (caught.value.pa, caught.value.level) == (world.table.root, level)


def test_a_self_pointing_sv32_root_is_small_enough_to_list():
    world = World(SV32, pages=2)
    for index in range(1024):
        world.put(world.table.root, index, world.pointer(world.table.root))
    found = scan(world.table)
    assert (len(found.mappings), len(found.problems)) == (0, 1 << 20)
    assert set(found.problems["kind"].tolist()) == {LAST_LEVEL}
    assert found.tables.tolist() == [world.table.root] * 2
    with pytest.raises(TooManyMappings, match="on level 0 that are used 1024 times"):
        scan(world.table, limit=(1 << 20) - 1)


def test_a_limit_holds_for_what_an_earlier_and_larger_one_let_pass():
    world = World(SV32, pages=2)
    for index in range(1024):
        world.put(world.table.root, index, world.pointer(world.table.root))
    ram = world.ram

    def fill(offset: int, room: memoryview) -> None:
        room[:] = ram[offset : offset + len(room)]

    fetched = AddressSpace(Memory([FetchedRegion(BASE, len(ram), fill)]), world.table.root, SV32)
    found = scan(fetched, limit=1 << 20)
    assert (len(found.mappings), len(found.problems)) == (0, 1 << 20)
    assert scan(fetched, limit=1 << 20) is found
    with pytest.raises(TooManyMappings, match="on level 0 that are used 1024 times"):
        scan(fetched, limit=(1 << 20) - 1)


def test_many_uses_of_a_few_pages_cost_memory_for_what_they_list_not_for_every_entry():
    world = World(SV48, pages=8)
    upper, middle, lower = (world.frame() for _ in range(3))
    world.put(world.table.root, 0, world.pointer(upper))
    for index in range(512):
        world.put(upper, index, world.pointer(middle))
        world.put(middle, index, world.pointer(lower))
    world.put(lower, 5, 0x1000 >> 2 | V | R)
    tracemalloc.start()
    found = scan(world.table)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(found.mappings) == 512 * 512
    assert peak < 100 << 20  # 128 MiB is one byte for every entry of every use
    assert found.mappings["va"][[0, 1, -1]].tolist() == [0x5000, 0x205000, (512 * 512 - 1 << 21) + 0x5000]


def test_the_limit_is_the_number_of_leaves_on_all_levels_that_may_be_listed():
    world = World(pages=16)
    world.table.map(0, 3 * PAGE, 0, R)
    world.table.map(1 << 21, 2 << 21, 0, R, level=1)
    assert len(scan(world.table, limit=5).mappings) == 5
    with pytest.raises(TooManyMappings, match="lists more than 4 mappings, through 1 table pages on level 0"):
        scan(world.table, limit=4)
    with pytest.raises(TooManyMappings, match="on level 1 that are used 1 times"):
        scan(world.table, limit=1)


# Runs


def rows(*given: tuple[int, int, int, int]) -> np.ndarray:
    """MAPPING rows of (va, pa, size, flags)."""
    out = np.zeros(len(given), MAPPING)
    for row, (va, pa, size, flags) in zip(out, given, strict=True):
        row["va"], row["pa"], row["size"], row["flags"] = va, pa, size, flags
        row["level"] = {PAGE: 0, 2 << 20: 1}[size]
    return out


def joined(mappings: np.ndarray, ignore: int) -> list[tuple]:
    """Runs, by one loop over the rows."""
    out: list[list] = []
    last = None
    for row in mappings.tolist():
        va, pa, size, _, _, level, flags, _, pbmt, _ = row
        if last and (va, pa, size, pbmt, flags & ~ignore) == (
            last[0] + last[2], last[1] + last[2], last[2], last[8], last[6] & ~ignore,
        ):  # fmt: skip
            out[-1][2] += size
            out[-1][3] |= flags
            out[-1][5] += 1
        else:
            out.append([va, pa, size, flags, level, 1])
        last = row
    return [tuple(run) for run in out]


GAPS, SHIFTS, RIGHTS = st.integers(0, 2), st.integers(0, 1), st.sampled_from([3, 7, 3 | A, 3 | A | D])


@given(
    st.lists(st.tuples(GAPS, SHIFTS, st.booleans(), RIGHTS, st.integers(0, 1)), max_size=12),
    st.sampled_from([A | D, 0, 0xFF, A]),
)
def test_runs_are_neighbours_in_va_and_pa_with_the_same_rights_and_page_size(steps: list[tuple], ignore: int):
    found, va, pa = [], 0, 0x40000000
    for gap, shift, large, flags, pbmt in steps:
        size = 2 << 20 if large else PAGE
        va, pa = va + gap // 2 * size, pa + shift * size
        found.append((va, pa, size, flags, pbmt))
        va, pa = va + size, pa + size
    mappings = rows(*(row[:4] for row in found))
    mappings["pbmt"] = [row[4] for row in found]
    runs = merge(mappings, ignore)
    assert runs.tolist() == joined(mappings, ignore)
    assert runs["pages"].sum() == len(mappings) and runs["size"].sum() == mappings["size"].sum()


def test_a_run_does_not_join_the_halves_and_keeps_a_and_d_of_any_page():
    world = World(pages=24)
    half = 1 << 38
    world.table.map(half - 2 * PAGE, 2 * PAGE, 0x10000000, R | W)
    world.table.map((1 << 64) - half, PAGE, 0x10002000, R | W)
    world.table.map((1 << 64) - 2 * PAGE, 2 * PAGE, 0, R)
    world.put(world.table.find(half - PAGE)[0] & -PAGE, 511, world.table.entry(half - PAGE).pte | A | D)
    found = scan(world.table)
    assert [(run["va"], run["size"], run["flags"]) for run in found.runs()] == [
        (half - 2 * PAGE, 2 * PAGE, V | R | W | A | D),
        ((1 << 64) - half, PAGE, V | R | W),
        ((1 << 64) - 2 * PAGE, 2 * PAGE, V | R),
    ]
    assert len(merge(found.mappings, ignore=0)) == 4
    assert len(merge(found.mappings)) == 3


def test_the_columns_are_those_that_are_promised():
    assert MAPPING.names == ("va", "pa", "size", "pte", "pte_pa", "level", "flags", "rsw", "pbmt", "napot")
    assert RUN.names == ("va", "pa", "size", "flags", "level", "pages")
    assert PROBLEM.names == ("va", "pte", "pte_pa", "level", "kind")
    assert U not in (V, R, W, X)


@given(worlds())
def test_tables_that_are_fetched_are_broken_where_a_listing_has_problems_above_the_last_level(world: World):
    problems = scan(AddressSpace(world.memory, world.table.root, world.format)).problems
    roots = np.array([world.table.root] * 2, np.uint64)
    assert fetch_tables(world.memory, roots, world.format) == bool((problems["kind"] != LAST_POINTER).any())


def test_tables_that_are_fetched_are_all_there_and_no_more(monkeypatch: pytest.MonkeyPatch):
    world = World(pages=24)
    world.table.map(0x1000, 2 * PAGE, 0x10000000, R | W)
    data, asked = bytes(world.memory.regions[0].data), []

    def fill(offset: int, room: memoryview) -> None:
        asked.append((offset, len(room)))
        room[:] = data[offset : offset + len(room)]

    region = FetchedRegion(world.memory.regions[0].base, len(data), fill)
    memory = Memory([region])
    roots = np.array([world.table.root], np.uint64)
    assert not fetch_tables(memory, roots, world.format)
    assert sum(size for _, size in asked) == 3 * PAGE
    before = len(asked)
    scan(AddressSpace(memory, world.table.root, world.format))
    assert len(asked) == before
    monkeypatch.setattr("pagebook.scan.MOST_TABLES", 0)
    assert fetch_tables(memory, roots, world.format)
