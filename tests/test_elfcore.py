"""Machines saved as ELF cores: nothing is lost, nothing half-written stays, nothing hostile is believed."""

from __future__ import annotations

import json
import shutil
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from elftools.elf.elffile import ELFFile
from hypothesis import given
from hypothesis import strategies as st

from calls import SMALL, call, saved
from elves import CORE, READ, build_elf, note
from pagebook.errors import BadFile, PagebookError, ReadOnlyMemory
from pagebook.frames import FreeList
from pagebook.machine import Area, Hart, Machine, Space, to_note
from pagebook.memory import Memory, Region
from pagebook.pagetable import PageTable
from pagebook.scan import scan
from pagebook.sources.elfcore import CHUNK, NOTE_TYPE, read_core, write_core
from pagebook.sv import FORMATS, R
from pagebook.table import AddressSpace
from pagebook.xv6.boot import boot, machine

PAGE = 4096


def test_a_booted_machine_comes_back_with_every_byte_and_every_name(tmp_path: Path) -> None:
    k = boot(ram=2 << 20)
    old = machine(k)
    size = write_core(old, tmp_path / "m")
    assert size == (tmp_path / "m").stat().st_size
    new = read_core(tmp_path / "m")
    assert new.memory.read(0x8000_0000, 2 << 20) == old.memory.read(0x8000_0000, 2 << 20)
    assert to_note(new) == to_note(old)
    assert (new.name, new.harts, new.areas) == (old.name, old.harts, old.areas)
    assert dict(new.symbols) == dict(old.symbols)
    assert [(s.name, s.pid, s.size, s.areas, s.table.root) for s in new.spaces] == [
        (s.name, s.pid, s.size, s.areas, s.table.root) for s in old.spaces
    ]
    for mine, theirs in zip(old.spaces, new.spaces, strict=True):
        assert scan(mine.table).mappings.tolist() == scan(theirs.table).mappings.tolist()
    (free,), (again,) = old.free_lists(), new.free_lists()
    assert again.frames.tolist() == free.frames.tolist() == k.kmem.frames().tolist()


def test_a_machine_saved_again_from_its_file_is_the_same_file(tmp_path: Path) -> None:
    write_core(read_core(saved()), tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == saved().read_bytes()


names = st.text(st.characters(exclude_categories=()), max_size=8)  # lone surrogates and all
words = st.integers(0, (1 << 64) - 1)


@given(
    bases=st.lists(st.integers(0, 40), min_size=1, max_size=4, unique=True),
    name=names,
    symbols=st.dictionaries(names, words, max_size=3),
    areas=st.lists(st.tuples(words, words, names), max_size=3),
    harts=st.lists(st.tuples(st.integers(0, 8), words), max_size=3),
    form=st.sampled_from(sorted(FORMATS)),
    pid=st.none() | words,
    seed=st.binary(min_size=1, max_size=64),
)
def test_any_machine_comes_back_as_it_was(
    bases: list[int],
    name: str,
    symbols: dict[str, int],
    areas: list[tuple[int, int, str]],
    harts: list[tuple[int, int]],
    form: str,
    pid: int | None,
    seed: bytes,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.core"
    regions = [Region(base * PAGE, bytearray((seed * PAGE)[: PAGE - base % 3 * 8]), writable=True) for base in bases]
    memory = Memory(regions)
    root = next((r.base for r in regions if r.size == PAGE), None)
    named = tuple(Area(*area) for area in areas)
    spaces = () if root is None else (Space(name, AddressSpace(memory, root, FORMATS[form]), named, pid, pid),)
    old = Machine(name, memory, spaces, tuple(Hart(*hart) for hart in harts), symbols, named)
    write_core(old, path)
    new = read_core(path)
    assert to_note(new) == to_note(old)
    assert [(r.base, bytes(r.data)) for r in new.memory.regions] == [
        (r.base, bytes(r.data)) for r in old.memory.regions
    ]


def test_regions_keep_their_holes_between_them(tmp_path: Path) -> None:
    low, high = bytes(range(256)) * 16, b"\xff" * 2 * PAGE
    memory = Memory([Region(0x9000_0000, high), Region(0x1000, low), Region(0x3000, low[::-1])])
    write_core(Machine("holes", memory, ()), tmp_path / "m")
    back = read_core(tmp_path / "m").memory
    assert [(r.base, r.size) for r in back.regions] == [(0x1000, PAGE), (0x3000, PAGE), (0x9000_0000, 2 * PAGE)]
    assert (back.read(0x1000, PAGE), back.read(0x3000, PAGE)) == (low, low[::-1])
    assert 0x2000 not in back
    with pytest.raises(PagebookError, match="outside memory"):
        back.read(0x1FFF, 2)


def test_untouched_ram_is_a_hole_in_the_file_and_reads_as_zeros(tmp_path: Path) -> None:
    memory = Memory.anonymous(64 * CHUNK)
    memory.write64(0x8000_0000 + 40 * CHUNK + 8, 0x1234)
    size = write_core(Machine("mostly nothing", memory, ()), tmp_path / "m")
    stat = (tmp_path / "m").stat()
    assert stat.st_size == size > 64 * CHUNK
    assert stat.st_blocks * 512 <= 2 * CHUNK
    back = read_core(tmp_path / "m").memory
    assert back.read64(0x8000_0000 + 40 * CHUNK + 8) == 0x1234
    assert back.read(0x8000_0000 + 39 * CHUNK, CHUNK + 8) == bytes(CHUNK + 8)
    assert not np.any(back.regions[0].pages[: 40 * CHUNK // PAGE])


def test_a_saved_machine_is_read_only() -> None:
    before = saved().read_bytes()
    opened = read_core(saved())
    assert opened.free_range is not None
    assert opened.pools is not None
    frames = FreeList(opened.memory, *opened.free_range)
    frames.head = opened.pools[0].head
    for change in (
        lambda: opened.memory.write64(0x8000_0000, 1),
        lambda: opened.memory.write(0x8010_0000, b"x"),
        frames.alloc,
        lambda: PageTable(opened.memory, opened.spaces[0].table.root, frames).map(0x1000, PAGE, 0x8000_0000, R),
    ):
        with pytest.raises(ReadOnlyMemory):
            change()
    with pytest.raises(TypeError):
        opened.memory.regions[0].data[0] = 1
    with pytest.raises(ValueError, match="read-only"):
        opened.memory.page(0x8000_0000)[0] = 1
    assert saved().read_bytes() == before


@pytest.mark.parametrize("command", ["maps", "tree --space init --format vmprint", "walk 0x3fffffe000 --space sh"])
def test_every_verb_says_of_the_file_what_it_says_of_the_model(command: str) -> None:
    verb, *rest = command.split()
    first = [rest.pop(0)] if verb == "walk" else []
    assert call([verb, *first, saved(), *rest]).must(0) == call([verb, *first, "xv6", *rest, *SMALL.split()])


def test_readelf_has_nothing_to_complain_about() -> None:
    """Where binutils is missing, pyelftools reads the same facts."""
    readelf = shutil.which("riscv64-linux-gnu-readelf") or shutil.which("readelf")
    if readelf:
        done = subprocess.run([readelf, "-W", "-h", "-l", "-n", saved()], capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, "")
        assert "Warning" not in done.stdout
        assert "Error" not in done.stdout
        assert "CORE (Core file)" in done.stdout
        assert "RISC-V" in done.stdout
        assert "LOAD           0x002000 0x0000000080000000 0x0000000080000000 0x200000 0x200000 RWE" in done.stdout
        assert "PAGEBOOK" in done.stdout
    with saved().open("rb") as file:
        elf = ELFFile(file)
        assert (elf["e_type"], elf["e_machine"], elf.elfclass, elf.little_endian) == ("ET_CORE", "EM_RISCV", 64, True)
        notes, load = elf.iter_segments()
        assert [n["n_name"] for n in notes.iter_notes()] == ["PAGEBOOK"]
        assert (load["p_type"], load["p_paddr"], load["p_filesz"]) == ("PT_LOAD", 0x8000_0000, 2 << 20)
        assert load["p_offset"] % load["p_align"] == load["p_vaddr"] % load["p_align"] == 0


class Stop(Exception):
    pass


@pytest.mark.parametrize("after", [0, 1, 3])
@pytest.mark.parametrize("old", [None, b"the old file"])
def test_an_exception_while_writing_leaves_the_folder_as_it_was(after: int, old: bytes | None, tmp_path: Path) -> None:
    target = tmp_path / "m"
    if old is not None:
        target.write_bytes(old)
    seen: list[int] = []

    def progress(count: int) -> None:
        seen.append(count)
        if len(seen) > after:
            raise Stop

    with pytest.raises(Stop):
        write_core(Machine("long", Memory.anonymous(4 * CHUNK), ()), target, progress)
    assert [(f.name, f.read_bytes()) for f in tmp_path.iterdir()] == ([] if old is None else [("m", old)])


def test_progress_counts_every_byte_of_ram(tmp_path: Path) -> None:
    counts: list[int] = []
    write_core(Machine("long", Memory.anonymous(3 * CHUNK + 5 * PAGE), ()), tmp_path / "m", counts.append)
    assert counts == [CHUNK, CHUNK, CHUNK, 5 * PAGE]


def test_a_machine_of_more_names_than_can_be_read_again_is_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    many = Machine("named", Memory.anonymous(PAGE), (), symbols={f"name{n}": n for n in range(1000)})
    monkeypatch.setattr("pagebook.sources.elfcore.MOST_NOTES", 9000)
    with pytest.raises(BadFile, match=r"the names in named take [0-9]+ bytes; a saved machine may hold 9000"):
        write_core(many, tmp_path / "m")
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_cannot_be_written_is_bad_with_the_systems_reason(tmp_path: Path) -> None:
    with pytest.raises(BadFile, match=r"cannot write '.*/none/m': No such file or directory"):
        write_core(Machine("any", Memory.anonymous(PAGE), ()), tmp_path / "none" / "m")


# Files from strangers


def core(
    contents: object = None,
    *,
    loads: list[tuple[int, bytes]] | None = None,
    notes: bytes | None = None,
    **changes: Any,
) -> bytes:
    """A core with a page of RAM, a root in it, and a note in which ``changes`` are made."""
    good = {
        "version": 2, "name": "a machine", "harts": [[0, 0, None, []]], "symbols": {"end": 5}, "areas": [[0, 1, "x"]],
        "devices": [], "pools": None, "free_range": None, "counts": None, "guest": "", "spaces": [space()],
    }  # fmt: skip
    text = json.dumps({**good, **changes} if contents is None else contents).encode()
    segments = [(pa, len(data), len(data), READ, data) for pa, data in loads or [(0x8000_0000, bytes(PAGE))]]
    return build_elf(segments, kind=CORE, notes=note(b"PAGEBOOK", NOTE_TYPE, text) if notes is None else notes)


def space(**changes: object) -> dict[str, object]:
    good = {"name": "kernel", "format": "sv39", "root": 0x8000_0000, "pid": None, "size": None, "areas": []}
    return {**good, "symbols": {}, "state": None, **changes}


@pytest.fixture
def refused(tmp_path: Path) -> Callable[[bytes], str]:
    """What the refusal of a file with these bytes says, after its name."""

    def refusal(data: bytes) -> str:
        path = tmp_path / "hostile"
        path.write_bytes(data)
        with pytest.raises(BadFile) as error:
            read_core(path)
        answer = call(["maps", path]).refusal
        assert answer == f"pagebook: {error.value}"
        return answer.removeprefix("pagebook: ").removeprefix(str(path)).removeprefix(": ").strip()

    return refusal


def test_a_good_core_of_a_stranger_is_opened(tmp_path: Path) -> None:
    (tmp_path / "m").write_bytes(core())
    opened = read_core(tmp_path / "m")
    assert opened.name == "a machine"
    assert opened.spaces[0].table.translate(0) is None


def test_notes_of_others_are_passed_over(tmp_path: Path) -> None:
    text = json.dumps({**to_note(Machine("mine", Memory.anonymous(PAGE), ()))}).encode()
    both = note(b"CORE", 1, b"x" * 7) + note(b"PAGEBOOK", NOTE_TYPE, text)
    (tmp_path / "m").write_bytes(core(notes=both))
    assert read_core(tmp_path / "m").name == "mine"


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (core(notes=note(b"PAGEBOOK", NOTE_TYPE, b"")), "its PAGEBOOK note is damaged: Expecting value"),
        (core(notes=note(b"PAGEBOOK", NOTE_TYPE, b"{")), "its PAGEBOOK note is damaged: Expecting property name"),
        (core(notes=note(b"PAGEBOOK", NOTE_TYPE, b"\xff\xfe{}")), "its PAGEBOOK note is damaged: "),
        (core(notes=note(b"PAGEBOOK", NOTE_TYPE, b"[" * 100_000)), "its PAGEBOOK note is damaged: maximum recursion"),
        (core(notes=note(b"PAGEBOOK", NOTE_TYPE, b"9" * 9999)), "its PAGEBOOK note is damaged: Exceeds the limit"),
        (core(loads=[(0x8000_0000, b"")]), "it holds no memory at all"),
        (core(loads=[(0x8000_0000, bytes(2 * PAGE)), (0x8000_1000, bytes(PAGE))]), "overlap"),
        (core(loads=[(0x8000_0000, bytes(PAGE)), (0x8000_1800, bytes(PAGE))]), "is not page-aligned"),
        (core(loads=[(0x8000_0000, bytes(PAGE)), (1 << 56, bytes(PAGE))]), "does not fit in 56 bits"),
        (core(loads=[(0x8000_0000, bytes(PAGE - 8))]), "outside memory"),
        (core([]), "has version None; this pagebook reads version 2"),
        (core(7), "has version None"),
        (core(version=1), "has version 1"),
        (core(version="1"), "has version '1'"),
        (core({"version": 2}), "is damaged: KeyError: 'devices'"),
        (core(name=None), "is damaged: TypeError: None is no text"),
        (core(harts=None), "is damaged: TypeError"),
        (core(harts=[[0]]), "is damaged: ValueError"),
        (core(harts=[[0, -1, None, []]]), "is damaged: TypeError: -1 is no address"),
        (core(harts=[[0, 1 << 64, None, []]]), "is damaged: TypeError: 18446744073709551616 is no address"),
        (core(symbols=[]), "is damaged: AttributeError"),
        (core(symbols={"end": 1.5}), "is damaged: TypeError: 1.5 is no address"),
        (core(symbols={"end": True}), "is damaged: TypeError: True is no address"),
        (core(areas=[[1, 2]]), "is damaged: ValueError"),
        (core(areas=[[1, 2, 3]]), "is damaged: TypeError: 3 is no text"),
        (core(areas={"a": 1}), "is damaged: "),
        (core(spaces=None), "is damaged: TypeError"),
        (core(spaces=[None]), "is damaged: TypeError"),
        (core(spaces=[{}]), "is damaged: KeyError"),
        (core(spaces=[space(format="sv64")]), "is damaged: KeyError: 'sv64'"),
        (core(spaces=[space(format=[])]), "is damaged: TypeError"),
        (core(spaces=[space(root=0x9000_0000)]), "4096 bytes at physical address 0x90000000 are outside memory"),
        (core(spaces=[space(root=0x8000_0800)]), "root 0x80000800 is not page-aligned"),
        (core(spaces=[space(root="0x80000000")]), "is damaged: TypeError: '0x80000000' is no address"),
        (core(spaces=[space(pid="1")]), "is damaged: TypeError"),
        (core(spaces=[space(size=-4)]), "is damaged: TypeError"),
        (core(pools=[], free_range=[1, 2, 3]), "is damaged: ValueError"),
        (core(pools=[], free_range=[0x8000_1000, 0x8000_0000]), "before it starts"),
        (core(pools=[], free_range=[0x8000_0000, 0x8000_2000]), "outside memory"),
    ],
)  # fmt: skip
def test_what_cannot_be_believed_is_refused(data: bytes, why: str, refused: Callable[[bytes], str]) -> None:
    assert why in refused(data)


def test_a_core_of_another_maker_is_no_saved_machine(tmp_path: Path) -> None:
    for notes in (b"", note(b"CORE", 1, b"{}")):
        (tmp_path / "m").write_bytes(core(notes=notes))
        with pytest.raises(BadFile, match="is an ELF core, but not one that pagebook saved"):
            read_core(tmp_path / "m")


def test_an_absurd_note_is_refused(refused: Callable[[bytes], str]) -> None:
    for sizes in ((0xFFFF_FFFF, 4), (9, 0xFFFF_FFFF), (0xFFFF_FFFF, 0xFFFF_FFFF), (0, 0)):
        header = struct.pack("<III", *sizes, NOTE_TYPE) + b"PAGEBOOK\0\0\0\0" + b"{}\0\0"
        assert refused(core(notes=header))


def test_other_files_are_refused(refused: Callable[[bytes], str]) -> None:
    assert refused(b"") == "is empty"
    assert "is not a whole ELF file" in refused(b"\x7fELF")
    assert refused(build_elf([])).startswith(
        "is an ELF file of type ET_EXEC; a saved machine is of type ET_CORE; a kernel"
    )
    assert "for EM_X86_64" in refused(build_elf([], kind=CORE, machine=62))


def test_a_file_that_is_not_there_is_refused_with_the_systems_reason(tmp_path: Path) -> None:
    with pytest.raises(BadFile, match=r"cannot open '.*/none': No such file or directory"):
        read_core(tmp_path / "none")


def test_a_segment_longer_in_memory_than_in_the_file_holds_what_the_file_holds(tmp_path: Path) -> None:
    text = json.dumps(to_note(Machine("short", Memory.anonymous(PAGE), ()))).encode()
    notes = note(b"PAGEBOOK", NOTE_TYPE, text)
    (tmp_path / "m").write_bytes(build_elf([(0x8000_0000, PAGE, 1 << 40, READ, bytes(PAGE))], kind=CORE, notes=notes))
    assert [(r.base, r.size) for r in read_core(tmp_path / "m").memory.regions] == [(0x8000_0000, PAGE)]


def test_a_damaged_free_list_is_told_only_to_who_asks_for_it(tmp_path: Path) -> None:
    (tmp_path / "m").write_bytes(core(pools=[["free", 0x9000_0000, PAGE]], free_range=[0x8000_0000, 0x8000_1000]))
    (found,) = read_core(tmp_path / "m").free_lists()
    assert str(found.broken).startswith("the free list leads to 0x90000000")
    call(["tree", tmp_path / "m"]).must(0)


def test_the_file_is_mapped_not_read(tmp_path: Path) -> None:
    size = 1 << 36  # more than a machine that runs tests could read
    spaces = [space(root=0x8000_1000)]
    text = json.dumps({**to_note(Machine("huge", Memory.anonymous(PAGE), ())), "spaces": spaces}).encode()
    notes = note(b"PAGEBOOK", NOTE_TYPE, text)
    head = build_elf([(0x8000_0000, size, size, READ, b"")], kind=CORE, notes=notes)
    with (tmp_path / "huge").open("wb") as file:
        file.write(head)
        file.truncate(len(head) + size)
    opened = read_core(tmp_path / "huge")
    assert opened.memory.regions[0].size == size
    assert opened.spaces[0].table.translate(0) is None
    call(["maps", tmp_path / "huge"]).must(1)
