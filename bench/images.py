"""Page tables to translate through: Sv39, of a size that fits one cache and not the smaller one, and addresses in them.

An image is RAM with tables in front and frames behind; the frames are never touched, since a translation does not look
at them.  The sizes follow the caches of the machine, where Linux tells them.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pagebook.memory import U64, Memory
from pagebook.mmu import Extensions, Kind, Regime
from pagebook.sv import SV39, A, D, R, U, V, W, X
from pagebook.units import PAGE_SIZE

Words = npt.NDArray[np.uint64]

BASE = 0x8000_0000
FRAMES = 1 << 18
"""Frames behind the tables, any of which a leaf may name: 1 GiB."""
USUAL = {2: 1 << 20, 3: 32 << 20}
"""Bytes of the second and third cache where the system does not say."""
GOOD = V | R | W | A | D
EXTENSIONS = Extensions(svadu=False, svnapot=True, svpbmt=True)


def _napot(pte: Words) -> Words:
    """A leaf of a 64 KiB page."""
    return pte & ~U64(15 << 10) | U64(8 << 10 | 1 << 63)


ODD: tuple[Callable[[Words], Words], ...] = (
    lambda pte: pte & ~U64(W),
    lambda pte: pte & ~U64(R | W) | U64(X),
    lambda pte: pte | U64(U),
    lambda pte: pte & ~U64(A),
    lambda pte: pte & ~U64(D),
    _napot,
    lambda pte: pte | U64(1 << 61),
    lambda pte: pte | U64(3 << 61),
    lambda pte: _napot(pte) ^ U64(1 << 10),
    lambda pte: pte | U64(1 << 57),
    lambda pte: pte & ~U64(R),
    lambda pte: pte & ~U64(R | W),
    lambda pte: pte & ~U64(R | W | A | D),
    lambda pte: pte | U64(1 << 50),
)
"""What else a last-level PTE may be than good: wrong rights, A or D clear, Svnapot, Svpbmt, and what no leaf may be."""


@dataclass(frozen=True)
class Image:
    """Memory whose root table is at `BASE`, and the accesses to make: what a contestant is given."""

    name: str
    memory: Memory
    tables: int
    pages: int
    vas: Words
    kind: Kind
    size: int = 8
    extensions: Extensions = EXTENSIONS

    @property
    def regime(self) -> Regime:
        """Supervisor mode, no SUM, no MXR."""
        return Regime(SV39.satp(BASE))


def cache_bytes() -> dict[int, int]:
    """The size of the second and third cache: what the first processor has, else `USUAL`."""
    found = dict(USUAL)
    for index in Path("/sys/devices/system/cpu/cpu0/cache").glob("index*"):
        with suppress(OSError):
            level, size = int((index / "level").read_text()), (index / "size").read_text().strip()
            if level in found and size.endswith("K"):
                found[level] = int(size[:-1]) << 10
    return found


def table_counts() -> dict[str, int]:
    """Last-level tables by the place they fit in: half of L2, a quarter of L3, four times L3."""
    cache = cache_bytes()
    sizes = {"L2": cache[2] // 2, "L3": max(cache[3] // 4, 2 * cache[2]), "DRAM": 4 * cache[3]}
    return {place: size // PAGE_SIZE for place, size in sizes.items()}


def all_leaves(name: str, last: int, count: int, seed: int = 39) -> Image:
    """Every address of ``last`` tables' reach is mapped by a sound 4 KiB leaf: ``count`` loads among them."""
    rng = np.random.default_rng(seed)
    memory, tables = _frame(last)
    tables[_upper(last) :] = _frames(rng, last) << U64(10) | U64(GOOD)
    vas = rng.integers(0, last << 21, count, dtype=np.uint64) & ~U64(7)
    return Image(name, memory, len(tables), last * 512, vas, Kind.LOAD)


def mixed(name: str, last: int, count: int, seed: int = 39) -> Image:
    """The same size of tables, with what a kernel's tables and a wild program's addresses have; ``count`` stores.

    Of the last-level PTEs 80 % are good leaves, 10 % absent, and the others a little of everything else (`ODD`).
    Of the tables' reaches 88 % have a table, 5 % a superpage, 5 % nothing, and the others a misaligned superpage or a
    table that is not in memory.  Of the addresses 2 % are not canonical, and a few stores touch two pages.
    """
    rng = np.random.default_rng(seed)
    memory, tables = _frame(last)
    upper = _upper(last)
    leaves = tables[upper:].reshape(-1)
    leaves[:] = (_frames(rng, last) << U64(10) | U64(GOOD)).reshape(-1)
    chosen = rng.random(len(leaves), dtype=np.float32)
    leaves[chosen < 0.1] = 0
    for number, change in enumerate(ODD):
        low = 0.1 + 0.1 * number / len(ODD)
        here = np.flatnonzero((chosen >= low) & (chosen < low + 0.1 / len(ODD)))
        leaves[here] = change(leaves[here])
    middle = tables[1:upper].reshape(-1)[:last]
    big = U64(BASE >> 12) + (rng.integers(0, FRAMES >> 9, last, dtype=np.uint64) << U64(9))
    superpage = big << U64(10) | U64(GOOD)
    kinds = [middle, superpage, np.zeros_like(middle), superpage | U64(1 << 10), middle | U64(1 << 50)]
    middle[:] = np.choose(rng.choice(len(kinds), last, p=[0.88, 0.05, 0.05, 0.01, 0.01]), kinds)
    vas = rng.integers(0, last << 21, count, dtype=np.uint64)
    wild = rng.random(count) < 0.02
    vas[wild] |= rng.integers(1, 1 << 24, int(wild.sum()), dtype=np.uint64) << U64(39)
    return Image(name, memory, len(tables), last * 512, vas, Kind.STORE)


def _upper(last: int) -> int:
    """How many tables are above ``last`` last-level ones: the root and those between."""
    return 1 + (last + 511) // 512


def _frames(rng: np.random.Generator, last: int) -> Words:
    """A frame number for each PTE of ``last`` tables."""
    first = BASE // PAGE_SIZE + _upper(last) + last
    return rng.integers(first, first + FRAMES, (last, 512), dtype=np.uint64)


def _frame(last: int) -> tuple[Memory, Words]:
    """RAM with the upper tables written, and all tables as an array of shape (tables, 512)."""
    upper = _upper(last)
    memory = Memory.anonymous((upper + last + FRAMES) * PAGE_SIZE, BASE)
    tables: Words = memory.regions[0].pages[: upper + last]
    pointers = (U64(BASE // PAGE_SIZE) + np.arange(1, upper + last, dtype=np.uint64)) << U64(10) | U64(V)
    tables[0, : upper - 1] = pointers[: upper - 1]
    tables[1:upper].reshape(-1)[:last] = pointers[upper - 1 :]
    return memory, tables
