"""Many accesses at once: `answer` is `Mmu.access` row by row, and `translate` is `answer` whichever way it goes."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pagebook import batch
from pagebook.batch import RULE_NAMES, STATUS, Rows, answer, translate
from pagebook.errors import BadAddress
from pagebook.memory import U64, Memory, Region
from pagebook.mmu import RULES, Extensions, Kind, Mmu, Regime
from pagebook.sv import SV32, SV39, SV48, SV57, A, D, Format, R, U, V, W, X
from worlds import BASE, FORMATS, PAGE

Words = npt.NDArray[np.uint64]
PRIVILEGE = {0: "U", 1: "S", 3: "M"}
TABLES = 8
FAR = 1 << 33  # a second region, where Sv32 reaches too
SVADU = Extensions()
EXTENSIONS = [Extensions(bool(n & 1), bool(n & 2), bool(n & 4), bool(n & 8)) for n in range(16)]


def random_memory(rng: np.random.Generator, fmt: Format) -> Memory:
    """A graph of eight tables in two regions of sixteen pages, and a third region that is read-only and odd."""
    near = BASE + np.arange(TABLES // 2, dtype=np.uint64) * U64(PAGE)
    tables = np.concatenate([near, near - U64(BASE) + U64(FAR)])
    frames = np.concatenate(
        [U64(BASE) + np.arange(17, dtype=np.uint64) * U64(PAGE), tables, [U64(0x4000_0000), U64(0)]]
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
    return Memory([*regions, Region(BASE + 16 * PAGE, bytes(100), name="odd")])


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
    physical = rng.choice(np.array([BASE, FAR, BASE + 16 * PAGE], np.uint64), count)
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
    """Cause, tval, status, pa, PTE address and PTE afterwards, row by row."""
    mmu = Mmu(memory, extensions)
    found = []
    for satp, va, priv, sum_, mxr, kind, size in zip(*(column.tolist() for column in rows), strict=True):
        one = mmu.access(Regime(satp, PRIVILEGE[priv], sum_, mxr, xlen), Kind(kind), va, size)
        part = one.parts[-1] if one.rule else one.parts[0]
        leaf = part.leaf
        pte_pa, after = (leaf.pte_pa, leaf.pte if part.after is None else part.after) if leaf else (0, 0)
        found.append((one.cause or 0, one.tval, STATUS[one.rule.id if one.rule else ""], one.pa or 0, pte_pa, after))
    return found


@given(st.sampled_from(FORMATS), st.sampled_from(EXTENSIONS), st.integers(0, 1 << 32))
def test_every_row_is_answered_as_by_the_scalar_mmu(fmt: Format, extensions: Extensions, seed: int):
    rng = np.random.default_rng(seed)
    memory, rows = random_memory(rng, fmt), random_rows(rng, fmt, 150)
    before = [bytes(region.data) for region in memory.regions]
    answers = answer(memory, extensions, rows, fmt.xlen)
    assert list(zip(*(column.tolist() for column in answers), strict=True)) == scalar(
        memory, extensions, rows, fmt.xlen
    )
    assert [bytes(region.data) for region in memory.regions] == before


def test_the_random_rows_break_every_rule():
    rng = np.random.default_rng(1)
    met: set[int] = set()
    for fmt in FORMATS:
        for extensions in EXTENSIONS:
            rows = random_rows(rng, fmt, 4000)
            met |= set(answer(random_memory(rng, fmt), extensions, rows, fmt.xlen).status.tolist())
    assert {RULE_NAMES[status] for status in met} == {"", *RULES}


def test_no_rows_have_no_answers():
    rows = random_rows(np.random.default_rng(0), SV39, 0)
    assert [len(column) for column in answer(Memory([]), Extensions(), rows)] == [0] * 6
    assert [len(column) for column in translate(Memory([]), Extensions(), Regime(SV39.satp(BASE)), rows.va)] == [0, 0]


def test_without_memory_every_access_ends_outside_it():
    rows = random_rows(np.random.default_rng(0), SV39, 100)._replace(kind=np.zeros(100, np.uint8))
    answers = answer(Memory([]), Extensions(), rows)
    assert {RULE_NAMES[n] for n in answers.status} <= {"table-outside", "target-outside", "non-canonical"}


@pytest.mark.parametrize(
    ("column", "value", "xlen", "message"),
    [
        ("satp", 7 << 60, 64, "satp 0x7000000000000000 has the reserved MODE 7"),
        ("satp", 1 << 32, 32, "0x100000000 is not a 32-bit satp value"),
        ("va", 1 << 32, 32, "0x100000000 is no 32-bit address"),
        ("size", 0, 64, "an access of 0 bytes: a hart makes accesses of 1 to 8"),
        ("size", 9, 64, "an access of 9 bytes: a hart makes accesses of 1 to 8"),
    ],
)
def test_a_row_that_no_hart_can_do_is_refused(column: str, value: int, xlen: int, message: str):
    zeros = np.zeros(3, np.uint8)
    rows = Rows(np.zeros(3, U64), np.zeros(3, U64), zeros + 3, zeros > 0, zeros > 0, zeros, np.ones(3, U64))
    getattr(rows, column)[1] = value
    with pytest.raises(BadAddress, match=f"^{re.escape(message)}$"):
        answer(Memory([]), Extensions(), rows, xlen)


def test_an_amo_is_of_a_power_of_two():
    rows = random_rows(np.random.default_rng(0), SV39, 3)._replace(kind=np.full(3, Kind.AMO, np.uint8))
    with pytest.raises(BadAddress, match=r"^an AMO of 6 bytes: its size is a power of two$"):
        answer(Memory([]), Extensions(), rows._replace(size=np.full(3, 6, U64)))


@pytest.mark.parametrize("size", [0, 9])
def test_translate_refuses_a_size_that_no_access_has(size: int):
    with pytest.raises(BadAddress, match=f"^an access of {size} bytes: a hart makes accesses of 1 to 8$"):
        translate(Memory([]), Extensions(), Regime(0), np.zeros(1, U64), size=size)


# translate: the optimistic way beside the general one.

CHUNK = 64
PLAIN = 100  # pages, all of them sound 4 KiB leaves, from va 0 and again from the upper half's start
REACH = PLAIN * PAGE


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch, "CHUNK", CHUNK)
    monkeypatch.setattr(batch, "FEWEST", CHUNK)
    monkeypatch.setattr(batch, "SAMPLE", CHUNK)


class Wide:
    """A 64-bit table, the same in both halves: sound leaves at 0 and 2 MiB, at 4 MiB what the test puts there."""

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


@pytest.mark.parametrize("fmt", [SV39, SV48, SV57], ids=lambda fmt: fmt.name)
@pytest.mark.parametrize("kind", Kind)
def test_chunks_of_plain_pages_are_translated(fmt: Format, kind: Kind):
    world = Wide(fmt)
    vas = spread() & ~U64(7)
    assert not world.check(vas, kind, 8).any()
    pas, _ = translate(world.memory, Extensions(), Regime(fmt.satp(BASE)), vas, kind, 8)
    assert pas.tolist() == [BASE + (16 + (va >> 12) % 512 % PLAIN) * PAGE + va % PAGE for va in vas.tolist()]
    assert not world.check((vas | U64((1 << 64) - (1 << fmt.va_bits - 1))), kind, 8).any()  # the upper half


@pytest.mark.parametrize("kind", Kind)
@pytest.mark.parametrize("priv", ["U", "S"])
@pytest.mark.parametrize("bits", range(4))
@pytest.mark.parametrize("svadu", [False, True])
def test_each_combination_of_flags_has_its_verdict(kind: Kind, priv: str, bits: int, svadu: bool):
    world = Wide()
    for page in range(512):
        world.put(world.plain, page, BASE + (16 + page % PLAIN) * PAGE >> 2 | page & 0xFF)
    vas = np.repeat(np.arange(512, dtype=np.uint64), 2) * U64(PAGE) + U64(2 << 20)
    world.check(vas, kind, 4, Extensions(svadu), priv=priv, sum=bool(bits & 1), mxr=bool(bits & 2))


@pytest.mark.parametrize("extensions", EXTENSIONS)
def test_what_is_not_plain_goes_the_general_way(extensions: Extensions):
    world = Wide()
    good = BASE + 24 * PAGE >> 2 | V | R | W | X | A | D
    odd = [0, V, V | W, good & ~A, good & ~D, good | U, 0x4000_0000 >> 2 | good & 0x3FF, FAR >> 2 | good & 0x3FF]
    odd += [good | 1 << bit for bit in range(54, 64)] + [good | 3 << 61, good | 1 << 63 | 1 << 61]
    for page in range(512):
        world.put(world.odd, page, odd[page % len(odd)])
    for seed, high in enumerate((6, 8, 10, 12, 16)):  # odd PTEs, a superpage, a table elsewhere, one nowhere, none
        for kind in Kind:
            size = 4 if kind is Kind.AMO else 8
            vas = spread(4 * CHUNK, 2 << 20, high << 20, seed)
            world.check(vas & ~U64(3) if kind is Kind.AMO else vas, kind, size, extensions)


def test_one_odd_address_among_plain_ones_is_answered_by_itself():
    world = Wide()
    odd = {
        (1 << 38) + (2 << 20): "non-canonical", 1 << 63 | 2 << 20: "non-canonical", (1 << 38) - 1: "v-clear",
        (4 << 20) - 4: "v-clear", (6 << 20) + 8: "", (10 << 20) + 8: "table-outside", 12 << 20: "v-clear",
        (2 << 20) + 4092: "",
    }  # fmt: skip
    for va, rule in odd.items():
        vas = spread(2 * CHUNK) & ~U64(7)
        vas[CHUNK + 3] = va
        status = world.check(vas, size=8)
        assert RULE_NAMES[status[CHUNK + 3]] == rule
        assert status.astype(bool).sum() == bool(rule)


def test_plain_pages_whose_target_is_outside_the_roots_region():
    world = Wide()
    for pa, rule in ((FAR, ""), (0x4000_0000, "target-outside"), (BASE + 256 * PAGE, "target-outside")):
        world.put(world.plain, 7, pa >> 2 | V | R | A)
        vas = np.full(CHUNK, (2 << 20) + 7 * PAGE, U64) + np.arange(CHUNK, dtype=np.uint64)
        assert {RULE_NAMES[n] for n in world.check(vas).tolist()} == {rule}
        world.check(np.concatenate([vas, spread()]))
        world.put(world.plain, 8, 0)
        world.check(np.concatenate([vas, spread()]))


def test_misaligned_amos_go_the_general_way():
    world = Wide()
    vas = spread() & ~U64(7)
    vas[5] += 4
    assert RULE_NAMES[world.check(vas, Kind.AMO, 8)[5]] == "amo-misaligned"
    assert not world.check(vas, Kind.AMO, 4).any()


def test_addresses_too_far_apart_for_a_directory(monkeypatch: pytest.MonkeyPatch):
    for fmt in (SV39, SV48, SV57):
        world = Wide(fmt)
        both = np.concatenate([spread(CHUNK), spread(CHUNK) | U64((1 << 64) - (1 << fmt.va_bits - 1))])
        assert not world.check(both).any()
    monkeypatch.setattr(batch, "MOST_SLOTS", 2)
    assert not Wide().check(spread()).any()
    assert Wide().check(spread(high=8 << 20)).any()


def test_both_halves_in_one_directory():
    world = Wide()
    low = spread(1 << 15)
    assert not world.check(np.concatenate([low, low | U64((1 << 64) - (1 << 38))])).any()


@pytest.mark.parametrize("kind", Kind)
def test_no_translation_or_no_table(kind: Kind):
    world = Wide()
    vas = spread(low=BASE, high=BASE + 300 * PAGE) & ~U64(3)
    for regime in ({"satp": 0}, {"priv": "M"}, {"satp": 0, "xlen": 32}):
        assert set(world.check(vas, kind, 4, **regime).tolist()) == {0, STATUS["target-outside"]}
    for root in (0x4000_0000, BASE + 256 * PAGE):
        assert set(world.check(spread() & ~U64(3), kind, 4, satp=SV39.satp(root)).tolist()) == {STATUS["table-outside"]}
    world.check(spread(), kind, 4, satp=SV39.satp(FAR))  # a root in the smaller region


def test_sv32_and_small_calls_go_the_general_way():
    world = Wide()
    world.memory.write32(BASE + 4, BASE + PAGE >> 2 | V)
    for page in range(0, 1024, 2):
        world.memory.write32(BASE + PAGE + 4 * page, BASE + 16 * PAGE >> 2 | V | R | A)
    status = world.check(spread(low=4 << 20, high=8 << 20), satp=SV32.satp(BASE), xlen=32)
    assert {0, STATUS["v-clear"]} <= set(status.tolist())
    assert not Wide().check(spread(5)).any()


@given(
    st.sampled_from(FORMATS), st.sampled_from(EXTENSIONS), st.sampled_from(list(Kind)), st.integers(1, 8),
    st.sampled_from("USM"), st.booleans(), st.booleans(), st.integers(0, 1 << 32),
)  # fmt: skip
def test_translate_is_answer_on_random_tables(
    fmt: Format, extensions: Extensions, kind: Kind, size: int, priv: str, sum: bool, mxr: bool, seed: int
):
    size = 1 << (size & 3) if kind is Kind.AMO else size
    rng = np.random.default_rng(seed)
    memory, vas = random_memory(rng, fmt), random_rows(rng, fmt, 3 * CHUNK).va
    if seed & 1:  # close together, so that a directory pays
        vas = vas % U64(1 << 26)
    same(memory, Regime(fmt.satp(BASE), priv, sum, mxr, fmt.xlen), vas, kind, size, extensions)
