"""Compressed files: known by their bytes, unpacked as they are read, refused when they cannot be trusted."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import sys
import tracemalloc
import zlib
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cores import PAGE, RAM, core, filled, registers
from pagebook.errors import BadFile
from pagebook.machine import Machine
from pagebook.memory import Memory, Region
from pagebook.source import Source
from pagebook.sources import compressed
from pagebook.sources.compressed import _zstd, compression
from pagebook.sources.elfcore import write_core
from pagebook.sources.files import open_file
from pagebook.sources.spool import CHUNK, RESERVE, Spool

zstd = import_module("compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd")
Packer = Callable[[bytes], bytes]
PACKERS: dict[str, Packer] = {"gzip": gzip.compress, "bzip2": bz2.compress, "xz": lzma.compress, "zstd": zstd.compress}
packers = pytest.mark.parametrize("kind", PACKERS)


def opened(path: Path, data: bytes, words: str = "{}") -> Source:
    path.write_bytes(data)
    found = open_file(words.format(path))
    assert isinstance(found, Source)
    return found


def refusal(path: Path, data: bytes, words: str = "{}") -> str:
    with pytest.raises(BadFile) as caught:
        opened(path, data, words)
    return str(caught.value).replace(str(path), "FILE")


@packers
def test_a_core_comes_out_as_it_went_in_whatever_its_name(kind: str, tmp_path: Path) -> None:
    ram = filled(3) + bytes(600 * PAGE) + filled(2)
    packed = PACKERS[kind](core([(RAM, ram)], harts=2))
    assert compression(packed[:8]) == kind
    found = opened(tmp_path / "plain.img", packed)
    assert found.memory.read(RAM, len(ram)) == ram
    assert [hart.registers for hart in found.harts] == [registers(0), registers(1)]


@packers
def test_a_raw_image_a_piece_and_a_saved_machine_may_be_compressed(kind: str, tmp_path: Path) -> None:
    pack = PACKERS[kind]
    (tmp_path / "plain").write_bytes(filled(1, 5))
    words = f"{{}}@0x80000000,{tmp_path / 'plain'}@0x1000"
    found = opened(tmp_path / "packed", pack(filled(2) + b"tail"), words)
    assert found.memory.read(RAM, 2 * PAGE + 4) == filled(2) + b"tail"
    assert found.memory.read(0x1000, PAGE) == filled(1, 5)
    write_core(Machine("mine", Memory([Region(RAM, filled(1))]), ()), tmp_path / "own")
    (tmp_path / "own.packed").write_bytes(pack((tmp_path / "own").read_bytes()))
    machine = open_file(str(tmp_path / "own.packed"))
    assert isinstance(machine, Machine)
    assert machine.name == "mine"


@packers
def test_members_one_after_another_and_padding_between_them_are_one_file(kind: str, tmp_path: Path) -> None:
    pack = PACKERS[kind]
    parts = [filled(2, 1), b"", filled(300, 2), b"x" * 4096, filled(1, 3)]
    found = opened(tmp_path / "m", bytes(8).join(map(pack, parts)) + bytes(3 * CHUNK), "{}@0x80000000")
    assert found.memory.read(RAM, sum(map(len, parts))) == b"".join(parts)
    many = opened(tmp_path / "many", b"".join([pack(b"0123456789abcdef")] * 5000), "{}@0x80000000")
    assert many.memory.read(RAM, 80_000) == b"0123456789abcdef" * 5000


@packers
def test_progress_counts_every_byte_unpacked(kind: str, tmp_path: Path) -> None:
    counts: list[int] = []
    (tmp_path / "m").write_bytes(PACKERS[kind](os.urandom(CHUNK) + bytes(2 * CHUNK + 5 * PAGE)))
    open_file(f"{tmp_path / 'm'}@0x80000000", counts.append)
    assert counts == [CHUNK, CHUNK, CHUNK, 5 * PAGE]


@packers
def test_memory_in_use_does_not_grow_with_the_file_and_zeros_take_no_disk(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = 64 << 20
    written: list[int] = []
    real = os.pwrite
    monkeypatch.setattr("os.pwrite", lambda fd, data, at: written.append(len(data)) or real(fd, data, at))
    (tmp_path / "m").write_bytes(PACKERS[kind](bytes(size // 2) + filled(1) + bytes(size // 2 - PAGE)))
    tracemalloc.start()
    found = open_file(f"{tmp_path / 'm'}@0x80000000")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert isinstance(found, Source)
    assert peak < 16 << 20
    assert written == [PAGE]
    assert found.memory.regions[0].size == size
    assert found.memory.read(RAM + size // 2, PAGE) == filled(1)
    assert list(tmp_path.iterdir()) == [tmp_path / "m"]


@packers
def test_a_file_cut_short_is_refused_wherever_it_is_cut(kind: str, tmp_path: Path) -> None:
    packed = PACKERS[kind](core([(RAM, os.urandom(3 * PAGE))]))
    for length in (7, 12, 20, len(packed) // 2, len(packed) - 5, len(packed) - 1):
        assert refusal(tmp_path / "m", packed[:length]) == f"FILE is cut short: the {kind} data does not end"


@packers
def test_a_damaged_file_is_refused(kind: str, tmp_path: Path) -> None:
    packed = bytearray(PACKERS[kind](core([(RAM, os.urandom(3 * PAGE))])))
    packed[-6] ^= 0xFF
    packed[len(packed) // 2] ^= 0xFF
    assert refusal(tmp_path / "m", bytes(packed)).startswith("FILE is ")
    assert refusal(tmp_path / "m", PACKERS[kind](core()) + b"garbage").startswith("FILE is ")


@packers
@given(changes=st.lists(st.tuples(st.integers(0, 1 << 16), st.integers(0, 255)), max_size=4), cut=st.integers(0, 99))
def test_random_damage_gives_a_source_or_a_bad_file(
    kind: str, tmp_path: Path, changes: list[tuple[int, int]], cut: int
) -> None:
    packed = bytearray(PACKERS[kind](core([(RAM, filled(3))], harts=2)))
    for at, byte in changes:
        packed[at % len(packed)] = byte
    (tmp_path / "m").write_bytes(packed[: len(packed) - cut])
    for words in ("{}", "{}@0x80000000"):
        try:
            open_file(words.format(tmp_path / "m"))
        except BadFile as error:
            assert str(tmp_path / "m") in str(error)


@packers
def test_nothing_compressed_is_nothing(kind: str, tmp_path: Path) -> None:
    assert refusal(tmp_path / "m", PACKERS[kind](b"")) == f"FILE is a {kind} file with nothing in it"


@packers
@pytest.mark.parametrize("inner", PACKERS)
def test_what_is_compressed_twice_is_refused(kind: str, inner: str, tmp_path: Path) -> None:
    assert refusal(tmp_path / "m", PACKERS[kind](PACKERS[inner](core()))) == (
        "FILE is compressed twice; unpack it once yourself and open the result"
    )


def test_what_grows_beyond_all_measure_is_refused_with_the_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compressed, "ALWAYS", 4 * CHUNK)
    monkeypatch.setattr(compressed, "MOST_TIMES", 100)
    bomb = lzma.compress(bytes(16 * CHUNK))
    text = refusal(tmp_path / "m", bomb, "{}@0x80000000")
    assert text.startswith("FILE unpacks to more than 4M, over 100 times its size")
    assert text.endswith("if you trust it, unpack it yourself and open the result")
    assert opened(tmp_path / "m", lzma.compress(bytes(4 * CHUNK)), "{}@0x80000000").memory.regions[0].size == 4 * CHUNK
    monkeypatch.setattr(compressed, "MOST_TIMES", 16 * CHUNK // len(bomb) + 1)
    assert opened(tmp_path / "m", bomb, "{}@0x80000000").memory.regions[0].size == 16 * CHUNK


def test_an_xz_file_that_asks_for_too_much_memory_is_refused(tmp_path: Path) -> None:
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 0, "dict_size": 1 << 29}]
    # lzma.compress would take the memory it asks others for, so a small file's header is changed and its CRC made anew
    packed = bytearray(lzma.compress(core(), filters=[{**filters[0], "dict_size": 1 << 16}]))
    at = packed.index(b"\x21\x01", 12)
    packed[at + 2] = 34  # 2^30
    end = 12 + (packed[12] + 1) * 4
    packed[end - 4 : end] = zlib.crc32(packed[12 : end - 4]).to_bytes(4, "little")
    text = refusal(tmp_path / "m", bytes(packed))
    assert text == "FILE is damaged: its xz data cannot be unpacked: Memory usage limit exceeded"


def test_a_disk_without_room_is_told_before_it_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    packed = gzip.compress(core([(RAM, os.urandom(PAGE))]))
    monkeypatch.setattr("os.fstatvfs", lambda _: SimpleNamespace(f_bavail=RESERVE // PAGE, f_frsize=PAGE))
    text = refusal(tmp_path / "m", packed)
    assert text.startswith("cannot unpack FILE: the disk of ")
    assert text.endswith(" is full; free some of it, or let TMPDIR name a folder on another")


def test_a_disk_that_fails_is_told_with_the_systems_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    packed = gzip.compress(core([(RAM, filled(1))]))

    def fail(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.pwrite", fail)
    assert refusal(tmp_path / "m", packed).endswith(": No space left on device")
    monkeypatch.setattr("tempfile.TemporaryFile", lambda **_: fail())
    assert refusal(tmp_path / "m", packed) == (
        "cannot unpack FILE: no temporary file can be made: No space left on device"
    )


def test_a_size_that_no_file_system_holds_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError(27, "File too large")

    monkeypatch.setattr("os.ftruncate", fail)
    packed = gzip.compress(bytes(4 * PAGE))
    assert refusal(tmp_path / "m", packed) == "cannot unpack FILE to 16384 bytes: [Errno 27] File too large"


def test_the_temporary_file_is_where_tmpdir_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", None)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    with Spool("any") as spool:
        assert spool.folder == str(tmp_path)
    monkeypatch.delenv("TMPDIR")
    monkeypatch.setattr("tempfile.tempdir", None)
    with Spool("any") as spool:
        assert spool.folder == ("/var/tmp" if os.access("/var/tmp", os.W_OK) else spool.folder)


def test_without_zstd_the_remedy_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("compression.zstd", "backports.zstd"):
        monkeypatch.setitem(sys.modules, module, None)
    _zstd.cache_clear()
    try:
        assert refusal(tmp_path / "m", zstd.compress(core())) == (
            "FILE is compressed with zstd, which this Python cannot unpack: run \"pip install 'pagebook[zst]'\", or "
            "unpack it with 'zstd -d'"
        )
        assert opened(tmp_path / "m", gzip.compress(core())).harts
    finally:
        _zstd.cache_clear()
