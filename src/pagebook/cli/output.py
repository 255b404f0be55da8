"""How answers reach a terminal or a pipe: colours and wrapping in the one, plain whole lines in the other."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from pagebook.views.text import Line, plain
from pagebook.xv6.kernel import Event

if TYPE_CHECKING:
    from rich.console import Console

STYLES = {"title": "bold", "address": "cyan", "rights": "green", "dim": "dim", "bad": "bold red", "": ""}
SLOW = 1 << 30  # bytes of RAM from which booting or saving takes over a second


def _terminal() -> Console | None:
    """A console when standard output is a terminal; rich knows NO_COLOR and the terminal's width."""
    if not sys.stdout.isatty():
        return None
    from rich.console import Console

    return Console(highlight=False, soft_wrap=True)


def print_lines(lines: Iterable[Line]) -> None:
    """Print lines, coloured on a terminal."""
    console = _terminal()
    if console is None:
        sys.stdout.writelines(plain(line) + "\n" for line in lines)
        return
    from rich.text import Text

    for line in lines:
        console.print(Text.assemble(*((part, STYLES[style]) for part, style in line)))


def print_story(story: list[Event]) -> None:
    """Print the story: a line for each event, its text wrapped under itself on a terminal."""
    console = _terminal()
    taken = _taken(story)
    if console is None:
        width = max(len(event.function) for event in story)
        for event, frames in zip(story, taken, strict=True):
            sys.stdout.write(f"{event.function:<{width}} {frames:>7} {event.free:>7} free  {event.text}\n")
        return
    from rich.table import Table

    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="bold", no_wrap=True)
    grid.add_column(justify="right", style="cyan", no_wrap=True)
    grid.add_column(overflow="fold")
    for event, frames in zip(story, taken, strict=True):
        grid.add_row(event.function, frames, event.text)
    console.print(grid, soft_wrap=False)


def _taken(story: list[Event]) -> list[str]:
    """For each event by how many the free frames changed, with a sign; a dash for none."""
    before = 0
    out = []
    for event in story:
        out.append(f"{event.free - before:+}" if event.free != before else "-")
        before = event.free
    return out


def print_json(document: dict[str, Any]) -> None:
    """Print one JSON document on one line, or indented on a terminal."""
    json.dump(document, sys.stdout, indent=2 if sys.stdout.isatty() else None)
    sys.stdout.write("\n")


@contextmanager
def bar(label: str, total: int) -> Iterator[Callable[[int], None] | None]:
    """A progress bar on standard error for what takes over a second; None when none is wanted."""
    if total < SLOW or not sys.stderr.isatty():
        yield None
        return
    with click.progressbar(length=total, label=label, file=sys.stderr) as shown:
        yield shown.update
