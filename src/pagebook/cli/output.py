"""How answers reach a terminal or a pipe: colours and wrapping in the one, plain whole lines in the other."""

from __future__ import annotations

import json
import os
import shutil
import sys
import textwrap
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import click

from pagebook.cli import shown
from pagebook.views.text import Line
from pagebook.xv6.kernel import Event

COLOURS = {"title": "1", "address": "36", "rights": "32", "dim": "2", "bad": "1;31"}
SLOW = 1 << 30  # bytes of RAM from which booting or saving takes over a second
NARROWEST = 24  # columns for the text of the story, however small the terminal


def _in_colour() -> bool:
    """Whether standard output shows colours: a terminal that can, and nobody said no (https://no-color.org)."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def _painted(text: str, style: str) -> str:
    return f"\x1b[{COLOURS[style]}m{text}\x1b[0m" if style else text


def print_lines(lines: Iterable[Line]) -> None:
    """Print lines, coloured on a terminal."""
    if _in_colour():
        sys.stdout.writelines("".join(_painted(shown(text), style) for text, style in line) + "\n" for line in lines)
    else:
        sys.stdout.writelines("".join(shown(text) for text, _ in line) + "\n" for line in lines)


def print_story(story: list[Event]) -> None:
    """Print the story: a line for each event; on a terminal its text is wrapped under itself."""
    names = max(len(event.function) for event in story)
    changes = [f"{change:+}" if change else "-" for change in _changes(story)]
    if sys.stdout.isatty():
        print_lines(_wrapped(story, changes, names))
    else:
        for event, change in zip(story, changes, strict=True):
            sys.stdout.write(f"{event.function:<{names}} {change:>7} {event.free:>7} free  {event.text}\n")


def _wrapped(story: list[Event], changes: list[str], names: int) -> Iterator[Line]:
    widest = max(map(len, changes))
    width = max(shutil.get_terminal_size().columns - names - widest - 4, NARROWEST)
    for event, change in zip(story, changes, strict=True):
        first, *rest = textwrap.wrap(event.text, width, break_long_words=False, break_on_hyphens=False)
        yield [(f"{event.function:<{names}}", "title"), (f"  {change:>{widest}}", "address"), (f"  {first}", "")]
        for more in rest:
            yield [(" " * (names + widest + 4) + more, "")]


def _changes(story: list[Event]) -> Iterator[int]:
    """For each event by how many the free frames changed."""
    before = 0
    for event in story:
        yield event.free - before
        before = event.free


def print_json(document: dict[str, Any]) -> None:
    """Print one JSON document: on one line, or indented on a terminal."""
    json.dump(document, sys.stdout, indent=2 if sys.stdout.isatty() else None)
    sys.stdout.write("\n")


@contextmanager
def bar(label: str, total: int) -> Iterator[Callable[[int], None] | None]:
    """A progress bar on standard error for what takes over a second; None when none is wanted."""
    if total < SLOW or not sys.stderr.isatty():
        yield None
        return
    with click.progressbar(length=total, label=label, file=sys.stderr) as progress:
        yield progress.update
