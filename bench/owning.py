"""Whole machines: a kernel's listing and whose each frame is, beside the listing of gdb-pt-dump, and by size of RAM.

gdb-pt-dump lists in this process, without gdb, on bytes at hand: less than it needs in its own place.  What the size
costs is measured in a process for each size, on a sparse image in a file with a quarter of a million to four million
pages mapped, and with the most memory that the process ever had.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
from argparse import Namespace
from pathlib import Path

import numpy as np

from bench.contest import Laps, clock, contest
from bench.peers import Missing, backend
from bench.rows import OURS, PYTHON, Goal, Row
from bench.same import check_arrays
from pagebook.ledger import Ledger, Role
from pagebook.machine import Machine, Space
from pagebook.memory import U64, Memory
from pagebook.sources.mapped import map_file
from pagebook.sv import SV39, A, D, R, U, V, W
from pagebook.table import AddressSpace
from pagebook.units import PAGE_SHIFT, PAGE_SIZE, size_text
from pagebook.views.facts import Filter, listing
from pagebook.xv6 import boot as xv6

BASE = 0x8000_0000
SIZES = (1 << 30, 2 << 30, 4 << 30, 8 << 30, 16 << 30)
"""Bytes of RAM, every page of which is mapped."""
WIDTH = 40


def measure(turns: int) -> tuple[Row, ...]:
    """The kernel of a machine of 128 MiB listed, and all its frames told, beside gdb-pt-dump's listing."""
    machine = xv6.machine(xv6.boot())
    kernel = machine.space("kernel")
    what = ("kernel of xv6 listed, 33,859 pages", "every frame's owner, 128M")
    goals = (Goal(PYTHON, OURS, 40), Goal(PYTHON, OURS, 1))
    try:
        table = backend(machine.memory.regions[0].data, SV39.satp(kernel.table.root))
    except Missing as missing:
        return tuple(Row(one, {}, (goal,), f"left out: {missing}") for one, goal in zip(what, goals, strict=True))
    asked = Namespace(satp=None, phys_verbose=True, save=False)

    def theirs() -> Laps:
        start = clock()
        table.parse_tables({}, asked)
        return {"listing": clock() - start}

    def ours() -> Laps:
        start = clock()
        runs = list(listing(kernel, Filter()).runs())
        between = clock()
        counts = Ledger(machine).counts()
        end = clock()
        assert len(runs) > 60
        assert counts[Role.UNKNOWN] == 0
        return {"listing": between - start, "ledger": end - between}

    _same(table.parse_tables({}, asked), kernel)
    results = contest({PYTHON: theirs, OURS: ours}, turns)
    peer = results[PYTHON]["listing"]
    return tuple(
        Row(one, {PYTHON: peer, OURS: results[OURS][lap]}, (goal,))
        for one, goal, lap in zip(what, goals, ("listing", "ledger"), strict=True)
    )


def _same(blocks: list[object], kernel: Space) -> None:
    """Both must list the same bytes with the same rights before any time counts."""
    found = [
        (block.va, size, block.r, block.w, block.x)
        for block in blocks
        for size in [sum(block.sizes) if hasattr(block, "sizes") else block.page_size]
    ]
    runs = listing(kernel, Filter()).run_rows
    mine = int(runs["size"].sum())
    check_arrays("bytes listed", {OURS: np.array([mine]), PYTHON: np.array([sum(size for _, size, *_ in found)])})


def sizes(shown: tuple[int, ...] = SIZES) -> tuple[Row, ...]:
    """What the ledger of a machine costs as its RAM grows, plotted: a row for each size."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        found = [_in_a_process(Path(folder) / "ram", size) for size in shown]
    longest = max(seconds for seconds, _ in found)
    for size, (seconds, peak) in zip(shown, found, strict=True):
        bar = "#" * max(round(seconds / longest * WIDTH), 1)
        note = f"{peak >> 20:>5} MiB at most{'' if peak < 2 << 30 else ' MISSED: over 2 GiB'}  {bar}"
        rows.append(Row(f"{size_text(size)}, {size >> PAGE_SHIFT} pages mapped", {OURS: [seconds]}, (), note))
    return tuple(rows)


def _in_a_process(path: Path, size: int) -> tuple[float, int]:
    write_image(path, size)
    done = subprocess.run([sys.executable, "-m", "bench.owning", str(path), str(size)], capture_output=True, text=True)
    path.unlink()
    if done.returncode:
        raise RuntimeError(done.stderr)
    seconds, peak = json.loads(done.stdout)
    return seconds, peak


def write_image(path: Path, size: int) -> None:
    """A sparse file: RAM of ``size`` bytes, each page mapped once from a table in its last frames."""
    frames = size >> PAGE_SHIFT
    last = frames >> 9
    middle = (last + 511) >> 9
    first = frames - last - middle - 1
    tables = np.zeros((1 + middle + last, 512), dtype=U64)
    base = U64(BASE >> PAGE_SHIFT)
    numbers = (base + U64(first) + np.arange(1, 1 + middle + last).astype(U64)) << U64(10) | U64(V)
    tables[0, :middle] = numbers[:middle]
    tables[1 : 1 + middle].reshape(-1)[:last] = numbers[middle:]
    shuffled = np.random.default_rng(39).permutation(frames).astype(U64)
    tables[1 + middle :].reshape(-1)[:frames] = (base + shuffled) << U64(10) | U64(V | R | W | U | A | D)
    with path.open("wb") as file:
        file.truncate(size)
        file.seek(first << PAGE_SHIFT)
        file.write(tables.tobytes())


def open_image(path: Path, size: int) -> Machine:
    """The machine in such a file."""
    from pagebook.memory import Region

    memory = Memory([Region(BASE, map_file(str(path)))])
    return Machine("image", memory, (Space("all", AddressSpace(memory, root_of(size)), pid=1),))


def root_of(size: int) -> int:
    """The address of the root table in such a file."""
    frames = size >> PAGE_SHIFT
    last = frames >> 9
    return BASE + (frames - last - ((last + 511) >> 9) - 1) * PAGE_SIZE


def main() -> None:
    """One size in this process: the seconds, and the most memory it had, as JSON."""
    machine = open_image(Path(sys.argv[1]), int(sys.argv[2]))
    start = clock()
    counts = Ledger(machine).counts()
    seconds = clock() - start
    assert sum(counts.values()) == int(sys.argv[2]) >> PAGE_SHIFT
    assert counts[Role.UNKNOWN] == 0
    print(json.dumps([seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10]))


if __name__ == "__main__":
    main()
