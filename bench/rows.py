"""A row of the report: what was measured, beside what, and whether the ratio is what we want it to be."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from statistics import median

from bench.contest import ratio

OURS, PYTHON, C = "ours", "python", "C"
Times = list[float]


@dataclass(frozen=True)
class Goal:
    """The ratio of one column to another, and the most or the least that it should be."""

    over: str
    under: str
    bound: float | None = None

    @property
    def at_least(self) -> bool:
        """Whether the ratio should be high: the others' time over ours."""
        return self.under == OURS

    def met(self, value: float) -> bool:
        """Whether ``value`` is good enough."""
        return self.bound is None or (value >= self.bound if self.at_least else value <= self.bound)


@dataclass(frozen=True)
class Row:
    """Seconds by column, all measured in the same turns; ``note`` is what no number says."""

    what: str
    times: dict[str, Times]
    goals: tuple[Goal, ...]
    note: str = ""

    def ratios(self) -> Iterator[tuple[Goal, float]]:
        """Each goal that can be judged, with its ratio."""
        for goal in self.goals:
            if goal.over in self.times and goal.under in self.times:
                yield goal, ratio(self.times[goal.over], self.times[goal.under])


@dataclass(frozen=True)
class Group:
    """Rows with the same columns; ``python`` says what the column of that name is here."""

    name: str
    python: str
    rows: tuple[Row, ...]


def faster_than_python(least: float | None = None) -> Goal:
    """The transcription's time over ours."""
    return Goal(PYTHON, OURS, least)


def slower_than_c(most: float | None = None) -> Goal:
    """Our time over the C reference's."""
    return Goal(OURS, C, most)


def middle_and_least(times: Times) -> tuple[float, float]:
    """What the report shows of a column."""
    return median(times), min(times)
