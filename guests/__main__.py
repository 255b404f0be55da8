"""``python -m guests``: boot our kernel once for each mode and each thing that can be wrong, and compare."""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from guests.build import ToolMissing, build
from guests.compare import WRONG, differences
from guests.harmless import harmless
from guests.qemu import GuestFailed, running
from pagebook.sv import SV39, SV48, SV57, Format

WORKERS = 2


class Case(NamedTuple):
    """A boot: the format, and what is wrong."""

    fmt: Format
    wrong: str


def main() -> int:
    """The command; 0 when nothing differs."""
    cases = [Case(fmt, wrong) for wrong in WRONG for fmt in (SV39, SV48, SV57)]
    start = time.monotonic()
    try:
        with tempfile.TemporaryDirectory() as folder:
            kernel = build(Path(folder))
            found = dict(_run(kernel, cases))
            harm = harmless(kernel)
    except ToolMissing as missing:
        print(missing, file=sys.stderr)
        return 2
    print("\n".join(_table(found)))
    wrong = sum(map(bool, found.values()))
    print(f"{len(cases)} boots, {wrong} with differences, {time.monotonic() - start:.0f} s")
    print("\n".join(harm) or "no verb changes a guest")
    return 1 if wrong or harm else 0


def _run(kernel: Path, cases: list[Case]) -> Iterator[tuple[Case, list[str]]]:
    with ThreadPoolExecutor(WORKERS) as pool:
        yield from zip(cases, pool.map(lambda case: _differences(kernel, case), cases), strict=True)


def _differences(kernel: Path, case: Case) -> list[str]:
    choice = case.fmt.mode | list(WRONG).index(case.wrong) << 8
    with tempfile.TemporaryDirectory() as folder:
        try:
            with running(kernel, choice, Path(folder)) as guest:
                if guest.said.wrong != case.wrong:
                    return [f"the kernel did {guest.said.wrong} when told {case.wrong}"]
                return list(differences(guest, case.fmt))
        except GuestFailed as failed:
            return [str(failed)]


def _table(found: dict[Case, list[str]]) -> Iterator[str]:
    formats = sorted({case.fmt for case in found}, key=lambda fmt: fmt.mode)
    yield f"{'what is wrong':<16}" + "".join(f"{fmt.name:>8}" for fmt in formats)
    for wrong in dict.fromkeys(case.wrong for case in found):
        marks = ("differs" if found[Case(fmt, wrong)] else "as told" for fmt in formats)
        yield f"{wrong:<16}" + "".join(f"{mark:>8}" for mark in marks)
    for case, lines in found.items():
        for line in lines:
            yield f"{case.fmt.name} {case.wrong}: {line}"


if __name__ == "__main__":
    sys.exit(main())
