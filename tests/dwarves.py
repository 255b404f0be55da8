"""A writer of small DWARF sections, for tests only: it checks nothing, so that it can write bad ones.

A `Die` is an entry with attributes and children; `sections` lays a unit of them out.  The makers below cover what C
makes of a kernel's globals.  Nothing here is shared with pagebook, which reads DWARF with pyelftools.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

# Tags, attributes and forms by their numbers in the DWARF standard, as many as are needed here.
ARRAY, ENUMERATION, MEMBER, POINTER = 0x01, 0x04, 0x0D, 0x0F
COMPILE_UNIT, STRUCT, TYPEDEF, UNION = 0x11, 0x13, 0x16, 0x17
SUBRANGE, BASE, CONST, ENUMERATOR, SUBPROGRAM, VARIABLE, VOLATILE = 0x21, 0x24, 0x26, 0x28, 0x2E, 0x34, 0x35
SIBLING, LOCATION, NAME, BYTE_SIZE, BIT_SIZE, CONST_VALUE, UPPER_BOUND = 0x01, 0x02, 0x03, 0x0B, 0x0D, 0x1C, 0x2F
COUNT, MEMBER_LOCATION, DECLARATION, ENCODING, SPECIFICATION, TYPE = 0x37, 0x38, 0x3C, 0x3E, 0x47, 0x49
DATA4, DATA8, STRING, BLOCK1, STRP, FLAG, REF4, SDATA = 0x06, 0x07, 0x08, 0x0A, 0x0E, 0x0C, 0x13, 0x0D

ADDR_BASE, SEC_OFFSET, EXPRLOC = 0x73, 0x17, 0x18


@dataclass(eq=False)
class Die:
    """An entry: its attributes as (attribute, form, value), where the value of a REF4 is another entry."""

    tag: int
    attributes: list[tuple[int, int, Any]] = field(default_factory=list)
    children: list[Die] = field(default_factory=list)
    offset: int = 0


def base(name: str, size: int, encoding: int = 7) -> Die:
    """An integer; encodings: 5 signed, 6 signed char, 7 unsigned, 8 unsigned char, 4 float."""
    return Die(BASE, [(NAME, STRP, name), (BYTE_SIZE, DATA4, size), (ENCODING, DATA4, encoding)])


def pointer(target: Die | None = None) -> Die:
    return Die(POINTER, [(BYTE_SIZE, DATA4, 8)] + ([(TYPE, REF4, target)] if target else []))


def array(element: Die, *counts: int) -> Die:
    bounds = [Die(SUBRANGE, [(UPPER_BOUND, DATA8, count - 1)]) for count in counts]
    return Die(ARRAY, [(TYPE, REF4, element)], bounds)


def typedef(name: str, target: Die, tag: int = TYPEDEF) -> Die:
    return Die(tag, [(NAME, STRP, name), (TYPE, REF4, target)])


def enumeration(values: Mapping[int, str]) -> Die:
    names = [Die(ENUMERATOR, [(NAME, STRP, name), (CONST_VALUE, SDATA, value)]) for value, name in values.items()]
    return Die(ENUMERATION, [(BYTE_SIZE, DATA4, 4)], names)


def member(name: str, kind: Die, offset: int, *, expression: bool = False) -> Die:
    """A member; ``expression`` writes its offset the way of DWARF 2, as an operation that adds it."""
    where = (MEMBER_LOCATION, BLOCK1, b"\x23" + uleb(offset)) if expression else (MEMBER_LOCATION, DATA4, offset)
    return Die(MEMBER, ([(NAME, STRP, name)] if name else []) + [(TYPE, REF4, kind), where])


def structure(name: str, size: int, members: Iterable[Die], tag: int = STRUCT) -> Die:
    return Die(tag, ([(NAME, STRP, name)] if name else []) + [(BYTE_SIZE, DATA4, size)], list(members))


def variable(name: str, kind: Die, address: int) -> Die:
    location = b"\x03" + struct.pack("<Q", address)
    return Die(VARIABLE, [(NAME, STRP, name), (TYPE, REF4, kind), (LOCATION, BLOCK1, location)])


def uleb(value: int) -> bytes:
    out = bytearray()
    while True:
        out.append(value & 0x7F | (0x80 if value > 0x7F else 0))
        value >>= 7
        if not value:
            return bytes(out)


def sleb(value: int) -> bytes:
    out = bytearray()
    while True:
        low, value = value & 0x7F, value >> 7
        done = value == (-1 if low & 0x40 else 0)
        out.append(low | (0 if done else 0x80))
        if done:
            return bytes(out)


def indexed(name: str, kind: Die, number: int) -> Die:
    """A variable as DWARF 5 may write it: its address is the one of that number in a table."""
    return Die(VARIABLE, [(NAME, STRP, name), (TYPE, REF4, kind), (LOCATION, EXPRLOC, b"\xa1" + uleb(number))])


def sections(
    dies: Sequence[Die], *, version: int = 4, siblings: bool = True, addresses: Sequence[int] = ()
) -> dict[str, bytes]:
    """.debug_info, .debug_abbrev and .debug_str of one unit of these entries; with ``addresses`` also .debug_addr."""
    found = _Writer(siblings).write(dies, version, bool(addresses))
    if addresses:
        table = struct.pack("<HBB", 5, 8, 0) + struct.pack(f"<{len(addresses)}Q", *addresses)
        found[".debug_addr"] = struct.pack("<I", len(table)) + table
    return found


class _Writer:
    def __init__(self, siblings: bool) -> None:
        self.siblings = siblings
        self.strings = bytearray(b"\0")
        self.abbreviations: dict[tuple[Any, ...], int] = {}

    def write(self, dies: Sequence[Die], version: int, addresses: bool) -> dict[str, bytes]:
        base = [(ADDR_BASE, SEC_OFFSET, 8)] if addresses else []
        top = Die(COMPILE_UNIT, [(NAME, STRP, "kernel/fake.c"), *base], list(dies))
        rest = struct.pack("<HIB", version, 0, 8) if version < 5 else struct.pack("<HBBI", version, 1, 8, 0)
        body = b""
        for _ in range(2):  # the first time to find the offsets, the second to write them
            body = self._die(top, 4 + len(rest), top=True)
        header = struct.pack("<I", len(body) + len(rest)) + rest
        table = b"".join(
            uleb(number) + uleb(tag) + bytes([children]) + b"".join(uleb(a) + uleb(f) for a, f in forms) + b"\0\0"
            for (tag, children, forms), number in self.abbreviations.items()
        )
        return {
            ".debug_info": header + body,
            ".debug_abbrev": table + b"\0",
            ".debug_str": bytes(self.strings),
        }

    def _die(self, die: Die, offset: int, *, top: bool = False) -> bytes:
        die.offset = offset
        own = list(die.attributes)
        sibling = bool(self.siblings and die.children and not top)
        if sibling:
            own.insert(0, (SIBLING, REF4, None))
        forms = tuple((attribute, form) for attribute, form, _ in own)
        number = self.abbreviations.setdefault((die.tag, bool(die.children), forms), len(self.abbreviations) + 1)
        head = uleb(number)
        room = len(head) + sum(len(self._value(form, value)) for _, form, value in own)
        inside = b""
        for child in die.children:
            inside += self._die(child, offset + room + len(inside))
        if die.children:
            inside += b"\0"
        after = offset + room + len(inside)
        values = b"".join(
            struct.pack("<I", after) if attribute == SIBLING and value is None else self._value(form, value)
            for attribute, form, value in own
        )
        return head + values + inside

    def _value(self, form: int, value: Any) -> bytes:
        match form:
            case 0x06:
                return struct.pack("<I", value)
            case 0x07:
                return struct.pack("<Q", value % (1 << 64))
            case 0x08:
                return value.encode() + b"\0"
            case 0x0A | 0x18:
                return bytes([len(value)]) + value
            case 0x0C:
                return bytes([value])
            case 0x0D:
                return sleb(value)
            case 0x0E:
                return struct.pack("<I", self._string(value))
            case _:
                return struct.pack("<I", value.offset if isinstance(value, Die) else value or 0)

    def _string(self, text: str) -> int:
        wanted = text.encode() + b"\0"
        at = self.strings.find(b"\0" + wanted)
        if at < 0:
            at = len(self.strings) - 1
            self.strings += wanted
        return at + 1
