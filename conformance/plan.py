"""Which batches a run makes: every format with every set of extensions that changes it."""

from __future__ import annotations

from collections.abc import Iterator

from conformance.directed import make_directed
from conformance.generate import Batch, harmless, make_batch
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
    """In each round a random batch of ``cases`` for every combination; the directed ones come with the first round."""
    for seed in range(first_seed, first_seed + rounds):
        for format, extensions in combinations():
            yield make_batch(format, extensions, seed, cases)
            if seed == first_seed:
                yield only_harmless(make_directed(format, extensions))


def only_harmless(batch: Batch) -> Batch:
    """The batch without cases that could overwrite the probe."""
    return Batch(
        batch.format, batch.extensions, batch.seed, batch.tables,
        batch.cases[harmless(batch.cases, batch.tables, batch.format)],
    )  # fmt: skip
