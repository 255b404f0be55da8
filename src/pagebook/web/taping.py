"""Answers about time: the tape of the model, and what changed in a guest in the last minutes."""

from __future__ import annotations

import time
from bisect import bisect_right
from typing import Any

from pagebook.errors import BadAddress
from pagebook.sv import SV39
from pagebook.views import tape as views
from pagebook.web.looks import Looks
from pagebook.web.query import Json, Query
from pagebook.web.tapes import Driven, Tapes
from pagebook.xv6.driving import OPERATIONS
from pagebook.xv6.kernel import Kernel, State
from pagebook.xv6.tape import Kind, Tape

MOST_STEPS = 256


def tape(tapes: Tapes, query: Query) -> Json:
    """The story with the step at which each sentence was told, the operations done, and those that can be done now."""
    with tapes.tape(query.text("ops", "")) as (found, driven, kernel):
        return {
            "steps": len(found),
            "told": [
                {"steps": told.steps, "function": told.event.function, "text": told.event.text, "free": told.event.free}
                for told in found.told
            ],
            "parts": [_part(one) for one in driven],
            "operations": [
                {"name": one.name, "takes": one.takes, "idea": one.idea}
                for one in OPERATIONS.values()
                if one.name != "lazy" or kernel.revision.lazy
            ],
            "programs": sorted(kernel.files),
            "places": [{"name": one.name, "low": one.low, "bits": one.bits} for one in SV39.pte_fields],
            "processes": _processes(kernel),
        }


def _part(driven: Driven) -> Json:
    done = driven.done
    return {
        "word": done.word,
        "outcome": done.outcome,
        "ended": done.ended,
        "told": driven.told,
    }


def _processes(k: Kernel) -> list[Json]:
    return [
        {"pid": p.pid, "name": p.name, "size": hex(p.sz), "zombie": p.state is State.ZOMBIE}
        for p in k.proc
        if p.state is not State.UNUSED
    ]


def steps(tapes: Tapes, query: Query) -> Json:
    """The steps from number ``from`` to ``to``, each in words."""
    with tapes.tape(query.text("ops", "")) as (found, _, _):
        first, stop = query.number("from", 0), query.number("to", 0)
        if not 0 <= first <= stop <= len(found) or stop - first > MOST_STEPS:
            raise BadAddress(f"steps {first} to {stop} of a tape of {len(found)}: ask for up to {MOST_STEPS} at a time")
        told = [one.steps for one in found.told]
        return {"steps": [_step(found, number, told) for number in range(first, stop)]}


def _step(found: Tape, number: int, told: list[int]) -> Json:
    step = found.step(number)
    pte = step.kind is Kind.PTE
    whose = found.name(step.root, number + 1) if pte else None
    return {
        "number": number,
        "kind": step.kind.name.lower(),
        "pa": hex(step.pa),
        "words": views.sentence(step, whose),
        "before": hex(step.before) if pte else None,
        "after": hex(step.after) if pte else None,
        "space": whose,
        "level": step.level if pte else None,
        "va": hex(step.va) if pte else None,
        "sentence": bisect_right(told, number),
    }


def changes(looks: Looks, query: Query) -> Json:
    """What changed between two looks at a guest, the newest first, of the last minutes."""
    looks.now()
    now = time.time()
    kept: list[Any] = list(looks.changes)
    return {
        "since": now - looks.started,
        "changes": [
            {"age": now - one.at, "generation": one.generation, "lines": one.lines} for one in reversed(kept[-200:])
        ],
    }
