"""The verb roots: where page tables start in memory of which nothing is known."""

from __future__ import annotations

import click

from pagebook.cli import NOT_MAPPED, OK
from pagebook.cli.words import json_option


@click.command()
@click.argument("target")
@click.option(
    "--format",
    "name",
    type=click.Choice(["sv32", "sv39", "sv48", "sv57"], case_sensitive=False),
    help="Only roots of this format; without it of sv39, sv48 and sv57.",
)
@click.option(
    "--most", metavar="N", type=click.IntRange(min=1), default=20, show_default=True, help="Show at most so many."
)
@json_option
def roots(target: str, name: str | None, most: int, as_json: bool) -> int:
    """Search memory for the roots of page tables.

    All of TARGET's memory is searched, and the roots come ranked.

    Nothing need be known of what runs there: every frame is judged by its bytes. The likeliest come first; the words
    --root PA:FORMAT after each make the other verbs read that table. Exit status 1 when no root is found.

    \b
    pagebook roots m.core
    pagebook roots qemu                a raw image is FILE@0x80000000
    """
    from pagebook.cli.opening import open_source
    from pagebook.cli.output import bar, print_json, print_lines
    from pagebook.guests.roots import find_roots
    from pagebook.sv import FORMATS
    from pagebook.views import roots as view

    source = open_source(target)
    size = sum(region.size for region in source.memory.regions)
    with bar(f"searching {source.name}", size) as progress:
        found = find_roots(source.memory, FORMATS[name.lower()] if name else None, progress, source.harts)
    if as_json:
        print_json(view.data(source.name, found, most))
    else:
        print_lines(view.text(source.name, found, most), paged=True)
    return OK if found else NOT_MAPPED
