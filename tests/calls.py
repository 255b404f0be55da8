"""Calls of the command line as a user makes them, in this process or in one of their own, and what came of them."""

from __future__ import annotations

import atexit
import contextlib
import functools
import io
import os
import pty
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import NamedTuple
from unittest import mock

from pagebook.cli import main
from pagebook.machine import Area, Machine, Space
from pagebook.sources.elfcore import write_core
from pagebook.table import AddressSpace
from worlds import World

_FOLDER = tempfile.TemporaryDirectory(prefix="pagebook-tests-")
atexit.register(_FOLDER.cleanup)
FOLDER = Path(_FOLDER.name)
SMALL = "--ram 2M"
VERBS = ("boot", "maps", "tree", "walk", "fault", "pte", "satp", "quiz")
WORDS = {"walk": "0", "pte": "0", "satp": "0", "fault": "--scause 13 --stval 0"}  # what a verb needs
BUFFERED = {**os.environ, "PYTHONUNBUFFERED": ""}  # standard output as users have it, whatever the tests run in


class Answer(NamedTuple):
    """An exit status, and what was printed."""

    status: int
    out: str
    err: str

    def must(self, status: int) -> Answer:
        """This answer, held to have that status and to be a decent one."""
        assert self.status == status, self
        assert "Traceback" not in self.out + self.err
        if status in (2, 130):
            assert self.err != "", self
        else:
            assert self.err in ("", "pagebook: no mapping is as asked\n")[: status + 1], self
        return self

    @property
    def refusal(self) -> str:
        """The one line that says why, of a call that was refused."""
        self.must(2)
        assert self.out == ""
        lines = self.err.splitlines()
        assert len(lines) == 1 or lines[0].startswith("Usage: "), self
        return lines[-1]


class Stream(io.TextIOWrapper):
    """A standard stream in memory; ``terminal`` is what it says it is."""

    def __init__(self, terminal: bool) -> None:
        super().__init__(io.BytesIO(), encoding="utf-8", newline="")
        self.terminal = terminal

    def isatty(self) -> bool:
        return self.terminal

    def text(self) -> str:
        self.flush()
        assert isinstance(self.buffer, io.BytesIO)
        return self.buffer.getvalue().decode()


def call(
    command: str | Iterable[object],
    *,
    typed: str | bytes = "",
    terminal: bool = False,
    columns: int = 80,
    **environment: str,
) -> Answer:
    """``pagebook`` with the words of ``command``, in this process; ``typed`` is what comes on standard input."""
    words = shlex.split(command) if isinstance(command, str) else [str(word) for word in command]
    out, err, given = Stream(terminal), Stream(terminal), Stream(terminal)
    given.buffer.write(typed if isinstance(typed, bytes) else typed.encode())
    given.buffer.seek(0)
    settings = {"TERM": "xterm", "COLUMNS": str(columns), "LINES": "9999", "NO_COLOR": "", **environment}
    with (
        mock.patch.dict(os.environ, settings),
        mock.patch.object(sys, "argv", ["pagebook", *words]),
        mock.patch.object(sys, "stdin", given),
        redirect_stdout(out),
        redirect_stderr(err),
    ):
        try:
            main()
        except SystemExit as ended:
            status = ended.code
    assert isinstance(status, int)
    return Answer(status, out.text(), err.text())


def spawn(command: str, *, first: str = "", **environment: str) -> Answer:
    """``python -m pagebook`` in a process of its own, with the statements ``first`` run before it."""
    start = ["-c", f"{first}; from pagebook.cli import main; main()"] if first else ["-m", "pagebook"]
    done = subprocess.run(
        [sys.executable, *start, *shlex.split(command)],
        capture_output=True, text=True, timeout=60, env={**BUFFERED, **environment},
    )  # fmt: skip
    return Answer(done.returncode, done.stdout, done.stderr)


def on_terminal(command: str, **environment: str) -> tuple[int, str]:
    """``python -m pagebook`` on a pseudo-terminal of 80 columns: the exit status, and all that it showed."""
    settings = {
        **BUFFERED,
        "TERM": "xterm",
        "COLUMNS": "80",
        "LINES": "24",
        "NO_COLOR": "",
        "PAGER": "cat",
        **environment,
    }
    ours, theirs = pty.openpty()
    child = subprocess.Popen(
        [sys.executable, "-m", "pagebook", *shlex.split(command)],
        stdin=theirs, stdout=theirs, stderr=theirs, env=settings, start_new_session=True,
    )  # fmt: skip
    os.close(theirs)
    seen = b""
    with contextlib.suppress(OSError):  # how Linux says that the other end is closed
        while piece := os.read(ours, 1 << 16):
            seen += piece
    os.close(ours)
    return child.wait(timeout=60), seen.decode().replace("\r\n", "\n")


@functools.cache
def saved() -> Path:
    """A small machine that ``boot --save`` wrote."""
    path = FOLDER / "saved.core"
    call(["boot", "--quiet", *SMALL.split(), "--save", path]).must(0)
    return path


def core_of(world: World, name: str = "world.core", areas: Iterable[Area] = (), space: str = "kernel") -> Path:
    """A world and its table, saved as a machine with one space."""
    path = FOLDER / name
    table = AddressSpace(world.memory, world.table.root, world.format)
    write_core(Machine("a world", world.memory, (Space(space, table, tuple(areas)),)), path)
    return path
