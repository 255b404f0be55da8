"""Whose each frame is, and who maps it: the verb, and the reverse map against every mapping there is."""

from __future__ import annotations

import contextlib
import functools
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calls import FOLDER, SMALL, call, core_of, saved
from pagebook.ledger import Ledger, Role
from pagebook.machine import Machine, Space
from pagebook.memory import Memory, Region
from pagebook.pagetable import PageTable
from pagebook.scan import scan
from pagebook.sources.elfcore import read_core, write_core
from pagebook.sv import SV39, R, U, V, W
from pagebook.table import AddressSpace
from pagebook.xv6 import boot
from worlds import BASE, PAGE, World


@functools.cache
def model() -> Machine:
    return read_core(saved())


def every_use(machine: Machine) -> set[tuple[str, int, int]]:
    return {
        (space.name, row[0], row[1]) for space in machine.spaces for row in scan(space.table).mappings.tolist()
    }  # fmt: skip


@given(st.data())
@settings(max_examples=40)
def test_the_reverse_map_of_a_range_is_every_mapping_that_leads_into_it(data: st.DataObject):
    machine = model()
    region = machine.memory.regions[0]
    start = data.draw(st.integers(region.base - PAGE, region.end))
    stop = start + data.draw(st.sampled_from([1, PAGE, 3 * PAGE, 1 << 20]))
    found = [(use.space.name, use.va, use.pa) for use in Ledger(machine).uses(start, stop)]
    wanted = {one for one in every_use(machine) if one[2] < stop and one[2] + PAGE > start}
    assert len(found) == len(set(found))
    assert set(found) == wanted


def test_a_frame_that_two_processes_map_is_shared_and_one_that_one_maps_twice_is_not():
    world = World(pages=32)
    tables = [PageTable.create(world.memory, world.frames) for _ in range(2)]
    both, twice, own = (world.frame() for _ in range(3))
    for table in tables:
        table.map(0, PAGE, both, R | U)
    tables[1].map(PAGE, PAGE, twice, R | U)
    tables[1].map(2 * PAGE, PAGE, twice, R | U)
    tables[0].map(PAGE, PAGE, own, R | W | U)
    machine = Machine("m", world.memory, tuple(Space(f"p{n}", t, pid=n) for n, t in enumerate(tables, 1)))
    frames = {row[0] << 12: row[1:] for row in Ledger(machine).frames().tolist()}
    assert frames[both][:2] == (Role.SHARED, -1)
    assert frames[both][3] == 2
    assert frames[twice] == (Role.USER, 1, 0, 2)
    assert frames[own] == (Role.USER, 0, 0, 1)
    assert [frames[pa][0] for pa in scan(tables[0]).tables.tolist()] == [Role.PAGE_TABLE] * 3
    assert sorted(frames[pa][2] for pa in scan(tables[0]).tables.tolist()) == [0, 1, 2]


def test_the_model_has_every_frame_once_and_each_role_is_the_owners():
    k = boot.boot(ram=2 << 20, nproc=8)
    machine = boot.machine(k)
    frames = Ledger(machine).frames()
    assert frames["pfn"].tolist() == list(range(BASE >> 12, (BASE >> 12) + 512))
    names = [space.name for space in machine.spaces]
    for p in k.proc:
        if p.pagetable:
            row = frames[frames["pfn"] == p.trapframe >> 12].tolist()[0]
            assert (row[1], names[row[2]]) == (Role.TRAPFRAME, p.name)
            root = frames[frames["pfn"] == p.pagetable >> 12].tolist()[0]
            assert (root[1], names[root[2]], root[3]) == (Role.PAGE_TABLE, p.name, 2)


def test_a_table_that_lists_more_than_ram_could_hold_is_left_out_and_told():
    memory = Memory.anonymous(4 * PAGE)
    hostile = AddressSpace(memory, BASE)
    for index in range(512):
        memory.write64(BASE + 8 * index, SV39.pte(BASE, V))
    for index in range(512):
        memory.write64(BASE + PAGE + 8 * index, SV39.pte(BASE + PAGE, V | R | U))
    memory.write64(BASE, SV39.pte(BASE + PAGE, V | R))
    ledger = Ledger(Machine("m", memory, (Space("loop", hostile), Space("fine", AddressSpace(memory, BASE + PAGE)))))
    assert list(ledger.refused) == ["loop"]
    assert ledger.scans[0] is None
    assert sum(ledger.counts().values()) == 4


# The verb


def test_owners_lists_all_of_ram_in_runs_that_follow_each_other():
    answer = json.loads(call(["owners", saved(), "--json"]).must(0).out)
    at = BASE
    for run in answer["runs"]:
        assert int(run["pa"], 16) == at
        at += run["frames"] * PAGE
    assert at == BASE + (2 << 20)
    assert sum(answer["frames"].values()) == 512
    text = call(["owners", saved()]).must(0).out.splitlines()
    assert text[0] == "frames: 512 of RAM (2M), each in one role"
    assert len([line for line in text if "0x" in line]) == len(answer["runs"])


@pytest.mark.parametrize("form", ["{:#x}", "{:#X}", "{:#x}-{:#x}"])
def test_a_frame_is_asked_for_by_its_address_its_number_or_a_range(form: str):
    trapframe = scan(model().space("init").table).mappings.tolist()[-2][1]
    number = form.format(trapframe, trapframe + PAGE)
    text = call(["owners", number, saved()]).must(0).out.splitlines()
    assert text[0].endswith("1 frame   trapframe  init")
    assert text[1] == "mapped by: 2 mappings"
    assert {line.split()[0] for line in text[2:]} == {"kernel", "init"}
    assert call(["owners", hex(trapframe >> 12), saved()]).must(0).out.splitlines() == text


def test_an_address_without_ram_says_who_maps_it_or_is_refused():
    text = call(["owners", "0x10000000", saved()]).must(0).out.splitlines()
    assert text[0] == "  0x10000000: no RAM, a device"
    assert text[2].startswith("  kernel  0x10000000 4K  rw-----")
    refusal = call(["owners", "0x7000000000", saved()]).refusal
    assert refusal.startswith("pagebook: 0x7000000000 is no address of this machine's RAM, which has 0x80000000-")


def test_a_frame_that_nobody_maps_says_so():
    world = World(pages=8)
    loose = world.frame()
    path = core_of(world, "loose.core")
    assert call(["owners", hex(loose), path]).must(0).out.splitlines()[-1] == "  no address space maps it"


def test_owners_takes_a_frame_a_target_both_or_none():
    assert call(["owners", *SMALL.split()]).must(0).out.startswith("frames: 512 of RAM")
    assert call(["owners", "0x80000000", *SMALL.split()]).must(0).out.splitlines()[0].endswith("kernel image")
    assert "is no address and no range" in call(["owners", "x", "y"]).refusal
    (FOLDER / "20240101").write_bytes(saved().read_bytes())
    with contextlib.chdir(FOLDER):
        assert call("owners 20240101").must(0).out.startswith("frames: 512 of RAM")
    assert "too many words" in call(["owners", "1", "2", "3"]).refusal


def test_a_machine_saved_and_opened_has_the_same_owners(tmp_path):
    write_core(model(), tmp_path / "m")
    assert call(["owners", tmp_path / "m"]).must(0).out == call(["owners", saved()]).must(0).out


def test_a_frames_number_is_one_wherever_else_there_is_memory(tmp_path):
    rom = Region(0x1000, bytes(PAGE), name="rom")
    ram = model().memory.regions[0]
    spaces = tuple(
        Space(s.name, AddressSpace(Memory([rom, ram]), s.table.root), s.areas, s.pid) for s in model().spaces
    )
    write_core(Machine("two", Memory([rom, ram]), spaces), tmp_path / "m")
    pa = scan(model().space("init").table).mappings.tolist()[0][1]
    first = call(["owners", hex(pa >> 12), tmp_path / "m"]).must(0).out.splitlines()[0]
    assert first.split()[0] == f"{pa:#x}-{pa + PAGE:#x}"


def test_the_last_address_there_is_may_be_asked_for() -> None:
    core = saved()
    everything = call(["owners", "0-0xffffffffffffffff", core]).must(0).out
    assert everything == call(["owners", "0-0x100000000", core]).must(0).out
    assert "is no address of this machine's RAM" in call(["owners", "0xffffffffffffffff", core]).refusal
