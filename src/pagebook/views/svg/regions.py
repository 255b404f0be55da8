"""Few regions out of many runs: what a layout has room for, and where each is in physical memory.

A hostile table has a million runs; here everything but the regions themselves stays in arrays.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from pagebook.machine import Names
from pagebook.scan import Rows
from pagebook.sv import A, D
from pagebook.views.facts import Listing

MOST_REGIONS = 20
MOST_EXTENTS = 3  # of one region in physical memory; more are told as the range that they lie in
RIGHTS = ~(A | D) & 0xFF

Range = tuple[int, int]


class Mapped(NamedTuple):
    """Virtual addresses [start, stop) of which ``size`` bytes are mapped, by ``runs`` runs with gaps between.

    ``flags`` are those of all runs, None where they differ.  ``pieces`` is the size of each run and ``gaps`` that of
    the gaps between, None where these differ.  ``places`` are ranges of physical addresses; ``scattered`` says that
    there are more of them than are told apart.
    """

    start: int
    stop: int
    size: int
    runs: int
    flags: int | None
    pieces: int | None
    gaps: int | None
    name: str
    places: tuple[Range, ...]
    scattered: bool


def regions(listed: Listing, most: int = MOST_REGIONS) -> list[Mapped]:
    """What is mapped as at most ``most`` regions by ascending address.

    Each run is its own while they are few.  Else runs of one kind at equal distances are one, and if that is not
    enough, all between which there are only small gaps.
    """
    rows = listed.run_rows
    if not len(rows):
        return []
    first = np.arange(len(rows))
    if len(rows) > most:
        first = _alike(rows)
    if len(first) > most:
        last = np.append(first[1:], len(rows)) - 1
        gaps = rows["va"][first[1:]] - (rows["va"][last[:-1]] + rows["size"][last[:-1]])
        widest = np.sort(np.argsort(gaps, kind="stable")[len(gaps) - most + 1 :])
        first = np.append(first[:1], first[widest + 1])
    stops = np.append(first[1:], len(rows)).tolist()
    names = Names(listed.space.areas)
    return [_mapped(rows[start:stop], names) for start, stop in zip(first.tolist(), stops, strict=True)]


def _alike(rows: Rows) -> npt.NDArray[np.intp]:
    """Where runs start that are not of the size and rights of the one before, at most their own size away."""
    gap = rows["va"][1:] - (rows["va"][:-1] + rows["size"][:-1])
    same = (rows["size"][1:] == rows["size"][:-1]) & (rows["level"][1:] == rows["level"][:-1])
    same &= (rows["flags"][1:] & RIGHTS) == (rows["flags"][:-1] & RIGHTS)
    same &= gap <= rows["size"][1:]
    return np.flatnonzero(np.append(True, ~same))


def _mapped(rows: Rows, names: Names) -> Mapped:
    start, stop = int(rows["va"][0]), int(rows["va"][-1]) + int(rows["size"][-1])
    gaps = rows["va"][1:] - (rows["va"][:-1] + rows["size"][:-1])
    places = _places(rows)
    scattered = len(places) > MOST_EXTENTS
    ends = [(places[0][0], places[-1][1])] if scattered else places
    told = tuple((int(low), int(high)) for low, high in ends)
    return Mapped(
        start, stop, sum(rows["size"].tolist()), len(rows), _common(rows["flags"] & RIGHTS), _common(rows["size"]),
        _common(gaps.astype(np.uint64)) if len(gaps) else 0, names.of(start, stop - start), told, scattered,
    )  # fmt: skip


def _common(values: npt.NDArray[np.integer]) -> int | None:
    """The value that all are, None when they differ."""
    return int(values[0]) if len(values) and bool((values == values[0]).all()) else None


def _places(rows: Rows) -> npt.NDArray[np.uint64]:
    """The physical ranges of runs, joined where they touch, of shape (ranges, 2)."""
    order = np.argsort(rows["pa"], kind="stable")
    starts = rows["pa"][order]
    stops = np.maximum.accumulate(starts + rows["size"][order])
    breaks = np.flatnonzero(np.append(True, starts[1:] > stops[:-1]))
    return np.stack([starts[breaks], stops[np.append(breaks[1:], len(starts)) - 1]], axis=1)


class Segment(NamedTuple):
    """Physical addresses [start, stop) that are all in RAM or all not, ``mapped`` by the same regions or by none."""

    start: int
    stop: int
    is_ram: bool
    mapped: bool


def segments(found: Iterable[Mapped], ram: Iterable[Range]) -> list[Segment]:
    """Physical memory in parts, by ascending address: RAM, and what is mapped outside it; nothing of the rest."""
    places = [place for region in found for place in region.places]
    held = list(ram)
    edges = sorted({edge for one in (*places, *held) for edge in one})
    parts = []
    for start, stop in pairwise(edges):
        is_ram = any(low <= start < high for low, high in held)
        mapped = any(low <= start < high for low, high in places)
        if is_ram or mapped:
            parts.append(Segment(start, stop, is_ram, mapped))
    return parts
