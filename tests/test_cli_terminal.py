"""What only a person at a terminal has: a pager for what is long, a last line that is said anew, words completed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from calls import BUFFERED, call, on_terminal, saved
from pagebook.checks.registry import RULES
from pagebook.cli import VERBS, completing, output


def pager(folder: Path) -> Path:
    """A pager that shows how it was called and two of its lines, and then reads no more."""
    path = folder / "pager"
    path.write_text("#!/bin/sh\necho paged\nhead -2\n")
    path.chmod(0o755)
    return path


@pytest.mark.parametrize("verb", ["maps {}", "tree {} --space kernel --format vmprint", "owners {}", "rule"])
def test_what_is_longer_than_the_terminal_goes_through_the_pager(verb: str, tmp_path: Path) -> None:
    whole = call(verb.format(saved()).split()).out.splitlines()
    assert len(whole) > 8
    status, shown = on_terminal(
        verb.format(saved()), PAGER=str(pager(tmp_path)), LINES="8", COLUMNS="200", NO_COLOR="1"
    )
    assert (status, shown.splitlines()) == (0, ["paged", *whole[:2]])


def test_what_fits_the_terminal_is_only_printed(tmp_path: Path) -> None:
    whole = call(["maps", saved(), "--space", "sh"]).out
    lines = len(whole.splitlines())
    environment = {"PAGER": str(pager(tmp_path)), "COLUMNS": "200", "NO_COLOR": "1"}
    assert on_terminal(f"maps {saved()} --space sh", LINES=str(lines + 1), **environment) == (0, whole)
    assert on_terminal(f"maps {saved()} --space sh", LINES=str(lines), **environment)[1].startswith("paged")


def test_a_last_line_is_said_anew_on_a_terminal_and_never_in_a_pipe(capsys: pytest.CaptureFixture[str]) -> None:
    with output.foot() as say:
        say("nobody reads this")
        print("a line")
    assert capsys.readouterr().out == "a line\n"
    code = (
        "from pagebook.cli import output\n"
        "with output.foot() as say:\n    say('first'); print('between'); say('second')\nprint('after')"
    )
    done = on_terminal_python(code)
    assert [part for part in ("first", "between", "second", "after") if part in done] == [
        "first", "between", "second", "after"
    ]  # fmt: skip
    assert done.index("between") < done.index("second") < done.index("after")


def on_terminal_python(code: str) -> str:
    """What a program shows on a pseudo-terminal."""
    import pty

    ours, theirs = pty.openpty()
    child = subprocess.Popen([sys.executable, "-c", code], stdin=theirs, stdout=theirs, stderr=theirs, env=BUFFERED)
    os.close(theirs)
    seen = b""
    try:
        while piece := os.read(ours, 1 << 16):
            seen += piece
    except OSError:
        pass
    os.close(ours)
    assert child.wait(timeout=60) == 0
    return seen.decode()


def completed(words: str) -> list[str]:
    """What click offers for the last of these words, with its kind before it, as bash is told."""
    given = words.split(" ")
    environment = {
        **BUFFERED,
        completing.VARIABLE: "bash_complete",
        "COMP_WORDS": words,
        "COMP_CWORD": str(len(given) - 1),
    }
    done = subprocess.run(
        [sys.executable, "-m", "pagebook"], env=environment, capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("pagebook che", ["plain,check"]),
        ("pagebook maps q", ["plain,qemu"]),
        ("pagebook maps m.c", ["file,m.c"]),
        ("pagebook maps --kernel ker", ["file,ker"]),
        ("pagebook maps --space s", ["plain,sh"]),
        ("pagebook rule pb12", ["plain,PB120", "plain,PB121"]),
        ("pagebook rule leak", ["plain,leaked-frame"]),
        ("pagebook check --select PB00", [f"plain,{rule.id}" for rule in RULES if rule.id < "PB010"]),
        ("pagebook walk 0 --access st", ["plain,store"]),
        ("pagebook completion ", ["plain,bash", "plain,zsh", "plain,fish"]),
    ],
)
def test_half_a_word_is_completed(words: str, offered: list[str]) -> None:
    assert completed(words) == offered


def test_every_verb_is_offered() -> None:
    assert completed("pagebook ") == [f"plain,{name}" for name in sorted(VERBS)]


@pytest.mark.parametrize("shell", completing.SHELLS)
def test_what_completion_prints_is_read_by_the_shell(shell: str, tmp_path: Path) -> None:
    script = call(["completion", shell]).must(0).out
    assert completing.VARIABLE in script and "pagebook" in script
    if shutil.which(shell):
        (tmp_path / "script").write_text(script)
        checked = subprocess.run([shell, "-n", str(tmp_path / "script")], capture_output=True, text=True, timeout=60)
        assert (checked.returncode, checked.stderr) == (0, "")


def test_runs_that_are_alike_are_folded_on_a_terminal_unless_all_are_asked_for() -> None:
    verb = f"maps {saved()} --space kernel"
    whole = call(verb).out.splitlines()
    stacks = [line for line in whole if "stack of slot" in line and "unused" in line]
    assert len(stacks) > 20
    status, shown = on_terminal(verb, NO_COLOR="1")
    told = f"  ... {len(stacks) - 2} more, 8K apart (--all lists them)"
    at = whole.index(stacks[0])
    assert (status, shown.splitlines()) == (0, [*whole[: at + 1], told, *whole[at + len(stacks) - 1 :]])
    for more in ("--all", "--has r"):
        assert on_terminal(f"{verb} {more}", NO_COLOR="1", LINES="200") == (0, call(f"{verb} {more}").out)
