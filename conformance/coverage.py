"""Which cases are worth keeping: a few for each thing that can decide an access.

Many are made and asked of the batch translator under every set of extensions; of those that look alike - the same
rules broken, the same level, kind, privilege, bits of the PTE - a few stay.  Then every PTE that none of them reads is
taken out of the tables.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from conformance.compare import expect_from_batch
from conformance.corners import make_corners
from conformance.directed import make_directed
from conformance.generate import Batch, make_batch, naive_walk, parts
from conformance.layout import MPP_SHIFT, OP_KIND
from conformance.spaces import make_spaces
from conformance.tables import Words, page_of, ptes_at
from pagebook.batch import STATUS
from pagebook.mmu import RULES, Extensions
from pagebook.sv import RWX, Format, R, U, V, W, X

U64 = np.uint64
SEED = 2026
RANDOM, SPACES = 10_000, 6_000
PERMISSION = np.array([STATUS[rule.id] for rule in RULES.values() if rule.step in (6, 7)] + [0], np.uint8)


def chosen_batches(format: Format, every: list[Extensions]) -> Iterator[Batch]:
    """One batch of each sort for a format, cut down to what covers."""
    widest = every[-1]
    yield _cut(make_directed(format, widest), every)
    yield _cut(make_corners(format, widest), every)
    yield _cut(make_batch(format, widest, SEED, RANDOM), every)
    yield _cut(make_spaces(format, widest, SEED, SPACES), every)


def _cut(batch: Batch, every: list[Extensions]) -> Batch:
    answers = [expect_from_batch(replace(batch, extensions=extensions)) for extensions in every]
    statuses = np.stack([answer.status for answer in answers], axis=1)
    cases = batch.cases[_chosen(batch, statuses)]
    tables = batch.tables if batch.listable else _read_only(batch, cases)
    return replace(batch, tables=tables, cases=cases)


def _chosen(batch: Batch, statuses: npt.NDArray[np.uint8]) -> npt.NDArray[np.intp]:
    """Two cases of each coarse likeness, one of each fine one."""
    order = np.random.default_rng(SEED).permutation(len(batch.cases))
    fine, coarse = _likeness(batch, statuses)
    picked = [_first(fine[order], 1), _first(coarse[order], 2)]
    return np.sort(order[np.unique(np.concatenate(picked))])


def _first(keys: npt.NDArray[np.int64], count: int) -> npt.NDArray[np.intp]:
    """The places of the first ``count`` of each different row."""
    kinds = np.unique(keys, axis=0, return_inverse=True)[1].reshape(-1)
    by_kind = np.argsort(kinds, kind="stable")
    starts = np.flatnonzero(np.diff(kinds[by_kind], prepend=-1))
    rank = np.arange(len(kinds)) - np.repeat(starts, np.diff(np.append(starts, len(kinds))))
    return by_kind[rank < count]


def _likeness(batch: Batch, statuses: npt.NDArray[np.uint8]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """What makes cases alike, finely and coarsely: two arrays with a row for each case."""
    cases = batch.cases
    walk = naive_walk(cases["va"], cases["satp"], batch.tables, batch.format)
    pte = ptes_at(batch.tables, walk.at, batch.format)
    first, second = parts(cases)
    straddles = first != second
    other = np.where(straddles, ptes_at(batch.tables, cases["pte"][:, 1], batch.format) & U64(0xFF), U64(0))
    rules = np.unique(statuses, axis=0, return_inverse=True)[1].reshape(-1)
    regime = (cases["mstatus"] >> np.uint32(MPP_SHIFT)) & np.uint32(0x1FF)
    matters = np.isin(statuses, PERMISSION).any(axis=1)
    regime = np.where(matters, regime, 0)
    kind = OP_KIND[cases["op"]]
    frame = _frame(pte, walk.level, batch.format)
    page = np.where(pte >> U64(63) != 0, cases["va"] >> U64(12) & U64(15), U64(0))
    rights = pte & np.where(matters, U64(V | R | W | X | U), U64(V | RWX))
    coarse = [rules, walk.level, kind, straddles, regime]
    fine = [rules, walk.level, np.where(matters, kind, 0), straddles, regime & 0xC3]
    fine += [frame, pte >> U64(54), rights]
    if batch.name == "spaces":
        fine += [page]
    if batch.name == "corners":
        fine += [other, cases["va"] >> U64(batch.format.va_bits - 2)]
    return _rows(fine), _rows(coarse)


def _rows(columns: list[npt.NDArray[Any]]) -> npt.NDArray[np.int64]:
    return np.stack([column.astype(np.int64) for column in columns], axis=1)


def _frame(pte: Words, level: npt.NDArray[np.uint8], format: Format) -> Words:
    """What of the frame number decides: its lowest set bit in a superpage, its low four bits with N."""
    ppn = pte >> U64(10) & U64(format.ppn_mask)
    lowest = np.log2(np.maximum(ppn & (~ppn + U64(1)), U64(1)).astype(np.float64)).astype(np.uint64)
    lowest = np.minimum(lowest, level.astype(np.uint64) * U64(format.index_bits))
    return np.where(pte >> U64(63) != 0, ppn & U64(15), np.where(pte & U64(RWX) != 0, lowest, U64(0)))


def _read_only(batch: Batch, cases: npt.NDArray[np.void]) -> Words:
    """The tables with only those PTEs that some case reads."""
    used = np.zeros_like(batch.tables, dtype=np.bool_)
    format = batch.format
    for va in parts(cases):
        table = (cases["satp"] & U64(format.ppn_mask)) << U64(12)
        for _, shift in format.steps:
            page, inside = page_of(table)
            index = (va >> U64(shift) & U64(format.index_mask)).astype(np.intp)
            used[page[inside], index[inside]] = True
            pte = batch.tables[page, index]
            go = inside & (pte & U64(V | RWX) == V)
            table = np.where(go, (pte >> U64(10) & U64(format.ppn_mask)) << U64(12), U64(0))
    return np.where(used, batch.tables, U64(0))
