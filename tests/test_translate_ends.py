"""`translate` among pipes, terminals and interruptions; its help and its page."""

from __future__ import annotations

import functools
import json
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from calls import BUFFERED, FOLDER, call, on_terminal, saved
from pagebook.cases import lines
from pagebook.cli import output
from translated import COLUMNS, HEADER, LISTED, PAGE, translate


def child(words: str, **streams: Any) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "pagebook", "translate", str(saved()), *words.split()], env=BUFFERED, **streams
    )


def test_whoever_feeds_a_line_and_waits_gets_its_answer() -> None:
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with child("--format jsonl", **pipes) as running:
        assert running.stdin
        assert running.stdout
        late = threading.Timer(60, running.kill)
        late.start()
        for va in (0x8000_0000, 0x8000_1000, 0):
            running.stdin.write(b"%#x\n" % va)
            running.stdin.flush()
            assert json.loads(running.stdout.readline())["va"] == hex(va)
        late.cancel()
        running.stdin.close()
        assert running.wait(timeout=60) == 1


def test_a_reader_that_has_seen_enough_ends_it_silently_with_the_status_of_any_tool() -> None:
    cases = FOLDER / "many"
    cases.write_text("0x80000000\n" * 100_000)
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with child(f"--cases {cases}", **pipes) as running:
        assert running.stdout
        assert running.stderr
        assert running.stdout.readline() == HEADER.encode()
        running.stdout.close()
        assert running.stderr.read() == b""
        assert running.wait(timeout=60) == 141


def test_ctrl_c_leaves_nothing_behind(tmp_path: Path) -> None:
    pipes = {"stdin": subprocess.PIPE, "stderr": subprocess.PIPE}
    with child(f"-o {tmp_path}/a.csv", **pipes) as running:
        assert running.stdin
        assert running.stderr
        running.stdin.write(b"0x80000000\n")
        running.stdin.flush()
        while not list(tmp_path.iterdir()) and running.poll() is None:
            time.sleep(0.01)
        running.send_signal(signal.SIGINT)
        assert running.stderr.read().strip() == b"pagebook: interrupted"
        assert running.wait(timeout=60) == 130
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_one_line() -> None:
    with Path("/dev/full").open("w") as full, child("0", stdout=full, stderr=subprocess.PIPE) as running:
        assert running.stderr
        assert running.stderr.read() == b"pagebook: the system refused: No space left on device\n"
        assert running.wait(timeout=60) == 2


def test_what_takes_long_is_counted_on_a_terminal_and_wiped_away(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    cases = tmp_path / "cases"
    cases.write_text("0x80000000\n" * 1000)
    words = f"--cases {cases} -o {tmp_path}/a.csv"
    assert translate(words, terminal=True).err == ""
    monkeypatch.setattr(output, "PATIENCE", 0)
    monkeypatch.setattr(output, "PACE", 0)
    monkeypatch.setattr(lines, "BLOCK", 5500)
    assert translate(words).err == ""
    assert translate(f"--cases {cases}", terminal=True).err == ""  # the rows themselves are there
    shown = translate(words, terminal=True).err
    assert shown == f"\r500 rows, 50 %\r1,000 rows, 100 %\r{' ' * 17}\r".replace(",\r", "\r")
    fed = translate(f"--cases - -o {tmp_path}/a.csv", "0x80000000\n" * 1000, terminal=True).err
    assert fed == f"\r500 rows\r1,000 rows\r{' ' * 10}\r"


def test_progress_stays_off_where_rows_are_shown() -> None:
    status, shown = on_terminal(f"translate {saved()} 0x80000000")
    assert (status, shown) == (0, HEADER + shown.partition("\n")[2])
    assert shown.count("\n") == 2


def test_help_fits_a_terminal_of_80_columns() -> None:
    answer = call("translate --help").must(0)
    assert call("translate -h") == answer
    assert answer.out.startswith("Usage: pagebook translate [OPTIONS] [TARGET] [VA]...\n")
    assert max(map(len, answer.out.splitlines())) <= 80


def test_every_call_that_the_help_shows_works(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "m.core").write_bytes(saved().read_bytes())
    (tmp_path / "cases.csv").write_text("va,priv\n0x1000,S\n")
    examples = [line.strip() for line in call("translate -h").out.splitlines() if line.startswith("  pagebook ")]
    assert len(examples) == 3
    for example in examples:
        assert call(example.removeprefix("pagebook ")).status in (0, 1), example


@functools.cache
def fences() -> list[str]:
    return re.findall(r"^```(?:csv|console)\n(.*?)^```$", PAGE.read_text(), re.M | re.S)


def test_the_cases_that_the_page_shows_give_what_it_shows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    [cases] = [text for text in fences() if text.startswith("va,")]
    [shown] = [text for text in fences() if "--cases cases.csv" in text]
    (tmp_path / "cases.csv").write_text(cases)
    command, _, output = shown.partition("\n")
    assert call(command.removeprefix("$ pagebook ")).out == output


def test_the_page_names_every_column_in_and_out() -> None:
    text = PAGE.read_text()
    for name in {*COLUMNS, *LISTED.split(", ")}:
        assert f"| `{name}` |" in text
