"""How long the command line takes to start, beside the interpreter alone."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
from pathlib import Path
from time import perf_counter

from bench.contest import Laps, contest
from bench.rows import OURS, PYTHON, Goal, Row

WHAT = "pagebook --help"


class Unavailable(Exception):
    """There is no command line that can be started yet."""


def command() -> list[str]:
    """What follows the interpreter to start the command line: this environment's script, or the module."""
    script = Path(sysconfig.get_path("scripts")) / "pagebook"
    ways = ([str(script)] if script.exists() else [], ["-m", "pagebook"])
    for way in ways:
        if way and not subprocess.run([sys.executable, *way, "--help"], capture_output=True).returncode:
            return [*way, "--help"]
    raise Unavailable("not available: neither the script nor python -m pagebook answers --help")


def imports_numpy(arguments: list[str]) -> bool:
    """Whether that start imports numpy, as the interpreter's own list of imports says."""
    done = subprocess.run([sys.executable, "-X", "importtime", *arguments], capture_output=True, text=True)
    modules = [line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if line.startswith("import time:")]
    return any(module.partition(".")[0] == "numpy" for module in modules)


def wall(arguments: list[str]) -> Laps:
    """One start of the interpreter with these arguments, from fork to exit."""
    start = perf_counter()
    subprocess.run([sys.executable, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
    return {"wall": perf_counter() - start}


def measure(turns: int) -> tuple[Row, ...]:
    """One row, or one that says why there is none."""
    goal = Goal(OURS, PYTHON, 5)
    try:
        help_ = command()
    except Unavailable as error:
        return (Row(WHAT, {}, (goal,), str(error)),)
    note = "MISSED: it imports numpy" if imports_numpy(help_) else "imports no numpy: ok"
    results = contest({PYTHON: lambda: wall(["-c", "pass"]), OURS: lambda: wall(help_)}, turns)
    return (Row(WHAT, {name: laps["wall"] for name, laps in results.items()}, (goal,), note),)
