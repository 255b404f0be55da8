"""Rules about the pages of xv6's processes: within their size, with the rights they should have, over their own frames.

What is by design stays silent: holes below the size (lazy allocation), frames that several read (copy-on-write),
superpages, pages at one fixed address in every process (USYSCALL), regions of mmap above the size.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property

import numpy as np

from pagebook.checks.evidence import DEAD, IMAGE, KERNELS, STACK_FRAME, Evidence, Mask
from pagebook.checks.evidence import TRAPFRAME as TRAPFRAME_FRAME
from pagebook.checks.marking import image_words
from pagebook.checks.rule import Hits, Place, Rule, Severity, doubt_hits, mapping_hits, place_hits, space_hits
from pagebook.columns import Columns
from pagebook.memory import U64
from pagebook.sv import R, W, X, flags_text
from pagebook.units import PAGE_MASK, PAGE_SIZE

SP = 48  # where struct trapframe keeps the program's stack pointer, in bytes
XV6 = ("xv6",)
THREADS = ("clone", "thread", "shm", "shared")
REGIONS = ("mmap", "shm", "shared", "map_")
BEING_FREED = "zombie"  # its trapframe and trampoline go first, and a large one takes seconds
LEAST_IMAGE = 3  # pages of a program that has code, data and a stack


class Pages:
    """The leaves of processes below the trapframe, and where each of them belongs."""

    def __init__(self, evidence: Evidence) -> None:
        self.evidence = evidence
        leaves = evidence.leaves
        space = leaves["space"]
        self.top = np.minimum(evidence.trapframes, evidence.trampolines)
        self.below_trapframe: Mask = evidence.of_process & (leaves["va"] < self.top[space])
        self.beyond: Mask = self.below_trapframe & ~evidence.below
        self.inside: Mask = self.below_trapframe & evidence.below

    @cached_property
    def fixed(self) -> Mask:
        """Which leaves beyond the size are at an address that every process has: by design, like USYSCALL."""
        evidence = self.evidence
        found = np.zeros(len(evidence.leaves), dtype=np.bool_)
        living = np.unique(evidence.leaves["space"][self.inside])
        if len(living) < 2:
            return found
        rows = np.flatnonzero(self.beyond & np.isin(evidence.leaves["space"], living))
        _, which, counts = np.unique(evidence.leaves["va"][rows], return_inverse=True, return_counts=True)
        found[rows] = counts[which] == len(living)
        return found

    @cached_property
    def named(self) -> Mask:
        """Which leaves beyond the size are in an area that the kernel itself tells of: a region of mmap, say."""
        found = np.zeros(len(self.evidence.leaves), dtype=np.bool_)
        for number in np.unique(self.evidence.leaves["space"][self.beyond]).tolist():
            for area in self.evidence.spaces[number].areas:
                if area.end > int(self.evidence.ends[number]):
                    found |= self.evidence.within(number, area.start, area.size)
        return found

    def stack_pointers(self) -> dict[int, int]:
        """For each process that has a trapframe the user stack pointer that it holds."""
        evidence = self.evidence
        leaves = evidence.leaves
        at = evidence.of_process & (leaves["va"] == evidence.trapframes[leaves["space"]]) & (evidence.frame >= 0)
        found = leaves[at]
        return {
            space: evidence.memory.read64(pa + SP)
            for space, pa in zip(found["space"].tolist(), found["pa"].tolist(), strict=True)
        }


def _pages(evidence: Evidence) -> Pages:
    found: Pages | None = evidence.__dict__.get("xv6_pages")
    if found is None:
        found = evidence.__dict__["xv6_pages"] = Pages(evidence)
    return found


def beyond_size(evidence: Evidence) -> Iterator[Hits]:
    """Leaves of a process at or above its size, below its trapframe."""
    pages = _pages(evidence)
    leaves = evidence.leaves
    mask = pages.beyond & ~pages.fixed & ~pages.named
    if not mask.any():
        return
    chosen = np.flatnonzero(mask)
    space, va = leaves["space"][chosen], leaves["va"][chosen]
    end = va + leaves["size"][chosen]
    new = np.ones(len(chosen), dtype=np.bool_)
    new[1:] = (space[1:] != space[:-1]) | (va[1:] != end[:-1])
    run = np.cumsum(new) - 1
    first = np.flatnonzero(new)
    last = np.append(first[1:], len(chosen)) - 1
    adjacent = va[first] == evidence.ends[space[first]]
    user = evidence.user[chosen[first]]
    # What is mapped without U right under the trapframe is the kernel's own business: a thread's trapframe, say.
    kept = user | (end[last] != pages.top[space[last]])
    if evidence.has_call(*REGIONS):
        kept &= adjacent
    rows = leaves[chosen[kept[run]]]
    size = {number: space.size or 0 for number, space in enumerate(evidence.spaces)}
    yield mapping_hits(
        rows,
        lambda place: (
            f"{place.what} {place.verb('is', 'are')} mapped from {place.va:#x}, beyond the process's "
            f"{size[place.fact]:#x} bytes: exit will not find {place.verb('it', 'them')} (freewalk: leaf)"
        ),
        fact=rows["space"],
        mark=end[last][run][kept[run]],
    )


def shared_and_writable(evidence: Evidence) -> Iterator[Hits]:
    """User pages of one process that can be written, over a frame that another process maps too."""
    if evidence.has_call(*THREADS):
        return
    leaves = evidence.leaves
    pages = _pages(evidence)
    own = evidence.of_process & evidence.user & evidence.small & (evidence.frame >= 0)
    if evidence.has_call(*REGIONS):
        own &= pages.inside
    space, frame = leaves["space"][own], evidence.frame[own]
    order = np.lexsort((space, frame))
    ordered, by = frame[order], space[order]
    first, last = np.searchsorted(ordered, ordered), np.searchsorted(ordered, ordered, side="right") - 1
    other = np.where(by == by[first], by[last], by[first])
    shared = np.zeros(len(frame), dtype=np.bool_)
    others = np.zeros(len(frame), dtype=np.int32)
    shared[order], others[order] = evidence.roots[by] != evidence.roots[other], other
    chosen = shared & (leaves["flags"][own] & W != 0)
    names = [space.name for space in evidence.spaces]
    yield mapping_hits(
        leaves[own][chosen],
        lambda place: (
            f"{place.what} can be written, and {names[place.fact]} maps the same frame, {place.pa:#x}: what "
            "one stores the other reads"
        ),
        fact=others[chosen],
    )


def text_made_writable(evidence: Evidence) -> Iterator[Hits]:
    """Pages of code or constants that can be written.

    Which these are, the program's file says; without it, that the same program has code elsewhere that cannot be
    written and that no copy-on-write has marked.  Kernels that give every page every right are left alone.
    """
    leaves = evidence.leaves
    own = _pages(evidence).inside & evidence.user
    code, writable = own & (leaves["flags"] & X != 0), leaves["flags"] & W != 0
    symbols = evidence.machine.symbols
    if not (own & ~code).any() or ("exec" in symbols and "flags2perm" not in symbols):
        return  # this kernel gives every page every right; what cannot be written is shared for now
    names = np.array([space.name.partition(".")[0] for space in evidence.spaces] or [""])
    sealed = code & ~writable & (leaves["rsw"] == 0)
    wrong = code & writable & np.isin(names[leaves["space"]], np.unique(names[leaves["space"][sealed]]))
    for number, space in enumerate(evidence.spaces):
        parts = {area.name for area in space.areas} & {"text", "data"}
        if parts:
            wrong &= leaves["space"] != number
        # A program linked with -N has one segment, with every right.
        told = len(parts) == 2 and space.pid is not None and (sealed.any() or "flags2perm" in symbols)
        for area in space.areas if told else ():
            if area.name in ("text", "constants"):
                wrong |= evidence.within(number, area.start, area.size) & own & writable
    why = "elsewhere it cannot" if sealed.any() else "by its file it cannot"
    yield mapping_hits(
        leaves[wrong],
        lambda place: (
            f"{place.what} of the program's code or constants can be written ({_rights(place)}): {why}, so "
            f"{place.verb('it was', 'they were')} made writable"
        ),
    )


def _rights(place: Place) -> str:
    return flags_text(place.pte or 0, "rwxu")


def stack_guard(evidence: Evidence) -> Iterator[Hits]:
    """Processes without a page that user mode cannot use below their stack."""
    pages = _pages(evidence)
    leaves = evidence.leaves
    pointers = pages.stack_pointers()
    guards = pages.inside & ~evidence.user
    for number, space in enumerate(evidence.spaces):
        if space.pid is None:
            continue
        named = [area for area in space.areas if area.name == "guard page"]
        for area in named:
            here = evidence.within(number, area.start, area.size)
            yield mapping_hits(leaves[here & evidence.user], _guard_usable)
        if named or number in evidence.refused:
            continue
        own = np.flatnonzero((leaves["space"] == number) & pages.inside)
        sp = pointers.get(number, 0)
        if len(own) < LEAST_IMAGE or not 0 < sp <= int(evidence.ends[number]) or guards[own].any():
            continue
        at = _under_stack(leaves[own], (sp - 1) & ~PAGE_MASK)
        if at is not None:
            yield mapping_hits(leaves[own[at : at + 1]], _guard_missing)


def _under_stack(own: Columns, stack: int) -> int | None:
    """Which of a process's leaves, without a hole down to address 0, is the first below its stack; None if none is."""
    va, end = own["va"], own["va"] + own["size"]
    under = int(np.searchsorted(va, U64(stack)))
    if under < 1 or under >= len(va) or va[under] != stack or va[0] != 0 or (va[1 : under + 1] != end[:under]).any():
        return None
    return under - 1


def _guard_usable(place: Place) -> str:
    return "the guard page below the stack has U: a stack that overflows runs on into what is below"


def _guard_missing(place: Place) -> str:
    return f"the page under the stack, {place.va:#x}, has U: there is no guard page, and a stack that overflows runs on"


def user_bit_missing(evidence: Evidence) -> Iterator[Hits]:
    """Leaves below the size without U, other than the guard page."""
    pages = _pages(evidence)
    leaves = evidence.leaves
    without = np.flatnonzero(pages.inside & ~evidence.user)
    if not len(without):
        return
    space = leaves["space"][without]
    keep = np.ones(len(without), dtype=np.bool_)
    pointers = pages.stack_pointers()
    for number in np.unique(space).tolist():
        here = np.flatnonzero(space == number)
        keep[here] = ~_is_guard(evidence, number, leaves["va"][without[here]], pointers.get(number, 0))
    yield mapping_hits(
        leaves[without[keep]],
        lambda place: (
            f"{place.what} of the program {place.verb('has', 'have')} no U ({_rights(place)}): every access "
            "by the program is a page fault"
        ),
    )


def _is_guard(evidence: Evidence, number: int, vas: np.ndarray, sp: int) -> Mask:
    """Which of a process's pages without U is its guard page: by name, or the nearest one below the stack."""
    named = [area for area in evidence.spaces[number].areas if area.name == "guard page"]
    guard: Mask = np.zeros(len(vas), dtype=np.bool_)
    for area in named:
        guard |= vas - U64(area.start) < U64(area.size)
    if not named:
        below = np.searchsorted(vas, U64(max(sp - 1, 0) & ~PAGE_MASK)) - 1
        guard[max(int(below), 0)] = True
    return guard


def kernel_page_for_user(evidence: Evidence) -> Iterator[Hits]:
    """User leaves that lead to the kernel's own: image, stacks, trapframes, tables that cannot be written, devices."""
    leaves = evidence.leaves
    user = np.flatnonzero(evidence.of_process & evidence.user)
    frame = evidence.frame[user]
    kinds = np.zeros(len(user), dtype=np.uint8)
    kinds[frame >= 0] = evidence.kernels[frame[frame >= 0]]
    fixed = (leaves["va"][user] == evidence.trapframes[leaves["space"][user]]) | (
        leaves["va"][user] == evidence.trampolines[leaves["space"][user]]
    )
    # A frame that has two uses is told where it is wrong: a trapframe elsewhere, a table that can be written.
    kinds[(kinds > TRAPFRAME_FRAME) & (leaves["flags"][user] & W != 0)] = 0
    chosen = (kinds > 0) | fixed
    yield mapping_hits(
        leaves[user[chosen]],
        lambda place: (
            f"{place.what} of the program leads to {KERNELS[place.fact] or 'the kernel'}, in {place.pa:#x}, "
            f"with U ({_rights(place)})"
        ),
        fact=kinds[chosen],
    )
    devices = np.zeros(len(user), dtype=np.bool_)
    for device in evidence.memory.devices:
        devices |= leaves["pa"][user] - U64(device.start) < U64(len(device))
    yield mapping_hits(
        leaves[user[devices & (frame < 0)]],
        lambda place: f"the program can reach the device at {place.pa:#x} ({_rights(place)})",
    )


def trapframe(evidence: Evidence) -> Iterator[Hits]:
    """Processes whose trapframe is not where it should be, with R and W for the kernel alone, in a frame of its own."""
    leaves = evidence.leaves
    at = evidence.of_process & (leaves["va"] == evidence.trapframes[leaves["space"]])
    yield from _missing(evidence, at, evidence.trapframes, "trapframe")
    found = leaves[at]
    wrong = found["flags"] & (R | W | X) != R | W
    yield mapping_hits(found[wrong], lambda place: f"the trapframe is mapped {_rights(place)}, not rw--")
    frame = evidence.frame[at]
    _, first, which = np.unique(frame, return_index=True, return_inverse=True)
    names = [space.name for space in evidence.spaces]
    other = found["space"][first[which]]
    twice = evidence.roots[other] != evidence.roots[found["space"]]
    yield mapping_hits(
        found[twice],
        lambda place: (
            f"the trapframe in {place.pa:#x} is that of {names[place.fact]} too: one's registers overwrite the other's"
        ),
        fact=other[twice],
    )
    image = np.zeros(len(frame), dtype=np.bool_)
    image[frame >= 0] = np.isin(evidence.kernels[frame[frame >= 0]], (IMAGE, STACK_FRAME))
    outside = (frame < 0) | image
    yield mapping_hits(
        found[~twice & outside],
        lambda place: f"the trapframe leads to {place.pa:#x}, which is no frame that kalloc gives",
    )
    yield doubt_hits(evidence, "trapframe")
    doubted = {doubt.pid for doubt in evidence.machine.doubts if doubt.about == "trapframe"}
    told = np.array([space.pid in doubted for space in evidence.spaces], np.bool_)[found["space"]]
    known = np.isin(found["pa"], image_words(evidence))
    if 2 * np.count_nonzero(known) > len(known):  # struct proc can be seen, so what it does not name is wrong
        yield mapping_hits(
            found[~known & ~told & ~twice & ~outside],
            lambda place: f"the trapframe leads to {place.pa:#x}, which no struct proc names: p->trapframe is another",
        )


def _missing(evidence: Evidence, at: Mask, places: np.ndarray, what: str) -> Iterator[Hits]:
    having = set(evidence.leaves["space"][at].tolist())
    lost = [
        number
        for number, space in enumerate(evidence.spaces)
        if evidence.processes[number] and number not in having and not evidence.damaged[number]
        if number not in evidence.refused and space.state != BEING_FREED
    ]
    yield place_hits(
        np.array(lost, dtype=np.int32), places[lost],
        lambda place: f"no {what} is mapped at {place.va:#x}: the process can neither enter the kernel nor leave it",
    )  # fmt: skip


def trampoline(evidence: Evidence) -> Iterator[Hits]:
    """Processes whose trampoline is missing, has other rights than R and X, or leads elsewhere."""
    leaves = evidence.leaves
    at = evidence.of_process & (leaves["va"] == evidence.trampolines[leaves["space"]])
    yield from _missing(evidence, at, evidence.trampolines, "trampoline")
    found = leaves[at]
    wrong = found["flags"] & (R | W | X) != R | X
    yield mapping_hits(found[wrong], lambda place: f"the trampoline is mapped {_rights(place)}, not r-x-")
    home = evidence.machine.symbols.get("trampoline")
    if home is not None:
        yield mapping_hits(
            found[~wrong & (found["pa"] != U64(home & ~PAGE_MASK))],
            lambda place: f"the trampoline leads to {place.pa:#x}, and the kernel's is at {home & ~PAGE_MASK:#x}",
        )


def fixed_page_writable(evidence: Evidence) -> Iterator[Hits]:
    """Pages that every process has at one address above its memory, and that this one may write."""
    pages = _pages(evidence)
    leaves = evidence.leaves
    rows = np.flatnonzero(pages.fixed & evidence.user & (leaves["flags"] & W != 0))
    if not len(rows):
        return
    pointers = pages.stack_pointers()
    stack = np.array([pointers.get(number, 0) for number in range(len(evidence.spaces))], dtype=U64)
    lowest, highest = leaves["va"][rows].min(), leaves["va"][rows].max() + U64(PAGE_SIZE)
    on_it = stack[leaves["space"][rows]] - lowest <= highest - lowest  # a stack at the top of memory, not a USYSCALL
    yield mapping_hits(
        leaves[rows[~on_it]],
        lambda place: (
            f"the page at {place.va:#x}, which every process has above its memory, can be written by the "
            f"program ({_rights(place)})"
        ),
    )


def pagetable_of_the_dead(evidence: Evidence) -> Iterator[Hits]:
    """Slots of the process table that are unused and still have a page table."""
    dead = [number for number, space in enumerate(evidence.spaces) if space.state == DEAD]
    roots = np.array([evidence.spaces[number].table.root for number in dead], dtype=U64)
    yield space_hits(
        np.array(dead, dtype=np.int32), roots,
        lambda place: f"the slot is unused and its page table is {place.pa:#x} still: whoever looks there reads tables "
        "that are freed, or that nobody will free",
    )  # fmt: skip


def process_slot(evidence: Evidence) -> Iterator[Hits]:
    """What the table of processes says of a process that cannot be: its page table, its state, its size."""
    for about in ("pagetable", "state", "sz"):
        yield doubt_hits(evidence, about)


RULES = (
    Rule(
        "PB101", "beyond-size", "A process maps nothing beyond its size.", Severity.ERROR,
        "Unmap what sbrk gives up, and let the fault handler refuse what is not below p->sz.", beyond_size, guests=XV6,
    ),
    Rule(
        "PB105", "shared-and-writable", "A frame that two processes map is read-only in both.", Severity.ERROR,
        "Clear W in the parent's PTE as well as in the child's when fork shares a page.", shared_and_writable,
        guests=XV6,
    ),
    Rule(
        "PB106", "text-made-writable", "What a program's file says is read-only stays so.", Severity.ERROR,
        "Set W on a copy-on-write fault only where a mark in RSW says that the page was writable.",
        text_made_writable, guests=XV6,
    ),
    Rule(
        "PB107", "stack-guard", "Below a program's stack is a page that it cannot use.", Severity.ERROR,
        "Call uvmclear on the page below the stack in exec; let no fault handler map over it or give it U.",
        stack_guard, guests=XV6,
    ),
    Rule(
        "PB108", "user-bit-missing", "A program's pages have U.", Severity.ERROR,
        "Pass PTE_U where the page is mapped; keep the old PTE's flags when it is remapped.", user_bit_missing,
        guests=XV6,
    ),
    Rule(
        "PB109", "kernel-page-for-user", "No page with U leads to what is the kernel's.", Severity.ERROR,
        "Map it without PTE_U; look with 'pagebook owners' whose the frame is.", kernel_page_for_user, guests=XV6,
    ),
    Rule(
        "PB110", "trapframe", "Each process has a trapframe of its own, R and W, without U.", Severity.ERROR,
        "Map p->trapframe at TRAPFRAME in proc_pagetable, and nothing else there.", trapframe, guests=XV6,
    ),
    Rule(
        "PB111", "trampoline", "Each process has the trampoline, R and X, without U.", Severity.ERROR,
        "Map the page of the symbol trampoline at TRAMPOLINE with PTE_R | PTE_X.", trampoline, guests=XV6,
    ),
    Rule(
        "PB112", "fixed-page-writable", "A page that the kernel shows to programs is read-only.", Severity.ERROR,
        "Map USYSCALL and its like with PTE_R | PTE_U.", fixed_page_writable, guests=XV6,
    ),
    Rule(
        "PB117", "pagetable-of-the-dead", "An unused slot has no page table.", Severity.ERROR,
        "Set p->pagetable to 0 in freeproc, after its tables are freed.", pagetable_of_the_dead, guests=XV6,
    ),
    Rule(
        "PB120", "process-slot", "What struct proc says of a process can be so.", Severity.ERROR,
        "Look who writes that member, or past the end of what lies before it; a watchpoint there tells.", process_slot,
        guests=XV6,
    ),
)  # fmt: skip
