"""An xv6 guest read from bytes: forks of many shapes, each made of the model and held against its own machine."""

from __future__ import annotations

import random
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import dwarves as dw
from fake_xv6 import (
    END,
    ETEXT,
    KERNBASE,
    LONG,
    OLD_STATES,
    PAGE,
    PLAIN,
    PROCS,
    SUPERPAGE,
    TALLY,
    Fake,
    Shape,
)
from pagebook.checks.looks import check
from pagebook.checks.registry import choose
from pagebook.errors import BadFile, BadTarget, PagebookError
from pagebook.guests import kernelfile
from pagebook.guests.kernelfile import kernel_file
from pagebook.guests.xv6 import Reading, read, recognised
from pagebook.ledger import Ledger, Role
from pagebook.machine import Counts, Machine, Space
from pagebook.memory import Memory, Region
from pagebook.source import Source
from pagebook.sv import R, U, V, W
from pagebook.units import page_up
from pagebook.xv6.kernel import State
from pagebook.xv6.memlayout import KSTACK
from pagebook.xv6.proc import exit as exit_
from pagebook.xv6.proc import fork

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


def look(fake: Fake, **options: Any) -> Reading:
    fake.build()
    return read(fake.source(), str(fake.path), **options)


def busy(fake: Fake) -> None:
    """A zombie, a process with sh's name, and one that is only being made."""
    k = fake.k
    if fake.shape.nproc < 5:
        return
    k.current = next(p for p in k.proc if p.name == "sh")
    child, second = fork(k), fork(k)
    assert second > child > 0
    k.current = next(p for p in k.proc if p.pid == child)
    exit_(k, 3)
    half = next(p for p in k.proc if p.state is State.UNUSED)
    half.state, half.pid = State.USED, 77


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
    found, remarks = look(fake)
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
        found, _ = look(fake)
        assert [(s.name, s.state) for s in found.spaces] == [
            ("kernel", None), ("init", "runble"), ("sh.2", "runble"), ("sh.3", "zombie"), ("sh.4", "runble"),
        ]  # fmt: skip


def test_a_kernel_that_claims_stacks_without_end_has_as_many_as_there_may_be_harts(tmp_path):
    found, _ = look(Fake(Shape(stacks=0x7FFF_FFFF), tmp_path))
    assert sum(area.name.startswith("kernel stack of hart") for area in found.areas) == 1024


def test_the_pools_have_the_names_that_the_kernel_gives_them(tmp_path):
    def pools(shape: Shape) -> list[tuple[str, int]]:
        found, _ = look(Fake(shape, tmp_path))
        return [(pool.name, pool.size) for pool in found.pools or ()]

    assert pools(Shape()) == [("kmem.freelist", PAGE)]
    assert pools(Shape(lists="harts")) == [(f"kmem[{hart}].freelist", PAGE) for hart in range(3)]
    assert pools(Shape(lists="super", ram=16 << 20)) == [("kmem.freelist", PAGE), ("kmem.superfreelist", SUPERPAGE)]
    assert pools(Shape(lists="apart", ram=16 << 20)) == [("kmem.freelist", PAGE), ("supermem.list", SUPERPAGE)]
    assert pools(Shape(lists="super", ram=2 << 20))[1] == ("kmem.superfreelist", SUPERPAGE)  # it is empty


@pytest.mark.parametrize(("tally", "width"), [("u8", 1), ("int", 4), ("member", 4)])
def test_counts_are_found_by_what_they_count(tally, width, tmp_path):
    fake = Fake(Shape(tally=tally, ram=4 << 20), tmp_path)
    found, _ = look(fake)
    start = TALLY + (24 if tally == "member" else 0)
    assert found.counts == Counts("tally.cnt" if tally == "member" else "tally", start, width, 1024, KERNBASE)


def test_counts_made_after_the_image_are_found_and_their_frames_are_the_kernels(tmp_path):
    fake = Fake(Shape(tally="pointer"), tmp_path)
    room = fake.k.kmem.alloc()
    assert room is not None
    fake.tally_room = room
    found, remarks = look(fake)
    assert found.counts == Counts("tally", room, 4, 1024, KERNBASE), remarks
    assert Ledger(found).role_of(fake.k.kmem.frames()[:0]).tolist() == []
    assert any(area.start == room and "kernel" in area.name for area in found.areas)


def test_counts_from_a_frame_that_only_a_pointer_knows_are_found(tmp_path):
    first = page_up(END) + 3 * PAGE
    fake = Fake(Shape(tally="pointer", first=first, mark=True), tmp_path)
    fake.tally_room = END + 1
    rest = [pa for pa in fake.k.kmem.frames().tolist() if pa >= first]
    fake.k.kmem.head = fake.chain(rest)
    found, remarks = look(fake)
    assert found.counts == Counts("tally", END + 1, 4, fake.frames, first), remarks


def test_counts_that_stay_when_frames_are_freed_are_counts_all_the_same(tmp_path):
    fake = Fake(Shape(tally="int"), tmp_path)
    frame = share(fake)
    fake.shared = dict.fromkeys(fake.k.kmem.frames().tolist(), 1) | {frame: 2}
    assert look(fake)[0].counts is not None


def test_of_two_arrays_that_could_be_counts_neither_is_used_until_one_is_told(tmp_path):
    fake = Fake(Shape(tally="int"), tmp_path)
    twin = fake.dies

    def dies() -> Any:
        made = twin()
        numbers = next(die for die in made if die.tag == 0x34 and die.attributes[0][2] == "tally").attributes[1][2]
        return [*made, dw.variable("twin", numbers, TALLY + 0x10000)]

    fake.dies = dies  # type: ignore[method-assign]
    fake.build()
    source = fake.source()
    fake.memory.write(TALLY + 0x10000, fake.memory.read(TALLY, 4 * fake.frames))
    found, remarks = read(source, fake.path)
    assert found.counts is None
    assert any("tally and twin can each be" in remark and "tally.base=0x80000000" in remark for remark in remarks)
    found, remarks = read(source, fake.path, {"twin.base": KERNBASE})
    assert found.counts == Counts("twin", TALLY + 0x10000, 4, fake.frames, KERNBASE)
    assert remarks == ()


def test_an_array_called_like_counts_that_counts_nothing_is_said(tmp_path):
    fake = Fake(Shape(tally="member"), tmp_path)
    fake.build()
    source = fake.source()
    fake.memory.write(TALLY + 24, bytes(4 * fake.frames))
    found, remarks = read(source, fake.path)
    assert found.counts is None
    assert any(remark.startswith("tally.cnt has a number for each frame") for remark in remarks)


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
    found, _ = read(source, fake.path)
    assert [area for area in found.space("sh").areas if area.name == "mmap"] == [(0x10_0000, 2 * PAGE, "mmap")]


def test_a_kernel_stack_is_as_long_as_its_pages_go_on(tmp_path):
    fake = Fake(Shape(), tmp_path)
    frame = fake.k.kmem.alloc()
    assert frame is not None
    fake.k.table(fake.k.kernel_pagetable).map(fake.k.proc[0].kstack + PAGE, PAGE, frame, R | W)
    found, remarks = look(fake)
    stacks = [area for area in found.space("kernel").areas if area.name.startswith("stack")]
    assert [(a.size, a.name) for a in stacks[:2]] == [(2 * PAGE, "stack of process 1"), (PAGE, "stack of process 2")]
    assert remarks == ()


def test_counts_in_records_are_read(tmp_path):
    found, remarks = look(Fake(Shape(tally="records"), tmp_path))
    assert found.counts is not None
    assert (found.counts.stride, remarks) == (32, ())
    numbers = found.counts.values(found.memory, 1 << 20)
    assert len(numbers) == found.counts.length
    assert set(numbers.tolist()) == {0, 1}


def share(fake: Fake) -> int:
    """Let a child of sh map its parent's first page instead of its own; the frame."""
    k = fake.k
    parent = next(p for p in k.proc if p.name == "sh")
    k.current = parent
    pid = fork(k)
    child = next(p for p in k.proc if p.pid == pid)
    theirs, pte, _ = k.table(parent.pagetable).find(0)
    mine, _, _ = k.table(child.pagetable).find(0)
    frame = pte >> 10 << 12
    for at in (theirs, mine):
        k.memory.write64(at, pte & ~W)
    return frame


def test_numbers_that_stay_1_where_frames_are_shared_are_no_counts(tmp_path):
    fake = Fake(Shape(tally="int"), tmp_path)
    frame = share(fake)
    fake.shared = {frame: 2}
    assert look(fake)[0].counts is not None
    fake.shared = {frame: 1}
    found, _ = look(fake)
    assert found.counts is None


def test_numbers_that_count_something_else_are_no_counts(tmp_path):
    fake = Fake(Shape(tally="int"), tmp_path)
    fake.build()
    source = fake.source()
    for wrong in (0, 1, 7, 0x0101_0101):
        fake.memory.write(TALLY, wrong.to_bytes(4, "little") * fake.frames)
        assert read(source, fake.path)[0].counts is None
    fake.memory.write(TALLY, random.Random(1).randbytes(4 * fake.frames))
    assert read(source, fake.path)[0].counts is None


def test_counts_that_are_told_are_taken_and_what_speaks_against_them_is_said(tmp_path):
    fake = Fake(Shape(tally="int"), tmp_path)
    fake.build(dwarf=False)
    told = fake.told() | {"tally.counts": 0, "tally.width": 4, "tally.count": fake.frames, "tally.base": KERNBASE}
    found, remarks = read(fake.source(), fake.path, told)
    assert found.counts == Counts("tally.counts", TALLY, 4, fake.frames, KERNBASE)
    assert remarks == ()
    fake.memory.write(TALLY, bytes(4 * fake.frames))
    found, remarks = read(Source("guest", fake.memory), fake.path, told)
    assert found.counts is not None
    assert any("was told to be counts" in remark for remark in remarks)


def test_without_dwarf_the_offsets_do(tmp_path):
    for shape in (Shape(), Shape(fields=LONG), Shape(nproc=300)):
        fake = Fake(shape, tmp_path)
        busy(fake)
        fake.build(dwarf=False)
        disk = {"disk.desc": 8, "disk.avail": 16, "disk.used": 24}
        found, remarks = read(fake.source(), fake.path, fake.told() | disk)
        same(found, fake.model())
        assert remarks == ()
        assert [pool.head for pool in found.pools or ()] == [fake.k.kmem.head]


def test_offsets_tell_a_list_for_each_hart(tmp_path):
    fake = Fake(Shape(lists="harts"), tmp_path)
    fake.build(dwarf=False)
    found, _ = read(fake.source(), fake.path, fake.told() | {"kmem.size": 32, "NCPU": 3})
    assert [pool.name for pool in found.pools or ()] == [f"kmem[{hart}].freelist" for hart in range(3)]


def test_offsets_overrule_dwarf(tmp_path):
    fake = Fake(Shape(), tmp_path)
    fake.build()
    found, _ = read(fake.source(), fake.path, {"NPROC": 1, "state.ASLEEP": 3, "state.UNUSED": 0})
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
    found, _ = read(source, fake.path, {"proc.pagetable": dict(Shape().offsets)["pagetable"]})
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


def test_a_root_that_is_none_leaves_the_space_out_with_a_remark(tmp_path):
    fake = Fake(Shape(), tmp_path)
    fake.build()
    source = fake.source()
    for root in (0x1000, fake.k.proc[1].pagetable + 8, 1 << 63, KERNBASE + fake.shape.ram):
        fake.memory.write64(fake.address(1, "pagetable"), root)
        found, remarks = read(source, fake.path)
        assert [s.name for s in found.spaces] == ["kernel", "init"]
        assert any(f"{root:#x}" in remark for remark in remarks)
    fake.memory.write64(fake.address(1, "pagetable"), 0)
    assert [s.name for s in read(source, fake.path)[0].spaces] == ["kernel", "init"]


@pytest.mark.parametrize("filling", [b"\1", b"\5", b"\xff", b"\0"])
def test_a_root_in_a_frame_that_was_freed_is_a_space_and_no_error(filling, tmp_path):
    fake = Fake(Shape(), tmp_path)
    fake.build()
    source = fake.source()
    fake.memory.write(fake.k.proc[1].pagetable, filling * PAGE)
    found, _ = read(source, fake.path)
    assert [s.name for s in found.spaces] == ["kernel", "init", "sh"]
    fake.memory.write(fake.k.kernel_pagetable, filling * PAGE)
    found, _ = read(source, fake.path)
    assert [s.name for s in found.spaces] == ["kernel", "init", "sh"]
    assert sum(Ledger(found).counts().values()) == fake.shape.ram // PAGE


def test_a_page_table_that_an_unused_slot_has_kept_is_a_space(tmp_path):
    fake = Fake(Shape(), tmp_path)
    fake.build()
    source = fake.source()
    root = fake.k.proc[1].pagetable
    fake.memory.write64(fake.address(5, "pagetable"), root)
    fake.memory.write64(fake.address(6, "pagetable"), 0x123)
    found, remarks = read(source, fake.path)
    assert (found.spaces[-1].name, found.spaces[-1].state, found.spaces[-1].table.root) == ("slot 5", "unused", root)
    assert len(found.spaces) == 4
    assert remarks == ()


def test_a_torn_name_is_cut_and_cleaned(tmp_path):
    fake = Fake(Shape(), tmp_path)
    fake.build()
    source = fake.source()
    for raw, name in (
        (b"a\nb\xff\0secret", "a?b?"),
        (b"0123456789abcdef", "0123456789abcdef"),
        (b"../../etc/passwd", "../../etc/passwd"),
        (b"\0sh", "process"),
        (b"kernel\0", "kernel.2"),
        (b"init\0", "init.2"),
    ):
        fake.memory.write(fake.address(1, "name"), raw.ljust(16, b"\0"))
        found, _ = read(source, fake.path)
        assert found.spaces[2].name == name
        assert found.spaces[2].symbols == {} or name == "init.2"


def test_two_processes_with_one_name_and_one_pid_still_have_names_of_their_own(tmp_path):
    fake = Fake(Shape(), tmp_path)
    busy(fake)
    fake.build()
    source = fake.source()
    for slot in (1, 2, 3):
        fake.memory.write32(fake.address(slot, "pid"), 0)
    names = [s.name for s in read(source, fake.path)[0].spaces]
    assert names == ["kernel", "init", "sh.0", "sh.0 in slot 2", "sh.0 in slot 3"]


@pytest.mark.parametrize(
    ("field", "value", "words", "rules"),
    [
        ("sz", 1 << 62, "has sz 0x4000000000000000", ["PB120"]),
        ("trapframe", KERNBASE + 8, "is no frame of memory", ["PB110"]),
        ("trapframe", KERNBASE, "does not map that below the trampoline", ["PB110"]),
        ("kstack", 0x1234_5000, "which the kernel's table does not map", ["PB119"]),
        ("kstack", KSTACK(0), "and so has process 1", ["PB119"]),
        ("state", 99, "has state 99", ["PB120"]),
    ],
)
def test_what_does_not_fit_is_said_and_found(field, value, words, rules, tmp_path):
    fake = Fake(Shape(), tmp_path)
    fake.build()
    source = fake.source()
    fake.memory.write(fake.address(1, field), value.to_bytes(dict(PLAIN)[field], "little"))
    found, remarks = read(source, fake.path)
    assert any(words in remark for remark in remarks), remarks
    assert [s.name for s in found.spaces] == ["kernel", "init", "sh"]
    told = check(found, choose()).findings
    assert sorted({one.rule for one in told}) == rules
    assert any(words in one.message and one.va == fake.address(1, field) - fake.shape.offsets[field] for one in told)


def test_memory_in_pieces_is_read_as_far_as_the_first_goes(tmp_path):
    fake = Fake(Shape(), tmp_path)
    fake.build()
    data = bytes(fake.source().memory.regions[0].data)
    half = len(data) // 2
    pieces = Memory([Region(KERNBASE, data[:half]), Region(KERNBASE + half, data[half:])])
    found, remarks = read(Source("pieces", pieces), fake.path)
    assert found.free_range == (page_up(END), KERNBASE + half)
    assert any("in one piece" in remark for remark in remarks)
    assert sum(Ledger(found).counts().values()) == len(data) // PAGE


def test_thousands_of_torn_processes_make_few_remarks(tmp_path):
    fake = Fake(Shape(nproc=300), tmp_path)
    fake.build()
    source = fake.source()
    fake.memory.write(PROCS, b"\xa5" * (fake.shape.stride * 300))
    found, remarks = read(source, fake.path)
    assert [s.name for s in found.spaces] == ["kernel"]
    assert 3 < len(remarks) < 10  # alike of all
    assert {finding.rule for finding in check(found, choose()).findings} >= {"PB119", "PB120"}


def test_a_kernel_without_its_table_yet_has_only_its_image(tmp_path):
    fake = Fake(Shape(), tmp_path)
    fake.build()
    source = fake.source()
    fake.memory.write(PROCS, bytes(fake.shape.stride * fake.shape.nproc))
    fake.memory.write64(fake.symbols["kernel_pagetable"], 0)
    found, remarks = read(source, fake.path)
    assert found.spaces == ()
    assert found.free_range == (page_up(END), KERNBASE + fake.shape.ram)
    assert any("has not made its page table" in remark for remark in remarks)
    fake.memory.write64(fake.symbols["kernel_pagetable"], 0x1234)
    assert any("no table can be there" in remark for remark in read(source, fake.path).remarks)


def test_a_kernel_table_that_points_at_itself_is_no_hang(tmp_path):
    fake = Fake(Shape(), tmp_path)
    fake.build()
    source = fake.source()
    root = fake.k.kernel_pagetable
    fake.memory.write(root, (root >> 12 << 10 | V).to_bytes(8, "little") * 512)
    started = time.monotonic()
    found, _ = read(source, fake.path)
    assert found.spaces[0].name == "kernel"
    assert time.monotonic() - started < 5


def test_memory_that_ends_before_physstop_is_said(tmp_path):
    fake = Fake(Shape(), tmp_path)
    fake.build()
    source = fake.source()
    end = KERNBASE + fake.shape.ram
    fake.k.table(fake.k.kernel_pagetable).map(end, PAGE, end, R | W)
    found, remarks = read(source, fake.path)
    assert any("in one piece" in remark for remark in remarks)
    assert found.free_range == (page_up(END), end)


def test_a_panic_is_said(tmp_path):
    fake = Fake(Shape(), tmp_path)
    fake.build()
    source = fake.source()
    fake.memory.write32(fake.symbols["panicked"], 1)
    assert "the kernel has panicked" in read(source, fake.path).remarks


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
    found, remarks = read(source, fake.path)
    assert (va, PAGE, "usyscall") in found.space("sh").areas
    assert remarks == ()


def test_a_kernel_table_for_each_process_is_a_space_of_its_own(tmp_path):
    fake = Fake(Shape(fields=(*PLAIN, ("kpagetable", 8))), tmp_path)
    fake.build()
    source = fake.source()
    fake.memory.write64(fake.address(0, "kpagetable"), fake.k.kernel_pagetable)
    fake.memory.write64(fake.address(1, "kpagetable"), fake.k.proc[0].pagetable)
    found, _ = read(source, fake.path)
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
    found, remarks = read(source, fake.path)
    assert found.space("sh").symbols == {}
    assert any("does not run user/_sh" in remark for remark in remarks)
    program.write_bytes(b"no program")
    found, remarks = read(source, fake.path)
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


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> tuple[Path, bytes]:
    fake = Fake(Shape(tally="int", lists="harts", fields=(*PLAIN, ("kpagetable", 8))), tmp_path_factory.mktemp("whole"))
    busy(fake)
    fake.build()
    return fake.path, bytes(fake.source().memory.regions[0].data)


@given(
    st.lists(st.tuples(st.integers(ETEXT - KERNBASE, (4 << 20) - 1), st.binary(min_size=1, max_size=64)), max_size=8),
    st.lists(st.tuples(st.integers(0, 0x4000), st.binary(min_size=1, max_size=64)), max_size=8),
)
def test_any_damage_to_memory_is_a_machine_or_a_sentence(whole, anywhere, globals_):
    path, data = whole
    room = bytearray(data)
    for at, octets in [*anywhere, *((ETEXT - KERNBASE + at, octets) for at, octets in globals_)]:
        octets = octets[: len(room) - at]
        room[at : at + len(octets)] = octets
    try:
        found, remarks = read(Source("damaged", Memory([Region(KERNBASE, room)])), path)
    except PagebookError:
        return
    assert all(isinstance(remark, str) for remark in remarks)
    assert sum(Ledger(found).counts().values()) == len(room) // PAGE


@given(st.lists(st.tuples(st.integers(64, 1 << 16), st.binary(min_size=1, max_size=8)), min_size=1, max_size=6))
def test_any_damage_to_the_kernels_file_is_a_machine_or_a_sentence(whole, changes):
    path, data = whole
    room = bytearray(path.read_bytes())
    for at, octets in changes:
        at %= len(room) - len(octets)
        room[at : at + len(octets)] = octets
    damaged = path.parent / "damaged"
    damaged.write_bytes(room)
    try:
        kernel = kernel_file(damaged)
        read(Source("guest", Memory([Region(KERNBASE, data)])), kernel)
    except PagebookError as error:
        assert str(error)
    finally:
        damaged.unlink()  # and with it the stamp by which the next would be taken for this one
        kernelfile._kernels.clear()


def test_the_rom_that_a_dump_holds_is_no_ram(tmp_path):
    fake = Fake(Shape(), tmp_path)
    fake.build()
    source = fake.source()
    rom = Region(0x1000, bytes(4 * PAGE), name="rom")
    found, remarks = read(replace(source, memory=Memory([rom, *source.memory.regions])), fake.path)
    plain, _ = read(source, fake.path)
    assert remarks == ()
    assert sum(Ledger(found).counts().values()) == sum(Ledger(plain).counts().values())
    assert found.memory.answers(0x1000, 8) and 0x1000 not in found.memory


def test_a_member_that_stands_outside_its_struct_is_none(tmp_path, monkeypatch):
    right = Shape().offsets
    monkeypatch.setattr(Shape, "offsets", property(lambda shape: {**right, "pagetable": shape.stride + 64}))
    with pytest.raises(BadTarget, match="has no member pagetable"):
        look(Fake(Shape(), tmp_path))


@pytest.mark.parametrize("part", ["a frame in the middle", "the last 32 frames"])
def test_a_hole_in_the_kernels_map_is_told_as_that_and_ram_goes_on_behind_it(part, tmp_path):
    fake = Fake(Shape(), tmp_path)
    fake.build()
    source = fake.source()
    end = KERNBASE + fake.shape.ram
    start, stop = (fake.k.kmem.head, fake.k.kmem.head + PAGE) if "middle" in part else (end - 32 * PAGE, end)
    table = fake.k.table(fake.k.kernel_pagetable)
    for va in range(start, stop, PAGE):
        fake.memory.write64(table.find(va)[0], 0)
    found, _ = read(source, fake.path)
    assert found.free_range == (page_up(END), end)
    told = check(found, choose()).findings
    assert [(one.rule, one.va, one.size) for one in told] == [("PB121", start, stop - start)]
