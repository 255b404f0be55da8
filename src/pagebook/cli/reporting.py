"""The verb report: a machine as one file of HTML."""

from __future__ import annotations

from typing import Any

import click

from pagebook.cli.words import Word, access_options, hart_options, machine_options, target_argument
from pagebook.units import parse_address

USUAL_HART = {"svadu": True, "svnapot": False, "svpbmt": False, "svrsw60t59b": False}


def parse_place(text: str) -> tuple[str | None, int]:
    """The space, None where none is named, and the address in ``"SPACE:VA"`` or ``"VA"``; ValueError for no address."""
    space, colon, va = text.rpartition(":")
    return space if colon else None, parse_address(va)


@click.command()
@target_argument
@click.option("-o", "--output", "out", metavar="FILE", default="report.html", show_default=True, help="- for a pipe.")
@click.option(
    "--walk",
    "places",
    metavar="[SPACE:]VA",
    type=Word("[SPACE:]VA", parse_place),
    multiple=True,
    help="Explain an access there; may be repeated.",
)
@access_options
@hart_options
@machine_options
def report(
    target: str,
    out: str,
    places: tuple[tuple[str | None, int], ...],
    access: dict[str, Any],
    hart: dict[str, Any],
    **model: Any,  # noqa: ANN401
) -> int:
    """Write TARGET as one file of HTML, as it is now.

    For a bug report or a lecture: the file needs no server, no network and no script. It tells which machine that is,
    how its memory is used, every address space with its figure and its runs, what the checks find, and the walks that
    are asked for, step by step.

    SPACE is a name, a pid or a root, as for "walk --space"; without it, the kernel's or the first. --access and what
    follows it hold for every --walk: a load of one byte, unless they say otherwise.

    A report is at most 4M, whatever the size of the machine, and says what it leaves out. What was there is replaced
    when the new file is whole. Exit status 0 when it was written, whatever was found.

    \b
    pagebook report
    pagebook report m.core --walk sh:0x2ff8 --access store -o fault.html
    pagebook report qemu -o - > now.html
    """
    if not places and (any(value is not None for value in access.values()) or hart != USUAL_HART):
        raise click.UsageError("--access and the like say what each --walk does; add --walk [SPACE:]VA")
    from pagebook.cli import publishing

    return publishing.report(target, model, places, access, hart, out)
