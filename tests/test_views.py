"""The views: text and data tell the same facts, and nothing that stands in a table is too strange to be shown."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pagebook.ledger import Ledger
from pagebook.machine import Area, Machine, Pool, Space
from pagebook.scan import scan
from pagebook.sv import FORMATS, RWX, SV32, SV39, SV48, SV57, A, D, R, U, V, W, X
from pagebook.table import AddressSpace
from pagebook.units import parse_size
from pagebook.views import data, facts, text
from pagebook.views.facts import Filter, Listing, Node, listing, nodes, walk
from pagebook.xv6.boot import boot, machine
from worlds import PAGE, World

EVERYTHING = Filter()
NAPOT = 1 << 63
ALL_FORMATS = (SV32, SV39, SV48, SV57)


def space_of(world: World, *areas: Area, name: str = "k", pid: int | None = None) -> Space:
    return Space(name, AddressSpace(world.memory, world.table.root, world.format), areas, pid)


def machine_of(*spaces: Space) -> Machine:
    return Machine("a machine", spaces[0].table.memory, spaces)


def lines(parts: Any) -> list[str]:
    """The lines without their styles."""
    return ["".join(span for span, _ in line) for line in parts]


# Small random tables: pointers to a few tables or out of memory, leaves near each other, NAPOT, junk

FLAGS = st.sampled_from([V | R, V | R | W, V | R | X, V | R | W | U, V | R | W | A | D, V | W, V | X | U])


@st.composite
def worlds(draw: st.DrawFn) -> World:
    world = World(draw(st.sampled_from(ALL_FORMATS)), pages=8)
    fmt = world.format
    tables = [world.table.root, *(world.frame() for _ in range(3))]
    for table in tables:
        start = draw(st.sampled_from([0, 1, 15, 16, fmt.entries // 2 - 2, fmt.entries - 6]))
        pages = draw(st.integers(0, 1 << 18))
        step = draw(st.sampled_from([1, 1, fmt.entries, fmt.entries**2]))
        common = draw(FLAGS)
        for index in range(start, min(start + draw(st.integers(0, 20)), fmt.entries)):
            kind = draw(st.sampled_from(["run"] * 6 + ["table", "outside", "other", "absent", "napot"]))
            pa = (pages * fmt.entries + (index - start) * step) % (1 << 20) * PAGE
            pte = {
                "run": fmt.pte(pa, common),
                "table": world.pointer(draw(st.sampled_from(tables))),
                "outside": fmt.pte(0x9000_0000, V),
                "other": fmt.pte(pa, draw(FLAGS)),
                "absent": fmt.pte(pa, R | W),
                "napot": fmt.pte(pages // 16 * 16 * PAGE | 0x8000, common) | (NAPOT if fmt.xlen == 64 else 0),
            }[kind]
            world.put(table, index, pte)
    return world


def all_nodes(space: Space, **how: Any) -> list[Node]:
    return list(nodes(space, **how))


def expanded(space: Space, node: Node) -> list[Node]:
    """The PTEs that a folded node stands for, each as memory has it."""
    fmt, memory = space.table.format, space.table.memory
    out = []
    for number in range(node.count):
        at = node.pte_pa + number * fmt.pte_bytes
        pte = memory.read64(at) if fmt.pte_bytes == 8 else memory.read32(at)
        va = fmt.canonical(node.va + number * fmt.page_bytes(node.level))
        pa = node.pa + number * fmt.page_bytes(node.level)
        out.append(Node(node.depth, node.level, node.index + number, 1, va, at, pte, pa, node.problem))
    return out


@given(worlds())
def test_a_folded_tree_unfolds_to_the_tree(world: World) -> None:
    space = space_of(world)
    folded = all_nodes(space, fold=True)
    assert [one for node in folded for one in expanded(space, node)] == all_nodes(space, fold=False)
    assert all(node.count == 1 for node in folded if node.is_table)


@given(worlds())
def test_folding_leaves_no_two_neighbours_that_could_be_one(world: World) -> None:
    folded = all_nodes(space_of(world), fold=True)
    size = world.format.page_bytes
    for one, two in pairwise(folded):
        if one.depth == two.depth and one.index + one.count == two.index and not (one.pte | two.pte) >> 63:
            step = one.count * size(one.level) // PAGE << 10
            assert one.is_table or two.is_table or two.pte != one.pte + step


@given(worlds(), st.integers(1, 5))
def test_depth_only_leaves_out_what_is_deeper(world: World, depth: int) -> None:
    space = space_of(world)
    full = all_nodes(space, fold=False)
    assert all_nodes(space, fold=False, depth=depth) == [node for node in full if node.depth <= depth]


@given(worlds())
def test_the_tree_and_the_maps_tell_of_the_same_leaves_and_problems(world: World) -> None:
    space = space_of(world)
    tree = all_nodes(space, fold=False)
    found = scan(space.table)
    assert sorted((n.va, n.pa, n.pte, n.pte_pa, n.level) for n in tree if not n.is_table) == sorted(
        found.mappings[["va", "pa", "pte", "pte_pa", "level"]].tolist()
    )
    listed = listing(space, EVERYTHING)
    assert sorted((n.va, n.pte, n.pte_pa, n.level, n.problem) for n in tree if n.problem) == sorted(listed.problems())


@given(worlds())
def test_a_walk_agrees_with_the_maps_on_every_address_they_name(world: World) -> None:
    space = space_of(world)
    listed = listing(space, EVERYTHING, single=True)
    wrong = {problem.va: problem for problem in listed.problems()}
    for run in listed.runs():
        found = walk(space, run.va)
        problem = wrong.get(run.va)
        assert found.pa == (None if problem else run.pa)
        assert found.entries[-1].level == run.level
    for problem in wrong.values():
        found = walk(space, problem.va)
        assert found.pa is None
        assert f"level-{problem.level} PTE at {problem.pte_pa:#x} is no use" in found.verdict
        assert found.entries[-1].pte == problem.pte


# Text and data


def hexes(line: str) -> list[int]:
    return [int(word, 16) for word in re.findall(r"0x[0-9a-f]+", line)]


def same_maps(listed: Listing) -> None:
    """Each fact of a line in the text is in the data, and the other way round."""
    heading, *rows = lines(text.maps(listed))
    [told] = data.maps(machine_of(listed.space), [listed])["spaces"]
    runs, problems = told["runs"], told["problems"]
    assert heading == (
        f"{told['space']}: {told['format'].capitalize()}, root {told['root']}, "
        f"{told['mappings']} page{'s' * (told['mappings'] != 1)} mapped, {len(runs)} run{'s' * (len(runs) != 1)} shown"
    )
    assert len(rows) == len(runs) + len(problems)
    for row, run in zip(rows, runs, strict=False):
        shown = re.fullmatch(r"  (0x\w+)-(0x\w+) -> (0x\w+) +(\w+)  ([-rwxugad]{7})(?:  level (\d))?(?:  (\S.*))?", row)
        assert shown, row
        va, end, pa, size, flags, level, name = shown.groups()
        assert (int(va, 16), int(pa, 16), parse_size(size)) == tuple(int(run[key], 16) for key in ("va", "pa", "size"))
        assert int(end, 16) == int(va, 16) + parse_size(size)
        assert ("v" + flags, int(level or 0), name or "") == (run["flags"], run["level"], run["name"])
        assert run["pages"] * FORMATS[told["format"]].page_bytes(run["level"]) == int(run["size"], 16)
    for row, problem in zip(rows[len(runs) :], problems, strict=True):
        assert row == "  {va} {kind}: level-{level} PTE {pte} at {pte_pa}".format(**problem)


@given(worlds())
def test_maps_say_the_same_as_text_and_as_data(world: World) -> None:
    space = space_of(world, Area(0, 2 * PAGE, "low"), Area(PAGE, 1 << 31, "more"))
    same_maps(listing(space, EVERYTHING))
    same_maps(listing(space, EVERYTHING, single=True))


@given(worlds())
def test_a_tree_says_the_same_as_text_and_as_data(world: World) -> None:
    space = space_of(world)
    heading, *rows = lines(text.tree(space, nodes(space, fold=True)))
    told = data.tree(machine_of(space), space, nodes(space, fold=True))
    assert heading == f"k: {told['format'].capitalize()}, root table {told['root']}"
    assert len(rows) == len(told["entries"])
    for row, entry in zip(rows, told["entries"], strict=True):
        last = f"-{entry['index'] + entry['count'] - 1}" if entry["count"] > 1 else ""
        start = f"{'  ' * entry['depth']}[{entry['index']}{last}] {entry['va']} PTE {entry['pte']} at {entry['pte_pa']}"
        assert row.startswith(f"{start} -> ")
        target = row.removeprefix(f"{start} -> ").removesuffix(f" {entry['problem']}" if entry["problem"] else "")
        if entry["kind"] == "table":
            assert target == f"table {entry['pa']}"
        else:
            pa, size, flags = target.split()
            assert (pa, "v" + flags) == (entry["pa"], entry["flags"])
            assert parse_size(size) == entry["count"] * world.format.page_bytes(entry["level"])
        assert entry["level"] == world.format.levels - entry["depth"]


@given(worlds(), st.data())
def test_a_walk_says_the_same_as_text_and_as_data(world: World, more: st.DataObject) -> None:
    space = space_of(world)
    known = [node.va for node in nodes(space, fold=True)]
    va = more.draw(st.sampled_from([0, *known])) + more.draw(st.sampled_from([0, 0x123, 0x5000]))
    va = world.format.canonical(va)
    found = walk(space, va)
    heading, bits, numbers, *steps, verdict = lines(text.walk(found))
    told = data.walk(machine_of(space), found)
    assert heading == f"walk {told['va']} in k: {world.format.name}, root {told['root']}"
    assert [int(word, 2) for word in bits.split()[1:]] == [*told["indices"], int(told["offset"], 16)]
    assert numbers.split() == ["index", *map(str, told["indices"]), "offset", told["offset"]]
    assert len(bits) == len(numbers)
    assert len(steps) == len(told["steps"])
    for line, step in zip(steps, told["steps"], strict=True):
        assert line.startswith(f"  level {step['level']}: index {step['index']} ")
        assert hexes(line)[:2] == [int(step["pte"], 16), int(step["pte_pa"], 16)]
        assert {"table": "-> table ", "mapped": "-> page ", "absent": "absent"}[step["kind"]] in line
        assert step["kind"] == "absent" or hexes(line)[2] == int(step["pa"], 16)
        flags = "".join(f if step["fields"][f.upper()] else "-" for f in "vrwxugad")
        assert f"  {flags} " in line
        extras = {name: step["fields"].get(name, 0) for name in ("RSW", "reserved", "PBMT", "N")}
        assert re.findall(r"(\w+)=(\d+)", line) == [(name, str(value)) for name, value in extras.items() if value]
    assert verdict == f"  {told['verdict']}"
    assert (told["mapped"], told["pa"]) == (found.pa is not None, None if found.pa is None else hex(found.pa))
    assert (f"is mapped to {told['pa']}:" in verdict) == told["mapped"] == ("is not mapped" not in verdict)


def test_the_summary_says_nothing_that_the_data_do_not() -> None:
    k = boot(ram=2 << 20)
    booted = machine(k)
    told = data.boot(booted, k.story, None)
    shown = lines(text.summary(booted))
    assert [line.split(maxsplit=1) for line in shown if line.startswith("    ")] == [
        [str(count), role] for role, count in sorted(told["frames"].items(), key=lambda item: -item[1]) if count
    ]
    assert f"frames: {sum(told['frames'].values())} of RAM" in shown[0]
    assert f"spaces: {len(told['spaces'])}" in shown
    for space in told["spaces"]:
        who = "" if space["pid"] is None else f"  pid {space['pid']}, {space['size']} bytes"
        assert f"  {space['space']:<10} root {space['root']}{who}" in shown
    assert shown[-1] == f"free list: {told['free']['count']} frames  {' '.join(told['free']['first'])} ..."
    assert [(e["function"], e["text"], e["free"]) for e in told["story"]] == list(k.story)
    assert told["harts"] == [{"hart": 0, "satp": hex(k.satp)}]
    assert told["saved"] is None


def test_a_machine_without_a_free_list_is_summed_up_without_one() -> None:
    world = World(pages=4)
    bare = machine_of(space_of(world, pid=7, name="p"))
    shown = lines(text.summary(bare))
    assert shown[-1] == "  p          root 0x80003000  pid 7, 0x0 bytes"
    assert data.boot(bare, [], None)["free"] == {"count": 0, "first": []}
    assert sum(Ledger(bare).counts().values()) == 4


@pytest.mark.parametrize(("count", "shown"), [(0, "0 frames  "), (1, "1 frame  0x80000000"), (4, "0x80000000")])
def test_a_short_free_list_is_shown_whole(count: int, shown: str) -> None:
    world = World(pages=8)
    world.frames.head = 0
    for page in range(count - 1, -1, -1):
        world.frames.free(0x8000_0000 + page * PAGE)
    bare = machine_of(space_of(world))
    freed = Machine(
        bare.name,
        bare.memory,
        bare.spaces,
        pools=(Pool("free", world.frames.head),),
        free_range=(0x8000_0000, world.stop),
    )
    line = lines(text.summary(freed))[-1]
    assert shown in line
    assert len(hexes(line)) == count
    assert "..." not in line


# Names


AREAS = (Area(0, PAGE, "one"), Area(PAGE, PAGE, "two"), Area(2 * PAGE, PAGE, "two"), Area(4 * PAGE, 100, "three"))


@pytest.mark.parametrize(
    ("start", "size", "name"),
    [
        (0, PAGE, "one"),
        (0, 2 * PAGE, "one, two"),
        (PAGE - 1, 1, "one"),
        (PAGE, 1, "two"),
        (PAGE, 2 * PAGE, "two"),
        (3 * PAGE, PAGE, ""),
        (3 * PAGE, PAGE + 1, "three"),
        (4 * PAGE + 100, 1, ""),
        (0, 1 << 64, "one, two, three"),
    ],
)
def test_a_run_is_named_by_what_it_touches(start: int, size: int, name: str) -> None:
    assert facts.Names(AREAS).of(start, size) == name


def test_many_names_are_counted_from_the_fourth_on() -> None:
    areas = tuple(Area(page * PAGE, PAGE, f"stack {page}") for page in range(6))
    assert facts.Names(areas[:4]).of(0, 1 << 20) == "stack 0, stack 1, stack 2, stack 3"
    assert facts.Names(areas).of(0, 1 << 20) == "stack 0, stack 1, stack 2 and 3 more"


def test_names_come_in_the_order_of_addresses_whatever_the_order_of_areas() -> None:
    world = World()
    world.table.map(0, 2 * PAGE, 0x9000_0000, R)
    [run] = listing(space_of(world, Area(PAGE, PAGE, "second"), Area(0, PAGE, "first")), EVERYTHING).runs()
    assert run.name == "first, second"


# Filters


@given(worlds(), st.integers(0, 255), st.integers(0, 255), st.booleans(), st.data())
def test_a_filter_keeps_what_it_says_and_nothing_else(
    world: World, has: int, lacks: int, single: bool, more: st.DataObject
) -> None:
    space = space_of(world)
    marks = sorted({0, 1 << world.format.xlen, *(node.va for node in nodes(space, fold=False)), 0x8000_0000, 1 << 39})
    low = more.draw(st.sampled_from(marks[:-1]))
    high = more.draw(st.sampled_from([mark for mark in marks if mark > low]))
    by_pa = more.draw(st.booleans())
    chosen = Filter(has & RWX, lacks & ~has & (U | A | D | W), *((None, (low, high)) if by_pa else ((low, high), None)))
    kept = listing(space, chosen, single)

    def fits(va: int, pa: int, size: int, flags: int) -> bool:
        start = pa if by_pa else va
        return flags & chosen.has == chosen.has and not flags & chosen.lacks and start < high and start + size > low

    if single:
        full = listing(space, EVERYTHING, single=True)
        assert list(kept.runs()) == [run for run in full.runs() if fits(run.va, run.pa, run.size, run.flags)]
    else:
        leaves = list(listing(space, EVERYTHING, single=True).runs())
        inside = {leaf.va for leaf in leaves if fits(leaf.va, leaf.pa, leaf.size, leaf.flags)}
        covered = {leaf.va for leaf in leaves for run in kept.runs() if run.va <= leaf.va < run.va + run.size}
        assert inside <= covered
        assert all(any(run.va <= va < run.va + run.size for va in inside) for run in kept.runs())
    fmt = world.format
    assert list(kept.problems()) == [
        problem
        for problem in listing(space, EVERYTHING).problems()
        if fits(problem.va, fmt.pte_pa(problem.pte), fmt.page_bytes(problem.level), problem.pte)
    ]
    assert bool(kept) == bool(list(kept.runs()) or list(kept.problems()))


@given(worlds())
def test_runs_cover_exactly_the_mappings_and_cannot_be_merged_further(world: World) -> None:
    space = space_of(world)
    runs = list(listing(space, EVERYTHING).runs())
    single = list(listing(space, EVERYTHING, single=True).runs())
    assert sum(run.size for run in runs) == sum(one.size for one in single)
    assert sum(run.pages for run in runs) == len(single) == listing(space, EVERYTHING).mappings
    pbmt = {row["va"]: row["pbmt"] for row in scan(space.table).mappings}
    for one, two in pairwise(runs):
        apart = one.va + one.size != two.va or one.pa + one.size != two.pa or one.level != two.level
        assert apart or (one.flags ^ two.flags) & ~(A | D) or pbmt[one.va] != pbmt[two.va]
