"""ELF files, read with pyelftools and trusted in nothing: header, segments, symbols, notes as plain data.

Whatever is wrong with a file - cut short, of another machine, with impossible headers - comes out as one
`BadFile` that says what was found.  What the segments mean is for others: this module loads nothing.
"""

from __future__ import annotations

import mmap
import stat
import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, NamedTuple, cast

from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection

from pagebook.errors import BadFile

MOST_SEGMENTS = 4096
MOST_SYMBOLS = 1 << 19
MOST_NOTES = 24 << 20
"""Bytes of all notes together: enough for the names of a Linux kernel, and no more than can be read as JSON."""
MOST_NOTE_COUNT = 1 << 16

_NOTE = struct.Struct("<III")

Note = tuple[str, int, bytes]
"""Name, type and contents."""


class Segment(NamedTuple):
    """A program header: ``offset`` and ``filesz`` in the file, ``vaddr``, ``paddr`` and ``memsz`` in memory."""

    kind: str
    offset: int
    vaddr: int
    paddr: int
    filesz: int
    memsz: int
    flags: int


@dataclass(frozen=True)
class Elf:
    """What an ELF file says of itself, and its size in bytes."""

    name: str
    kind: str
    entry: int
    size: int
    segments: tuple[Segment, ...]
    symbols: dict[str, int] = field(default_factory=dict)
    notes: tuple[Note, ...] = ()

    @property
    def loads(self) -> tuple[Segment, ...]:
        """The PT_LOAD segments in file order."""
        return tuple(s for s in self.segments if s.kind == "PT_LOAD")

    def expect(self, kind: str, what: str) -> Elf:
        """This file, when it is of ``kind`` (``ET_EXEC``, ``ET_CORE``); BadFile otherwise."""
        if self.kind != kind:
            hint = "; a kernel goes with --kernel, beside qemu or a dump as the target" if kind == "ET_CORE" else ""
            raise BadFile(f"{self.name} is an ELF file of type {self.kind}; {what} is of type {kind}{hint}")
        return self


def read_bytes(path: str | Path, what: str) -> bytes:
    """The whole file; BadFile with the system's reason when it cannot be read."""
    try:
        mode = Path(path).stat().st_mode
        if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):  # a device never ends, and a pipe waits
            raise BadFile(f"cannot read {what} {str(path)!r}: it is a device or a pipe, not a file")
        return Path(path).read_bytes()
    except OSError as error:
        raise BadFile(f"cannot read {what} {str(path)!r}: {error.strerror}") from error


def read_elf(stream: BinaryIO | mmap.mmap, name: str, size: int) -> Elf:
    """Read a RISC-V ELF file of ``size`` bytes; BadFile when it is anything else or not whole."""
    try:
        file = ELFFile(cast(BinaryIO, stream))
        segments = _segments(file, name)
        elf = Elf(name, str(file["e_type"]), file["e_entry"], size, segments)
        _check(file, elf)
        symbols = {} if elf.kind == "ET_CORE" else _symbols(file, elf)  # a dump has no names
        notes = _notes(stream, elf)
    except BadFile:
        raise
    except Exception as error:  # pyelftools trusts what it reads, and a bad file can make it raise anything
        reason = str(error) or type(error).__name__
        raise BadFile(f"{name} is not a whole ELF file: {reason}") from error
    return Elf(name, elf.kind, elf.entry, size, segments, symbols, notes)


def _segments(file: ELFFile, name: str) -> tuple[Segment, ...]:
    if file.elfclass != 64 or not file.little_endian or file["e_machine"] != "EM_RISCV":
        order = "little" if file.little_endian else "big"
        raise BadFile(
            f"{name} is a {file.elfclass}-bit {order}-endian ELF file for {file['e_machine']}; "
            "pagebook needs a 64-bit little-endian one for EM_RISCV"
        )
    count = file.num_segments()
    if count > MOST_SEGMENTS:
        raise BadFile(f"{name} claims {count} program headers; no such file has more than {MOST_SEGMENTS}")
    return tuple(
        Segment(
            str(s["p_type"]),
            s["p_offset"] if s["p_filesz"] else 0,  # some write -1 where there are no bytes
            s["p_vaddr"],
            s["p_paddr"],
            s["p_filesz"],
            s["p_memsz"],
            s["p_flags"],
        )
        for s in file.iter_segments()
    )


def _check(file: ELFFile, elf: Elf) -> None:
    for number, segment in enumerate(elf.segments):
        if segment.offset + segment.filesz > elf.size:
            raise BadFile(
                f"{elf.name} is cut short: segment {number} ends at byte {segment.offset + segment.filesz}, "
                f"the file at {elf.size}"
            )
    for number, segment in enumerate(elf.loads):
        if segment.memsz < segment.filesz or segment.vaddr + segment.memsz > 1 << 64:
            raise BadFile(
                f"{elf.name}: load segment {number} at {segment.vaddr:#x} claims {segment.memsz:#x} bytes of memory "
                f"for {segment.filesz:#x} in the file, which cannot be"
            )
    table_end = file["e_phoff"] + file["e_phnum"] * file["e_phentsize"]
    if file["e_phnum"] and table_end > elf.size:
        raise BadFile(f"{elf.name} is cut short: its program headers end at byte {table_end}, the file at {elf.size}")


def _notes(stream: BinaryIO | mmap.mmap, elf: Elf) -> tuple[Note, ...]:
    segments = [s for s in elf.segments if s.kind == "PT_NOTE"]
    size = sum(s.filesz for s in segments)
    if size > MOST_NOTES:
        raise BadFile(f"{elf.name} claims {size} bytes of notes; no such file has more than {MOST_NOTES}")
    notes: list[Note] = []
    for segment in segments:
        stream.seek(segment.offset)
        notes += parse_notes(stream.read(segment.filesz), elf.name)
    return tuple(notes)


def parse_notes(data: bytes, name: str) -> list[Note]:
    """The notes in ``data``: name, type, contents.  BadFile when one runs out of it, or there are absurdly many."""
    notes: list[Note] = []
    at = 0
    while at + _NOTE.size <= len(data):
        name_size, size, kind = _NOTE.unpack_from(data, at)
        label = data[at + _NOTE.size : at + _NOTE.size + name_size]
        start = at + _NOTE.size + _up4(name_size)
        at = start + _up4(size)
        if start + size > len(data):
            raise BadFile(f"{name} is not a whole ELF file: a note of {size} bytes runs out of its segment")
        if name_size and b"\0" not in label:
            raise BadFile(f"{name} is not a whole ELF file: the name of a note has a missing terminator")
        if len(notes) == MOST_NOTE_COUNT:
            raise BadFile(f"{name} has more than {MOST_NOTE_COUNT} notes, which no such file has")
        notes.append((label.partition(b"\0")[0].decode("latin-1"), kind, data[start : start + size]))
    return notes


def _up4(size: int) -> int:
    return size + 3 & ~3


def _symbols(file: ELFFile, elf: Elf) -> dict[str, int]:
    symbols: dict[str, int] = {}
    count = 0
    for section in file.iter_sections():
        if isinstance(section, SymbolTableSection):
            count += section.num_symbols()
            if count > MOST_SYMBOLS:
                raise BadFile(f"{elf.name} claims {count} symbols; no such file has more than {MOST_SYMBOLS}")
            for symbol in section.iter_symbols():
                named = symbol["st_info"]["type"] not in ("STT_FILE", "STT_SECTION")
                if symbol.name and named and symbol["st_shndx"] != "SHN_UNDEF":
                    symbols[symbol.name] = symbol["st_value"]
    return symbols
