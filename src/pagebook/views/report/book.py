"""Physical memory in a report: the book of its frames, and the roles with their counts, which sum to all of RAM."""

from __future__ import annotations

from pagebook.ledger import Role
from pagebook.units import PAGE_SHIFT, size_text
from pagebook.views.report.found import Found
from pagebook.views.report.markup import Html, element, figure, joined, row, table
from pagebook.views.svg import book as drawn
from pagebook.views.svg.themes import ROLE_ORDER

WORDS = {
    Role.PAGE_TABLE: "page tables themselves",
    Role.SHARED: "pages that several processes map",
    Role.USER: "pages of one process",
    Role.TRAPFRAME: "where the registers of a process are kept while the kernel runs",
    Role.KERNEL_STACK: "the stacks that processes have in the kernel",
    Role.DEVICE_QUEUE: "what the kernel shares with a device",
    Role.KERNEL_IMAGE: "the kernel's code and data",
    Role.FREE: "frames on a free list",
    Role.UNKNOWN: "frames of which nobody is known to be the owner",
}


def book(found: Found) -> Html:
    """The figure and the table."""
    return joined((figure(drawn.memory(found.ledger), "book"), _roles(found)))


def _roles(found: Found) -> Html:
    counts = found.ledger.counts()
    total = sum(counts.values())
    rows = [_row(role.label, counts[role], total, WORDS[role]) for role in ROLE_ORDER if counts[role]]
    foot = _row("all of RAM", total, total, "each frame in one role")
    return element(
        "div", table(("role", "frames", "bytes", "share", "what that is"), rows, "Frames by role", foot), class_="roles"
    )


def _row(name: str, count: int, total: int, words: str) -> Html:
    return row(name, f"{count:,}", size_text(count << PAGE_SHIFT), _share(count, total), words)


def _share(count: int, total: int) -> str:
    """So much of all, in percent; what is there at all is never told as nothing."""
    if not total:
        return "—"
    percent = 100 * count / total
    return f"{percent:.1f} %" if percent >= 0.05 else "< 0.1 %"
