"""Run the notebooks of docs/notebooks, every cell in its order, and write again what they show.

    python -m tools.make_notebooks            run all, and write those that are not as they are now
    python -m tools.make_notebooks --check    run all, show what is stale, write nothing, and exit 1 if there is any

The cells run in IPython itself, which is what runs in the kernel of a notebook, but in this process: there are no
sockets, no kernel that must be installed, and none that dies.  A cell that raises or warns ends it.  Stale is what
people read, text and the words of HTML and figures; how these look may change without a notebook being stale.
"""

from __future__ import annotations

import difflib
import html
import io
import json
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from typing import Any
from urllib.parse import unquote

from tools import kept
from tools.kept import ROOT, Stale

NOTEBOOKS = ROOT / "docs" / "notebooks"
KEPT = ("text/html", "text/plain")
IMAGE = re.compile(r'<img [^>]*src="data:image/svg\+xml,([^"]*)"/>')

Cell = dict[str, Any]


def run(cells: list[Cell], name: str) -> Iterator[Cell]:
    """The cells with the outputs that they have now; exits where one raises."""
    from IPython.core.displayhook import CapturingDisplayHook
    from IPython.core.displaypub import CapturingDisplayPublisher
    from IPython.core.interactiveshell import InteractiveShell
    from traitlets.config import Config

    config = Config()
    config.HistoryManager.enabled = False
    InteractiveShell.clear_instance()
    shell = InteractiveShell.instance(config=config)  # the one that display() asks for
    number = 0
    for cell in cells:
        if cell["cell_type"] != "code":
            yield cell
            continue
        number += 1
        published = shell.display_pub = CapturingDisplayPublisher()
        hook = shell.display_trap.hook = CapturingDisplayHook(shell, published.outputs)
        with redirect_stdout(io.StringIO()) as out, redirect_stderr(io.StringIO()) as err:
            result = shell.run_cell("".join(cell["source"]), store_history=True)
        if not result.success or err.getvalue():
            sys.exit(f"{name}: cell {number} raises or warns\n{out.getvalue()}{err.getvalue()}")
        yield {**cell, "execution_count": number, "outputs": list(_outputs(out.getvalue(), hook.outputs, number))}


def _outputs(printed: str, shown: list[dict[str, Any]], number: int) -> Iterator[Cell]:
    """What a cell printed, then what it showed, as a notebook keeps it."""
    if printed:
        yield {"name": "stdout", "output_type": "stream", "text": _lines(printed)}
    for output in shown:
        data = {kind: _lines(output["data"][kind]) for kind in KEPT if kind in output["data"]}
        yield {"data": data, "execution_count": number, "metadata": {}, "output_type": "execute_result"}


def _lines(text: str) -> list[str]:
    return text.splitlines(keepends=True)


def words(cells: list[Cell]) -> list[str]:
    """What people read in the outputs, line by line, with the number of the cell."""
    said = []
    for number, cell in enumerate(cells, 1):
        for output in cell.get("outputs", []):
            data = output.get("data", {"text/plain": output.get("text", [])})
            for kind in sorted(data):
                text = "".join(data[kind])
                if kind == "text/html":
                    text = IMAGE.sub(lambda image: unquote(image[1]), text)
                    text = re.sub(r"<style.*?</style>|<[^>]*>", "\n", text, flags=re.S)
                    text = re.sub(r"\n\s*", "\n", html.unescape(text).strip())
                said += [f"cell {number}: {line}\n" for line in text.splitlines()]
    return said


def stale() -> Iterator[Stale]:
    """Every notebook that has changed."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ["IPYTHONDIR"] = folder
        os.chdir(folder)  # a notebook may write files
        yield from _stale()
        os.chdir(ROOT)


def _stale() -> Iterator[Stale]:
    for path in sorted(NOTEBOOKS.glob("*.ipynb")):
        text = path.read_text(encoding="utf-8")
        old = json.loads(text)
        new = {**old, "cells": list(run(old["cells"], path.name))}
        right = json.dumps(new, indent=1, ensure_ascii=False, sort_keys=True) + "\n"  # as Jupyter writes it
        if right != text:
            before, after, name = words(old["cells"]), words(new["cells"]), str(path.relative_to(ROOT))
            diff = difflib.unified_diff(before, after, f"{name} (shown)", f"{name} (true)")
            yield Stale(path, right, list(diff))


if __name__ == "__main__":
    sys.exit(kept.main(__doc__, stale(), sys.argv[1:]))
