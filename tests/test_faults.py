"""Faults: from scause, stval and sepc to the space and the reason."""

from __future__ import annotations

import pytest

from elves import EXECUTE, READ, WRITE, build_elf
from pagebook.errors import BadAddress, BadTarget
from pagebook.faults import FARTHEST, KINDS, Fault, explain_fault, nearest
from pagebook.machine import Machine
from pagebook.mmu import ACCESS_FAULT, CAUSES, PAGE_FAULT, Extensions, Kind, Mmu
from pagebook.xv6.boot import boot, machine

PROGRAM = build_elf(
    [(0, 5, 0x1800, READ | EXECUTE, b"\x13\0\0\0"), (0x2000, 2, 8, READ | WRITE, b"")],
    symbols={"start": 0, "recurse": 0x40, "$x": 0x44, ".L2": 0x44, "main": 0x80},
)
SYMBOLS = {
    "etext": 0x8000_3000,
    "end": 0x8000_5000,
    "trampoline": 0x8000_2000,
    "uservec": 0x8000_2000,
    "kalloc": 0x8000_1000,
}


def made(**options: object) -> Machine:
    return machine(boot(ram=2 << 20, program=("crash", PROGRAM), **options))  # type: ignore[arg-type]


MODEL = made()


def fault(scause: int, stval: int, sepc: int | None = None, space: str | None = None, of: Machine = MODEL) -> Fault:
    return explain_fault(of, Mmu(of.memory), scause, stval, sepc, space)


def test_the_kinds_are_those_of_the_causes() -> None:
    for cause, kind in KINDS.items():
        assert cause in (PAGE_FAULT[kind], ACCESS_FAULT[kind])
    assert set(KINDS) == set(CAUSES)


def test_the_youngest_process_that_fits_explains_and_the_others_are_named() -> None:
    found = fault(15, 0x3FF8)
    assert (found.chosen.space.name, found.fits) == ("crash", True)
    assert "guard page" in found.chosen.place
    found = fault(15, 0x10)
    assert (found.chosen.space.name, found.same) == ("crash", ("sh", "init", "kernel"))


def test_sepc_leaves_only_the_spaces_that_can_run_it() -> None:
    found = fault(15, 0x10, 0x8000_1234)
    assert (found.chosen.space.name, found.same) == ("kernel", ())
    found = fault(13, 0x9000, 0x1100)  # the text of the others ends at 0x1000
    assert (found.chosen.space.name, found.same) == ("crash", ())


def test_a_space_may_be_asked_for_by_name_or_pid() -> None:
    assert fault(15, 0x10, space="init").chosen.space.name == "init"
    assert fault(15, 0x10, space="2").chosen.space.name == "sh"
    with pytest.raises(BadTarget, match="has no address space 'none'"):
        fault(15, 0x10, space="none")


def test_code_is_found_in_the_program_and_in_its_functions() -> None:
    assert fault(13, 0x9000, 0x4A).code == (
        "0x4a is in text of crash, recurse+0xa", 'the instruction is the line "4a:" of user/crash.asm',
    )  # fmt: skip
    assert fault(13, 0x9000, 0x80, "crash").code[0] == "0x80 is in text of crash, main+0x0"


def test_code_of_the_kernel_is_in_the_kernel_s_listing() -> None:
    of = Machine(**{**MODEL.__dict__, "symbols": SYMBOLS})
    assert fault(13, 8, 0x8000_1010, of=of).code == (
        "0x80001010 is in kernel text of kernel, kalloc+0x10",
        'the instruction is the line "80001010:" of kernel/kernel.asm',
    )


def test_code_in_the_trampoline_is_found_where_it_was_linked() -> None:
    of = Machine(**{**MODEL.__dict__, "symbols": SYMBOLS})
    found = fault(13, 0x9000, 0x3F_FFFF_F00C, of=of)
    assert found.chosen.regime.priv == "S"  # a page without U: only the kernel runs it
    assert found.code == (
        "0x3ffffff00c is in trampoline of crash, uservec+0xc",
        'the instruction is the line "8000200c:" of kernel/kernel.asm',
    )
    bare = Machine(**{**MODEL.__dict__, "symbols": {}})
    assert fault(13, 0x9000, 0x3F_FFFF_F00C, of=bare).code[1].startswith('the instruction is the line "3ffffff00c:"')


def test_a_fetch_that_faults_needs_no_sepc_that_runs() -> None:
    found = fault(12, 0x4010, 0x4010)
    assert (found.chosen.space.name, found.fits) == ("crash", True)
    assert found.code == ("nothing can be executed at 0x4010 in crash: the jump to it is what faulted",)


def test_a_sepc_that_nobody_runs_is_said_and_all_spaces_are_asked() -> None:
    found = fault(13, 0x9000, 0x1234_5678)
    assert found.fits
    assert found.code == ("nothing can be executed at 0x12345678 in crash: are the files those of this crash?",)


def test_spaces_that_could_run_it_and_do_not_fit_are_named() -> None:
    found = fault(13, 0x4008, 0x10)  # crash is larger: there it is the stack
    assert (found.chosen.space.name, found.passed, found.same) == ("sh", ("crash",), ("init",))
    assert fault(13, 0x9000, 0x10).passed == ()


def test_who_printed_the_numbers_decides_between_programs_and_the_kernel() -> None:
    wild = 0x0505_0505_0505_0504
    assert fault(12, wild, wild).chosen.space.name == "crash"
    kernel = explain_fault(MODEL, Mmu(MODEL.memory), 12, wild, wild, priv="S")
    assert (kernel.chosen.space.name, kernel.chosen.regime.priv, kernel.same) == ("kernel", "S", ())
    user = explain_fault(MODEL, Mmu(MODEL.memory), 13, 0x9000, 0x8000_1234, priv="U")
    assert (user.chosen.space.name, user.chosen.regime.priv) == ("crash", "U")
    forced = explain_fault(MODEL, Mmu(MODEL.memory), 13, 0x9000, None, "sh", "S")
    assert (forced.chosen.space.name, forced.chosen.regime.priv) == ("sh", "S")


def test_no_instruction_is_at_an_odd_address() -> None:
    assert fault(13, 0x9000, 0x11).code == (
        "0x11 is odd, and no instruction stands at an odd address: is a digit missing?",
    )


def test_an_access_that_is_allowed_now_fits_no_fault() -> None:
    found = fault(15, 0x4008, space="crash")
    assert (found.fits, found.chosen.outcome.cause, found.same) == (False, None, ())
    other = fault(5, 0x10_0000)
    assert (other.fits, other.chosen.outcome.cause) == (False, 13)


def test_an_a_bit_that_is_clear_today_hides_no_code() -> None:
    svade = Mmu(MODEL.memory, Extensions(svadu=False))
    found = explain_fault(MODEL, svade, 13, 0x9000, 0x1100)
    assert found.chosen.space.name == "crash"


@pytest.mark.parametrize(
    ("scause", "words"),
    [
        (2, "illegal instruction"),
        (8, "system call from user mode"),
        (6, "store or AMO address misaligned"),
        (10, "it is one that page tables have no part in"),
        (1 << 64, "it is one that page tables have no part in"),
        ((1 << 63) + 5, "a timer interrupt, not a fault"),
        ((1 << 31) + 9, "an external interrupt, not a fault"),
        ((1 << 63) + 1, "a software interrupt, not a fault"),
    ],
)
def test_what_is_no_fault_of_an_address_is_named(scause: int, words: str) -> None:
    with pytest.raises(BadAddress, match=words):
        fault(scause, 0)


def test_a_machine_without_spaces_explains_nothing() -> None:
    with pytest.raises(BadAddress, match="bare has no address space to look in"):
        fault(13, 0, of=Machine("bare", MODEL.memory, ()))


def test_a_stval_that_is_no_address_is_refused() -> None:
    with pytest.raises(BadAddress, match="is no 64-bit address"):
        fault(13, 1 << 64)
    with pytest.raises(BadAddress, match="is no 64-bit address"):
        fault(13, 0, 1 << 64)


def test_the_nearest_symbol_is_the_last_before_but_not_a_far_one() -> None:
    symbols = {"a": 0x100, "b": 0x200, "$x": 0x204, ".L1": 0x204}
    assert nearest(symbols, 0x205) == "b+0x5"
    assert nearest(symbols, 0x1FF) == "a+0xff"
    assert nearest(symbols, 0x200 + FARTHEST - 1) == f"b+{FARTHEST - 1:#x}"
    assert nearest(symbols, 0x200 + FARTHEST) is None
    assert nearest(symbols, 0xFF) is None
    assert nearest({}, 0) is None


def test_the_same_program_twice_is_told_apart_and_found_in_one_listing() -> None:
    k = boot(ram=2 << 20, program=("sh", PROGRAM))
    of = machine(k)
    found = fault(13, 0x9000, 0x1100, of=of)
    assert (found.chosen.space.name, found.chosen.kind) == ("sh.3", Kind.LOAD)
    assert found.code[1].endswith("of user/sh.asm")


def test_a_program_whose_file_is_damaged_has_no_symbols() -> None:
    k = boot(ram=2 << 20, program=("crash", PROGRAM))
    k.files["crash"] = PROGRAM[:200]
    assert machine(k).space("crash").symbols == {}
