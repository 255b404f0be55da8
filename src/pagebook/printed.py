"""What a kernel prints of a trap that surprises it: the registers, the process, and who prints it.

xv6's words of every year are known, those of its forks that keep the names, an oops of Linux, firmware's, gdb's.
"""

from __future__ import annotations

import re
from collections import deque
from typing import NamedTuple

from pagebook.errors import BadAddress
from pagebook.mmu import Kind
from pagebook.units import parse_address

KINDS = {1: Kind.FETCH, 5: Kind.LOAD, 7: Kind.STORE, 12: Kind.FETCH, 13: Kind.LOAD, 15: Kind.STORE}

OTHER_CAUSES = {
    0: "instruction address misaligned: a jump to an address that no instruction can have",
    2: "illegal instruction: the hart ran into bytes that are no code, or lacks the instruction",
    3: "breakpoint: an ebreak",
    4: "load address misaligned, and this hart does not mend it",
    6: "store or AMO address misaligned, and this hart does not mend it",
    8: "system call from user mode: the kernel did not take it for one",
    9: "environment call from supervisor mode",
}
INTERRUPTS = {1: "a software", 5: "a timer", 9: "an external"}

PANICS = {
    "kfree": (
        "the address is not the start of a page, below end, or not below PHYSTOP",
        "an address with its offset left in; a device's or a kernel page mapped to a user, then unmapped "
        "with do_free 1",
    ),
    "kvmmap": (
        "no frame for a table while booting",
        "RAM too small, or a size that was meant to be an address",
    ),
    "kalloc": (
        "no frame for a kernel stack while booting",
        "NPROC too large for the RAM",
    ),
    "virtio disk kalloc": (
        "no frame for the disk's queue",
        "NPROC too large for the RAM",
    ),
    "walk": (
        "the address is not below MAXVA",
        "a negative number taken as an address; a loop that ran past its end",
    ),
    "mappages: va not aligned": (
        "the address is inside a page",
        "a fault address that was not rounded down",
    ),
    "mappages: size not aligned": (
        "the size is not whole pages",
        "sizeof where a page was meant",
    ),
    "mappages: size": (
        "the size is 0",
        "start and end swapped, or equal",
    ),
    "mappages: remap": (
        "a valid leaf stands there already",
        "a fault for a missing right handled as a missing page; two regions that overlap; before 2022-10 "
        "a size with one byte too many, which was rounded up to a page",
    ),
    "uvmunmap: not aligned": (
        "the address is inside a page",
        "rounding left out before munmap",
    ),
    "uvmunmap: walk": (
        "there is no table for a page of the range",
        "a size larger than what was mapped; pages that are lazy",
    ),
    "uvmunmap: not mapped": (
        "the entry has V = 0",
        "a size larger than what was mapped; pages that are lazy; a page unmapped twice",
    ),
    "uvmunmap: not a leaf": (
        "the entry has V and no other flag",
        "an entry whose rights were cleared instead of the whole",
    ),
    "freewalk: leaf": (
        "tables are freed and one still maps a page",
        "a mapping of your own (USYSCALL, mmap) that is not removed in proc_freepagetable; a sz that is too small",
    ),
    "uvmcopy: pte should exist": (
        "fork finds no table below sz",
        "sz was raised and nothing mapped: lazy pages",
    ),
    "uvmcopy: page not present": (
        "fork finds an entry with V = 0 below sz",
        "sz was raised and nothing mapped: lazy pages",
    ),
    "uvmclear": (
        "exec finds no table for the stack's guard page",
        "a changed stack layout",
    ),
    "uvmfirst: more than a page": (
        "the first program is 4096 bytes or more",
        "initcode grew",
    ),
    "loadseg: address should exist": (
        "exec copies to a page that is not there, or has no U",
        "a changed uvmalloc",
    ),
    "init exiting": (
        "process 1 ends",
        "init was killed by a fault",
    ),
    "exec": (
        "/init cannot be run",
        "a file system without init, or no frames",
    ),
}
"""When xv6 panics with these words, and what to look for, as in docs/05-failures.md."""
NEAR = 400  # letters behind scause in which the other numbers stand
_NUMBER = r"\b\s{0,8}[:=]?\s{0,8}(0x[0-9a-f]{1,99}|[0-9a-f]{1,99})\b"
_CAUSE, _TVAL, _EPC, _PID = (
    re.compile(rf"\b(?:{name}){_NUMBER}", re.IGNORECASE)
    for name in ("[ms]?cause", "[ms]?(?:tval|badaddr)", "[ms]?epc", "pid")
)
_PANIC = re.compile(rf"\bpanic: ({'|'.join(map(re.escape, sorted(PANICS, key=len, reverse=True)))})(?![\w:])")
_ANY_PANIC = re.compile(r"\bpanic: ([^\r\n]{1,60})")
_WHOLE = (8, 16)  # digits of a register that is printed with its zeros and without 0x


class Panicked(NamedTuple):
    """A panic without a trap: its words, when a kernel says them, what to look for; nothing of one that is unknown."""

    words: str
    when: str = ""
    look_for: str = ""


class Printed(NamedTuple):
    """What the trap printed: two or three registers, and the pid or None."""

    scause: int
    stval: int
    sepc: int | None = None
    pid: int | None = None

    @property
    def kind(self) -> Kind:
        """What was done; BadAddress when scause is no fault of an address."""
        if self.scause in KINDS:
            return KINDS[self.scause]
        known = ", ".join(f"{cause:#x}" for cause in KINDS)
        raise BadAddress(f"scause {self.scause:#x} is no fault of an address, as {known} are: it is {self.other}")

    @property
    def other(self) -> str:
        """What scause means where it is no fault of an address; nothing where it is one."""
        if self.scause in KINDS:
            return ""
        interrupts = (INTERRUPTS.get(self.scause - (1 << xlen - 1)) for xlen in (64, 32))
        interrupt = next(filter(None, interrupts), None)
        if interrupt:
            return f"{interrupt} interrupt, which no instruction causes"
        return OTHER_CAUSES.get(self.scause, "one that page tables have no part in")


class Trap(NamedTuple):
    """What was printed, and the privilege in which the trap came where that can be told from who printed it."""

    printed: Printed
    priv: str | None


def is_trap(text: str) -> bool:
    """Whether a trap is printed in ``text``, or a part of one, or a panic."""
    return _CAUSE.search(text) is not None or _ANY_PANIC.search(text) is not None


def read_panic(text: str) -> Panicked | None:
    """The last panic of xv6's memory management in ``text``, or else the last of all; None where a trap is printed."""
    if _CAUSE.search(text):
        return None
    known = _PANIC.findall(" ".join(text.split()))
    if known:
        return Panicked(known[-1], *PANICS[known[-1]])
    others = [words.strip() for words in _ANY_PANIC.findall(text)]
    if others and others[-1].startswith("kerneltrap"):
        return Panicked("kerneltrap", "the kernel itself met a trap that it does not expect")
    return Panicked(others[-1]) if others else None


def read_trap(text: str) -> Trap:
    """The last trap that is printed in ``text``, among whatever else is there; BadAddress where there is none."""
    causes = deque(_CAUSE.finditer(text), maxlen=2)
    if panic := read_panic(text):
        raise BadAddress(f"panic: {panic.words} is no trap, so there is no address to look at")
    if not causes:
        raise BadAddress(
            "there is no scause in it; give the lines that the kernel printed: usertrap(): unexpected scause 0xf pid=3 "
            "sepc=0xc stval=0x2fb0"
        )
    last = causes[-1]
    after = text[last.end() : last.end() + NEAR]
    before = text[causes[-2].end() if len(causes) > 1 else 0 : last.start()]
    alone = len(causes) == 1

    def number(pattern: re.Pattern[str]) -> str | None:
        if found := pattern.search(after):
            return found[1]
        earlier = pattern.findall(before) if alone else []
        return earlier[-1] if earlier else None

    stval, sepc, pid = number(_TVAL), number(_EPC), number(_PID)
    if stval is None:
        raise BadAddress(f"it says scause {last[1]} and no stval, the address that faulted; give that line as well")
    printed = Printed(
        _register(last[1]), _register(stval), None if sepc is None else _register(sepc),
        int(pid) if pid and pid.isdecimal() and len(pid) <= 10 and int(pid) else None,
    )  # fmt: skip
    if "kerneltrap" in after.lower():
        return Trap(printed, "S")
    return Trap(printed, "U" if "usertrap" in before.lower() else None)


def _register(word: str) -> int:
    """A register's value; BadAddress where it has more than 64 bits."""
    try:
        found = int(word, 16) if len(word) in _WHOLE and word[:2].lower() != "0x" else parse_address(word)
    except ValueError as error:
        raise BadAddress(str(error)) from None
    if found >> 64:
        raise BadAddress(f"{word[:40]} has more than 64 bits")
    return found
