"""The command line: verbs on targets.

This module holds the words - verbs, options, help texts - and imports nothing heavy, so that ``--help`` is quick.
What a verb does is in `pagebook.cli.verbs`, imported when one is called.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import click

from pagebook import __version__
from pagebook.errors import PagebookError
from pagebook.units import parse_address, parse_size

OK, NOT_MAPPED, BAD_CALL, INTERRUPTED = 0, 1, 2, 130

CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


class Size(click.ParamType[int]):
    """Bytes, as 128M or 0x1000."""

    name = "SIZE"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:  # noqa: ANN401
        """The number of bytes."""
        try:
            return value if isinstance(value, int) else parse_size(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


class Address(click.ParamType[int]):
    """An address, as 0x3fffffe000 or 4096."""

    name = "ADDRESS"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:  # noqa: ANN401
        """The address."""
        try:
            return value if isinstance(value, int) else parse_address(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


class Range(click.ParamType[tuple[int, int]]):
    """One address, or START-END with END not included."""

    name = "ADDRESS[-END]"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int]:  # noqa: ANN401
        """The range [start, end)."""
        if isinstance(value, tuple):
            return value
        first, dash, last = value.partition("-")
        try:
            start = parse_address(first)
            end = parse_address(last) if dash else start + 1
        except ValueError as error:
            self.fail(str(error), param, ctx)
        if not 0 <= start < end <= 1 << 64:
            self.fail(f"{value!r} is no range of 64-bit addresses; write START-END with START below END", param, ctx)
        return start, end


class Flags(click.ParamType[int]):
    """Letters of vrwxugad."""

    name = "LETTERS"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:  # noqa: ANN401
        """The flag bits."""
        from pagebook.sv import parse_flags

        try:
            return value if isinstance(value, int) else parse_flags(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


Command = Callable[..., Any]


def model_options(command: Command) -> Command:
    """The options that shape the model."""
    for option in reversed(
        (
            click.option("--rev", default="2024", show_default=True, help="xv6 of which year: 2022, 2024 or 2025."),
            click.option("--ram", type=Size(), default="128M", show_default=True, help="RAM at 0x80000000."),
            click.option("--nproc", default=64, show_default=True, help="Process slots, a kernel stack each."),
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
    pagebook boot                         boot xv6's memory manager, and tell the story
    pagebook maps                         every mapping of every address space
    pagebook walk 0x3fffffe000 --space sh one address, level by level
    pagebook boot --save m.core           keep the machine; then: pagebook maps m.core

    Exit status: 0, or 1 when an address is not mapped, or 2 when the call or the target is bad.
    """


@cli.command()
@model_options
@click.option("--save", metavar="FILE", help="Write the machine to FILE, an ELF core that every verb opens.")
@click.option("--quiet", "-q", is_flag=True, help="Only the summary, not the story.")
@json_option
def boot(save: str | None, quiet: bool, as_json: bool, **model: Any) -> int:  # noqa: ANN401
    """Boot xv6's memory manager to the shell's first prompt, and tell what it did.

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
@click.option("--has", type=Flags(), default="", help="Only mappings with all of these flags set, as in --has wu.")
@click.option("--lacks", type=Flags(), default="", help="Only mappings with all of these flags clear.")
@click.option("--va", type=Range(), help="Only where this virtual address or range is mapped.")
@click.option("--pa", type=Range(), help="Only what reaches this physical address or range.")
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

    Neighbours with the same rights are one run; A and D, which hardware sets when it likes, do not part them. Exit
    status 1 when nothing was found.

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
    type=click.Choice(["text", "vmprint", "vmprint-va"]),
    default="text",
    show_default=True,
    help="vmprint prints what the xv6 course's vmprint prints; vmprint-va what it prints since 2024.",
)
@click.option("--depth", type=click.IntRange(1, 5), help="Go down so many levels.")
@model_options
@json_option
def tree(target: str, space: str, style: str, depth: int | None, as_json: bool, **model: Any) -> int:  # noqa: ANN401
    """Show the page tables themselves, level by level.

    \b
    pagebook tree --space sh
    pagebook tree --space init --format vmprint | diff - what-my-kernel-printed
    """
    from pagebook.cli import verbs

    return verbs.tree(target, model, space, style, depth, as_json)


@cli.command()
@click.argument("va", type=Address())
@target_argument
@click.option("--space", metavar="NAME", default="kernel", show_default=True, help="The address space, by name or pid.")
@model_options
@json_option
def walk(va: int, target: str, space: str, as_json: bool, **model: Any) -> int:  # noqa: ANN401
    """Translate one virtual address, step by step.

    Each level's index in bits and in decimal, the address of the PTE, its value and flags, and where it leads. Exit
    status 1 when VA is not mapped.

    \b
    pagebook walk 0x80000000
    pagebook walk 0x3fffffe000 m.core --space sh
    """
    from pagebook.cli import verbs

    return verbs.walk(va, target, model, space, as_json)


def main() -> None:
    """The console script: run, and turn every refusal into one plain sentence and an exit status."""
    try:
        status = cli.main(prog_name="pagebook", standalone_mode=False)
        sys.stdout.flush()
    except click.ClickException as error:
        error.show()
        status = error.exit_code
    except PagebookError as error:
        click.echo(f"pagebook: {error}", err=True)
        status = BAD_CALL
    except (click.Abort, KeyboardInterrupt):
        click.echo("pagebook: interrupted", err=True)
        status = INTERRUPTED
    except BrokenPipeError:  # the reader has seen enough
        sys.stderr.close()
        status = OK
    sys.exit(status)
