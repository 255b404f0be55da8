"""What the verb translate does: open the target, read accesses, answer them, and write the answers as they come."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple, cast

from pagebook.cases import writing
from pagebook.cases.lines import Input, from_file, from_words
from pagebook.cases.reading import Defaults, read
from pagebook.cli import NOT_MAPPED, OK
from pagebook.cli.opening import Model, open_machine
from pagebook.cli.output import count, standard_input
from pagebook.errors import BadFile
from pagebook.files import replacing
from pagebook.machine import Machine
from pagebook.mmu import Extensions, Kind
from pagebook.rows import Answers, Rows, Words, answer
from pagebook.sv import decode_satp


class Asked(NamedTuple):
    """The machine and the hart that are asked, in the words of the command line; ``xlen`` is 0 where none is given."""

    target: str
    model: Model
    space: str | None
    satp: int | None
    xlen: int
    access: dict[str, Any]
    hart: dict[str, bool]


def translate(asked: Asked, addresses: list[str], cases: str, form: str, output: str | None) -> int:
    """Answer every access, in the format ``form``; whether any faulted, as an exit status."""
    faults = False
    with _opened("" if addresses else cases) as file:
        machine = open_machine(asked.target, asked.model)
        defaults = _defaults(asked, machine)
        extensions = Extensions(**asked.hart)

        def use(rows: Rows) -> tuple[Words, Answers]:
            return rows.va, answer(machine.memory, extensions, rows, defaults.xlen)

        source = from_words(addresses) if addresses else from_file(file, _name(cases))
        with _sink(form, output) as write, _counter(file, output is not None) as count:
            for va, answers in read(source, defaults, use):
                write(va, answers)
                faults = faults or bool(answers.status.any())
                count(len(va))
    return NOT_MAPPED if faults else OK


def _name(cases: str) -> str:
    return "standard input" if cases == "-" else cases


def _opened(cases: str) -> AbstractContextManager[Input]:
    """The file to read; an empty one for no name."""
    if not cases:
        return BytesIO()
    if cases == "-":
        return nullcontext(cast("Input", standard_input("name a file with --cases")))
    try:
        return Path(cases).open("rb")
    except OSError as error:
        raise BadFile(f"cannot open {cases!r}: {error.strerror}") from error


def _defaults(asked: Asked, machine: Machine) -> Defaults:
    """What rows have that they do not say.  BadTarget when there is no such space, BadAddress when satp is none."""
    kernels = [space for space in machine.spaces if space.name == "kernel"]
    space = machine.space(asked.space) if asked.space is not None else next(iter(kernels), None)
    format = space.table.format if space else None
    xlen = asked.xlen or (format.xlen if format else 64)
    satp: int | str = _no_satp(machine, xlen)
    if asked.satp is not None:
        satp = asked.satp
        decode_satp(satp, xlen)
    elif space and format and format.xlen == xlen:
        satp = format.satp(space.table.root)
    kind = Kind[(asked.access["kind"] or "load").upper()]
    priv = asked.access["priv"] or ("S" if space is None or space.pid is None else "U")
    return Defaults(
        satp, priv, bool(asked.access["sum"]), bool(asked.access["mxr"]), kind, asked.access["size"], xlen
    )  # fmt: skip


def _no_satp(machine: Machine, xlen: int) -> str:
    names = ", ".join(space.name for space in machine.spaces if space.table.format.xlen == xlen)
    return "nothing says which; give --satp" + (f", or a --space of {names}" if names else "")


@contextmanager
def _sink(form: str, output: str | None) -> Iterator[writing.Write]:
    """Where answers are written to."""
    if output is None:
        with writing.text(writing.STYLES[form], _print) as write:
            yield write
        return
    with replacing(output) as file:
        if form == "parquet":
            sink = writing.parquet(file)
        else:
            sink = writing.text(writing.STYLES[form], lambda rows: file.write(rows.encode()))
        with sink as write:
            yield write


def _print(rows: str) -> None:
    sys.stdout.write(rows)
    sys.stdout.flush()


def _counter(file: Input, quiet: bool) -> AbstractContextManager[Callable[[int], None]]:
    """Rows counted where nothing else is shown."""
    size = _size(file)

    def said(rows: int) -> str:
        return f"{rows:,} rows" + (f", {100 * file.tell() // size} %" if size else "")

    return count(said, quiet or not sys.stdout.isatty())


def _size(file: Input) -> int:
    """How many bytes there are to read; 0 when nobody knows."""
    try:
        status = os.fstat(file.fileno())
    except OSError:
        return 0
    return status.st_size if stat.S_ISREG(status.st_mode) else 0
