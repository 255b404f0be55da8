"""A table for tests of the batch: most of it sound 4 KiB leaves, and each odd thing in a reach of 2 MiB of its own."""

from __future__ import annotations

from typing import Any

import numpy as np

from pagebook.batch import Rows, answer, translate
from pagebook.memory import U64, Memory, Region
from pagebook.mmu import Extensions, Kind, Regime
from pagebook.sv import SV39, A, D, Format, R, V, W, X
from random_tables import FAR, Words
from worlds import BASE, PAGE

SVADU = Extensions()
CHUNK = 64
PLAIN = 100  # frames that the sound leaves name, one after the other and again


class Wide:
    """A 64-bit table, the same in both halves: sound leaves at 2 MiB, at 4 MiB what the test puts there."""

    def __init__(self, fmt: Format = SV39, flags: int = V | R | W | X | A | D) -> None:
        self.fmt = fmt
        self.memory = Memory([Region(BASE, bytearray(256 * PAGE), writable=True), Region(FAR, bytearray(PAGE * 4))])
        top = fmt.levels - 1
        self.table = [BASE + n * PAGE for n in range(8)]
        for depth in range(top):
            for index in (0, 256) if depth == 0 else (0,):
                self.put(self.table[depth], index, self.table[depth + 1] >> 2 | V)
        middle = self.table[top - 1]
        self.plain, self.odd = self.table[top], self.table[top] + PAGE
        self.put(middle, 1, self.plain >> 2 | V)
        self.put(middle, 2, self.odd >> 2 | V)
        self.put(middle, 3, BASE >> 2 | flags)  # a superpage
        self.put(middle, 4, FAR >> 2 | V)  # a table in another region
        self.put(middle, 5, 0x4000_0000 >> 2 | V)  # a table nowhere
        for page in range(512):
            self.put(self.plain, page, BASE + (16 + page % PLAIN) * PAGE >> 2 | flags)

    def put(self, table: int, index: int, pte: int) -> None:
        self.memory.write64(table + 8 * index, pte)

    def check(
        self, vas: Words, kind: Kind = Kind.LOAD, size: int = 1, extensions: Extensions = SVADU, **regime: Any
    ) -> Words:
        """`translate` says what `answer` says; the status bytes."""
        return same(self.memory, Regime(**{"satp": self.fmt.satp(BASE), **regime}), vas, kind, size, extensions)


def same(memory: Memory, where: Regime, vas: Words, kind: Kind, size: int, extensions: Extensions) -> Words:
    """`translate` says what `answer` says, on this memory in this regime; the status bytes."""
    count = len(vas)
    pas, status = translate(memory, extensions, where, vas, kind, size)
    priv = {"U": 0, "S": 1, "M": 3}[where.priv]
    rows = Rows(
        np.full(count, where.satp, U64), vas, np.full(count, priv, np.uint8), np.full(count, where.sum),
        np.full(count, where.mxr), np.full(count, kind, np.uint8), np.full(count, size, U64),
    )  # fmt: skip
    expected = answer(memory, extensions, rows, where.xlen)
    assert status.tolist() == expected.status.tolist()
    assert pas.tolist() == expected.pa.tolist()
    return status


def spread(count: int = 3 * CHUNK + 5, low: int = 2 << 20, high: int = 4 << 20, seed: int = 0) -> Words:
    return np.random.default_rng(seed).integers(low, high - 8, count, dtype=np.uint64)
