"""Reports of hostile and of large machines: escaped whatever stands in memory, and bounded."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calls import FOLDER, call, saved
from checks.seeds import SEEDS
from pagebook.checks.looks import check
from pagebook.checks.registry import choose
from pagebook.examples import rules_machine
from pagebook.machine import Area, Hart, Machine, Space
from pagebook.memory import Memory, Region
from pagebook.sources.elfcore import write_core
from pagebook.sv import SV39, R, U, W
from pagebook.table import AddressSpace
from pagebook.units import PAGE_SHIFT
from pagebook.views.report import found as bounds
from pagebook.views.report import page as whole
from pagebook.views.report import spaces as told
from pagebook.views.report.found import MOST_BYTES, Found, Room
from pagebook.views.report.page import page
from reported import EVIL, checked, found_of, frames_of, report, written
from worlds import BASE, PAGE, World


def hostile(name: str = EVIL, spaces: int = 3) -> Machine:
    world = World(pages=64)
    for number in range(8):
        world.table.map(0x1000 * number, PAGE, world.frame(), R | W | U)
    table = AddressSpace(world.memory, world.table.root)
    areas = (Area(0, 0x3000, name), Area(BASE, PAGE, name))
    every = tuple(Space(f"{name}{n}", table, areas, pid=n, size=0x4000, state=name) for n in range(spaces))
    return Machine(name, world.memory, every, (Hart(0, SV39.satp(table.root), name),), areas=areas, guest="xv6")


def test_names_from_memory_are_text_and_nothing_else() -> None:
    machine = hostile()
    found = found_of(machine, (f"{EVIL}1", 0x1000), remarks=(EVIL,))
    html = page(found, lambda _: None)
    shown = checked(html)
    assert "<script" not in html and "<img" not in html
    assert "\x1b" not in html and "\u202e" not in html and "\x00" not in html
    assert "<script>alert(1)</script>" in shown.text and "\\u202e" in shown.text
    assert found.checked and found.checked.findings  # their messages have the names in them


def test_a_saved_machine_with_hostile_names_is_opened_and_told() -> None:
    path = FOLDER / "evil.core"
    write_core(hostile(), path)
    found = written(path, "--walk", "1:0x1000")
    assert "</svg>" in found.text


def test_names_of_any_length_are_cut() -> None:
    html = page(found_of(hostile("a" * 100_000)), lambda _: None)
    checked(html)
    assert max(map(len, re.findall("a+", html))) < 4000 and len(html) < 200_000


@pytest.mark.parametrize("name", SEEDS)
def test_every_machine_with_something_wrong_is_told(name: str) -> None:
    seed = SEEDS[name]
    machine = seed.make()
    found = report(machine, *((one.name, 0x1000) for one in machine.spaces[:1]))
    roles, total = frames_of(found)
    assert sum(roles) == total == sum(region.size >> PAGE_SHIFT for region in machine.memory.regions)
    findings = check(machine, choose())
    assert set(re.findall(r"The story of (PB\d+)", found.text)) == {one.rule for one in findings.findings}


def test_hostile_tables_do_not_hide_the_other_spaces() -> None:
    world = World(pages=64)
    loop = world.frame()
    for index in range(512):
        world.put(loop, index, world.pointer(loop) if index else SV39.pte(loop, 0xF))
    fine = Space("fine", AddressSpace(world.memory, world.table.root))
    world.table.map(0x1000, PAGE, world.frame(), R)
    found = report(Machine("m", world.memory, (Space("loop", AddressSpace(world.memory, loop)), fine)))
    assert "loop: " in found.text and "too many" in found.text
    assert "What fine maps: 1 run" in found.tables


@settings(max_examples=25)
@given(flips=st.lists(st.tuples(st.integers(0, 1 << 30), st.integers(1, 255)), min_size=1, max_size=6))
def test_a_file_with_flipped_bytes_is_refused_or_told(flips: list[tuple[int, int]]) -> None:
    data = bytearray(saved().read_bytes())
    for number, (at, change) in enumerate(flips):
        place = at % len(data) if number % 2 else at % 8192 // 2
        data[place] ^= change
    path = FOLDER / "flipped-report"
    path.write_bytes(data)
    answer = call(["report", path, "-o", "-", "--walk", "0x1000"])
    assert answer.status in (0, 2)
    if answer.status:
        assert answer.refusal
    else:
        checked(answer.out)


@settings(max_examples=25)
@given(st.data())
def test_tables_with_flipped_bits_are_told(data: st.DataObject) -> None:
    world = World(pages=16)
    for number in range(4):
        world.table.map(0x1000 * number, PAGE, world.frame(), R | W | U)
    pages = st.integers(0, 15)
    for _ in range(data.draw(st.integers(1, 12))):
        at = world.memory.regions[0].base + data.draw(pages) * PAGE + 8 * data.draw(st.sampled_from([0, 1, 2, 511]))
        world.memory.write64(at, world.memory.read64(at) ^ 1 << data.draw(st.integers(0, 63)))
    table = AddressSpace(world.memory, world.table.root)
    report(Machine("m", world.memory, (Space("s", table, pid=1, size=0x4000),), guest="xv6"), ("s", 0x1000))


def test_a_machine_of_hundreds_of_spaces_is_bounded_and_says_what_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(told, "MOST_ROWS", 250)
    machine = hostile("space", spaces=told.MOST_ROWS + 100)
    found = report(machine)
    rows = found.tables["Every address space"]
    assert len(rows) == 1 + told.MOST_ROWS
    shown = len([one for one in found.all("details") if one.get("class") == "space"])
    assert 0 < shown < told.MOST_ROWS
    every = len(machine.spaces)
    assert f"100 of the {every:,} address spaces are not in this table" in found.text
    assert f"{told.MOST_ROWS - shown} of the {every:,} address spaces have no room" in found.text


def test_what_the_report_is_about_has_room_before_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = rules_machine()
    found = found_of(machine, ("target-outside", 0x401000))
    clean = Found(found.about, found.ledger, None, found.walks)
    monkeypatch.setattr(whole, "Room", lambda: Room(110_000))
    shown = checked(page(clean, lambda _: None))
    open_ones = [one["id"] for one in shown.all("details") if one.get("class") == "space"]
    number = [space.name for space in machine.spaces].index("target-outside")
    assert f"space-{number}" in open_ones and len(open_ones) < number


@pytest.mark.parametrize("size", [0, 20_000, 60_000, 90_000, 150_000, 250_000])
def test_however_little_room_there_is_nothing_is_left_out_in_silence(
    size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = rules_machine()
    monkeypatch.setattr(whole, "Room", lambda: Room(size))
    walks = [("sound", 0x401000), ("v-clear", 0x401000)]
    found = checked(page(found_of(machine, *walks, remarks=("one remark",)), lambda _: None))
    counted = {
        "walks": (len([one for one in found.all("section") if one.get("class", "").startswith("walk")]),
                  r"(\d+) walks? had no room", 2),
        "remarks": (found.text.count("one remark"), r"and (\d+) more remark", 1),
        "spaces": (len([one for one in found.all("details") if one.get("class") == "space"]),
                   r"(\d+) of the 22 address spaces", 22),
    }  # fmt: skip
    for what, (shown, pattern, total) in counted.items():
        assert shown + sum(map(int, re.findall(pattern, found.text))) == total, what
    rules = {one.rule for one in check(machine, choose()).findings}
    named = set(re.findall(r"PB\d+", "".join(re.findall(r"There was no room to tell of [^.]*", found.text))))
    assert named | {id for one in found.all("section") if (id := one.get("id", "")).startswith("PB")} == rules


def test_runs_problems_and_regions_beyond_the_most_are_counted() -> None:
    world = World(pages=64)
    pages = [world.frame() for _ in range(2)]
    for number in range(600):
        world.table.map(0x2000 * number, PAGE, pages[0], R | U)
    table = world.table.root
    for index in range(100, 200):
        world.put(table, index, world.pointer(0x10_0000_0000))
    memory = Memory([world.memory.regions[0], *(Region(0x1000 * 3 * n, bytes(PAGE)) for n in range(1, 30))])
    found = report(Machine("m", memory, (Space("s", AddressSpace(memory, table)),)))
    assert "and 200 more runs" in found.text and "and 50 more" in found.text
    assert "and 14 more regions" in found.text


def test_the_stated_bound_is_the_one_that_is_held() -> None:
    assert MOST_BYTES == 4 << 20 and "at most 4M" in call("report --help").out
    assert "A report is at most 4M;" in written("--ram", "2M").text
    empty = Machine("m", Memory([]), ())
    bare = page(found_of(empty), lambda _: None)
    assert len(bare.encode()) < bounds.RESERVED


def test_the_model_s_report_is_small() -> None:
    assert len(call("report -o -").must(0).out) < 300_000
