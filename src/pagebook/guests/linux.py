"""A Linux guest: its kernel's table, its processes by name, and what each hart has in satp.

Nothing is needed but memory: the kernel's own note (vmcoreinfo) says where its table and its symbols are, the symbols
where its BTF is, and that how its structs lie.  A vmlinux file helps where a kernel was built without these.  The
kernel's virtual addresses are translated by its own table.  drgn is not used: it does not translate RISC-V.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from typing import NamedTuple

from pagebook.errors import BadFile, BadTarget, PagebookError
from pagebook.guests import kallsyms, linuxtasks, vmcoreinfo, vmlinux
from pagebook.guests.btf import Btf
from pagebook.guests.linuxtasks import Layouts, Task, Tasks
from pagebook.guests.view import View
from pagebook.guests.vmcoreinfo import Vmcoreinfo
from pagebook.guests.vmlinux import Vmlinux
from pagebook.machine import Area, Hart, Machine, Space, Spaces
from pagebook.memory import Memory
from pagebook.source import Source
from pagebook.sv import FORMATS, Format, decode_satp
from pagebook.table import AddressSpace
from pagebook.units import page_up

ROOT = "swapper_pg_dir"
_IMAGE = (("_start", "__init_begin"), ("__init_end", "_end"))  # what lies between is given back after boot
_RANGES = (
    ("vmemmap", "VMEMMAP_START", "VMEMMAP_END"),
    ("vmalloc", "VMALLOC_START", "VMALLOC_END"),
    ("modules", "MODULES_VADDR", "MODULES_END"),
)


class _Known(NamedTuple):
    """What names the kernel's table: its note, if there is one, and its symbols as far as they are known yet."""

    table: AddressSpace
    note: Vmcoreinfo | None
    symbols: dict[str, int]


def recognise(memory: Memory, progress: Callable[[int], None] | None = None) -> str | None:
    """The release of the Linux whose note lies in this memory, as ``6.12.1``; None when there is none.

    ``progress`` is called with the bytes just searched.
    """
    found = next(vmcoreinfo.find(memory, progress), None)
    return found.release if found else None


def read(source: Source, kernel: str | None = None) -> Machine:
    """The machine that runs Linux in ``source``; ``kernel`` is a vmlinux, where one is at hand.

    Without symbols or BTF there are no processes, without a note or symbols no kernel table; each hart's satp then is a
    space of its own, as it is where no process has its table.  BadTarget when nothing at all is known.
    """
    memory, harts = source.memory, source.harts
    file = _file(source, kernel)
    current = list(_current(memory, harts))
    known = _kernel(memory, [table for _, table in current], file)
    if known is None and not current:
        raise BadTarget(
            f"no Linux is to be found in {source.name}: its memory has no note of the kernel about itself (vmcoreinfo) "
            "that holds, and no satp is known; name the satp, or give the kernel's vmlinux"
        )
    if known is None:
        return Machine(source.name, memory, Spaces(_hart_spaces(current, ())), harts, guest="linux")
    view = View(known.table)
    symbols = known.symbols if file else kallsyms.read(view, known.symbols) or known.symbols
    tasks = _tasks(view, symbols, file)
    spaces = [Space("kernel", known.table, tuple(_kernel_areas(memory, known.note, tasks.found)))]
    spaces += _process_spaces(view, tasks.found)
    spaces += _hart_spaces(current, spaces)
    return Machine(
        _name(source, known.note, tasks), memory, Spaces(spaces), harts, symbols, tuple(_image(view, symbols)),
        guest="linux",
    )  # fmt: skip


def _file(source: Source, kernel: str | None) -> Vmlinux | None:
    """The vmlinux that the user names; the one that the source names only if it has symbols at all."""
    if kernel is not None:
        return vmlinux.read(kernel)
    if source.kernel is None or not vmlinux.is_elf(source.kernel):
        return None
    return vmlinux.read(source.kernel)


def _current(memory: Memory, harts: tuple[Hart, ...]) -> Iterator[tuple[Hart, AddressSpace]]:
    """The table of each hart that translates and whose root is in memory."""
    for hart in harts:
        try:
            satp = decode_satp(hart.satp or 0)
            if satp.format:
                yield hart, AddressSpace(memory, satp.root, satp.format)
        except PagebookError:
            continue


def _kernel(memory: Memory, tables: list[AddressSpace], file: Vmlinux | None) -> _Known | None:
    """The kernel's table, proved by itself: walking it for its own address must lead to its root."""
    for note in vmcoreinfo.find(memory):
        va = note.symbols.get(ROOT)
        table = None if va is None else _table(memory, va, tables, note)
        if table:
            return _Known(table, note, _shifted(file, note) if file else note.symbols)
    if file and ROOT in file.symbols:  # a kernel without a note; then it also stands where it was linked to
        table = _table(memory, file.symbols[ROOT], tables, None)
        return _Known(table, None, file.symbols) if table else None
    return None


def _table(memory: Memory, va: int, tables: list[AddressSpace], note: Vmcoreinfo | None) -> AddressSpace | None:
    """The table whose root is at ``va``, found through the harts' tables or the note; None when it does not hold."""
    for root, format in _roots(va, tables, note):
        try:
            table = AddressSpace(memory, root, format)
            if table.translate(va) == root:
                return table
        except PagebookError:
            continue
    return None


def _roots(va: int, tables: list[AddressSpace], note: Vmcoreinfo | None) -> Iterator[tuple[int, Format]]:
    for table in tables:
        with suppress(PagebookError):
            found = table.translate(va)
            if found is not None:
                yield found, table.format
    format = FORMATS.get(f"sv{note.numbers.get('VA_BITS', 0)}") if note else None
    if note and format:
        for root in note.image_pas(va):
            yield root, format


def _shifted(file: Vmlinux, note: Vmcoreinfo) -> dict[str, int]:
    """The file's symbols where this kernel has them: it may have chosen its place by chance when it started."""
    if note.build and file.builds and note.build not in file.builds:
        raise BadFile(
            f"{file.name} is not the kernel that runs there: that is {note.release} with build id {note.build}, and "
            f"the file has {file.builds[0]}"
        )
    if ROOT not in file.symbols:
        raise BadFile(f"{file.name} has no symbol {ROOT}; it is no Linux kernel")
    shift = note.symbols[ROOT] - file.symbols[ROOT]
    return {name: value + shift & (1 << 64) - 1 for name, value in file.symbols.items()}


def _tasks(view: View, symbols: Mapping[str, int], file: Vmlinux | None) -> Tasks:
    """All tasks; none where symbols or types are missing."""
    layouts = _layouts(view, symbols, file)
    if layouts is None or "init_task" not in symbols:
        return Tasks((), whole=True)
    return linuxtasks.read(view, symbols["init_task"], layouts)


def _layouts(view: View, symbols: Mapping[str, int], file: Vmlinux | None) -> Layouts | None:
    """By the types of the file, or of the memory: what is wrong with the first is an error, with the second is not."""
    stack_bytes = max(symbols.get("__end_init_stack", 0) - symbols.get("__start_init_stack", 0), 0)
    if file and file.btf:
        return Layouts.of(Btf(file.btf), stack_bytes)
    start, stop = (symbols.get(name, 0) for name in ("__start_BTF", "__stop_BTF"))
    try:
        return Layouts.of(Btf(view.read(start, stop - start)), stack_bytes) if start < stop else None
    except PagebookError:
        return None


def _process_spaces(view: View, tasks: tuple[Task, ...]) -> list[Space]:
    """A space for each memory that tasks have; threads share one, and it has the name of the first of them."""
    first: dict[int, Task] = {}
    for task in tasks:
        if task.mm:
            first.setdefault(task.mm, task)
    names = Counter(task.name for task in first.values())
    spaces = []
    for task in sorted(first.values(), key=lambda task: task.pid):
        plain = names[task.name] == 1 and task.name != "kernel" and not task.name.startswith("hart ")
        try:
            table = AddressSpace(view.table.memory, view.pa(task.pgd), view.table.format)
        except PagebookError:
            continue
        name = task.name if plain else f"{task.name}.{task.tgid}"
        spaces.append(Space(name, table, task.areas, pid=task.tgid, state=task.state))
    return spaces


def _hart_spaces(current: list[tuple[Hart, AddressSpace]], others: Iterable[Space]) -> list[Space]:
    """What is in satp and is the table of nothing known yet; a table is one space, however many harts use it."""
    known = {space.table.root for space in others}
    spaces = []
    for hart, table in current:
        if table.root not in known:
            known.add(table.root)
            spaces.append(Space(f"hart {hart.number}", table))
    return spaces


def _kernel_areas(memory: Memory, note: Vmcoreinfo | None, tasks: tuple[Task, ...]) -> Iterator[Area]:
    numbers = note.numbers if note else {}
    for name, start, stop in _RANGES:
        if numbers.get(start, 0) < numbers.get(stop, 0):
            yield Area(numbers[start], numbers[stop] - numbers[start], name)
    if "PAGE_OFFSET" in numbers and "phys_ram_base" in numbers:
        size = max(region.end for region in memory.regions) - numbers["phys_ram_base"]
        if size > 0:
            yield Area(numbers["PAGE_OFFSET"], size, "all memory")
    for task in tasks:
        if task.stack:
            yield task.stack


def _image(view: View, symbols: Mapping[str, int]) -> Iterator[Area]:
    """The kernel's image in physical memory, but for the part that only its start needed."""
    for first, last in _IMAGE:
        start, stop = page_up(symbols.get(first, 0)), symbols.get(last, 0)
        if not start < stop:
            continue
        try:
            pa = view.pa(start)
            if view.pa(stop - 1) == pa + stop - 1 - start:
                yield Area(pa, stop - start, "kernel image")
        except PagebookError:
            continue


def _name(source: Source, note: Vmcoreinfo | None, tasks: Tasks) -> str:
    what = f"Linux {note.release}" if note else "Linux"
    broken = "" if tasks.whole else f", whose list of tasks breaks off after {len(tasks.found)}"
    return f"{source.name} ({what}{broken})"
