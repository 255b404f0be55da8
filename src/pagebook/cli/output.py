"""How answers reach a terminal or a pipe: colours and wrapping in the one, plain whole lines in the other."""

from __future__ import annotations

import json
import sys
import textwrap
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import chain, islice
from typing import TYPE_CHECKING, Any, BinaryIO

import click

from pagebook.cli import shown
from pagebook.errors import BadFile
from pagebook.views.text import Line
from pagebook.xv6.kernel import Event

if TYPE_CHECKING:
    from rich.console import Console

STYLES = {"title": "bold", "address": "cyan", "rights": "green", "dim": "dim", "bad": "bold red", "": ""}
SLOW = 1 << 30  # bytes of RAM from which booting or saving takes over a second
PATIENCE = 1.0  # seconds before a count is shown
PACE = 0.2  # seconds between two
MOST_LINE = 1 << 10  # characters of an answer
NARROWEST = 24  # columns for the text of the story, however small the terminal


def _terminal() -> Console | None:
    """The terminal that standard output is, for its width and its colours; None when it is none."""
    if not sys.stdout.isatty():
        return None
    from rich.console import Console

    return Console()


def print_lines(lines: Iterable[Line], paged: bool = False) -> None:
    """Print lines, coloured on a terminal that can and where nobody said no (https://no-color.org).

    With ``paged``, what is longer than the terminal goes through the pager, which is PAGER's, else less.
    """
    console = _terminal()
    if console and console.color_system and not console.no_color:
        paint = _painter(console.color_system)
        written = ("".join(paint(shown(text), style) for text, style in line) + "\n" for line in lines)
    else:
        written = ("".join(shown(text) for text, _ in line) + "\n" for line in lines)
    if paged and console and sys.stdin is not None and sys.stdin.isatty():
        _print_paged(written, console.height)
    else:
        sys.stdout.writelines(written)


def _print_paged(lines: Iterator[str], height: int) -> None:
    first = list(islice(lines, height))  # with the next prompt, one line more than there is room for
    if len(first) < height:
        sys.stdout.writelines(first)
    else:
        click.echo_via_pager(chain(first, lines))


def _painter(system: str) -> Callable[[str, str], str]:
    """Text and a style's name to text with the codes of the terminal's colour system."""
    from rich.color import ColorSystem
    from rich.style import Style

    colours = ColorSystem[{"256": "EIGHT_BIT"}.get(system, system.upper())]
    styles = {name: Style.parse(words) for name, words in STYLES.items()}
    return lambda text, style: styles[style].render(text, color_system=colours)


def print_story(story: list[Event]) -> None:
    """Print the story: a line for each event; on a terminal its text is wrapped under itself."""
    names = max(len(event.function) for event in story)
    changes = [f"{change:+}" if change else "-" for change in _changes(story)]
    console = _terminal()
    if console:
        print_lines(_wrapped(story, changes, names, console.width))
    else:
        for event, change in zip(story, changes, strict=True):
            sys.stdout.write(f"{event.function:<{names}} {change:>7} {event.free:>7} free  {event.text}\n")


def _wrapped(story: list[Event], changes: list[str], names: int, columns: int) -> Iterator[Line]:
    widest = max(map(len, changes))
    width = max(columns - names - widest - 4, NARROWEST)
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


def print_json(document: dict[str, Any], whole_line: bool = False) -> None:
    """Print one JSON document: on one line, or indented on a terminal unless it is one of many, ``whole_line``."""
    indent = 2 if sys.stdout.isatty() and not whole_line else None
    sys.stdout.write(json.dumps(document, indent=indent) + "\n")  # json.dump takes 8 times as long


def standard_input(remedy: str) -> BinaryIO:
    """The bytes of standard input; BadFile, with the remedy, when there is none."""
    if sys.stdin is None:
        raise BadFile(f"there is no standard input to read from; {remedy}")
    return sys.stdin.buffer


def prompt(question: str) -> str:
    """A line from standard input, asked for on standard error when a person is there; empty at its end."""
    if sys.stdin is None or sys.stdin.closed:
        return ""
    if sys.stdin.isatty():
        sys.stdout.flush()
        click.echo(f"{question}> ", nl=False, err=True)
    return sys.stdin.readline(MOST_LINE).strip()


@contextmanager
def foot() -> Iterator[Callable[[str], None]]:
    """A last line under all that is printed meanwhile, which is said anew again and again; for a terminal only."""
    console = _terminal()
    if not console:
        yield lambda words: None
        return
    from rich.live import Live
    from rich.text import Text

    with Live(console=console, auto_refresh=False, transient=True, redirect_stderr=False) as live:
        yield lambda words: live.update(Text(words, "dim", no_wrap=True, overflow="ellipsis"), refresh=True)


@contextmanager
def bar(label: str, total: int) -> Iterator[Callable[[int], None] | None]:
    """A progress bar on standard error for what takes over a second; None when none is wanted."""
    if total < SLOW or not sys.stderr.isatty():
        yield None
        return
    with click.progressbar(length=total, label=label, file=sys.stderr) as progress:
        yield progress.update
        progress.update(total - progress.pos)  # what is left is no work


@contextmanager
def count(said: Callable[[int], str], wanted: bool = True) -> Iterator[Callable[[int], None]]:
    """How far it is, as ``said`` words the sum so far: on standard error, a terminal, for what takes over a second."""
    wanted = wanted and sys.stderr.isatty()
    total, due, told = 0, time.monotonic() + PATIENCE, ""

    def more(number: int) -> None:
        nonlocal total, due, told
        total += number
        if wanted and time.monotonic() >= due:
            told = said(total).ljust(len(told))
            click.echo(f"\r{told}", nl=False, err=True)
            due = time.monotonic() + PACE

    try:
        yield more
    finally:
        if told:
            click.echo(f"\r{' ' * len(told)}\r", nl=False, err=True)
