"""The command line on a guest that runs: what it says of the guest beside its answer.

What stands for QEMU is a monitor that knows the RAM of the model, booted; there is no process behind it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from calls import call
from fake_qemu import LINUX, FakeMonitor, open_for
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
