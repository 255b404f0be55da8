"""The answers about an access, and about what a kernel printed of a crash: what explain and faults say."""

from __future__ import annotations

from collections.abc import Iterable

from pagebook.explain import Explanation, explain, regime_of
from pagebook.faults import explain_fault, explain_otherwise
from pagebook.mmu import Kind, Mmu
from pagebook.printed import read_panic, read_trap
from pagebook.sv import Format
from pagebook.units import PAGE_SHIFT
from pagebook.views import access as views
from pagebook.views import data
from pagebook.web.answers import extensions, space_of
from pagebook.web.looks import Look, Seen
from pagebook.web.query import Json, Query


def walk(seen: Seen, query: Query) -> Json:
    """One access explained, step by step."""
    look = seen.now()
    found = explained(seen, look, query)
    shape = _shape(found.space.table.format)
    return {"generation": look.generation, **data.access(look.machine, found), **shape}


def explained(seen: Seen, look: Look, query: Query) -> Explanation:
    """The access that is asked for, and what it comes to."""
    one = space_of(seen, look, query)
    kind = query.one_of("access", {kind.name.lower(): kind for kind in Kind}, "load")
    priv = query.one_of("priv", {"U": "U", "S": "S", "M": "M", "": None}, "")
    regime = regime_of(one, priv, query.flag("sum"), query.flag("mxr"))
    mmu = Mmu(look.machine.memory, extensions(query))
    return explain(mmu, one, regime, kind, query.address("va"), query.number("size", 4 if kind is Kind.AMO else 1))


def _shape(fmt: Format) -> Json:
    """Where the fields of an address and of a PTE stand."""
    return {
        "va_shape": {
            "offset_bits": PAGE_SHIFT,
            "index_bits": fmt.index_bits,
            "levels": fmt.levels,
            "xlen": fmt.xlen,
            "pte_bytes": fmt.pte_bytes,
        },
        "places": [{"name": place.name, "low": place.low, "bits": place.bits} for place in fmt.pte_fields],
    }


def fault(seen: Seen, query: Query) -> Json:
    """What explains the trap or panic that a kernel printed: what is told of it and, where there is one, the access."""
    look = seen.now()
    text = query.text("trap")
    if panic := read_panic(text):
        return _told(look, f"panic: {panic.words}", views.told_of_panic(panic))
    asked = read_trap(text)
    mmu = Mmu(look.machine.memory, extensions(query))
    if asked.printed.other:
        other = explain_otherwise(look.machine, mmu, asked.printed, None, asked.priv, seen.tape)
        return _told(look, f"scause {views.printed(asked.printed)}", views.told_otherwise(other))
    found = explain_fault(look.machine, mmu, asked.printed, None, asked.priv, model=seen.tape)
    return {
        "generation": look.generation,
        "printed": f"scause {views.printed(found)}",
        "told": [one._asdict() for one in views.told(found)],
        "fits": found.fits,
        "access": {**data.access(look.machine, found.chosen), **_shape(found.chosen.space.table.format)}
        if found.named
        else None,
    }


def _told(look: Look, printed: str, told: Iterable[views.Told]) -> Json:
    """What is told of what is no access."""
    return {
        "generation": look.generation,
        "printed": printed,
        "told": [one._asdict() for one in told],
        "fits": False,
        "access": None,
    }
