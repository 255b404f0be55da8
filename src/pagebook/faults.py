"""From what a trap printed - scause, stval, sepc - to the reason: whose fault it was, and why it came.

The numbers do not say whose tables were in use.  Every address space that could have run the instruction is asked what
the access comes to there; one where it comes to the same cause explains the fault.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from pagebook.errors import BadAddress
from pagebook.explain import Explanation, areas_at, explain, regime_of
from pagebook.machine import Machine, Space
from pagebook.mmu import Kind, Mmu
from pagebook.units import PAGE_MASK

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
FARTHEST = 1 << 16  # bytes from a symbol to an address that is still said to be in it


class Fault(NamedTuple):
    """What was printed, and what explains it.

    ``chosen`` is the explanation in the space that fits best; ``fits`` says whether it comes to the cause that was
    printed, and ``same`` names the other spaces where it does.  ``passed`` names the spaces that come before it, could
    run the instruction and do not fit.  ``code`` says where the instruction is.
    """

    scause: int
    stval: int
    sepc: int | None
    chosen: Explanation
    fits: bool
    same: tuple[str, ...]
    passed: tuple[str, ...]
    code: tuple[str, ...]


def explain_fault(
    machine: Machine,
    mmu: Mmu,
    scause: int,
    stval: int,
    sepc: int | None = None,
    space: str | None = None,
    priv: str | None = None,
) -> Fault:
    """Find what explains a fault of ``machine``, in the space of that name or in any, in that privilege or in any.

    BadAddress when scause is no fault of an address, BadTarget when there is no such space.
    """
    kind = _kind(scause)
    asked = machine.spaces if space is None else (machine.space(space),)
    if not asked:
        raise BadAddress(f"{machine.name} has no address space to look in")
    candidates = _candidates(mmu, asked, kind, sepc, priv)
    found = [explain(mmu, one, regime_of(one, by), kind, stval) for one, by in candidates]
    fitting = [one for one in found if one.outcome.cause == scause]
    chosen = (fitting or found)[0]
    same = tuple(dict.fromkeys(one.space.name for one in fitting if one.space is not chosen.space))
    before = found[: found.index(chosen)] if sepc is not None and kind is not Kind.FETCH else []
    passed = tuple(dict.fromkeys(one.space.name for one in before if one.space is not chosen.space))
    return Fault(scause, stval, sepc, chosen, bool(fitting), same, passed, _code(machine, mmu, chosen, sepc))


def _kind(scause: int) -> Kind:
    if scause in KINDS:
        return KINDS[scause]
    for xlen in (64, 32):
        number = scause - (1 << xlen - 1)
        if number in INTERRUPTS:
            raise BadAddress(f"scause {scause:#x} is {INTERRUPTS[number]} interrupt, not a fault of an address")
    what = OTHER_CAUSES.get(scause, "one that page tables have no part in")
    known = ", ".join(f"{cause:#x}" for cause in KINDS)
    raise BadAddress(f"scause {scause:#x} is no fault of an address, as {known} are: it is {what}")


def _candidates(
    mmu: Mmu, spaces: Sequence[Space], kind: Kind, sepc: int | None, priv: str | None
) -> list[tuple[Space, str]]:
    """The spaces and privileges that could have run the instruction, the youngest process first, the kernel last."""
    processes = sorted((one for one in spaces if one.pid is not None), key=lambda one: one.pid or 0, reverse=True)
    kernels = [(one, "S") for one in spaces if one.pid is None]
    user, trampoline = ([(one, by) for one in processes] for by in "US")
    usual = [pair for pair in (*user, *kernels) if priv in (None, pair[1])] or [(one, priv or "S") for one in spaces]
    if sepc is None or kind is Kind.FETCH:  # a fetch that faults has its own address in sepc
        return usual
    every = [pair for pair in (*user, *trampoline, *kernels) if priv in (None, pair[1])]
    return [(one, by) for one, by in every if _runs(mmu, one, by, sepc)] or usual


def _runs(mmu: Mmu, space: Space, priv: str, sepc: int) -> bool:
    """Whether the hart could fetch at ``sepc``; that the A bit is clear today says nothing of then."""
    found = mmu.access(regime_of(space, priv), Kind.FETCH, sepc, 2)
    return found.rule is None or found.rule.id == "a-clear"


def _code(machine: Machine, mmu: Mmu, chosen: Explanation, sepc: int | None) -> tuple[str, ...]:
    """Where the instruction is, and where to read it."""
    if sepc is None:
        return ()
    space = chosen.space
    if not _runs(mmu, space, chosen.regime.priv, sepc):
        why = "the jump to it is what faulted" if chosen.kind is Kind.FETCH else "are the files those of this crash?"
        return (f"nothing can be executed at {sepc:#x} in {space.name}: {why}",)
    if sepc & 1:
        return (f"{sepc:#x} is odd, and no instruction stands at an odd address: is a digit missing?",)
    places = areas_at(space, sepc)
    kernel, linked = space.pid is None, sepc
    if "trampoline" in places and "trampoline" in machine.symbols:  # a page of the kernel's, mapped at the top as well
        kernel, linked = True, machine.symbols["trampoline"] + (sepc & PAGE_MASK)
    symbol = nearest(machine.symbols if kernel else space.symbols, linked)
    file = "kernel/kernel.asm" if kernel else f"user/{space.name.removesuffix(f'.{space.pid}')}.asm"
    place = " and ".join(places) or "no named part"
    return (
        f"{sepc:#x} is in {place} of {space.name}" + (f", {symbol}" if symbol else ""),
        f'the instruction is the line "{linked:x}:" of {file}',
    )


def nearest(symbols: Mapping[str, int], address: int) -> str | None:
    """The last symbol at or before ``address`` as ``name+0x10``; None when there is none near."""
    before = [(value, name) for name, value in symbols.items() if value <= address and name[:1] not in "$."]
    if not before:
        return None
    value, name = max(before)
    return f"{name}+{address - value:#x}" if address - value < FARTHEST else None
