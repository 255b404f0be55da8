"""What the page looks at: one look is kept, and made anew where the machine moves.

A guest is looked at only while somebody asks, several times a second at most and never for more than a fifth of the
time, and it is never stopped for that.  Every look has a number, the generation, by which a page sees what is new.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from functools import cached_property
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple, Protocol

from pagebook.errors import PagebookError, SourceLost
from pagebook.ledger import Ledger
from pagebook.machine import Machine
from pagebook.targets import TORN, Target
from pagebook.web.book import Book, Folding

if TYPE_CHECKING:
    from pagebook.checks.looks import Report
    from pagebook.diff import Difference
    from pagebook.views.text import Line

LEAST_PAUSE = 0.25  # seconds between two looks
SHARE = 4  # and that many times as long as the last one took
CHECKED = 3.0  # seconds that findings of a guest that moves are kept: they take several looks
REMEMBERED = 300.0  # seconds that changes are kept
MOST_CHANGES = 1000
MOST_LINES = 60  # of one change
STARTED_AGAIN = "one that is started again is shown as soon as it runs"
SERVE_AGAIN = "for one that is started again, start 'pagebook serve qemu'"


class Look:
    """A machine as it was once, and what is worked out from it when somebody asks."""

    def __init__(self, machine: Machine, generation: int, folding: Folding | None = None) -> None:
        self.machine = machine
        self.generation = generation
        self._folding = folding or Folding()
        self._lock = threading.RLock()

    @cached_property
    def _ledger(self) -> Ledger:
        return Ledger(self.machine)

    @cached_property
    def _book(self) -> Book:
        return Book.of(self._ledger)

    @cached_property
    def _folded(self) -> Book:
        return self._folding.fold(self._book, time.monotonic())

    @property
    def is_counted(self) -> bool:
        """Whether the ledger of this look was made when it was looked."""
        return "_ledger" in vars(self)

    @property
    def ledger(self) -> Ledger:
        """The ledger of this look, made once however many ask."""
        with self._lock:
            return self._ledger

    @property
    def book(self) -> Book:
        """The book of this look, made once."""
        with self._lock:
            return self._book

    def count(self) -> None:
        """Make the book, which the first view needs; what is in the way is said to those who ask."""
        with suppress(PagebookError):
            _ = self.folded

    @property
    def folded(self) -> Book:
        """The book without the long runs of free frames, made once."""
        with self._lock:
            return self._folded


class Seen(Protocol):
    """What answers are made of: a look, and what the checks find in it.

    ``name`` is the target's, ``remarks`` what is to be said of it; ``moves`` says whether there will be another look,
    and ``trouble`` is why the last attempt at one failed, or nothing: what is kept is then older.  ``tape`` says
    whether there is a tape of it.
    """

    name: str
    remarks: list[str]
    moves: bool
    trouble: str
    tape: bool

    def now(self) -> Look:
        """The look."""
        ...

    def report(self) -> tuple[Report, int]:
        """What the checks find, and the generation they were asked of."""
        ...


class Change(NamedTuple):
    """What differed between two looks, in lines; ``at`` is when the second one was, in seconds since 1970."""

    at: float
    generation: int
    lines: tuple[Line, ...]


class Looks:
    """The looks at a target, and what changed between them in the last minutes.

    The methods may be called from several threads.  ``again`` gives the target that is there after this one was lost,
    or raises what `Target.look` raises; without it, nobody looks for one.
    """

    def __init__(self, target: Target, moves: bool, again: Callable[[], Target] | None = None) -> None:
        self._again = again
        self._gone = ""  # why the target can be looked at no more
        self._looking = threading.RLock()
        self.moves = moves
        self.tape = target.boot is not None
        self.trouble = ""
        self._folding = Folding()
        self._take(target, Look(target.settled(), 1, self._folding))
        self._due = self._when_due(time.monotonic(), 0.0)

    def counting(self) -> threading.Thread:
        """A thread that counts the frames of the kept look, so that the first who asks need not wait for all of it."""
        return threading.Thread(target=self._kept.count, name="counting")

    def _take(self, target: Target, first: Look) -> None:
        """Have this target, and what was seen of it first."""
        self.target = target
        self.name = target.name
        self.remarks = target.remarks
        self.started = time.time()
        self.changes: deque[Change] = deque(maxlen=MOST_CHANGES)
        self._report: Report | None = None
        self._checked = 0.0
        self._kept = first

    def now(self) -> Look:
        """The kept look; where the machine moves and it is time, a new one with the ledger of all its frames.

        BadFile when the file that it is of became shorter, so that nothing more can be read of it.
        """
        with self._looking:
            self.target.whole()
            if self.moves and time.monotonic() >= self._due:
                started = time.monotonic()
                try:
                    self._look_again()
                except SourceLost as error:
                    self._gone = str(error)
                    self.trouble = f"{error}; " + (STARTED_AGAIN if self._again else SERVE_AGAIN)
                except PagebookError as error:
                    self.trouble = f"{self._gone}; {error}" if self._gone else str(error)
                self._due = self._when_due(time.monotonic(), time.monotonic() - started)
            return self._kept

    def report(self) -> tuple[Report, int]:
        """What the checks find, and the generation they were asked of; of a guest that moves, what stays in looks."""
        from pagebook.checks.looks import check, confirm
        from pagebook.checks.registry import choose

        with self._looking:
            look = self.now()
            if self._report is None or (self.moves and time.monotonic() - self._checked > CHECKED):
                rules = choose()
                if self.moves and not self.target.paused:
                    self._report = confirm(self.target.settled, rules, look.machine)
                    if self._report.torn and TORN not in self.remarks:
                        self.remarks.append(TORN)
                else:
                    self._report = check(look.machine, rules)
                self._checked = time.monotonic()
            return self._report, look.generation

    def _look_again(self) -> None:
        """A new look in the place of the kept one; at the guest that is there now, where the last one was lost."""
        if self._gone and self._again:
            found = self._again()
            self._folding = Folding()
            self._take(found, self._counted(found))
        else:
            self.target.remarks.clear()  # what is so still is said again
            fresh = self._counted(self.target)
            from pagebook.diff import compare

            if self._kept.is_counted:  # what is counted only now is no more as it was
                self._remember(compare(self._kept.ledger, fresh.ledger), fresh.generation)
            self._kept = fresh
        self._gone = self.trouble = ""

    def _counted(self, target: Target) -> Look:
        """The next look, with its books made."""
        fresh = Look(target.settled(), self._kept.generation + 1, self._folding)
        _ = fresh.folded
        return fresh

    def _remember(self, found: Difference, generation: int) -> None:
        """Keep what changed, for some minutes."""
        from pagebook.views import changes

        now = time.time()
        while self.changes and now - self.changes[0].at > REMEMBERED:
            self.changes.popleft()
        if found:
            lines = tuple(islice(changes.changes(found), MOST_LINES))
            self.changes.append(Change(now, generation, lines))

    @staticmethod
    def _when_due(now: float, took: float) -> float:
        return now + max(LEAST_PAUSE, SHARE * took)
