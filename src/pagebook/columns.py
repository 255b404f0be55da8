"""Tables of facts as columns: named NumPy arrays of equal length.

A column is contiguous, so that a million rows cost a pass over each column that somebody asks for and no more: one may
be given as a function, which is called when it is first asked for.  A table is taken apart by name, cut down by masks
and slices, and turned into a NumPy structured array where rows are wanted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, overload

import numpy as np
import numpy.typing as npt

Column = npt.NDArray[Any]
Key = slice | npt.NDArray[Any]


class Columns:
    """``count`` rows of the structured type ``dtype``, by column; those given as functions are made when needed."""

    __slots__ = ("_columns", "_count", "dtype")

    def __init__(self, dtype: np.dtype[np.void], count: int, columns: Sequence[Column | Callable[[], Column]]) -> None:
        self.dtype = dtype
        self._count = count
        self._columns = dict(zip(dtype.names or (), columns, strict=True))

    @classmethod
    def stacked(cls, dtype: np.dtype[np.void], parts: Sequence[Columns]) -> Columns:
        """The rows of all parts, one after the other; those of the only part that has any as they are."""
        some = [part for part in parts if len(part)]
        if len(some) == 1:
            return some[0]
        columns = [
            np.concatenate([np.empty(0, dtype[name]), *(part[name] for part in some)]) for name in dtype.names or ()
        ]
        return cls(dtype, sum(map(len, some)), columns)

    def __len__(self) -> int:
        return self._count

    def __repr__(self) -> str:
        return f"<{len(self)} rows of {', '.join(self._columns)}>"

    @overload
    def __getitem__(self, key: str) -> Column: ...

    @overload
    def __getitem__(self, key: Key | list[str]) -> Columns: ...

    def __getitem__(self, key: str | Key | list[str]) -> Column | Columns:
        """A column by its name, some columns by theirs, or the rows that a slice, a mask or an array chooses."""
        if isinstance(key, str):
            column = self._columns[key]
            if callable(column):
                column = self._columns[key] = column()
            return column
        if isinstance(key, list):
            dtype = np.dtype([(name, self.dtype[name]) for name in key])
            return Columns(dtype, self._count, [self[name] for name in key])
        columns = [self[name][key] for name in self._columns]
        return Columns(self.dtype, len(columns[0]), columns)

    def __iter__(self) -> Iterator[np.void]:
        return iter(self.to_array())

    def tolist(self) -> list[tuple[Any, ...]]:
        """The rows as tuples of plain Python values."""
        return list(zip(*(self[name].tolist() for name in self._columns), strict=True))

    def to_array(self) -> npt.NDArray[np.void]:
        """The rows as a NumPy structured array, copied."""
        out = np.empty(len(self), self.dtype)
        for name in self._columns:
            out[name] = self[name]
        return out
