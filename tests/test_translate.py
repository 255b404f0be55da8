"""The batch on the command line: rows in, the same rows answered out, and every bad row named."""

from __future__ import annotations

import csv
import functools
import io
import json
import re
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calls import BUFFERED, FOLDER, SMALL, Answer, call, core_of, on_terminal, saved
from pagebook.cases import lines
from pagebook.cli import main, output
from pagebook.errors import BadFile
from pagebook.machine import Machine, Space
from pagebook.mmu import Extensions, Kind
from pagebook.rows import RULE_NAMES, Rows
from pagebook.sources.elfcore import write_core
from pagebook.sv import SV32, SV39, A, D, R, U, W
from pagebook.table import AddressSpace
from pagebook.targets import open_target
from random_tables import PRIVILEGE, random_memory, random_rows, scalar
from worlds import BASE, FORMATS, World

COLUMNS = ["va", "cause", "tval", "pa", "pte_pa", "pte_after", "rule"]
HEADER = ",".join(COLUMNS) + "\n"
PAGE = Path(__file__).parents[1] / "docs" / "translate.md"


def translate(words: str, fed: str | bytes = "", *, terminal: bool = False) -> Answer:
    """``pagebook translate`` of the saved machine, with ``fed`` on standard input."""
    return call(["translate", saved(), *shlex.split(words)], typed=fed, terminal=terminal)


def rows_of(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def refusal(words: str, fed: str | bytes = "") -> str:
    """The one line on standard error of a call that printed nothing else."""
    return translate(words, fed).refusal.removeprefix("pagebook: ")


# What it answers


def test_prints_to_the_letter() -> None:
    answer = translate("--space init 0 0x1fff 0x2000 0x4000 0x3ffffff000")
    assert answer == Answer(
        1,
        HEADER + "0x0,,,0x8018a000,0x80188000,0x2006285b,\n"
        "0x1fff,,,0x80187fff,0x80188008,0x20061c57,\n"
        "0x2000,13,0x2000,,0x80188010,0x20061807,supervisor-page\n"
        "0x4000,13,0x4000,,0x80188020,0x0,v-clear\n"
        "0x3ffffff000,13,0x3ffffff000,,0x8018bff8,0x2000180b,supervisor-page\n",
        "",
    )


def test_json_lines_are_the_same_with_null_where_there_is_nothing() -> None:
    plain, lined = (translate(f"--space init 0 0x4000 --format {form}") for form in ("csv", "jsonl"))
    documents = [json.loads(line) for line in lined.out.splitlines()]
    assert [list(document) for document in documents] == [COLUMNS, COLUMNS]
    assert documents[1] == {
        "va": "0x4000", "cause": 13, "tval": "0x4000", "pa": None,
        "pte_pa": "0x80188020", "pte_after": "0x0", "rule": "v-clear",
    }  # fmt: skip
    texts = [{name: "" if cell is None else str(cell) for name, cell in document.items()} for document in documents]
    assert texts == rows_of(plain.out)


def cell(rng: np.random.Generator, value: int) -> str:
    """A number as somebody may write it."""
    ways = [f"{value:#x}", f"0X{value:X}", f" {value:#x}\t", f'"{value:#x}"']
    ways += [str(value)] * (value < 10_000_000) + [f"{value:x}"] * bool(re.search("[a-f]", f"{value:x}"))
    return str(rng.choice(ways))


def written(rng: np.random.Generator, rows: Rows, default: dict[str, int]) -> str:
    """The rows as CSV: columns in any order, cells written in any way, and left out where they are the default."""
    words: dict[str, list[list[str]]] = {
        "priv": [["U", "u"], ["S", "s", " S"], [], ["M", '"m"']],
        "sum": [["0", "false"], ["1", "TRUE"]],
        "mxr": [["0", "False"], ["1", "true "]],
        "kind": [["load", "LOAD"], ["store"], ["fetch", '"Fetch"'], ["amo"]],
    }
    columns = []
    for name, values in rows._asdict().items():
        cells = []
        for value in map(int, values.tolist()):
            if value == default.get(name) and rng.random() < 0.7:
                cells.append("")
            else:
                cells.append(str(rng.choice(words[name][value])) if name in words else
                             str(value) if name == "size" else cell(rng, value))  # fmt: skip
        columns.append([name.replace("kind", "access"), *cells])
    rng.shuffle(columns)
    kept = [column for column in columns if any(column[1:])]
    text = "\n".join(map(",".join, zip(*kept, strict=True)))
    return text if rng.random() < 0.5 else text.replace("\n", "\r\n\r\n# a comment\r\n")


def machine_of(rng: np.random.Generator, number: int) -> Path:
    """A machine with a random graph of tables, whose kernel has one of them as its root."""
    fmt = FORMATS[number % len(FORMATS)]
    memory = random_memory(rng, fmt)
    path = FOLDER / "random.core"
    write_core(Machine("random", memory, (Space("kernel", AddressSpace(memory, BASE, fmt)),)), path)
    return path


@settings(max_examples=80)
@given(seed=st.integers(0, 1 << 32), number=st.integers(0, 63))
def test_every_format_tells_of_every_row_what_the_mmu_tells(seed: int, number: int) -> None:
    rng = np.random.default_rng(seed)
    fmt = FORMATS[number % len(FORMATS)]
    core = machine_of(rng, number)
    rows = random_rows(rng, fmt, 150)
    extensions = Extensions(*(bool(number >> bit & 1) for bit in range(2, 6)))
    memory = open_target(str(core)).memory
    priv, kind = int(rng.choice([0, 1, 3])), int(rng.integers(0, 4))
    default = {"satp": fmt.satp(BASE), "priv": priv, "kind": kind, "sum": 1, "mxr": 0, "size": 8}
    cases = FOLDER / "random.csv"
    cases.write_text(written(rng, rows, default), newline="")
    options = [
        f"--priv={PRIVILEGE[priv]}", f"--access={Kind(kind).name.lower()}", "--sum", "--size=8", f"--cases={cases}",
        "--svadu" if extensions.svadu else "--svade", *(["--svnapot"] if extensions.svnapot else []),
        *(["--svpbmt"] if extensions.svpbmt else []), *(["--svrsw60t59b"] if extensions.svrsw60t59b else []),
    ]  # fmt: skip
    expected = [
        {
            "va": va, "cause": cause or None, "tval": tval if cause else None, "pa": None if cause else pa,
            "pte_pa": pte_pa if read else None, "pte_after": after if read else None,
            "rule": RULE_NAMES[status] or None,
        }
        for va, (cause, tval, status, pa, pte_pa, after, read) in zip(
            rows.va.tolist(), scalar(memory, extensions, rows, fmt.xlen), strict=True
        )
    ]  # fmt: skip
    faults = any(row["cause"] for row in expected)
    for form, reader in (("csv", read_csv), ("jsonl", read_lines), ("parquet", read_parquet)):
        output = FOLDER / f"answers.{form}"
        call(["translate", core, *options, "-o", output]).must(int(faults))
        assert list(reader(output)) == expected


def read_csv(path: Path) -> Iterator[dict[str, Any]]:
    for row in rows_of(path.read_text()):
        yield {name: (text if name == "rule" else int(text, 0)) if text else None for name, text in row.items()}


def read_lines(path: Path) -> Iterator[dict[str, Any]]:
    for line in path.read_text().splitlines():
        row = json.loads(line)
        yield {name: int(cell, 0) if str(cell).startswith("0x") else cell for name, cell in row.items()}


def read_parquet(path: Path) -> Iterator[dict[str, Any]]:
    yield from pyarrow.parquet.read_table(path).to_pylist()


def test_parquet_has_unsigned_columns_that_may_be_null() -> None:
    output = FOLDER / "types.parquet"
    translate(f"0 -o {output}").must(1)
    schema = pyarrow.parquet.read_schema(output)
    assert schema.names == COLUMNS
    assert [str(field.type) for field in schema] == ["uint64", "uint8", *["uint64"] * 4, "string"]
    assert all(field.nullable for field in schema)


def test_parquet_keeps_many_rows_together_whatever_the_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "BLOCK", 64)
    monkeypatch.setattr("pagebook.cases.writing.ROW_GROUP", 100)
    output = FOLDER / "groups.parquet"
    translate(f"-o {output}", fed="0x80000000\n" * 250).must(0)
    metadata = pyarrow.parquet.read_metadata(output)
    assert metadata.num_rows == 250
    counts = [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)]
    assert len(counts) == 3
    assert min(counts[:-1]) >= 100


def test_parquet_of_no_rows_has_its_columns() -> None:
    output = FOLDER / "empty.parquet"
    translate(f"-o {output}").must(0)
    table = pyarrow.parquet.read_table(output)
    assert (table.column_names, table.num_rows) == (COLUMNS, 0)


def test_without_its_library_parquet_is_refused_with_the_call_that_brings_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    output = FOLDER / "none.parquet"
    why = "Parquet needs the library pyarrow; pip install 'pagebook[parquet]' brings it"
    assert refusal(f"0 -o {output}") == why
    assert not output.exists()


# What it reads


@pytest.mark.parametrize(
    "fed",
    [
        "0x80000000\n0x80000008\n",
        "0x80000000\n0x80000008",
        "\n  # twice\n\n0x80000000\r\n\t0x80000008  \r\n#\n",
        "80000000a\n".replace("80000000a", "0x80000000") + "0x8000_0008\n",
        "va\n0x80000000\n0x80000008\n",
        "VA \n0x80000000\n0X80000008\n",
        '"va"\n"0x80000000"\n"0x80000008"\n',
        "# cases\nva,sum\n0x80000000,\n0x80000008,0\n",
        "sum,va\n0,0x80000000\n,0x80000008\n",
        "\ufeff0x80000000\n0x80000008\n",
        "\ufeffva\n0x80000000\n0x80000008\n",
        b"# caf\xe9, \x00\xff\n0x80000000\n0x80000008\n",
    ],
)
def test_a_list_or_csv_is_read_however_it_is_laid_out(fed: str | bytes, tmp_path: Path) -> None:
    expected = translate("0x80000000 0x80000008").must(0)
    assert translate("", fed) == expected
    assert translate("--cases -", fed) == expected
    cases = tmp_path / "cases"
    cases.write_bytes(fed if isinstance(fed, bytes) else fed.encode())
    assert translate(f"--cases {cases}") == expected


def test_blocks_may_end_anywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    fed = "# first\r\nva,priv\n" + "".join(f"{0x80000000 + at:#x},{'SM'[at % 2]}\n" for at in range(40))
    expected = translate("", fed).must(0)
    assert expected.out.count("\n") == 41
    for size in (1, 2, 7, 64):
        monkeypatch.setattr(lines, "BLOCK", size)
        assert translate("", fed) == expected


def test_only_at_the_start_of_all_is_a_byte_order_mark_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    for size in (1 << 18, 1, 11):
        monkeypatch.setattr(lines, "BLOCK", size)
        answer = translate("", "0x80000000\n\ufeff0x80000000\n").must(2)
        assert "line 2: va: '\\ufeff0x80000000' is not an address" in answer.err


class Endless(io.BytesIO):
    """A file of one line without an end."""

    reads = 0

    def read1(self, size: int | None = -1, /) -> bytes:
        self.reads += 1
        assert self.reads < 100
        return b"9" * (size or 0)


def test_a_line_without_an_end_is_refused_when_it_has_grown_too_long() -> None:
    with pytest.raises(BadFile, match=r"^endless, line 1: longer than 4096 characters, so this is no case$"):
        list(lines.from_file(Endless(), "endless").blocks)


def test_no_rows_give_a_header_and_status_0() -> None:
    for fed in ("", "\n", "# nothing\n", "va\n", "va,satp"):
        assert translate("", fed) == Answer(0, HEADER, "")
        assert translate("--format jsonl", fed) == Answer(0, "", "")


def test_addresses_and_the_target_are_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cafe").write_bytes(saved().read_bytes())
    (tmp_path / "7.core").write_bytes(saved().read_bytes())
    expected = call(["translate", "0x80000000", "3fffffe000", saved()]).must(1)
    assert [row["va"] for row in rows_of(expected.out)] == ["0x80000000", "0x3fffffe000"]
    assert call("translate ./cafe 0x80000000 3fffffe000") == expected
    assert call("translate 0x80000000 7.core 3fffffe000") == expected
    assert rows_of(call(f"translate {SMALL} cafe").out)[0]["va"] == "0xcafe"
    assert call(f"translate xv6 0 {SMALL}") == call(f"translate 0 {SMALL}")


def test_json_is_short_for_json_lines() -> None:
    assert translate("--space init 0 0x4000 --json") == translate("--space init 0 0x4000 --format jsonl")
    assert translate("--space init 0 --json --format jsonl").status == 0
    answer = translate("--space init 0 --json --format csv")
    assert answer.refusal == "Error: --json and --format csv are two formats; leave one out"


def test_what_is_called_parquet_or_jsonl_is_written_so() -> None:
    for name, form in (("a.jsonl", "jsonl"), ("a.JSONL", "jsonl"), ("a.csv", "csv"), ("a", "csv"), ("jsonl", "jsonl")):
        printed = translate(f"0 --format {form}").out
        translate(f"0 -o {FOLDER}/{name}").must(1)
        if name != "jsonl":
            assert (FOLDER / name).read_text() == printed
    translate(f"0 -o {FOLDER}/a.parquet --format csv").must(1)
    assert (FOLDER / "a.parquet").read_text().startswith(HEADER)


# What rows lack


def two_pages() -> World:
    """Page 1 for U, without A and D; page 2 for S, executable only."""
    world = World()
    world.table.map(0x1000, 4096, BASE + 0x4000, R | W | U)
    world.table.map(0x2000, 4096, BASE + 0x5000, 8)
    return world


@pytest.mark.parametrize(
    ("options", "rule"),
    [
        ("0x1000", "user-page"),
        ("0x1000 --priv U", ""),
        ("0x1000 --sum", ""),
        ("0x1000 --sum --access fetch", "user-page"),
        ("0x1000 --priv u --access FETCH", "not-executable"),
        ("0x1000 --priv U --svade", "a-clear"),
        ("0x1001 --priv U --access amo", "amo-misaligned"),
        ("0x1002 --priv U --access amo", "amo-misaligned"),
        ("0x1002 --priv U --access amo --size 2", ""),
        ("0x1004 --priv U --access amo", ""),
        ("0x1ffc --priv U --size 4", ""),
        ("0x1ffc --priv U --size 8", "supervisor-page"),
        ("0x1fff --priv U", ""),
        ("0x2000", "not-readable"),
        ("0x2000 --mxr", ""),
        ("0x2000 --access store", "not-writable"),
        ("0x1000 --satp 0", "target-outside"),
        (f"{BASE:#x} --satp 0", ""),
        (f"{BASE:#x} --priv M", ""),
        (f"0x1000 --satp {SV39.satp(0x40000000):#x}", "table-outside"),
    ],
)
def test_the_options_say_what_rows_do_not(options: str, rule: str) -> None:
    core = core_of(two_pages(), "pages.core")
    [row] = rows_of(call(f"translate {core} {options}").must(int(rule != "")).out)
    assert row["rule"] == rule


def test_a_cell_goes_before_the_option() -> None:
    core = core_of(two_pages(), "pages.core")
    cases = FOLDER / "cells.csv"
    satp = SV39.satp(0x40000000)
    cases.write_text(
        "va,satp,priv,sum,mxr,access,size\n"
        "0x1000,,,,,,\n"  # U, store of 8 bytes
        "0x1000,,S,,,,\n"
        "0x1000,,s,1,,,\n"
        "0x1fff,,,,,load,1\n"
        "0x2000,,S,,,load,\n"
        "0x2000,,S,,1,load,\n"
        "0x2000,,S,,,fetch,4\n"
        f"0x1000,{satp:#x},,,,,\n"
        "0x1000,0,,,,,\n"
    )
    answer = call(f"translate {core} --cases {cases} --priv U --access store --size 8").must(1)
    assert [row["rule"] for row in rows_of(answer.out)] == [
        "", "user-page", "", "", "not-readable", "", "", "table-outside", "target-outside"
    ]  # fmt: skip
    after = rows_of(answer.out)[0]["pte_after"]
    assert int(after, 16) & (A | D) == A | D


def test_a_process_is_asked_as_itself_and_the_kernel_as_the_supervisor() -> None:
    assert translate("0").must(1).out.endswith(",v-clear\n")
    assert translate("--space init 0").must(0)
    assert translate("--space 1 0") == translate("--space init 0")
    assert translate("--space init --priv S 0").must(1).out.endswith(",user-page\n")


def test_a_table_of_32_bits_is_asked_in_32_bits() -> None:
    world = World(SV32)
    world.table.map(0xFFFF_F000, 4096, BASE + 0x4000, R)
    world.table.map(0, 4096, BASE + 0x5000, R)
    core = core_of(world, "sv32.core")
    [row] = rows_of(call(f"translate {core} 0xfffffffc --size 8").must(0).out)
    assert row["pa"] == hex(BASE + 0x4FFC)
    assert call(f"translate {core} 0xfffffffc --size 8 --xlen 32").must(0)
    assert call(f"translate {core} 0xfffffffc --satp {SV32.satp(world.table.root):#x}").must(0)
    assert call(f"translate {core} 0x100000000").refusal == ("pagebook: address 1: 0x100000000 is no 32-bit address")


def test_memory_without_spaces_is_asked_by_satp(tmp_path: Path) -> None:
    for fmt, xlen in ((SV39, ""), (SV32, "--xlen 32")):
        world = two_pages() if fmt is SV39 else World(fmt)
        world.table.map(0x5000, 4096, BASE + 0x6000, R)
        write_core(Machine("bare", world.memory, ()), tmp_path / "bare.core")
        satp = hex(fmt.satp(world.table.root))
        [row] = rows_of(call(f"translate {tmp_path}/bare.core {xlen} --satp {satp} 0x5123").must(0).out)
        assert row["pa"] == hex(BASE + 0x6123)
        (tmp_path / "cases").write_text(f"va,satp\n0x5123,{satp}\n0x5123,\n")
        answer = call(f"translate {tmp_path}/bare.core {xlen} --cases {tmp_path}/cases").must(2)
        assert answer.out.endswith(f"\n{','.join(row.values())}\n")
        assert answer.err == (f"pagebook: {tmp_path}/cases, line 3: satp: nothing says which; give --satp\n")


def test_tables_of_another_xlen_are_not_asked() -> None:
    why = "address 1: satp: nothing says which; give --satp"
    assert refusal("0 --xlen 32") == why
    assert refusal("0 --xlen 32 --space init") == why


def test_without_a_kernel_the_spaces_are_named(tmp_path: Path) -> None:
    world = World()
    spaces = tuple(Space(name, AddressSpace(world.memory, world.table.root, SV39)) for name in ("one", "two"))
    write_core(Machine("kernelless", world.memory, spaces), tmp_path / "none.core")
    why = "address 1: satp: nothing says which; give --satp, or a --space of one, two"
    assert call(f"translate {tmp_path}/none.core 0").refusal == f"pagebook: {why}"
    assert call(f"translate {tmp_path}/none.core 0 --space two").must(1)


# What it refuses


LISTED = "va, satp, priv, sum, mxr, access, size"


@pytest.mark.parametrize(
    ("fed", "why"),
    [
        ("xyz\n", f"line 1: 'xyz' is no address and no column; columns are {LISTED}"),
        ("# first\n\n-5\n", "line 3: va: '-5' is no number of 64 bits"),
        ("va,prv\n", f"line 1: 'prv' is no column; columns are {LISTED}"),
        ("cause,va\n", f"line 1: 'cause' is no column; columns are {LISTED}"),
        ("va,\n", f"line 1: '' is no column; columns are {LISTED}"),
        ("va,sum,VA\n", "line 1: the header has column va twice"),
        ("sum,priv\n0,U\n", "line 1: the header has no column va, the address"),
        ('va,"sum\n', "line 1: its quotes are not those of CSV: unexpected end of data"),
        ('"va"x,sum\n', "line 1: its quotes are not those of CSV: ',' expected after '\"'"),
        ("0x12G\n", "line 1: va: '0x12G' is not an address; write it as 0x3fffffe000 or 4096"),
        ("0x\n", "line 1: va: '0x' is not an address; write it as 0x3fffffe000 or 4096"),
        ("12345678\n", "line 1: va: is 12345678 hexadecimal? Write 0x12345678, or 0xbc614e if it is not"),
        ("0x10000000000000000\n", "line 1: va: '0x10000000000000000' is no number of 64 bits"),
        ("va\n-5\n", "line 2: va: '-5' is no number of 64 bits"),
        ("0,1\n", "line 1: 2 cells in the row; the columns are va"),
        ("va,sum\n\n0\n", "line 3: 1 cell in the row; the columns are va, sum"),
        ("va,sum\n0,0,0\n", "line 2: 3 cells in the row; the columns are va, sum"),
        ("va,sum\n,0\n", "line 2: va: '' is not an address; write it as 0x3fffffe000 or 4096"),
        ("va,sum\n0,2\n", "line 2: sum: '2' is none of 0, 1, false, true"),
        ("va,mxr\n0,yes\n", "line 2: mxr: 'yes' is none of 0, 1, false, true"),
        ("va,priv\n0,H\n", "line 2: priv: 'H' is none of U, S, M"),
        ("va,access\n0,exec\n", "line 2: access: 'exec' is none of load, store, fetch, amo"),
        ("va,size\n0,9\n", "line 2: size: '9' is none of 1, 2, 3, 4, 5, 6, 7, 8"),
        ("va,size\n0,0\n", "line 2: size: '0' is none of 1, 2, 3, 4, 5, 6, 7, 8"),
        ("va,access,size\n0,amo,3\n", "line 2: an AMO of 3 bytes: its size is a power of two"),
        ("va,satp\n0,0x5000000000000000\n", "line 2: satp 0x5000000000000000 has the reserved MODE 5"),
        ("va,satp\n0,0x1ffffffffffffffff\n", "line 2: satp: '0x1ffffffffffffffff' is no number of 64 bits"),
        ("va,satp\n0,\x1b[31m\n", "line 2: satp: '\\x1b[31m' is not an address; write it as 0x3fffffe000 or 4096"),
        ("va\n0\x000\n", "line 2: va: '0\\x000' is not an address; write it as 0x3fffffe000 or 4096"),
        (b"va\n0\xff\n", "line 2: va: '0\\\\xff' is not an address; write it as 0x3fffffe000 or 4096"),
        (b"\xff\xfe0\x00\n\x00", f"line 1: '\\\\xff\\\\xfe0\\x00' is no address and no column; columns are {LISTED}"),
        ('va,sum\n"0\n0",1\n', "line 2: its quotes are not those of CSV: unexpected end of data"),
        ("0x" + "f" * 1000, f"line 1: va: '0x{'f' * 38}...' is no number of 64 bits"),
        ("f" * 1000 + "x\nva", f"line 1: '{'f' * 40}...' is no address and no column; columns are {LISTED}"),
        ("9" * 1000, f"line 1: va: '{'9' * 40}...' is not an address"),
        ("va,priv\n0," + "U" * 1000, f"line 2: priv: '{'U' * 40}...' is none of U, S, M"),
        ("#" + "9" * 4096 + "\n", "line 1: longer than 4096 characters, so this is no case"),
        ("0\n" * 9 + "0x" + "9" * 1_000_000, "line 10: longer than 4096 characters, so this is no case"),
        ("9" * 5000 + "\n0\n", "line 1: longer than 4096 characters, so this is no case"),
    ],
)  # fmt: skip
def test_a_bad_row_is_named_with_its_line_its_column_and_what_is_there(fed: str | bytes, why: str) -> None:
    answer = translate("--priv S", fed)
    assert (answer.status, answer.err) == (2, f"pagebook: standard input, {why}\n")
    assert answer.out.count("\n") in (0, 10 if "line 10" in why else 0)


@pytest.mark.parametrize("bad", [0, 1, 2, 7, 30, 98, 99])
def test_the_rows_before_a_bad_one_are_printed_and_none_after_it(bad: int, monkeypatch: pytest.MonkeyPatch) -> None:
    cells = [f"{0x80000000 + 8 * row:#x},load" for row in range(100)]
    whole = translate("", "\n".join(["va,access", *cells])).must(0).out.splitlines(keepends=True)
    for slip in ("0x,load", "0,lod", "0,amo,1"):
        fed = "\n".join(["va,access", *cells[:bad], slip, *cells[bad + 1 :], "nonsense"])
        for size in (1 << 18, 100):
            monkeypatch.setattr(lines, "BLOCK", size)
            answer = translate("", fed).must(2)
            assert answer.out == ("".join(whole[: 1 + bad]) if bad else "")
            assert answer.err.startswith(f"pagebook: standard input, line {bad + 2}: ")


def test_after_a_bad_row_there_is_no_output_file(tmp_path: Path) -> None:
    for name in ("a.csv", "a.jsonl", "a.parquet"):
        (tmp_path / name).write_bytes(b"old")
        refusal(f"-o {tmp_path}/{name}", "0x80000000\n0x\n")
        assert (tmp_path / name).read_bytes() == b"old"
    assert len(list(tmp_path.iterdir())) == 3


@pytest.mark.parametrize(
    ("words", "why"),
    [
        ("0 --cases x", "Error: addresses and --cases do not go together"),
        ("0 --format parquet", "Error: Parquet needs a file; name it with --output"),
        ("", "Error: no addresses; give some, or --cases FILE, or a pipe that holds them"),
        ("0x12G", "Error: '0x12G' is not an address; write it as 0x3fffffe000 or 4096"),
        ("12345678", "Error: is 12345678 hexadecimal? Write 0x12345678, or 0xbc614e if it is not"),
        ("0 --satp x", "Error: Invalid value for '--satp': 'x' is not an address; write it as 0x3fffffe000 or 4096"),
        ("0 --satp 0x1000000000000000", "pagebook: satp 0x1000000000000000 has the reserved MODE 1"),
        ("0 --satp 0x100000000 --xlen 32", "pagebook: 0x100000000 is not a 32-bit satp value"),
        ("0 --access amo --size 3", "pagebook: address 1: an AMO of 3 bytes: its size is a power of two"),
        ("0 0x80000000 0x10000000000000000", "pagebook: address 3: va: '0x10000000000000000' is no number of 64 bits"),
        ("0 --space tty", "has no address space 'tty'; it has kernel, init, sh"),
        ("--cases /none", "pagebook: cannot open '/none': No such file or directory"),
        ("--cases /", "pagebook: cannot open '/': Is a directory"),
        ("0 -o /", "pagebook: cannot write '/': it is a directory, not a file"),
        ("0 -o /none/a.csv", "pagebook: cannot write '/none/a.csv': No such file or directory"),
        ("--cases /proc/self/mem", "pagebook: cannot read /proc/self/mem: Input/output error"),
        ("0 --rev 2025", "shape the model; "),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_in_one_sentence(words: str, why: str) -> None:
    answer = translate(words, terminal=not words).must(2)
    assert why in answer.err.splitlines()[-1]


def test_two_targets_are_refused() -> None:
    assert call("translate a.core b.core").refusal == (
        "Error: one word at most is the target, and none of ['a.core', 'b.core'] is an address"
    )


def test_without_a_standard_input_a_file_is_asked_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["pagebook", "translate", str(saved())])
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    why = "there is no standard input to read from; name a file with --cases"
    assert capsys.readouterr() == ("", f"pagebook: {why}\n")


@settings(max_examples=150)
@given(st.binary(max_size=60) | st.text('va,satp\n"0x 8#', max_size=40).map(str.encode))
def test_whatever_is_fed_is_answered_or_refused_in_one_line(fed: bytes) -> None:
    answer = translate("", fed)
    assert answer.status in (0, 1, 2)
    assert "Traceback" not in answer.err
    assert answer.err.count("\n") == (answer.status == 2)
    for row in rows_of(answer.out):
        assert (row["pa"] == "") == (row["cause"] != "")


# Pipes, terminals, interruptions


def child(words: str, **streams: Any) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "pagebook", "translate", str(saved()), *words.split()], env=BUFFERED, **streams
    )


def test_whoever_feeds_a_line_and_waits_gets_its_answer() -> None:
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with child("--format jsonl", **pipes) as running:
        assert running.stdin
        assert running.stdout
        late = threading.Timer(60, running.kill)
        late.start()
        for va in (0x8000_0000, 0x8000_1000, 0):
            running.stdin.write(b"%#x\n" % va)
            running.stdin.flush()
            assert json.loads(running.stdout.readline())["va"] == hex(va)
        late.cancel()
        running.stdin.close()
        assert running.wait(timeout=60) == 1


def test_a_reader_that_has_seen_enough_ends_it_silently_with_the_status_of_any_tool() -> None:
    cases = FOLDER / "many"
    cases.write_text("0x80000000\n" * 100_000)
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with child(f"--cases {cases}", **pipes) as running:
        assert running.stdout
        assert running.stderr
        assert running.stdout.readline() == HEADER.encode()
        running.stdout.close()
        assert running.stderr.read() == b""
        assert running.wait(timeout=60) == 141


def test_ctrl_c_leaves_nothing_behind(tmp_path: Path) -> None:
    pipes = {"stdin": subprocess.PIPE, "stderr": subprocess.PIPE}
    with child(f"-o {tmp_path}/a.csv", **pipes) as running:
        assert running.stdin
        assert running.stderr
        running.stdin.write(b"0x80000000\n")
        running.stdin.flush()
        while not list(tmp_path.iterdir()) and running.poll() is None:
            time.sleep(0.01)
        running.send_signal(signal.SIGINT)
        assert running.stderr.read().strip() == b"pagebook: interrupted"
        assert running.wait(timeout=60) == 130
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_one_line() -> None:
    with Path("/dev/full").open("w") as full, child("0", stdout=full, stderr=subprocess.PIPE) as running:
        assert running.stderr
        assert running.stderr.read() == b"pagebook: the system refused: No space left on device\n"
        assert running.wait(timeout=60) == 2


def test_what_takes_long_is_counted_on_a_terminal_and_wiped_away(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    cases = tmp_path / "cases"
    cases.write_text("0x80000000\n" * 1000)
    words = f"--cases {cases} -o {tmp_path}/a.csv"
    assert translate(words, terminal=True).err == ""
    monkeypatch.setattr(output, "PATIENCE", 0)
    monkeypatch.setattr(output, "PACE", 0)
    monkeypatch.setattr(lines, "BLOCK", 5500)
    assert translate(words).err == ""
    assert translate(f"--cases {cases}", terminal=True).err == ""  # the rows themselves are there
    shown = translate(words, terminal=True).err
    assert shown == f"\r500 rows, 50 %\r1,000 rows, 100 %\r{' ' * 17}\r".replace(",\r", "\r")
    fed = translate(f"--cases - -o {tmp_path}/a.csv", "0x80000000\n" * 1000, terminal=True).err
    assert fed == f"\r500 rows\r1,000 rows\r{' ' * 10}\r"


def test_progress_stays_off_where_rows_are_shown() -> None:
    status, shown = on_terminal(f"translate {saved()} 0x80000000")
    assert (status, shown) == (0, HEADER + shown.partition("\n")[2])
    assert shown.count("\n") == 2


# Help and documentation


def test_help_fits_a_terminal_of_80_columns() -> None:
    answer = call("translate --help").must(0)
    assert call("translate -h") == answer
    assert answer.out.startswith("Usage: pagebook translate [OPTIONS] [TARGET] [VA]...\n")
    assert max(map(len, answer.out.splitlines())) <= 80


def test_every_call_that_the_help_shows_works(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "m.core").write_bytes(saved().read_bytes())
    (tmp_path / "cases.csv").write_text("va,priv\n0x1000,S\n")
    examples = [line.strip() for line in call("translate -h").out.splitlines() if line.startswith("  pagebook ")]
    assert len(examples) == 3
    for example in examples:
        assert call(example.removeprefix("pagebook ")).status in (0, 1), example


@functools.cache
def fences() -> list[str]:
    return re.findall(r"^```(?:csv|console)\n(.*?)^```$", PAGE.read_text(), re.M | re.S)


def test_the_cases_that_the_page_shows_give_what_it_shows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    [cases] = [text for text in fences() if text.startswith("va,")]
    [shown] = [text for text in fences() if "--cases cases.csv" in text]
    (tmp_path / "cases.csv").write_text(cases)
    command, _, output = shown.partition("\n")
    assert call(command.removeprefix("$ pagebook ")).out == output


def test_the_page_names_every_column_in_and_out() -> None:
    text = PAGE.read_text()
    for name in {*COLUMNS, *LISTED.split(", ")}:
        assert f"| `{name}` |" in text
