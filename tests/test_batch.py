"""Many accesses in one regime: `translate` is `answer`, and the scalar MMU, whichever way an address goes."""

from __future__ import annotations

from itertools import pairwise, product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pagebook import batch
from pagebook.batch import RULE_NAMES, STATUS, translate
from pagebook.errors import BadAddress
from pagebook.memory import U64, Memory, Region
from pagebook.mmu import Extensions, Kind, Mmu, Regime
from pagebook.sv import SV32, SV39, SV48, SV57, A, D, Format, R, U, V, W, X
from random_tables import EXTENSIONS, FAR, Words, random_memory, random_rows
from wide import CHUNK, PLAIN, SVADU, Wide, same, spread
from worlds import BASE, FORMATS, PAGE


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch, "CHUNK", CHUNK)
    monkeypatch.setattr(batch, "FEWEST", CHUNK)
    monkeypatch.setattr(batch, "SAMPLE", CHUNK)


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


@pytest.mark.parametrize("bit", [V, R, W, X, U, A, D])
@pytest.mark.parametrize("usual", [V | R | W | X | A | D, V | R | W | X | U | A | D])
def test_one_leaf_with_one_flag_changed_among_good_ones_is_judged_by_itself(usual: int, bit: int):
    world = Wide(flags=usual)
    world.put(world.plain, 7, BASE >> 2 | usual ^ bit)
    vas = np.concatenate([spread(), (2 << 20) + 7 * PAGE + np.arange(3, dtype=np.uint64)])
    for kind, priv, sum_, svadu in product(Kind, "US", (False, True), (False, True)):
        world.check(vas, kind, 1, Extensions(svadu), priv=priv, sum=sum_)


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


@pytest.mark.parametrize("size", [0, 9])
def test_translate_refuses_a_size_that_no_access_has(size: int):
    with pytest.raises(BadAddress, match=f"^an access of {size} bytes: a hart makes accesses of 1 to 8$"):
        translate(Memory([]), Extensions(), Regime(0), np.zeros(1, U64), size=size)


# What the directory decides.


def odd_slots(fmt: Format = SV39) -> tuple[Wide, dict[int, str]]:
    """A world whose slots above 32 MiB have no table, each for another reason; and the rule that each breaks."""
    world = Wide(fmt)
    leaf = V | R | W | X | A | D
    ptes = {
        "": BASE >> 2 | leaf, "v-clear": 0, "w-without-r": BASE >> 2 | V | W,
        "reserved-bits": BASE >> 2 | leaf | 1 << 60, "n-reserved": BASE >> 2 | leaf | 1 << 63,
        "pbmt-reserved": BASE >> 2 | V | 1 << 61,
        "pointer-reserved": BASE >> 2 | V | U, "misaligned-superpage": BASE + PAGE >> 2 | leaf,
        "user-page": BASE >> 2 | leaf | U, "not-readable": BASE >> 2 | V | X, "a-clear": BASE >> 2 | V | R,
        "target-outside": 0x4000_0000 >> 2 | leaf,
    }  # fmt: skip
    middle = world.table[fmt.levels - 2]
    for number, pte in enumerate(ptes.values()):
        world.put(middle, 16 + number, pte)
    return world, {16 + number << 21: rule for number, rule in enumerate(ptes)}


@pytest.mark.parametrize("fmt", [SV39, SV48, SV57], ids=lambda fmt: fmt.name)
@pytest.mark.parametrize("count", [2 * CHUNK, 4096], ids=["asked when met", "asked at once"])
def test_a_slot_without_a_table_breaks_the_rule_that_its_upper_pte_breaks(fmt: Format, count: int):
    world, slots = odd_slots(fmt)
    for va, rule in slots.items():
        vas = spread(count)
        vas[::3] = va + np.arange(len(vas[::3]), dtype=np.uint64) * U64(8)
        status = world.check(vas, size=8, extensions=Extensions(svadu=False))
        assert {RULE_NAMES[n] for n in status[::3].tolist()} == {rule}


@pytest.mark.parametrize("fmt", [SV39, SV48, SV57], ids=lambda fmt: fmt.name)
def test_what_a_slot_a_low_byte_or_the_address_decides_needs_no_rows(fmt: Format, monkeypatch: pytest.MonkeyPatch):
    world, slots = odd_slots(fmt)
    world.put(world.table[0], 0, 1 << 63)  # the region's first word, which is read where there is nothing to read
    for page, flags in enumerate((0, V | W, V | R, V | R | U | A, V | X | A)):
        world.put(world.plain, page, BASE >> 2 | flags)
    world.put(world.plain, 5, FAR >> 2 | V | R | A)
    upper = U64((1 << 64) - (1 << fmt.va_bits - 1))
    vas = np.concatenate([spread(), *(spread(9, va, va + (1 << 20)) for va in slots)]) & ~U64(7) | upper
    vas = np.concatenate([vas, U64(1 << fmt.va_bits - 1) + np.arange(9, dtype=np.uint64)])
    expected = translate_by_rows(world.memory, Regime(fmt.satp(BASE)), vas)
    monkeypatch.setattr(batch, "answer", None)
    pas, status = translate(world.memory, SVADU, Regime(fmt.satp(BASE)), vas)
    assert (pas.tolist(), status.tolist()) == expected
    assert {"", "v-clear", "non-canonical", "target-outside", "misaligned-superpage"} <= {RULE_NAMES[n] for n in status}


def translate_by_rows(memory: Memory, where: Regime, vas: Words) -> tuple[list[int], list[int]]:
    """Loads of one byte, one after the other, by the scalar MMU."""
    outcomes = [Mmu(memory).access(where, Kind.LOAD, va, 1) for va in vas.tolist()]
    return [one.pa or 0 for one in outcomes], [STATUS[one.rule.id if one.rule else ""] for one in outcomes]


@pytest.mark.parametrize("fmt", [SV39, SV48, SV57], ids=lambda fmt: fmt.name)
def test_a_superpage_of_a_gibibyte_reaches_over_all_its_slots(fmt: Format):
    world = Wide(fmt)
    world.put(world.table[fmt.levels - 3], 1, 0x8000_0000 >> 2 | V | R | A)
    vas = spread(4 * CHUNK, 1 << 30, (1 << 30) + 300 * PAGE)
    status = world.check(vas, size=8)
    assert {RULE_NAMES[n] for n in status.tolist()} == {"", "target-outside"}


def test_a_superpage_may_begin_before_memory_does():
    memory = Memory([Region(BASE + 5 * PAGE, bytearray(32 * PAGE), writable=True)])
    root, middle = BASE + 5 * PAGE, BASE + 6 * PAGE
    memory.write64(root, middle >> 2 | V)
    memory.write64(middle, BASE >> 2 | V | R)
    status = same(memory, Regime(SV39.satp(root)), spread(4 * CHUNK, 0, 40 * PAGE), Kind.LOAD, 8, SVADU)
    assert {RULE_NAMES[n] for n in status.tolist()} == {"", "target-outside"}


def test_accesses_over_the_border_of_a_page_a_slot_or_the_slots_are_of_two_pages():
    world, _ = odd_slots()
    borders = [n * PAGE for n in (512, 513, 1024, 1536, 2048, 16 * 512, 17 * 512, 512 * 512, (1 << 26) - 1)]
    for border in (*borders, (1 << 64) - (1 << 38), 1 << 64):
        vas = spread() & ~U64(7)
        vas[:7] = (
            np.arange(border - 7, border).astype(np.uint64) if border < 1 << 64 else ~np.arange(7, dtype=np.uint64)
        )
        for size in (2, 3, 8):
            world.check(vas, size=size)
            world.check(vas, Kind.STORE, size)


@pytest.mark.parametrize("level", [0, 1], ids=["last-level", "middle"])
def test_a_table_at_the_ragged_end_of_a_region_is_read_as_far_as_it_goes(level: int):
    ram = Region(BASE, bytearray(64 * PAGE), writable=True)
    ragged = bytearray(1000)
    memory = Memory([ram, Region(BASE + 64 * PAGE, bytearray(ragged), writable=True)])
    end = BASE + 64 * PAGE
    chain = [BASE, end, BASE + PAGE] if level else [BASE, BASE + PAGE, end]
    for table, child in pairwise(chain):
        memory.write64(table, child >> 2 | V)
    for index in range(125):
        memory.write64(chain[2] + 8 * index, BASE + index % 64 * PAGE >> 2 | V | R)
    vas = spread(4 * CHUNK, 0, 200 << (21 if level else 12))
    status = same(memory, Regime(SV39.satp(BASE)), vas, Kind.LOAD, 1, SVADU)
    assert {0: {"", "table-outside"}, 1: {"", "v-clear", "table-outside"}}[level] >= {RULE_NAMES[n] for n in status}
    assert STATUS["table-outside"] in status


def test_a_last_level_table_that_ends_with_the_roots_region_is_not_read_beyond_it():
    memory = Memory([Region(BASE, bytearray(2 * PAGE + 1000), writable=True)])
    memory.write64(BASE, BASE + PAGE >> 2 | V)
    memory.write64(BASE + PAGE, BASE + 2 * PAGE >> 2 | V)
    for index in range(125):
        memory.write64(BASE + 2 * PAGE + 8 * index, BASE >> 2 | V | R)
    status = same(memory, Regime(SV39.satp(BASE)), spread(4 * CHUNK, 0, 2 << 20), Kind.LOAD, 1, SVADU)
    assert {RULE_NAMES[n] for n in status.tolist()} == {"", "table-outside"}


# What comes in and where the answers go.


@pytest.mark.parametrize("count", [CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK - 1, 2 * CHUNK, 2 * CHUNK + 1])
def test_every_address_up_to_the_end_of_the_last_chunk_is_translated(count: int):
    world = Wide()
    vas = spread(count)
    assert not world.check(vas).any()
    vas[-1] = vas[CHUNK - 3] = 20 << 20
    assert world.check(vas).astype(bool).sum() == 2


@pytest.mark.parametrize("count", [0, 5, 3 * CHUNK])
def test_addresses_may_be_of_any_integer_type_and_stride(count: int):
    world = Wide()
    where = Regime(SV39.satp(BASE))
    vas = spread(count)
    expected = [column.tolist() for column in translate(world.memory, SVADU, where, vas)]
    wide = np.zeros((count, 3), np.uint64)
    wide[:, 1] = vas
    for other in (wide[:, 1], vas.astype(np.int64), vas.astype(np.uint32), vas.astype(">u8"), vas[::-1].copy()[::-1]):
        assert [column.tolist() for column in translate(world.memory, SVADU, where, other)] == expected


def test_the_answers_go_where_they_are_wanted():
    world = Wide()
    vas = spread()
    vas[::5] = 20 << 20
    where = Regime(SV39.satp(BASE))
    both = np.full((2, len(vas)), 0xAAAA, np.uint64)
    pas, status = both[0], np.full(2 * len(vas), 77, np.uint8)[::2]
    for addresses in (vas, vas[:9]):  # by chunks, and as rows
        out = pas[: len(addresses)], status[: len(addresses)]
        result = translate(world.memory, SVADU, where, addresses, out=out)
        assert [one is other for one, other in zip(result, out, strict=True)] == [True, True]
        assert [c.tolist() for c in out] == [c.tolist() for c in translate(world.memory, SVADU, where, addresses)]
    assert (both[1] == 0xAAAA).all()


def test_answers_that_would_not_fit_are_refused():
    vas, bytes_ = spread(9), np.zeros(9, np.uint8)
    for pas, status in (
        (np.zeros(8, U64), bytes_), (np.zeros(9, np.int64), bytes_), (np.zeros(9, U64), bytes_.astype(bool)),
        (np.zeros(9, U64), bytes_[:8]),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=r"^out is an array of uint64 and one of uint8, 9 long each$"):
            translate(Memory([]), SVADU, Regime(0), vas, out=(pas, status))
    for out in ((vas, bytes_), (np.zeros(9, U64), vas.view(np.uint8)[:9])):
        with pytest.raises(ValueError, match=r"^out lies over the addresses that are to be translated$"):
            translate(Memory([]), SVADU, Regime(0), vas, out=out)


def test_no_addresses_have_no_answers():
    none = np.empty(0, U64)
    assert [len(column) for column in translate(Memory([]), SVADU, Regime(SV39.satp(BASE)), none)] == [0, 0]


def test_addresses_none_of_which_is_canonical_are_all_faults():
    vas = spread() | U64(1 << 50)
    assert set(Wide().check(vas).tolist()) == {STATUS["non-canonical"]}


def test_translating_changes_nothing_in_memory_that_may_not_change():
    world = Wide()
    before = [bytes(region.data) for region in world.memory.regions]
    frozen = Memory([Region(region.base, bytes(region.data)) for region in world.memory.regions])
    for memory, kind in product((world.memory, frozen), Kind):
        pas, status = translate(memory, SVADU, Regime(SV39.satp(BASE)), spread() & ~U64(7), kind, 8)
        assert pas.all() and not status.any()
        assert [bytes(region.data) for region in memory.regions] == before


@given(
    st.sampled_from(FORMATS), st.sampled_from(EXTENSIONS), st.sampled_from(list(Kind)), st.integers(1, 8),
    st.sampled_from("USM"), st.booleans(), st.booleans(), st.integers(0, 1 << 32),
)  # fmt: skip
def test_translate_is_the_scalar_mmu_on_random_tables(
    fmt: Format, extensions: Extensions, kind: Kind, size: int, priv: str, sum: bool, mxr: bool, seed: int
):
    size = 1 << (size & 3) if kind is Kind.AMO else size
    rng = np.random.default_rng(seed)
    memory, vas = random_memory(rng, fmt), random_rows(rng, fmt, 2 * CHUNK).va % U64(1 << 30 if seed & 1 else 1 << 22)
    where = Regime(fmt.satp(BASE), priv, sum, mxr, fmt.xlen)
    pas, status = translate(memory, extensions, where, vas, kind, size)
    outcomes = [Mmu(memory, extensions).access(where, kind, va, size) for va in vas.tolist()]
    assert pas.tolist() == [one.pa or 0 for one in outcomes]
    assert [RULE_NAMES[n] for n in status.tolist()] == [one.rule.id if one.rule else "" for one in outcomes]
