"""The answer of the search: where the page can go for an address, a number or a name."""

from __future__ import annotations

import re
from itertools import islice
from typing import Any, NamedTuple

from pagebook.checks.registry import RULES
from pagebook.errors import PagebookError
from pagebook.explain import areas_at
from pagebook.machine import Machine
from pagebook.printed import is_trap
from pagebook.units import PAGE_MASK, PAGE_SHIFT, parse_address
from pagebook.web.looks import Seen
from pagebook.web.query import Json, Query

MOST_HITS = 40
MOST_SPACES = 200  # that are asked for an address
_HEX = re.compile(r"[0-9a-f]{1,16}")


class Hit(NamedTuple):
    """A place that fits what was searched: ``view`` says where the page shows it."""

    view: str
    words: str
    space: str | None
    va: str | None
    pa: str | None
    rule: str | None = None


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
