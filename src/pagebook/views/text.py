"""The answers as lines of text, each whole and greppable on its own.

A line is a list of spans, (text, style); the styles are names that a terminal may give colours to and a pipe drops.
"""

from __future__ import annotations

from collections.abc import Iterator

from pagebook.ledger import Ledger, Role
from pagebook.machine import Machine, Space
from pagebook.scan import PROBLEM_KINDS, Scan
from pagebook.sv import FLAG_LETTERS, Format, flags_text
from pagebook.units import PAGE_SHIFT, size_text
from pagebook.views.facts import Node, Run, Walk

Span = tuple[str, str]
Line = list[Span]
RIGHTS = "rwxugad"


def plain(line: Line) -> str:
    """The line without its styles."""
    return "".join(text for text, _ in line)


def maps(space: Space, found: Scan, rows: list[Run]) -> Iterator[Line]:
    """A heading, a line for each run, and a line for each PTE that no walk can use."""
    count = len(found.mappings)
    yield [
        (space.name, "title"),
        (f": {space.table.format.name}, root ", ""),
        (f"{space.table.root:#x}", "address"),
        (f", {count} page{'s' * (count != 1)} mapped, {len(rows)} run{'s' * (len(rows) != 1)} shown", ""),
    ]
    width = max((len(f"{run.va + run.size:x}") for run in rows), default=0)
    pa_width = max((len(f"{run.pa:x}") for run in rows), default=0)
    for run in rows:
        yield [
            (f"  0x{run.va:0{width}x}-0x{run.va + run.size:0{width}x}", "address"),
            (" -> ", "dim"),
            (f"0x{run.pa:0{pa_width}x}", "address"),
            (f"{size_text(run.size):>9}", ""),
            (f"  {flags_text(run.flags, RIGHTS)}", "rights"),
            (f"  {'' if not run.level else f'level {run.level}  '}{run.name}", ""),
        ]
    for va, pte, pte_pa, level, kind in found.problems.tolist():
        yield [
            (f"  {va:#x}", "address"),
            (f" {PROBLEM_KINDS[kind]}: level-{level} PTE {pte:#x} at {pte_pa:#x}", "bad"),
        ]


def tree(space: Space, rows: Iterator[Node]) -> Iterator[Line]:
    """The tables, a line for each pointer and for each run of leaves, indented by level."""
    fmt = space.table.format
    yield [(space.name, "title"), (f": {fmt.name}, root table ", ""), (f"{space.table.root:#x}", "address")]
    for node in rows:
        index = f"{node.index}" if node.count == 1 else f"{node.index}-{node.index + node.count - 1}"
        yield [
            ("  " * node.depth, ""),
            (f"[{index}]", "dim"),
            (f" va {node.va:#x}", "address"),
            (f" PTE {node.pte:#x} at {node.pte_pa:#x}", ""),
            *_what(node, fmt),
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
    """What the page-table lab's vmprint prints: indices, the PTE, and the physical address in it."""
    yield [(f"page table {space.table.root:#018x}", "")]
    for node in rows:
        yield [(f"{' '.join(['..'] * node.depth)}{node.index}: pte {node.pte:#018x} pa {node.pa:#018x}", "")]


def vmprint_va(space: Space, rows: Iterator[Node]) -> Iterator[Line]:
    """What the lab's vmprint has printed since 2024: virtual addresses in the place of indices."""
    yield [(f"page table {space.table.root:#018x}", "")]
    for node in rows:
        yield [(f" {' '.join(['..'] * node.depth)}{node.va:#018x}: pte {node.pte:#018x} pa {node.pa:#018x}", "")]


def walk(found: Walk) -> Iterator[Line]:
    """The address in its parts, then a line for each PTE that was read, then the verdict."""
    fmt, table = found.space.table.format, found.space.table
    yield [
        ("walk", "title"),
        (f" {found.va:#x} in {found.space.name}: {fmt.name}, root ", ""),
        (f"{table.root:#x}", "address"),
    ]
    indices, offset = fmt.split_va(found.va)
    bits = " ".join(f"{index:0{fmt.index_bits}b}" for index in indices)
    yield [("  va ", ""), (bits, "address"), (f" {offset:0{PAGE_SHIFT}b}", "dim")]
    yield [("     = indices ", ""), (" ".join(map(str, indices)), "address"), (f", offset {offset:#x}", "dim")]
    for entry in found.entries:
        index = fmt.index(found.va, entry.level)
        yield [
            (f"  level {entry.level}: index {index:0{fmt.index_bits}b} = {index:<{len(str(fmt.entries))}}", ""),
            (f" PTE at {entry.pte_pa:#x}", "address"),
            (f" = 0x{entry.pte:0{fmt.pte_bytes * 2}x}", ""),
            (f"  {flags_text(entry.pte, FLAG_LETTERS)}", "rights"),
            (f" {_target(entry.kind, fmt.pte_pa(entry.pte))}{_extras(fmt, entry.pte)}", ""),
        ]
    yield [(f"  {found.verdict}", "" if found.pa is not None else "bad")]


def _target(kind: str, pa: int) -> str:
    return {"table": f"-> table {pa:#x}", "mapped": f"-> page {pa:#x}", "absent": "absent"}[kind]


def _extras(fmt: Format, pte: int) -> str:
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
    frames = machine.free_list()
    if frames is not None:
        listed = frames.frames()
        first = " ".join(f"{pa:#x}" for pa in listed[:6].tolist())
        yield [
            ("free list", "title"),
            (f": {len(listed)} frames", ""),
            (f"  {first}{' ...' if len(listed) > 6 else ''}", "address"),
        ]
