"""What the verbs check and rule do: choose rules, look at the machine, print what was found."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Sequence

from pagebook.checks.looks import Report, confirm
from pagebook.checks.looks import check as look_once
from pagebook.checks.registry import RULES, choose, named, page
from pagebook.checks.rule import Rule
from pagebook.cli.opening import Model, opened, say
from pagebook.cli.output import print_json, print_lines
from pagebook.cli.words import OK
from pagebook.errors import BadTarget
from pagebook.targets import TORN
from pagebook.views import findings

FOUND = 1


def check(target: str, model: Model, select: Sequence[str], ignore: Sequence[str], form: str) -> int:
    """Look, and print; FOUND when there is anything to print."""
    rules = choose(select, ignore)
    report = _report(target, model, rules)
    if form == "json":
        print_json(findings.data(report))
    elif form == "sarif":
        sys.stdout.write(json.dumps(findings.sarif(report), indent=2) + "\n")
    else:
        width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
        print_lines(findings.text(report, width))
    return FOUND if report.findings else OK


def _report(target: str, model: Model, rules: Sequence[Rule]) -> Report:
    """Look once at what stands still, and as often as it takes at what moves."""
    with opened(target, model) as found:
        first = found.look()
        moves = found.live and not found.paused and not model.get("freeze")
        report = confirm(found.settled, rules, first) if moves else look_once(first, rules)
        say(dict.fromkeys([*found.remarks, *([TORN] if report.torn else [])]))
        if not report.machine.spaces:
            raise BadTarget(f"nothing was checked: {report.machine.name} has no page table yet, or none that was read")
        return report


def rule(id: str | None) -> int:
    """Print one rule's page, or a line for each that is meant."""
    meant = RULES if id is None else named(id)
    if len(meant) == 1:
        sys.stdout.write(page(meant[0].id))
    else:
        print_lines(findings.rules(meant))
    return OK
