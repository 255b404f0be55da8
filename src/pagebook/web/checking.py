"""The answers of the checks: what is wrong, and the page of a rule."""

from __future__ import annotations

from pagebook.checks.registry import BY_ID, page
from pagebook.views import findings
from pagebook.web.looks import Seen
from pagebook.web.query import Json, Query


def checks(seen: Seen, query: Query) -> Json:
    """What is wrong, with the name of each rule that was asked."""
    report, generation = seen.report()
    return {
        "generation": generation,
        **findings.data(report),
        "names": {id: {"name": BY_ID[id].name, "summary": BY_ID[id].summary} for id in report.rules},
    }


def rule(seen: Seen, query: Query) -> Json:
    """The page of a rule, as it comes with the package."""
    found = query.one_of("id", BY_ID, "")
    return {"id": found.id, "name": found.name, "text": page(found.id)}
