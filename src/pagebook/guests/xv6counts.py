"""An xv6 kernel's own count of the uses of each frame, found by what it counts and not by what it is called.

Kernels that share pages copy-on-write keep such counts under any name and in any width, in an array in the image or
after it, from the first frame of RAM or from address 0.  The frames that processes map and those on the free lists are
the witnesses: an array is told only when they bear it out.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from pagebook.errors import PagebookError
from pagebook.guests.kernelfile import KernelFile
from pagebook.guests.xv6frames import Addresses, Remark, follow, word
from pagebook.guests.xv6layout import Layout, Tally
from pagebook.machine import Counts, Pool
from pagebook.memory import U64, Memory
from pagebook.units import PAGE_SHIFT, PAGE_SIZE, page_up

SAMPLE = 32
SLACK = 64
FEWEST_WITNESSES = 4
TOO_FEW = (
    "too few frames are known to be free or in use to tell; of a guest that runs, ask again, or stop it for that with "
    "--freeze"
)


@dataclass(frozen=True)
class Witnesses:
    """Frames whose use is known without asking the kernel's counts: on a free list, mapped once, mapped often."""

    sample: Callable[[], Addresses]
    once: Addresses
    shared: Addresses

    @cached_property
    def free(self) -> Addresses:
        """Some of the frames on the free lists."""
        return self.sample()


def free_sample(memory: Memory, found: tuple[Pool, ...] | None, free: tuple[int, int]) -> Addresses:
    """Some of the frames on the free lists, the first of each."""
    return np.array([pa for pool in found or () for pa in follow(memory, pool.head, free, SAMPLE)], U64)


def find_counts(
    memory: Memory,
    kernel: KernelFile,
    layout: Layout,
    witnesses: Callable[[], Witnesses],
    free: tuple[int, int],
    remark: Remark,
) -> Counts | None:
    """The kernel's count of uses for each frame, when there is exactly one array of numbers that can be it.

    ``witnesses`` is called when there is an array that may be.
    """
    start, stop = free
    passed: list[Counts] = []
    seen = functools.cache(witnesses)

    @functools.cache
    def pointed() -> set[int]:
        """The frames from some pointer on, the first of which may be the first that is counted."""
        return {at for mark in layout.marks if start <= (at := page_up(word(memory, mark))) < stop}

    usual = {kernel.start, 0, start}
    shortest, longest = stop - max(usual) >> PAGE_SHIFT, stop - min(usual) >> PAGE_SHIFT
    for tally in layout.tallies:
        if tally.base is None and tally.entries is not None and not shortest <= tally.entries <= longest + SLACK:
            continue
        at = word(memory, tally.address) if tally.indirect else tally.address
        if tally.indirect and not start - PAGE_SIZE < at < stop:
            continue  # an array made at run time comes after the image
        bases = [tally.base] if tally.base is not None else _bases(tally, usual, pointed, stop)
        passed += _judged(memory, tally, at, bases, seen, stop, remark)
    if len(passed) > 1:
        names = " and ".join(found.name for found in passed)
        remark(f"{names} can each be the kernel's count of uses, and none is used; {_told_as(passed[0])}")
    return passed[0] if len(passed) == 1 else None


def _judged(
    memory: Memory,
    tally: Tally,
    at: int,
    bases: list[int],
    witnesses: Callable[[], Witnesses],
    stop: int,
    remark: Remark,
) -> list[Counts]:
    """These numbers as counts from the one base that the witnesses bear out, or from the one that was told."""
    fitting: list[tuple[int, Counts]] = []
    verdict = None
    for base in bases:
        numbers = _numbers(memory, tally, at, stop - base >> PAGE_SHIFT)
        if numbers is None:
            continue
        verdict, misfits = _verdict(numbers, base, witnesses())
        if verdict and tally.base is not None:
            remark(f"{tally.name} was told to be counts of frames, but {verdict}")
        if verdict is None or tally.base is not None:
            stride = 0 if tally.stride == tally.width else tally.stride
            fitting.append((misfits, Counts(tally.name, at, tally.width, len(numbers), base, stride)))
    best = [found for misfits, found in fitting if misfits == min(fitting)[0]]
    if len(best) > 1:
        froms = " or from ".join(f"{found.base:#x}" for found in best)
        remark(f"{tally.name} may count frames from {froms}, and is not used; {_told_as(best[0])}")
    elif not best and verdict and tally.entries and _sounds(tally.name):
        remark(f"{tally.name} has a number for each frame, but is not taken for counts of their uses: {verdict}")
    return best if len(best) == 1 else []


def _told_as(found: Counts) -> str:
    return f"tell which with --offsets, as in {found.name}.base={found.base:#x}"


def _sounds(name: str) -> bool:
    return any(part in name.lower() for part in ("ref", "rc", "cnt", "count", "cow", "share"))


def _bases(tally: Tally, usual: set[int], pointed: Callable[[], set[int]], stop: int) -> list[int]:
    """The frames that the first number can be of, by how many numbers there are; any where that is not known."""
    if tally.entries is None:
        return sorted(usual | pointed())
    over = {base: tally.entries - (stop - base >> PAGE_SHIFT) for base in usual}
    return [base for base in over if over[base] == 0] or sorted(base for base in over if 0 <= over[base] <= SLACK)


def _numbers(memory: Memory, tally: Tally, at: int, frames: int) -> npt.NDArray[np.int64] | None:
    """The numbers, as many as there are or there are frames; None where memory does not hold them."""
    count = tally.entries or frames
    if count <= 0:
        return None
    size = (count - 1) * tally.stride + tally.width
    try:
        region = memory.region(at, size)
    except PagebookError:
        return None
    octets = region.view(at - region.base, size)
    return np.ndarray((count,), f"<i{tally.width}", octets, 0, (tally.stride,)).astype(np.int64)


def _verdict(numbers: npt.NDArray[np.int64], base: int, witnesses: Witnesses) -> tuple[str | None, int]:
    """Why these cannot be counts of uses, None when they can; and how many of them are not what is most usual.

    What a free frame has is not the same everywhere: 0 or less where every release counts, a 1 that nobody took back
    where only shared frames are counted down.
    """

    def at(pas: Addresses) -> npt.NDArray[np.int64]:
        index = (pas.astype(np.int64) - base) >> PAGE_SHIFT
        found: npt.NDArray[np.int64] = numbers[index[(index >= 0) & (index < len(numbers))]]
        return found

    once, shared = at(witnesses.once), at(witnesses.shared)
    others, alone = np.count_nonzero(once != 1), np.count_nonzero(shared < 2)
    reasons: dict[str, bool | np.bool_] = {
        f"{others} of {len(once)} frames that are mapped once have another number than 1": others * 4 > len(once),
        f"{alone} of {len(shared)} frames that are mapped more than once have less than 2": alone * 2 > len(shared),
    }
    if any(reasons.values()):  # most arrays; the free frames are far apart, and each costs a read
        return next(reason for reason, holds in reasons.items() if holds), 0
    free = at(witnesses.free)
    odd = np.count_nonzero(free >> 1) - np.count_nonzero(free == -1)
    reasons = {
        TOO_FEW: len(once) + len(shared) < FEWEST_WITNESSES or len(free) < FEWEST_WITNESSES,
        f"{odd} of {len(free)} free frames have neither 0 nor 1": odd * 20 > len(free),
        "they are 1 for free frames as for those in use, and no frame is shared": not len(shared)
        and np.count_nonzero(free < 1) * 2 <= len(free),
    }
    misfits = np.count_nonzero(free > 0) + others + alone + len(witnesses.once) - len(once)
    return next((reason for reason, holds in reasons.items() if holds), None), int(misfits)
