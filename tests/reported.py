"""Reports taken apart."""

from __future__ import annotations

import re
from collections import Counter
from datetime import UTC, datetime
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

from calls import call
from pagebook.checks.looks import check
from pagebook.checks.registry import choose
from pagebook.explain import explain, regime_of
from pagebook.ledger import Ledger
from pagebook.machine import Machine
from pagebook.mmu import Kind, Mmu
from pagebook.views.report import page as whole
from pagebook.views.report.found import MOST_BYTES, About, Found
from pagebook.views.report.page import page

ROOT = Path(__file__).parents[1]
VOID = {"meta"}
EVIL = "<script>alert(1)</script><img src=x onerror=alert(2)>&amp;\"'</title></svg>\u202e\x1b[31m\x00"
WHEN = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


class Page(HTMLParser):
    """A report taken apart: its elements in order, with everything closed that was opened."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.text = ""
        self.open: list[str] = []
        self.rows: list[list[str]] = []
        self.tables: dict[str, list[list[str]]] = {}
        self.style = ""
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_decl(self, decl: str) -> None:
        assert decl == "doctype html" and not self.elements

    def handle_pi(self, data: str) -> None:
        raise AssertionError(data)

    def handle_comment(self, data: str) -> None:
        raise AssertionError(data)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len({name for name, _ in attrs}) == len(attrs), attrs
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        elif tag in ("th", "td"):
            self.rows[-1].append("")
        elif tag == "table":
            self.rows = []
        elif tag == "caption":
            self.tables[""] = []

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert "svg" in self.open  # HTML has no such form
        self.handle_starttag(tag, attrs)
        self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open.pop() == tag, (tag, self.open)
        self.text += "\n" if tag in ("p", "tr", "li", "h1", "h2", "h3", "h4") else ""

    def handle_data(self, data: str) -> None:
        if "style" in self.open:
            self.style += data
            return
        self.text += data
        if self.open and self.open[-1] == "caption":
            self.tables[data] = self.rows
        if {"th", "td"} & set(self.open) and "caption" not in self.open:
            self.rows[-1][-1] += data

    def all(self, tag: str) -> list[dict[str, str]]:
        """The attributes of every element with that name."""
        return [attributes for name, attributes in self.elements if name == tag]


def checked(html: str) -> Page:
    """A report that keeps every promise of form."""
    assert len(html.encode()) <= MOST_BYTES
    found = Page(html)
    tags = {tag for tag, _ in found.elements}
    assert not tags & {"script", "img", "iframe", "object", "embed", "link", "base", "form", "audio", "video", "use"}
    for tag, attributes in found.elements:
        assert not {"src", "srcset", "action", "data", "xlink:href", "background", "poster"} & set(attributes), tag
        assert not [name for name in attributes if name.startswith("on")], attributes
        assert attributes.get("href", "#").startswith("#")
        assert "url(" not in attributes.get("style", "")
    assert "@import" not in found.style and "url(" not in found.style
    policies = [one for one in found.all("meta") if one.get("http-equiv") == "Content-Security-Policy"]
    assert [one["content"] for one in policies] == [whole.POLICY] and whole.POLICY.startswith("default-src 'none'")

    ids = Counter(attributes["id"] for _, attributes in found.elements if "id" in attributes)
    assert [id for id, count in ids.items() if count > 1] == []
    led = {one["href"][1:] for one in found.all("a")}
    led |= {
        word
        for _, attributes in found.elements
        for name in ("aria-labelledby", "aria-describedby")
        for word in attributes.get(name, "").split()
    }
    led |= set(re.findall(r'"url\(#([\w-]+)\)"', html))
    assert led <= set(ids)

    levels = [int(tag[1]) for tag, _ in found.elements if re.fullmatch(r"h\d", tag)]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    assert {"header", "nav", "main", "footer", "h1"} <= tags and found.all("html")[0]["lang"] == "en"
    figures = len(found.all("svg"))
    assert figures == len(found.all("figure")) == len(found.all("desc")) == len(found.all("title")) - 1
    assert all(one["role"] == "img" and one["aria-labelledby"] and one["aria-describedby"] for one in found.all("svg"))
    colours = set(re.findall(r"var\(--([\w-]+)", html))
    assert colours <= set(re.findall(r"--([\w-]+):", found.style)) | {"wide"}
    return found


def found_of(machine: Machine, *walks: tuple[str, int], remarks: tuple[str, ...] = ()) -> Found:
    """What report finds in a machine."""
    checks = check(machine, choose()) if machine.spaces else None
    accesses = tuple(
        explain(Mmu(machine.memory), machine.space(name), regime_of(machine.space(name)), Kind.STORE, va)
        for name, va in walks
    )
    about = About("a target", "pagebook report", WHEN, "for the tests", remarks)
    return Found(about, Ledger(machine), checks, accesses)


def report(machine: Machine, *walks: tuple[str, int]) -> Page:
    return checked(page(found_of(machine, *walks), lambda _: None))


def written(*words: object, status: int = 0) -> Page:
    """The report that a call prints."""
    return checked(call(["report", *words, "-o", "-"]).must(status).out)


def frames_of(found: Page) -> tuple[list[int], int]:
    """The counts in the table of roles, and the number under them."""
    counts = [int(cells[1].replace(",", "")) for cells in found.tables["Frames by role"][1:]]
    return counts[:-1], counts[-1]
