"""Files as memory: cores, dumps, raw images, and any of them compressed; what a file is, its first bytes say.

A raw image is bytes and nothing else, so the user says where in physical memory they lie: ``FILE@0x80000000``, several
pieces with commas between: ``low.img@0x80000000,high.img@0x100000000``.  A file wins over the grammar: words that name
an existing file as they stand are that file, whatever commas and @ its name has; and so is the longest run of pieces
that does, or that does without its ``@ADDRESS``.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Callable
from typing import NamedTuple
from weakref import WeakSet

from pagebook.errors import BadFile, BadTarget
from pagebook.machine import Machine
from pagebook.memory import Memory, joined
from pagebook.source import Source
from pagebook.sources.compressed import compression, unpack
from pagebook.sources.dumps import no_satp, whole_pages
from pagebook.sources.elfcore import open_core
from pagebook.sources.kdump import FLATTENED, is_kdump, read_kdump, unflatten
from pagebook.sources.mapped import Mapped, map_file
from pagebook.units import PAGE_MASK, parse_address

MOST_PIECES = 256
_ELF = b"\x7fELF"
_HEAD = 16

Progress = Callable[[int], None]


class Piece(NamedTuple):
    """A file, and the physical address of its first byte, None where that was not said."""

    path: str
    base: int | None


def open_file(words: str, progress: Progress | None = None, held: WeakSet[Mapped] | None = None) -> Source | Machine:
    """The machine that pagebook saved, or the memory that any other file holds.

    ``progress`` is called with the bytes just unpacked, where something is compressed; nothing else takes time.  To
    ``held`` the files are added that are mapped for as long as what comes back is in use.
    BadTarget when the words name no file or lack an address; BadFile when a file is not what it should be.
    """
    pieces = _pieces(words)
    if len(pieces) == 1 and pieces[0].base is None:
        return _open_whole(pieces[0].path, progress, held)
    return _open_raw(words, pieces, progress, held)


def _pieces(words: str) -> list[Piece]:
    """The words taken apart, longest names first."""
    parts = words.split(",")
    if len(parts) > MOST_PIECES:
        raise BadTarget(f"{len(parts)} pieces are too many; a machine has at most {MOST_PIECES}")
    pieces = []
    while parts:
        count = next((n for n in range(len(parts), 1, -1) if _names_a_file(",".join(parts[:n]))), 1)
        pieces.append(_piece(",".join(parts[:count])))
        del parts[:count]
    return pieces


def _names_a_file(text: str) -> bool:
    path, _, address = text.rpartition("@")
    named = text if "," in address else path
    return os.path.exists(text) or os.path.exists(named)  # noqa: PTH110 - False for a NUL, too


def _piece(text: str) -> Piece:
    if os.path.exists(text):  # noqa: PTH110
        return Piece(text, None)
    path, _, address = text.rpartition("@")
    if not os.path.exists(path):  # noqa: PTH110
        if not text:
            raise BadTarget("a piece is empty: pieces are FILE@ADDRESS,FILE@ADDRESS, with no comma before or after")
        raise BadTarget(f"there is no file {path or text!r}")
    try:
        base = parse_address(address)
    except ValueError as error:
        raise BadTarget(f"the address of {path!r}: {error}") from error
    if base < 0 or base & PAGE_MASK:
        raise BadTarget(f"the address of {path!r}, {base:#x}, is not that of a page")
    return Piece(path, base)


def _open_whole(path: str, progress: Progress | None, held: WeakSet[Mapped] | None) -> Source | Machine:
    """A file that says itself where its bytes lie."""
    buffer = _contents(path, progress, held)
    if buffer[:_HEAD] == FLATTENED:
        buffer = unflatten(buffer, path)
    head = buffer[:_HEAD]
    if head.startswith(_ELF):
        return open_core(buffer, path)
    if is_kdump(head):
        return read_kdump(buffer, path, progress)
    raise BadFile(
        f"{path} is neither an ELF core nor a kdump; if it is a raw image, say the physical address of its first byte: "
        f"{path}@0x80000000"
    )


def _open_raw(words: str, pieces: list[Piece], progress: Progress | None, held: WeakSet[Mapped] | None) -> Source:
    """Bytes that lie where the user says."""
    remarks: list[str] = []
    buffers = []
    for path, base in pieces:
        if base is None:
            raise BadTarget(f"{path!r} is one of several pieces, so it needs its address: {path}@0x80000000")
        buffer = _contents(path, progress, held)
        if buffer[:_HEAD].startswith(_ELF) or is_kdump(buffer[:_HEAD]):
            remarks.append(
                f"{path} starts as a core or a dump does, but is taken for plain bytes at {base:#x}, as you say"
            )
        buffers.append((base, memoryview(buffer)))
    memory = Memory(joined(whole_pages(words, buffers, remarks).regions))
    return Source(words, memory, remarks=tuple(remarks), no_satp=no_satp(words))


def _contents(path: str, progress: Progress | None, held: WeakSet[Mapped] | None) -> mmap.mmap:
    """The bytes of the file, unpacked if they are compressed."""
    buffer = map_file(path)
    if compression(buffer[:_HEAD]):
        return unpack(buffer, path, progress)
    if held is not None:
        held.add(buffer)
    return buffer
