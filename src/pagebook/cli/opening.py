"""How every verb opens its target: with a progress bar where it takes over a second, and with what is to be said."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import fields
from typing import Any

import click

from pagebook import targets
from pagebook.cli import shown
from pagebook.cli.output import bar
from pagebook.guests.choosing import GuestOptions
from pagebook.machine import Machine
from pagebook.source import Source
from pagebook.targets import MODEL, ModelOptions, Target
from pagebook.units import size_text

Model = dict[str, Any]
"""The options that say which machine, as the command line has them."""


@contextmanager
def opened(target: str, model: Model) -> Iterator[Target]:
    """The target, to be looked at until the block ends; stopped for so long where ``--freeze`` asks for it."""
    options = ModelOptions(**{one.name: model[one.name] for one in fields(ModelOptions) if one.name in model})
    guest = GuestOptions(
        satps=tuple(model.get("satp", ())), roots=tuple(model.get("root", ())), offsets=model.get("offsets") or {}
    )
    with (
        _progress(target, options) as progress,
        targets.opened(target, options, guest, progress) as found,
        found.frozen() if model.get("freeze") else nullcontext(),
    ):
        yield found


@contextmanager
def _progress(target: str, options: ModelOptions) -> Iterator[targets.Progress | None]:
    """A bar for booting a large model; what else takes time says so by itself."""
    if target != MODEL:
        yield None
        return
    with bar(f"booting with {size_text(options.ram)}", options.ram) as progress:
        yield progress


def open_machine(target: str, model: Model) -> Machine:
    """One look at the machine that ``target`` names, which stays open until the verb has ended."""
    found = click.get_current_context().with_resource(opened(target, model))
    machine = found.look()
    say(found.remarks)
    return machine


def open_source(target: str) -> Source:
    """The bytes of ``target`` before anyone has said what runs there; open until the verb has ended."""
    source = click.get_current_context().with_resource(targets.source_of(target))
    say(source.remarks)
    return source


def say(remarks: Iterable[str]) -> None:
    """Tell the user, on standard error."""
    for remark in remarks:
        click.echo(f"pagebook: {shown(remark)}", err=True)
