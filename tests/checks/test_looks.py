"""Several looks at a machine that moves: what stays is reported, what passes is not."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
from seeds import DATA, PAGE, change, forked, fresh, named, put, reaped
from test_silent import step

from pagebook.checks import looks
from pagebook.checks.looks import MOST_FINDINGS, Report, check, confirm
from pagebook.checks.registry import BY_ID, choose
from pagebook.errors import BadTarget
from pagebook.frames import Chain
from pagebook.machine import Machine
from pagebook.sv import R, U, W, X
from pagebook.xv6.boot import boot, machine
from pagebook.xv6.kalloc import kalloc, kfree
from pagebook.xv6.kernel import Kernel


@pytest.fixture(autouse=True)
def naps(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """No look waits here; how long each would have."""
    slept: list[float] = []
    monkeypatch.setattr(looks.time, "sleep", slept.append)
    return slept


def watched(k: Kernel, moves: Iterator[None]) -> Report:
    """`confirm` on a kernel that makes a move before each look."""

    def look() -> Machine:
        next(moves)
        return machine(k)

    return confirm(look, choose())


def ids(report: Report) -> list[str]:
    return [finding.rule for finding in report.findings]


def still() -> Iterator[None]:
    while True:
        yield


def cut(cuts: Iterator[int | None], k: Kernel) -> Callable[[], Machine]:
    """Looks at a kernel that stands still, in which the free list is read up to a frame only, None for all of it."""

    def look() -> Machine:
        found = machine(k)
        (whole,) = found.free_lists()
        return replace(found, chains=(Chain(whole.frames[: next(cuts)], None),))

    return look


def test_a_list_that_ends_elsewhere_at_every_look_makes_no_frame_a_lost_one() -> None:
    """A guest that takes all its frames: under load every one of six looks followed the list into a used frame."""
    k = forked()
    report = confirm(cut(iter([40, 90, 70, 20, 60, 30]), k), choose())
    assert ids(report) == []
    assert report.torn
    assert report.looks == looks.LOOKS


def test_a_frame_is_lost_when_the_lists_were_whole_often_enough() -> None:
    k = forked()
    frame = fresh(k)
    report = confirm(cut(iter([40, 90, 70, None, None, None]), k), choose())
    assert [(finding.rule, finding.pa) for finding in report.findings] == [("PB102", frame)]
    assert not report.torn
    late = confirm(cut(iter([40, 90, 70, 20, None, None]), k), choose())
    assert ids(late) == []
    assert late.torn


def test_what_has_nothing_to_do_with_free_lists_is_reported_while_they_move() -> None:
    k = forked()
    change(k, named(k, "sh"), DATA, drop=R)
    report = confirm(cut(iter([40, 90, 70, 20, 60, 30]), k), choose())
    assert ids(report) == ids(check(machine(k), choose())) != []


def test_what_stays_is_reported_after_six_looks_ever_further_apart(naps: list[float]) -> None:
    k = forked()
    frame = fresh(k)
    report = watched(k, still())
    assert [(finding.rule, finding.pa) for finding in report.findings] == [("PB102", frame)]
    assert report.looks == looks.LOOKS == len(naps) + 1
    assert naps == sorted(naps)
    assert 2 < sum(naps) < 3


def test_a_machine_in_which_nothing_is_found_is_looked_at_once(naps: list[float]) -> None:
    assert (watched(forked(), still()).looks, naps) == (1, [])


def test_what_is_gone_in_the_second_look_is_not_reported() -> None:
    k = forked()

    def moves() -> Iterator[None]:
        frame = fresh(k)
        yield
        kfree(k, frame)
        while True:
            yield

    report = watched(k, moves())
    assert (ids(report), report.looks) == ([], 2)


def test_another_bug_in_each_look_is_no_bug() -> None:
    k = forked()
    sh = named(k, "sh")

    def moves() -> Iterator[None]:
        for va in (0x1000, 0x3000):
            change(k, sh, va, drop=U)
            yield
            change(k, sh, va, add=U)

    report = watched(k, moves())
    assert (ids(report), report.looks) == ([], 2)


def test_the_frame_on_top_of_the_free_list_is_always_the_one_in_flight() -> None:
    """It is lost in every look, and holds something else in each."""
    k = forked()

    def moves() -> Iterator[None]:
        for number in range(99):
            frame = kalloc(k)
            k.memory.write64(frame + 8, number)
            yield
            kfree(k, frame)

    assert ids(watched(k, moves())) == []


def test_memory_that_grows_before_the_size_does_is_no_leak() -> None:
    k = forked()
    sh = named(k, "sh")

    def moves() -> Iterator[None]:
        for number in range(99):
            put(k, sh, sh.sz + number * PAGE, fresh(k), R | W | U)
            yield

    assert ids(watched(k, moves())) == []


def test_a_zombie_whose_memory_is_being_freed_lacks_its_trapframe() -> None:
    k = forked()
    child = named(k, "sh", 1)
    k.memory.write64(k.table(child.pagetable).find((1 << 38) - PAGE)[0], 0)
    k.memory.write64(k.table(child.pagetable).find((1 << 38) - 2 * PAGE)[0], 0)
    assert ids(watched(k, still())) == ["PB110", "PB111"]
    m = machine(k)
    spaces = tuple(replace(space, state="zombie") if space.pid == 3 else space for space in m.spaces)
    assert ids(confirm(lambda: replace(m, spaces=spaces), choose())) == []


def test_what_hardware_does_to_a_page_does_not_make_it_another_finding() -> None:
    k = forked()
    sh = named(k, "sh")
    change(k, sh, DATA, drop=U)

    def moves() -> Iterator[None]:
        for flags in [0x40, 0x80, 0, 0xC0] * 9:
            change(k, sh, DATA, add=flags, drop=0xC0)
            yield

    assert ids(watched(k, moves())) == ["PB108"]


@pytest.mark.parametrize("rev", ["2022", "2025"])
def test_a_bug_is_found_among_processes_that_come_and_go(rev: str) -> None:
    k = boot(rev, ram=4 << 20, nproc=8)
    lost = fresh(k)
    change(k, None, k.kmem.head, add=X)
    dice = random.Random(7)

    def moves() -> Iterator[None]:
        while True:
            for _ in range(5):
                step(k, dice)
            yield

    found = watched(k, moves()).findings
    assert [(one.rule, one.pa) for one in found if one.rule == "PB102"] == [("PB102", lost)]
    assert {one.rule for one in found} == {"PB010", "PB102"}


def failing(times: int, k: Kernel) -> Callable[[], Machine]:
    left = [times]

    def look() -> Machine:
        if left[0]:
            left[0] -= 1
            raise BadTarget("the guest is gone")
        return machine(k)

    return look


def test_a_look_that_makes_no_sense_is_tried_again() -> None:
    assert ids(confirm(failing(3, forked()), choose())) == []


def test_a_guest_that_is_gone_is_an_error() -> None:
    with pytest.raises(BadTarget, match="gone"):
        confirm(failing(99, forked()), choose())


def test_no_more_than_twenty_findings_of_a_rule_are_listed_and_the_rest_is_counted() -> None:
    k = forked()
    sh = named(k, "sh")
    for number in range(50):
        put(k, sh, sh.sz + (2 * number + 1) * PAGE, fresh(k), R | W | U)
    report = check(machine(k), choose())
    assert (len(report.findings), report.more) == (MOST_FINDINGS, {"PB101": 50 - MOST_FINDINGS})


def test_a_run_of_pages_is_one_finding() -> None:
    k = forked()
    sh = named(k, "sh")
    for number in range(50):
        put(k, sh, sh.sz + number * PAGE, fresh(k), R | W | U)
    [finding] = check(machine(k), choose()).findings
    assert (finding.va, finding.pages, finding.size) == (sh.sz, 50, 50 * PAGE)
    assert finding.message.startswith("50 pages are mapped from 0x4000, beyond the process's 0x4000 bytes")


def test_a_finding_tells_its_place() -> None:
    k = forked()
    sh = named(k, "sh")
    change(k, sh, DATA, drop=U)
    [finding] = check(machine(k), choose()).findings
    pte_pa, pte, level = k.table(sh.pagetable).find(DATA)
    assert (finding.rule, finding.space, finding.pid, finding.va) == ("PB108", "sh.2", 2, DATA)
    assert (finding.pte, finding.pte_pa, finding.level) == (pte, pte_pa, level)
    assert (finding.pa, finding.severity) == (k.table(sh.pagetable).translate(DATA), BY_ID["PB108"].severity)


def test_only_rules_that_hold_for_the_guest_are_asked() -> None:
    k, _ = reaped()
    assert "PB013" not in check(machine(k), choose(["ALL"])).rules
    assert "PB102" in check(machine(k), choose(["ALL"])).rules
