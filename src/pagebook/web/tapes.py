"""The model as it was at any step: one tape is kept, of the boot and the operations that a page asks for after it.

A page names the operations and the step in each of its questions, so nothing here is a page's own: the same question
has the same answer in another browser.  Another sequence of operations makes another tape; a longer one goes on from
the kept one.  The tape's memory stands at one step at a time, so an answer is made while nobody else moves it.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

from pagebook.errors import BadTarget
from pagebook.targets import Target
from pagebook.units import size_text
from pagebook.web.looks import Look
from pagebook.xv6.driving import Done, drive, words
from pagebook.xv6.kernel import Kernel
from pagebook.xv6.recording import Recorder
from pagebook.xv6.tape import Tape

if TYPE_CHECKING:
    from pagebook.checks.looks import Report

MOST_RAM = 1 << 30
MOST_OPERATIONS = 64


class Driven(NamedTuple):
    """An operation on the tape: what was done, and how many sentences of the story were told before it."""

    done: Done
    told: int


class Played:
    """The model at one step, as something to be looked at."""

    moves = False
    trouble = ""
    tape = True

    def __init__(self, tape: Tape, remarks: list[str]) -> None:
        found = tape.machine()
        self.name = found.name
        self.remarks = remarks
        self._look = Look(found, tape.position + 1)
        self._report: Report | None = None

    def now(self) -> Look:
        """The look."""
        return self._look

    def report(self) -> tuple[Report, int]:
        """What the checks find at this step."""
        from pagebook.checks.looks import check
        from pagebook.checks.registry import choose

        self._report = self._report or check(self._look.machine, choose())
        return self._report, self._look.generation


class Tapes:
    """The tape of a target that has one."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._lock = threading.RLock()
        self._kernel: Kernel | None = None
        self._recorder: Recorder | None = None
        self._driven: list[Driven] = []
        self._played: Played | None = None

    @contextmanager
    def tape(self, operations: str) -> Iterator[tuple[Tape, list[Driven], Kernel]]:
        """The tape with these operations after the boot, in nobody else's hands; BadTarget where one cannot be done."""
        with self._lock:
            recorder, kernel = self._with(words(operations))
            yield recorder.tape, self._driven, kernel

    @contextmanager
    def at(self, operations: str, step: int | None) -> Iterator[Played]:
        """The model when ``step`` steps of that tape are done, or all; in nobody else's hands."""
        with self.tape(operations) as (tape, _, _):
            number = len(tape) if step is None else min(step, len(tape))
            if self._played is None or tape.position != number or self._played.now().generation != number + 1:
                tape.seek(number)
                self._played = Played(tape, self._remarks(tape, number))
            yield self._played

    def _remarks(self, tape: Tape, number: int) -> list[str]:
        """That something is half done, where it is."""
        if any(told.steps == number for told in tape.told) or number in (0, len(tape)):
            return []
        return [f"At step {number:,} the kernel is in the middle of something: what is half done may look wrong."]

    def _with(self, wanted: list[str]) -> tuple[Recorder, Kernel]:
        if len(wanted) > MOST_OPERATIONS:
            raise BadTarget(f"{len(wanted)} operations are more than a tape takes, {MOST_OPERATIONS}; start a new one")
        done = [one.done.word for one in self._driven]
        if self._recorder is None or self._kernel is None or done != wanted[: len(done)]:
            self._boot()
        assert self._recorder and self._kernel
        tape = self._recorder.tape
        for word in wanted[len(self._driven) :]:
            if self._driven and self._driven[-1].done.ended:
                raise BadTarget("the kernel has panicked; nothing runs after that. Take the last operation back")
            tape.seek(len(tape))
            self._played = None
            told = len(tape.told)
            self._driven.append(Driven(drive(self._kernel, word), told))
            self._recorder.settle()
        return self._recorder, self._kernel

    def _boot(self) -> None:
        if self._target.boot is None:
            raise BadTarget("only the model has a tape: what a guest or a file did before, nobody recorded")
        ram = sum(region.size for region in self._target.look().memory.regions)
        if ram > MOST_RAM:
            raise BadTarget(
                f"a tape of {size_text(ram)} of RAM would be too long; serve the model with --ram 1G or less"
            )
        self._kernel = self._recorder = self._played = None
        self._driven = []
        made: list[Recorder] = []
        self._kernel = self._target.boot(lambda k: made.append(Recorder.on(k)))
        self._recorder = made[0]
        self._recorder.settle()
