"""What the proof rests on: the list of deliberate faults, the layout that two languages share, QEMU's deviations."""

from __future__ import annotations

import ast
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

import pagebook
from conformance import layout
from conformance.compare import expect_from_batch
from conformance.corners import make_corners
from conformance.directed import make_directed
from conformance.generate import Batch, harmless, make_batch
from conformance.layout import LAST_PAGE, NONE, TABLE_PAGES
from conformance.mutants import MUTANTS, Mutant
from conformance.mutate import table
from conformance.opinion import DEVIATIONS, askable, opinion_on
from conformance.plan import combinations
from conformance.spaces import make_spaces
from conformance.tables import page_address, page_addresses, page_of
from pagebook.mmu import Extensions
from pagebook.sv import FORMATS, SV39, Format

ROOT = Path(__file__).parents[1]
PACKAGE = Path(pagebook.__file__).parent
SVADU = Extensions()
MAKERS = [lambda f: make_batch(f, SVADU, 3, 500), lambda f: make_spaces(f, SVADU, 3, 500)]
MAKERS += [lambda f: make_directed(f, SVADU), lambda f: make_corners(f, SVADU)]


def test_thirty_faults_and_more_are_in_the_mmu_and_in_the_scan() -> None:
    counts = Counter(mutant.file for mutant in MUTANTS)
    assert counts["mmu.py"] >= 20
    assert counts["scan.py"] >= 10
    assert len({(mutant.file, mutant.old, mutant.new) for mutant in MUTANTS}) == len(MUTANTS)
    assert len({(mutant.file, mutant.breaks) for mutant in MUTANTS}) == len(MUTANTS)


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: f"{mutant.file} {mutant.breaks}")
def test_a_fault_stands_once_in_the_source_and_leaves_other_code_that_compiles(mutant: Mutant) -> None:
    text = (PACKAGE / mutant.file).read_text()
    assert text.count(mutant.old) == 1
    changed = text.replace(mutant.old, mutant.new)
    compile(changed, mutant.file, "exec")
    assert ast.dump(ast.parse(changed)) != ast.dump(ast.parse(text))


def test_the_probe_and_the_host_agree_where_things_are() -> None:
    text = (ROOT / "conformance" / "probe" / "layout.h").read_text()
    defined = {name: int(value, 0) for name, value in re.findall(r"^#define (\w+)\s+(0x[0-9a-f]+|\d+)\b", text, re.M)}
    names = ["RAM", "HEADER", "DATA", "DATA_END", "CODE_SLOT", "WITNESS_SLOT"]
    assert {name: defined[name] for name in names} == {name: getattr(layout, name) for name in names}


def test_table_pages_are_found_again_by_any_address_in_them() -> None:
    pages = np.arange(TABLE_PAGES)
    for offset in (0, 8, 4095):
        found, inside = page_of(page_addresses(pages) + np.uint64(offset))
        assert inside.all()
        assert (found == pages).all()
    assert page_address(LAST_PAGE) + 4096 == layout.RAM + layout.RAM_BYTES
    around = np.array([page_address(0) - 1, page_address(LAST_PAGE - 1) + 4096, page_address(LAST_PAGE) - 1], np.uint64)
    assert not page_of(around)[1].any()


@pytest.mark.parametrize("make", MAKERS, ids=["random", "spaces", "directed", "corners"])
@pytest.mark.parametrize("format", FORMATS.values(), ids=repr)
def test_the_same_seed_makes_the_same_batch_and_none_of_it_hurts_the_probe(format: Format, make) -> None:
    one, two = make(format), make(format)
    assert len(one.cases) >= 500
    assert (one.cases == two.cases).all()
    assert (one.tables == two.tables).all()
    assert harmless(one.cases, one.tables, format).all()


def test_all_combinations_are_planned() -> None:
    found = combinations()
    assert len(found) == len(set(found)) == 26
    assert {format for format, _ in found} == set(FORMATS.values())


def ours_as_machine() -> tuple[Batch, np.ndarray]:
    batch = askable(make_batch(SV39, SVADU, 3, 2000))
    return batch, expect_from_batch(batch).results.copy()


def test_a_machine_that_does_as_we_say_has_no_deviations() -> None:
    opinion = opinion_on(*ours_as_machine())
    assert (opinion.agree, opinion.known.total(), opinion.unexplained) == (opinion.cases, 0, 0)


def test_a_deviation_that_is_not_listed_is_named_in_full() -> None:
    batch, machine = ours_as_machine()
    row = int(np.flatnonzero(machine["cause"] == NONE)[0])
    machine[row]["witness"][0] ^= np.uint64(0x1000)
    opinion = opinion_on(batch, machine)
    assert (opinion.unexplained, opinion.known.total()) == (1, 0)
    assert opinion.text().endswith("1 otherwise")
    assert f"seed 3 {batch.cases[row]}" in opinion.text()


def test_an_amo_that_faults_as_a_load_is_counted_as_such() -> None:
    batch, machine = ours_as_machine()
    amo = (layout.OP_KIND[batch.cases["op"]] == layout.AMO) & (machine["cause"] == 15)
    machine["cause"][amo] = 13
    opinion = opinion_on(batch, machine)
    assert dict(+opinion.known) == {"amo-page-fault-as-load": np.count_nonzero(amo)}
    machine["tval"][amo] ^= np.uint64(8)
    assert opinion_on(batch, machine).unexplained == np.count_nonzero(amo)


def test_every_deviation_is_listed_once_and_says_what_the_specification_says() -> None:
    assert len({one.id for one in DEVIATIONS}) == len(DEVIATIONS)
    assert all(one.does and one.says for one in DEVIATIONS)


PAGE = (ROOT / "docs" / "conformance.md").read_text()


def test_the_page_lists_the_faults_as_they_are() -> None:
    assert table() in PAGE


def test_the_page_lists_the_deviations_of_qemu_as_they_are() -> None:
    rows = re.findall(r"^\| ([\d,]+) \| `([a-z0-9-]+)` \| (.+?) \| (.+?) \|$", PAGE, re.M)
    assert [row[1:] for row in rows] == [(one.id, one.does, one.says) for one in DEVIATIONS]
