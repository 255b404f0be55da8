"""Golden vectors: cases chosen for what they cover, with the results that Spike gave, kept in golden/.

A file holds everything for one format: the tables as they are read, the cases, and the results under every set of
extensions.  Nothing is made again from a seed, so a check needs no simulator and no particular random numbers.
"""

from __future__ import annotations

import io
import lzma
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from conformance.compare import Results
from conformance.coverage import chosen_batches
from conformance.generate import Batch
from conformance.layout import CASE, NONE, RESULT, TABLE_PAGES
from conformance.plan import combinations
from conformance.tables import ptes_at
from pagebook.mmu import Extensions
from pagebook.sv import FORMATS, Format

FOLDER = Path(__file__).parent / "golden"
Arrays = dict[str, npt.NDArray[np.generic]]
U64 = np.uint64


def record(run: Callable[[Batch], Results]) -> None:
    """Choose cases anew, run them on a machine, and write the files."""
    FOLDER.mkdir(exist_ok=True)
    for format in FORMATS.values():
        every = [extensions for fmt, extensions in combinations() if fmt is format]
        arrays: Arrays = {"extensions": np.array([_bits(extensions) for extensions in every], np.uint8)}
        for batch in chosen_batches(format, every):
            arrays |= _packed(batch, [run(_under(batch, extensions)) for extensions in every])
        file = io.BytesIO()
        np.savez(file, allow_pickle=False, **arrays)
        path(format).write_bytes(lzma.compress(file.getvalue(), preset=9 | lzma.PRESET_EXTREME))


def path(format: Format) -> Path:
    """Where a format's vectors are."""
    return FOLDER / f"{format.name.lower()}.npz.xz"


def recorded(format: Format) -> Iterator[tuple[Batch, Results]]:
    """Every batch that was recorded, with what the machine did."""
    with np.load(io.BytesIO(lzma.decompress(path(format).read_bytes())), allow_pickle=False) as arrays:
        every = [_extensions(int(bits)) for bits in arrays["extensions"]]
        names = [name.partition(".")[0] for name in arrays.files if name.endswith(".op")]
        for name in names:
            batch = _unpacked(format, name, arrays)
            columns = {
                column: np.bitwise_xor.accumulate(arrays[f"{name}.after.{column}"], axis=0)
                for column in _columns(RESULT)
            }
            for number, extensions in enumerate(every):
                here = _under(batch, extensions)
                yield here, _results(here, {column: array[number] for column, array in columns.items()})


def _under(batch: Batch, extensions: Extensions) -> Batch:
    return Batch(batch.name, batch.format, extensions, batch.seed, batch.tables, batch.cases)


def _bits(extensions: Extensions) -> int:
    return extensions.svadu | extensions.svnapot << 1 | extensions.svpbmt << 2


def _extensions(bits: int) -> Extensions:
    return Extensions(bool(bits & 1), bool(bits & 2), bool(bits & 4))


def _columns(dtype: np.dtype[np.void]) -> list[str]:
    """The fields of a record, those of two words as two: ``pte0`` and ``pte1``."""
    names = dtype.names or ()
    return [name + number for name in names for number in (("0", "1") if dtype[name].shape else ("",))]


def _column(records: npt.NDArray[np.void], name: str) -> npt.NDArray[np.generic]:
    return records[name[:-1]][..., int(name[-1])] if name[-1] in "01" else records[name]


def _packed(batch: Batch, results: list[Results]) -> Arrays:
    """One group's arrays: of the results, how they differ from what the case says and from the extensions before."""
    at = np.flatnonzero(batch.tables)
    found: Arrays = {"table.at": at.astype(np.uint32), "table.pte": batch.tables.reshape(-1)[at]}
    found |= {name: _column(batch.cases, name) for name in _columns(CASE)}
    every = np.stack([_against_case(batch, result) for result in results])
    for name in _columns(RESULT):
        column = _column(every, name)
        found[f"after.{name}"] = column ^ np.concatenate([np.zeros_like(column[:1]), column[:-1]])
    return {f"{batch.name}.{name}": array for name, array in found.items()}


def _against_case(batch: Batch, results: Results) -> Results:
    """Results with what the case says anyway taken out, or put back: the same words on both ways."""
    out = results.copy()
    out["pte"] ^= ptes_at(batch.tables, batch.cases["pte"], batch.format)
    out["tval"] ^= batch.cases["va"]
    out["witness"] ^= NONE
    return out


def _unpacked(format: Format, name: str, arrays: Arrays) -> Batch:
    tables = np.zeros(TABLE_PAGES * format.entries, np.uint64)
    tables[arrays[f"{name}.table.at"]] = arrays[f"{name}.table.pte"]
    cases = np.zeros(len(arrays[f"{name}.op"]), CASE)
    for column in _columns(CASE):
        _column(cases, column)[:] = arrays[f"{name}.{column}"]
    return Batch(name, format, Extensions(), 0, tables.reshape(TABLE_PAGES, -1), cases)


def _results(batch: Batch, columns: Arrays) -> Results:
    out = np.zeros(len(batch.cases), RESULT)
    for name, column in columns.items():
        _column(out, name)[:] = column
    return _against_case(batch, out)
