"""Each seeded bug is found by its rule, and by no other; sound machines are silent."""

from __future__ import annotations

import pytest
from seeds import SEEDS, Seed

from pagebook.checks.looks import check
from pagebook.checks.registry import BY_ID, RULES, choose


def ids(seed: Seed) -> list[str]:
    rules = {*(rule.id for rule in choose()), *seed.ask}
    report = check(seed.make(), [rule for rule in RULES if rule.id in rules])
    return sorted({finding.rule for finding in report.findings})


@pytest.mark.parametrize("name", SEEDS)
def test_a_seeded_bug_is_found_by_its_rule_and_by_no_other(name: str) -> None:
    assert ids(SEEDS[name]) == sorted(SEEDS[name].expected)


def test_every_rule_has_a_machine_in_which_it_is_the_only_one_to_speak() -> None:
    alone = {id for seed in SEEDS.values() if len(seed.expected) == 1 for id in seed.expected}
    together = {id for seed in SEEDS.values() for id in seed.expected}
    assert together == set(BY_ID)
    assert set(BY_ID) - alone == {"PB019"}  # tables that list too much loop


@pytest.mark.parametrize("name", [name for name, seed in SEEDS.items() if seed.ask])
def test_a_rule_that_is_off_says_nothing_until_it_is_asked(name: str) -> None:
    assert ids(Seed(SEEDS[name].make, frozenset(), ())) == []
