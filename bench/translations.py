"""Many addresses in one call: `pagebook.batch.translate` beside walker.c, which takes them one at a time.

Both have the same rules and give the same answers, into arrays that were there before: the physical address and the
number of the broken rule.
"""

from __future__ import annotations

import ctypes

import numpy as np

from bench.contest import Contestant, Laps, clock, contest
from bench.images import Image, all_leaves, mixed, table_counts
from bench.rows import OURS, C, Goal, Row
from bench.same import check_arrays, check_equal
from bench.walker import Walker
from pagebook.batch import RULE_NAMES, translate
from pagebook.mmu import Mmu
from pagebook.units import PAGE_SIZE

COUNT = 1 << 20
"""Addresses of a turn: more than the lines of L3, so that a turn does not find what the last one left there."""
SAMPLE = 2000
"""Addresses that are also compared with the scalar `Mmu`."""
LEAVES, MIX = "4 KiB leaves", "leaves and faults"
TARGETS = {
    LEAVES: {"L2": 1.2, "L3": 1.5, "DRAM": 3.0},
    MIX: {"L2": 0.4, "L3": 0.8, "DRAM": 1.2},
}
MAKERS = {LEAVES: all_leaves, MIX: mixed}


class Batch:
    """Our translation set up for one image; what it found stays in ``pas`` and ``status``."""

    def __init__(self, image: Image) -> None:
        self.image = image
        self.pas = np.zeros(len(image.vas), np.uint64)
        self.status = np.zeros(len(image.vas), np.uint8)

    def run(self) -> float:
        """Translate every address; the seconds it took."""
        image, out = self.image, (self.pas, self.status)
        start = clock()
        translate(image.memory, image.extensions, image.regime, image.vas, image.kind, image.size, out=out)
        return clock() - start

    def check(self) -> None:
        """Different unless the scalar MMU gives the same, for the first `SAMPLE` addresses."""
        image, self_found = self.image, zip(self.pas.tolist(), self.status.tolist(), strict=True)
        mmu = Mmu(image.memory, image.extensions)
        for va, (pa, status) in zip(image.vas[:SAMPLE].tolist(), self_found, strict=False):
            one = mmu.access(image.regime, image.kind, va, image.size)
            scalar = (one.pa or 0, one.rule.id if one.rule else "")
            check_equal(f"{image.name}: {va:#x}", {OURS: (pa, RULE_NAMES[status]), "Mmu.access": scalar})


def each(run: Batch | Walker) -> Contestant:
    """A contestant whose time is that of one address."""

    def laps() -> Laps:
        return {"translate": run.run() / len(run.pas)}

    return laps


def measure(library: ctypes.CDLL | None, turns: int) -> tuple[Row, ...]:
    """A row for each place that the tables fit in, and each mix."""
    return tuple(
        _row(place, mix, last, library, turns) for mix in (LEAVES, MIX) for place, last in table_counts().items()
    )


def _row(place: str, mix: str, last: int, library: ctypes.CDLL | None, turns: int) -> Row:
    image = MAKERS[mix](f"{place}, {mix}", last, COUNT)
    ours = Batch(image)
    contestants: dict[str, Contestant] = {OURS: each(ours)}
    ours.run()
    ours.check()
    if library:
        walker = Walker(library, image)
        walker.run()
        check_arrays(f"{image.name}: physical addresses", {OURS: ours.pas, C: walker.pas})
        check_arrays(f"{image.name}: status", {OURS: ours.status, C: walker.status})
        contestants[C] = each(walker)
    times = {name: laps["translate"] for name, laps in contest(contestants, turns).items()}
    what = f"{mix}, tables in {place} ({image.tables * PAGE_SIZE / (1 << 20):.3g} MiB)"
    return Row(what, times, (Goal(C, OURS, TARGETS[mix][place]),), f"{np.mean(ours.status != 0):.0%} fault")
