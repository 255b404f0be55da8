"""Likely roots of page tables, best first, for people and for JSON."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pagebook.guests.roots import Candidate
from pagebook.views.data import Json, document
from pagebook.views.text import Line, count_text


def text(name: str, found: Sequence[Candidate], shown: int) -> Iterator[Line]:
    """A line for each of the best ``shown`` candidates, and its reasons under it."""
    order = ", best first" if len(found) > 1 else ""
    yield [(name, "title"), (f": {count_text(len(found), 'likely root')}{order}", "")]
    for candidate in found[:shown]:
        yield [
            (f"  {candidate.root:#x}", "address"),
            (f"  {candidate.format.name}", ""),
            (f"  score {candidate.score}", "rights"),
            (f"  --root {candidate.root:#x}:{candidate.format.name.lower()}", "dim"),
        ]
        for reason in candidate.evidence:
            yield [(f"    {reason}", "")]
    if len(found) > shown:
        yield [(f"  and {len(found) - shown} more: --most {len(found)} shows them all", "dim")]


def data(name: str, found: Sequence[Candidate], shown: int) -> Json:
    """The same as data; ``found`` counts all, ``roots`` has the best."""
    return document(
        "roots",
        machine=name,
        found=len(found),
        roots=[
            {
                "root": hex(candidate.root),
                "format": candidate.format.name.lower(),
                "score": candidate.score,
                "evidence": list(candidate.evidence),
                "mappings": candidate.mappings,
                "tables": candidate.tables,
            }
            for candidate in found[:shown]
        ],
    )
