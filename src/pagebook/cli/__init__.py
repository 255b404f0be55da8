"""The command line: verbs on targets.

This module holds the words - verbs, options, help texts - and imports nothing heavy, so that ``--help`` is quick.
What a verb does is in `pagebook.cli.verbs`, imported when one is called.
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from pagebook import __version__
from pagebook.errors import PagebookError
from pagebook.units import parse_address, parse_size

OK, NOT_MAPPED, BAD_CALL, INTERRUPTED = 0, 1, 2, 130

CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


class Word(click.ParamType):  # type: ignore[type-arg]  # generic only since click 8.4
    """A word of the command line: ``parse`` makes a value of it, or says in a ValueError why it cannot."""

    def __init__(self, name: str, parse: Callable[[str], Any]) -> None:
        self.name = name
        self.parse = parse

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:  # noqa: ANN401
        """The value; a default that is one already stays as it is."""
        try:
            return self.parse(value) if isinstance(value, str) else value
        except ValueError as error:
            self.fail(str(error), param, ctx)


def parse_range(text: str) -> tuple[int, int]:
    """The range [start, end) in ``"START-END"``, or of one byte in ``"START"``; ValueError for anything else."""
    first, dash, last = text.partition("-")
    try:
        start = parse_address(first)
        end = parse_address(last) if dash else start + 1
    except ValueError:
        raise ValueError(f"{text!r} is no address and no range; write 0x1000, or 0x1000-0x3000") from None
    if not 0 <= start < end <= 1 << 64:
        raise ValueError(f"{text!r} is no range of 64-bit addresses; write START-END with START below END")
    return start, end


def _flags(text: str) -> int:
    from pagebook.sv import parse_flags

    return parse_flags(text)


SIZE = Word("SIZE", parse_size)
ADDRESS = Word("ADDRESS", parse_address)
RANGE = Word("ADDRESS[-END]", parse_range)
FLAGS = Word("LETTERS", _flags)

Command = Callable[..., Any]


def model_options(command: Command) -> Command:
    """The options that shape the model."""
    for option in reversed(
        (
            click.option("--rev", metavar="YEAR", default="2024", show_default=True, help="xv6: 2022, 2024 or 2025."),
            click.option("--ram", type=SIZE, default="128M", show_default=True, help="RAM at 0x80000000."),
            click.option(
                "--nproc", metavar="N", type=int, default=64, show_default=True, help="Process slots, a stack each."
            ),
            click.option("--kernel", metavar="ELF", help="A real kernel: its etext, end and trampoline, its bytes."),
            click.option("--init", metavar="ELF", help="The program that becomes process 1."),
            click.option("--sh", metavar="ELF", help="The program that init starts."),
        )
    ):
        command = option(command)
    return command


def json_option(command: Command) -> Command:
    """``--json``."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON (docs/json.md) and nothing else.")(command)


target_argument = click.argument("target", default="xv6")


@click.group(context_settings=CONTEXT)
@click.version_option(__version__, prog_name="pagebook")
def cli() -> None:
    """RISC-V virtual memory: build page tables as xv6 builds them, list them, walk them.

    A TARGET is a machine: "xv6", the default, boots the model of xv6's memory manager in this process; anything else is
    a file that "boot --save" wrote.

    \b
    pagebook boot                 boot xv6's memory manager, and tell the story
    pagebook maps                 every mapping of every address space
    pagebook tree --space init    the page tables themselves
    pagebook walk 0x80000000      one address, level by level
    pagebook boot --save m.core   keep the machine; then: pagebook maps m.core

    Exit status: 0; 1 when the address is not mapped or nothing was found; 2 when the call or the target is bad;
    130 after Ctrl-C.
    """


@cli.command()
@model_options
@click.option("--save", metavar="FILE", help="Write the machine to FILE, an ELF core that every verb opens.")
@click.option("--quiet", "-q", is_flag=True, help="Only the summary, not the story.")
@json_option
def boot(save: str | None, quiet: bool, as_json: bool, **model: Any) -> int:  # noqa: ANN401
    """Boot xv6's memory manager up to the shell, and tell what it did.

    Each line of the story is a call the kernel makes, in its order, with the frames it took and why. Then the summary:
    frames by role, the address spaces, the free list.

    \b
    pagebook boot --rev 2025
    pagebook boot --kernel kernel/kernel --init user/_init --sh user/_sh
    pagebook boot --quiet --save m.core
    """
    from pagebook.cli import verbs

    return verbs.boot(model, save, quiet, as_json)


@cli.command()
@target_argument
@click.option("--space", metavar="NAME", help="Only this address space: kernel, a process's name, or its pid.")
@click.option("--has", type=FLAGS, default=0, help="Only with all of these flags set, letters of vrwxugad.")
@click.option("--lacks", type=FLAGS, default=0, help="Only with all of these flags clear.")
@click.option("--va", type=RANGE, help="Only where this virtual address or range is mapped.")
@click.option("--pa", type=RANGE, help="Only what reaches this physical address or range.")
@click.option("--pages", is_flag=True, help="Every page on its own line, not merged into runs.")
@model_options
@json_option
def maps(
    target: str,
    space: str | None,
    has: int,
    lacks: int,
    va: tuple[int, int] | None,
    pa: tuple[int, int] | None,
    pages: bool,
    as_json: bool,
    **model: Any,  # noqa: ANN401
) -> int:
    """List the mappings of TARGET, merged into runs and named.

    Neighbours with the same rights are one run; A and D, which hardware sets when it likes, do not part them. PTEs that
    no walk can use are listed as what is wrong with them. Exit status 1 when nothing was found.

    \b
    pagebook maps --space init
    pagebook maps --has wx                 what is writable and executable
    pagebook maps m.core --pa 0x87f56000   who maps this frame
    """
    from pagebook.cli import verbs

    return verbs.maps(target, model, space, (has, lacks, va, pa), pages, as_json)


@cli.command()
@target_argument
@click.option("--space", metavar="NAME", default="kernel", show_default=True, help="The address space, by name or pid.")
@click.option(
    "--format",
    "style",
    metavar="STYLE",
    type=click.Choice(["text", "vmprint", "vmprint-va"]),
    default="text",
    show_default=True,
    help="text; vmprint, as the xv6 course's lab prints tables; vmprint-va, as it does since 2024.",
)
@click.option("--depth", metavar="N", type=click.IntRange(1, 5), help="Go down at most so many levels.")
@model_options
@json_option
def tree(target: str, space: str, style: str, depth: int | None, as_json: bool, **model: Any) -> int:  # noqa: ANN401
    """Show the page tables themselves, level by level.

    A line is a PTE: its index, the address it translates, its value, where it stands, and where it leads. Neighbours
    that map one page after the other are one line, except with vmprint.

    \b
    pagebook tree --space sh
    pagebook tree --space init --format vmprint | diff - what-my-kernel-printed
    """
    if as_json and style != "text":
        raise click.UsageError("--json is a format of its own; leave out --format")
    from pagebook.cli import verbs

    return verbs.tree(target, model, space, style, depth, as_json)


@cli.command()
@click.argument("va", type=ADDRESS)
@target_argument
@click.option("--space", metavar="NAME", default="kernel", show_default=True, help="The address space, by name or pid.")
@model_options
@json_option
def walk(va: int, target: str, space: str, as_json: bool, **model: Any) -> int:  # noqa: ANN401
    """Translate one virtual address, step by step.

    The address in bits, then for each level the PTE that is read: its index, value, address and flags, and where it
    leads. Exit status 1 when VA is not mapped.

    \b
    pagebook walk 0x80000000
    pagebook walk 0x3fffffe000 m.core --space sh
    """
    from pagebook.cli import verbs

    return verbs.walk(va, target, model, space, as_json)


def shown(text: str) -> str:
    """``text`` on one line and without what a terminal obeys: names come from strangers' files."""
    return text if text.isprintable() else text.encode("unicode_escape").decode()


def main() -> None:
    """The console script: run, and turn every refusal into one plain sentence and an exit status."""
    if sys.stdout is None:  # closed by the caller
        sys.stdout = io.StringIO()
    elif isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        status = cli.main(prog_name="pagebook", standalone_mode=False)
        sys.stdout.flush()
    except click.ClickException as error:
        error.show()
        status = error.exit_code
    except (click.Abort, KeyboardInterrupt):
        status = _refuse("interrupted", INTERRUPTED)
    except PagebookError as error:
        status = _refuse(str(error))
    except MemoryError:
        status = _refuse("this computer has not enough memory for that")
    except (SystemExit, BrokenPipeError):  # click makes the one of the other: the reader has seen enough
        _forget_output()
        status = OK
    except OSError as error:
        _forget_output()
        status = _refuse(f"the system refused: {error.strerror or error}")
    sys.exit(status)


def _refuse(why: str, status: int = BAD_CALL) -> int:
    click.echo(f"pagebook: {shown(why)}", err=True)
    return status


def _forget_output() -> None:
    """Let what standard output still holds go nowhere, lest the interpreter try to write it again as it ends."""
    with contextlib.suppress(OSError), Path(os.devnull).open("w") as nowhere:
        os.dup2(nowhere.fileno(), sys.stdout.fileno())
