"""Machines made to break a linter: it ends soon, in little memory, without a traceback, and says what it can."""

from __future__ import annotations

import random
import time
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from seeds import PAGE, bare, bare_world, forked, named

from pagebook.checks.evidence import Evidence, FrameNumbers
from pagebook.checks.looks import check
from pagebook.checks.registry import RULES
from pagebook.machine import Area, Counts, Hart, Machine, Pool, Space
from pagebook.memory import Memory, Region
from pagebook.sv import SV32, SV39, SV48, SV57, R, V
from pagebook.table import AddressSpace
from pagebook.xv6.boot import boot, machine
from pagebook.xv6.memlayout import KERNBASE

TOP = 1 << 64
MOST_SECONDS = 5
MOST_BYTES = 700 << 20


def ids(m: Machine) -> set[str]:
    return {finding.rule for finding in check(m, RULES).findings}


@pytest.mark.parametrize("fmt", [SV32, SV39, SV48, SV57], ids=lambda fmt: fmt.name)
def test_a_root_whose_every_entry_leads_back_to_it(fmt) -> None:
    memory = Memory.anonymous(4 * PAGE)
    pointer = (KERNBASE >> 12) << 10 | V
    memory.write(KERNBASE, pointer.to_bytes(fmt.pte_bytes, "little") * fmt.entries)
    m = Machine("m", memory, (Space("s", AddressSpace(memory, KERNBASE, fmt)),))
    started = time.process_time()
    found = ids(m)
    assert time.process_time() - started < MOST_SECONDS
    assert "PB007" in found
    assert "PB006" not in found


@pytest.mark.parametrize("level", [0, 1, 2])
def test_a_table_of_a_process_that_leads_back_to_its_root_on_every_entry_but_what_it_had(level: int) -> None:
    k = forked()
    sh = named(k, "sh")
    root = table = sh.pagetable
    for _ in range(2 - level):
        table = SV39.pte_pa(k.memory.read64(table))
    for index in range(512):
        if not k.memory.read64(table + 8 * index) & V:
            k.memory.write64(table + 8 * index, SV39.pte(root, V))
    found = ids(machine(k)) - {"PB016"}
    assert found & {"PB007", "PB006"}


@settings(max_examples=60)
@given(st.integers(0, 1 << 32), st.sampled_from([SV32, SV39, SV48, SV57]), st.sampled_from(["xv6", "linux", ""]))
def test_random_bytes_as_ram(seed: int, fmt, guest: str) -> None:
    dice = random.Random(seed)
    pages = dice.choice([1, 3, 40])
    words = np.frombuffer(dice.randbytes(pages * PAGE), "<u8").copy()
    # PTEs that lead into this memory, and words that are addresses in it, among the noise.
    inside = np.random.default_rng(seed).integers(0, pages, len(words), dtype=np.uint64)
    flags = words & np.uint64(0x3FF)
    chosen = words >> np.uint64(62)
    words[chosen == 1] = ((inside + np.uint64(KERNBASE >> 12) << np.uint64(10)) | flags | np.uint64(1))[chosen == 1]
    words[chosen == 2] = (inside << np.uint64(12))[chosen == 2] + np.uint64(KERNBASE)
    memory = Memory([Region(KERNBASE, words.tobytes())], [range(0x1000, 0x2000)])
    spaces = tuple(
        Space(
            f"s{number}", AddressSpace(memory, KERNBASE + dice.randrange(pages) * PAGE, fmt),
            tuple(
                Area(dice.choice([0, dice.randrange(TOP), TOP - 1, KERNBASE]), dice.choice([0, 1, PAGE, TOP - 1]), name)
                for name in ("stack of process 1", "trapframe", "trampoline", "guard page", "text", "data")
            ),
            pid=dice.choice([None, 1, number]), size=dice.choice([None, 0, 5, TOP - 1, dice.randrange(TOP)]),
            state=dice.choice([None, "unused", "sleep", "run", "zombie"]),
        )
        for number in range(dice.randrange(4))
    )  # fmt: skip
    end = KERNBASE + pages * PAGE
    heads = [0, 7, KERNBASE, end - PAGE, dice.randrange(TOP)]
    pools = tuple(Pool("p", dice.choice(heads), size) for size in (PAGE, 2 << 20, 1 << 30))
    image = Area(dice.choice([0, KERNBASE]), dice.choice([0, PAGE, TOP - 1]), "kernel image")
    counts = Counts("c", KERNBASE, dice.choice([1, 2, 4, 8]), pages, dice.choice([0, KERNBASE, TOP - 1]))
    m = Machine(
        "noise", memory, spaces,
        harts=tuple(Hart(n, dice.choice([None, 0, dice.randrange(TOP)]), None, (dice.randrange(TOP),)) for n in (0, 1)),
        symbols={"etext": dice.choice([0, KERNBASE + 5, TOP - 1]), "trampoline": dice.randrange(TOP), "_stext": 5,
                 "_etext": TOP - 1},
        areas=(image, Area(KERNBASE, 3, "disk queue")),
        pools=dice.choice([None, (), pools]),
        free_range=dice.choice([None, (KERNBASE, end), (KERNBASE + 1, end - 1)]),
        counts=dice.choice([None, counts]),
        guest=guest,
    )  # fmt: skip
    started = time.process_time()
    for finding in check(m, RULES).findings:
        assert finding.message and finding.size >= 0
    assert time.process_time() - started < MOST_SECONDS


def test_a_machine_whose_every_frame_is_a_table_full_of_pointers_costs_bounded_memory() -> None:
    """Thirty-two MiB of it: a scan would list 512 to the fourth."""
    pages = 1 << 13
    frames = np.arange(pages, dtype=np.uint64) + np.uint64(KERNBASE >> 12)
    rows = frames[np.random.default_rng(1).integers(0, pages, (pages, 512))] << np.uint64(10) | np.uint64(V)
    memory = Memory([Region(KERNBASE, rows.tobytes())])
    m = Machine("full", memory, (Space("s", AddressSpace(memory, KERNBASE, SV48)),), guest="xv6", pools=())
    tracemalloc.start()
    started = time.process_time()
    found = ids(m)
    spent, (_, peak) = time.process_time() - started, tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert "PB019" in found
    assert spent < MOST_SECONDS
    assert peak < MOST_BYTES


def test_the_usual_machine_is_checked_in_well_under_a_tenth_of_a_second() -> None:
    m = machine(boot())
    times = []
    for _ in range(7):
        started = time.process_time()
        assert check(m, [rule for rule in RULES if rule.default]).findings == ()
        times.append(time.process_time() - started)
    assert min(times) < 0.1


@given(st.lists(st.integers(0, 40), min_size=1, max_size=6))
def test_frames_of_several_regions_have_numbers_that_lead_back(gaps: list[int]) -> None:
    regions, base = [], 0x1000_0000
    for gap in gaps:
        base += gap * PAGE
        regions.append(Region(base, bytes(2 * PAGE)))
        base += 2 * PAGE
    numbers = FrameNumbers(Memory(regions))
    pas = np.arange(0x0FFF_F000, base + 3 * PAGE, PAGE, dtype=np.uint64)
    of = numbers.of(pas)
    inside = of >= 0
    assert sorted(of[inside].tolist()) == list(range(len(numbers))) == list(range(2 * len(gaps)))
    assert (numbers.pas(of[inside]) == pas[inside]).all()
    spans = numbers.spans(pas[:-1], np.full(len(pas) - 1, 2 * PAGE, dtype=np.uint64))
    assert set(spans.tolist()) <= {1, 2}


def test_leaves_and_tables_are_those_of_the_spaces() -> None:
    table = bare_world()
    table.map(0x1000, 3 * PAGE, KERNBASE, R)
    evidence = Evidence(bare(table, table))
    assert evidence.leaves["space"].tolist() == [0, 0, 0, 1, 1, 1]
    rows = evidence.tables.tables
    assert sorted(zip(rows["space"].tolist(), rows["level"].tolist(), strict=True)) == [
        (space, level) for space in (0, 1) for level in range(3)
    ]
    assert rows["used"][rows["level"] == 0].tolist() == [3, 3]
    assert evidence.tables.pointers["level"].tolist().count(1) == 2
    assert ids(replace(bare(table), spaces=())) == set()


@pytest.mark.parametrize("start", [0, 7, PAGE - 1, PAGE, TOP - PAGE])
def test_a_kernel_stack_may_be_said_to_be_anywhere(start: int) -> None:
    m = machine(forked())
    kernel = m.space("kernel")
    stacks = [Area(start, PAGE, "stack of process 1"), *(a for a in kernel.areas if not a.name.endswith("process 1"))]
    check(replace(m, spaces=(replace(kernel, areas=tuple(stacks)), *m.spaces[1:])), RULES)
