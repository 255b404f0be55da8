"""Which frames the kernel can still reach: conservative marking, as a garbage collector does it.

Every 64-bit word that lies in the kernel's image, on a kernel stack in use, in a queue or in a hart's register may be a
pointer.  What it leads to is reached, and when nobody knows what that frame is, its words are followed too, also as
PTEs: it may be a pipe, a packet, a table in the making.  A frame that is not reached is lost for sure; one that is
reached may be lost all the same.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from pagebook.checks.evidence import STACK, UNUSED_STACK, Evidence, Indices, Mask
from pagebook.machine import Area
from pagebook.memory import U64
from pagebook.sv import V
from pagebook.units import PAGE_SHIFT, PAGE_SIZE, page_down, page_up

PIECE = 1 << 12  # pages read at a time
ASLEEP = ("sleep", "sleeping", "runble", "runnable", "zombie")
Words = npt.NDArray[np.uint64]


def reached(evidence: Evidence, candidates: Mask) -> Mask:
    """For each frame, by number, whether a word the kernel can reach leads to it; ``candidates`` are followed."""
    found = np.zeros(len(evidence.frames), dtype=np.bool_)
    image = image_words(evidence)
    _mark(evidence, found, image)
    _mark(evidence, found, _stack_words(evidence, image))
    registers = [value for hart in evidence.machine.harts for value in hart.registers]
    _mark(evidence, found, np.array(registers, dtype=U64))
    _mark_blocks(evidence, found, candidates, image)
    done = np.zeros(len(found), dtype=np.bool_)
    while len(fresh := np.flatnonzero(found & candidates & ~done)):
        done[fresh] = True
        for low in range(0, len(fresh), PIECE):
            pages, _ = evidence.memory.gather(evidence.frames.pas(fresh[low : low + PIECE]))
            words = pages.reshape(-1)
            _mark(evidence, found, words)
            ptes = words[words & U64(V) != 0]
            _mark(evidence, found, (ptes >> U64(10) & U64((1 << 44) - 1)) << U64(PAGE_SHIFT))
    return found


def _mark(evidence: Evidence, found: Mask, words: Words) -> None:
    numbers = evidence.frames.of(words)
    found[numbers[numbers >= 0]] = True


def image_words(evidence: Evidence) -> Words:
    """The words of the kernel's image behind its text, of the queues, and of a table of counts."""
    parts = [np.empty(0, U64)]
    for area in evidence.machine.areas:
        start, stop = area.start, min(area.end, area.start + (1 << 30))
        if evidence.text is not None and evidence.text[0] == area.start:
            start = page_down(evidence.text[1])
        for region in evidence.memory.regions:
            low, high = max(page_down(start), region.base), min(page_up(stop), region.end)
            if low < high:
                pages = region.pages[low - region.base >> PAGE_SHIFT : high - region.base >> PAGE_SHIFT]
                parts.append(pages.reshape(-1))
    return np.concatenate(parts)


def _stack_words(evidence: Evidence, image: Words) -> Words:
    """The words on kernel stacks of processes; of those that sleep, only what lies above their saved stack pointer.

    That pointer is in struct proc, so it is the lowest word in the image that points into the stack's inside.
    """
    stacks = [(number, area) for number, area in evidence.stacks if not area.name.endswith(UNUSED_STACK)]
    if not stacks:
        return np.empty(0, U64)
    low, high = min(area.start for _, area in stacks), max(area.end for _, area in stacks)
    saved = np.unique(image[image - U64(low) < U64(max(high - low, 1))])
    states = {str(space.pid): space.state for space in evidence.spaces if space.pid is not None}
    parts = [np.empty(0, U64)]
    live = evidence.leaves[evidence.on_stacks & (evidence.frame >= 0)]
    for number, area in stacks:
        state = states.get(area.name.removeprefix(STACK).removeprefix("process "))
        skipped = _saved_pointer(area, saved) if state in ASLEEP else 0
        rows = live[(live["space"] == number) & (live["va"] - U64(area.start) < U64(area.size))]
        pages, _ = evidence.memory.gather(rows["pa"])
        offsets = rows["va"][:, None] - U64(area.start) + np.arange(0, PAGE_SIZE, 8, dtype=U64)
        parts.append(pages[offsets >= U64(skipped)])
    return np.concatenate(parts)


def _saved_pointer(area: Area, saved: Words) -> int:
    """Where the live part of a stack begins, in bytes from its bottom; 0 when that is not known."""
    at = int(np.searchsorted(saved, U64(area.start), side="right"))
    return int(saved[at]) - area.start if at < len(saved) and saved[at] < area.end else 0


def _mark_blocks(evidence: Evidence, found: Mask, candidates: Mask, image: Words) -> None:
    """What a pointer to a block's start reaches: an allocator's own arrays at the start of its range, large frames.

    Such an array may start in the image's last page, right where the image ends.
    """
    start, stop = evidence.machine.free_range or (0, 0)
    start, end = page_up(start), evidence.machine.symbols.get("end", start)
    first, last = (int(number) for number in evidence.frames.of(np.array([start, page_down(stop - 1)], dtype=U64)))
    led = 0 <= first <= last and (found[first] or (image - U64(end) < U64(max(start - end, 0))).any())
    if led and candidates[first]:
        run: Indices = np.flatnonzero(~candidates[first : last + 1])
        found[first : first + int(run[0]) if len(run) else last + 1] = True
    for pool in evidence.machine.pools or ():
        if pool.size > PAGE_SIZE and pool.size <= 1 << 30:
            heads = np.flatnonzero(found & candidates)
            heads = heads[evidence.frames.pas(heads) & U64(pool.size - 1) == 0]
            for head in heads.tolist():
                found[head : head + (pool.size >> PAGE_SHIFT)] = True
    counts = evidence.machine.counts
    if counts is not None:
        span = evidence.frames.spans(np.array([counts.start], U64), np.array([counts.length * counts.step], U64))
        found[span > 0] = True
