"""Machines as ELF core files: RAM as load segments, everything else in one note.

Other readers take the file for what it is, a core of a RISC-V machine; the note, named PAGEBOOK, holds what
`machine.to_note` gives, as JSON.  Reading copies nothing: the file is mapped, read-only.
"""

from __future__ import annotations

import json
import mmap
import struct
from collections.abc import Callable
from pathlib import Path
from typing import IO

import numpy as np

from pagebook.elf import MOST_NOTES, Elf, read_elf
from pagebook.errors import BadFile, PagebookError
from pagebook.files import replacing
from pagebook.machine import Machine, from_note, to_note
from pagebook.memory import Memory, Region
from pagebook.source import Source
from pagebook.sources.dumps import read_dump
from pagebook.sources.mapped import map_file
from pagebook.units import PAGE_MASK, PAGE_SIZE

NOTE_NAME = b"PAGEBOOK"
NOTE_TYPE = 0x5042_0001
CHUNK = 1 << 20

_HEADER = struct.Struct("<16sHHIQQQIHHHHHH")
_SEGMENT = struct.Struct("<IIQQQQQQ")
_IDENT = b"\x7fELF\x02\x01\x01".ljust(16, b"\0")
_ET_CORE, _EM_RISCV, _PT_LOAD, _PT_NOTE = 4, 243, 1, 4
_READ_WRITE_EXECUTE = 7


def write_core(machine: Machine, path: str | Path, progress: Callable[[int], None] | None = None) -> int:
    """Save ``machine``; the file's size in bytes.

    The file appears whole or not at all: it is written beside its place and then renamed.  ``progress`` is called with
    the bytes just written.  BadFile when the system refuses, and for anything there that is not a file.
    """
    with replacing(path) as file:
        return _write(machine, file, progress or (lambda count: None))


def _write(machine: Machine, file: IO[bytes], progress: Callable[[int], None]) -> int:
    regions = machine.memory.regions
    note = _note(json.dumps(to_note(machine), separators=(",", ":")).encode())
    if len(note) > MOST_NOTES:
        raise BadFile(f"the names in {machine.name} take {len(note)} bytes; a saved machine may hold {MOST_NOTES}")
    at = _HEADER.size + _SEGMENT.size * (1 + len(regions))
    headers = [_SEGMENT.pack(_PT_NOTE, 4, at, 0, 0, len(note), len(note), 4)]
    at += len(note)
    places = []
    for region in regions:
        at = at + PAGE_MASK & ~PAGE_MASK
        places.append(at)
        headers.append(
            _SEGMENT.pack(
                _PT_LOAD, _READ_WRITE_EXECUTE, at, region.base, region.base, region.size, region.size, PAGE_SIZE
            )
        )
        at += region.size
    file.write(
        _HEADER.pack(
            _IDENT, _ET_CORE, _EM_RISCV, 1, 0, _HEADER.size, 0, 0, _HEADER.size, _SEGMENT.size, len(headers), 0, 0, 0
        )
    )
    file.write(b"".join(headers) + note)
    for region, place in zip(regions, places, strict=True):
        for low in range(0, region.size, CHUNK):
            piece = region.data[low : low + CHUNK]
            if np.frombuffer(piece, np.uint8).any():  # zeros stay a hole in the file
                file.seek(place + low)
                file.write(piece)
            progress(len(piece))
    file.truncate(at)
    return at


def _note(description: bytes) -> bytes:
    name = NOTE_NAME + b"\0"
    return b"".join((struct.pack("<III", len(name), len(description), NOTE_TYPE), _padded(name), _padded(description)))


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)


def read_core(path: str | Path) -> Machine:
    """Open a machine that `write_core` saved; BadFile when the file is anything else."""
    found = open_core(map_file(path), str(path))
    if isinstance(found, Machine):
        return found
    raise BadFile(
        f"{path} is an ELF core, but not one that pagebook saved: it has no PAGEBOOK note to say where the "
        "page tables are"
    )


def open_core(buffer: mmap.mmap, name: str) -> Machine | Source:
    """The machine that `write_core` saved, or what a core of another maker holds; BadFile for anything else."""
    elf = read_elf(buffer, name, len(buffer)).expect("ET_CORE", "a saved machine")
    description = _find_note(elf)
    if description is None:
        return read_dump(elf, buffer)
    try:
        note = json.loads(description)
    except (ValueError, RecursionError) as error:
        raise BadFile(f"{name}: its PAGEBOOK note is damaged: {error}") from error
    try:
        return from_note(note, _memory(elf, buffer))
    except PagebookError as error:
        raise BadFile(f"{name}: {error}") from error


def _memory(elf: Elf, buffer: mmap.mmap) -> Memory:
    view = memoryview(buffer)
    loads = [s for s in elf.loads if s.filesz]
    if not loads:
        raise BadFile("it holds no memory at all")
    return Memory(Region(s.paddr, view[s.offset : s.offset + s.filesz]) for s in loads)


def _find_note(elf: Elf) -> bytes | None:
    return next((description for name, _, description in elf.notes if name == NOTE_NAME.decode()), None)
