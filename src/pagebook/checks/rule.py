"""What a rule is and what it gives: hits, a row for each page or frame, which become findings that a person can read.

Hits stay arrays until the end: two looks at a machine that moves are compared row by row, and only what is left is
merged into runs and put into words.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from pagebook.columns import Columns
from pagebook.machine import Space
from pagebook.memory import U64
from pagebook.shown import in_notebook, plain
from pagebook.sv import A, D
from pagebook.units import PAGE_SIZE

if TYPE_CHECKING:
    from pagebook.checks.evidence import Evidence

NOWHERE = -1

HIT = np.dtype(
    [
        ("space", "<i4"),
        ("va", "<u8"),
        ("pa", "<u8"),
        ("size", "<u8"),
        ("pte", "<u8"),
        ("pte_pa", "<u8"),
        ("level", "u1"),
        ("fact", "<u8"),
        ("mark", "<u8"),
    ]
)
"""A row of hits: ``space`` is an index into the machine's spaces or NOWHERE; ``fact`` is a number of the rule's own
that its sentence needs; ``mark`` is one that must be the same in another look: what a frame holds, where a run ends."""

Rows = npt.NDArray[np.void]
Numbers = npt.NDArray[Any]


class Severity(StrEnum):
    """How bad it is; the words are those of SARIF."""

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"


class Place(NamedTuple):
    """A run of hits: the first one's columns, and how many pages there are; ``va``, ``pa``, ``pte`` may be missing."""

    space: Space | None
    va: int | None
    pa: int | None
    size: int
    pages: int
    pte: int | None
    pte_pa: int | None
    level: int | None
    fact: int

    @property
    def what(self) -> str:
        """``"a page"``, ``"3 pages"``, with the size where it is not the usual one."""
        each = self.size // self.pages
        kind = "page" if each == PAGE_SIZE else "superpage"
        return f"a {kind}" if self.pages == 1 else f"{self.pages} {kind}s"

    def verb(self, one: str, many: str) -> str:
        """The form of a verb that agrees with `what`."""
        return one if self.pages == 1 else many


Say = Callable[[Place], str]


@dataclass(frozen=True)
class Hits:
    """What a rule found, rows of HIT; ``has`` names which of va, pa, pte mean something; ``say`` the sentence."""

    rows: Rows
    say: Say
    has: frozenset[str]

    def __len__(self) -> int:
        return len(self.rows)

    def keys(self) -> npt.NDArray[np.uint64]:
        """A number for each row that the same finding has in another look; A and D, set by hardware, are left out."""
        key = np.zeros(len(self.rows), dtype=U64)
        pte = self.rows["pte"] & U64(~(A | D) & 0xFFFF_FFFF_FFFF_FFFF)
        for column in (self.rows["va"], self.rows["pa"], pte, self.rows["fact"], self.rows["mark"]):
            key = (key ^ column) * U64(0x9E37_79B9_7F4A_7C15)
            key ^= key >> U64(29)
        return key

    def kept(self, mask: npt.NDArray[np.bool_]) -> Hits:
        """Only the rows in the mask."""
        return Hits(self.rows[mask], self.say, self.has)


MAPPED = frozenset({"va", "pa", "pte"})
FRAME_ONLY = frozenset({"pa"})
PLACE_ONLY = frozenset({"va"})
SPACE_ONLY: frozenset[str] = frozenset()


def _rows(count: int) -> Rows:
    rows = np.zeros(count, dtype=HIT)
    rows["space"] = NOWHERE
    rows["size"] = PAGE_SIZE
    return rows


def mapping_hits(found: Columns, say: Say, fact: Numbers | int = 0, mark: Numbers | int = 0) -> Hits:
    """Hits of leaves or pointers, rows that have all of space, va, pa, size, pte, pte_pa, level."""
    rows = _rows(len(found))
    for name in ("space", "va", "pa", "size", "pte", "pte_pa", "level"):
        rows[name] = found[name]
    rows["fact"], rows["mark"] = fact, mark
    return Hits(rows, say, MAPPED)


def frame_hits(
    pas: npt.NDArray[np.uint64],
    say: Say,
    fact: Numbers | int = 0,
    mark: Numbers | int = 0,
    space: Numbers | int = NOWHERE,
) -> Hits:
    """Hits of frames of physical memory, with no mapping to show."""
    rows = _rows(len(pas))
    rows["pa"], rows["fact"], rows["mark"], rows["space"] = pas, fact, mark, space
    return Hits(rows, say, FRAME_ONLY)


def place_hits(spaces: Numbers, vas: Numbers, say: Say, fact: Numbers | int = 0) -> Hits:
    """Hits of virtual addresses where something is missing."""
    rows = _rows(len(vas))
    rows["space"], rows["va"], rows["fact"] = spaces, vas, fact
    return Hits(rows, say, PLACE_ONLY)


def space_hits(spaces: Numbers, pas: Numbers, say: Say, fact: Numbers | int = 0) -> Hits:
    """Hits of whole address spaces, with the physical address of what each is about."""
    return frame_hits(np.asarray(pas, dtype=U64), say, fact, space=spaces)


def doubt_hits(evidence: Evidence, about: str) -> Hits:
    """Hits of what the guest's table of processes says of a member that cannot be, each at its struct, once."""
    found = list({doubt.at: doubt for doubt in evidence.machine.doubts if doubt.about == about}.values())
    at = np.array([doubt.at for doubt in found], U64)
    return place_hits(
        np.full(len(found), NOWHERE if evidence.kernel is None else evidence.kernel, np.int32),
        at,
        lambda place: next(doubt.sentence for doubt in found if doubt.at == place.fact),
        fact=at,
    )


Check = Callable[["Evidence"], Iterable[Hits]]


def _sees(evidence: Evidence) -> str:
    return ""


@dataclass(frozen=True)
class Rule:
    """One thing that can be wrong: its id, its name, a sentence about it, what to do, and the function that looks.

    ``default`` says whether it is asked when nobody chooses, ``guests`` where it holds: everywhere when empty.
    ``whole_lists`` says that it takes what is on no free list for not free, so that these must have been read whole.
    ``blind`` gives why the rule can see nothing in a machine, or nothing where it can: it is then not asked.
    """

    id: str
    name: str
    summary: str
    severity: Severity
    remedy: str
    check: Check
    default: bool = True
    guests: tuple[str, ...] = ()
    whole_lists: bool = False
    blind: Callable[[Evidence], str] = _sees

    def holds_for(self, guest: str) -> bool:
        """Whether a machine with this guest is subject to the rule."""
        return not self.guests or guest in self.guests


class Finding(NamedTuple):
    """What is wrong, where, and what to do: a run of ``pages`` neighbours, of which the columns are the first one's.

    ``space`` and ``pid`` name the address space; every column but rule, severity, message and remedy may be None.
    """

    rule: str
    severity: str
    space: str | None
    pid: int | None
    va: int | None
    pa: int | None
    size: int
    pages: int
    pte: int | None
    pte_pa: int | None
    level: int | None
    message: str
    remedy: str

    def __repr__(self) -> str:
        return f"<Finding {self.rule} in {plain(self.space or 'no space')}: {plain(self.message, 160)}>"

    def _repr_html_(self) -> str:
        return in_notebook(self)


FINDING = np.dtype(
    [
        ("rule", "O"), ("severity", "O"), ("space", "O"), ("pid", "<u8"), ("va", "<u8"), ("pa", "<u8"),
        ("size", "<u8"), ("pages", "<u8"), ("pte", "<u8"), ("pte_pa", "<u8"), ("level", "u1"),
        ("message", "O"), ("remedy", "O"),
    ]
)  # fmt: skip
"""A row of the findings table: as `Finding`; pid, va, pa, pte, pte_pa and level may be absent."""


def findings_table(findings: Sequence[Finding]) -> Columns:
    """Findings as rows of FINDING."""
    columns: list[Numbers] = []
    absent: dict[str, Numbers] = {}
    for place, name in enumerate(FINDING.names or ()):
        values = [found[place] for found in findings]
        if FINDING[name].kind == "O":
            columns.append(np.array([None if value is None else str(value) for value in values], object))
        else:
            absent[name] = np.array([value is None for value in values], np.bool_)
            columns.append(np.array([value or 0 for value in values], FINDING[name]))
    maybe = {name: mask for name, mask in absent.items() if name not in ("size", "pages")}
    return Columns(FINDING, len(findings), columns, absent=maybe)


def runs(hits: Hits) -> Rows:
    """The rows of ``hits`` with neighbours merged, in a column ``pages`` more how many each stands for.

    Neighbours follow each other in va where the hits have one, else in pa, with the same rights, level and fact.
    """
    by = "va" if "va" in hits.has else "pa"
    rows = hits.rows[np.lexsort((hits.rows[by], hits.rows["space"]))]
    breaks = np.ones(len(rows), dtype=np.bool_)
    if len(rows) > 1:
        same = rows[by][1:] == rows[by][:-1] + rows["size"][:-1]
        for name in ("space", "level", "fact", "size"):
            same &= rows[name][1:] == rows[name][:-1]
        same &= (rows["pte"][1:] ^ rows["pte"][:-1]) & U64(0x3FF & ~(A | D)) == 0
        breaks[1:] = ~same
    first = np.flatnonzero(breaks)
    out = np.zeros(len(first), dtype=[*HIT.descr, ("pages", "<u8")])
    for name in HIT.names or ():
        out[name] = rows[name][first]
    out["pages"] = np.diff(np.append(first, len(rows)))
    out["size"] *= out["pages"]
    return out
