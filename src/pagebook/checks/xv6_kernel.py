"""Rules about the kernel's own table in xv6: what it must map, and its stacks."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from pagebook.checks.evidence import Evidence, Mask
from pagebook.checks.rule import Hits, Place, Rule, Say, Severity, doubt_hits, mapping_hits, place_hits
from pagebook.memory import U64
from pagebook.sv import R, W, X, flags_text
from pagebook.units import PAGE_SIZE, page_down, page_up

XV6 = ("xv6",)
TEXT, DATA, RAM = "the kernel's text", "the kernel's data", "the allocator's RAM"
PARTS = (TEXT, DATA, RAM)
LACKS = {
    TEXT: "cannot be executed: a hart that fetches there faults, and can do nothing about it",
    DATA: "cannot be written: the kernel's first store there faults",
    RAM: "cannot be written: kalloc and kfree fill each page they give or take, and fault there",
}


def kernel_map(evidence: Evidence) -> Iterator[Hits]:
    """Parts of the kernel's text, its data and the allocator's RAM that its own table does not let it use.

    xv6's kernel runs at physical addresses: each page must lead to itself.  A kernel whose table maps less than half of
    its RAM so has another way, and is left alone.
    """
    number, free, text = evidence.kernel, evidence.machine.free_range, evidence.text
    if number is None or free is None or text is None or number in evidence.refused or evidence.damaged[number]:
        return
    leaves = evidence.leaves
    own = (leaves["space"] == number) & (leaves["va"] == leaves["pa"]) & evidence.usable
    stop = free[1]
    mapped = _covered(evidence, own)
    inside = _within(evidence, text[0], stop)
    if 2 * np.count_nonzero(mapped & inside) < np.count_nonzero(inside):
        return
    parts = (
        _within(evidence, text[0], page_down(text[1])),
        _within(evidence, page_up(text[1]), free[0]),
        _within(evidence, *free),
    )
    executable = _covered(evidence, own & (leaves["flags"] & (R | X) == R | X))
    writable = _covered(evidence, own & (leaves["flags"] & (R | W) == R | W))
    writes = np.cumsum(writable & parts[1])
    constants = parts[1] & (writes == 0) & (writes.max(initial=0) > 0)  # some kernels seal what follows the text
    for part, usable in enumerate((executable, writable | constants, writable)):
        wrong = parts[part] & mapped & ~usable
        yield _hits(evidence, number, parts[part] & ~mapped, lambda place, part=part: _unmapped(place, PARTS[part]))  # type: ignore[misc]
        yield _hits(evidence, number, wrong, lambda place, part=part: _unusable(place, PARTS[part]))  # type: ignore[misc]
    stacks = leaves[evidence.on_stacks & evidence.usable & (leaves["flags"] & (R | W) != R | W)]
    yield mapping_hits(
        stacks,
        lambda place: (
            f"the kernel stack at {place.va:#x} is mapped {flags_text(place.pte or 0, 'rwxu')}, not rw--: the first "
            "trap on it faults again, and so on without end"
        ),
    )


def _covered(evidence: Evidence, mask: Mask) -> Mask:
    """Which frames these leaves map."""
    covered: Mask = evidence.frames.spans(evidence.leaves["pa"][mask], evidence.leaves["size"][mask]) > 0
    return covered


def _within(evidence: Evidence, start: int, stop: int) -> Mask:
    """Which frames are in [start, stop)."""
    size = np.array([max(stop - start, 0)], U64)
    inside: Mask = evidence.frames.spans(np.array([start], U64), size) > 0
    return inside


def _hits(evidence: Evidence, number: int, wrong: Mask, say: Say) -> Hits:
    pas = evidence.frames.pas(np.flatnonzero(wrong))
    return place_hits(np.full(len(pas), number, np.int32), pas, say)


def _unmapped(place: Place, part: str) -> str:
    return (
        f"{place.what} of {part} {place.verb('is', 'are')} not mapped at {place.verb('its', 'their')} own "
        f"address{place.verb('', 'es')}: the kernel faults when it goes there"
    )


def _unusable(place: Place, part: str) -> str:
    return f"{place.what} of {part} {LACKS[part]}"


def _under_stacks(evidence: Evidence) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.uint64], Mask]:
    """For each kernel stack its space, the page under it, and whether that is mapped."""
    stacks = evidence.stacks
    spaces = np.array([number for number, _ in stacks], dtype=np.int32)
    below = np.array([max(area.start - PAGE_SIZE, 0) for _, area in stacks], dtype=U64)
    mapped = np.zeros(len(stacks), dtype=np.bool_)
    leaves = evidence.leaves
    for number in np.unique(spaces).tolist():
        here = spaces == number
        own = leaves["space"] == number
        va, end = leaves["va"][own], leaves["va"][own] + leaves["size"][own]
        at = np.searchsorted(va, below[here], side="right") - 1
        mapped[here] = (at >= 0) & (below[here] < end[np.maximum(at, 0)]) if len(va) else False
    return spaces, below, mapped


def _keeps_no_guards(evidence: Evidence) -> str:
    _, _, mapped = _under_stacks(evidence)
    unguarded = 2 * np.count_nonzero(mapped) > len(mapped)
    return "under most kernel stacks a page is mapped, as in kernels that keep no guard pages" if unguarded else ""


def kernel_stack_guard(evidence: Evidence) -> Iterator[Hits]:
    """Kernel stacks above a page that is mapped, where the others have a hole."""
    spaces, below, mapped = _under_stacks(evidence)
    names = [area.name for _, area in evidence.stacks]
    chosen = np.flatnonzero(mapped)
    yield place_hits(
        spaces[chosen], below[chosen],
        lambda place: f"{place.va:#x}, the guard page under the {names[place.fact]}, is mapped: a kernel stack that "
        "overflows runs on into it",
        fact=chosen,
    )  # fmt: skip


def kernel_stack_shared(evidence: Evidence) -> Iterator[Hits]:
    """Kernel stacks that lead to one frame."""
    rows = evidence.leaves[evidence.on_stacks]
    _, first, which = np.unique(rows["pa"], return_index=True, return_inverse=True)
    again = rows["va"][first[which]] != rows["va"]
    yield mapping_hits(
        rows[again],
        lambda place: (
            f"the kernel stack at {place.va:#x} is in the frame {place.pa:#x}, and so is the one at {place.fact:#x}"
        ),
        fact=rows["va"][first[which[again]]],
    )
    yield doubt_hits(evidence, "kstack")


RULES = (
    Rule(
        "PB118", "kernel-stack-guard", "The page under a kernel stack is not mapped.", Severity.ERROR,
        "Leave a page free between kernel stacks: KSTACK(p) is two pages a slot.", kernel_stack_guard, guests=XV6,
        blind=_keeps_no_guards,
    ),
    Rule(
        "PB119", "kernel-stack-shared", "Each kernel stack has a frame of its own.", Severity.ERROR,
        "Call kalloc for each slot in proc_mapstacks, and give each slot its own KSTACK.", kernel_stack_shared,
        guests=XV6,
    ),
    Rule(
        "PB121", "kernel-map", "The kernel's table maps its text R and X, its data and all of its RAM R and W.",
        Severity.ERROR, "Look in kvmmake at the kvmmap of the part that is named: its size, and its rights.",
        kernel_map, guests=XV6,
    ),
)  # fmt: skip
