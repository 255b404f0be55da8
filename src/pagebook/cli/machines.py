"""Verbs on whole machines: boot, maps, tree."""

from __future__ import annotations

from typing import Any

import click

from pagebook.cli.completing import files, spaces
from pagebook.cli.words import FLAGS, RANGE, json_option, machine_options, model_options, space_option, target_argument


@click.command()
@model_options
@click.option(
    "--save", metavar="FILE", shell_complete=files, help="Write the machine to FILE, an ELF core that every verb opens."
)
@click.option("--quiet", "-q", is_flag=True, help="Only the summary, not the story.")
@json_option
def boot(save: str | None, quiet: bool, as_json: bool, **model: Any) -> int:  # noqa: ANN401
    """Boot xv6's memory manager up to the shell, and tell the story.

    Each line of the story is a call the kernel makes, in its order, with the frames it took and why. Then the summary:
    frames by role, the address spaces, the free list.

    \b
    pagebook boot --rev 2025
    pagebook boot --kernel kernel/kernel --init user/_init --sh user/_sh
    pagebook boot --quiet --save m.core
    """
    from pagebook.cli import verbs

    return verbs.boot(model, save, quiet, as_json)


@click.command()
@target_argument
@click.option(
    "--space",
    metavar="NAME",
    shell_complete=spaces,
    help="Only this address space: kernel, a process's name, its pid, or its root.",
)
@click.option("--has", type=FLAGS, default=0, help="Only with all of these flags set, letters of vrwxugad.")
@click.option("--lacks", type=FLAGS, default=0, help="Only with all of these flags clear.")
@click.option("--va", type=RANGE, help="Only where this virtual address or range is mapped.")
@click.option("--pa", type=RANGE, help="Only what reaches this physical address or range.")
@click.option("--pages", is_flag=True, help="Every page on its own line, not merged into runs.")
@click.option("--all", "every", is_flag=True, help="On a terminal, too, a line for each of many runs that are alike.")
@machine_options
@json_option
def maps(
    target: str,
    space: str | None,
    has: int,
    lacks: int,
    va: tuple[int, int] | None,
    pa: tuple[int, int] | None,
    pages: bool,
    every: bool,
    as_json: bool,
    **model: Any,  # noqa: ANN401
) -> int:
    """List the mappings of TARGET, merged into runs and named.

    Neighbours with the same rights are one run; A and D, which hardware sets when it likes, do not part them. PTEs that
    no walk can use are listed as what is wrong with them. On a terminal, of many runs that are alike, as are the stacks
    of unused processes, only the first and the last are shown. Exit status 1 when nothing was found.

    \b
    pagebook maps --space init
    pagebook maps --has wx                 what is writable and executable
    pagebook maps m.core --pa 0x87f56000   who maps this frame
    """
    from pagebook.cli import verbs

    return verbs.maps(target, model, space, (has, lacks, va, pa), pages, every, as_json)


@click.command()
@target_argument
@space_option
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
@machine_options
@json_option
def tree(target: str, space: str | None, style: str, depth: int | None, as_json: bool, **model: Any) -> int:  # noqa: ANN401
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
