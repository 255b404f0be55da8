"""The verb owners: whose each frame is, and who maps one."""

from __future__ import annotations

from typing import Any

import click

from pagebook.cli import OK
from pagebook.cli.words import NUMBER_LIKE, json_option, machine_options, parse_range


@click.command()
@click.argument("words", nargs=-1, metavar="[FRAME] [TARGET]")
@machine_options
@json_option
def owners(words: tuple[str, ...], as_json: bool, **model: Any) -> int:  # noqa: ANN401
    """Say whose each frame is, and who maps it.

    Every frame of RAM is in exactly one role.

    FRAME is a physical address, a range START-END, or a frame number (the PPN of a PTE); then those frames are shown,
    and every mapping of every address space that leads to them. Without it all of RAM is, in runs with one owner.

    \b
    pagebook owners                        all frames of the model
    pagebook owners 0x87f56000 qemu        whose is it, who maps it, with which rights
    pagebook owners 0x87f56                the same by its frame number
    pagebook owners 0x87f00000-0x88000000 m.core
    """
    asked, target = _sorted(words)
    from pagebook.cli.opening import open_machine
    from pagebook.cli.output import print_json, print_lines
    from pagebook.ledger import Ledger
    from pagebook.views import frames

    found = frames.owners(Ledger(open_machine(target, model, settled=True)), asked)
    if as_json:
        print_json(frames.data(found))
    else:
        print_lines(frames.text(found), paged=True)
    return OK


def _sorted(words: tuple[str, ...]) -> tuple[tuple[int, int] | None, str]:
    """Which word is the frame and which the target, from one, two or none."""
    if len(words) > 2:
        raise click.UsageError("too many words: owners takes a frame and a target")
    if not words:
        return None, "xv6"
    try:
        return parse_range(words[0]), words[1] if len(words) > 1 else "xv6"
    except ValueError as error:
        from pathlib import Path

        number = NUMBER_LIKE.fullmatch(words[0].replace("-", "", 1))
        if len(words) > 1 or (number and not Path(words[0]).exists()):
            raise click.BadParameter(str(error), param_hint="FRAME") from None
        return None, words[0]
