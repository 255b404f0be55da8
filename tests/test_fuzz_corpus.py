"""Inputs that fuzzing has found, each given again to its reader: those that reach most, and all that ever broke one.

The directory of an input says what becomes of it: tests/corpus/READER/answered or refused.
"""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from fuzz.guided import KEPT, MOST_MEMORY, ROOT, kept, ready, replay
from fuzz.readers import Readers
from fuzz.work import TooSlow
from pagebook.errors import BadFile

NAMES = sorted(path.name for path in KEPT.iterdir())


@pytest.fixture(scope="module")
def readers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Readers]:
    before = signal.getsignal(signal.SIGPROF)
    yield ready(tmp_path_factory.mktemp("corpus"))
    signal.signal(signal.SIGPROF, before)


def test_every_reader_has_inputs_that_are_kept(readers: Readers) -> None:
    assert sorted(readers.harnesses) == NAMES
    assert all(kept(name) for name in NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_what_is_kept_comes_to_the_answer_or_the_refusal_it_is_kept_for(name: str, readers: Readers) -> None:
    found = {path: readers.judge(name, path.read_bytes()) for path in kept(name)}
    assert {path: verdict for path, verdict in found.items() if verdict != path.parent.name} == {}


def test_all_of_it_takes_no_more_memory_than_is_allowed_and_no_fuzzer(tmp_path: Path) -> None:
    code = """
import resource, sys
from pathlib import Path
from fuzz.guided import kept, ready
readers = ready(Path(sys.argv[1]))
for name in readers.harnesses:
    for path in kept(name):
        readers.judge(name, path.read_bytes())
print("atheris" in sys.modules, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10)
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, cwd=ROOT, timeout=300
    )
    fuzzer, most = done.stdout.split()
    assert fuzzer == "False"
    assert int(most) < MOST_MEMORY


@pytest.mark.parametrize("error", [ValueError("not ours"), BadFile(""), RecursionError(), MemoryError()])
def test_a_reader_that_raises_anything_but_a_refusal_with_words_is_broken(
    error: Exception, readers: Readers, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def harness(data: bytes) -> None:
        raise error

    path = tmp_path / "input"
    path.write_bytes(b"\0")
    broken = Readers(tmp_path)
    broken.harnesses["btf"] = (harness, list)
    assert replay(broken, "btf", [path]) == 1
    assert "BROKEN" in capsys.readouterr().out
    assert replay(readers, "btf", [path]) == 0


def test_a_reader_that_does_not_come_to_an_end_is_broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def harness(data: bytes) -> None:
        while True:
            pass

    monkeypatch.setattr("fuzz.readers.MOST_SECONDS", 0.05)
    slow = ready(tmp_path)
    slow.harnesses["btf"] = (harness, list)
    with pytest.raises(TooSlow):
        slow.judge("btf", b"")


def test_a_reader_that_takes_what_it_refused_is_told(readers: Readers, monkeypatch: pytest.MonkeyPatch) -> None:
    refused = next(path for path in kept("btf") if path.parent.name == "refused")
    assert readers.judge("btf", refused.read_bytes()) == "refused"
    monkeypatch.setitem(readers.harnesses, "btf", (lambda data: None, list))
    assert readers.judge("btf", refused.read_bytes()) == "answered"
