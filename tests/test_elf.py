"""ELF files: what is read of good ones, and that bad ones are BadFile and nothing else."""

from __future__ import annotations

import io
import os
import struct
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elves import CORE, EXEC, EXECUTE, READ, WRITE, build_elf, note
from pagebook.elf import MOST_SEGMENTS, Elf, Segment, read_bytes, read_elf
from pagebook.errors import BadFile

SEGMENTS = [(0x1000, 5, 0x2000, READ | EXECUTE, b"hello"), (0x4000, 0, 8, READ | WRITE, b"")]
NOTES = note(b"PAGEBOOK", 7, b"{}") + note(b"CORE", 1, bytes(9))
SMALL = build_elf(SEGMENTS, entry=0x1004, symbols={"main": 0x1004, "end": 0x4008}, undefined=["printf"], notes=NOTES)
PHOFF, PHENTSIZE = 64, 56


def read(data: bytes) -> Elf:
    return read_elf(io.BytesIO(data), "file", len(data))


def refusal(data: bytes) -> str:
    with pytest.raises(BadFile) as caught:
        read(data)
    return str(caught.value)


def patched(layout: str, offset: int, *values: int, data: bytes = SMALL) -> bytes:
    out = bytearray(data)
    struct.pack_into("<" + layout, out, offset, *values)
    return bytes(out)


def survives(data: bytes) -> bool:
    """Whether the file is read; anything but an Elf or a BadFile is an error of the test."""
    try:
        elf = read(data)
    except BadFile as error:
        assert str(error).startswith("file ") or str(error).startswith("file:")
        return False
    assert all(isinstance(part, Segment) for part in elf.segments)
    assert all(isinstance(name, str) and isinstance(value, int) for name, value in elf.symbols.items())
    assert all(
        isinstance(name, str) and isinstance(kind, int) and isinstance(data, bytes) for name, kind, data in elf.notes
    )
    assert all(part.offset + part.filesz <= elf.size for part in elf.segments)
    return True


def test_a_good_file_is_read_as_it_was_written():
    elf = read(SMALL)
    assert (elf.name, elf.kind, elf.entry, elf.size) == ("file", "ET_EXEC", 0x1004, len(SMALL))
    assert elf.symbols == {"main": 0x1004, "end": 0x4008}
    assert [(s.kind, s.vaddr, s.paddr, s.filesz, s.memsz, s.flags) for s in elf.segments] == [
        ("PT_LOAD", 0x1000, 0x1000, 5, 0x2000, 5), ("PT_LOAD", 0x4000, 0x4000, 0, 8, 6),
        ("PT_NOTE", 0, 0, len(NOTES), 0, 4),
    ]  # fmt: skip
    assert elf.loads == elf.segments[:2]
    first = elf.segments[0]
    assert SMALL[first.offset : first.offset + first.filesz] == b"hello"
    assert elf.notes == (("PAGEBOOK", 7, b"{}"), ("CORE", 1, bytes(9)))


def test_a_file_may_have_no_segments_no_symbols_and_no_notes():
    elf = read(build_elf([], kind=CORE))
    assert (elf.segments, elf.loads, elf.symbols, elf.notes) == ((), (), {}, ())
    assert elf.kind == "ET_CORE"


@given(
    st.lists(
        st.tuples(st.integers(0, 1 << 63), st.binary(max_size=9), st.integers(0, 1 << 20), st.integers(0, 7)),
        max_size=4,
    ),
    st.integers(0, (1 << 64) - 1),
    st.dictionaries(st.text("abc_.$", min_size=1), st.integers(0, (1 << 64) - 1), max_size=4),
)
def test_what_a_writer_puts_into_a_file_is_read_from_it(parts: list, entry: int, symbols: dict[str, int]):
    data = build_elf(
        [(va, len(data), len(data) + more, flags, data) for va, data, more, flags in parts],
        entry=entry,
        symbols=symbols,
    )
    elf = read(data)
    assert (elf.entry, elf.symbols) == (entry, symbols)
    assert [(s.vaddr, data[s.offset : s.offset + s.filesz], s.memsz - s.filesz, s.flags) for s in elf.loads] == parts


def test_expect_gives_the_file_back_or_says_what_was_expected():
    elf = read(SMALL)
    assert elf.expect("ET_EXEC", "a program") is elf
    with pytest.raises(BadFile) as caught:
        elf.expect("ET_CORE", "a memory dump")
    assert str(caught.value).startswith(
        "file is an ELF file of type ET_EXEC; a memory dump is of type ET_CORE; a kernel"
    )
    with pytest.raises(BadFile) as caught:
        read(build_elf([], kind=0x1234)).expect("ET_EXEC", "a program")
    assert str(caught.value) == "file is an ELF file of type 4660; a program is of type ET_EXEC"


@pytest.mark.parametrize(
    ("how", "found"),
    [
        ({"elfclass": 32}, "32-bit little-endian ELF file for EM_RISCV"),
        ({"order": ">"}, "64-bit big-endian ELF file for EM_RISCV"),
        ({"machine": 62}, "64-bit little-endian ELF file for EM_X86_64"),
        ({"machine": 0xFEDC}, "64-bit little-endian ELF file for 65244"),
        ({"elfclass": 32, "order": ">", "machine": 8}, "32-bit big-endian ELF file for EM_MIPS"),
    ],
)
def test_a_file_of_another_machine_is_refused_with_what_it_is(how: dict, found: str):
    data = build_elf(SEGMENTS, symbols={"main": 1}, **how)
    assert refusal(data) == f"file is a {found}; pagebook needs a 64-bit little-endian one for EM_RISCV"


@pytest.mark.parametrize("data", [b"", b"#!/bin/sh\n", bytes(4096), b"\x7fELF", SMALL[:16], SMALL[:40]])
def test_what_is_no_elf_file_is_refused_with_the_readers_reason(data: bytes):
    text = refusal(data)
    assert text.startswith("file is not a whole ELF file: ") and len(text) > 35


def test_a_file_cut_at_any_byte_is_read_or_refused():
    whole = [survives(SMALL[:length]) for length in range(len(SMALL))]
    assert not any(whole[: PHOFF + 3 * PHENTSIZE])
    last = max(s.offset + s.filesz for s in read(SMALL).segments)
    assert not any(whole[:last])


def test_a_file_without_sections_cut_within_its_segments_says_so():
    data = build_elf([(0x1000, 5, 5, 5, b"hello")])
    assert survives(data[: PHOFF + PHENTSIZE + 5])
    assert refusal(data[: PHOFF + PHENTSIZE + 4]) == ("file is cut short: segment 0 ends at byte 125, the file at 124")


def test_a_segment_that_claims_more_than_the_file_has_is_refused():
    data = build_elf([(0, 0, 0, 5, b""), (0x1000, 1 << 40, 1 << 40, 5, b"hello")])
    end = PHOFF + 2 * PHENTSIZE + (1 << 40)
    assert refusal(data) == f"file is cut short: segment 1 ends at byte {end}, the file at {len(data)}"
    top = patched("Q", PHOFF + 8, (1 << 64) - 1)
    assert refusal(top) == f"file is cut short: segment 0 ends at byte {(1 << 64) + 4}, the file at {len(SMALL)}"


@pytest.mark.parametrize(
    ("vaddr", "filesz", "memsz"),
    [(0x1000, 5, 4), ((1 << 64) - 4, 5, 5), ((1 << 64) - 4096, 0, 4097), (2, 0, (1 << 64) - 1)],
)
def test_a_load_segment_that_no_memory_could_hold_is_refused(vaddr: int, filesz: int, memsz: int):
    assert refusal(build_elf([(vaddr, filesz, memsz, 5, b"hello")])) == (
        f"file: load segment 0 at {vaddr:#x} claims {memsz:#x} bytes of memory for {filesz:#x} in the file, which "
        "cannot be"
    )


def test_a_load_segment_may_end_at_the_very_top():
    assert survives(build_elf([((1 << 64) - 4096, 0, 4096, 5, b"")]))
    assert survives(build_elf([(1, 0, (1 << 64) - 1, 5, b"")]))


def test_absurd_counts_of_program_headers_are_refused_quickly():
    start = time.perf_counter()
    assert refusal(patched("H", 56, MOST_SEGMENTS + 1)) == (
        f"file claims {MOST_SEGMENTS + 1} program headers; no such file has more than {MOST_SEGMENTS}"
    )
    assert not survives(patched("H", 56, 0xFFFE))
    # 0xffff means that the true count is in the first section's sh_info, 44 bytes into it
    sections = struct.unpack_from("<Q", SMALL, 40)[0]
    many = patched("H", 56, 0xFFFF)
    assert refusal(patched("I", sections + 44, 0xFFFFFFFF, data=many)) == (
        "file claims 4294967295 program headers; no such file has more than 4096"
    )
    assert not survives(patched("H", 56, MOST_SEGMENTS))
    assert time.perf_counter() - start < 2


def test_program_headers_past_the_end_are_refused():
    data = build_elf([], kind=CORE)
    for offset in (len(data) - 8, len(data), 1 << 32, (1 << 63) - 1, 1 << 63, (1 << 64) - 1):
        bad = patched("Q", 32, offset, data=patched("H", 56, 1, data=data))
        assert refusal(bad).startswith("file is not a whole ELF file: ")


def test_a_table_of_program_headers_that_ends_past_the_file_is_refused():
    assert refusal(patched("H", 54, 0xFFFF, data=build_elf([(0, 0, 0, 5, b"")]))) == (
        "file is cut short: its program headers end at byte 65599, the file at 120"
    )


def test_sections_in_absurd_numbers_sizes_and_places_are_refused_or_read_quickly():
    start = time.perf_counter()
    sections = struct.unpack_from("<Q", SMALL, 40)[0]
    for bad in (
        patched("Q", 40, (1 << 64) - 1),
        patched("Q", 40, len(SMALL) - 1),
        patched("H", 58, 0),
        patched("H", 58, 1),
        patched("H", 60, 0xFFFF),
        patched("H", 62, 0xFFFE),
        patched("Q", sections + 32, 1 << 62, data=patched("H", 60, 0)),
        patched("Q", sections + 64 + 32, (1 << 64) - 1),
        patched("Q", sections + 64 + 56, 1),
        patched("Q", sections + 64 + 56, 0),
        patched("I", sections + 64 + 40, 1),  # a symbol table whose names are itself
        patched("I", sections + 64 + 40, 0xFFFFFFFF),
        patched("Q", sections + 128 + 24, 1 << 63),
    ):
        survives(bad)
    assert time.perf_counter() - start < 5


def test_absurd_numbers_of_symbols_are_refused_unread_and_a_core_has_none(monkeypatch):
    monkeypatch.setattr("pagebook.elf.MOST_SYMBOLS", 3)
    data = build_elf(SEGMENTS, symbols={"a": 1, "b": 2, "c": 3})
    assert refusal(data) == "file claims 4 symbols; no such file has more than 3"  # the first has no name
    assert read(patched("H", 16, CORE, data=data)).symbols == {}
    assert read(build_elf(SEGMENTS, symbols={"a": 1, "b": 2})).symbols == {"a": 1, "b": 2}


def test_notes_that_run_out_of_their_segment_are_refused_or_read():
    for notes in (
        b"x",
        bytes(12),
        b"\xff" * 12,
        struct.pack("<III", 1 << 31, 0, 0),
        struct.pack("<III", 4, 1 << 31, 0),
    ):
        survives(build_elf([], kind=CORE, notes=notes))
    for length in range(len(NOTES)):
        survives(build_elf([], kind=CORE, notes=NOTES[:length]))


@given(st.lists(st.tuples(st.integers(0, len(SMALL) - 1), st.integers(0, 255)), min_size=1, max_size=4))
def test_random_bytes_changed_anywhere_are_read_or_refused(changes: list[tuple[int, int]]):
    data = bytearray(SMALL)
    for offset, byte in changes:
        data[offset] = byte
    survives(bytes(data))


HEADERS = [*range(16, PHOFF + 3 * PHENTSIZE), *range(len(SMALL) - 256, len(SMALL))]


def test_a_bit_flipped_in_every_byte_of_every_header_is_read_or_refused():
    for offset in HEADERS:
        data = bytearray(SMALL)
        data[offset] ^= 1 << offset * 5 % 8
        survives(bytes(data))


@given(st.binary(max_size=80))
def test_random_bytes_after_the_magic_are_refused(data: bytes):
    survives(b"\x7fELF\x02\x01\x01" + data)


def test_a_note_whose_name_does_not_end_is_a_bad_file():
    text = refusal(build_elf([], kind=CORE, notes=struct.pack("<III", 4, 0, 7) + b"ABCD"))
    assert text.startswith("file is not a whole ELF file: ") and "missing terminator" in text


class Breaking(io.BytesIO):
    """A stream that can no longer be read after its first hundred bytes."""

    def read(self, size: int | None = -1) -> bytes:
        if self.tell() > 100:
            raise OSError(5, "Input/output error")
        return super().read(size)


def test_a_disk_that_fails_while_the_file_is_read_is_told_as_a_bad_file():
    with pytest.raises(BadFile) as caught:
        read_elf(Breaking(SMALL), "dump", len(SMALL))
    assert str(caught.value) == "dump is not a whole ELF file: [Errno 5] Input/output error"
    assert caught.value.__cause__ is not None


def test_an_error_without_words_is_told_by_its_name(monkeypatch):
    monkeypatch.setattr("pagebook.elf.ELFFile", lambda stream: {}["nothing"])
    assert refusal(SMALL) == "file is not a whole ELF file: 'nothing'"

    def recurse(stream: io.BytesIO) -> None:
        raise RecursionError

    monkeypatch.setattr("pagebook.elf.ELFFile", recurse)
    assert refusal(SMALL) == "file is not a whole ELF file: RecursionError"


def test_read_bytes_gives_the_file_or_the_systems_reason(tmp_path):
    path = tmp_path / "program"
    path.write_bytes(b"abc")
    assert read_bytes(path, "the program") == read_bytes(str(path), "the program") == b"abc"
    for bad, reason in ((tmp_path / "none", "No such file or directory"), (tmp_path, "Is a directory")):
        with pytest.raises(BadFile) as caught:
            read_bytes(bad, "the program")
        assert str(caught.value) == f"cannot read the program {str(bad)!r}: {reason}"


def test_read_bytes_does_not_wait_for_a_pipe_or_a_device(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for bad in (pipe, Path("/dev/zero")):
        with pytest.raises(BadFile) as caught:
            read_bytes(bad, "the program")
        assert str(caught.value) == f"cannot read the program {str(bad)!r}: it is a device or a pipe, not a file"


def test_the_constants_of_the_writer_are_those_of_the_reader():
    assert read(build_elf([], kind=EXEC)).kind == "ET_EXEC"
    assert [s.flags for s in read(build_elf([(0, 0, 0, WRITE, b"")])).loads] == [2]
