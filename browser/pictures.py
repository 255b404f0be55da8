"""The pictures of the page that README shows, taken anew: ``python -m browser.pictures``."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright

from browser import views
from browser.serving import leaking_core, served
from browser.window import chromium

FOLDER = Path(__file__).resolve().parents[1] / "docs" / "page"
WINDOW = {"width": 1280, "height": 800}
SETTLE = 600  # milliseconds before a picture
MODEL = {
    "book": ("#view=book&by=owner&row=6&at=0x87f00000&sel=0x87f3b000", "light"),
    "walk": ("#view=walk&space=sh&va=0x2ff8&access=store", "light"),
    "time": ("#view=time&ops=fork.2&t=82427", "dark"),
}
CORE = {"checks": ("#view=checks", "light")}


def take(browser: Browser, target: str, pictures: dict[str, tuple[str, str]]) -> None:
    """A picture of each state of a target in its theme."""
    with served(target) as at:
        for name, (state, theme) in pictures.items():
            page = browser.new_page(viewport=WINDOW, color_scheme=theme)
            page.goto(at.link)
            page.wait_for_selector("body[data-ready]")
            views.go(page, state)
            page.wait_for_timeout(SETTLE)
            page.screenshot(path=FOLDER / f"{name}.png")
            page.close()


def main() -> int:
    """0; exits with the remedy where there is no browser."""
    FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as name, sync_playwright() as playwright:
        core = Path(name) / "leak.core"
        leaking_core(core)
        browser = chromium(playwright)
        take(browser, "xv6", MODEL)
        take(browser, str(core), CORE)
        browser.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
