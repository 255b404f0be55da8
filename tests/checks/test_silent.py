"""What is right, or strange by design, is passed over in silence: by every rule that is on, for every guest."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from seeds import (
    COUNTS,
    IMAGE_NAMES,
    MEGA,
    PAGE,
    bare,
    bare_world,
    change,
    cow,
    forked,
    fresh,
    named,
    pte_of,
    put,
    share,
    super_machine,
    superpage,
    unnamed,
    usyscall,
    with_counts,
)

from elves import build_elf
from pagebook.checks.looks import check
from pagebook.checks.registry import choose
from pagebook.machine import Area, Machine, Space
from pagebook.memory import Memory, Region
from pagebook.pagetable import PageTable
from pagebook.sv import SV39, G, R, U, V, W, X
from pagebook.views.findings import not_asked
from pagebook.xv6 import trap
from pagebook.xv6.boot import boot, machine, power_on
from pagebook.xv6.boot import main as boot_main
from pagebook.xv6.kernel import Kernel, State
from pagebook.xv6.memlayout import KERNBASE, REVISIONS
from pagebook.xv6.proc import exit as exit_
from pagebook.xv6.proc import fork, wait
from pagebook.xv6.sysfile import sys_exec
from pagebook.xv6.sysproc import SBRK_LAZY, sys_sbrk

YEARS = tuple(REVISIONS)
STEPS = 90
CODE = b"\x13" * PAGE


def said(m: Machine) -> list[tuple[str, str]]:
    """What the rules say that are on."""
    return [(finding.rule, finding.message) for finding in check(m, choose()).findings]


def silent(m: Machine) -> None:
    assert said(m) == []
    assert said(unnamed(m, *IMAGE_NAMES)) == []


@pytest.mark.parametrize("rev", YEARS)
def test_the_model_of_every_year_at_its_prompt(rev: str) -> None:
    silent(machine(boot(rev)))


@pytest.mark.parametrize("rev", YEARS)
def test_the_model_before_its_first_exec(rev: str) -> None:
    k = power_on(rev, ram=4 << 20)
    boot_main(k)
    silent(machine(k))


def step(k: Kernel, dice: random.Random) -> None:
    """One thing that a process does."""
    alive = [p for p in k.proc if p.state is State.RUNNABLE]
    k.current = p = dice.choice(alive)
    kind = dice.choice(["fork", "fork", "exec", "grow", "shrink", "lazy", "touch", "exit", "wait", "wait"])
    if kind == "fork":
        fork(k)
    elif kind == "exec":
        sys_exec(k, dice.choice(["init", "sh", "big"]), ["a", "b" * 40])
    elif kind == "grow":
        sys_sbrk(k, dice.randrange(1, 6 * PAGE))
    elif kind == "shrink" and p.sz > 4 * PAGE:
        sys_sbrk(k, -dice.randrange(1, p.sz - 4 * PAGE))
    elif kind == "lazy" and k.revision.lazy:
        sys_sbrk(k, dice.randrange(1, 40 * PAGE), SBRK_LAZY)
    elif kind == "touch" and k.revision.lazy and p.sz > 0x4000 and p is not k.initproc:
        trap.store(k, dice.randrange(0x4000, p.sz), b"x")
    elif kind == "exit" and p is not k.initproc:
        exit_(k, 0)
    elif kind == "wait":
        wait(k, 0)


@pytest.mark.parametrize("rev", YEARS)
@pytest.mark.parametrize("seed", range(2))
def test_the_model_after_anything_its_processes_do(rev: str, seed: int) -> None:
    k = boot(rev, ram=4 << 20, nproc=8)
    k.files["big"] = build_elf([(0, 3 * PAGE, 3 * PAGE, 5, CODE * 3), (3 * PAGE, 0, 2 * PAGE, 6, b"")])
    dice = random.Random(seed)
    for count in range(STEPS):
        step(k, dice)
        if count % 9 == 0:
            silent(machine(k))


def test_zombies_keep_what_they_have() -> None:
    k = forked()
    k.current = named(k, "sh", 1)
    exit_(k, 0)
    m = machine(k)
    assert [s.state for s in m.spaces if s.pid == 3] in ([None], ["zombie"])
    silent(m)


@pytest.mark.parametrize(("width", "usual"), [(1, 0), (2, 0), (4, -1), (8, 0), (4, 1)])
def test_copy_on_write_with_counts_of_any_width_that_start_anywhere(width: int, usual: int) -> None:
    k, _, child = cow()
    silent(with_counts(k, machine(k), width, usual))
    change(k, child, 0x3000, add=W, to=fresh(k))  # the child stored to its stack, and has a copy of its own
    silent(with_counts(k, machine(k), width, usual))


def test_free_frames_that_were_never_used_may_be_counted_minus_one() -> None:
    k, _, _ = cow()
    m = with_counts(k, machine(k), 4)
    for pa in k.kmem.frames()[100:].tolist():
        k.memory.write32(COUNTS + 4 * (pa - KERNBASE >> 12), 0xFFFF_FFFF)
    silent(m)


def test_copy_on_write_in_a_kernel_that_gives_every_page_every_right() -> None:
    k = forked()
    for p in k.proc:
        for va in range(0, p.sz, PAGE) if p.pagetable else ():
            change(k, p, va, add=R | W | X)
    parent, child = named(k, "sh"), named(k, "sh", 1)
    share(k, parent, child)
    change(k, child, 0, add=W, to=fresh(k))
    silent(machine(k))


def test_counts_of_which_nothing_can_be_made_are_left_alone() -> None:
    k, _, _ = cow()
    m = with_counts(k, machine(k), 4)
    assert m.counts
    noise = random.Random(1).randbytes(m.counts.length * 4)
    k.memory.write(m.counts.start, noise)
    assert said(m) == []


def test_holes_of_lazy_allocation() -> None:
    k = boot("2025", ram=4 << 20, nproc=8)
    k.current = sh = named(k, "sh")
    sys_sbrk(k, 300 * PAGE, SBRK_LAZY)
    trap.store(k, sh.sz - PAGE, b"x")
    trap.store(k, sh.sz - 200 * PAGE, b"x")
    silent(machine(k))


def test_superpages_out_of_a_pool_of_their_own_and_shared_by_a_fork() -> None:
    k, sh = superpage()
    silent(super_machine(k))
    pte_pa, pte = pte_of(k, sh, MEGA)
    k.memory.write64(pte_pa, pte & ~W)
    child = named(k, "sh", 1)
    k.memory.write64(pte_of(k, child, MEGA)[0], pte & ~W)
    child.sz = sh.sz
    silent(super_machine(k))


def test_a_read_only_page_at_one_address_in_every_process() -> None:
    k = forked()
    usyscall(k)
    silent(machine(k))


def test_user_stacks_at_the_top_of_memory_in_every_process() -> None:
    k = forked()
    for p in k.proc:
        if p.pagetable:
            top = (1 << 38) - 3 * PAGE
            put(k, p, top, fresh(k), R | W | U)
            k.memory.write64(p.trapframe + 48, top + 0x800)
    silent(machine(k))


def test_regions_of_mmap_that_the_kernel_tells_of() -> None:
    k = forked()
    sh = named(k, "sh")
    va = (1 << 38) - 9 * PAGE
    put(k, sh, va, fresh(k), R | W | U)
    m = machine(k)
    spaces = tuple(replace(s, areas=(*s.areas, Area(va, PAGE, "mmap"))) if s.pid == sh.pid else s for s in m.spaces)
    silent(replace(m, spaces=spaces))
    silent(replace(m, symbols={**m.symbols, "sys_mmap": KERNBASE}))


def test_kernels_that_give_every_user_page_every_right() -> None:
    k = forked()
    for p in k.proc:
        for va in range(0, p.sz, PAGE) if p.pagetable else ():
            change(k, p, va, add=R | W | X)
    silent(machine(k))


def test_kernels_that_keep_a_table_of_their_own_for_each_process_with_its_pages_in_it() -> None:
    """The page-table lab of 2020: the program's pages without U, whole tables shared with the kernel's."""
    k = forked()
    sh = named(k, "sh")
    for p in k.proc:
        for va in range(0, p.sz, PAGE) if p.pagetable else ():
            change(k, p, va, add=R | W | X)
    own = k.table(fresh(k))
    for index in range(1, 512):
        k.memory.write64(own.root + 8 * index, k.memory.read64(k.kernel_pagetable + 8 * index))
    for va in range(0, sh.sz, PAGE):
        own.map(va, PAGE, SV39.pte_pa(pte_of(k, sh, va)[1]), R | W | X)
    m = machine(k)
    silent(replace(m, spaces=(*m.spaces, Space("sh.kernelpgtbl", own, m.spaces[0].areas))))


def test_programs_linked_into_one_segment_beside_others() -> None:
    k = forked()
    k.current = named(k, "sh", 1)
    k.files["forktest"] = build_elf([(0, PAGE, 2 * PAGE, 7, CODE)])
    assert sys_exec(k, "forktest", ["forktest"]) >= 0
    silent(machine(k))


def test_frames_that_only_the_kernel_points_to() -> None:
    """A pipe in struct file, a page table in the making on a kernel stack, a packet that leads to the next one."""
    k = forked()
    pipe, table, page, packet, after = (fresh(k) for _ in range(5))
    k.memory.write64(KERNBASE + 0x1B000, pipe + 0x18)
    stack = SV39.pte_pa(pte_of(k, None, (1 << 38) - PAGE - 2 * PAGE)[1])
    k.memory.write64(stack + 0xF80, table)
    k.memory.write64(table + 8 * 7, SV39.pte(page, V | R | W | U))
    k.memory.write64(KERNBASE + 0x1B100, packet + 64)
    k.memory.write64(packet, after)
    silent(machine(k))


def test_an_allocator_s_own_array_that_starts_where_the_image_ends() -> None:
    k = forked()
    listed = k.kmem.frames()
    apart = listed < listed.min() + 8 * PAGE
    k.memory.write64(int(listed[~apart][-1]), 0)
    assert apart[-8:].all() and apart.sum() == 8
    assert said(machine(k)) != []
    k.memory.write64(KERNBASE + 0x1B000, machine(k).symbols["end"])
    silent(machine(k))


def test_a_frame_that_is_in_a_register() -> None:
    k = forked()
    m = machine(k)
    frame = fresh(k)
    pools = machine(k).pools
    assert said(replace(m, pools=pools)) != []
    assert said(replace(m, pools=pools, harts=(m.harts[0]._replace(registers=(0, 1, frame + 8)),))) == []


def test_a_kernel_whose_table_cannot_be_read_is_not_said_to_leak_its_stacks_and_tables() -> None:
    k = forked()
    k.memory.write(k.kernel_pagetable, bytes(PAGE))
    assert not {rule for rule, _ in said(machine(k))} & {"PB102"}
    assert not {rule for rule, _ in said(replace(machine(k), spaces=machine(k).spaces[1:]))} & {"PB102"}


def test_a_kernel_whose_free_list_is_not_known_is_not_said_to_leak() -> None:
    k = forked()
    fresh(k)
    silent(replace(machine(k), pools=None))


def test_what_can_see_nothing_is_not_asked_and_said_to_be() -> None:
    k = forked()
    whole, less = check(machine(k), choose()), check(replace(machine(k), pools=None), choose())
    assert whole.blind == {}
    assert less.blind == dict.fromkeys(("PB017", "PB102", "PB103", "PB115"), "it is not known which frames are free")
    assert set(whole.rules) - set(less.rules) == set(less.blind)
    assert list(not_asked(less)) == ["not asked, as it is not known which frames are free: PB017, PB102, PB103, PB115"]


def test_guard_pages_that_no_kernel_stack_has_are_not_asked_for_and_said_not_to_be() -> None:
    k = forked()
    for area in machine(k).space("kernel").areas:
        if area.name.startswith("stack of"):
            put(k, None, area.start - PAGE, fresh(k), R | W)
    silent(machine(k))
    assert set(check(machine(k), choose()).blind) == {"PB118"}


def test_linux_shares_its_half_and_has_pages_of_every_kind() -> None:
    first = bare_world(1024)
    high = SV39.canonical(1 << 38)
    first.map(high, 4 * PAGE, KERNBASE, R | X | G)
    first.memory.write64(first.root + 8 * 300, SV39.pte(1 << 30, V | R | W | G) | 1 << 61)  # PBMT: not cacheable
    second = PageTable.create(first.memory, first.frames, SV39)
    for index in range(256, 512):
        second.memory.write64(second.root + 8 * index, first.memory.read64(first.root + 8 * index))
    for table in (first, second):
        table.map(0x1000, PAGE, KERNBASE + 64 * PAGE, R | W | U)  # MAP_SHARED
        table.map(0x10000, 16 * PAGE, KERNBASE + 16 * PAGE, R | U)
        pte_pa = table.find(0x10000)[0]
        for number in range(16):
            pte = SV39.pte(KERNBASE + 24 * PAGE, V | R | U) | 1 << 63  # 64 KiB, NAPOT
            table.memory.write64(pte_pa + 8 * number, pte)
    m = replace(bare(first, second), guest="linux")
    assert said(m) == []
    twin = replace(m.spaces[1], name="a thread")
    assert said(replace(m, spaces=(*m.spaces, twin))) == []


def test_bare_kernels_that_share_the_tables_of_their_own_half() -> None:
    first = bare_world()
    first.map(KERNBASE, 8 * PAGE, KERNBASE, R | X)
    second = PageTable.create(first.memory, first.frames, SV39)
    second.memory.write64(second.root + 16, first.memory.read64(first.root + 16))
    assert said(bare(first, second)) == []


def test_a_machine_without_spaces_or_memory() -> None:
    assert said(Machine("nothing", bare_world().memory, ())) == []
    table = bare_world(1)
    assert said(Machine("one page", table.memory, (Space("s", table),))) == []


def test_a_dump_of_a_part_of_ram_is_no_damaged_free_list() -> None:
    whole = machine(boot("2024", ram=4 << 20))
    (region,) = whole.memory.regions
    half = Memory([Region(region.base, region.data[: 2 << 20])])
    cut = replace(whole, memory=half, harts=(), spaces=(), free_range=(whole.free_range[0], region.base + (2 << 20)))  # type: ignore[index]
    assert [chain.broken is not None for chain in cut.free_lists()] == [True]
    assert check(cut, choose()).findings == ()
    elsewhere = replace(cut, pools=(cut.pools[0]._replace(head=region.base + 8),))  # type: ignore[index]
    assert [finding.rule for finding in check(elsewhere, choose()).findings] == ["PB113"]
