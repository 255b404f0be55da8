"""``python -m bench [--quick] [--json]``: measure everything once and print the ratios.

The exit code is 1 when contestants came to different results, else 0: a time is never a test.
"""

from __future__ import annotations

import argparse
import ctypes
import sys
from collections.abc import Callable
from dataclasses import dataclass

from bench import boot, live, one_range, owning, peers, report, start, translations, walks
from bench.environment import environment
from bench.reference import NoCompiler, compile_reference
from bench.rows import Group, Row
from bench.same import Different
from bench.walker import compile_walker


@dataclass(frozen=True)
class Turns:
    """How often each contest is repeated."""

    boot: int
    one_range: int
    walks: int
    translations: int
    peers: int
    start: int
    watched: int


FULL = Turns(boot=21, one_range=11, walks=25, translations=25, peers=15, start=31, watched=9)
QUICK = Turns(boot=5, one_range=3, walks=7, translations=7, peers=5, start=7, watched=3)


def progress(what: str) -> None:
    """Say on stderr what is being done now."""
    print(f"bench: {what}", file=sys.stderr, flush=True)


def reference(notes: list[str]) -> tuple[ctypes.CDLL | None, ctypes.CDLL | None]:
    """The C reference and the walker in C, or None with a note that says why."""
    try:
        return compile_reference(), compile_walker()
    except NoCompiler as error:
        notes.append(f"The columns for C are left out: {error}.")
        return None, None


def check(library: ctypes.CDLL | None, notes: list[str]) -> None:
    """Compare the results of all contestants before any time counts; Different when they part."""
    boot.check(library)
    one_range.check(library)
    notes.append(
        "Compared first, and equal: all bytes of RAM after boot and after the 1 GiB mapping, the free list's head, "
        "the mappings listed, the walks, the translations."
    )
    notes.append(peers.NOTE)


def measure(library: ctypes.CDLL | None, walker: ctypes.CDLL | None, turns: Turns) -> list[Group]:
    """Every row of the report."""

    def rows(what: str, run: Callable[[], tuple[Row, ...]]) -> tuple[Row, ...]:
        progress(what)
        return run()

    whole = (
        *rows("kinit and kvmmake", lambda: boot.measure(library, turns.boot)),
        *rows("1 GiB, mapped and listed", lambda: one_range.measure(library, turns.one_range)),
    )
    single = rows("single walks", lambda: walks.measure(library, turns.walks))
    many = rows("translations in batches", lambda: translations.measure(walker, turns.translations))
    owners = rows("a whole machine beside a peer", lambda: owning.measure(turns.peers))
    grown = rows("machines up to 16 GiB", owning.sizes)
    running = rows("a running xv6 beside gdb-pt-dump", lambda: live.beside_gdb_pt_dump(turns.peers))
    followed = rows("a guest that is watched", lambda: live.watched(turns.watched))
    others = rows("other programs' translations", lambda: peers.measure(turns.peers))
    started = rows("the start of the command line", lambda: start.measure(turns.start))
    return [
        Group("whole tables", "Python", whole),
        Group("one walk; loop: its three reads", "loop", single),
        Group("one address of 1 Mi, Sv39, in a batch; C: walker.c", "", many),
        Group("a whole machine", "gdb-pt-dump", owners),
        Group("a running xv6", "gdb-pt-dump", running),
        Group("what watch costs its guest, beside the guest alone", "alone", followed),
        Group("every frame's owner, by size of RAM", "", grown),
        Group("the same beside a peer, leaves, tables in L2", "peer", others),
        Group("start; python: python -c pass", "python", started),
    ]


def arguments() -> argparse.Namespace:
    """What was typed."""
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measure pagebook beside plain Python and C.")
    parser.add_argument("--quick", action="store_true", help="fewer repetitions, for a first look")
    parser.add_argument("--json", action="store_true", help="print JSON, with every single time")
    return parser.parse_args()


def main() -> int:
    """Run the bench and print the report."""
    options = arguments()
    notes: list[str] = []
    library, walker = reference(notes)
    try:
        progress("comparing results")
        check(library, notes)
        groups = measure(library, walker, QUICK if options.quick else FULL)
    except Different as error:
        print(f"bench: results differ, so no time counts: {error}", file=sys.stderr)
        return 1
    form = report.as_json if options.json else report.text
    print(form(environment(), groups, notes))
    return 0


if __name__ == "__main__":
    sys.exit(main())
