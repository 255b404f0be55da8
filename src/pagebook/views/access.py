"""Accesses, faults, and numbers alone, as lines of text; each line starts with a word that says what it tells."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from pagebook.decode import FLAG_NAMES, PteMeaning
from pagebook.explain import Explanation, Page
from pagebook.faults import Fault, Otherwise, what_it_does
from pagebook.mmu import CAUSES, Kind, Regime
from pagebook.printed import Panicked, Printed
from pagebook.quiz import Question
from pagebook.sv import Format, Satp, decode_satp, flags_text
from pagebook.units import PAGE_SHIFT, size_text
from pagebook.views.facts import Walk, leaf
from pagebook.views.text import Line, extras, steps

MODES = {"U": "user mode", "S": "supervisor mode", "M": "machine mode"}
IN_SSTATUS = ("SUM", "MXR")
LABEL = 10


def kind_text(kind: Kind) -> str:
    """The name of an access: load, store, fetch, amo."""
    return kind.name.lower()


def access(found: Explanation, sized: bool = True) -> Iterator[Line]:
    """What was done (how many bytes, if that is known), every PTE that was read, the verdict and its reasons."""
    table = found.space.table
    yield [
        (kind_text(found.kind), "title"),
        (f" of {_bytes(found.size)}" if sized else "", ""),
        (f" at {found.va:#x} in {_state(found.regime)}", ""),
        (f", {found.space.name}: {table.format.name}, root ", ""),
        (f"{table.root:#x}", "address"),
    ]
    format = decode_satp(found.regime.satp, found.regime.xlen).format
    for number, page in enumerate(found.pages, 1):
        if len(found.pages) > 1:
            yield [(f"  page {number}: {page.size} of the {found.size} bytes, from {page.va:#x}", "")]
        if format is None or found.regime.priv == "M":
            yield _labelled("physical", f"{MODES['M']} uses physical addresses; no PTE is read")
        else:
            yield from steps(format, page.va, [step.entry for step in page.steps], _marks(found, page))
        yield from _updated(page)
    yield from reasons(found)


def reasons(found: Explanation) -> Iterator[Line]:
    """The verdict, what decided it, what hardware and xv6 report, where the address is, what usually causes it."""
    rule = found.outcome.rule
    yield _labelled("fault" if rule else "result", found.verdict, "bad" if rule else "")
    if rule and rule.step:
        yield _labelled("rule", f"step {rule.step} of the translation process in the privileged specification")
    if found.decided:
        yield _labelled("decided", _decided(found))
    for label, words in (("hardware", found.hardware), ("xv6", found.xv6)):
        if words:
            yield _labelled(label, words)
    if found.space.areas:
        yield _labelled("place", found.place)
    for words in found.likely:
        yield _labelled("likely", words)


def walk(found: Explanation, page: Page) -> Walk | None:
    """One page of the access as a walk, which ends where the access does; None where no PTE was read."""
    entries = [step.entry for step in page.steps]
    verdict = found.verdict if page.pa is None else f"{page.va:#x} reaches physical address {page.pa:#x}"
    return Walk(page.va, found.space, entries, page.pa, verdict) if entries else None


def _bytes(count: int) -> str:
    return f"{count} byte{'s' * (count != 1)}"


def _labelled(label: str, words: str, style: str = "") -> Line:
    return [(f"  {label:<{LABEL}}", "title"), (words, style)]


def _state(regime: Regime) -> str:
    bits = "".join(f" with {name}" for name, is_set in (("SUM", regime.sum), ("MXR", regime.mxr)) if is_set)
    return MODES[regime.priv] + bits


def _marks(found: Explanation, page: Page) -> str:
    """The bits of the last PTE that broke a rule."""
    if not page.steps or page.steps[-1].rule is None:
        return ""
    fields = page.steps[-1].fields
    return " ".join(f"{name}={_number(name, value)}" for name, value in found.decided.items() if name in fields)


def _number(name: str, value: int) -> str:
    return f"{value:#x}" if name in ("PPN", "reserved") else str(value)


def _decided(found: Explanation) -> str:
    """The bits that decided, those of the PTE and those of sstatus."""
    bits = [f"{name}={_number(name, value)}" for name, value in found.decided.items() if name not in IN_SSTATUS]
    last = found.pages[-1].steps[-1].entry
    words = [f"{', '.join(bits)} in the level-{last.level} PTE at {last.pte_pa:#x}"] if bits else []
    words += [f"{name}={value} in sstatus" for name, value in found.decided.items() if name in IN_SSTATUS]
    return ", ".join(words)


def _updated(page: Page) -> Iterator[Line]:
    if page.steps and page.after is not None and page.after != page.steps[-1].entry.pte:
        last = page.steps[-1].entry
        letters = " and ".join(flags_text(page.after & ~last.pte).replace("-", "").upper())
        yield _labelled("sets", f"{letters}, by the hart; the PTE at {last.pte_pa:#x} is then {page.after:#x}")


def fault(found: Fault) -> Iterator[Line]:
    """What was printed, what is told of it, and the access that explains it where there is one."""
    yield [("scause", "title"), (f" {printed(found)}", "")]
    yield from _lines(told(found))
    if found.named:
        yield from access(found.chosen, sized=False)


def otherwise(found: Otherwise) -> Iterator[Line]:
    """What was printed of a trap that no translation decides, and what is told of it."""
    yield [("scause", "title"), (f" {printed(found.printed)}", "")]
    yield from _lines(told_otherwise(found))


def panic(found: Panicked) -> Iterator[Line]:
    """A panic without a trap, and what is known of it."""
    yield [("panic", "title"), (f" {found.words}", "")]
    yield from _lines(told_of_panic(found))


def printed(found: Fault | Printed) -> str:
    """The numbers of a trap, scause first."""
    cause = f" ({CAUSES[found.scause]})" if found.scause in CAUSES else ""
    words = f"{found.scause:#x}{cause}, stval {found.stval:#x}"
    words += "" if found.sepc is None else f", sepc {found.sepc:#x}"
    return words + ("" if found.pid is None else f", pid {found.pid}")


class Told(NamedTuple):
    """A sentence about a fault, and the word that says what it tells."""

    label: str
    words: str
    style: str = ""


def _lines(told: Iterable[Told]) -> Iterator[Line]:
    return (_labelled(*one) for one in told)


def told(found: Fault) -> Iterator[Told]:
    """Where the instruction is, who did not make the access, why nothing fits, what to do next."""
    for words in found.notes:
        yield Told("pid", words)
    for words in found.code:
        yield Told("code", words)
    if found.passed:
        yield Told("not", f"in {', '.join(found.passed)}, which could run it too, but come to something else")
    for space, instruction in found.ruled_out:
        yield Told("not", f"in {space}: there the instruction is {what_it_does(instruction)}")
    if found.same:
        yield Told("also", f"the same comes out in {', '.join(found.same)}; name a space to have it in that one")
    for words in found.doubts:
        yield Told("but", words, "bad")
    for words in found.advice:
        yield Told("then", words)


def told_otherwise(found: Otherwise) -> Iterator[Told]:
    """Why a trap that no translation decides came, and where its instruction is."""
    yield Told("why", f"{found.why}; page tables have no part in it")
    for words in found.notes:
        yield Told("pid", words)
    for words in found.code:
        yield Told("code", words)
    if found.same:
        yield Told("also", f"code may stand there in {', '.join(found.same)} too; name a space to have it in that one")
    for words in found.doubts:
        yield Told("but", words, "bad")


def told_of_panic(found: Panicked) -> Iterator[Told]:
    """When a kernel panics so, and what to look for."""
    if found.when:
        yield Told("why", found.when)
    if found.look_for:
        yield Told("likely", found.look_for)
        yield Told("then", "the kernel stands where it panicked, and 'pagebook check qemu' may say what is wrong there")
    elif found.when:
        yield Told("then", "give the lines that it printed before as well, with scause, sepc and stval")
    else:
        yield Told("but", "this is none of the panics of xv6's memory management, and no trap with its numbers", "bad")
        yield Told(
            "then", f'look for panic("{found.words}") in the kernel\'s source: the test before it is what failed'
        )


def pte(found: PteMeaning) -> Iterator[Line]:
    """A PTE's fields, what it is, whom it allows what, and on which levels it can stand."""
    fmt = found.format
    yield [("PTE", "title"), (f" {found.pte:#x} as {fmt.name} reads it: {flags_text(found.pte)}", "")]
    yield _labelled("bits", f"{found.pte:0{8 * fmt.pte_bytes}b}")
    for field in reversed(fmt.pte_fields):
        value = found.fields[field.name]
        where = f"{field.low + field.bits - 1}-{field.low}" if field.bits > 1 else str(field.low)
        yield _labelled(
            where, f"{field.name:<8} {_number(field.name, value):<12} {_field_words(found, field.name)}".rstrip()
        )
    yield _labelled("is", _kind_words(found), "bad" if found.broken else "")
    for who, kinds in found.allows.items():
        yield _labelled("allows", f"{who}: {', '.join(map(kind_text, kinds)) or 'nothing'}")
    for level, rule in found.levels.items():
        if found.kind in ("leaf", "table"):
            words = f"{rule.text} [{rule.id}]" if rule else _on_level(found, level)
            yield _labelled(f"level {level}", words, "bad" if rule else "")


def _on_level(found: PteMeaning, level: int) -> str:
    """What a sound PTE is on a level."""
    if found.kind == "table":
        return f"a pointer to the table at {found.pa:#x}"
    pa, size = leaf(found.format, found.pte, level)
    return f"a page of {size_text(size)} at {pa:#x}"


def _field_words(found: PteMeaning, name: str) -> str:
    if name in FLAG_NAMES:
        return FLAG_NAMES[name] if found.fields[name] else f"not {FLAG_NAMES[name]}"
    return {
        "PPN": f"the frame at {found.pa:#x}",
        "RSW": "free for the kernel's own use",
        "reserved": "must be 0",
        "PBMT": "memory type (Svpbmt)",
        "N": "part of a 64 KiB page (Svnapot)",
    }[name]


def _kind_words(found: PteMeaning) -> str:
    if found.broken:
        return f"invalid on every level: {found.broken.text} [{found.broken.id}]"
    if found.kind == "table":
        return "a pointer to a table"
    if found.kind == "leaf":
        return "a leaf, which maps a page"
    return "absent: V is 0, and the hardware looks at no other bit"


def satp(value: int, found: Satp, xlen: int) -> Iterator[Line]:
    """What a satp value says."""
    yield [("satp", "title"), (f" {value:#x}, {xlen} bits", "")]
    if found.format is None:
        yield _labelled("MODE", "0, Bare: addresses are physical, there is no translation")
    else:
        shape = f"{found.format.levels} levels, {found.format.va_bits}-bit virtual addresses"
        yield _labelled("MODE", f"{found.format.mode}, {found.format.name}: {shape}")
    yield _labelled("ASID", f"{found.asid}")
    where = "not used" if found.format is None else f"the root table is at {found.root:#x}"
    yield _labelled("PPN", f"{found.root >> PAGE_SHIFT:#x}: {where}")


def question(asked: Question) -> Iterator[Line]:
    """The state of the hart, the PTEs in memory, the access, and what is to be answered."""
    regime, fmt = asked.regime, asked.space.table.format
    yield [("quiz", "title"), (f" --seed {asked.seed} --level {asked.level}", "")]
    yield _labelled(
        "memory", f"{size_text(asked.mmu.memory.regions[0].size)} from {asked.mmu.memory.regions[0].base:#x}"
    )
    yield _labelled("satp", f"{regime.satp:#x} ({fmt.name})")
    yield _labelled("hart", _hart(asked))
    for at, value in asked.entries():
        yield _labelled("PTE", f"{value:#x} at {at:#x}  {flags_text(value)}{extras(fmt, value)}")
    yield _labelled("else", "all other PTEs are 0")
    yield _labelled("access", f"{kind_text(asked.kind)} of {_bytes(asked.size)} at {asked.va:#x}")
    if asked.level == "easy":
        yield _labelled("bits", _va_bits(fmt, asked.va))
    yield _labelled("question", "which physical address does it reach, or with which scause does it fault?")


def _va_bits(fmt: Format, va: int) -> str:
    indices, offset = fmt.split_va(va)
    return " ".join([*(f"{index:0{fmt.index_bits}b}" for index in indices), f"{offset:012b}"])


def _hart(asked: Question) -> str:
    extensions = asked.mmu.extensions
    names = ["Svadu: it sets A and D" if extensions.svadu else "Svade: it faults where A or D must be set"]
    names += [name for name, there in (("Svnapot", extensions.svnapot), ("Svpbmt", extensions.svpbmt)) if there]
    state = f"{MODES[asked.regime.priv]}, SUM={int(asked.regime.sum)}, MXR={int(asked.regime.mxr)}"
    return f"{state}; {', '.join(names)}"
