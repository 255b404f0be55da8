"""The command line on a guest that runs: what it says of the guest beside its answer.

What stands for QEMU is a monitor that knows the RAM of the model, booted; there is no process behind it.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator

import pytest

from calls import call
from fake_qemu import LINUX, FakeMonitor, open_for
from pagebook.errors import BadTarget
from pagebook.machine import Machine
from pagebook.targets import Target
from pagebook.xv6.boot import boot, machine

pytestmark = LINUX

BASE = 0x8000_0000
MODEL = machine(boot(ram=2 << 20))
RAM = bytes(MODEL.memory.regions[0].data)
ROOT = MODEL.space("kernel").table.root
PAUSED = "pagebook: the guest is paused and nothing in it moves: cont in its monitor lets it run\n"


@pytest.fixture
def monitor() -> Iterator[FakeMonitor]:
    end = BASE + len(RAM) - 1
    answers = {
        "info mtree -f": f"FlatView\n  {BASE:016x}-{end:016x} (prio 0, ram): board.ram\n",
        "info registers -a": f"\nCPU#0\n satp {8 << 60 | ROOT >> 12:016x}\n",
    }
    with open_for(FakeMonitor(answers, ram=(BASE, RAM))) as fake:
        assert isinstance(fake, FakeMonitor)
        yield fake


WRONG = bytearray(RAM)
WRONG[ROOT - BASE : ROOT - BASE + 8] = (0x2100_0000 << 10 | 0xF).to_bytes(8, "little")  # a page of 1 GiB, not aligned


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits a second before something is shown."""
    monkeypatch.setattr("pagebook.cli.output.PATIENCE", 0)
    monkeypatch.setattr("pagebook.cli.output.PACE", 0)
    monkeypatch.setattr("pagebook.checks.looks.time.sleep", lambda _: None)


@pytest.mark.parametrize("command", ["check {}", "report {} -o -"])
def test_what_is_found_is_looked_for_again_and_a_terminal_shows_how_often(
    monitor: FakeMonitor, impatient: None, command: str
) -> None:
    monitor.ram = (BASE, bytes(WRONG))
    shown = call(command.format(f"qmp:{monitor.path}"), terminal=True).err
    assert [int(found) for found in re.findall(r"\rlooking again, ([0-9]) of 6", shown)] == [2, 3, 4, 5, 6]
    assert shown.endswith("\r")
    assert call(command.format(f"qmp:{monitor.path}")).err == ""


def test_a_look_that_fails_and_is_tried_again_counts_once(
    monitor: FakeMonitor, impatient: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monitor.ram = (BASE, bytes(WRONG))
    real, made = Target.settled, []

    def settled(target: Target) -> Machine:
        made.append(1)
        if len(made) % 2:
            raise BadTarget("nothing makes sense just now")
        return real(target)

    monkeypatch.setattr(Target, "settled", settled)
    shown = call(f"check qmp:{monitor.path}", terminal=True).err
    assert max(int(found) for found in re.findall(r"looking again, ([0-9]+) of 6", shown)) == 6
    assert len(made) == 10


@pytest.mark.parametrize("command", ["check {}", "report {} -o -"])
def test_a_guest_that_is_paused_is_looked_at_once(monitor: FakeMonitor, impatient: None, command: str) -> None:
    monitor.ram = (BASE, bytes(WRONG))
    monitor.running = False
    answer = call(command.format(f"qmp:{monitor.path}"), terminal=True)
    assert "looking again" not in answer.err
    assert monitor.asked.count("info status") == 1


VERBS = [
    "walk 0x80000000 {}", "maps {}", "tree {}", "owners 0x80000000 {}", "check {}", "roots {}", "diff {} --after 0",
    "watch {} --for 0", "translate {} 0x80000000 --space 'hart 0'", "report {} -o -", "draw memory {}",
    "maps {} --freeze",
]  # fmt: skip


@pytest.mark.parametrize("command", VERBS)
def test_every_verb_says_once_that_the_guest_is_paused(monitor: FakeMonitor, command: str) -> None:
    monitor.running = False
    answer = call(command.format(f"qmp:{monitor.path}"))
    assert answer.status in (0, 1)
    assert answer.err.count(PAUSED) == 1, answer.err
    monitor.running = True
    assert PAUSED not in call(command.format(f"qmp:{monitor.path}")).err


def test_watch_says_when_it_is_paused_and_says_it_again_the_next_time(monitor: FakeMonitor) -> None:
    def switch() -> None:
        for _ in range(4):
            seen = monitor.asked.count("info status")
            while monitor.asked.count("info status") < seen + 3 and time.monotonic() < ends:
                time.sleep(0.005)
            monitor.running = not monitor.running

    ends = time.monotonic() + 60
    switching = threading.Thread(target=switch)
    switching.start()
    answer = call(f"watch qmp:{monitor.path} --interval 0.01 --for 3")
    switching.join()
    assert answer.err.count(PAUSED) == 2
