"""Reports opened from disk: they ask for nothing, need no script, fit every width, and are readable for everybody."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from browser.axe import serious
from browser.serving import leaking_core

Page = Any  # of Playwright's, which is not imported to look at this file
SIDEWAYS = "document.documentElement.scrollWidth > document.documentElement.clientWidth"


def reports(folder: Path) -> dict[str, Path]:
    """Reports by name, as the command line writes them."""
    core = folder / "leak.core"
    leaking_core(core)
    calls = {
        "model": ["--walk", "sh:0x1ffe", "--access", "store", "--size", "4"],
        "leak": [str(core), "--walk", "sh:0x1000"],
        "rules": ["rules", "--walk", "misaligned-superpage:0x401000"],
    }
    written = {name: folder / f"{name}.html" for name in calls}
    for name, words in calls.items():
        subprocess.run([sys.executable, "-m", "pagebook", "report", *words, "-o", str(written[name])], check=True)
    return written


def look(
    browser: Any,  # noqa: ANN401 - one of Playwright's
    path: Path,
    size: tuple[int, int],
    theme: str,
    axe: bool,
    shot: Path | None,
) -> Iterator[str]:
    """What is wrong with a report in a window of that size, a sentence each; with everything unfolded for axe-core."""
    name = f"report {path.stem}, {size[0]} wide, {theme}"
    context = browser.new_context(viewport={"width": size[0], "height": size[1]}, color_scheme=theme)
    page = context.new_page()
    said: list[str] = []
    page.on("console", lambda one: said.append(f"{name}: console: {one.text}"))
    page.on("request", lambda one: one.url == path.as_uri() or said.append(f"{name}: asked for {one.url}"))
    page.goto(path.as_uri())
    if shot:
        page.screenshot(path=shot.with_suffix(".png"), full_page=True)
        page.pdf(path=shot.with_suffix(".pdf"), format="A4")
    if page.evaluate(SIDEWAYS):
        yield f"{name}: it is wider than the window"
    page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    if page.evaluate(SIDEWAYS):
        yield f"{name}: unfolded it is wider than the window"
    yield from (f"{name}: axe: {one}" for one in (serious(page) if axe else ()))
    yield from said
    context.close()


def without_script(browser: Any, path: Path) -> Iterator[str]:  # noqa: ANN401
    """A report in a browser that runs none: it can be unfolded and read all the same."""
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(path.as_uri())
    folded = page.locator("details:not([open])").first
    before = folded.bounding_box()["height"]
    folded.locator("summary").first.click()
    after = page.locator("details[open]").first.bounding_box()["height"]
    if after <= before or "Physical memory" not in page.locator("main").inner_text():
        yield f"report {path.stem}: without script it cannot be read"
    context.close()
