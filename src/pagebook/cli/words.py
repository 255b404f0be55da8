"""What the verbs' words are made of: types of parameters, and options that several verbs share."""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Callable
from typing import Any

import click

from pagebook.cli.completing import files, spaces, targets
from pagebook.units import Ambiguous, parse_address, parse_size

NUMBER_LIKE = re.compile(r"[0-9]\w*")  # such a word is an address, or a slip


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


class Seconds(click.FloatRange):
    """A number of seconds; what is no number at all is refused, as it is neither too small nor too large."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:  # noqa: ANN401
        """The number, or a UsageError."""
        found = super().convert(value, param, ctx)
        if math.isnan(found):
            self.fail(f"{value} is no number of seconds", param, ctx)
        return found


def parse_range(text: str) -> tuple[int, int]:
    """The range [start, end) in ``"START-END"``, or of one byte in ``"START"``; ValueError for anything else."""
    first, dash, last = text.partition("-")
    try:
        start = parse_address(first)
        end = parse_address(last) if dash else start + 1
    except Ambiguous:
        raise
    except ValueError:
        raise ValueError(f"{text!r} is no address and no range; write 0x1000, or 0x1000-0x3000") from None
    if not 0 <= start < end <= 1 << 64:
        raise ValueError(f"{text!r} is no range of 64-bit addresses; write START-END with START below END")
    return start, end


def _flags(text: str) -> int:
    from pagebook.sv import parse_flags

    return parse_flags(text)


def _root(text: str) -> tuple[int, str]:
    from pagebook.guests.bare import parse_root

    return parse_root(text)


def _offsets(text: str) -> dict[str, int]:
    """The numbers in ``"proc.pagetable=0x50,NPROC=64"`` by name."""
    found = {}
    for part in text.split(","):
        name, equals, number = part.partition("=")
        if not equals or not name.strip():
            raise ValueError(f"{part!r} is not NAME=NUMBER")
        found[name.strip()] = parse_address(number)
    return found


SIZE = Word("SIZE", parse_size)
ADDRESS = Word("ADDRESS", parse_address)
NUMBER = Word("NUMBER", parse_address)
RANGE = Word("ADDRESS[-END]", parse_range)
FLAGS = Word("LETTERS", _flags)
ROOT = Word("PA[:SV39]", _root)
OFFSETS = Word("NAME=N[,NAME=N]", _offsets)

Command = Callable[..., Any]

_MODEL = (
    click.option("--rev", metavar="YEAR", help="xv6 of 2022, 2024 or 2025.  [default: as the kernel's file, or 2024]"),
    click.option("--ram", type=SIZE, default="128M", show_default=True, help="RAM at 0x80000000."),
    click.option("--nproc", metavar="N", type=int, default=64, show_default=True, help="Process slots, a stack each."),
    click.option(
        "--kernel", metavar="ELF", shell_complete=files, help="The kernel's ELF file: the model's, or the guest's."
    ),
    click.option("--init", metavar="ELF", shell_complete=files, help="The program that becomes process 1."),
    click.option("--sh", metavar="ELF", shell_complete=files, help="The program that init starts."),
    click.option(
        "--program", metavar="ELF", shell_complete=files, help="A program that the shell starts, as process 3."
    ),
)
_SATP = click.option("--satp", metavar="VALUE", type=NUMBER, multiple=True, help="A guest's table: what satp holds.")
_GUEST = (
    click.option("--root", metavar="PA[:SV39]", type=ROOT, multiple=True, help="A guest's table: where its root is."),
    click.option("--offsets", metavar="NAME=N[,NAME=N]", type=OFFSETS, help="Fields of an xv6 built without -g."),
    click.option("--freeze", is_flag=True, help="Stop a running guest while it is read."),
)


def model_options(command: Command) -> Command:
    """The options that shape the model."""
    return functools.reduce(lambda bare, option: option(bare), reversed(_MODEL), command)


def machine_options(command: Command) -> Command:
    """The options that shape the model, and those that say how to read a guest."""
    return guest_options(_SATP(command))


def guest_options(command: Command) -> Command:
    """The same without ``--satp``, for a verb to which that means something else."""
    return functools.reduce(lambda bare, option: option(bare), reversed((*_MODEL, *_GUEST)), command)


PRIVILEGES = click.Choice(["U", "S", "M"], case_sensitive=False)
XLEN = click.Choice(["32", "64"])
KINDS = click.Choice(["load", "store", "fetch", "amo"], case_sensitive=False)


def access_options(command: Command) -> Command:
    """The options that say which access is meant: one dict, ``access``, for ``command``; None where not given."""

    @click.option("--access", "kind", type=KINDS, help="What is done: load (the default), store, fetch or amo.")
    @click.option("--priv", type=PRIVILEGES, help="The effective privilege; U in a process, S in the kernel's space.")
    @click.option("--sum", "sum_", is_flag=True, default=None, help="sstatus.SUM is set: S may use U's pages.")
    @click.option("--mxr", is_flag=True, default=None, help="sstatus.MXR is set: what may be executed may be loaded.")
    @click.option("--size", metavar="N", type=click.IntRange(1, 8), help="Bytes of the access: 1, for an amo 4.")
    @functools.wraps(command)
    def gathered(*, kind: str, priv: str, sum_: bool, mxr: bool, size: int, **rest: Any) -> Any:  # noqa: ANN401
        access = {"kind": kind, "priv": priv, "sum": sum_, "mxr": mxr, "size": size}
        return command(access=access, **rest)

    return gathered


def hart_options(command: Command) -> Command:
    """The options that say what the hart implements; ``command`` gets them as one dict, ``hart``."""

    @click.option(
        "--svadu/--svade", default=True, help="The hart sets A and D (Svadu, the default), or faults (Svade)."
    )
    @click.option("--svnapot", is_flag=True, help="The hart has 64 KiB pages (Svnapot).")
    @click.option("--svpbmt", is_flag=True, help="The hart has memory types in PTEs (Svpbmt).")
    @click.option("--svrsw60t59b", is_flag=True, help="PTE bits 60 and 59 are the kernel's own (Svrsw60t59b).")
    @functools.wraps(command)
    def gathered(*, svadu: bool, svnapot: bool, svpbmt: bool, svrsw60t59b: bool, **rest: Any) -> Any:  # noqa: ANN401
        hart = {"svadu": svadu, "svnapot": svnapot, "svpbmt": svpbmt, "svrsw60t59b": svrsw60t59b}
        return command(hart=hart, **rest)

    return gathered


def json_option(command: Command) -> Command:
    """``--json``."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON (docs/json.md) and nothing else.")(command)


space_option = click.option(
    "--space",
    metavar="NAME",
    shell_complete=spaces,
    help="The address space: its name, pid or root 0x80000000; without, the kernel's or first.",
)
target_argument = click.argument("target", default="xv6", shell_complete=targets)
