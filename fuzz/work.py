"""One image after another in processes of their own, watched: what refuses, what breaks, how long and how large."""

from __future__ import annotations

import gc
import multiprocessing as mp
import os
import random
import resource
import signal
import tempfile
import time
import traceback
from dataclasses import dataclass, field
from multiprocessing.sharedctypes import SynchronizedArray
from pathlib import Path
from types import FrameType

from fuzz import answers, questions
from fuzz.images import Makers
from pagebook.errors import PagebookError
from pagebook.machine import Machine

MOST_SECONDS = 5.0  # of processor time, for one question
MOST_BYTES = 1 << 30
HANG = 60.0  # seconds of the clock without a question answered, after which a process is ended
ONE_IN = 100  # whose questions are asked by the command line too
SHARES = (1.0, 0.25, 0.25, 0.25, 0.25)  # of the questions, asked of an image
ANSWERS = 12  # shares of images that are answers of a QEMU


class TooSlow(BaseException):
    """A question took too long; not an Exception, so that nothing on the way takes it for its own."""


@dataclass
class Tally:
    """What came of the images: how many questions were answered and refused, the slowest and what was wrong."""

    asked: int = 0
    refused: int = 0
    worst: float = 0.0
    worst_at: str = ""
    wrong: list[str] = field(default_factory=list)


class Fuzzer:
    """Makes and asks image ``number`` of ``seed``: the same whenever it is asked for."""

    def __init__(self, seed: int, folder: Path) -> None:
        self.seed = seed
        self.makers = Makers(folder)
        self.tally = Tally()
        kinds = [(kind, share) for kind, (share, _) in self.makers.kinds.items()]
        self.kinds = [kind for kind, share in [*kinds, ("answers", ANSWERS)] for _ in range(share)]

    def run(self, number: int) -> None:
        """Make it, and ask everything."""
        rng = random.Random(f"{self.seed}:{number}")
        kind = rng.choice(self.kinds)
        name = f"--seed {self.seed} --only {number} ({kind})"
        if kind == "answers":
            for question, ask in answers.questions(rng, self.makers.folder):
                self._ask(name, question, ask)
            return
        made: list[object] = []
        image = self.makers.make(kind, rng)
        self._ask(name, "open", lambda: made.append(image.open()))
        if made and isinstance(made[0], Machine):
            share = rng.choice(SHARES)
            for question, ask in questions.of_machine(made[0], rng):
                if rng.random() < share:
                    self._ask(name, question, ask)
        if rng.randrange(ONE_IN) == 0:
            written: list[list[str]] = []
            self._ask(name, "write", lambda: written.append(image.words()))
            for words in written:
                for question, ask in questions.of_command_line(words, rng):
                    self._ask(name, question, ask)

    def _ask(self, name: str, question: str, ask: object) -> None:
        tally = self.tally
        tally.asked += 1
        started = time.process_time()
        signal.setitimer(signal.ITIMER_PROF, MOST_SECONDS)
        try:
            try:
                ask()  # type: ignore[operator]
            finally:
                signal.setitimer(signal.ITIMER_PROF, 0)
        except PagebookError as error:
            tally.refused += 1
            if not str(error):
                tally.wrong.append(f"{name} {question}: a refusal without a word")
        except TooSlow:
            where = traceback.format_exc(limit=-3)
            tally.wrong.append(f"{name} {question}: more than {MOST_SECONDS} s of processor time\n{where}")
        except Exception:
            tally.wrong.append(f"{name} {question}: {traceback.format_exc(limit=-6)}")
        took = time.process_time() - started
        if took > tally.worst:
            tally.worst, tally.worst_at = took, f"{name} {question}"
            if took > MOST_SECONDS:
                tally.wrong.append(f"{name} {question}: {took:.1f} s of processor time")


def _late(number: int, frame: FrameType | None) -> None:
    raise TooSlow


def watch_time() -> None:
    """Let the timers that `Fuzzer` sets end a question."""
    signal.signal(signal.SIGPROF, _late)


def grown() -> int:
    """The most bytes this process ever had in memory."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10


DONE, AT, BEAT, WRONG, ASKED, REFUSED, WORST, MEMORY, OVER = range(9)


def worker(seed: int, first: int, stop: int, step: int, board: SynchronizedArray) -> None:  # type: ignore[type-arg]
    """Images first, first + step, ...: what comes of each is on the board, what is wrong is printed."""
    watch_time()
    resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        fuzzer = Fuzzer(seed, Path(folder))
        tally = fuzzer.tally
        gc.freeze()
        for number in range(first, stop, step):
            board[AT], board[BEAT] = number, time.monotonic()
            fuzzer.run(number)
            size = grown()
            if size > MOST_BYTES:
                tally.wrong.append(f"--seed {seed} --only {number}: the process has had {size >> 20} MiB in memory")
            for wrong in tally.wrong:
                os.write(1, f"WRONG {wrong}\n".encode("utf-8", "replace"))
            board[DONE] += 1
            board[WRONG] += len(tally.wrong)
            board[ASKED] += tally.asked
            board[REFUSED] += tally.refused
            if tally.worst > board[WORST]:
                board[WORST] = tally.worst
                if tally.worst > 1:
                    os.write(1, f"slowest so far: {tally.worst:.2f} s, {tally.worst_at}\n".encode())
            board[MEMORY] = max(board[MEMORY], size)
            tally.asked = tally.refused = 0
            tally.wrong.clear()
            if size > MOST_BYTES:  # what is measured is the most there ever was: begin anew
                return
        board[OVER] = 1


class Crew:
    """The workers and what they told; a worker that hangs or dies is noted with its image, and the next goes on."""

    def __init__(self, seed: int, images: int, jobs: int, first: int = 0) -> None:
        self.seed, self.images, self.jobs, self.first = seed, images, jobs, first
        self.context = mp.get_context("fork")
        self.boards = [self.context.Array("d", 9) for _ in range(jobs)]
        self.processes = [self._start(job, first + job) for job in range(jobs)]

    def _start(self, job: int, number: int) -> mp.process.BaseProcess:
        self.boards[job][BEAT] = time.monotonic()
        stop = self.first + self.images
        process = self.context.Process(target=worker, args=(self.seed, number, stop, self.jobs, self.boards[job]))
        process.start()
        return process

    def run(self, every: float = 30.0) -> int:
        """Watch until all images are done, with a line ``every`` so many seconds; how much was wrong."""
        started, told = time.monotonic(), 0.0
        while not all(board[OVER] for board in self.boards):
            time.sleep(0.2)
            for job, (board, process) in enumerate(zip(self.boards, self.processes, strict=True)):
                if not board[OVER]:
                    self._look(job, board, process)
            if time.monotonic() - told > every:
                told = time.monotonic()
                print(self.line(time.monotonic() - started), flush=True)
        for process in self.processes:
            process.join()
        print("done: " + self.line(time.monotonic() - started), flush=True)
        return int(sum(board[WRONG] for board in self.boards))

    def _look(self, job: int, board: SynchronizedArray, process: mp.process.BaseProcess) -> None:  # type: ignore[type-arg]
        hangs = time.monotonic() - board[BEAT] > HANG
        if process.is_alive() and not hangs:
            return
        if process.is_alive():
            process.kill()
        process.join()
        if board[OVER]:
            return
        at = int(board[AT])
        if process.exitcode:  # one that grew too large has said so itself
            how = "hangs" if hangs else f"ended its process with {process.exitcode}"
            print(f"WRONG --seed {self.seed} --only {at}: {how}", flush=True)
            board[WRONG] += 1
            board[DONE] += 1
        if at + self.jobs >= self.first + self.images:
            board[OVER] = 1
        else:
            self.processes[job] = self._start(job, at + self.jobs)

    def line(self, seconds: float) -> str:
        """How far it is."""
        done, wrong, asked, refused = (
            int(sum(board[n] for board in self.boards)) for n in (DONE, WRONG, ASKED, REFUSED)
        )
        worst, size = max(board[WORST] for board in self.boards), max(board[MEMORY] for board in self.boards)
        return (
            f"{done} of {self.images} images, {asked} questions, {refused} refused, {wrong} wrong; "
            f"slowest {worst:.2f} s, most memory {int(size) >> 20} MiB; "
            f"{seconds:.0f} s, {done / max(seconds, 0.001):.0f} images/s"
        )
