"""The answers as data for JSON: addresses and PTEs as hex strings, counts and levels as numbers.

Every document starts with ``schema`` and ``version``; docs/json.md describes each, and a change that would break a
reader raises the version.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from pagebook.ledger import Ledger
from pagebook.machine import Area, Machine, Space
from pagebook.mmu import Rule
from pagebook.sv import Format, Satp, flags_text
from pagebook.table import Entry
from pagebook.views.facts import FIRST_FREE, Listing, Node, Problem, Run, Walk, leaf

if TYPE_CHECKING:  # a page or a list of mappings needs none of these
    from pagebook.decode import PteMeaning
    from pagebook.explain import Explanation, Page
    from pagebook.faults import Fault, Otherwise
    from pagebook.instructions import Instruction
    from pagebook.printed import Panicked, Printed
    from pagebook.quiz import Question
    from pagebook.xv6.kernel import Event

VERSION = 1
Json = dict[str, Any]


def document(kind: str, /, **content: Any) -> Json:  # noqa: ANN401
    """A document of this kind: ``pagebook.maps``, ``pagebook.tree``, and so on."""
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
        "runs": [run(one) for one in listed.runs()],
        "problems": [problem(one) for one in listed.problems()],
    }


def run(found: Run) -> Json:
    """One run of mappings."""
    return {
        "va": hex(found.va),
        "pa": hex(found.pa),
        "size": hex(found.size),
        "pages": found.pages,
        "level": found.level,
        "flags": flags_text(found.flags),
        "name": found.name,
    }


def problem(found: Problem) -> Json:
    """One PTE that no walk can use."""
    return {
        "va": hex(found.va),
        "pte": hex(found.pte),
        "pte_pa": hex(found.pte_pa),
        "level": found.level,
        "kind": found.kind,
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
        steps=[_step(fmt, found.va, entry) for entry in found.entries],
        mapped=found.pa is not None,
        pa=_hex(found.pa),
        verdict=found.verdict,
    )


def _step(fmt: Format, va: int, entry: Entry) -> Json:
    pa, _ = leaf(fmt, entry.pte, entry.level)
    return {
        "level": entry.level,
        "index": fmt.index(va, entry.level),
        "pte_pa": hex(entry.pte_pa),
        "pte": hex(entry.pte),
        "kind": entry.kind,
        "pa": hex(pa),
        "fields": fmt.decode_pte(entry.pte),
    }


def _hex(value: int | None) -> str | None:
    return None if value is None else hex(value)


def access(machine: Machine, found: Explanation) -> Json:
    """One access, step by step, with its reasons."""
    return document("access", machine=machine.name, **_access(found))


def _access(found: Explanation) -> Json:
    outcome, regime = found.outcome, found.regime
    return {
        **_space(found.space),
        "access": found.kind.name.lower(),
        "va": hex(found.va),
        "bytes": found.size,
        "priv": regime.priv,
        "sum": regime.sum,
        "mxr": regime.mxr,
        "satp": hex(regime.satp),
        "cause": outcome.cause,
        "tval": None if outcome.cause is None else hex(outcome.tval),
        "pa": _hex(outcome.pa),
        "rule": _rule(outcome.rule),
        "decided": found.decided,
        "pages": [_page(found.space.table.format, page) for page in found.pages],
        "verdict": found.verdict,
        "hardware": found.hardware or None,
        "xv6": found.xv6 or None,
        "place": found.place,
        "likely": list(found.likely),
    }


def _page(fmt: Format, page: Page) -> Json:
    return {
        "va": hex(page.va),
        "bytes": page.size,
        "pa": _hex(page.pa),
        "pte_after": _hex(page.after),
        "steps": [
            {**_step(fmt, page.va, step.entry), "rule": None if step.rule is None else step.rule.id}
            for step in page.steps
        ],
    }


def _rule(rule: Rule | None) -> Json | None:
    return None if rule is None else {"id": rule.id, "step": rule.step, "text": rule.text}


def otherwise(machine: Machine, found: Otherwise) -> Json:
    """What was printed of a trap that no translation decides, and where its instruction is."""
    return document(
        "trap",
        machine=machine.name,
        **_printed(found.printed),
        why=found.why,
        instruction=None if found.instruction is None else _instruction(found.instruction),
        also=list(found.same),
        notes=list(found.notes),
        code=list(found.code),
        doubts=list(found.doubts),
    )


def _printed(found: Fault | Printed) -> Json:
    return {"scause": hex(found.scause), "stval": hex(found.stval), "sepc": _hex(found.sepc), "pid": found.pid}


def panic(found: Panicked) -> Json:
    """A panic without a trap, and what is known of it."""
    return document("panic", words=found.words, when=found.when or None, look_for=found.look_for or None)


def fault(machine: Machine, found: Fault) -> Json:
    """What was printed, and the access that explains it."""
    return document(
        "fault",
        machine=machine.name,
        **_printed(found),
        fits=found.fits,
        certain=found.certain,
        instruction=None if found.instruction is None else _instruction(found.instruction),
        also=list(found.same),
        passed=list(found.passed),
        ruled_out=[{"space": name, "instruction": _instruction(one)} for name, one in found.ruled_out],
        notes=list(found.notes),
        code=list(found.code),
        doubts=list(found.doubts),
        advice=list(found.advice),
        explained=_access(found.chosen),
    )


def _instruction(found: Instruction) -> Json:
    return {
        "value": hex(found.value),
        "bytes": found.size,
        "name": found.name or None,
        "access": None if found.kind is None else found.kind.name.lower(),
    }


def pte(found: PteMeaning) -> Json:
    """A PTE taken apart."""
    return document(
        "pte",
        pte=hex(found.pte),
        format=found.format.name.lower(),
        fields=found.fields,
        kind=found.kind,
        pa=hex(found.pa),
        rule=_rule(found.broken),
        levels=[{"level": level, "rule": _rule(rule)} for level, rule in found.levels.items()],
        allows=[{"who": who, "access": [kind.name.lower() for kind in kinds]} for who, kinds in found.allows.items()],
    )


def satp(value: int, found: Satp) -> Json:
    """A satp value taken apart."""
    name = None if found.format is None else found.format.name.lower()
    return document("satp", satp=hex(value), format=name, asid=found.asid, root=hex(found.root))


def question(asked: Question) -> Json:
    """A question and its answer."""
    return document(
        "quiz",
        seed=asked.seed,
        level=asked.level,
        svadu=asked.mmu.extensions.svadu,
        svnapot=asked.mmu.extensions.svnapot,
        svpbmt=asked.mmu.extensions.svpbmt,
        ptes=[{"pte_pa": hex(at), "pte": hex(value)} for at, value in asked.entries()],
        answer=_access(asked.solve()),
    )


def boot(machine: Machine, story: list[Event], saved: str | None) -> Json:
    """The story, and the summary after it."""
    listed = [pa for found in machine.free_lists() for pa in found.frames.tolist()]
    return document(
        "boot",
        machine=machine.name,
        story=[{"function": e.function, "text": e.text, "free": e.free} for e in story],
        frames={role.label: count for role, count in Ledger(machine).counts().items()},
        spaces=[{**_space(space), "areas": [area(one) for one in space.areas]} for space in machine.spaces],
        harts=[{"hart": hart.number, "satp": None if hart.satp is None else hex(hart.satp)} for hart in machine.harts],
        symbols={name: hex(value) for name, value in machine.symbols.items()},
        free={"count": len(listed), "first": [hex(pa) for pa in listed[:FIRST_FREE]]},
        saved=saved,
    )


def area(found: Area) -> Json:
    """A named range."""
    return {"start": hex(found.start), "size": hex(found.size), "name": found.name}
