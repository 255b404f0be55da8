"""An xv6 guest read from bytes: forks of many shapes, each made of the model and held against its own machine."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import pytest

from fake_xv6 import (
    END,
    KERNBASE,
    LONG,
    OLD_STATES,
    PAGE,
    PLAIN,
    SUPERPAGE,
    Fake,
    Shape,
    busy,
    look,
)
from pagebook.errors import BadFile, BadTarget
from pagebook.guests.kernelfile import kernel_file, kernel_in
from pagebook.guests.xv6 import read, recognised
from pagebook.ledger import Ledger, Role
from pagebook.machine import Machine, Space
from pagebook.memory import Memory
from pagebook.source import Source
from pagebook.sv import R, U, V, W
from pagebook.units import page_up

SHAPES = {
    "plain": Shape(),
    "plain 2024": Shape(rev="2024"),
    "plain 2025": Shape(rev="2025"),
    "other members in another order": Shape(fields=LONG),
    "the states of 2019": Shape(states=OLD_STATES),
    "300 processes": Shape(nproc=300),
    "one process more than two": Shape(nproc=3),
    "pointers to processes": Shape(pointers=True),
    "a list for each hart": Shape(lists="harts"),
    "superpages in kmem": Shape(lists="super", ram=16 << 20),
    "superpages apart": Shape(lists="apart", ram=16 << 20),
    "counts of a byte": Shape(tally="u8"),
    "counts in a struct": Shape(tally="member"),
    "counts from address 0": Shape(tally="u8", first=0),
    "counts from the image's end": Shape(tally="int", first=page_up(END)),
}


def facts(space: Space) -> tuple[Any, ...]:
    return (space.name, space.table.root, space.pid, space.size, sorted(space.areas), dict(space.symbols))


def same(found: Machine, model: Machine) -> None:
    """Everything that both know is equal."""
    assert [facts(space) for space in found.spaces] == [facts(space) for space in model.spaces]
    assert [a for a in found.areas if not a.name.startswith("kernel stack of hart")] == list(model.areas)
    assert found.free_range is not None and model.free_range is not None
    assert found.free_range == (page_up(model.free_range[0]), model.free_range[1])
    assert dict(found.symbols) == dict(model.symbols)
    assert (found.harts, found.guest) == (model.harts, model.guest)
    assert sorted(map(repr, found.memory.devices)) == sorted(map(repr, model.memory.devices))


@pytest.mark.parametrize("name", SHAPES)
def test_the_guest_is_what_the_model_says(name, tmp_path):
    fake = Fake(SHAPES[name], tmp_path)
    busy(fake)
    free = {pa for chain in fake.model().free_lists() for pa in chain.frames.tolist()}
    found, remarks, *_ = look(fake)
    same(found, fake.model())
    assert remarks == ()
    listed = [pa + offset for pool, chain in zip(found.pools or (), found.free_lists(), strict=True)
              for pa in chain.frames.tolist() for offset in range(0, pool.size, PAGE)]  # fmt: skip
    assert len(listed) == len(set(listed)) and set(listed) == free
    assert all(chain.broken is None for chain in found.free_lists())
    assert (found.counts is None) == (fake.shape.tally is None)
    assert Ledger(found).counts()[Role.UNKNOWN] == 0


def test_each_process_has_the_state_that_its_kernel_gives_the_number(tmp_path):
    negative = {-1: "UNUSED", 1: "USED", -2: "SLEEPING", -3: "RUNNABLE", 4: "RUNNING", 5: "ZOMBIE"}
    for states in (None, OLD_STATES, negative):
        fake = Fake(Shape(states=states), tmp_path)
        busy(fake)
        found, *_ = look(fake)
        assert [(s.name, s.state) for s in found.spaces] == [
            ("kernel", None), ("init", "runble"), ("sh.2", "runble"), ("sh.3", "zombie"), ("sh.4", "runble"),
        ]  # fmt: skip


def test_a_kernel_that_claims_stacks_without_end_has_as_many_as_there_may_be_harts(tmp_path):
    found, *_ = look(Fake(Shape(stacks=0x7FFF_FFFF), tmp_path))
    assert sum(area.name.startswith("kernel stack of hart") for area in found.areas) == 1024


def test_the_pools_have_the_names_that_the_kernel_gives_them(tmp_path):
    def pools(shape: Shape) -> list[tuple[str, int]]:
        found, *_ = look(Fake(shape, tmp_path))
        return [(pool.name, pool.size) for pool in found.pools or ()]

    assert pools(Shape()) == [("kmem.freelist", PAGE)]
    assert pools(Shape(lists="harts")) == [(f"kmem[{hart}].freelist", PAGE) for hart in range(3)]
    assert pools(Shape(lists="super", ram=16 << 20)) == [("kmem.freelist", PAGE), ("kmem.superfreelist", SUPERPAGE)]
    assert pools(Shape(lists="apart", ram=16 << 20)) == [("kmem.freelist", PAGE), ("supermem.list", SUPERPAGE)]
    assert pools(Shape(lists="super", ram=2 << 20))[1] == ("kmem.superfreelist", SUPERPAGE)  # it is empty


def test_what_a_process_has_mapped_is_an_area(tmp_path):
    fake = Fake(Shape(fields=(*PLAIN, ("vma", 96))), tmp_path)
    fake.build()
    source = fake.source()
    at = fake.address(1, "vma")
    for number, (used, start, size) in enumerate(
        [(1, 0x10_0000, 5000), (0, 0x20_0000, PAGE), (1, 0, 0), (1, 1 << 60, 1)]
    ):
        fake.memory.write32(at + 24 * number, used)
        fake.memory.write64(at + 24 * number + 8, start)
        fake.memory.write32(at + 24 * number + 16, size)
    found, *_ = read(source, fake.path)
    assert [area for area in found.space("sh").areas if area.name == "mmap"] == [(0x10_0000, 2 * PAGE, "mmap")]


def test_a_kernel_stack_is_as_long_as_its_pages_go_on(tmp_path):
    fake = Fake(Shape(), tmp_path)
    frame = fake.k.kmem.alloc()
    assert frame is not None
    fake.k.table(fake.k.kernel_pagetable).map(fake.k.proc[0].kstack + PAGE, PAGE, frame, R | W)
    found, remarks, *_ = look(fake)
    stacks = [area for area in found.space("kernel").areas if area.name.startswith("stack")]
    assert [(a.size, a.name) for a in stacks[:2]] == [(2 * PAGE, "stack of process 1"), (PAGE, "stack of process 2")]
    assert remarks == ()


def test_without_dwarf_the_offsets_do(tmp_path):
    for shape in (Shape(), Shape(fields=LONG), Shape(nproc=300)):
        fake = Fake(shape, tmp_path)
        busy(fake)
        fake.build(dwarf=False)
        disk = {"disk.desc": 8, "disk.avail": 16, "disk.used": 24}
        found, remarks, *_ = read(fake.source(), fake.path, fake.told() | disk)
        same(found, fake.model())
        assert remarks == ()
        assert [pool.head for pool in found.pools or ()] == [fake.k.kmem.head]


def test_offsets_tell_a_list_for_each_hart(tmp_path):
    fake = Fake(Shape(lists="harts"), tmp_path)
    fake.build(dwarf=False)
    found, *_ = read(fake.source(), fake.path, fake.told() | {"kmem.size": 32, "NCPU": 3})
    assert [pool.name for pool in found.pools or ()] == [f"kmem[{hart}].freelist" for hart in range(3)]


def test_offsets_overrule_dwarf(tmp_path):
    fake = Fake(Shape(), tmp_path)
    fake.build()
    found, *_ = read(fake.source(), fake.path, {"NPROC": 1, "state.ASLEEP": 3, "state.UNUSED": 0})
    assert [(s.name, s.state) for s in found.spaces] == [("kernel", None), ("init", "asleep")]


@pytest.mark.parametrize(
    ("offsets", "words"),
    [
        (None, "build it with -g"),
        ({"proc.state": 24}, "lacks proc.pagetable and proc.size"),
        ({"proc.size": 80, "proc.state": 24, "proc.pagetable": 76}, "does not lie within struct proc"),
        ({"proc.colour": 8}, "means nothing"),
        ({"nowhere.freelist": 8}, "no symbol 'nowhere'"),
        ({"tally.width": 3}, "1, 2, 4 or 8"),
        ({"proc.size": -1}, "below 0"),
        ({"proc.size": 1 << 40, "proc.state": 24, "proc.pagetable": 32}, "NPROC=64"),
        ({"proc.size": 80, "proc.state": 24, "proc.pagetable": 32, "NPROC": 1 << 40}, "NPROC=64"),
    ],
)
def test_what_the_offsets_lack_is_said(offsets, words, tmp_path):
    fake = Fake(Shape(), tmp_path)
    fake.build(dwarf=False)
    with pytest.raises(BadTarget, match=words):
        read(fake.source(), fake.path, offsets)


def test_a_struct_proc_without_a_page_table_is_told_with_the_remedy(tmp_path):
    fake = Fake(Shape(), tmp_path)
    renamed = tuple(("vm" if name == "pagetable" else name, size) for name, size in PLAIN)
    fake.build()
    source = fake.source()
    fake.shape = replace(fake.shape, fields=renamed)
    fake.build()
    with pytest.raises(BadTarget, match=r"no member pagetable.*proc\.pagetable=80"):
        read(source, fake.path)
    found, *_ = read(source, fake.path, {"proc.pagetable": dict(Shape().offsets)["pagetable"]})
    assert [s.name for s in found.spaces] == ["kernel", "init", "sh"]


def test_a_kernel_is_recognised_by_its_symbols(tmp_path):
    fake = Fake(Shape(), tmp_path)
    assert recognised(fake.symbols)
    assert not recognised({"swapper_pg_dir": 1, "init_task": 2, "kernel_pagetable": 3})
    assert not recognised({})


def test_a_file_that_is_no_kernel_of_xv6_is_refused(tmp_path):
    fake = Fake(Shape(), tmp_path)
    del fake.symbols["kernel_pagetable"]
    fake.build()
    with pytest.raises(BadTarget, match="no symbol kernel_pagetable"):
        read(Source("guest", fake.memory), fake.path)
    with pytest.raises(BadFile, match="cannot read kernel"):
        read(Source("guest", fake.memory), tmp_path / "nothing")


def test_a_kernel_that_ends_before_it_starts_is_refused(tmp_path):
    fake = Fake(Shape(), tmp_path)
    source = fake.source()
    fake.symbols["end"] = KERNBASE - PAGE
    fake.build()
    with pytest.raises(BadTarget, match="is damaged: its end, 0x7ffff000, is not after its start, 0x80000000"):
        read(source, fake.path)


def test_a_kernel_of_another_build_is_refused_and_a_few_changed_bytes_are_said(tmp_path):
    fake = Fake(Shape(), tmp_path)
    source = fake.source()
    text = fake.text
    fake.text = text[:100] + bytes(3) + text[103:]
    fake.build()
    assert any("bytes of the kernel's text" in remark for remark in read(source, fake.path).remarks)
    fake.text = text[1:] + text[:1]
    fake.build()
    with pytest.raises(BadTarget, match="does not hold"):
        read(source, fake.path)
    with pytest.raises(BadTarget, match="nothing there"):
        read(Source("elsewhere", Memory.anonymous(PAGE, 0x9000_0000)), fake.path)


def test_a_page_that_struct_proc_names_is_called_as_there(tmp_path):
    fake = Fake(Shape(fields=(*PLAIN, ("usyscall", 8))), tmp_path)
    frame = fake.k.kmem.alloc()
    assert frame is not None
    p = fake.k.proc[1]
    va = (1 << 38) - 3 * PAGE
    fake.k.table(p.pagetable).map(va, PAGE, frame, V | U | R)
    fake.build()
    source = fake.source()
    fake.memory.write64(fake.address(1, "usyscall"), frame)
    found, remarks, *_ = read(source, fake.path)
    assert (va, PAGE, "usyscall") in found.space("sh").areas
    assert remarks == ()


def test_a_kernel_table_for_each_process_is_a_space_of_its_own(tmp_path):
    fake = Fake(Shape(fields=(*PLAIN, ("kpagetable", 8))), tmp_path)
    fake.build()
    source = fake.source()
    fake.memory.write64(fake.address(0, "kpagetable"), fake.k.kernel_pagetable)
    fake.memory.write64(fake.address(1, "kpagetable"), fake.k.proc[0].pagetable)
    found, *_ = read(source, fake.path)
    assert [(s.name, s.pid) for s in found.spaces] == [
        ("kernel", None),
        ("init", 1),
        ("sh", 2),
        ("sh.kpagetable", None),
    ]
    assert found.spaces[3].table.root == fake.k.proc[0].pagetable


def test_a_program_of_another_build_gives_no_symbols(tmp_path):
    fake = Fake(Shape(), tmp_path)
    fake.build()
    source = fake.source()
    program = tmp_path / "user" / "_sh"
    assert read(source, fake.path)[0].space("sh").symbols == {"main": 16, "getcmd": 48, "buf": 0x2000}
    pa = fake.k.table(fake.k.proc[1].pagetable).translate(0)
    assert pa is not None
    fake.memory.write(pa, bytes(PAGE))
    found, remarks, *_ = read(source, fake.path)
    assert found.space("sh").symbols == {}
    assert any("does not run user/_sh" in remark for remark in remarks)
    program.write_bytes(b"no program")
    found, remarks, *_ = read(source, fake.path)
    assert found.space("sh").symbols == {} and remarks == ()
    assert "guard page" in [area.name for area in found.space("sh").areas]


def test_the_kernels_file_is_read_once_and_again_when_it_changes(tmp_path):
    fake = Fake(Shape(), tmp_path)
    fake.build()
    first = kernel_file(fake.path)
    assert kernel_file(str(fake.path)) is first
    fake.symbols["extra"] = 5
    fake.build()
    assert kernel_file(fake.path).symbols["extra"] == 5
    assert read(fake.source(), first).machine.symbols == first.symbols


def built_anew(fake: Fake) -> None:
    """The kernel's file is that of another build: some of its text differs, and the process table is elsewhere."""
    fake.text = fake.text[:100] + bytes(600) + fake.text[700:]
    fake.symbols = fake.symbols | {"proc": fake.symbols["proc"] + 0x40, "kernel_pagetable": fake.symbols["tally"]}
    fake.build()


def test_of_a_guest_whose_kernel_was_built_anew_the_file_is_known_as_it_was(tmp_path):
    fake = Fake(Shape(), tmp_path)
    fake.build()
    source = fake.source()
    first = kernel_in(fake.path, source.memory)
    built_anew(fake)
    assert kernel_in(fake.path, source.memory) is first
    assert kernel_in(fake.path, Memory([])).symbols == fake.symbols, "where nothing fits, it is the file as it is"
    fake.path.write_bytes(b"not linked yet")
    assert kernel_in(fake.path, source.memory) is first
    with pytest.raises(BadFile):
        kernel_in(fake.path, Memory([]))


def test_of_two_files_that_fit_memory_the_one_as_it_is_now_is_read(tmp_path):
    fake = Fake(Shape(), tmp_path)
    source = fake.source()
    fake.build(dwarf=False)
    assert kernel_in(fake.path, source.memory).layouts is None
    fake.build()
    assert kernel_in(fake.path, source.memory).layouts is not None


def test_another_build_is_refused_in_one_sentence_where_it_says_what_is_not_there(tmp_path):
    fake = Fake(Shape(), tmp_path)
    fake.build()
    source = fake.source()
    built_anew(fake)
    with pytest.raises(BadTarget, match=r"does not hold .*: \d+ of \d+ bytes of its text differ; give the kernel that"):
        read(source, fake.path)


def test_a_later_look_is_quick(tmp_path):
    fake = Fake(Shape(nproc=4096, fields=PLAIN[1:], ram=64 << 20), tmp_path)
    fake.build()
    source, kernel = fake.source(), kernel_file(fake.path)
    read(source, kernel)
    best = min(_seconds(source, kernel) for _ in range(5))
    assert best < 0.2  # a few ms, on a computer with nothing else to do


def _seconds(source: Source, kernel: Any) -> float:
    started = time.thread_time()
    read(source, kernel)
    return time.thread_time() - started


def test_a_member_that_stands_outside_its_struct_is_none(tmp_path, monkeypatch):
    right = Shape().offsets
    monkeypatch.setattr(Shape, "offsets", property(lambda shape: {**right, "pagetable": shape.stride + 64}))
    with pytest.raises(BadTarget, match="has no member pagetable"):
        look(Fake(Shape(), tmp_path))
