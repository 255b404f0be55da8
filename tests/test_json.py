"""docs/json.md and what is printed: each documented key is printed, each printed key is documented, with its type."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from calls import FOLDER, SMALL, call, core_of, saved
from fake_xv6 import Fake, Shape
from pagebook.ledger import Role
from pagebook.machine import Machine, Space
from pagebook.scan import PROBLEM_KINDS
from pagebook.sources.elfcore import write_core
from pagebook.sv import FORMATS, SV32, SV39, SV57, R, U, V, W, X, flags_text
from pagebook.views.data import VERSION
from pagebook.xv6.boot import boot, machine
from pagebook.xv6.kalloc import kalloc
from pagebook.xv6.memlayout import TRAPFRAME
from worlds import World

PAGE = Path(__file__).parents[1] / "docs" / "json.md"
KINDS = (
    "boot",
    "owners",
    "roots",
    "diff",
    "maps",
    "tree",
    "walk",
    "access",
    "fault",
    "trap",
    "panic",
    "pte",
    "satp",
    "quiz",
    "check",
    "rule",
)
ROW = re.compile(r"\| `(?P<key>[^`]+)` \| (?P<type>[^|]+) \| (?P<unit>[^|]*) ?\| (?P<what>.*?) ?\|")
ANY_KEY = re.compile(
    r"frames|symbols|more|blind|(.*\.)?fields|(.*\.)?decided"
)  # objects whose keys are names, not of the schema
EMBEDDED = slice(3, None)  # of the keys of pagebook.access, those of an access in another document


@functools.cache
def documented(kind: str) -> dict[str, dict[str, str]]:
    """The rows of the table under a document's heading, by key."""
    section = PAGE.read_text().split(f"\n## pagebook.{kind}\n")[1].split("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("| `")]
    rows = [row.groupdict() for line in lines if (row := ROW.fullmatch(line))]
    assert len(rows) == len(lines), "a row of the table has not four cells"
    assert len({row["key"] for row in rows}) == len(rows), "a key stands there twice"
    table = {row["key"]: {name: cell.strip() for name, cell in row.items()} for row in rows}
    for key, row in list(table.items()):
        if row["type"] == "access":
            row["type"] = "object"
            inner = list(documented("access").items())[EMBEDDED]
            table |= {f"{key}.{name}": {**cells, "embedded": "yes"} for name, cells in inner}
    return table


def crooked(name: str, world: World) -> Path:
    """A machine whose table has every kind of problem."""
    fmt = world.format
    world.table.map(0, 4096, 0x9000_0000, R)
    world.put(world.table.entry(0).pte_pa, 1, world.pointer(0x8000_0000))
    world.put(world.table.root, 2, world.pointer(0x9000_0000))
    world.put(world.table.root, 3, fmt.pte(0x9000_1000, V | R))
    return core_of(world, name)


def crowded() -> Path:
    """A machine in which 8,192 mappings lead to one frame."""
    world = World()
    middle, last = world.frame(), world.frame()
    for index in range(512):
        world.put(middle, index, world.pointer(last))
    for index in range(16):
        world.put(world.table.root, index, world.pointer(middle))
    world.put(last, 0, world.format.pte(0x8000_0000, V | R))
    return core_of(world, "crowded.core")


def pairs() -> list[tuple[Path, Path]]:
    """Machines that differ in every way that a document tells."""
    first, then, few = World(), World(pages=40), World(pages=8)
    loose = [first.frame() for _ in range(3)]
    for world in (first, then):
        world.table.map(0x3000, 4096, loose[2], R | W)
    first.table.map(0, 4096, loose[0], R | U)
    first.table.map(0x1000, 4096, loose[1], R | W | U)
    then.table.map(0x1000, 4096, loose[2], R | W | U)
    then.table.map(0x2000, 4096, loose[0], R | W)
    then.table.protect(0x3000, 4096, R)
    none, plain, one, two, few_frames = [
        FOLDER / f"diff.{name}.core" for name in ("none", "plain", "one", "two", "few")
    ]  # fmt: skip
    write_core(Machine("m", first.memory, ()), none)
    write_core(Machine("m", few.memory, ()), few_frames)
    for path, world, pid in ((plain, first, None), (one, first, 1), (two, then, 1)):
        space = Space("s", world.table, pid=pid, size=pid and 0x2000)
        write_core(Machine("m", world.memory, (space,)), path)
    return [(one, two), (none, one), (one, none), (none, plain), (few_frames, none), (none, few_frames)]


def broken() -> Path:
    """A model with a frame that is lost, a trapframe that is not mapped, and a page to write and execute."""
    k = boot("2024", ram=2 << 20)
    k.memory.write64(k.table(k.proc[0].pagetable).find(TRAPFRAME)[0], 0)
    kalloc(k)
    pte_pa, pte, _ = k.table(k.kernel_pagetable).find(k.kmem.head)
    k.memory.write64(pte_pa, pte | X)
    path = FOLDER / "broken.core"
    write_core(machine(k), path)
    return path


def built_anew() -> list[str]:
    """An image of RAM, and a kernel that differs from what it holds in a few bytes: which is remarked."""
    fake = Fake(Shape(), FOLDER)
    fake.source()
    fake.text = fake.text[:100] + bytes(3) + fake.text[103:]
    image = FOLDER / "anew.img"
    image.write_bytes(fake.memory.read(0x8000_0000, fake.shape.ram))
    return [f"{image}@0x80000000", "--kernel", str(fake.build())]


CALLS = {
    "access": [
        "walk 0x1000 --space init --access store",
        "walk 0x1ffe --space init --priv S --size 4",
        "walk 0x1ffe --space init --priv U --size 4 --svade",
        "walk 0x1000 --space init --priv S --sum",
        "walk 0x1000 --space init --mxr --access fetch",
        "walk 0x10000 --space init --priv M --access amo",
        "walk 0x7000000000000000 --access load",
    ],
    "fault": [
        "fault --scause 0xf --stval 0x2ff8 --sepc 0x38",
        "fault --scause 0xf --stval 0x2ff8 --sepc 0x10",
        "fault --scause 0xf --stval 0x2ff8 --sepc 0xc --space sh",
        "fault --scause 0xf --stval 0x2ff8 --pid 2",
        "fault --scause 0xd --stval 0x8",
        "fault --scause 0xd --stval 0x3fffffe000 --sepc 0x3ffffff010",
        "fault --scause 0xd --stval 0x1000 --space init",
        "fault --scause 0xc --stval 0x2ff8 --sepc 0x2ff8",
        "fault xv6 --ram 4M --scause 0xf --stval 0x2ff8 --pid 7",
    ],
    "trap": [
        "fault --scause 2 --stval 0 --sepc 0x4",
        "fault --scause 2 --stval 0 --sepc 0x38 --pid 2",
        "fault xv6 --ram 4M --scause 2 --stval 0 --sepc 0x38 --pid 7",
        "fault --scause 3 --stval 0 --sepc 0x7f0000",
        "fault --scause 8 --stval 0",
    ],
    "pte": ["pte 0x21fdd0c7", "pte 0x0", "pte 0x5", "pte 0x21fdd001", "pte 0x21fdd01b --format sv32"],
    "satp": ["satp 0", "satp 0x8000000000087fff", "satp 0x80087fff --xlen 32"],
    "rule": ["rule", "rule PB1", "rule leaked-frame"],
    "quiz": [f"quiz --seed {seed} --level {level}" for level in ("easy", "hard") for seed in range(60)],
}


@functools.cache
def printed(kind: str) -> list[dict[str, Any]]:
    """Documents of this kind, of ordinary and of odd machines."""
    target = {"walk": [["0x3fffffe000"], ["0"], ["0x4000"]]}.get(kind, [[]])
    odd = [crooked(f"{fmt.name}.json.core", World(fmt)) for fmt in (SV32, SV39, SV57)]
    calls: list[list[object]]
    if kind == "boot":
        calls = [["boot", *SMALL.split()], ["boot", *SMALL.split(), "--save", saved().with_name("again")]]
    elif kind == "diff":
        calls = [[kind, old, new] for old, new in pairs()]
    elif kind == "owners":
        calls = [[kind, path] for path in (saved(), *odd)]
        calls += [[kind, "0x80000000", path] for path in (saved(), crowded())]
    elif kind == "roots":
        calls = [[kind, path] for path in (saved(), odd[1])]
    elif kind == "check":
        calls = [[kind, path] for path in (saved(), broken(), *odd)]
        calls += [[kind, path, "--select", "ALL"] for path in (saved(), broken())]
        calls += [[kind, *built_anew()]]
    elif kind == "panic":
        calls = [["fault", "--printed", f"panic: {words}"] for words in ("kfree", "ilock")]
    elif kind in CALLS:
        asking = kind in ("fault", "access", "trap")
        calls = [[*line.split(), *([saved()] if asking and " xv6 " not in line else [])] for line in CALLS[kind]]
    else:
        calls = [[kind, *va, saved()] for va in target]
        calls += [[kind, *va, saved(), "--space", "init"] for va in target]
        calls += [[kind, *(["0x1000"] if kind == "walk" else []), path] for path in odd]
        if kind == "maps":
            calls += [["maps", saved(), "--has", "rwx"], ["maps", saved(), "--pages"]]
    return [json.loads(call([*words, "--json"]).out) for words in calls]


def walk(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every value in a document with its path in the words of the tables."""
    if path:
        yield path, value
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from walk(inner, f"{path}.*" if ANY_KEY.fullmatch(path) else f"{path}.{key}".lstrip("."))
    elif isinstance(value, list):
        for inner in value:
            yield from walk(inner, f"{path}[]")


TYPES = {
    "hex": lambda value: isinstance(value, str) and re.fullmatch(r"0x(0|[1-9a-f][0-9a-f]*)", value),
    "number": lambda value: isinstance(value, int) and not isinstance(value, bool) and value >= 0,
    "text": lambda value: isinstance(value, str),
    "true or false": lambda value: isinstance(value, bool),
    "list": lambda value: isinstance(value, list),
    "object": lambda value: isinstance(value, dict),
    "null": lambda value: value is None,
}


def fits(value: Any, type_: str) -> bool:
    names = [type_] if type_ in TYPES else type_.split(" or ")
    return any(TYPES[name](value) for name in names)


@pytest.mark.parametrize("kind", KINDS)
def test_every_key_that_is_printed_is_documented_with_its_type(kind: str) -> None:
    table = documented(kind)
    for document in printed(kind):
        for path, value in walk(document):
            if path.endswith("[]") and isinstance(value, dict):
                continue  # an item: its keys have rows
            assert path in table, f"{path} is not in docs/json.md"
            assert fits(value, table[path]["type"]), f"{path}: {value!r} is not {table[path]['type']}"


@pytest.mark.parametrize("kind", KINDS)
def test_every_key_that_is_documented_is_printed_as_each_of_its_types(kind: str) -> None:
    seen: dict[str, list[Any]] = {}
    for document in printed(kind):
        for path, value in walk(document):
            seen.setdefault(path, []).append(value)
    for path, row in documented(kind).items():
        assert path in seen, f"{path} is in docs/json.md, and nothing prints it"
        if "embedded" in row:
            continue  # each of its types is printed by the verb it belongs to
        if row["type"].endswith(" or null"):
            assert None in seen[path], f"{path} is never null"
            assert any(value is not None for value in seen[path]), f"{path} is always null"
        if row["type"] == "true or false":
            assert set(seen[path]) == {True, False}


@pytest.mark.parametrize("kind", KINDS)
def test_keys_stand_in_the_tables_in_the_order_in_which_they_are_printed(kind: str) -> None:
    table = list(documented(kind))
    for document in printed(kind):
        order = list(dict.fromkeys(path for path, _ in walk(document) if path in table))
        assert order == [path for path in table if path in order]


@pytest.mark.parametrize("kind", KINDS)
def test_a_document_says_which_it_is(kind: str) -> None:
    for document in printed(kind):
        assert list(document)[:2] == ["schema", "version"]
        assert document["schema"] == f"pagebook.{kind}" == documented(kind)["schema"]["what"].strip("`")
        assert document["version"] == VERSION == int(documented(kind)["version"]["what"])


WORDS = {
    ("maps", "spaces[].problems[].kind"): set(PROBLEM_KINDS),
    ("tree", "entries[].problem"): set(PROBLEM_KINDS),
    ("tree", "entries[].kind"): {"table", "mapped"},
    ("walk", "steps[].kind"): {"table", "mapped", "absent"},
    ("walk", "steps[].fields"): {field.name for field in (*SV32.pte_fields, *SV39.pte_fields)},
    **{(kind, "frames"): {role.label for role in Role} for kind in ("boot", "owners")},
    **{(kind, "format"): set(FORMATS) for kind in ("tree", "walk", "access", "pte", "satp")},
    ("access", "pages[].steps[].kind"): {"table", "mapped", "absent"},
    ("access", "access"): {"load", "store", "fetch", "amo"},
    ("access", "priv"): {"U", "S", "M"},
    ("pte", "kind"): {"table", "leaf", "absent", "invalid"},
    ("pte", "allows[].access[]"): {"load", "store", "fetch", "amo"},
    ("quiz", "level"): {"easy", "hard"},
    ("check", "findings[].severity"): {"error", "warning", "note"},
    ("rule", "rules[].severity"): {"error", "warning", "note"},
    **{(kind, "spaces[].format"): set(FORMATS) for kind in ("boot", "maps")},
}


@pytest.mark.parametrize(("kind", "path"), WORDS)
def test_where_only_some_words_can_stand_the_table_names_them_all(kind: str, path: str) -> None:
    named = set(re.findall(r"`([^`]+)`", documented(kind)[path]["what"]))
    assert named == WORDS[kind, path]
    for document in printed(kind):
        for found, value in walk(document):
            if found == path and value is not None:
                assert set(value if isinstance(value, dict) else [value]) <= named


@pytest.mark.parametrize("kind", KINDS)
def test_whatever_has_a_unit_says_so(kind: str) -> None:
    units = {"", "bytes", "frames", "PTEs", "leaf PTEs", "address", "virtual address", "physical address"}
    for path, row in documented(kind).items():
        assert row["unit"] in units, path
        if path.rpartition(".")[2] in ("va", "pa", "root", "pte_pa", "start"):
            assert row["unit"].endswith("address"), path
        if path.rpartition(".")[2] == "size":
            assert row["unit"] == "bytes", path


def test_the_page_has_no_document_that_no_verb_prints() -> None:
    headings = re.findall(r"^## (.*)$", PAGE.read_text(), re.M)
    assert sorted(headings) == sorted(f"pagebook.{kind}" for kind in KINDS)


def test_flags_look_as_the_page_shows_them() -> None:
    assert '`"vrw-u--d"`' in PAGE.read_text()
    assert flags_text(0b1001_0111) == "vrw-u--d"


def test_the_call_that_the_page_shows_finds_what_it_says() -> None:
    assert "pagebook maps --json" in PAGE.read_text()
    world = World()
    world.table.map(0x5000, 4096, 0x9000_0000, 0xE)
    [space] = json.loads(call(["maps", core_of(world, "wx.core"), "--json"]).must(0).out)["spaces"]
    assert [run["va"] for run in space["runs"] if "wx" in run["flags"]] == ["0x5000"]
