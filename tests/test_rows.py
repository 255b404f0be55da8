"""Rows of accesses: `answer` is `Mmu.access` row by row."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pagebook.errors import BadAddress
from pagebook.memory import U64, Memory, Region
from pagebook.mmu import RULES, Extensions, Kind
from pagebook.rows import RULE_NAMES, Rows, answer
from pagebook.sv import SV39, A, Format, R, V
from random_tables import EXTENSIONS, random_memory, random_rows, scalar
from worlds import FORMATS, PAGE


@given(st.sampled_from(FORMATS), st.sampled_from(EXTENSIONS), st.integers(0, 1 << 32))
def test_every_row_is_answered_as_by_the_scalar_mmu(fmt: Format, extensions: Extensions, seed: int):
    rng = np.random.default_rng(seed)
    memory, rows = random_memory(rng, fmt), random_rows(rng, fmt, 150)
    before = [bytes(region.data) for region in memory.regions]
    answers = answer(memory, extensions, rows, fmt.xlen)
    assert list(zip(*(column.tolist() for column in answers), strict=True)) == scalar(
        memory, extensions, rows, fmt.xlen
    )
    assert [bytes(region.data) for region in memory.regions] == before


def test_the_random_rows_break_every_rule():
    rng = np.random.default_rng(1)
    met: set[int] = set()
    for fmt in FORMATS:
        for extensions in EXTENSIONS:
            rows = random_rows(rng, fmt, 4000)
            met |= set(answer(random_memory(rng, fmt), extensions, rows, fmt.xlen).status.tolist())
    assert {RULE_NAMES[status] for status in met} == {"", *RULES}


def test_no_rows_have_no_answers():
    rows = random_rows(np.random.default_rng(0), SV39, 0)
    assert [len(column) for column in answer(Memory([]), Extensions(), rows)] == [0] * 7


def test_a_pte_at_physical_address_0_is_a_pte():
    page = bytearray(PAGE)
    page[:8] = SV39.pte(0, V | R | A).to_bytes(8, "little")  # a root that maps the lowest GiB to itself
    rows = random_rows(np.random.default_rng(0), SV39, 1)._replace(
        satp=np.array([SV39.satp(0)], U64), va=np.array([8], U64), priv=np.ones(1, np.uint8), kind=np.zeros(1, np.uint8)
    )
    found = answer(Memory([Region(0, page)]), Extensions(), rows)
    assert (found.status.tolist(), found.pte_pa.tolist(), found.read.tolist()) == ([0], [0], [True])
    assert found.pte_after.tolist() == [SV39.pte(0, V | R | A)]


def test_without_memory_every_access_ends_outside_it():
    rows = random_rows(np.random.default_rng(0), SV39, 100)._replace(kind=np.zeros(100, np.uint8))
    answers = answer(Memory([]), Extensions(), rows)
    assert {RULE_NAMES[n] for n in answers.status} <= {"table-outside", "target-outside", "non-canonical"}


@pytest.mark.parametrize(
    ("column", "value", "xlen", "message"),
    [
        ("satp", 7 << 60, 64, "satp 0x7000000000000000 has the reserved MODE 7"),
        ("satp", 1 << 32, 32, "0x100000000 is not a 32-bit satp value"),
        ("va", 1 << 32, 32, "0x100000000 is no 32-bit address"),
        ("size", 0, 64, "an access of 0 bytes: a hart makes accesses of 1 to 8"),
        ("size", 9, 64, "an access of 9 bytes: a hart makes accesses of 1 to 8"),
    ],
)
def test_a_row_that_no_hart_can_do_is_refused(column: str, value: int, xlen: int, message: str):
    zeros = np.zeros(3, np.uint8)
    rows = Rows(np.zeros(3, U64), np.zeros(3, U64), zeros + 3, zeros > 0, zeros > 0, zeros, np.ones(3, U64))
    getattr(rows, column)[1] = value
    with pytest.raises(BadAddress, match=f"^{re.escape(message)}$"):
        answer(Memory([]), Extensions(), rows, xlen)


def test_an_amo_is_of_a_power_of_two():
    rows = random_rows(np.random.default_rng(0), SV39, 3)._replace(kind=np.full(3, Kind.AMO, np.uint8))
    with pytest.raises(BadAddress, match=r"^an AMO of 6 bytes: its size is a power of two$"):
        answer(Memory([]), Extensions(), rows._replace(size=np.full(3, 6, U64)))
