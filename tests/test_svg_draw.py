"""The verb draw: files, themes, words that are wrong."""

from __future__ import annotations

import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from pagebook.cli import main
from pagebook.cli.drawing import draw

FIGURES = (
    "directories", "layout", "memory", "page", "page-table", "physical-address", "pte", "tlb", "virtual-address",
    "walk",
)  # fmt: skip


def run(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    monkeypatch.setattr(sys, "argv", ["pagebook", "draw", *words])
    with pytest.raises(SystemExit) as ended:
        main()
    return ended.value.code or 0


def test_these_are_the_figures():
    assert draw.list_commands(None) == list(FIGURES)


@pytest.mark.parametrize("figure", FIGURES)
def test_help_of_every_figure_has_an_example(figure: str, monkeypatch: pytest.MonkeyPatch, capsys):
    assert run(monkeypatch, figure, "--help") == 0
    out = capsys.readouterr().out
    assert f"pagebook draw {figure}" in out
    assert "--theme" in out and "--output" in out


def test_a_figure_goes_to_standard_output_or_to_the_file(monkeypatch: pytest.MonkeyPatch, capsys, tmp_path: Path):
    assert run(monkeypatch, "pte", "0x21fdd0c7") == 0
    shown = capsys.readouterr().out
    assert run(monkeypatch, "pte", "0x21fdd0c7", "-o", str(tmp_path / "pte.svg")) == 0
    assert (tmp_path / "pte.svg").read_text(encoding="utf-8") == shown
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(("name", "start"), [("a.png", b"\x89PNG"), ("a.PDF", b"%PDF")])
def test_the_end_of_the_name_chooses_what_is_written(
    name: str, start: bytes, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    assert run(monkeypatch, "virtual-address", "-o", str(tmp_path / name)) == 0
    assert (tmp_path / name).read_bytes().startswith(start)


def test_another_end_is_refused_before_anything_is_read(monkeypatch: pytest.MonkeyPatch, capsys, tmp_path: Path):
    path = tmp_path / "figure.gif"
    assert run(monkeypatch, "memory", "no-such-target", "-o", str(path)) == 2
    assert "ends neither in .svg nor in .png nor in .pdf" in capsys.readouterr().err
    assert not path.exists()


def test_without_typst_a_png_is_refused_and_nothing_is_written(monkeypatch: pytest.MonkeyPatch, capsys, tmp_path: Path):
    monkeypatch.setitem(sys.modules, "typst", None)
    assert run(monkeypatch, "pte", "-o", str(tmp_path / "pte.png")) == 2
    assert capsys.readouterr().err == (
        "pagebook: a figure as PNG needs typst: pip install 'pagebook[figures]'; as SVG it needs nothing\n"
    )
    assert list(tmp_path.iterdir()) == []


def test_themes_differ_in_colours_alone(monkeypatch: pytest.MonkeyPatch, capsys):
    words = {}
    for theme in ("light", "dark", "print"):
        assert run(monkeypatch, "walk", "0x401000", "rules", "--space", "v-clear", "--theme", theme) == 0
        out = capsys.readouterr().out
        words[theme] = [(e.tag, e.text, e.get("x"), e.get("y")) for e in ElementTree.fromstring(out).iter()]
    assert words["light"] == words["dark"] == words["print"]


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["page", "0x1000", "rules"], "0x1000 is no address of this machine's RAM"),
        (["page-table", "rules", "--space", "sound", "--table", "0x80003000"], "sound has no page table at 0x80003000"),
        (["layout", "rules", "--space", "nobody"], "no address space 'nobody'"),
        (["directories", "0x8000000000", "rules", "--space", "sound"], "is not canonical in Sv39"),
        (["pte", "0x100000000", "--format", "sv32"], "is no PTE of Sv32"),
        (["tlb", "rules", "--space", "sound", *["--va", "0"] * 65], "give at most 64"),
        (["memory", "/no/such/file"], "there is no file"),
    ],
    ids=lambda value: value if isinstance(value, str) else value[0],
)
def test_what_cannot_be_drawn_is_refused_in_one_sentence(words: list[str], why: str, monkeypatch, capsys):
    assert run(monkeypatch, *words) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1 and why in err
