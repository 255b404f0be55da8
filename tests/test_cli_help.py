"""What the command line shows: help, colours, widths, JSON in a pipe and on a terminal, progress."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from calls import SMALL, VERBS, Answer, call, on_terminal, spawn
from pagebook import __version__, cli
from pagebook.cli import output
from test_cli import WALK_TO_NOTHING


@pytest.mark.parametrize("verb", ["", *VERBS])
def test_help_fits_a_terminal_of_80_columns(verb: str) -> None:
    answer = call([*([verb] if verb else []), "--help"]).must(0)
    assert call([*([verb] if verb else []), "-h"]) == answer
    assert answer.out.startswith(f"Usage: pagebook {verb}".rstrip())
    assert max(map(len, answer.out.splitlines())) <= 80
    assert "..." not in answer.out.replace("[ARGS]...", "")  # nothing is cut off


def test_every_command_that_the_help_shows_is_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    examples = [
        line.strip().split("  ")[0].split(" | ")[0]
        for verb in ("", *VERBS)
        for line in call(f"{verb} --help").out.splitlines()
        if line.startswith("  pagebook ")
    ]
    assert len(examples) >= 12
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("pagebook.cli.hosting.host", lambda *words, **more: None)  # it would serve until Ctrl-C
    for example in sorted(examples, key=lambda line: "--save" not in line):  # what saves a file comes first
        theirs = ("--kernel", "--program", " qemu", "old.core")  # files and machines of the reader's
        if not any(word in example for word in theirs):
            assert call(example.removeprefix("pagebook ")).status in (0, 1), example


@pytest.mark.parametrize("name", cli.VERBS)
def test_the_help_of_all_says_of_each_verb_what_its_own_says_first(name: str) -> None:
    command = cli.verb(name)
    assert (command.name, command.get_short_help_str(200)) == (name, cli.VERBS[name][1])


def test_without_a_verb_the_help_comes() -> None:
    answer = call("")
    assert (answer.out + answer.err).startswith("Usage: pagebook [OPTIONS] COMMAND")
    assert (answer.status, answer.out) == (2, "") or answer.err == ""  # as click has it: 2 since 8.2, 0 before


def test_the_version_is_the_packages() -> None:
    assert call("--version").must(0).out == f"pagebook, version {__version__}\n"
    assert spawn("--version").out == f"pagebook, version {__version__}\n"


# Terminals

ANSI = re.compile(r"\x1b\[[0-9;]*m")


@pytest.mark.parametrize("verb", ["boot --ram 2M", "maps --ram 2M --all", "tree --ram 2M", "walk 0 --ram 2M"])
def test_colours_are_for_terminals_and_change_no_word(verb: str) -> None:
    coloured, plain = call(verb, terminal=True), call(verb)
    assert "\x1b[1m" in coloured.out
    assert "\x1b" not in plain.out
    if not verb.startswith("boot"):  # whose story is wrapped
        assert ANSI.sub("", coloured.out) == plain.out
    assert coloured.status == plain.status


def test_a_real_terminal_gets_colours_unless_it_says_no() -> None:
    status, shown = on_terminal("walk 0x4000 --space init")
    assert status == 1
    assert ANSI.sub("", shown) == WALK_TO_NOTHING
    assert "\x1b[1;31m  0x4000 is not mapped" in shown
    assert on_terminal("walk 0x4000 --space init", NO_COLOR="1") == (1, WALK_TO_NOTHING)
    assert call("walk 0x4000 --space init", terminal=True, TERM="dumb") == Answer(1, WALK_TO_NOTHING, "")


def words_of_story(text: str) -> list[str]:
    return [word for word in ANSI.sub("", text).partition("frames: ")[0].split() if word != "free"]


@pytest.mark.parametrize("columns", [80, 120, 300])
def test_the_story_is_wrapped_on_a_terminal_and_whole_in_a_pipe(columns: int) -> None:
    shown = ANSI.sub("", call(f"boot {SMALL}", terminal=True, columns=columns).must(0).out)
    lines = shown.partition("frames: ")[0].splitlines()
    assert max(map(len, lines)) <= columns
    indents = {len(line) - len(line.lstrip()) for line in lines if line.startswith(" ")}
    assert len(indents) == (columns < 300)
    piped = call(f"boot {SMALL}").out.partition("frames: ")[0].splitlines()
    texts = [line.split(" free  ", 1)[1] for line in piped]
    assert " ".join(" ".join(texts).split()) == " ".join(
        " ".join(line[24:] if line[24:] else line for line in lines).split()
    )


def test_a_very_narrow_terminal_still_shows_the_story() -> None:
    shown = ANSI.sub("", call(f"boot {SMALL}", terminal=True, columns=10).must(0).out)
    assert "virtio_disk_init" in shown
    assert max(map(len, shown.partition("frames: ")[0].splitlines())) <= 24 + output.NARROWEST


def test_json_is_one_line_in_a_pipe_and_indented_on_a_terminal() -> None:
    piped, shown = call(f"walk 0 --json {SMALL}"), call(f"walk 0 --json {SMALL}", terminal=True)
    assert piped.out.count("\n") == 1
    assert shown.out.startswith('{\n  "schema": "pagebook.walk",\n')
    assert json.loads(piped.out) == json.loads(shown.out)


def test_what_takes_long_shows_how_far_it_is_on_a_terminal_only(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(output, "SLOW", 1 << 20)
    shown = call(f"boot --quiet {SMALL} --save {tmp_path}/m.core", terminal=True)
    assert "booting with 2M" in shown.err
    assert f"writing {tmp_path}/m.core" in shown.err
    assert "100%" in shown.err
    call(f"boot --quiet {SMALL} --save {tmp_path}/m.core").must(0)
    call(f"maps {SMALL}").must(0)
