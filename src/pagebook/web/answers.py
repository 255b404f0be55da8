"""The answers that the page shows of the machine itself, as data for JSON: what machine and ledger say, and no more.

Addresses are hex strings, for they do not fit JavaScript's numbers; frames are counted as the book counts them.  Every
list has a bound, and says when there is more.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice

import numpy as np

from pagebook import __version__
from pagebook.decode import FLAG_NAMES, decode_pte
from pagebook.errors import BadAddress, BadTarget
from pagebook.ledger import NOBODY, Role
from pagebook.machine import Machine, Names, Space
from pagebook.mmu import Extensions
from pagebook.sv import FORMATS, RWX, Satp, V, decode_satp, flags_text
from pagebook.units import PAGE_MASK, PAGE_SHIFT, PAGE_SIZE
from pagebook.views import data, facts
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
    return {**data.pte(decode_pte(value, fmt, extensions(query))), "places": places}


def extensions(query: Query) -> Extensions:
    """What the hart implements: by default what it does for the verb walk."""
    return Extensions(not query.flag("svade"), query.flag("svnapot"), query.flag("svpbmt"), query.flag("svrsw60t59b"))
