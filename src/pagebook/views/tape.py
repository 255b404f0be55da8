"""Steps of a tape in words: what the kernel did to one frame or one PTE."""

from __future__ import annotations

from pagebook.sv import RWX, SV39, V, flags_text
from pagebook.xv6.tape import Kind, Step

RIGHTS = "rwxu"


def sentence(step: Step, whose: str | None) -> str:
    """One step; ``whose`` is the page table that a PTE belongs to, None when it is nobody's."""
    if step.kind is Kind.ALLOC:
        return f"kalloc takes the frame {step.pa:#x} off the free list; {_first(step.after)}"
    if step.kind is Kind.FREE:
        then = f", before {step.after:#x}" if step.after else ", which was empty"
        return f"kfree puts the frame {step.pa:#x} at the head of the free list{then}"
    if step.kind is Kind.BYTES:
        count = "1 byte is" if step.after == 1 else f"{step.after:,} bytes are"
        return f"{count} written at {step.pa:#x}"
    whose = whose or f"the table at {step.root:#x}"
    return f"{whose}: the level-{step.level} PTE for {step.va:#x}, at {step.pa:#x}, {_write(step)}"


def _first(head: int) -> str:
    return f"{head:#x} is the first one now" if head else "the list is empty now"


def _write(step: Step) -> str:
    before, after = step.before, step.after
    if not after & V:
        return f"is cleared; it {'mapped' if before & RWX else 'led to the table at'} {SV39.pte_pa(before):#x}"
    where = f"{SV39.pte_pa(after):#x}"
    if not after & RWX:
        return f"now leads to the table at {where}"
    if before & V:
        return f"has {flags_text(after, RIGHTS)} now, and had {flags_text(before, RIGHTS)}"
    return f"now maps {where}, {flags_text(after, RIGHTS)}"
