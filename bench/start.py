"""How long the command line takes to start, beside the interpreter alone.

Both start as they do on any machine the second time: with their bytecode cached, here in a folder of this run, so that
neither the settings of the shell nor what others left in the source tree matter.
"""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path
from time import perf_counter

from bench.contest import Laps, contest
from bench.rows import OURS, PYTHON, Goal, Row

WHAT = "pagebook --help"


class Unavailable(Exception):
    """There is no command line that can be started yet."""


class Starter:
    """Starts this interpreter with its bytecode cached under ``folder``."""

    def __init__(self, folder: str) -> None:
        self.environment = {**os.environ, "PYTHONPYCACHEPREFIX": folder}
        self.environment.pop("PYTHONDONTWRITEBYTECODE", None)

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """One start, from fork to exit."""
        return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, env=self.environment)

    def wall(self, *arguments: str) -> Laps:
        """How long one start takes."""
        start = perf_counter()
        done = self.run(*arguments)
        end = perf_counter()
        done.check_returncode()
        return {"wall": end - start}

    def command(self) -> list[str]:
        """What follows the interpreter to start the command line: this environment's script, or the module."""
        script = Path(sysconfig.get_path("scripts")) / "pagebook"
        for way in ([str(script)], ["-m", "pagebook"]):
            if not self.run(*way, "--help").returncode:
                return [*way, "--help"]
        raise Unavailable("not available: neither the script nor python -m pagebook answers --help")

    def imports_numpy(self, arguments: list[str]) -> bool:
        """Whether that start imports numpy, as the interpreter's own list of imports says."""
        lines = self.run("-X", "importtime", *arguments).stderr.splitlines()
        modules = [line.rpartition("|")[2].strip() for line in lines if line.startswith("import time:")]
        return any(module.partition(".")[0] == "numpy" for module in modules)


def measure(turns: int) -> tuple[Row, ...]:
    """One row, or one that says why there is none."""
    goal = Goal(OURS, PYTHON, 5)
    with tempfile.TemporaryDirectory() as folder:
        starter = Starter(folder)
        try:
            help_ = starter.command()
        except Unavailable as error:
            return (Row(WHAT, {}, (goal,), str(error)),)
        note = "MISSED: it imports numpy" if starter.imports_numpy(help_) else "imports no numpy: ok"
        starter.wall("-c", "pass")
        results = contest({PYTHON: lambda: starter.wall("-c", "pass"), OURS: lambda: starter.wall(*help_)}, turns)
    return (Row(WHAT, {name: laps["wall"] for name, laps in results.items()}, (goal,), note),)
