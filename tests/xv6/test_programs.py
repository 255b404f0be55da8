"""programs: what is read from ELF files, and every file that is refused with its reason."""

from __future__ import annotations

import io
import struct
from pathlib import Path
from typing import Any

import pytest
from twins import BASE, PAGE, TRAPFRAME

from elves import build_elf
from pagebook.elf import read_elf
from pagebook.errors import BadFile
from pagebook.xv6 import programs
from pagebook.xv6.boot import power_on
from pagebook.xv6.programs import INIT, INITCODE, SH, read_kernel, read_program

SYMBOLS = {"etext": BASE + PAGE, "end": BASE + 3 * PAGE, "trampoline": BASE}


@pytest.fixture
def write(tmp_path: Path) -> Any:
    def to_file(data: bytes) -> Path:
        path = tmp_path / "file"
        path.write_bytes(data)
        return path

    return to_file


def reason(caught: pytest.ExceptionInfo[BadFile], path: Path) -> str:
    """The message without the folder."""
    return str(caught.value).replace(str(path), "file")


# Kernels


def test_a_kernel_gives_its_symbols_and_its_bytes_where_they_belong(write):
    path = write(
        build_elf(
            [(BASE, 3, PAGE, 5, b"abc"), (BASE + PAGE, 0, PAGE, 6, b""), (BASE + 2 * PAGE, 4, PAGE, 6, b"wxyz")],
            symbols=SYMBOLS | {"main": BASE + 8},
        )
    )
    image = read_kernel(path)
    assert image.symbols == SYMBOLS | {"main": BASE + 8}
    assert image.pieces == ((BASE, b"abc"), (BASE + 2 * PAGE, b"wxyz"))
    assert read_kernel(str(path)) == image


def test_older_kernels_call_the_trampoline_by_the_name_of_its_section(write):
    symbols = {"etext": BASE + PAGE, "end": BASE + 3 * PAGE, "_trampoline": BASE}
    assert read_kernel(write(build_elf([], symbols=symbols))).symbols["trampoline"] == BASE
    both = symbols | {"trampoline": BASE + 0x800}
    assert read_kernel(write(build_elf([], symbols=both))).symbols["trampoline"] == BASE + 0x800


@pytest.mark.parametrize(
    ("symbols", "missing"),
    [
        (None, "etext, end, trampoline"),
        ({"main": BASE}, "etext, end, trampoline"),
        ({"etext": BASE + PAGE, "trampoline": BASE}, "end"),
        ({"etext": BASE + PAGE, "end": BASE + PAGE}, "trampoline"),
    ],
)
def test_a_kernel_without_the_linkers_symbols_is_refused(write, symbols, missing):
    path = write(build_elf([(BASE, 3, 3, 5, b"abc")], symbols=symbols))
    with pytest.raises(BadFile) as caught:
        read_kernel(path)
    assert reason(caught, path) == f"file has no symbol {missing}; give the kernel as linked, not stripped"


@pytest.mark.parametrize("at", [BASE - 1, 0, BASE + 3 * PAGE - 2, BASE + 4 * PAGE])
def test_a_kernel_with_bytes_outside_its_own_memory_is_refused(write, at):
    path = write(build_elf([(at, 3, 3, 5, b"abc")], symbols=SYMBOLS))
    with pytest.raises(BadFile) as caught:
        read_kernel(path)
    assert reason(caught, path) == (
        f"file: a load segment of 0x3 bytes at {at:#x} is not between KERNBASE 0x80000000 and end 0x80003000"
    )


def test_a_kernels_segment_without_bytes_may_be_anywhere(write):
    assert read_kernel(write(build_elf([(0, 0, 10, 6, b"")], symbols=SYMBOLS))).pieces == ()


@pytest.mark.parametrize("at", [BASE, BASE + 3 * PAGE - 3])
def test_a_kernels_bytes_may_reach_its_first_and_its_last_address(write, at):
    assert read_kernel(write(build_elf([(at, 3, 3, 5, b"abc")], symbols=SYMBOLS))).pieces == ((at, b"abc"),)


@pytest.mark.parametrize(
    ("names", "text", "year"),
    [
        ({}, b"", None),
        ({"vmfault"}, b"", None),  # not xv6's without mappages
        ({"mappages"}, b"mappages: remap", "2022"),
        ({"mappages", "timervec"}, b"mappages: va not aligned", "2024"),
        ({"mappages", "vmfault"}, b"mappages: va not aligned", "2025"),
    ],
)
def test_the_year_of_a_kernel_is_in_its_file(write, names, text, year):
    symbols = SYMBOLS | dict.fromkeys(names, BASE)
    image = read_kernel(write(build_elf([(BASE, len(text), 64, 5, text)], symbols=symbols)))
    assert image.revision == year
    assert power_on(ram=1 << 20, kernel=image).revision.name == (year or "2024")
    assert power_on("2022", ram=1 << 20, kernel=image).revision.name == "2022"


# Programs


def test_a_program_is_given_back_as_its_files_bytes(write):
    data = build_elf([(0, 3, 3, 5, b"abc"), (PAGE, 3, 99, 6, b"xyz")])
    path = write(data)
    assert read_program(path) == read_program(str(path)) == data


REFUSED = {
    "nothing to load": (build_elf([]), "file has nothing to load"),
    "a segment in a page": (
        build_elf([(0x800, 3, 3, 5, b"abc")]),
        "file: the segment at 0x800 does not start a page; xv6's exec refuses it",
    ),
    "segments that overlap": (
        build_elf([(0, 3, PAGE + 1, 5, b"abc"), (PAGE, 3, 3, 6, b"abc")]),
        "file: the segment at 0x1000 overlaps or precedes one that ends at 0x1001",
    ),
    "segments that descend": (
        build_elf([(PAGE, 3, 3, 5, b"abc"), (0, 3, 3, 6, b"abc")]),
        "file: the segment at 0x0 overlaps or precedes one that ends at 0x1003",
    ),
    "a segment over the trapframe": (
        build_elf([(TRAPFRAME - PAGE, 3, PAGE + 1, 5, b"abc")]),
        "file: the segment at 0x3fffffd000 reaches 0x3fffffe001, past user memory's end",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_program_that_exec_would_refuse_or_spoil_is_refused_with_the_reason(write, name):
    data, why = REFUSED[name]
    path = write(data)
    with pytest.raises(BadFile) as caught:
        read_program(path)
    assert reason(caught, path) == why


def test_a_program_may_reach_up_to_the_trapframe_and_segments_may_touch(write):
    data = build_elf([(0, 3, PAGE, 5, b"abc"), (PAGE, 0, PAGE, 6, b""), (TRAPFRAME - PAGE, 3, PAGE, 6, b"abc")])
    assert read_program(write(data)) == data


@pytest.mark.parametrize("read", [read_kernel, read_program], ids=["kernel", "program"])
@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"not an ELF file",
        build_elf([(0, 3, 3, 5, b"abc")])[:90],
        build_elf([(0, 9, 9, 5, b"abc")]),
        build_elf([(0, 3, 2, 5, b"abc")]),
        build_elf([(0, 3, 3, 5, b"abc")], machine=62),
        build_elf([(0, 3, 3, 5, b"abc")], elfclass=32),
        build_elf([(0, 3, 3, 5, b"abc")], order=">"),
        build_elf([(0, 3, 3, 5, b"abc")], kind=3),
    ],
    ids=["empty", "text", "cut", "bytes that are not there", "memsz", "x86", "32 bits", "big-endian", "shared object"],
)
def test_a_file_that_is_no_riscv_executable_is_refused(write, read, data):
    path = write(data)
    with pytest.raises(BadFile, match="file"):
        read(path)


@pytest.mark.parametrize(("read", "what"), [(read_kernel, "kernel"), (read_program, "program")])
def test_a_file_that_cannot_be_read_is_named_with_the_systems_reason(tmp_path, read, what):
    with pytest.raises(BadFile) as caught:
        read(tmp_path / "absent")
    assert str(caught.value) == f"cannot read {what} '{tmp_path}/absent': No such file or directory"
    with pytest.raises(BadFile, match="Is a directory"):
        read(tmp_path)


# The package's own


@pytest.mark.parametrize(("name", "data"), [("init", INIT), ("sh", SH)])
def test_our_programs_are_a_page_of_text_at_0_and_a_page_of_data_above_it(name, data):
    elf = read_elf(io.BytesIO(data), name, len(data))
    text, rest = elf.loads
    assert (text.vaddr, text.flags, rest.vaddr, rest.flags) == (0, 5, PAGE, 6)
    assert text.filesz == text.memsz <= PAGE and rest.memsz <= PAGE
    assert elf.entry < text.memsz
    assert data == (Path(programs.__file__).parent / name).read_bytes()


def test_our_programs_pass_the_checks_that_others_must_pass():
    folder = Path(programs.__file__).parent
    assert (read_program(folder / "init"), read_program(folder / "sh")) == (INIT, SH)


def test_initcode_is_less_than_a_page_and_calls_exec_with_the_path_of_init():
    assert 0 < len(INITCODE) < PAGE
    assert b"/init\0" in INITCODE
    path = INITCODE.index(b"/init\0")
    assert struct.pack("<QQ", path, 0) in INITCODE, "argv: the path and the end"
