"""The roots of page tables in memory of which nothing is known, best first, each with what speaks for it.

Every frame that `survey` takes for a table of the top level, and that no other table points to, is a candidate.  What
makes one likelier is data: points, and the sentence that says why.  A root is never certain; the evidence is shown so
that a person can decide.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from pagebook.errors import PagebookError, TooManyMappings
from pagebook.guests.survey import Survey
from pagebook.machine import Hart
from pagebook.memory import U64, Memory
from pagebook.scan import Scan, scan
from pagebook.sv import SV39, SV48, SV57, A, Format, U, decode_satp
from pagebook.table import AddressSpace
from pagebook.units import PAGE_SIZE

USUAL = (SV39, SV48, SV57)
NEAR = 5  # points by which a guest's one format outweighs another
MOST_CANDIDATES = 1024
MOST_MAPPINGS = 1 << 18  # of one candidate, in its scan
MOST_SCANNED = 1 << 22  # of all; those after that are judged by the survey alone
MOST_SHARED = 1 << 10  # candidates whose root entries are compared


@dataclass(frozen=True)
class Candidate:
    """A frame that is likely a root: the table's format, the points for it, and the reasons in words, weightiest first.

    ``mappings`` counts the mappings of RAM, ``tables`` the table pages, as often as they are used.
    """

    root: int
    format: Format
    score: int
    evidence: tuple[str, ...]
    mappings: int
    tables: int


class Reason(NamedTuple):
    """What speaks for a candidate, or with fewer points than 0 against it."""

    points: float
    words: str


class _Rooted(NamedTuple):
    """A candidate before it is judged: its frame's number, its row in the survey, or -1, and its address."""

    fmt: Format
    number: int
    row: int
    pa: int


def find_roots(
    memory: Memory,
    format: Format | None = None,
    progress: Callable[[int], None] | None = None,
    harts: Sequence[Hart] = (),
) -> list[Candidate]:
    """Search all of ``memory`` for roots: of ``format``, or of Sv39, Sv48 and Sv57 together; the likeliest first.

    ``harts`` tell which satps are known.  ``progress`` is called with the bytes just looked at.  A frame is listed
    once, in the format that suits it best.
    """
    formats = USUAL if format is None else (format,)
    survey = Survey(memory, formats[-1], max(fmt.levels for fmt in formats) - 1, progress)
    current = _current(harts, formats)
    chosen = _chosen(survey, formats, current)
    if not chosen:
        return []
    reasons = _Reasons(survey, chosen, current)
    return _each_once([reasons.candidate(rooted) for rooted in chosen])


def _each_once(candidates: list[Candidate]) -> list[Candidate]:
    """Each frame in its likeliest format, which is that of the best candidate where the two are near; best first."""
    usual = max(candidates, key=lambda c: c.score).format
    best: dict[int, Candidate] = {}
    for candidate in sorted(candidates, key=lambda c: -c.score - NEAR * (c.format == usual)):
        best.setdefault(candidate.root, candidate)
    return sorted(best.values(), key=lambda c: (-c.score, c.root))


def _current(harts: Iterable[Hart], formats: Sequence[Format]) -> dict[tuple[int, Format], list[int]]:
    """The harts whose satp names a root, by root and format."""
    found: dict[tuple[int, Format], list[int]] = {}
    for hart in harts:
        try:
            satp = decode_satp(hart.satp or 0, formats[-1].xlen)
        except PagebookError:
            continue
        if satp.format is not None and satp.format in formats:
            found.setdefault((satp.root, satp.format), []).append(hart.number)
    return found


def _chosen(survey: Survey, formats: Sequence[Format], current: Iterable[tuple[int, Format]]) -> list[_Rooted]:
    """The candidates, at most MOST_CANDIDATES: what is named in memory first, then what maps most."""
    found: dict[tuple[int, Format], _Rooted] = {}
    weights: dict[tuple[int, Format], float] = {}
    for fmt in formats:
        top = fmt.levels - 1
        named = survey.satps[fmt.mode].counts[survey.rows]
        rows = np.flatnonzero(survey.like[top] & (survey.leaves[top] > 0) & (~survey.child | (named > 0)))
        numbers = survey.rows[rows]
        pointed = survey.pointers.counts[numbers] > 0
        weight = np.log2(1 + survey.leaves[top][rows]) + 64.0 * (named[rows] > 0) + 16.0 * pointed
        best = np.argsort(-weight, kind="stable")[:MOST_CANDIDATES]
        pas = survey.frames.addresses(numbers)
        for i in best.tolist():
            key = int(pas[i]), fmt
            found[key] = _Rooted(fmt, int(numbers[i]), int(rows[i]), key[0])
            weights[key] = float(weight[i])
    for pa, fmt in current:
        number = int(survey.frames.numbers(np.array([pa], dtype=U64))[0])
        if number >= 0:
            row = int(np.searchsorted(survey.rows, number))
            held = row < len(survey.rows) and survey.rows[row] == number
            found.setdefault((pa, fmt), _Rooted(fmt, number, row if held else -1, pa))
            weights[pa, fmt] = math.inf
    return [found[key] for key in sorted(found, key=lambda key: -weights[key])[:MOST_CANDIDATES]]


class _Reasons:
    """Everything known of all candidates at once; a candidate's reasons are some of it."""

    def __init__(self, survey: Survey, chosen: Sequence[_Rooted], current: dict[tuple[int, Format], list[int]]) -> None:
        self.survey = survey
        self.memory = survey.frames.memory
        self.current = current
        self.sharers = _sharers(survey, chosen[:MOST_SHARED])
        self.scans: dict[_Rooted, Scan | None] = {}
        left = MOST_SCANNED
        for rooted in chosen:
            found = _scan(self.memory, rooted) if left > 0 else None
            left -= MOST_MAPPINGS if found is None else len(found.mappings) + PAGE_SIZE
            self.scans[rooted] = found
        self.last_pages = {rooted: _last_page(found) for rooted, found in self.scans.items()}
        self.offset, self.kernel_names = self._kernel_names(chosen)

    def candidate(self, rooted: _Rooted) -> Candidate:
        """The candidate with its reasons added up."""
        top = rooted.fmt.levels - 1
        mapped = tables = 0
        if rooted.row >= 0:
            mapped, tables = int(self.survey.leaves[top][rooted.row]), int(self.survey.tables[top][rooted.row])
        reasons = [*self._names(rooted), *self._mapped(mapped, tables), *self._scanned(rooted), *self._shared(rooted)]
        reasons.sort(key=lambda reason: -reason.points)
        score = round(sum(reason.points for reason in reasons))
        return Candidate(rooted.pa, rooted.fmt, score, tuple(reason.words for reason in reasons), mapped, tables)

    def _names(self, rooted: _Rooted) -> Iterator[Reason]:
        """Who names it: harts, words of memory that are satp values, or its address."""
        harts = self.current.get((rooted.pa, rooted.fmt))
        if harts:
            yield Reason(100, f"the satp of hart{'s' * (len(harts) > 1)} {', '.join(map(str, harts))} names it")
        for named, points, what in (
            (self.survey.satps[rooted.fmt.mode], 40, f"as a satp value of {rooted.fmt.name}"),
            (self.survey.pointers, 15, "as an address"),
        ):
            count = int(named.counts[rooted.number])
            if count:
                yield Reason(
                    points, f"memory holds it {what} {_times(count)}, first at {int(named.first[rooted.number]):#x}"
                )
        count = self.kernel_names.get(rooted.number, 0)
        if count:
            yield Reason(15, f"memory holds its address in the kernel's map of RAM ({self.offset:+#x}) {_times(count)}")

    @staticmethod
    def _mapped(mapped: int, tables: int) -> Iterator[Reason]:
        if mapped:
            yield Reason(
                math.log2(1 + mapped),
                f"it maps RAM with {_many(mapped, 'leaf PTE')} through {_many(tables, 'table')}",
            )
        else:
            yield Reason(-20, "it maps nothing of RAM")

    def _scanned(self, rooted: _Rooted) -> Iterator[Reason]:
        """What its listing says."""
        found = self.scans[rooted]
        if found is None:
            yield Reason(0, "its mappings were not listed: there are too many")
            return
        mappings = found.mappings
        own = _own_places(found, rooted.pa)
        if rooted.pa in own:
            yield Reason(10, "it maps itself at its own physical address")
        elif own:
            yield Reason(5, f"it maps itself, at {own[0]:#x}")
        used = int(np.count_nonzero(mappings["flags"] & A))
        if used:
            yield Reason(5 * used / len(mappings), f"A is set in {used} of {_many(len(mappings), 'leaf PTE')}")
        if len(found.problems):
            wrong = len(found.problems)
            yield Reason(-min(5 * wrong, 20), f"{_many(wrong, 'PTE')} that no walk can use")
        torn = _torn_share(found)
        if torn > 0.5:
            yield Reason(
                -30 * torn, f"neighbouring superpages do not follow each other, as if it were not {rooted.fmt.name}"
            )
        reached = len(np.unique(mappings["pa"]))
        if reached * 8 < len(mappings):
            yield Reason(-20, f"its {len(mappings)} leaf PTEs reach no more than {_many(reached, 'page')}")

    def _shared(self, rooted: _Rooted) -> Iterator[Reason]:
        entries, others = self.sharers.get(rooted, (0, 0))
        if others:
            what = "an entry" if entries == 1 else f"{entries} entries"
            yield Reason(10, f"its root table has {what} in common with {_many(others, 'other candidate')}")
        last = self.last_pages[rooted]
        if last is not None:
            same = sum(last == other and key.pa != rooted.pa for key, other in self.last_pages.items())
            if same:
                yield Reason(10, f"it maps {last[0]:#x} to {last[1]:#x}, as {_many(same, 'other candidate')} do")

    def _kernel_names(self, chosen: Sequence[_Rooted]) -> tuple[int, dict[int, int]]:
        """The offset at which most candidates map their own root, if it is not 0, and who is named at that."""
        offsets = [
            va - rooted.pa
            for rooted, found in self.scans.items()
            if found is not None
            for va in _own_places(found, rooted.pa)[:1]
        ]
        moved = [offset for offset in offsets if offset and not offset & PAGE_SIZE - 1]
        if not moved:
            return 0, {}
        offset = max(set(moved), key=moved.count)
        numbers = np.array([rooted.number for rooted in chosen], dtype=np.intp)
        return offset, dict(zip(numbers.tolist(), self.survey.names(numbers, offset).tolist(), strict=True))


def _scan(memory: Memory, rooted: _Rooted) -> Scan | None:
    try:
        return scan(AddressSpace(memory, rooted.pa, rooted.fmt), MOST_MAPPINGS)
    except TooManyMappings:
        return None


def _own_places(found: Scan, pa: int) -> list[int]:
    """Where a listing maps the page at ``pa``, in the order of the addresses."""
    mappings = found.mappings
    offset = U64(pa) - mappings["pa"]
    here = offset < mappings["size"]
    return [int(va) for va in (mappings["va"][here] + offset[here]).tolist()]


def _last_page(found: Scan | None) -> tuple[int, int] | None:
    """The highest address that is mapped for the kernel alone, and where it leads: a trampoline, if there is one."""
    if found is None:
        return None
    mine = np.flatnonzero(found.mappings["flags"] & U == 0)
    if not len(mine) or found.mappings["level"][mine[-1]]:
        return None
    return int(found.mappings["va"][mine[-1]]), int(found.mappings["pa"][mine[-1]])


def _torn_share(found: Scan) -> float:
    """Of the superpages that have another of their size after them, the share where RAM does not go on as well."""
    va, pa, size = (found.mappings[name] for name in ("va", "pa", "size"))
    level = found.mappings["level"]
    pairs = (level[:-1] > 0) & (level[1:] == level[:-1]) & (va[1:] - va[:-1] == size[:-1])
    together = int(np.count_nonzero(pairs))
    if not together:
        return 0.0
    return 1 - int(np.count_nonzero(pairs & (pa[1:] - pa[:-1] == size[:-1]))) / together


def _sharers(survey: Survey, chosen: Sequence[_Rooted]) -> dict[_Rooted, tuple[int, int]]:
    """For each candidate how many of its pointers stand in the same place of another of its format, and in how many."""
    found: dict[_Rooted, tuple[int, int]] = {}
    for fmt in {rooted.fmt for rooted in chosen}:
        group = [rooted for rooted in chosen if rooted.fmt == fmt]
        ptes = survey.ptes(np.array([rooted.number for rooted in group], dtype=np.intp))
        pointers = np.where(ptes & U64(0xF) == 1, ptes, U64(0))
        common = np.zeros(pointers.shape, dtype=np.int64)
        for column in np.flatnonzero(pointers.any(axis=0)).tolist():
            _, which, counts = np.unique(pointers[:, column], return_inverse=True, return_counts=True)
            common[:, column] = np.where(pointers[:, column] != 0, counts[which.reshape(-1)] - 1, 0)
        for rooted, row in zip(group, common, strict=True):
            found[rooted] = int(np.count_nonzero(row)), int(row.max())
    return found


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


def _many(count: int, what: str) -> str:
    return f"{count} {what}{'s' * (count != 1)}"
