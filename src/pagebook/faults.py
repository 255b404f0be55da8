"""From what a trap printed - scause, stval, sepc - to the reason: whose fault it was, and why it came.

The numbers do not say whose tables were in use.  Every address space that could have run the instruction is asked
whether that is one which makes such an access, and what the access comes to there; one where it comes to the same
cause explains the fault.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from pagebook.errors import BadAddress
from pagebook.explain import NEAR, Explanation, areas_at, explain, regime_of
from pagebook.instructions import Instruction, decode, size_of
from pagebook.machine import Machine, Space
from pagebook.mmu import Kind, Mmu, Outcome
from pagebook.printed import Printed
from pagebook.units import PAGE_MASK

FARTHEST = 1 << 16  # bytes from a symbol to an address that is still said to be in it
SURE, UNKNOWN, IMPOSSIBLE = range(3)
ILLEGAL = 2  # scause of an illegal instruction
XV6 = "xv6"  # how a machine says that it is a guest of xv6's

FILES = "--kernel kernel/kernel --init user/_init --sh user/_sh --program user/_NAME"
OF_THE_MODEL = (
    "the addresses here are those of the files that were given, or of the built-in programs: give the kernel and the "
    f"program that ran, {FILES}"
)
PIDS_OF_THE_MODEL = "in the model --program is process 3, whatever pid it had in your guest: leave out the pid"
AS_EXEC_LEFT_IT = (
    "in the model the process is as exec left it: what your program had got by sbrk by then, or had given up, is not "
    "seen here, and a place behind its size may be in its heap"
)
OF_THE_KERNEL = "the kernel is still there after a panic: are these the numbers of this run, and complete?"
ELSEWHERE = (
    "the process that made the fault has probably ended, or its table is not among these: give its --root or --satp, "
    "or stop the guest at the fault with gdb, and ask again"
)


class RuledOut(NamedTuple):
    """An address space that could run what is at sepc, which cannot have made the access."""

    space: str
    instruction: Instruction


class Fault(NamedTuple):
    """What was printed, and what explains it.

    ``chosen`` is the explanation in the space that fits best; ``fits`` says whether its code can have made the access
    and it comes to the cause that was printed, and ``same`` names the other spaces of which that is as sure.  Where
    nothing fits, ``chosen`` may be any of those asked; it is ``named`` only when its code can have made the access, or
    the user named it.

    ``instruction`` is what stands at sepc there, None where that is not known; ``certain`` says that it is one that
    makes such an access.  ``passed`` names the spaces that come before it, could have made the access and do not fit;
    ``ruled_out`` those that could not.  ``code`` says where the instruction is, ``notes`` how the numbers were taken,
    ``doubts`` why nothing fits, ``advice`` what to do next.
    """

    scause: int
    stval: int
    sepc: int | None
    pid: int | None
    chosen: Explanation
    fits: bool
    named: bool
    certain: bool
    instruction: Instruction | None
    same: tuple[str, ...]
    passed: tuple[str, ...]
    ruled_out: tuple[RuledOut, ...]
    code: tuple[str, ...]
    notes: tuple[str, ...]
    doubts: tuple[str, ...]
    advice: tuple[str, ...]


class Otherwise(NamedTuple):
    """A trap that no translation decides: why such a one comes, and where its instruction is.

    ``instruction`` is what stands at sepc, None where that is not known; ``code`` says where that is, in the space that
    fits best, and ``same`` names the others that could run it; ``notes`` how the numbers were taken, ``doubts`` why
    nothing can be said.
    """

    printed: Printed
    why: str
    instruction: Instruction | None
    code: tuple[str, ...]
    same: tuple[str, ...]
    notes: tuple[str, ...]
    doubts: tuple[str, ...]


class Suspect(NamedTuple):
    """A space and a privilege that may have run the instruction, and what it is, None where that is not known."""

    space: Space
    priv: str
    instruction: Instruction | None

    def rank(self, kind: Kind) -> int:
        """0 when its code makes such an access, 1 when that is not known, 2 when it does not."""
        if self.instruction is None or not self.instruction.known:
            return UNKNOWN
        return SURE if self.instruction.may(kind) else IMPOSSIBLE


def explain_fault(
    machine: Machine, mmu: Mmu, printed: Printed, space: str | None = None, priv: str | None = None, model: bool = False
) -> Fault:
    """Find what explains a fault of ``machine``, in the space of that name or in any, in that privilege or in any.

    ``model`` says that the machine is the model, where no process is gone.  BadAddress when scause is no fault of an
    address, BadTarget when there is no such space.
    """
    kind = printed.kind
    asked = machine.spaces if space is None else (machine.space(space),)
    if not asked:
        raise BadAddress(f"{machine.name} has no address space to look in")
    here, notes = _asked(asked, printed.pid, model)
    suspects = _suspects(mmu, here, printed, priv)
    possible = sorted((one for one in suspects if one.rank(kind) != IMPOSSIBLE), key=lambda one: one.rank(kind))
    usual = [Suspect(one, by, None) for one, by in _usual(here or asked, priv)]
    tried = possible or suspects or usual
    found = [
        explain(mmu, one.space, regime_of(one.space, one.priv), kind, printed.stval, pid=printed.pid) for one in tried
    ]
    fitting = [n for n, one in enumerate(found) if possible and one.outcome.cause == printed.scause]
    best = (fitting or [0])[0]
    suspect, chosen = tried[best], found[best]
    doubts = _doubts(machine, printed, chosen, here, suspects, bool(fitting))
    named = bool(possible) or (bool(here) and (space is not None or printed.pid is not None))
    equal = [n for n in fitting if tried[n].rank(kind) == suspect.rank(kind)]
    before = found[:best] if printed.sepc is not None and kind is not Kind.FETCH else []
    fits = bool(fitting) and not doubts
    return Fault(
        *printed, chosen, fits, named,
        certain=suspect.rank(kind) == SURE,
        instruction=suspect.instruction,
        same=_names(found[n].space for n in equal if found[n].space is not chosen.space),
        passed=_names(one.space for one in before if one.space is not chosen.space),
        ruled_out=tuple(
            RuledOut(one.space.name, one.instruction)
            for one in suspects
            if one.instruction and one.rank(kind) == IMPOSSIBLE
        ),
        code=_code(machine, mmu, chosen, printed.sepc, suspect.instruction) if named else (),
        notes=notes,
        doubts=doubts,
        advice=_advice(machine, printed, chosen, fits, priv, model),
    )  # fmt: skip


def explain_otherwise(
    machine: Machine, mmu: Mmu, printed: Printed, space: str | None = None, priv: str | None = None, model: bool = False
) -> Otherwise:
    """Find the instruction of a trap of ``machine`` that is no fault of an address; as `explain_fault`."""
    asked = machine.spaces if space is None else (machine.space(space),)
    here, notes = _asked(asked, printed.pid, model)
    sepc = printed.sepc
    able = [] if sepc is None else [pair for pair in _runners(here, priv) if _fetch(mmu, *pair, sepc).rule is None]
    if sepc is None or not able:
        doubts = () if sepc is None else (f"nothing that this machine has now can run code at {sepc:#x}",)
        return Otherwise(printed, printed.other, None, (), (), notes, doubts)
    read = [_read(mmu, *pair, sepc) for pair in able]
    likely = [one is not None and one.value == printed.stval for one in read]  # as a hart may tell it
    legal = [one is not None and bool(one.name) for one in read]
    best = min(range(len(able)), key=lambda n: (not likely[n], printed.scause == ILLEGAL and legal[n]))
    one, instruction = able[best][0], read[best]
    where, line = _place(machine, one, sepc)
    bits = "" if instruction is None else f": 0x{instruction.value:0{2 * min(instruction.size, 4)}x}"
    same = _names(other for other, _ in able if other is not one)
    doubts = ()
    if printed.scause == ILLEGAL and instruction is not None and instruction.name:
        doubts = (f"what stands there now is {instruction.name}, which is legal: are the files those of this crash?",)
    return Otherwise(printed, printed.other, instruction, (where, line + bits), same, notes, doubts)


def _asked(spaces: Sequence[Space], pid: int | None, model: bool) -> tuple[list[Space], tuple[str, ...]]:
    """The spaces of the process that was printed, or all; and what is to be said of that."""
    here = [one for one in spaces if pid in (None, one.pid)]
    if here or not model:
        return here, ()
    # the pid is the guest's, where other processes came before
    return list(spaces), (
        f"{pid} is a pid of your guest's; the model has no such process, so each of its own was asked",
    )


def _names(spaces: Iterable[Space]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(one.name for one in spaces))


def _usual(spaces: Sequence[Space], priv: str | None) -> list[tuple[Space, str]]:
    """Processes in user mode, the youngest first, then the kernel in supervisor mode."""
    pairs = [(one, "U") for one in _processes(spaces)] + [(one, "S") for one in spaces if one.pid is None]
    return [pair for pair in pairs if priv in (None, pair[1])] or [(one, priv or "S") for one in spaces]


def _processes(spaces: Sequence[Space]) -> list[Space]:
    return sorted((one for one in spaces if one.pid is not None), key=lambda one: one.pid or 0, reverse=True)


def _suspects(mmu: Mmu, spaces: Sequence[Space], printed: Printed, priv: str | None) -> list[Suspect]:
    """The spaces and privileges that could have run the instruction, the kernel last; none where nobody could."""
    sepc = printed.sepc
    if sepc is None or printed.kind is Kind.FETCH:  # a fetch that faults has its own address in sepc
        return [Suspect(one, by, None) for one, by in _usual(spaces, priv)]
    found = []
    for one, by in _runners(spaces, priv):
        outcome = _fetch(mmu, one, by, sepc)
        if outcome.rule is None:
            found.append(Suspect(one, by, _read(mmu, one, by, sepc)))
        elif by == "U" and outcome.rule.id == "v-clear" and one.pid is not None and _within(one, sepc):
            found.append(Suspect(one, by, None))
    return found


def _runners(spaces: Sequence[Space], priv: str | None) -> list[tuple[Space, str]]:
    """Who may run code where, the kernel last."""
    kernels = [one for one in spaces if one.pid is None]
    by_priv = (("U", _processes(spaces)), ("S", _processes(spaces)), ("S", kernels), ("U", kernels))
    return [(one, by) for by, several in by_priv for one in several if priv in (None, by)]


def _fetch(mmu: Mmu, space: Space, priv: str, at: int) -> Outcome:
    """What a fetch of 2 bytes comes to; that the A bit is clear today says nothing of then."""
    setting = Mmu(mmu.memory, replace(mmu.extensions, svadu=True))
    return setting.access(regime_of(space, priv), Kind.FETCH, at, 2)


def _within(space: Space, va: int) -> bool:
    """Whether a process has ``va``, mapped or not."""
    return space.size is None or va < space.size or bool(areas_at(space, va))


def _read(mmu: Mmu, space: Space, priv: str, sepc: int) -> Instruction | None:
    """The instruction at ``sepc``; None at an odd address, where it is not in memory, or where there is no code."""
    xlen = space.table.format.xlen
    low = None if sepc & 1 else _parcel(mmu, space, priv, sepc)
    if low is None:
        return None
    if size_of(low) == 2:
        return decode(low, xlen)
    high = _parcel(mmu, space, priv, sepc + 2 & (1 << xlen) - 1)
    return None if high is None else decode(high << 16 | low, xlen)


def _parcel(mmu: Mmu, space: Space, priv: str, at: int) -> int | None:
    """The 16 bits of code at ``at``; None where they are not in memory, or on a page of zeros, on which no code is."""
    pa = _fetch(mmu, space, priv, at).pa
    if pa is None or pa not in mmu.memory or not mmu.memory.page(pa & ~PAGE_MASK).any():
        return None
    return mmu.memory.read16(pa)


def _doubts(
    machine: Machine,
    printed: Printed,
    chosen: Explanation,
    here: Sequence[Space],
    suspects: Sequence[Suspect],
    comes: bool,
) -> tuple[str, ...]:
    """Why this is no explanation of what was printed; nothing when it is one."""
    sepc, stval, kind = printed.sepc, printed.stval, printed.kind
    if not here:
        there = ", ".join(f"{one.pid} ({one.name})" for one in machine.spaces if one.pid is not None) or "none"
        return (f"there is no process {printed.pid} now; those there are: {there}",)
    if sepc is not None and kind is Kind.FETCH and not _one_fetch(printed):
        return (
            f"stval {stval:#x} is not the address of that fetch: it is sepc or, where the instruction lies over the "
            "end of a page, sepc + 2; is a digit wrong?",
        )
    if sepc is not None and not suspects:
        return (f"nothing that this machine has now can run code at {sepc:#x}",)
    if all(one.rank(kind) == IMPOSSIBLE for one in suspects):
        return (f"no code that this machine has at {sepc:#x} now makes a {kind.name.lower()}",)
    if comes:
        return ()
    cause = chosen.outcome.cause
    now = "the access is allowed" if cause is None else f"it comes to scause {cause:#x}"
    return (f"as this machine is now, that does not happen: in {chosen.space.name} {now}",)


def _one_fetch(printed: Printed) -> bool:
    """Whether sepc and stval are of one fetch: only over the end of a page does its second half fault."""
    second = printed.stval == (printed.sepc or 0) + 2
    return printed.stval == printed.sepc or (second and (printed.scause == 1 or not printed.stval & PAGE_MASK))


def _advice(
    machine: Machine, printed: Printed, chosen: Explanation, fits: bool, priv: str | None, model: bool
) -> tuple[str, ...]:
    """What to do next: when nothing fits, or when what fits may have nothing to do with it."""
    if model:
        if fits:
            size = chosen.space.size
            behind = size is not None and chosen.regime.priv == "U" and 0 <= printed.stval - size < NEAR
            return (AS_EXEC_LEFT_IT,) if behind else ()
        return (OF_THE_MODEL,) if printed.pid is None else (OF_THE_MODEL, PIDS_OF_THE_MODEL)
    if machine.guest != XV6:
        return () if fits else (ELSEWHERE,)
    if fits and (printed.pid is not None or chosen.regime.priv != "U"):
        return ()
    if fits:
        return (
            f"is {chosen.space.pid} the pid that usertrap printed? xv6 kills the process that made a fault; if it "
            "printed another, say --pid",
        )
    numbers = f"--scause {printed.scause:#x} --stval {printed.stval:#x}"
    numbers += "" if printed.sepc is None else f" --sepc {printed.sepc:#x}"
    ask = (
        f"ask the model, with the program that ran: pagebook fault {numbers} {FILES}; pagebook serve with these files "
        "makes a page of it, where the crash can be pasted"
    )
    stop = f"or stop the guest at the fault: make qemu-gdb; in gdb, break usertrap if $scause == {printed.scause:#x}"
    gone = "xv6 kills the process that made a fault: it is probably gone, and its page table with it"
    return (OF_THE_KERNEL,) if priv == "S" else (gone, ask, f"{stop}; then ask again, with what that run prints")


def _code(
    machine: Machine, mmu: Mmu, chosen: Explanation, sepc: int | None, instruction: Instruction | None
) -> tuple[str, ...]:
    """Where the instruction is, where to read it, and what it does."""
    if sepc is None:
        return ()
    space = chosen.space
    if (rule := _fetch(mmu, space, chosen.regime.priv, sepc).rule) is not None:
        if chosen.kind is Kind.FETCH:
            return (f"nothing can be executed at {sepc:#x} in {space.name}: the jump to it is what faulted",)
        if rule.id == "v-clear" and _within(space, sepc):
            return (f"{sepc:#x} is not mapped now in {space.name}: loaded lazily, or gone; it may be this one",)
        return (f"nothing can be executed at {sepc:#x} in {space.name}: are the files those of this crash?",)
    if sepc & 1:
        return (f"{sepc:#x} is odd, and no instruction stands at an odd address: is a digit missing?",)
    where, line = _place(machine, space, sepc)
    return where, line if chosen.kind is Kind.FETCH else f"{line}: {what_it_does(instruction)}"


def _place(machine: Machine, space: Space, at: int) -> tuple[str, str]:
    """Where the instruction at ``at`` is, and where to read it."""
    places = areas_at(space, at)
    kernel, linked = space.pid is None, at
    if "trampoline" in places and "trampoline" in machine.symbols:  # a page of the kernel's, mapped at the top as well
        kernel, linked = True, machine.symbols["trampoline"] + (at & PAGE_MASK)
    symbol = nearest(machine.symbols if kernel else space.symbols, linked)
    file = "kernel/kernel.asm" if kernel else f"user/{space.name.removesuffix(f'.{space.pid}')}.asm"
    place = " and ".join(places) or "no named part"
    return (
        f"{at:#x} is in {place} of {space.name}" + (f", {symbol}" if symbol else ""),
        f'the instruction is the line "{linked:x}:" of {file}',
    )


def what_it_does(instruction: Instruction | None) -> str:
    """An instruction in words."""
    if instruction is None:
        return "its bytes are not in this memory, so that it may be this one, and is not sure"
    word = f"0x{instruction.value:0{2 * min(instruction.size, 4)}x}"  # with every digit that a listing has
    if not instruction.known:
        return f"{word}, of which it is not known what it does"
    if instruction.kind is None:
        return f"{word}, which neither loads nor stores"
    verb = {Kind.LOAD: "loads", Kind.STORE: "stores", Kind.AMO: "loads and stores"}[instruction.kind]
    return f"{instruction.name}, which {verb}"


def nearest(symbols: Mapping[str, int], address: int) -> str | None:
    """The last symbol at or before ``address`` as ``name+0x10``; None when there is none near."""
    before = [(value, name) for name, value in symbols.items() if value <= address and name[:1] not in "$."]
    if not before:
        return None
    value, name = max(before)
    return f"{name}+{address - value:#x}" if address - value < FARTHEST else None
