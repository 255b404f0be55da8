"""Files that show what pagebook says: written again when they are stale, or only told."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterable, Iterator
from contextlib import redirect_stdout
from pathlib import Path
from typing import NamedTuple
from unittest import mock

from pagebook.cli import main as pagebook

ROOT = Path(__file__).resolve().parents[1]


class Stale(NamedTuple):
    """A file that is not as it should be: what it should hold, and what people read differently, as a diff.

    Without a ``diff`` the file is written again, and nothing in it was wrong.
    """

    path: Path
    text: str
    diff: list[str]


def printed(*words: str) -> str:
    """What a call of pagebook prints; SystemExit when it fails."""
    out = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", newline="")
    with redirect_stdout(out), mock.patch.object(sys, "argv", ["pagebook", *words]):
        try:
            pagebook()
        except SystemExit as ended:
            if ended.code:
                raise
    out.flush()
    assert isinstance(out.buffer, io.BytesIO)
    return out.buffer.getvalue().decode()


def differing(held: Iterable[tuple[Path, str]]) -> Iterator[Stale]:
    """Of paths and what they should hold those that hold something else, told by their names."""
    for path, text in held:
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            yield Stale(path, text, [f"stale: {path.relative_to(ROOT)}\n"])


def main(usage: str | None, stale: Iterable[Stale], arguments: list[str]) -> int:
    """Write what is stale or, by ``--check``, show it and write nothing; the exit status."""
    check = arguments == ["--check"]
    if arguments and not check:
        print(usage, file=sys.stderr)
        return 2
    found = False
    for path, text, diff in stale:
        found |= bool(diff)
        if check:
            sys.stdout.writelines(diff)
        else:
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, encoding="utf-8")
            print(f"wrote {path.relative_to(ROOT)}")
    if check and found:
        print("This shows something that is no longer so; 'make docs' writes it again.")
    return int(check and found)
