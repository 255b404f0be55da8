"""Accesses as people and programs write them down, a line each, turned into `rows.Rows`.

The lines are addresses, or CSV whose header names the columns.  Each column of a block becomes an array at once; a row
that cannot be is looked for afterwards, and named with its line.
"""

from __future__ import annotations

import csv
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from pagebook.cases.lines import Block, Source
from pagebook.errors import BadAddress, BadFile
from pagebook.mmu import LARGEST, Kind
from pagebook.rows import Rows
from pagebook.units import parse_address

COLUMNS = ("va", "satp", "priv", "sum", "mxr", "access", "size")
LONGEST_SHOWN = 80  # characters of a cell in a message
USUAL_SIZE = {Kind.LOAD: 1, Kind.STORE: 1, Kind.FETCH: 2, Kind.AMO: 4}  # bytes, where nothing says how many

PRIVILEGES = {"U": 0, "S": 1, "M": 3}
KINDS = {kind.name.lower(): int(kind) for kind in Kind}
SIZES = {str(size): size for size in range(1, LARGEST + 1)}
TRUTHS = {"0": 0, "1": 1, "false": 0, "true": 1}
_USUAL_SIZES = np.array([USUAL_SIZE[kind] for kind in Kind], np.uint64)

T = TypeVar("T")
Parse = Callable[[str], int]


class Defaults(NamedTuple):
    """What a row has where it does not say; ``size`` may be None.

    Where each row must have its own ``satp``, the reason stands here; without a ``size`` that of its kind is usual.
    """

    satp: int | str
    priv: str = "S"
    sum: bool = False
    mxr: bool = False
    kind: Kind = Kind.LOAD
    size: int | None = None
    xlen: int = 64


def read(source: Source, defaults: Defaults, use: Callable[[Rows], T]) -> Iterator[T]:
    """What ``use`` makes of the rows of ``source``, a block after the other.

    BadFile, with the line, at the first row that cannot be read or that ``use`` refuses with BadAddress; the rows
    before it have then been used, and what became of them given out.
    """
    names: list[str] = []
    for block in source.blocks:
        lines = rows = block.kept()
        if lines and not names:
            header = _header(source, block, lines[0])
            rows = lines[1:] if header else lines
            names = header or ["va"]
        if rows:
            yield from _used(source, block, rows, _work(names, defaults, use))


def _work(names: list[str], defaults: Defaults, use: Callable[[Rows], T]) -> Callable[[list[str]], T]:
    def work(lines: list[str]) -> T:
        try:
            rows = _rows(lines, names, defaults)
        except ValueError as error:
            raise BadFile(str(error)) from None
        return use(rows)

    return work


def _used(source: Source, block: Block, rows: list[str], work: Callable[[list[str]], T]) -> Iterator[T]:
    """What becomes of these last lines of a block, up to the first bad one."""
    done = _tried(work, rows)
    if not isinstance(done, _Refused):
        yield done
        return
    good = _good(work, rows)
    if good:
        yield work(rows[:good])
    raise _bad(source, block, good - len(rows), _tried(work, rows[good : good + 1]))


def _bad(source: Source, block: Block, index: int, why: object) -> BadFile:
    return BadFile(f"{source.place} {block.number(index)}: {why}")


class _Refused(str):
    """Why some lines cannot be used."""


def _tried(work: Callable[[list[str]], T], lines: list[str]) -> T | _Refused:
    try:
        return work(lines)
    except (BadFile, BadAddress) as error:
        return _Refused(error)


def _good(work: Callable[[list[str]], T], lines: list[str]) -> int:
    """How many lines there are before the first bad one; there is one."""
    low, high = 0, len(lines)
    while high - low > 1:
        middle = (low + high) // 2
        if isinstance(_tried(work, lines[low:middle]), _Refused):
            high = middle
        else:
            low = middle
    return low


def _header(source: Source, block: Block, line: str) -> list[str]:
    """The columns that the first line of all names; none when it is a row already.  BadFile when it is neither."""
    try:
        names = [cell.strip().lower() for cell in _cells(line)]
        if names[0][:1].isdecimal() or _is_address(names[0]):
            return []
        _check_header(names)
    except ValueError as error:
        raise _bad(source, block, 0, error) from None
    return names


def _check_header(names: list[str]) -> None:
    for name in names:
        if name not in COLUMNS:
            what = "column" if len(names) > 1 else "address and no column"
            raise ValueError(f"{_short(name)} is no {what}; columns are {', '.join(COLUMNS)}")
        if names.count(name) > 1:
            raise ValueError(f"the header has column {name} twice")
    if "va" not in names:
        raise ValueError("the header has no column va, the address")


def _is_address(text: str) -> bool:
    try:
        parse_address(text)
    except ValueError:
        return False
    return True


def _cells(line: str) -> list[str]:
    if '"' not in line:
        return line.split(",")
    try:
        return next(csv.reader([line], strict=True))
    except csv.Error as error:
        raise ValueError(f"its quotes are not those of CSV: {error}") from None


def _short(text: str) -> str:
    return repr(text if len(text) <= LONGEST_SHOWN else f"{text[:40]}...")


def _rows(lines: list[str], names: list[str], defaults: Defaults) -> Rows:
    """The rows of ``lines``, whose cells are in the order of ``names``; ValueError when one is bad."""
    cells = list(map(_cells, lines))
    if set(map(len, cells)) != {len(names)}:
        count = len(cells[0])
        raise ValueError(f"{count} cell{'s' * (count != 1)} in the row; the columns are {', '.join(names)}")
    given = dict(zip(names, zip(*cells, strict=True), strict=True))
    column = functools.partial(_column, given, len(lines))
    kind = column("access", np.uint8, _word(KINDS), defaults.kind)
    size = column("size", np.uint64, _word(SIZES), defaults.size or 0)
    return Rows(
        satp=column("satp", np.uint64, functools.partial(_number, defaults.xlen), defaults.satp),
        va=_addresses(given["va"]),
        priv=column("priv", np.uint8, _word(PRIVILEGES), PRIVILEGES[defaults.priv]),
        sum=column("sum", np.bool_, _word(TRUTHS), defaults.sum),
        mxr=column("mxr", np.bool_, _word(TRUTHS), defaults.mxr),
        kind=kind,
        size=np.where(size == 0, _USUAL_SIZES[kind], size),
    )


def _addresses(texts: Sequence[str]) -> npt.NDArray[np.uint64]:
    """The column of addresses, most of which are of the plainest kind; what that is not, `_number` reads or refuses."""
    parse = functools.partial(_number, 64)
    try:
        return np.fromiter((int(t, 16) if t[:2] == "0x" else parse(t) for t in texts), np.uint64, len(texts))
    except (ValueError, OverflowError):
        pass
    try:
        return np.fromiter(map(parse, texts), np.uint64, len(texts))
    except ValueError as error:
        raise ValueError(f"va: {error}") from None


def _column(
    given: Mapping[str, Sequence[str]], count: int, name: str, dtype: npt.DTypeLike, parse: Parse, default: int | str
) -> npt.NDArray[Any]:
    """A column in which the same few cells come again and again, as an array, whether it is given or not."""
    values = _Values(parse, default)
    try:
        if name not in given:
            return np.full(count, values[""], dtype)
        return np.fromiter(map(values.__getitem__, given[name]), dtype, count)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None


class _Values(dict[str, int]):
    """The values of cells; an empty one has the value ``default``, or is refused when that is the reason why not."""

    def __init__(self, parse: Parse, default: int | str) -> None:
        super().__init__()
        self.parse = parse
        self.default = default

    def __missing__(self, text: str) -> int:
        word = text.strip()
        value = self.parse(word) if word else self.default
        if isinstance(value, str):
            raise ValueError(value)
        self[text] = value
        return value


def _number(xlen: int, text: str) -> int:
    """The number in a cell, of ``xlen`` bits at most."""
    try:
        value = parse_address(text)
    except ValueError as error:
        long = len(text) > LONGEST_SHOWN
        raise ValueError(f"{_short(text)} is not an address" if long else str(error)) from None
    if value >> xlen:
        raise ValueError(f"{_short(text)} is no number of {xlen} bits")
    return value


def _word(words: Mapping[str, int]) -> Parse:
    """Make numbers of ``words``, whatever their case."""
    values = {word.lower(): value for word, value in words.items()}

    def parse(text: str) -> int:
        if text.lower() not in values:
            raise ValueError(f"{_short(text)} is none of {', '.join(words)}")
        return values[text.lower()]

    return parse
