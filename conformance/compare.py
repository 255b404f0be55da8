"""Our two translators beside a machine's results: what each case should have left, and where they differ."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from conformance.generate import Batch
from conformance.layout import (
    MPP_SHIFT,
    MXR,
    NONE,
    OP_BYTES,
    OP_FETCH,
    OP_KIND,
    RAM,
    RAM_BYTES,
    RESULT,
    SUM,
    WITNESS_SLOT,
)
from conformance.tables import pieces, ptes_at
from pagebook.batch import STATUS, Rows, answer
from pagebook.memory import Memory, Region
from pagebook.mmu import Kind, Mmu, Part, Regime
from pagebook.sv import A, D

U64 = np.uint64
Results = npt.NDArray[np.void]
Flags = npt.NDArray[np.bool_]
PRIVILEGE = {0: "U", 1: "S", 3: "M"}


@dataclass
class Expected:
    """What one translator says each case leaves: results as the probe would write them, and the broken rules.

    ``loose`` marks PTEs whose A and D may be either way: the access itself had no memory.
    """

    results: Results
    status: npt.NDArray[np.uint8]
    loose: npt.NDArray[np.bool_] = field(repr=False)


def memory_of(batch: Batch) -> Memory:
    """The machine's RAM with the batch's tables in it; the same one again while the tables are the same."""
    global _last
    tables, memory = _last
    if tables is not batch.tables:
        memory = _filled(batch)
        _last = batch.tables, memory
    return memory


_last: tuple[object, Memory] = (None, Memory([]))


def _filled(batch: Batch) -> Memory:
    ram = bytearray(RAM_BYTES)
    for at, data in pieces(batch.tables, batch.format):
        ram[at - RAM : at - RAM + len(data)] = data
    return Memory([Region(RAM, ram)])


def rows_of(batch: Batch) -> Rows:
    """The cases as the batch translator takes them."""
    cases = batch.cases
    mstatus = cases["mstatus"]
    return Rows(
        satp=cases["satp"],
        va=cases["va"],
        priv=(mstatus >> np.uint32(MPP_SHIFT) & 3).astype(np.uint8),
        sum=mstatus & np.uint32(SUM) != 0,
        mxr=mstatus & np.uint32(MXR) != 0,
        kind=OP_KIND[cases["op"]],
        size=OP_BYTES[cases["op"]],
    )


def expect_from_batch(batch: Batch) -> Expected:
    """What `pagebook.batch` says."""
    memory, rows, xlen = memory_of(batch), rows_of(batch), batch.format.xlen
    whole = answer(memory, batch.extensions, rows, xlen)
    first = np.minimum(rows.size, U64(4096) - (rows.va & U64(4095)))
    first = np.where(rows.kind == Kind.AMO, rows.size, first)  # a misaligned one touches no page
    pages = [answer(memory, batch.extensions, rows._replace(size=first), xlen)]
    at = rows.va + first & U64((1 << xlen) - 1)
    straddles = first < rows.size
    rest = rows._replace(va=np.where(straddles, at, rows.va), size=np.where(straddles, rows.size - first, first))
    pages.append(answer(memory, batch.extensions, rest, xlen))
    out = _blank(batch)
    good = whole.cause == 0
    out["cause"] = np.where(good, NONE, whole.cause.astype(np.uint64))
    out["tval"] = whole.tval
    out["pte"] = _ptes(batch)
    loose = np.zeros((len(out), 2), np.bool_)
    reached = np.ones(len(out), np.bool_)
    for number, page in enumerate(pages):
        made = reached & (straddles if number else True) & (batch.cases["pte"][:, number] != 0)
        walked = made & (page.pte_pa == batch.cases["pte"][:, number])
        out["pte"][walked, number] = page.pte_after[walked]
        loose[:, number] = page.status == STATUS["target-outside"]
        out["witness"][:, number] = np.where(
            good & (straddles if number else True), page.pa & ~U64(0xFFF) | U64(WITNESS_SLOT), NONE
        )
        reached = reached & (page.cause == 0)
    _finish(batch, out, loose, good, pages[0].pa)
    return Expected(out, whole.status, loose)


def expect_from_scalar(batch: Batch) -> Expected:
    """What `pagebook.mmu` says, a case at a time."""
    memory = memory_of(batch)
    mmu = Mmu(memory, batch.extensions)
    out = _blank(batch)
    out["pte"] = _ptes(batch)
    status = np.zeros(len(out), np.uint8)
    loose = np.zeros((len(out), 2), np.bool_)
    pas = np.zeros(len(out), U64)
    columns = zip(*(column.tolist() for column in rows_of(batch)), batch.cases["pte"].tolist(), strict=True)
    for number, (satp, va, priv, sum_, mxr, kind, size, ptes) in enumerate(columns):
        regime = Regime(satp, PRIVILEGE[priv], sum_, mxr, batch.format.xlen)
        found = mmu.access(regime, Kind(kind), va, size)
        row = out[number]
        row["cause"] = NONE if found.cause is None else found.cause
        row["tval"] = found.tval
        status[number] = STATUS[found.rule.id] if found.rule else 0
        pas[number] = found.pa or 0
        for page, part in enumerate(found.parts):
            _page(row, loose[number], page, part, ptes[page], found.cause is None)
    _finish(batch, out, loose, out["cause"] == NONE, pas)
    return Expected(out, status, loose)


def _page(row: np.void, loose: npt.NDArray[np.bool_], page: int, part: Part, pte_pa: int, good: bool) -> None:
    leaf = part.leaf
    if leaf and leaf.pte_pa == pte_pa and part.after is not None:
        row["pte"][page] = part.after
    loose[page] = part.rule is not None and part.rule.id == "target-outside"
    if good and part.pa is not None:
        row["witness"][page] = part.pa & ~0xFFF | WITNESS_SLOT


def _blank(batch: Batch) -> Results:
    out = np.zeros(len(batch.cases), RESULT)
    out["witness"] = NONE
    return out


def _ptes(batch: Batch) -> npt.NDArray[np.uint64]:
    """The PTEs that the probe writes down, as they were."""
    return ptes_at(batch.tables, batch.cases["pte"], batch.format)


def _finish(
    batch: Batch, out: Results, loose: npt.NDArray[np.bool_], good: npt.NDArray[np.bool_], pas: npt.NDArray[np.uint64]
) -> None:
    """One PTE for both pages of a superpage, and the value that a good load, AMO or fetch brings back.

    A fetch has no witness: its value names the frame.
    """
    op, size = batch.cases["op"], OP_BYTES[batch.cases["op"]]
    fetch = op == OP_FETCH
    out["witness"][fetch] = NONE
    same = (batch.cases["pte"][:, 0] == batch.cases["pte"][:, 1]) & (batch.cases["pte"][:, 0] != 0)
    out["pte"][same] = (out["pte"][same, 0] | out["pte"][same, 1])[:, None]
    loose[same] = loose[same].any(axis=1)[:, None]
    brings = good & ~fetch & (OP_KIND[op] != Kind.STORE) & (out["witness"][:, 1] == NONE)
    low = pas & U64(7)
    word = pas & ~U64(7)
    shifted = word >> (low * U64(8))
    over = low + size > 8
    upper = np.where(over, (word + U64(8)) << ((U64(8) - low) * U64(8) & U64(63)), U64(0))
    value = (shifted | upper) & np.where(size == 8, NONE, (U64(1) << (size * U64(8) & U64(63))) - U64(1))
    if batch.format.xlen == 32:
        value &= U64(0xFFFF_FFFF)
    amo4 = (OP_KIND[op] == Kind.AMO) & (size == 4)
    value = np.where(amo4 & (value >> U64(31) != 0) & (batch.format.xlen == 64), value | U64(0xFFFF_FFFF << 32), value)
    out["value"] = np.where(brings, value, U64(0))
    lui = pas & U64(0xFFFF_F000)
    if batch.format.xlen == 64:
        lui = np.where(lui >> U64(31) != 0, lui | U64(0xFFFF_FFFF << 32), lui)
    out["value"][fetch & good] = lui[fetch & good]


def differences(machine: Results, ours: Expected, batch: Batch) -> npt.NDArray[np.bool_]:
    """Which cases differ; what a store leaves in its register, and the value of a straddling load, do not count."""
    mine = ours.results
    op = batch.cases["op"]
    straddles = batch.cases["va"] & U64(0xFFF)
    compared = (OP_KIND[op] != Kind.STORE) & (straddles + OP_BYTES[op] <= 4096)
    bad = (machine["cause"] != mine["cause"]) | (machine["tval"] != mine["tval"])
    bad |= (machine["witness"] != mine["witness"]).any(axis=1)
    bad |= compared & (machine["value"] != mine["value"])
    free = np.where(ours.loose, U64(A | D), U64(0))
    bad |= (machine["pte"] & ~free != mine["pte"] & ~free).any(axis=1)
    return bad
