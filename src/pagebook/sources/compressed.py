"""Compressed files, known by their first bytes and not by their names: gzip, bzip2, xz and zstd.

They are unpacked as a stream into a `Spool`, so that memory in use does not grow with the file.  What they hold is not
looked at here, except that it may not be compressed once more.
"""

from __future__ import annotations

import bz2
import lzma
import mmap
import re
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cache
from importlib import import_module
from typing import Any, Protocol

from pagebook.errors import BadFile
from pagebook.sources.spool import CHUNK, Spool
from pagebook.units import size_text

MAGIC = {
    "gzip": re.compile(rb"\x1f\x8b"),
    "bzip2": re.compile(rb"BZh[1-9](1AY|\x17rE)"),  # with the start of a block's mark, or of the end's
    "xz": re.compile(rb"\xfd7zXZ\0"),
    "zstd": re.compile(rb"\x28\xb5\x2f\xfd"),
}
ALWAYS = 16 << 30
MOST_TIMES = 4096
"""A file may become ``ALWAYS`` bytes, or this many times its size if that is more.  Only zeros pack tighter."""
MOST_DICTIONARY = 256 << 20
"""What an xz file may ask for in memory; ``xz -9`` asks for 65 MiB."""
_FIRST = 4096  # bytes of input for a member's start: a file may have very many small ones


class Unpacker(Protocol):
    """The shape that the decompressors of bz2, lzma and zstd share."""

    @property
    def eof(self) -> bool: ...  # noqa: D102

    @property
    def needs_input(self) -> bool: ...  # noqa: D102

    @property
    def unused_data(self) -> bytes: ...  # noqa: D102

    def decompress(self, data: bytes, max_length: int = -1) -> bytes: ...  # noqa: D102


class _Gzip:
    """The same shape over zlib's."""

    def __init__(self) -> None:
        self._zlib = zlib.decompressobj(zlib.MAX_WBITS | 16)
        self.needs_input = True

    @property
    def eof(self) -> bool:
        return self._zlib.eof

    @property
    def unused_data(self) -> bytes:
        return self._zlib.unused_data

    def decompress(self, data: bytes, max_length: int = -1) -> bytes:
        out = self._zlib.decompress(self._zlib.unconsumed_tail + data, max_length)
        self.needs_input = not self._zlib.unconsumed_tail and len(out) < max_length
        return out


def compression(head: bytes) -> str | None:
    """Which compression a file with these first bytes has; None for none."""
    return next((kind for kind, magic in MAGIC.items() if magic.match(head)), None)


def unpack(buffer: mmap.mmap, name: str, progress: Callable[[int], None] | None = None) -> mmap.mmap:
    """What the compressed file holds, mapped.  ``progress`` is called with the bytes just unpacked.

    BadFile when it is damaged or cut short, holds nothing, is compressed twice, or would become absurdly large.
    """
    kind = compression(buffer[:8])
    assert kind is not None
    most = max(ALWAYS, MOST_TIMES * len(buffer))
    size = 0
    with Spool(name) as spool:
        for piece in _chunks(_members(buffer, _starter(kind, name), name, kind)):
            if size + len(piece) > most:
                raise BadFile(
                    f"{name} unpacks to more than {size_text(most)}, over {MOST_TIMES} times its size, as if "
                    "made to fill the disk; if you trust it, unpack it yourself and open the result"
                )
            spool.put_pages(size, piece)
            size += len(piece)
            if progress:
                progress(len(piece))
        if not size:
            raise BadFile(f"{name} is a {kind} file with nothing in it")
        unpacked = spool.mapped(size)
    if compression(unpacked[:8]):
        raise BadFile(f"{name} is compressed twice; unpack it once yourself and open the result")
    return unpacked


def _starter(kind: str, name: str) -> Callable[[], Unpacker]:
    if kind == "gzip":
        return _Gzip
    if kind == "bzip2":
        return bz2.BZ2Decompressor
    if kind == "xz":
        return lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=MOST_DICTIONARY)
    return zstd_unpacker(name)


def zstd_unpacker(name: str) -> Callable[[], Any]:
    """What makes decompressors for zstd; BadFile with the remedy when this Python has none."""
    made = _zstd()
    if made is None:
        raise BadFile(
            f"{name} is compressed with zstd, which this Python cannot unpack: run \"pip install 'pagebook[zst]'\", or "
            "unpack it with 'zstd -d'"
        )
    return made


@cache
def _zstd() -> Callable[[], Any] | None:
    for module in ("compression.zstd", "backports.zstd"):  # the first is Python's own from 3.14 on
        with suppress(ImportError):
            made: Callable[[], Any] = import_module(module).ZstdDecompressor
            return made
    return None


def _members(buffer: mmap.mmap, start: Callable[[], Unpacker], name: str, kind: str) -> Iterator[bytes]:
    """The members of the file one after another, unpacked, in pieces of at most `CHUNK` bytes."""
    at = 0
    while at < len(buffer):
        unpacker, step = start(), _FIRST
        while not unpacker.eof:
            data = buffer[at : at + step] if unpacker.needs_input else b""
            if unpacker.needs_input and not data:
                raise BadFile(f"{name} is cut short: the {kind} data does not end")
            at, step = at + len(data), min(2 * step, CHUNK)
            try:
                piece = unpacker.decompress(data, CHUNK)
            except Exception as error:  # each library has its own; MemoryError among them
                raise BadFile(f"{name} is damaged: its {kind} data cannot be unpacked: {error}") from error
            yield piece
        at = _after_zeros(buffer, at - len(unpacker.unused_data))


def _after_zeros(buffer: mmap.mmap, at: int) -> int:
    """Where the next member starts: tapes and xz pad with zeros."""
    while at < len(buffer):
        data = buffer[at : at + CHUNK]
        rest = data.lstrip(b"\0")
        at += len(data) - len(rest)
        if rest:
            break
    return at


def _chunks(pieces: Iterator[bytes]) -> Iterator[bytearray]:
    """The same bytes in pieces of `CHUNK`, but for the last."""
    pending = bytearray()
    for piece in pieces:
        pending += piece
        if len(pending) >= CHUNK:
            yield pending[:CHUNK]
            del pending[:CHUNK]
    if pending:
        yield pending
