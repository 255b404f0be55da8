"""A Linux guest out of its memory: the kernel's table, processes by name, what each hart has in satp."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from linuxes import (
    BASE,
    BUILD,
    IMAGE,
    INIT_STACK,
    KERNEL,
    KERNEL_THREAD,
    NOTE,
    PAGE,
    STACK_BYTES,
    TASK,
    FakeLinux,
    linux_btf,
    vmlinux,
)
from pagebook.errors import BadFile, BadTarget, PagebookError
from pagebook.guests import linux, vmcoreinfo
from pagebook.ledger import Ledger, Role
from pagebook.machine import Area, Hart, Machine
from pagebook.memory import Memory, Region
from pagebook.scan import scan
from pagebook.source import Source
from pagebook.sv import SV39, SV48, SV57, A, D, Format, R, U, W


def read(memory: Memory, *satps: int, kernel: str | None = None, given: str | None = None) -> Machine:
    harts = tuple(Hart(number, satp) for number, satp in enumerate(satps))
    return linux.read(Source("a guest", memory, harts, kernel=given), kernel)


def names(machine: Machine) -> list[str]:
    return [space.name for space in machine.spaces]


@pytest.mark.parametrize("format", [SV39, SV48, SV57], ids=lambda format: format.name)
def test_memory_alone_gives_the_kernels_table_the_processes_and_the_symbols(format: Format):
    world = FakeLinux(format)
    _, table = world.process(1, "init", state=0)
    world.process(7, "sh")
    machine = read(world.finish())
    assert machine.name == "a guest (Linux 6.12.1-test)"
    assert machine.guest == "linux"
    assert [(s.name, s.pid, s.state) for s in machine.spaces] == [
        ("kernel", None, None), ("init", 1, "run"), ("sh", 7, "sleep"),
    ]  # fmt: skip
    assert machine.space("kernel").table.root == world.table.root
    assert table is not None
    assert machine.space("init").table.root == table.root
    assert {space.table.format for space in machine.spaces} == {format}
    assert machine.symbols == {**world.symbols, "x" * 200: KERNEL + 1}


def test_the_table_is_found_through_satp_where_the_note_does_not_say_how_the_image_is_placed():
    world = FakeLinux()
    _, table = world.process(1, "init")
    memory = world.finish(placed=None)
    assert table is not None
    assert names(read(memory, SV39.satp(table.root))) == ["kernel", "init"]
    with pytest.raises(BadTarget, match="no Linux is to be found in a guest"):
        read(memory)


@pytest.mark.parametrize("firmware", [0, 2 << 20])
def test_an_older_kernel_that_only_tells_where_it_is_linked_is_found_at_the_start_of_ram(firmware: int):
    world = FakeLinux()
    world.process(1, "init")
    ram = bytearray(world.finish(placed="KERNEL_LINK_ADDR").read(BASE, 2 * IMAGE))
    ram = ram.replace(b"phys_ram_base)=2147483648", f"phys_ram_base)={BASE - firmware}".encode())
    assert names(read(Memory([Region(BASE, ram)]))) == ["kernel", "init"]


def test_a_satp_that_is_a_process_or_the_kernel_is_no_second_space():
    world = FakeLinux()
    _, table = world.process(1, "init")
    assert table is not None
    satps = SV39.satp(table.root), SV39.satp(world.table.root)
    machine = read(world.finish(), *satps)
    assert names(machine) == ["kernel", "init"]
    assert [hart.satp for hart in machine.harts] == list(satps)


def test_a_satp_of_nobody_known_is_a_space_once_however_many_harts_have_it():
    world = FakeLinux()
    _, stray = world.new_mm()
    machine = read(world.finish(), SV39.satp(stray.root), SV39.satp(stray.root), 0, 0xF << 60, SV39.satp(0x1000))
    assert names(machine) == ["kernel", "hart 0"]


def test_threads_share_the_space_of_their_process():
    world = FakeLinux()
    leader, _ = world.process(20, "server")
    world.thread(leader, 21, "worker")
    machine = read(world.finish())
    assert names(machine) == ["kernel", "server"]
    stacks = [area.name for area in machine.space("kernel").areas if area.name.startswith("stack of")]
    assert stacks == ["stack of process 0", "stack of process 20", "stack of process 21"]


def test_a_process_whose_leader_has_gone_is_found_by_its_threads():
    world = FakeLinux()
    leader, _ = world.process(20, "server")
    world.thread(leader, 21, "worker")
    world.put(leader + TASK["mm"], 0)
    machine = read(world.finish())
    assert [(space.name, space.pid) for space in machine.spaces] == [("kernel", None), ("worker", 20)]


def test_two_processes_on_one_memory_are_one_space():
    world = FakeLinux()
    leader, _ = world.process(20, "make")
    world.process(21, "vfork", mm=world.memory.read64(world.pa(leader + TASK["mm"])))
    assert names(read(world.finish())) == ["kernel", "make"]


def test_names_that_are_not_the_only_ones_are_told_apart_by_pid():
    world = FakeLinux()
    for pid, name in ((4, "sh"), (5, "sh"), (6, "kernel"), (7, "hart 0"), (8, "init")):
        world.process(pid, name)
    machine = read(world.finish())
    assert names(machine) == ["kernel", "sh.4", "sh.5", "kernel.6", "hart 0.7", "init"]
    assert machine.space("5").name == "sh.5"


def test_kernel_threads_have_a_stack_and_no_space_even_when_they_borrow_memory():
    world = FakeLinux()
    leader, _ = world.process(1, "init")
    world.process(2, "kthreadd", flags=KERNEL_THREAD)
    world.process(3, "borrower", flags=KERNEL_THREAD, mm=world.memory.read64(world.pa(leader + TASK["mm"])))
    machine = read(world.finish())
    assert names(machine) == ["kernel", "init"]
    assert "stack of process 2" in [area.name for area in machine.space("kernel").areas]


def test_areas_name_the_program_the_heap_the_stacks_and_the_image():
    world = FakeLinux()
    world.process(1, "init")
    machine = read(world.finish())
    assert machine.space("init").areas == (Area(0x10000, 0x2345, "code"), Area(0x20000, 0x8000, "heap"))
    kernels = machine.space("kernel").areas
    assert kernels[0] == Area(0xFFFF_FFD6_0000_0000, 2 * IMAGE, "all memory")
    assert kernels[1] == Area(KERNEL + INIT_STACK, STACK_BYTES, "stack of process 0")
    assert machine.areas == (
        Area(BASE, 0x8000, "kernel image"), Area(BASE + 0x9000, IMAGE - 0x9000, "kernel image"),
    )  # fmt: skip


def test_the_ledger_of_a_linux_gives_its_tables_stacks_and_pages_to_whom_they_belong():
    world = FakeLinux()
    world.process(1, "init")
    ledger = Ledger(read(world.finish()))
    counts = ledger.counts()
    tables = len(set(scan(world.table).tables.tolist()))
    assert counts[Role.PAGE_TABLE] == tables + 3  # init's root and the two below it
    assert counts[Role.KERNEL_STACK] == 2 * STACK_BYTES // PAGE
    assert counts[Role.USER] == 4
    assert sum(counts.values()) == 2 * IMAGE // PAGE


def test_huge_napot_and_pbmt_pages_show_in_the_mappings():
    world = FakeLinux()
    _, table = world.process(1, "init")
    assert table is not None
    table.map(0x40_0000, 2 << 20, BASE + IMAGE, R | W | U | A | D, level=1)
    table.map(0x80_0000, 16 * PAGE, BASE + IMAGE, R | W | U | A | D)
    table.map(0x90_0000, PAGE, BASE, R | W | U | A | D)
    block = BASE + IMAGE + 0x1_0000
    for page in range(16):
        pte_pa, _, _ = table.find(0x80_0000 + page * PAGE)
        world.memory.write64(pte_pa, 1 << 63 | SV39.pte(block + 0x8000, 0xD7))
    pte_pa, pte, _ = table.find(0x90_0000)
    world.memory.write64(pte_pa, pte | 2 << 61)
    found = scan(read(world.finish()).space("init").table)
    user = found.mappings[found.mappings["va"] >= 0x40_0000][:18]
    assert user["size"].tolist() == [2 << 20] + [PAGE] * 17
    assert user["napot"].tolist() == [False] + [True] * 16 + [False]
    assert user["pa"].tolist()[1:17] == list(range(block, block + 0x1_0000, PAGE))
    assert user["pbmt"].tolist() == [0] * 17 + [2]


def test_a_kernel_that_moved_at_its_start_is_found_where_it_is():
    place = KERNEL + 0x4000_0000
    world = FakeLinux(place=place)
    world.process(1, "init")
    machine = read(world.finish())
    assert names(machine) == ["kernel", "init"]
    assert machine.symbols["_stext"] == place + 0x2000


def test_a_note_that_does_not_hold_is_passed_over():
    world = FakeLinux()
    world.process(1, "init")
    memory = world.finish()
    stale = {"swapper_pg_dir": KERNEL + 0x30000, "_stext": KERNEL + 0x2000}
    world.store_note(2 * IMAGE - PAGE, stale)
    world.memory.write(BASE + 2 * IMAGE - 2 * PAGE, b"OSRELEASE=\0")
    assert names(read(memory)) == ["kernel", "init"]
    assert linux.recognise(memory) == "6.12.1-test"
    assert linux.recognise(Memory.anonymous(1 << 20)) is None


def test_without_note_and_satp_nothing_can_be_said_and_the_remedy_is():
    world = FakeLinux()
    with pytest.raises(BadTarget, match="name the satp, or give the kernel's vmlinux"):
        read(world.finish(note=False))


def test_without_note_each_satp_is_a_space():
    world = FakeLinux()
    _, first = world.new_mm()
    _, second = world.new_mm()
    machine = read(world.finish(note=False), SV39.satp(first.root), SV39.satp(second.root))
    assert names(machine) == ["hart 0", "hart 1"]
    assert (machine.name, machine.guest) == ("a guest", "linux")


def test_without_types_there_are_the_kernel_its_symbols_and_the_harts():
    world = FakeLinux()
    _, table = world.process(1, "init")
    assert table is not None
    machine = read(world.finish(types=False), SV39.satp(table.root))
    assert names(machine) == ["kernel", "hart 0"]
    assert machine.symbols["init_task"] == world.init_task


def test_without_symbols_there_are_those_of_the_note():
    world = FakeLinux()
    world.process(1, "init")
    machine = read(world.finish(symbols=False))
    assert names(machine) == ["kernel"]
    assert set(machine.symbols) == {"swapper_pg_dir", "_stext"}


def test_symbols_that_contradict_the_note_are_not_told():
    world = FakeLinux()
    world.process(1, "init")
    arrays = {}
    place = world.store_symbols
    world.store_symbols = lambda: arrays.setdefault(0, place())  # type: ignore[method-assign]
    memory = world.finish()
    world.put(arrays[0]["kallsyms_relative_base"], KERNEL + 0x1000)
    assert set(read(memory).symbols) == {"swapper_pg_dir", "_stext", *arrays[0]}


def test_a_list_of_tasks_that_loops_ends_and_is_told():
    world = FakeLinux()
    first, _ = world.process(1, "init")
    second, _ = world.process(2, "sh")
    world.link(second + TASK["tasks"], first + TASK["tasks"])
    machine = read(world.finish())
    assert names(machine) == ["kernel", "init", "sh"]
    assert machine.name == "a guest (Linux 6.12.1-test, whose list of tasks breaks off after 3)"


@pytest.mark.parametrize("wild", [0, 8, KERNEL - 8, KERNEL + IMAGE, 0xFFFF_0000_0000_0000, (1 << 64) - 1])
def test_a_list_of_tasks_that_leads_nowhere_ends_and_is_told(wild: int):
    world = FakeLinux()
    first, _ = world.process(1, "init")
    world.link(first + TASK["tasks"], wild)
    machine = read(world.finish())
    assert names(machine) == ["kernel", "init"]
    assert "breaks off after 2" in machine.name


def test_a_process_without_a_table_in_memory_is_no_space():
    world = FakeLinux()
    leader, _ = world.process(1, "init")
    world.put(world.memory.read64(world.pa(leader + TASK["mm"])) + 0x68, KERNEL - PAGE)
    world.process(2, "sh")
    assert names(read(world.finish())) == ["kernel", "sh"]


def test_a_vmlinux_gives_what_the_memory_does_not(tmp_path: Path):
    world = FakeLinux()
    world.process(1, "init")
    memory = world.finish(types=False, symbols=False)
    path = tmp_path / "vmlinux"
    path.write_bytes(vmlinux(world.symbols, types=linux_btf()))
    assert names(read(memory, kernel=str(path))) == ["kernel", "init"]
    assert names(read(memory, given=str(path))) == ["kernel", "init"]


def test_the_symbols_of_a_vmlinux_are_moved_to_where_the_kernel_is(tmp_path: Path):
    world = FakeLinux(place=KERNEL + 0x4000_0000)
    world.process(1, "init")
    memory = world.finish(types=False, symbols=False)
    path = tmp_path / "vmlinux"
    linked = {name: value - 0x4000_0000 for name, value in world.symbols.items()}
    path.write_bytes(vmlinux(linked, types=linux_btf()))
    machine = read(memory, kernel=str(path))
    assert names(machine) == ["kernel", "init"]
    assert machine.symbols == world.symbols


def test_a_vmlinux_serves_a_kernel_without_a_note_when_satp_is_known(tmp_path: Path):
    world = FakeLinux()
    _, table = world.process(1, "init")
    assert table is not None
    memory = world.finish(types=False, symbols=False, note=False)
    path = tmp_path / "vmlinux"
    path.write_bytes(vmlinux(world.symbols, types=linux_btf()))
    machine = read(memory, SV39.satp(table.root), kernel=str(path))
    assert (names(machine), machine.name) == (["kernel", "init"], "a guest (Linux)")


def test_a_vmlinux_without_types_gives_symbols_only(tmp_path: Path):
    world = FakeLinux()
    world.process(1, "init")
    memory = world.finish(types=False)
    path = tmp_path / "vmlinux"
    path.write_bytes(vmlinux(world.symbols))
    machine = read(memory, kernel=str(path))
    assert (names(machine), machine.symbols) == (["kernel"], world.symbols)


@pytest.mark.parametrize(
    ("contents", "message"),
    [
        (b"", "is empty"),
        (b"MZ boot image", "is not an ELF file, so it has no symbols; give the vmlinux"),
        (b"\x7fELF and no more", "is not a whole ELF file"),
        (vmlinux({}), "has no symbol table"),
        (vmlinux({"main": 1}), "has no symbol swapper_pg_dir"),
        (
            vmlinux({"swapper_pg_dir": KERNEL}, build="00" * 20),
            f"is not the kernel that runs there: .* build id {BUILD}",
        ),
        (vmlinux({"swapper_pg_dir": KERNEL}, types=b"\x9f\xeb\x01"), "BTF of 3 bytes is shorter than its header"),
    ],
    ids=["empty", "no ELF", "cut short", "no symbols", "no kernel", "another build", "bad types"],
)
def test_a_file_that_is_not_the_kernel_is_refused_with_the_reason(tmp_path: Path, contents: bytes, message: str):
    path = tmp_path / "vmlinux"
    path.write_bytes(contents)
    with pytest.raises(BadFile, match=message):
        read(FakeLinux().finish(), kernel=str(path))


def test_a_file_that_cannot_be_read_is_refused_with_the_reason(tmp_path: Path):
    memory = FakeLinux().finish()
    with pytest.raises(BadFile, match="No such file"):
        read(memory, kernel=str(tmp_path / "none"))
    with pytest.raises(BadFile, match="it is a directory"):
        read(memory, kernel=str(tmp_path))


def test_a_boot_image_that_the_source_names_is_left_alone(tmp_path: Path):
    world = FakeLinux()
    path = tmp_path / "Image"
    path.write_bytes(b"MZ boot image")
    assert names(read(world.finish(), given=str(path))) == ["kernel"]
    assert names(read(world.memory, given=str(tmp_path / "gone"))) == ["kernel"]


def test_lists_that_all_lead_into_one_another_cost_bounded_time(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("pagebook.guests.linuxtasks.MOST_STEPS", 50)
    world = FakeLinux()
    leader, _ = world.process(1, "init")
    for pid in range(2, 12):
        world.thread(leader, pid, "worker")
    signal = world.memory.read64(world.pa(leader + TASK["signal"]))
    for pid in range(12, 24):
        at, _ = world.process(pid, "kthread", flags=KERNEL_THREAD)
        world.put(at + TASK["signal"], signal)
    machine = read(world.finish())
    assert names(machine) == ["kernel", "init"]
    assert "breaks off after" in machine.name


def test_ram_full_of_notes_is_not_all_read(monkeypatch: pytest.MonkeyPatch):
    memory = Memory.anonymous(8 << 20)
    for page in range(0, 8 << 20, PAGE):
        memory.write(BASE + page, b"OSRELEASE=6.1\nSYMBOL(swapper_pg_dir)=ffffffff80000000\n\0")
    assert len(list(vmcoreinfo.find(memory))) == 64


def full_image() -> tuple[bytes, int]:
    world = FakeLinux()
    leader, _ = world.process(1, "init")
    world.thread(leader, 2, "worker")
    world.process(3, "sh")
    return world.finish().read(BASE, 2 * IMAGE), world.at


FULL, FULL_END = full_image()


@given(
    st.lists(
        st.tuples(
            st.one_of(
                st.integers(0x10000, FULL_END), st.integers(NOTE, NOTE + 0x400), st.integers(IMAGE - 0x10000, IMAGE)
            ),
            st.one_of(st.integers(0, (1 << 64) - 1), st.integers(0, IMAGE).map(lambda offset: KERNEL + offset)),
        ),
        max_size=24,
    ),
    st.booleans(),
)
@settings(max_examples=150, deadline=None)
def test_damaged_memory_gives_a_machine_or_one_sentence(damage: list[tuple[int, int]], short: bool):
    image = bytearray(FULL)
    for offset, value in damage:
        image[offset : offset + 8] = value.to_bytes(8, "little")
    memory = Memory([Region(BASE, bytes(image[: IMAGE * 3 // 4 if short else None]))])
    try:
        machine = read(memory)
    except PagebookError as error:
        assert "\n" not in str(error)
    else:
        Ledger(machine).counts()


def test_numbers_of_a_damaged_note_are_read_or_passed_over():
    lines = ["OSRELEASE=6.1", "NUMBER(a)=-1", "NUMBER(b)=0x10", "NUMBER(c)=" + "3" * 5000, "SYMBOL(d)=10"]
    found = vmcoreinfo.parse("\n".join(lines).encode(), 0)
    assert found is not None
    assert found.numbers == {"a": (1 << 64) - 1, "b": 16}
    assert found.symbols == {"d": 16}
    assert vmcoreinfo.parse(b"OSRELEASE=6.1\nNUMBER(a)=39ff", 0).numbers == {"a": 0x39FF}
