"""A machine of which nothing is known but where its page tables start: from the satp of its harts, or from the user."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from pagebook.errors import BadAddress, BadTarget, PagebookError
from pagebook.machine import Hart, Machine, Space, Spaces
from pagebook.source import Source
from pagebook.sv import FORMATS, SV39, Format, decode_satp
from pagebook.table import AddressSpace
from pagebook.units import PAGE_MASK, parse_address

Root = tuple[int, Format]
REMEDY = (
    "say where a table starts with --root PA or --root PA:sv48, or what satp holds with --satp VALUE, or search memory "
    "for roots with 'pagebook roots TARGET'"
)


def read(source: Source, satps: Sequence[int] = (), roots: Sequence[tuple[int, str]] = (), xlen: int = 64) -> Machine:
    """The machine with an address space for each root: those given, or else those of the harts' satps.

    ``roots`` are pairs of a physical address and a format's name.  Harts with one root have one space, named ``hart 0``
    or ``harts 0, 1``; a hart without translation has none.  BadTarget when no root is known, or one is not in memory.
    """
    named = _given(satps, roots, xlen) if satps or roots else _of_harts(source.harts, xlen)
    spaces = Spaces(_space(source, name, root) for name, root in named)
    if not spaces:
        raise BadTarget(f"{source.no_satp or f'{source.name}: {_why_none(source.harts)}'}; {REMEDY}")
    return Machine(source.name, source.memory, spaces, source.harts)


def parse_root(text: str) -> tuple[int, str]:
    """The address and the format's name in ``"PA"`` (then Sv39) or ``"PA:sv48"``; ValueError for anything else."""
    address, colon, name = text.partition(":")
    name = name.strip().lower() if colon else SV39.name.lower()
    if name not in FORMATS:
        raise ValueError(f"{text!r} has no format after the colon that there is; write PA:sv32, sv39, sv48 or sv57")
    pa = parse_address(address)
    if pa < 0 or pa & PAGE_MASK:
        raise ValueError(
            f"{address.strip()} is not the address of a page; a root's last three hexadecimal digits are 0"
        )
    return pa, name


def _given(satps: Iterable[int], roots: Iterable[tuple[int, str]], xlen: int) -> Iterator[tuple[str, Root]]:
    """A name for each root that the user gave; one given twice has one."""
    seen: set[Root] = set()
    for root in (*(_translating(satp, xlen) for satp in satps), *((pa, FORMATS[name]) for pa, name in roots)):
        if root not in seen:
            seen.add(root)
            yield f"root {root[0]:#x}", root


def _translating(satp: int, xlen: int) -> Root:
    found = decode_satp(satp, xlen)
    if found.format is None:
        raise BadTarget(
            f"satp {satp:#x} is in Bare mode, in which addresses are not translated: there is no table to read; for "
            "one at that address, say --root PA"
        )
    return found.root, found.format


def _of_harts(harts: Iterable[Hart], xlen: int) -> Iterator[tuple[str, Root]]:
    """A name for each root that a hart's satp names; of satps that are not known, or reserved, nothing is said."""
    users: dict[Root, list[int]] = {}
    for hart in harts:
        if hart.satp is None:
            continue
        try:
            found = decode_satp(hart.satp, xlen)
        except BadAddress as error:
            raise BadTarget(f"hart {hart.number}: {error}; {REMEDY}") from None
        if found.format is not None:
            users.setdefault((found.root, found.format), []).append(hart.number)
    for root, numbers in users.items():
        yield f"hart{'s' * (len(numbers) > 1)} {', '.join(map(str, numbers))}", root


def _space(source: Source, name: str, root: Root) -> Space:
    try:
        return Space(name, AddressSpace(source.memory, *root))
    except PagebookError as error:
        raise BadTarget(f"{source.name}: {name} cannot be read: {error}") from None


def _why_none(harts: Sequence[Hart]) -> str:
    known = [hart for hart in harts if hart.satp is not None]
    if not known:
        return "no satp is known, so nothing says where its page tables are"
    return "its harts do not translate: satp is in Bare mode" + (
        " where it is known" if len(known) < len(harts) else ""
    )
