"""Why an access comes to what it comes to: every step as data, and the reasons as words.

The facts come from `mmu`.  This room adds what a person needs to use them: which bit decided, what the hardware and
xv6 report, what is at the address, and what usually causes such a fault.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from pagebook.machine import Space
from pagebook.mmu import CAUSES, Kind, Mmu, Outcome, Part, Regime, Rule
from pagebook.sv import Format, decode_satp
from pagebook.table import Entry
from pagebook.units import PAGE_SIZE

ACTIONS = {Kind.LOAD: "load", Kind.STORE: "store", Kind.FETCH: "fetch", Kind.AMO: "amo"}
MODES = {"U": "user mode", "S": "supervisor mode", "M": "machine mode"}

DECIDING = {
    "v-clear": ("V",),
    "w-without-r": ("R", "W"),
    "reserved-bits": ("reserved",),
    "n-reserved": ("N",),
    "pbmt-reserved": ("PBMT",),
    "pbmt-3": ("PBMT",),
    "pointer-reserved": ("D", "A", "U", "PBMT", "N"),
    "napot-reserved": ("N", "PPN"),
    "last-pointer": ("R", "W", "X"),
    "misaligned-superpage": ("PPN",),
    "user-page": ("U",),
    "supervisor-page": ("U",),
    "not-readable": ("R", "X"),
    "not-writable": ("W",),
    "not-executable": ("X",),
    "a-clear": ("A",),
    "d-clear": ("D",),
    "target-outside": ("PPN",),
    "table-outside": ("PPN",),
}
"""The fields of the last PTE read that a broken rule is about."""

USUAL = {
    "amo-misaligned": "an atomic operation through a pointer to something packed, or not a pointer at all",
    "non-canonical": "a wild pointer: a value that never was an address, or was shifted or cut on the way",
    "table-outside": "a root or a pointer with a wrong PPN: a table freed and written over, or an address put into a "
    "PTE or satp without its shift",
    "v-clear": "nothing was mapped here, or it was unmapped; if pages come lazily, the handler does not know this one",
    "w-without-r": "rights given as W alone; what may be written must be readable",
    "reserved-bits": "a physical address shifted too little or an error code stored as a PTE: bits 60 to 54 must be 0",
    "n-reserved": "bit 63 set, by a sign-extended value perhaps; this hart has no Svnapot",
    "pbmt-reserved": "bit 61 or 62 set; this hart has no Svpbmt, or menvcfg.PBMTE is 0",
    "pbmt-3": "bits 61 and 62 both set: memory type 3 means nothing yet",
    "pointer-reserved": "leaf flags given to a PTE that points to a table; such a one has V alone",
    "napot-reserved": "a 64 KiB page is sixteen equal last-level PTEs, with 1000 in the low bits of the PPN",
    "last-pointer": "a page mapped with rights of 0, or one level of tables too many",
    "misaligned-superpage": "R, W or X set in a PTE meant as a pointer, or a superpage at an address that its size "
    "does not divide",
    "user-page": "the kernel uses a user's page directly; it must copy with copyin and copyout, or set SUM, and may "
    "never execute it",
    "supervisor-page": "PTE_U was left out when the page was mapped, or the program strays into a page of the kernel's",
    "not-readable": "a page for executing only; with MXR it may be loaded from",
    "not-writable": "a store to text or constants; or a page shared copy-on-write whose fault nobody handles",
    "not-executable": "a jump into data: a return address overwritten on the stack, a bad function pointer; or X was "
    "left out for text",
    "a-clear": "the kernel left A clear and has no handler that sets it; harts with Svade leave that to software",
    "d-clear": "the kernel left D clear and has no handler that sets it; harts with Svade leave that to software",
    "target-outside": "the PPN names an address without memory: a device that is not there, or a garbled PTE",
}
"""What usually breaks each rule, in the words of those who have looked for it."""

FILLS = {
    0x01: "0x01 is what xv6's kfree fills pages with: the pointer was read from memory that had been freed",
    0x05: "0x05 is what xv6's kalloc fills pages with: the pointer was read from memory that nobody had set",
}


class Step(NamedTuple):
    """A PTE that was read for the page of ``va``: its place in the table, its fields, the rule it breaks."""

    va: int
    entry: Entry
    number: int
    fields: dict[str, int]
    rule: Rule | None


class Explanation(NamedTuple):
    """An access and why it came to what it came to.

    ``decided`` maps the names of the bits that decided to their values; they are of the last step, or of the hart's
    state.  ``hardware``, ``xv6`` and ``likely`` are empty when there is no fault.
    """

    space: Space
    regime: Regime
    kind: Kind
    va: int
    size: int
    outcome: Outcome
    steps: tuple[Step, ...]
    decided: dict[str, int]
    verdict: str
    hardware: str
    xv6: str
    place: str
    likely: tuple[str, ...]


def regime_of(space: Space, priv: str | None = None, sum: bool = False, mxr: bool = False) -> Regime:
    """The state of a hart in ``space``; the privilege that uses it, unless given: U in a process, S elsewhere."""
    table = space.table
    return Regime(
        table.format.satp(table.root), priv or ("S" if space.pid is None else "U"), sum, mxr, table.format.xlen
    )


def explain(mmu: Mmu, space: Space, regime: Regime, kind: Kind, va: int, size: int = 1) -> Explanation:
    """Explain one access of ``size`` bytes to ``space``; BadAddress where `Mmu.access` refuses it."""
    outcome = mmu.access(regime, kind, va, size)
    satp = decode_satp(regime.satp, regime.xlen)
    steps = tuple(step for part in outcome.parts for step in _steps(part, satp.format))
    rule = outcome.rule
    at = outcome.tval if rule else va
    return Explanation(
        space, regime, kind, va, size, outcome, steps, _decided(outcome, steps, regime),
        _verdict(outcome, va), _hardware(outcome), _xv6(outcome, regime, space), where(space, at),
        (*_hints(space, rule, regime, at), USUAL[rule.id]) if rule else (),
    )  # fmt: skip


def _steps(part: Part, format: Format | None) -> list[Step]:
    if format is None:
        return []
    return [
        Step(
            part.va, entry, format.index(part.va, entry.level), format.decode_pte(entry.pte),
            part.rule if entry is part.leaf else None,
        )
        for entry in part.steps
    ]  # fmt: skip


def _decided(outcome: Outcome, steps: tuple[Step, ...], regime: Regime) -> dict[str, int]:
    """The bits that decided, by name; for a pointer with leaf flags only those that are set."""
    rule = outcome.rule
    if rule is None or rule.id not in DECIDING or not steps:
        return {}
    fields = steps[-1].fields
    bits = {name: fields[name] for name in DECIDING[rule.id] if name in fields}
    if rule.id == "pointer-reserved":
        bits = {name: value for name, value in bits.items() if value}
    if rule.id == "user-page" and outcome.kind is not Kind.FETCH:
        bits["SUM"] = int(regime.sum)
    if rule.id == "not-readable":
        bits["MXR"] = int(regime.mxr)
    return bits


def _verdict(outcome: Outcome, va: int) -> str:
    if outcome.cause is None:
        return f"allowed: {va:#x} reaches physical address {outcome.pa:#x}"
    rule = outcome.rule
    assert rule
    second = " in the second page it touches" if len(outcome.parts) == 2 else ""
    return f"{CAUSES[outcome.cause]}{second}: {rule.text} [{rule.id}]"


def _hardware(outcome: Outcome) -> str:
    return "" if outcome.cause is None else f"scause {outcome.cause:#x}, stval {outcome.tval:#x}"


def _xv6(outcome: Outcome, regime: Regime, space: Space) -> str:
    """What a kernel of xv6 does with the fault; both functions are in its trap.c."""
    if outcome.cause is None:
        return ""
    if regime.priv == "U":
        pid = "" if space.pid is None else f" pid={space.pid}"
        return f"usertrap(): unexpected scause {outcome.cause:#x}{pid}, stval={outcome.tval:#x}; the process is killed"
    return f"kerneltrap prints scause {outcome.cause:#x}, sepc and stval={outcome.tval:#x}; panic: kerneltrap"


def where(space: Space, va: int) -> str:
    """What is at an address: the areas it is in, or what it is near."""
    inside = [area.name for area in space.areas if area.start <= va < area.end]
    if inside:
        return f"{va:#x} is in {' and '.join(inside)} of {space.name}"
    below = max((area for area in space.areas if area.end <= va), key=lambda area: area.end, default=None)
    above = min((area for area in space.areas if area.start > va), key=lambda area: area.start, default=None)
    near = []
    if above and above.start - va <= PAGE_SIZE:
        near.append(f"{above.start - va} bytes before {above.name}")
    if below:
        near.append(f"{va - below.end:#x} bytes past {below.name}")
    if space.size is not None and va >= space.size:
        near.append(f"not below the process's size, {space.size:#x}")
    return f"{va:#x} is in no named part of {space.name}" + "".join(f", {words}" for words in near)


def _hints(space: Space, rule: Rule | None, regime: Regime, va: int) -> Iterable[str]:
    """What this address in this place tells, the surest first."""
    fill = FILLS.get(va >> 16 & 0xFF)
    if fill and va >> 16 == int.from_bytes(bytes([va >> 16 & 0xFF]) * 6):
        yield fill
    names = {area.name for area in space.areas if area.start <= va < area.end}
    if "guard page" in names:
        yield "the stack overflowed into its guard page: recursion without end, or large local arrays"
    elif names & {"trapframe", "trampoline"} and regime.priv == "U":
        yield "the page is the kernel's, mapped here without U; a program reaches it only by a wild pointer"
    elif va < PAGE_SIZE and space.pid is None:
        yield "a null pointer in the kernel, perhaps with the offset of a member"
    elif va < PAGE_SIZE and rule and rule.id == "not-writable":
        yield "a null pointer: xv6 maps a program's text at 0, so that a load through it succeeds and a store faults"
    elif space.pid is None and regime.priv == "S" and _stack_above(space, va):
        yield "the kernel's stack overflowed into the unmapped page below it: large local arrays, or recursion"


def _stack_above(space: Space, va: int) -> bool:
    """Whether a stack starts within a page above ``va``, and nothing is at ``va`` itself."""
    return any("stack" in area.name and 0 < area.start - va <= PAGE_SIZE for area in space.areas)
