"""Every question of the command line, asked of a machine in this process, with the truths that must then hold."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from itertools import islice
from xml.etree import ElementTree

import numpy as np

from calls import call
from pagebook.checks.looks import check
from pagebook.checks.registry import RULES, choose
from pagebook.cli import shown
from pagebook.diff import compare
from pagebook.explain import explain, regime_of
from pagebook.faults import explain_fault
from pagebook.guests.roots import find_roots
from pagebook.ledger import Ledger
from pagebook.machine import Machine, Space
from pagebook.mmu import Extensions, Kind, Mmu
from pagebook.printed import Printed
from pagebook.rows import Rows, answer
from pagebook.scan import scan
from pagebook.sv import Format
from pagebook.views import access, changes, data, facts, findings, frames, notebook, text
from pagebook.views import roots as views_roots
from pagebook.views.report.found import MOST_BYTES, About, Found
from pagebook.views.report.page import page

Question = tuple[str, Callable[[], object]]
MOST_SPACES = 3
MOST_SAMPLED = 1 << 18
MOST_LINES = 100
MOST_SHOWN = 1_500_000  # letters of a notebook's cell: frames of which each is other than the next
WHOLE = 0.1  # of the answers are made to their last line, and as JSON; of the others some lines only, for time
REPORTED = 0.05  # of the machines: a report holds all other answers, and takes as long as they together


class Untrue(Exception):
    """An answer that cannot be right."""


def of_machine(machine: Machine, rng: random.Random) -> Iterator[Question]:
    """Every question, with chance for the addresses."""
    for space in machine.spaces[:MOST_SPACES]:
        yield "maps", lambda space=space: _maps(machine, space, rng)
        yield "sampled", lambda space=space: _sampled(space, rng)
        yield "tree", lambda space=space: _tree(machine, space, rng)
        yield "walk", lambda space=space: _walk(machine, space, rng)
        yield "access", lambda space=space: _access(machine, space, rng)
        yield "translate", lambda space=space: _translate(machine, space, rng)
    yield "owners", lambda: _owners(machine, None, rng)
    if machine.memory.regions:
        base = machine.memory.regions[0].base
        yield "owner", lambda: _owners(machine, (base, base + 1), rng)
    yield "shown", lambda: _shown(machine, rng)
    yield "diff", lambda: _diff(machine, rng)
    yield "check", lambda: _check(machine, rng)
    yield "roots", lambda: _roots(machine)
    if rng.random() < REPORTED:
        yield "report", lambda: _report(machine, rng)
    cause, stval = rng.choice((0, 2, 5, 7, 12, 13, 15, (1 << 63) | 5, 99)), _address(rng, None)
    yield "fault", lambda: _fault(machine, cause, stval, _address(rng, None))


def _said(lines: Iterator[list[tuple[str, str]]], most: int | None = None) -> None:
    for line in islice(lines, most):
        for part, _ in line:
            shown(part)


def _json(document: object) -> None:
    json.loads(json.dumps(document))


def _address(rng: random.Random, fmt: Format | None) -> int:
    va = rng.choice(
        (0, 0x1000, 1 << 38, (1 << 64) - 1, rng.getrandbits(64), rng.getrandbits(39), 4096 * rng.getrandbits(20))
    )
    return fmt.canonical(va) if fmt else va


def _maps(machine: Machine, space: Space, rng: random.Random) -> None:
    listed = facts.listing(space, facts.Filter(), single=rng.random() < 0.3)
    whole = rng.random() < WHOLE
    _said(text.maps(listed), None if whole else MOST_LINES)
    if whole:
        _json(data.maps(machine, [listed]))


def _sampled(space: Space, rng: random.Random) -> None:
    """Some of what is listed, walked again."""
    found = scan(space.table, MOST_SAMPLED).mappings
    for row in [rng.randrange(len(found)) for _ in range(4 if len(found) else 0)]:
        one = found[row : row + 1]
        va, pa, size = (int(one[name][0]) for name in ("va", "pa", "size"))
        if pa & size - 1:  # a superpage that no walk can use is told as a problem, too
            continue
        inside = rng.randrange(size)
        again = space.table.translate(va + inside)
        if again != pa + inside:
            raise Untrue(f"{va + inside:#x} is listed as {pa + inside:#x} and translated to {again}")


def _shown(machine: Machine, rng: random.Random) -> None:
    """What a notebook shows is whole and small."""
    things: list[Callable[[], object]] = [lambda: machine, lambda: Ledger(machine), lambda: machine.spaces]
    things += [lambda: check(machine, RULES), lambda: frames.owners(Ledger(machine), None)]
    if machine.spaces:
        space = rng.choice(machine.spaces)
        things += [lambda: space, lambda: facts.walk(space, _address(rng, space.table.format)), space.maps]
    thing = rng.choice(things)()
    html = notebook.html(thing)
    if len(html) > MOST_SHOWN or not repr(thing).isprintable():
        raise Untrue(f"a notebook shows {len(html)} letters of a {type(thing).__name__}")
    ElementTree.fromstring(html.replace(notebook.STYLE, ""))


def _tree(machine: Machine, space: Space, rng: random.Random) -> None:
    style = rng.choice((text.tree, text.vmprint, text.vmprint_va))
    rows = facts.nodes(space, fold=style is text.tree, depth=rng.choice((None, None, 1, 2, 5)))
    if rng.random() < WHOLE:
        _json(data.tree(machine, space, rows))
    else:
        _said(style(space, rows), None if rng.random() < WHOLE else MOST_LINES)


def _walk(machine: Machine, space: Space, rng: random.Random) -> None:
    for _ in range(2):
        found = facts.walk(space, _address(rng, space.table.format))
        _said(text.walk(found))
        _json(data.walk(machine, found))


def _access(machine: Machine, space: Space, rng: random.Random) -> None:
    extensions = Extensions(*(rng.random() < 0.5 for _ in range(4)))
    for _ in range(2):
        regime = regime_of(space, rng.choice(("U", "S", None)), rng.random() < 0.5, rng.random() < 0.5)
        kind = rng.choice(list(Kind))
        size = rng.choice((1, 4, 8)) if kind is not Kind.AMO else rng.choice((4, 8))
        va = _address(rng, space.table.format) & (1 << space.table.format.xlen) - 1
        found = explain(Mmu(machine.memory, extensions), space, regime, kind, va, size)
        _said(access.access(found))
        _json(data.access(machine, found))


def _translate(machine: Machine, space: Space, rng: random.Random) -> None:
    fmt = space.table.format
    count, regime = 8, regime_of(space)
    vas = [_address(rng, fmt) & (1 << fmt.xlen) - 1 for _ in range(count)]
    flags = np.zeros(count, dtype=np.bool_)
    rows = Rows(
        np.full(count, regime.satp, np.uint64), np.array(vas, np.uint64), np.ones(count, np.uint8), flags, flags,
        np.zeros(count, np.uint8), np.ones(count, np.uint64),
    )  # fmt: skip
    found = answer(machine.memory, Extensions(), rows, fmt.xlen)
    for va, status, pa in zip(vas, found.status.tolist(), found.pa.tolist(), strict=True):
        one = Mmu(machine.memory, Extensions()).access(regime._replace(priv="S"), Kind.LOAD, va, 1)
        if (one.cause is None) != (status == 0) or (not status and one.pa != pa):
            raise Untrue(f"{va:#x}: {one} by one, status {status} and {pa:#x} among many")


def _owners(machine: Machine, asked: tuple[int, int] | None, rng: random.Random) -> None:
    found = frames.owners(Ledger(machine), asked)
    if rng.random() < WHOLE:
        _json(frames.data(found))
    else:
        _said(frames.text(found), MOST_LINES)
    total = sum(region.size >> 12 for region in machine.memory.regions)
    if sum(found.ledger.counts().values()) != total:
        raise Untrue(f"the roles count {found.ledger.counts()} frames of {total}")


def _diff(machine: Machine, rng: random.Random) -> None:
    ledger = Ledger(machine)
    if compare(ledger, Ledger(machine)):
        raise Untrue("a machine differs from itself")
    found = compare(ledger, Ledger(Machine("none", machine.memory, machine.spaces[1:])))
    if rng.random() < WHOLE:
        _json(changes.data(found))
    else:
        _said(changes.text(found), MOST_LINES)


def _check(machine: Machine, rng: random.Random) -> None:
    report = check(machine, RULES)
    _said(findings.text(report), None if rng.random() < WHOLE else MOST_LINES)
    if rng.random() < WHOLE:
        _json(findings.data(report))
        _json(findings.sarif(report))


def _roots(machine: Machine) -> None:
    found = find_roots(machine.memory, None, None, machine.harts)
    _said(views_roots.text("it", found, 20))
    _json(views_roots.data("it", found, 20))


def _report(machine: Machine, rng: random.Random) -> None:
    walks = tuple(
        explain(Mmu(machine.memory), one, regime_of(one), Kind.LOAD, _address(rng, one.table.format))
        for one in machine.spaces[:MOST_SPACES]
    )
    about = About("it", "pagebook report", datetime.now(UTC), "by chance")
    made = page(Found(about, Ledger(machine), check(machine, choose()), walks), lambda _: None)
    if len(made.encode()) > MOST_BYTES:
        raise Untrue(f"a report of {len(made.encode())} bytes, more than {MOST_BYTES}")
    if not made.endswith("</html>\n") or "<script" in made:
        raise Untrue("a report that ends too early, or runs something")


def _fault(machine: Machine, cause: int, stval: int, sepc: int) -> None:
    found = explain_fault(machine, Mmu(machine.memory, Extensions()), Printed(cause, stval, sepc))
    _said(access.fault(found))
    _json(data.fault(machine, found))


def of_command_line(words: list[str], rng: random.Random) -> Iterator[Question]:
    """Verbs as a user types them."""
    address, other = hex(_address(rng, None)), rng.choice(("kernel", "hart 0", "sh", "1"))
    verbs = (
        ["maps", *words], ["maps", *words, "--pages", "--json"], ["tree", *words, "--space", other],
        ["walk", address, *words], ["walk", address, *words, "--access", "store", "--json"], ["owners", *words],
        ["owners", "0x80000000", *words, "--json"], ["check", *words, "--json"], ["check", *words, "--format", "sarif"],
        ["check", *words], ["diff", words[0], *words], ["translate", address, "0", "--target", *words],
        ["roots", words[0], "--json"], ["report", *words, "--walk", address, "-o", "-"],
        ["fault", *words, "--scause", "13", "--stval", address, "--sepc", "0x80000000"],
    )  # fmt: skip
    for verb in rng.sample(verbs, 3):
        yield "cli " + verb[0], lambda verb=verb: _call(verb)


def _call(words: list[str]) -> None:
    found = call(words)
    if "Traceback" in found.out + found.err or found.status not in (0, 1, 2):
        raise Untrue(f"{words}: {found}")
    if found.status == 2 and not found.err:
        raise Untrue(f"{words}: refused without a word")
    if "--json" in words and found.out:
        json.loads(found.out)
