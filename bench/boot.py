"""kinit and kvmmake: from RAM that nobody has touched to the kernel's page table."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass

from bench.contest import Contestant, Laps, clock, contest
from bench.reference import Reference
from bench.rows import OURS, PYTHON, C, Row, faster_than_python, slower_than_c
from bench.same import check_equal, check_ram
from bench.transcription import Transcription
from pagebook.memory import Memory
from pagebook.xv6.boot import power_on
from pagebook.xv6.kalloc import kinit
from pagebook.xv6.memlayout import KERNBASE, REVISIONS, Layout
from pagebook.xv6.vm import kvmmake

RAM_BYTES = 128 << 20
LAYOUT = Layout.of(REVISIONS["2024"], RAM_BYTES)


@dataclass(frozen=True)
class Booted:
    """What a contestant took and what it left behind."""

    laps: Laps
    ram: memoryview
    head: int
    root: int


def fresh_ram(size: int = RAM_BYTES) -> memoryview:
    """RAM as pagebook provides it to itself, so that all contestants pay the same for touching it."""
    return Memory.anonymous(size, KERNBASE).regions[0].data


def boot_ours() -> Booted:
    """By pagebook's model."""
    k = power_on("2024", ram=RAM_BYTES)
    start = clock()
    kinit(k)
    between = clock()
    root = kvmmake(k)
    end = clock()
    return Booted(_laps(between - start, end - between), k.memory.regions[0].data, k.kmem.head, root)


def boot_transcription() -> Booted:
    """By the transcription."""
    machine = Transcription(fresh_ram(), LAYOUT.end, LAYOUT.physstop)
    start = clock()
    machine.kinit()
    between = clock()
    root = machine.kvmmake(LAYOUT)
    end = clock()
    return Booted(_laps(between - start, end - between), machine.ram, machine.freelist, root)


def boot_reference(library: ctypes.CDLL) -> Booted:
    """By the C reference."""
    machine = Reference(library, fresh_ram(), LAYOUT.end, LAYOUT.physstop)
    first = machine.kinit()
    second, root = machine.kvmmake(LAYOUT)
    return Booted(_laps(first, second), machine.ram, machine.freelist, root)


def _laps(kinit_seconds: float, kvmmake_seconds: float) -> Laps:
    return {"kinit": kinit_seconds, "kvmmake": kvmmake_seconds, "boot": kinit_seconds + kvmmake_seconds}


def check(library: ctypes.CDLL | None) -> None:
    """Different unless all contestants leave the same bytes in all of RAM."""
    booted = {OURS: boot_ours(), PYTHON: boot_transcription()}
    if library:
        booted[C] = boot_reference(library)
    check_equal("root of the kernel's page table", {name: b.root for name, b in booted.items()})
    check_equal("head of the free list", {name: b.head for name, b in booted.items()})
    check_ram("RAM after kinit and kvmmake", {name: b.ram for name, b in booted.items()})


def measure(library: ctypes.CDLL | None, turns: int) -> tuple[Row, ...]:
    """The rows for kinit, for kvmmake, and for both."""
    contestants: dict[str, Contestant] = {PYTHON: lambda: boot_transcription().laps, OURS: lambda: boot_ours().laps}
    if library:
        contestants[C] = lambda: boot_reference(library).laps
    results = contest(contestants, turns)
    plan = {
        "kinit": ("kinit of 128 MiB", (faster_than_python(), slower_than_c(2))),
        "kvmmake": ("kvmmake, 128 MiB", (faster_than_python(20), slower_than_c(3))),
        "boot": ("both", (faster_than_python(), slower_than_c())),
    }
    return tuple(
        Row(what, {name: laps[lap] for name, laps in results.items()}, goals) for lap, (what, goals) in plan.items()
    )
