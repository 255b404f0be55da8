"""The figures of the page are those of the verb draw, byte for byte."""

from __future__ import annotations

import pytest

from calls import call
from pagebook.targets import ModelOptions, opened
from pagebook.web.app import make_app
from pagebook.web.figures import FIGURES
from pagebook.web.looks import Looks
from test_web import PORT, TOKEN, api, refused


@pytest.fixture(scope="module")
def app():
    with opened("xv6", ModelOptions(ram=4 << 20)) as target:
        yield make_app(Looks(target, moves=False), "127.0.0.1", PORT, TOKEN)


DRAWN = {
    "memory": ("", ""),
    "page": ("pa=0x80001000", "0x80001000"),
    "layout": ("space=sh", "--space sh"),
    "page-table": ("space=sh&table=0x8037a000", "--space sh --table 0x8037a000"),
    "directories": ("space=sh&va=0x1000", "0x1000 --space sh"),
    "walk": ("space=sh&va=0x1000&access=store&priv=S&sum=1", "0x1000 --space sh --access store --priv S --sum"),
}


@pytest.mark.parametrize("theme", ["light", "dark", "print"])
@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_of_the_page_is_that_of_the_verb(app, name, theme):
    query, words = DRAWN[name]
    found = api(app, "figure", f"of={name}&theme={theme}&{query}")
    drawn = call(f"draw {name} {words} --theme {theme} --ram 4M").must(0).out
    assert found["svg"] == drawn
    assert f"<title>{found['title']}</title>" in drawn
    assert found["description"]


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("", "of is one of memory, page, layout"),
        ("of=dragon", "of is one of memory, page, layout"),
        ("of=memory&theme=pink", "theme is one of light, dark, print"),
        ("of=layout", "the request needs space="),
        ("of=layout&space=nobody", "nobody"),
        ("of=page&pa=0x1234", "0x1234 is no address of this machine's RAM"),
        ("of=walk&space=sh&va=x", "is not an address"),
        ("of=page-table&space=sh&table=0x7", "0x7"),
    ],
)
def test_what_no_figure_is_drawn_of_is_refused(app, query, said):
    assert said in refused(app, "figure", query)
