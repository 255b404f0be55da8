"""Verbs on single addresses, faults and numbers: walk, fault, pte, satp, quiz."""

from __future__ import annotations

from typing import Any

import click

from pagebook.cli.words import (
    NUMBER,
    NUMBER_LIKE,
    XLEN,
    Word,
    access_options,
    hart_options,
    json_option,
    machine_options,
    space_option,
    target_argument,
)
from pagebook.units import parse_address


def _first(text: str) -> int:
    """The address, where the target may stand by mistake."""
    try:
        return parse_address(text)
    except ValueError as error:
        more = "" if NUMBER_LIKE.fullmatch(text) else "; the address comes before the target: walk 0x1000 qemu"
        raise ValueError(f"{error}{more}") from None


@click.command()
@click.argument("va", type=Word("ADDRESS", _first))
@target_argument
@space_option
@access_options
@hart_options
@machine_options
@json_option
def walk(
    va: int,
    target: str,
    space: str | None,
    access: dict[str, Any],
    hart: dict[str, Any],
    as_json: bool,
    **model: Any,  # noqa: ANN401
) -> int:
    """Translate one virtual address, step by step.

    The address in bits, then for each level the PTE that is read: its index, value, address and flags, and where it
    leads. Without more, whatever rights it has. With any option from --access to --svrsw60t59b: what that access
    comes to, which rule of the MMU decided, what hardware and xv6 report, and what usually causes it.

    Exit status 1 when VA is not mapped, or the access faults.

    \b
    pagebook walk 0x80000000
    pagebook walk 0x3fffffe000 m.core --space sh
    pagebook walk 0x2ff8 --space sh --access store
    """
    from pagebook.cli import verbs

    return verbs.walk(va, target, model, space, access, hart, as_json)


@click.command()
@target_argument
@click.option("--scause", type=NUMBER, help="What the trap printed as scause (or mcause).")
@click.option("--stval", type=NUMBER, help="What it printed as stval: the address that faulted.")
@click.option(
    "--sepc", type=NUMBER, help="What it printed as sepc: the instruction. It tells whose tables were in use."
)
@click.option("--printed", metavar="TEXT", help="All of it at once, as it was printed; - reads a pipe.")
@click.option("--space", metavar="NAME", help="The address space: its name, pid or root; without, the one that fits.")
@click.option("--pid", metavar="N", type=click.IntRange(1), help="What usertrap printed as pid: only that process.")
@click.option("--trap", type=click.Choice(["user", "kernel"]), help="Who printed it: usertrap, or kerneltrap.")
@hart_options
@machine_options
@json_option
def fault(
    target: str,
    scause: int | None,
    stval: int | None,
    sepc: int | None,
    printed: str | None,
    space: str | None,
    pid: int | None,
    trap: str | None,
    hart: dict[str, Any],
    as_json: bool,
    **model: Any,  # noqa: ANN401
) -> int:
    """Explain a fault from what the panic printed.

    xv6 prints scause, sepc and stval when a trap surprises it, for a process (usertrap) or in the kernel (kerneltrap).
    This finds the address space whose code at sepc makes such an access, and where that comes to that cause, and tells
    why, step by step. Give the kernel and the program that ran, or a saved machine; otherwise addresses are those of
    the built-in programs.

    Give the numbers one by one, or the lines as they were printed; in a long log the last trap is taken.

    In a guest that runs, the process that made a fault is gone as soon as xv6 has killed it: ask the model, as in the
    first example, without a target. A kernel that stopped with a panic is still there.

    Exit status 1 when no address space explains the fault.

    \b
    pagebook fault --scause 0xf --stval 0x2fb0 --sepc 0xc --program user/_crash
    pagebook fault --scause 0xd --stval 0x8 --sepc 0x80001234
    pagebook fault qemu --scause 0xf --stval 0x2fb0 --sepc 0xc --pid 4
    pagebook fault --printed "scause 0xf pid=3 sepc=0xc stval=0x2fb0"
    pagebook fault --printed - --program user/_crash < qemu.log
    """
    if printed is not None and (scause, stval, sepc, pid) != (None, None, None, None):
        raise click.UsageError("--printed has the numbers; leave out --scause, --stval, --sepc and --pid")
    if printed is None and (scause is None or stval is None):
        raise click.UsageError("give --scause and --stval, or with --printed the lines that the kernel printed")
    from pagebook.cli import verbs

    return verbs.fault(target, model, printed, (scause, stval, sepc, pid), space, trap, hart, as_json)


@click.command()
@click.argument("value", metavar="PTE", type=NUMBER)
@click.option(
    "--format",
    "name",
    type=click.Choice(["sv32", "sv39", "sv48", "sv57"], case_sensitive=False),
    default="sv39",
    show_default=True,
    help="How it is read.",
)
@hart_options
@json_option
def pte(value: int, name: str, hart: dict[str, Any], as_json: bool) -> int:
    """Take a page-table entry apart.

    Its fields, whether it is a leaf or a pointer, what it allows to whom, and on which levels it can stand. Exit status
    1 when no level can use it.

    \b
    pagebook pte 0x21fdd0c7
    pagebook pte 0x21fdd0c7 --format sv32
    """
    from pagebook.cli import verbs

    return verbs.pte(value, name, hart, as_json)


@click.command()
@click.argument("value", metavar="SATP", type=NUMBER)
@click.option("--xlen", type=XLEN, default="64", show_default=True, help="The width of the register.")
@json_option
def satp(value: int, xlen: str, as_json: bool) -> int:
    """Take a satp value apart: mode, ASID, root table.

    \b
    pagebook satp 0x8000000000087fff
    """
    from pagebook.cli import verbs

    return verbs.satp(value, int(xlen), as_json)


@click.command()
@click.option("--seed", metavar="N", type=click.IntRange(0), help="The same seed, the same question; without, any.")
@click.option(
    "--level",
    type=click.Choice(["easy", "hard"]),
    default="easy",
    show_default=True,
    help="easy: Sv39 and rights; hard: every format and every rule.",
)
@click.option("--solve", is_flag=True, help="Show the answer and its reasons at once.")
@json_option
def quiz(seed: int | None, level: str, solve: bool, as_json: bool) -> int:
    """Ask what an access comes to, over a small random table.

    The answer is a physical address, or the scause of the fault: 0x80003ff8, or 15, or 0xf. Then the tool explains. The
    answer may also come by a pipe; with nothing there, the question alone is shown. --json prints both.

    Exit status 0 when the answer was right, 1 when it was not.

    \b
    pagebook quiz
    pagebook quiz --seed 7 --level hard --solve
    """
    from pagebook.cli import verbs

    return verbs.quiz(seed, level, solve, as_json)
