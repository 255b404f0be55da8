"""Rules about rights: who may write what, and what may be executed."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from pagebook.checks.evidence import TABLE_FRAME, Evidence, Mask
from pagebook.checks.rule import Hits, Place, Rule, Severity, mapping_hits
from pagebook.memory import U64
from pagebook.sv import A, D, R, U, W, X, flags_text


def _kernel_text(evidence: Evidence) -> Mask:
    """Which leaves of kernel spaces map the kernel's text: by its physical range, or by its virtual one in Linux."""
    leaves = evidence.leaves
    text: Mask = np.zeros(len(leaves), dtype=np.bool_)
    if evidence.text is not None:
        start, stop = evidence.text
        pa = leaves["pa"]
        text = evidence.of_kernel & (pa < U64(stop)) & (pa + leaves["size"] > U64(start))
    first, last = (evidence.machine.symbols.get(name) for name in ("_stext", "_etext"))
    if first and last and first < last:
        va = leaves["va"]
        text = text | (va < U64(last)) & (va + (leaves["size"] - U64(1)) >= U64(first))
    return text


def kernel_write_execute(evidence: Evidence) -> Iterator[Hits]:
    """Leaves without U that have W and X, but for the kernel's text, which has a rule of its own."""
    leaves = evidence.leaves
    both = (leaves["flags"] & (U | W | X) == W | X) & ~(evidence.of_process & evidence.below)
    if not both.any():
        return
    mask = both & ~_kernel_text(evidence) & evidence.usable & ~_at_trampoline(evidence) & ~_of_users(evidence)
    yield mapping_hits(leaves[mask], lambda place: f"{place.what} of the kernel's can be written and executed")


def _of_users(evidence: Evidence) -> Mask:
    """Which leaves lead to a page that has W and X in its program's space: a kernel's table may map these too."""
    own = evidence.user | evidence.of_process & evidence.below
    pages = np.unique(evidence.leaves["pa"][own & (evidence.leaves["flags"] & (W | X) == W | X)])
    found: Mask = np.isin(evidence.leaves["pa"], pages)
    return found


def _at_trampoline(evidence: Evidence) -> Mask:
    if evidence.guest != "xv6":
        return np.zeros(len(evidence.leaves), dtype=np.bool_)
    space = evidence.leaves["space"]
    va, processes = evidence.leaves["va"], evidence.of_process
    found: Mask = (va == evidence.trampolines[space]) | processes & (va == evidence.trapframes[space])
    return found


def user_write_execute(evidence: Evidence) -> Iterator[Hits]:
    """User leaves that have W and X."""
    leaves = evidence.leaves
    yield mapping_hits(
        leaves[leaves["flags"] & (R | W | X | U) == R | W | X | U],
        lambda place: f"{place.what} of a program can be written and executed",
    )


def user_page_in_kernel(evidence: Evidence) -> Iterator[Hits]:
    """Leaves with U in the kernel's table (xv6), or in the kernel's half of any space (elsewhere)."""
    leaves = evidence.leaves
    wrong = evidence.user & evidence.of_kernel if evidence.guest == "xv6" else evidence.user & _upper(evidence)
    yield mapping_hits(
        leaves[wrong & (leaves["flags"] & (R | X) != 0)],
        lambda place: (
            f"{place.what} of the kernel's {place.verb('has', 'have')} U ({_rights(place)}): user mode may "
            "use it wherever this table is current, and the kernel may not without sstatus.SUM"
        ),
    )


def _upper(evidence: Evidence) -> Mask:
    """Leaves in the upper half, for formats that have one."""
    halves = np.array([*(space.table.format.xlen == 64 for space in evidence.spaces), False], dtype=np.bool_)
    upper: Mask = (evidence.leaves["va"] >> U64(63) != 0) & halves[evidence.leaves["space"]]
    return upper


def _rights(place: Place) -> str:
    return flags_text(place.pte or 0, "rwxu")


def shared_writable(evidence: Evidence) -> Iterator[Hits]:
    """User pages that one space may write and another may at least read."""
    leaves = evidence.leaves
    found = evidence.user & evidence.small & (evidence.frame >= 0)
    space, frame = leaves["space"][found], evidence.frame[found]
    roots = np.array([space.table.root for space in evidence.spaces], dtype=U64)[space]
    shared = np.zeros(len(frame), dtype=np.bool_)
    order = np.lexsort((roots, frame))
    ordered, by = frame[order], roots[order]
    first = np.searchsorted(ordered, ordered)
    last = np.searchsorted(ordered, ordered, side="right") - 1
    shared[order] = by[first] != by[last]
    rows = leaves[found][shared]
    rows = rows[rows["flags"] & W != 0]
    yield mapping_hits(
        rows, lambda place: f"{place.what} can be written here, and another space maps the same frame, {place.pa:#x}"
    )


def table_writable_by_user(evidence: Evidence) -> Iterator[Hits]:
    """User leaves with W that lead to a page of any table."""
    yield mapping_hits(
        evidence.leaves[_over_tables(evidence) & (evidence.leaves["flags"] & W != 0)],
        lambda place: (
            f"a user page that can be written lies over a page table, in {place.pa:#x}: the program can map "
            "whatever it likes"
        ),
    )


def _over_tables(evidence: Evidence) -> Mask:
    """Which user leaves lead to at least one frame that is a table."""
    over: Mask = evidence.user & (evidence.frame >= 0)
    tables = evidence.kernels == TABLE_FRAME
    small = over & evidence.small
    over[small] = tables[evidence.frame[small]]
    before = np.concatenate([[0], np.cumsum(tables)])
    large = over & ~evidence.small
    first = evidence.frame[large]
    last = np.minimum(first + (evidence.leaves["size"][large] >> U64(12)).astype(np.intp), len(tables))
    over[large] = before[last] > before[first]
    return over


def kernel_text_writable(evidence: Evidence) -> Iterator[Hits]:
    """Leaves of kernel spaces with W over the kernel's text."""
    text = _kernel_text(evidence)
    yield mapping_hits(
        evidence.leaves[text & (evidence.leaves["flags"] & (R | W) == R | W) & evidence.usable],
        lambda place: f"{place.what} of the kernel's text can be written ({_rights(place)})",
    )


def accessed_dirty(evidence: Evidence) -> Iterator[Hits]:
    """Leaves that fault on a hart with Svade: A is 0, or W is set and D is 0."""
    flags = evidence.leaves["flags"]
    yield mapping_hits(
        evidence.leaves[flags & A == 0],
        lambda place: (
            f"{place.what} {place.verb('has', 'have')} A = 0: on a hart with Svade every access faults until "
            "the kernel sets it"
        ),
    )
    yield mapping_hits(
        evidence.leaves[(flags & (A | D) == A) & (flags & W != 0)],
        lambda place: (
            f"{place.what} can be written and {place.verb('has', 'have')} D = 0: on a hart with Svade every "
            "store faults until the kernel sets it"
        ),
    )


RULES = (
    Rule(
        "PB010", "kernel-write-execute", "No page of the kernel's is both writable and executable.", Severity.WARNING,
        "Map code R and X, everything else R and W.", kernel_write_execute,
    ),
    Rule(
        "PB011", "user-write-execute", "No page of a program is both writable and executable.", Severity.WARNING,
        "Give each segment the rights in its program header, and link without -N.", user_write_execute, default=False,
    ),
    Rule(
        "PB012", "user-page-in-kernel", "The kernel's table has no page with U.", Severity.ERROR,
        "Map it without PTE_U; what a program needs goes into the program's table.", user_page_in_kernel,
    ),
    Rule(
        "PB013", "writable-in-two-spaces", "A frame that one space may write is in no other space.",
        Severity.WARNING, "Copy the frame, or take W away from all who share it.", shared_writable, guests=("",),
    ),
    Rule(
        "PB014", "table-writable-by-user", "No user page that can be written leads to a page table.", Severity.ERROR,
        "The frame was given out twice, or mapped at a wrong address; look who owns it with 'pagebook owners'.",
        table_writable_by_user,
    ),
    Rule(
        "PB015", "kernel-text-writable", "The kernel cannot write its own text.", Severity.ERROR,
        "Map the text up to etext with PTE_R | PTE_X.", kernel_text_writable,
    ),
    Rule(
        "PB016", "accessed-dirty", "A and D are set where a hart with Svade needs them.", Severity.NOTE,
        "Set A, and D where W is, in the page-fault handler or when the page is mapped.", accessed_dirty,
        default=False,
    ),
)  # fmt: skip
