"""The verbs diff and watch: what changed between two machines, or in one while it runs."""

from __future__ import annotations

from typing import Any

import click

from pagebook.cli.words import Seconds, json_option, machine_options, target_argument

LEAST_INTERVAL = 0.01


@click.command()
@click.argument("old")
@click.argument("new", required=False)
@click.option("--after", metavar="SECONDS", type=Seconds(0, 86_400), help="Look at OLD again after so long.")
@machine_options
@json_option
def diff(old: str, new: str | None, after: float | None, as_json: bool, **model: Any) -> int:  # noqa: ANN401
    """Say what changed from OLD to NEW.

    Address spaces, mappings, rights, and which frames changed hands.

    OLD and NEW are targets; with --after, OLD is looked at twice. Processes are matched by their pids. A and D bits are
    no difference. Exit status 1 when anything differs.

    \b
    pagebook diff before.core after.core
    pagebook diff qemu --after 5
    pagebook diff xv6 qemu --kernel kernel/kernel    is my kernel's memory what xv6's would be?
    """
    if (new is None) == (after is None):
        raise click.UsageError("diff takes two targets, or one target and --after SECONDS")
    from pagebook.cli.comparing import diff as run

    return run(old, new, after, model, as_json)


@click.command()
@target_argument
@click.option(
    "--interval",
    metavar="SECONDS",
    type=Seconds(LEAST_INTERVAL, 3600),
    default=0.5,
    show_default=True,
    help="Look so often.",
)
@click.option("--for", "seconds", metavar="SECONDS", type=Seconds(0), help="Stop after so long; else Ctrl-C.")
@machine_options
@json_option
def watch(target: str, interval: float, seconds: float | None, as_json: bool, **model: Any) -> int:  # noqa: ANN401
    """Say what changes in TARGET as it happens.

    Processes that come and go, mappings, frames that change hands.

    The guest is not stopped. What comes and goes between two looks is not seen. With --json a document on a line for
    each change. Ends when the guest does.

    \b
    pagebook watch qemu
    pagebook watch qemu --interval 0.1 --json | jq .frames
    """
    from pagebook.cli.comparing import watch as run

    return run(target, interval, seconds, model, as_json)
