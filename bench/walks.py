"""One address at a time: our walks beside the three reads that a walk is made of.

Every column walks the same random addresses in the booted kernel's table, in a loop with a call for each; the
loop and the call are part of the time.
"""

from __future__ import annotations

import ctypes
import random
from collections.abc import Callable

import numpy as np

from bench.boot import LAYOUT, RAM_BYTES, fresh_ram
from bench.contest import Contestant, Laps, clock, contest
from bench.reference import Reference
from bench.rows import OURS, PYTHON, C, Goal, Row, slower_than_c
from bench.same import check_equal
from bench.transcription import bare_walk
from pagebook.pagetable import PageTable
from pagebook.table import AddressSpace
from pagebook.xv6.boot import power_on
from pagebook.xv6.kalloc import kinit
from pagebook.xv6.kernel import Kernel
from pagebook.xv6.memlayout import KERNBASE
from pagebook.xv6.vm import kvmmake, walk

COUNT = 10_000
NAMES = {"translate": "AddressSpace.translate", "pte_address": "PageTable.pte_address", "walk": "xv6.vm.walk"}


class Walks:
    """A booted kernel, the addresses, and the loops over them."""

    def __init__(self, library: ctypes.CDLL | None) -> None:
        self.k: Kernel = power_on("2024", ram=RAM_BYTES)
        kinit(self.k)
        self.root = kvmmake(self.k)
        self.space = AddressSpace(self.k.memory, self.root)
        self.table: PageTable = self.k.table(self.root)
        pick = random.Random(39)
        self.vas = [pick.randrange(KERNBASE, LAYOUT.physstop) for _ in range(COUNT)]
        self.array = np.array(self.vas, dtype=np.uint64)
        self.words = self.k.memory.regions[0].words
        self.reference = Reference(library, fresh_ram(), LAYOUT.end, LAYOUT.physstop) if library else None
        if self.reference:
            self.reference.kinit()
            self.reference.kvmmake(LAYOUT)

    def bare(self) -> float:
        """The bare loop."""
        words, root = self.words, self.root
        start = clock()
        for va in self.vas:
            bare_walk(words, KERNBASE, root, va)
        return clock() - start

    def translate(self) -> float:
        """AddressSpace.translate."""
        space = self.space
        start = clock()
        for va in self.vas:
            space.translate(va)
        return clock() - start

    def pte_address(self) -> float:
        """PageTable.pte_address."""
        table = self.table
        start = clock()
        for va in self.vas:
            table.pte_address(va)
        return clock() - start

    def walk(self) -> float:
        """xv6's walk."""
        k, root = self.k, self.root
        start = clock()
        for va in self.vas:
            walk(k, root, va, 0)
        return clock() - start

    def check(self) -> None:
        """Different unless every way reaches the same pages through the same PTEs."""
        pages = [bare_walk(self.words, KERNBASE, self.root, va) for va in self.vas]
        ours = [self.space.translate(va) for va in self.vas]
        check_equal("translated addresses", {PYTHON: [p | va & 4095 for p, va in zip(pages, self.vas, strict=True)],
                                             OURS: ours})  # fmt: skip
        ptes = [self.table.pte_address(va) for va in self.vas]
        check_equal("PTEs", {"pte_address": ptes, "walk": [walk(self.k, self.root, va, 0) for va in self.vas]})
        if self.reference:
            total = self.reference.walks(self.root, self.array)[1]
            check_equal("sum of the PTEs' addresses", {OURS: sum(pte or 0 for pte in ptes) % (1 << 64), C: total})


def _lap(run: Callable[[], float]) -> Contestant:
    def laps() -> Laps:
        return {"walk": run() / COUNT}

    return laps


def measure(library: ctypes.CDLL | None, turns: int) -> tuple[Row, ...]:
    """A row for each public way to walk."""
    walks = Walks(library)
    walks.check()
    contestants = {PYTHON: _lap(walks.bare), **{name: _lap(getattr(walks, name)) for name in NAMES}}
    reference = walks.reference
    if reference:
        contestants[C] = _lap(lambda: reference.walks(walks.root, walks.array)[0])
    results = {name: laps["walk"] for name, laps in contest(contestants, turns).items()}
    beside = {name: results[name] for name in (PYTHON, C) if name in results}
    goals = (Goal(OURS, PYTHON, 2.5), slower_than_c())
    return tuple(Row(what, {OURS: results[name], **beside}, goals) for name, what in NAMES.items())
