"""What each verb does: open the target, ask, and print the answer as text or as JSON."""

from __future__ import annotations

import random
import shlex
import sys
from typing import Any

import click

from pagebook.cases.reading import USUAL_SIZE
from pagebook.cli import BAD_CALL, NOT_MAPPED, OK
from pagebook.cli.opening import Model, open_machine, say
from pagebook.cli.output import bar, print_json, print_lines, print_story, prompt, standard_input
from pagebook.decode import decode_pte
from pagebook.errors import BadFile, BadTarget, TooManyMappings
from pagebook.explain import explain, regime_of
from pagebook.faults import Otherwise, explain_fault, explain_otherwise
from pagebook.machine import Machine, Space
from pagebook.mmu import Extensions, Kind, Mmu
from pagebook.printed import Panicked, Printed, Trap, read_panic, read_trap
from pagebook.quiz import Question, make_question
from pagebook.sources.elfcore import write_core
from pagebook.sv import FORMATS, decode_satp
from pagebook.targets import EXAMPLES, MODEL, ModelOptions, boot_model, other_year
from pagebook.units import size_text
from pagebook.views import access as views
from pagebook.views import data, facts, text
from pagebook.xv6.boot import machine as machine_of

MOST_SEEDS = 10_000
PIPE = "-"
MOST_LOG = 16 << 20  # bytes
TRAPS = {"user": "U", "kernel": "S"}  # the privilege in which the fault came


def boot(model: Model, save: str | None, quiet: bool, as_json: bool) -> int:
    """Boot the model, save it if asked, tell the story."""
    with bar(f"booting with {size_text(model['ram'])}", model["ram"]) as progress:
        k = boot_model(ModelOptions(**model), progress)
    say(other_year(ModelOptions(**model)))
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
    return shlex.quote(f"./{file}" if file in (MODEL, EXAMPLES) or file.startswith("-") else file)


def maps(
    target: str,
    model: Model,
    space: str | None,
    chosen: tuple[Any, Any, Any, Any],
    pages: bool,
    every: bool,
    as_json: bool,
) -> int:
    """List the mappings of one space or of all."""
    machine = open_machine(target, model)
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
        fold = sys.stdout.isatty() and not (pages or every or any(chosen))
        print_lines((line for rows in listed if rows or not any(chosen) for line in text.maps(rows, fold)), paged=True)
    if refused:
        return BAD_CALL
    if not any(listed):
        if any(chosen) and not as_json:
            click.echo("pagebook: no mapping is as asked", err=True)
        return NOT_MAPPED
    return OK


def tree(target: str, model: Model, space: str | None, style: str, depth: int | None, as_json: bool) -> int:
    """Show the tables of one space."""
    machine = open_machine(target, model)
    one = machine.space(space)
    rows = facts.nodes(one, fold=style == "text", depth=depth)
    if as_json:
        print_json(data.tree(machine, one, rows))
    else:
        print_lines({"text": text.tree, "vmprint": text.vmprint, "vmprint-va": text.vmprint_va}[style](one, rows), True)
    return OK


def walk(
    va: int, target: str, model: Model, space: str | None, access: dict[str, Any], hart: dict[str, Any], as_json: bool
) -> int:
    """Translate one address, or explain one access."""
    machine = open_machine(target, model)
    one = machine.space(space)
    if any(value is not None for value in access.values()) or Extensions(**hart) != Extensions():
        return _access(machine, one, va, access, hart, as_json)
    found = facts.walk(one, va)
    if as_json:
        print_json(data.walk(machine, found))
    else:
        print_lines(text.walk(found))
    return OK if found.pa is not None else NOT_MAPPED


def _access(
    machine: Machine, space: Space, va: int, chosen: dict[str, Any], hart: dict[str, Any], as_json: bool
) -> int:
    kind = Kind[(chosen["kind"] or "load").upper()]
    size = chosen["size"] or USUAL_SIZE[kind]
    regime = regime_of(space, chosen["priv"], bool(chosen["sum"]), bool(chosen["mxr"]))
    found = explain(Mmu(machine.memory, Extensions(**hart)), space, regime, kind, va, size)
    if as_json:
        print_json(data.access(machine, found))
    else:
        print_lines(views.access(found))
    return OK if found.outcome.cause is None else NOT_MAPPED


def fault(
    target: str,
    model: Model,
    printed: str | None,
    numbers: tuple[int | None, int | None, int | None, int | None],
    space: str | None,
    trap: str | None,
    hart: dict[str, Any],
    as_json: bool,
) -> int:
    """Explain what a trap printed, given as it is or as its numbers."""
    if printed is None:
        scause, stval, *others = numbers
        assert scause is not None and stval is not None
        asked = Trap(Printed(scause, stval, *others), None)
    else:
        text = _given(printed)
        if panic := read_panic(text):
            return _panic(panic, as_json)
        asked = read_trap(text)
    priv = TRAPS[trap] if trap else asked.priv
    machine = open_machine(target, model)
    mmu = Mmu(machine.memory, Extensions(**hart))
    if asked.printed.other:
        other = explain_otherwise(machine, mmu, asked.printed, space, priv, model=target == MODEL)
        return _otherwise(machine, other, as_json)
    found = explain_fault(machine, mmu, asked.printed, space, priv, model=target == MODEL)
    if as_json:
        print_json(data.fault(machine, found))
    else:
        print_lines(views.fault(found))
    return OK if found.fits else NOT_MAPPED


def _otherwise(machine: Machine, found: Otherwise, as_json: bool) -> int:
    if as_json:
        print_json(data.otherwise(machine, found))
    else:
        print_lines(views.otherwise(found))
    return NOT_MAPPED if found.doubts else OK


def _panic(found: Panicked, as_json: bool) -> int:
    if as_json:
        print_json(data.panic(found))
    else:
        print_lines(views.panic(found))
    return OK if found.when else NOT_MAPPED


def _given(text: str) -> str:
    """The text, or for ``-`` what standard input has."""
    if text != PIPE:
        return text
    source = standard_input("give the lines themselves with --printed")
    if sys.stdin.isatty():
        click.echo("pagebook: paste what the kernel printed, then press Enter and Ctrl-D", err=True)
    read = source.read(MOST_LOG + 1)
    if len(read) > MOST_LOG:
        raise BadFile(f"a log of more than {size_text(MOST_LOG)}; give its end: tail -n 100 LOG | ...")
    return read.decode(errors="replace")


def pte(value: int, name: str, hart: dict[str, Any], as_json: bool) -> int:
    """Take a PTE apart."""
    found = decode_pte(value, FORMATS[name.lower()], Extensions(**hart))
    if as_json:
        print_json(data.pte(found))
    else:
        print_lines(views.pte(found))
    return OK if found.kind in ("leaf", "table") else NOT_MAPPED


def satp(value: int, xlen: int, as_json: bool) -> int:
    """Take a satp value apart."""
    found = decode_satp(value, xlen)
    if as_json:
        print_json(data.satp(value, found))
    else:
        print_lines(views.satp(value, found, xlen))
    return OK


def quiz(seed: int | None, level: str, solve: bool, as_json: bool) -> int:
    """Ask a question, take an answer, explain."""
    asked = make_question(random.randrange(MOST_SEEDS) if seed is None else seed, level)
    if as_json:
        print_json(data.question(asked))
        return OK
    print_lines(views.question(asked))
    if solve:
        print_lines(views.access(asked.solve()))
        return OK
    right = _ask(asked)
    if right is None:
        print_lines([[(f"  see the answer: pagebook quiz --seed {asked.seed} --level {level} --solve", "dim")]])
        return OK
    print_lines([[("right" if right else "not so", "title")]])
    print_lines(views.access(asked.solve()))
    return OK if right else NOT_MAPPED


def _ask(asked: Question) -> bool | None:
    """Whether the answer that is typed is right; None when none comes."""
    while True:
        typed = prompt("answer")
        if not typed:
            return None
        try:
            return asked.right(typed)
        except ValueError as error:
            if not sys.stdin.isatty():
                raise BadTarget(f"the answer: {error}") from None
            click.echo(f"pagebook: {error}", err=True)
