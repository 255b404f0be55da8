"""What a report tells: everything that was asked of one machine, and how much room there is to tell it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime

from pagebook.checks.looks import Report
from pagebook.explain import Explanation
from pagebook.ledger import Ledger
from pagebook.machine import Machine
from pagebook.views.report.markup import Html

MOST_BYTES = 4 << 20
"""A report is never larger."""
RESERVED = 64 << 10
"""Bytes of it for its frame: the style, the headings, the sentences that say what was left out."""


@dataclass(frozen=True)
class About:
    """What the report says of itself: the words it was made with, when, how the machine was read, and what was odd."""

    target: str
    command: str
    when: datetime
    how: str
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True)
class Found:
    """One look at a machine: whose each frame is, what the checks found (None without a page table), the walks."""

    about: About
    ledger: Ledger
    checked: Report | None
    walks: tuple[Explanation, ...] = ()

    @property
    def machine(self) -> Machine:
        """The machine that it is about."""
        return self.ledger.machine


class Room:
    """The bytes that are left of a report's."""

    def __init__(self, size: int = MOST_BYTES - RESERVED) -> None:
        self.left = size

    def takes(self, part: Html) -> bool:
        """Whether the part has room; if so, it is taken."""
        size = len(part.encode())
        if size > self.left:
            return False
        self.left -= size
        return True

    def held(self, part: Html) -> Html:
        """A part that is always there, as its size is bounded; it takes its room before the others."""
        self.left -= len(part.encode())
        return part

    def first(self, parts: Iterable[Html], most: int) -> Iterator[Html]:
        """As many of the parts as have room, ``most`` of them if there are more."""
        for number, part in enumerate(parts):
            if number == most or not self.takes(part):
                return
            yield part
