"""``python -m conformance.mutate``: put each deliberate fault into a copy of the package and ask the golden vectors.

A line for each fault: how many cases caught it, in which translator, and the first.  Exit status 1 unless all are
caught.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

import pagebook
from conformance.generate import Batch
from conformance.golden import recorded
from conformance.layout import OPERATIONS
from conformance.mutants import MUTANTS, Mutant
from conformance.report import disagreements, translators_of
from pagebook.sv import FORMATS

PACKAGE = Path(pagebook.__file__).parent
ROOT = Path(__file__).parents[1]
TIMEOUT = 300


def main() -> int:
    """Judge every fault; 0 when all are caught."""
    if sys.argv[1:2] == ["--ask"]:
        print(json.dumps(dict(_ask(sys.argv[2:]))))
        return 0
    if sys.argv[1:2] == ["--table"]:
        print(table())
        return 0
    missed = 0
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for mutant, caught in zip(MUTANTS, pool.map(judge, MUTANTS), strict=True):
            missed += not caught
            print(f"{mutant.file:8} {mutant.breaks}: {caught or 'NOT CAUGHT'}", flush=True)
    print(f"{len(MUTANTS)} faults, {missed} not caught")
    return 1 if missed else 0


def table() -> str:
    """The faults as a table for the documentation."""
    code = lambda text: "`" + " ".join(text.split()).replace("|", "\\|") + "`"  # noqa: E731
    rows = [
        f"| {number} | `{m.file}` | {m.breaks} | {code(m.old)} | {code(m.new)} |" for number, m in enumerate(MUTANTS, 1)
    ]
    return "\n".join(["| | file | what is wrong then | today | the fault |", "|---|---|---|---|---|", *rows])


def judge(mutant: Mutant) -> str:
    """What catches a fault, in words; empty when nothing does."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "pagebook"
        shutil.copytree(PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__", "xv6", "cli", "views"))
        spoil(copy / mutant.file, mutant)
        names = ["scan" if mutant.file == "scan.py" else "scalar"]
        done = subprocess.run(
            [sys.executable, "-m", "conformance.mutate", "--ask", *names],
            env=os.environ | {"PYTHONPATH": os.pathsep.join([folder, str(ROOT)]), "PYTHONDONTWRITEBYTECODE": "1"},
            cwd=folder, timeout=TIMEOUT, stdin=subprocess.DEVNULL, capture_output=True, text=True,
        )  # fmt: skip
    if done.returncode:
        raise RuntimeError(f"{mutant.breaks}: the golden vectors could not be asked:\n{done.stderr}")
    found = json.loads(done.stdout)
    return "; ".join(f"{name} {said}" for name, said in found.items())


def spoil(path: Path, mutant: Mutant) -> None:
    """Put the fault into a file."""
    text = path.read_text()
    if text.count(mutant.old) != 1:
        raise ValueError(f"{mutant.file} has {mutant.old!r} {text.count(mutant.old)} times")
    path.write_text(text.replace(mutant.old, mutant.new))


def _ask(translators: list[str]) -> Iterator[tuple[str, str]]:
    """For each translator that some case catches: how many, and the first."""
    counts = dict.fromkeys(translators, 0)
    first: dict[str, str] = {}
    for format in FORMATS.values():
        for batch, machine in recorded(format):
            for name in translators_of(batch):
                if name in counts:
                    try:
                        bad = np.flatnonzero(disagreements(batch, machine, name))
                    except Exception as error:  # whatever a faulty package does is a way to be caught
                        bad = np.arange(len(batch.cases))
                        first.setdefault(name, f"{type(error).__name__} in {_label(batch)}")
                    if len(bad):
                        first.setdefault(name, _case(batch, int(bad[0])))
                    counts[name] += len(bad)
    yield from ((name, f"{counts[name]:,} cases, first {first[name]}") for name in translators if name in first)


def _label(batch: Batch) -> str:
    e = batch.extensions
    chosen = ["svadu" if e.svadu else "svade", *(name for name in ("svnapot", "svpbmt") if getattr(e, name))]
    return f"{batch.format.name} {batch.name} {'+'.join(chosen)}"


def _case(batch: Batch, row: int) -> str:
    case = batch.cases[row]
    return f"{_label(batch)} row {row} ({OPERATIONS[case['op']][0]} {case['va']:#x})"


if __name__ == "__main__":
    sys.exit(main())
