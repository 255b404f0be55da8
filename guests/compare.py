"""One guest held against what it said: its mappings, its problems, its roots, its satp, and what the checks find."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import islice

from guests.qemu import Guest
from guests.said import Leaf, Problem, Said, Told
from pagebook.checks.looks import check
from pagebook.checks.registry import choose
from pagebook.guests import bare
from pagebook.guests.roots import find_roots
from pagebook.machine import Area, Machine, Pool, Space
from pagebook.scan import PROBLEM_KINDS, scan
from pagebook.source import Source
from pagebook.sv import Format

# What the kernel can do wrong, in the order of its numbers, and the rules that find it.
WRONG: dict[str, set[str]] = {
    "nothing": set(),
    "write-only": {"PB001"},
    "reserved-bits": {"PB002"},
    "misaligned": {"PB005"},
    "last-pointer": {"PB006"},
    "loop": {"PB007"},
    "shared-table": {"PB008"},
    "leaf-outside": {"PB009"},
    "table-outside": {"PB009"},
    "write-execute": {"PB011"},
    "user-in-kernel": {"PB012"},
    "text-writable": {"PB015"},
    "shared-writable": {"PB013"},
    "table-for-user": {"PB014"},
    "free-root": {"PB017"},
}
MOST_TOLD = 5  # differences of one kind


def differences(guest: Guest, fmt: Format) -> Iterator[str]:
    """Every way in which pagebook and the guest differ, a sentence each."""
    said = guest.said
    if not guest.counts_on():
        yield "the guest no longer runs"
    source = guest.qemu.look()
    yield from _hart(source, said, fmt)
    machine = machine_of(source, said, fmt)
    for space, told in zip(machine.spaces, said.spaces.values(), strict=True):
        yield from space_differences(space, told)
    yield from root_differences(machine, said, fmt)
    yield from check_differences(machine, said.wrong)


def check_differences(machine: Machine, wrong: str) -> Iterator[str]:
    """The checks find what was done wrong, by the rule it belongs to, and nothing else."""
    report = check(machine, choose(["ALL"]))
    for finding in report.findings:
        if finding.rule not in WRONG[wrong]:
            yield f"check: {finding.rule} is not what is wrong: {finding.message}"
    for rule in sorted(WRONG[wrong] - {finding.rule for finding in report.findings}):
        yield f"check: {rule} finds nothing"


def machine_of(source: Source, said: Said, fmt: Format) -> Machine:
    """The guest with a space for each root, by the names it gave them, its image, its devices and its free list."""
    roots = [(told.root, fmt.name.lower()) for told in said.spaces.values()]
    machine = bare.read(replace(source, memory=source.memory.with_devices(said.devices)), roots=roots)
    head, start, stop = said.free
    image, etext, end = said.image
    named = zip(said.spaces, machine.spaces, strict=True)
    return replace(
        machine,
        spaces=tuple(Space(name, space.table, pid=number or None) for number, (name, space) in enumerate(named)),
        symbols={"etext": etext},
        areas=(Area(image, end - image, "kernel image"),),
        pools=(Pool("free list", head),),
        free_range=(start, stop),
    )


def _hart(source: Source, said: Said, fmt: Format) -> Iterator[str]:
    """The satp that QEMU tells leads to the kernel's root."""
    (space,) = bare.read(source).spaces
    if (space.name, space.table.format, space.table.root) != ("hart 0", fmt, said.spaces["kernel"].root):
        yield f"satp leads to {space.table.format.name} at {space.table.root:#x}, not to the kernel's root"


def space_differences(space: Space, told: Told) -> Iterator[str]:
    """The listing is what the guest told and nothing else, but for what is mapped by way of a loop."""
    found = scan(space.table)
    columns = (found.mappings[name].tolist() for name in ("va", "pa", "size", "flags"))
    leaves = {Leaf(*row) for row in zip(*columns, strict=True) if not _looped(row[0], told)}
    yield from _missing(f"{space.name}: pagebook lacks", told.leaves - leaves)
    yield from _missing(f"{space.name}: the guest did not tell", leaves - told.leaves)
    problems = {
        Problem(int(row["va"]), int(row["pte_pa"]), int(row["pte"]), PROBLEM_KINDS[row["kind"]])
        for row in found.problems
        if not _looped(int(row["va"]), told)
    }
    yield from _missing(f"{space.name}: pagebook lacks", told.problems - problems)
    yield from _missing(f"{space.name}: the guest did not tell", problems - told.problems)
    for leaf in told.leaves - _odd(told):
        for offset in (0, leaf.size - 1):
            if space.table.translate(leaf.va + offset) != leaf.pa + offset:
                yield f"{space.name}: {leaf.va + offset:#x} does not translate to {leaf.pa + offset:#x}"


def _looped(va: int, told: Told) -> bool:
    return any(va in loop for loop in told.loops)


def _odd(told: Told) -> set[Leaf]:
    """Leaves that are listed but do not translate: misaligned superpages."""
    wrong = {problem.va for problem in told.problems}
    return {leaf for leaf in told.leaves if leaf.va in wrong}


def _missing(what: str, rows: set[Leaf] | set[Problem]) -> Iterator[str]:
    for row in islice(sorted(rows), MOST_TOLD):
        yield f"{what} {row._asdict()}"
    if len(rows) > MOST_TOLD:
        yield f"{what} {len(rows) - MOST_TOLD} more"


def root_differences(machine: Machine, said: Said, fmt: Format) -> Iterator[str]:
    """The search, told nothing, finds every root and nothing else; told the satp, the kernel's first."""
    found = {(candidate.root, candidate.format) for candidate in find_roots(machine.memory)}
    wanted = {(told.root, fmt) for told in said.spaces.values()}
    for root, name in sorted((root, other.name) for root, other in found ^ wanted):
        yield f"roots: {'lacks' if (root, fmt) in wanted else 'is wrong with'} {root:#x} in {name}"
    first = find_roots(machine.memory, fmt, harts=machine.harts)[:1]
    if [candidate.root for candidate in first] != [said.spaces["kernel"].root]:
        yield "roots: with its satp known, the kernel's root is not the first"
