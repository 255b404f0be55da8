"""Faults: from scause, stval and sepc to the space and the reason."""

from __future__ import annotations

from dataclasses import replace

import pytest

from elves import EXECUTE, READ, WRITE, build_elf
from pagebook.errors import BadAddress, BadTarget
from pagebook.faults import AS_EXEC_LEFT_IT, FARTHEST, Fault, Otherwise, explain_fault, explain_otherwise, nearest
from pagebook.machine import Machine
from pagebook.mmu import ACCESS_FAULT, CAUSES, PAGE_FAULT, Extensions, Kind, Mmu
from pagebook.printed import KINDS, Printed
from pagebook.table import AddressSpace
from pagebook.xv6.boot import boot, machine

STORE, NEITHER, ATOMIC, VENDOR, LAST = 0x20, 0x34, 0x28, 0x2C, 0xFFE
CODE = bytearray(b"\x08\x41" * 0xC00)  # c.lw a0,0(a0), but for
CODE[STORE : STORE + 4] = (0x00A5_A023).to_bytes(4, "little")  # sw a0,0(a1)
CODE[NEITHER : NEITHER + 2] = (0x4589).to_bytes(2, "little")  # c.li a1,2
CODE[ATOMIC : ATOMIC + 4] = (0x00B5_252F).to_bytes(4, "little")  # amoadd.w a0,a1,(a0)
CODE[VENDOR : VENDOR + 4] = (0x0000_000B).to_bytes(4, "little")  # custom-0
CODE[LAST : LAST + 4] = (0x00A5_A023).to_bytes(4, "little")  # sw a0,0(a1), over the end of a page
PROGRAM = build_elf(
    [(0, 0x1800, 0x1800, READ | EXECUTE, bytes(CODE)), (0x2000, 2, 8, READ | WRITE, b"")],
    symbols={"start": 0, "recurse": 0x40, "$x": 0x44, ".L2": 0x44, "main": 0x80},
)
NOT_READ = ": its bytes are not in this memory, so that it may be this one, and is not sure"
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


def fault(
    scause: int,
    stval: int,
    sepc: int | None = None,
    space: str | None = None,
    of: Machine = MODEL,
    pid: int | None = None,
    priv: str | None = None,
    model: bool = True,
) -> Fault:
    return explain_fault(of, Mmu(of.memory), Printed(scause, stval, sepc, pid), space, priv, model)


def otherwise(scause: int, stval: int, sepc: int | None, pid: int | None = None, **more: object) -> Otherwise:
    return explain_otherwise(MODEL, Mmu(MODEL.memory), Printed(scause, stval, sepc, pid), **more)  # type: ignore[arg-type]


def test_of_an_illegal_instruction_it_is_said_where_it_stands_and_which_bits() -> None:
    found = otherwise(2, 0, VENDOR, 3)
    assert found.why.startswith("illegal instruction")
    assert found.code == (
        f"{VENDOR:#x} is in text of crash, start+{VENDOR:#x}",
        f'the instruction is the line "{VENDOR:x}:" of user/crash.asm: 0x0000000b',
    )
    assert (found.same, found.doubts) == ((), ())


def test_an_instruction_that_is_legal_today_is_doubted_and_the_bits_that_a_hart_tells_decide() -> None:
    assert otherwise(2, 0, STORE, 3).doubts[0].startswith("what stands there now is sw, which is legal")
    every = otherwise(2, 0, VENDOR)
    assert every.code[0].endswith("of crash, start+0x2c")
    assert set(every.same) >= {"sh", "init"}
    shell = MODEL.space("sh")
    bits = MODEL.memory.read64(shell.table.translate(VENDOR) or 0) & 0xFFFF_FFFF
    assert "of sh" in otherwise(2, bits, VENDOR).code[0] or bits & 3 != 3


def test_of_other_traps_it_is_said_what_they_are_and_who_could_have_run_the_code() -> None:
    timer = otherwise(0x8000_0000_0000_0005, 0, 0x8000_1000)
    assert timer.why == "a timer interrupt, which no instruction causes"
    assert timer.code[0] == "0x80001000 is in kernel text of kernel"
    assert otherwise(3, 0, 0x7F_0000).doubts == ("nothing that this machine has now can run code at 0x7f0000",)
    assert otherwise(8, 0, None)[2:] == (None, (), (), (), ())
    assert otherwise(2, 0, VENDOR, 9, model=True).notes[0].startswith("9 is a pid of your guest's")


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
        "0x4a is in text of crash, recurse+0xa",
        'the instruction is the line "4a:" of user/crash.asm: lw, which loads',
    )  # fmt: skip
    assert fault(13, 0x9000, 0x80, "crash").code[0] == "0x80 is in text of crash, main+0x0"


def test_code_of_the_kernel_is_in_the_kernel_s_listing() -> None:
    of = Machine(**{**MODEL.__dict__, "symbols": SYMBOLS})
    assert fault(13, 8, 0x8000_1010, of=of).code == (
        "0x80001010 is in kernel text of kernel, kalloc+0x10",
        'the instruction is the line "80001010:" of kernel/kernel.asm' + NOT_READ,
    )


def test_code_in_the_trampoline_is_found_where_it_was_linked() -> None:
    of = Machine(**{**MODEL.__dict__, "symbols": SYMBOLS})
    found = fault(13, 0x9000, 0x3F_FFFF_F00C, of=of)
    assert found.chosen.regime.priv == "S"  # a page without U: only the kernel runs it
    assert found.code == (
        "0x3ffffff00c is in trampoline of crash, uservec+0xc",
        'the instruction is the line "8000200c:" of kernel/kernel.asm' + NOT_READ,
    )
    bare = Machine(**{**MODEL.__dict__, "symbols": {}})
    assert fault(13, 0x9000, 0x3F_FFFF_F00C, of=bare).code[1].startswith('the instruction is the line "3ffffff00c:"')


def test_a_fetch_that_faults_needs_no_sepc_that_runs() -> None:
    found = fault(12, 0x4010, 0x4010)
    assert (found.chosen.space.name, found.fits) == ("crash", True)
    assert found.code == ("nothing can be executed at 0x4010 in crash: the jump to it is what faulted",)


def test_a_sepc_that_nobody_runs_fits_nobody() -> None:
    found = fault(13, 0x9000, 0x1234_5678)
    assert (found.fits, found.named, found.code) == (False, False, ())
    assert found.doubts == ("nothing that this machine has now can run code at 0x12345678",)
    asked = fault(13, 0x9000, 0x1234_5678, "crash")
    assert (asked.fits, asked.named) == (False, True)
    assert asked.code == ("nothing can be executed at 0x12345678 in crash: are the files those of this crash?",)


def test_code_that_cannot_store_rules_its_space_out_of_a_store() -> None:
    found = fault(15, 0x2FB0, NEITHER)
    assert found.ruled_out == (("crash", (0x4589, 2, None, "", True)),)
    assert (found.chosen.space.name, found.fits, found.certain) == ("sh", True, True)
    assert "crash" not in (*found.same, *found.passed)
    loads = fault(15, 0x10, 0xC)  # a load in crash and sh, a branch in init
    assert (loads.fits, loads.named, loads.certain) == (False, False, False)
    assert {one.space for one in loads.ruled_out} == {"crash", "sh", "init"}
    assert loads.doubts == ("no code that this machine has at 0xc now makes a store",)


def test_a_space_that_is_asked_for_is_shown_though_its_code_rules_it_out() -> None:
    found = fault(15, 0x10, 0x8, "init")
    assert (found.fits, found.named, found.chosen.outcome.cause) == (False, True, 15)
    assert found.code[1] == 'the instruction is the line "8:" of user/init.asm: lbu, which loads'


def test_code_that_makes_such_an_access_is_named_and_sure() -> None:
    for scause, sepc, words in (
        (15, STORE, "sw, which stores"),
        (13, 0, "lw, which loads"),
        (15, ATOMIC, "amoadd.w, which loads and stores"),
        (15, LAST, "sw, which stores"),
    ):
        found = fault(scause, 0x9000, sepc, "crash")
        assert (found.fits, found.certain) == (True, True), words
        assert found.code[1].endswith(f": {words}")
    assert not fault(13, 0x9000, STORE, "crash").fits
    assert not fault(13, 0x9000, ATOMIC, "crash").fits  # an AMO's fault is a store's


def test_an_instruction_that_is_not_known_may_do_anything() -> None:
    for scause in (13, 15):
        found = fault(scause, 0x9000, VENDOR, "crash")
        assert (found.fits, found.certain) == (True, False)
    assert found.code[1].endswith("0x0000000b, of which it is not known what it does")


def test_code_that_is_not_mapped_now_may_have_made_it_but_ranks_after_what_is_read() -> None:
    k = boot(ram=2 << 20, program=("crash", PROGRAM))
    of = machine(k)
    one = of.space("sh").table
    assert isinstance(one, AddressSpace)
    k.memory.write64(one.find(0)[0], 0)  # its text is not there
    found = fault(13, 0x9000, 0xC, of=of)
    assert (found.chosen.space.name, found.certain, found.same) == ("crash", True, ())
    lazy = fault(15, 0x9000, 0xC, of=of)  # all others load
    assert (lazy.chosen.space.name, lazy.fits, lazy.certain) == ("sh", True, False)
    assert lazy.code == ("0xc is not mapped now in sh: loaded lazily, or gone; it may be this one",)
    assert not fault(15, 0x9000, 0x8000, of=of).fits  # beyond the size of all


def test_of_a_fetch_stval_is_sepc_or_the_second_half_over_the_end_of_a_page() -> None:
    assert fault(12, 0x4010, 0x4010).fits
    assert fault(12, 0x6000, 0x5FFE).fits
    for stval, sepc in ((0x4012, 0x4010), (0x4010, 0x4000), (0x4000, 0x4002)):
        found = fault(12, stval, sepc)
        assert not found.fits
        assert f"stval {stval:#x} is not the address of that fetch" in found.doubts[0]


def test_the_printed_pid_leaves_that_process_alone_or_says_that_it_is_gone() -> None:
    found = fault(15, 0x10, pid=2)
    assert (found.chosen.space.name, found.same, found.fits) == ("sh", (), True)
    gone = fault(15, 0x10, pid=4, model=False)
    assert (gone.fits, gone.named, gone.code) == (False, False, ())
    assert gone.doubts == ("there is no process 4 now; those there are: 1 (init), 2 (sh), 3 (crash)",)


def test_in_a_guest_what_fits_nobody_is_gone_and_the_advice_is_a_call_that_can_be_typed() -> None:
    advice = fault(15, 0x10, 0xC, model=False).advice
    assert advice[0] == "xv6 kills the process that made a fault: it is probably gone, and its page table with it"
    assert "pagebook fault --scause 0xf --stval 0x10 --sepc 0xc --kernel kernel/kernel" in advice[1]
    assert "break usertrap if $scause == 0xf" in advice[2]
    assert "xv6 kills" not in "".join(fault(15, 0x10, 0xC, priv="S", model=False).advice)
    assert "--root" in fault(15, 0x10, 0xC, of=replace(MODEL, guest=""), model=False).advice[0]
    assert "leave out the pid" in fault(15, 0x4008, pid=3).advice[1]


def test_behind_the_size_that_exec_gave_the_model_says_that_it_knows_no_heap() -> None:
    size = MODEL.space("crash").size
    assert size is not None
    found = fault(15, size + 8, pid=3)
    assert found.advice == (AS_EXEC_LEFT_IT,) if found.fits else AS_EXEC_LEFT_IT not in found.advice
    assert any(AS_EXEC_LEFT_IT in fault(15, size + 8, sepc).advice for sepc in range(0, 0x40, 2))
    assert all(AS_EXEC_LEFT_IT not in fault(15, 0x10, sepc).advice for sepc in range(0, 0x40, 2))


def test_a_pid_that_only_the_guest_knows_keeps_nobody_from_being_asked() -> None:
    found = fault(15, 0x10, pid=9)
    assert (found.fits, found.chosen.space.name) == (True, "crash")
    assert found.notes == ("9 is a pid of your guest's; the model has no such process, so each of its own was asked",)
    assert "unexpected scause 0xf pid=9, with" in found.chosen.xv6, "as the kernel printed it"
    assert fault(15, 0x10, pid=3).notes == ()
    assert fault(15, 0x10, pid=9, model=False).notes == ()


def test_a_jump_into_the_guard_page_is_no_overflow_of_the_stack() -> None:
    guard = next(one for one in MODEL.space("sh").areas if one.name == "guard page")
    (jump,) = fault(12, guard.start, guard.start, "sh").chosen.likely
    (store,) = fault(15, guard.start, None, "sh").chosen.likely
    assert jump.startswith("a jump into the stack's guard page")
    assert store.startswith("the stack overflowed")


def test_in_a_guest_what_fits_a_process_that_lives_is_to_be_held_against_the_pid() -> None:
    assert fault(15, 0x10, model=False).advice[0].startswith("is 3 the pid that usertrap printed?")
    assert fault(15, 0x10, model=False, pid=3).advice == ()
    assert fault(15, 0x10, None, "kernel", model=False).advice == ()
    assert fault(15, 0x10).advice == ()


def test_spaces_that_could_run_it_and_do_not_fit_are_named() -> None:
    found = fault(13, 0x4008, 0xC)  # crash is larger: there it is the stack
    assert (found.chosen.space.name, found.passed, found.same) == ("sh", ("crash",), ())
    assert fault(13, 0x9000, 0xC).passed == ()


def test_who_printed_the_numbers_decides_between_programs_and_the_kernel() -> None:
    wild = 0x0505_0505_0505_0504
    assert fault(12, wild, wild).chosen.space.name == "crash"
    kernel = fault(12, wild, wild, priv="S")
    assert (kernel.chosen.space.name, kernel.chosen.regime.priv, kernel.same) == ("kernel", "S", ())
    user = fault(13, 0x9000, 0x8000_1234, priv="U")
    assert (user.chosen.space.name, user.chosen.regime.priv) == ("crash", "U")
    forced = fault(13, 0x9000, None, "sh", priv="S")
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
    found = explain_fault(MODEL, svade, Printed(13, 0x9000, 0x1100))
    assert found.chosen.space.name == "crash"


@pytest.mark.parametrize(
    ("scause", "words"),
    [
        (2, "illegal instruction"),
        (8, "system call from user mode"),
        (6, "store or AMO address misaligned"),
        (10, "it is one that page tables have no part in"),
        (1 << 64, "it is one that page tables have no part in"),
        ((1 << 63) + 5, "a timer interrupt"),
        ((1 << 31) + 9, "an external interrupt"),
        ((1 << 63) + 1, "a software interrupt"),
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
    assert found.code[1].endswith("of user/sh.asm: lw, which loads")


def test_a_program_whose_file_is_damaged_has_no_symbols() -> None:
    k = boot(ram=2 << 20, program=("crash", PROGRAM))
    k.files["crash"] = PROGRAM[:200]
    assert machine(k).space("crash").symbols == {}
