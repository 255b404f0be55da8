"""What Spike did, recorded, beside what our translators say; no simulator is needed here."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from conformance import golden, listing
from conformance.compare import Results, differences, expect_from_batch, expect_from_scalar, memory_of, rows_of
from conformance.generate import Batch, naive_walk, parts
from conformance.layout import LAST, MPP_SHIFT, MXR, NONE, OP_KIND, OPERATIONS, SUM
from conformance.plan import combinations
from conformance.report import TRANSLATORS, disagreements, translators_of
from conformance.tables import page_of, ptes_at
from pagebook import batch as batch_room
from pagebook.batch import RULE_NAMES, answer, translate
from pagebook.mmu import RULES, Kind, Mmu, Regime
from pagebook.sv import FORMATS, RWX, Format, V

U64 = np.uint64
N, SOFTWARE = U64(1 << 63), U64(3 << 59)
WIDE = [fmt for fmt in FORMATS.values() if fmt.xlen == 64]
ONLY_WIDE = {"non-canonical", "reserved-bits", "n-reserved", "pbmt-reserved", "pbmt-3", "napot-reserved"}


@lru_cache
def recorded(format: Format) -> list[tuple[Batch, Results]]:
    return list(golden.recorded(format))


def names(batch: Batch) -> str:
    return f"{batch.format.name} {batch.name} {batch.extensions}"


@pytest.mark.parametrize("translator", TRANSLATORS)
@pytest.mark.parametrize("format", FORMATS.values(), ids=repr)
def test_every_recorded_case_comes_to_what_spike_made_of_it(format: Format, translator: str) -> None:
    wrong = {
        names(batch): count
        for batch, machine in recorded(format)
        if translator in translators_of(batch)
        if (count := int(np.count_nonzero(disagreements(batch, machine, translator))))
    }
    assert wrong == {}


@pytest.mark.parametrize("format", FORMATS.values(), ids=repr)
def test_every_set_of_extensions_is_recorded_for_every_sort_of_case(format: Format) -> None:
    found = {(batch.name, batch.extensions) for batch, _ in recorded(format)}
    every = {extensions for fmt, extensions in combinations() if fmt is format}
    assert found == {(name, e) for name in ("random", "directed", "corners", "spaces") for e in every}
    assert len(every) == (2 if format.xlen == 32 else 8)


def rules_met(format: Format) -> Iterator[tuple[str, int, int, int]]:
    """Rule (empty for success), level, kind and privilege of every recorded case."""
    for batch, _ in recorded(format):
        cases = batch.cases
        level = naive_walk(cases["va"], cases["satp"], batch.tables, format).level
        priv = cases["mstatus"] >> np.uint32(MPP_SHIFT) & 3
        columns = expect_from_batch(batch).status, level, OP_KIND[cases["op"]], priv
        for status, *rest in np.unique(np.stack([c.astype(np.int64) for c in columns], axis=1), axis=0).tolist():
            yield RULE_NAMES[status], *rest


@pytest.mark.parametrize("format", FORMATS.values(), ids=repr)
def test_the_recorded_cases_break_every_rule_and_succeed_in_every_way(format: Format) -> None:
    met = set(rules_met(format))
    assert {rule for rule, *_ in met} == {"", *RULES} - (set() if format.xlen == 64 else ONLY_WIDE)
    good = {found[1:] for found in met if not found[0]}
    assert good >= {(level, kind, priv) for level in range(format.levels) for kind in Kind for priv in (0, 1)}
    by_rule = {rule: {found[1] for found in met if found[0] == rule} for rule in RULES}
    every = set(range(format.levels))
    for rule in ("v-clear", "w-without-r", "user-page", "supervisor-page", "not-writable", "a-clear", "d-clear"):
        assert by_rule[rule] == every, rule
    assert by_rule["misaligned-superpage"] == every - {0}
    if format.xlen == 64:
        for rule in ("reserved-bits", "n-reserved", "napot-reserved", "pbmt-reserved", "pbmt-3"):
            assert by_rule[rule] == every, rule


@pytest.mark.parametrize("format", FORMATS.values(), ids=repr)
def test_the_last_word_of_memory_is_recorded_as_a_pte_that_is_followed_and_changed(format: Format) -> None:
    last = U64(LAST + 4096 - format.pte_bytes)
    changed = 0
    for batch, machine in recorded(format):
        at = batch.cases["pte"][:, 0] == last
        before = ptes_at(batch.tables, batch.cases["pte"][:, 0], format)
        changed += int(np.count_nonzero(at & (machine["cause"] == NONE) & (machine["pte"][:, 0] != before)))
    assert changed >= 16


@pytest.mark.parametrize("format", FORMATS.values(), ids=repr)
def test_accesses_over_the_top_of_the_address_space_are_recorded_as_good_and_as_bad(format: Format) -> None:
    causes: set[int] = set()
    for batch, machine in recorded(format):
        first, second = parts(batch.cases)
        wraps = (first != second) & (second & U64((1 << format.xlen) - 1) == 0)
        causes |= set(machine["cause"][wraps].tolist())
    assert causes >= {int(NONE), 5, 7, 13, 15}


@pytest.mark.parametrize("format", WIDE, ids=repr)
def test_a_page_of_64_kib_is_recorded_with_all_low_bits_and_at_all_sixteen_places(format: Format) -> None:
    low: set[int] = set()
    places: set[int] = set()
    for batch, machine in recorded(format):
        if batch.extensions.svnapot:
            walk = naive_walk(batch.cases["va"], batch.cases["satp"], batch.tables, format)
            pte = ptes_at(batch.tables, walk.at, format)
            napot = (walk.level == 0) & (pte & N != 0) & (pte & U64(V) != 0)
            low |= set((pte[napot] >> U64(10) & U64(15)).tolist())
            good = napot & (machine["cause"] == NONE)
            places |= set((batch.cases["va"][good] >> U64(12) & U64(15)).tolist())
    assert low == places == set(range(16))


@pytest.mark.parametrize("format", FORMATS.values(), ids=repr)
def test_sum_and_mxr_and_every_operation_are_recorded_on_and_off(format: Format) -> None:
    seen: set[tuple[bool, bool]] = set()
    ops: set[int] = set()
    for batch, _ in recorded(format):
        mstatus = batch.cases["mstatus"]
        seen |= set(zip((mstatus & SUM != 0).tolist(), (mstatus & MXR != 0).tolist(), strict=True))
        ops |= set(batch.cases["op"].tolist())
    assert len(seen) == 4
    assert ops == {n for n, (_, size, _) in enumerate(OPERATIONS) if size * 8 <= format.xlen}


def test_a_wrong_mmu_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    batch, machine = recorded(FORMATS["sv39"])[0]
    assert not disagreements(batch, machine, "scalar").any()
    judge = Mmu.judge
    monkeypatch.setattr(Mmu, "judge", lambda *args: None if (rule := judge(*args)) == "not-writable" else rule)
    assert disagreements(batch, machine, "scalar").any()


def walked(batch: Batch) -> npt.NDArray[np.uint64]:
    """All PTEs that a case's walks read, or-ed together."""
    format, found = batch.format, np.zeros(len(batch.cases), np.uint64)
    for va in parts(batch.cases):
        table = (batch.cases["satp"] & U64(format.ppn_mask)) << U64(12)
        for _, shift in format.steps:
            index = (va >> U64(shift) & U64(format.index_mask)) * U64(format.pte_bytes)
            pte = np.where(page_of(table)[1], ptes_at(batch.tables, table + index, format), U64(0))
            found |= pte
            table = np.where(pte & U64(V | RWX) == V, (pte >> U64(10) & U64(format.ppn_mask)) << U64(12), U64(0))
    return found


def with_software_bits(batch: Batch, machine: Results) -> tuple[Batch, Results]:
    """Bits 60 and 59 set by chance in every PTE, with the extension that gives them to software; the results follow."""
    rng = np.random.default_rng(1)
    added = rng.integers(0, 4, batch.tables.shape, dtype=np.uint64) << U64(59) & ~batch.tables
    added = np.where(batch.tables != 0, added, U64(0))
    after = machine.copy()
    after["pte"] |= ptes_at(added, batch.cases["pte"], batch.format)
    extensions = replace(batch.extensions, svrsw60t59b=True)
    return replace(batch, tables=batch.tables | added, extensions=extensions), after


@pytest.mark.parametrize("expect", [expect_from_batch, expect_from_scalar], ids=["batch", "scalar"])
@pytest.mark.parametrize("format", WIDE, ids=repr)
def test_with_svrsw60t59b_two_more_bits_change_nothing_that_spike_did_without_them(format: Format, expect) -> None:
    compared = 0
    for batch, machine in recorded(format):
        if batch.extensions.svadu and batch.extensions.svnapot == batch.extensions.svpbmt:
            free = walked(batch) & SOFTWARE == 0
            more, after = with_software_bits(batch, machine)
            assert not (differences(after, expect(more), more) & free).any(), names(batch)
            compared += int(np.count_nonzero(free & (after["pte"] & SOFTWARE != 0).any(axis=1)))
    assert compared > 5000


def test_a_listing_that_forgets_a_row_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    batch, machine = next((b, m) for b, m in recorded(FORMATS["sv39"]) if b.name == "spaces")
    assert not disagreements(batch, machine, "scan").any()
    whole = listing.scan
    forgetful = lambda space: replace(whole(space), mappings=whole(space).mappings[1:])  # noqa: E731
    monkeypatch.setattr(listing, "scan", forgetful)
    listing._listing.cache_clear()
    try:
        assert disagreements(batch, machine, "scan").any()
    finally:
        listing._listing.cache_clear()


PRIVILEGES = {0: "U", 1: "S", 3: "M"}
ASKED = {3: 1, 4: 9, 5: 17}  # by levels: every so manyth regime of a batch, for the time that far addresses take


def regimes(batch: Batch) -> Iterator[tuple[Regime, Kind, int, npt.NDArray[np.intp]]]:
    """The regimes, kinds and sizes of a batch's cases within 512 GiB of addresses, and which cases are of each."""
    rows = rows_of(batch)
    near = rows.va >> U64(39)
    keys = np.stack(
        [c.astype(U64) for c in (rows.satp, rows.priv, rows.sum, rows.mxr, rows.kind, rows.size, near)], axis=1
    )
    distinct, which = np.unique(keys, axis=0, return_inverse=True)
    for number, (satp, priv, sum_, mxr, kind, size, _) in enumerate(distinct.tolist()):
        regime = Regime(satp, PRIVILEGES[priv], bool(sum_), bool(mxr), batch.format.xlen)
        yield regime, Kind(kind), size, np.flatnonzero(which.reshape(-1) == number)


@pytest.mark.parametrize("format", WIDE, ids=repr)
def test_the_quick_way_of_many_addresses_comes_to_the_same(format: Format, monkeypatch: pytest.MonkeyPatch) -> None:
    went = {"quick": 0, "rows": 0}
    of = batch_room._Plain.of

    def counted(*words: Any) -> Any:
        plain = of(*words)
        went["quick" if plain else "rows"] += 1
        return plain

    monkeypatch.setattr(batch_room._Plain, "of", counted)
    for batch, _ in recorded(format):
        if batch.name != "directed":
            continue  # one root for all, so that many cases share a regime
        memory, rows = memory_of(batch), rows_of(batch)
        whole = answer(memory, batch.extensions, rows, format.xlen)
        for regime, kind, size, where in list(regimes(batch))[:: ASKED[format.levels]]:
            again = where[np.arange(1 << 15) % len(where)]  # as few addresses go as rows
            pas, status = translate(memory, batch.extensions, regime, rows.va[again], kind, size)
            np.testing.assert_array_equal(pas[: len(where)], whole.pa[where])
            np.testing.assert_array_equal(status[: len(where)], whole.status[where])
    assert went["quick"] > 20
