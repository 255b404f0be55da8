"""What the checks found, rule by rule: where it is, what to do, the rule's own story, the walk to the first place."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from itertools import groupby

from pagebook.checks.looks import Report
from pagebook.checks.registry import BY_ID
from pagebook.checks.rule import Finding
from pagebook.errors import PagebookError
from pagebook.explain import explain, regime_of
from pagebook.machine import Machine
from pagebook.mmu import Kind, Mmu
from pagebook.views import access
from pagebook.views import findings as views
from pagebook.views.report.found import Found, Room
from pagebook.views.report.markup import Html, code, element, figure, folded, joined, row, short, table
from pagebook.views.report.story import story
from pagebook.views.svg import directories
from pagebook.views.text import count_text

Link = Callable[[str], str | None]
"""Where in the report an address space is told, by its name."""


def findings(found: Found, room: Room, link: Link) -> Html:
    """A section for each rule that is broken, and which rules were asked."""
    report = found.checked
    if report is None:
        return element("p", "Nothing was checked: no page table was found.", class_="left-out")
    by_rule = [(id, list(several)) for id, several in groupby(report.findings, key=lambda one: one.rule)]
    told = list(room.first((_rule(found.machine, report, id, several, link) for id, several in by_rule), len(by_rule)))
    left = [id for id, _ in by_rule[len(told) :]]
    more = element("p", f"There was no room to tell of {', '.join(left)}.", class_="left-out") if left else ""
    blind = [element("p", f"{words[0].upper()}{words[1:]}.") for words in views.not_asked(report)]
    return joined(
        (element("p", said(report)), *blind, *told, more, _asked(report, {id for id, _ in by_rule[: len(told)]}))
    )


def total(report: Report) -> int:
    """How many findings there are, listed or not."""
    return len(report.findings) + sum(report.more.values())


def said(report: Report) -> str:
    """How much was asked and found, in a sentence."""
    looks = f" {report.looks} looks at a machine that moves: only what all show is told." if report.looks > 1 else ""
    many = count_text(total(report), "finding") if total(report) else "No findings"
    return f"{many}: {count_text(len(report.rules), 'rule')} asked.{looks}"


def _rule(machine: Machine, report: Report, id: str, several: list[Finding], link: Link) -> Html:
    rule, more = BY_ID[id], report.more.get(id, 0)
    left = element("p", f"And {count_text(more, 'more finding')} like these.", class_="left-out") if more else ""
    return element(
        "section",
        element("h3", f"{id} ", element("span", rule.name), " ", element("small", str(rule.severity))),
        element("p", rule.summary),
        element("ul", *(_finding(one, link) for one in several)),
        left,
        element("p", element("strong", "Do: "), rule.remedy),
        *_place(machine, several),
        folded(f"The story of {id}", story(id, report.rules), class_="story"),
        class_=f"rule {rule.severity}", id=id,
    )  # fmt: skip


def _finding(finding: Finding, link: Link) -> Html:
    to = link(finding.space) if finding.space is not None else None
    where = code(views.place(finding))
    said = [element("p", element("a", where, href=to) if to else where, class_="place")]
    said.append(element("p", short(finding.message)))
    known = views.pte(finding)
    if known:
        said.append(element("p", code(known), class_="dim"))
    return element("li", *said)


def _place(machine: Machine, several: list[Finding]) -> Iterator[Html]:
    """The walk of a load at the first finding that has a virtual address, if it reads any PTE."""
    first = next((one for one in several if one.va is not None and one.space is not None), None)
    if first is None or first.va is None:
        return
    try:
        space = machine.space(first.space)
        found = explain(Mmu(machine.memory), space, regime_of(space), Kind.LOAD, first.va)
    except PagebookError:  # the space has gone since then
        return
    led = access.walk(found, found.pages[0]) if found.pages else None
    if led:
        drawn = figure(directories.directories(led), f"{first.rule}-walk")
        yield folded(f"The walk of a load at {short(views.place(first))}", drawn)


def _asked(report: Report, told: Collection[str]) -> Html:
    """Every rule; a link to one that no section tells of leads here."""
    rules = [BY_ID[id] for id in report.rules]
    rows = [row(r.id, r.name, r.summary, str(r.severity), id=None if r.id in told else r.id) for r in rules]
    listed = table(("rule", "name", "what it asks for", "severity"), rows, "Rules that were asked")
    return folded(f"The {count_text(len(report.rules), 'rule')} that were asked", listed)
