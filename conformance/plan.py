"""Which batches a run makes: every format with every set of extensions that changes it."""

from __future__ import annotations

from collections.abc import Iterator

from conformance.corners import make_corners
from conformance.directed import make_directed
from conformance.generate import Batch, make_batch
from conformance.spaces import make_spaces
from pagebook.mmu import Extensions
from pagebook.sv import SV32, SV39, SV48, SV57, Format


def combinations() -> list[tuple[Format, Extensions]]:
    """26 pairs: Svade and Svadu, and for the 64-bit formats with and without Svnapot and Svpbmt."""
    wide = [
        (format, Extensions(svadu, svnapot, svpbmt))
        for format in (SV39, SV48, SV57)
        for svadu in (False, True)
        for svnapot in (False, True)
        for svpbmt in (False, True)
    ]
    return [(SV32, Extensions(False)), (SV32, Extensions(True)), *wide]


def batches(cases: int, first_seed: int, rounds: int) -> Iterator[Batch]:
    """In each round random graphs and listable spaces for every combination; what is directed comes with the first."""
    for seed in range(first_seed, first_seed + rounds):
        for format, extensions in combinations():
            yield make_batch(format, extensions, seed, cases)
            yield make_spaces(format, extensions, seed, max(1, cases // 2))
            if seed == first_seed:
                yield make_directed(format, extensions)
                yield make_corners(format, extensions)
