"""Why an access comes to what it comes to: every step as data, and the reasons as words.

The facts come from `mmu`.  This room adds what a person needs to use them: which bit decided, what the hardware and
xv6 report, what is at the address, and what usually causes such a fault.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from pagebook.machine import Space
from pagebook.mmu import CAUSES, Kind, Mmu, Outcome, Part, Regime, Rule
from pagebook.shown import in_notebook, plain
from pagebook.sv import A, D, Format, V, decode_satp
from pagebook.table import Entry
from pagebook.units import PAGE_SIZE

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
    "v-clear": "a wild pointer; or a page not mapped yet, or no more: a handler of lazy pages did not know it",
    "w-without-r": "rights given as W alone; what may be written must be readable",
    "reserved-bits": "a physical address shifted too far, or an error code such as -1 stored as a PTE: bits "
    "60 to 54 must be 0",
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
    0x0101_0101_0101: "0x01 is what xv6's kfree fills pages with: the pointer comes from memory that had been freed",
    0x0505_0505_0505: "0x05 is what xv6's kalloc fills pages with: the pointer comes from memory that nobody had set",
}
"""The upper 48 bits of a pointer that was read from a filled page: what they tell."""


NEAR = 16 * PAGE_SIZE
LARGEST_MEMBER = 256  # bytes from a null pointer to the member of a struct that is meant, as is usual
"""How far from a place an address is still said to be near it, in bytes."""


class Step(NamedTuple):
    """A PTE that was read: its index in the table, its fields, and the rule that it breaks."""

    entry: Entry
    number: int
    fields: dict[str, int]
    rule: Rule | None


class Page(NamedTuple):
    """One page that the access touches: ``size`` bytes from ``va``, the steps of its walk, the address they lead to.

    ``after`` is the last PTE's value afterwards, None when none was read.
    """

    va: int
    size: int
    steps: tuple[Step, ...]
    pa: int | None
    after: int | None


class Explanation(NamedTuple):
    """An access and why it came to what it came to.

    ``pages`` are one or two.  ``decided`` maps the names of the bits that decided to their values: fields of the last
    PTE read, and of sstatus.  ``hardware`` and ``xv6`` say what they report; like ``likely``, what usually causes it,
    they are empty when there is no fault.  ``place`` says what is at the address.
    """

    space: Space
    regime: Regime
    kind: Kind
    va: int
    size: int
    outcome: Outcome
    pages: tuple[Page, ...]
    decided: dict[str, int]
    verdict: str
    hardware: str
    xv6: str
    place: str
    likely: tuple[str, ...]

    def __repr__(self) -> str:
        return f"<{self.kind.name.lower()} at {self.va:#x} in {plain(self.space.name)}: {self.verdict}>"

    def _repr_html_(self) -> str:
        return in_notebook(self)


def regime_of(space: Space, priv: str | None = None, sum: bool = False, mxr: bool = False) -> Regime:
    """The state of a hart in ``space``; the privilege that uses it, unless given: U in a process, S elsewhere."""
    table = space.table
    usual = "S" if space.pid is None else "U"
    return Regime(table.format.satp(table.root), priv or usual, sum, mxr, table.format.xlen)


def explain(
    mmu: Mmu, space: Space, regime: Regime, kind: Kind, va: int, size: int = 1, pid: int | None = None
) -> Explanation:
    """Explain one access of ``size`` bytes to ``space``; BadAddress where `Mmu.access` refuses it.

    ``pid`` is what a kernel printed for the process of the space, where that is not its own.
    """
    outcome = mmu.access(regime, kind, va, size)
    format = decode_satp(regime.satp, regime.xlen).format
    pages = tuple(_page(part, format) for part in outcome.parts)
    rule = outcome.rule
    at = outcome.tval if rule else va
    return Explanation(
        space, regime, kind, va, size, outcome, pages, _decided(outcome, pages[-1], regime), _verdict(outcome, va),
        _hardware(outcome), _xv6(outcome, regime, space, pid), where(space, at),
        tuple(_hints(space, rule, regime, kind, at, pages[-1])) or (USUAL[rule.id],) if rule else (),
    )  # fmt: skip


def _page(part: Part, format: Format | None) -> Page:
    steps = [
        Step(
            entry, format.index(part.va, entry.level), format.decode_pte(entry.pte),
            part.rule if entry is part.leaf else None,
        )
        for entry in part.steps
        if format
    ]  # fmt: skip
    return Page(part.va, part.size, tuple(steps), part.pa, part.after)


def _decided(outcome: Outcome, page: Page, regime: Regime) -> dict[str, int]:
    """The bits that decided, by name; for a pointer with leaf flags only those that are set."""
    rule = outcome.rule
    if rule is None or not page.steps:
        return {}
    fields = page.steps[-1].fields
    bits = {name: fields[name] for name in DECIDING.get(rule.id, ()) if name in fields}
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


def _xv6(outcome: Outcome, regime: Regime, space: Space, pid: int | None) -> str:
    """What a kernel of xv6 does with the fault: usertrap and kerneltrap of its trap.c, or nothing."""
    if outcome.cause is None:
        return ""
    cause, tval = f"{outcome.cause:#x}", f"{outcome.tval:#x}"
    if regime.priv == "U":
        whose = "" if space.pid is None else f" pid={pid or space.pid}"
        return f"usertrap(): unexpected scause {cause}{whose}, with sepc and stval={tval}; it kills the process"
    if regime.priv == "S" and space.pid is not None:
        return (
            "only the trampoline runs in this table, and there a trap still goes to uservec: it hangs or panics, unsaid"
        )
    if regime.priv == "S":
        return f"scause={cause}, with sepc and stval={tval}; then panic: kerneltrap"
    return "no trap handler of its own in machine mode; the machine hangs"


def where(space: Space, va: int) -> str:
    """What is at an address: the areas it is in, or what it is near."""
    inside = areas_at(space, va)
    if inside:
        return f"{va:#x} is in {' and '.join(inside)} of {space.name}"
    below = max((area for area in space.areas if area.end <= va), key=lambda area: area.end, default=None)
    above = min((area for area in space.areas if area.start > va), key=lambda area: area.start, default=None)
    near = []
    if above and above.start - va <= PAGE_SIZE:
        near.append(f"{_bytes(above.start - va)} before {above.name}")
    if below and va - below.end < NEAR:
        near.append(f"{_bytes(va - below.end)} past the end of {below.name}")
    if space.size is not None and va >= space.size:
        near.append(f"beyond the process's size, {space.size:#x}")
    return f"{va:#x} is in no named part of {space.name}" + "".join(f", {words}" for words in near)


def areas_at(space: Space, va: int) -> list[str]:
    """The names of the areas that hold ``va``."""
    return [area.name for area in space.areas if area.start <= va < area.end]


def _bytes(count: int) -> str:
    return "1 byte" if count == 1 else f"{count} bytes" if count < PAGE_SIZE else f"{count:#x} bytes"


def _hints(space: Space, rule: Rule, regime: Regime, kind: Kind, va: int, page: Page) -> Iterable[str]:
    """What this address in this place tells, the surest first."""
    pattern = va >> 16
    if pattern in FILLS:
        yield FILLS[pattern]
    yield from _of_place(space, rule, regime, kind, va)
    last = page.steps[-1] if page.steps else None
    if rule.id == "not-writable" and last and last.fields["RSW"]:
        yield (
            f"RSW is {last.fields['RSW']}: the kernel marked the page, most often as shared copy-on-write; its handler "
            "did not copy it"
        )
    if rule.id == "v-clear" and space.size is not None and va < space.size and kind in (Kind.LOAD, Kind.STORE):
        yield (
            "the address is below the process's size: a kernel that allocates lazily maps a page at this fault and "
            "goes on; one that does not has lost a page"
        )
    if rule.id == "v-clear" and last and last.entry.pte and not last.entry.pte & ~(A | D):
        yield "the PTE holds A or D and nothing else: an access set them in an entry that was being cleared"
    elif rule.id == "v-clear" and last and last.entry.pte & ~V:
        yield "the PTE is not zero, only its V is: it was invalidated, and its frame may still be owned"


def _of_place(space: Space, rule: Rule, regime: Regime, kind: Kind, va: int) -> Iterable[str]:
    """The hints that need only the place."""
    names = set(areas_at(space, va))
    if "guard page" in names and kind is Kind.FETCH:
        yield "a jump into the stack's guard page: a return address overwritten on the stack, a bad function pointer"
    elif "guard page" in names:
        yield "the stack overflowed into its guard page: recursion without end, or large local arrays"
    elif names & {"trapframe", "trampoline"} and regime.priv == "U":
        yield "the page is the kernel's, mapped here without U; a program reaches it only by a wild pointer"
    elif va >> 12 == (1 << 52) - 1:
        yield "a little below address 0: a null pointer and a negative index or offset"
    elif va >> 31 == (1 << 33) - 1:
        yield "a 32-bit value with its sign extended: an address that was kept in an int"
    elif space.pid is None:
        yield from _in_kernel(space, kind, va)
    elif regime.priv == "U":
        yield from _in_process(space, rule, va)


def _in_kernel(space: Space, kind: Kind, va: int) -> Iterable[str]:
    if va < PAGE_SIZE and kind is Kind.FETCH:
        yield "a call through a function pointer that was never set, or a return with ra or a context that is 0"
    elif va < PAGE_SIZE:
        yield "a null pointer in the kernel, perhaps with the offset of a member"
    elif _stack_above(space, va):
        yield "the kernel's stack overflowed into the unmapped page below it: large local arrays, or recursion"
    elif va < min((area.start for area in space.areas), default=0):
        yield "perhaps a program's address: the kernel's table does not map programs; copyin and copyout walk theirs"
    elif any(0 <= va - region.end < NEAR for region in space.table.memory.regions):
        yield "past the end of RAM: a loop that ran past PHYSTOP, or a size that is wrong"


def _in_process(space: Space, rule: Rule, va: int) -> Iterable[str]:
    if va < LARGEST_MEMBER and rule.id == "not-writable":
        yield "a null pointer: xv6 maps a program's text at 0, so that a load through it succeeds and a store faults"
    elif va < PAGE_SIZE and rule.id == "not-writable":
        yield "a store to text or constants, such as a string literal; or a null pointer with a large offset"
    elif space.size is not None and 0 <= va - space.size < NEAR:
        yield "past the end of the process's memory: an index out of bounds, or sbrk was not asked for so much"
    elif va in space.table.memory:
        yield "a physical address, or a pointer of the kernel's: the tables of processes map neither"


def _stack_above(space: Space, va: int) -> bool:
    """Whether a stack starts within a page above ``va``, and nothing is at ``va`` itself."""
    return not areas_at(space, va) and any(
        area.name.startswith("stack of") and 0 < area.start - va <= PAGE_SIZE for area in space.areas
    )
