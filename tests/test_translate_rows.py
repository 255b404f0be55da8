"""What `translate` reads, and every bad row named."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calls import FOLDER, SMALL, Answer, call, saved
from pagebook.cases import lines
from pagebook.cli import main
from pagebook.errors import BadFile
from translated import HEADER, LISTED, refusal, rows_of, translate


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
