"""What the guest says of itself, line by line (guests/init.c describes the lines), held against what pagebook reads.

Two differences are known and are counted apart.  A page with PROT_NONE is present for Linux, and no walk may use it:
V is 0, and the PTE keeps the frame.  Of memory that is no RAM of Linux's (devices, the vdso's data) pagemap
says nothing, while the PTEs are there: those must lead where the guest said, or to the page the kernel has for it.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from pagebook.batch import translate
from pagebook.machine import Machine, Space
from pagebook.mmu import Extensions, Regime
from pagebook.scan import scan
from pagebook.sv import V
from pagebook.units import PAGE_SHIFT, PAGE_SIZE

U64 = np.uint64
Words = npt.NDArray[np.uint64]
PRESENT = 1 << 63
FRAME_BITS = (1 << 55) - 1
P4D = 3
TRANSPARENT = "a transparent huge page"
VVAR_SYMBOL = "vdso_data_store"


@dataclass
class Report:
    """Everything the guest printed: pages by process, ranges by name, tasks, symbols, frames of page tables."""

    pages: dict[str, list[tuple[int, int]]] = field(default_factory=dict)
    ranges: dict[str, list[tuple[int, int, str]]] = field(default_factory=dict)
    tasks: list[tuple[int, int, bool, str]] = field(default_factory=list)
    symbols: list[tuple[int, str]] = field(default_factory=list)
    tables: set[int] = field(default_factory=set)
    missing: list[str] = field(default_factory=list)

    def add(self, lines: list[str]) -> None:
        """Take in lines of the console; those that are none of ours are the firmware's and the kernel's."""
        for line in lines:
            kind, _, rest = line.partition(" ")
            words = rest.split()
            if kind == "page":
                va, entry, count = int(words[1], 16), int(words[2], 16), int(words[3])
                self.pages.setdefault(words[0], []).extend((va + PAGE_SIZE * page, entry) for page in range(count))
            elif kind == "range":
                row = int(words[1], 16), int(words[2], 16), " ".join(words[3:])
                self.ranges.setdefault(words[0], []).append(row)
            elif kind == "task":
                self.tasks.append((int(words[0]), int(words[1]), words[2] == "1", " ".join(words[3:])))
            elif kind == "symbol":
                self.symbols.append((int(words[0], 16), words[1]))
            elif kind == "pgtable":
                start, count = int(words[0], 16), int(words[1], 16)
                self.tables.update(range(start, start + count))
            elif kind == "missing":
                self.missing.append(rest)

    def named(self, who: str, va: int) -> str:
        """The name of the range of ``who`` that has ``va``."""
        return next((name for start, size, name in self.ranges[who] if start <= va < start + size), "")


@dataclass
class Agreement:
    """Counts of what was compared, and a sentence for each difference that is not known."""

    counts: dict[str, int] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)

    def count(self, what: str, number: int = 1) -> None:
        """Add to a count."""
        self.counts[what] = self.counts.get(what, 0) + number


def compare_pages(report: Report, who: str, machine: Machine, space: Space, found: Agreement) -> None:
    """Every page the guest printed of ``who``: scanned, walked one by one, and translated in one go."""
    rows = report.pages[who]
    vas = np.array([va for va, _ in rows], U64)
    scanned, walked, batched = _scanned(space, vas), _walked(space, vas), _batched(machine, space, vas)
    for row, (va, entry) in enumerate(rows):
        ours = {int(scanned[row]), int(walked[row]), int(batched[row])}
        if len(ours) != 1:
            found.wrong.append(f"{who} {va:#x}: our own ways differ: {sorted(map(hex, ours))}")
            continue
        _compare_page(report, who, machine, space, found, va, entry, ours.pop())


def _compare_page(
    report: Report, who: str, machine: Machine, space: Space, found: Agreement, va: int, entry: int, pa: int
) -> None:
    name = report.named(who, va)
    pfn = entry & FRAME_BITS if entry & PRESENT else 0
    pte = space.table.entry(va).pte
    if pfn << PAGE_SHIFT == pa:
        found.count("pages with a frame" if pa else "pages with none")
    elif name == "PROT_NONE" and not pa and not pte & V and space.table.format.pte_pa(pte) == pfn << PAGE_SHIFT:
        found.count("PROT_NONE pages, frame kept, V = 0")
    elif not entry and name.startswith("device ") and pa == int(name.split()[1], 16):
        found.count("device pages, not in pagemap")
    elif not entry and name == "[vvar]" and pa == _vvar(machine):
        found.count("vdso data pages, not in pagemap")
    else:
        found.wrong.append(f"{who} {va:#x} ({name}): pagemap {entry:#x}, ours {pa:#x}, PTE {pte:#x}")


def _vvar(machine: Machine) -> int | None:
    at = machine.symbols.get(VVAR_SYMBOL)
    return None if at is None else machine.space("kernel").table.translate(at)


def _scanned(space: Space, vas: Words) -> Words:
    """The physical address of each page by the listing of the whole table, 0 where none."""
    mappings = scan(space.table).mappings
    starts, sizes, pas = mappings["va"], mappings["size"], mappings["pa"]
    at = np.searchsorted(starts, vas, side="right") - 1
    offset = vas - starts[at]
    return np.where((at >= 0) & (offset < sizes[at]), pas[at] + offset, U64(0))


def _walked(space: Space, vas: Words) -> Words:
    return np.array([space.table.translate(va) or 0 for va in vas.tolist()], U64)


def _batched(machine: Machine, space: Space, vas: Words) -> Words:
    """By the MMU's rules for a load in U-mode, as the process itself would make it."""
    extensions = Extensions(svnapot=True, svpbmt=True)
    satp = space.table.format.satp(space.table.root)
    pas, _ = translate(
        machine.memory.with_devices([range(machine.memory.regions[0].base)]), extensions, Regime(satp, "U"), vas
    )
    return pas


def compare_tables(report: Report, machine: Machine, found: Agreement) -> None:
    """The frames that Linux calls page tables are those that our scans call so.

    Linux does not flag roots, nor, in this version, Sv57's second level (p4d), nor what it made before it had flags:
    these are counted apart, and of the last there may be some in the kernel's table only.
    """
    kernels = set(scan(machine.space("kernel").table).tables.tolist())
    ours, second = set[int](), set[int]()
    for space in machine.spaces:
        listing, top = scan(space.table), space.table.format.levels - 1
        ours.update(listing.tables.tolist())
        unflagged = listing.table_levels >= min(top, P4D)
        second.update(listing.tables[unflagged].tolist())
    theirs = {pfn << PAGE_SHIFT for pfn in report.tables}
    found.count("page tables, for Linux and for us", len(ours & theirs))
    found.count("page tables that are roots or p4d, which Linux does not flag", len(ours & second - theirs))
    for pa in sorted(ours - theirs - second - kernels):
        found.wrong.append(f"the table at {pa:#x} is none for Linux")
    spare = {pa for pa in theirs - ours if not machine.memory.page(pa).any()}
    if len(spare) != _reserves(report, machine):
        spare = set()
    found.count("empty page tables that Linux keeps for each transparent huge page", len(spare))
    for pa in sorted(theirs - ours - spare):
        found.wrong.append(f"frame {pa:#x} is a page table for Linux, and for us of nobody")


def _reserves(report: Report, machine: Machine) -> int:
    """How many transparent huge pages there are: for each, Linux puts a table aside, to be able to split it."""
    count = 0
    for who, ranges in report.ranges.items():
        mappings = scan(machine.space(who).table).mappings
        for start, size, name in ranges:
            inside = (mappings["va"] >= U64(start)) & (mappings["va"] < U64(start + size))
            if name == TRANSPARENT:
                count += int((inside & (mappings["level"] > 0)).sum())
    return count


def compare_names(report: Report, machine: Machine, found: Agreement) -> None:
    """Processes with memory, every task's kernel stack, and the sampled symbols."""
    theirs = {(pid, name) for pid, tgid, memory, name in report.tasks if memory}
    ours = {(space.pid, space.name) for space in machine.spaces if space.pid is not None}
    if theirs == ours:
        found.count("processes", len(ours))
    else:
        found.wrong.append(f"processes: Linux has {sorted(theirs)}, we have {sorted(ours)}")
    stacks = {area.name for area in machine.space("kernel").areas}
    for pid, _, _, name in report.tasks:
        if f"stack of process {pid}" in stacks:
            found.count("tasks")
        elif not name.startswith("kworker"):  # these come and go
            found.wrong.append(f"task {pid} ({name}) is not found")
    for va, name in report.symbols:
        at = machine.symbols.get(name, 1 << 64)
        if at == va:
            found.count("symbols")
        elif at > va:  # else it is one of several with the name, of which the first is told
            found.wrong.append(f"symbol {name}: Linux has {va:#x}, we have {at:#x}")
