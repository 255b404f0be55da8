"""Questions: the same for the same seed, of every kind, with the right answer."""

from __future__ import annotations

from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pagebook.quiz import BASE, FRAMES, LEVELS, NOWHERE, Question, make_question, parse_answer
from pagebook.sv import SV32

SEEDS = range(150)


@cache
def asked_at(level: str) -> list[Question]:
    """The questions of all seeds, to be looked at only."""
    return [make_question(seed, level) for seed in SEEDS]


def rule_of(asked: Question) -> str:
    rule = asked.outcome().rule
    return rule.id if rule else ""


@pytest.mark.parametrize("level", LEVELS)
def test_every_goal_of_a_level_is_met_by_some_seed_and_nothing_else(level: str) -> None:
    assert set(map(rule_of, asked_at(level))) == set(LEVELS[level].goals)


@pytest.mark.parametrize("level", LEVELS)
def test_the_same_seed_makes_the_same_question(level: str) -> None:
    for seed in (0, 1, 2**40):
        one, two = make_question(seed, level), make_question(seed, level)
        assert one.entries() == two.entries()
        assert (one.regime, one.kind, one.va, one.size) == (two.regime, two.kind, two.va, two.size)
        assert one.mmu.extensions == two.mmu.extensions


def test_seeds_and_levels_make_different_questions() -> None:
    asked = [make_question(seed, level) for seed in range(20) for level in LEVELS]
    assert len({(tuple(one.entries()), one.va) for one in asked}) == len(asked)


def test_an_easy_question_has_sv39_and_one_page() -> None:
    for asked in asked_at("easy"):
        assert asked.space.table.format.name == "Sv39"
        assert len(asked.outcome().parts) == 1
        assert not (asked.regime.sum or asked.regime.mxr)
        assert asked.va < 1 << 34


def test_hard_questions_have_every_format_and_some_straddle() -> None:
    asked = asked_at("hard")
    assert {one.space.table.format.name for one in asked} == {"Sv32", "Sv39", "Sv48", "Sv57"}
    assert any(len(one.outcome().parts) == 2 for one in asked)


def test_all_ptes_are_shown_and_no_more() -> None:
    for asked in asked_at("hard")[:30]:
        memory, width = asked.mmu.memory, asked.space.table.format.pte_bytes
        data = memory.read(BASE, FRAMES * 4096)
        found = [
            (BASE + at, int.from_bytes(data[at : at + width], "little"))
            for at in range(0, len(data), width)
            if any(data[at : at + width])
        ]
        assert asked.entries() == found
        assert NOWHERE not in memory


@given(st.integers(0, 2**64), st.sampled_from(sorted(LEVELS)))
@settings(max_examples=40)
def test_only_what_the_access_comes_to_is_the_right_answer(seed: int, level: str) -> None:
    asked = make_question(seed, level)
    outcome = asked.outcome()
    right = hex(outcome.pa) if outcome.cause is None else str(outcome.cause)
    assert asked.right(right)
    assert asked.right(f" {right.upper().replace('0X', '0x')} ")
    others = {"1", "5", "7", "12", "13", "15", hex(BASE + 0x2F0F8 + 1)} - {right}
    assert not any(asked.right(other) for other in others)
    assert asked.solve().outcome == outcome


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        ("15", (15, None)), ("0xf", (15, None)), ("f", (15, None)), ("scause 0xf", (15, None)),
        ("cause=13", (13, None)),
        ("fault 5", (5, None)), ("fault: 0x7", (7, None)), ("0x80001ff8", (None, 0x8000_1FF8)),
        ("pa 80001ff8", (None, 0x8000_1FF8)), ("8000aff8", (None, 0x8000_AFF8)), ("16", (None, 16)),
    ],
)  # fmt: skip
def test_an_answer_is_a_cause_or_a_physical_address(text: str, meaning: tuple[int | None, int | None]) -> None:
    assert parse_answer(text) == meaning


@pytest.mark.parametrize("text", ["", "yes", "scause", "2", "0x3", "fault", "-1", "1.5"])
def test_an_answer_that_is_neither_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"is neither|is no cause"):
        parse_answer(text)


def test_sv32_has_addresses_of_32_bits() -> None:
    asked = next(one for one in asked_at("hard") if one.space.table.format is SV32)
    assert asked.va < 1 << 32
    assert asked.regime.xlen == 32
