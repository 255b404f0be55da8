"""Drive the page on the model, on a core with a lost frame, and on a guest in QEMU; ``--shots`` keeps pictures."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from playwright.sync_api import Browser, sync_playwright

from bench.owning import BASE, root_of, write_image
from browser import reports, views
from browser.axe import serious
from browser.serving import Served, digest, leaking_core, served
from browser.window import chromium

SIZES = {"phone": (390, 844), "laptop": (1280, 800), "projector": (1920, 1080)}
THEMES = ("light", "dark")
PRINTED = """usertrap(): unexpected scause 0x000000000000000f pid=7
            sepc=0x0000000000000038 stval=0x0000000000002fb0
"""
SETTLE = 400  # milliseconds before a picture
AWAKE = 2000  # milliseconds for a browser to start, with what it does in the background then


class Drive:
    """Pages of one browser: what they say on the console and whom they ask is held against them."""

    def __init__(self, browser: Browser, shots: Path | None) -> None:
        self.browser = browser
        self.shots = shots
        self.wrong: list[str] = []

    @contextmanager
    def page(self, at: Served, size: str = "laptop", theme: str = "light", refused: bool = False) -> Iterator[Any]:
        """The page as it opens by the link, in a browser that knows nothing yet.

        ``refused`` says that it will ask what is refused, which browsers write on the console.
        """
        width, height = SIZES[size]
        context = self.browser.new_context(viewport={"width": width, "height": height}, color_scheme=theme)
        page = context.new_page()
        host = urlsplit(at.link).netloc
        if not refused:
            page.on(
                "console", lambda said: said.type in ("error", "warning") and self.wrong.append(f"console: {said.text}")
            )
        worst = 401 if refused else 400
        page.on("pageerror", lambda error: self.wrong.append(f"page: {error}"))
        page.on("request", lambda one: _host(one.url) != host and self.wrong.append(f"asked {one.url}"))
        page.on("response", lambda one: one.status >= worst and self.wrong.append(f"{one.status} for {one.url}"))
        started = time.monotonic()
        page.goto(at.link)
        page.wait_for_selector("body[data-ready]")
        self.opened = time.monotonic() - started
        assert "token" not in page.url, "the token stays out of the link"
        yield page
        context.close()

    def opening(self, name: str, at: Served) -> None:
        """Print how long the page took that was opened last, from the start of the server on."""
        both = at.seconds + self.opened
        print(f"{name}: listening after {at.seconds:.2f} s, first view {self.opened:.2f} s later, in all {both:.2f} s")

    def zooming(self, name: str, gaps: list[float]) -> None:
        """Print how long the frames took that were shown while somebody zoomed."""
        median = sorted(gaps)[len(gaps) // 2]
        print(f"{name}: {len(gaps)} frames while zooming, longest {max(gaps):.0f} ms, median {median:.0f} ms")

    def look(self, at: Served, name: str, hashes: dict[str, str]) -> None:
        """axe-core on each view in both themes, and its picture in three widths."""
        for size in SIZES if self.shots else ("laptop",):
            for theme in THEMES:
                with self.page(at, size, theme) as page:
                    for view, hash in hashes.items():
                        views.go(page, hash)
                        page.wait_for_timeout(SETTLE)
                        if self.shots:
                            page.screenshot(path=self.shots / f"{name}-{view}-{size}-{theme}.png")
                        if size == "laptop":
                            self.wrong += [f"axe, {view}, {theme}: {one}" for one in serious(page)]


def _host(url: str) -> str:
    """Who is asked; what a page has made itself is asked of nobody else."""
    return urlsplit(url.removeprefix("blob:")).netloc


def model(drive: Drive, folder: Path) -> None:
    """The model: every view by hand, a walk to its end and to a fault, a link in another page."""
    with served("xv6") as at:
        with drive.page(at) as page:
            drive.opening("model", at)
            drive.zooming("model", views.book(page, "0x87f56000"))
            views.folding(page)
            views.spaces(page, "sh")
            views.walk(page, "sh", "0x1008", "store", fault=False)
            views.walk(page, "sh", "0x2ff8", "store", fault=True)
            views.checks(page, None)
            views.figure(page, "#view=book", ".leaf")
            views.figure(page, "#view=book&sel=0x87f56000", ".card")
            views.figure(page, "#view=spaces&space=sh", ".layout")
            views.figure(page, "#view=spaces&space=sh&va=0x1000", ".tables")
            views.figure(page, "#view=walk&space=sh&va=0x2ff8&access=store", ".verdict-box")
            views.tape(page)
            views.trap(page, PRINTED, "sh", "the stack overflowed into its guard page")
            views.search(page, "leaked-frame")
            told = "document.querySelector('.rule')?.hidden === false"
            views.settled(page, told, "a rule is searched for, and tells its story")
            views.search(page, "trampoline")
            link = page.url
            other = page.context.new_page()
            other.goto(link)
            other.wait_for_selector("body[data-ready]")
            assert views.state(other) == views.state(page), "a link holds the whole state"
            page.click("#theme")
            assert page.evaluate("document.documentElement.dataset.theme") == "light"
        with drive.page(at, refused=True) as page:
            views.refused(page)
        drive.look(
            at, "model",
            {
                "book": "#view=book", "frame": "#view=book&sel=0x87f56000",
                "owners": "#view=book&by=owner&row=6&at=0x87f00000&sel=0x87f5f000",
                "near": "#view=book&row=2&at=0x87f5e000&sel=0x87f5f000",
                "spaces": "#view=spaces&space=sh&va=0x1000&level=0", "walk": "#view=walk&space=sh&va=0x1008&step=2",
                "fault": "#view=walk&space=sh&va=0x2ff8&access=store", "checks": "#view=checks",
                "time": "#view=time&ops=fork.2,sbrk.3.8192&t=82500", "driven": "#view=book&ops=fork.2&sel=0x87f42000",
            },
        )  # fmt: skip


def large(drive: Drive, folder: Path) -> None:
    """16 GiB, each page of which is mapped."""
    size = 16 << 30
    path = folder / "ram"
    write_image(path, size)
    with served(f"{path}@{BASE:#x}", "--root", hex(root_of(size))) as at, drive.page(at) as page:
        drive.opening("16 GiB", at)
        drive.zooming("16 GiB", views.book(page, hex(BASE + size // 2)))
    path.unlink()


def core(drive: Drive, folder: Path) -> None:
    """A saved core in which a frame is lost: found by its finding."""
    path = folder / "leak.core"
    lost = leaking_core(path)
    with served(str(path)) as at:
        with drive.page(at) as page:
            views.checks(page, "leaked-frame", hex(lost))
            views.book(page, hex(lost))
            views.spaces(page, "init")
            views.walk(page, "init", "0x0", "store", fault=True)
            views.changes(page)
        drive.look(
            at, "core",
            {
                "checks": "#view=checks", "lost": f"#view=book&sel={lost:#x}", "spaces": "#view=spaces&space=init",
                "walk": "#view=walk&space=init&va=0x0&access=store", "time": "#view=time",
            },
        )  # fmt: skip


def guest(drive: Drive, folder: Path) -> None:
    """A guest that runs: followed, not stopped; and one that stands: not a byte is changed."""
    from guests.build import build
    from guests.harmless import Control
    from guests.qemu import running
    from pagebook.sv import SV39

    with running(build(folder), SV39.mode, folder) as one:
        assert one.ram
        with served(f"qemu:{one.pid}") as at, drive.page(at) as page:
            drive.look(
                at, "guest",
                {
                    "book": "#view=book", "spaces": "#view=spaces", "walk": "#view=walk&va=0x80000000",
                    "checks": "#view=checks", "time": "#view=time",
                },
            )  # fmt: skip
            settle = "document.getElementById('follow').hidden === false"
            views.settled(page, settle, "a guest that runs can be followed")
            space = "hart 0"
            views.book(page, "0x80000000")
            views.spaces(page, space)
            views.changes(page)
            assert one.counts_on(), "the guest runs on while the page looks"
            control = Control(one, folder)
            try:
                control.monitor.ask("stop")
                before = digest(one.ram)
                views.walk(page, space, "0x80000000", "fetch", fault=False)
                views.go(page, "#view=checks")
                page.wait_for_timeout(2000)
                assert digest(one.ram) == before, "a page that looks changes no byte"
                assert not control.monitor.running(), "a guest that stood still stands"
                control.monitor.ask("cont")
            finally:
                control.monitor.close()
            assert one.counts_on(), "the guest counts on"


def restarted(drive: Drive, folder: Path) -> None:
    """A guest that ends while it is looked at, and is started again: said, waited for, and followed."""
    from guests.build import build
    from guests.qemu import running
    from pagebook.sv import SV39

    kernel = build(folder)
    with ExitStack() as first:
        first.enter_context(running(kernel, SV39.mode, folder))
        with served(f"qmp:{folder / 'qmp'}") as at, drive.page(at) as page:
            follows = "document.getElementById('follow').textContent.includes('Live')"
            views.settled(page, follows, "a guest is followed")
            first.close()
            views.settled(page, f"!({follows})", "that it is not seen is on the button")
            views.settled(page, "document.getElementById('said').textContent.includes('ended')", "and why is said")
            with running(kernel, SV39.mode, folder):
                views.settled(page, follows, "the guest that was started again is followed")
                said = "!document.getElementById('said').textContent.includes('ended')"
                views.settled(page, said, "and no more is said that it ended")


def report(drive: Drive, folder: Path) -> None:
    """Reports as files: in every size and theme, with a script and without."""
    for name, path in reports.reports(folder).items():
        for size, window in SIZES.items():
            for theme in THEMES:
                shot = drive.shots / f"report-{name}-{size}-{theme}" if drive.shots else None
                drive.wrong += reports.look(drive.browser, path, window, theme, size == "laptop", shot)
        drive.wrong += reports.without_script(drive.browser, path)


TARGETS = {"model": model, "large": large, "core": core, "report": report, "guest": guest, "restarted": restarted}


def main() -> int:
    """0 when nothing is wrong."""
    parser = argparse.ArgumentParser(prog="python -m browser", description=__doc__)
    parser.add_argument("--shots", type=Path, help="a folder for pictures of every view")
    parser.add_argument("--only", choices=tuple(TARGETS), help="only this target")
    chosen = parser.parse_args()
    if chosen.shots:
        chosen.shots.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as name, sync_playwright() as playwright:
        folder = Path(name)
        browser = chromium(playwright)
        with browser.new_page() as blank:
            blank.wait_for_timeout(AWAKE)  # a user's runs already: what is timed is the server and the page
        drive = Drive(browser, chosen.shots)
        for target, run in TARGETS.items():
            if chosen.only in (None, target):
                run(drive, folder)
                print(f"{target}: driven")
        browser.close()
    print(
        "\n".join(dict.fromkeys(drive.wrong))
        or "no console error, no request off the host, nothing serious by axe-core"
    )
    return 1 if drive.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
