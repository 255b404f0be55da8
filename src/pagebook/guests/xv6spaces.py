"""The processes of an xv6 guest and their address spaces, read from its process table.

It is a stranger's memory, perhaps one that moves: a process half made, a torn name, a root that is none.  What cannot
be a space is left out, and what does not fit is said.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from pagebook.errors import PagebookError
from pagebook.guests.kernelfile import KernelFile, Program, program
from pagebook.guests.xv6counts import Witnesses
from pagebook.guests.xv6frames import KernelTable, Remark
from pagebook.guests.xv6layout import ProcTable, Regions
from pagebook.machine import Area, Doubt, Space
from pagebook.memory import U64, Memory
from pagebook.scan import fetch_tables
from pagebook.sv import Format, U, V
from pagebook.table import AddressSpace
from pagebook.units import PAGE_MASK, PAGE_SHIFT, PAGE_SIZE, page_down, page_up

WORDS = {"SLEEPING": "sleep", "RUNNABLE": "runble", "RUNNING": "run"}
UNUSED = "UNUSED"
NAMELESS = "state "  # and the number of one
MOST_STACK = 64 * PAGE_SIZE
MOST_NAMED = 64


@dataclass(frozen=True)
class Process:
    """One struct proc: its slot, its address, its bytes, and what the kernel keeps of it; 0 where it keeps nothing."""

    slot: int
    at: int
    octets: bytes
    name: str
    pid: int
    state: str
    sz: int
    root: int
    trapframe: int
    kstack: int


class Processes:
    """The process table: ``kstacks``, ``pids`` and ``roots`` are those of every slot, ``used`` or not."""

    def __init__(self, memory: Memory, table: ProcTable) -> None:
        self._table = table
        self._places, self._octets = _octets(memory, table)
        self._present = {name: _column(self._octets, table, name) for name in table.fields if name != "name"}
        nothing = np.zeros(len(self._octets), U64)
        mask = (1 << 8 * min(table.fields["state"][1], 8)) - 1  # as an enum may have negative values
        self._states = {value & mask: name for value, name in table.states.items()}
        self.used = np.ones(len(self._octets), np.bool_)
        for value in [value for value, name in self._states.items() if name == UNUSED] or [0]:
            self.used &= self._present["state"] != U64(value)
        self.kstacks = self._present.get("kstack", nothing)
        self.pids = self._present.get("pid", nothing)
        self.roots = self._present["pagetable"]

    @cached_property
    def live(self) -> list[Process]:
        """Those in use, by slot."""
        found = []
        for slot in np.flatnonzero(self.used).tolist():
            known = {name: int(column[slot]) for name, column in self._present.items()}
            found.append(
                Process(
                    slot,
                    self._places[slot],
                    self._octets[slot].tobytes(),
                    _name(self._octets[slot], self._table),
                    known.get("pid", 0),
                    _state(self._states, known["state"]),
                    known.get("sz", 0),
                    known["pagetable"],
                    known.get("trapframe", 0),
                    known.get("kstack", 0),
                )
            )
        return found

    @property
    def left(self) -> dict[int, int]:
        """The page tables of unused slots, by slot: a kernel should have let go of them."""
        slots = np.flatnonzero(~self.used & (self.roots != 0))
        return dict(zip(slots.tolist(), self.roots[slots].tolist(), strict=True))

    def differ(self, later: Processes) -> bool:
        """Whether another process, or one with another table, is in a slot that is in use at either time."""
        others = (self.used != later.used) | (self.pids != later.pids) | (self.roots != later.roots)
        return bool((others & (self.used | later.used)).any())

    @cached_property
    def stack_names(self) -> list[str]:
        """What the kernel stack of each slot is called."""
        slots = enumerate(zip(self.used.tolist(), self.pids.tolist(), strict=True))
        return [f"stack of process {pid}" if used else f"stack of slot {slot}, unused" for slot, (used, pid) in slots]


def _octets(memory: Memory, table: ProcTable) -> tuple[Sequence[int], npt.NDArray[np.uint8]]:
    """The addresses of all structs, and their bytes, copied at once, of shape (processes, stride)."""
    if not table.indirect:
        size = table.count * table.stride
        data = memory.read(table.address, size)
        places = range(table.address, table.address + size, table.stride)
        return places, np.frombuffer(data, np.uint8).reshape(table.count, table.stride)
    found = np.zeros((table.count, table.stride), np.uint8)
    pointers: list[int] = np.frombuffer(memory.read(table.address, table.count * 8), "<u8").tolist()
    for slot, at in enumerate(pointers):
        if at and memory.answers(at, table.stride):
            found[slot] = np.frombuffer(memory.read(at, table.stride), np.uint8)
    return pointers, found


def _column(octets: npt.NDArray[np.uint8], table: ProcTable, name: str) -> npt.NDArray[np.uint64]:
    offset, size = table.fields[name]
    size = min(size, 8)
    values = np.zeros((len(octets), 8), np.uint8)
    values[:, :size] = octets[:, offset : offset + size]
    column: npt.NDArray[np.uint64] = values.view("<u8")[:, 0]
    return column


def _name(octets: npt.NDArray[np.uint8], table: ProcTable) -> str:
    """The name up to its NUL; what is no printable ASCII is a question mark."""
    if "name" not in table.fields:
        return ""
    offset, size = table.fields["name"]
    text = octets[offset : offset + min(size, MOST_NAMED)].tobytes().split(b"\0")[0]
    return "".join(chr(octet) if 0x20 <= octet < 0x7F else "?" for octet in text)


def _state(states: Mapping[int, str], value: int) -> str:
    name = states.get(value, f"{NAMELESS}{value}")
    return WORDS.get(name, name.lower())


class Spaces:
    """Builds the spaces of a guest, the kernel's first, and collects the frames they show to be in use."""

    def __init__(
        self, memory: Memory, kernel: KernelFile, layout: ProcTable, view: KernelTable, fmt: Format, remark: Remark
    ) -> None:
        self.memory = memory
        self.kernel = kernel
        self.layout = layout
        self.view = view
        self.format = fmt
        self.remark = remark
        self.doubts: list[Doubt] = []
        self.processes = Processes(memory, layout)
        self.trampoline = (1 << fmt.va_bits - 1) - PAGE_SIZE
        self.trapframe = self.trampoline - PAGE_SIZE
        self.mapped: list[npt.NDArray[np.uint64]] = []
        self.stacks = self._stacks()

    def read(self) -> tuple[Space, ...]:
        """The kernel's space, then those of the processes by slot, each followed by its other tables."""
        spaces = []
        if self.view.table is not None:
            spaces.append(Space("kernel", self.view.table, (*self._kernel_areas(), *self.stacks.values())))
        tables = [(p, table) for p in self.processes.live if p.root and (table := self._table(p)) is not None]
        names = _names(self.processes.live)
        images = {p.slot: self._image(p, table) for p, table in tables}
        sized = "sz" in self.layout.fields
        if not sized:
            self.remark("struct proc has no member sz, so that the sizes of processes are not known; see --offsets")
        stack = self._stack_bytes(tables, images)
        for p, table in tables:
            found = images[p.slot]
            areas = (*self._user_areas(p, table, found, stack), *self._top_areas(p, table))
            symbols = found.symbols if found else {}
            spaces.append(Space(names[p.slot], table, areas, p.pid, p.sz if sized else None, symbols, p.state))
            spaces += self._other_tables(p, names[p.slot])
        for p in self.processes.live:
            self._check(p)
        self._check_stacks()
        return (*spaces, *self._left())

    def fetch(self) -> bool:
        """Have the tables of all processes as they are now; whether one has PTEs that no walk can use."""
        roots = np.array([p.root for p in self.processes.live if p.root], U64)
        return fetch_tables(self.memory, roots, self.format)

    def _left(self) -> Iterator[Space]:
        """The page tables that unused slots have still."""
        for slot, root in self.processes.left.items():
            with suppress(PagebookError):  # what can be no table is no trap for anybody
                yield Space(f"slot {slot}", AddressSpace(self.memory, root, self.format), pid=0, size=0, state="unused")

    def witnesses(self, free: Callable[[], npt.NDArray[np.uint64]]) -> Witnesses:
        """The frames that processes map below their size, once or more often, and what gives some that are free."""
        every = np.concatenate([*self.mapped, np.empty(0, U64)])
        used, times = np.unique(every, return_counts=True)
        return Witnesses(free, used[times == 1], used[times > 1])

    def _table(self, p: Process) -> AddressSpace | None:
        try:
            return AddressSpace(self.memory, p.root, self.format)
        except PagebookError as error:
            self._doubt(p, "pagetable", f"has its page table at {p.root:#x}, and none can be there: {error}")
            return None

    def _doubt(self, p: Process, about: str, what: str) -> None:
        sentence = f"process {p.pid} ({p.name}) {what}"
        self.remark(sentence)
        self.doubts.append(Doubt(about, p.pid, p.at, sentence))

    def _kernel_areas(self) -> list[Area]:
        start, symbols = self.kernel.start, self.kernel.symbols
        etext = symbols.get("etext", start)
        areas = list(self.view.devices)
        if start < etext < self.view.physstop:
            areas += [
                Area(start, etext - start, "kernel text"),
                Area(etext, self.view.physstop - etext, "kernel data and RAM"),
            ]
        return [*areas, Area(self.trampoline, PAGE_SIZE, "trampoline")]

    def _stacks(self) -> dict[int, Area]:
        """The kernel stack of each slot that the kernel's table maps, as long as its pages go on."""
        kstacks, vas = self.processes.kstacks, self.view.vas
        if not len(vas):
            return {}
        ends = vas + self.view.sizes
        gaps = np.flatnonzero(np.append(vas[1:] != ends[:-1], True))
        run = np.searchsorted(vas, kstacks, "right").astype(np.intp) - 1
        mapped = (run >= 0) & (kstacks != 0) & (kstacks < ends[run])
        stop = ends[gaps[np.searchsorted(gaps, np.maximum(run, 0))]]
        order = np.sort(kstacks[mapped])
        following = np.searchsorted(order, kstacks, "right")
        after = np.append(order, U64(self.trampoline))[following]
        size = np.where(stop <= after, stop, after) - kstacks
        # A stack in the direct map of RAM has no end of its own there: a frame each.
        size = np.where((size > U64(MOST_STACK)) | (kstacks < U64(self.view.physstop)), U64(PAGE_SIZE), size)
        slots = np.flatnonzero(mapped)
        rows = zip(slots.tolist(), kstacks[slots].tolist(), size[slots].tolist(), strict=True)
        return {slot: Area(start, length, self.processes.stack_names[slot]) for slot, start, length in rows}

    def _image(self, p: Process, table: AddressSpace) -> Program | None:
        """The program of the process's name, when the code at its entry is what the process has there."""
        found = program(self.kernel, p.name) if p.name else None
        if found is None:
            return None
        code = found.code[: PAGE_SIZE - (found.entry & PAGE_MASK)]
        try:
            pa = table.translate(found.entry) if code else None
            if pa is None:  # not loaded yet, in a kernel that loads pages when they are touched
                return found if code else None
            if self.memory.read(pa, len(code)) == code:
                return found
        except PagebookError:
            return None
        self.remark(
            f"process {p.pid} is called {p.name}, but does not run user/_{p.name} as it lies beside the kernel: its "
            "symbols are not used"
        )
        return None

    def _first_table(self, table: AddressSpace) -> npt.NDArray[np.uint64]:
        """The PTEs of the first 512 pages, or none."""
        try:
            pte_pa, _, level = table.find(0)
            return table.ptes(pte_pa, self.format.entries).astype(U64) if not level else np.empty(0, U64)
        except PagebookError:
            return np.empty(0, U64)

    def _guard(self, p: Process, table: AddressSpace, image: Program | None) -> int | None:
        """The guard page under the stack: after the image, or the first page that is there but not the user's."""
        ptes = self._first_table(table)
        pages = min(page_up(p.sz) >> PAGE_SHIFT, len(ptes))
        flags = ptes[:pages]
        own = flags & U64(V) != 0
        frames = (flags[own] >> U64(10) & U64(self.format.ppn_mask)) << U64(PAGE_SHIFT)
        self.mapped.append(frames)
        if image is not None:
            end = max((page_up(end) for _, end, _ in image.image), default=0)
            return end if end < p.sz else None
        barred = (flags & U64(V | U)) == U64(V)
        return int(barred.argmax()) << PAGE_SHIFT if barred.any() else None

    def _stack_bytes(self, tables: list[tuple[Process, AddressSpace]], images: dict[int, Program | None]) -> int:
        """The bytes of a user stack: what is left above the guard page in the process that has least there.

        exec gives every process the same, and init never asks for more memory.
        """
        self.guards = {p.slot: self._guard(p, table, images[p.slot]) for p, table in tables}
        left = [
            page_up(p.sz) - guard - PAGE_SIZE
            for p, _ in tables
            if (guard := self.guards[p.slot]) is not None and p.sz <= self.trapframe
        ]
        return min((size for size in left if size > 0), default=PAGE_SIZE)

    def _user_areas(self, p: Process, table: AddressSpace, image: Program | None, stack: int) -> list[Area]:
        end = min(page_up(p.sz), self.trapframe)
        guard = self.guards[p.slot]
        named: list[tuple[int, int, str]] = []
        if image is not None:
            named = [(start, page_up(stop), name) for start, stop, name in image.image]
        elif guard:
            named = [(0, guard, "program")]
        elif guard is None and p.name == "initcode":
            named = [(0, end, "initcode")]
        if guard is not None:
            named += [(guard, guard + PAGE_SIZE, "guard page"), (guard + PAGE_SIZE, guard + PAGE_SIZE + stack, "stack")]
        areas = [Area(start, min(stop, end) - start, name) for start, stop, name in named if start < min(stop, end)]
        top = max((area.end for area in areas), default=0)
        if end > top:
            areas.append(Area(top, end - top, "heap" if areas else "program"))
        return areas + [area for regions in self.layout.regions for area in self._mmap(p, regions)]

    def _mmap(self, p: Process, regions: Regions) -> list[Area]:
        """What the process has mapped by mmap, as the kernel lists it."""
        areas = []
        for index in range(min(regions.entries, MOST_NAMED)):
            at = regions.offset + index * regions.stride

            def number(field_at: int, size: int) -> int:
                return int.from_bytes(p.octets[field_at : field_at + size], "little")

            if regions.used and not number(at + regions.used.offset, regions.used.size):
                continue
            start = number(at + regions.start.offset, regions.start.size)
            if regions.length:
                end = start + number(at + regions.length.offset, regions.length.size)
            elif regions.end:
                end = number(at + regions.end.offset, regions.end.size)
            else:
                continue
            if 0 < start < end <= self.trapframe:
                areas.append(Area(page_down(start), page_up(end) - page_down(start), "mmap"))
        return areas

    def _top_areas(self, p: Process, table: AddressSpace) -> list[Area]:
        """The pages of the last table: trapframe and trampoline, and others whose frames struct proc names."""
        areas = []
        where = None
        members = {self._pointer(p, offset): name for name, offset in reversed(self.layout.pointers)}
        for va, pa in self._top_pages(table):
            if pa == p.trapframe and p.trapframe and where is None:
                where = va
            elif va < self.trapframe and pa in members and pa:
                areas.append(Area(va, PAGE_SIZE, members[pa]))
        if p.trapframe and where is None and "trapframe" in self.layout.fields:
            what = f"has its trapframe at {p.trapframe:#x}, and its table does not map that below the trampoline"
            self._doubt(p, "trapframe", what)
        areas.append(Area(self.trapframe if where is None else where, PAGE_SIZE, "trapframe"))
        return [*areas, Area(self.trampoline, PAGE_SIZE, "trampoline")]

    def _pointer(self, p: Process, offset: int) -> int:
        return int.from_bytes(p.octets[offset : offset + 8], "little")

    def _top_pages(self, table: AddressSpace) -> list[tuple[int, int]]:
        """The virtual and physical addresses of the pages that the last last-level table maps, from the top down."""
        try:
            pte_pa, _, level = table.find(self.trampoline)
            if level:
                return []
            first = pte_pa - (self.format.entries - 1) * self.format.pte_bytes
            ptes = table.ptes(first, self.format.entries).astype(U64)
        except PagebookError:
            return []
        found = np.flatnonzero(ptes & U64(V))[::-1][:MOST_NAMED]
        pas = (ptes[found] >> U64(10) & U64(self.format.ppn_mask)) << U64(PAGE_SHIFT)
        vas = self.trampoline - ((self.format.entries - 1 - found) << PAGE_SHIFT)
        return list(zip(vas.tolist(), pas.tolist(), strict=True))

    def _other_tables(self, p: Process, name: str) -> list[Space]:
        """The page tables that this kernel keeps for a process besides the user's: a kernel's table of its own."""
        spaces = []
        for member, offset in self.layout.tables:
            root = self._pointer(p, offset)
            if not root or (self.view.table is not None and root == self.view.table.root):
                continue
            try:
                table = AddressSpace(self.memory, root, self.format)
            except PagebookError as error:
                self.remark(f"process {p.pid} ({p.name}) has {member} {root:#x}, and no table can be there: {error}")
                continue
            stack = self.stacks.get(p.slot) or Area(p.kstack, PAGE_SIZE, self.processes.stack_names[p.slot])
            spaces.append(Space(f"{name}.{member}", table, (*self._kernel_areas(), *([stack] if p.kstack else []))))
        return spaces

    def _check(self, p: Process) -> None:
        """Say what the process table holds that cannot be."""
        if p.state.startswith(NAMELESS):
            self._doubt(p, "state", f"has {p.state}, which is none of the kernel's")
        if not p.root:  # it is being made, or torn down
            return
        if p.sz > self.trapframe:
            self._doubt(p, "sz", f"has sz {p.sz:#x}, which is above its trapframe's address {self.trapframe:#x}")
        if p.trapframe and (p.trapframe & PAGE_MASK or p.trapframe not in self.memory):
            self._doubt(p, "trapframe", f"has its trapframe at {p.trapframe:#x}, which is no frame of memory")
        if p.slot not in self.stacks and self.view.table is not None and not self._stack_elsewhere(p):
            what = f"has its kernel stack at {p.kstack:#x}, which the kernel's table does not map"
            self._doubt(p, "kstack", what)

    def _check_stacks(self) -> None:
        """Say which processes have one kernel stack; where each has a kernel's table of its own, they may."""
        first: dict[int, Process] = {}
        for p in self.processes.live if not self.layout.tables else ():
            other = first.setdefault(p.kstack, p)
            if other is not p and p.slot in self.stacks:
                self._doubt(p, "kstack", f"has its kernel stack at {p.kstack:#x}, and so has process {other.pid}")

    def _stack_elsewhere(self, p: Process) -> bool:
        """Whether a table of the process's own maps its kernel stack, or nothing is known of stacks."""
        if "kstack" not in self.layout.fields:
            return True
        for _, offset in self.layout.tables:
            try:
                if AddressSpace(self.memory, self._pointer(p, offset), self.format).translate(p.kstack) is not None:
                    return True
            except PagebookError:
                continue
        return False


def _names(live: list[Process]) -> dict[int, str]:
    """A name for each slot's space: the process's, with its number where another has the same."""
    called = {p.slot: p.name or "process" for p in live}
    often = Counter(called.values())
    names: dict[int, str] = {}
    for p in live:
        name = called[p.slot]
        if often[name] > 1 or name == "kernel":
            name = f"{name}.{p.pid}"
        names[p.slot] = f"{name} in slot {p.slot}" if name in names.values() else name
    return names
