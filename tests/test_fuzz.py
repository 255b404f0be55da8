"""A small share of `make fuzz`: hostile images, files and answers of one seed, every question asked of each."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_hostile_images_come_to_an_answer_or_a_sentence_in_bounded_time_and_memory() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "fuzz", "--images", "400", "--seed", "39"],
        capture_output=True, text=True, cwd=ROOT, timeout=600,
    )  # fmt: skip
    told = (done.stdout + done.stderr).splitlines()
    assert done.returncode == 0, "\n".join(line for line in told if "WRONG" in line)
    assert told[-1].startswith("done: 400 of 400 images, ")
    assert ", 0 wrong; " in told[-1]
