"""Write again what the documentation shows: outputs of commands and of examples, and docs/boot.svg.

    python -m tools.make_docs            write what is stale
    python -m tools.make_docs --check    show what is stale, write nothing, and exit 1 if there is any

A command is named by a mark, ``<!-- output: pagebook maps | head -3 -->``, alone on the line above a fenced block.  A
``console`` block shows the command and then its output, any other block the output alone; only ``head`` may follow.
An example is a fenced block that starts with ``>>>``; those of a page run as one session, compared as doctest compares.
Everything runs in this process.
"""

from __future__ import annotations

import difflib
import doctest
import html
import io
import os
import re
import shlex
import sys
import traceback
from collections.abc import Iterator
from contextlib import AbstractContextManager, redirect_stderr, redirect_stdout, suppress
from pathlib import Path
from types import TracebackType
from typing import Any
from unittest import mock

from rich.console import Console
from rich.terminal_theme import TerminalTheme
from rich.text import Text

from pagebook.cli import main as pagebook
from tools import kept
from tools.kept import ROOT, Stale

PICTURES = {"docs/boot.svg": "pagebook boot"}
COLUMNS = 108

MARKED = re.compile(r"^<!-- output: (?P<command>[^\n]+) -->\n```(?P<kind>\w+)\n(?P<body>.*?)^```$", re.M | re.S)
EXAMPLES = re.compile(r"^```\w+\n(?P<body>>>> .*?)^```$", re.M | re.S)
TRACEBACK = re.compile(r".*^(Traceback \(most recent call last\):\n)(?:[ ][^\n]*\n)+", re.M | re.S)
HEAD = re.compile(r"(?P<command>.+?) \| head -(?P<lines>\d+)")

THEME = TerminalTheme(
    background=(22, 27, 34),
    foreground=(214, 221, 230),
    normal=[
        (72, 79, 88),
        (255, 123, 114),
        (126, 211, 133),
        (225, 180, 90),
        (121, 184, 255),
        (210, 168, 255),
        (118, 212, 228),
        (214, 221, 230),
    ],
)

FONTS = 'ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace'

# What rich fills in: the size, a CSS class for each style, and the lines of text with their places.
FRAME = """\
<svg viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg" role="img">
<title>$ COMMAND</title>
<style>
.{unique_id}-matrix {{ font: {char_height}px FONTS }}
{styles}
</style>
<rect width="{width}" height="{height}" rx="10" fill="BACKGROUND"/>
<g class="{unique_id}-matrix" xml:space="preserve">
<text x="{terminal_x}" y="30" fill="PROMPT">$&#160;COMMAND</text>
<g transform="translate({terminal_x}, {terminal_y})">
{matrix}
</g>
</g>
</svg>
"""


class Terminal(io.StringIO):
    """A place to print to that says it is a terminal, so that what is printed has colours and is wrapped."""

    def isatty(self) -> bool:
        """Always."""
        return True


def known_terminal() -> AbstractContextManager[Any]:
    """For a while, the environment of a terminal with colours and COLUMNS columns, whatever it really is."""
    terminal = {"COLUMNS": str(COLUMNS), "LINES": "99", "TERM": "xterm-256color"}
    rest = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "FORCE_COLOR", "COLORTERM")}
    return mock.patch.dict(os.environ, rest | terminal, clear=True)


def run(command: str, out: io.StringIO | None = None) -> str:
    """What ``command``, a call of pagebook, prints to both of its outputs."""
    out = out or io.StringIO()
    with (
        known_terminal(),
        mock.patch.object(sys, "argv", shlex.split(command)),
        redirect_stdout(out),
        redirect_stderr(out),
        suppress(SystemExit),
    ):
        pagebook()
    return out.getvalue()


def block(kind: str, command: str) -> str:
    """The fenced block for a mark, the mark included."""
    found = HEAD.fullmatch(command)
    output = run(found["command"] if found else command)
    if found:
        output = "".join(output.splitlines(keepends=True)[: int(found["lines"])])
    prompt = f"$ {command}\n" if kind == "console" else ""
    return f"<!-- output: {command} -->\n```{kind}\n{prompt}{output}```"


class Recorder(doctest.DocTestRunner):
    """Runs examples and keeps what the wrong ones give."""

    def __init__(self) -> None:
        super().__init__(verbose=False)
        self.wrong: list[tuple[doctest.Example, str]] = []

    def report_failure(self, out: Any, test: doctest.DocTest, example: doctest.Example, got: str) -> None:  # noqa: ANN401
        """Another output or exception than the page shows."""
        self.wrong.append((example, got))

    def report_unexpected_exception(
        self,
        out: Any,  # noqa: ANN401
        test: doctest.DocTest,
        example: doctest.Example,
        exc_info: tuple[type[BaseException], BaseException, TracebackType],
    ) -> None:
        """An exception where the page shows none."""
        self.wrong.append((example, "".join(traceback.format_exception(*exc_info))))


def examples(text: str, name: str) -> str:
    """A page with the outputs of its examples as they are."""
    lines = text.split("\n")
    kept = [""] * len(lines)
    for found in EXAMPLES.finditer(text):
        first = text.count("\n", 0, found.start("body"))
        body = found["body"].splitlines()
        kept[first : first + len(body)] = body
    test = doctest.DocTestParser().get_doctest("\n".join(kept), {"__name__": "__main__"}, name, name, 0)
    runner = Recorder()
    runner.run(test)
    for example, got in reversed(runner.wrong):
        first = example.lineno + example.source.count("\n")
        shown = TRACEBACK.sub(r"\1    ...\n", got).splitlines()
        lines[first : first + example.want.count("\n")] = [line or "<BLANKLINE>" for line in shown]
    return "\n".join(lines)


def picture(command: str) -> str:
    """``command`` and its output as an SVG that looks like a terminal."""
    name = command.rpartition(" ")[2]
    with known_terminal():
        console = Console(record=True, file=io.StringIO(), width=COLUMNS, force_terminal=True, color_system="truecolor")
        console.print(Text.from_ansi(run(command, Terminal()).rstrip()))
    frame = FRAME.replace("COMMAND", html.escape(command)).replace("FONTS", FONTS)
    frame = frame.replace("BACKGROUND", THEME.background_color.hex).replace("PROMPT", THEME.ansi_colors[2].hex)
    drawn = console.export_svg(theme=THEME, code_format=frame, unique_id=name)
    drawn = re.sub(r' clip-path="[^"]*"|<text [^>]*>\n</text>', "", drawn)
    return drawn.replace("</text><text", "</text>\n<text")


def words(svg: str) -> list[str]:
    """The lines of text that a picture shows.  Colours and places, which rich may change, are not claims."""
    lines: dict[str, str] = {}
    for y, text in re.findall(r'<text [^>]*?\by="([^"]*)"[^>]*>(.*?)</text>', svg):
        lines[y] = lines.get(y, "") + html.unescape(text).replace("\xa0", " ")
    return [line + "\n" for line in lines.values()]


def page(text: str, name: str) -> str:
    """A page as it should be."""
    return MARKED.sub(lambda found: block(found["kind"], found["command"]), examples(text, name))


def stale() -> Iterator[Stale]:
    """Every file that shows something old."""
    for path in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]:
        old = path.read_text(encoding="utf-8")
        new = page(old, path.name)
        if new != old:
            yield Stale(path, new, _diff(path, old.splitlines(keepends=True), new.splitlines(keepends=True)))
    for name, command in PICTURES.items():
        path = ROOT / name
        old, new = path.read_text(encoding="utf-8") if path.exists() else "", picture(command)
        if words(old) != words(new):
            yield Stale(path, new, _diff(path, words(old), words(new)))


def _diff(path: Path, old: list[str], new: list[str]) -> list[str]:
    name = str(path.relative_to(ROOT))
    return list(difflib.unified_diff(old, new, f"{name} (shown)", f"{name} (true)"))


if __name__ == "__main__":
    sys.exit(kept.main(__doc__, stale(), sys.argv[1:]))
