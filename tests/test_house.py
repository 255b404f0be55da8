"""The house rules that no linter knows."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from importlinter.cli import lint_imports

import pagebook

ROOT = Path(__file__).parents[1]
SOURCES = sorted((ROOT / "src").rglob("*.py"))
PROGRAMS = ROOT / "src" / "pagebook" / "xv6" / "programs"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
LONGEST = 450


def test_every_room_imports_only_from_the_rooms_below_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(ROOT)
    status = lint_imports(config_filename="pyproject.toml", no_cache=True)
    assert status == 0, capsys.readouterr().out


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT / "src")))
def test_a_file_that_grows_past_450_lines_becomes_two(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= LONGEST


@pytest.mark.parametrize(
    "words",
    [
        "--help",
        "boot --help",
        "maps --help",
        "tree --help",
        "walk --help",
        "translate --help",
        "draw --help",
        "draw layout --help",
        "report --help",
        "--version",
    ],
)
def test_help_loads_nothing_heavy(words: str) -> None:
    code = f"""
import sys
sys.argv = ["pagebook", *{words.split()!r}]
from pagebook.cli import main
try:
    main()
finally:
    ours = {{f"pagebook.{{room}}" for room in ("cli.verbs", "cli.translating", "cases", "xv6", "sv")}}
    heavy = {{"numpy", "elftools", "rich", "json"}} | ours
    print("loaded:", sorted(heavy & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.splitlines()[-1] == "loaded: []"
    assert (done.returncode, done.stderr) == (0, "")


def test_a_refusal_of_bad_words_loads_nothing_heavy_either() -> None:
    code = "import sys; sys.argv = ['pagebook', 'walk', 'xyz']; from pagebook.cli import main; main()"
    done = subprocess.run([sys.executable, "-X", "importtime", "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert "| numpy" not in done.stderr
    assert "pagebook.units" in done.stderr  # what is loaded is told there


def test_importing_the_package_imports_nothing_else() -> None:
    code = "import sys, pagebook; print([name for name in sys.modules if name.startswith(('pagebook.', 'numpy'))])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "[]\n"


def test_the_version_is_the_same_everywhere() -> None:
    assert PROJECT["project"]["version"] == pagebook.__version__


def test_every_program_that_the_model_loads_has_its_source_beside_it() -> None:
    names = {path.name for path in PROGRAMS.iterdir() if path.is_file()}
    built = {name for name in names if "." not in name and name != "Makefile"}
    assert built == {"init", "sh", "initcode"}
    for name in built:
        assert {f"{name}.c", f"{name}.S"} & names, f"{name} has no source"
        assert re.search(rf"^[\w ]*\b{name}\b[\w ]*:", (PROGRAMS / "Makefile").read_text(), re.M), (
            f"no rule makes {name}"
        )


def test_the_command_is_there_under_its_name() -> None:
    assert PROJECT["project"]["scripts"] == {"pagebook": "pagebook.__main__:main"}
    assert (ROOT / "src" / "pagebook" / "py.typed").exists()
