"""A report as a file, and the parts it is made of."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from calls import call, on_terminal, saved
from pagebook.checks.registry import BY_ID
from pagebook.cli import publishing
from pagebook.views.report import page as whole
from pagebook.views.report.markup import Html, element, plain
from pagebook.views.report.story import story
from pagebook.views.svg.themes import THEMES
from pagebook.xv6.boot import machine as machine_of
from reported import WHEN, Page, checked, report


def test_the_file_is_report_html_unless_a_name_is_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    answer = call("report --ram 2M").must(0)
    assert re.fullmatch(r"written: report\.html, \d+K; open it in a browser\n", answer.out)
    call("report --ram 2M -o other.html").must(0)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other.html", "report.html"]
    checked((tmp_path / "report.html").read_text(encoding="utf-8"))


def test_a_pipe_gets_the_same_bytes_as_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pagebook.cli.publishing.shlex.join", lambda words: "the words")
    monkeypatch.setattr("pagebook.cli.publishing.datetime", type("Clock", (), {"now": staticmethod(lambda: WHEN)}))
    call(["report", "rules", "-o", tmp_path / "a.html"]).must(0)
    assert (tmp_path / "a.html").read_text(encoding="utf-8") == call("report rules -o -").must(0).out


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("--walk", "zz:"), "'' is not an address"),
        (("--walk", "nobody:0"), "has no address space 'nobody'"),
        (("--walk", ":0"), "has no address space ''"),
        (("--walk", "0x10000000000000000"), "is no 64-bit address"),
        (("--walk", "0", "--size", "3", "--access", "amo"), "its size is a power of two"),
        (("--access", "store"), "add --walk [SPACE:]VA"),
        (("--svnapot",), "add --walk [SPACE:]VA"),
        (("--walk", "0") * 33, "give at most 32"),
        (("no-such-file",), "there is no file"),
        (("-o", "."), "it is a directory, not a file"),
        (("-o", "no/such/folder/report.html"), "No such file or directory"),
    ],
    ids=lambda value: " ".join(value[:3]) if isinstance(value, tuple) else None,
)
def test_bad_words_are_refused_and_nothing_is_written(
    words: tuple[str, ...], why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    model = () if "no-such-file" in words else ("--ram", "2M")
    assert why in call(["report", *words, *model]).refusal
    assert list(tmp_path.iterdir()) == []


def test_ctrl_c_leaves_the_old_report_and_nothing_beside_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    path = tmp_path / "report.html"
    path.write_text("the old one")
    monkeypatch.setattr(publishing, "page", interrupted)
    call(["report", "rules", "-o", path]).must(130)
    monkeypatch.undo()
    monkeypatch.setattr("pagebook.files.Path.replace", interrupted)
    call(["report", "rules", "-o", path]).must(130)
    assert [(one.name, one.read_text()) for one in tmp_path.iterdir()] == [("report.html", "the old one")]


def test_the_report_that_was_there_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    path.write_text("the old one")
    call(["report", "rules", "-o", path]).must(0)
    checked(path.read_text(encoding="utf-8"))
    assert [one.name for one in tmp_path.iterdir()] == ["report.html"]


def test_a_slow_report_says_on_a_terminal_how_far_it_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("pagebook.cli.output.PATIENCE", -1.0)
    answer = call(["report", "rules", "-o", tmp_path / "r.html"], terminal=True)
    assert "making the report: " in answer.err and answer.status == 0
    assert "making" not in call(["report", "rules", "-o", tmp_path / "r.html"]).err


def test_it_reads_well_on_a_terminal_too(tmp_path: Path) -> None:
    status, shown = on_terminal(f"report rules -o {tmp_path}/r.html")
    assert (status, shown.count("\n")) == (0, 1) and shown.startswith(f"written: {tmp_path}/r.html")


def test_text_becomes_an_element_and_markup_stays() -> None:
    made = element("p", "a < b & c", element("b", '"'), Html("<i></i>"), class_="x<y", hidden=True, title=None)
    assert made == '<p class="x&lt;y" hidden>a &lt; b &amp; c<b>"</b><i></i></p>'
    assert element("meta", charset="utf-8") == '<meta charset="utf-8">'
    assert plain("a\u202eb\n\ud800") == "a\\u202eb\\u000a\\ud800"


@given(st.text())
def test_any_text_comes_out_as_it_went_in_but_for_what_cannot_be_shown(text: str) -> None:
    read = Page(str(element("b", text)))
    assert read.text == plain(text) and [tag for tag, _ in read.elements] == ["b"]
    assert Page(str(element("p", title=text))).elements == [("p", {"title": plain(text)})]


def test_a_story_links_only_to_what_the_same_report_tells() -> None:
    assert '<a href="#PB105">PB105</a>' in story("PB013", {"PB105"})
    assert "<a" not in story("PB013", ()) and "PB105" in story("PB013", ())


@pytest.mark.parametrize("id", BY_ID)
def test_every_rule_has_a_story(id: str) -> None:
    made = story(id, BY_ID)
    assert made.startswith("<h4>What it means</h4>") and "<h4>What to do</h4>" in made
    assert set(re.findall(r'href="#(\w+)"', made)) <= set(BY_ID)
    assert Page(made).elements


def test_the_page_has_every_colour_of_the_figures_in_every_theme() -> None:
    style = whole.style()
    assert "/*" not in style
    for theme in ("light", "dark", "print"):
        for name, colour in THEMES[theme].items():
            assert f"--{name}: {colour};" in style


def test_help_fits_a_terminal_of_80_columns() -> None:
    shown = call("report --help").must(0).out
    assert max(map(len, shown.splitlines())) <= 80 and "..." not in shown


def test_every_example_in_the_help_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "m.core").write_bytes(saved().read_bytes())
    examples = re.findall(r"^  pagebook (report.*)$", call("report --help").out, re.M)
    assert len(examples) == 3
    for words in examples:
        if " qemu" not in words:
            call(words).must(0)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["fault.html", "m.core", "report.html"]


def test_the_model_that_every_verb_boots_is_what_is_told() -> None:
    from pagebook.targets import ModelOptions, boot_model

    machine = machine_of(boot_model(ModelOptions(ram=2 << 20)))
    assert "What sh maps: 6 runs" in report(machine, ("sh", 0x2FF8)).tables
