"""The ledger: every frame in exactly one role, found from the bytes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pagebook.ledger import Ledger, Role
from pagebook.machine import Area, Machine, Pool, Space, from_note, to_note
from pagebook.memory import Memory, Region
from pagebook.pagetable import PageTable
from pagebook.sv import SV57, R, U, V, W, X
from pagebook.table import AddressSpace
from worlds import BASE, PAGE, World

TOP = 1 << 64


def roles(machine: Machine) -> dict[int, Role]:
    """Every frame's role by its address."""
    ledger = Ledger(machine)
    return {
        holding.region.base + index * PAGE: Role(role)
        for holding in ledger.holdings
        for index, role in enumerate(holding.role.tolist())
    }


def machine_of(world: World, *spaces: Space, areas: tuple[Area, ...] = ()) -> Machine:
    return Machine(
        "m",
        world.memory,
        spaces,
        areas=areas,
        pools=(Pool("free", world.frames.head),),
        free_range=(world.base, world.stop),
    )


def test_the_roles_are_those_that_are_promised_and_later_ones_win():
    assert [role.label for role in Role] == [
        "unknown", "free", "kernel image", "device queue", "kernel stack", "trapframe", "user",
        "shared", "page table",
    ]  # fmt: skip
    assert [role.value for role in Role] == list(range(9))


def test_a_machine_like_xv6_has_every_frame_in_its_role():
    world = World(pages=32)
    image, queue, stack, trapframe, code, guard = (world.frame() for _ in range(6))
    process = PageTable.create(world.memory, world.frames)
    world.table.map(image, PAGE, image, R | X)
    world.table.map(0x3FFFFFD000, PAGE, stack, R | W)
    process.map(0, PAGE, code, R | X | U)
    process.map(PAGE, PAGE, guard, R | W)
    process.map(0x3FFFFFE000, PAGE, trapframe, R | W)
    process.map(0x3FFFFFF000, PAGE, image, R | X)
    machine = machine_of(
        world,
        Space("kernel", world.table, (Area(0x3FFFFFD000, PAGE, "stack of 0"), Area(image, PAGE, "text"))),
        Space("init", process, (Area(0x3FFFFFE000, PAGE, "trapframe"), Area(0, PAGE, "stack of cards")), 1, 2 * PAGE),
        areas=(Area(image, PAGE, "kernel image"), Area(queue, PAGE, "disk queue")),
    )
    found = roles(machine)
    assert {pa: role for pa, role in found.items() if role not in (Role.FREE, Role.PAGE_TABLE)} == {
        image: Role.KERNEL_IMAGE, queue: Role.DEVICE_QUEUE, stack: Role.KERNEL_STACK, trapframe: Role.TRAPFRAME,
        code: Role.USER, guard: Role.USER,
    }  # fmt: skip
    counts = Ledger(machine).counts()
    assert counts[Role.FREE] == len(world.frames.frames())
    assert counts[Role.PAGE_TABLE] == 5 + 5
    assert sum(counts.values()) == 32
    assert counts[Role.UNKNOWN] == 0


def test_what_nobody_claims_is_unknown():
    world = World(pages=8)
    lost = world.frame()
    found = roles(machine_of(world, Space("kernel", world.table)))
    assert [pa for pa, role in found.items() if role == Role.UNKNOWN] == [lost]
    assert set(roles(Machine("m", world.memory, ())).values()) == {Role.UNKNOWN}


@given(st.data())
def test_the_counts_sum_to_all_of_ram_whatever_is_mapped(data: st.DataObject):
    world = World(pages=24)
    users = set()
    for _ in range(data.draw(st.integers(0, 5))):
        va = data.draw(st.integers(0, 3000)) * PAGE
        pa = world.frames.alloc()
        if pa is None or world.table.find(va)[1] & V or world.frames.count < 4:
            break
        flags = data.draw(st.sampled_from([R, R | U, R | W | U]))
        world.table.map(va, PAGE, pa, flags)
        if flags & U:
            users.add(pa)
    start = data.draw(st.integers(0, TOP - 1))
    area = Area(start, data.draw(st.sampled_from([0, 1, PAGE, PAGE + 1, TOP - 1])), "kernel image")
    machine = machine_of(world, Space("s", world.table), areas=(area,))
    counts = Ledger(machine).counts()
    assert sum(counts.values()) == 24
    found = roles(machine)
    assert {pa for pa, role in found.items() if role == Role.USER} == users
    for pa, role in found.items():
        if role == Role.KERNEL_IMAGE:
            assert pa < area.end and area.start < pa + PAGE
    assert counts == {role: list(found.values()).count(role) for role in Role}


@pytest.mark.parametrize(
    ("start", "size", "pages"),
    [
        (BASE, PAGE, [0]),
        (BASE + PAGE, 2 * PAGE, [1, 2]),
        (BASE + PAGE + 8, PAGE, [1, 2]),
        (BASE + PAGE + 8, 8, [1]),
        (BASE - PAGE, 2 * PAGE, [0]),
        (BASE + 3 * PAGE, 9 * PAGE, [3]),
        (0, TOP - 1, [0, 1, 2, 3]),
        (0, BASE, []),
        (BASE + 4 * PAGE, PAGE, []),
        (BASE + PAGE, 0, []),
    ],
)
def test_an_area_claims_the_frames_it_touches_however_far_it_reaches(start: int, size: int, pages: list[int]):
    memory = Memory.anonymous(4 * PAGE, BASE)
    found = roles(Machine("m", memory, (), areas=(Area(start, size, "the kernel"),)))
    assert [pa - BASE >> 12 for pa, role in found.items() if role == Role.KERNEL_IMAGE] == pages


def test_an_area_at_the_very_top_of_an_address_space_is_claimed():
    world = World(pages=16)
    stack = world.frame()
    world.table.map(TOP - PAGE, PAGE, stack, R | W)
    machine = machine_of(world, Space("kernel", world.table, (Area(TOP - PAGE, PAGE, "stack of 0"),)))
    assert roles(machine)[stack] == Role.KERNEL_STACK


def test_every_frame_under_a_superpage_is_the_users():
    memory = Memory.anonymous(1600 * PAGE, BASE)
    table = AddressSpace(memory, BASE)
    memory.write64(BASE, BASE + PAGE >> 2 | V)
    memory.write64(BASE + PAGE, BASE + (2 << 20) >> 2 | V | R | U)
    memory.write64(BASE + PAGE + 8, BASE + (4 << 20) >> 2 | V | R)
    found = roles(Machine("m", memory, (Space("s", table),)))
    users = [pa for pa, role in found.items() if role == Role.USER]
    assert users == list(range(BASE + (2 << 20), BASE + (4 << 20), PAGE))
    process = roles(Machine("m", memory, (Space("s", table, pid=1, size=4 << 20),)))
    assert [pa for pa, role in process.items() if role == Role.USER] == list(
        range(BASE + (2 << 20), BASE + (6 << 20), PAGE)
    )


def test_a_page_of_256_tib_costs_no_more_than_ram():
    world = World(SV57, pages=8)
    for index in range(512):
        world.put(world.table.root, index, V | R | U)
    counts = Ledger(Machine("m", world.memory, (Space("s", world.table),))).counts()
    assert (counts[Role.USER], counts[Role.PAGE_TABLE]) == (7, 1)


def test_frames_in_every_region_are_counted_and_a_part_of_a_page_is_no_frame():
    memory = Memory(
        [Region(0x1000, bytearray(3 * PAGE), writable=True), Region(BASE, bytearray(2 * PAGE + 100), writable=True)]
    )
    memory.write64(0x1000, 0x2000 >> 2 | V)
    memory.write64(0x2000, BASE >> 2 | V)
    for index, pa in enumerate((BASE + PAGE, 0x3000, BASE + 2 * PAGE, 0x9000)):
        memory.write64(BASE + 8 * index, pa >> 2 | V | R | U)
    machine = Machine("m", memory, (Space("s", AddressSpace(memory, 0x1000)),))
    assert roles(machine) == {
        0x1000: Role.PAGE_TABLE, 0x2000: Role.PAGE_TABLE, 0x3000: Role.USER,
        BASE: Role.PAGE_TABLE, BASE + PAGE: Role.USER,
    }  # fmt: skip
    assert sum(Ledger(machine).counts().values()) == 5


def test_a_frame_on_the_free_list_that_is_also_mapped_is_told_as_mapped():
    world = World(pages=8)
    pa = world.frame()
    world.table.map(0, PAGE, pa, R | U)
    world.frames.free(pa)
    machine = machine_of(world, Space("s", world.table))
    assert roles(machine)[pa] == Role.USER
    assert Ledger(machine).counts()[Role.FREE] == len(world.frames.frames()) - 1


def test_a_damaged_free_list_counts_as_far_as_it_is_one():
    world = World(pages=8)
    third = world.frames.frames().tolist()[2]
    world.memory.write64(third, 8)
    ledger = Ledger(machine_of(world))
    assert str(ledger.chains[0].broken).startswith("the free list leads to 0x8")
    assert ledger.counts()[Role.FREE] == 3
    world.memory.write64(third, world.frames.head)
    ledger = Ledger(machine_of(world))
    assert str(ledger.chains[0].broken).startswith(f"the free list loops: it comes back to {world.frames.head:#x}")
    assert ledger.counts()[Role.FREE] == 3


def test_a_machine_from_its_note_has_the_same_ledger():
    world = World(pages=16)
    world.table.map(0, PAGE, world.frame(), R | U)
    machine = machine_of(world, Space("s", world.table, pid=3, size=PAGE), areas=(Area(BASE, PAGE, "kernel image"),))
    assert Ledger(from_note(to_note(machine), world.memory)).counts() == Ledger(machine).counts()
