"""The comparisons of `make guests`: what agrees is counted, each known difference is known, and nothing else passes."""

from __future__ import annotations

import pytest

from guests import infomem
from guests.pagemap import Agreement, Report, compare_names, compare_pages, compare_tables
from linuxes import BASE, IMAGE, KERNEL, PAGE, FakeLinux
from pagebook.guests import linux
from pagebook.machine import Machine
from pagebook.pagetable import PageTable
from pagebook.scan import scan
from pagebook.source import Source
from pagebook.sv import SV39, A, D, R, U, W

PRESENT = 1 << 63
FRAME = BASE + IMAGE


def machine_and_table() -> tuple[FakeLinux, Machine, PageTable]:
    world = FakeLinux()
    world.symbols["vdso_data_store"] = KERNEL + 0x3000
    _, table = world.process(1, "init")
    assert table is not None
    table.map(0x10_0000, 4 * PAGE, FRAME, R | W | U | A | D)
    return world, linux.read(Source("a guest", world.finish())), table


def pages(report: str) -> Agreement:
    """What comes of these lines for a process with four pages at 0x100000, and some at 0x10000."""
    _, machine, table = machine_and_table()
    pte_pa, pte, _ = table.find(0x10_1000)
    machine.memory.write64(pte_pa, pte & ~1)  # as Linux does for PROT_NONE
    pte_pa, pte, _ = table.find(0x10_2000)
    machine.memory.write64(pte_pa, SV39.pte(BASE + 0x3000, 0x5B))
    found, said = Agreement(), Report()
    said.add(report.splitlines())
    compare_pages(said, "init", machine, machine.space("init"), found)
    return found


RANGES = (
    "range init 100000 1000 anonymous\nrange init 101000 1000 PROT_NONE\nrange init 102000 1000 [vvar]\n"
    "range init 103000 1000 device 80203000\nrange init 104000 3000 never touched\n"
)


def test_what_agrees_and_what_is_known_is_counted():
    found = pages(
        RANGES + f"page init 100000 {PRESENT | FRAME >> 12:x} 1\npage init 101000 {PRESENT | (FRAME >> 12) + 1:x} 1\n"
        "page init 102000 0 1\npage init 103000 0 1\npage init 104000 0 3\nOpenSBI says hello\n"
    )
    assert found.wrong == []
    assert found.counts == {
        "pages with a frame": 1, "PROT_NONE pages, frame kept, V = 0": 1, "vdso data pages, not in pagemap": 1,
        "device pages, not in pagemap": 1, "pages with none": 3,
    }  # fmt: skip


@pytest.mark.parametrize(
    "line",
    [
        f"page init 100000 {PRESENT | (FRAME >> 12) + 1:x} 1",
        "page init 100000 0 1",
        f"page init 101000 {PRESENT | FRAME >> 12:x} 1",
        f"page init 102000 {PRESENT | FRAME >> 12:x} 1",
        f"page init 103000 {PRESENT | FRAME >> 12:x} 1",
        f"page init 104000 {PRESENT | FRAME >> 12:x} 1",
    ],
)
def test_a_page_that_is_somewhere_else_for_the_guest_is_a_difference(line: str):
    found = pages(RANGES + line)
    assert len(found.wrong) == 1
    assert found.counts == {}


def test_processes_tasks_and_symbols_that_are_not_found_are_differences():
    world, machine, _ = machine_and_table()
    said = Report()
    lines = ["task 0 0 0 swapper/0", "task 1 1 1 init", f"symbol {world.symbols['init_task']:x} init_task"]
    said.add([*lines, "task 9 9 0 kworker/0:1"])
    found = Agreement()
    compare_names(said, machine, found)
    assert (found.wrong, found.counts) == ([], {"processes": 1, "tasks": 2, "symbols": 1})
    said.add(["task 2 2 1 sh", f"symbol {world.symbols['init_task'] - 8:x} init_task", "symbol 1 nothing"])
    found = Agreement()
    compare_names(said, machine, found)
    assert len(found.wrong) == 4


def test_a_page_table_that_only_one_of_both_knows_is_a_difference():
    _, machine, table = machine_and_table()
    below = [pa for pa in scan(table).tables.tolist() if pa != table.root]
    said = Report()
    said.add([f"pgtable {pa >> 12:x} 1" for pa in below])
    found = Agreement()
    compare_tables(said, machine, found)
    assert found.wrong == []
    said.tables.add(FRAME >> 12)
    said.tables -= {pa >> 12 for pa in below if pa not in scan(machine.space("kernel").table).tables}
    compare_tables(said, machine, found)
    assert len(found.wrong) == 3


def test_a_table_that_linux_keeps_for_a_transparent_huge_page_is_known_as_long_as_it_is_empty():
    _, machine, table = machine_and_table()
    table.map(0x40_0000, 2 << 20, BASE + IMAGE, R | W | U | A | D, level=1)
    said = Report()
    said.add([f"pgtable {pa >> 12:x} 1" for pa in [*scan(table).tables.tolist(), FRAME]])
    said.add(["range init 400000 200000 a transparent huge page"])
    found = Agreement()
    compare_tables(said, machine, found)
    assert found.wrong == []
    machine.memory.write64(FRAME + 8, 1)
    compare_tables(said, machine, found)
    assert found.wrong == [f"frame {FRAME:#x} is a page table for Linux, and for us of nobody"]
    machine.memory.write64(FRAME + 8, 0)
    said.add([f"pgtable {FRAME + PAGE >> 12:x} 1"])
    compare_tables(said, machine, found)
    assert len(found.wrong) == 3


HEAD = "vaddr            paddr            size             attr\n---------------- ----\n"


def small_table() -> PageTable:
    """A page, then a 64 KiB page, a page with PBMT, and two that go on in both addresses, only one with D."""
    world = FakeLinux()
    table = PageTable.create(world.memory, world.frames, SV39)
    table.map(0x1_0000, 16 * PAGE, 0x9000_0000, R | W | U | A)
    table.map(0x3_0000, PAGE, 0x1000_0000, R | W | A | D)
    table.map(0x4_0000, PAGE, 0x9100_0000, R | W | A | D)
    table.map(0x4_1000, PAGE, 0x9100_1000, R | W | A)
    for page in range(16):
        pte_pa, pte, _ = table.find(0x1_0000 + page * PAGE)
        world.memory.write64(pte_pa, 1 << 63 | SV39.pte(0x9000_8000, pte & 0xFF))
    pte_pa, pte, _ = table.find(0x3_0000)
    world.memory.write64(pte_pa, pte | 1 << 61)
    return table


LINES = [
    *(f"{0x1_0000 + page * PAGE:016x} 0000000090008000 0000000000001000 rw-u-a-" for page in range(16)),
    "0000000000030000 8000000010000000 0000000000001000 rw---ad",
    "0000000000040000 0000000091000000 0000000000001000 rw---ad",
    "0000000000041000 0000000091001000 0000000000001000 rw---a-",
]


def compared(lines: list[str]) -> Agreement:
    found = Agreement()
    infomem.compare(HEAD + "\r\n".join(lines) + "\r\n", small_table(), found, "it")
    return found


def test_the_habits_of_info_mem_are_undone():
    found = compared(LINES)
    assert found.wrong == []
    assert found.counts["runs with A and D, it"] == 4
    assert found.counts["runs as maps has them, it"] == 3
    assert found.counts["leaves of 64 KiB pages, it"] == 16


@pytest.mark.parametrize("row", range(len(LINES)))
@pytest.mark.parametrize(("old", "new"), [("00001000 r", "00002000 r"), (" rw", " r-"), ("-a", "--"), ("", "gone")])
def test_any_other_difference_is_one(row: int, old: str, new: str):
    lines = list(LINES)
    lines[row] = lines[row].replace(old, new, 1) if old else ""
    assert compared(lines).wrong
