"""QEMU as a second opinion: every disagreement is one of the deviations listed here, or it fails.

QEMU 7.2 sets A and D itself and has no way to be told not to, so only Svadu is asked.  Where it is known to read a PTE
differently, our translator is given the PTE as QEMU reads it, and must then agree in everything; what is left has to be
exactly one of the other deviations.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from conformance.compare import Expected, Flags, Results, differences, expect_from_batch
from conformance.corners import make_corners
from conformance.directed import make_directed
from conformance.generate import Batch, harmless, in_window, make_batch, naive_walk, parts
from conformance.layout import MPP_SHIFT, OP_BYTES, OP_KIND, RAM, RAM_BYTES
from conformance.plan import combinations
from conformance.spaces import make_spaces
from conformance.tables import Words, ptes_at
from pagebook.batch import STATUS
from pagebook.mmu import ACCESS_FAULT, PAGE_FAULT, Kind
from pagebook.sv import RWX, A, D

U64 = np.uint64
N, PBMT, RESERVED = 1 << 63, 3 << 61, 0x7F << 54
CODE_END = 0x8000_8000  # the probe's own pages go from the start of RAM to here


@dataclass(frozen=True)
class Reading:
    """What is needed to judge: the batch and our answer, with the PTEs as they are and as QEMU reads them."""

    batch: Batch
    machine: Results
    ours: Expected
    view: Expected

    def rest_equal(self, *but: str, pte: Words | None = None) -> Flags:
        """Where everything but the named columns is as in the view; ``pte`` is what may be set in PTEs besides."""
        machine, mine = self.machine.copy(), replace(self.view, results=self.view.results.copy())
        for name in but:
            machine[name] = mine.results[name]
        if pte is not None:
            machine["pte"] &= ~pte[:, None]
            mine.results["pte"] &= ~pte[:, None]
        return ~differences(machine, mine, self.batch)


@dataclass(frozen=True)
class Deviation:
    """A way in which QEMU is known to differ: what it does, and what the specification says."""

    id: str
    does: str
    says: str
    explains: Callable[[Reading], Flags]


def _ignores_reserved(tables: Words, batch: Batch) -> Words:
    extended = batch.extensions.svnapot or batch.extensions.svpbmt
    return tables & ~U64(RESERVED) if extended and batch.format.xlen == 64 else tables


def _ignores_n(tables: Words, batch: Batch) -> Words:
    ignored = batch.extensions.svpbmt and not batch.extensions.svnapot and batch.format.xlen == 64
    return np.where(tables & U64(RWX) != 0, tables & ~U64(N), tables) if ignored else tables


def _takes_pbmt_3(tables: Words, batch: Batch) -> Words:
    if not batch.extensions.svpbmt or batch.format.xlen == 32:
        return tables
    three = (tables & U64(PBMT) == U64(PBMT)) & (tables & U64(RWX) != 0)
    return np.where(three, tables & ~U64(1 << 61), tables)


def _drops_ppn_bits(tables: Words, batch: Batch) -> Words:
    leaf = (tables & U64(RWX) != 0) & (batch.format.xlen == 32)
    return np.where(leaf, tables & ~U64(3 << 30), tables)


READINGS = (_ignores_reserved, _ignores_n, _takes_pbmt_3, _drops_ppn_bits)
ReadAs = Callable[[Words, Batch], Words]


def _tables_as_read(batch: Batch, readings: tuple[ReadAs, ...] = READINGS) -> Words:
    """The PTEs as QEMU reads them."""
    tables = batch.tables
    for read in readings:
        tables = read(tables, batch)
    return tables


def view_of(batch: Batch, readings: tuple[ReadAs, ...] = READINGS) -> Expected:
    """Our answers with the PTEs as QEMU reads them; what it does not read stays in the PTE."""
    tables = _tables_as_read(batch, readings)
    view = expect_from_batch(replace(batch, tables=tables))
    lost = batch.tables ^ tables
    for number in (0, 1):
        view.results["pte"][:, number] ^= ptes_at(lost, batch.cases["pte"][:, number], batch.format)
    return view


def _reads(*readings: ReadAs) -> Callable[[Reading], Flags]:
    """Explains the cases that come out right once the PTEs are read so."""

    def explains(reading: Reading) -> Flags:
        return ~differences(reading.machine, view_of(reading.batch, readings), reading.batch)

    return explains


def _kind(reading: Reading) -> npt.NDArray[np.uint8]:
    return OP_KIND[reading.batch.cases["op"]]


def _broke(reading: Reading, *rules: str) -> Flags:
    return np.isin(reading.view.status, [STATUS[rule] for rule in rules])


def _amo_page_fault(reading: Reading) -> Flags:
    """The load half faults first; a bad 64 KiB page has its A set on the way."""
    amo = _kind(reading) == Kind.AMO
    page = (reading.view.results["cause"] == PAGE_FAULT[Kind.AMO]) & (reading.machine["cause"] == PAGE_FAULT[Kind.LOAD])
    return amo & page & reading.rest_equal("cause", pte=np.where(_broke(reading, "napot-reserved"), U64(A), U64(0)))


def _amo_not_writable(reading: Reading) -> Flags:
    """The load half succeeds and sets A, then the store half finds W = 0."""
    amo = (_kind(reading) == Kind.AMO) & _broke(reading, "not-writable")
    a_set = (reading.machine["pte"] & U64(A) != 0).any(axis=1)
    return amo & a_set & reading.rest_equal(pte=np.full(len(amo), A, np.uint64))


def _satp(cases: npt.NDArray[np.void]) -> Words:
    """satp as it counts: M-mode is not translated."""
    direct = cases["mstatus"] >> np.uint32(MPP_SHIFT) & 3 == 3
    return np.where(direct, U64(0), cases["satp"])


def _amo_access_fault(reading: Reading) -> Flags:
    """The load half has no memory: cause 5, whatever the store half would have met."""
    case = reading.batch.cases
    pa = naive_walk(case["va"], _satp(case), _tables_as_read(reading.batch), reading.batch.format).pa
    nowhere = (pa < U64(RAM)) | (pa >= U64(RAM + RAM_BYTES))
    load = reading.machine["cause"] == ACCESS_FAULT[Kind.LOAD]
    amo = (_kind(reading) == Kind.AMO) & load & nowhere
    free = np.full(len(amo), A | D, np.uint64)
    return amo & _broke(reading, "target-outside", "not-writable") & reading.rest_equal("cause", pte=free)


def _amo_misaligned(reading: Reading) -> Flags:
    misaligned = _broke(reading, "amo-misaligned") & (reading.machine["cause"] == 4)
    return misaligned & reading.rest_equal("cause")


def _table_outside(reading: Reading) -> Flags:
    kind = np.where(_kind(reading) == Kind.AMO, Kind.LOAD, _kind(reading))
    page = np.array([PAGE_FAULT[one] for one in Kind], np.uint64)[kind]
    return _broke(reading, "table-outside") & (reading.machine["cause"] == page) & reading.rest_equal("cause")


def _napot_accessed(reading: Reading) -> Flags:
    """A (and D, by a store) is set before the 64 KiB page is found to be wrong."""
    free = np.where(_kind(reading) == Kind.STORE, U64(A | D), U64(A))
    return _broke(reading, "napot-reserved") & reading.rest_equal(pte=free)


def _misaligned_tval(reading: Reading) -> Flags:
    """A misaligned load without memory behind it is made as two aligned ones, and tval names the first."""
    case = reading.batch.cases
    aligned = case["va"] & ~(OP_BYTES[case["op"]] - U64(1))
    load = (_kind(reading) == Kind.LOAD) & (aligned != case["va"]) & (reading.machine["tval"] == aligned)
    return load & _broke(reading, "target-outside") & reading.rest_equal("tval")


def _second_page_first(reading: Reading) -> Flags:
    """No memory behind the first page of a straddling access, but the second is translated before that is seen."""
    first, second = parts(reading.batch.cases)
    mask = U64((1 << reading.batch.format.xlen) - 1)
    outside = (first != second) & _broke(reading, "target-outside") & (reading.view.results["tval"] == first)
    page = np.isin(reading.machine["cause"], [PAGE_FAULT[Kind.LOAD], PAGE_FAULT[Kind.STORE]])
    faults = page & (reading.machine["tval"] == second & mask) & reading.rest_equal("cause", "tval")
    sets = reading.rest_equal(pte=np.where(_kind(reading) == Kind.STORE, U64(A | D), U64(A)))
    return outside & (faults | sets)


DEVIATIONS = (
    Deviation(
        "reserved-bits-ignored",
        "ignores bits 60 to 54 of any PTE once Svnapot or Svpbmt is on",
        "they are reserved and must be zero, else a page fault (Sv39, step 3)",
        _reads(_ignores_reserved),
    ),
    Deviation(
        "n-ignored",
        "ignores N in a leaf without Svnapot once Svpbmt is on",
        "without Svnapot, N must be zero, else a page fault (Sv39)",
        _reads(_ignores_n),
    ),
    Deviation(
        "pbmt-3-taken",
        "takes PBMT = 3",
        "3 is reserved: a page fault (Svpbmt)",
        _reads(_takes_pbmt_3),
    ),
    Deviation(
        "sv32-32-bit-address",
        "drops the top two bits of a leaf's PPN",
        "an Sv32 physical address has 34 bits (Sv32)",
        _reads(_drops_ppn_bits),
    ),
    Deviation(
        "several-readings",
        "more than one of the above in one case",
        "as above",
        _reads(*READINGS),
    ),
    Deviation(
        "amo-page-fault-as-load",
        "reports an AMO's page fault as cause 13",
        "an AMO raises store/AMO page faults, cause 15 (mcause; the A extension)",
        _amo_page_fault,
    ),
    Deviation(
        "amo-reads-first",
        "sets A at an AMO on a page that is not writable, before it faults",
        "left open: A may be set ahead of an access that then faults, D may not (Svade, Svadu)",
        _amo_not_writable,
    ),
    Deviation(
        "amo-access-fault-as-load",
        "reports an AMO without memory behind it as cause 5",
        "an AMO raises store/AMO access faults, cause 7, and a page fault comes before it",
        _amo_access_fault,
    ),
    Deviation(
        "amo-misaligned-as-load",
        "reports a misaligned AMO as cause 4",
        "cause 6, or 7 where it cannot be emulated, as on Spike",
        _amo_misaligned,
    ),
    Deviation(
        "table-outside-page-fault",
        "a PTE outside memory is a page fault (an AMO's as a load's)",
        "step 2 of the translation: an access fault of the original kind",
        _table_outside,
    ),
    Deviation(
        "napot-accessed",
        "sets A and D in a PTE with a reserved N encoding, then faults",
        "step 3 faults before step 9 sets anything; D above all must be exact",
        _napot_accessed,
    ),
    Deviation(
        "misaligned-tval",
        "rounds tval down at a misaligned load without memory behind it",
        "tval is the address of the part that faulted",
        _misaligned_tval,
    ),
    Deviation(
        "second-page-first",
        "translates the second page of a straddling access, and sets its A and D, before it sees that the first page "
        "has no memory",
        "left open: the order of the two parts is not specified",
        _second_page_first,
    ),
)


@dataclass
class Opinion:
    """Counts that add up: cases, agreements, each deviation, and what none explains."""

    cases: int = 0
    agree: int = 0
    known: Counter[str] = field(default_factory=Counter)
    unknown: list[str] = field(default_factory=list)
    unexplained: int = 0

    def add(self, other: Opinion) -> None:
        """Take in another batch's."""
        self.cases += other.cases
        self.agree += other.agree
        self.known += other.known
        self.unknown = (self.unknown + other.unknown)[:5]
        self.unexplained += other.unexplained

    def text(self) -> str:
        """A line for each deviation with its count, and the verdict."""
        lines = [f"{self.known[one.id]:10,}  {one.id:26}{one.does}" for one in DEVIATIONS]
        end = f"{self.cases:,} cases; {self.agree:,} agree, {self.known.total():,} deviate as known, "
        return "\n".join([*lines, *self.unknown, end + f"{self.unexplained:,} otherwise"])


def opinion_on(batch: Batch, machine: Results) -> Opinion:
    """Sort a batch's disagreements."""
    ours = expect_from_batch(batch)
    reading = Reading(batch, machine, ours, view_of(batch))
    left = differences(machine, ours, batch)
    found = Opinion(len(left), int(np.count_nonzero(~left)))
    for deviation in DEVIATIONS:
        here = left & deviation.explains(reading)
        found.known[deviation.id] += int(np.count_nonzero(here))
        left &= ~here
    found.unexplained = int(np.count_nonzero(left))
    found.unknown = [_words(reading, int(row)) for row in np.flatnonzero(left)[:5]]
    return found


def _words(reading: Reading, row: int) -> str:
    batch = reading.batch
    lines = [f"unknown: {batch.format.name} {batch.name} {batch.extensions} seed {batch.seed} {batch.cases[row]}"]
    for name in reading.machine.dtype.names or ():
        values = [
            np.atleast_1d(one[row][name]).tolist()
            for one in (reading.machine, reading.ours.results, reading.view.results)
        ]
        lines.append(
            f"  {name:8} "
            + ", ".join(
                f"{who} {' '.join(map(hex, v))}" for who, v in zip(("QEMU", "ours", "view"), values, strict=True)
            )
        )
    return "\n".join(lines)


def askable(batch: Batch) -> Batch:
    """The cases that QEMU can be asked.

    Not those that reach its PCI windows, by our reading or by its own; and not those on a page with the number of one
    that the probe runs on, for there QEMU 7.2 forgets to translate MPRV accesses, and the probe would overwrite itself.
    """
    cases = batch.cases
    fine = np.ones(len(cases), np.bool_)
    for tables in (batch.tables, _tables_as_read(batch)):
        fine &= harmless(cases, tables, batch.format)
        for va in parts(cases):
            va = va & U64((1 << batch.format.xlen) - 1)
            walk = naive_walk(va, _satp(cases), tables, batch.format)
            root = (cases["satp"] & U64(batch.format.ppn_mask)) << U64(12)
            fine &= ~in_window(walk.pa) & ~in_window(root)
            fine &= (va < U64(RAM)) | (va >= U64(CODE_END))
    return replace(batch, cases=cases[fine])


def batches(cases: int, first_seed: int, rounds: int) -> Iterator[Batch]:
    """As `plan.batches`, for what QEMU can express."""
    for seed in range(first_seed, first_seed + rounds):
        for format, extensions in combinations():
            if extensions.svadu:
                yield askable(make_batch(format, extensions, seed, cases))
                yield askable(make_spaces(format, extensions, seed, max(1, cases // 2)))
                if seed == first_seed:
                    yield askable(make_directed(format, extensions))
                    yield askable(make_corners(format, extensions))
