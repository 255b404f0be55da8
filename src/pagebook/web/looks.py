"""What the page looks at: one look is kept, and made anew where the machine moves.

A guest is looked at only while somebody asks, several times a second at most and never for more than a fifth of the
time, and it is never stopped for that.  Every look has a number, the generation, by which a page sees what is new.
"""

from __future__ import annotations

import threading
import time
from functools import cached_property

from pagebook.checks.looks import Report, check, confirm
from pagebook.checks.registry import choose
from pagebook.errors import PagebookError
from pagebook.ledger import Ledger
from pagebook.machine import Machine
from pagebook.targets import Target
from pagebook.web.book import Book

LEAST_PAUSE = 0.25  # seconds between two looks
SHARE = 4  # and that many times as long as the last one took
CHECKED = 3.0  # seconds that findings of a guest that moves are kept: they take several looks


class Look:
    """A machine as it was once, and what is worked out from it when somebody asks."""

    def __init__(self, machine: Machine, generation: int) -> None:
        self.machine = machine
        self.generation = generation
        self._lock = threading.RLock()

    @cached_property
    def _ledger(self) -> Ledger:
        return Ledger(self.machine)

    @cached_property
    def _book(self) -> Book:
        return Book(self._ledger)

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


class Looks:
    """The looks at a target.  ``moves`` says whether there is ever a second one.

    ``trouble`` is why the last attempt at a look failed, or nothing: what is kept is then older.  The methods may be
    called from several threads.
    """

    def __init__(self, target: Target, moves: bool) -> None:
        self.target = target
        self.moves = moves
        self.trouble = ""
        self._looking = threading.RLock()
        self._report: Report | None = None
        self._checked = 0.0
        self._kept = self._look(1)
        self._due = self._when_due(time.monotonic(), 0.0)

    def now(self) -> Look:
        """The kept look; where the machine moves and it is time, a new one with the ledger of all its frames."""
        with self._looking:
            if self.moves and time.monotonic() >= self._due:
                started = time.monotonic()
                try:
                    fresh = self._look(self._kept.generation + 1)
                    _ = fresh.book
                    self._kept, self.trouble = fresh, ""
                except PagebookError as error:
                    self.trouble = str(error)
                self._due = self._when_due(time.monotonic(), time.monotonic() - started)
            return self._kept

    def report(self) -> tuple[Report, int]:
        """What the checks find, and the generation they were asked of; of a guest that moves, what stays in looks."""
        with self._looking:
            look = self.now()
            if self._report is None or (self.moves and time.monotonic() - self._checked > CHECKED):
                rules = choose()
                if self.moves:
                    self._report = confirm(self.target.look, rules, look.machine)
                else:
                    self._report = check(look.machine, rules)
                self._checked = time.monotonic()
            return self._report, look.generation

    def _look(self, generation: int) -> Look:
        return Look(self.target.settled(), generation)

    @staticmethod
    def _when_due(now: float, took: float) -> float:
        return now + max(LEAST_PAUSE, SHARE * took)
