"""The targets that the page is driven on, each served by the command line as a user starts it."""

from __future__ import annotations

import hashlib
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from pagebook.sources.elfcore import write_core
from pagebook.xv6.boot import boot, machine
from pagebook.xv6.kalloc import kalloc

PATIENCE = 120.0  # seconds


class Served(NamedTuple):
    """A server that listens: the link it printed, how many seconds it took from its start, and its process."""

    link: str
    seconds: float
    pid: int


@contextmanager
def served(*words: str) -> Iterator[Served]:
    """``pagebook serve`` with these words, until the block ends by Ctrl-C, after which nothing may be left."""
    started = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-m", "pagebook", "serve", "--no-browser", *words],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout
    link = process.stdout.readline().strip()
    if not link:
        raise AssertionError(f"serve {' '.join(words)}: {process.communicate()[1].strip()}")
    try:
        yield Served(link, time.monotonic() - started, process.pid)
    finally:
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, f"serve ended with {process.returncode}: {said}"
    assert "Traceback" not in said and "Error" not in said, said


def leaking_core(path: Path) -> int:
    """A saved machine in which a frame was taken from the free list and forgotten; the frame's address."""
    k = boot(ram=8 << 20)
    lost = kalloc(k)
    assert lost
    write_core(machine(k), path)
    return lost


def digest(path: Path) -> str:
    """A hash of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
