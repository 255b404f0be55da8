"""Reports: well formed, whole in one file, and true to the machine."""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np
import pytest

from calls import Answer, call, saved
from pagebook import __version__
from pagebook.checks.looks import check
from pagebook.checks.registry import BY_ID, choose
from pagebook.examples import rules_machine
from pagebook.frames import Chain
from pagebook.machine import Hart, Machine, Space
from pagebook.memory import Memory
from pagebook.sv import SV39
from pagebook.table import AddressSpace
from pagebook.targets import Target
from pagebook.views.report.page import page
from reported import checked, found_of, frames_of, report, written
from tools import make_reports
from worlds import BASE, World


@pytest.mark.parametrize("name", make_reports.HELD)
def test_a_report_says_word_for_word_what_is_kept(name: str) -> None:
    html = make_reports.report(make_reports.HELD[name])
    checked(html)
    kept = (make_reports.FOLDER / f"{name}.txt").read_text(encoding="utf-8")
    assert make_reports.outline(html) == kept, "'make docs' writes it again; read it before you commit it"


def test_no_outline_is_kept_that_nothing_writes() -> None:
    assert {path.stem for path in make_reports.FOLDER.iterdir()} == set(make_reports.HELD)


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
