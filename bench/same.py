"""Whether the contestants did the same work: a bench that compares different work is worthless."""

from __future__ import annotations

import numpy as np

from pagebook.xv6.memlayout import KERNBASE


class Different(Exception):
    """Two contestants did not come to the same result; the message says where they part."""


def check_equal(what: str, results: dict[str, object]) -> None:
    """Different unless every contestant gives the same for ``what``."""
    first, *others = results
    for other in others:
        if results[other] != results[first]:
            raise Different(f"{what}: {first} gives {_text(results[first])}, {other} gives {_text(results[other])}")


def _text(value: object) -> str:
    return hex(value) if isinstance(value, int) else str(value)


def check_ram(what: str, rams: dict[str, memoryview]) -> None:
    """Different, with the first word that is not the same, unless all of RAM is."""
    first, *others = rams
    ours = np.frombuffer(rams[first], dtype="<u8")
    for other in others:
        theirs = np.frombuffer(rams[other], dtype="<u8")
        unequal = ours != theirs
        if unequal.any():
            at = int(unequal.argmax())
            raise Different(
                f"{what}: the word at {KERNBASE + at * 8:#x} is {int(ours[at]):#x} after {first} and "
                f"{int(theirs[at]):#x} after {other}"
            )


def check_arrays(what: str, arrays: dict[str, np.ndarray]) -> None:
    """Different, with the first row that is not the same, unless all arrays are equal."""
    first, *others = arrays
    for other in others:
        ours, theirs = arrays[first], arrays[other]
        check_equal(f"{what}, how many", {first: len(ours), other: len(theirs)})
        unequal = (ours != theirs).reshape(len(ours), -1).any(axis=1)
        if unequal.any():
            at = int(unequal.argmax())
            raise Different(f"{what}: row {at} is {ours[at]} from {first} and {theirs[at]} from {other}")
