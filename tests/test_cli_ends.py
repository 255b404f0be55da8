"""How the command line ends: interrupted, without a reader, on a full disk, without memory."""

from __future__ import annotations

import errno
import io
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from calls import BUFFERED, SMALL, VERBS, WORDS, Answer, Stream, call, spawn
from pagebook.cli import main, verbs
from test_cli import WALK_TO_NOTHING


def test_ctrl_c_ends_with_status_130_and_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> int:
        raise KeyboardInterrupt

    for verb in VERBS:
        monkeypatch.setattr(verbs, verb, interrupted)
        answer = call(f"{verb} {WORDS.get(verb, '')}").must(130)
        assert answer.out == ""
        assert answer.err.strip() == "pagebook: interrupted"


def test_ctrl_c_while_the_command_line_is_loaded_is_one_line_too(tmp_path: Path) -> None:
    (tmp_path / "click.py").write_text("raise KeyboardInterrupt")
    ended = subprocess.run(
        [sys.executable, "-m", "pagebook"],
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (130, "", "pagebook: interrupted\n")


def test_ctrl_c_while_saving_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("pagebook.sources.elfcore._note", interrupted)
    call(f"boot {SMALL} --save {tmp_path}/m.core").must(130)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT])
def test_the_status_after_a_signal_that_a_verb_was_ended_by_is_the_shell_s(
    number: signal.Signals, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ended(*_: object) -> int:
        raise SystemExit(128 + number)

    monkeypatch.setattr(verbs, "maps", ended)
    assert call("maps") == Answer(128 + number, "", "")


def test_findings_do_not_hide_that_the_reader_has_left() -> None:
    command = [sys.executable, "-m", "pagebook", "check", "rules"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=BUFFERED) as child:
        assert child.stdout
        assert child.stderr
        child.stdout.close()
        assert child.stderr.read() == b""
        assert child.wait(timeout=60) == 141


@pytest.mark.parametrize("words", ["maps --pages --ram 4M", "boot --quiet --ram 2M"])  # more than a pipe holds; less
def test_a_reader_that_has_seen_enough_ends_it_silently_with_the_status_of_any_tool(words: str) -> None:
    command = [sys.executable, "-m", "pagebook", *words.split()]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=BUFFERED) as child:
        assert child.stdout
        assert child.stderr
        if "--pages" in words:
            assert child.stdout.readline().startswith(b"kernel: ")
        child.stdout.close()
        assert child.stderr.read() == b""
        assert child.wait(timeout=60) == 128 + signal.SIGPIPE


class Full(Stream):
    """A place where nothing more can be written, ``reason`` being the system's."""

    def __init__(self, reason: int) -> None:
        super().__init__(False)
        self.reason = reason

    def reconfigure(self, **_: object) -> None:
        pass

    def flush(self) -> None:
        raise OSError(self.reason, os.strerror(self.reason))

    def fileno(self) -> int:
        raise io.UnsupportedOperation


@pytest.mark.parametrize(
    ("reason", "status", "err"),
    [(errno.EPIPE, 141, ""), (errno.ENOSPC, 2, "pagebook: the system refused: No space left on device\n")],
)
def test_output_that_cannot_be_written_ends_it_in_one_line_at_most(
    reason: int, status: int, err: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["pagebook", "boot", *SMALL.split()])
    monkeypatch.setattr(sys, "stdout", Full(reason))
    monkeypatch.setattr(sys, "stderr", stderr := Stream(False))
    with pytest.raises(SystemExit) as ended:
        main()
    assert (ended.value.code, stderr.text()) == (status, err)


def test_a_pipe_that_breaks_under_way_is_silent_too(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> int:
        raise BrokenPipeError(errno.EPIPE, "Broken pipe")

    monkeypatch.setattr(verbs, "maps", broken)
    monkeypatch.setattr(sys, "exit", lambda status: (_ for _ in ()).throw(SystemExit(status)))
    assert call("maps") == Answer(141, "", "")


@pytest.mark.parametrize("words", ["maps --pages", "boot --quiet", "--help"])
def test_a_full_disk_under_standard_output_is_one_line(words: str) -> None:
    command = [sys.executable, "-m", "pagebook", *words.split(), *(SMALL.split() if words != "--help" else [])]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, env=BUFFERED)
    assert (done.returncode, done.stderr) == (2, "pagebook: the system refused: No space left on device\n")


def test_too_little_memory_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def starved(*_: object) -> int:
        raise MemoryError

    monkeypatch.setattr(verbs, "maps", starved)
    assert call("maps").refusal == "pagebook: this computer has not enough memory for that"


def test_without_a_standard_output_the_exit_status_still_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["pagebook", "walk", "0x4000", *SMALL.split(), "--space", "init"])
    monkeypatch.setattr(sys, "stdout", None)
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 1


def test_any_stream_will_do_for_a_standard_output(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["pagebook", "walk", "0x4000", "--space", "init"])
    monkeypatch.setattr(sys, "stdout", stdout := io.StringIO())
    with pytest.raises(SystemExit):
        main()
    assert stdout.getvalue() == WALK_TO_NOTHING


def test_text_that_the_terminals_encoding_lacks_is_escaped(tmp_path: Path) -> None:
    answer = spawn(f"boot --quiet {SMALL} --save {tmp_path}/mémoire.core", PYTHONIOENCODING="ascii").must(0)
    assert f"saved: {tmp_path}/m\\xe9moire.core" in answer.out
    assert [file.name for file in tmp_path.iterdir()] == ["mémoire.core"]
