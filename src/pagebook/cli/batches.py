"""The verb on many addresses at once: translate."""

from __future__ import annotations

import sys
from typing import Any

import click

from pagebook.cli.words import ADDRESS, NUMBER_LIKE, XLEN, access_options, guest_options, hart_options
from pagebook.units import parse_address

FORMATS = ("csv", "jsonl", "parquet")


def sort_words(words: tuple[str, ...]) -> tuple[str, list[str]]:
    """The target among the words, and the addresses; UsageError when there are two targets or no address in one."""
    addresses = [word for word in words if _is_address(word)]
    targets = [word for word in words if not _is_address(word)]
    if len(targets) > 1:
        raise click.UsageError(f"one word at most is the target, and none of {targets} is an address")
    return targets[0] if targets else "xv6", addresses


def _is_address(word: str) -> bool:
    try:
        parse_address(word)
    except ValueError as error:
        if NUMBER_LIKE.fullmatch(word):
            raise click.UsageError(str(error)) from None
        return False
    return True


@click.command()
@click.argument("words", nargs=-1, metavar="[TARGET] [VA]...")
@click.option("--cases", metavar="FILE", help="Read the accesses from FILE; from standard input when it is -.")
@click.option("--format", "form", type=click.Choice(FORMATS), help="What to write. [default: as FILE is called, csv]")
@click.option("--json", "as_json", is_flag=True, help="The same as --format jsonl: an object a line.")
@click.option("--output", "-o", metavar="FILE", help="Write to FILE, whole or not at all. Parquet needs one.")
@click.option("--space", metavar="NAME", help="The address space, by name or pid.  [default: kernel]")
@click.option("--satp", metavar="VALUE", type=ADDRESS, help="The satp register, instead of a space's.")
@click.option("--xlen", type=XLEN, help="Bits of a register; those of the space's format.")
@access_options
@hart_options
@guest_options
def translate(
    words: tuple[str, ...],
    cases: str | None,
    form: str | None,
    as_json: bool,
    output: str | None,
    space: str | None,
    satp: int | None,
    xlen: str | None,
    access: dict[str, Any],
    hart: dict[str, bool],
    **model: Any,  # noqa: ANN401
) -> int:
    """Translate many addresses, a row for each.

    The addresses are words here, lines of FILE, or lines of standard input. A word that is no address is the TARGET;
    write ./cafe when a file's name looks like one.

    FILE holds an address a line, or CSV with a header: va, and if wanted satp, priv (U, S, M), sum, mxr (0, 1), access
    (load, store, fetch, amo) and size. What a row lacks comes from the options. Blank lines and lines that start with
    "#" are passed over. A bad row ends it with status 2; the rows before it have been printed, but an output file is
    not made.

    Rows out: va, cause, tval, pa, pte_pa, pte_after, rule; empty where there is no such thing.

    Exit status 1 when any access faults.

    \b
    pagebook translate 0x80000000 0x80200000
    pagebook translate m.core --space sh --access store 0 0x1000
    pagebook translate m.core --cases cases.csv --svade -o answers.parquet
    """
    target, addresses = sort_words(words)
    if addresses and cases is not None:
        raise click.UsageError("addresses and --cases do not go together")
    if as_json and form not in (None, "jsonl"):
        raise click.UsageError(f"--json and --format {form} are two formats; leave one out")
    if as_json:
        form = "jsonl"
    if form is None:
        ending = (output or "").rpartition(".")[2].lower()
        form = ending if ending in FORMATS else "csv"
    if form == "parquet" and output is None:
        raise click.UsageError("Parquet needs a file; name it with --output")
    if not addresses and cases is None and sys.stdin and sys.stdin.isatty():
        raise click.UsageError("no addresses; give some, or --cases FILE, or a pipe that holds them")
    from pagebook.cli import translating

    asked = translating.Asked(target, model, space, satp, int(xlen or 0), access, hart)
    return translating.translate(asked, addresses, cases or "-", form, output)
