"""Layouts out of DWARF: what the global variables of a program are, and how its structs lie in memory.

The debugging information is read once, with pyelftools, into plain values that know nothing of the file any more.  It
is trusted in nothing: whatever is wrong with it comes out as one `BadFile`.  What a variable means is for others.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from elftools.dwarf.compileunit import CompileUnit
from elftools.dwarf.die import DIE
from elftools.elf.elffile import ELFFile

from pagebook.errors import BadFile

MOST_BYTES = 64 << 20
LONGEST = 4.0
DEEPEST = 32
_PEELED = (
    "DW_TAG_typedef",
    "DW_TAG_const_type",
    "DW_TAG_volatile_type",
    "DW_TAG_restrict_type",
    "DW_TAG_atomic_type",
)
_OP_ADDR, _OP_ADDRX, _OP_PLUS_UCONST = 0x03, 0xA1, 0x23


@dataclass(frozen=True)
class Number:
    """An integer of ``size`` bytes; ``names`` are those of an enumeration's values."""

    size: int
    signed: bool = False
    names: Mapping[int, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Pointer:
    """The address of a ``target``: the name of a struct, or the type itself where it has no struct's name."""

    target: str | Type
    size: int = 8


@dataclass(frozen=True)
class Array:
    """``count`` elements one after the other; 0 where the file does not say how many."""

    element: Type
    count: int

    @property
    def size(self) -> int:
        """Bytes in all."""
        return self.element.size * self.count


@dataclass(frozen=True)
class Struct:
    """A struct or union of ``size`` bytes; bit-fields are not among its members."""

    name: str
    size: int
    members: Mapping[str, Member]


@dataclass(frozen=True)
class Opaque:
    """A type of which no more is known than its size: a function, a float, a struct that is only declared."""

    size: int = 0


Type = Number | Pointer | Array | Struct | Opaque


class Member(NamedTuple):
    """Where a member starts, in bytes, its type, and the typedef it was declared with, if any."""

    offset: int
    type: Type
    alias: str = ""


class Variable(NamedTuple):
    """A global variable: its address, its type, and the typedef it was declared with, if any."""

    name: str
    address: int
    type: Type
    alias: str = ""


class Layouts(NamedTuple):
    """The global variables of a program, and its structs by name."""

    variables: tuple[Variable, ...]
    structs: Mapping[str, Struct]

    def variable(self, name: str) -> Variable | None:
        """The first variable of that name."""
        return next((variable for variable in self.variables if variable.name == name), None)

    def target(self, pointer: Pointer) -> Type:
        """What a pointer points to, as far as the file says."""
        return self.structs.get(pointer.target, Opaque()) if isinstance(pointer.target, str) else pointer.target


def read_layouts(file: ELFFile, name: str) -> Layouts | None:
    """The layouts in an ELF file; None when it has no debugging information, BadFile when that is damaged."""
    try:
        debug = [section for section in file.iter_sections() if section.name.lstrip(".z").startswith("debug_")]
        if not any(section.name.lstrip(".z") == "debug_info" for section in debug):
            return None
        size = sum(section.data_size for section in debug)
        if size > MOST_BYTES:
            raise BadFile(f"{name} claims {size} bytes of debugging information, more than {MOST_BYTES}")
        reader = _Reader(name)
        for unit in file.get_dwarf_info(relocate_dwarf_sections=False).iter_CUs():
            reader.unit(unit)
        return reader.layouts()
    except BadFile:
        raise
    except Exception as error:  # pyelftools trusts what it reads, and a bad file can make it raise anything
        reason = str(error) or type(error).__name__
        raise BadFile(f"the debugging information of {name} is damaged: {reason}; build it anew with -g") from error


class _Reader:
    """Collects the variables and the named structs of each unit, and resolves types when all are known."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.until = time.thread_time() + LONGEST
        self.globals: list[tuple[str, int, DIE]] = []
        self.named: dict[str, DIE] = {}
        self.types: dict[int, Type] = {}
        self.under_way: set[int] = set()
        self.wanted: list[str] = []

    def unit(self, unit: CompileUnit) -> None:
        for die in self.children(unit.get_top_DIE()):
            if die.tag == "DW_TAG_variable":
                self._variable(die)
            elif (
                die.tag in ("DW_TAG_structure_type", "DW_TAG_union_type") and "DW_AT_declaration" not in die.attributes
            ):
                name = _name(die)
                if name:
                    self.named.setdefault(name, die)

    def children(self, parent: DIE) -> Iterator[DIE]:
        """The children of an entry; grandchildren are passed over, at once where the file says where to."""
        if not parent.has_children:
            return
        unit, depth = parent.cu, 1
        offset, stop = parent.offset + parent.size, unit.cu_offset + unit.size
        while depth and offset < stop:
            if time.thread_time() > self.until:
                raise BadFile(f"the debugging information of {self.name} takes more than {LONGEST:.0f} s to read")
            die = unit.get_DIE_from_refaddr(offset)
            sibling = die.attributes.get("DW_AT_sibling")
            if die.tag is None:
                depth -= 1
            elif depth == 1:
                yield die
            if die.tag is not None and die.has_children and sibling is not None and depth == 1:
                after = int(sibling.value) + unit.cu_offset
                if after <= offset:
                    raise BadFile(f"the debugging information of {self.name} leads back to where it was")
                offset = after
            else:
                depth += die.tag is not None and bool(die.has_children)
                offset += die.size

    def _variable(self, die: DIE) -> None:
        address = _address(die)
        if address is None:
            return  # declared only, or not in memory
        declared = die
        if "DW_AT_specification" in die.attributes:
            declared = die.get_DIE_from_attribute("DW_AT_specification")
        name = _name(die) or _name(declared)
        typed = die if "DW_AT_type" in die.attributes else declared
        if name and "DW_AT_type" in typed.attributes:
            self.globals.append((name, address, typed))

    def layouts(self) -> Layouts:
        """Resolve the variables, and the structs that something in them points to."""
        variables = tuple(Variable(name, address, *self.typed(die)) for name, address, die in self.globals)
        structs: dict[str, Struct] = {}
        while self.wanted:
            name = self.wanted.pop()
            if name in self.named and name not in structs:
                found = self.type(self.named[name])
                if isinstance(found, Struct):
                    structs[name] = found
        return Layouts(variables, structs)

    def typed(self, die: DIE) -> tuple[Type, str]:
        """The type of what an entry declares, and its outermost typedef."""
        alias = ""
        for _ in range(DEEPEST):
            if "DW_AT_type" not in die.attributes:
                return Opaque(), alias  # void
            die = die.get_DIE_from_attribute("DW_AT_type")
            if die.tag not in _PEELED:
                return self.type(die), alias
            alias = alias or (_name(die) if die.tag == "DW_TAG_typedef" else "")
        raise BadFile(f"a type in the debugging information of {self.name} never comes to an end")

    def type(self, die: DIE) -> Type:
        known = self.types.get(die.offset)
        if known is not None:
            return known
        if die.offset in self.under_way or len(self.under_way) > DEEPEST:
            raise BadFile(f"a type in the debugging information of {self.name} contains itself")
        self.under_way.add(die.offset)
        found = self.types[die.offset] = self._type(die)
        self.under_way.discard(die.offset)
        return found

    def _type(self, die: DIE) -> Type:
        match die.tag:
            case "DW_TAG_base_type":
                encoding = _number(die, "DW_AT_encoding")  # 2 boolean, 5 and 6 signed, 7 and 8 unsigned
                size = _number(die, "DW_AT_byte_size")
                return Number(size, encoding in (5, 6)) if encoding in (2, 5, 6, 7, 8) else Opaque(size)
            case "DW_TAG_enumeration_type":
                names = {_number(value, "DW_AT_const_value"): _name(value) for value in self.children(die)}
                return Number(_number(die, "DW_AT_byte_size"), names=names)
            case "DW_TAG_pointer_type":
                return Pointer(self._target(die), _number(die, "DW_AT_byte_size") or 8)
            case "DW_TAG_array_type":
                return self._array(die)
            case "DW_TAG_structure_type" | "DW_TAG_union_type":
                return self._struct(die)
            case _:
                return Opaque(_number(die, "DW_AT_byte_size"))

    def _target(self, die: DIE) -> str | Type:
        """What a pointer points to; a struct by its name only, for structs point to themselves."""
        if "DW_AT_type" not in die.attributes:
            return Opaque()
        target = die.get_DIE_from_attribute("DW_AT_type")
        for _ in range(DEEPEST):
            if target.tag not in _PEELED or "DW_AT_type" not in target.attributes:
                break
            target = target.get_DIE_from_attribute("DW_AT_type")
        if target.tag in ("DW_TAG_structure_type", "DW_TAG_union_type"):
            name = _name(target)
            if name:
                self.wanted.append(name)
                return name
        if target.tag == "DW_TAG_pointer_type" or target.offset in self.under_way:
            return Opaque(8)
        return self.type(target)

    def _array(self, die: DIE) -> Type:
        found, _ = self.typed(die)
        bounds = [child for child in self.children(die) if child.tag == "DW_TAG_subrange_type"]
        for bound in reversed(bounds):
            count = _number(bound, "DW_AT_count") if "DW_AT_count" in bound.attributes else 0
            if "DW_AT_upper_bound" in bound.attributes:
                count = _number(bound, "DW_AT_upper_bound", -1) + 1
            found = Array(found, count if 0 <= count < 1 << 40 else 0)
        return found

    def _struct(self, die: DIE) -> Type:
        size = _number(die, "DW_AT_byte_size")
        if "DW_AT_declaration" in die.attributes:
            name = _name(die)
            complete = self.named.get(name)
            return self.type(complete) if complete is not None and complete.offset != die.offset else Opaque(size)
        members: dict[str, Member] = {}
        for child in self.children(die):
            if child.tag != "DW_TAG_member" or "DW_AT_bit_size" in child.attributes:
                continue
            offset = _offset(child)
            found, alias = self.typed(child)
            name = _name(child)
            if name:
                members[name] = Member(offset, found, alias)
            elif isinstance(found, Struct):  # an unnamed one: its members are this one's
                for inner, (at, kind, called) in found.members.items():
                    members[inner] = Member(offset + at, kind, called)
        return Struct(_name(die), size, members)


def _name(die: DIE) -> str:
    attribute = die.attributes.get("DW_AT_name")
    value: Any = attribute.value if attribute is not None else b""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else ""


def _number(die: DIE, attribute: str, otherwise: int = 0) -> int:
    found = die.attributes.get(attribute)
    value: Any = found.value if found is not None else None
    return value if isinstance(value, int) else otherwise


def _address(die: DIE) -> int | None:
    """Where a variable stands; DWARF 5 may keep the address in a table of its own."""
    found = die.attributes.get("DW_AT_location")
    value: Any = found.value if found is not None else None
    if not isinstance(value, list):
        return None
    if value[:1] == [_OP_ADDR]:
        return int.from_bytes(bytes(value[1:9]), "little")
    if value[:1] == [_OP_ADDRX]:
        return int(die.cu.dwarfinfo.get_addr(die.cu, _uleb(value[1:])))
    return None


def _uleb(octets: list[int]) -> int:
    """The number that starts these bytes, seven bits in each, the last without its top bit."""
    number = 0
    for place, octet in enumerate(octets[:10]):
        number |= (octet & 0x7F) << 7 * place
        if not octet & 0x80:
            break
    return number


def _offset(die: DIE) -> int:
    """Where a member starts: a number, or in DWARF 2 the expression that adds one."""
    found = die.attributes.get("DW_AT_data_member_location")
    value: Any = found.value if found is not None else 0
    if isinstance(value, list) and value[:1] == [_OP_PLUS_UCONST]:
        return _uleb(value[1:])
    if isinstance(value, int):
        return value
    raise BadFile(f"the member {_name(die)!r} of a struct is nowhere in particular")
