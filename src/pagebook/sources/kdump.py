"""Compressed dumps in the kdump format, as makedumpfile and QEMU's ``dump-guest-memory -z`` write them.

A dump is a header, notes, two bitmaps (the frames there are, the frames the dump holds) and a descriptor for each frame
it holds; frames are compressed one by one.  Here they are unpacked once into a `Spool`.  The *flattened* form, which
both write to what cannot seek, is put in order first.  Frames by zlib and zstd are read, by lzo and snappy not.
"""

from __future__ import annotations

import mmap
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from pagebook.elf import parse_notes
from pagebook.errors import BadFile
from pagebook.source import Source
from pagebook.sources.compressed import zstd_unpacker
from pagebook.sources.dumps import no_satp, prstatus_harts, whole_pages
from pagebook.sources.spool import Spool
from pagebook.units import PAGE_SHIFT, PAGE_SIZE

FLATTENED = b"makedumpfile\0\0\0\0"
KDUMP = b"KDUMP   "
OLD = b"DISKDUMP"
MOST_FRAMES = 1 << 30
MOST_RUNS = 4096
_STEP = 2048  # frames unpacked at a time
_BITS = 1 << 16  # bytes of a bitmap looked at at a time

_PIECE = struct.Struct(">qq")  # where it belongs, its size: of the flattened form, big-endian
_PIECES_AT = 4096
_SIZES = struct.Struct("<iiII")  # block size, blocks of the sub-header, blocks of both bitmaps, frames
_SIZES_AT = 428
_NOTES = struct.Struct("<QQ")
_NOTES_AT = 48  # in the sub-header
_FRAMES64_AT = 96
_DESCRIPTOR = np.dtype([("offset", "<i8"), ("size", "<u4"), ("flags", "<u4"), ("page_flags", "<u8")])
_ZLIB, _LZO, _SNAPPY, _ZSTD = 1, 2, 4, 0x20
_REMEDY = "write it again with zlib (makedumpfile -c), or as an ELF core (makedumpfile -E)"

Bits = npt.NDArray[np.uint8]


def is_kdump(head: bytes) -> bool:
    """Whether a file with these first 16 bytes is for this module; the flattened form may turn out an ELF core."""
    return head.startswith((FLATTENED, KDUMP, OLD))


def unflatten(buffer: mmap.mmap, name: str) -> mmap.mmap:
    """The file whose flattened form this is, in order; BadFile when it is cut short or lies."""
    most = 2 * len(buffer) + (1 << 30)
    at, end = _PIECES_AT, 0
    with Spool(name) as spool:
        while True:
            if at + _PIECE.size > len(buffer):
                raise BadFile(f"{name} is cut short: the mark at the end of a flattened dump is missing")
            offset, size = _PIECE.unpack_from(buffer, at)
            at += _PIECE.size
            if offset == size == -1:
                break
            if not 0 <= offset < most or not 0 < size <= len(buffer) - at:
                raise BadFile(f"{name} is damaged or cut short: at byte {at} a piece of {size} bytes for byte {offset}")
            spool.put(offset, memoryview(buffer)[at : at + size])
            at, end = at + size, max(end, offset + size)
        if not end:
            raise BadFile(f"{name} is a flattened dump with nothing in it")
        return spool.mapped(end)


@dataclass(frozen=True)
class _Dump:
    """A kdump file taken apart: the bitmaps as packed bits, and where the descriptors start."""

    name: str
    data: mmap.mmap
    present: Bits
    held: Bits
    descriptors: int
    notes: bytes


def read_kdump(buffer: mmap.mmap, name: str, progress: Callable[[int], None] | None = None) -> Source:
    """The memory and the harts of a kdump file.  ``progress`` is called with the bytes of memory just unpacked.

    BadFile when it is damaged, cut short, of the old DISKDUMP format, or packed in a way that cannot be unpacked here.
    """
    dump = _open(buffer, name)
    runs = _runs(dump)
    size = sum(stop - start for start, stop in runs) << PAGE_SHIFT
    if not size:
        raise BadFile(f"{name} holds no memory at all")
    with Spool(name) as spool:
        held = _unpack(dump, runs, spool, progress or (lambda count: None))
        memory = memoryview(spool.mapped(size))
    remarks: list[str] = []
    left_out = (size >> PAGE_SHIFT) - held
    if left_out:
        remarks.append(f"{left_out} frames that {name} leaves out read as zeros")
    buffers, at = [], 0
    for start, stop in runs:
        length = stop - start << PAGE_SHIFT
        buffers.append((start << PAGE_SHIFT, memory[at : at + length]))
        at += length
    harts = prstatus_harts(parse_notes(dump.notes, name))
    return Source(name, whole_pages(name, buffers, remarks), harts, remarks=tuple(remarks), no_satp=no_satp(name))


def _open(buffer: mmap.mmap, name: str) -> _Dump:
    if buffer[: len(KDUMP)] != KDUMP:
        raise BadFile(f"{name} is a dump in the old DISKDUMP format, which pagebook does not read; {_REMEDY}")
    try:
        version = struct.unpack_from("<i", buffer, len(KDUMP))[0]
        block, sub_blocks, bitmap_blocks, frames = _SIZES.unpack_from(buffer, _SIZES_AT)
        if block != PAGE_SIZE:
            raise BadFile(f"{name} is a kdump of frames of {block} bytes; those of RISC-V have {PAGE_SIZE}")
        notes_at, notes_size = _NOTES.unpack_from(buffer, block + _NOTES_AT) if version >= 4 else (0, 0)
        if version >= 6:
            frames = struct.unpack_from("<Q", buffer, block + _FRAMES64_AT)[0]
    except struct.error as error:
        raise BadFile(f"{name} is cut short: its headers end at byte {len(buffer)}") from error
    bitmaps = (1 + sub_blocks) * block
    half = bitmap_blocks * block // 2
    if sub_blocks < 1 or bitmaps + 2 * half > len(buffer) or notes_at + notes_size > len(buffer):
        raise BadFile(f"{name} is cut short, or its headers lie: they name bytes after {len(buffer)}, its last")
    if frames > min(8 * half, MOST_FRAMES):
        raise BadFile(
            f"{name} claims {frames} frames, more than its bitmaps have bits or pagebook reads, {MOST_FRAMES}"
        )
    view = np.frombuffer(buffer, np.uint8)
    size = (frames + 7) // 8
    return _Dump(
        name,
        buffer,
        view[bitmaps : bitmaps + size],
        view[bitmaps + half : bitmaps + half + size],
        bitmaps + 2 * half,
        buffer[notes_at : notes_at + notes_size],
    )


def _bits(packed: Bits) -> Iterator[tuple[int, npt.NDArray[np.bool_]]]:
    """The bits in pieces, each with the number of its first; pieces without any are passed over."""
    for low in range(0, len(packed), _BITS):
        piece = packed[low : low + _BITS]
        if piece.any():
            yield 8 * low, np.unpackbits(piece, bitorder="little").astype(np.bool_)


def _runs(dump: _Dump) -> list[tuple[int, int]]:
    """The frames there are, as runs [start, stop)."""
    runs: list[tuple[int, int]] = []
    for first, bits in _bits(dump.present):
        edges = np.flatnonzero(np.diff(bits, prepend=False, append=False)).reshape(-1, 2) + first
        for start, stop in edges.tolist():
            if runs and runs[-1][1] == start:
                runs[-1] = (runs[-1][0], stop)
            else:
                runs.append((start, stop))
        if len(runs) > MOST_RUNS:
            raise BadFile(f"{dump.name} has its memory in more than {MOST_RUNS} places, which no machine has")
    return runs


def _unpack(dump: _Dump, runs: list[tuple[int, int]], spool: Spool, progress: Callable[[int], None]) -> int:
    """Put every frame the dump holds where `read_kdump` looks for it; how many there are."""
    starts = np.array([start for start, _ in runs], np.int64)
    stops = np.array([stop for _, stop in runs], np.int64)
    before = np.concatenate([[0], np.cumsum(stops - starts)[:-1]])
    count = 0
    for first, bits in _bits(dump.held):
        frames = np.flatnonzero(bits) + first
        home = np.searchsorted(starts, frames, side="right") - 1
        if (home < 0).any() or (frames >= stops[home]).any():
            raise BadFile(f"{dump.name} is damaged: it holds frames that it says the machine has not")
        places = before[home] + frames - starts[home]
        for low in range(0, len(frames), _STEP):
            part = places[low : low + _STEP]
            pages = _frames(dump, count, len(part))
            cuts = [0, *(np.flatnonzero(np.diff(part) != 1) + 1).tolist(), len(part)]
            for start, stop in pairwise(cuts):
                spool.put_pages(int(part[start]) << PAGE_SHIFT, pages[start:stop].tobytes())
            count += len(part)
            progress(len(part) << PAGE_SHIFT)
    return count


def _frames(dump: _Dump, first: int, count: int) -> npt.NDArray[np.uint8]:
    """``count`` frames from the descriptor ``first`` on, an array of shape (count, 4096)."""
    at = dump.descriptors + first * _DESCRIPTOR.itemsize
    if at + count * _DESCRIPTOR.itemsize > len(dump.data):
        raise BadFile(f"{dump.name} is cut short: its descriptors go on after byte {len(dump.data)}")
    found = np.frombuffer(dump.data, _DESCRIPTOR, count, at)
    _, different, which = np.unique(found["offset"], return_index=True, return_inverse=True)  # all zeros are kept once
    pages = np.empty((len(different), PAGE_SIZE), np.uint8)
    for page, descriptor in zip(pages, found[different].tolist(), strict=True):
        page[:] = np.frombuffer(_frame(dump, *descriptor[:3]), np.uint8)
    return pages[which.reshape(-1)]


def _frame(dump: _Dump, offset: int, size: int, flags: int) -> bytes:
    end = len(dump.data)
    if not 0 < size <= PAGE_SIZE or not 0 <= offset <= end - size:
        raise BadFile(f"{dump.name} is cut short or damaged: a frame in {size} bytes at {offset}, in a file of {end}")
    data = dump.data[offset : offset + size]
    try:
        if flags & _ZLIB:
            data = zlib.decompress(data)
        elif flags & _ZSTD:
            data = zstd_unpacker(dump.name)().decompress(data, PAGE_SIZE + 1)
        elif flags & (_LZO | _SNAPPY):
            how = "lzo" if flags & _LZO else "snappy"
            raise BadFile(f"{dump.name} has its frames packed by {how}, which pagebook cannot unpack; {_REMEDY}")
    except BadFile:
        raise
    except Exception as error:  # each library has its own
        raise BadFile(f"{dump.name} is damaged: the frame at byte {offset} cannot be unpacked: {error}") from error
    if len(data) != PAGE_SIZE:
        raise BadFile(f"{dump.name} is damaged: the frame at byte {offset} has {len(data)} bytes, not {PAGE_SIZE}")
    return data
