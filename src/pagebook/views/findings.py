"""What the checks found, as text for people, as JSON, and as SARIF 2.1.0 for the tools that read linters."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from pagebook import __version__
from pagebook.checks.looks import Report
from pagebook.checks.registry import BY_ID, page
from pagebook.checks.rule import Finding, Rule, Severity
from pagebook.sv import flags_text
from pagebook.views.data import document
from pagebook.views.text import Line

SARIF_SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"
FENCE = "```"
NARROWEST = 40  # columns for a sentence, however small the terminal
WIDEST = 128  # for a paragraph of a page, however large
INDENT = "  "


def text(report: Report, width: int | None = None) -> Iterator[Line]:
    """A block for each finding, with a blank line after it, and a line that counts; sentences wrapped to ``width``."""
    for one in report.findings:
        yield from finding(one, width)
        yield [("", "")]
    for id, count in report.more.items():
        yield [(id, "title"), (f" {BY_ID[id].name}: {_count(count, 'more finding')} like these", "")]
    for words in not_asked(report):
        for line in _wrapped(words, "", width):
            yield [(line, "dim")]
    yield [(summary(report), "title" if report.findings else "rights")]


def not_asked(report: Report) -> Iterator[str]:
    """A sentence for each reason why some rules could see nothing in this machine."""
    for why in dict.fromkeys(report.blind.values()):
        yield f"not asked, as {why}: {', '.join(id for id, reason in report.blind.items() if reason == why)}"


def finding(found: Finding, width: int | None = None) -> Iterator[Line]:
    """The rule and the place, what is wrong, the PTE, what to do."""
    yield [
        (found.rule, "bad" if found.severity is Severity.ERROR else "title"),
        (f" {BY_ID[found.rule].name}: ", "title"),
        (place(found), "address"),
    ]
    for line in _wrapped(found.message, INDENT, width):
        yield [(line, "")]
    facts = pte(found)
    if facts:
        yield [(INDENT + facts, "dim")]
    for line in _wrapped(f"do: {found.remedy}", INDENT, width):
        yield [(line, "rights")]


def place(finding: Finding) -> str:
    """Where it is: the space and the virtual address, or the frame."""
    words = [finding.space or ""]
    if finding.va is not None:
        last = f"-{finding.va + finding.size:#x}" if finding.pages > 1 else ""
        words.append(f"{finding.va:#x}{last}")
    elif finding.pa is not None:
        last = f"-{finding.pa + finding.size:#x}" if finding.pages > 1 else ""
        words.append(f"frame {finding.pa:#x}{last}")
    return " ".join(word for word in words if word)


def pte(finding: Finding) -> str:
    """The PTE that it is about, the first one's where it is about several; nothing where there is none."""
    if finding.pte is None or finding.pte_pa is None:
        return ""
    first = "first of them: " if finding.pages > 1 else ""
    rights = flags_text(finding.pte & 0xFF, "vrwxugad")
    return f"{first}level-{finding.level} PTE {finding.pte:#x} at {finding.pte_pa:#x} {rights} -> {finding.pa or 0:#x}"


def _wrapped(sentence: str, indent: str, width: int | None, more: str = INDENT) -> list[str]:
    if width is None:
        return [indent + sentence]
    return textwrap.wrap(
        sentence, max(width, NARROWEST), initial_indent=indent, subsequent_indent=indent + more,
        break_long_words=False, break_on_hyphens=False,
    )  # fmt: skip


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'s' * (number != 1)}"


def summary(report: Report) -> str:
    """How much was found, by how many rules."""
    total = len(report.findings) + sum(report.more.values())
    asked = f"{_count(len(report.rules), 'rule')} asked of {report.machine.name}"
    looks = f", {report.looks} looks" if report.looks > 1 else ""
    return f"{_count(total, 'finding') if total else 'no findings'}: {asked}{looks}"


def rules(listed: Iterable[Rule]) -> Iterator[Line]:
    """A line for each rule."""
    listed = list(listed)
    widest = max(len(rule.name) for rule in listed)
    for rule in listed:
        yield [
            (rule.id, "title"),
            (f"  {rule.name:<{widest}}", "address"),
            (f"  {rule.severity:<7}", "bad" if rule.severity is Severity.ERROR else ""),
            (f"  {'' if rule.default else '(off) '}{rule.summary}", "" if rule.default else "dim"),
        ]


def catalogue(listed: Iterable[Rule]) -> dict[str, Any]:
    """The rules with their pages as the document ``pagebook.rule``."""
    return document(
        "rule",
        rules=[
            {
                "rule": rule.id,
                "name": rule.name,
                "severity": str(rule.severity),
                "default": rule.default,
                "summary": rule.summary,
                "remedy": rule.remedy,
                "page": page(rule.id),
                "guests": list(rule.guests),
            }
            for rule in listed
        ],
    )


def paper(text: str, width: int | None = None) -> Iterator[Line]:
    """A rule's page, its paragraphs and each line of its sample wrapped to ``width``, or as it is written."""
    fenced = False
    for number, block in enumerate(text.rstrip("\n").split("\n\n")):
        if number:
            yield [("", "")]
        sample = fenced or block.startswith(FENCE)
        fenced ^= block.count(FENCE) % 2 == 1
        for line in block.splitlines() if sample or width is None else [" ".join(block.splitlines())]:
            words = line.lstrip()
            indent = line.removesuffix(words)
            for part in _wrapped(words, indent, width and min(width, WIDEST), INDENT if sample else ""):
                yield [(part, "")]


def data(report: Report, remarks: Sequence[str] = ()) -> dict[str, Any]:
    """The findings as the document ``pagebook.check``; ``remarks`` say what could not be read or known."""
    return document(
        "check",
        machine=report.machine.name,
        guest=report.machine.guest,
        rules=list(report.rules),
        looks=report.looks,
        findings=[_finding(finding) for finding in report.findings],
        more=dict(report.more),
        blind=dict(report.blind),
        remarks=list(remarks),
    )


def _finding(finding: Finding) -> dict[str, Any]:
    return {
        "rule": finding.rule,
        "name": BY_ID[finding.rule].name,
        "severity": str(finding.severity),
        "space": finding.space,
        "pid": finding.pid,
        "va": _hex(finding.va),
        "pa": _hex(finding.pa),
        "size": hex(finding.size),
        "pages": finding.pages,
        "pte": _hex(finding.pte),
        "pte_pa": _hex(finding.pte_pa),
        "level": finding.level,
        "message": finding.message,
        "remedy": finding.remedy,
    }


def _hex(value: int | None) -> str | None:
    return None if value is None else hex(value)


def sarif(report: Report, remarks: Sequence[str] = ()) -> dict[str, Any]:
    """The findings as a SARIF 2.1.0 log with one run.

    There is no source file: places are logical locations, and physical addresses, of the PTE or else of the frame.
    """
    numbers = {id: number for number, id in enumerate(report.rules)}
    more = (f"{id}: {_count(count, 'more finding')} like those listed" for id, count in report.more.items())
    notes = [{"level": "note", "message": {"text": text}} for text in (*more, *not_asked(report), *remarks)]
    invocation: dict[str, Any] = {"executionSuccessful": True}
    if notes:
        invocation["toolExecutionNotifications"] = notes
    driver = {"name": "pagebook", "version": __version__, "rules": [_rule(BY_ID[id]) for id in report.rules]}
    run = {
        "tool": {"driver": driver},
        "invocations": [invocation],
        "results": [_result(finding, report, numbers[finding.rule]) for finding in report.findings],
    }
    return {"$schema": SARIF_SCHEMA, "version": "2.1.0", "runs": [run]}


def _rule(rule: Rule) -> dict[str, Any]:
    return {
        "id": rule.id,
        "name": rule.name,
        "shortDescription": {"text": rule.summary},
        "help": {"text": rule.remedy},
        "defaultConfiguration": {"level": str(rule.severity), "enabled": rule.default},
    }


def _result(finding: Finding, report: Report, number: int) -> dict[str, Any]:
    where = place(finding)
    facts = _finding(finding)
    at = finding.pa if finding.pte_pa is None else finding.pte_pa
    location: dict[str, Any] = {
        "logicalLocations": [
            {"name": where, "fullyQualifiedName": f"{report.machine.name}/{where}", "kind": "resource"}
        ]
    }
    if at is not None:
        location["physicalLocation"] = {"address": {"absoluteAddress": at, "kind": "data"}}
    return {
        "ruleId": finding.rule,
        "ruleIndex": number,
        "level": str(finding.severity),
        "message": {"text": f"{where}: {finding.message}"},
        "locations": [location],
        "properties": {
            key: facts[key]
            for key in ("space", "pid", "va", "pa", "size", "pages", "pte", "pte_pa", "level", "remedy")
            if facts[key] is not None
        },
    }
