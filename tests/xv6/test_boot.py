"""boot.py and main.c: the model reaches the numbers that were measured on real kernels, and fails in plain words.

The kernels and programs are built here, with the segments and symbols of the measured ones.  The numbers come from
memory dumps of single-hart machines of 128 MiB at the shell's first prompt.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from by_page import ByPage, Died
from twins import BASE, MAXVA, PAGE, TRAPFRAME, R, W, account, free_frames, ram, tables_and_leaves, twin_of

from elves import build_elf
from pagebook.errors import BadAddress, BadTarget, PagebookError, Panic
from pagebook.ledger import Ledger, Role
from pagebook.scan import scan
from pagebook.xv6 import boot as boot_
from pagebook.xv6.boot import boot, machine, main, power_on, start_init, start_sh
from pagebook.xv6.kernel import Kernel, State
from pagebook.xv6.memlayout import REVISIONS, Device, Layout
from pagebook.xv6.proc import exit, fork, growproc
from pagebook.xv6.programs import INITCODE, KernelImage, read_kernel, read_program

MEGA = 1 << 20


class Measured(NamedTuple):
    """What one real kernel was and held."""

    etext: int
    end: int
    trampoline: int
    leaves: int
    runs: int
    tables: int
    init: tuple[int, int]
    sh: tuple[int, int]
    free_list: list[int]
    free: int


MEASURED = {
    "2022": Measured(
        etext=0x8000_8000, end=0x8002_1D60, trampoline=0x8000_7000, leaves=33_859, runs=69, tables=72,
        init=(0x87F6_C000, 0x87F7_4000), sh=(0x87F5_F000, 0x87F6_D000),
        free_list=[
            0x87F6_0000, 0x87F7_3000, 0x87F7_2000, 0x87F7_1000, 0x87F6_E000, 0x87F7_0000, 0x87F6_1000, 0x87F6_2000,
            0x87F6_3000, 0x87F6_F000, 0x87F5_5000, 0x87F5_4000,
        ],
        free=32_574,
    ),
    "2024": Measured(
        etext=0x8000_7000, end=0x8002_0C60, trampoline=0x8000_6000, leaves=49_219, runs=68, tables=102,
        init=(0x87F4_E000, 0x87F5_6000), sh=(0x87F4_1000, 0x87F4_F000),
        free_list=[0x87F4_2000, 0x87F5_5000, 0x87F5_4000, 0x87F5_3000, 0x87F5_0000, 0x87F5_2000],
        free=32_545,
    ),
    "2025": Measured(
        etext=0x8000_7000, end=0x8002_0B88, trampoline=0x8000_6000, leaves=49_219, runs=68, tables=102,
        init=(0x87F5_2000, 0x87F5_6000), sh=(0x87F4_1000, 0x87F5_5000),
        free_list=[0x87F4_2000, 0x87F5_4000, 0x87F5_3000, 0x87F4_9000, 0x87F4_7000, 0x87F4_6000],
        free=32_545,
    ),
}  # fmt: skip

KERNEL_BYTES = bytes(range(256)) * (0x88A8 // 256 + 1)
INIT = build_elf([(0, 0x1000, 0x1000, 5, b"i" * 0x1000), (0x1000, 0x10, 0x30, 6, b"0123456789abcdef")])
SH = build_elf([(0, 0x2000, 0x2000, 5, b"s" * 0x2000), (0x2000, 0x10, 0x98, 6, b"fedcba9876543210")])


def files(folder: Path, rev: str) -> dict[str, Any]:
    """kernel, init and sh as files, read as the command line reads them."""
    facts = MEASURED[rev]
    symbols = {"etext": facts.etext, "end": facts.end, "trampoline": facts.trampoline, "main": 0x8000_0E00}
    kernel = build_elf(
        [(BASE, 0x88A8, facts.end - BASE, 7, KERNEL_BYTES[:0x88A8])], entry=BASE, symbols=symbols
    )  # fmt: skip
    for name, data in (("kernel", kernel), ("init", INIT), ("sh", SH)):
        (folder / name).write_bytes(data)
    return {
        "kernel": read_kernel(folder / "kernel"),
        "init": read_program(folder / "init"),
        "sh": read_program(str(folder / "sh")),
    }


@pytest.fixture(scope="module", params=list(MEASURED))
def booted(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Kernel]:
    rev: str = request.param
    return rev, boot(rev, **files(tmp_path_factory.mktemp("files"), rev))


def small_boot(rev: str, **options: Any) -> Kernel:
    """A boot in a RAM that is read quickly."""
    return boot(rev, **({"ram": MEGA, "devices": (), "nproc": 4} | options))


# What was measured


def test_the_kernels_table_is_the_measured_one(booted):
    rev, k = booted
    facts = MEASURED[rev]
    found = scan(k.table(k.kernel_pagetable))
    assert k.kernel_pagetable == 0x87FF_F000
    assert (len(found.mappings), len(found.runs()), len(found.tables)) == (facts.leaves, facts.runs, facts.tables)
    assert k.satp == 0x8000_0000_0008_7FFF


def test_init_and_sh_are_where_they_were_measured(booted):
    rev, k = booted
    facts = MEASURED[rev]
    init, sh = k.proc[:2]
    assert (init.pagetable, init.trapframe, init.sz, init.pid, init.name) == (*facts.init, 0x4000, 1, "init")
    assert (sh.pagetable, sh.trapframe, sh.sz, sh.pid, sh.name) == (*facts.sh, 0x5000, 2, "sh")
    assert sh.parent is init is k.initproc is k.current
    assert k.nextpid == 3
    assert all(p.state is State.UNUSED for p in k.proc[2:])


def test_the_free_list_is_the_measured_one(booted):
    rev, k = booted
    facts = MEASURED[rev]
    frames = free_frames(k)
    assert frames[: len(facts.free_list)] == facts.free_list
    assert len(frames) == facts.free
    first = (facts.end + PAGE - 1) // PAGE * PAGE
    assert frames[-1] == first, "the first page above end is the last that would be handed out"


def test_the_frames_below_the_stacks_are_the_disks(booted):
    rev, k = booted
    _, leaves = tables_and_leaves(k, k.kernel_pagetable)
    stacks = [pte >> 10 << 12 for va, pte in leaves if MAXVA - 130 * PAGE <= va < MAXVA - PAGE]
    assert len(stacks) == 64
    lowest, trapframe = min(stacks), MEASURED[rev].init[1]
    assert k.disk == (lowest - PAGE, lowest - 2 * PAGE, lowest - 3 * PAGE) == (
        trapframe + 3 * PAGE, trapframe + 2 * PAGE, trapframe + PAGE,
    )  # fmt: skip


def test_every_free_frame_is_0x01_but_for_its_link(booted):
    _, k = booted
    frames = free_frames(k)
    pages, inside = k.memory.gather(np.array(frames, dtype=np.uint64))
    assert inside.all()
    assert (pages[:, 1:] == 0x0101_0101_0101_0101).all()
    assert pages[:, 0].tolist() == [*frames[1:], 0]


def test_every_frame_has_one_owner(booted):
    _, k = booted
    account(k)


def test_the_kernels_image_is_in_ram_and_its_symbols_are_known(booted):
    rev, k = booted
    assert k.memory.read(BASE, 0x88A8) == KERNEL_BYTES[:0x88A8]
    end = MEASURED[rev].end
    assert k.memory.read(BASE + 0x88A8, end - BASE - 0x88A8) == bytes(end - BASE - 0x88A8)
    assert k.symbols["main"] == 0x8000_0E00
    assert machine(k).symbols["end"] == end


def test_user_memory_holds_the_programs_with_their_rights(booted):
    _, k = booted
    rights = [[pte & 0x3FF for va, pte in tables_and_leaves(k, p.pagetable)[1] if va < TRAPFRAME] for p in k.proc[:2]]
    assert rights == [[0x1B, 0x17, 0x07, 0x17], [0x1B, 0x1B, 0x17, 0x07, 0x17]]
    for p, at, data in ((k.proc[0], 0x1000, b"0123456789abcdef"), (k.proc[1], 0x2000, b"fedcba9876543210")):
        leaves = dict(tables_and_leaves(k, p.pagetable)[1])
        assert k.memory.read(leaves[at] >> 10 << 12, PAGE) == data.ljust(PAGE, b"\0")
        assert k.memory.read(leaves[0] >> 10 << 12, 2) == (b"ii" if p.pid == 1 else b"ss")


def test_the_ledger_counts_what_was_allocated(booted):
    rev, k = booted
    facts = MEASURED[rev]
    counts = Ledger(machine(k)).counts()
    assert counts[Role.FREE] == facts.free
    assert counts[Role.KERNEL_STACK] == 64
    assert counts[Role.DEVICE_QUEUE] == 3
    assert counts[Role.PAGE_TABLE] == facts.tables + 10
    assert counts[Role.TRAPFRAME] == 2
    assert counts[Role.USER] == 9
    assert counts[Role.UNKNOWN] == 0
    assert sum(counts.values()) == 32768


def test_the_packages_own_init_and_addresses_give_the_same_kernel_table_and_init(booted):
    rev, k = booted
    own = boot(rev)
    init, sh = own.proc[:2]
    assert (init.pagetable, init.trapframe, init.sz) == (*MEASURED[rev].init, 0x4000)
    assert (sh.pagetable, sh.trapframe) == MEASURED[rev].sh
    mine, its = (scan(kernel.table(kernel.kernel_pagetable)).mappings for kernel in (own, k))
    assert mine.tolist() == its.tolist()


# Every byte


@pytest.mark.parametrize("devices", [(), (Device("uart0", 0x1000_0000, PAGE), Device("plic", 0xC00_0000, 5 << 20))])
@pytest.mark.parametrize(("nproc", "userstack"), [(2, 1), (5, 2)])
def test_a_boot_is_the_page_by_page_kernels_to_the_last_byte(rev, strict, devices, nproc, userstack):
    k = power_on(rev, ram=MEGA, devices=devices, nproc=nproc, userstack=userstack, init=INIT, sh=SH, strict=strict)
    other = ByPage(
        int(rev), bytearray(ram(k)), end=k.layout.end, etext=k.layout.etext, trampoline=k.layout.trampoline,
        nproc=nproc, userstack=userstack, devices=tuple((d.base, d.size) for d in devices), files=k.files,
    )  # fmt: skip
    main(k)
    other.main(INITCODE)
    assert ram(k) == other.ram
    start_init(k)
    start_sh(k)
    other.start()
    assert ram(k) == other.ram
    assert (k.kmem.head, k.kernel_pagetable, k.nextpid) == (other.head, other.kernel_pagetable, other.nextpid)
    account(k)


# What may be chosen


def test_2024_is_the_default_revision():
    assert power_on(ram=MEGA).revision is REVISIONS["2024"]


@pytest.mark.parametrize("rev", ["2023", "", "latest", "2024 "])
def test_an_unknown_revision_names_those_that_are_known(rev):
    with pytest.raises(BadTarget) as caught:
        boot(rev)
    assert str(caught.value) == f"there is no revision {rev!r}; known are 2022, 2024, 2025"


def test_a_second_stack_page_makes_each_process_a_page_larger(rev):
    k = small_boot(rev, userstack=2, init=INIT, sh=SH)
    assert [p.sz for p in k.proc[:2]] == [0x5000, 0x6000]
    rights = [pte & 0x3FF for va, pte in tables_and_leaves(k, k.proc[0].pagetable)[1] if va < TRAPFRAME]
    assert rights == [0x1B, 0x17, 0x07, 0x17, 0x17]
    assert k.proc[0].image[-1] == (0x3000, 2 * PAGE, "stack")
    account(k)


@pytest.mark.parametrize("nproc", [2, 3, 64, 100, 300])
def test_nproc_is_the_number_of_slots_and_of_stacks(rev, nproc):
    k = small_boot(rev, nproc=nproc, ram=2 * MEGA)
    assert len(k.proc) == nproc
    assert list(account(k).values()).count("stack") == nproc
    k.current = k.proc[0]
    assert [fork(k) > 0 for _ in range(3)] == [len(k.proc) > 2 + number for number in range(3)]


def test_with_one_slot_there_is_none_for_the_shell(rev):
    with pytest.raises(PagebookError) as caught:
        small_boot(rev, nproc=1)
    assert str(caught.value) == "init: fork failed: no frame or no process slot is left for a shell"


@pytest.mark.parametrize("nproc", [0, -1, 32769])
def test_an_nproc_that_cannot_be_is_refused(rev, nproc):
    with pytest.raises(BadAddress, match=rf"^NPROC is {nproc}; it must be from 1 to 32768"):
        boot(rev, nproc=nproc)


@pytest.mark.parametrize("userstack", [0, -3, 4097])
def test_a_userstack_that_cannot_be_is_refused(rev, userstack):
    with pytest.raises(BadAddress, match=rf"^USERSTACK is {userstack} pages; it must be from 1 to 4096$"):
        boot(rev, userstack=userstack)


def test_more_stacks_than_frames_panic_in_kalloc(rev):
    with pytest.raises(Panic) as caught:
        small_boot(rev, nproc=32768)
    assert caught.value.reason == "kalloc"


def test_devices_are_mapped_as_given_and_none_may_be_given(rev):
    devices = (Device("uart0", 0x1000_0000, PAGE), Device("frame buffer", 0x3000_0000, 3 * PAGE))
    k = small_boot(rev, devices=devices)
    leaves = {va: pte for va, pte in tables_and_leaves(k, k.kernel_pagetable)[1] if va < BASE}
    assert list(leaves) == [0x1000_0000, 0x3000_0000, 0x3000_1000, 0x3000_2000]
    assert {pte & 0x3FF for pte in leaves.values()} == {R | W | 1}
    assert all(va == pte >> 10 << 12 for va, pte in leaves.items())
    names = [area.name for area in machine(k).spaces[0].areas]
    assert names[:2] == ["uart0", "frame buffer"]
    bare = small_boot(rev)
    assert not [va for va, _ in tables_and_leaves(bare, bare.kernel_pagetable)[1] if va < BASE]


def test_devices_that_overlap_panic_as_a_remap(rev):
    with pytest.raises(Panic) as caught:
        small_boot(rev, devices=(Device("a", 0x1000_0000, 2 * PAGE), Device("b", 0x1000_1000, PAGE)))
    assert caught.value.reason == "mappages: remap"
    assert caught.value.va == 0x1000_1000


def test_the_plic_of_2022_is_smaller_and_later_it_touches_the_uart():
    for rev, tables in (("2022", 2), ("2024", 32), ("2025", 32)):
        k = boot(rev, ram=2 * MEGA, nproc=2)
        below = [va for va, _ in tables_and_leaves(k, k.kernel_pagetable)[1] if va < BASE]
        assert below[0] == 0xC00_0000 and below[-2:] == [0x1000_0000, 0x1000_1000]
        assert len(below) == tables * 512 + 2


# Not enough memory


@pytest.mark.parametrize("ram", [0, -PAGE, MEGA + 1, MEGA + 8])
def test_a_ram_that_is_no_whole_pages_is_refused(rev, ram):
    with pytest.raises(BadTarget, match=f"^RAM of {ram} bytes is not a whole number of 4096-byte pages"):
        boot(rev, ram=ram)


@pytest.mark.parametrize("ram", [PAGE, 0x20 * PAGE])
def test_a_ram_that_the_kernel_does_not_fit_in_is_refused(rev, ram):
    with pytest.raises(BadAddress, match=r"^a kernel needs 0x80000000 < etext <= end < PHYSTOP, and PHYSTOP page-al"):
        boot(rev, ram=ram)


@pytest.mark.parametrize(
    "symbols",
    [
        {"etext": BASE, "end": BASE + PAGE, "trampoline": BASE},
        {"etext": BASE + 2 * PAGE, "end": BASE + PAGE, "trampoline": BASE},
        {"etext": BASE + 100, "end": BASE + PAGE, "trampoline": BASE},
        {"etext": BASE + PAGE, "end": BASE + PAGE, "trampoline": BASE + 8},
        {"etext": BASE + PAGE, "end": BASE + PAGE, "trampoline": BASE + PAGE},
        {"etext": BASE + PAGE, "end": BASE + PAGE, "trampoline": BASE - PAGE},
        {"etext": BASE + PAGE, "end": BASE + MEGA, "trampoline": BASE},
        {"etext": 0x1000, "end": 0x2000, "trampoline": 0},
    ],
    ids=[
        "no text", "end below etext", "etext unaligned", "trampoline unaligned", "trampoline at etext",
        "trampoline below", "end at PHYSTOP", "not at KERNBASE",
    ],
)  # fmt: skip
def test_symbols_that_no_kernel_has_are_refused(rev, symbols):
    with pytest.raises(BadAddress, match=r"^(a kernel needs 0x80000000 <|etext 0x\w+ and trampoline 0x\w+ must be)"):
        power_on(rev, ram=MEGA, kernel=KernelImage(symbols, ()))


def test_a_layout_takes_its_numbers_from_the_revision_unless_it_is_told(rev):
    layout = Layout.of(REVISIONS[rev], symbols={"end": BASE + 0x9000_00})
    assert layout.end == BASE + 0x9000_00
    assert layout.etext == MEASURED[rev].etext and layout.trampoline == MEASURED[rev].trampoline
    assert [device.name for device in layout.devices] == ["uart0", "virtio0", "PLIC"]
    assert (layout.nproc, layout.userstack, layout.physstop) == (64, 1, BASE + 128 * MEGA)


SENTENCES = {
    "kvmmake": "no frame is left for the root",
    "kvmmap": "out of frames while mapping",
    "kalloc": "no frame is left for the kernel stack of process slot",
    "virtio disk kalloc": "no frame is left for the disk's queue",
    "userinit": "no frame is left",
    "uvmfirst": "no frame is left",
    "init exiting": "/init cannot be run: it is no ELF file that xv6 can load, or memory is too small for it",
    "exec": "/init cannot be run: it is no ELF file that xv6 can load, or memory is too small for it",
    None: "init: ",
}


def test_a_boot_in_any_size_of_ram_succeeds_or_says_what_it_lacked(rev, strict):
    reasons: list[str | None] = []
    pages = (MEASURED[rev].end - BASE) // PAGE + 1
    while True:
        try:
            k = boot(rev, ram=(pages + 1) * PAGE, nproc=2, init=INIT, sh=SH, strict=strict)
            break
        except PagebookError as error:
            reason = error.reason if isinstance(error, Panic) else None
            assert SENTENCES[reason] in str(error)
            if reason not in reasons:
                reasons.append(reason)
        pages += 1
    first = "init exiting" if rev != "2025" else "exec"
    uvmfirst = ["uvmfirst"] if rev != "2025" else []
    assert reasons == ["kvmmap", "kalloc", "virtio disk kalloc", "userinit", *uvmfirst, first, None]
    account(k)
    tables = 9 if rev == "2022" else 39
    most = tables + 2 + 3 + 10 + 10 + 1 + 10  # stacks, disk, init, its copy, the argument, sh before the copy goes
    assert k.kmem.stop - BASE == (MEASURED[rev].end - BASE) // PAGE * PAGE + (1 + most) * PAGE


def test_a_kernel_that_panics_while_it_starts_leaves_the_page_by_page_kernels_bytes(rev):
    first = (MEASURED[rev].end - BASE) // PAGE + 2
    reasons = set()
    for pages in range(first, first + 80):
        k = power_on(rev, ram=pages * PAGE, nproc=4, strict=True)
        other = twin_of(k)
        try:
            main(k)
        except Panic as panic:
            if panic.reason in ("kvmmake", "userinit", "uvmfirst"):
                continue  # the kernel would follow a null pointer
            reasons.add(panic.reason)
            with pytest.raises(Died, match=f"^{panic.reason}$"):
                other.main(INITCODE)
        else:
            other.main(INITCODE)
            reasons.add("")
        assert ram(k) == other.ram
        assert k.kmem.head == other.head
    assert reasons == {"kvmmap", "kalloc", "virtio disk kalloc", ""}


def test_a_kernel_whose_only_free_page_is_none_panics_in_kvmmake(rev):
    symbols = {"etext": BASE + PAGE, "end": BASE + PAGE + 1, "trampoline": BASE}
    with pytest.raises(Panic) as caught:
        boot(rev, ram=2 * PAGE, kernel=KernelImage(symbols, ()))
    assert caught.value.reason == "kvmmake"


def test_a_ram_larger_than_the_computers_is_refused_before_it_is_filled(rev):
    with pytest.raises(BadTarget, match=r"^the model would fill 1048576T of RAM, and this computer has \d+M;"):
        power_on(rev, ram=1 << 60)


def test_a_computer_that_does_not_tell_its_memory_is_trusted(rev, monkeypatch):
    def silent(name: str) -> int:
        raise ValueError(name)

    monkeypatch.setattr(boot_.os, "sysconf", silent)
    assert power_on(rev, ram=MEGA).layout.physstop == BASE + MEGA


# Programs that cannot be run


def test_an_init_that_is_no_program_panics_as_its_kernel_does(rev):
    with pytest.raises(Panic) as caught:
        small_boot(rev, init=b"#!/bin/sh\n" * 20)
    assert caught.value.reason == ("exec" if rev == "2025" else "init exiting")


def test_a_shell_that_is_no_program_is_named(rev):
    with pytest.raises(PagebookError) as caught:
        small_boot(rev, sh=b"")
    assert str(caught.value) == (
        "init: exec sh failed: it is no ELF file that xv6 can load, or memory is too small for it"
    )


def test_the_shell_runs_in_a_slot_that_the_pid_does_not_give_away(rev):
    k = power_on(rev, ram=MEGA, devices=(), nproc=4)
    main(k)
    start_init(k)
    k.nextpid = 40
    start_sh(k)
    assert (k.proc[1].pid, k.proc[1].name) == (40, "sh")


def test_a_program_of_one_s_own_runs_as_the_shell_s_child(rev):
    before = small_boot(rev, init=INIT, sh=SH)
    k = small_boot(rev, init=INIT, sh=SH, program=("prog", SH))
    assert [(p.pid, p.name) for p in k.proc if p.pid] == [(1, "init"), (2, "sh"), (3, "prog")]
    assert k.proc[2].parent is k.current is k.proc[1]
    assert k.proc[2].sz == k.proc[1].sz
    owned = scan(k.table(k.proc[2].pagetable))
    pages = len(owned.mappings) - 1  # the trampoline is the kernel's
    assert before.kmem.count - k.kmem.count == len(owned.tables) + pages
    assert machine(k).space("prog").size == k.proc[2].sz


def test_a_program_that_cannot_start_is_named(rev):
    with pytest.raises(PagebookError) as caught:
        small_boot(rev, init=INIT, sh=SH, program=("prog", b""))
    assert str(caught.value) == (
        "sh: exec prog failed: it is no ELF file that xv6 can load, or memory is too small for it"
    )
    with pytest.raises(PagebookError) as caught:
        small_boot(rev, nproc=2, program=("prog", SH))
    assert str(caught.value) == "sh: fork failed: no frame or no process slot is left for prog"


# The machine and its story


def test_the_machine_names_spaces_areas_harts_and_free_frames(rev):
    k = small_boot(rev, init=INIT, sh=SH)
    made = machine(k)
    assert made.name == f"xv6 ({rev})"
    assert [(space.name, space.pid, space.size) for space in made.spaces] == [
        ("kernel", None, None), ("init", 1, 0x4000), ("sh", 2, 0x5000),
    ]  # fmt: skip
    assert [(hart.number, hart.satp) for hart in made.harts] == [(0, k.satp)]
    assert made.free_lists()[0].frames.tolist() == free_frames(k)
    assert [tuple(area) for area in made.space("sh").areas] == [
        (0, 0x2000, "text"), (0x2000, 0x1000, "data"), (0x3000, 0x1000, "guard page"), (0x4000, 0x1000, "stack"),
        (TRAPFRAME, PAGE, "trapframe"), (MAXVA - PAGE, PAGE, "trampoline"),
    ]  # fmt: skip
    etext = REVISIONS[rev].etext
    assert [tuple(area) for area in made.space("kernel").areas][:4] == [
        (BASE, etext - BASE, "kernel text"), (etext, BASE + MEGA - etext, "kernel data and RAM"),
        (MAXVA - PAGE, PAGE, "trampoline"), (MAXVA - 3 * PAGE, PAGE, "stack of process 1"),
    ]  # fmt: skip
    assert [area.name for area in made.areas] == ["kernel image", *["disk queue"] * 3]
    assert made.symbols == {"etext": etext, "end": REVISIONS[rev].end, "trampoline": REVISIONS[rev].trampoline}


def test_memory_above_what_exec_made_is_called_heap(rev):
    k = small_boot(rev, init=INIT, sh=SH)
    growproc(k, PAGE + 1)
    assert (0x4000, 2 * PAGE, "heap") in machine(k).space("init").areas


def test_no_area_lies_above_the_size_of_a_process_that_has_shrunk(rev):
    k = small_boot(rev, init=INIT, sh=SH)
    growproc(k, -PAGE - 5)
    below = [area for area in machine(k).space("init").areas if area.start < TRAPFRAME]
    assert [(area.start, area.size, area.name) for area in below] == [
        (0, PAGE, "text"), (PAGE, PAGE, "data"), (2 * PAGE, PAGE, "guard page"),
    ]  # fmt: skip


def test_processes_of_one_name_are_told_apart_by_their_pids(rev):
    k = small_boot(rev)
    fork(k)
    assert [space.name for space in machine(k).spaces] == ["kernel", "init.1", "sh", "init.3"]
    k.proc[1].name = "kernel"
    assert machine(k).spaces[2].name == "kernel.2"
    k.proc[2].name = ""
    assert machine(k).spaces[3].name == "process"


def test_a_zombie_still_has_its_space_until_it_is_waited_for(rev):
    k = small_boot(rev)
    k.current = k.proc[1]
    exit(k, 0)
    assert [space.name for space in machine(k).spaces] == ["kernel", "init", "sh"]


def test_the_machine_before_kvminit_has_no_space_and_no_free_frame(rev):
    made = machine(power_on(rev, ram=MEGA))
    assert made.spaces == ()
    assert made.free_lists()[0].frames.tolist() == []


def test_the_story_counts_the_free_frames_after_each_step(rev):
    k = small_boot(rev)
    assert k.story[0] == ("main", k.story[0].text, 0)
    assert k.story[0].text == f"1M of RAM at 0x80000000, the kernel in it up to {k.layout.end:#x}"
    assert k.story[1].function == "kinit"
    assert k.story[1].free == 256 - ((k.layout.end - BASE) // PAGE + 1)
    told = [event.function for event in k.story]
    wanted = ["kinit", "kvmmake", "kvmmap", "proc_mapstacks", "kvminithart", "procinit", "virtio_disk_init", "userinit"]
    assert [told.index(name) for name in wanted] == sorted(told.index(name) for name in wanted)
    assert k.story[-1].free == k.kmem.count
