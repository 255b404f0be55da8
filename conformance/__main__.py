"""``python -m conformance``: run the cases on a machine and on our translators, count, and fail on any disagreement."""

from __future__ import annotations

import argparse
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from conformance import golden, opinion, plan
from conformance.generate import Batch
from conformance.layout import MOST_CASES
from conformance.machines import MACHINES, MachineMissing, Results
from conformance.opinion import Opinion, opinion_on
from conformance.report import Report, report_on

WORKERS = 2
Finding = TypeVar("Finding", Report, Opinion)


def main() -> int:
    """The command; 0 when every case agrees, or with QEMU when every disagreement is a known one."""
    options = _options()
    run = MACHINES[options.machine]
    try:
        if options.record:
            golden.record(run)
            return 0
        if options.machine == "qemu":
            return _second_opinion(options, run)
        return _proof(options, run)
    except MachineMissing as missing:
        print(missing, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nstopped", file=sys.stderr)
        return 130


def _proof(options: argparse.Namespace, run: Callable[[Batch], Results]) -> int:
    total = Report()
    work = plan.batches(options.cases, options.seed, options.rounds)
    for report in _in_turn(work, lambda batch: report_on(batch, run(batch))):
        total.add(report)
        _progress(f"{total.cases:,} cases, {total.wrong} disagreements")
    print(total.text())
    return 1 if total.wrong else 0


def _second_opinion(options: argparse.Namespace, run: Callable[[Batch], Results]) -> int:
    total = Opinion()
    work = opinion.batches(options.cases, options.seed, options.rounds)
    for found in _in_turn(work, lambda batch: opinion_on(batch, run(batch))):
        total.add(found)
        _progress(f"{total.cases:,} cases, {total.unexplained} unexplained")
    print(total.text())
    return 1 if total.unexplained else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m conformance", description=__doc__)
    parser.add_argument("--cases", type=_case_count, default=8000, help="random cases in each batch (default 8000)")
    parser.add_argument("--rounds", type=int, default=1, help="random batches for each format and set of extensions")
    parser.add_argument("--seed", type=int, default=1, help="the first round's seed; later rounds count on from it")
    parser.add_argument("--machine", choices=sorted(MACHINES), default="spike")
    parser.add_argument("--record", action="store_true", help="choose the golden vectors anew and write golden/")
    return parser.parse_args()


def _case_count(text: str) -> int:
    count = int(text)
    if not 1 <= count <= MOST_CASES:
        raise argparse.ArgumentTypeError(f"the probe has room for 1 to {MOST_CASES} cases")
    return count


def _progress(text: str) -> None:
    """One line that changes, for people; nothing in a log."""
    if sys.stderr.isatty():
        print(f"\r{text} ", end="", file=sys.stderr, flush=True)


def _in_turn(work: Iterable[Batch], judge: Callable[[Batch], Finding]) -> Iterator[Finding]:
    """The findings in the order of the batches, two in the making at a time."""
    pool = ThreadPoolExecutor(WORKERS)
    try:
        pending: deque[Future[Finding]] = deque()
        for batch in work:
            pending.append(pool.submit(judge, batch))
            if len(pending) > WORKERS:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
        _progress("\n")


if __name__ == "__main__":
    sys.exit(main())
