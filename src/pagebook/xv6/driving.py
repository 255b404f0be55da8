"""Driving the model by hand: what its processes can be made to do, one operation at a time, written as a word.

``fork.1`` has process 1 fork; ``sbrk.3.0x2000`` has process 3 ask for 8192 bytes.  The words of a sequence of
operations, with commas between them, say all of it: the model does the same each time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from pagebook.errors import BadTarget, Panic
from pagebook.units import parse_address
from pagebook.xv6.kalloc import kalloc
from pagebook.xv6.kernel import Kernel, State
from pagebook.xv6.proc import exit as exit_
from pagebook.xv6.proc import fork, wait
from pagebook.xv6.sysfile import sys_exec
from pagebook.xv6.sysproc import SBRK_EAGER, SBRK_LAZY, sys_sbrk
from pagebook.xv6.trap import load, store

BETWEEN, WITHIN = ",", "."
_INT = 1 << 31


class Operation(NamedTuple):
    """``takes`` names what stands behind the process's number; ``idea`` is why a kernel does this, in a few sentences.

    ``act`` does it in the current process, and says what came of it.
    """

    name: str
    takes: tuple[str, ...]
    idea: str
    act: Callable[[Kernel, Sequence[str]], str]


class Done(NamedTuple):
    """An operation's word, and what came of it; ``ended`` when the kernel panicked, and nothing can follow."""

    word: str
    outcome: str
    ended: bool = False


def words(text: str) -> list[str]:
    """The operations of a sequence."""
    return [word for word in text.split(BETWEEN) if word]


def drive(k: Kernel, word: str) -> Done:
    """Do one operation; BadTarget when the word is none, or its process cannot."""
    name, _, rest = word.partition(WITHIN)
    operation = OPERATIONS.get(name)
    if operation is None:
        raise BadTarget(f"{name[:20]!r} is no operation; there are {', '.join(OPERATIONS)}")
    given = rest.split(WITHIN, len(operation.takes))
    if len(given) != 1 + len(operation.takes) or not given[0]:
        wanted = WITHIN.join((name, "PID", *(one.upper() for one in operation.takes)))
        raise BadTarget(f"{word[:40]!r} is not written as {wanted}")
    _become(k, name, given[0])
    try:
        return Done(word, operation.act(k, given[1:]))
    except Panic as panic:
        return Done(word, str(panic), ended=True)


def _become(k: Kernel, name: str, pid: str) -> None:
    """Make this process the current one."""
    found = next((p for p in k.proc if p.state is not State.UNUSED and str(p.pid) == pid), None)
    if found is None:
        running = ", ".join(str(p.pid) for p in k.proc if p.state is not State.UNUSED)
        raise BadTarget(f"{name}: there is no process {pid[:20]}; there are {running}")
    if found.state is State.ZOMBIE:
        raise BadTarget(f"{name}: process {pid} has exited, and only its parent's wait is left to be done")
    k.current = found


def _number(what: str, text: str) -> int:
    try:
        return int(text, 0)
    except ValueError:
        raise BadTarget(f"{what}: {text[:20]!r} is no number; write it as 4096 or 0x1000") from None


def _address(text: str) -> int:
    try:
        found = parse_address(text)
    except ValueError as error:
        raise BadTarget(f"the address: {error}") from None
    if not 0 <= found < 1 << 64:
        raise BadTarget(f"{text} is no 64-bit address")
    return found


def _fork(k: Kernel, given: Sequence[str]) -> str:
    child = fork(k)
    return f"process {child} is born" if child > 0 else "fork gives -1: no frame or no process slot is left"


def _exec(k: Kernel, given: Sequence[str]) -> str:
    (path,) = given
    if path not in k.files:
        raise BadTarget(f"exec: there is no program {path[:20]!r}; there are {', '.join(k.files)}")
    came = sys_exec(k, path, [path])
    return f"the process runs {path}" if came >= 0 else "exec gives -1, and the process is as it was"


def _sbrk(k: Kernel, given: Sequence[str]) -> str:
    return _grow(k, given, SBRK_EAGER)


def _lazy(k: Kernel, given: Sequence[str]) -> str:
    if not k.revision.lazy:
        raise BadTarget(f"xv6 of {k.revision.name} knows no lazy sbrk; start with --rev 2025")
    return _grow(k, given, SBRK_LAZY)


def _grow(k: Kernel, given: Sequence[str], how: int) -> str:
    by = _number("sbrk", given[0])
    if not -_INT <= by < _INT:
        raise BadTarget(f"sbrk takes an int: {given[0]} is none")
    came = sys_sbrk(k, by, how)
    if came < 0:
        return "sbrk gives -1: there is no memory for that"
    return f"the process had {came:#x} bytes and has {k.myproc().sz:#x}"


def _store(k: Kernel, given: Sequence[str]) -> str:
    va, byte = _address(given[0]), _number("the byte", given[1])
    if not 0 <= byte < 256:
        raise BadTarget(f"store writes a byte: {given[1]} is none")
    pid = k.myproc().pid
    return f"{byte:#x} is at {va:#x}" if store(k, va, bytes([byte])) else f"a fault: process {pid} is killed"


def _load(k: Kernel, given: Sequence[str]) -> str:
    va = _address(given[0])
    pid = k.myproc().pid
    found = load(k, va, 1)
    return f"a fault: process {pid} is killed" if found is None else f"at {va:#x} is {found[0]:#x}"


def _exit(k: Kernel, given: Sequence[str]) -> str:
    p = k.myproc()
    exit_(k, _number("the status", given[0]))
    return f"process {p.pid} is a zombie until process {p.parent.pid if p.parent else '?'} waits"


def _wait(k: Kernel, given: Sequence[str]) -> str:
    came = wait(k, 0)
    if came > 0:
        return f"process {came} is gone, and its frames are free"
    return "no child has exited: it would sleep" if came == 0 else "wait gives -1: there is no child"


def _lose(k: Kernel, given: Sequence[str]) -> str:
    frame = kalloc(k)
    return f"{frame:#x} is nobody's now: a leak" if frame else "kalloc gives 0: no frame is left"


OPERATIONS = {
    one.name: one
    for one in (
        Operation(
            "fork", (),
            "A process makes a copy of itself. The child gets pages of its own with the same bytes, at the same "
            "addresses: neither can see, or harm, what the other writes from now on.",
            _fork,
        ),
        Operation(
            "exec", ("program",),
            "A process becomes another program. The new memory is built aside, in a new page table; only when all of "
            "it is there does the kernel let go of the old one, so that a failure leaves the process as it was.",
            _exec,
        ),
        Operation(
            "sbrk", ("bytes",),
            "A process asks for memory, or with a negative number gives some back. The kernel takes frames from the "
            "free list, clears them, and adds a PTE for each: which frames they are, the process never learns.",
            _sbrk,
        ),
        Operation(
            "lazy", ("bytes",),
            "A process is promised memory. Only a number changes; the frame comes with the first touch of each page.",
            _lazy,
        ),
        Operation(
            "store", ("va", "byte"),
            "An instruction writes a byte. The hardware walks the three levels, and each PTE must allow it; where one "
            "does not, the kernel is called, and gives a page that was promised or ends the process.",
            _store,
        ),
        Operation(
            "load", ("va",),
            "An instruction reads a byte, by the same walk; its last PTE must have R.",
            _load,
        ),
        Operation(
            "exit", ("status",),
            "A process ends. It cannot free the memory that it still runs on: its frames stay until its parent waits.",
            _exit,
        ),
        Operation(
            "wait", (),
            "A parent learns that its child has ended. Now the child's pages, its tables and its trapframe go back to "
            "the free list, the last one freed to be the first one taken.",
            _wait,
        ),
        Operation(
            "lose", (),
            "A mistake: the kernel takes a frame for this process and forgets it. Nothing maps it and it is not free, "
            "so that nobody ever gets it again. See what Checks finds.",
            _lose,
        ),
    )
}  # fmt: skip
"""The operations by name."""
