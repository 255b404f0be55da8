"""What a run found: cases counted by format, cause and rule, and the disagreements, the first few in full."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import numpy as np

from conformance.compare import Expected, Flags, Results, differences, expect_from_batch, expect_from_scalar
from conformance.generate import Batch
from conformance.layout import NONE, OPERATIONS
from conformance.listing import contradictions
from pagebook.batch import RULE_NAMES
from pagebook.mmu import CAUSES
from pagebook.sv import FORMATS

SHOWN = 5
COLUMNS = [fmt.name for fmt in FORMATS.values()]
TRANSLATORS = ("batch", "scalar", "scan")
EXPECT = {"batch": expect_from_batch, "scalar": expect_from_scalar}


@dataclass
class Report:
    """Counts that add up: over one batch, over a run."""

    causes: Counter[tuple[str, str]] = field(default_factory=Counter)
    rules: Counter[tuple[str, str]] = field(default_factory=Counter)
    asked: Counter[str] = field(default_factory=Counter)
    disagreements: Counter[str] = field(default_factory=Counter)
    shown: list[str] = field(default_factory=list)

    @property
    def cases(self) -> int:
        """How many cases were run."""
        return self.causes.total()

    @property
    def wrong(self) -> int:
        """How many answers differ."""
        return self.disagreements.total()

    def add(self, other: Report) -> None:
        """Take in what another batch found."""
        self.causes += other.causes
        self.rules += other.rules
        self.asked += other.asked
        self.disagreements += other.disagreements
        self.shown = (self.shown + other.shown)[:SHOWN]

    def text(self) -> str:
        """Tables for people, and the verdict."""
        verdict = ", ".join(f"{name} {self.disagreements[name]:,} of {number:,}" for name, number in self.asked.items())
        causes = _table("cause", self.causes)
        rules = _table("rule", self.rules)
        return "\n\n".join([causes, rules, *self.shown, f"{self.cases:,} cases; disagreements: {verdict}"])


def _table(title: str, counts: Counter[tuple[str, str]]) -> str:
    """One line for each second key, one column for each format."""
    names = sorted(
        {name for _, name in counts}, key=lambda name: (int(name.split()[0]) if name[0].isdigit() else 0, name)
    )
    lines = [f"{title:26}" + "".join(f"{column:>12}" for column in [*COLUMNS, "all"])]
    for name in [*names, "all"]:
        row = [
            sum(n for (fmt, other), n in counts.items() if fmt == column and name in (other, "all"))
            for column in COLUMNS
        ]
        lines.append(f"{name:26}" + "".join(f"{number:>12,}" for number in [*row, sum(row)]))
    return "\n".join(lines)


def translators_of(batch: Batch) -> tuple[str, ...]:
    """Those that can be asked about a batch."""
    return TRANSLATORS if batch.listable else TRANSLATORS[:2]


def disagreements(batch: Batch, machine: Results, translator: str) -> Flags:
    """The cases in which the machine's results are not what ``translator`` makes of them."""
    if translator == "scan":
        return contradictions(batch, machine)
    return differences(machine, EXPECT[translator](batch), batch)


def report_on(batch: Batch, machine: Results) -> Report:
    """Every translator beside the machine's results for one batch."""
    report = Report()
    ours = expect_from_batch(batch)
    for translator in translators_of(batch):
        bad = np.flatnonzero(disagreements(batch, machine, translator))
        report.asked[translator] += len(batch.cases)
        report.disagreements[translator] += len(bad)
        if len(bad):
            mine = expect_from_scalar(batch) if translator == "scalar" else ours
            report.shown += [_case_text(translator, batch, machine, mine, int(row)) for row in bad[:SHOWN]]
    count(report, batch, ours)
    return report


def count(report: Report, batch: Batch, ours: Expected) -> None:
    """Add the batch's causes and broken rules to the tables."""
    name = batch.format.name
    for cause, number in Counter(ours.results["cause"].tolist()).items():
        report.causes[name, "none" if cause == NONE else f"{cause} {CAUSES[cause]}"] += number
    for status, number in Counter(ours.status.tolist()).items():
        report.rules[name, RULE_NAMES[status] or "none"] += number


def _case_text(translator: str, batch: Batch, machine: Results, ours: Expected, row: int) -> str:
    """Everything about a case that differs: how to make it again, what went in, what came out."""
    case = batch.cases[row]
    lines = [
        f"{translator} differs: {batch.format.name} {batch.name} {batch.extensions} seed {batch.seed} row {row}",
        f"  {OPERATIONS[case['op']][0]} va {case['va']:#x} satp {case['satp']:#x} mstatus {case['mstatus']:#x} "
        f"PTEs at {' '.join(f'{at:#x}' for at in case['pte'].tolist())}, rule {RULE_NAMES[ours.status[row]] or 'none'}",
    ]
    for name in ours.results.dtype.names or ():
        theirs, mine = (np.atleast_1d(results[row][name]).tolist() for results in (machine, ours.results))
        mark = "  " if theirs == mine else "* "
        lines.append(f"  {mark}{name:8} machine {' '.join(map(hex, theirs))}, ours {' '.join(map(hex, mine))}")
    return "\n".join(lines)
