"""Dumps in the kdump format: what the frames hold is read, and no header, bitmap or descriptor is believed."""

from __future__ import annotations

import random
import struct
import sys
import tracemalloc
import zlib
from collections.abc import Iterable, Mapping
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cores import PAGE, RAM, core, filled, patched, prstatus, registers
from elves import note
from pagebook.errors import BadFile
from pagebook.source import Source
from pagebook.sources.files import open_file

zstd = import_module("compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd")
ZLIB, LZO, SNAPPY, ZSTD = 1, 2, 4, 32
SIZES, SUB = 428, PAGE  # where the sizes stand, and the sub-header
FIRST = RAM >> 12


def kdump(
    frames: Mapping[int, bytes], left_out: Iterable[int] = (), harts: int = 1, *, pack: int = ZLIB, version: int = 6
) -> bytes:
    """A dump of ``frames``, by frame number, on a machine that also has those ``left_out``."""
    count = max([*frames, *left_out], default=0) + 1
    notes = b"".join(prstatus(registers(hart)) for hart in range(harts)) + note(b"VMCOREINFO", 0, b"OSRELEASE=6\n")
    bitmap = -(-count // 8 // PAGE) * PAGE
    maps = [bytearray(bitmap), bytearray(bitmap)]
    for frame in [*frames, *left_out]:
        maps[0][frame >> 3] |= 1 << (frame & 7)
    for frame in frames:
        maps[1][frame >> 3] |= 1 << (frame & 7)
    packed: dict[bytes, tuple[int, int, int]] = {}
    table, body = b"", b""
    start = 3 * PAGE + 2 * bitmap + 24 * len(frames)
    for frame in sorted(frames):
        data = frames[frame]
        if data not in packed:
            out, flags = {ZLIB: zlib.compress, ZSTD: zstd.compress}.get(pack, bytes)(data), pack
            if len(out) >= PAGE and pack in (ZLIB, ZSTD):
                out, flags = data, 0
            packed[data] = (start + len(body), len(out), flags)
            body += out
        table += struct.pack("<qIIQ", *packed[data], 0)
    header = b"KDUMP   " + struct.pack("<i", version) + b"Linux".ljust(390 + 22, b"\0") + struct.pack("<I", pack)
    header += struct.pack("<iiIIIIIIi", PAGE, 2, 2 * bitmap // PAGE, count, 0, 0, 0, 0, harts)
    sub = struct.pack("<QiiQQQQQQQQQQQ", 0, 1, 0, 0, 0, 0, 0, SUB + 104, len(notes), 0, 0, 0, 0, count) + notes
    assert len(sub) <= 2 * PAGE
    return header.ljust(PAGE, b"\0") + sub.ljust(2 * PAGE, b"\0") + bytes(maps[0] + maps[1]) + table + body


def flattened(data: bytes, size: int = 3000) -> bytes:
    """The flattened form, its pieces in any order."""
    pieces = [(at, data[at : at + size]) for at in range(0, len(data), size)]
    random.Random(1).shuffle(pieces)
    head = (b"makedumpfile".ljust(16, b"\0") + struct.pack(">qq", 1, 1)).ljust(PAGE, b"\0")
    return head + b"".join(struct.pack(">qq", at, len(p)) + p for at, p in pieces) + struct.pack(">qq", -1, -1)


def opened(folder: Path, data: bytes) -> Source:
    (folder / "dump").write_bytes(data)
    found = open_file(str(folder / "dump"))
    assert isinstance(found, Source)
    return found


def refusal(folder: Path, data: bytes) -> str:
    with pytest.raises(BadFile) as caught:
        opened(folder, data)
    return str(caught.value).replace(str(folder / "dump"), "FILE")


NOISE = random.Random(7).randbytes(PAGE)
FRAMES = {FIRST + n: filled(1, n + 1) for n in range(20)} | {
    1: filled(1, 99),
    FIRST + 30: NOISE,
    FIRST + 31: bytes(PAGE),
}


@pytest.mark.parametrize("pack", [0, ZLIB, ZSTD])
@pytest.mark.parametrize("version", [5, 6])
def test_frames_lie_where_their_numbers_say_however_they_are_packed(pack: int, version: int, tmp_path: Path) -> None:
    found = opened(tmp_path, kdump(FRAMES, harts=2, pack=pack, version=version))
    assert [(r.base, r.size) for r in found.memory.regions] == [
        (PAGE, PAGE), (RAM, 20 * PAGE), (RAM + 30 * PAGE, 2 * PAGE),
    ]  # fmt: skip
    for frame, data in FRAMES.items():
        assert found.memory.read(frame << 12, PAGE) == data
    assert [(hart.number, hart.satp, hart.registers) for hart in found.harts] == [
        (number, None, registers(number)) for number in range(2)
    ]
    assert "does not say what satp was" in found.no_satp
    assert found.remarks == ()


def test_the_flattened_form_is_put_in_order_whatever_it_holds(tmp_path: Path) -> None:
    found = opened(tmp_path, flattened(kdump(FRAMES)))
    assert found.memory.read(RAM, PAGE) == FRAMES[FIRST]
    assert found.memory.read(RAM + 30 * PAGE, PAGE) == NOISE
    ram = filled(5)
    assert opened(tmp_path, flattened(core([(RAM, ram)]))).memory.read(RAM, 5 * PAGE) == ram
    assert "is neither an ELF core nor a kdump" in refusal(tmp_path, flattened(filled(2)))


def test_a_piece_written_later_replaces_what_was_there_even_by_zeros(tmp_path: Path) -> None:
    data = core([(RAM, filled(3))])
    twice = flattened(data)[:-16] + struct.pack(">qq", len(data) - 500, 100) + bytes(100) + struct.pack(">qq", -1, -1)
    changed = data[: len(data) - 500] + bytes(100) + data[len(data) - 400 :]
    (tmp_path / "plain").write_bytes(changed)
    plain = open_file(str(tmp_path / "plain"))
    assert isinstance(plain, Source)
    found = opened(tmp_path, twice)
    assert found.memory.read(RAM, 3 * PAGE) == plain.memory.read(RAM, 3 * PAGE)
    assert found.harts == plain.harts


def test_frames_that_the_dump_leaves_out_read_as_zeros_and_are_told(tmp_path: Path) -> None:
    found = opened(tmp_path, kdump({FIRST: filled(1), FIRST + 3: filled(1, 2)}, [FIRST + 1, FIRST + 2, FIRST + 4]))
    assert found.memory.read(RAM, 5 * PAGE) == filled(1) + bytes(2 * PAGE) + filled(1, 2) + bytes(PAGE)
    assert found.remarks[0].startswith("3 frames that ")
    assert found.remarks[0].endswith("leaves out read as zeros")


def test_progress_counts_every_frame_in_the_dump(tmp_path: Path) -> None:
    frames = {FIRST + n: bytes(PAGE) for n in range(5000)} | {FIRST + 4999: filled(1)}
    (tmp_path / "dump").write_bytes(kdump(frames, [FIRST + 9000]))
    counts: list[int] = []
    found = open_file(str(tmp_path / "dump"), counts.append)
    assert isinstance(found, Source)
    assert sum(counts) == 5000 * PAGE
    assert max(counts) == 2048 * PAGE
    assert found.memory.read(RAM + 4999 * PAGE, PAGE) == filled(1)
    assert not found.memory.regions[0].pages[:4999].any()


def test_frames_are_found_across_the_steps_in_which_bitmaps_are_read(tmp_path: Path) -> None:
    step = 8 << 16
    frames = {3 * step - 1: filled(1, 1), 3 * step: filled(1, 2), 5 * step: filled(1, 3)}
    found = opened(tmp_path, kdump(frames))
    assert [(r.base >> 12, r.size >> 12) for r in found.memory.regions] == [(3 * step - 1, 2), (5 * step, 1)]
    assert all(found.memory.read(frame << 12, PAGE) == data for frame, data in frames.items())


SMALL = kdump({1: filled(1), 2: filled(1, 2), 5: NOISE})
BITMAPS = 3 * PAGE
TABLE = BITMAPS + 2 * PAGE


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (SMALL[:8], "is cut short: its headers end at byte 8"),
        (SMALL[:PAGE], "is cut short: its headers end at byte 4096"),
        (SMALL[: BITMAPS + PAGE], "is cut short, or its headers lie"),
        (SMALL[: TABLE + 30], "its descriptors go on after byte"),
        (SMALL[:-1], "is cut short or damaged: a frame in 4096 bytes"),
        (b"DISKDUMP" + SMALL[8:], "old DISKDUMP format, which pagebook does not read; write it again with zlib"),
        (patched(SMALL, "i", SIZES, 16384), "is a kdump of frames of 16384 bytes; those of RISC-V have 4096"),
        (patched(SMALL, "i", SIZES, 0), "frames of 0 bytes"),
        (patched(SMALL, "i", SIZES, -4096), "frames of -4096 bytes"),
        (patched(SMALL, "i", SIZES + 4, -1), "or its headers lie"),
        (patched(SMALL, "i", SIZES + 4, 0), "or its headers lie"),
        (patched(SMALL, "i", SIZES + 4, 0x7FFF_FFFF), "or its headers lie"),
        (patched(SMALL, "I", SIZES + 8, 0xFFFF_FFFF), "or its headers lie"),
        (patched(SMALL, "I", SIZES + 8, 0), "claims 6 frames, more than its bitmaps have bits"),
        (patched(SMALL, "Q", SUB + 96, (1 << 64) - 1), "claims 18446744073709551615 frames"),
        (patched(SMALL, "Q", SUB + 96, 8 * PAGE + 1), "claims 32769 frames"),
        (patched(SMALL, "Q", SUB + 96, 0), "holds no memory at all"),
        (patched(SMALL, "Q", SUB + 56, 1 << 62), "or its headers lie"),
        (patched(SMALL, "QQ", SUB + 48, 1 << 63, 1 << 63), "or its headers lie"),
        (patched(SMALL, "B", BITMAPS, 0), "holds no memory at all"),
        (patched(SMALL, "B", BITMAPS, 0x22), "it holds frames that it says the machine has not"),
        (patched(SMALL, "B", BITMAPS, 0x24), "it holds frames that it says the machine has not"),
        (patched(SMALL, "q", TABLE, -1), "a frame in"),
        (patched(SMALL, "q", TABLE, 1 << 62), "a frame in"),
        (patched(SMALL, "I", TABLE + 8, 0), "a frame in 0 bytes"),
        (patched(SMALL, "I", TABLE + 8, 4097), "a frame in 4097 bytes"),
        (patched(SMALL, "I", TABLE + 8, 5), "cannot be unpacked"),
        (patched(SMALL, "I", TABLE + 12, 0), "bytes, not 4096"),
        (patched(SMALL, "I", TABLE + 12, ZSTD), "cannot be unpacked"),
        (patched(SMALL, "I", TABLE + 12, LZO), "has its frames packed by lzo, which pagebook cannot unpack; write it"),
        (patched(SMALL, "I", TABLE + 12, SNAPPY), "has its frames packed by snappy"),
        (kdump({1: bytes(2 * PAGE)}), "has 8192 bytes, not 4096"),
        (kdump({1: bytes(64 * PAGE)}, pack=ZSTD), "has 4097 bytes, not 4096"),
        (flattened(SMALL)[:-16], "the mark at the end of a flattened dump is missing"),
        (flattened(SMALL)[:-20], "is damaged or cut short: at byte 25951 a piece of 3000 bytes for byte 6000"),
        (flattened(SMALL)[:5000], "is damaged or cut short: at byte 4112 a piece of 3000 bytes"),
        (flattened(b""), "is a flattened dump with nothing in it"),
        (flattened(SMALL)[:PAGE] + struct.pack(">qq", 1 << 62, 10) + bytes(26), "a piece of 10 bytes"),
        (flattened(SMALL)[:PAGE] + struct.pack(">qq", 0, 0) + bytes(26), "a piece of 0 bytes"),
        (flattened(SMALL)[:PAGE] + struct.pack(">qq", -1, 5) + bytes(26), "a piece of 5 bytes for byte -1"),
    ],
)  # fmt: skip
def test_what_cannot_be_true_is_refused(data: bytes, why: str, tmp_path: Path) -> None:
    assert why in refusal(tmp_path, data)


def test_memory_in_too_many_places_is_refused(tmp_path: Path) -> None:
    data = bytearray(kdump({8 * PAGE * 4 - 1: filled(1)}))
    bitmap = 4 * PAGE
    data[BITMAPS : BITMAPS + bitmap] = b"\xaa" * bitmap
    assert refusal(tmp_path, bytes(data)) == "FILE has its memory in more than 4096 places, which no machine has"


def test_a_bitmap_that_claims_terabytes_costs_neither_memory_nor_disk(tmp_path: Path) -> None:
    data = kdump({(1 << 28) - 1: filled(1)})
    half = (1 << 28) // 8
    full = data[:BITMAPS] + b"\xff" * half + data[BITMAPS + half :]
    tracemalloc.start()
    found = opened(tmp_path, full)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found.memory.regions[0].size == 1 << 40
    assert found.memory.read((1 << 40) - PAGE, PAGE) == filled(1)
    assert peak < 64 << 20


@given(
    st.lists(
        st.tuples(
            st.one_of(st.integers(0, 8), st.integers(SIZES, SIZES + 40), st.integers(SUB, SUB + 130),
                      st.integers(BITMAPS, BITMAPS + 2), st.integers(TABLE, TABLE + 80)),
            st.sampled_from([0, 1, 255, 0x1000, 0x7FFF_FFFF, 0xFFFF_FFFF, 1 << 40, 1 << 62, (1 << 64) - 1]),
            st.sampled_from("BIQ"),
        ),
        min_size=1, max_size=4,
    ),
    st.booleans(),
    st.integers(0, 5000),
)  # fmt: skip
def test_any_numbers_anywhere_are_a_source_or_a_bad_file(
    tmp_path: Path, changes: list[tuple[int, int, str]], flat: bool, cut: int
) -> None:
    data = SMALL
    for at, value, layout in changes:
        data = patched(data, layout, at, value % (1 << 8 * struct.calcsize(layout)))
    data = flattened(data) if flat else data
    (tmp_path / "dump").write_bytes(data[: len(data) - cut % 500 * (cut % 2)])
    try:
        found = open_file(str(tmp_path / "dump"))
    except BadFile as error:
        assert str(tmp_path / "dump") in str(error)
        return
    assert isinstance(found, Source)
    for region in found.memory.regions:
        found.memory.gather(np.array([region.base, region.end - PAGE], np.uint64))
