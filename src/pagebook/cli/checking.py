"""The verbs that lint a machine's tables: check, rule."""

from __future__ import annotations

from typing import Any

import click

from pagebook.cli.completing import rules
from pagebook.cli.words import json_option, machine_options, target_argument

FORMATS = ("text", "json", "sarif")


def _split(option: str, words: tuple[str, ...]) -> list[str]:
    """The ids in the words of an option that may be given often, with commas; UsageError when it names none."""
    found = [part.strip() for word in words for part in word.split(",") if part.strip()]
    if words and not found:
        raise click.UsageError(f"{option} names no rule; leave it out, or write ALL")
    return found


@click.command()
@target_argument
@click.option(
    "--select",
    metavar="IDS",
    multiple=True,
    shell_complete=rules,
    help="Only these rules: PB101, PB1 for all that start so, ALL.",
)
@click.option("--ignore", metavar="IDS", multiple=True, help="Not these rules; the longer of two words counts.")
@click.option("--format", "form", type=click.Choice(FORMATS), default="text", show_default=True, help="What to print.")
@click.option("--json", "as_json", is_flag=True, help="The same as --format json (docs/json.md).")
@machine_options
def check(
    target: str,
    select: tuple[str, ...],
    ignore: tuple[str, ...],
    form: str,
    as_json: bool,
    **model: Any,  # noqa: ANN401
) -> int:
    """Find what is wrong in page tables.

    Each finding names its rule, the place, what is wrong and what to do; "pagebook rule PB101" tells more. A guest that
    runs moves while it is read: it is looked at again and again, and only what stays is reported. With --freeze it is
    stopped and looked at once.

    Exit status 1 when anything was found.

    \b
    pagebook check qemu
    pagebook check m.core --select PB1 --ignore PB102
    pagebook check m.core --format sarif > findings.sarif
    """
    if as_json and form == "sarif":
        raise click.UsageError("--json and --format sarif are two formats; leave one out")
    from pagebook.cli import linting

    chosen = _split("--select", select), _split("--ignore", ignore)
    return linting.check(target, model, *chosen, "json" if as_json else form)


@click.command()
@click.argument("id", metavar="[ID]", required=False, shell_complete=rules)
@json_option
def rule(id: str | None, as_json: bool) -> int:
    """Explain one rule of "check", or list all.

    ID is a rule's id or its name; a prefix of ids, such as PB1, lists those rules.

    \b
    pagebook rule PB101
    pagebook rule leaked-frame
    """
    from pagebook.cli import linting

    return linting.rule(id, as_json)
