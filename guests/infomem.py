"""QEMU's ``info mem`` and our listing of the same table, brought to one form and compared.

What QEMU 7.2 prints is not what the PTEs mean.  Each step here undoes one habit of it, and nothing else is forgiven:

- of a PTE with PBMT bits it takes one as part of the address (bit 61 shifted left by two): what is above the 56 bits of
  a physical address is dropped.  Bit 62, and N, fall out by themselves;
- of the sixteen PTEs of a 64 KiB page it prints the same address sixteen times, that of the middle, as the PTEs say it:
  sixteen such lines in a row are one page;
- it starts a new line at table boundaries and where the page size changes, though the mapping goes on: lines are
  joined;
- it starts a new line where A or D changes, as our list of runs does not: lines are compared with A and D, and once
  more joined over them.
"""

from __future__ import annotations

from typing import NamedTuple

from guests.pagemap import Agreement
from pagebook.scan import merge, scan
from pagebook.sv import A, D, U, parse_flags
from pagebook.table import AddressSpace
from pagebook.units import PAGE_SIZE

ADDRESS = (1 << 56) - 1
BLOCK, MIDDLE = 0x1_0000, 0x8000
SIXTEEN = BLOCK // PAGE_SIZE
MEGAPAGE = 2 << 20


class Run(NamedTuple):
    """Addresses that go on together, with the same rights; ``flags`` are R to D."""

    va: int
    pa: int
    size: int
    flags: int


def compare(text: str, table: AddressSpace, found: Agreement, what: str) -> None:
    """Hold what ``info mem`` printed of ``table`` against our scan of it, with and without A and D."""
    printed = [_line(line) for line in text.splitlines()[2:] if line.strip()]
    found.count(f"lines of info mem, {what}", len(printed))
    whole = _blocks([run._replace(pa=run.pa & ADDRESS) for run in printed])
    mappings = scan(table).mappings
    found.count(f"leaves, {what}", len(mappings))
    found.count(f"leaves of 64 KiB pages, {what}", int(mappings["napot"].sum()))
    found.count(f"leaves with PBMT, {what}", int((mappings["pbmt"] != 0).sum()))
    huge = (mappings["size"] == MEGAPAGE) & (mappings["flags"] & U != 0)
    found.count(f"leaves of 2 MiB pages, U, {what}", int(huge.sum()))
    for ignore, name in ((0, "runs with A and D"), (A | D, "runs as maps has them")):
        runs = merge(mappings, ignore)
        columns = [runs[column].tolist() for column in ("va", "pa", "size", "flags")]
        ours = _joined([Run(*row) for row in zip(*columns, strict=True)], ignore)
        theirs = _joined(whole, ignore)
        found.count(f"{name}, {what}", len(ours))
        for run in sorted(set(ours) ^ set(theirs)):
            who = "only ours" if run in set(ours) else "only info mem's"
            found.wrong.append(f"{what}: {who}: {run.va:#x} -> {run.pa:#x} {run.size:#x} flags {run.flags:#x}")


def _line(text: str) -> Run:
    va, pa, size, flags = text.split()
    return Run(int(va, 16), int(pa, 16), int(size, 16), parse_flags(flags))


def _blocks(runs: list[Run]) -> list[Run]:
    """The lines with each sixteen of a 64 KiB page as one."""
    found: list[Run] = []
    at = 0
    while at < len(runs):
        first = runs[at]
        expected = [first._replace(va=first.va + page * PAGE_SIZE) for page in range(SIXTEEN)]
        block = not first.va % BLOCK and first.pa % BLOCK == MIDDLE and first.size == PAGE_SIZE
        if block and runs[at : at + SIXTEEN] == expected:
            found.append(first._replace(pa=first.pa - MIDDLE, size=BLOCK))
            at += SIXTEEN
        else:
            found.append(first)
            at += 1
    return found


def _joined(runs: list[Run], ignore: int) -> list[Run]:
    """Neighbours in both addresses with the same rights as one; ``ignore``d flags are left out."""
    found: list[Run] = []
    for run in runs:
        run = run._replace(flags=run.flags & ~ignore & 0xFE)  # V is not printed: every line has it
        last = found[-1] if found else None
        if last and (last.va + last.size, last.pa + last.size, last.flags) == (run.va, run.pa, run.flags):
            found[-1] = last._replace(size=last.size + run.size)
        else:
            found.append(run)
    return found
