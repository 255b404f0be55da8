"""The verbs check and rule: which rules are asked, what is printed, what status they end with."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from seeds import SEEDS, forked, fresh

from calls import FOLDER, call, on_terminal, saved
from pagebook.checks.looks import check
from pagebook.checks.registry import BY_ID, RULES, choose, page
from pagebook.checks.rule import Severity
from pagebook.errors import BadTarget
from pagebook.machine import Machine
from pagebook.memory import Memory
from pagebook.sources.elfcore import write_core
from pagebook.views import findings
from pagebook.xv6.boot import machine

ROOT = Path(__file__).parents[2]


def core(name: str) -> Path:
    """A seeded machine, saved."""
    path = FOLDER / f"{name}.core"
    if not path.exists():
        write_core(SEEDS[name].make(), path)
    return path


LEAK = "a_frame_was_allocated_and_forgotten"
NO_U = "a_data_page_has_no_u"


def test_a_clean_machine_ends_with_0_and_one_line() -> None:
    answer = call(["check", saved()]).must(0)
    assert answer.out == "no findings: 36 rules asked of xv6 (2024)\n"


def test_a_finding_ends_with_1_and_is_a_block_that_greps() -> None:
    answer = call(["check", core(NO_U)]).must(1)
    assert re.fullmatch(
        r"PB108 user-bit-missing: sh\.2 0x1000\n"
        r"  a page of the program has no U \(rw--\): every access by the program is a page fault\n"
        r"  level-0 PTE 0x\w+ at 0x\w+ vrw----- -> 0x\w+\n"
        r"  do: Pass PTE_U where the page is mapped; keep the old PTE's flags when it is remapped\.\n"
        r"\n1 finding: 36 rules asked of xv6 \(2024\)\n",
        answer.out,
    )


def test_a_terminal_gets_lines_that_fit() -> None:
    status, shown = on_terminal(f"check {core(NO_U)}")
    assert status == 1
    plain = re.sub(r"\x1b\[[0-9;]*m", "", shown)
    assert max(map(len, plain.splitlines())) <= 80
    assert "PB108 user-bit-missing: sh.2 0x1000" in plain
    assert "\x1b[" in shown


def test_names_from_a_strangers_file_cannot_talk_to_the_terminal() -> None:
    k = forked()
    next(p for p in k.proc if p.name == "init").name = "\x1b[31mred"
    fresh(k)
    k.memory.write64(k.table(k.proc[0].pagetable).find(0x1000)[0], 0x15)
    path = FOLDER / "red.core"
    write_core(machine(k), path)
    assert "\x1b" not in call(["check", path]).must(1).out


def test_words_that_name_no_rule_at_all_are_refused() -> None:
    for option in ("--select", "--ignore"):
        for word in ("", " ", ","):
            assert f"{option} names no rule" in call(["check", core(NO_U), option, word]).must(2).err


@pytest.mark.parametrize(
    ("words", "status"),
    [
        ("--select PB1", 1),
        ("--select PB108", 1),
        ("--select pb108", 1),
        ("--select user-bit-missing", 1),
        ("--select ALL --ignore PB016,PB011", 1),
        ("--select PB101,PB108", 1),
        ("--select PB101 --select PB108", 1),
        ("--select PB108 --ignore PB1", 1),
        ("--select PB00", 0),
        ("--ignore PB1", 0),
        ("--ignore PB108", 0),
        ("--select PB1 --ignore PB108", 0),
    ],
)
def test_rules_are_chosen_by_ids_prefixes_and_names(words: str, status: int) -> None:
    call(["check", core(NO_U), *words.split()]).must(status)


def test_the_longer_word_counts_and_of_two_equal_ones_ignore() -> None:
    everything = {rule.id for rule in RULES}
    assert {rule.id for rule in choose(["ALL"])} == everything
    assert {rule.id for rule in choose()} == everything - {"PB011", "PB016", "PB116"}
    assert {rule.id for rule in choose(["PB1", "PB001"], ["PB10"])} == {
        id for id in everything if (id.startswith("PB1") and not id.startswith("PB10")) or id == "PB001"
    }
    for words in ("ALL", "PB108", "leaked-frame"):
        with pytest.raises(BadTarget, match="no rule is left to ask"):
            choose([words], [words])
    assert [rule.id for rule in choose(["PB10"], ["ALL"])] == [id for id in sorted(everything) if id[:4] == "PB10"]


@pytest.mark.parametrize("word", ["PB999", "PX1", "B101", "leaked-frames", "all rules", "0"])
@pytest.mark.parametrize("option", ["--select", "--ignore"])
def test_a_word_that_names_no_rule_is_refused_with_near_ones(option: str, word: str) -> None:
    refusal = call(["check", saved(), option, word]).refusal
    assert refusal.startswith(f"pagebook: there is no rule '{word}'; ")
    assert "PB" in refusal or "leaked-frame" in refusal
    with pytest.raises(BadTarget):
        choose([word])


def test_two_formats_at_once_are_refused() -> None:
    assert "two formats" in call(["check", saved(), "--json", "--format", "sarif"]).refusal


def test_json_is_the_same_by_either_option() -> None:
    one = call(["check", core(LEAK), "--json"]).must(1).out
    assert one == call(["check", core(LEAK), "--format", "json"]).must(1).out
    [finding] = json.loads(one)["findings"]
    assert (finding["rule"], finding["space"], finding["va"]) == ("PB102", None, None)


SARIF_LEVELS = {"none", "note", "warning", "error"}


def follows_sarif(log: dict[str, Any]) -> None:
    """The parts of the SARIF 2.1.0 schema that this log uses: required properties, types, enumerations, indices."""
    assert log["version"] == "2.1.0" and log["$schema"].endswith("sarif-2.1.0.json")
    assert set(log) <= {"$schema", "version", "runs", "properties", "inlineExternalProperties"}
    [run] = log["runs"]
    assert set(run) <= {"tool", "invocations", "results", "columnKind", "properties"}
    driver = run["tool"]["driver"]
    assert isinstance(driver["name"], str) and driver["name"]
    ids = [rule["id"] for rule in driver["rules"]]
    assert len(set(ids)) == len(ids)
    for rule in driver["rules"]:
        assert set(rule) <= {"id", "name", "shortDescription", "fullDescription", "help", "defaultConfiguration"}
        assert rule["shortDescription"]["text"] and rule["help"]["text"]
        assert rule["defaultConfiguration"]["level"] in SARIF_LEVELS
        assert isinstance(rule["defaultConfiguration"]["enabled"], bool)
    for invocation in run["invocations"]:
        assert isinstance(invocation["executionSuccessful"], bool)
        for note in invocation.get("toolExecutionNotifications", []):
            assert note["message"]["text"] and note["level"] in SARIF_LEVELS
    for result in run["results"]:
        assert set(result) <= {"ruleId", "ruleIndex", "level", "message", "locations", "properties"}
        assert ids[result["ruleIndex"]] == result["ruleId"]
        assert result["level"] in SARIF_LEVELS
        assert isinstance(result["message"]["text"], str) and result["message"]["text"]
        for location in result["locations"]:
            assert set(location) <= {"logicalLocations", "physicalLocation"}
            if "physicalLocation" in location:
                [(kind, address)] = location["physicalLocation"].items()
                assert (kind, set(address)) == ("address", {"absoluteAddress", "kind"})
                assert type(address["absoluteAddress"]) is int and address["absoluteAddress"] >= 0
            for logical in location["logicalLocations"]:
                assert set(logical) == {"name", "fullyQualifiedName", "kind"}
                assert all(isinstance(value, str) and value for value in logical.values())


@pytest.mark.parametrize("name", SEEDS)
def test_every_seeded_machine_makes_a_sarif_log_that_follows_the_standard(name: str) -> None:
    seed = SEEDS[name]
    report = check(seed.make(), choose(["ALL"]))
    log = json.loads(json.dumps(findings.sarif(report)))
    follows_sarif(log)
    [run] = log["runs"]
    assert seed.expected <= {result["ruleId"] for result in run["results"]}
    assert len(run["results"]) == len(report.findings)
    for result, found in zip(run["results"], report.findings, strict=True):
        physical = result["locations"][0].get("physicalLocation")
        at = None if physical is None else physical["address"]["absoluteAddress"]
        assert at == (found.pa if found.pte_pa is None else found.pte_pa)


def test_sarif_from_the_command_line() -> None:
    log = json.loads(call(["check", core(LEAK), "--format", "sarif"]).must(1).out)
    follows_sarif(log)
    assert [result["ruleId"] for result in log["runs"][0]["results"]] == ["PB102"]
    follows_sarif(json.loads(call(["check", saved(), "--format", "sarif"]).must(0).out))


def test_what_is_too_much_to_list_is_told_in_every_format() -> None:
    words = ["check", core(NO_U), "--select", "PB016"]
    more = json.loads(call([*words, "--json"]).must(1).out)["more"]["PB016"]
    assert f"PB016 accessed-dirty: {more} more findings like these\n" in call(words).must(1).out
    [run] = json.loads(call([*words, "--format", "sarif"]).must(1).out)["runs"]
    assert str(more) in run["invocations"][0]["toolExecutionNotifications"][0]["message"]["text"]


def test_rule_lists_every_rule_on_a_line() -> None:
    lines = call("rule").must(0).out.splitlines()
    assert [line.split()[0] for line in lines] == [rule.id for rule in RULES]
    assert [line.split()[1] for line in lines] == [rule.name for rule in RULES]


@pytest.mark.parametrize("word", ["PB102", "pb102", "leaked-frame"])
def test_rule_prints_the_page_of_one(word: str) -> None:
    assert call(["rule", word]).must(0).out == page("PB102")


@pytest.mark.parametrize("columns", [40, 72, 128, 300])
def test_a_rule_s_page_follows_the_terminal(columns: int) -> None:
    for rule in RULES:
        shown = re.sub(r"\x1b\[[0-9;]*m", "", call(["rule", rule.id], terminal=True, columns=columns).must(0).out)
        text = page(rule.id)
        assert shown.split() == text.split()
        for line in shown.splitlines():
            assert len(line) <= min(columns, 128) or len(line.split()) == 1
        titles = [line for line in text.splitlines() if line.startswith(("#", "```"))]
        assert [line for line in shown.splitlines() if line.startswith(("#", "```"))] == titles


def test_rule_as_json_has_the_page_that_is_printed() -> None:
    [found] = json.loads(call("rule leaked-frame --json").must(0).out)["rules"]
    assert (found["rule"], found["page"]) == ("PB102", page("PB102"))
    assert [one["rule"] for one in json.loads(call("rule --json").must(0).out)["rules"]] == [rule.id for rule in RULES]


def test_rule_refuses_what_it_does_not_know() -> None:
    assert [line[:5] for line in call("rule pb10").must(0).out.splitlines()] == [f"PB10{n}" for n in range(1, 10)]
    assert call("rule PB199").refusal.startswith("pagebook: there is no rule 'PB199'; near it are ")


def test_ids_and_names_are_each_used_once() -> None:
    assert len(BY_ID) == len(RULES) == len({rule.name for rule in RULES})
    for rule in RULES:
        assert re.fullmatch(r"PB[01]\d\d", rule.id)
        assert (rule.guests == ("xv6",)) == rule.id.startswith("PB1")


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.id)
def test_the_page_of_a_rule_says_what_the_rule_is(rule: Any) -> None:
    text = page(rule.id)
    assert text.startswith(f"# {rule.id}: {rule.name}\n\n{rule.summary}\n\nSeverity {rule.severity}; ")
    assert f"; {'on' if rule.default else 'off'} by default; " in text
    assert re.findall(r"^## (.*)$", text, re.M) == ["What it means", "What it looks like", "What to do"]
    assert ("for xv6." in text) == (rule.guests == ("xv6",))
    for target in re.findall(r"\]\((PB\d+)\.md\)", text):
        assert target in BY_ID


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.id)
def test_the_example_on_a_page_is_what_a_seeded_machine_makes_check_print(rule: Any) -> None:
    shown = page(rule.id).split("```text\n")[1].split("\n```")[0]
    least = min(len(seed.expected) for seed in SEEDS.values() if rule.id in seed.expected)
    chosen = next(s for s in SEEDS.values() if rule.id in s.expected and len(s.expected) == least)
    lines = ["".join(part for part, _ in line) for line in findings.text(check(chosen.make(), [rule]))]
    assert "\n".join(lines).startswith(f"{shown}\n\n")


def test_the_index_names_every_rule_with_its_page() -> None:
    text = (ROOT / "docs" / "checks.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| \[(PB\d+)\]\((\S+)\) (\S+) \| (on|off) \| (.*) \|$", text, re.M)
    assert [(id, name, on == "on", what) for id, _, name, on, what in rows] == [
        (rule.id, rule.name, rule.default, rule.summary) for rule in RULES
    ]
    for id, target, *_ in rows:
        assert (ROOT / "docs" / target).resolve().read_text(encoding="utf-8") == page(id)


def test_severities_are_words_of_sarif() -> None:
    assert {str(severity) for severity in Severity} == SARIF_LEVELS - {"none"}


def test_a_machine_without_a_page_table_is_no_green_light(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_core(Machine("booting", Memory.anonymous(1 << 14), ()), "booting.core")
    assert call(["check", "booting.core"]).refusal == (
        "pagebook: nothing was checked: booting has no page table yet, or none that was read"
    )
