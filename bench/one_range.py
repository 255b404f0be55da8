"""A range of 1 GiB in 4 KiB pages: mapped in one call, then listed.

The range starts in the middle of a last-level table and of a table above it, and what it maps need not exist.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import Any

import numpy as np

from bench.boot import fresh_ram
from bench.contest import Contestant, Laps, clock, contest
from bench.reference import MAPPING, Mappings, Reference
from bench.rows import OURS, PYTHON, C, Row, faster_than_python, slower_than_c
from bench.same import check_arrays, check_equal, check_ram
from bench.transcription import Transcription
from pagebook import scan
from pagebook.columns import Columns
from pagebook.frames import FreeList
from pagebook.memory import Memory
from pagebook.pagetable import PageTable
from pagebook.sv import R, W
from pagebook.units import PAGE_SIZE
from pagebook.xv6.memlayout import KERNBASE

RAM_BYTES = 8 << 20
PHYSTOP = KERNBASE + RAM_BYTES
VA, SIZE, PA, FLAGS = 0x12_3456_7000, 1 << 30, 0x40_0000_0000, R | W


@dataclass(frozen=True)
class Mapped:
    """What a contestant took and what it made; ``mappings`` are in the contestant's own form."""

    laps: Laps
    ram: memoryview
    head: int
    mappings: Any


def map_ours() -> Mapped:
    """By PageTable.map and scan."""
    memory = Memory.anonymous(RAM_BYTES, KERNBASE)
    frames = FreeList(memory, KERNBASE, PHYSTOP)
    frames.free_range(KERNBASE, PHYSTOP)
    table = PageTable.create(memory, frames)
    start = clock()
    table.map(VA, SIZE, PA, FLAGS)
    between = clock()
    mappings = scan.scan(table).mappings
    listed = [mappings[name] for name in MAPPING.names or ()]  # columns are made when they are asked for
    end = clock()
    assert all(len(column) == len(mappings) for column in listed)
    return Mapped(_laps(between - start, end - between), memory.regions[0].data, frames.head, mappings)


def map_transcription() -> Mapped:
    """By the transcription."""
    machine = Transcription(fresh_ram(RAM_BYTES), KERNBASE, PHYSTOP)
    machine.kinit()
    root = machine.new_table()
    start = clock()
    machine.mappages(root, VA, SIZE, PA, FLAGS)
    between = clock()
    mappings = machine.mappings(root)
    end = clock()
    return Mapped(_laps(between - start, end - between), machine.ram, machine.freelist, mappings)


def map_reference(library: ctypes.CDLL) -> Mapped:
    """By the C reference."""
    machine = Reference(library, fresh_ram(RAM_BYTES), KERNBASE, PHYSTOP)
    machine.kinit()
    root = machine.make_root()
    first = machine.map(root, VA, SIZE, PA, FLAGS)
    second, mappings = machine.list(root, SIZE // PAGE_SIZE)
    return Mapped(_laps(first, second), machine.ram, machine.freelist, mappings)


def _laps(map_seconds: float, list_seconds: float) -> Laps:
    return {"map": map_seconds, "list": list_seconds}


def _as_mappings(columns: Columns) -> Mappings:
    """The columns that all contestants have, of ours."""
    out = np.empty(len(columns), MAPPING)
    for name in MAPPING.names or ():
        out[name] = columns[name]
    out["flags"] = columns["pte"] & np.uint64(0x3FF)
    return out


def check(library: ctypes.CDLL | None) -> None:
    """Different unless all contestants make the same tables and list the same mappings."""
    made = {OURS: map_ours(), PYTHON: map_transcription()}
    lists = {OURS: _as_mappings(made[OURS].mappings), PYTHON: np.array(made[PYTHON].mappings, dtype=MAPPING)}
    if library:
        made[C] = map_reference(library)
        lists[C] = made[C].mappings
    check_equal("head of the free list", {name: m.head for name, m in made.items()})
    check_ram("RAM after mapping 1 GiB", {name: m.ram for name, m in made.items()})
    check_equal("pages in 1 GiB", {"arithmetic": SIZE // PAGE_SIZE, OURS: len(lists[OURS])})
    check_arrays("mappings of 1 GiB", lists)


def measure(library: ctypes.CDLL | None, turns: int) -> tuple[Row, ...]:
    """The rows for mapping and for listing."""
    contestants: dict[str, Contestant] = {PYTHON: lambda: map_transcription().laps, OURS: lambda: map_ours().laps}
    if library:
        contestants[C] = lambda: map_reference(library).laps
    results = contest(contestants, turns)
    plan = {
        "map": ("map 1 GiB of 4 KiB pages", (faster_than_python(40), slower_than_c())),
        "list": ("list them", (faster_than_python(20), slower_than_c())),
    }
    return tuple(
        Row(what, {name: laps[lap] for name, laps in results.items()}, goals) for lap, (what, goals) in plan.items()
    )
