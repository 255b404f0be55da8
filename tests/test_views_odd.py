"""Hostile and unusual tables, one by one, in every view."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pagebook.errors import BadAddress, TooManyMappings
from pagebook.machine import Area, Space
from pagebook.memory import Memory, Region
from pagebook.sv import SV32, SV39, SV48, SV57, Format, R, V, W, X
from pagebook.table import AddressSpace
from pagebook.units import parse_size
from pagebook.views import data, facts, text
from pagebook.views.facts import Filter, Run, listing, nodes, walk
from pagebook.xv6.boot import boot, machine
from test_views import ALL_FORMATS, EVERYTHING, NAPOT, all_nodes, lines, machine_of, same_maps, space_of
from worlds import PAGE, World


def test_a_table_outside_memory_is_a_problem_in_every_view() -> None:
    world = World()
    world.put(world.table.root, 3, world.pointer(0x9000_0000))
    space = space_of(world)
    assert lines(text.maps(listing(space, EVERYTHING)))[1:] == [
        "  0xc0000000 table outside memory: level-2 PTE 0x24000001 at 0x8001f018"
    ]
    assert lines(text.tree(space, nodes(space, fold=True)))[1:] == [
        "  [3] 0xc0000000 PTE 0x24000001 at 0x8001f018 -> table 0x90000000 table outside memory"
    ]
    assert lines(text.walk(walk(space, 0xC000_1000)))[3:] == [
        "  level 2: index 3   PTE 0x24000001 at 0x8001f018  v------- -> table 0x90000000",
        "  0xc0001000 is not mapped: the level-2 PTE at 0x8001f018 is no use, it points to a table outside memory",
    ]


def test_a_table_that_memory_holds_in_part_is_outside_too() -> None:
    memory = Memory([Region(0x8000_0000, bytearray(PAGE + 512), writable=True)])
    memory.write64(0x8000_0000, 0x8000_1000 >> 2 | V)
    space = Space("k", AddressSpace(memory, 0x8000_0000))
    assert [node.problem for node in nodes(space, fold=True)] == ["table outside memory"]
    assert [problem.kind for problem in listing(space, EVERYTHING).problems()] == ["table outside memory"]
    assert walk(space, 200 << 21).pa is None


def test_a_pointer_on_the_last_level_is_a_problem_in_every_view() -> None:
    world = World()
    world.table.map(0, PAGE, 0x9000_0000, R)
    last = world.table.entry(0).pte_pa
    world.put(last, 1, world.pointer(0x8000_0000))
    world.put(last, 2, world.pointer(0x8000_1000))
    space = space_of(world)
    assert lines(text.tree(space, nodes(space, fold=True)))[4:] == [
        f"      [1] 0x1000 PTE 0x20000001 at {last + 8:#x} -> table 0x80000000 pointer on the last level",
        f"      [2] 0x2000 PTE 0x20000401 at {last + 16:#x} -> table 0x80001000 pointer on the last level",
    ]
    assert [problem.kind for problem in listing(space, EVERYTHING).problems()] == ["pointer on the last level"] * 2
    assert walk(space, 0x1000).verdict.endswith("is no use, it has none of R, W, X on the last level")


def test_a_misaligned_superpage_is_a_problem_in_every_view() -> None:
    world = World(SV48)
    world.put(world.table.root, 0, world.pointer(second := world.frame()))
    world.put(second, 1, world.format.pte(0x8000_1000, V | R))
    space = space_of(world)
    [node] = [node for node in nodes(space, fold=True) if not node.is_table]
    assert (node.problem, node.pa) == ("misaligned superpage", 0x8000_1000)
    [problem] = listing(space, EVERYTHING).problems()
    assert (problem.va, problem.level, problem.kind) == (1 << 30, 2, "misaligned superpage")
    found = walk(space, (1 << 30) + 5)
    assert found.pa is None
    assert found.verdict == (
        f"0x40000005 is not mapped: the level-2 PTE at {second + 8:#x} is no use, its superpage is misaligned"
    )


@pytest.mark.parametrize("fmt", ALL_FORMATS, ids=str)
def test_a_root_that_points_at_itself_once_is_shown_like_any_table(fmt: Format) -> None:
    world = World(fmt)
    world.put(world.table.root, fmt.entries - 1, world.pointer(world.table.root))
    tree = all_nodes(space_of(world), fold=True)
    assert [node.depth for node in tree] == list(range(1, fmt.levels + 1))
    assert [node.problem for node in tree] == [""] * (fmt.levels - 1) + ["pointer on the last level"]
    assert tree[-1].va == (1 << fmt.xlen) - PAGE
    assert walk(space_of(world), tree[-1].va).pa is None


def test_more_useless_ptes_than_anybody_reads_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    world.table.map(0, PAGE, 0, R)
    for index in range(6):
        world.put(world.table.root, 8 + index, world.pointer(0x1000 * index))
    assert len(listing(space_of(world), EVERYTHING).problem_rows) == 6
    monkeypatch.setattr(facts, "MOST_ROWS", 5)
    with pytest.raises(TooManyMappings, match="k has 1 runs and 6 PTEs that no walk can use to show, more than 5: "):
        listing(space_of(world), EVERYTHING)
    assert len(listing(space_of(world), Filter(va=(0, 9 << 30))).problem_rows) == 1


@pytest.mark.parametrize("fmt", [SV39, SV48, SV57], ids=str)
def test_a_root_full_of_pointers_to_itself_is_an_error_before_anything_is_shown(fmt: Format) -> None:
    world = World(fmt)
    for index in range(fmt.entries):
        world.put(world.table.root, index, world.pointer(world.table.root))
    with pytest.raises(TooManyMappings):
        nodes(space_of(world), fold=True)
    with pytest.raises(TooManyMappings):
        listing(space_of(world), EVERYTHING)


def test_the_sixteen_ptes_of_a_64_kib_page_are_one_node_at_its_address() -> None:
    world = World()
    world.table.map(0x2_0000, 0x2_0000, 0x9000_0000, R)
    last = world.table.entry(0).pte_pa
    for number in (*range(16, 33), 40, 41):
        world.put(last, number, world.format.pte(0x9123_8000, V | R | W) | NAPOT)
    space = space_of(world)
    leaves = [(node.index, node.count, node.pa) for node in nodes(space, fold=True) if not node.is_table]
    assert leaves == [
        (16, 16, 0x9123_0000),
        (32, 1, 0x9123_0000),  # the next 64 KiB has only three of its sixteen
        (33, 7, 0x9000_1000),
        (40, 2, 0x9123_8000),
        (42, 22, 0x9000_A000),
    ]
    assert lines(text.tree(space, nodes(space, fold=True)))[3] == (
        f"      [16-31] 0x10000 PTE 0x800000002448e007 at {last + 128:#x} -> 0x91230000 64K rw-----"
    )
    found = walk(space, 0x1_2345)
    assert found.pa == world.table.translate(0x1_2345) == 0x9123_2345
    assert lines(text.walk(found))[-2].endswith("  vrw----- -> page 0x91230000 N=1")
    assert found.verdict == "0x12345 is mapped to 0x91232345: the level-0 PTE is a leaf of 64K"


@pytest.mark.parametrize("fmt", ALL_FORMATS, ids=str)
@pytest.mark.parametrize("level", range(5))
def test_a_walk_finds_a_page_of_any_size_in_any_format(fmt: Format, level: int) -> None:
    level = min(level, fmt.levels - 1)
    world = World(fmt)
    size = fmt.page_bytes(level)
    va, pa = fmt.canonical((1 << fmt.va_bits) - size), size
    table = world.table.root
    for above in range(fmt.levels - 1, level, -1):
        below = world.frame()
        world.put(table, fmt.index(va, above), world.pointer(below))
        table = below
    world.put(table, fmt.index(va, level), fmt.pte(pa, V | R | X))
    space = space_of(world, Area(va, size, "top"))
    found = walk(space, va + size - 1)
    assert found.pa == pa + size - 1
    assert [entry.level for entry in found.entries] == list(range(fmt.levels - 1, level - 1, -1))
    shown = lines(text.walk(found))
    assert len(shown) == 4 + len(found.entries)
    assert max(map(len, shown[1:3])) <= 80
    same_maps(listing(space, EVERYTHING))
    assert lines(text.maps(listing(space, EVERYTHING)))[1].startswith(f"  {va:#x}-{va + size:#x} -> ")


def test_an_address_that_is_not_canonical_is_not_walked() -> None:
    for fmt, va in ((SV32, 1 << 32), (SV39, 1 << 38), (SV48, 1 << 47), (SV57, 1 << 56), (SV39, -1), (SV39, 1 << 64)):
        with pytest.raises(BadAddress):
            walk(space_of(World(fmt)), va)


def test_reserved_fields_are_shown_where_they_are_not_zero() -> None:
    world = World()
    world.table.map(0, PAGE, 0x9000_0000, R)
    pte = world.format.pte(0x9000_0000, V | R | 2 << 8) | 5 << 54 | 2 << 61
    world.put(world.table.entry(0).pte_pa, 0, pte)
    space = space_of(world)
    assert lines(text.walk(walk(space, 0)))[5].endswith(" vr------ -> page 0x90000000 RSW=2 reserved=5 PBMT=2")
    assert data.walk(machine_of(space), walk(space, 0))["steps"][2]["fields"]["reserved"] == 5


def test_an_empty_table_is_a_heading() -> None:
    space = space_of(World())
    assert lines(text.maps(listing(space, EVERYTHING))) == ["k: Sv39, root 0x8001f000, 0 pages mapped, 0 runs shown"]
    assert lines(text.tree(space, nodes(space, fold=True))) == ["k: Sv39, root table 0x8001f000"]
    assert not listing(space, EVERYTHING)


def test_vmprint_shows_what_is_in_the_pte_and_nothing_clever() -> None:
    world = World()
    world.table.map(1 << 38 | 0xFFFF_FF80_0000_0000, PAGE, 0x9000_0000, R)
    va = 0xFFFF_FFC0_0000_0000
    world.put(world.table.entry(va).pte_pa, 0, world.format.pte(0x9123_8000, V | R) | NAPOT)
    space = space_of(world)
    shown = lines(text.vmprint(space, nodes(space, fold=False)))
    assert shown[0] == "page table 0x000000008001f000"
    assert shown[1].startswith(" ..256: pte ")
    assert shown[3] == " .. .. ..0: pte 0x800000002448e003 pa 0x0000000091238000"
    with_va = lines(text.vmprint_va(space, nodes(space, fold=False)))
    assert with_va[3] == " .. .. ..0xffffffc000000000: pte 0x800000002448e003 pa 0x0000000091238000"
    assert [line.split(": ", 1)[-1] for line in with_va] == [line.split(": ", 1)[-1] for line in shown]


def test_every_line_is_whole_and_those_of_a_process_fit_80_columns() -> None:
    for space in machine(boot(ram=2 << 20)).spaces:
        shown = [*lines(text.tree(space, nodes(space, fold=True))), *lines(text.maps(listing(space, EVERYTHING)))]
        assert all(line == line.rstrip() and line.isprintable() for line in shown)
        assert max(map(len, shown)) <= (80 if space.pid else 84)


def test_the_data_of_a_walk_through_nothing_say_so() -> None:
    world = World()
    told = data.walk(machine_of(space_of(world)), walk(space_of(world), 0))
    assert (told["mapped"], told["pa"], told["steps"][0]["kind"]) == (False, None, "absent")


RUNS = st.lists(
    st.builds(
        lambda step, size, name: (step, size, name),
        st.sampled_from([0x2000] * 6 + [0x3000, 0x1000]), st.sampled_from([PAGE] * 8 + [2 * PAGE]),
        st.sampled_from(["stack of {}, unused"] * 8 + ["stack of {}", ""]),
    ),
    max_size=40,
)  # fmt: skip


@given(RUNS)
def test_folded_runs_are_those_that_are_alike_and_none_is_lost(drawn: list[tuple[int, int, str]]) -> None:
    runs, va = [], 0
    for number, (step, size, name) in enumerate(drawn):
        va += step
        runs.append(Run(va, 0x8000_0000 + va, size, R | W, 0, size // PAGE, name.format(number)))
    shown = list(text._folded(iter(runs)))
    rest = iter(runs)
    for before, one in pairwise([None, *shown]):
        if isinstance(one, Run):
            assert next(rest) is one
            continue
        assert isinstance(before, Run)
        count, apart = int(one.split()[1]), parse_size(one.split()[3].replace("apart", ""))
        middle = [next(rest) for _ in range(count)]
        assert count + 2 >= text.ALIKE
        assert [run.va for run in middle] == [before.va + apart * (k + 1) for k in range(count)]
        assert {(run.size, "unused" in run.name, run.name == "") for run in [before, *middle]} == {
            (before.size, "unused" in before.name, before.name == "")
        }
    assert next(rest, None) is None
