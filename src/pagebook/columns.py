"""Tables of facts as columns: named NumPy arrays of equal length.

A column is contiguous, so that a million rows cost a pass over each column that somebody asks for and no more: one may
be given as a function, which is called when it is first asked for.  A table is taken apart by name, cut down by masks
and slices, and turned into a NumPy structured array where rows are wanted.

It leaves as Arrow or as a data frame, for which pyarrow or pandas must be there; they come with ``pagebook[notebook]``.
There numbers that stand for words are words, and what a row has not is null.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, overload

import numpy as np
import numpy.typing as npt

from pagebook.errors import PagebookError
from pagebook.shown import in_notebook

Column = npt.NDArray[Any]
Key = slice | npt.NDArray[Any]
Made = Column | Callable[[], Column]
NO_WORDS: Mapping[str, Sequence[str]] = {}
NONE_ABSENT: Mapping[str, Column] = {}


class Tabled:
    """What is a table at heart, and leaves as one."""

    __slots__ = ()

    def table(self) -> Columns:
        """It as columns."""
        raise NotImplementedError

    def to_arrow(self) -> Any:  # noqa: ANN401
        """A ``pyarrow.Table`` over the same memory where Arrow keeps numbers alike; PagebookError without pyarrow."""
        return _arrow(self.table())

    def to_pandas(self) -> Any:  # noqa: ANN401
        """A ``pandas.DataFrame`` of its own, for one may be written to; PagebookError without pandas."""
        return _pandas(self.table())

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        """The Arrow PyCapsule protocol, by which polars, DuckDB and others take a table without being asked to."""
        return self.to_arrow().__arrow_c_stream__(requested_schema)


class Columns(Tabled):
    """``count`` rows of the structured type ``dtype``, by column; those given as functions are made when needed.

    ``words`` names columns whose numbers stand for words: the number is the place in the list, below 0 for nothing.
    ``absent`` has masks for columns of numbers that not every row has.  Columns of objects are text, or None.
    """

    __slots__ = ("_absent", "_columns", "_count", "dtype", "words")

    def __init__(
        self,
        dtype: np.dtype[np.void],
        count: int,
        columns: Sequence[Made],
        words: Mapping[str, Sequence[str]] = NO_WORDS,
        absent: Mapping[str, Made] = NONE_ABSENT,
    ) -> None:
        self.dtype = dtype
        self.words = words
        self._count = count
        self._columns = dict(zip(dtype.names or (), columns, strict=True))
        self._absent = dict(absent)

    @classmethod
    def stacked(cls, dtype: np.dtype[np.void], parts: Sequence[Columns]) -> Columns:
        """The rows of all parts, one after the other; those of the only part that has any as they are.

        The parts have the same words, and none has absent values.
        """
        some = [part for part in parts if len(part)]
        if len(some) == 1:
            return some[0]
        columns = [
            np.concatenate([np.empty(0, dtype[name]), *(part[name] for part in some)]) for name in dtype.names or ()
        ]
        return cls(dtype, sum(map(len, some)), columns, parts[0].words if parts else NO_WORDS)

    def __len__(self) -> int:
        return self._count

    def __repr__(self) -> str:
        return f"<{len(self)} rows of {', '.join(self._columns)}>"

    _repr_html_ = in_notebook

    @overload
    def __getitem__(self, key: str) -> Column: ...

    @overload
    def __getitem__(self, key: Key | list[str]) -> Columns: ...

    def __getitem__(self, key: str | Key | list[str]) -> Column | Columns:
        """A column by its name, some columns by theirs, or the rows that a slice, a mask or an array chooses."""
        if isinstance(key, str):
            return _made(self._columns, key)
        if isinstance(key, list):
            dtype = np.dtype([(name, self.dtype[name]) for name in key])
            absent = {name: mask for name, mask in self._absent.items() if name in key}
            return Columns(dtype, self._count, [self[name] for name in key], self.words, absent)
        columns = [self[name][key] for name in self._columns]
        absent = {name: _made(self._absent, name)[key] for name in self._absent}
        return Columns(self.dtype, len(columns[0]), columns, self.words, absent)

    def __iter__(self) -> Iterator[np.void]:
        return iter(self.to_array())

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the columns, in their order."""
        return tuple(self._columns)

    def absent(self, name: str) -> Column | None:
        """Which rows have nothing in a column; None for one that all have."""
        return _made(self._absent, name) if name in self._absent else None

    def table(self) -> Columns:
        """Itself."""
        return self

    def tolist(self) -> list[tuple[Any, ...]]:
        """The rows as tuples of plain Python values."""
        return list(zip(*(self[name].tolist() for name in self._columns), strict=True))

    def to_array(self) -> npt.NDArray[np.void]:
        """The rows as a NumPy structured array, copied."""
        out = np.empty(len(self), self.dtype)
        for name in self._columns:
            out[name] = self[name]
        return out


def _made(columns: dict[str, Made], name: str) -> Column:
    column = columns[name]
    if callable(column):
        column = columns[name] = column()
    return column


def _said(table: Columns, name: str) -> tuple[Column, list[str]]:
    """A column of words as places in the list of those that occur, below 0 for none, and that list."""
    column, mask = table[name], table.absent(name)
    if mask is not None:
        column = np.where(mask, -1, column.astype(np.int64))
    used, places = np.unique(column, return_inverse=True)
    nothing = int(np.count_nonzero(used < 0))
    width = np.int8 if len(used) < 128 else np.int32
    return (places - nothing).astype(width), [table.words[name][number] for number in used[nothing:].tolist()]


def _arrow(table: Columns) -> Any:  # noqa: ANN401
    try:
        import pyarrow
    except ImportError:
        raise PagebookError(
            "a table as Arrow needs the library pyarrow; pip install 'pagebook[notebook]' brings it"
        ) from None

    def array(name: str) -> Any:  # noqa: ANN401
        if name in table.words:
            places, said = _said(table, name)
            return pyarrow.DictionaryArray.from_arrays(
                pyarrow.array(places, mask=places < 0), pyarrow.array(said, pyarrow.string())
            )
        mask = table.absent(name)
        kind = pyarrow.string() if table.dtype[name].kind == "O" else None
        return pyarrow.array(np.ascontiguousarray(table[name]), kind, mask=mask)

    return pyarrow.table({name: array(name) for name in table.names})


def _pandas(table: Columns) -> Any:  # noqa: ANN401
    try:
        import pandas
    except ImportError:
        raise PagebookError(
            "a table as a data frame needs the library pandas; pip install 'pagebook[notebook]' brings it"
        ) from None

    def series(name: str) -> Any:  # noqa: ANN401
        if name in table.words:
            return pandas.Categorical.from_codes(*_said(table, name))
        mask = table.absent(name)
        if mask is None:
            return np.array(table[name])
        return pandas.arrays.IntegerArray(np.array(table[name]), np.array(mask))

    return pandas.DataFrame({name: series(name) for name in table.names})
