"""walk with an access, fault, pte, satp and quiz on the command line: what they print, and how they refuse."""

from __future__ import annotations

import io
import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from calls import BUFFERED, Answer, call, core_of
from elves import build_elf
from pagebook.cli import output
from pagebook.mmu import RULES
from pagebook.quiz import make_question
from pagebook.sv import SV32, R
from worlds import World

STORE_IN_GUARD_PAGE = """\
store of 1 byte at 0x2ff8 in user mode, sh: Sv39, root 0x87f41000
  va    000000000 000000000 000000010 111111111000
  index         0         0         2 offset 0xff8
  level 2: index 0   PTE 0x21fcf401 at 0x87f41000  v------- -> table 0x87f3d000
  level 1: index 0   PTE 0x21fcf001 at 0x87f3d000  v------- -> table 0x87f3c000
  level 0: index 2   PTE 0x21fce807 at 0x87f3c010  vrw----- -> page 0x87f3a000  <- U=0
  fault     store/AMO page fault: U is 0, and the access is by user mode [supervisor-page]
  rule      step 6 of the translation process in the privileged specification
  decided   U=0 in the level-0 PTE at 0x87f3c010
  hardware  scause 0xf, stval 0x2ff8
  xv6       usertrap(): unexpected scause 0xf pid=2, with sepc and stval=0x2ff8; it kills the process
  place     0x2ff8 is in guard page of sh
  likely    the stack overflowed into its guard page: recursion without end, or large local arrays
"""

STORE_TO_DATA = """\
store of 8 bytes at 0x1000 in user mode, sh: Sv39, root 0x87f41000
  va    000000000 000000000 000000001 000000000000
  index         0         0         1   offset 0x0
  level 2: index 0   PTE 0x21fcf401 at 0x87f41000  v------- -> table 0x87f3d000
  level 1: index 0   PTE 0x21fcf001 at 0x87f3d000  v------- -> table 0x87f3c000
  level 0: index 1   PTE 0x21fcec17 at 0x87f3c008  vrw-u--- -> page 0x87f3b000
  sets      A and D, by the hart; the PTE at 0x87f3c008 is then 0x21fcecd7
  result    allowed: 0x1000 reaches physical address 0x87f3b000
  place     0x1000 is in data of sh
"""

STRADDLE = """\
load of 4 bytes at 0x1ffe in user mode, sh: Sv39, root 0x87f41000
  page 1: 2 of the 4 bytes, from 0x1ffe
  va    000000000 000000000 000000001 111111111110
  index         0         0         1 offset 0xffe
  level 2: index 0   PTE 0x21fcf401 at 0x87f41000  v------- -> table 0x87f3d000
  level 1: index 0   PTE 0x21fcf001 at 0x87f3d000  v------- -> table 0x87f3c000
  level 0: index 1   PTE 0x21fcec17 at 0x87f3c008  vrw-u--- -> page 0x87f3b000
  sets      A, by the hart; the PTE at 0x87f3c008 is then 0x21fcec57
  page 2: 2 of the 4 bytes, from 0x2000
  va    000000000 000000000 000000010 000000000000
  index         0         0         2   offset 0x0
  level 2: index 0   PTE 0x21fcf401 at 0x87f41000  v------- -> table 0x87f3d000
  level 1: index 0   PTE 0x21fcf001 at 0x87f3d000  v------- -> table 0x87f3c000
  level 0: index 2   PTE 0x21fce807 at 0x87f3c010  vrw----- -> page 0x87f3a000  <- U=0
  fault     load page fault in the second page it touches: U is 0, and the access is by user mode [supervisor-page]
  rule      step 6 of the translation process in the privileged specification
  decided   U=0 in the level-0 PTE at 0x87f3c010
  hardware  scause 0xd, stval 0x2000
  xv6       usertrap(): unexpected scause 0xd pid=2, with sepc and stval=0x2000; it kills the process
  place     0x2000 is in guard page of sh
  likely    the stack overflowed into its guard page: recursion without end, or large local arrays
"""

MACHINE_MODE = """\
load of 1 byte at 0x80000000 in machine mode, kernel: Sv39, root 0x87fff000
  physical  machine mode uses physical addresses; no PTE is read
  result    allowed: 0x80000000 reaches physical address 0x80000000
  place     0x80000000 is in kernel text of kernel
"""

USER_PAGE = """\
load of 1 byte at 0x1000 in supervisor mode with MXR, sh: Sv39, root 0x87f41000
  va    000000000 000000000 000000001 000000000000
  index         0         0         1   offset 0x0
  level 2: index 0   PTE 0x21fcf401 at 0x87f41000  v------- -> table 0x87f3d000
  level 1: index 0   PTE 0x21fcf001 at 0x87f3d000  v------- -> table 0x87f3c000
  level 0: index 1   PTE 0x21fcec17 at 0x87f3c008  vrw-u--- -> page 0x87f3b000  <- U=1
  fault     load page fault: U is set, and supervisor mode may use such a page only with SUM, and never \
fetch [user-page]
  rule      step 6 of the translation process in the privileged specification
  decided   U=1 in the level-0 PTE at 0x87f3c008, SUM=0 in sstatus
  hardware  scause 0xd, stval 0x1000
  xv6       only the trampoline runs in this table, and there a trap still goes to uservec: it hangs or panics, unsaid
  place     0x1000 is in data of sh
  likely    the kernel uses a user's page directly; it must copy with copyin and copyout, or set SUM, and may never \
execute it
"""

FAULT_HEAD = """\
scause 0xf (store/AMO page fault), stval 0x2ff8, sepc 0x38
  code      0x38 is in text of sh
  code      the instruction is the line "38:" of user/sh.asm: sd, which stores
  also      the same comes out in init; name a space to have it in that one
"""

NO_FAULT = """\
scause 0xf (store/AMO page fault), stval 0x1000
  but       as this machine is now, that does not happen: in sh the access is allowed
  then      the addresses here are those of the files that were given, or of the built-in programs: give the kernel \
and the program that ran, --kernel kernel/kernel --init user/_init --sh user/_sh --program user/_NAME
"""

PTE = """\
PTE 0x21fdd0c7 as Sv39 reads it: vrw---ad
  bits      0000000000000000000000000000000000100001111111011101000011000111
  63        N        0            part of a 64 KiB page (Svnapot)
  62-61     PBMT     0            memory type (Svpbmt)
  60-54     reserved 0x0          must be 0
  53-10     PPN      0x87f74      the frame at 0x87f74000
  9-8       RSW      0            free for the kernel's own use
  7         D        1            dirty
  6         A        1            accessed
  5         G        0            not in every space
  4         U        0            not for user mode
  3         X        0            not executable
  2         W        1            writable
  1         R        1            readable
  0         V        1            valid
  is        a leaf, which maps a page
  allows    user mode: nothing
  allows    supervisor mode: load, store, amo
  allows    supervisor mode with SUM: load, store, amo
  level 2   a superpage's physical address is not aligned to its size [misaligned-superpage]
  level 1   a superpage's physical address is not aligned to its size [misaligned-superpage]
  level 0   a page of 4K at 0x87f74000
"""

SATP = """\
satp 0x8000700000087fff, 64 bits
  MODE      8, Sv39: 3 levels, 39-bit virtual addresses
  ASID      7
  PPN       0x87fff: the root table is at 0x87fff000
"""

BARE = """\
satp 0x0, 32 bits
  MODE      0, Bare: addresses are physical, there is no translation
  ASID      0
  PPN       0x0: not used
"""

QUIZ = """\
quiz --seed 3 --level easy
  memory    256K from 0x80000000
  satp      0x8000000000080000 (Sv39)
  hart      user mode, SUM=0, MXR=0; Svadu: it sets A and D
  PTE       0x20000401 at 0x80000000  v-------
  PTE       0x20000801 at 0x80001010  v-------
  PTE       0x200064c7 at 0x80002000  vrw---ad
  PTE       0x2000c05b at 0x80002008  vr-xu-a-
  PTE       0x200088d7 at 0x80002010  vrw-u-ad
  PTE       0x2000b048 at 0x80002018  ---x--a-
  PTE       0x2000c047 at 0x80002028  vrw---a-
  else      all other PTEs are 0
  access    store of 4 bytes at 0x40248c
  bits      000000000 000000010 000000010 010010001100
  question  which physical address does it reach, or with which scause does it fault?
"""

SOLUTION = """\
store of 4 bytes at 0x40248c in user mode, the table: Sv39, root 0x80000000
  va    000000000 000000010 000000010 010010001100
  index         0         2         2 offset 0x48c
  level 2: index 0   PTE 0x20000401 at 0x80000000  v------- -> table 0x80001000
  level 1: index 2   PTE 0x20000801 at 0x80001010  v------- -> table 0x80002000
  level 0: index 2   PTE 0x200088d7 at 0x80002010  vrw-u-ad -> page 0x80022000
  result    allowed: 0x40248c reaches physical address 0x8002248c
"""

HINT = "  see the answer: pagebook quiz --seed 3 --level easy --solve\n"

GOLDEN = [
    ("walk 0x2ff8 --space sh --access store", 1, STORE_IN_GUARD_PAGE),
    ("walk 0x1000 --space 2 --access STORE --size 8 --priv u", 0, STORE_TO_DATA),
    ("walk 0x1ffe --space sh --size 4", 1, STRADDLE),
    ("walk 0x80000000 --priv M", 0, MACHINE_MODE),
    ("walk 0x1000 --space sh --priv S --mxr", 1, USER_PAGE),
    ("pte 0x21fdd0c7", 0, PTE),
    ("pte 21fdd0c7 --format SV39", 0, PTE),
    ("satp 0x8000700000087fff", 0, SATP),
    ("satp 0 --xlen 32", 0, BARE),
    ("quiz --seed 3", 0, QUIZ + HINT),
    ("quiz --seed 3 --solve", 0, QUIZ + SOLUTION),
    (
        "fault --scause 0xf --stval 0x2ff8 --sepc 0x38",
        0,
        FAULT_HEAD + STORE_IN_GUARD_PAGE.replace("store of 1 byte", "store"),
    ),
]


@pytest.mark.parametrize(("command", "status", "text"), GOLDEN, ids=[command for command, _, _ in GOLDEN])
def test_prints_to_the_letter(command: str, status: int, text: str) -> None:
    assert call(command) == Answer(status, text, "")


def test_without_an_access_a_walk_tells_only_what_is_mapped() -> None:
    plain = call("walk 0x2ff8 --space sh").must(0)
    assert plain.out.startswith("walk 0x2ff8 in sh")
    assert call("walk 0x2ff8 --space sh --svadu") == plain


@pytest.mark.parametrize("option", ["--access load", "--priv U", "--sum", "--mxr", "--size 1", "--svnapot", "--svpbmt"])
def test_any_option_of_an_access_makes_it_one(option: str) -> None:
    assert call(f"walk 0x1000 --space sh {option}").must(0).out.startswith("load of 1 byte at 0x1000 in user mode")


def test_the_usual_sizes_are_those_of_instructions() -> None:
    for kind, size in (("load", "1 byte"), ("store", "1 byte"), ("fetch", "2 bytes"), ("amo", "4 bytes")):
        assert call(f"walk 0x1000 --space sh --access {kind}").out.startswith(f"{kind} of {size} at")


def test_every_reason_stands_on_a_line_of_its_own_for_grep() -> None:
    text = call("walk 0x2ff8 --space sh --access store").out
    labels = [line.split()[0] for line in text.splitlines()]
    assert labels[6:] == ["fault", "rule", "decided", "hardware", "xv6", "place", "likely"]


def test_a_fault_that_does_not_fit_says_so_and_exits_with_1() -> None:
    answer = call("fault --scause 15 --stval 0x1000 --space sh").must(1)
    assert answer.out.startswith(NO_FAULT + "store at 0x1000 in user mode, sh")
    other = call("fault --scause 5 --stval 0x9000 --space sh").must(1)
    assert "that does not happen: in sh it comes to scause 0xd\n" in other.out


def test_a_fault_takes_numbers_as_panics_print_them() -> None:
    one = call("fault --scause 0x000000000000000f --sepc 0x0000000000000038 --stval 0x0000000000002ff8")
    assert one == call("fault --scause 15 --sepc 56 --stval 2ff8")


USERTRAP = """usertrap(): unexpected scause 0x000000000000000f pid=2
            sepc=0x0000000000000038 stval=0x0000000000002ff8
"""


def test_a_fault_takes_the_lines_as_the_kernel_printed_them() -> None:
    numbers = call("fault --scause 15 --sepc 0x38 --stval 0x2ff8 --pid 2 --trap user").must(0)
    assert call(["fault", "--printed", USERTRAP]) == numbers
    log = f"init: starting sh\n$ crash\n{USERTRAP.replace('2ff8', '1ff8')}$ crash again\n{USERTRAP}$ "
    assert call("fault --printed -", typed=log) == numbers
    answer = call("fault --printed -", typed=log, terminal=True)
    assert answer.status == 0
    assert answer.err.startswith("pagebook: paste what the kernel printed, then press Enter and Ctrl-D")


def test_who_printed_a_trap_is_asked_unless_told_otherwise() -> None:
    panic = "scause 0xd\nsepc=0x80001234 stval=0x8\npanic: kerneltrap\n"
    assert "load at 0x8 in supervisor mode, kernel" in call(["fault", "--printed", panic]).must(0).out
    wild = ["fault", "--printed", "usertrap(): unexpected scause 0xc sepc=0x505 stval=0x505", "--trap", "kernel"]
    assert "in supervisor mode, kernel" in call(wild).out


def test_a_panic_and_a_trap_that_is_no_fault_are_told_about_too() -> None:
    assert (
        call(["fault", "--printed", "panic: kfree"])
        .must(0)
        .out.startswith("panic kfree\n  why       the address is not the start of a page")
    )
    unknown = call(["fault", "--printed", "panic: ilock"]).must(1).out
    assert '  then      look for panic("ilock") in the kernel\'s source' in unknown
    illegal = call("fault --scause 2 --stval 0 --sepc 0x4 --space sh").must(0).out
    assert illegal.startswith("scause 0x2, stval 0x0, sepc 0x4\n  why       illegal instruction: ")
    assert '  code      the instruction is the line "4:" of user/sh.asm: 0x' in illegal
    assert "nothing that this machine has" in call("fault --scause 3 --stval 0 --sepc 0x7f0000").must(1).out


def test_a_log_without_end_is_not_read_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pagebook.cli.verbs.MOST_LOG", 1 << 10)
    assert "a log of more than 1K" in call("fault --printed -", typed="x" * 2000).refusal
    monkeypatch.setattr("pagebook.cli.output.sys", SimpleNamespace(stdin=None))
    assert "no standard input" in call("fault --printed -").refusal


def test_a_kernel_of_another_year_than_the_model_follows_is_said(tmp_path: Path) -> None:
    symbols = {"etext": 0x8000_1000, "end": 0x8000_3000, "trampoline": 0x8000_0000, "mappages": 0x8000_0000}
    kernel = tmp_path / "kernel"
    kernel.write_bytes(build_elf([(0x8000_0000, 8, 8, 5, b"kernel..")], symbols=symbols))
    told = call(["boot", "--json", "--ram", "2M", "--kernel", kernel])
    assert (told.status, told.err, json.loads(told.out)["machine"]) == (0, "", "xv6 (2022)")
    for verb in ("boot --quiet", "maps"):
        other = call([*verb.split(), "--ram", "2M", "--rev", "2025", "--kernel", kernel])
        assert other.err == (
            f"pagebook: {kernel} follows the rules of 2022, and --rev 2025 has the model follow others; leave out "
            "--rev for the kernel's own\n"
        )


def test_sv32_has_ptes_of_32_bits_and_no_high_fields() -> None:
    text = call("pte 0x21fdd01b --format sv32").must(0).out
    assert "  bits      00100001111111011101000000011011\n" in text
    assert "  31-10     PPN      0x87f74      the frame at 0x87f74000\n" in text
    assert "PBMT" not in text
    assert "  level 1   a superpage's physical address is not aligned" in text


@pytest.mark.parametrize(
    ("pte", "status", "words"),
    [
        ("0x80000000200020cf --svnapot", 0, "level 0   a page of 64K at 0x80000000"),
        ("0x80000000200020cf", 1, "is        invalid on every level: N is set, and Svnapot is not implemented"),
        ("0x20000000000000cf --svpbmt", 0, "62-61     PBMT     1"),
        ("0x80000000000000f --svrsw60t59b", 0, "60-54     reserved 0x20"),
        ("0x20000001", 0, "is        a pointer to a table"),
        ("0", 1, "is        absent: V is 0, and the hardware looks at no other bit"),
        ("0x200000cf", 0, "level 2   a page of 1G at 0x80000000"),
        ("0x7", 0, "allows    supervisor mode: load, store, amo"),
        ("0x7 --svade", 0, "allows    supervisor mode: nothing"),
    ],
)
def test_a_pte_is_read_as_the_hart_would(pte: str, status: int, words: str) -> None:
    assert f"\n  {words}" in call(f"pte {pte}").must(status).out


@pytest.mark.parametrize(
    ("command", "why"),
    [
        ("walk 0 --size 9", "Error: Invalid value for '--size': 9 is not in the range 1<=x<=8."),
        ("walk 0 --access jump", "Error: Invalid value for '--access': 'jump' is not one of"),
        ("walk 0 --priv H", "Error: Invalid value for '--priv': 'H' is not one of"),
        ("walk 0 --access amo --size 3", "pagebook: an AMO of 3 bytes: its size is a power of two"),
        ("walk 0x10000000000000000 --priv U", "pagebook: 0x10000000000000000 is no 64-bit address"),
        ("fault --stval 0", "Error: give --scause and --stval, or with --printed the lines that the kernel printed"),
        ("fault --scause 13", "Error: give --scause and --stval, or with --printed the lines that the kernel printed"),
        (
            "fault --printed x --pid 3",
            "Error: --printed has the numbers; leave out --scause, --stval, --sepc and --pid",
        ),
        ("fault --printed ''", "pagebook: there is no scause in it; give the lines that the kernel printed: "),
        ("fault --scause x --stval 0", "Error: Invalid value for '--scause': 'x' is not an address"),
        ("fault --scause 13 --stval 0 --space x", "pagebook: xv6 (2024) has no address space 'x'"),
        ("pte 0x10000000000000000", "pagebook: 0x10000000000000000 is no PTE of Sv39: that has 64 bits"),
        ("pte 0x100000000 --format sv32", "pagebook: 0x100000000 is no PTE of Sv32: that has 32 bits"),
        ("pte -- -1", "pagebook: -0x1 is no PTE of Sv39"),
        ("pte 1 --format sv64", "Error: Invalid value for '--format': 'sv64' is not one of"),
        ("satp 0x100000000 --xlen 32", "pagebook: 0x100000000 is not a 32-bit satp value"),
        ("satp 0x2000000000000000", "pagebook: satp 0x2000000000000000 has the reserved MODE 2"),
        ("satp 0 --xlen 128", "Error: Invalid value for '--xlen': '128' is not one of '32', '64'."),
        ("quiz --seed -1", "Error: Invalid value for '--seed': -1 is not in the range x>=0."),
        ("quiz --level odd", "Error: Invalid value for '--level': 'odd' is not one of 'easy', 'hard'."),
    ],
)
def test_what_cannot_be_is_refused_in_one_sentence(command: str, why: str) -> None:
    assert call(command).refusal.startswith(why)


def test_a_space_of_sv32_is_walked_with_its_own_width() -> None:
    world = World(SV32)
    world.table.map(0xFFFF_F000, 4096, 0x8000_5000, R)
    core = core_of(world, "narrow.core")
    answer = call(["walk", "0xfffff00c", core, "--access", "load"]).must(0)
    assert "allowed: 0xfffff00c reaches physical address 0x8000500c" in answer.out
    assert call(["walk", "0x100000000", core, "--access", "load"]).refusal.endswith("is no 32-bit address")


def test_json_carries_the_steps_and_the_same_verdict() -> None:
    document = json.loads(call("walk 0x2ff8 --space sh --access store --json").must(1).out)
    assert [step["index"] for step in document["pages"][0]["steps"]] == [0, 0, 2]
    assert document["pages"][0]["steps"][-1]["rule"] == document["rule"]["id"] == "supervisor-page"
    assert (document["cause"], document["tval"], document["decided"]) == (15, "0x2ff8", {"U": 0})
    fault = json.loads(call("fault --scause 15 --stval 0x2ff8 --space sh --json").must(0).out)
    assert {key: fault["explained"][key] for key in document if key in fault["explained"]} == {
        key: value for key, value in document.items() if key not in ("schema", "version", "machine")
    }


def test_every_rule_has_a_space_of_its_own_in_the_machine_of_the_examples() -> None:
    spaces = [line.split(":")[0] for line in call("maps rules").must(0).out.splitlines() if not line.startswith(" ")]
    assert spaces == ["sound", *RULES]


# The quiz


@pytest.mark.parametrize(("typed", "status", "verdict"), [("0x8002248c", 0, "right"), ("15", 1, "not so")])
def test_an_answer_from_a_pipe_is_judged_and_explained(typed: str, status: int, verdict: str) -> None:
    answer = call("quiz --seed 3", typed=f"{typed}\nmore\n").must(status)
    assert answer.out == f"{QUIZ}{verdict}\n{SOLUTION}"


def test_an_answer_from_a_pipe_that_is_none_is_refused() -> None:
    answer = call("quiz --seed 3", typed="perhaps\n")
    assert (answer.status, answer.out) == (2, QUIZ)
    assert (
        answer.err == "pagebook: the answer: 'perhaps' is neither a cause nor an address; write 15, 0xf or 0x80003ff8\n"
    )


def test_with_standard_input_closed_the_question_alone_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    closed = io.StringIO()
    closed.close()
    for stdin in (None, closed):
        monkeypatch.setattr("pagebook.cli.output.sys", SimpleNamespace(stdin=stdin, stdout=sys.stdout))
        assert output.prompt("answer") == ""


def test_a_person_is_asked_on_standard_error_and_asked_again() -> None:
    answer = call("quiz --seed 3", typed="perhaps\n0x8002248c\n", terminal=True, NO_COLOR="1")
    assert answer.out == f"{QUIZ}right\n{SOLUTION}"
    assert answer.err.count("answer> ") == 2
    assert "pagebook: 'perhaps' is neither a cause nor an address" in answer.err


def test_without_a_seed_the_question_tells_its_own() -> None:
    first = call("quiz").must(0).out.splitlines()[0]
    found = re.fullmatch(r"quiz --seed (\d+) --level easy", first)
    assert found
    assert call(f"quiz --seed {found[1]}").out.splitlines()[0] == first


def test_hard_questions_do_not_take_the_address_apart() -> None:
    assert "\n  bits " not in call("quiz --seed 3 --level hard").must(0).out


def test_the_json_of_a_question_has_its_answer() -> None:
    document = json.loads(call("quiz --seed 3 --json").must(0).out)
    assert document["answer"]["pa"] == "0x8002248c"
    assert len(document["ptes"]) == len(make_question(3, "easy").entries())


def typed_on_a_terminal(lines: str) -> tuple[int, str]:
    """``pagebook quiz --seed 3`` on a terminal, and what a person types: the exit status, and all that is seen."""
    ours, theirs = pty.openpty()
    child = subprocess.Popen(
        [sys.executable, "-m", "pagebook", "quiz", "--seed", "3"],
        stdin=theirs, stdout=theirs, stderr=theirs, env={**BUFFERED, "TERM": "dumb", "NO_COLOR": "1"},
        start_new_session=True,
    )  # fmt: skip
    os.close(theirs)
    os.write(ours, lines.encode())
    seen = b""
    try:
        while piece := os.read(ours, 1 << 16):
            seen += piece
    except OSError:  # how Linux says that the other end is closed
        pass
    os.close(ours)
    return child.wait(timeout=60), seen.decode().replace("\r\n", "\n")


def test_on_a_terminal_an_answer_is_asked_for_until_it_is_one() -> None:
    status, seen = typed_on_a_terminal("perhaps\n0x8002248c\n")
    assert status == 0
    assert seen.count("answer> ") == 2
    assert "pagebook: 'perhaps' is neither a cause nor an address" in seen
    assert "right\nstore of 4 bytes" in seen


def test_an_empty_answer_on_a_terminal_ends_it() -> None:
    status, seen = typed_on_a_terminal("\n")
    assert status == 0
    assert HINT.strip() in seen
