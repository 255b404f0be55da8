"""The answers as data for JSON: addresses and PTEs as hex strings, counts and levels as numbers.

Every document starts with ``schema`` and ``version``; docs/json.md describes each, and a change that would break a
reader raises the version.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pagebook.ledger import Ledger
from pagebook.machine import Area, Machine, Space
from pagebook.sv import flags_text
from pagebook.table import Entry
from pagebook.views.facts import FIRST_FREE, Listing, Node, Walk, leaf
from pagebook.xv6.kernel import Event

VERSION = 1
Json = dict[str, Any]


def document(kind: str, **content: Any) -> Json:  # noqa: ANN401
    """A document of this kind: ``pagebook.maps``, ``pagebook.tree``, ``pagebook.walk``, ``pagebook.boot``."""
    return {"schema": f"pagebook.{kind}", "version": VERSION, **content}


def _space(space: Space) -> Json:
    return {
        "space": space.name,
        "pid": space.pid,
        "size": None if space.size is None else hex(space.size),
        "format": space.table.format.name.lower(),
        "root": hex(space.table.root),
    }


def maps(machine: Machine, listed: list[Listing]) -> Json:
    """Every space with its runs and its problems."""
    return document("maps", machine=machine.name, spaces=[_listing(one) for one in listed])


def _listing(listed: Listing) -> Json:
    return {
        **_space(listed.space),
        "mappings": listed.mappings,
        "runs": [
            {
                "va": hex(run.va),
                "pa": hex(run.pa),
                "size": hex(run.size),
                "pages": run.pages,
                "level": run.level,
                "flags": flags_text(run.flags),
                "name": run.name,
            }
            for run in listed.runs()
        ],
        "problems": [
            {"va": hex(p.va), "pte": hex(p.pte), "pte_pa": hex(p.pte_pa), "level": p.level, "kind": p.kind}
            for p in listed.problems()
        ],
    }


def tree(machine: Machine, space: Space, rows: Iterator[Node]) -> Json:
    """The valid PTEs of a space in depth-first order; equal neighbours as one entry with a count."""
    return document("tree", machine=machine.name, **_space(space), entries=[_node(node) for node in rows])


def _node(node: Node) -> Json:
    return {
        "depth": node.depth,
        "level": node.level,
        "index": node.index,
        "count": node.count,
        "va": hex(node.va),
        "pte_pa": hex(node.pte_pa),
        "pte": hex(node.pte),
        "kind": "table" if node.is_table else "mapped",
        "pa": hex(node.pa),
        "flags": flags_text(node.pte),
        "problem": node.problem or None,
    }


def walk(machine: Machine, found: Walk) -> Json:
    """One translation, step by step."""
    fmt = found.space.table.format
    indices, offset = fmt.split_va(found.va)
    return document(
        "walk",
        machine=machine.name,
        **_space(found.space),
        va=hex(found.va),
        indices=list(indices),
        offset=hex(offset),
        steps=[_step(found, entry) for entry in found.entries],
        mapped=found.pa is not None,
        pa=None if found.pa is None else hex(found.pa),
        verdict=found.verdict,
    )


def _step(found: Walk, entry: Entry) -> Json:
    fmt = found.space.table.format
    pa, _ = leaf(fmt, entry.pte, entry.level)
    return {
        "level": entry.level,
        "index": fmt.index(found.va, entry.level),
        "pte_pa": hex(entry.pte_pa),
        "pte": hex(entry.pte),
        "kind": entry.kind,
        "pa": hex(pa),
        "fields": fmt.decode_pte(entry.pte),
    }


def boot(machine: Machine, story: list[Event], saved: str | None) -> Json:
    """The story, and the summary after it."""
    frames = machine.free_list()
    listed = [] if frames is None else frames.frames().tolist()
    return document(
        "boot",
        machine=machine.name,
        story=[{"function": e.function, "text": e.text, "free": e.free} for e in story],
        frames={role.label: count for role, count in Ledger(machine).counts().items()},
        spaces=[{**_space(space), "areas": [_area(area) for area in space.areas]} for space in machine.spaces],
        harts=[{"hart": hart.number, "satp": hex(hart.satp)} for hart in machine.harts],
        symbols={name: hex(value) for name, value in machine.symbols.items()},
        free={"count": len(listed), "first": [hex(pa) for pa in listed[:FIRST_FREE]]},
        saved=saved,
    )


def _area(area: Area) -> Json:
    return {"start": hex(area.start), "size": hex(area.size), "name": area.name}
