"""One access: every rule by an example, for every kind of access that can break it, and what is left behind."""

from __future__ import annotations

import re

import pytest

from pagebook.errors import BadAddress
from pagebook.memory import Memory, Region
from pagebook.mmu import ACCESS_FAULT, CAUSES, PAGE_FAULT, RULES, Extensions, Kind, Mmu, Outcome, Regime
from pagebook.sv import SV32, SV39, SV48, SV57, A, D, Format, G, R, U, V, W, X
from worlds import BASE, PAGE

LOAD, STORE, FETCH, AMO = Kind
PAGES = 64
GOOD = V | R | W | X | A | D
ROOT = BASE
TARGET = BASE + 32 * PAGE
ALL = Extensions(svadu=True, svnapot=True, svpbmt=True, svrsw60t59b=True)
NONE = Extensions()
WIDE = (SV39, SV48, SV57)


class Chain:
    """A RAM of 64 pages whose first ones are a table for each level, entry 1 of each leading to the next."""

    def __init__(self, format: Format = SV39, extensions: Extensions = NONE, base: int = BASE) -> None:
        self.format = format
        self.memory = Memory.anonymous(PAGES * PAGE, base)
        self.mmu = Mmu(self.memory, extensions)
        self.root = base
        for level, _ in format.steps[:-1]:
            self.put(level, pointer(self.table(level - 1)))

    def table(self, level: int) -> int:
        return self.root + (self.format.levels - 1 - level) * PAGE

    def pte_pa(self, level: int, index: int = 1) -> int:
        return self.table(level) + index * self.format.pte_bytes

    def put(self, level: int, pte: int, index: int = 1) -> None:
        self.memory.write(self.pte_pa(level, index), pte.to_bytes(self.format.pte_bytes, "little"))

    def get(self, level: int, index: int = 1) -> int:
        return int.from_bytes(self.memory.read(self.pte_pa(level, index), self.format.pte_bytes), "little")

    def va(self, level: int = 0, offset: int = 0, index: int = 1) -> int:
        """An address whose walk meets ``index`` on ``level`` after entry 1 on those above."""
        va = sum(1 << shift for other, shift in self.format.steps if other > level)
        return (va | index << dict(self.format.steps)[level]) + offset

    def regime(self, priv: str = "S", sum: bool = False, mxr: bool = False) -> Regime:
        return Regime(self.format.satp(self.root), priv, sum, mxr, self.format.xlen)

    def access(self, kind: Kind, va: int, size: int = 4, *, commit: bool = False, **regime: object) -> Outcome:
        return self.mmu.access(self.regime(**regime), kind, va, size, commit=commit)  # type: ignore[arg-type]

    def fails(self, rule: str, kind: Kind, va: int, size: int = 4, **regime: object) -> Outcome:
        """The access breaks this rule, has the cause that goes with it, and changes nothing."""
        before = bytes(self.memory.regions[0].data)
        found = self.access(kind, va, size, commit=rule != "target-outside", **regime)
        assert found.rule is RULES[rule]
        assert found.cause == (ACCESS_FAULT if RULES[rule].access else PAGE_FAULT)[kind]
        assert (found.pa, found.tval) == (None, found.parts[-1].va)
        assert bytes(self.memory.regions[0].data) == before
        return found


def pointer(pa: int) -> int:
    return pa >> 12 << 10 | V


def leaf(pa: int = TARGET, flags: int = GOOD) -> int:
    return pa >> 12 << 10 | flags


# Where there is no translation.


@pytest.mark.parametrize("kind", Kind)
@pytest.mark.parametrize("xlen", [32, 64])
def test_bare_and_machine_mode_reach_the_address_itself_or_nothing(kind: Kind, xlen: int):
    chain = Chain(SV32 if xlen == 32 else SV39)
    for regime in (Regime(0, "U", xlen=xlen), Regime(0, "S", xlen=xlen), chain.regime("M")):
        found = chain.mmu.access(regime, kind, BASE + 0x124, 4, commit=True)
        assert found == Outcome(kind, found.parts, None, 0)
        assert (found.pa, found.rule, found.parts[0].leaf, found.parts[0].after) == (BASE + 0x124, None, None, None)
        for va in (0x1000, BASE - 4, BASE + PAGES * PAGE, (1 << xlen) - 4):
            missed = chain.mmu.access(regime, kind, va, 4)
            assert (missed.cause, missed.tval, missed.rule) == (ACCESS_FAULT[kind], va, RULES["target-outside"])


def test_every_cause_that_can_come_has_a_name():
    assert set(CAUSES) == {*PAGE_FAULT.values(), *ACCESS_FAULT.values()} == {1, 5, 7, 12, 13, 15}


# A good access.


@pytest.mark.parametrize("kind", Kind)
def test_a_good_access_reaches_the_page_at_every_level(fmt: Format, kind: Kind):
    for level in range(fmt.levels):
        chain = Chain(fmt)
        # Superpages cannot be aligned in a RAM this small: only the ones whose target is in it are taken.
        base = BASE & -fmt.page_bytes(level)
        chain.put(level, leaf(base))
        va = chain.va(level, (TARGET - base) % fmt.page_bytes(level) + 0x10)
        found = chain.access(kind, va)
        inside = TARGET - base < fmt.page_bytes(level)
        expected = TARGET if inside else base + (TARGET - base) % fmt.page_bytes(level)
        assert [step.level for step in found.parts[0].steps] == list(range(fmt.levels - 1, level - 1, -1))
        assert found.parts[0].leaf == (level, chain.pte_pa(level), leaf(base))
        if expected + 0x10 in chain.memory:
            assert (found.pa, found.cause, found.tval, found.rule) == (expected + 0x10, None, 0, None)
        else:
            assert (found.pa, found.rule) == (None, RULES["target-outside"])


@pytest.mark.parametrize(
    ("kind", "flags", "priv", "sum", "mxr"),
    [
        (LOAD, V | R | A, "S", False, False),
        (LOAD, V | X | A, "S", False, True),
        (LOAD, V | R | U | A, "U", False, False),
        (LOAD, V | R | U | A, "S", True, False),
        (LOAD, V | X | U | A, "U", False, True),
        (STORE, V | R | W | A | D, "S", False, False),
        (STORE, V | R | W | U | A | D, "S", True, False),
        (STORE, V | R | W | U | A | D, "U", False, False),
        (AMO, V | R | W | U | A | D, "U", False, False),
        (FETCH, V | X | A, "S", False, False),
        (FETCH, V | X | U | A, "U", False, False),
    ],
)
def test_the_least_rights_that_an_access_needs_suffice(
    fmt: Format, kind: Kind, flags: int, priv: str, sum: bool, mxr: bool
):
    for svadu in (False, True):
        chain = Chain(fmt, Extensions(svadu=svadu))
        chain.put(0, leaf(flags=flags))
        assert chain.access(kind, chain.va(offset=0x20), priv=priv, sum=sum, mxr=mxr).pa == TARGET + 0x20


def test_sv32_reaches_34_bits_of_physical_memory():
    high = 0x3_4567_8000
    memory = Memory([Region(BASE, bytearray(4 * PAGE), writable=True), Region(high, bytearray(PAGE), writable=True)])
    memory.write32(BASE + 4, pointer(BASE + PAGE))
    memory.write32(BASE + PAGE + 4, leaf(high))
    found = Mmu(memory).access(Regime(SV32.satp(BASE), xlen=32), LOAD, 0x0040_1ABC, 4)
    assert found.pa == high + 0xABC
    memory.write32(BASE + 8, leaf(0x3_4540_0000))  # and a megapage up there
    assert Mmu(memory).access(Regime(SV32.satp(BASE), xlen=32), LOAD, 0x00A7_8ABC, 4).pa == high + 0xABC


def test_a_table_may_stand_in_another_region_than_the_root():
    memory = Memory(
        [Region(BASE, bytearray(2 * PAGE), writable=True), Region(1 << 40, bytearray(4 * PAGE), writable=True)]
    )
    memory.write64(BASE + 8, pointer(1 << 40))
    memory.write64((1 << 40) + 8, pointer((1 << 40) + PAGE))
    memory.write64((1 << 40) + PAGE + 8, leaf((1 << 40) + 2 * PAGE, V | R | W))
    mmu, regime = Mmu(memory), Regime(SV39.satp(BASE))
    assert mmu.access(regime, STORE, 0x4020_1008, commit=True).pa == (1 << 40) + 2 * PAGE + 8
    assert memory.read64((1 << 40) + PAGE + 8) == leaf((1 << 40) + 2 * PAGE, V | R | W | A | D)


# The rules, in the specification's order.


def test_an_amo_off_its_alignment_is_refused_before_any_translation(fmt: Format):
    chain = Chain(fmt)
    for va in (chain.va(offset=2), chain.va(offset=0xFFE), (1 << 31) - 2):
        for priv in "USM":
            found = chain.fails("amo-misaligned", AMO, va, priv=priv)
            assert (found.cause, found.tval, found.parts[0].steps) == (7, va, ())


@pytest.mark.parametrize("kind", Kind)
@pytest.mark.parametrize("wide", WIDE, ids=lambda fmt: fmt.name)
def test_an_address_must_be_canonical(kind: Kind, wide: Format):
    chain = Chain(wide)
    for va in (1 << wide.va_bits - 1, 1 << 63, (1 << 64) - (1 << wide.va_bits), chain.va() | 1 << 63):
        found = chain.fails("non-canonical", kind, va)
        assert found.parts[0].leaf is None
    chain.fails("v-clear", kind, (1 << 64) - 8)


@pytest.mark.parametrize("kind", Kind)
def test_a_pte_must_be_in_memory(fmt: Format, kind: Kind):
    for level in range(1, fmt.levels):
        chain = Chain(fmt)
        chain.put(level, pointer(0x4000_0000))
        found = chain.fails("table-outside", kind, chain.va())
        assert (found.parts[0].leaf, found.parts[0].after) == ((level, chain.pte_pa(level), pointer(0x4000_0000)), None)
    found = chain.mmu.access(Regime(fmt.satp(0x4000_0000), xlen=fmt.xlen), kind, 0, 4)
    assert (found.cause, found.rule, found.parts[0].steps) == (ACCESS_FAULT[kind], RULES["table-outside"], ())


@pytest.mark.parametrize("kind", Kind)
def test_the_last_word_of_memory_serves_as_a_pte_and_the_next_one_is_missing(kind: Kind):
    chain = Chain()
    chain.put(1, pointer(BASE + (PAGES - 1) * PAGE))
    last = BASE + PAGES * PAGE - 8
    chain.memory.write64(last, leaf())
    found = chain.access(kind, chain.va(1) | 511 << 12)
    assert (found.pa, found.parts[0].leaf) == (TARGET, (0, last, leaf()))
    chain.put(1, pointer(BASE + PAGES * PAGE))
    chain.fails("table-outside", kind, chain.va())


# name: what stands on the last level, and the regimes in which it breaks the rule
LEAVES = {
    "v-clear": [(LOAD, leaf() & ~V), (STORE, leaf() & ~V), (FETCH, leaf() & ~V), (AMO, 0), (LOAD, leaf(flags=W))],
    "w-without-r": [(kind, leaf(flags=V | W | more)) for kind in Kind for more in (0, X, U | A | D)],
    "last-pointer": [(kind, pointer(TARGET) | more) for kind in Kind for more in (0, G, 1 << 8)],
    "pointer-reserved": [(kind, pointer(TARGET) | bit) for kind in Kind for bit in (D, A, U)],
    "not-readable": [(LOAD, leaf(flags=V | X | A))],
    "not-writable": [(kind, leaf(flags=V | more | A | D)) for kind in (STORE, AMO) for more in (R, X, R | X)],
    "not-executable": [(FETCH, leaf(flags=V | more | A | D)) for more in (R, R | W)],
}


@pytest.mark.parametrize("rule", LEAVES)
def test_what_a_last_level_pte_may_not_be(fmt: Format, rule: str):
    for kind, pte in LEAVES[rule]:
        for extensions in (NONE, Extensions(svadu=False), ALL):
            chain = Chain(fmt, extensions)
            chain.put(0, pte)
            part = chain.fails(rule, kind, chain.va(offset=8)).parts[0]
            assert (part.leaf, part.after) == ((0, chain.pte_pa(0), pte), pte)


def test_mxr_makes_up_for_r_at_a_load_only():
    chain = Chain()
    chain.put(0, leaf(flags=V | X | A | D))
    assert chain.access(LOAD, chain.va(), mxr=True).pa == TARGET
    chain.fails("not-writable", STORE, chain.va(), mxr=True)
    chain.put(0, leaf(flags=V | R | A | D))
    chain.fails("not-executable", FETCH, chain.va(), mxr=True)


@pytest.mark.parametrize("kind", Kind)
def test_a_user_page_is_for_supervisors_only_with_sum_and_never_to_fetch_from(fmt: Format, kind: Kind):
    chain = Chain(fmt)
    chain.put(0, leaf(flags=GOOD | U))
    chain.fails("user-page", kind, chain.va())
    if kind is FETCH:
        chain.fails("user-page", kind, chain.va(), sum=True)
    else:
        assert chain.access(kind, chain.va(), sum=True).pa == TARGET
    assert chain.access(kind, chain.va(), priv="U").pa == TARGET


@pytest.mark.parametrize("kind", Kind)
def test_a_supervisor_page_is_not_for_users(fmt: Format, kind: Kind):
    chain = Chain(fmt)
    chain.put(0, leaf())
    for sum in (False, True):
        chain.fails("supervisor-page", kind, chain.va(), priv="U", sum=sum)


@pytest.mark.parametrize("kind", Kind)
def test_a_superpage_must_be_aligned_to_its_size(fmt: Format, kind: Kind):
    for level in range(1, fmt.levels):
        chain = Chain(fmt)
        for bit in range(level * fmt.index_bits):
            chain.put(level, 1 << 10 + bit | GOOD)
            chain.fails("misaligned-superpage", kind, chain.va(level))


@pytest.mark.parametrize("kind", Kind)
@pytest.mark.parametrize("wide", WIDE, ids=lambda fmt: fmt.name)
def test_no_reserved_bit_may_be_set(kind: Kind, wide: Format):
    chain, all_on = Chain(wide), Chain(wide, ALL)
    for bit in range(54, 61):
        pte = leaf() | 1 << bit
        chain.put(0, pte)
        all_on.put(0, pte)
        chain.fails("reserved-bits", kind, chain.va())
        if bit >= 59:
            assert all_on.access(kind, chain.va()).pa == TARGET  # Svrsw60t59b gives these two to software
        else:
            all_on.fails("reserved-bits", kind, chain.va())


@pytest.mark.parametrize("kind", Kind)
@pytest.mark.parametrize("wide", WIDE, ids=lambda fmt: fmt.name)
def test_a_pointer_has_no_bit_that_only_leaves_have(kind: Kind, wide: Format):
    for level in range(1, wide.levels):
        chain, more = Chain(wide, ALL), Chain(wide)
        good = chain.get(level)
        for bits in (D, A, U, 1 << 61, 1 << 62, 3 << 61, 1 << 63):
            chain.put(level, good | bits)
            assert chain.fails("pointer-reserved", kind, chain.va()).parts[0].leaf.level == level  # type: ignore[union-attr]
        for bit in range(54, 59):
            chain.put(level, good | 1 << bit)
            chain.fails("reserved-bits", kind, chain.va())
        for rule, bits in {"n-reserved": 1 << 63, "pbmt-reserved": 1 << 61, "reserved-bits": 1 << 59}.items():
            more.put(level, good | bits)
            more.fails(rule, kind, more.va())


@pytest.mark.parametrize("kind", Kind)
@pytest.mark.parametrize("wide", WIDE, ids=lambda fmt: fmt.name)
def test_svrsw60t59b_frees_the_same_bits_in_pointers(kind: Kind, wide: Format):
    chain = Chain(wide, ALL)
    chain.put(0, leaf())
    chain.put(1, chain.get(1) | 3 << 59)
    assert chain.access(kind, chain.va()).pa == TARGET


@pytest.mark.parametrize("kind", Kind)
@pytest.mark.parametrize("wide", WIDE, ids=lambda fmt: fmt.name)
def test_pbmt_needs_svpbmt_and_may_not_be_3(kind: Kind, wide: Format):
    chain, without = Chain(wide, ALL), Chain(wide, Extensions(svnapot=True))
    for pbmt in (1, 2, 3):
        for world in (chain, without):
            world.put(0, leaf() | pbmt << 61)
        without.fails("pbmt-reserved", kind, chain.va())
        if pbmt == 3:
            chain.fails("pbmt-3", kind, chain.va())
        else:
            assert chain.access(kind, chain.va()).pa == TARGET


@pytest.mark.parametrize("kind", Kind)
@pytest.mark.parametrize("wide", WIDE, ids=lambda fmt: fmt.name)
def test_n_needs_svnapot_the_last_level_and_1000(kind: Kind, wide: Format):
    chain, without = Chain(wide, ALL), Chain(wide, Extensions(svpbmt=True))
    for low in range(16):
        pte = leaf(TARGET + low * PAGE) | 1 << 63
        chain.put(0, pte, index=5)
        without.put(0, pte, index=5)
        without.fails("n-reserved", kind, chain.va(index=5))
        if low == 8:
            assert chain.access(kind, chain.va(offset=0x124, index=5)).pa == TARGET + 5 * PAGE + 0x124
        else:
            chain.fails("napot-reserved", kind, chain.va(index=5))
    for level in range(1, wide.levels):
        chain.put(level, 8 << 10 | GOOD | 1 << 63, index=2)
        chain.fails("napot-reserved", kind, chain.va(level, index=2))


@pytest.mark.parametrize("kind", Kind)
def test_with_svade_a_clear_a_or_d_faults_and_with_svadu_it_is_set(fmt: Format, kind: Kind):
    stores = kind in (STORE, AMO)
    for flags, rule in (
        (GOOD & ~A, "a-clear"),
        (GOOD & ~A & ~D, "a-clear"),
        (GOOD & ~D, "d-clear" if stores else ""),
        (GOOD, ""),
    ):
        svade, svadu = Chain(fmt, Extensions(svadu=False)), Chain(fmt)
        for chain in (svade, svadu):
            chain.put(0, leaf(flags=flags))
        if rule:
            svade.fails(rule, kind, svade.va())
        else:
            assert svade.access(kind, svade.va(), commit=True).pa == TARGET
        assert svade.get(0) == leaf(flags=flags)
        after = leaf(flags=flags | A | (D if stores else 0))
        looked = svadu.access(kind, svadu.va())
        assert (looked.pa, looked.parts[0].after, svadu.get(0)) == (TARGET, after, leaf(flags=flags))
        assert svadu.access(kind, svadu.va(), commit=True) == looked
        assert svadu.get(0) == after


@pytest.mark.parametrize("kind", Kind)
def test_a_translation_may_be_fine_and_lead_nowhere(fmt: Format, kind: Kind):
    chain = Chain(fmt)
    chain.put(0, leaf(0x4000_0000))
    found = chain.fails("target-outside", kind, chain.va(offset=0x10))
    assert (found.cause, found.tval) == (ACCESS_FAULT[kind], chain.va(offset=0x10))


ORDER = [
    (W, "v-clear"), (V | W | 1 << 54, "w-without-r"), (GOOD | 1 << 54 | 1 << 63, "reserved-bits"),
    (GOOD | 1 << 63 | 3 << 61, "n-reserved"), (GOOD | 3 << 61, "pbmt-reserved"), (V | U, "pointer-reserved"),
    (V, "last-pointer"), (V | U | R, "user-page"), (V | R, "not-writable"), (V | R | W, "a-clear"),
    (V | R | W | A, "d-clear"), (GOOD, "target-outside"),
]  # fmt: skip


@pytest.mark.parametrize(("pte", "rule"), ORDER)
def test_the_first_rule_in_the_specifications_order_is_the_one_named(pte: int, rule: str):
    chain = Chain(extensions=Extensions(svadu=False))
    chain.put(0, pte)
    chain.fails(rule, STORE, chain.va())


def test_the_order_of_the_rules_is_that_of_the_steps():
    assert [rule.step for rule in RULES.values()] == sorted(rule.step for rule in RULES.values())
    assert all(rule.id == name for name, rule in RULES.items())


# Two pages.


@pytest.mark.parametrize("kind", [LOAD, STORE, FETCH])
def test_an_access_that_straddles_reaches_both_pages(fmt: Format, kind: Kind):
    chain = Chain(fmt)
    chain.put(0, leaf(TARGET, GOOD & ~A & ~D))
    chain.put(0, leaf(TARGET + 4 * PAGE, GOOD & ~A & ~D), index=2)
    found = chain.access(kind, chain.va(offset=0xFFE), commit=True)
    assert (found.pa, found.cause) == (TARGET + 0xFFE, None)
    assert [(part.va, part.size, part.pa) for part in found.parts] == [
        (chain.va(offset=0xFFE), 2, TARGET + 0xFFE), (chain.va(index=2), 2, TARGET + 4 * PAGE),
    ]  # fmt: skip
    bits = A | D if kind is STORE else A
    assert chain.get(0) & (A | D) == chain.get(0, 2) & (A | D) == bits
    assert len(chain.access(kind, chain.va(offset=0xFFC)).parts) == 1


@pytest.mark.parametrize("kind", [LOAD, STORE, FETCH])
def test_the_page_that_fails_is_in_tval_and_the_first_may_have_been_used(fmt: Format, kind: Kind):
    chain = Chain(fmt)
    chain.put(0, leaf(TARGET, GOOD & ~A & ~D))
    found = chain.access(kind, chain.va(offset=0xFFE), commit=True)
    assert (found.cause, found.tval, found.pa, len(found.parts)) == (PAGE_FAULT[kind], chain.va(index=2), None, 2)
    assert chain.get(0) & A  # A and D of the first page are set
    chain.put(0, 0)
    chain.put(0, leaf(), index=2)
    found = chain.access(kind, chain.va(offset=0xFFE))
    assert (found.cause, found.tval, len(found.parts)) == (PAGE_FAULT[kind], chain.va(offset=0xFFE), 1)
    chain.put(0, leaf())
    chain.put(0, leaf(0x4000_0000), index=2)
    found = chain.access(kind, chain.va(offset=0xFFE))
    assert (found.cause, found.tval) == (ACCESS_FAULT[kind], chain.va(index=2))


def test_after_the_last_address_comes_address_0(fmt: Format):
    chain = Chain(fmt)
    for level, _ in fmt.steps[:-1]:
        for index in (0, fmt.entries - 1):
            chain.put(level, pointer(chain.table(level - 1)), index)
    chain.put(0, leaf(TARGET), fmt.entries - 1)
    top = (1 << fmt.xlen) - 2
    found = chain.access(LOAD, top)
    assert (found.cause, found.tval) == (13, 0)
    chain.put(0, leaf(TARGET + PAGE), 0)
    assert [part.pa for part in chain.access(LOAD, top).parts] == [TARGET + 0xFFE, TARGET + PAGE]


@pytest.mark.parametrize("wide", WIDE, ids=lambda fmt: fmt.name)
def test_a_straddle_out_of_the_lower_half_is_not_canonical(wide: Format):
    chain = Chain(wide)
    for level, _ in wide.steps[:-1]:
        chain.put(level, pointer(chain.table(level - 1)), 255 if level == wide.levels - 1 else 511)
    chain.put(0, leaf(), 511)
    half = 1 << wide.va_bits - 1
    found = chain.access(STORE, half - 4, 8)
    assert (found.cause, found.tval, found.rule) == (15, half, RULES["non-canonical"])
    assert chain.access(STORE, half - 8, 8).pa == TARGET + 0xFF8


def test_a_bare_straddle_out_of_memory_fails_in_its_second_page():
    chain = Chain()
    end = BASE + PAGES * PAGE
    found = chain.mmu.access(Regime(0), LOAD, end - 4, 8)
    assert (found.cause, found.tval) == (5, end)


# What is no access.


@pytest.mark.parametrize(
    ("regime", "va", "size", "message"),
    [
        (Regime(0), -1, 8, "-0x1 is no 64-bit address"),
        (Regime(0), 1 << 64, 8, "0x10000000000000000 is no 64-bit address"),
        (Regime(0, xlen=32), 1 << 32, 4, "0x100000000 is no 32-bit address"),
        (Regime(0), 0, 0, "an access of 0 bytes: a hart makes accesses of 1 to 8"),
        (Regime(0), 0, 9, "an access of 9 bytes: a hart makes accesses of 1 to 8"),
        (Regime(7 << 60), 0, 8, "satp 0x7000000000000000 has the reserved MODE 7"),
        (Regime(7 << 60, "M"), 0, 8, "satp 0x7000000000000000 has the reserved MODE 7"),
        (Regime(1 << 32, xlen=32), 0, 4, "0x100000000 is not a 32-bit satp value"),
    ],
)
def test_what_no_hart_can_do_is_refused(regime: Regime, va: int, size: int, message: str):
    with pytest.raises(BadAddress, match=f"^{re.escape(message)}$"):
        Chain().mmu.access(regime, LOAD, va, size)


@pytest.mark.parametrize("size", [3, 5, 6, 7])
def test_an_amo_is_of_a_power_of_two(size: int):
    with pytest.raises(BadAddress, match=f"^an AMO of {size} bytes: its size is a power of two$"):
        Chain().access(AMO, 0, size)
    assert Chain().access(LOAD, 0, size).cause == 13
