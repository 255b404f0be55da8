"""RAM full of page tables that no kernel would make: loops on every level, leaves of all sizes to everywhere."""

from __future__ import annotations

import random

import numpy as np

from pagebook.memory import U64, FetchedRegion, Memory, Region
from pagebook.sv import SV32, SV39, SV48, SV57, Format

PAGE = 4096
BASE = 0x8000_0000


def noise(rng: random.Random) -> tuple[Memory, Format]:
    """Random bytes."""
    data = rng.randbytes(PAGE * rng.randint(1, rng.choice((2, 4, 16))))
    return Memory([_whole(rng, BASE, data)]), rng.choice((SV32, SV39, SV48, SV57))


def graph(rng: random.Random) -> tuple[Memory, Format]:
    """A few tables, the first of them the root, whose pointers lead to each other and out of memory."""
    fmt = rng.choice((SV32, SV39, SV39, SV48, SV57))
    numbers = np.random.default_rng(rng.getrandbits(64))
    pages = rng.randint(1, rng.choice((3, 5, 16)))
    base = rng.choice((BASE, BASE, 0, 0x1000, ((1 << 32) if fmt is SV32 else (1 << 56)) - pages * PAGE))
    tables = np.zeros((pages, fmt.entries), dtype=U64)
    few = rng.choice((2, 3, 4, 6)) if rng.random() < 0.98 else rng.randint(10, 40)  # entries of most tables
    for number in range(pages):
        filled = numbers.random(fmt.entries) < (1.0 if rng.random() < 0.02 else few / fmt.entries)
        ppn = _targets(rng, numbers, fmt, base, pages)
        pointer = numbers.random(fmt.entries) < rng.choice((0.1, 0.5, 0.9))
        flags = np.where(pointer, U64(1), numbers.integers(0, 256, fmt.entries, dtype=np.uint64) | U64(1))
        tables[number] = np.where(filled, ppn << U64(10) | flags, U64(0))
    match rng.randrange(8):
        case 0:  # all entries of the root lead back to it
            tables[0] = base >> 12 << 10 | 1
        case 1:
            tables[0, rng.randrange(fmt.entries)] = base >> 12 << 10 | 1
        case 2 if pages > 1:  # a cycle of two
            tables[0, rng.randrange(fmt.entries)] = base + PAGE >> 12 << 10 | 1
            tables[1, rng.randrange(fmt.entries)] = base >> 12 << 10 | 1
        case 3 if rng.random() < 0.01 and pages > 2:  # as many leaves as are still told
            tables[0, : rng.randint(1, fmt.entries)] = base + PAGE >> 12 << 10 | 1
            tables[1, : rng.randint(1, fmt.entries)] = base + 2 * PAGE >> 12 << 10 | 1
            tables[2] = numbers.integers(0, 1 << 20, fmt.entries, dtype=np.uint64) << U64(10) | U64(0xDF)
        case 4 if fmt is not SV32:  # reserved bits, NAPOT, PBMT
            some = (numbers.random(tables.shape) < 0.3) & (tables != 0)
            tables ^= np.where(some, U64(1) << numbers.integers(54, 64, tables.shape, dtype=np.uint64), U64(0))
        case 5:
            some = numbers.random(tables.shape) < 0.005
            bits = U64(1) << numbers.integers(0, 8 * fmt.pte_bytes, tables.shape, dtype=np.uint64)
            tables ^= np.where(some, bits, U64(0))
    data = tables.astype(f"<u{fmt.pte_bytes}").tobytes()
    return Memory(_regions(rng, base, data)), fmt


def _targets(rng: random.Random, numbers: np.random.Generator, fmt: Format, base: int, pages: int) -> np.ndarray:
    """Where the entries of a table lead: mostly to a page of the image."""
    ours = (base >> 12) + numbers.integers(0, pages, fmt.entries, dtype=np.uint64)
    far = numbers.integers(0, fmt.ppn_mask, fmt.entries, dtype=np.uint64, endpoint=True)
    top = U64(fmt.ppn_mask) - numbers.integers(0, 3, fmt.entries, dtype=np.uint64)
    which = numbers.random(fmt.entries)
    ppn = np.where(which < 0.8, ours.astype(U64), np.where(which < 0.9, far, top))
    level = rng.randrange(fmt.levels)
    return np.where(numbers.random(fmt.entries) < 0.3, ppn & ~U64((1 << level * fmt.index_bits) - 1), ppn)


def _regions(rng: random.Random, base: int, data: bytes) -> list[Region]:
    """The image in one piece, or with a hole."""
    if len(data) < 3 * PAGE or rng.random() < 0.8:
        return [_whole(rng, base, data)]
    cut = PAGE * rng.randrange(1, len(data) // PAGE - 1)
    return [Region(base, data[:cut]), Region(base + cut + PAGE, data[cut + PAGE :])]


def _whole(rng: random.Random, base: int, data: bytes) -> Region:
    """The bytes as a file's, or as those of a running machine, which are fetched."""
    if rng.random() < 0.2:
        return Region(base, data)

    def fill(offset: int, room: memoryview) -> None:
        room[:] = data[offset : offset + len(room)]

    return FetchedRegion(base, len(data), fill)
