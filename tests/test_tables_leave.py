"""Tables as Arrow and as data frames: the same facts, words for numbers that stand for words, null for nothing."""

from __future__ import annotations

import sys

import numpy as np
import pandas
import pyarrow
import pytest
from hypothesis import given
from hypothesis import strategies as st

import pagebook
from pagebook.columns import Columns, Tabled
from pagebook.errors import PagebookError
from pagebook.ledger import Ledger
from pagebook.machine import Machine
from pagebook.sv import flags_text

ROW = np.dtype([("va", "<u8"), ("role", "u1"), ("owner", "<i4"), ("level", "u1"), ("napot", "?"), ("name", "O")])
ROLES, OWNERS = ["free", "<used>", ""], [f"space {number}" for number in range(300)]
ROWS = st.lists(
    st.tuples(
        st.integers(0, (1 << 64) - 1),
        st.integers(0, len(ROLES) - 1),
        st.integers(-1, len(OWNERS) - 1),
        st.none() | st.integers(0, 255),
        st.booleans(),
        st.none() | st.text(max_size=3).filter(lambda text: text.isprintable()),
    ),
    max_size=400,
)


@pytest.fixture(scope="module")
def model() -> Machine:
    return pagebook.boot()


def table_of(rows: list[tuple]) -> Columns:
    parts = list(zip(*rows, strict=True)) or [()] * len(ROW.names or ())
    columns = [
        np.array([value or 0 for value in part] if name == "level" else part, ROW[name])
        for name, part in zip(ROW.names or (), parts, strict=True)
    ]
    absent = {"level": np.array([level is None for level in parts[3]], np.bool_)}
    return Columns(ROW, len(rows), columns, {"role": ROLES, "owner": OWNERS}, absent)


def meant(row: tuple) -> tuple:
    va, role, owner, level, napot, name = row
    return va, ROLES[role], None if owner < 0 else OWNERS[owner], level, napot, name


@given(ROWS)
def test_arrow_has_the_facts_of_every_row(rows: list[tuple]):
    found = table_of(rows).to_arrow()
    assert [tuple(row.values()) for row in found.to_pylist()] == list(map(meant, rows))
    assert found.schema.names == list(ROW.names or ())
    assert (found.schema.field("va").type, found.schema.field("level").type) == (pyarrow.uint64(), pyarrow.uint8())
    assert pyarrow.types.is_dictionary(found.schema.field("owner").type)


@given(ROWS)
def test_a_data_frame_has_the_facts_of_every_row(rows: list[tuple]):
    found = table_of(rows).to_pandas()
    plain = found.astype(object).where(found.notna(), None)
    assert list(plain.itertuples(index=False, name=None)) == list(map(meant, rows))
    assert [str(found[name].dtype) for name in ("va", "role", "level")] == ["uint64", "category", "UInt8"]


@given(ROWS, st.data())
def test_rows_and_columns_that_are_chosen_keep_words_and_nulls(rows: list[tuple], data: st.DataObject):
    mask = np.array(data.draw(st.lists(st.booleans(), min_size=len(rows), max_size=len(rows))), np.bool_)
    found = table_of(rows)[mask][["owner", "level"]].to_arrow().to_pylist()
    wanted = [meant(row) for row, chosen in zip(rows, mask.tolist(), strict=True) if chosen]
    assert [(row["owner"], row["level"]) for row in found] == [(row[2], row[3]) for row in wanted]


def test_the_schema_is_the_same_whether_or_not_a_row_lacks_something():
    whole, lacking = (table_of([(1, 0, 0, level, True, "x")]) for level in (1, None))
    assert whole.to_arrow().schema == lacking.to_arrow().schema
    assert (whole.to_pandas().dtypes == lacking.to_pandas().dtypes)[["va", "role", "level"]].all()


def test_arrow_stands_over_the_same_memory_and_a_frame_over_its_own(model: Machine):
    mappings = model.spaces["kernel"].mappings()
    arrow = mappings.to_arrow()
    for name in ("va", "pa", "pte", "size"):
        (chunk,) = arrow[name].chunks
        assert chunk.buffers()[1].address == mappings[name].ctypes.data
    frame = mappings.to_pandas()
    frame.loc[:, "va"] = 0
    assert mappings["va"].any()


def test_other_libraries_take_every_table_by_the_protocol(model: Machine):
    rules = pagebook.open("rules")
    tables: list[Tabled] = [
        model.mappings(), model.maps(), Ledger(model), pagebook.owners(model), pagebook.check(rules)
    ]  # fmt: skip
    for one in tables:
        assert pyarrow.table(one).equals(one.to_arrow()) and len(one.to_pandas()) == len(one.table())
    assert pyarrow.table(Ledger(model)).num_rows == 32768


def test_flags_roles_and_owners_leave_as_the_words_of_the_views(model: Machine):
    maps = model.maps().to_pandas()
    sh = maps[maps["space"] == "sh"]
    assert sh["flags"].tolist() == [flags_text(flags) for flags in model.spaces["sh"].maps()["flags"].tolist()]
    assert sh["name"].tolist() == ["text", "data", "guard page", "stack", "trapframe", "trampoline"]
    frames = Ledger(model).to_pandas()
    assert frames["role"].value_counts().to_dict() == {
        role.label: count for role, count in Ledger(model).counts().items() if count
    }
    assert (frames["level"].notna() == (frames["role"] == "page table")).all()
    owned = pagebook.owners(model).to_pandas()
    assert owned["frames"].sum() == len(frames) and set(owned["owner"].dropna()) == {"kernel", "init", "sh"}


def test_findings_leave_with_nulls_for_what_they_have_not():
    report = pagebook.check(pagebook.open("rules"))
    rows = report.to_arrow().to_pylist()
    assert [tuple(row.values()) for row in rows] == [tuple(found) for found in report.findings]
    assert rows[0]["pid"] is None
    assert pagebook.check(pagebook.open("rules"), ["PB001"], []).to_pandas()["severity"].tolist() == ["error"]


@pytest.mark.parametrize("library", ["pyarrow", "pandas"])
def test_without_the_library_it_is_said_what_brings_it(library: str, model: Machine, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, library, None)
    leave = model.maps().to_arrow if library == "pyarrow" else model.maps().to_pandas
    with pytest.raises(PagebookError, match=rf"needs the library {library}; pip install 'pagebook\[notebook\]'"):
        leave()


def test_no_loop_runs_once_per_pte(model: Machine):
    calls = 0

    def count(frame: object, event: str, arg: object) -> None:
        nonlocal calls
        calls += event == "call"

    mappings = model.spaces["kernel"].mappings()
    mappings.to_arrow(), mappings.to_pandas()  # what is loaded at the first use
    sys.setprofile(count)
    try:
        mappings.to_arrow(), mappings.to_pandas()
    finally:
        sys.setprofile(None)
    assert calls < len(mappings) / 10


def test_a_frame_can_be_asked_as_pandas_asks():
    mappings = pagebook.boot().mappings().to_pandas()
    assert isinstance(mappings, pandas.DataFrame)
    assert mappings.groupby("space", observed=True)["size"].sum().to_dict() == {
        "kernel": 49219 * 4096, "init": 6 * 4096, "sh": 6 * 4096
    }  # fmt: skip
