"""Files that another program cuts short while they are read: a sentence, and never a silent end by SIGBUS."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from calls import BUFFERED, call, saved
from fake_qemu import LINUX
from pagebook.cli import comparing
from pagebook.errors import BadFile
from pagebook.sources.mapped import map_file
from pagebook.targets import opened
from pagebook.web.app import make_app
from pagebook.web.looks import Looks
from test_web import PORT, TOKEN, api, ask

pytestmark = pytest.mark.skipif(not hasattr(signal, "SIGBUS"), reason="a system without SIGBUS")

SENTENCE = (
    "pagebook: a file became shorter while it was read, or its disk failed; open it again when nothing writes it any "
    "more, or open a copy\n"
)


@pytest.fixture
def core(tmp_path: Path) -> Path:
    """A machine that was saved, ours to cut short."""
    return Path(shutil.copy(saved(), tmp_path / "v.core"))


def test_a_file_is_whole_until_it_is_shorter_than_what_is_mapped_of_it(core: Path):
    file, size = map_file(core), core.stat().st_size
    file.whole()
    os.truncate(core, size + 4096)
    file.whole()
    os.truncate(core, size - 1)
    with pytest.raises(BadFile, match=rf"became shorter while it was read: {size - 1} bytes are left of {size}; open"):
        file.whole()


def test_a_file_that_became_shorter_between_two_looks_is_refused(core: Path, monkeypatch: pytest.MonkeyPatch):
    size = core.stat().st_size
    monkeypatch.setattr(comparing.time, "sleep", lambda seconds: os.truncate(core, 8192))
    assert call(["diff", core, "--after", 1]).refusal == (
        f"pagebook: {core} became shorter while it was read: 8192 bytes are left of {size}; open it again when nothing "
        "writes it any more, or open a copy"
    )


def test_one_of_several_pieces_that_became_shorter_is_named(tmp_path: Path):
    for name in ("low", "high"):
        (tmp_path / name).write_bytes(bytes(8192))
    with opened(f"{tmp_path}/low@0x80000000,{tmp_path}/high@0x90000000") as target:
        target.whole()
        os.truncate(tmp_path / "high", 0)
        with pytest.raises(BadFile, match="high became shorter"):
            target.look()


def test_a_file_that_was_unpacked_is_needed_no_more(core: Path, tmp_path: Path):
    import gzip

    packed = tmp_path / "v.core.gz"
    packed.write_bytes(gzip.compress(core.read_bytes()))
    with opened(str(packed)) as target:
        os.truncate(packed, 0)
        assert len(target.look().memory.read(0x8000_0000, 1 << 20)) == 1 << 20


def test_the_server_says_so_and_lives_on(core: Path):
    data = core.read_bytes()
    with opened(str(core)) as target:
        app = make_app(Looks(target, moves=False), "127.0.0.1", PORT, TOKEN)
        assert api(app, "machine")["name"]
        os.truncate(core, 0)
        for question, query in (("machine", ""), ("frame", "pa=0x80001000"), ("checks", "")):
            answer = ask(app, f"/api/{question}", query)
            assert (answer.status, "became shorter while it was read" in answer.data["error"]) == (400, True)
        core.write_bytes(data)
        assert api(app, "machine")["name"]


@LINUX
def test_bytes_that_go_while_they_are_looked_at_end_it_in_a_sentence_and_leave_no_file(core: Path, tmp_path: Path):
    with subprocess.Popen(
        [sys.executable, "-m", "pagebook", "translate", core, "--space", "kernel", "--cases", "-", "-o", "out.csv"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=BUFFERED, cwd=tmp_path,
    ) as child:  # fmt: skip
        assert child.stdin
        ends = time.monotonic() + 60
        while len(list(tmp_path.iterdir())) < 2 and time.monotonic() < ends:  # what is written stands beside its place
            time.sleep(0.01)
        os.truncate(core, 0)
        child.stdin.write("va\n0x80000000\n")
        out, err = child.communicate(timeout=60)
    assert (child.returncode, out, err) == (2, "", SENTENCE)
    assert list(tmp_path.iterdir()) == [core]


@LINUX
def test_in_a_thread_that_is_deep_in_numpy_too(core: Path):
    code = f"""
import os, threading, numpy
from pagebook.cli.last_word import expect_lost_bytes
from pagebook.sources.mapped import map_file
file = map_file({str(core)!r})
expect_lost_bytes()
os.truncate({str(core)!r}, 0)
words = numpy.frombuffer(file, numpy.uint8)
one = threading.Thread(target=words.sum)
one.start()
one.join()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (2, "", SENTENCE)
