"""exec.c and sysfile.c: what becomes of a program's file, its arguments, and of a process whose exec fails."""

from __future__ import annotations

import struct

import pytest
from twins import (
    PAGE,
    TRAPFRAME,
    R,
    Twins,
    U,
    V,
    W,
    X,
    account,
    first_process,
    free_frames,
    leave,
    processes,
    small,
    snapshot,
    tables_and_leaves,
)

from elves import build_elf
from pagebook.errors import Panic
from pagebook.xv6 import vm
from pagebook.xv6.exec import exec as exec_
from pagebook.xv6.exec import flags2perm, loadseg
from pagebook.xv6.kernel import Kernel, Proc
from pagebook.xv6.proc import fork
from pagebook.xv6.sysfile import sys_exec

EPC, SP, A0, A1 = (register * 8 for register in (3, 6, 14, 15))
TEXT, DATA = bytes(range(1, 251)) * 20, b"data" * 100
SEGMENTS = [(0, 5000, 5000, 5, TEXT), (2 * PAGE, 400, PAGE + 400, 6, DATA)]
PROGRAM = build_elf(SEGMENTS, entry=0x123)


def process(k: Kernel, **files: bytes) -> Proc:
    """init, current, with two pages and registers of its own."""
    p = first_process(k)
    p.sz = vm.uvmalloc(k, p.pagetable, 0, 2 * PAGE, W)
    vm.copyout(k, p.pagetable, 0, b"the old image" * 500)
    k.memory.write(p.trapframe, bytes(range(256)) * 16)
    p.name = "old"
    k.files = files
    return p


def pages(k: Kernel, p: Proc) -> dict[int, tuple[int, bytes]]:
    """Page address to PTE bits and bytes."""
    leaves = tables_and_leaves(k, p.pagetable)[1]
    return {va: (pte & 0x3FF & ~V, k.memory.read(pte >> 10 << 12, PAGE)) for va, pte in leaves if va < TRAPFRAME}


def state(k: Kernel, p: Proc) -> tuple[object, ...]:
    """All that a failed exec must not change."""
    return processes(k), pages(k, p), k.memory.read(p.trapframe, PAGE), p.image, sorted(free_frames(k))


def refused(rev: str, file: bytes, argv: list[str] | None = None, **options: bool) -> None:
    """exec of this file gives -1 and leaves the process as it was, and the page-by-page kernel agrees."""
    k = small(rev, **options)
    p = process(k, prog=file)
    before = state(k, p)
    assert exec_(k, "prog", argv or ["prog"]) == -1
    assert state(k, p) == before
    account(k)
    strict = small(rev, strict=True)
    process(strict, prog=file)
    assert Twins(strict).call("exec", "prog", argv or ["prog"]) == -1


def patched(file: bytes, at: int, form: str, value: int) -> bytes:
    return file[:at] + struct.pack("<" + form, value) + file[at + struct.calcsize(form) :]


# The new image


def test_exec_puts_segments_guard_and_stack_where_the_file_and_the_kernel_say(rev):
    k = small(rev)
    p = process(k, prog=PROGRAM)
    assert exec_(k, "/prog", ["prog"]) == 1
    image = pages(k, p)
    assert {va: perm for va, (perm, _) in image.items()} == {
        0: R | X | U,
        PAGE: R | X | U,
        2 * PAGE: R | W | U,
        3 * PAGE: R | W | U,
        4 * PAGE: R | W,
        5 * PAGE: R | W | U,
    }
    assert image[0][1] + image[PAGE][1] == TEXT.ljust(2 * PAGE, b"\0")
    assert image[2 * PAGE][1] + image[3 * PAGE][1] == DATA.ljust(2 * PAGE, b"\0")
    assert image[4 * PAGE][1] == bytes(PAGE)
    assert (p.sz, p.name) == (6 * PAGE, "prog")
    assert p.image == (
        (0, 2 * PAGE, "text"),
        (2 * PAGE, 2 * PAGE, "data"),
        (4 * PAGE, PAGE, "guard page"),
        (5 * PAGE, PAGE, "stack"),
    )
    account(k)


def test_exec_sets_epc_sp_and_a1_and_no_other_register(rev):
    k = small(rev)
    p = process(k, prog=PROGRAM)
    registers = bytearray(k.memory.read(p.trapframe, PAGE))
    exec_(k, "prog", ["prog", "x"])
    sp = k.memory.read64(p.trapframe + SP)
    for at, value in ((EPC, 0x123), (SP, sp), (A1, sp)):
        registers[at : at + 8] = value.to_bytes(8, "little")
    assert k.memory.read(p.trapframe, PAGE) == registers


@pytest.mark.parametrize(
    "argv",
    [
        [],
        [""],
        ["prog"],
        ["fifteen letters"],
        ["sixteen  letters"],
        ["prog", "two"],
        ["a", "bb", "ccc", "", "the fifth argument is longer than sixteen bytes"],
        [str(number) for number in range(31)],
        ["größer"],
    ],
    ids=len,
)
def test_arguments_lie_below_the_top_each_aligned_to_16_and_argv_below_them(rev, argv):
    k = small(rev)
    p = process(k, prog=PROGRAM)
    assert exec_(k, "prog", argv) == len(argv)
    stack = bytearray(PAGE)
    sp, pointers = p.sz, []
    for argument in argv:
        text = argument.encode() + b"\0"
        sp = (sp - len(text)) & ~15
        stack[sp - 5 * PAGE : sp - 5 * PAGE + len(text)] = text
        pointers.append(sp)
    array = struct.pack(f"<{len(argv) + 1}Q", *pointers, 0)
    sp = (sp - len(array)) & ~15
    stack[sp - 5 * PAGE : sp - 5 * PAGE + len(array)] = array
    assert pages(k, p)[5 * PAGE] == (R | W | U, bytes(stack))
    assert k.memory.read64(p.trapframe + SP) == k.memory.read64(p.trapframe + A1) == sp
    assert sp % 16 == 0


def test_the_old_image_is_freed_only_when_the_new_one_stands(rev):
    k = small(rev)
    p = process(k, prog=PROGRAM)
    tables, leaves = tables_and_leaves(k, p.pagetable)
    old = {pte >> 10 << 12 for va, pte in leaves if va < TRAPFRAME} | set(tables)
    exec_(k, "prog", ["prog"])
    tables, leaves = tables_and_leaves(k, p.pagetable)
    assert not old & {pte >> 10 << 12 for _, pte in leaves} | old & set(tables)
    assert set(free_frames(k)[: len(old)]) == old


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/prog", "prog"),
        ("prog", "prog"),
        ("//prog", "prog"),
        ("prog/", ""),
        ("a_name_of_15_ch", "a_name_of_15_ch"),
        ("/sixteen_letters_", "sixteen_letters"),
        ("/a_name_that_is_longer_than_that", "a_name_that_is_"),
    ],
)
def test_the_process_takes_up_to_15_characters_of_the_paths_last_part(rev, path, name):
    k = small(rev)
    p = process(k, **{path.strip("/"): PROGRAM})
    assert exec_(k, path, []) == 0
    assert p.name == name


def test_the_story_says_what_the_process_was_and_became(rev):
    k = small(rev)
    p = process(k, prog=PROGRAM)
    exec_(k, "prog", [])
    assert k.story[-1].function == "exec"
    assert k.story[-1].text.startswith(
        f"process 1 (old) becomes prog: a new page table, root {p.pagetable:#x}, with its segments"
    )
    p.name = ""
    exec_(k, "prog", [])
    assert "process 1 (no name yet) becomes prog" in k.story[-1].text


@pytest.mark.parametrize(
    ("flags", "perm"), [(0, 0), (1, X), (2, W), (3, X | W), (4, 0), (5, X), (6, W), (7, X | W), (0xF0F0_F0F4, 0)]
)
def test_a_segments_flags_give_x_and_w_and_r_comes_by_itself(rev, flags, perm):
    assert flags2perm(flags) == perm
    k = small(rev)
    p = process(k, prog=build_elf([(0, 3, 3, flags, b"abc")]))
    assert exec_(k, "prog", []) == 0
    assert pages(k, p)[0][0] == R | U | perm
    assert p.image[0][2] == ("text" if perm & X else "data" if perm & W else "constants")


def test_the_stack_has_as_many_pages_as_the_layout_says(rev):
    for userstack in (1, 2, 5):
        k = small(rev, userstack=userstack)
        p = process(k, prog=PROGRAM)
        exec_(k, "prog", [])
        assert p.sz == (5 + userstack) * PAGE
        rights = [perm for va, (perm, _) in pages(k, p).items() if va >= 4 * PAGE]
        assert rights == [R | W] + [R | W | U] * userstack
        assert p.image[-1] == (5 * PAGE, userstack * PAGE, "stack")
        account(k)
        assert exec_(k, "prog", ["x" * (PAGE * userstack - 40)]) == 1
        assert exec_(k, "prog", ["x" * (PAGE * userstack - 15)]) == -1


# Files that are not quite programs


def test_a_file_that_is_not_there_is_refused_before_any_frame_is_taken(rev):
    k = small(rev)
    process(k, prog=PROGRAM)
    before = snapshot(k)
    for path in ("other", "", "/", "prog2", "dir/prog"):
        assert exec_(k, path, []) == -1
    assert snapshot(k) == before


@pytest.mark.parametrize(
    "file",
    [b"", b"\x7fELF", PROGRAM[:63], b"\x7fELG" + PROGRAM[4:], b"#!/bin/sh\n" * 10, bytes(64)],
    ids=["empty", "four bytes", "63 bytes", "bad magic", "a script", "zeros"],
)
def test_a_file_without_an_elf_header_is_refused_before_any_frame_is_taken(rev, file):
    k = small(rev)
    process(k, prog=file)
    before = snapshot(k)
    assert exec_(k, "prog", ["prog"]) == -1
    assert snapshot(k) == before
    refused(rev, file)


PHDR = 64  # where the first program header is, and there: flags 4, offset 8, vaddr 16, filesz 32, memsz 40
BAD = {
    "program headers past the end": patched(PROGRAM, 32, "Q", len(PROGRAM) - 55),
    "program headers far past the end": patched(PROGRAM, 32, "Q", 0xFFFF_FFF0),
    "one header too many": patched(PROGRAM, 56, "H", 60000),
    "cut in the first header": PROGRAM[:100],
    "cut in the second header": PROGRAM[: PHDR + 56 + 55],
    "cut in the text": PROGRAM[:3000],
    "cut at a page of the text": PROGRAM[: PHDR + 112 + PAGE],
    "cut in the data": build_elf(SEGMENTS)[: -len(DATA) // 2],
    "an offset past the end": patched(PROGRAM, PHDR + 8, "Q", 1 << 20),
    "an offset that is too large for 32 bits by little": patched(PROGRAM, PHDR + 8, "Q", 0xFFFF_F800),
    "memsz below filesz": patched(PROGRAM, PHDR + 40, "Q", 4999),
    "vaddr in a page": patched(PROGRAM, PHDR + 56 + 16, "Q", 2 * PAGE + 8),
    "vaddr + memsz wraps": patched(patched(PROGRAM, PHDR + 56 + 16, "Q", (1 << 64) - PAGE), PHDR + 56 + 40, "Q", PAGE),
    "memsz wraps": patched(PROGRAM, PHDR + 56 + 40, "Q", (1 << 64) - 1),
    "more than memory": patched(PROGRAM, PHDR + 56 + 40, "Q", 1 << 30),
    "more than addresses": patched(PROGRAM, PHDR + 56 + 40, "Q", 1 << 50),
    "an empty first segment at 0": build_elf([(0, 0, 0, 5, b""), *SEGMENTS[1:]]),
}


@pytest.mark.parametrize("name", BAD)
def test_a_file_with_bad_headers_is_refused_and_the_process_goes_on_as_it_was(rev, strict, name):
    refused(rev, BAD[name], strict=strict)


def test_a_file_of_65535_headers_that_end_before_it_does_is_loaded_to_the_first_bad_one(rev):
    refused(rev, patched(PROGRAM, 56, "H", 0xFFFF))


ODD = {
    "no segment": (build_elf([]), {}),
    "no header is looked at": (patched(PROGRAM, 56, "H", 0), {}),
    "a note first": (build_elf(SEGMENTS[:1], notes=b"x" * 50), {0: R | X | U, PAGE: R | X | U}),
    "filesz 0": (build_elf([(0, 0, 10, 6, b"")]), {0: R | W | U}),
    "a gap has the later segment's rights": (
        build_elf([(0, 3, 3, 5, b"abc"), (3 * PAGE, 3, 3, 6, b"xyz")]),
        {0: R | X | U, PAGE: R | W | U, 2 * PAGE: R | W | U, 3 * PAGE: R | W | U},
    ),
    "a gap before the first segment": (
        build_elf([(2 * PAGE, 3, 3, 5, b"abc")]), {0: R | X | U, PAGE: R | X | U, 2 * PAGE: R | X | U},
    ),
    "the second segment lies within the first": (
        build_elf([(0, 5, 3 * PAGE, 5, b"first"), (PAGE, 3, 9, 6, b"two")]),
        {0: R | X | U, PAGE: R | X | U, 2 * PAGE: R | X | U},
    ),
    "an empty segment after another": (
        build_elf([(0, 3, 3, 5, b"abc"), (2 * PAGE, 0, 0, 6, b"")]), {0: R | X | U, PAGE: R | W | U},
    ),
    "an empty segment below another": (
        build_elf([(0, 3, 5000, 5, b"abc"), (0, 0, 0, 6, b"")]), {0: R | X | U, PAGE: R | X | U},
    ),
    "headers at an offset of more than 32 bits": (
        patched(build_elf([(0, 3, 3, 5, b"abc")]), 32, "Q", 1 << 32 | 64), {0: R | X | U},
    ),
    "a segment at an offset of more than 32 bits": (
        patched(build_elf([(0, 3, 3, 5, b"abc")]), PHDR + 8, "Q", 5 << 32 | 120), {0: R | X | U},
    ),
    "another machine's": (build_elf([(0, 3, 3, 5, b"abc")], machine=62, kind=3), {0: R | X | U}),
}  # fmt: skip


@pytest.mark.parametrize("name", ODD)
def test_an_odd_file_that_the_kernel_accepts_is_loaded_as_the_kernel_loads_it(rev, name):
    file, rights = ODD[name]
    k = small(rev)
    p = process(k, prog=file)
    assert exec_(k, "prog", ["prog"]) == 1
    image = pages(k, p)
    found = {va: perm for va, (perm, _) in image.items()}
    assert found == rights | {len(rights) * PAGE: R | W, (len(rights) + 1) * PAGE: R | W | U}
    account(k)
    strict = small(rev, strict=True)
    process(strict, prog=file)
    assert Twins(strict).call("exec", "prog", ["prog"]) == 1


def test_a_later_segment_overwrites_what_an_earlier_one_put_there(rev):
    k = small(rev)
    p = process(k, prog=ODD["the second segment lies within the first"][0])
    exec_(k, "prog", [])
    assert pages(k, p)[PAGE][1] == b"two".ljust(PAGE, b"\0")


def test_loadseg_panics_where_no_user_page_stands(rev):
    k = small(rev)
    p = process(k)
    with pytest.raises(Panic) as caught:
        loadseg(k, p.pagetable, PAGE, b"x" * 3 * PAGE, 0, PAGE + 1)
    assert caught.value.reason == "loadseg: address should exist"
    assert str(caught.value) == "panic: loadseg: address should exist (va 0x2000)"
    assert caught.value.va == 2 * PAGE
    assert pages(k, p)[PAGE][1] == b"x" * PAGE, "the page before it is loaded"


@pytest.mark.parametrize(("length", "result"), [(PAGE + 10, 0), (PAGE + 9, -1), (PAGE, -1), (5, -1), (0, -1)])
def test_loadseg_copies_what_the_file_has_and_gives_minus_1_when_it_ends_too_soon(rev, length, result):
    k = small(rev)
    p = process(k)
    for va in (0, PAGE):
        vm.copyout(k, p.pagetable, va, b"." * PAGE)
    assert loadseg(k, p.pagetable, 0, b"head" + b"x" * length, 4, PAGE + 10) == result
    loaded = b"".join(data for _, data in pages(k, p).values())
    assert loaded == (b"x" * length).ljust(2 * PAGE, b".")


# Arguments that do not fit


@pytest.mark.parametrize(
    "argv",
    [["x" * PAGE], ["x" * (PAGE - 1)], ["x" * 2000, "y" * 2100], ["x"] * 33, ["x" * 120] * 31, ["x" * 20000]],
    ids=["a page", "a page with its nul", "two that are too long", "33", "31 long ones", "more than there is below"],
)
def test_arguments_that_do_not_fit_are_refused(rev, strict, argv):
    refused(rev, PROGRAM, argv, strict=strict)


def test_argv_itself_must_fit_below_the_strings(rev):
    for length, result in ((PAGE - 17, 1), (PAGE - 16, -1)):
        k = small(rev)
        process(k, prog=PROGRAM)
        assert exec_(k, "prog", ["x" * length]) == result
        account(k)


# sys_exec


def test_sys_exec_takes_a_frame_for_each_argument_before_and_frees_them_after_the_old_image(rev):
    k = small(rev)
    p = process(k, prog=PROGRAM)
    first, second, third = free_frames(k)[:3]
    assert sys_exec(k, "/prog", ["a", "b", "c"]) == 3
    assert free_frames(k)[:3] == [third, second, first]
    assert p.pagetable not in (first, second, third)
    account(k)


def test_sys_exec_with_31_arguments_runs_and_with_32_frees_their_frames(rev):
    k = small(rev)
    process(k, prog=PROGRAM)
    assert sys_exec(k, "prog", ["x"] * 31) == 31
    account(k)
    before = free_frames(k)
    assert sys_exec(k, "prog", ["x"] * 32) == -1
    assert sys_exec(k, "prog", ["x"] * 100) == -1
    assert free_frames(k) == before, "32 taken and given back, twice"
    account(k)


def test_sys_exec_of_an_argument_that_fills_more_than_a_page_gives_minus_1(rev):
    k = small(rev, userstack=3)
    p = process(k, prog=PROGRAM)
    before = state(k, p)
    assert sys_exec(k, "prog", ["prog", "x" * PAGE]) == -1
    assert state(k, p) == before
    assert sys_exec(k, "prog", ["prog", "x" * (PAGE - 1)]) == 2
    account(k)


@pytest.mark.parametrize(("length", "result"), [(127, 1), (128, -1), (200, -1)])
def test_sys_exec_refuses_a_path_of_128_bytes_before_it_takes_a_frame(rev, length, result):
    k = small(rev)
    path = "/" * (length - 4) + "prog"
    process(k, prog=PROGRAM)
    before = snapshot(k)
    assert sys_exec(k, path, ["a"]) == result
    if result < 0:
        assert snapshot(k) == before
        k.strict = True
        assert Twins(k).call("sys_exec", path, ["a", "b"]) == -1


@pytest.mark.parametrize(
    ("run", "frames"),
    [(exec_, frames) for frames in range(11)] + [(sys_exec, frames) for frames in range(14)],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_exec_without_frames_gives_minus_1_and_loses_none(rev, strict, run, frames):
    k = small(rev, strict=strict)
    p = process(k, prog=PROGRAM)
    vm.uvmalloc(k, p.pagetable, p.sz, 3 * PAGE, W)
    p.sz = 3 * PAGE
    rest = leave(k, frames)
    before = state(k, p)
    assert run(k, "prog", ["prog", "a", "b"]) == -1
    assert state(k, p) == before
    account(k, loose=rest)


def test_an_exec_that_fails_leaves_the_other_processes_alone(rev):
    k = small(rev)
    p = process(k, prog=BAD["cut in the data"])
    fork(k)
    q = k.proc[1]
    before = state(k, p), state(k, q)
    k.current = q
    assert sys_exec(k, "prog", ["prog"]) == -1
    assert (state(k, p), state(k, q)) == before


def test_a_chain_of_execs_is_the_page_by_page_kernels_to_the_last_byte(rev):
    k = small(rev, strict=True)
    process(k, prog=PROGRAM, tiny=ODD["no segment"][0], wide=ODD["a gap before the first segment"][0])
    twins = Twins(k)
    for path, argv in (("prog", ["a", "b"]), ("/tiny", []), ("nothing", ["x"]), ("wide", ["1"] * 31), ("prog", ["z"])):
        assert twins.call("sys_exec", path, argv) == (-1 if path == "nothing" else len(argv))
        assert twins.call("exec", path, argv) == (-1 if path == "nothing" else len(argv))
