"""Verbs on single addresses: walk."""

from __future__ import annotations

from typing import Any

import click

from pagebook.cli.words import ADDRESS, json_option, model_options, target_argument


@click.command()
@click.argument("va", type=ADDRESS)
@target_argument
@click.option("--space", metavar="NAME", default="kernel", show_default=True, help="The address space, by name or pid.")
@model_options
@json_option
def walk(va: int, target: str, space: str, as_json: bool, **model: Any) -> int:  # noqa: ANN401
    """Translate one virtual address, step by step.

    The address in bits, then for each level the PTE that is read: its index, value, address and flags, and where it
    leads. Exit status 1 when VA is not mapped.

    \b
    pagebook walk 0x80000000
    pagebook walk 0x3fffffe000 m.core --space sh
    """
    from pagebook.cli import verbs

    return verbs.walk(va, target, model, space, as_json)
