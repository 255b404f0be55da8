"""Figures: the same bytes as those kept, well formed, no text outside or over another, sums that sum."""

from __future__ import annotations

import re
import sys
from collections import Counter
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pagebook.decode import decode_pte
from pagebook.errors import BadAddress, BadTarget, TooManyMappings
from pagebook.examples import EXAMPLES, rules_machine
from pagebook.explain import explain, regime_of
from pagebook.ledger import Ledger, Role
from pagebook.machine import Area, Machine, Space
from pagebook.memory import Memory, Region
from pagebook.mmu import Extensions, Kind, Mmu
from pagebook.sources.elfcore import write_core
from pagebook.sv import FORMATS, SV39, Format, R, U, V, W
from pagebook.table import AddressSpace
from pagebook.targets import open_target
from pagebook.views import facts, frames
from pagebook.views.svg import book, cache, directories, fields, layout, page, paper, steps, tables
from pagebook.views.svg.drawing import FONTS, Drawing, cut, printable, text_width, wrap
from pagebook.views.svg.themes import HOST, ROLE_HATCH, THEMES, role_fill, variables
from tools import make_figures
from worlds import BASE, PAGE, World

ROOT = Path(__file__).parents[1]
NAMESPACE = "{http://www.w3.org/2000/svg}"

KEPT = make_figures.paths()


def boxes(svg: str) -> list[tuple[float, float, float, float, str]]:
    """Where each text of a figure is, as the figure itself measures it: left, top, right, bottom."""
    families = {family: name for name, family in FONTS.items()}
    found = []
    for element in ElementTree.fromstring(svg).iter(NAMESPACE + "text"):
        size, x, y = (float(element.get(name)) for name in ("font-size", "x", "y"))
        bold = element.get("font-weight") == "bold"
        width = text_width(element.text, size, families[element.get("font-family")], bold)
        left = {"middle": x - width / 2, "end": x - width}.get(element.get("text-anchor"), x)
        found.append((left, y - 0.75 * size, left + width, y + 0.05 * size, element.text))
    return found


def checked(svg: str) -> str:
    """A figure that is well formed, plain, and has every text inside it and none over another."""
    root = ElementTree.fromstring(svg)
    assert {element.tag.removeprefix(NAMESPACE) for element in root.iter()} <= {
        "svg", "title", "desc", "defs", "pattern", "path", "rect", "line", "polyline", "polygon", "text",
    }  # fmt: skip
    assert root[0].text and root[1].text
    assert not re.search(r"https?:(?!//www\.w3\.org/2000/svg)|href|style|&#", svg)
    _, _, width, height = map(float, root.get("viewBox").split())
    numbers = [float(n) for e in root.iter() for n in (e.get("x"), e.get("y"), e.get("x1"), e.get("y1")) if n]
    assert min(numbers) >= 0
    for element in root.iter(NAMESPACE + "rect"):
        at = [float(element.get(name, 0)) for name in ("x", "y", "width", "height")]
        assert at[0] + at[2] <= width + 0.1 and at[1] + at[3] <= height + 0.1
    texts = boxes(svg)
    for left, top, right, bottom, text in texts:
        assert left >= 0 and top >= 0 and right <= width and bottom <= height, text
    for number, one in enumerate(texts):
        for other in texts[:number]:
            apart = one[0] >= other[2] or other[0] >= one[2] or one[1] >= other[3] or other[1] >= one[3]
            assert apart, f"{one} is over {other}"
    used = set(re.findall(r"url\(#([\w-]+)\)", svg))
    assert used == set(re.findall(r'<pattern id="([\w-]+)"', svg))
    return svg


@pytest.mark.parametrize("path", KEPT, ids=lambda path: path.stem)
def test_a_figure_is_byte_for_byte_the_one_that_is_kept(path: Path):
    drawn = make_figures.draw(KEPT[path])
    assert drawn == path.read_text(encoding="utf-8"), "'make docs' draws it again; look at it before you commit it"
    checked(drawn)


def test_no_figure_is_kept_that_nothing_draws():
    there = {path for room in ("docs", "tests") for path in (ROOT / room / "figures").iterdir()}
    assert there == set(KEPT)


@pytest.mark.parametrize("font", FONTS)
def test_a_name_as_long_as_a_file_is_cut_at_once_as_any_other_is(font: str):
    long = "il.x" * 1_000_000
    assert cut(long, 300, font=font) == cut(long[:2000], 300, font=font)
    assert text_width(cut(long, 300, font=font), font=font) <= 300
    drawing = Drawing(long, long)
    drawing.text(0, 20, long, room=100)
    assert len(drawing.svg()) < 5000


def test_a_figure_in_a_page_is_the_same_figure_with_ids_of_its_own_and_the_page_s_colours():
    drawing = book.memory(Ledger(rules_machine()))
    alone, inside = drawing.svg("print"), drawing.inline("one")
    for name, colour in THEMES["print"].items():
        assert THEMES[HOST][name] not in alone
        assert f"--{name}: {colour};" in variables("print")
    assert "http" not in inside and re.search(r"#[0-9a-f]{6}", inside) is None
    assert all(id.startswith("one-") for id in re.findall(r' id="([^"]+)"|url\(#([^)]+)\)', inside) for id in id if id)
    assert re.findall(r">([^<]+)<", inside) == re.findall(r">([^<]+)<", alone)


WITHOUT_TARGET = ("physical-address", "virtual-address", "pte")


@pytest.fixture(scope="module")
def core(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("core") / "m.core"
    write_core(open_target("xv6"), path)
    return path


@pytest.mark.parametrize("name", [name for name in make_figures.SHOWN if name not in WITHOUT_TARGET])
def test_a_saved_machine_is_drawn_as_the_model_is(name: str, core: Path):
    figure, *rest = make_figures.SHOWN[name].split()
    at = 1 if rest and not rest[0].startswith("-") else 0
    drawn = make_figures.draw(" ".join([figure, *rest[:at], str(core), *rest[at:]]))
    assert drawn == (ROOT / "docs" / "figures" / f"{name}.svg").read_text(encoding="utf-8")


@pytest.mark.parametrize("theme", THEMES)
def test_every_theme_has_every_colour(theme: str):
    assert set(THEMES[theme]) == set(THEMES["light"])
    assert {role_fill(role) for role in Role} <= set(THEMES[theme])


def test_no_two_roles_look_alike_without_colour():
    grey = THEMES["print"]
    assert len({(grey[role_fill(role)], ROLE_HATCH[role]) for role in Role}) == len(Role)


# The memory figure


def held(roles: bytes, per_region: int | None = None) -> Ledger:
    """A ledger of frames with these roles."""
    size = per_region or len(roles)
    regions = [
        Region(BASE + 2 * at * PAGE, bytes(len(roles[at : at + size]) * PAGE)) for at in range(0, len(roles), size)
    ]
    ledger = Ledger(Machine("made", Memory(regions), ()))
    for number, holding in enumerate(ledger.holdings):
        holding.role[:] = list(roles[number * size : (number + 1) * size])
    return ledger


def drawn_frames(ledger: Ledger) -> Counter[Role]:
    """The frames that the rows and bands of the figure stand for."""
    counts: Counter[Role] = Counter()
    shown = ledger.holdings[: book.MOST_REGIONS]
    per_cell = book._frames_per_cell(shown)
    for holding in shown:
        at = holding.region.base
        for row in book._rows(holding, per_cell):
            assert row.pa == at
            if isinstance(row, book.Band):
                counts[row.role] += row.frames
                at += row.frames * PAGE
            else:
                assert len(row.counts) <= book.COLUMNS
                for role in Role:
                    counts[role] += int(row.counts[:, role].sum())
                at += int(row.counts.sum()) * PAGE
        assert at == holding.region.end
    return counts


runs_of_frames = st.lists(st.tuples(st.sampled_from(list(Role)), st.integers(1, 400)), min_size=1, max_size=60)


@given(runs_of_frames)
def test_every_frame_is_in_one_cell_or_band_and_the_legend_sums_to_ram(runs: list[tuple[Role, int]]):
    ledger = held(b"".join(bytes([role]) * count for role, count in runs))
    assert drawn_frames(ledger) == Counter({r: c for r, c in ledger.counts().items() if c})
    svg = checked(book.memory(ledger).svg("print"))
    legend = [int(n.replace(",", "")) for n in re.findall(r"font-size=\"13\"[^>]*>([\d,]+) [a-z ]+</text>", svg)]
    total = sum(count for _, count in runs)
    assert f"= {total:,} frames in all" in svg
    assert sum(legend) == total


def test_frames_that_alternate_all_over_a_large_ram_take_no_more_rows_than_there_are():
    ledger = held(bytes([Role.FREE, Role.USER]) * (1 << 17))
    drawing = book.memory(ledger)
    svg = checked(drawing.svg())
    assert drawing.bottom < 1200 and len(svg) < 1 << 20
    assert drawn_frames(ledger) == Counter({Role.FREE: 1 << 17, Role.USER: 1 << 17})
    assert "A cell is 256 frames, 1M" in svg
    assert "shows its two commonest roles" in svg


def test_regions_without_room_are_counted_and_said_to_be_left_out():
    ledger = held(bytes([Role.UNKNOWN]) * 40, per_region=2)
    svg = checked(book.memory(ledger).svg())
    assert f"and {40 - 2 * book.MOST_REGIONS} frames in {20 - book.MOST_REGIONS} more regions" in svg
    assert "40 unknown" in svg and "= 40 frames in all" in svg


def test_a_cell_with_three_roles_shows_two_and_a_dot():
    pattern = bytes([Role.FREE, Role.FREE, Role.USER, Role.PAGE_TABLE])
    ledger = held(pattern * (1 << 14))
    assert "a dot says that there are more" in book.memory(ledger).svg()
    assert 'rx="2"' in book.memory(ledger).svg()
    assert 'rx="2"' not in book.memory(held(bytes([Role.FREE, Role.USER]) * (1 << 15))).svg()


def test_a_machine_without_memory_is_drawn_as_that():
    assert "= 0 frames" in checked(book.memory(Ledger(Machine("none", Memory(()), ()))).svg())


# Bits


@given(st.integers(0, (1 << 64) - 1), st.sampled_from(list(FORMATS.values())))
def test_the_bits_of_a_virtual_address_stand_in_its_parts(va: int, fmt: Format):
    va &= (1 << fmt.xlen) - 1
    parts = fields.va_parts(va, fmt)
    assert "".join(part.digits for part in parts) == f"{va:0{fmt.xlen}b}"
    assert [part.high for part in parts[1:]] == [part.low - 1 for part in parts[:-1]]
    checked(fields.virtual_address(va, fmt).svg())


@given(st.integers(0, (1 << 64) - 1), st.sampled_from(list(FORMATS.values())))
def test_the_bits_of_a_pte_stand_in_its_fields(pte: int, fmt: Format):
    pte &= (1 << 8 * fmt.pte_bytes) - 1
    assert "".join(part.digits for part in fields.pte_parts(pte, fmt)) == f"{pte:0{8 * fmt.pte_bytes}b}"
    checked(fields.pte(decode_pte(pte, fmt, Extensions(svnapot=True, svpbmt=True))).svg("dark"))


@pytest.mark.parametrize("fmt", FORMATS.values(), ids=FORMATS)
def test_a_format_alone_has_bits_and_no_values(fmt: Format):
    for drawing in (fields.pte_format(fmt), fields.virtual_address(None, fmt), fields.physical_address(None, fmt)):
        assert not re.search(r">[01]{9,}<", checked(drawing.svg()))


def test_numbers_that_do_not_fit_are_refused():
    with pytest.raises(BadAddress, match="0x400000000 is no physical address of Sv32: that has 34 bits"):
        fields.physical_address(1 << 34, FORMATS["sv32"])
    with pytest.raises(BadAddress, match="0x100000000 does not fit in 32 bits"):
        fields.virtual_address(1 << 32, FORMATS["sv32"])


# Tables


def alone(world: World, name: str = "made", areas: tuple[Area, ...] = ()) -> Space:
    return Space(name, AddressSpace(world.memory, world.table.root, world.format), areas)


@given(st.lists(st.tuples(st.integers(0, 511), st.sampled_from([0, 1, 0xF, 0xCF, 0x7])), max_size=200))
def test_the_entries_of_a_table_are_all_in_the_figure(entries: list[tuple[int, int]]):
    world = World(pages=4)
    for index, flags in entries:
        world.put(world.table.root, index, (index << 28 | BASE // PAGE + 1 << 10) & ~0x3FF | flags)
    space = alone(world)
    runs = list(tables._runs(facts.entries(space, world.table.root, 2, 0), 512))
    assert sum(run.length for run in runs) == 512
    shown = tables._shortened(runs)
    assert len(shown) <= tables.MOST_ROWS and sum(run.length for run in shown) == 512
    assert [run.first for run in shown[1:]] == [run.first + run.length for run in shown[:-1]]
    svg = checked(tables.page_table(space, None).svg())
    for kind, count in tables._counts(runs).items():
        assert f">{count} {kind if count == 1 and kind != 'problem' else tables.PLURALS[kind]}</text>" in svg


def test_a_table_that_the_space_has_not_is_refused_with_where_to_look():
    with pytest.raises(BadTarget, match="made has no page table at 0x80009000; those that it has"):
        tables.page_table(alone(World()), 0x8000_9000)


@pytest.mark.parametrize("fmt", FORMATS.values(), ids=FORMATS)
@pytest.mark.parametrize("level", [0, 1])
def test_the_walk_is_drawn_for_any_number_of_levels_and_sizes_of_page(fmt: Format, level: int):
    world = World(fmt, pages=2048, base=1 << 31)
    size = fmt.page_bytes(level)
    va, pa = 3 * size, 1 << 31
    table = world.table
    for step in range(fmt.levels - 1, level, -1):
        at = table.find(va, fmt.steps[: fmt.levels - step])[0]
        frame = world.frame()
        world.memory.write(at, (frame // PAGE << 10 | 1).to_bytes(fmt.pte_bytes, "little"))
    at = table.find(va, fmt.steps[: fmt.levels - level])[0]
    world.memory.write(at, fmt.pte(pa, V | R | W).to_bytes(fmt.pte_bytes, "little"))
    found = facts.walk(alone(world), va + 0x123)
    assert found.pa == pa + 0x123
    svg = checked(directories.directories(found).svg())
    assert svg.count(">level ") == fmt.levels - level
    assert "not reached" not in svg and f"= {pa + 0x123:#x}" in svg


def test_the_page_of_sixteen_ptes_is_drawn_with_all_its_64_kib():
    world = World()
    world.table.map(0x10000, PAGE, 0, R)
    level_0 = world.table.entry(0x10000).pte_pa & -PAGE
    for index in range(16, 32):
        world.put(level_0, index, 1 << 63 | (0x8002_8000 >> 2) | V | R)
    svg = checked(directories.directories(facts.walk(alone(world), 0x13123)).svg())
    for said in ("page of 64K", "at 0x80020000", "byte 0x3123", "= 0x80023123"):
        assert f">{said}<" in svg


@pytest.mark.parametrize("fmt", FORMATS.values(), ids=FORMATS)
def test_a_walk_that_ends_at_the_root_shows_what_it_did_not_reach(fmt: Format):
    svg = checked(directories.directories(facts.walk(alone(World(fmt)), 0x123)).svg())
    assert svg.count("not reached") == fmt.levels
    assert "V = 0" in svg


@pytest.mark.parametrize("rule", EXAMPLES)
def test_the_bits_that_broke_a_rule_have_a_heavy_edge(rule: str):
    example, machine = EXAMPLES[rule], rules_machine()
    space = machine.space(rule)
    regime = regime_of(space, example.priv)
    found = explain(Mmu(machine.memory, example.extensions), space, regime, example.kind, example.va, example.size)
    svg = checked(steps.walk(found).svg())
    bits = [name for name in found.decided if found.pages[-1].steps and name in found.pages[-1].steps[-1].fields]
    edges = len(bits) + (rule == "non-canonical")
    assert svg.count('stroke-width="3"') == edges
    assert f"[{rule}]" in "".join(ElementTree.fromstring(svg).itertext())


# The layout


def shared(roots: int, middles: int) -> World:
    """Few pages that list many runs: every pointer leads to the same table, of which every other entry is a leaf."""
    world = World(pages=8)
    middle, last = world.frame(), world.frame()
    for index in range(roots):
        world.put(world.table.root, index, world.pointer(middle))
    for index in range(middles):
        world.put(middle, index, world.pointer(last))
    for index in range(0, 512, 2):
        world.put(last, index, SV39.pte(BASE + index * PAGE, V | R | (W if index % 4 else 0)))
    return world


def test_a_layout_of_many_thousand_runs_has_few_regions():
    world = shared(2, 64)
    space = alone(world)
    drawing = layout.layout(Machine("made", world.memory, (space,)), space)
    svg = checked(drawing.svg())
    assert "32768 pages mapped in 32768 runs" in svg
    assert drawing.bottom < 3000 and len(svg) < 1 << 17


def test_hostile_tables_are_refused_or_drawn_but_never_in_full():
    world = shared(512, 512)
    space = alone(world)
    with pytest.raises(TooManyMappings):
        layout.layout(Machine("made", world.memory, (space,)), space)
    with pytest.raises(TooManyMappings):
        tables.page_table(space, BASE)
    svg = checked(tables.page_table(space, None).svg())
    assert "512 pointers" in svg and len(svg) < 1 << 16
    checked(directories.directories(facts.walk(space, 0x123)).svg())
    assert "made: the table at" in checked(book.memory(Ledger(Machine("hostile", world.memory, (space,)))).svg())


def three_holes() -> World:
    """Pages of changing rights with gaps of changing sizes: no two runs are alike."""
    world = World(pages=64)
    va = 0
    for number in range(40):
        world.table.map(va, PAGE, BASE + 8 * PAGE, R | (W if number % 2 else 0) | (U if number % 3 else 0))
        va += PAGE * (2 + number * number)
    return world


def test_regions_keep_every_byte_that_is_mapped():
    listed = facts.listing(alone(three_holes()), facts.Filter())
    found = layout.regions(listed)
    assert sum(region.size for region in found) == 40 * PAGE
    assert sum(region.runs for region in found) == 40
    assert all(low.stop < high.start for low, high in pairwise(found))


# Names


HOSTILE = "</text><script>alert(1)</script>&\x00\x1b[31m\u202e\u0301" + "W" * 300


def test_hostile_names_are_text_and_have_room():
    world = World(pages=64)
    world.table.map(0x1000, 2 * PAGE, BASE + 8 * PAGE, R | W | U)
    space = Space(HOSTILE, AddressSpace(world.memory, world.table.root), (Area(0x1000, PAGE, HOSTILE),), 7, 0x3000)
    machine = Machine(HOSTILE, world.memory, (space,), areas=(Area(BASE, PAGE, HOSTILE),))
    figures = [
        book.memory(Ledger(machine)),
        layout.layout(machine, space),
        tables.page_table(space, None),
        directories.directories(facts.walk(space, 0x1000)),
        cache.tlb(Mmu(machine.memory), space, Kind.LOAD, [0x1000]),
        page.page(frames.owners(Ledger(machine), (BASE + 8 * PAGE, BASE + 8 * PAGE + 1))),
    ]
    for figure in figures:
        svg = checked(figure.svg())
        assert "<script" not in svg and "\x1b" not in svg and "\u202e" not in svg
        assert figure.right < 3000


@given(st.text(max_size=40))
def test_any_text_is_shown_or_written_out(text: str):
    drawing = Drawing(text, text)
    drawing.text(24, 50, text, room=200)
    ElementTree.fromstring(drawing.svg())
    assert printable(printable(text)) == printable(text)
    assert text_width(cut(text, 100), 13) <= 100
    assert all(text_width(line, 13, "sans") <= 100 for line in wrap(text, 100))


# The TLB


def test_an_access_to_a_page_that_is_remembered_reads_no_pte():
    machine = open_target("rules")
    svg = cache.tlb(Mmu(machine.memory, Extensions()), machine.space("sound"), Kind.LOAD, [0x401000, 0x401008]).svg()
    assert svg.count("3 PTEs read, then remembered") == 1
    assert svg.count("remembered: no PTE read") == 1
    assert "1 translation remembered" in svg


def test_a_tlb_is_not_asked_for_more_than_has_room():
    machine = open_target("rules")
    with pytest.raises(BadTarget, match="65 accesses are more than a figure has room for: give at most 64"):
        cache.tlb(Mmu(machine.memory), machine.space("sound"), Kind.LOAD, [0] * 65)


# Paper


def test_png_and_pdf_are_made_and_the_same_every_time():
    svg = fields.pte_format(SV39).svg("print")
    png, pdf = paper.convert(svg, "png"), paper.convert(svg, "pdf")
    assert png.startswith(b"\x89PNG\r\n\x1a\n") and pdf.startswith(b"%PDF-")
    assert (paper.convert(svg, "png"), paper.convert(svg, "pdf")) == (png, pdf)
    width, height = (float(n) for n in re.search(r'width="([\d.]+)" height="([\d.]+)"', svg).groups())
    assert abs(int.from_bytes(png[16:20]) - 2 * width) <= 2 and abs(int.from_bytes(png[20:24]) - 2 * height) <= 2


def test_without_typst_the_remedy_is_said(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "typst", None)
    with pytest.raises(BadTarget, match=r"a figure as PDF needs typst: pip install 'pagebook\[figures\]'"):
        paper.convert("", "pdf")
