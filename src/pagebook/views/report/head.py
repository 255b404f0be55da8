"""The head of a report: which machine, when, by which words, how it was read, and what was odd about that."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from itertools import islice

from pagebook import __version__
from pagebook.errors import BadAddress
from pagebook.machine import Hart, Machine
from pagebook.sv import decode_satp
from pagebook.units import size_text
from pagebook.views.report.found import Found, Room
from pagebook.views.report.markup import MOST_NAME, Html, code, element, facts, joined, short
from pagebook.views.text import count_text

MOST_REGIONS = 16
MOST_HARTS = 64
MOST_REMARKS = 100
GUESTS = {"xv6": "xv6", "linux": "Linux", "": "not known; its tables are read as they are"}


def head(found: Found, room: Room) -> Html:
    """The facts and the remarks."""
    about, machine = found.about, found.machine
    when = element("time", f"{about.when:%Y-%m-%d %H:%M:%S %z}", datetime=about.when.isoformat(timespec="seconds"))
    rows = [
        ("machine", short(machine.name, MOST_NAME)),
        ("what runs there", GUESTS.get(machine.guest, short(machine.guest, MOST_NAME))),
        ("read from", joined((code(about.target), ", ", about.how))),
        ("memory", joined(_regions(machine))),
        ("harts", joined(_harts(machine)) if machine.harts else "nothing is known of them"),
        ("when", when),
        ("made by", f"pagebook {__version__}, Python {platform.python_version()}"),
        ("with", code(about.command)),
    ]
    return joined((room.held(facts(rows)), _remarks(found, room)))


def _regions(machine: Machine) -> Iterator[Html]:
    for region in machine.memory.regions[:MOST_REGIONS]:
        yield element("div", code(f"{region.base:#x}-{region.end:#x}"), f", {size_text(region.size)}")
    if len(machine.memory.regions) > MOST_REGIONS:
        yield element("div", f"and {len(machine.memory.regions) - MOST_REGIONS:,} more regions")


def _harts(machine: Machine) -> Iterator[Html]:
    for hart in machine.harts[:MOST_HARTS]:
        satp = "satp not known" if hart.satp is None else f"satp {hart.satp:#x}{_uses(machine, hart)}"
        mode = f", in {short(hart.privilege, MOST_NAME)}" if hart.privilege else ""
        yield element("div", f"hart {hart.number}: {satp}{mode}")
    if len(machine.harts) > MOST_HARTS:
        yield element("div", f"and {len(machine.harts) - MOST_HARTS:,} more harts")


def _uses(machine: Machine, hart: Hart) -> str:
    """Whose table a hart uses."""
    try:
        meant = decode_satp(hart.satp or 0)
    except BadAddress:
        return ", which means nothing"
    if meant.format is None:
        return ", no translation"
    space = next((one for one in machine.spaces if one.table.root == meant.root), None)
    return f", {meant.format.name} from {meant.root:#x}" + (f": {short(space.name, MOST_NAME)}" if space else "")


def _remarks(found: Found, room: Room) -> Html:
    said = [*found.about.remarks, *damage(found)]
    if not said:
        return Html("")
    items = list(room.first((element("li", short(remark)) for remark in said), MOST_REMARKS))
    left = len(said) - len(items)
    more = element("p", f"and {count_text(left, 'more remark')}") if left else ""
    return element("aside", element("h2", "Remarks"), element("ul", *items), more, aria_label="Remarks")


def damage(found: Found) -> list[str]:
    """What the ledger could not read whole."""
    ledger = found.ledger
    refused = [f"{short(name, MOST_NAME)}: {error}" for name, error in islice(ledger.refused.items(), MOST_REMARKS)]
    return refused + [str(chain.broken) for chain in ledger.chains if chain.broken]
