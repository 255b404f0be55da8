"""Where one xv6 kernel keeps what: its process table, its free lists, its counts of frames, from DWARF or as told.

Courses add members, split the free list by hart, count references in arrays of any name.  All of that is taken from
the kernel's own debugging information; `--offsets` stands in where there is none, and overrules it where both speak.
Addresses only: no memory is read here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple
from weakref import WeakKeyDictionary

from pagebook.errors import BadTarget
from pagebook.guests.dwarf import Array, Layouts, Member, Number, Pointer, Struct, Type
from pagebook.guests.kernelfile import KernelFile

FEWEST_FRAMES = 256
MOST_HARTS = 64
MOST_PROCESSES = 1 << 16
FIELDS = {"state": 4, "pid": 4, "sz": 8, "pagetable": 8, "trapframe": 8, "kstack": 8, "name": 16}
NEEDED = ("state", "pagetable")
_OTHER_NAMES = {"trapframe": "tf"}
_STATES = {0: "UNUSED", 1: "USED", 2: "SLEEPING", 3: "RUNNABLE", 4: "RUNNING", 5: "ZOMBIE"}
_STARTS = ("addr", "start", "va", "address", "begin", "base", "vastart", "vm_start", "start_addr", "addr_start")
_LENGTHS = ("len", "length", "sz", "size", "vm_len")
_ENDS = ("end", "vm_end", "end_addr", "addr_end")
_USED = ("used", "valid", "inuse", "in_use", "active", "alloc")
EXAMPLE = (
    "--offsets proc.size=360,proc.state=24,proc.pid=48,proc.kstack=64,proc.sz=72,proc.pagetable=80,"
    "proc.trapframe=88,proc.name=344,kmem.freelist=24"
)


class Field(NamedTuple):
    """A member of a struct: its offset and its size, in bytes."""

    offset: int
    size: int


class Regions(NamedTuple):
    """An array in struct proc of what a process has mapped by mmap: start and length, or start and end, of each.

    ``used`` is 0 in an element that means nothing, where the elements have such a mark.
    """

    name: str
    offset: int
    entries: int
    stride: int
    start: Field
    length: Field | None
    end: Field | None
    used: Field | None


class Head(NamedTuple):
    """Where the address of a free list's first frame stands."""

    name: str
    address: int


class Tally(NamedTuple):
    """Numbers that may be counts of frames: ``entries`` of them, each ``stride`` bytes after the one before.

    Where ``indirect``, what stands at ``address`` is a pointer to them, and ``entries`` is not known.  ``base`` is the
    frame of the first where the user told it.
    """

    name: str
    address: int
    width: int
    stride: int
    entries: int | None
    indirect: bool = False
    base: int | None = None


@dataclass(frozen=True)
class ProcTable:
    """``count`` structs of ``stride`` bytes from ``address``; where ``indirect``, so many pointers to structs.

    ``tables`` are members that are page tables besides ``pagetable``, ``pointers`` those that may name a frame, each
    with its offset.  ``states`` are the names of the values of ``state``.
    """

    address: int
    count: int
    stride: int
    fields: Mapping[str, Field]
    states: Mapping[int, str]
    indirect: bool = False
    tables: tuple[tuple[str, int], ...] = ()
    pointers: tuple[tuple[str, int], ...] = ()
    regions: tuple[Regions, ...] = ()


@dataclass(frozen=True)
class Layout:
    """Where a kernel keeps what.

    ``queue`` and ``marks`` are addresses of pointers: to the disk's rings, and to what may be the first frame counted,
    which is any variable, or a member beside the pointer to the counts.
    """

    procs: ProcTable
    heads: tuple[Head, ...]
    tallies: tuple[Tally, ...]
    queue: tuple[int, ...]
    marks: tuple[int, ...]
    stacks: tuple[int, int] | None


class _Place(NamedTuple):
    name: str
    address: int
    type: Type
    alias: str


_known: WeakKeyDictionary[KernelFile, Layout] = WeakKeyDictionary()


def layout_of(kernel: KernelFile, offsets: Mapping[str, int] | None = None) -> Layout:
    """The layout of a kernel; BadTarget, with what --offsets must say, where its file does not tell it."""
    if offsets:
        return _told(kernel, offsets, _of_dwarf(kernel, kernel.layouts, offsets) if kernel.layouts else None)
    if kernel not in _known:
        if kernel.layouts is None:
            raise BadTarget(
                f"{kernel.path} has no debugging information, so that nothing is known of its structs: build it with "
                f"-g, or tell their layout with --offsets, for xv6 of 2022 {EXAMPLE}"
            )
        _known[kernel] = _of_dwarf(kernel, kernel.layouts, {})
    return _known[kernel]


def _of_dwarf(kernel: KernelFile, layouts: Layouts, offsets: Mapping[str, int]) -> Layout:
    places = list(_places(layouts))
    stacks = _stacks(kernel, layouts)
    counting = [place for place in places if stacks is None or place.address != stacks[0]]  # stacks are no counts
    tallies = tuple(tally for place in counting if (tally := _tally(layouts, place)))
    holders = {"", *(_holder(tally.name) for tally in tallies if tally.indirect)}
    return Layout(
        procs=_proc_table(kernel, layouts, places, offsets),
        heads=tuple(Head(p.name, p.address) for p in places if _is_list(layouts, p.type)),
        tallies=tallies,
        queue=_queue(layouts),
        marks=tuple(p.address for p in places if isinstance(p.type, Pointer) and _holder(p.name) in holders),
        stacks=stacks,
    )


def _holder(name: str) -> str:
    """The name of the struct that a member of this name is in; nothing for a variable."""
    return name.rpartition(".")[0]


def _places(layouts: Layouts) -> Iterator[_Place]:
    """Every global variable and what it consists of, down to arrays of numbers; not the processes one by one."""
    for variable in layouts.variables:
        yield from _inside(_Place(variable.name, variable.address, variable.type, variable.alias), 3)


def _inside(place: _Place, depth: int) -> Iterator[_Place]:
    yield place
    found = place.type
    if not depth:
        return
    if isinstance(found, Struct):
        for name, member in found.members.items():
            part = _Place(f"{place.name}.{name}", place.address + member.offset, member.type, member.alias)
            yield from _inside(part, depth - 1)
    elif isinstance(found, Array) and found.count <= MOST_HARTS and not isinstance(found.element, Number):
        if isinstance(found.element, Struct) and found.element.name == "proc":
            return
        for index in range(found.count):
            at = place.address + index * found.element.size
            yield from _inside(_Place(f"{place.name}[{index}]", at, found.element, ""), depth - 1)


def _is_list(layouts: Layouts, found: Type) -> bool:
    """Whether this is the head of a list of frames: a pointer to struct run, or to a struct that is a link only."""
    if not isinstance(found, Pointer) or not isinstance(found.target, str):
        return False
    target = layouts.structs.get(found.target)
    if target is None or not target.members:
        return False
    link = next(iter(target.members.values()))
    chained = link.offset == 0 and isinstance(link.type, Pointer) and link.type.target == found.target
    return chained and (found.target == "run" or target.size == found.size)


def _tally(layouts: Layouts, place: _Place) -> Tally | None:
    found = place.type
    if isinstance(found, Array) and found.count >= FEWEST_FRAMES:
        element, indirect, count = found.element, False, found.count
    elif isinstance(found, Pointer) and place.alias != "pagetable_t":
        element, indirect, count = layouts.target(found), True, None
    else:
        return None
    number = _one_number(element)
    if number is None:
        return None
    return Tally(place.name, place.address + (0 if indirect else number.offset), number.size, element.size, count,
                 indirect)  # fmt: skip


def _one_number(element: Type) -> Field | None:
    """The only integer in it: itself, or the one of a small struct, whose lock does not count."""
    if isinstance(element, Number):
        return Field(0, element.size) if element.size in (1, 2, 4, 8) and not element.names else None
    if isinstance(element, Struct):
        numbers = [Field(m.offset, m.type.size) for m in element.members.values() if isinstance(m.type, Number)]
        others = [m for m in element.members.values() if not isinstance(m.type, Number)]
        plain = all(isinstance(m.type, Struct) and "lock" in m.type.name for m in others)
        return numbers[0] if len(numbers) == 1 and numbers[0].offset == 0 and plain else None
    return None


def _queue(layouts: Layouts) -> tuple[int, ...]:
    """The addresses of the pointers to the rings of the virtio disk."""
    return tuple(
        variable.address + variable.type.members[name].offset
        for variable in layouts.variables
        if isinstance(variable.type, Struct) and {"desc", "avail", "used"} <= set(variable.type.members)
        for name in ("desc", "avail", "used")
        if isinstance(variable.type.members[name].type, Pointer)
    )


def _stacks(kernel: KernelFile, layouts: Layouts) -> tuple[int, int] | None:
    """The stacks that the harts boot on: address and bytes."""
    found = layouts.variable("stack0")
    if found is not None and found.type.size:
        return found.address, found.type.size
    return None


def _proc_table(kernel: KernelFile, layouts: Layouts, places: list[_Place], offsets: Mapping[str, int]) -> ProcTable:
    found = [(place, *table) for place in places if (table := _processes(layouts, place.type))]
    if not found:
        raise BadTarget(
            f"{kernel.path} has no array of struct proc among its global variables, so that its processes cannot be "
            f"found; tell where they are with --offsets, for xv6 of 2022 {EXAMPLE}"
        )
    place, struct, count, indirect = min(found, key=lambda entry: entry[0].name != "proc")
    # A damaged file may have members that stand outside their struct.
    members = {name: m for name, m in _flat(struct).items() if m.offset >= 0 and m.offset + m.type.size <= struct.size}
    fields = {}
    for name in FIELDS:
        member = members.get(name) or members.get(_OTHER_NAMES.get(name, name))
        if member is not None:
            fields[name] = Field(member.offset, member.type.size)
    missing = [name for name in NEEDED if name not in fields and f"proc.{name}" not in offsets]
    if missing:
        raise BadTarget(
            f"struct proc of {kernel.path} has no member {' and no '.join(missing)}; tell where it keeps that with "
            f"--offsets, as in --offsets proc.{missing[0]}=80"
        )
    state = members["state"].type if "state" in members else None
    tables = [(n, m.offset) for n, m in members.items() if m.alias == "pagetable_t" and n != "pagetable"]
    return ProcTable(
        address=place.address,
        count=count,
        stride=struct.size,
        fields=fields,
        states=state.names if isinstance(state, Number) and state.names else _STATES,
        indirect=indirect,
        tables=tuple(tables),
        pointers=tuple((n, m.offset) for n, m in members.items() if isinstance(m.type, Pointer) and m.alias == ""),
        regions=tuple(regions for name, member in members.items() if (regions := _regions(name, member))),
    )


def _processes(layouts: Layouts, found: Type) -> tuple[Struct, int, bool] | None:
    """The struct, how many, and whether they are pointers: if this is an array of struct proc or of such pointers."""
    if not isinstance(found, Array) or not 0 < found.count <= MOST_PROCESSES:
        return None
    element, indirect = found.element, False
    if isinstance(element, Pointer) and element.target == "proc":
        element, indirect = layouts.target(element), True
    if isinstance(element, Struct) and element.name == "proc" and element.members:
        return element, found.count, indirect
    return None


def _flat(struct: Struct, depth: int = 2) -> dict[str, Member]:
    """The members of a struct, and those of the structs in it where no name is in the way."""
    members = dict(struct.members)
    for member in struct.members.values():
        if isinstance(member.type, Struct) and depth:
            for name, inner in _flat(member.type, depth - 1).items():
                members.setdefault(name, inner._replace(offset=member.offset + inner.offset))
    return members


def _regions(name: str, member: Member) -> Regions | None:
    """The regions that a member lists, where it is an array of structs with an address and a length or an end."""
    if not isinstance(member.type, Array) or not isinstance(member.type.element, Struct):
        return None
    inner = member.type.element.members

    def first(names: tuple[str, ...]) -> Field | None:
        called = next((n for n in names if n in inner and isinstance(inner[n].type, Number | Pointer)), None)
        return Field(inner[called].offset, inner[called].type.size) if called else None

    start, length, end = first(_STARTS), first(_LENGTHS), first(_ENDS)
    if start is None or (length is None and end is None):
        return None
    used = first(_USED)
    return Regions(name, member.offset, member.type.count, member.type.element.size, start, length, end, used)


def _told(kernel: KernelFile, offsets: Mapping[str, int], known: Layout | None) -> Layout:
    """The layout as the user tells it, over what the file tells."""
    _check_words(kernel, offsets, {tally.name for tally in known.tallies} if known else set())
    heads, tallies, queue = [], [], []
    for word, value in offsets.items():
        symbol, _, member = word.rpartition(".")
        if member.endswith("freelist"):
            heads += _told_heads(kernel, offsets, symbol, member, value)
        elif member == "counts":
            width = offsets.get(f"{symbol}.width", 4)
            count = offsets.get(f"{symbol}.count", max(kernel.sizes.get(symbol, 0) - value, 0) // width or None)
            tallies.append(Tally(word, kernel.symbols[symbol] + value, width, width, count,
                                 base=offsets.get(f"{symbol}.base")))  # fmt: skip
        elif word in ("disk.desc", "disk.avail", "disk.used"):
            queue.append(kernel.symbols["disk"] + value)
    if known is not None:
        for tally in known.tallies:  # found already, but not from where it counts, or that it is the one
            if f"{tally.name}.base" in offsets and f"{tally.name}.counts" not in offsets:
                tallies.append(tally._replace(base=offsets[f"{tally.name}.base"]))
        return replace(
            known,
            procs=_told_procs(kernel, offsets, known.procs),
            heads=tuple(heads) or known.heads,
            tallies=tuple(tallies) or known.tallies,
            queue=tuple(queue) or known.queue,
        )
    stacks = (kernel.symbols["stack0"], kernel.sizes["stack0"]) if "stack0" in kernel.sizes else None
    return Layout(_told_procs(kernel, offsets, None), tuple(heads), tuple(tallies), tuple(queue), (), stacks)


def _check_words(kernel: KernelFile, offsets: Mapping[str, int], names: set[str]) -> None:
    for word, value in offsets.items():
        symbol, _, member = word.rpartition(".")
        if not 0 <= value < 1 << 64:
            raise BadTarget(f"--offsets {word}={value}: no offset, size or address is below 0 or above 64 bits")
        if word in ("NPROC", "NCPU") or symbol == "state":
            continue
        if (symbol == "proc" and (member == "size" or member in FIELDS)) or (member == "base" and symbol in names):
            continue
        if member.endswith("freelist") or member in ("counts", "width", "count", "base", "size") or symbol == "disk":
            if symbol not in kernel.symbols:
                raise BadTarget(f"--offsets {word}={value}: {kernel.path} has no symbol {symbol!r}")
            if member == "width" and value not in (1, 2, 4, 8):
                raise BadTarget(f"--offsets {word}={value}: a count has 1, 2, 4 or 8 bytes")
            continue
        raise BadTarget(
            f"--offsets {word}={value} means nothing; known are NPROC, NCPU, proc.size, "
            f"{', '.join(f'proc.{name}' for name in FIELDS)}, state.NAME, disk.desc, and with any symbol for SYMBOL "
            "SYMBOL.freelist, SYMBOL.size, SYMBOL.counts, SYMBOL.width, SYMBOL.count, SYMBOL.base"
        )


def _told_heads(kernel: KernelFile, offsets: Mapping[str, int], symbol: str, member: str, offset: int) -> list[Head]:
    """One head, or one for each of NCPU elements where the symbol's element has a size."""
    start, stride = kernel.symbols[symbol] + offset, offsets.get(f"{symbol}.size")
    if stride is None:
        return [Head(f"{symbol}.{member}", start)]
    harts = min(offsets.get("NCPU", kernel.sizes.get(symbol, 0) // stride if stride else 0), MOST_HARTS)
    return [Head(f"{symbol}[{index}].{member}", start + index * stride) for index in range(harts)]


def _told_procs(kernel: KernelFile, offsets: Mapping[str, int], known: ProcTable | None) -> ProcTable:
    fields = dict(known.fields) if known else {}
    fields |= {name: Field(offsets[f"proc.{name}"], size) for name, size in FIELDS.items() if f"proc.{name}" in offsets}
    stride = offsets.get("proc.size", known.stride if known else 0)
    missing = [f"proc.{name}" for name in NEEDED if name not in fields] + ([] if stride else ["proc.size"])
    if missing:
        raise BadTarget(
            f"--offsets lacks {' and '.join(missing)}, and {kernel.path} does not tell; for xv6 of 2022 {EXAMPLE}"
        )
    late = next((name for name, field in fields.items() if field.offset + field.size > stride), None)
    if late:
        raise BadTarget(f"--offsets: proc.{late} does not lie within struct proc, which has {stride} bytes")
    states = {value: word.removeprefix("state.") for word, value in offsets.items() if word.startswith("state.")}
    if known:
        count = offsets.get("NPROC", known.count)
        return replace(known, fields=fields, stride=stride, states=states or known.states, count=count)
    if "proc" not in kernel.symbols:
        raise BadTarget(f"{kernel.path} has no symbol 'proc', which is the array of its processes")
    count = offsets.get("NPROC", kernel.sizes.get("proc", 0) // stride)
    if not 0 < count <= MOST_PROCESSES:
        raise BadTarget(
            f"{kernel.path} would have {count} processes of {stride} bytes each; tell how many with --offsets NPROC=64"
        )
    return ProcTable(kernel.symbols["proc"], count, stride, fields, states or _STATES)
