"""Random page tables and random accesses to them, and what the scalar MMU says of each."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from pagebook.memory import U64, Memory, Region
from pagebook.mmu import Extensions, Kind, Mmu, Regime
from pagebook.rows import STATUS, Rows
from pagebook.sv import A, Format, R, V
from worlds import BASE, PAGE

Words = npt.NDArray[np.uint64]
PRIVILEGE = {0: "U", 1: "S", 3: "M"}
TABLES = 8
DEVICE = 0x1000_0000
FAR = 1 << 33  # a second region, where Sv32 reaches too
EXTENSIONS = [Extensions(bool(n & 1), bool(n & 2), bool(n & 4), bool(n & 8)) for n in range(16)]


def random_memory(rng: np.random.Generator, fmt: Format) -> Memory:
    """A graph of eight tables in two regions of sixteen pages; a third region, read-only and odd; two odd devices."""
    near = BASE + np.arange(TABLES // 2, dtype=np.uint64) * U64(PAGE)
    tables = np.concatenate([near, near - U64(BASE) + U64(FAR)])
    frames = np.concatenate(
        [U64(BASE) + np.arange(17, dtype=np.uint64) * U64(PAGE), tables, [U64(DEVICE), U64(0x4000_0000), U64(0)]]
    )
    shape = (2, TABLES // 2, fmt.entries)
    ppn = rng.choice(frames, shape) >> U64(12)
    for level in range(1, fmt.levels):
        ppn = np.where(rng.random(shape) < 0.15, ppn & ~U64((1 << level * fmt.index_bits) - 1), ppn)
    flags = rng.integers(0, 1 << 10, shape, dtype=np.uint64)
    flags = np.where(rng.random(shape) < 0.6, flags | U64(V | R | A), flags)
    leaf = ppn << U64(10) | flags
    pointer = rng.choice(tables, shape) >> U64(2) | U64(V)
    ptes = np.where(rng.random(shape) < 0.6, pointer, leaf)
    if fmt.xlen == 64:
        napot = leaf & ~U64(15 << 10) | U64(8 << 10) | U64(1 << 63)
        ptes = np.where(rng.random(shape) < 0.08, napot, ptes)
        ptes = np.where(rng.random(shape) < 0.06, ptes | rng.integers(1, 4, shape, dtype=np.uint64) << U64(61), ptes)
        odd = U64(1) << rng.integers(54, 64, shape, dtype=np.uint64)
        ptes = np.where(rng.random(shape) < 0.08, ptes ^ odd, ptes)
    regions = []
    for base, part in zip((BASE, FAR), ptes.astype(f"<u{fmt.pte_bytes}"), strict=True):
        ram = bytearray(16 * PAGE)
        ram[: part.nbytes] = part.tobytes()
        regions.append(Region(base, ram, writable=True))
    devices = (range(DEVICE + 0x100, DEVICE + 0x808), range(BASE + 16 * PAGE + 96, BASE + 16 * PAGE + 200))
    return Memory([*regions, Region(BASE + 16 * PAGE, bytes(100), name="odd")], devices)


def random_rows(rng: np.random.Generator, fmt: Format, count: int) -> Rows:
    va = rng.integers(0, 1 << fmt.va_bits, count, dtype=np.uint64)
    if fmt.xlen == 64:
        va = (va << U64(64 - fmt.va_bits)).view(np.int64).__rshift__(64 - fmt.va_bits).view(np.uint64)
        va ^= np.where(
            rng.random(count) < 0.05, U64(1) << rng.integers(fmt.va_bits - 1, 64, count, dtype=np.uint64), U64(0)
        )
    near_end = rng.random(count) < 0.3
    va = np.where(near_end, va | U64(0xFF8) | va & U64(7), va)
    top = rng.random(count) < 0.03
    va = np.where(top, U64((1 << fmt.xlen) - 8) | va & U64(7), va)
    roots = np.array([BASE, BASE + PAGE, FAR, FAR + PAGE, 0x4000_0000, BASE + 16 * PAGE + PAGE], np.uint64)
    satp = U64(fmt.satp(0)) | rng.choice(roots, count, p=[0.3, 0.2, 0.3, 0.1, 0.05, 0.05]) >> U64(12)
    direct = rng.random(count) < 0.1
    satp = np.where(direct, U64(0), satp)
    priv = rng.choice(np.array([0, 1, 3], np.uint8), count, p=[0.45, 0.45, 0.1])
    physical = rng.choice(np.array([BASE, FAR, BASE + 16 * PAGE, DEVICE], np.uint64), count)
    physical += rng.integers(0, 17 * PAGE, count, dtype=np.uint64)
    va = np.where((priv == 3) | direct, physical & U64((1 << fmt.xlen) - 1), va)
    kind = rng.integers(0, 4, count, dtype=np.uint8)
    size = np.where(
        kind == Kind.AMO,
        U64(1) << rng.integers(0, 4, count, dtype=np.uint64),
        rng.integers(1, 9, count, dtype=np.uint64),
    )
    va = np.where((kind == Kind.AMO) & (rng.random(count) < 0.8), va - va % size, va)
    return Rows(satp, va, priv, rng.random(count) < 0.5, rng.random(count) < 0.5, kind, size)


def scalar(memory: Memory, extensions: Extensions, rows: Rows, xlen: int) -> list[tuple[int, ...]]:
    """Cause, tval, status, pa, PTE address, PTE afterwards and whether one was read, row by row."""
    mmu = Mmu(memory, extensions)
    found = []
    for satp, va, priv, sum_, mxr, kind, size in zip(*(column.tolist() for column in rows), strict=True):
        one = mmu.access(Regime(satp, PRIVILEGE[priv], sum_, mxr, xlen), Kind(kind), va, size)
        part = one.parts[-1] if one.rule else one.parts[0]
        leaf = part.leaf
        pte_pa, after = (leaf.pte_pa, leaf.pte if part.after is None else part.after) if leaf else (0, 0)
        found.append(
            (
                one.cause or 0,
                one.tval,
                STATUS[one.rule.id if one.rule else ""],
                one.pa or 0,
                pte_pa,
                after,
                leaf is not None,
            )
        )
    return found
