"""What the verb report does: look once, ask everything, and write one file."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import click

from pagebook.cases.reading import USUAL_SIZE
from pagebook.checks.registry import choose
from pagebook.cli import OK, shown
from pagebook.cli.linting import looked
from pagebook.cli.opening import Model, opened, say
from pagebook.cli.output import count
from pagebook.errors import BadTarget
from pagebook.explain import Explanation, explain, regime_of
from pagebook.files import replacing
from pagebook.ledger import Ledger
from pagebook.machine import Machine
from pagebook.mmu import Extensions, Kind, Mmu
from pagebook.targets import EXAMPLES, MODEL, TORN, Target
from pagebook.units import size_text
from pagebook.views.report.found import About, Found
from pagebook.views.report.page import page

PIPE = "-"
MOST_WALKS = 32


def report(
    target: str,
    model: Model,
    places: Sequence[tuple[str | None, int]],
    access: dict[str, Any],
    hart: dict[str, Any],
    out: str,
) -> int:
    """Write the report to ``out``."""
    if len(places) > MOST_WALKS:
        raise BadTarget(f"{len(places)} walks are too many for one report; give at most {MOST_WALKS}")
    with opened(target, model) as found:
        frozen = bool(model.get("freeze"))
        machine = found.settled()
        walks = tuple(_walk(machine, *place, access, hart) for place in places)
        with count(lambda done: f"making the report: {done:,} parts") as progress:
            checked = looked(found, machine, choose(), frozen) if machine.spaces else None
            progress(1)
            ledger = Ledger(machine)
            progress(1)
            remarks = tuple(dict.fromkeys([*found.remarks, *([TORN] if checked and checked.torn else [])]))
            command = shlex.join(["pagebook", *sys.argv[1:]])
            about = About(target, command, datetime.now().astimezone(), _how(found, target, frozen), remarks)
            made = page(Found(about, ledger, checked, walks), progress).encode()
        say(remarks)
    _write(made, out)
    return OK


def _walk(machine: Machine, space: str | None, va: int, chosen: dict[str, Any], hart: dict[str, Any]) -> Explanation:
    one = machine.space(space)
    kind = Kind[(chosen["kind"] or "load").upper()]
    regime = regime_of(one, chosen["priv"], bool(chosen["sum"]), bool(chosen["mxr"]))
    return explain(Mmu(machine.memory, Extensions(**hart)), one, regime, kind, va, chosen["size"] or USUAL_SIZE[kind])


def _how(found: Target, target: str, frozen: bool) -> str:
    """How the machine was read, in words."""
    if found.live and frozen:
        return "a running guest, stopped while it was read"
    if found.paused:
        return "a guest that was paused when it was read"
    if found.live:
        return "a guest that ran on while it was read: parts of this report may be of slightly different moments"
    return {MODEL: "the model, booted for this report", EXAMPLES: "the machine of the examples"}.get(
        target, "a file, in which nothing moves"
    )


def _write(made: bytes, out: str) -> None:
    if out == PIPE:
        click.echo(made, nl=False)
        return
    with replacing(out) as file:
        file.write(made)
    click.echo(f"written: {shown(out)}, {size_text(-(-len(made) // 1024) * 1024)}; open it in a browser")
