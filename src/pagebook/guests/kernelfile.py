"""A kernel's ELF file, read once and used for many looks: symbols, text, and the layouts that its DWARF tells.

Beside it may lie the programs it runs.  Nothing here knows what the symbols mean, and of memory only the text is read.
"""

from __future__ import annotations

import io
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection

from pagebook.elf import Elf, read_bytes, read_elf
from pagebook.errors import BadFile
from pagebook.guests.dwarf import Layouts, read_layouts
from pagebook.memory import Memory

MOST_BYTES = 256 << 20
MOST_KEPT = 64
_PLAIN_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]*")
_Stamp = tuple[str, int, int]


@dataclass(frozen=True, eq=False)
class KernelFile:
    """What a kernel's ELF file says.

    ``sizes`` are bytes by symbol, where they are known.  ``start`` is the first address it is loaded at, ``text`` its
    bytes from there to ``etext``, or none.  ``layouts`` is None when it has no debugging information.
    """

    path: str
    symbols: Mapping[str, int]
    sizes: Mapping[str, int]
    start: int
    text: bytes
    layouts: Layouts | None


@dataclass(frozen=True)
class Program:
    """A program's symbols, the bytes at its entry, and where exec puts its segments: (start, end, name)."""

    symbols: Mapping[str, int]
    entry: int
    code: bytes
    image: tuple[tuple[int, int, str], ...]


_Kept = TypeVar("_Kept")
_kernels: dict[_Stamp, KernelFile] = {}
_programs: dict[_Stamp, Program | None] = {}


def kernel_file(path: str | Path) -> KernelFile:
    """The kernel's ELF file at ``path``, read again only when it changed; BadFile when it is none."""
    stamp = _stamp(path)
    if stamp is None or stamp not in _kernels:
        kernel = _read_kernel(str(path))
        if stamp is None:
            return kernel
        _keep(_kernels, stamp, kernel)
    return _kernels[stamp]


def kernel_in(path: str | Path, memory: Memory) -> KernelFile:
    """The kernel's ELF file at ``path``, or what that file was before where this memory holds that.

    Who builds a kernel anew while a guest runs has the guest's own in no file, and for a moment no file.  BadFile as
    `kernel_file`, where nothing that was read before fits.
    """
    before = [kept for (name, *_), kept in _kernels.items() if name == str(path)]
    fitting = (kept for kept in reversed(before) if _is_in(memory, kept))
    try:
        now = kernel_file(path)
    except BadFile:
        if found := next(fitting, None):
            return found
        raise
    if before in ([], [now]) or _is_in(memory, now):
        return now
    return next(fitting, now)


def _is_in(memory: Memory, kernel: KernelFile) -> bool:
    start, length = kernel.start, len(kernel.text)
    there = length > 0 and start in memory and memory.answers(start, length)
    return there and memory.read(start, length) == kernel.text


def program(kernel: KernelFile, name: str) -> Program | None:
    """The program of that name as built with this kernel, ``../user/_NAME`` from there; None where there is none."""
    if not _PLAIN_NAME.fullmatch(name):  # it comes from a stranger's memory
        return None
    folder = os.path.dirname(os.path.dirname(os.path.abspath(kernel.path)))  # noqa: PTH100, PTH120 - for every look
    path = f"{folder}/user/_{name}"
    stamp = _stamp(path)
    if stamp is None:
        return None
    if stamp not in _programs:
        _keep(_programs, stamp, _read_program(Path(path)))
    return _programs[stamp]


def _stamp(path: str | Path) -> _Stamp | None:
    """What tells one state of a file from another; None when it cannot be looked at."""
    try:
        found = os.stat(path)  # noqa: PTH116
    except (OSError, ValueError):
        return None
    return str(path), found.st_mtime_ns, found.st_size


def _keep(kept: dict[_Stamp, _Kept], stamp: _Stamp, value: _Kept) -> None:
    if len(kept) >= MOST_KEPT:
        del kept[next(iter(kept))]
    kept[stamp] = value


def _read_kernel(path: str) -> KernelFile:
    data = _bytes(path, "kernel")
    elf = read_elf(io.BytesIO(data), path, len(data)).expect("ET_EXEC", "a kernel")
    symbols = dict(elf.symbols)
    if "_trampoline" in symbols:
        symbols.setdefault("trampoline", symbols["_trampoline"])
    file = ELFFile(io.BytesIO(data))
    loads = [segment for segment in elf.loads if segment.filesz]
    start = min((segment.paddr for segment in loads), default=0)
    etext = symbols.get("etext", start)
    text = next(
        (data[s.offset : s.offset + min(s.filesz, max(etext - start, 0))] for s in loads if s.paddr == start), b""
    )
    return KernelFile(path, symbols, _sizes(file, path), start, text, read_layouts(file, path))


def _bytes(path: str | Path, what: str) -> bytes:
    stamp = _stamp(path)
    if stamp and stamp[2] > MOST_BYTES:
        raise BadFile(f"{what} {str(path)!r} has {stamp[2]} bytes; pagebook reads none of more than {MOST_BYTES}")
    return read_bytes(path, what)


def _sizes(file: ELFFile, path: str) -> dict[str, int]:
    try:
        return {
            symbol.name: symbol["st_size"]
            for section in file.iter_sections()
            if isinstance(section, SymbolTableSection)
            for symbol in section.iter_symbols()
            if symbol["st_size"] and symbol["st_shndx"] != "SHN_UNDEF"
        }
    except Exception as error:  # pyelftools trusts what it reads
        raise BadFile(f"{path}: its symbols cannot be read: {error or type(error).__name__}") from error


def _read_program(path: Path) -> Program | None:
    """The program, or None when the file is none: a stranger's memory named it, and symbols are not worth an error."""
    try:
        data = _bytes(path, "program")
        elf = read_elf(io.BytesIO(data), str(path), len(data))
    except BadFile:
        return None
    image = tuple(
        (s.vaddr, s.vaddr + s.memsz, "text" if s.flags & 1 else "data" if s.flags & 2 else "constants")
        for s in elf.loads
    )
    return Program(elf.symbols, elf.entry, _code(elf, data), image)


def _code(elf: Elf, data: bytes) -> bytes:
    """Up to 256 bytes of the program from its entry on, as long as they are in the file."""
    for segment in elf.loads:
        skip = elf.entry - segment.vaddr
        if 0 <= skip < segment.filesz:
            return data[segment.offset + skip : segment.offset + min(segment.filesz, skip + 256)]
    return b""
