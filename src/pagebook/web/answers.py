"""The answers that the page shows, as data for JSON: what machine, ledger, explain and checks say, and no more.

Addresses are hex strings, for they do not fit JavaScript's numbers; frames are counted as the book counts them.  Every
list has a bound, and says when there is more.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from typing import Any, NamedTuple

import numpy as np

from pagebook import __version__
from pagebook.checks.registry import BY_ID, RULES, page
from pagebook.decode import FLAG_NAMES, decode_pte
from pagebook.errors import BadAddress, BadTarget, PagebookError
from pagebook.explain import Explanation, areas_at, explain, regime_of
from pagebook.faults import explain_fault, explain_otherwise
from pagebook.ledger import NOBODY, Role
from pagebook.machine import Machine, Names, Space
from pagebook.mmu import Extensions, Kind, Mmu
from pagebook.printed import is_trap, read_panic, read_trap
from pagebook.sv import FORMATS, RWX, Format, Satp, V, decode_satp, flags_text
from pagebook.units import PAGE_MASK, PAGE_SHIFT, PAGE_SIZE, parse_address
from pagebook.views import access as views
from pagebook.views import data, facts, findings
from pagebook.web.book import Book
from pagebook.web.looks import Look, Seen
from pagebook.web.query import Json, Query

MOST_USES = 200
MOST_RUNS = 4000
MOST_SYMBOLS = 16
MOST_AREAS = 4000


def machine(seen: Seen, query: Query) -> Json:
    """What there is: the book's parts, spaces, harts, roles and how many frames have each, remarks."""
    look = seen.now()
    found, ledger = look.machine, look.ledger
    counts = ledger.counts()
    damage = [f"{name}: {error}" for name, error in ledger.refused.items()]
    damage += [str(chain.broken) for chain in ledger.chains if chain.broken]
    return {
        "generation": look.generation,
        "pagebook": __version__,
        "name": found.name,
        "target": seen.name,
        "guest": found.guest,
        "live": seen.moves,
        "tape": seen.tape,
        "trouble": seen.trouble,
        "remarks": [*seen.remarks, *damage],
        "frames": len(look.book),
        "parts": _parts(look.book),
        "folded": _parts(look.folded),
        "areas": [data.area(area) for area in found.areas[:MOST_AREAS]],
        "devices": [{"start": hex(one.start), "size": hex(len(one))} for one in found.memory.devices],
        "roles": [{"name": role.label, "frames": counts[role]} for role in Role],
        "spaces": [_space(space) for space in found.spaces],
        "harts": [_hart(found, *hart[:3]) for hart in found.harts],
        "flags": {name: words for name, words in FLAG_NAMES.items()},
    }


def _space(space: Space) -> Json:
    fmt = space.table.format
    return {
        "name": space.name,
        "pid": space.pid,
        "state": space.state,
        "size": None if space.size is None else hex(space.size),
        "root": hex(space.table.root),
        "format": fmt.name,
        "levels": fmt.levels,
        "index_bits": fmt.index_bits,
        "va_bits": fmt.va_bits,
        "xlen": fmt.xlen,
        "pte_bytes": fmt.pte_bytes,
    }


def _hart(found: Machine, number: int, satp: int | None, privilege: str | None) -> Json:
    """A hart, and the spaces whose root its satp holds."""
    spaces: list[str] = []
    if satp is not None:
        try:
            meant = decode_satp(satp)
        except BadAddress:
            meant = Satp(None, 0, 0)
        spaces = [one.name for one in found.spaces if meant.format is not None and one.table.root == meant.root]
    return {
        "number": number,
        "satp": None if satp is None else hex(satp),
        "privilege": privilege,
        "spaces": spaces[:3],
    }


def book(seen: Seen, query: Query) -> Json:
    """The frames from number ``from`` to ``to`` of the book, or of the folded one, in at most ``cells`` cells."""
    look = seen.now()
    found = look.folded if query.flag("folded") else look.book
    cells = found.cells(query.number("from", 0), query.number("to", len(found)), query.number("cells", 4096))
    return {
        "generation": look.generation,
        "frames": len(found),
        "parts": _parts(found),
        "first": cells.first,
        "shift": cells.shift,
        "roles": cells.roles.tolist(),
        "present": cells.present.tolist(),
        "owners": cells.owners.tolist(),
    }


def _parts(found: Book) -> list[Json]:
    return [{"base": hex(part.base), "frames": part.frames, "all": part.all} for part in found.parts]


def frame(seen: Seen, query: Query) -> Json:
    """One frame: its role and owner, what the machine calls it, every mapping that leads to it, its bytes."""
    look = seen.now()
    found = look.machine
    pa = query.address("pa") & ~PAGE_MASK
    number = look.book.number(pa)
    uses = list(islice(look.ledger.uses(pa, pa + PAGE_SIZE), MOST_USES + 1))
    if number is None and not uses:
        raise BadAddress(f"{pa:#x} is no address of this machine's RAM, and nothing maps it", pa=pa)
    return {
        "generation": look.generation,
        "pa": hex(pa),
        "pfn": hex(pa >> PAGE_SHIFT),
        "number": number,
        **_held(look, pa),
        "name": Names(found.areas).of(pa, PAGE_SIZE),
        "symbols": _symbols_in(found.symbols, pa, pa + PAGE_SIZE),
        "uses": [
            {
                "space": use.space.name,
                "va": hex(use.va + (pa - use.pa if pa > use.pa else 0)),
                "size": hex(use.size),
                "level": use.level,
                "flags": flags_text(use.flags),
                "pte": hex(use.pte),
                "pte_pa": hex(use.pte_pa),
                "name": Names(use.space.areas).of(use.va, use.size),
            }
            for use in uses[:MOST_USES]
        ],
        "more_uses": len(uses) > MOST_USES,
        "bytes": None if number is None else found.memory.read(pa, PAGE_SIZE).hex(),
    }


def _held(look: Look, pa: int) -> Json:
    """What the ledger holds of a frame."""
    for holding in look.ledger.holdings:
        at = pa - holding.region.base >> PAGE_SHIFT
        if 0 <= at < len(holding):
            role, owner = Role(int(holding.role[at])), int(holding.owner[at])
            return {
                "role": role.label,
                "owner": None if owner == NOBODY else look.machine.spaces[owner].name,
                "level": int(holding.level[at]) if role is Role.PAGE_TABLE else None,
                "refs": int(holding.refs[at]),
            }
    device = any(pa < one.stop and one.start < pa + PAGE_SIZE for one in look.machine.memory.devices)
    return {"role": "device" if device else "no memory", "owner": None, "level": None, "refs": 0}


def _symbols_in(symbols: Mapping[str, int], start: int, stop: int) -> list[str]:
    inside = sorted((value, name) for name, value in symbols.items() if start <= value < stop)
    return [name for _, name in inside[:MOST_SYMBOLS]]


def space(seen: Seen, query: Query) -> Json:
    """One address space: its areas, its runs of mappings, and what no walk can use."""
    look = seen.now()
    one = space_of(seen, look, query, "name")
    listed = facts.listing(one, facts.Filter())
    runs = list(islice(listed.runs(), MOST_RUNS + 1))
    return {
        "generation": look.generation,
        **_space(one),
        "mappings": listed.mappings,
        "areas": [data.area(area) for area in one.areas[:MOST_AREAS]],
        "runs": [data.run(run) for run in runs[:MOST_RUNS]],
        "more_runs": len(runs) > MOST_RUNS,
        "problems": [data.problem(one) for one in islice(listed.problems(), MOST_USES)],
    }


def space_of(seen: Seen, look: Look, query: Query, parameter: str = "space") -> Space:
    """The space that is asked for; BadTarget where there is none, or in a guest that moves no more."""
    name = query.text(parameter)
    try:
        return look.machine.space(name)
    except BadTarget as error:
        gone = "; a process that has ended is gone with its tables" if seen.moves else ""
        raise BadTarget(f"{error}{gone}") from None


def table(seen: Seen, query: Query) -> Json:
    """The PTEs of the table at ``pa``, as one of ``level`` in ``space``: the values, and what each one is."""
    look = seen.now()
    one = space_of(seen, look, query)
    fmt = one.table.format
    level, pa = query.number("level", fmt.levels - 1), query.address("pa") & ~PAGE_MASK
    if level >= fmt.levels:
        raise BadAddress(f"{fmt.name} has no level {level}")
    ptes = one.table.ptes(pa, fmt.entries).astype(np.uint64)
    kinds = np.where(ptes & np.uint64(V) == 0, 0, np.where(ptes & np.uint64(RWX) == 0, 1, 2))
    return {
        "generation": look.generation,
        "space": one.name,
        "pa": hex(pa),
        "level": level,
        "format": fmt.name,
        "pte_bytes": fmt.pte_bytes,
        "covers": hex(fmt.page_bytes(level)),
        **_held(look, pa),
        "kinds": kinds.tolist(),
        "ptes": [hex(pte) for pte in ptes.tolist()],
        "flags": [flags_text(pte & 0xFF) if pte & V else "" for pte in ptes.tolist()],
        "targets": [hex(fmt.pte_pa(pte)) if pte & V else "" for pte in ptes.tolist()],
    }


def pte(seen: Seen, query: Query) -> Json:
    """A PTE taken apart, and where each of its fields stands."""
    fmt = query.one_of("format", {one.name: one for one in FORMATS.values()}, "Sv39")
    value = query.address("value")
    if value >> 8 * fmt.pte_bytes:
        raise BadAddress(f"{value:#x} is no PTE of {fmt.name}, which has {8 * fmt.pte_bytes} bits")
    places = [{"name": one.name, "low": one.low, "bits": one.bits} for one in fmt.pte_fields]
    return {**data.pte(decode_pte(value, fmt, _extensions(query))), "places": places}


def _extensions(query: Query) -> Extensions:
    """What the hart implements: by default what it does for the verb walk."""
    return Extensions(not query.flag("svade"), query.flag("svnapot"), query.flag("svpbmt"), query.flag("svrsw60t59b"))


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
    mmu = Mmu(look.machine.memory, _extensions(query))
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
    mmu = Mmu(look.machine.memory, _extensions(query))
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


class Hit(NamedTuple):
    """A place that fits what was searched: ``view`` says where the page shows it."""

    view: str
    words: str
    space: str | None
    va: str | None
    pa: str | None
    rule: str | None = None


MOST_HITS = 40
_HEX = re.compile(r"[0-9a-f]{1,16}")
MOST_SPACES = 200  # that are asked for an address


def search(seen: Seen, query: Query) -> Json:
    """Where the page can go for a physical address, a frame number, a virtual address or a name."""
    look = seen.now()
    words = query.text("q").strip()
    if is_trap(words):
        trap = Hit("trap", "this trap, explained", None, None, None)
        return {"generation": look.generation, "hits": [trap._asdict()]}
    try:
        number = parse_address(words)
    except ValueError:
        number = -1
    hits = list(islice(_by_number(look.machine, number), MOST_HITS)) if 0 <= number < 1 << 64 else []
    if words:
        hits += list(islice(_by_name(look.machine, words.lower()), MOST_HITS - len(hits)))
    return {"generation": look.generation, "hits": [hit._asdict() for hit in hits]}


def _by_number(found: Machine, number: int) -> Any:  # noqa: ANN401 - an iterator of hits
    if number in found.memory:
        yield Hit("book", f"frame at {number & ~PAGE_MASK:#x}, a physical address", None, None, hex(number))
    if number << PAGE_SHIFT in found.memory:
        yield Hit("book", f"frame number {number:#x}", None, None, hex(number << PAGE_SHIFT))
    for one in found.spaces[:MOST_SPACES]:
        try:
            pa = one.table.translate(number)
        except PagebookError:
            continue
        if pa is not None:
            place = " and ".join(areas_at(one, number))
            yield Hit("walk", f"{one.name}: {number:#x} {place}".rstrip(), one.name, hex(number), hex(pa))


def _by_name(found: Machine, words: str) -> Any:  # noqa: ANN401
    pid = words.removeprefix("pid").lstrip(" =")
    for one in found.spaces:
        if words in one.name.lower() or pid == str(one.pid):
            yield Hit("spaces", f"address space {one.name}", one.name, None, hex(one.table.root))
    for area in found.areas:
        if words in area.name.lower():
            yield Hit("book", f"{area.name} at {area.start:#x}", None, None, hex(area.start))
    for one in found.spaces:
        for area in one.areas:
            if words in area.name.lower():
                yield Hit("walk", f"{one.name}: {area.name} at {area.start:#x}", one.name, hex(area.start), None)
    for rule in RULES:
        if words in rule.id.lower() or words in rule.name:
            yield Hit("rule", f"rule {rule.id} {rule.name}: {rule.summary}", None, None, None, rule.id)
    kernel = next((one.name for one in found.spaces if one.pid is None), None)
    named = [(kernel, found.symbols), *((one.name, one.symbols) for one in found.spaces)]
    for space_name, symbols in named:
        name, plus, offset = words.partition("+0x")
        for symbol, value in symbols.items() if plus else ():
            if symbol.lower() == name and space_name is not None:
                at = hex(value + int(offset, 16)) if _HEX.fullmatch(offset) else hex(value)
                yield Hit("walk", f"{space_name}: {symbol}+0x{offset}, at {at}", space_name, at, None)
        for name, value in symbols.items():
            if words in name.lower() and space_name is not None:
                yield Hit("walk", f"{space_name}: {name}, a symbol at {value:#x}", space_name, hex(value), None)


ANSWERS: dict[str, Callable[[Seen, Query], Json]] = {
    "machine": machine,
    "book": book,
    "frame": frame,
    "space": space,
    "table": table,
    "pte": pte,
    "walk": walk,
    "fault": fault,
    "checks": checks,
    "rule": rule,
    "search": search,
}
"""The answers by the last word of their paths."""
