"""Answers as rows of CSV, as JSON lines, or as Parquet: the address, and what the access to it came to.

The columns are the same in each.  Where an access has no such thing, CSV has an empty cell and the others null.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import IO, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from pagebook.errors import PagebookError
from pagebook.mmu import CAUSES
from pagebook.rows import RULE_NAMES, Answers, Words

COLUMNS = ("va", "cause", "tval", "pa", "pte_pa", "pte_after", "rule")
ADDRESSES = ("tval", "pa", "pte_pa", "pte_after")
ROW_GROUP = 1 << 17  # rows that Parquet keeps together

Write = Callable[[Words, Answers], None]


def _absent(answers: Answers) -> dict[str, npt.NDArray[np.bool_]]:
    """For each column the rows that have no such thing."""
    fault = answers.status != 0
    unread = ~answers.read
    return {
        "va": np.zeros_like(fault), "cause": ~fault, "tval": ~fault, "pa": fault,
        "pte_pa": unread, "pte_after": unread, "rule": ~fault,
    }  # fmt: skip


class Style(NamedTuple):
    """How text is made: ``address`` and ``word`` make cells, ``none`` is one, and ``row`` makes a line of them."""

    header: str
    address: Callable[[int], str]
    word: str
    none: str
    row: Callable[[tuple[str, ...]], str]


_OBJECT = "{" + ", ".join(f'"{name}": %s' for name in COLUMNS) + "}"
STYLES = {
    "csv": Style(",".join(COLUMNS) + "\n", hex, "%s", "", ",".join),
    "jsonl": Style("", '"0x%x"'.__mod__, '"%s"', "null", _OBJECT.__mod__),
}


def lines(style: Style, va: Words, answers: Answers) -> str:
    """The rows as text, each with its newline."""
    absent = _absent(answers)
    rules = [style.none, *(style.word % name for name in RULE_NAMES[1:])]
    causes = [style.none, *map(str, range(1, max(CAUSES) + 1))]
    cells = {
        "cause": [causes[cause] for cause in answers.cause.tolist()],
        "rule": [rules[status] for status in answers.status.tolist()],
        "va": _addresses(style, va, absent["va"]),
        **{name: _addresses(style, getattr(answers, name), absent[name]) for name in ADDRESSES},
    }
    return "\n".join([*map(style.row, zip(*(cells[name] for name in COLUMNS), strict=True)), ""])


def _addresses(style: Style, values: Words, absent: npt.NDArray[np.bool_]) -> list[str]:
    cells = list(map(style.address, values.tolist()))
    for row in np.flatnonzero(absent).tolist():
        cells[row] = style.none
    return cells


@contextmanager
def text(style: Style, put: Callable[[str], object]) -> Iterator[Write]:
    """Write rows as text, given to ``put``; the header before the first or, without any, at the end."""
    header = [style.header]

    def write(va: Words, answers: Answers) -> None:
        put((header.pop() if header else "") + lines(style, va, answers))

    yield write
    if header:
        put(header.pop())


@contextmanager
def parquet(file: IO[bytes]) -> Iterator[Write]:
    """Write rows to ``file`` as Parquet: addresses as 64-bit unsigned numbers, the cause as one of 8 bits.

    PagebookError when the library for it is not installed.
    """
    try:
        import pyarrow
        from pyarrow.parquet import ParquetWriter
    except ImportError:
        raise PagebookError("Parquet needs the library pyarrow; pip install 'pagebook[parquet]' brings it") from None
    types = {"cause": pyarrow.uint8(), "rule": pyarrow.string()}
    schema = pyarrow.schema([(name, types.get(name, pyarrow.uint64())) for name in COLUMNS])
    names = np.array(RULE_NAMES, object)
    waiting: list[Any] = []

    def write(va: Words, answers: Answers) -> None:
        values = {**answers._asdict(), "va": va, "rule": names[answers.status]}
        absent = _absent(answers)
        arrays = [pyarrow.array(values[name], types.get(name), mask=absent[name]) for name in COLUMNS]
        waiting.append(pyarrow.record_batch(arrays, schema=schema))
        if sum(map(len, waiting)) >= ROW_GROUP:
            flush()

    def flush() -> None:
        if waiting:
            writer.write_table(pyarrow.Table.from_batches(waiting, schema))
            waiting.clear()

    with ParquetWriter(file, schema) as writer:
        yield write
        flush()
