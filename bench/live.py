"""Guests that run: a real xv6 beside gdb-pt-dump in gdb, and what `watch` costs the guest that it follows.

The xv6 is one that XV6 names, a folder where it is built; it is started as its own Makefile does, with a gdbstub for
gdb.  gdb-pt-dump is timed inside gdb, the listing alone; pagebook from a fresh look on, through /proc as it finds it.
Both are timed by the wall, for gdb waits for QEMU.
The guest that is watched is our own kernel of `make guests`, which counts in a loop.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from bench.contest import Laps, contest
from bench.peers import Missing
from bench.rows import OURS, PYTHON, Goal, Row
from pagebook import targets
from pagebook.checks.looks import check
from pagebook.checks.registry import choose
from pagebook.views.facts import Filter, listing

START = 2.0  # seconds until QEMU has made its RAM
BOOTED = 15.0  # seconds until the shell's prompt, at most
SPAN = 2.0  # seconds of counting
WARM = 1.5  # seconds after which watch has imported all and looks
WARM_UPS = 5
WHAT = ("maps: a look, the kernel listed", "check: a look, owners, every rule")
SLOWED = ("a counting guest that is watched, wall", "the same, by its processor time")
GDB = """\
import json, time
import gdb
times = []
for _ in range({turns}):
    start = time.perf_counter()
    gdb.execute("pt -satp {satp:#x}", to_string=True)
    times.append(time.perf_counter() - start)
print("TIMES", json.dumps(times))
"""


def beside_gdb_pt_dump(turns: int) -> tuple[Row, ...]:
    """The kernel of a running xv6 listed, and everything checked, beside gdb-pt-dump's listing of it."""
    goals = (Goal(PYTHON, OURS, 40), Goal(PYTHON, OURS, 1))
    try:
        with ExitStack() as stack:
            port, pid = stack.enter_context(_xv6())
            time.sleep(START)
            target = stack.enter_context(targets.opened(f"qemu:{pid}"))
            satp = _settled(target)
            theirs = _in_gdb(port, satp, turns)
            rules = choose((), ())

            def maps() -> Laps:
                start = time.perf_counter()
                runs = list(listing(target.look().space("kernel"), Filter()).runs())
                end = time.perf_counter()
                assert len(runs) > 60
                return {WHAT[0]: end - start}

            def checks() -> Laps:
                start = time.perf_counter()
                report = check(target.look(), rules)
                end = time.perf_counter()
                assert len(report.rules) > 30
                return {WHAT[1]: end - start}

            mine = {}  # one after the other, as gdb-pt-dump lists and lists again with nothing between
            for ours in (maps, checks):
                for _ in range(WARM_UPS):
                    ours()
                mine |= contest({OURS: ours}, turns)[OURS]
    except Missing as missing:
        return tuple(Row(what, {}, (goal,), f"left out: {missing}") for what, goal in zip(WHAT, goals, strict=True))
    return tuple(Row(what, {PYTHON: theirs, OURS: mine[what]}, (goal,)) for what, goal in zip(WHAT, goals, strict=True))


@contextmanager
def _xv6() -> Iterator[tuple[int, int]]:
    """The xv6 that XV6 names, at its prompt: the port of its gdbstub, and QEMU's pid."""
    folder = Path(os.environ.get("XV6", ""))
    if not os.environ.get("XV6") or not (folder / "kernel" / "kernel").is_file():
        raise Missing("build an xv6 and name its folder in XV6")
    qemu = shutil.which("qemu-system-riscv64")
    if qemu is None:
        raise Missing("install qemu-system-riscv64")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [
            qemu, "-machine", "virt", "-bios", "none", "-kernel", "kernel/kernel", "-m", "128M", "-smp", "1",
            "-nographic", "-global", "virtio-mmio.force-legacy=false", "-snapshot",
            "-drive", "file=fs.img,if=none,format=raw,id=x0",
            "-device", "virtio-blk-device,drive=x0,bus=virtio-mmio-bus.0",
            "-gdb", f"tcp:127.0.0.1:{port}",
        ],
        cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        yield port, process.pid
    finally:
        process.kill()
        process.communicate()


def _settled(target: targets.Target) -> int:
    """Wait until the shell runs; the kernel's satp."""
    deadline = time.monotonic() + BOOTED
    while time.monotonic() < deadline:
        time.sleep(0.5)
        machine = target.look()
        if any(space.name == "sh" for space in machine.spaces):
            table = machine.space("kernel").table
            return table.format.satp(table.root)
    raise Missing("that xv6 has not come to its shell")


def _in_gdb(port: int, satp: int, turns: int) -> list[float]:
    """The seconds that gdb takes for each listing; gdb stops the guest, and lets it go on."""
    gdb, folder = shutil.which("gdb-multiarch"), os.environ.get("GDB_PT_DUMP", "")
    if gdb is None or not (Path(folder) / "pt.py").is_file():
        raise Missing("install gdb-multiarch, clone gdb-pt-dump and name the folder in GDB_PT_DUMP")
    with tempfile.NamedTemporaryFile("w", suffix=".py") as script:
        script.write(GDB.format(turns=turns, satp=satp))
        script.flush()
        words = [
            "set confirm off", "set architecture riscv:rv64", f"target remote 127.0.0.1:{port}",
            f"source {folder}/pt.py", f"source {script.name}", "detach",
        ]  # fmt: skip
        called = [gdb, "-nx", "-batch", *(part for word in words for part in ("-ex", word))]
        done = subprocess.run(called, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=600)
    told = [line for line in done.stdout.splitlines() if line.startswith("TIMES ")]
    if not told:
        raise Missing(f"gdb-pt-dump gives no listing: {(done.stderr or done.stdout).strip()[-200:]}")
    times: list[float] = json.loads(told[0].removeprefix("TIMES "))
    return times


def watched(turns: int) -> tuple[Row, ...]:
    """A counting loop with `pagebook watch` beside it, and alone, span by span."""
    goal = Goal(OURS, PYTHON, 1.02)
    try:
        from guests.build import ToolMissing, build
        from guests.qemu import GuestFailed, running
        from pagebook.sv import SV39

        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            times: dict[str, dict[str, list[float]]] = {what: {OURS: [], PYTHON: []} for what in SLOWED}
            with running(build(folder), SV39.mode, folder, in_a_file=False) as guest:
                for turn in range(turns):
                    for column in (OURS, PYTHON) if turn % 2 else (PYTHON, OURS):
                        for what, seconds in zip(SLOWED, _span(guest, column == OURS), strict=True):
                            times[what][column].append(seconds)
    except (ImportError, ToolMissing, GuestFailed) as error:
        return tuple(Row(what, {}, (goal,), f"left out: {error}") for what in SLOWED)
    return tuple(Row(what, times[what], (goal,)) for what in SLOWED)


def _span(guest, follow: bool) -> tuple[float, float]:
    """Seconds for a million counts, on the wall and of the hart's thread, with `watch` beside it or not."""
    watch = None
    if follow:
        command = [sys.executable, "-m", "pagebook", "watch", f"qemu:{guest.pid}"]
        watch = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    time.sleep(WARM)
    counts = []
    for pause in (SPAN, 0):
        counts.append((time.perf_counter(), _spent(guest.pid), guest.qemu.look().memory.read64(guest.said.count)))
        time.sleep(pause)
    if watch:
        watch.terminate()
        watch.wait()
    (wall, spent, count), (later, more, further) = counts
    return (later - wall) / (further - count) * 1e6, (more - spent) / (further - count) * 1e6


def _spent(pid: int) -> float:
    """Seconds that the busiest thread of the process has run, which is that of its hart."""
    files = Path(f"/proc/{pid}/task").glob("*/schedstat")
    return max(int(file.read_text().split()[0]) for file in files) / 1e9
