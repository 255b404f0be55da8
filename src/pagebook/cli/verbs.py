"""What each verb does: open the target, ask, and print the answer as text or as JSON."""

from __future__ import annotations

import shlex
from typing import Any

import click

from pagebook.cli.output import bar, print_json, print_lines, print_story
from pagebook.cli.words import BAD_CALL, NOT_MAPPED, OK
from pagebook.errors import BadTarget, TooManyMappings
from pagebook.machine import Machine
from pagebook.sources.elfcore import write_core
from pagebook.targets import MODEL, ModelOptions, boot_model, open_target
from pagebook.units import size_text
from pagebook.views import data, facts, text
from pagebook.xv6.boot import machine as machine_of

Model = dict[str, Any]


def _open(target: str, model: Model) -> Machine:
    with bar(f"booting with {size_text(model['ram'])}", model["ram"]) as progress:
        return open_target(target, ModelOptions(**model), progress)


def boot(model: Model, save: str | None, quiet: bool, as_json: bool) -> int:
    """Boot the model, save it if asked, tell the story."""
    with bar(f"booting with {size_text(model['ram'])}", model["ram"]) as progress:
        k = boot_model(ModelOptions(**model), progress)
    machine = machine_of(k)
    size = 0
    if save is not None:
        with bar(f"writing {save}", model["ram"]) as progress:
            size = write_core(machine, save, progress)
    if as_json:
        print_json(data.boot(machine, k.story, save))
        return OK
    if not quiet:
        print_story(k.story)
    print_lines(text.summary(machine))
    if save is not None:
        print_lines(
            [[("saved", "title"), (f": {save}, {size_text(size)}; open it with: pagebook maps {_as_typed(save)}", "")]]
        )
    return OK


def _as_typed(file: str) -> str:
    """A file's name as a target: for a shell, and such that it means neither the model nor an option."""
    return shlex.quote(f"./{file}" if file == MODEL or file.startswith("-") else file)


def maps(
    target: str, model: Model, space: str | None, chosen: tuple[Any, Any, Any, Any], pages: bool, as_json: bool
) -> int:
    """List the mappings of one space or of all."""
    machine = _open(target, model)
    spaces = machine.spaces if space is None else (machine.space(space),)
    if not spaces:
        raise BadTarget(f"{target} has no address space")
    listed = []
    refused = 0
    for one in spaces:
        try:
            listed.append(facts.listing(one, facts.Filter(*chosen), pages))
        except TooManyMappings as error:  # one hostile space does not hide the others
            refused += 1
            click.echo(f"pagebook: {one.name}: {error}", err=True)
    if refused and not listed:
        return BAD_CALL
    if as_json:
        print_json(data.maps(machine, listed))
    else:
        for rows in listed:
            if rows or not any(chosen):
                print_lines(text.maps(rows))
    if refused:
        return BAD_CALL
    if not any(listed):
        if any(chosen) and not as_json:
            click.echo("pagebook: no mapping is as asked", err=True)
        return NOT_MAPPED
    return OK


def tree(target: str, model: Model, space: str, style: str, depth: int | None, as_json: bool) -> int:
    """Show the tables of one space."""
    machine = _open(target, model)
    one = machine.space(space)
    rows = facts.nodes(one, fold=style == "text", depth=depth)
    if as_json:
        print_json(data.tree(machine, one, rows))
    else:
        print_lines({"text": text.tree, "vmprint": text.vmprint, "vmprint-va": text.vmprint_va}[style](one, rows))
    return OK


def walk(va: int, target: str, model: Model, space: str, as_json: bool) -> int:
    """Translate one address."""
    machine = _open(target, model)
    found = facts.walk(machine.space(space), va)
    if as_json:
        print_json(data.walk(machine, found))
    else:
        print_lines(text.walk(found))
    return OK if found.pa is not None else NOT_MAPPED
