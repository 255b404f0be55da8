"""Reports: well formed, whole in one file, bounded, true to the machine, and escaped whatever stands in its memory."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calls import FOLDER, Answer, call, on_terminal, saved
from checks.seeds import SEEDS
from pagebook import __version__
from pagebook.checks.looks import check
from pagebook.checks.registry import BY_ID, choose
from pagebook.cli import publishing
from pagebook.examples import rules_machine
from pagebook.explain import explain, regime_of
from pagebook.frames import Chain
from pagebook.ledger import Ledger
from pagebook.machine import Area, Hart, Machine, Space
from pagebook.memory import Memory, Region
from pagebook.mmu import Kind, Mmu
from pagebook.sources.elfcore import write_core
from pagebook.sv import SV39, R, U, W
from pagebook.table import AddressSpace
from pagebook.targets import Target
from pagebook.units import PAGE_SHIFT
from pagebook.views.report import found as bounds
from pagebook.views.report import page as whole
from pagebook.views.report import spaces as told
from pagebook.views.report.found import MOST_BYTES, About, Found, Room
from pagebook.views.report.markup import Html, element, plain
from pagebook.views.report.page import page
from pagebook.views.report.story import story
from pagebook.views.svg.themes import THEMES
from pagebook.xv6.boot import machine as machine_of
from tools import make_reports
from worlds import BASE, PAGE, World

ROOT = Path(__file__).parents[1]
VOID = {"meta"}
EVIL = "<script>alert(1)</script><img src=x onerror=alert(2)>&amp;\"'</title></svg>\u202e\x1b[31m\x00"
WHEN = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


class Page(HTMLParser):
    """A report taken apart: its elements in order, with everything closed that was opened."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.text = ""
        self.open: list[str] = []
        self.rows: list[list[str]] = []
        self.tables: dict[str, list[list[str]]] = {}
        self.style = ""
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_decl(self, decl: str) -> None:
        assert decl == "doctype html" and not self.elements

    def handle_pi(self, data: str) -> None:
        raise AssertionError(data)

    def handle_comment(self, data: str) -> None:
        raise AssertionError(data)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len({name for name, _ in attrs}) == len(attrs), attrs
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        elif tag in ("th", "td"):
            self.rows[-1].append("")
        elif tag == "table":
            self.rows = []
        elif tag == "caption":
            self.tables[""] = []

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert "svg" in self.open  # HTML has no such form
        self.handle_starttag(tag, attrs)
        self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open.pop() == tag, (tag, self.open)
        self.text += "\n" if tag in ("p", "tr", "li", "h1", "h2", "h3", "h4") else ""

    def handle_data(self, data: str) -> None:
        if "style" in self.open:
            self.style += data
            return
        self.text += data
        if self.open and self.open[-1] == "caption":
            self.tables[data] = self.rows
        if {"th", "td"} & set(self.open) and "caption" not in self.open:
            self.rows[-1][-1] += data

    def all(self, tag: str) -> list[dict[str, str]]:
        """The attributes of every element with that name."""
        return [attributes for name, attributes in self.elements if name == tag]


def checked(html: str) -> Page:
    """A report that keeps every promise of form."""
    assert len(html.encode()) <= MOST_BYTES
    found = Page(html)
    tags = {tag for tag, _ in found.elements}
    assert not tags & {"script", "img", "iframe", "object", "embed", "link", "base", "form", "audio", "video", "use"}
    for tag, attributes in found.elements:
        assert not {"src", "srcset", "action", "data", "xlink:href", "background", "poster"} & set(attributes), tag
        assert not [name for name in attributes if name.startswith("on")], attributes
        assert attributes.get("href", "#").startswith("#")
        assert "url(" not in attributes.get("style", "")
    assert "@import" not in found.style and "url(" not in found.style
    policies = [one for one in found.all("meta") if one.get("http-equiv") == "Content-Security-Policy"]
    assert [one["content"] for one in policies] == [whole.POLICY] and whole.POLICY.startswith("default-src 'none'")

    ids = Counter(attributes["id"] for _, attributes in found.elements if "id" in attributes)
    assert [id for id, count in ids.items() if count > 1] == []
    led = {one["href"][1:] for one in found.all("a")}
    led |= {
        word
        for _, attributes in found.elements
        for name in ("aria-labelledby", "aria-describedby")
        for word in attributes.get(name, "").split()
    }
    led |= set(re.findall(r'"url\(#([\w-]+)\)"', html))
    assert led <= set(ids)

    levels = [int(tag[1]) for tag, _ in found.elements if re.fullmatch(r"h\d", tag)]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    assert {"header", "nav", "main", "footer", "h1"} <= tags and found.all("html")[0]["lang"] == "en"
    figures = len(found.all("svg"))
    assert figures == len(found.all("figure")) == len(found.all("desc")) == len(found.all("title")) - 1
    assert all(one["role"] == "img" and one["aria-labelledby"] and one["aria-describedby"] for one in found.all("svg"))
    colours = set(re.findall(r"var\(--([\w-]+)", html))
    assert colours <= set(re.findall(r"--([\w-]+):", found.style)) | {"wide"}
    return found


def found_of(machine: Machine, *walks: tuple[str, int], remarks: tuple[str, ...] = ()) -> Found:
    """What report finds in a machine."""
    checks = check(machine, choose()) if machine.spaces else None
    accesses = tuple(
        explain(Mmu(machine.memory), machine.space(name), regime_of(machine.space(name)), Kind.STORE, va)
        for name, va in walks
    )
    about = About("a target", "pagebook report", WHEN, "for the tests", remarks)
    return Found(about, Ledger(machine), checks, accesses)


def report(machine: Machine, *walks: tuple[str, int]) -> Page:
    return checked(page(found_of(machine, *walks), lambda _: None))


def written(*words: object, status: int = 0) -> Page:
    """The report that a call prints."""
    return checked(call(["report", *words, "-o", "-"]).must(status).out)


# What is told


@pytest.mark.parametrize("name", make_reports.HELD)
def test_a_report_says_word_for_word_what_is_kept(name: str) -> None:
    html = make_reports.report(make_reports.HELD[name])
    checked(html)
    kept = (make_reports.FOLDER / f"{name}.txt").read_text(encoding="utf-8")
    assert make_reports.outline(html) == kept, "'make docs' writes it again; read it before you commit it"


def test_no_outline_is_kept_that_nothing_writes() -> None:
    assert {path.stem for path in make_reports.FOLDER.iterdir()} == set(make_reports.HELD)


def frames_of(found: Page) -> tuple[list[int], int]:
    """The counts in the table of roles, and the number under them."""
    counts = [int(cells[1].replace(",", "")) for cells in found.tables["Frames by role"][1:]]
    return counts[:-1], counts[-1]


@pytest.mark.parametrize("words", [("--ram", "2M"), ("--ram", "7M"), ("rules",)], ids=" ".join)
def test_the_frames_in_the_table_of_roles_sum_to_all_of_ram(words: tuple[str, ...]) -> None:
    roles, total = frames_of(written(*words))
    ram = {"--ram": int(words[-1][:-1]) << 8} if words[0] == "--ram" else {}
    assert sum(roles) == total == ram.get(words[0], 88)


def test_every_space_has_a_row_a_figure_and_its_runs() -> None:
    found = written("--ram", "2M")
    assert [cells[0] for cells in found.tables["Every address space"]] == ["name", "kernel", "init", "sh"]
    for number, name in enumerate(("kernel", "init", "sh")):
        (runs,) = (rows for caption, rows in found.tables.items() if caption.startswith(f"What {name} maps"))
        maps = call(f"maps --ram 2M --space {name}").out.splitlines()[1:]
        assert len(runs) - 1 == len(maps)
        for cells, line in zip(runs[1:], maps, strict=True):
            there = re.split(r" -> |\s+|-(?=0x)", line.strip(), maxsplit=5)
            assert [int(one, 16) for one in there[:3]] == [int(one, 16) for one in (*cells[0].split("-"), cells[1])]
            assert (there[3], there[4], there[5].strip()) == (cells[2], cells[3], cells[4])
        assert f"space-{number}-layout-title" in {one.get("id") for one in found.all("title")}


def test_a_finding_is_told_with_its_place_what_to_do_and_its_story() -> None:
    found = written("rules")
    expected = check(rules_machine(), choose()).findings
    assert len(expected) == 21
    for one in expected:
        assert one.message in found.text and f"{one.space} {one.va:#x}" in found.text
    for id in {one.rule for one in expected}:
        assert f"{id} {BY_ID[id].name} {BY_ID[id].severity}" in found.text
        assert f"The story of {id}" in found.text and BY_ID[id].remedy in found.text
        assert {"id": id, "class": f"rule {BY_ID[id].severity}"} in [
            {"id": one.get("id"), "class": one.get("class")} for one in found.all("section")
        ]


def test_a_walk_is_told_in_words_and_with_its_two_figures() -> None:
    found = written("rules", "--walk", "v-clear:0x401000", "--walk", "sound:0x401000", "--access", "fetch")
    titles = {one.get("id") for one in found.all("title")}
    assert {f"walk-{n}-{figure}-title" for n in (1, 2) for figure in ("steps", "directories-1")} <= titles
    assert "instruction page fault: V is 0: the entry is absent [v-clear]" in found.text
    assert "allowed: 0x401000 reaches physical address 0x80003000" in found.text
    assert "fetch at 0x401000 in v-clear faults" in found.text and "fetch at 0x401000 in sound is allowed" in found.text


def test_figures_of_a_walk_agree_with_what_is_said_of_it() -> None:
    for name in rules_machine().spaces:
        found = report(Machine("one", name.table.memory, (name,)), (name.name, 0x401000))
        fault = "store at 0x401000 in " in found.text and " faults" in found.text
        assert ("reaches physical address" in found.text) != fault


def test_a_walk_in_machine_mode_reads_no_pte_and_has_no_directories() -> None:
    found = written("rules", "--walk", "0x80000000", "--priv", "m")
    assert "machine mode uses physical addresses" in found.text
    assert not [one for one in found.all("title") if one.get("id", "").startswith("walk-1-directories")]


def test_a_walk_takes_a_name_a_pid_or_a_root_as_walk_does() -> None:
    root = call("tree --ram 2M --space sh").out.splitlines()[0].split()[-1]
    for space in ("sh", "2", root):
        assert "load at 0x0 in sh" in written("--ram", "2M", "--walk", f"{space}:0").text
    assert "load at 0x0 in kernel" in written("--ram", "2M", "--walk", "0").text


def test_the_head_says_which_machine_when_and_by_which_words() -> None:
    words = ["report", saved(), "--walk", "sh:0x2ff8", "-o", "-"]
    found = checked(call(words).must(0).out)
    assert f"pagebook report {saved()} --walk sh:0x2ff8 -o -" in found.text
    assert f"pagebook {__version__}, Python" in found.text
    assert "a file, in which nothing moves" in found.text and "0x80000000-0x80200000, 2M" in found.text
    assert found.all("time")[0]["datetime"][:4] in found.text


def test_harts_are_told_with_the_space_that_each_uses() -> None:
    world = World(pages=8)
    space = Space("mine", AddressSpace(world.memory, world.table.root))
    satps = (SV39.satp(world.table.root), 0, 3 << 60, None)
    harts = [Hart(n, satp, "S") for n, satp in enumerate(satps)]
    found = report(Machine("m", world.memory, (space,), tuple(harts * 20)))
    assert f"Sv39 from {world.table.root:#x}: mine, in S" in found.text and "no translation, in S" in found.text
    assert "which means nothing" in found.text and "satp not known" in found.text and "and 16 more harts" in found.text


def test_remarks_and_damage_are_at_the_head() -> None:
    machine = rules_machine()
    found = page(found_of(machine, remarks=("the guest moved <b>on</b>",)), lambda _: None)
    assert "the guest moved <b>on</b>" in checked(found).text
    broken = Chain(np.empty(0, dtype=np.uint64), bounds_error())
    torn = Machine("torn", machine.memory, machine.spaces, chains=(broken,), pools=())
    assert "the list is damaged" in report(torn).text


def bounds_error() -> Exception:
    from pagebook.errors import BadFrame

    return BadFrame("the list is damaged", pa=5)


def test_a_machine_without_page_tables_is_told_as_far_as_it_goes() -> None:
    found = report(Machine("bare", Memory.anonymous(1 << 16, BASE), ()))
    assert "Nothing was checked: no page table was found." in found.text
    assert "No address space was found." in found.text
    assert frames_of(found) == ([16], 16)


def test_a_machine_without_memory_is_told_too() -> None:
    found = report(Machine("nothing", Memory([]), ()))
    assert frames_of(found) == ([], 0)


# A guest that moves


class Guest:
    """Stands for a guest: what it says it is, looked at as often as wanted."""

    def __init__(self, machine: Machine) -> None:
        self.machine, self.looks, self.stopped = machine, 0, 0

    def look(self) -> Machine:
        self.looks += 1
        return self.machine

    def target(self) -> Target:
        from contextlib import contextmanager

        @contextmanager
        def frozen() -> Iterator[None]:
            self.stopped += 1
            yield

        return Target("qemu", self.look, live=True, frozen=frozen, remarks=["something is odd"])


def of_guest(monkeypatch: pytest.MonkeyPatch, *words: str) -> tuple[Guest, Answer]:
    from contextlib import contextmanager

    guest = Guest(rules_machine())

    @contextmanager
    def opened(*_: object) -> Iterator[Target]:
        yield guest.target()

    monkeypatch.setattr("pagebook.targets.opened", opened)
    monkeypatch.setattr("pagebook.checks.looks.time.sleep", lambda _: None)
    return guest, call(["report", "qemu", *words, "-o", "-"])


def test_of_a_guest_that_runs_only_what_stays_is_told_and_that_it_moved(monkeypatch: pytest.MonkeyPatch) -> None:
    guest, answer = of_guest(monkeypatch)
    found = checked(answer.out)
    assert guest.looks > 2 and guest.stopped == 0
    assert "a guest that ran on while it was read" in found.text and "looks at a machine that moves" in found.text
    assert "something is odd" in found.text and answer.err == "pagebook: something is odd\n"


def test_a_frozen_guest_is_looked_at_once_and_the_report_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    guest, answer = of_guest(monkeypatch, "--freeze")
    found = checked(answer.out)
    assert "a running guest, stopped while it was read" in found.text and guest.stopped == 1
    assert "looks at a machine that moves" not in found.text


# Hostile machines


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


# Bounds


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


# The file


def test_the_file_is_report_html_unless_a_name_is_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    answer = call("report --ram 2M").must(0)
    assert re.fullmatch(r"written: report\.html, \d+K; open it in a browser\n", answer.out)
    call("report --ram 2M -o other.html").must(0)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other.html", "report.html"]
    checked((tmp_path / "report.html").read_text(encoding="utf-8"))


def test_a_pipe_gets_the_same_bytes_as_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pagebook.cli.publishing.shlex.join", lambda words: "the words")
    monkeypatch.setattr("pagebook.cli.publishing.datetime", type("Clock", (), {"now": staticmethod(lambda: WHEN)}))
    call(["report", "rules", "-o", tmp_path / "a.html"]).must(0)
    assert (tmp_path / "a.html").read_text(encoding="utf-8") == call("report rules -o -").must(0).out


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("--walk", "zz:"), "'' is not an address"),
        (("--walk", "nobody:0"), "has no address space 'nobody'"),
        (("--walk", ":0"), "has no address space ''"),
        (("--walk", "0x10000000000000000"), "is no 64-bit address"),
        (("--walk", "0", "--size", "3", "--access", "amo"), "its size is a power of two"),
        (("--access", "store"), "add --walk [SPACE:]VA"),
        (("--svnapot",), "add --walk [SPACE:]VA"),
        (("--walk", "0") * 33, "give at most 32"),
        (("no-such-file",), "there is no file"),
        (("-o", "."), "it is a directory, not a file"),
        (("-o", "no/such/folder/report.html"), "No such file or directory"),
    ],
    ids=lambda value: " ".join(value[:3]) if isinstance(value, tuple) else None,
)
def test_bad_words_are_refused_and_nothing_is_written(
    words: tuple[str, ...], why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    model = () if "no-such-file" in words else ("--ram", "2M")
    assert why in call(["report", *words, *model]).refusal
    assert list(tmp_path.iterdir()) == []


def test_ctrl_c_leaves_the_old_report_and_nothing_beside_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    path = tmp_path / "report.html"
    path.write_text("the old one")
    monkeypatch.setattr(publishing, "page", interrupted)
    call(["report", "rules", "-o", path]).must(130)
    monkeypatch.undo()
    monkeypatch.setattr("pagebook.files.Path.replace", interrupted)
    call(["report", "rules", "-o", path]).must(130)
    assert [(one.name, one.read_text()) for one in tmp_path.iterdir()] == [("report.html", "the old one")]


def test_the_report_that_was_there_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    path.write_text("the old one")
    call(["report", "rules", "-o", path]).must(0)
    checked(path.read_text(encoding="utf-8"))
    assert [one.name for one in tmp_path.iterdir()] == ["report.html"]


def test_a_slow_report_says_on_a_terminal_how_far_it_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("pagebook.cli.output.PATIENCE", -1.0)
    answer = call(["report", "rules", "-o", tmp_path / "r.html"], terminal=True)
    assert "making the report: " in answer.err and answer.status == 0
    assert "making" not in call(["report", "rules", "-o", tmp_path / "r.html"]).err


def test_it_reads_well_on_a_terminal_too(tmp_path: Path) -> None:
    status, shown = on_terminal(f"report rules -o {tmp_path}/r.html")
    assert (status, shown.count("\n")) == (0, 1) and shown.startswith(f"written: {tmp_path}/r.html")


# Parts


def test_text_becomes_an_element_and_markup_stays() -> None:
    made = element("p", "a < b & c", element("b", '"'), Html("<i></i>"), class_="x<y", hidden=True, title=None)
    assert made == '<p class="x&lt;y" hidden>a &lt; b &amp; c<b>"</b><i></i></p>'
    assert element("meta", charset="utf-8") == '<meta charset="utf-8">'
    assert plain("a\u202eb\n\ud800") == "a\\u202eb\\u000a\\ud800"


@given(st.text())
def test_any_text_comes_out_as_it_went_in_but_for_what_cannot_be_shown(text: str) -> None:
    read = Page(str(element("b", text)))
    assert read.text == plain(text) and [tag for tag, _ in read.elements] == ["b"]
    assert Page(str(element("p", title=text))).elements == [("p", {"title": plain(text)})]


def test_a_story_links_only_to_what_the_same_report_tells() -> None:
    assert '<a href="#PB105">PB105</a>' in story("PB013", {"PB105"})
    assert "<a" not in story("PB013", ()) and "PB105" in story("PB013", ())


@pytest.mark.parametrize("id", BY_ID)
def test_every_rule_has_a_story(id: str) -> None:
    made = story(id, BY_ID)
    assert made.startswith("<h4>What it means</h4>") and "<h4>What to do</h4>" in made
    assert set(re.findall(r'href="#(\w+)"', made)) <= set(BY_ID)
    assert Page(made).elements


def test_the_page_has_every_colour_of_the_figures_in_every_theme() -> None:
    style = whole.style()
    assert "/*" not in style
    for theme in ("light", "dark", "print"):
        for name, colour in THEMES[theme].items():
            assert f"--{name}: {colour};" in style


def test_help_fits_a_terminal_of_80_columns() -> None:
    shown = call("report --help").must(0).out
    assert max(map(len, shown.splitlines())) <= 80 and "..." not in shown


def test_every_example_in_the_help_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "m.core").write_bytes(saved().read_bytes())
    examples = re.findall(r"^  pagebook (report.*)$", call("report --help").out, re.M)
    assert len(examples) == 3
    for words in examples:
        if " qemu" not in words:
            call(words).must(0)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["fault.html", "m.core", "report.html"]


def test_the_model_that_every_verb_boots_is_what_is_told() -> None:
    from pagebook.targets import ModelOptions, boot_model

    machine = machine_of(boot_model(ModelOptions(ram=2 << 20)))
    assert "What sh maps: 6 runs" in report(machine, ("sh", 0x2FF8)).tables
