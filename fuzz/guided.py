"""``python -m fuzz.guided [NAME...]``: look for inputs that break a reader, guided by what of its code they reach.

Atheris, which finds them, is needed for that alone: ``--replay`` judges files again and ``--keep`` chooses those that
tests/corpus keeps, without it.  Each reader runs in a process of its own; 1 when anything was found.
"""

from __future__ import annotations

import argparse
import hashlib
import resource
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Iterable
from pathlib import Path
from types import CodeType, FrameType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fuzz.readers import Readers

ROOT = Path(__file__).resolve().parent.parent
KEPT = ROOT / "tests" / "corpus"
MOST_MEMORY = 1 << 30  # bytes of the whole process
LONGEST = 1 << 15  # bytes of an input
MOST_KEPT = 64 << 10  # bytes of all inputs that are chosen for a reader
FILE = 256  # bytes that a further file counts as much as
BROKEN = ("broken-*", "crash-*", "oom-*", "timeout-*", "leak-*")
Arc = tuple[CodeType, int, int]


def main() -> int:
    """Run as the words say."""
    parser = argparse.ArgumentParser(prog="python -m fuzz.guided", description="coverage-guided fuzzing of the readers")
    parser.add_argument("names", nargs="*", metavar="NAME", help="a reader; all of them when none is named")
    parser.add_argument("--seconds", type=int, default=60, help="for each reader")
    parser.add_argument("--corpus", type=Path, default=ROOT / "build" / "corpus", help="where inputs are collected")
    parser.add_argument("--replay", type=Path, nargs="+", metavar="FILE", help="judge these inputs of NAME again")
    parser.add_argument("--keep", action="store_true", help="put the few that reach most into tests/corpus")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.here:
        search(given.names[0], given.seconds, given.corpus)
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        readers = ready(Path(folder))
        names = given.names or list(readers.harnesses)
        if unknown := set(names) - set(readers.harnesses):
            parser.error(f"no reader {min(unknown)!r}; there are {', '.join(readers.harnesses)}")
        if given.replay:
            return replay(readers, names[0], given.replay)
        for name in names:
            plant(readers, name, given.corpus / name)
            if given.keep:
                keep(readers, name, given.corpus / name)
    if given.keep:
        return 0
    return 1 if sum([hunt(name, given.seconds, given.corpus) for name in names]) else 0


def ready(folder: Path) -> Readers:
    """The harnesses, with a clock that ends what takes too long."""
    from fuzz.readers import Readers
    from fuzz.work import watch_time

    watch_time()
    return Readers(folder)


def kept(name: str) -> list[Path]:
    """What tests/corpus holds for this reader; the directory of each says what becomes of it."""
    return sorted(KEPT.glob(f"{name}/*/*"))


def replay(readers: Readers, name: str, paths: Iterable[Path]) -> int:
    """Say of each file what becomes of it; 1 when one breaks the reader."""
    broken = 0
    for path in paths:
        try:
            print(f"{path}: {readers.judge(name, path.read_bytes())}")
        except BaseException:
            broken = 1
            print(f"{path}: BROKEN\n{traceback.format_exc()}")
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10
    print(f"most memory: {most >> 20} MiB")
    return 1 if most > MOST_MEMORY else broken


def plant(readers: Readers, name: str, corpus: Path) -> None:
    """Put into ``corpus`` what the search starts from: good inputs, and what is kept."""
    corpus.mkdir(parents=True, exist_ok=True)
    for data in (*readers.harnesses[name][1](), *(path.read_bytes() for path in kept(name))):
        (corpus / _called(data)).write_bytes(data)


def hunt(name: str, seconds: int, corpus: Path) -> int:
    """Search in a process of its own; how many files it left that break the reader."""
    command = [sys.executable, "-m", "fuzz.guided", name, "--here", "--seconds", str(seconds), "--corpus", str(corpus)]
    print(f"{name}: {seconds} s", flush=True)
    status = subprocess.run(command, cwd=ROOT, check=False).returncode
    found = sorted(path for pattern in BROKEN for path in (corpus / "found" / name).glob(pattern))
    for path in found:
        print(f"FOUND: python -m fuzz.guided {name} --replay {path}", flush=True)
    if status and not found:
        print(f"FOUND: the search of {name} ended with status {status}", flush=True)
    return len(found) + bool(status and not found)


def search(name: str, seconds: int, corpus: Path) -> None:
    """Let atheris look for inputs; it ends the process."""
    import atheris

    with atheris.instrument_imports(include=["pagebook"]):
        folder = tempfile.TemporaryDirectory(prefix="fuzz-")
        readers = ready(Path(folder.name))
    found = corpus / "found" / name
    found.mkdir(parents=True, exist_ok=True)
    seen: set[str] = set()

    def one(data: bytes) -> None:
        try:
            readers.judge(name, data)
        except BaseException as error:  # written down, and the search goes on
            last = traceback.extract_tb(error.__traceback__)[-1]
            where = f"{type(error).__name__} {last.filename}:{last.lineno}"
            if where not in seen:
                seen.add(where)
                (found / f"broken-{_called(data)}").write_bytes(data)
                print(f"BROKEN {where}: {error}", flush=True)

    limits = [f"-max_total_time={seconds}", f"-max_len={LONGEST}", f"-rss_limit_mb={MOST_MEMORY >> 20}", "-timeout=60"]
    atheris.Setup([sys.argv[0], *limits, f"-artifact_prefix={found}/", "-print_final_stats=1", str(corpus / name)], one)
    atheris.Fuzz()


def keep(readers: Readers, name: str, corpus: Path) -> None:
    """Add to tests/corpus what of ``corpus`` reaches most beyond what is kept, for its size, while there is room."""
    seen: set[Arc] = set()
    for path in kept(name):
        seen |= reached(readers, name, path.read_bytes())[1]
    left = {path: reached(readers, name, path.read_bytes()) for path in sorted(corpus.glob("*"))}
    room = MOST_KEPT - sum(path.stat().st_size for path in kept(name))
    while left:
        left = {path: found for path, found in left.items() if path.stat().st_size <= room and not found[1] <= seen}
        if left:
            best = max(left, key=lambda path: len(left[path][1] - seen) / (path.stat().st_size + FILE))
            verdict, arcs = left.pop(best)
            place = KEPT / name / verdict
            place.mkdir(parents=True, exist_ok=True)
            (place / best.name).write_bytes(best.read_bytes())
            room -= best.stat().st_size
            seen |= arcs
    files = kept(name)
    print(f"{name}: {len(files)} files, {sum(path.stat().st_size for path in files)} bytes, {len(seen)} steps reached")


def reached(readers: Readers, name: str, data: bytes) -> tuple[str, set[Arc]]:
    """What becomes of an input, and each step from line to line of pagebook on its way there."""
    arcs: set[Arc] = set()

    def called(frame: FrameType, event: str, argument: object) -> Any:  # noqa: ANN401 - a tracing function
        if "pagebook" not in frame.f_globals.get("__name__", ""):
            return None
        code, last = frame.f_code, -1

        def line(frame: FrameType, event: str, argument: object) -> Any:  # noqa: ANN401
            nonlocal last
            arcs.add((code, last, frame.f_lineno))
            last = frame.f_lineno
            return line

        return line

    sys.settrace(called)
    try:
        return readers.judge(name, data), arcs
    finally:
        sys.settrace(None)


def _called(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:12]


if __name__ == "__main__":
    sys.exit(main())
