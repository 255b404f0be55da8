"""A Machine out of an xv6 guest, or a fork of xv6: its kernel's ELF file says where things are, its memory what.

Globals are found by symbol, members of structs by DWARF or as the user tells; nothing is taken from one version of
xv6.  What the bytes contradict is not used, and a remark says so.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from pagebook.errors import BadAddress, BadTarget, OutsideMemory
from pagebook.guests.kernelfile import KernelFile, kernel_file
from pagebook.guests.xv6counts import find_counts, free_sample
from pagebook.guests.xv6frames import follow, kernel_table, named_frames, pools, ram_end, word
from pagebook.guests.xv6layout import layout_of
from pagebook.guests.xv6spaces import Processes, Spaces
from pagebook.machine import Area, Machine
from pagebook.machine import Spaces as Found
from pagebook.memory import Memory
from pagebook.source import Reading, Source
from pagebook.sv import SV39, Format, decode_satp
from pagebook.table import AddressSpace
from pagebook.units import page_up

MOST_REMARKS = 20
MOST_PATCHED = 256  # bytes of text that differ where somebody debugs; with more, what does not fit is of another build
NEEDED = ("kernel_pagetable", "end")
TELLTALES = ("proc", "kmem", "trampoline", "uservec", "swtch", "kalloc", "kfree", "mappages", "uvmcopy", "usertrap")


def recognised(symbols: Collection[str]) -> bool:
    """Whether a kernel with these symbols looks like xv6."""
    return "kernel_pagetable" in symbols and sum(name in symbols for name in TELLTALES) >= 4


def read(
    source: Source, kernel: KernelFile | str | Path, offsets: Mapping[str, int] | None = None, restless: int = 0
) -> Reading:
    """The xv6 in ``source``, whose kernel is the ELF file ``kernel``, read already or a path.

    ``offsets`` stand in for debugging information, as docs/guests.md describes.  A live guest moves while it is read,
    so what does not fit may be so only for a moment.  ``restless`` frames at the start of each free list are fetched
    before all else: they move the fastest, and what was fetched stays as it was.  BadTarget when that is no kernel of
    xv6, when memory does not hold it, or when its layout cannot be known; BadFile when the file cannot be read.
    """
    if not isinstance(kernel, KernelFile):
        kernel = kernel_file(kernel)
    lacking = [name for name in NEEDED if name not in kernel.symbols]
    if lacking:
        raise BadTarget(
            f"{kernel.path} is no kernel of xv6, or is stripped: it has no symbol {' and no '.join(lacking)}; give the "
            "kernel as it was linked"
        )
    if kernel.symbols["end"] <= kernel.start:
        raise BadTarget(
            f"{kernel.path} is damaged: its end, {kernel.symbols['end']:#x}, is not after its start, {kernel.start:#x}"
        )
    layout = layout_of(kernel, offsets)
    remarks = _Remarks()
    memory, rom = _without_rom(source.memory, kernel.start)
    for head in layout.heads if restless else ():
        follow(memory, word(memory, head.address), (kernel.start, ram_end(memory, kernel.start)), restless)
    differ = _check_text(memory, kernel, remarks)
    fmt = _format(source, word(memory, kernel.symbols["kernel_pagetable"]))
    view = kernel_table(memory, kernel, fmt, remarks)
    if not memory.devices:
        memory = memory.with_devices([*(range(area.start, area.end) for area in view.devices), *rom])
        if view.table is not None:
            view = replace(view, table=AddressSpace(memory, view.table.root, fmt))
    try:
        spaces = Spaces(memory, kernel, layout.procs, view, fmt, remarks)
    except OutsideMemory as error:
        raise BadTarget(f"the process table of {kernel.path} is not in this memory: {error}") from error
    found = spaces.read()
    if differ > MOST_PATCHED and (view.table is None or spaces.doubts):
        raise BadTarget(_of_another_build(kernel, differ))
    broken = moved = False
    if source.again is not None:
        broken = spaces.fetch()
        moved = spaces.processes.differ(Processes(_without_rom(source.again(), kernel.start)[0], layout.procs))
    free = page_up(kernel.symbols["end"]), view.physstop
    if free[0] >= free[1]:
        raise BadTarget(
            f"the kernel's image ends at {free[0]:#x}, and memory at {free[1]:#x}: there is no RAM after it"
        )
    lists = pools(memory, layout.heads, free, view.mapped, remarks)
    witnesses = lambda: spaces.witnesses(lambda: free_sample(memory, lists, free))  # noqa: E731
    tallied = find_counts(memory, kernel, layout, witnesses, free, remarks)
    areas = named_frames(memory, kernel, layout)
    if tallied and tallied.start >= kernel.symbols["end"]:
        areas.append(Area(tallied.start, tallied.step * tallied.length, "kernel counts of frames"))
    if "panicked" in kernel.symbols and word(memory, kernel.symbols["panicked"], 4):
        remarks("the kernel has panicked")
    machine = Machine(
        name=source.name,
        memory=memory,
        spaces=Found(found),
        harts=source.harts,
        symbols=dict(kernel.symbols),
        areas=tuple(areas),
        pools=lists,
        free_range=free,
        counts=tallied,
        guest="xv6",
        doubts=tuple(spaces.doubts),
    )
    return Reading(machine, remarks.said(), moved, broken)


def _without_rom(memory: Memory, start: int) -> tuple[Memory, list[range]]:
    """The memory from the kernel's start on, and where a dump holds more: the ROM that QEMU starts from is no RAM."""
    below = [range(region.base, region.end) for region in memory.regions if region.end <= start]
    if not below:
        return memory, []
    return Memory([region for region in memory.regions if region.end > start], memory.devices), below


class _Remarks:
    """Collects sentences, each once, and no more of them than anybody reads."""

    def __init__(self) -> None:
        self.sentences: dict[str, None] = {}
        self.more = 0

    def __call__(self, sentence: str) -> None:
        if len(self.sentences) < MOST_REMARKS:
            self.sentences[sentence] = None
        else:
            self.more += sentence not in self.sentences

    def said(self) -> tuple[str, ...]:
        more = (f"{self.more} more remarks of this kind are left out",) if self.more else ()
        return (*self.sentences, *more)


def _check_text(memory: Memory, kernel: KernelFile, remark: _Remarks) -> int:
    """How many bytes of the kernel's text in memory are not the file's: a file of another build tells wrong places."""
    if kernel.start not in memory or not memory.answers(kernel.start, max(len(kernel.text), 1)):
        raise BadTarget(
            f"{kernel.path} is linked at {kernel.start:#x}, and this memory has nothing there; pagebook reads kernels "
            "that lie where they were linked"
        )
    there = memory.read(kernel.start, len(kernel.text))
    if there == kernel.text:
        return 0
    differ = int(np.count_nonzero(np.frombuffer(there, np.uint8) != np.frombuffer(kernel.text, np.uint8)))
    if differ * 10 > len(kernel.text):
        raise BadTarget(_of_another_build(kernel, differ))
    remark(
        f"{differ} of {len(kernel.text)} bytes of the kernel's text in memory are not those of {kernel.path}; if it "
        "was built anew since the machine started, what is read may be wrong"
    )
    return differ


def _of_another_build(kernel: KernelFile, differ: int) -> str:
    return (
        f"this memory does not hold {kernel.path}: {differ} of {len(kernel.text)} bytes of its text differ; give the "
        "kernel that was started, or start the one that was built since"
    )


def _format(source: Source, root: int) -> Format:
    """The format of the kernel's table: what the satp of a hart that uses it says, else Sv39, as in xv6."""
    for hart in source.harts:
        try:
            found = decode_satp(hart.satp or 0)
        except BadAddress:
            continue
        if found.format is not None and found.root == root:
            return found.format
    return SV39
