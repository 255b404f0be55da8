"""Rules about frames in xv6: each is free or used, once; the free lists are lists; counts are right; none is lost."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from pagebook.checks.evidence import KERNELS, Evidence, Indices, Mask
from pagebook.checks.marking import reached
from pagebook.checks.rule import Hits, Place, Rule, Severity, frame_hits, mapping_hits
from pagebook.ledger import Role
from pagebook.memory import U64
from pagebook.units import PAGE_MASK, PAGE_SHIFT, PAGE_SIZE, page_up

XV6 = ("xv6",)
FREE_JUNK, ALLOC_JUNK = U64(0x0101_0101_0101_0101), U64(0x0505_0505_0505_0505)
LOOKS = (
    "",
    "; {they} full of 0x05, as kalloc leaves {them}: allocated and never written",
    "; {they} full of 0x01 behind the first word, as kfree leaves {them}",
    "; {they} all zeros",
)
PIECE = 1 << 12


def leaked_frame(evidence: Evidence) -> Iterator[Hits]:
    """Frames of the allocator that are not free, that no space maps, and to which nothing in the kernel refers."""
    start, stop = evidence.machine.free_range or (0, 0)
    spans = evidence.frames.spans(np.array([page_up(start)], U64), np.array([max(stop - page_up(start), 0)], U64))
    lost = (spans > 0) & (evidence.roles == Role.UNKNOWN) & ~evidence.free & ~_mapped(evidence)
    if not lost.any():
        return
    lost &= ~reached(evidence, lost)
    numbers = np.flatnonzero(lost)
    looks, marks = _contents(evidence, numbers)
    yield frame_hits(
        evidence.frames.pas(numbers),
        lambda place: f"{_frames(place)} at {place.pa:#x} {place.verb('is', 'are')} neither free nor used: no table "
        f"maps {place.verb('it', 'them')}, nothing in the kernel points to {place.verb('it', 'them')}"
        + LOOKS[place.fact].format(they=place.verb("it is", "they are"), them=place.verb("it", "them")),
        fact=looks, mark=marks,
    )  # fmt: skip


def _blind_to_leaks(evidence: Evidence) -> str:
    if not evidence.knows_free:
        return evidence.blind_to_free()
    if any(chain.broken for chain in evidence.ledger.chains):
        return "a free list is damaged"
    if evidence.refused:
        return "a space has more mappings than memory explains"
    if not evidence.processes.any():
        return "no process is there yet"
    return "" if evidence.of_kernel.any() else "the kernel's page table cannot be read, nor what it leads to"


def _frames(place: Place) -> str:
    return "the frame" if place.pages == 1 else f"{place.pages} frames"


def _mapped(evidence: Evidence) -> Mask:
    """Frames that a process maps in any way, or the kernel elsewhere than at their own address."""
    leaves = evidence.leaves
    chosen = evidence.of_process | (leaves["va"] != leaves["pa"])
    return evidence.frames.spans(leaves["pa"][chosen], leaves["size"][chosen]) > 0


def _contents(evidence: Evidence, numbers: Indices) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint64]]:
    """For each frame what it looks like, an index into LOOKS, and a number that changes when its words do."""
    looks = np.zeros(len(numbers), dtype=np.uint8)
    marks = np.zeros(len(numbers), dtype=U64)
    weights = np.arange(1, 2 * (PAGE_SIZE // 8), 2, dtype=U64) * U64(0x9E37_79B9_7F4A_7C15)
    for low in range(0, len(numbers), PIECE):
        part = slice(low, low + PIECE)
        pages, _ = evidence.memory.gather(evidence.frames.pas(numbers[part]))
        marks[part] = (pages * weights).sum(axis=1, dtype=U64)
        looks[part] = np.select(
            [(pages == ALLOC_JUNK).all(axis=1), (pages[:, 1:] == FREE_JUNK).all(axis=1), (pages == 0).all(axis=1)],
            [1, 2, 3],
            0,
        )
    return looks, marks


def free_but_mapped(evidence: Evidence) -> Iterator[Hits]:
    """Leaves of processes, and kernel stacks, whose frame is on a free list."""
    leaves = evidence.leaves
    chosen = (evidence.of_process & evidence.small | evidence.on_stacks) & (evidence.frame >= 0)
    chosen[chosen] = evidence.free[evidence.frame[chosen]]
    rows = leaves[chosen]
    looks, _ = _contents(evidence, evidence.frame[chosen])
    yield mapping_hits(
        rows,
        lambda place: (
            f"{place.what} {place.verb('is', 'are')} mapped to {place.pa:#x}, which is on the free list"
            + (
                "; it still holds the 0x01 that kfree leaves"
                if place.fact == 2
                else "; it was written after it was freed"
            )
        ),
        fact=looks,
    )


def count_differs(evidence: Evidence) -> Iterator[Hits]:
    """Frames that the kernel counts otherwise than it maps them.

    A kernel may count from 1 or from 0: what most frames with one mapping say is taken for right.  Where there is no
    such majority nothing is told; and nothing of free frames, whose counts a kernel may leave as they were.
    """
    counts = evidence.machine.counts
    if counts is None:
        return
    values, numbers = _counted(evidence)
    uses, large = _uses(evidence)
    used = numbers[(uses[numbers] > 0) & ~large[numbers]]
    by_frame = np.zeros(len(evidence.frames), dtype=np.int64)
    by_frame[numbers] = values
    ones = used[uses[used] == 1]
    usual = _majority(by_frame[ones] - 1)
    if usual is not None:
        wrong = used[by_frame[used] - uses[used] != usual]
        yield _count_hits(evidence, wrong, by_frame, uses, counts.name, usual)


def _count_hits(
    evidence: Evidence,
    wrong: Indices,
    by_frame: npt.NDArray[np.int64],
    uses: npt.NDArray[np.int64],
    name: str,
    usual: int,
) -> Hits:
    offset = "" if usual == 0 else f" (this kernel counts {usual:+} for a frame with one mapping)"
    return frame_hits(
        evidence.frames.pas(wrong),
        lambda place: (
            f"{_frames(place)} at {place.pa:#x} {place.verb('has', 'have')} {place.fact >> 32} "
            f"mapping{'s' * (place.fact >> 32 != 1)} and {_signed(place.fact & 0xFFFF_FFFF)} in {name}{offset}"
        ),
        fact=uses[wrong].astype(U64) << U64(32) | by_frame[wrong].astype(U64) & U64(0xFFFF_FFFF),
    )


def _signed(value: int) -> int:
    return value - (1 << 32) if value >> 31 else value


def _counted(evidence: Evidence) -> tuple[npt.NDArray[np.int64], Indices]:
    """The guest's counts of frames of RAM, and the numbers of these frames."""
    counts = evidence.machine.counts
    assert counts is not None
    most = min(counts.length, len(evidence.frames) + (1 << 20))
    values = counts.values(evidence.memory, most)
    numbers = evidence.frames.of(U64(counts.base) + (np.arange(len(values), dtype=U64) << U64(PAGE_SHIFT)))
    return values[numbers >= 0], numbers[numbers >= 0]


def _uses(evidence: Evidence) -> tuple[npt.NDArray[np.int64], Mask]:
    """How many pages of processes lead to each frame, and whether a superpage does."""
    own = evidence.of_process & (evidence.user | evidence.below) & (evidence.frame >= 0)
    small = own & evidence.small
    uses = np.bincount(evidence.frame[small], minlength=len(evidence.frames))
    wide = own & ~evidence.small
    large = evidence.frames.spans(evidence.leaves["pa"][wide], evidence.leaves["size"][wide]) > 0
    return uses, large


def _majority(values: npt.NDArray[np.int64]) -> int | None:
    """The value that most of these have; None when fewer than half and one do."""
    if not len(values):
        return None
    found, times = np.unique(values, return_counts=True)
    return int(found[times.argmax()]) if 2 * times.max() > len(values) else None


def free_list(evidence: Evidence) -> Iterator[Hits]:
    """Free lists that loop, leave the allocator's range, hold a frame of another list, or the kernel's own."""
    taken = np.zeros(len(evidence.frames), dtype=np.uint8)
    pools = evidence.machine.pools or ()
    for pool, chain, numbers in zip(pools, evidence.ledger.chains, evidence.free_frames, strict=False):
        if chain.broken is not None and not _was_not_read(evidence, chain.broken.pa or 0):
            reason = f"{pool.name}: {chain.broken}"
            yield frame_hits(np.array([chain.broken.pa or 0], U64), lambda place, reason=reason: reason)  # type: ignore[misc]
        crooked = chain.frames[chain.frames & U64(pool.size - 1) != 0]
        yield frame_hits(
            crooked,
            lambda place, pool=pool: f"{pool.name} has {place.pa:#x}, which is no multiple of {pool.size:#x}",  # type: ignore[misc]
        )
        inside = numbers[numbers >= 0]
        twice = inside[taken[inside] > 0]
        yield frame_hits(
            evidence.frames.pas(twice),
            lambda place, pool=pool: (
                f"{_frames(place)} at {place.pa:#x} {place.verb('is', 'are')} on {pool.name} and on "  # type: ignore[misc]
                f"{pools[place.fact].name} too"
            ),
            fact=taken[twice].astype(np.int64) - 1,
        )
        taken[inside] = pools.index(pool) + 1
        kinds = evidence.kernels[inside]
        own = (kinds > 0) & (kinds < 3)
        yield frame_hits(
            evidence.frames.pas(inside[own]),
            lambda place, pool=pool: (
                f"{_frames(place)} at {place.pa:#x} of {KERNELS[place.fact]} "  # type: ignore[misc]
                f"{place.verb('is', 'are')} on {pool.name}"
            ),
            fact=kinds[own],
        )


def _was_not_read(evidence: Evidence, pa: int) -> bool:
    """Whether a frame lies where RAM may well be, of which no more was read: in a dump of a part of it."""
    if pa & PAGE_MASK or pa < max(region.end for region in evidence.memory.regions):
        return False
    if evidence.kernel is None:  # its table, of the last frames, is beyond as well
        return True
    return evidence.spaces[evidence.kernel].table.translate(pa) == pa


def superpage_overlapped(evidence: Evidence) -> Iterator[Hits]:
    """Pages of processes over a frame that lies under a superpage of a process too."""
    leaves = evidence.leaves
    wide = evidence.of_process & evidence.user & ~evidence.small
    if not wide.any():
        return
    under = evidence.frames.spans(leaves["pa"][wide], leaves["size"][wide])
    small = evidence.of_process & evidence.small & (evidence.frame >= 0)
    small[small] = under[evidence.frame[small]] > 0
    starts, ends = leaves["pa"][wide], leaves["pa"][wide] + leaves["size"][wide]
    order = np.argsort(starts, kind="stable")
    rows = leaves[small]
    at = np.searchsorted(starts[order], rows["pa"], side="right") - 1
    at = np.where(rows["pa"] < ends[order][at], at, 0)
    names = [space.name for space in evidence.spaces]
    yield mapping_hits(
        rows,
        lambda place: (
            f"{place.what} {place.verb('leads', 'lead')} to {place.pa:#x}, which lies under a superpage of "
            f"{names[place.fact]}"
        ),
        fact=leaves["space"][wide][order][at],
    )


def superpage_half_free(evidence: Evidence) -> Iterator[Hits]:
    """Superpages of processes with frames under them that are on a free list."""
    leaves = evidence.leaves
    wide = np.flatnonzero(evidence.of_process & ~evidence.small & (evidence.frame >= 0))
    if not len(wide):
        return
    before = np.concatenate([[0], np.cumsum(evidence.free)])
    first = evidence.frame[wide]
    pages = (leaves["size"][wide] >> U64(PAGE_SHIFT)).astype(np.int64)
    last = np.minimum(first + pages, len(evidence.free))
    free = before[last] - before[first]
    rows = leaves[wide[free > 0]]
    yield mapping_hits(
        rows,
        lambda place: (
            f"{place.fact} of the {place.size // place.pages >> PAGE_SHIFT} frames under a superpage at "
            f"{place.pa:#x} are on a free list"
        ),
        fact=free[free > 0],
    )


def empty_table(evidence: Evidence) -> Iterator[Hits]:
    """Tables, other than roots, without a valid PTE."""
    rows = evidence.tables.tables
    empty = rows[(rows["used"] == 0) & (rows["pte_pa"] != 0)]
    yield frame_hits(
        empty["pa"],
        lambda place: f"the table at {place.pa:#x} has no valid entry: it maps nothing and costs a frame",
        space=empty["space"],
    )


RULES = (
    Rule(
        "PB102", "leaked-frame", "Every frame of the allocator is free, or somebody has it.", Severity.ERROR,
        "Look for the path, often an error's, on which kfree is not called; 'pagebook diff' shows when it went.",
        leaked_frame, guests=XV6, whole_lists=True, blind=_blind_to_leaks,
    ),
    Rule(
        "PB103", "free-but-mapped", "What is mapped is not on the free list.", Severity.ERROR,
        "Clear the PTE before the frame is freed, and free it once: with copy-on-write, when its count is 0.",
        free_but_mapped, guests=XV6, blind=Evidence.blind_to_free,
    ),
    Rule(
        "PB104", "count-differs", "A frame's count is the number of its mappings.", Severity.ERROR,
        "Count up in fork and down in kfree, under one lock; every other place must come through these.",
        count_differs, guests=XV6,
    ),
    Rule(
        "PB113", "free-list", "A free list is a list of frames that the allocator owns, each once.", Severity.ERROR,
        "Look for a frame that is freed twice, or a store through a pointer that was freed.", free_list, guests=XV6,
    ),
    Rule(
        "PB114", "superpage-overlapped", "What lies under a superpage is mapped by nobody else in small pages.",
        Severity.ERROR, "Split the superpage, or take the frame from the pool of small ones.", superpage_overlapped,
        guests=XV6,
    ),
    Rule(
        "PB115", "superpage-half-free", "No frame under a superpage is free.", Severity.ERROR,
        "Free a superpage whole, to the pool it came from; split it before a part of it goes.", superpage_half_free,
        guests=XV6, blind=Evidence.blind_to_free,
    ),
    Rule(
        "PB116", "empty-table", "Every table maps something.", Severity.NOTE,
        "Call walk with alloc = 0 where you only ask; xv6 itself leaves empty tables after sbrk.", empty_table,
        default=False, guests=XV6,
    ),
)  # fmt: skip
