"""``python -m conformance``: run the cases on a machine and on our translators, count, and fail on any disagreement."""

from __future__ import annotations

import argparse
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

from conformance.generate import Batch
from conformance.layout import MOST_CASES
from conformance.machines import MACHINES, MachineMissing, Results
from conformance.plan import batches, combinations
from conformance.report import Report, report_on

WORKERS = 2


def main() -> int:
    """The command; 0 when every case agrees."""
    options = _options()
    run = MACHINES[options.machine]
    total, done = Report(), 0
    count = (options.rounds + 1) * len(combinations())
    try:
        for report in _in_turn(batches(options.cases, options.seed, options.rounds), run):
            total.add(report)
            done += 1
            wrong = sum(total.disagreements.values())
            print(f"\rbatch {done} of {count}, {total.cases:,} cases, {wrong} disagreements", end="", file=sys.stderr)
    except MachineMissing as missing:
        print(missing, file=sys.stderr)
        return 2
    print(file=sys.stderr)
    print(total.text())
    return 1 if sum(total.disagreements.values()) else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m conformance", description=__doc__)
    parser.add_argument("--cases", type=_case_count, default=8000, help="random cases in each batch (default 8000)")
    parser.add_argument("--rounds", type=int, default=1, help="random batches for each format and set of extensions")
    parser.add_argument("--seed", type=int, default=1, help="the first round's seed; later rounds count on from it")
    parser.add_argument("--machine", choices=sorted(MACHINES), default="spike")
    return parser.parse_args()


def _case_count(text: str) -> int:
    count = int(text)
    if not 1 <= count <= MOST_CASES:
        raise argparse.ArgumentTypeError(f"the probe has room for 1 to {MOST_CASES} cases")
    return count


def _in_turn(work: Iterable[Batch], run: Callable[[Batch], Results]) -> Iterator[Report]:
    """The reports in the order of the batches, two in the making at a time."""
    with ThreadPoolExecutor(WORKERS) as pool:
        pending: deque[Future[Report]] = deque()
        for batch in work:
            pending.append(pool.submit(lambda batch: report_on(batch, run(batch)), batch))
            if len(pending) > WORKERS:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()


if __name__ == "__main__":
    sys.exit(main())
