"""What diff and watch do: look, look again, and print what is other."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import click

from pagebook.cli import OK
from pagebook.cli.opening import Model, open_machine, opened, say
from pagebook.cli.output import foot, print_json, print_lines
from pagebook.diff import Difference, compare
from pagebook.errors import BadTarget, SourceLost
from pagebook.ledger import Ledger, Role
from pagebook.machine import Machine
from pagebook.targets import MODEL, Target
from pagebook.views import changes
from pagebook.views.text import count_text

DIFFERENT = 1
MOST_NAMES = 8
OF_THE_MODEL = ("rev", "init", "sh", "program", "ram", "nproc")


def diff(old: str, new: str | None, after: float | None, model: Model, as_json: bool) -> int:
    """Compare two targets, or one at two times."""
    with ExitStack() as open_ones:
        if new is None:
            target = open_ones.enter_context(opened(old, model))
            first = Ledger(target.settled())
            time.sleep(after or 0)
            second = Ledger(target.settled())
            say(target.remarks)
        else:
            first = Ledger(open_machine(old, _for(old, new, model), settled=True))
            second = Ledger(open_machine(new, _for(new, old, model), settled=True))
            say(_two_builds(first.machine, second.machine))
        found = compare(first, second)
        if as_json:
            print_json(changes.data(found))
        else:
            print_lines(changes.text(found), paged=True)
        return DIFFERENT if found else OK


def _for(target: str, other: str, model: Model) -> Model:
    """The options that are meant for ``target``: those of the model not for a guest beside it, nor the other way."""
    if (target == MODEL) == (other == MODEL):
        return model
    mine = target == MODEL
    return {name: value for name, value in model.items() if (name in OF_THE_MODEL) == mine or name == "kernel"}


def _two_builds(old: Machine, new: Machine) -> Iterator[str]:
    """That two kernels are not the same file, as one symbol shows."""
    both = sorted(name for name in old.symbols.keys() & new.symbols.keys() if not name.startswith(("$", ".")))
    moved = next((name for name in both if old.symbols[name] != new.symbols[name]), None)
    if moved:
        yield (
            f"two builds of a kernel: {moved} is at {old.symbols[moved]:#x} in {old.name} and at "
            f"{new.symbols[moved]:#x} in {new.name}; what their images and their allocators hold differs for that alone"
        )


def watch(target: str, interval: float, seconds: float | None, model: Model, as_json: bool) -> int:
    """Follow a target until the time is over, or the guest is."""
    with opened(target, model) as found:
        if not found.live:
            raise BadTarget(f"{target!r} does not move by itself; watch is for a running guest: pagebook watch qemu")
        started, seen = time.monotonic(), 0
        with foot() as say_last:

            def looked(ledger: Ledger) -> None:
                at, free = time.monotonic() - started, ledger.counts()[Role.FREE]
                spaces = count_text(len(ledger.machine.spaces), "address space")
                say_last(
                    f"{at:9.0f} s  {spaces}, {free:,} frames free, {count_text(seen, 'change')} seen; Ctrl-C ends it"
                )

            try:
                for change in _changes(found, interval, seconds, looked):
                    at = time.monotonic() - started
                    seen += 1
                    if as_json:
                        print_json({**changes.data(change), "at": round(at, 3)}, whole_line=True)
                    else:
                        print_lines([[(f"{at:9.3f} s", "title")]])
                        print_lines(changes.changes(change))
                    sys.stdout.flush()
            except SourceLost as error:
                click.echo(f"pagebook: {error}", err=True)
    return OK


def _changes(
    target: Target, interval: float, seconds: float | None, looked: Callable[[Ledger], None]
) -> Iterator[Difference]:
    """Each difference between two looks that follow each other; ``looked`` is called with every look."""
    end = None if seconds is None else time.monotonic() + seconds
    before = Ledger(target.settled())
    say(target.remarks)
    names = ", ".join(space.name for space in before.machine.spaces[:MOST_NAMES]) or "no space yet"
    more = ", ..." if len(before.machine.spaces) > MOST_NAMES else ""
    say([f"watching {before.machine.name}: {names}{more}; a look every {interval:g} s, Ctrl-C ends it"])
    looked(before)
    while end is None or time.monotonic() < end:
        said = [*target.remarks]
        time.sleep(interval)
        after = Ledger(target.settled())
        say(one for one in target.remarks if one not in said)
        change = compare(before, after)
        if change:
            yield change
        looked(after)
        before = after
