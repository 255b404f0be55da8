"""The answers as lines of text, each whole and greppable on its own.

A line is a list of spans, (text, style); the styles are names that a terminal may give colours to and a pipe drops.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from pagebook.ledger import Ledger, Role
from pagebook.machine import Machine, Space
from pagebook.sv import FLAG_LETTERS, Format, flags_text
from pagebook.table import Entry
from pagebook.units import PAGE_SHIFT, size_text
from pagebook.views.facts import FIRST_FREE, Listing, Node, Run, Walk, leaf

Span = tuple[str, str]
Line = list[Span]
RIGHTS = "rwxugad"
ALIKE = 6  # runs, of which a terminal shows two
_NUMBERS = re.compile(r"[0-9]+")


def maps(listed: Listing, fold: bool = False) -> Iterator[Line]:
    """A heading, a line for each run, and a line for each PTE that no walk can use.

    With ``fold``, of many runs that are alike and equally far apart the first and the last have a line, and one between
    counts the others.
    """
    table, rows = listed.space.table, listed.run_rows
    yield [
        (listed.space.name, "title"),
        (f": {table.format.name}, root ", ""),
        (f"{table.root:#x}", "address"),
        (f", {count_text(listed.mappings, 'page')} mapped, {count_text(len(rows), 'run')} shown", ""),
    ]
    ends = [min(int(row["va"]) + int(row["size"]), (1 << table.format.xlen) - 1) for row in rows[-1:]]
    width = len(f"{max(ends, default=0):x}")
    pa_width = len(f"{rows['pa'].max(initial=0):x}")
    for run in _folded(listed.runs()) if fold else listed.runs():
        yield [(f"  {run}", "dim")] if isinstance(run, str) else _run(run, width, pa_width)
    for problem in listed.problems():
        yield [
            (f"  {problem.va:#x}", "address"),
            (f" {problem.kind}: level-{problem.level} PTE {problem.pte:#x} at {problem.pte_pa:#x}", "bad"),
        ]


def _run(run: Run, width: int, pa_width: int) -> Line:
    return [
        (f"  0x{run.va:0{width}x}-0x{run.va + run.size:0{width}x}", "address"),
        (" -> ", "dim"),
        (f"0x{run.pa:0{pa_width}x}", "address"),
        (f"{size_text(run.size):>8}", ""),
        (f"  {flags_text(run.flags, RIGHTS)}", "rights"),
        (f"  level {run.level}" if run.level else "", ""),
        (f"  {run.name}" if run.name else "", ""),
    ]


def _folded(runs: Iterator[Run]) -> Iterator[Run | str]:
    """The runs, with words in the place of those between the first and the last where `ALIKE` or more are alike."""
    group: list[Run] = []  # at most so many: of more, the first ones and the latest
    count = 0
    for run in runs:
        if group and not _goes_on(group, run):
            yield from _told(group, count)
            group, count = [], 0
        if count < ALIKE:
            group.append(run)
        else:
            group[-1] = run
        count += 1
    yield from _told(group, count)


def _goes_on(group: list[Run], run: Run) -> bool:
    """Whether a run is like those of the group, and as far from the last as they are from each other."""
    if len(group) > 1 and run.va - group[-1].va != group[1].va - group[0].va:
        return False
    return _kind(run) == _kind(group[0])


def _told(group: list[Run], count: int) -> list[Run | str]:
    if count < ALIKE:
        return list(group)
    apart = size_text(group[1].va - group[0].va)
    return [group[0], f"... {count - 2} more, {apart} apart (--all lists them)", group[-1]]


def _kind(run: Run) -> tuple[int, int, int, str]:
    """What runs that are alike have in common: all but where they are, and the numbers in their names."""
    return run.size, run.flags, run.level, _NUMBERS.sub("", run.name)


def count_text(number: int, what: str) -> str:
    """``1 page``, ``2 pages``."""
    return f"{number} {what}{'s' * (number != 1)}"


def tree(space: Space, rows: Iterator[Node]) -> Iterator[Line]:
    """The tables, a line for each pointer and for each run of leaves, indented by level."""
    fmt = space.table.format
    yield [(space.name, "title"), (f": {fmt.name}, root table ", ""), (f"{space.table.root:#x}", "address")]
    for node in rows:
        index = f"{node.index}" if node.count == 1 else f"{node.index}-{node.index + node.count - 1}"
        yield [
            ("  " * node.depth, ""),
            (f"[{index}]", "dim"),
            (f" {node.va:#x}", "address"),
            (f" PTE {node.pte:#x} at {node.pte_pa:#x}", ""),
            *_what(node, fmt),
            (f" {node.problem}" if node.problem else "", "bad"),
        ]


def _what(node: Node, fmt: Format) -> Line:
    if node.is_table:
        return [(" -> table ", ""), (f"{node.pa:#x}", "address")]
    size = size_text(node.count * fmt.page_bytes(node.level))
    return [
        (" -> ", "dim"),
        (f"{node.pa:#x}", "address"),
        (f" {size}", ""),
        (f" {flags_text(node.pte, RIGHTS)}", "rights"),
    ]


def vmprint(space: Space, rows: Iterator[Node]) -> Iterator[Line]:
    """What the page-table lab's vmprint printed until 2023: indices, the PTE, and the physical address in it."""
    return _vmprint(space, ((node, f"{node.index}") for node in rows))


def vmprint_va(space: Space, rows: Iterator[Node]) -> Iterator[Line]:
    """What the lab's vmprint has printed since 2024: virtual addresses in the place of indices."""
    return _vmprint(space, ((node, f"{node.va:#018x}") for node in rows))


def _vmprint(space: Space, rows: Iterator[tuple[Node, str]]) -> Iterator[Line]:
    yield [(f"page table {space.table.root:#018x}", "")]
    for node, where in rows:
        pa = space.table.format.pte_pa(node.pte)
        yield [(f"{' ..' * node.depth}{where}: pte {node.pte:#018x} pa {pa:#018x}", "")]


def walk(found: Walk) -> Iterator[Line]:
    """The address in its parts, then a line for each PTE that was read, then the verdict."""
    fmt, table = found.space.table.format, found.space.table
    yield [
        ("walk", "title"),
        (f" {found.va:#x} in {found.space.name}: {fmt.name}, root ", ""),
        (f"{table.root:#x}", "address"),
    ]
    yield from steps(fmt, found.va, found.entries)
    yield [(f"  {found.verdict}", "" if found.pa is not None else "bad")]


def steps(fmt: Format, va: int, entries: Sequence[Entry], decided: str = "") -> Iterator[Line]:
    """``va`` in its parts, then a line for each PTE that its walk read; ``decided`` is a mark on the last one."""
    indices, offset = fmt.split_va(va)
    bits = " ".join(f"{index:0{fmt.index_bits}b}" for index in indices)
    numbers = " ".join(f"{index:>{fmt.index_bits}}" for index in indices)
    yield [("  va    ", ""), (bits, "address"), (f" {offset:0{PAGE_SHIFT}b}", "dim")]
    yield [("  index ", ""), (numbers, "address"), (f" {f'offset {offset:#x}':>{PAGE_SHIFT}}", "dim")]
    width = max((len(f"{entry.pte:#x}") for entry in entries), default=0)
    for entry in entries:
        yield [
            (f"  level {entry.level}: index {fmt.index(va, entry.level):<{len(str(fmt.index_mask))}}", ""),
            (f" PTE {entry.pte:#0{width}x}", ""),
            (f" at {entry.pte_pa:#x}", "address"),
            (f"  {flags_text(entry.pte, FLAG_LETTERS)}", "rights"),
            (f" {_target(fmt, entry)}{extras(fmt, entry.pte)}", ""),
            (f"  <- {decided}" if decided and entry is entries[-1] else "", "bad"),
        ]


def _target(fmt: Format, entry: Entry) -> str:
    pa, _ = leaf(fmt, entry.pte, entry.level)
    return {"table": f"-> table {pa:#x}", "mapped": f"-> page {pa:#x}", "absent": "absent"}[entry.kind]


def extras(fmt: Format, pte: int) -> str:
    """The fields above the flags that are not zero."""
    fields = fmt.decode_pte(pte)
    return "".join(f" {name}={fields[name]}" for name in ("RSW", "reserved", "PBMT", "N") if fields.get(name))


def summary(machine: Machine) -> Iterator[Line]:
    """Frames by role, the address spaces, the free list."""
    counts = Ledger(machine).counts()
    total = sum(counts.values())
    yield [("frames", "title"), (f": {total} of RAM ({size_text(total << PAGE_SHIFT)}), each in one role", "")]
    for role in sorted(counts, key=lambda role: -counts[role]):
        if counts[role]:
            yield [(f"  {counts[role]:>8}", ""), (f"  {role.label}", "bad" if role is Role.UNKNOWN else "")]
    yield [("spaces", "title"), (f": {len(machine.spaces)}", "")]
    for space in machine.spaces:
        who = "" if space.pid is None else f"  pid {space.pid}, {space.size or 0:#x} bytes"
        yield [(f"  {space.name:<10}", ""), (f" root {space.table.root:#x}", "address"), (who, "")]
    yield from _free(machine)


def _free(machine: Machine) -> Iterator[Line]:
    for found in machine.free_lists():
        first = " ".join(f"{pa:#x}" for pa in found.frames[:FIRST_FREE].tolist())
        yield [
            ("free list", "title"),
            (f": {count_text(len(found.frames), 'frame')}", ""),
            (f"  {first}{' ...' if len(found.frames) > FIRST_FREE else ''}", "address"),
            (f"  {found.broken}" if found.broken else "", "bad"),
        ]
