"""The notebooks of docs/ run, show what is so, and are what Jupyter reads."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "docs" / "notebooks").glob("*.ipynb"))


def python(code: str) -> subprocess.CompletedProcess[str]:
    """Run code with the tool as ``tool``, in a process of its own: IPython takes over the one it is in."""
    loading = "import json; from tools import kept, make_notebooks as tool\n"
    return subprocess.run([sys.executable, "-c", loading + code], cwd=ROOT, capture_output=True, text=True, timeout=300)


def test_every_notebook_runs_and_shows_what_is_so():
    command = [sys.executable, "-m", "tools.make_notebooks", "--check"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert (done.stdout, done.stderr, done.returncode) == ("", "", 0)


def test_a_notebook_that_shows_something_false_is_put_right(tmp_path: Path):
    text = NOTEBOOKS[0].read_text(encoding="utf-8")
    assert text.count("gerp: not found") == 2
    (tmp_path / NOTEBOOKS[0].name).write_text(text.replace("gerp: not found", "gerp: found"), encoding="utf-8")
    done = python(
        f"from pathlib import Path; kept.ROOT = tool.ROOT = tool.NOTEBOOKS = Path({str(tmp_path)!r})\n"
        "for words in (['--check'], [], ['--check']): print(kept.main('', tool.stale(), words))"
    )
    assert "(shown)" in done.stdout and done.stdout.count("-cell 5: exec: gerp: found\n") == 1
    assert done.stdout.splitlines()[-1] == "0"
    assert (tmp_path / NOTEBOOKS[0].name).read_text(encoding="utf-8") == text


CELLS = {
    "1 / 0": "cell 1 raises or warns",
    "import warnings; warnings.warn('old')": "cell 1 raises or warns",
    "1 +": "SyntaxError",
}


@pytest.mark.parametrize("source", CELLS)
def test_a_cell_that_raises_or_warns_ends_it(source: str):
    cell = {"cell_type": "code", "source": [source]}
    done = python(f"list(tool.run([{cell!r}], 'a notebook'))")
    assert done.returncode == 1 and CELLS[source] in done.stderr


SHOWS = """
print("one\\ntwo")
class Shown:
    _repr_html_ = lambda self: "<b>x</b> &lt;"
    __repr__ = lambda self: "plain"
Shown()
"""


def test_what_a_cell_prints_and_shows_is_kept_as_a_notebook_keeps_it():
    done = python(
        f"cells = list(tool.run([{{'cell_type': 'code', 'source': [{SHOWS!r}]}}], 'a'))\n"
        "print(json.dumps([cells[0]['outputs'], tool.words(cells)]))"
    )
    (printed, shown), words = json.loads(done.stdout)
    assert printed == {"name": "stdout", "output_type": "stream", "text": ["one\n", "two\n"]}
    assert shown["data"] == {"text/html": ["<b>x</b> &lt;"], "text/plain": ["plain"]}
    assert words == [f"cell 1: {word}\n" for word in ("one", "two", "x", "<", "plain")]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_whole_runs_top_to_bottom_and_its_links_lead_somewhere(path: Path):
    found = json.loads(path.read_text(encoding="utf-8"))
    assert (found["nbformat"], found["nbformat_minor"], found["metadata"]["language_info"]) == (
        4,
        5,
        {"name": "python"},
    )
    ids = [cell["id"] for cell in found["cells"]]
    assert len(set(ids)) == len(ids) and all(re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", one) for one in ids)
    code = [cell for cell in found["cells"] if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1))
    for cell in found["cells"]:
        for target in re.findall(r"\]\((?!https?:)([^)#\s]+)", "".join(cell["source"])):
            assert (path.parent / target).exists(), target
    assert path.stat().st_size < 500_000
    assert "/tmp/" not in path.read_text(encoding="utf-8") and str(ROOT) not in path.read_text(encoding="utf-8")
