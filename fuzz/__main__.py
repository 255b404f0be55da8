"""``python -m fuzz --images N --seed S [--jobs J]``: so many images, every question asked of each; 1 if any was wrong.

``--only NUMBER`` makes one image again, and tells what is wrong with it.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from fuzz.work import Crew, Fuzzer, grown, watch_time


def main() -> int:
    """Run as the words say."""
    parser = argparse.ArgumentParser(prog="python -m fuzz")
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--first", type=int, default=0, help="the number of the first image")
    parser.add_argument("--only", type=int, help="this image alone, in this process")
    given = parser.parse_args()
    if given.only is None:
        return 1 if Crew(given.seed, given.images, given.jobs, given.first).run() else 0
    watch_time()
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        fuzzer = Fuzzer(given.seed, Path(folder))
        fuzzer.run(given.only)
        tally = fuzzer.tally
        print(*tally.wrong, sep="\n")
        print(f"{tally.asked} questions, slowest {tally.worst:.2f} s ({tally.worst_at}), {grown() >> 20} MiB")
        return 1 if tally.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
