"""The waist of the hourglass: a Machine is memory, its address spaces, and the names of what is in them.

The model and every other source produce one; every question takes one.  It is a description: what is mapped and
what is free is in the bytes, never here.  `to_note` and `from_note` turn all but the bytes into plain data, so that
a saved machine opens again with nothing lost.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any, NamedTuple, SupportsIndex, overload

import numpy as np
import numpy.typing as npt

from pagebook.columns import Columns
from pagebook.errors import BadFile, BadTarget
from pagebook.frames import Chain, FreeList
from pagebook.memory import PHYSICAL_BITS, Memory
from pagebook.scan import MAPPING, RUN, WORDS, explained, scan
from pagebook.shown import in_notebook, plain
from pagebook.sv import FORMATS
from pagebook.table import AddressSpace
from pagebook.units import PAGE_SIZE, size_text

NOTE_VERSION = 2
FIRST_NAMES = 3
FIRST_SPACES = 5
MAP = np.dtype([*RUN.descr, ("name", "O")])
"""A row of the maps table: a run, and what the machine calls the place."""
MOST_BLOCK = 1 << 30  # bytes of a free block: the largest superpage that anybody hands out


class Area(NamedTuple):
    """A name for [start, start + size): virtual addresses in a Space, physical ones in a Machine."""

    start: int
    size: int
    name: str

    @property
    def end(self) -> int:
        """The first address after it."""
        return self.start + self.size


class Hart(NamedTuple):
    """A hardware thread: its satp, None where that is not known, and the privilege, ``U``, ``S`` or ``M``, it runs in.

    ``registers`` are its pc and x1 to x31, or nothing.
    """

    number: int
    satp: int | None
    privilege: str | None = None
    registers: tuple[int, ...] = ()


class Pool(NamedTuple):
    """A free list: ``head`` is the address of its first frame, 0 when it is empty; each is of ``size`` bytes."""

    name: str
    head: int
    size: int = PAGE_SIZE


class Counts(NamedTuple):
    """How often each frame is used, as the guest itself counts.

    The array of ``length`` numbers, each of ``width`` bytes, stands at the physical address ``start``; the first is
    that of the frame at ``base``, the next that of the frame after it.  Numbers that are parts of records are
    ``stride`` bytes apart, 0 for those side by side.
    """

    name: str
    start: int
    width: int
    length: int
    base: int
    stride: int = 0

    @property
    def step(self) -> int:
        """Bytes from one number to the next."""
        return self.stride or self.width

    def values(self, memory: Memory, most: int) -> npt.NDArray[np.int64]:
        """The first ``most`` numbers; OutsideMemory where there is none."""
        length = min(self.length, most)
        data = memory.read(self.start, (length - 1) * self.step + self.width if length else 0)
        padded = np.zeros(length * self.step, dtype=np.uint8)
        padded[: len(data)] = np.frombuffer(data, dtype=np.uint8)
        number = padded.reshape(length, self.step)[:, : self.width]
        return np.ascontiguousarray(number).view(f"<u{self.width}").reshape(length).astype(np.int64)


class Doubt(NamedTuple):
    """What a guest's own struct for a process says that cannot be: which member, whose, the struct's address, why."""

    about: str
    pid: int
    at: int
    sentence: str


class Names:
    """The names of areas, which may overlap, for any range of addresses."""

    def __init__(self, areas: Iterable[Area]) -> None:
        self._areas = sorted(areas)
        self._starts = [area.start for area in self._areas]
        self._reach = list(accumulate((area.start + area.size for area in self._areas), max))

    def of(self, start: int, size: int) -> str:
        """The names of the areas that [start, start + size) touches, in order of address."""
        first, stop = bisect_right(self._reach, start), bisect_left(self._starts, start + size)
        if stop - first == 1:
            return self._areas[first].name
        names = list(dict.fromkeys(a.name for a in self._areas[first:stop] if start < a.start + a.size))
        if len(names) > FIRST_NAMES + 1:
            return ", ".join(names[:FIRST_NAMES]) + f" and {len(names) - FIRST_NAMES} more"
        return ", ".join(names)


@dataclass(frozen=True)
class Space:
    """A named address space: the kernel's, or a process's with its ``pid`` and ``size`` in bytes.

    ``symbols`` are those of the program that a process runs; the kernel's are the machine's.  ``state`` is what the
    kernel says that the process does: sleep, run, zombie.
    """

    name: str
    table: AddressSpace
    areas: tuple[Area, ...] = ()
    pid: int | None = None
    size: int | None = None
    symbols: Mapping[str, int] = field(default_factory=dict)
    state: str | None = None

    def __repr__(self) -> str:
        pid = "" if self.pid is None else f" pid {self.pid},"
        return f"<Space {plain(self.name)}:{pid} {self.table.format.name}, root {self.table.root:#x}>"

    _repr_html_ = in_notebook

    def mappings(self) -> Columns:
        """Every mapping, a leaf PTE each, as rows of MAPPING; TooManyMappings when the tables are hostile."""
        return scan(self.table, explained(self.table.memory)).mappings

    def maps(self) -> Columns:
        """The mappings merged into runs, as the verb ``maps`` lists them, as rows of MAP; as `mappings`."""
        rows = scan(self.table, explained(self.table.memory)).usable_runs()

        def names() -> npt.NDArray[np.object_]:
            known, out = Names(self.areas), np.empty(len(rows), object)
            out[:] = [known.of(*place) for place in zip(rows["va"].tolist(), rows["size"].tolist(), strict=True)]
            return out

        return Columns(MAP, len(rows), [*(rows[name] for name in RUN.names or ()), names], WORDS)


class Spaces(tuple[Space, ...]):
    """Address spaces in their order, which are also found by name."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"<{self.summary()}>"

    _repr_html_ = in_notebook

    @overload
    def __getitem__(self, key: str | SupportsIndex) -> Space: ...

    @overload
    def __getitem__(self, key: slice) -> tuple[Space, ...]: ...

    def __getitem__(self, key: str | SupportsIndex | slice) -> Space | tuple[Space, ...]:
        """The space of that name, pid or root as text, or by its place; BadTarget when there is none of that name."""
        if not isinstance(key, str):
            return super().__getitem__(key)
        found = self.named(key)
        if found is None:
            raise BadTarget(f"there is no address space {key!r}; there is {self.names()}")
        return found

    def __contains__(self, key: object) -> bool:
        return self.named(key) is not None if isinstance(key, str) else super().__contains__(key)

    def named(self, name: str) -> Space | None:
        """The space of that name or pid, else the one with that root (``"0x80000000"``)."""
        for space in self:
            if name == space.name or (space.pid is not None and name == str(space.pid)):
                return space
        return next((space for space in self if _is_root(name, space.table.root)), None)

    def names(self) -> str:
        """Their names, for a sentence."""
        return ", ".join(space.name for space in self) or "none at all"

    def summary(self) -> str:
        """How many there are, and the first names."""
        more = [f"{len(self) - FIRST_SPACES} more"] if len(self) > FIRST_SPACES else []
        names = ", ".join([plain(space.name) for space in self[:FIRST_SPACES]] + more)
        return f"{len(self)} space{'s' * (len(self) != 1)}: {names}" if self else "no spaces"

    def _ipython_key_completions_(self) -> list[str]:
        return [space.name for space in self]


@dataclass(frozen=True)
class Machine:
    """A computer as it is at one moment.

    ``areas`` name physical ranges (kernel image, disk queue).  ``pools`` are xv6's free lists, one or several, and
    ``free_range`` the frames its allocator owns; both are None where nothing is known of free frames.  ``counts`` is
    the guest's own count of the uses of a frame, where it keeps one.  ``guest`` says whose rules hold: ``xv6``,
    ``linux``, or nothing.  ``chains`` are the free lists as they were found, where the memory moves on.  ``doubts`` are
    what its table of processes says that cannot be.
    """

    name: str
    memory: Memory
    spaces: Spaces
    harts: tuple[Hart, ...] = ()
    symbols: Mapping[str, int] = field(default_factory=dict)
    areas: tuple[Area, ...] = ()
    pools: tuple[Pool, ...] | None = None
    free_range: tuple[int, int] | None = None
    counts: Counts | None = None
    guest: str = ""
    chains: tuple[Chain, ...] | None = field(default=None, compare=False)
    doubts: tuple[Doubt, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "spaces", Spaces(self.spaces))

    def __repr__(self) -> str:
        ram = size_text(sum(region.size for region in self.memory.regions))
        return f"<Machine {plain(self.name)}: {ram} of RAM, {self.spaces.summary()}>"

    _repr_html_ = in_notebook

    def space(self, name: str | None) -> Space:
        """The space of that name, pid or root (``"0x80000000"``); without one the kernel's, or else the first.

        BadTarget, with the names there are, when there is none.
        """
        wanted = "kernel" if name is None else name
        found = self.spaces.named(wanted)
        if found is None and name is None and self.spaces:
            found = self.spaces[0]
        if found is None:
            raise BadTarget(f"{self.name} has no address space {wanted!r}; it has {self.spaces.names()}")
        return found

    def mappings(self) -> Columns:
        """Every mapping of every space: rows of MAPPING, with a column ``space`` before them."""
        return _together(MAPPING, self.spaces, [space.mappings() for space in self.spaces])

    def maps(self) -> Columns:
        """The mappings of every space merged into runs: rows of MAP, with a column ``space`` before them."""
        return _together(MAP, self.spaces, [space.maps() for space in self.spaces])

    def free_lists(self) -> list[Chain]:
        """What is on each free list, in the order of ``pools``; none where nothing is known."""
        if self.chains is not None:
            return list(self.chains)
        if self.free_range is None:
            return []
        found = []
        for pool in self.pools or ():
            frames = FreeList(self.memory, *self.free_range)
            frames.head = pool.head
            found.append(frames.chain())
        return found


def _together(dtype: np.dtype[np.void], spaces: Spaces, parts: list[Columns]) -> Columns:
    """The tables of spaces as one, which says of each row whose it is."""
    every = Columns.stacked(dtype, parts)
    counts = list(map(len, parts))
    whose = np.repeat(np.arange(len(parts), dtype=np.int32), counts)
    return Columns(
        np.dtype([("space", "<i4"), *dtype.descr]), len(every), [whose, *(every[name] for name in dtype.names or ())],
        {"space": [space.name for space in spaces], **WORDS},
    )  # fmt: skip


def _is_root(name: str, root: int) -> bool:
    """Whether ``name`` is that address, written as one: a plain number is a pid."""
    with suppress(ValueError):
        return name.lower().startswith("0x") and int(name, 16) == root
    return False


def to_note(machine: Machine) -> dict[str, Any]:
    """Everything but the bytes, as data that JSON can hold."""
    return {
        "version": NOTE_VERSION,
        "name": machine.name,
        "spaces": [
            {
                "name": space.name,
                "format": space.table.format.name.lower(),
                "root": space.table.root,
                "pid": space.pid,
                "size": space.size,
                "areas": [list(area) for area in space.areas],
                "symbols": dict(space.symbols),
                "state": space.state,
            }
            for space in machine.spaces
        ],
        "harts": [[*hart[:3], list(hart.registers)] for hart in machine.harts],
        "symbols": dict(machine.symbols),
        "areas": [list(area) for area in machine.areas],
        "devices": [[device.start, len(device)] for device in machine.memory.devices],
        "pools": None if machine.pools is None else [list(pool) for pool in machine.pools],
        "free_range": list(machine.free_range) if machine.free_range else None,
        "counts": list(machine.counts) if machine.counts else None,
        "guest": machine.guest,
        "doubts": [list(doubt) for doubt in machine.doubts],
    }


def from_note(note: Any, memory: Memory) -> Machine:  # noqa: ANN401 - it comes from a file
    """The machine that `to_note` described, over ``memory``; BadFile when the note is not such a description."""
    version = note.get("version") if isinstance(note, dict) else None
    if version != NOTE_VERSION:
        raise BadFile(
            f"the note of this saved machine has version {version!r}; this pagebook reads version {NOTE_VERSION}: "
            "save it anew"
        )
    try:
        memory = memory.with_devices(_devices(note["devices"]))
        return Machine(
            name=_text(note["name"]),
            memory=memory,
            spaces=Spaces(_space(entry, memory) for entry in note["spaces"]),
            harts=tuple(_hart(entry) for entry in note["harts"]),
            symbols=_symbols(note["symbols"]),
            areas=_areas(note["areas"]),
            pools=None if note["pools"] is None else tuple(_pool(entry) for entry in note["pools"]),
            free_range=_range(note["free_range"], memory),
            counts=None if note["counts"] is None else _counts(note["counts"], memory),
            guest=_text(note["guest"]),
            doubts=tuple(_doubt(entry) for entry in note.get("doubts", ())),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise BadFile(f"the note of this saved machine is damaged: {type(error).__name__}: {error}") from error


def _space(entry: Any, memory: Memory) -> Space:  # noqa: ANN401
    return Space(
        name=_text(entry["name"]),
        table=AddressSpace(memory, _whole(entry["root"]), FORMATS[entry["format"]]),
        areas=_areas(entry["areas"]),
        pid=_maybe(entry["pid"]),
        size=_maybe(entry["size"]),
        symbols=_symbols(entry["symbols"]),
        state=None if entry["state"] is None else _text(entry["state"]),
    )


def _hart(entry: Any) -> Hart:  # noqa: ANN401
    number, satp, privilege, registers = entry
    return Hart(
        _whole(number),
        _maybe(satp),
        None if privilege is None else _text(privilege),
        tuple(_whole(value) for value in registers),
    )


def _doubt(entry: Any) -> Doubt:  # noqa: ANN401
    about, pid, at, sentence = entry
    return Doubt(_text(about), _whole(pid), _whole(at), _text(sentence))


def _pool(entry: Any) -> Pool:  # noqa: ANN401
    name, head, size = entry
    if not PAGE_SIZE <= _whole(size) <= MOST_BLOCK or size & size - 1:
        raise ValueError(f"frames of {size} bytes")
    return Pool(_text(name), _whole(head), size)


def _counts(entry: Any, memory: Memory) -> Counts:  # noqa: ANN401
    name, start, width, length, base, stride = entry
    if width not in (1, 2, 4, 8):
        raise ValueError(f"counts of {width!r} bytes")
    if stride and not width <= _whole(stride) <= PAGE_SIZE:
        raise ValueError(f"counts {stride!r} bytes apart")
    counts = Counts(_text(name), _whole(start), width, _whole(length), _whole(base), stride)
    memory.region(start, max(length * counts.step, 1))
    return counts


def _devices(entries: Any) -> list[range]:  # noqa: ANN401
    return [range(_whole(start), _physical(start + _whole(size))) for start, size in entries]


def _symbols(entries: Any) -> dict[str, int]:  # noqa: ANN401
    return {_text(name): _whole(value) for name, value in entries.items()}


def _areas(entries: Any) -> tuple[Area, ...]:  # noqa: ANN401
    return tuple(Area(_whole(start), _whole(size), _text(name)) for start, size, name in entries)


def _range(entry: Any, memory: Memory) -> tuple[int, int] | None:  # noqa: ANN401
    if entry is None:
        return None
    start, stop = (_whole(bound) for bound in entry)
    if stop < start:
        raise ValueError(f"the free range ends at {stop:#x}, before it starts")
    memory.region(start, max(stop - start, 1))
    return start, stop


def _text(value: Any) -> str:  # noqa: ANN401
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no text")
    return value


def _whole(value: Any) -> int:  # noqa: ANN401
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 1 << 64:
        raise TypeError(f"{value!r} is no address")
    return value


def _physical(end: int) -> int:
    if end > 1 << PHYSICAL_BITS:
        raise ValueError(f"a device ends at {end:#x}, where no physical address is")
    return end


def _maybe(value: Any) -> int | None:  # noqa: ANN401
    return None if value is None else _whole(value)
