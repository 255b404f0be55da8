"""How every verb opens its target: with a progress bar where it takes over a second, and with what is to be said."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import fields, replace
from typing import Any, TypeVar

import click

from pagebook import targets
from pagebook.cli import shown
from pagebook.cli.last_word import expect_lost_bytes
from pagebook.cli.output import bar, count
from pagebook.errors import BadTarget
from pagebook.guests.choosing import GuestOptions
from pagebook.machine import Machine
from pagebook.source import Source
from pagebook.targets import EXAMPLES, MODEL, ModelOptions, Target
from pagebook.units import size_text

T = TypeVar("T")
Model = dict[str, Any]
"""The options that say which machine, as the command line has them."""


@contextmanager
def opened(target: str, model: Model) -> Iterator[Target]:
    """The target, to be looked at until the block ends; stopped for so long where ``--freeze`` asks for it."""
    options = ModelOptions(**{one.name: model[one.name] for one in fields(ModelOptions) if one.name in model})
    guest = GuestOptions(
        satps=tuple(model.get("satp", ())), roots=tuple(model.get("root", ())), offsets=model.get("offsets") or {}
    )
    if guest.satps and guest.roots:
        raise BadTarget(
            "--satp and --root both say where a table starts; give one of the two, once for each table, such as --root "
            f"{guest.roots[0][0]:#x} alone"
        )
    _prepare(target)
    told = _Told(target, options)
    with ExitStack() as stack:
        found = told.of(lambda: stack.enter_context(targets.opened(target, options, guest, told.progress)))
        careful = found.careful
        with found.frozen() if model.get("freeze") else nullcontext():  # a plain block, as signals come in between
            yield (
                found
                if target == MODEL
                else replace(found, look=lambda: told.of(found.look), careful=careful and (lambda: told.of(careful)))
            )


def _prepare(target: str) -> None:
    """Files of others are mapped, unless it is one of our own machines."""
    if target not in (MODEL, EXAMPLES):
        expect_lost_bytes()


class _Told:
    """Says how far something is while it is done: a bar for booting a large model, else how much is read."""

    def __init__(self, target: str, options: ModelOptions) -> None:
        self.target = target
        self.options = options
        self.progress: targets.Progress = lambda done: self._now(done) if self._now else None
        self._now: targets.Progress | None = None

    def of(self, step: Callable[[], T]) -> T:
        """What ``step`` gives; whatever was shown is gone by then."""
        with (
            bar(f"booting with {size_text(self.options.ram)}", self.options.ram)
            if self.target == MODEL
            else count(lambda done: f"reading {shown(self.target)}: {done >> 20:,} MiB")
        ) as self._now:
            return step()


def open_machine(target: str, model: Model, settled: bool = False) -> Machine:
    """One look at the machine that ``target`` names, which stays open until the verb has ended.

    ``settled`` is for questions about all frames.
    """
    found = click.get_current_context().with_resource(opened(target, model))
    machine = found.settled() if settled else found.look()
    say(found.remarks)
    return machine


def open_source(target: str) -> Source:
    """The bytes of ``target`` before anyone has said what runs there; open until the verb has ended."""
    context, told = click.get_current_context(), _Told(target, ModelOptions())
    _prepare(target)
    source = told.of(lambda: context.with_resource(targets.source_of(target, told.progress)))
    say([*source.remarks, *([source.paused] if source.paused else [])])
    return source


def say(remarks: Iterable[str]) -> None:
    """Tell the user, on standard error."""
    for remark in remarks:
        click.echo(f"pagebook: {shown(remark)}", err=True)
