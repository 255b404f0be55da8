"""One look at a machine, or several: a machine that moves is looked at until what is found stands still.

A guest that runs changes its tables while they are read, so that one look sees things that never were.  Whatever is
not found again, row for row, in every further look is dropped.  A free list that is read while frames are taken from it
ends in the middle, and what it held then seems nobody's: where lists end must be the same in several looks, too.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from pagebook.checks.evidence import Evidence
from pagebook.checks.registry import BY_ID
from pagebook.checks.rule import NOWHERE, Finding, Hits, Place, Rule, findings_table, runs
from pagebook.columns import Columns, Tabled
from pagebook.errors import PagebookError
from pagebook.machine import Machine, Space
from pagebook.shown import in_notebook, plain

MOST_FINDINGS = 20  # of one rule
LOOKS = 6
PAUSE = 0.02  # seconds before the second look; each further pause is three times as long
GROWTH = 3
REPEATS = 3  # of a look that failed
WHOLE = 3  # looks in a row in which the free lists end at the same frames


@dataclass(frozen=True)
class Report(Tabled):
    """What was found, by rule and place; ``more`` counts for each rule the findings that were too many to list.

    ``rules`` are the ids of those that were asked, ``blind`` those that could see nothing here, each with the reason;
    ``looks`` is how often the machine was looked at.  ``torn`` when the free lists never stood still, so that it is not
    known what frames are lost.
    """

    machine: Machine
    findings: tuple[Finding, ...]
    more: dict[str, int]
    rules: tuple[str, ...]
    looks: int = 1
    torn: bool = False
    blind: Mapping[str, str] = field(default_factory=dict)

    def __repr__(self) -> str:
        total = len(self.findings) + sum(self.more.values())
        return f"<Report on {plain(self.machine.name)}: {total} findings by {len(self.rules)} rules>"

    _repr_html_ = in_notebook

    def table(self) -> Columns:
        """The findings as rows of FINDING."""
        return findings_table(self.findings)


Found = dict[str, list[Hits]]


class Seen(NamedTuple):
    """One look: what each rule found, where each free list ended, which rules could see nothing, and why."""

    machine: Machine
    found: Found
    ends: list[tuple[int, int | None]]
    blind: dict[str, str]


def check(machine: Machine, rules: Sequence[Rule]) -> Report:
    """Look once, at a machine that stands still."""
    return _report(_look(machine, rules), rules, 1)


def confirm(
    look: Callable[[], Machine],
    rules: Sequence[Rule],
    first: Machine | None = None,
    *,
    tries: int = LOOKS,
    pause: float = PAUSE,
) -> Report:
    """Look at a machine that moves, ``tries`` times at most, ``pause`` seconds and ever longer apart.

    Only what every look shows is reported; the first that shows nothing of it ends it.
    """
    seen = _look(first if first is not None else _steady(look), rules)
    done = whole = 1
    while done < tries and any(seen.found.values()):
        time.sleep(pause)
        pause *= GROWTH
        before, seen = seen, _look(_steady(look), rules)
        whole = whole + 1 if seen.ends == before.ends else 1
        seen = seen._replace(found=_still(before, seen))
        done += 1
    torn = whole < min(done, WHOLE) and any(BY_ID[id].whole_lists for id in seen.found)
    if torn:
        seen = seen._replace(found={id: hits for id, hits in seen.found.items() if not BY_ID[id].whole_lists})
    return _report(seen, rules, done, torn)


def _steady(look: Callable[[], Machine]) -> Machine:
    """A look; tried again when what is read in the middle of a change makes no sense at all."""
    for _ in range(REPEATS):
        try:
            return look()
        except PagebookError:
            time.sleep(PAUSE)
    return look()


def _look(machine: Machine, rules: Sequence[Rule]) -> Seen:
    """What each rule finds, if anything."""
    evidence = Evidence(machine)
    with np.errstate(over="ignore"):
        asked = [rule for rule in rules if rule.holds_for(machine.guest)]
        blind = {rule.id: why for rule in asked if (why := rule.blind(evidence))}
        found = {
            rule.id: [hits for hits in rule.check(evidence) if len(hits)] for rule in asked if rule.id not in blind
        }
    kept = {id: hits for id, hits in found.items() if hits}
    listed = evidence.ledger.chains if any(BY_ID[id].whole_lists for id in kept) else []
    return Seen(machine, kept, [one.end for one in listed], blind)


def _still(before: Seen, now: Seen) -> Found:
    """Of what is found now what was found before as well: the same rule, space, addresses, PTE, fact and mark.

    Where the free lists end elsewhere now, what a rule takes from them begins anew.
    """
    kept: Found = {}
    for id, hits in now.found.items():
        if BY_ID[id].whole_lists and before.ends != now.ends:
            kept[id] = hits
            continue
        old = [_keys(one, before.machine) for one in before.found.get(id, [])]
        known = np.concatenate(old or [np.empty(0, np.uint64)])
        same = [one.kept(np.isin(_keys(one, now.machine), known)) for one in hits]
        if rest := [one for one in same if len(one)]:
            kept[id] = rest
    return kept


def _keys(hits: Hits, machine: Machine) -> npt.NDArray[np.uint64]:
    """Keys that hold in both looks: a space is known by its name and pid, not by its place in the list."""
    names = [hash((space.name.partition(".")[0], space.pid)) & 0xFFFF_FFFF_FFFF_FFFF for space in machine.spaces]
    by_space = np.array([*names, 0], dtype=np.uint64)
    keys: npt.NDArray[np.uint64] = hits.keys() ^ by_space[hits.rows["space"]]
    return keys


def _report(seen: Seen, rules: Sequence[Rule], looks: int, torn: bool = False) -> Report:
    machine, found = seen.machine, seen.found
    findings: list[Finding] = []
    more: dict[str, int] = {}
    for id, several in sorted(found.items()):
        listed = [(hits, runs(hits)) for hits in several]
        total = sum(len(rows) for _, rows in listed)
        room = MOST_FINDINGS
        for hits, rows in listed:
            findings += [_finding(BY_ID[id], hits, row, machine) for row in rows[:room]]
            room -= min(room, len(rows))
        if total > MOST_FINDINGS:
            more[id] = total - MOST_FINDINGS
    asked = tuple(rule.id for rule in rules if rule.holds_for(machine.guest) and rule.id not in seen.blind)
    return Report(machine, tuple(findings), more, asked, looks, torn, seen.blind)


def _finding(rule: Rule, hits: Hits, row: np.void, machine: Machine) -> Finding:
    number = int(row["space"])
    space: Space | None = None if number == NOWHERE else machine.spaces[number]
    va = int(row["va"]) if "va" in hits.has else None
    pa = int(row["pa"]) if "pa" in hits.has else None
    pte, pte_pa, level = (
        (int(row["pte"]), int(row["pte_pa"]), int(row["level"])) if "pte" in hits.has else (None, None, None)
    )
    size, pages = int(row["size"]), int(row["pages"])
    place = Place(space, va, pa, size, pages, pte, pte_pa, level, int(row["fact"]))
    return Finding(
        rule.id, rule.severity, space.name if space else None, space.pid if space else None,
        va, pa, size, pages, pte, pte_pa, level, hits.say(place), rule.remedy,
    )  # fmt: skip
