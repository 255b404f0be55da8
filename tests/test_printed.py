"""Traps as kernels print them, and what is made of anything else."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pagebook.errors import BadAddress
from pagebook.printed import PANICS, Panicked, Printed, Trap, is_trap, read_panic, read_trap

FAILURES = Path(__file__).parents[1] / "docs" / "05-failures.md"
USER = (
    "usertrap(): unexpected scause 0x000000000000000f pid=3\n"
    "            sepc=0x000000000000000c stval=0x0000000000002fb0\n"
)
KERNEL = "scause 0x000000000000000d\nsepc=0x0000000080001234 stval=0x0000000000000008\npanic: kerneltrap\n"
LINUX = (
    "[   12.345678] CPU: 0 PID: 61 Comm: sh Not tainted 6.1.0\n"
    "[   12.345679] epc : ffffffff80002a3c ra : ffffffff80002a00 sp : ffffffc80000be80\n"
    "[   12.345680] status: 0000000200000120 badaddr: 0000000000000010 cause: 000000000000000f\n"
)


@pytest.mark.parametrize(
    ("text", "trap"),
    [
        (USER, Trap(Printed(15, 0x2FB0, 0xC, 3), "U")),
        (USER.replace("\n", " "), Trap(Printed(15, 0x2FB0, 0xC, 3), "U")),
        ("unexpected scause 0xf pid=3\n            sepc=0xc stval=0x2fb0\n", Trap(Printed(15, 0x2FB0, 0xC, 3), None)),
        (KERNEL, Trap(Printed(13, 8, 0x8000_1234), "S")),
        ("scause=0xd sepc=0x80001234 stval=0x8\npanic: kerneltrap", Trap(Printed(13, 8, 0x8000_1234), "S")),
        ("$ crash\n" + USER + "$ " + KERNEL, Trap(Printed(13, 8, 0x8000_1234), "S")),
        (KERNEL + USER, Trap(Printed(15, 0x2FB0, 0xC, 3), "U")),
        (LINUX, Trap(Printed(15, 0x10, 0xFFFF_FFFF_8000_2A3C, 61), None)),
        ("scause  0xf\t15\nstval  0x2fb0\t12208\n", Trap(Printed(15, 0x2FB0), None)),
        ("sepc 0xc, stval 2fb0, scause 15", Trap(Printed(15, 0x2FB0, 0xC), None)),
        ("mcause: 0000000d mtval: 00000008 mepc: 80001234", Trap(Printed(13, 8, 0x8000_1234), None)),
        ("scause 0xf stval 0x0 pid=0", Trap(Printed(15, 0), None)),
    ],
)  # fmt: skip
def test_what_kernels_print_is_read(text: str, trap: Trap) -> None:
    assert is_trap(text)
    assert read_trap(text) == trap


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "there is no scause in it"),
        ("panic: mappages: remap", "panic: mappages: remap is no trap, so there is no address to look at"),
        ("hart 1 starting\npanic: walk\n", "panic: walk is no trap"),
        ("because 5 of it", "there is no scause in it"),
        ("usertrap(): unexpected scause 0xf pid=3", "no stval"),
        (USER + "usertrap(): unexpected scause 0xd pid=4", "no stval"),  # the last is not made of two
        ("scause 123456789 stval 0x0", "hexadecimal?"),
        ("scause 99999999999999999999 stval 0", "hexadecimal?"),
        ("scause 0x1ffffffffffffffff stval 0", "has more than 64 bits"),
        ("scause 0xf sepc=0xfffffffffffffffffff stval=0x1", "has more than 64 bits"),
    ],
)
def test_what_is_no_whole_trap_is_refused_with_what_is_missing(text: str, words: str) -> None:
    with pytest.raises(BadAddress, match=re.escape(words)):
        read_trap(text)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("hart 1 starting\npanic: walk\n", "walk"),
        ("panic: my own\npanic: mappages: remap\npanic: ilock", "mappages: remap"),
        ("panic: mappages:\n remap", "mappages: remap"),
        ("panic: freeing free page\nbacktrace:", "freeing free page"),
        ("panic: walker", "walker"),
    ],
)
def test_a_panic_is_read_the_last_one_that_is_known_or_else_the_last(text: str, words: str) -> None:
    assert is_trap(text)
    assert read_panic(text) == Panicked(words, *PANICS.get(words, ()))


def test_a_panic_with_its_trap_is_a_trap_and_one_without_is_sent_for_it() -> None:
    assert read_panic("scause 0xd\nsepc=0x80001234 stval=0x8\npanic: kerneltrap\n") is None
    found = read_panic("panic: kerneltrap\n")
    assert found is not None and found.when and not found.look_for
    assert read_panic("no panic at all") is None


@given(st.text(st.sampled_from("scausetvalepid=:x0123456789abf \n\t")) | st.text())
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        trap = read_trap(text)
    except BadAddress:
        return
    assert is_trap(text)
    assert 0 <= trap.printed.scause < 1 << 64 and 0 <= trap.printed.stval < 1 << 64


registers = st.integers(0, (1 << 64) - 1)


@given(registers, registers, registers, st.integers(1, 1 << 31), st.sampled_from(["0x%x", "0x%016x", "%016x"]))
def test_registers_come_back_in_every_width(scause: int, stval: int, sepc: int, pid: int, form: str) -> None:
    words = f"scause {form % scause} pid={pid}\n sepc={form % sepc} stval={form % stval}"
    assert read_trap(words).printed == Printed(scause, stval, sepc, pid)


def test_a_log_of_megabytes_takes_no_longer_than_its_length() -> None:
    read_trap(" " * (1 << 20) + "cause" + " " * (1 << 20) + USER * 2000)


def test_what_is_said_of_a_panic_is_what_the_book_says() -> None:
    rows = re.findall(r"^\| `([^`]+)`(?: \([^)]*\))? \| (.+?) \| (.+?) \|$", FAILURES.read_text(), re.M)
    plain = {name: tuple(re.sub("[`*]", "", words) for words in rest) for name, *rest in rows}
    assert plain == PANICS
