"""Measuring on a machine that others use too: turns, neighbours and medians.

The contestants take turns, and who begins changes from turn to turn.  A ratio is the median over the turns of the
ratio within a turn, so that what slows the machine for a while slows both sides of it.  The clock is the processor time
of the thread, the kernel's page faults included: what it waits while others have the processor does not count.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Mapping
from statistics import median
from time import thread_time as clock

__all__ = ["Contestant", "Laps", "Results", "clock", "contest", "ratio"]

Laps = dict[str, float]
"""Seconds by the name of what was measured; one run may measure several things."""

Contestant = Callable[[], Laps]
Results = dict[str, dict[str, list[float]]]
"""Contestant, lap, the seconds of each turn."""


def contest(contestants: Mapping[str, Contestant], turns: int) -> Results:
    """Let each contestant run ``turns`` times; each prepares its own run and measures what counts of it."""
    results: Results = {name: {} for name in contestants}
    names = list(contestants)
    gc.disable()
    try:
        for turn in range(turns):
            for name in names if turn % 2 else reversed(names):
                gc.collect()
                for lap, seconds in contestants[name]().items():
                    results[name].setdefault(lap, []).append(seconds)
    finally:
        gc.enable()
    return results


def ratio(over: list[float], under: list[float]) -> float:
    """The median of the ratios of neighbouring runs."""
    return median(a / b for a, b in zip(over, under, strict=True))
