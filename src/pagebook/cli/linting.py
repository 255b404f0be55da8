"""What the verbs check and rule do: choose rules, look at the machine, print what was found."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Sequence

from pagebook.checks.looks import LOOKS, Report, confirm
from pagebook.checks.looks import check as look_once
from pagebook.checks.registry import RULES, choose, named, page
from pagebook.checks.rule import Rule
from pagebook.cli import OK
from pagebook.cli.opening import Model, opened, say
from pagebook.cli.output import count, print_json, print_lines
from pagebook.errors import BadTarget, PagebookError
from pagebook.machine import Machine
from pagebook.targets import TORN, Target
from pagebook.views import findings

FOUND = 1


def check(target: str, model: Model, select: Sequence[str], ignore: Sequence[str], form: str) -> int:
    """Look, and print; FOUND when there is anything to print."""
    rules = choose(select, ignore)
    report, remarks = _report(target, model, rules)
    if form == "json":
        print_json(findings.data(report, remarks))
    elif form == "sarif":
        sys.stdout.write(json.dumps(findings.sarif(report, remarks), indent=2) + "\n")
    else:
        print_lines(findings.text(report, _width()), paged=True)
    return FOUND if report.findings else OK


def _report(target: str, model: Model, rules: Sequence[Rule]) -> tuple[Report, list[str]]:
    """What is found, and what is to be said beside it."""
    with opened(target, model) as found:
        report = looked(found, found.look(), rules, bool(model.get("freeze")))
        told = {doubt.sentence for doubt in report.machine.doubts}
        remarks = [one for one in found.remarks if one not in told]
        if report.torn and TORN not in remarks:
            remarks.append(TORN)
        say(remarks)
        if not report.machine.spaces:
            raise BadTarget(f"nothing was checked: {report.machine.name} has no page table yet, or none that was read")
        return report, remarks


def looked(found: Target, first: Machine, rules: Sequence[Rule], frozen: bool) -> Report:
    """What is found in one look at what stands still, or in as many as it takes at what moves, the first made before.

    A terminal shows how many there were, where they take over a second.
    """
    if not found.live or found.paused or frozen:
        return look_once(first, rules)
    with count(lambda done: f"looking again, {done + 1} of {LOOKS}") as more:

        def again() -> Machine:
            more(1)
            try:
                return found.settled()
            except PagebookError:  # it is tried once more, and counts once
                more(-1)
                raise

        return confirm(again, rules, first)


def _width() -> int | None:
    """The columns of the terminal that standard output is; None when it is none."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def rule(id: str | None, as_json: bool) -> int:
    """Print one rule's page, or a line for each that is meant."""
    meant = RULES if id is None else named(id)
    if as_json:
        print_json(findings.catalogue(meant))
    elif len(meant) == 1:
        text = page(meant[0].id)
        print_lines(findings.paper(text, _width()), paged=True)
    else:
        print_lines(findings.rules(meant), paged=True)
    return OK
