"""A page left open on a running guest: how much memory both sides keep, and how fast the guest counts meanwhile.

``python -m browser.steady`` takes ten minutes unless told otherwise.  Memory that grows is a failure; times are told.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

from playwright.sync_api import sync_playwright

from browser.serving import served
from browser.window import chromium
from guests.build import build
from guests.qemu import Guest, running
from pagebook.sv import SV39

SPAN = 5.0  # seconds of counting
ALONE = 4  # spans before and after
GROWTH = 1.10  # at most, from the second minute on
SLOWED = 1.02
MIB = 1 << 20


class Kept(NamedTuple):
    """Bytes that the server holds resident, and that the page's scripts use after a collection."""

    server: int
    page: int


def seconds_a_million(guest: Guest) -> float:
    """Processor seconds of the guest's hart for a million counts, over one span."""
    first = _spent(guest.pid), guest.qemu.look().memory.read64(guest.said.count)
    time.sleep(SPAN)
    last = _spent(guest.pid), guest.qemu.look().memory.read64(guest.said.count)
    return (last[0] - first[0]) / (last[1] - first[1]) * 1e6


def _spent(pid: int) -> float:
    files = Path(f"/proc/{pid}/task").glob("*/schedstat")
    return max(int(file.read_text().split()[0]) for file in files) / 1e9


def kept(server: int, session: Any) -> Kept:  # noqa: ANN401 - a session of Playwright's
    """What both sides keep now."""
    session.send("HeapProfiler.collectGarbage")
    metrics = {one["name"]: one["value"] for one in session.send("Performance.getMetrics")["metrics"]}
    resident = next(
        line for line in Path(f"/proc/{server}/status").read_text().splitlines() if line.startswith("VmRSS:")
    )
    return Kept(int(resident.split()[1]) << 10, int(metrics["JSHeapUsedSize"]))


def main() -> int:
    """0 when neither side's memory grows."""
    parser = argparse.ArgumentParser(prog="python -m browser.steady", description=__doc__)
    parser.add_argument("--minutes", type=int, default=10)
    minutes = max(parser.parse_args().minutes, 3)
    with (
        tempfile.TemporaryDirectory() as name,
        running(build(Path(name)), SV39.mode, Path(name), in_a_file=False) as guest,
        sync_playwright() as playwright,
    ):
        alone = [seconds_a_million(guest) for _ in range(ALONE)]
        with served(f"qemu:{guest.pid}") as at:
            browser = chromium(playwright)
            page = browser.new_page()
            page.goto(at.link)
            page.wait_for_selector("body[data-ready]")
            session = page.context.new_cdp_session(page)
            session.send("Performance.enable")
            memory: list[Kept] = []
            followed = []
            for minute in range(1, minutes + 1):
                ends = time.monotonic() + 60 - SPAN
                while time.monotonic() < ends:
                    page.wait_for_timeout(1000)
                followed.append(seconds_a_million(guest))
                memory.append(kept(at.pid, session))
                print(
                    f"minute {minute}: server {memory[-1].server / MIB:.1f} MiB, page {memory[-1].page / MIB:.2f} MiB, "
                    f"a million counts in {followed[-1]:.4f} s",
                    flush=True,
                )
            looks = page.evaluate(
                "fetch('/api/machine', {headers: {Authorization: `Bearer ${localStorage.getItem('pagebook-token')}`}})"
                ".then((answer) => answer.json()).then((found) => found.generation)"
            )
            browser.close()
        alone += [seconds_a_million(guest) for _ in range(ALONE)]
    slowed = statistics.median(followed) / statistics.median(alone)
    print(f"{looks} looks in {minutes} minutes; the guest counts {slowed:.3f}x as slowly as alone <= {SLOWED}", end=" ")
    print("ok" if slowed <= SLOWED else "MISSED")
    grown = [max(getattr(one, side) for one in memory[2:]) / getattr(memory[1], side) for side in Kept._fields]
    print(f"memory from the second minute on: server {grown[0]:.3f}x, page {grown[1]:.3f}x, at most {GROWTH}x")
    return int(max(grown) > GROWTH)


if __name__ == "__main__":
    sys.exit(main())
