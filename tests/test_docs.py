"""What README and docs/ show is what the program does, and their links lead somewhere."""

from __future__ import annotations

import importlib
import inspect
import re
from pathlib import Path

import pytest

from tools import kept, make_docs

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def test_every_output_shown_is_what_the_program_prints(capsys):
    status = kept.main("", make_docs.stale(), ["--check"])
    assert (capsys.readouterr().out, status) == ("", 0)


def test_a_false_output_of_a_command_is_put_right():
    text = "<!-- output: pagebook maps --space kernel | head -1 -->\n```console\n$ pagebook\nlies\n```\n"
    right = make_docs.page(text, "text")
    assert "\n$ pagebook maps --space kernel | head -1\nkernel: Sv39, root 0x87fff000, " in right
    assert make_docs.page(right, "right") == right


def test_a_false_output_of_an_example_is_put_right():
    text = "Words\n\n```pycon\n>>> 1 + 1\n3\n>>> print()\n>>> 1 / 0\n'infinity'\n```\n"
    right = make_docs.page(text, "text")
    error = "Traceback (most recent call last):\n    ...\nZeroDivisionError: division by zero"
    assert right == f"Words\n\n```pycon\n>>> 1 + 1\n2\n>>> print()\n<BLANKLINE>\n>>> 1 / 0\n{error}\n```\n"
    assert make_docs.page(right, "right") == right


def test_the_picture_shows_the_words_of_the_program_and_fetches_nothing():
    drawn = (ROOT / "docs" / "boot.svg").read_text(encoding="utf-8")
    assert make_docs.words(drawn)[0] == "$ pagebook boot\n"
    assert "kvmmap" in "".join(make_docs.words(drawn))
    assert "url(" not in drawn


def headings(path):
    titles = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), re.M)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_every_link_between_pages_leads_to_a_file_and_a_heading(path):
    for target in re.findall(r"\]\((?!https?:)([^)\s]+)\)", path.read_text(encoding="utf-8")):
        name, _, anchor = target.partition("#")
        other = path.parent / name if name else path
        assert other.exists(), target
        assert not anchor or anchor in headings(other), target


def test_every_python_signature_in_the_tables_of_the_model_is_the_function_s_own():
    module, checked = "", 0
    for line in (ROOT / "docs" / "xv6.md").read_text(encoding="utf-8").splitlines():
        module = line.rpartition("`pagebook.xv6.")[2].rstrip("`") if line.startswith("### ") else module
        found = re.fullmatch(r"\|.*\| `(?:(\w+)\.)?(\w+)\((.*)\)` \|", line)
        if found:
            function = getattr(importlib.import_module(f"pagebook.xv6.{found[1] or module}"), found[2])
            assert ", ".join(inspect.signature(function).parameters) == found[3]
            checked += 1
    assert checked == 48
