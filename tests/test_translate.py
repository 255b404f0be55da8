"""The batch on the command line: rows in, the same rows answered out."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calls import FOLDER, Answer, call, core_of
from pagebook.cases import lines
from pagebook.machine import Machine, Space
from pagebook.mmu import Extensions, Kind
from pagebook.rows import RULE_NAMES, Rows
from pagebook.sources.elfcore import write_core
from pagebook.sv import SV32, SV39, A, D, R, U, W
from pagebook.table import AddressSpace
from pagebook.targets import open_target
from random_tables import PRIVILEGE, random_memory, random_rows, scalar
from translated import COLUMNS, HEADER, refusal, rows_of, translate
from worlds import BASE, FORMATS, World


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
