"""Columns, against a NumPy structured array that holds the same rows."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pagebook.columns import Columns

ROW = np.dtype([("va", "<u8"), ("level", "u1"), ("napot", "?")])
ROWS = st.lists(st.tuples(st.integers(0, (1 << 64) - 1), st.integers(0, 255), st.booleans()), max_size=8)


def columns_of(rows: list[tuple]) -> Columns:
    """The same rows by column; the second one made when it is asked for."""
    array = np.array(rows, ROW)
    return Columns(ROW, len(rows), [array["va"].copy(), lambda: array["level"].copy(), array["napot"].copy()])


@given(ROWS)
def test_columns_are_the_rows_they_were_made_of(rows: list[tuple]):
    columns, array = columns_of(rows), np.array(rows, ROW)
    assert len(columns) == len(rows)
    assert columns.tolist() == array.tolist() == [row.item() for row in columns]
    assert (columns.to_array() == array).all() and columns.to_array().dtype == ROW
    assert all((columns[name] == array[name]).all() and columns[name].dtype == ROW[name] for name in ROW.names or ())
    assert repr(columns) == f"<{len(rows)} rows of va, level, napot>"


@given(ROWS, st.data())
def test_rows_are_chosen_by_slices_masks_and_indices_as_those_of_an_array_are(rows: list[tuple], data: st.DataObject):
    array = np.array(rows, ROW)
    mask = np.array(data.draw(st.lists(st.booleans(), min_size=len(rows), max_size=len(rows))), dtype=np.bool_)
    order = np.array(data.draw(st.permutations(range(len(rows)))), dtype=np.intp)
    for key in (data.draw(st.slices(len(rows))), mask, order):
        chosen = columns_of(rows)[key]
        assert chosen.tolist() == array[key].tolist()
        assert (len(chosen), chosen.dtype) == (len(array[key]), ROW)


@given(st.lists(ROWS, max_size=4))
def test_stacked_columns_are_the_rows_of_all_parts_in_order(parts: list[list[tuple]]):
    stacked = Columns.stacked(ROW, [columns_of(part) for part in parts])
    assert stacked.tolist() == [row for part in parts for row in np.array(part, ROW).tolist()]
    assert [stacked[name].dtype for name in ROW.names or ()] == [ROW[name] for name in ROW.names or ()]


def test_a_column_given_as_a_function_is_made_once_and_only_when_it_is_asked_for():
    calls = []

    def make() -> np.ndarray:
        calls.append(1)
        return np.zeros(2, "u1")

    columns = Columns(ROW, 2, [np.zeros(2, "<u8"), make, np.zeros(2, "?")])
    assert (columns["va"].tolist(), calls) == ([0, 0], [])
    assert columns["level"] is columns["level"]
    assert calls == [1]


def test_some_columns_by_name_are_columns_of_a_type_of_their_own():
    some = columns_of([(1, 2, True), (3, 4, False)])[["napot", "va"]]
    assert some.tolist() == [(True, 1), (False, 3)]
    assert some.dtype == np.dtype([("napot", "?"), ("va", "<u8")])
    with pytest.raises(KeyError):
        some["level"]
    with pytest.raises(ValueError):
        Columns(ROW, 1, [np.zeros(1, "<u8")])
