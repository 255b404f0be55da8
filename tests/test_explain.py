"""Explanations: every fact is the MMU's, and each hint comes where it is true."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pagebook.explain import DECIDING, NEAR, USUAL, Explanation, explain, regime_of, where
from pagebook.machine import Area, Space
from pagebook.memory import Memory
from pagebook.mmu import CAUSES, RULES, Extensions, Kind, Mmu, Regime
from pagebook.quiz import LEVELS, make_question
from pagebook.sv import SV39, A, D, R, U, V, W, X
from pagebook.table import AddressSpace
from pagebook.xv6.boot import boot, machine
from pagebook.xv6.memlayout import KSTACK
from worlds import BASE, PAGE, World

LOAD, STORE, FETCH, AMO = Kind
MODEL = machine(boot(ram=2 << 20))


def model(space: str, kind: Kind, va: int, priv: str | None = None, **bits: bool) -> Explanation:
    one = MODEL.space(space)
    return explain(Mmu(MODEL.memory), one, regime_of(one, priv, **bits), kind, va)


def one_page(pte: int, va: int = 0x5000, **facts: object) -> Space:
    """A space in which nothing but ``va`` is mapped, by ``pte``."""
    world = World()
    world.table.map(va, PAGE, BASE, R)
    world.memory.write64(world.table.entry(va).pte_pa, pte)
    return Space("one", AddressSpace(world.memory, world.table.root), **facts)  # type: ignore[arg-type]


def hints(space: Space, kind: Kind, va: int, priv: str | None = None) -> str:
    return "; ".join(explain(Mmu(space.table.memory), space, regime_of(space, priv), kind, va).likely)


# Facts


@given(st.integers(0, 10_000), st.sampled_from(sorted(LEVELS)))
def test_steps_verdict_and_causes_are_those_of_the_mmu(seed: int, level: str) -> None:
    asked = make_question(seed, level)
    found, outcome = asked.solve(), asked.outcome()
    assert found.outcome == outcome
    for page, part in zip(found.pages, outcome.parts, strict=True):
        assert (page.va, page.size, page.pa, page.after) == (part.va, part.size, part.pa, part.after)
        assert tuple(step.entry for step in page.steps) == part.steps
        fmt = asked.space.table.format
        assert [step.fields for step in page.steps] == [fmt.decode_pte(entry.pte) for entry in part.steps]
        assert [step.number for step in page.steps] == [fmt.index(part.va, entry.level) for entry in part.steps]
        assert all(step.rule is None for step in page.steps[:-1])
        if page.steps:
            assert page.steps[-1].rule is part.rule
    if outcome.cause is None:
        assert (found.decided, found.hardware, found.xv6, found.likely) == ({}, "", "", ())
        assert found.verdict == f"allowed: {asked.va:#x} reaches physical address {outcome.pa:#x}"
    else:
        assert outcome.rule
        assert found.hardware == f"scause {outcome.cause:#x}, stval {outcome.tval:#x}"
        assert found.verdict.startswith(CAUSES[outcome.cause])
        assert found.verdict.endswith(f"{outcome.rule.text} [{outcome.rule.id}]")
        assert found.likely


@given(st.integers(0, 10_000))
def test_turning_the_bits_that_decided_changes_the_verdict(seed: int) -> None:
    asked = make_question(seed, "easy")
    found = asked.solve()
    rule = found.outcome.rule
    if rule is None:
        return
    last = found.pages[-1].steps[-1]
    fields = {field.name: field for field in asked.space.table.format.pte_fields}
    pte = last.entry.pte
    for name in found.decided:
        if name in fields:
            pte ^= 1 << fields[name].low
    asked.mmu.memory.write64(last.entry.pte_pa, pte)
    now = asked.outcome().rule
    assert now is None or now.id != rule.id


def test_every_rule_has_its_usual_reason_and_every_rule_about_a_pte_its_bits() -> None:
    assert set(USUAL) == set(RULES)
    assert set(RULES) - set(DECIDING) == {"amo-misaligned", "non-canonical"}
    names = {field.name for field in SV39.pte_fields}
    assert {name for bits in DECIDING.values() for name in bits} <= names


def test_a_straddling_access_has_two_pages_and_says_in_which_it_fails() -> None:
    found = explain(Mmu(MODEL.memory), MODEL.space("sh"), regime_of(MODEL.space("sh")), LOAD, 0x1FFE, 4)
    assert [(page.va, page.size) for page in found.pages] == [(0x1FFE, 2), (0x2000, 2)]
    assert found.pages[0].pa is not None
    assert found.verdict.startswith("load page fault in the second page it touches: U is 0")
    assert found.place == "0x2000 is in guard page of sh"
    assert found.hardware == "scause 0xd, stval 0x2000"


def test_sum_and_mxr_are_named_where_they_could_have_helped() -> None:
    assert model("sh", LOAD, 0x1000, "S").decided == {"U": 1, "SUM": 0}
    assert model("sh", FETCH, 0, "S").decided == {"U": 1}
    execute_only = one_page(SV39.pte(BASE, V | X | A | D))
    found = explain(Mmu(execute_only.table.memory), execute_only, regime_of(execute_only), LOAD, 0x5000)
    assert found.decided == {"R": 0, "X": 1, "MXR": 0}
    allowed = explain(Mmu(execute_only.table.memory), execute_only, regime_of(execute_only, mxr=True), LOAD, 0x5000)
    assert allowed.outcome.cause is None


def test_a_pointer_with_leaf_flags_names_only_those_that_are_set() -> None:
    space = one_page(SV39.pte(BASE, V | A | U))
    assert explain(Mmu(space.table.memory), space, regime_of(space), LOAD, 0x5000).decided == {"A": 1, "U": 1}


def test_machine_mode_reads_no_pte() -> None:
    found = model("sh", LOAD, 0x8000_0000, "M")
    assert found.pages[0].steps == ()
    assert found.outcome.pa == 0x8000_0000
    nothing = model("sh", LOAD, 0x4000_0000, "M")
    assert (nothing.decided, nothing.outcome.cause) == ({}, 5)
    assert "machine mode" in nothing.xv6


def test_bare_mode_reads_no_pte() -> None:
    space = MODEL.space("kernel")
    found = explain(Mmu(MODEL.memory), space, Regime(0, "S"), STORE, 0x8000_0000)
    assert (found.pages[0].steps, found.outcome.pa) == ((), 0x8000_0000)


def test_a_device_answers_and_is_no_memory() -> None:
    assert model("kernel", STORE, 0x1000_0000).outcome.pa == 0x1000_0000
    assert MODEL.memory.devices
    assert 0x1000_0000 not in MODEL.memory
    past = explain(Mmu(Memory((), MODEL.memory.devices)), MODEL.space("kernel"), Regime(0, "M"), LOAD, 0x1000_1FFD, 8)
    assert past.outcome.rule
    assert past.outcome.rule.id == "target-outside"


def test_privilege_is_the_process_s_or_the_kernel_s_unless_given() -> None:
    assert regime_of(MODEL.space("sh")).priv == "U"
    assert regime_of(MODEL.space("kernel")).priv == "S"
    assert regime_of(MODEL.space("sh"), "S").priv == "S"


# Words for a place


def test_an_address_in_an_area_is_said_to_be_there() -> None:
    assert where(MODEL.space("sh"), 0x2ABC) == "0x2abc is in guard page of sh"


def test_areas_that_overlap_are_all_named() -> None:
    space = one_page(0, areas=(Area(0, PAGE, "a"), Area(8, 8, "b")))
    assert where(space, 8) == "0x8 is in a and b of one"


@pytest.mark.parametrize(
    ("va", "words"),
    [
        (0x4FFF, ", 1 byte before a"),
        (0x4001, ", 4095 bytes before a"),
        (0x3FFF, ""),
        (0x6000, ", 0 bytes past the end of a"),
        (0x7000, ", 0x1000 bytes past the end of a"),
        (0x6000 + NEAR - 1, ", 0xffff bytes past the end of a"),
        (0x6000 + NEAR, ""),
    ],
)
def test_an_address_near_an_area_is_said_to_be_near(va: int, words: str) -> None:
    assert where(one_page(0, areas=(Area(0x5000, PAGE, "a"),)), va) == f"{va:#x} is in no named part of one{words}"


# Hints


def test_numbers_that_are_no_pointers_are_told_by_their_shape() -> None:
    for space in ("kernel", "sh"):
        assert "a 32-bit value with its sign extended" in model(space, LOAD, 0xFFFF_FFFF_8000_0000).likely[0]
        assert "a little below address 0" in model(space, LOAD, (1 << 64) - 8).likely[0]
        assert model(space, LOAD, 0xFFFF_FFFF_7000_0000).likely == (USUAL["v-clear"],)


def test_in_the_kernel_the_end_of_ram_and_programs_addresses_are_told() -> None:
    end = MODEL.memory.regions[0].end
    assert "past the end of RAM" in model("kernel", STORE, end).likely[0]
    assert "past the end of RAM" not in model("kernel", STORE, end + NEAR).likely[0]
    assert "copyin and copyout" in model("kernel", STORE, 0x3000).likely[0]
    assert "copyin and copyout" not in model("kernel", STORE, 0x2000_0000).likely[0]


def test_supervisor_mode_in_a_process_is_the_trampoline() -> None:
    assert "only the trampoline" in model("sh", LOAD, 0x9000, "S").xv6
    assert "kerneltrap" in model("kernel", LOAD, 0x9000).xv6


def test_a_stack_that_overflowed_is_named() -> None:
    assert "overflowed into its guard page" in model("sh", STORE, 0x2FF8).likely[0]
    assert len(model("sh", STORE, 0x2FF8).likely) == 1
    assert "overflowed into the unmapped page below" in model("kernel", STORE, KSTACK(0) - 16).likely[0]
    assert "overflowed" not in model("kernel", STORE, KSTACK(63) - PAGE - 16).likely[0]


def test_null_pointers_are_named_where_xv6_makes_them_fault() -> None:
    assert "a null pointer: xv6 maps a program's text at 0" in model("sh", STORE, 0x10).likely[0]
    assert "a null pointer in the kernel" in model("kernel", LOAD, 8).likely[0]
    assert "a program's address" in model("kernel", LOAD, PAGE).likely[0]
    assert "a function pointer that was never set" in model("kernel", FETCH, 0).likely[0]


def test_pages_of_the_kernel_s_in_a_process_are_named() -> None:
    for va in (0x3F_FFFF_E010, 0x3F_FFFF_F000):
        assert "the page is the kernel's" in model("sh", LOAD, va).likely[0]


def test_just_past_the_process_is_an_index_out_of_bounds_and_a_kernel_address_is_a_kernel_s() -> None:
    assert "past the end of the process's memory" in model("sh", LOAD, 0x4008).likely[0]
    assert "a pointer of the kernel's" in model("sh", LOAD, 0x8000_1000).likely[0]
    assert model("sh", LOAD, 0x1234_5678).likely == (USUAL["v-clear"],)


@pytest.mark.parametrize(("fill", "words"), [(0x05, "kalloc"), (0x01, "kfree")])
def test_pointers_read_from_filled_pages_are_told_by_their_bytes(fill: int, words: str) -> None:
    pointer = int.from_bytes(bytes([fill]) * 8, "little")
    assert words in model("kernel", LOAD, pointer).likely[0]
    assert words in model("kernel", LOAD, pointer + 24).likely[0]
    assert words not in model("kernel", LOAD, pointer >> 8).likely[0]


def test_a_marked_page_is_said_to_be_copy_on_write() -> None:
    pte = SV39.pte(BASE, V | R | U | A | D | 1 << 8)
    assert "RSW is 1" in hints(one_page(pte, pid=3, size=0x8000), STORE, 0x5000)
    assert "RSW" not in hints(one_page(pte & ~(3 << 8), pid=3, size=0x8000), STORE, 0x5000)
    assert "RSW" not in hints(one_page(pte, pid=3, size=0x8000), FETCH, 0x5000)


def test_a_hole_below_the_size_may_be_a_lazy_page() -> None:
    assert "allocates lazily" in hints(one_page(0, pid=3, size=0x8000), LOAD, 0x5000)
    assert "allocates lazily" not in hints(one_page(0, pid=3, size=0x8000), FETCH, 0x5000)
    assert "allocates lazily" not in hints(one_page(0, pid=3, size=0x5000), LOAD, 0x5000)
    assert "allocates lazily" not in hints(one_page(0), LOAD, 0x5000)


def test_an_absent_pte_that_is_not_zero_says_what_is_left_in_it() -> None:
    assert "A or D and nothing else" in hints(one_page(A), LOAD, 0x5000)
    assert "not zero, only its V is" in hints(one_page(SV39.pte(BASE, R | W)), LOAD, 0x5000)
    assert hints(one_page(0), LOAD, 0x5000) == USUAL["v-clear"]


def test_svade_faults_are_told_from_missing_rights() -> None:
    space = one_page(SV39.pte(BASE, V | R | W))
    svade = Mmu(space.table.memory, Extensions(svadu=False))
    assert explain(svade, space, regime_of(space), LOAD, 0x5000).decided == {"A": 0}
    assert explain(Mmu(space.table.memory), space, regime_of(space), LOAD, 0x5000).outcome.cause is None
