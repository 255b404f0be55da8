"""One look at a machine, or several: a machine that moves is looked at until what is found stands still.

A guest that runs changes its tables while they are read, so that one look sees things that never were.  Whatever is not
found again, row for row, in every further look is dropped.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pagebook.checks.evidence import Evidence
from pagebook.checks.registry import BY_ID
from pagebook.checks.rule import NOWHERE, Finding, Hits, Place, Rule, runs
from pagebook.errors import PagebookError
from pagebook.machine import Machine, Space

MOST_FINDINGS = 20  # of one rule
LOOKS = 6
PAUSE = 0.02  # seconds before the second look; each further pause is three times as long
GROWTH = 3
REPEATS = 3  # of a look that failed


@dataclass(frozen=True)
class Report:
    """What was found, by rule and place; ``more`` counts for each rule the findings that were too many to list.

    ``rules`` are the ids of those that were asked, ``looks`` how often the machine was looked at.
    """

    machine: Machine
    findings: tuple[Finding, ...]
    more: dict[str, int]
    rules: tuple[str, ...]
    looks: int = 1


Found = dict[str, list[Hits]]


def check(machine: Machine, rules: Sequence[Rule]) -> Report:
    """Look once, at a machine that stands still."""
    return _report(machine, rules, _look(machine, rules), 1)


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
    machine = first if first is not None else _steady(look)
    found = _look(machine, rules)
    done = 1
    while done < tries and any(found.values()):
        time.sleep(pause)
        pause *= GROWTH
        machine_before, machine = machine, _steady(look)
        found = _still(found, machine_before, _look(machine, rules), machine)
        done += 1
    return _report(machine, rules, found, done)


def _steady(look: Callable[[], Machine]) -> Machine:
    """A look; tried again when what is read in the middle of a change makes no sense at all."""
    for _ in range(REPEATS):
        try:
            return look()
        except PagebookError:
            time.sleep(PAUSE)
    return look()


def _look(machine: Machine, rules: Sequence[Rule]) -> Found:
    """What each rule finds, if anything."""
    evidence = Evidence(machine)
    with np.errstate(over="ignore"):
        found = {
            rule.id: [hits for hits in rule.check(evidence) if len(hits)]
            for rule in rules
            if rule.holds_for(machine.guest)
        }
    return {id: hits for id, hits in found.items() if hits}


def _still(before: Found, then: Machine, after: Found, now: Machine) -> Found:
    """Of what is found now what was found before as well: the same rule, space, addresses, PTE, fact and mark."""
    kept: Found = {}
    for id, hits in after.items():
        known = np.concatenate([_keys(old, then) for old in before.get(id, [])] or [np.empty(0, np.uint64)])
        same = [one.kept(np.isin(_keys(one, now), known)) for one in hits]
        if rest := [one for one in same if len(one)]:
            kept[id] = rest
    return kept


def _keys(hits: Hits, machine: Machine) -> npt.NDArray[np.uint64]:
    """Keys that hold in both looks: a space is known by its name and pid, not by its place in the list."""
    names = [hash((space.name.partition(".")[0], space.pid)) & 0xFFFF_FFFF_FFFF_FFFF for space in machine.spaces]
    by_space = np.array([*names, 0], dtype=np.uint64)
    keys: npt.NDArray[np.uint64] = hits.keys() ^ by_space[hits.rows["space"]]
    return keys


def _report(machine: Machine, rules: Sequence[Rule], found: Found, looks: int) -> Report:
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
    asked = tuple(rule.id for rule in rules if rule.holds_for(machine.guest))
    return Report(machine, tuple(findings), more, asked, looks)


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
