"""The machine of the examples: each rule is broken where it should be, by nothing but what the example spoils."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pagebook.examples import EXAMPLES, USUAL_HART, Example, rules_machine
from pagebook.explain import Explanation, explain, regime_of
from pagebook.mmu import CAUSES, RULES, Mmu

MACHINE = rules_machine()
PAGE = (Path(__file__).parents[1] / "docs" / "rules.md").read_text(encoding="utf-8")


def explained(space: str, example: Example) -> Explanation:
    one = MACHINE.space(space)
    mmu = Mmu(MACHINE.memory, example.extensions)
    return explain(mmu, one, regime_of(one, example.priv), example.kind, example.va, example.size)


def command(name: str) -> str:
    """The call of ``pagebook walk`` that shows an example."""
    example = EXAMPLES[name]
    words = f"pagebook walk {example.va:#x} rules --space {name} --access {example.kind.name.lower()}"
    words += f" --size {example.size}" + (f" --priv {example.priv}" if example.priv != "S" else "")
    on = [name for name in ("svnapot", "svpbmt") if getattr(example.extensions, name)]
    return words + ("" if example.extensions.svadu else " --svade") + "".join(f" --{name}" for name in on)


def test_there_is_an_example_and_a_space_for_each_rule_in_its_order() -> None:
    assert list(EXAMPLES) == list(RULES)
    assert [space.name for space in MACHINE.spaces] == ["sound", *RULES]


@pytest.mark.parametrize("name", RULES)
def test_each_example_breaks_its_rule(name: str) -> None:
    rule = explained(name, EXAMPLES[name]).outcome.rule
    assert rule and rule.id == name


@pytest.mark.parametrize("name", RULES)
def test_nothing_but_what_the_example_spoils_is_at_fault(name: str) -> None:
    example = EXAMPLES[name]
    rule = explained("sound", example).outcome.rule
    by_access = name in ("amo-misaligned", "non-canonical", "supervisor-page")
    assert (rule.id if rule else None) == (name if by_access else None)


@pytest.mark.parametrize("name", RULES)
def test_an_extension_is_there_only_where_the_rule_needs_it(name: str) -> None:
    example = EXAMPLES[name]
    if example.extensions != USUAL_HART:
        one = MACHINE.space(name)
        found = Mmu(MACHINE.memory).access(regime_of(one, example.priv), example.kind, example.va, example.size)
        assert found.rule is None or found.rule.id != name


def test_the_examples_come_to_every_cause() -> None:
    assert {explained(name, example).outcome.cause for name, example in EXAMPLES.items()} == set(CAUSES)


@pytest.mark.parametrize("name", RULES)
def test_the_page_of_rules_has_a_section_with_the_example_of_each(name: str) -> None:
    section = PAGE.split(f"\n## {name}\n")[1].split("\n## ")[0]
    assert f"<!-- output: {command(name)} -->" in section
    assert f"[{name}]" in section
    assert f"scause {explained(name, EXAMPLES[name]).outcome.cause:#x}" in section


def test_the_table_of_the_page_has_every_rule_with_its_words() -> None:
    rows = re.findall(r"^\| \[([\w-]+)\]\(#\1\) \| (\w+) \| (\w+) (\w+) fault \| (.*) \|$", PAGE, re.M)
    assert rows == [
        (r.id, str(r.step or "before"), *(("an", "access") if r.access else ("a", "page")), r.text)
        for r in RULES.values()
    ]
