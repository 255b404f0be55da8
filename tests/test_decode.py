"""A PTE alone: what is said of it is what the MMU does with it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pagebook.decode import WHO, decode_pte
from pagebook.errors import BadAddress
from pagebook.memory import Memory, Region
from pagebook.mmu import RULES, Extensions, Kind, Mmu, Regime
from pagebook.sv import SV32, SV39, SV48, SV57, A, D, Format, R, U, V, W, X
from worlds import FORMATS

LOAD, STORE, FETCH, AMO = Kind
USUAL = Extensions()
EVERY = V | R | W | X | A | D
BASE = 0x8000_0000


def test_a_leaf_says_what_it_maps_and_whom_it_serves() -> None:
    found = decode_pte(0x21FDD0C7, SV39, USUAL)
    assert (found.kind, found.pa, found.broken) == ("leaf", 0x87F74000, None)
    assert found.allows == {
        "user mode": (), "supervisor mode": (LOAD, STORE, AMO), "supervisor mode with SUM": (LOAD, STORE, AMO),
    }  # fmt: skip
    assert [(level, rule and rule.id) for level, rule in found.levels.items()] == [
        (2, "misaligned-superpage"), (1, "misaligned-superpage"), (0, None),
    ]  # fmt: skip


def test_a_user_s_page_serves_the_supervisor_only_with_sum_and_never_for_fetches() -> None:
    allows = decode_pte(SV39.pte(BASE, EVERY | U), SV39, USUAL).allows
    assert list(allows.values()) == [(LOAD, STORE, FETCH, AMO), (), (LOAD, STORE, AMO)]


def test_a_pointer_can_stand_on_every_level_but_the_last() -> None:
    found = decode_pte(SV48.pte(BASE, V), SV48, USUAL)
    assert (found.kind, found.allows, found.broken) == ("table", {}, None)
    assert [rule and rule.id for rule in found.levels.values()] == [None, None, None, "last-pointer"]


@pytest.mark.parametrize(
    ("pte", "rule"),
    [
        (V | W, "w-without-r"),
        (EVERY | 1 << 54, "reserved-bits"),
        (EVERY | 1 << 63, "n-reserved"),
        (EVERY | 1 << 61, "pbmt-reserved"),
        (V | A, "pointer-reserved"),
    ],
)
def test_what_no_level_can_use_is_invalid_and_says_why(pte: int, rule: str) -> None:
    found = decode_pte(pte, SV39, USUAL)
    assert (found.kind, found.broken and found.broken.id, found.allows) == ("invalid", rule, {})


@pytest.mark.parametrize("pte", [0, ~V & 0xFF, 1 << 63 | 6])
def test_without_v_all_other_bits_mean_nothing(pte: int) -> None:
    found = decode_pte(pte, SV39, USUAL)
    assert (found.kind, found.broken, found.allows) == ("absent", None, {})


def test_what_the_hart_has_decides_what_is_reserved() -> None:
    napot = SV39.pte(BASE | 8 << 12, EVERY) | 1 << 63
    assert decode_pte(napot, SV39, USUAL).kind == "invalid"
    found = decode_pte(napot, SV39, Extensions(svnapot=True))
    assert [rule and rule.id for rule in found.levels.values()] == ["napot-reserved", "napot-reserved", None]
    assert decode_pte(EVERY & ~A, SV39, Extensions(svadu=False)).allows["supervisor mode"] == ()


@pytest.mark.parametrize(("format", "pte"), [(SV32, 1 << 32), (SV39, 1 << 64), (SV57, -1)])
def test_what_is_wider_than_a_pte_is_refused(format: Format, pte: int) -> None:
    with pytest.raises(BadAddress, match=f"is no PTE of {format.name}: that has {8 * format.pte_bytes} bits"):
        decode_pte(pte, format, USUAL)


EXTENSIONS = st.builds(Extensions, st.booleans(), st.booleans(), st.booleans(), st.booleans())


@given(st.sampled_from(FORMATS), EXTENSIONS, st.data())
def test_it_says_of_each_level_what_the_mmu_does_there(
    format: Format, extensions: Extensions, data: st.DataObject
) -> None:
    high = (
        data.draw(st.sampled_from([0, 0, 0, 1 << 54, 1 << 59, 1 << 61, 3 << 61, 1 << 63])) if format.xlen == 64 else 0
    )
    pte = format.pte(BASE, data.draw(st.integers(0, 255))) | data.draw(st.integers(0, 15)) << 10 | high
    found = decode_pte(pte, format, extensions)
    for level, rule in found.levels.items():
        ram = bytearray((format.levels + 1) * 4096)
        for depth, (other, _) in enumerate(format.steps):
            here = pte if other == level else format.pte(BASE + (depth + 1) * 4096, V)
            at = depth * 4096
            ram[at : at + format.pte_bytes] = here.to_bytes(format.pte_bytes, "little")
            if other == level:
                break
        mmu = Mmu(Memory([Region(BASE, ram)]), extensions)
        for who, regime in WHO.items():
            for kind in Kind:
                walked = mmu.access(Regime(format.satp(BASE), regime.priv, regime.sum, False, format.xlen), kind, 0, 4)
                first = walked.parts[0]
                if len(first.steps) > format.levels - level:
                    assert found.kind == "table"
                    assert rule is None
                elif found.kind == "leaf" and rule is None:
                    reached = walked.rule is None or walked.rule.id == "target-outside"
                    assert reached == (kind in found.allows[who])
                elif walked.rule and walked.rule.id != "table-outside":
                    assert rule is RULES[walked.rule.id]
