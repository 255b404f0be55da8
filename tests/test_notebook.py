"""What a notebook shows: whole, small, escaped, in light and dark, and made only when a notebook asks."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from typing import Any
from urllib.parse import unquote
from xml.etree import ElementTree

import numpy as np
import pytest

import pagebook
from pagebook.columns import Columns
from pagebook.diff import compare
from pagebook.ledger import Ledger
from pagebook.machine import Area, Machine, Space, Spaces
from pagebook.memory import Memory
from pagebook.sv import SV39, R, V, W
from pagebook.table import AddressSpace
from pagebook.views import notebook
from pagebook.views.svg import fields, layout
from pagebook.xv6.boot import machine, power_on

BASE, PAGE = 0x8000_0000, 4096
HOSTILE = "<script>alert('1')</script>&\"\u202e\x1b[31m\n"
MOST = 100_000  # letters of a cell


@pytest.fixture(scope="module")
def model() -> Machine:
    return pagebook.boot()


@pytest.fixture(scope="module")
def rules() -> Machine:
    return pagebook.open("rules")


SHOWN: dict[str, Callable[[Machine, Machine], Any]] = {
    "machine": lambda m, r: m,
    "a machine of many spaces": lambda m, r: r,
    "a machine without spaces": lambda m, r: machine(power_on()),
    "spaces": lambda m, r: m.spaces,
    "space": lambda m, r: m.spaces["sh"],
    "kernel": lambda m, r: m.spaces["kernel"],
    "a space with problems": lambda m, r: r.spaces["last-pointer"],
    "address space": lambda m, r: m.spaces["sh"].table,
    "walk": lambda m, r: pagebook.walk(m.spaces["sh"], 0x3FF8),
    "a walk that ends early": lambda m, r: pagebook.walk(m.spaces["sh"].table, 0x4000),
    "access": lambda m, r: pagebook.walk(m.spaces["sh"], 0x2FF8, "store"),
    "pte": lambda m, r: pagebook.pte(0x21FDD0C7),
    "drawing": lambda m, r: fields.pte_format(SV39),
    "ledger": lambda m, r: Ledger(m),
    "owners": lambda m, r: pagebook.owners(m),
    "owner of a page": lambda m, r: pagebook.owners(m, 0x8000_6000),
    "owner of a device": lambda m, r: pagebook.owners(m, 0x1000_0000),
    "nothing found": lambda m, r: pagebook.check(m),
    "findings": lambda m, r: pagebook.check(r),
    "finding": lambda m, r: pagebook.check(r).findings[0],
    "difference": lambda m, r: compare(Ledger(m), Ledger(r)),
    "mappings": lambda m, r: m.mappings(),
    "maps": lambda m, r: m.spaces["sh"].maps(),
    "frames": lambda m, r: Ledger(m).frames(),
    "findings as a table": lambda m, r: pagebook.check(r).table(),
    "no rows": lambda m, r: pagebook.check(m).table(),
}


def figures(html: str) -> list[str]:
    """The figures of HTML as SVG."""
    return [unquote(data) for data in re.findall(r'src="data:image/svg\+xml,([^"]*)"', html)]


def words(html: str) -> str:
    """The words of HTML and of its figures, which are well-formed, as they must be; style is no word."""
    plain = [re.sub(r"<style>.*?</style>", "", one, flags=re.S) for one in (html, *figures(html))]
    return " ".join(" ".join("".join(ElementTree.fromstring(one).itertext()) for one in plain).split())


@pytest.mark.parametrize("name", SHOWN)
def test_everything_shows_itself_whole_and_small(name: str, model: Machine, rules: Machine):
    shown = SHOWN[name](model, rules)
    html = shown._repr_html_()
    assert words(html)
    assert len(html) < MOST
    assert all("<script" not in one for one in (html, *figures(html)))
    assert "http" not in html.replace("http://www.w3.org/2000/svg", "") and html.count("<img") == len(figures(html))
    assert len(repr(shown)) < 250 and "\n" not in repr(shown)


def test_what_is_shown_is_what_there_is(model: Machine, rules: Machine):
    said = words(model._repr_html_())
    assert said.startswith("xv6 (2024): 128M of RAM, 3 address spaces")
    assert "32,768 frames" in said and "49,219" in said
    sh = model.spaces["sh"]
    cells = re.findall(r"<td[^>]*>(.*?)</td>", sh._repr_html_())
    assert [cells[at] for at in (14, 15, 16, 20)] == [
        "<code>0x2000</code>", "<code>0x3000</code>", "<code>0x87f3a000</code>", "guard page"
    ]  # fmt: skip
    assert "U is 0, and the access is by user mode" in words(pagebook.walk(sh, 0x2FF8, "store")._repr_html_())
    assert "no findings: 36 rules asked" in words(pagebook.check(model)._repr_html_())
    assert "PB001" in words(pagebook.check(rules)._repr_html_())


def test_the_plain_forms_are_short_and_tell_what_it_is(model: Machine, rules: Machine):
    sh = model.spaces["sh"]
    assert repr(model) == "<Machine xv6 (2024): 128M of RAM, 3 spaces: kernel, init, sh>"
    assert repr(rules) == (
        "<Machine rules: 352K of RAM, 22 spaces: sound, amo-misaligned, non-canonical, table-outside, v-clear, 17 more>"
    )
    assert repr(sh) == "<Space sh: pid 2, Sv39, root 0x87f41000>"
    assert repr(pagebook.walk(sh, 0)) == "<Walk in sh: 0x0 is mapped to 0x87f3e000: the level-0 PTE is a leaf of 4K>"
    assert repr(pagebook.walk(sh, 0x2FF8, "store")) == (
        "<store at 0x2ff8 in sh: store/AMO page fault: U is 0, and the access is by user mode [supervisor-page]>"
    )
    assert repr(pagebook.check(model)) == "<Report on xv6 (2024): 0 findings by 36 rules>"
    assert repr(Ledger(model)) == "<Ledger of xv6 (2024): 32768 frames, each in one role>"
    assert repr(pagebook.pte(0x21FDD0C7)) == "<PTE 0x21fdd0c7 of Sv39: vrw---ad, leaf -> 0x87f74000>"


def test_a_table_of_many_rows_says_how_many_it_leaves_out(model: Machine):
    said = words(model.spaces["kernel"].mappings()._repr_html_())
    assert "49,203 of 49,219 rows are not shown" in said
    assert said.count("vrw-----") + said.count("vr-x----") == notebook.FIRST + notebook.LAST
    assert "0xc000000" in said and "0x3ffffff000" in said
    assert "52 of 68 runs are not shown" in words(model.spaces["kernel"]._repr_html_())
    short = model.spaces["kernel"].mappings()[: notebook.MOST_ROWS]
    assert "not shown" not in words(short._repr_html_())


def stripes(tables: int) -> Space:
    """A space in which every page differs from the next, so that no two are one run."""
    memory = Memory.anonymous((2 + tables) * PAGE, BASE)
    memory.write64(BASE, SV39.pte(BASE + PAGE, V))
    for number in range(tables):
        memory.write64(BASE + PAGE + 8 * number, SV39.pte(BASE + (2 + number) * PAGE, V))
    ptes = memory.regions[0].pages[2:]
    ptes[:] = SV39.pte(BASE, V | R)
    ptes[:, ::2] = SV39.pte(BASE, V | R | W)
    return Space("stripes", AddressSpace(memory, BASE))


def test_tens_of_thousands_of_runs_are_a_small_cell():
    space = stripes(60)
    assert len(space.maps()) == 60 * 512
    html = space._repr_html_()
    assert len(html) < MOST and "30,704 of 30,720 runs are not shown" in words(html)


def test_memory_in_which_every_frame_is_other_than_the_next_is_the_largest_figure_and_no_more_than_a_megabyte():
    frames = 64 * 30 * 8
    ledger = Ledger(Machine("mixed", Memory.anonymous(frames * PAGE, BASE), Spaces()))
    ledger.holdings[0].role[:] = np.random.default_rng(1).integers(0, 9, frames)
    assert len(ledger._repr_html_()) < 1_000_000


def test_a_table_that_points_at_itself_is_a_sentence():
    memory = Memory.anonymous(PAGE, BASE)
    memory.regions[0].pages[:] = SV39.pte(BASE, V)
    memory.write64(BASE + 8, SV39.pte(BASE, V | R))
    space = Space("loop", AddressSpace(memory, BASE))
    assert "lists more than" in words(space._repr_html_())
    assert "lists more than" in words(Machine("loops", memory, Spaces([space]))._repr_html_())


def test_what_stands_in_memory_is_never_markup():
    memory = stripes(1).table.memory
    memory.write64(BASE + 2 * PAGE, SV39.pte(BASE, V | W))
    areas = tuple(Area(at * PAGE, PAGE, HOSTILE * 40) for at in range(3))
    space = Space(HOSTILE * 40, AddressSpace(memory, BASE), areas, 1, PAGE, state=HOSTILE)
    one = Machine(HOSTILE, memory, Spaces([space]), areas=(Area(BASE, PAGE, HOSTILE),), guest=HOSTILE)
    report = pagebook.check(one)
    assert report.findings
    shown = (
        one, one.spaces, space, pagebook.walk(space, 0), pagebook.walk(space, 0, "store"), Ledger(one),
        pagebook.owners(one), pagebook.owners(one, BASE), report, report.findings[0], report.table(), one.maps(),
        layout.layout(one, space), compare(Ledger(one), Ledger(stripes_machine())),
    )  # fmt: skip
    for each in shown:
        html = each._repr_html_()
        for one in (html, *figures(html)):
            assert "<script" not in one and "\u202e" not in one and "\x1b" not in one
        assert words(html) and len(html) < MOST
        assert repr(each).isprintable() and len(repr(each)) < 300


def stripes_machine() -> Machine:
    space = stripes(1)
    return Machine("plain", space.table.memory, Spaces([space]))


def test_each_colour_of_a_figure_is_given_for_light_and_for_dark_notebooks(model: Machine):
    html = pagebook.owners(model)._repr_html_() + model.spaces["sh"]._repr_html_()
    assert len(figures(html)) == 2
    for figure in figures(html):
        light, dark = re.findall(r":root\{(.*?)\}", figure)
        used = set(re.findall(r"var\(--(\w+)\)", figure))
        given = [set(re.findall(r"--(\w+):", colours)) for colours in (light, dark)]
        assert {"paper", "ink", "mono"} <= used and used <= given[0] == given[1] and light != dark


def test_a_notebook_that_is_dark_says_so_to_its_figures():
    assert "color-scheme:light" in notebook.STYLE
    (dark,) = re.findall(r"^(.*)\{color-scheme:dark\}$", notebook.STYLE, re.M)
    assert dark.split(",") == [f"{where} {notebook.OURS}" for where in notebook.DARK]


def test_a_figure_is_an_image_of_which_an_untrusted_notebook_strips_nothing(model: Machine):
    html = layout.layout(model, model.spaces["sh"])._repr_html_()
    (figure,) = figures(html)
    assert "<svg" not in html and figure.startswith("<svg ") and figure.endswith("</svg>")
    assert 'alt="The address space of sh, and where it is in memory: ' in html
    assert set(re.findall(r"url\(#([^)]+)\)", figure)) == set(re.findall(r"id='([^']+)'", figure)) != set()


def test_columns_show_nothing_where_a_row_has_nothing():
    dtype = np.dtype([("va", "<u8"), ("owner", "<i4"), ("name", "O")])
    columns = [np.array([1, 2], "<u8"), np.array([-1, 0], "<i4"), np.array([None, "x"], object)]
    table = Columns(dtype, 2, columns, {"owner": ["me"]}, {"va": np.array([False, True])})
    cells = re.findall(r"<td[^>]*>(.*?)</td>", table._repr_html_())
    assert cells == ["<code>0x1</code>", "", "", "", "<code>me</code>", "x"]


def test_the_core_loads_what_notebooks_need_only_when_one_asks():
    code = """
import sys
import pagebook.machine, pagebook.memory, pagebook.table
before = [name for name in sys.modules if name.startswith("pagebook.views")]
table = pagebook.table.AddressSpace(pagebook.memory.Memory.anonymous(4096), 0x80000000)
print(before, "nothing is mapped" in table._repr_html_(), "pandas" in sys.modules, "pyarrow" in sys.modules)
"""
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == (
        "[] True False False\n"
    )
