"""ELF cores that other programs wrote of a whole machine: QEMU's ``dump-guest-memory``, libvirt, Linux's vmcore.

Memory is what the load segments hold, at their physical addresses; a hart for each NT_PRSTATUS note.  No such note has
satp, so which tables are in use is for others to find out.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from pagebook.elf import Elf, Note, Segment
from pagebook.errors import BadAddress, BadFile
from pagebook.machine import Hart
from pagebook.memory import Memory, Region
from pagebook.source import Source
from pagebook.sources.mapped import written_of
from pagebook.units import PAGE_SIZE, page_down, page_up, size_text

NT_PRSTATUS = 1
MOST_ZEROS = 1 << 30
"""Bytes that a core may promise without holding them; they read as zeros."""
MOST_COMPARED = 256 << 20
"""Bytes that are compared where two segments hold the same memory."""

_REGISTERS = struct.Struct("<32Q")
_REGISTERS_AT = 112  # after signals, process ids and times


class Piece(NamedTuple):
    """Bytes of the file from ``offset`` to ``stop``, of memory from the physical address ``pa``."""

    pa: int
    offset: int
    stop: int

    @property
    def end(self) -> int:
        """The first physical address after it."""
        return self.pa + self.stop - self.offset


def no_satp(name: str) -> str:
    """Why nothing is known of satp, and a first remedy."""
    return f"{name} does not say what satp was: name the kernel with --kernel"


def read_dump(elf: Elf, buffer: mmap.mmap) -> Source:
    """The memory and the harts of the core; BadFile when it is no machine's, or its segments cannot all be true."""
    _check_machine(elf)
    remarks: list[str] = []
    view = memoryview(buffer)
    pieces, zeros = _pieces(elf, view, remarks)
    buffers = [(piece.pa, view[piece.offset : piece.stop]) for piece in pieces]
    memory = whole_pages(elf.name, buffers + zeros, remarks)
    return Source(elf.name, memory, prstatus_harts(elf.notes), remarks=tuple(remarks), no_satp=no_satp(elf.name))


def prstatus_harts(notes: Iterable[Note]) -> tuple[Hart, ...]:
    """A hart for each NT_PRSTATUS note, numbered as they come; pc and x1 to x31 known, satp not."""
    found = [
        _REGISTERS.unpack_from(data, _REGISTERS_AT)
        for _, kind, data in notes
        if kind == NT_PRSTATUS and len(data) >= _REGISTERS_AT + _REGISTERS.size
    ]
    return tuple(Hart(number, None, None, registers) for number, registers in enumerate(found))


def whole_pages(name: str, buffers: Iterable[tuple[int, memoryview]], remarks: list[str]) -> Memory:
    """Memory of these bytes at these physical addresses, each from its first whole page on.

    What stands before it is left out, and a remark is added; so it is for a tail that is no whole page, which stays.
    """
    regions = []
    for pa, data in sorted(buffers, key=lambda piece: piece[0]):
        head = page_up(pa) - pa
        if head:
            remarks.append(f"{min(head, len(data))} bytes at {pa:#x} are left out: they are not the start of a page")
        if head >= len(data):
            continue
        tail = (pa + len(data)) % PAGE_SIZE
        if tail:
            end = pa + len(data)
            remarks.append(f"the last {tail} bytes at {end - tail:#x} are no whole page: no table is seen there")
        try:
            regions.append(Region(pa + head, data[head:], written=written_of(data, head)))
        except BadAddress as error:
            raise BadFile(f"{name}: {error}") from error
    if not regions:
        raise BadFile(f"{name} holds no memory at all")
    try:
        return Memory(regions)
    except BadAddress as error:
        raise BadFile(f"{name}: {error}") from error


def _check_machine(elf: Elf) -> None:
    loads = [s for s in elf.loads if s.memsz]
    if loads and all(s.paddr == 0 for s in loads) and any(s.vaddr for s in loads):
        raise BadFile(
            f"{elf.name} is the core of a process, not of a machine: its segments have no physical addresses; QEMU's "
            "dump-guest-memory writes one of the whole machine"
        )


def _pieces(elf: Elf, view: memoryview, remarks: list[str]) -> tuple[list[Piece], list[tuple[int, memoryview]]]:
    """What the load segments hold of the file, joined where they touch, and what they promise beyond it."""
    pieces: list[Piece] = []
    zeros: list[tuple[int, memoryview]] = []
    compared = promised = 0
    for load in sorted(elf.loads, key=lambda s: (s.paddr, -s.filesz)):
        piece = _held(load)
        promised += load.paddr + load.memsz - piece.end
        if promised > MOST_ZEROS:
            raise BadFile(
                f"{elf.name} promises memory that it does not hold, at {load.paddr:#x} {load.memsz:#x} bytes of which "
                f"{load.filesz:#x} are in the file; up to {size_text(MOST_ZEROS)} is taken for zeros"
            )
        if load.memsz > load.filesz:
            zeros.append((piece.end, _zeros(load, piece, view)))
            missing, at = load.memsz - load.filesz, load.paddr + load.filesz
            remarks.append(f"{missing:#x} bytes at {at:#x} are not in {elf.name} and read as zeros")
        if piece.stop == piece.offset:
            continue
        last = pieces[-1] if pieces else None
        if last and piece.pa <= last.end and piece.offset - piece.pa == last.offset - last.pa:
            pieces[-1] = last._replace(stop=max(last.stop, piece.stop))
        elif last and piece.pa < last.end:  # Linux's vmcore holds the kernel's text twice
            compared += piece.stop - piece.offset
            if compared > MOST_COMPARED or not _same(last, piece, view):
                raise BadFile(f"{elf.name}: two segments overlap at {piece.pa:#x} and do not hold the same bytes there")
        else:
            pieces.append(piece)
    return pieces, zeros


def _held(load: Segment) -> Piece:
    """What the segment holds of the file; where memory goes on with zeros, only whole pages."""
    end = load.paddr + load.filesz
    if load.memsz > load.filesz:
        end = max(page_down(end), load.paddr)
    return Piece(load.paddr, load.offset, load.offset + end - load.paddr)


def _zeros(load: Segment, piece: Piece, view: memoryview) -> memoryview:
    """Memory after ``piece``: the rest of what the file holds, then zeros, which cost nothing."""
    size = load.paddr + load.memsz - piece.end
    flags = {"flags": mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS} if hasattr(mmap, "MAP_PRIVATE") else {}
    try:
        made = memoryview(mmap.mmap(-1, size, **flags))
    except (OSError, ValueError) as error:
        raise BadFile(f"there is no room for the {size:#x} bytes that follow {piece.end:#x}: {error}") from error
    rest = view[piece.stop : load.offset + load.filesz]
    made[: len(rest)] = rest
    return made


def _same(last: Piece, piece: Piece, view: memoryview) -> bool:
    """Whether the segment lies within the last one and holds the same bytes."""
    size = piece.stop - piece.offset
    at = last.offset + piece.pa - last.pa
    one = np.frombuffer(view[piece.offset : piece.stop], np.uint8)
    return piece.end <= last.end and bool(np.array_equal(one, np.frombuffer(view[at : at + size], np.uint8)))
