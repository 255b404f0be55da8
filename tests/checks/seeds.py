"""Machines in which one thing is wrong: the model, booted, forked, and then broken in its RAM by hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from pagebook.machine import Counts, Doubt, Hart, Machine, Pool, Space
from pagebook.memory import Memory
from pagebook.pagetable import PageTable
from pagebook.sv import SV39, A, D, R, U, V, W, X
from pagebook.table import AddressSpace
from pagebook.xv6 import vm
from pagebook.xv6.boot import boot, machine, power_on
from pagebook.xv6.boot import main as boot_main
from pagebook.xv6.kalloc import kalloc, kfree
from pagebook.xv6.kernel import Kernel, Proc
from pagebook.xv6.memlayout import KERNBASE, KSTACK, TRAMPOLINE, TRAPFRAME
from pagebook.xv6.proc import exit as exit_
from pagebook.xv6.proc import fork, wait
from pagebook.xv6.sysproc import sys_sbrk

PAGE = 4096
MEGA = 512 * PAGE
USYSCALL = TRAPFRAME - PAGE
COUNTS = KERNBASE + 0x18000  # in the kernel's image, where nothing of the model's is
PROCS = KERNBASE + 0x1A000  # where struct proc would be
COW = 1 << 8


def named(k: Kernel, name: str, number: int = 0) -> Proc:
    return [p for p in k.proc if p.name == name][number]


def forked(rev: str = "2024", ram: int = 4 << 20) -> Kernel:
    """init, sh, and a child of sh; struct proc's pointers lie in the kernel's image, as a real kernel's do."""
    k = boot(rev, ram=ram, nproc=8)
    k.current = named(k, "sh")
    assert fork(k) == 3
    for index, p in enumerate(k.proc):
        for word, value in enumerate((p.trapframe, p.pagetable)):
            k.memory.write64(PROCS + index * 16 + word * 8, value)
    return k


def pte_of(k: Kernel, p: Proc | None, va: int) -> tuple[int, int]:
    """Where the PTE stands that decides ``va`` in a process or, without one, in the kernel; and the PTE."""
    pte_pa, pte, _ = k.table(p.pagetable if p else k.kernel_pagetable).find(va)
    return pte_pa, pte


def change(k: Kernel, p: Proc | None, va: int, *, add: int = 0, drop: int = 0, to: int | None = None) -> int:
    """Set and clear flags of the PTE for ``va``, or let it lead elsewhere; the frame it led to."""
    pte_pa, pte = pte_of(k, p, va)
    assert pte & V
    frame = SV39.pte_pa(pte)
    flags = (pte & 0x3FF | add) & ~drop
    k.memory.write64(pte_pa, SV39.pte(frame if to is None else to, flags) | pte >> 54 << 54)
    return frame


def put(k: Kernel, p: Proc | None, va: int, pa: int, flags: int) -> None:
    """Map a page as mappages would."""
    root = p.pagetable if p else k.kernel_pagetable
    assert vm.mappages(k, root, va, PAGE, pa, flags) == 0


def instead(k: Kernel, p: Proc, va: int, pa: int, *, add: int = 0, drop: int = 0) -> None:
    """Let a user page lead to ``pa``; the frame it had is freed, as it should be."""
    kfree(k, change(k, p, va, add=add, drop=drop, to=pa))


def fresh(k: Kernel) -> int:
    frame = kalloc(k)
    assert frame
    k.memory.write(frame, bytes(PAGE))
    return frame


def user_pages(k: Kernel, p: Proc) -> dict[int, tuple[int, int]]:
    """The pages below a process's size: address to where the PTE stands and what it is."""
    found = {va: pte_of(k, p, va) for va in range(0, p.sz, PAGE)}
    return {va: (pte_pa, pte) for va, (pte_pa, pte) in found.items() if pte & V}


DATA, GUARD, STACK_PAGE = 0x1000, 0x2000, 0x3000  # of sh


def layout(p: Proc) -> dict[str, int]:
    return {name: start for start, _, name in p.image}


def reserve(k: Kernel, start: int, stop: int) -> None:
    """Take the free frames of [start, stop) off the free list."""
    listed = k.kmem.frames()
    kept = listed[(listed < start) | (listed >= stop)]
    k.kmem.head = 0
    for pa in kept[::-1].tolist():
        k.memory.write64(pa, k.kmem.head)
        k.kmem.head = pa
    k.kmem.count = len(kept)


# -- whole machines -------------------------------------------------------------------------------------------------


def with_counts(k: Kernel, m: Machine, width: int = 1, usual: int = 0) -> Machine:
    """The machine with a table of counts, right for every frame: the mappings of processes, plus ``usual``."""
    frames = (k.layout.physstop - KERNBASE) // PAGE
    counts: np.ndarray = np.zeros(frames, dtype=f"<u{width}")
    for p in k.proc:
        if p.pagetable:
            for _, pte in user_pages(k, p).values():
                counts[SV39.pte_pa(pte) - KERNBASE >> 12] += 1
    counts[counts > 0] += np.int64(usual).astype(counts.dtype)
    k.memory.write(COUNTS, counts.tobytes())
    return replace(m, counts=Counts("kmem.ref", COUNTS, width, frames, KERNBASE))


def share(k: Kernel, parent: Proc, child: Proc) -> None:
    """What a copy-on-write fork leaves: the child's frames are the parent's, and W is gone from both."""
    for va, (pte_pa, pte) in user_pages(k, parent).items():
        shared = pte & ~W | (COW if pte & W else 0)
        k.memory.write64(pte_pa, shared)
        child_pa, old = pte_of(k, child, va)
        kfree(k, SV39.pte_pa(old))
        k.memory.write64(child_pa, shared)


def cow() -> tuple[Kernel, Proc, Proc]:
    k = forked()
    parent, child = named(k, "sh"), named(k, "sh", 1)
    share(k, parent, child)
    return k, parent, child


SUPER = KERNBASE + 4 * MEGA
SUPER_VA = MEGA


def superpage() -> tuple[Kernel, Proc]:
    """sh with a superpage, out of a pool of such."""
    k = forked(ram=16 << 20)
    sh = named(k, "sh")
    reserve(k, SUPER, SUPER + 2 * MEGA)
    k.memory.write64(SUPER + MEGA, 0)
    pte_pa, pte = pte_of(k, sh, SUPER_VA)
    assert not pte
    k.memory.write64(pte_pa, SV39.pte(SUPER, V | R | W | U))
    sh.sz = SUPER_VA + MEGA
    return k, sh


def super_machine(k: Kernel) -> Machine:
    m = machine(k)
    assert m.pools
    return replace(m, pools=(*m.pools, Pool("superfree", SUPER + MEGA, MEGA)))


def usyscall(k: Kernel) -> None:
    """The page-table lab's read-only page in every process."""
    for p in k.proc:
        if p.pagetable:
            put(k, p, USYSCALL, fresh(k), R | U)


def bare(*tables: PageTable, **more: object) -> Machine:
    """A machine of which no more is known than its tables."""
    spaces = tuple(
        Space(f"space {number}", AddressSpace(table.memory, table.root, table.format), pid=number)
        for number, table in enumerate(tables)
    )
    return Machine("bare", tables[0].memory, spaces, **more)  # type: ignore[arg-type]


def unnamed(m: Machine, *names: str) -> Machine:
    """The machine without areas of these names: a guest of which no more is known than its bytes."""
    spaces = tuple(replace(s, areas=tuple(a for a in s.areas if a.name not in names)) for s in m.spaces)
    return replace(m, spaces=spaces)


IMAGE_NAMES = ("text", "constants", "data", "guard page", "stack", "heap")


# -- the bugs -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Seed:
    """A broken machine and the ids of the rules that must find it; ``ask`` are opt-in rules asked besides the usual."""

    make: Callable[[], Machine]
    expected: frozenset[str]
    ask: tuple[str, ...]


SEEDS: dict[str, Seed] = {}


def seed(*expected: str, ask: tuple[str, ...] = ()) -> Callable[[Callable[[], Machine]], Callable[[], Machine]]:
    def noted(make: Callable[[], Machine]) -> Callable[[], Machine]:
        SEEDS[make.__name__] = Seed(make, frozenset(expected), ask)
        return make

    return noted


def kernel_entry(k: Kernel, va: int, pte: int) -> None:
    """Write a PTE by hand where the kernel has none."""
    pte_pa, old = pte_of(k, None, va)
    assert not old & V
    k.memory.write64(pte_pa, pte)


HOLE = 0x4000_0000  # nothing is mapped there, and the entry that says so is the root's
NEAR_DEVICES = 0x1000_2000  # nothing is mapped there, and there is a last-level table


@seed("PB001")
def a_data_page_has_w_without_r() -> Machine:
    k = forked()
    change(k, named(k, "sh"), DATA, drop=R)
    return machine(k)


@seed("PB002")
def a_leaf_has_a_reserved_bit() -> Machine:
    k = forked()
    pte_pa, pte = pte_of(k, named(k, "sh"), DATA)
    k.memory.write64(pte_pa, pte | 1 << 54)
    return machine(k)


@seed("PB002")
def a_pointer_has_a_reserved_bit() -> Machine:
    k = forked()
    root = named(k, "sh").pagetable
    k.memory.write64(root, k.memory.read64(root) | 1 << 60)
    return machine(k)


@seed("PB003")
def a_page_of_xv6_has_pbmt() -> Machine:
    k = forked()
    pte_pa, pte = pte_of(k, named(k, "sh"), DATA)
    k.memory.write64(pte_pa, pte | 1 << 61)
    return machine(k)


def bare_world(pages: int = 64) -> PageTable:
    memory = Memory.anonymous(pages * PAGE)
    from pagebook.frames import FreeList

    frames = FreeList(memory, KERNBASE, KERNBASE + pages * PAGE)
    frames.free_range(KERNBASE, KERNBASE + pages * PAGE)
    return PageTable.create(memory, frames, SV39)


def bare_leaf(bits: int, va: int = 0x1000, level: int = 0, ppn: int = 0) -> Machine:
    table = bare_world()
    table.map(0x1000, PAGE, KERNBASE, R | W)
    if level == 0:
        pte_pa, pte, _ = table.find(va)
        table.memory.write64(pte_pa, (pte & ~(0xF << 10)) | ppn << 10 | bits)
    else:
        table.memory.write64(table.root + 8, SV39.pte(KERNBASE, V | R) | bits)
    return bare(table)


@seed("PB003")
def n_on_a_page_whose_ppn_does_not_end_in_1000() -> Machine:
    return bare_leaf(1 << 63, ppn=4)


@seed("PB003")
def n_above_the_last_level() -> Machine:
    return bare_leaf(1 << 63, level=2)


@seed("PB003")
def pbmt_of_3() -> Machine:
    return bare_leaf(3 << 61)


@seed("PB004")
def a_pointer_has_a() -> Machine:
    k = forked()
    root = named(k, "sh").pagetable
    k.memory.write64(root, k.memory.read64(root) | A)
    return machine(k)


@seed("PB004")
def a_pointer_has_u_and_d() -> Machine:
    k = forked()
    root = named(k, "sh").pagetable
    k.memory.write64(root, k.memory.read64(root) | U | D)
    return machine(k)


@seed("PB005")
def a_superpage_of_the_kernel_is_misaligned() -> Machine:
    k = forked()
    k.memory.write64(k.kernel_pagetable + 8, SV39.pte(KERNBASE + PAGE, V | R | W))
    return machine(k)


@seed("PB006")
def a_last_level_pte_is_a_pointer() -> Machine:
    k = forked()
    kernel_entry(k, NEAR_DEVICES, SV39.pte(KERNBASE, V))
    return machine(k)


@seed("PB007")
def a_root_points_to_itself() -> Machine:
    k = forked()
    k.memory.write64(k.kernel_pagetable + 8, SV39.pte(k.kernel_pagetable, V))
    return machine(k)


@seed("PB007")
def a_middle_table_points_to_itself() -> Machine:
    k = forked()
    table = SV39.pte_pa(k.memory.read64(named(k, "sh").pagetable))
    k.memory.write64(table + 8 * 100, SV39.pte(table, V))
    return machine(k)


@seed("PB007")
def a_middle_table_points_to_the_root() -> Machine:
    k = forked()
    root = named(k, "sh").pagetable
    k.memory.write64(SV39.pte_pa(k.memory.read64(root)) + 8 * 100, SV39.pte(root, V))
    return machine(k)


@seed("PB008")
def two_processes_use_one_table() -> Machine:
    k = forked()
    table = fresh(k)
    for name in ("init", "sh"):
        k.memory.write64(named(k, name).pagetable + 8 * 5, SV39.pte(table, V))
    return machine(k)


@seed("PB008")
def one_table_is_on_two_levels_of_two_spaces() -> Machine:
    k = forked()
    table, middle = fresh(k), fresh(k)
    k.memory.write64(named(k, "init").pagetable + 8 * 5, SV39.pte(table, V))
    k.memory.write64(named(k, "sh").pagetable + 8 * 5, SV39.pte(middle, V))
    k.memory.write64(middle, SV39.pte(table, V))
    return machine(k)


@seed("PB008")
def two_bare_spaces_share_the_table_of_a_user_page() -> Machine:
    first = bare_world()
    first.map(0x1000, PAGE, KERNBASE, R | U)
    second = PageTable.create(first.memory, first.frames, SV39)
    first.memory.write64(second.root, first.memory.read64(first.root))
    return bare(first, second)


@seed("PB008")
def a_child_has_its_parents_root() -> Machine:
    m = machine(forked())
    sh = m.space("2")
    return replace(m, spaces=(*m.spaces, replace(sh, name="twin", pid=9)))


@seed("PB009")
def a_pointer_leads_out_of_memory() -> Machine:
    k = forked()
    k.memory.write64(k.kernel_pagetable + 8, SV39.pte(0x4000_0000, V))
    return machine(k)


@seed("PB009")
def a_leaf_leads_to_neither_memory_nor_a_device() -> Machine:
    k = forked()
    put(k, None, HOLE, 0x2000_0000, R | W)
    return machine(k)


def free_page(k: Kernel) -> int:
    return k.kmem.head


@seed("PB010")
def the_kernel_can_execute_a_page_of_data() -> Machine:
    k = forked()
    change(k, None, free_page(k), add=X)
    return machine(k)


@seed("PB011", ask=("PB011",))
def initcode_can_be_written() -> Machine:
    k = power_on("2024", ram=4 << 20, nproc=8)
    boot_main(k)
    return machine(k)


@seed("PB012")
def the_kernels_table_has_a_user_page() -> Machine:
    k = forked()
    change(k, None, free_page(k), add=U)
    return machine(k)


@seed("PB012")
def the_upper_half_of_a_bare_space_has_a_user_page() -> Machine:
    table = bare_world()
    table.map(SV39.canonical(1 << 38), PAGE, KERNBASE, R | U)
    return bare(table)


@seed("PB013")
def two_bare_spaces_write_one_frame() -> Machine:
    first = bare_world()
    second = PageTable.create(first.memory, first.frames, SV39)
    first.map(0x1000, PAGE, KERNBASE, R | W | U)
    second.map(0x5000, PAGE, KERNBASE, R | U)
    return bare(first, second)


@seed("PB014")
def a_program_can_write_a_page_table() -> Machine:
    k = forked()
    instead(k, named(k, "sh"), DATA, named(k, "init").pagetable)
    return machine(k)


@seed("PB015")
def the_kernel_can_write_its_text() -> Machine:
    k = forked()
    change(k, None, KERNBASE + PAGE, add=W)
    return machine(k)


@seed("PB016", ask=("PB016",))
def no_page_was_ever_accessed() -> Machine:
    return machine(forked())


@seed("PB017")
def a_root_is_on_the_free_list() -> Machine:
    k = forked()
    root = named(k, "sh", 1).pagetable
    k.memory.write64(root + 8 * 511, 0)  # no junk is written: many kernels have none
    first = k.memory.read64(root)
    k.memory.write64(root, k.kmem.head)
    k.kmem.head = root
    assert first & V
    return drop_pages_of(k, first)


def drop_pages_of(k: Kernel, pointer: int) -> Machine:
    """The machine after what hung on a pointer, two levels of tables and the pages, was freed as it should be."""
    middle = SV39.pte_pa(pointer)
    table = SV39.pte_pa(k.memory.read64(middle))
    pages = [k.memory.read64(table + 8 * index) for index in range(512)]
    for frame in [*(SV39.pte_pa(pte) for pte in pages if pte & V), table, middle]:
        kfree(k, frame)
    return machine(k)


@seed("PB017", "PB102")
def a_root_was_freed_before_what_hangs_on_it() -> Machine:
    k = forked()
    kfree(k, named(k, "sh", 1).pagetable)
    return machine(k)


def reaped() -> tuple[Kernel, int]:
    """sh's child exited and was waited for; the kernel, and the root that it had."""
    k = forked()
    child = named(k, "sh", 1)
    root = child.pagetable
    k.current = child
    exit_(k, 0)
    k.current = named(k, "sh")
    assert wait(k, 0) == 3
    return k, root


@seed("PB018")
def satp_holds_a_root_that_was_freed() -> Machine:
    k, root = reaped()
    return replace(machine(k), harts=(Hart(0, SV39.satp(root)), Hart(1, k.satp)))


@seed("PB018")
def satp_holds_what_is_a_user_page_now() -> Machine:
    k = forked()
    frame = SV39.pte_pa(pte_of(k, named(k, "sh"), DATA)[1])
    return replace(machine(k), harts=(Hart(0, SV39.satp(frame)),))


@seed("PB018")
def satp_holds_a_root_outside_memory() -> Machine:
    return replace(machine(forked()), harts=(Hart(0, SV39.satp(0x4000_0000)),))


@seed("PB018")
def satp_has_a_reserved_mode() -> Machine:
    return replace(machine(forked()), harts=(Hart(0, 5 << 60),))


@seed("PB007", "PB019")
def every_entry_of_a_root_leads_back_to_it_and_one_is_a_leaf() -> Machine:
    table = bare_world()
    for index in range(511):
        table.memory.write64(table.root + 8 * index, SV39.pte(table.root, V))
    table.memory.write64(table.root + 8 * 511, SV39.pte(0, V | R))
    return bare(table)


@seed("PB101")
def sbrk_left_its_pages_mapped() -> Machine:
    k = forked()
    k.current = sh = named(k, "sh")
    sys_sbrk(k, 4 * PAGE)
    sh.sz -= 2 * PAGE
    return machine(k)


@seed("PB101")
def a_fault_handler_mapped_beyond_the_size() -> Machine:
    k = forked()
    sh = named(k, "sh")
    put(k, sh, sh.sz + 7 * PAGE, fresh(k), R | W | U)
    return machine(k)


@seed("PB101")
def a_page_is_left_behind_in_a_kernel_with_mmap() -> Machine:
    k = forked()
    sh = named(k, "sh")
    put(k, sh, sh.sz, fresh(k), R | W | U)
    put(k, sh, 1 << 37, fresh(k), R | W | U)
    m = machine(k)
    return replace(m, symbols={**m.symbols, "sys_mmap": KERNBASE + 0x100})


@seed("PB102")
def a_frame_was_allocated_and_forgotten() -> Machine:
    k = forked()
    kalloc(k)
    return machine(k)


@seed("PB102")
def a_pipe_was_forgotten_and_its_pages_with_it() -> Machine:
    k = forked()
    pipe, buffer = fresh(k), fresh(k)
    k.memory.write64(pipe + 0x200, buffer)
    return machine(k)


@seed("PB102")
def the_tables_of_a_process_were_forgotten() -> Machine:
    k = forked()
    child = named(k, "sh", 1)
    k.memory.write64(PROCS + child.index * 16 + 8, 0)
    child.pagetable = 0
    return machine(k)


@seed("PB102")
def a_frame_fell_off_the_free_list() -> Machine:
    k = forked()
    k.kmem.head = k.memory.read64(k.kmem.head)
    return machine(k)


@seed("PB103")
def a_data_page_was_freed_while_it_is_mapped() -> Machine:
    k = forked()
    kfree(k, SV39.pte_pa(pte_of(k, named(k, "sh"), DATA)[1]))
    return machine(k)


@seed("PB103")
def a_kernel_stack_was_freed() -> Machine:
    k = forked()
    kfree(k, SV39.pte_pa(pte_of(k, None, KSTACK(2))[1]))
    return machine(k)


@seed("PB103")
def a_trapframe_was_freed() -> Machine:
    k = forked()
    child = named(k, "sh", 1)
    kfree(k, child.trapframe)
    return machine(k)


@seed("PB103", "PB105")
def copy_on_write_freed_what_the_parent_still_has() -> Machine:
    """And the child, which kept W in its PTE, may write into what kalloc gives away."""
    k, _, child = cow()
    frame = SV39.pte_pa(pte_of(k, child, DATA)[1])
    change(k, child, DATA, add=W)
    kfree(k, frame)
    return machine(k)


def counted(value: int, width: int = 1, usual: int = 0) -> Machine:
    """A copy-on-write machine whose count for a page of sh's data is off by ``value``."""
    k, parent, _ = cow()
    m = with_counts(k, machine(k), width, usual)
    index = SV39.pte_pa(pte_of(k, parent, DATA)[1]) - KERNBASE >> 12
    at = COUNTS + index * width
    k.memory.write(at, (int.from_bytes(k.memory.read(at, width), "little") + value).to_bytes(width, "little"))
    return m


@seed("PB104")
def a_count_is_one_too_many() -> Machine:
    return counted(1)


@seed("PB104")
def a_count_of_four_bytes_is_one_too_few() -> Machine:
    return counted(-1, 4)


@seed("PB104")
def a_count_is_wrong_in_a_kernel_that_counts_from_0() -> Machine:
    return counted(1, 4, -1)


@seed("PB104")
def a_count_of_eight_bytes_is_wrong_in_a_kernel_that_counts_one_more() -> Machine:
    return counted(-2, 8, 1)


@seed("PB105")
def fork_left_w_in_the_parents_pte() -> Machine:
    k, parent, _ = cow()
    change(k, parent, DATA, add=W, drop=COW)
    return with_counts(k, machine(k))


@seed("PB106")
def the_cow_handler_gave_w_to_a_page_of_text() -> Machine:
    k, _, child = cow()
    change(k, child, 0, add=W, to=fresh(k))
    return unnamed(machine(k), *IMAGE_NAMES)


@seed("PB106")
def a_named_page_of_text_can_be_written() -> Machine:
    k = forked()
    change(k, named(k, "init"), 0, add=W)
    return machine(k)


@seed("PB106")
def exec_gives_w_to_the_text_of_every_program() -> Machine:
    k = forked()
    for p in k.proc:
        if p.pagetable:
            change(k, p, 0, add=W)
    m = machine(k)
    return replace(m, symbols={**m.symbols, "exec": KERNBASE + 64, "flags2perm": KERNBASE + 128})


@seed("PB107")
def the_guard_page_has_u() -> Machine:
    k = forked()
    change(k, named(k, "sh"), GUARD, add=U)
    return machine(k)


@seed("PB107")
def the_guard_page_has_u_and_nobody_names_it() -> Machine:
    k = forked()
    change(k, named(k, "sh"), GUARD, add=U)
    return unnamed(machine(k), *IMAGE_NAMES)


@seed("PB107")
def a_fault_handler_mapped_over_the_guard_page() -> Machine:
    k = forked()
    sh = named(k, "sh")
    change(k, sh, GUARD, add=U, to=SV39.pte_pa(pte_of(k, sh, GUARD)[1]))
    instead(k, sh, GUARD, fresh(k))
    return unnamed(machine(k), *IMAGE_NAMES)


@seed("PB108")
def a_data_page_has_no_u() -> Machine:
    k = forked()
    change(k, named(k, "sh"), DATA, drop=U)
    return machine(k)


@seed("PB108")
def a_text_page_has_no_u_and_nobody_names_the_guard_page() -> Machine:
    k = forked()
    change(k, named(k, "sh"), 0, drop=U)
    return unnamed(machine(k), *IMAGE_NAMES)


@seed("PB108")
def a_page_of_the_heap_has_no_u() -> Machine:
    k = forked()
    k.current = sh = named(k, "sh")
    sys_sbrk(k, 3 * PAGE)
    change(k, sh, 0x5000, drop=U)
    return unnamed(machine(k), *IMAGE_NAMES)


@seed("PB109")
def the_trapframe_has_u() -> Machine:
    k = forked()
    change(k, named(k, "sh"), TRAPFRAME, add=U)
    return machine(k)


@seed("PB109")
def the_trampoline_has_u() -> Machine:
    k = forked()
    change(k, named(k, "sh"), TRAMPOLINE, add=U)
    return machine(k)


@seed("PB109")
def a_program_sees_the_kernels_image() -> Machine:
    k = forked()
    instead(k, named(k, "sh"), DATA, KERNBASE + 0x10000)
    return machine(k)


@seed("PB109")
def a_program_reads_a_page_table() -> Machine:
    k = forked()
    instead(k, named(k, "sh"), DATA, named(k, "init").pagetable, drop=W)
    return machine(k)


@seed("PB109")
def a_program_sees_a_kernel_stack() -> Machine:
    k = forked()
    instead(k, named(k, "sh"), DATA, SV39.pte_pa(pte_of(k, None, KSTACK(1))[1]))
    return machine(k)


@seed("PB109")
def a_program_reaches_the_uart() -> Machine:
    k = forked()
    instead(k, named(k, "sh"), DATA, 0x1000_0000)
    return machine(k)


@seed("PB110")
def the_trapframe_is_not_mapped() -> Machine:
    k = forked()
    k.memory.write64(pte_of(k, named(k, "sh"), TRAPFRAME)[0], 0)
    return machine(k)


@seed("PB110")
def the_trapframe_is_read_only() -> Machine:
    k = forked()
    change(k, named(k, "sh"), TRAPFRAME, drop=W)
    return machine(k)


@seed("PB110")
def two_processes_have_one_trapframe() -> Machine:
    k = forked()
    sh, child = named(k, "sh"), named(k, "sh", 1)
    change(k, child, TRAPFRAME, to=sh.trapframe)
    return machine(k)


@seed("PB110")
def the_trapframe_is_in_the_kernels_image() -> Machine:
    k = forked()
    change(k, named(k, "sh"), TRAPFRAME, to=KERNBASE + 0x10000)
    return machine(k)


@seed("PB110")
def the_trapframe_is_not_the_one_that_struct_proc_names() -> Machine:
    k = forked()
    sh = named(k, "sh")
    change(k, sh, TRAPFRAME, to=fresh(k))
    return machine(k)


@seed("PB111")
def the_trampoline_is_not_mapped() -> Machine:
    k = forked()
    k.memory.write64(pte_of(k, named(k, "sh"), TRAMPOLINE)[0], 0)
    return machine(k)


@seed("PB111")
def the_trampoline_can_be_written() -> Machine:
    k = forked()
    change(k, named(k, "sh"), TRAMPOLINE, add=W)
    return machine(k)


@seed("PB111")
def the_trampoline_leads_elsewhere() -> Machine:
    k = forked()
    change(k, named(k, "sh"), TRAMPOLINE, to=KERNBASE)
    return machine(k)


@seed("PB112")
def usyscall_can_be_written_in_one_process() -> Machine:
    k = forked()
    usyscall(k)
    change(k, named(k, "sh"), USYSCALL, add=W)
    return machine(k)


@seed("PB112")
def usyscall_can_be_written_in_all() -> Machine:
    k = forked()
    usyscall(k)
    for p in k.proc:
        if p.pagetable:
            change(k, p, USYSCALL, add=W)
    return machine(k)


@seed("PB113")
def a_frame_was_freed_twice() -> Machine:
    k = forked()
    frame = fresh(k)
    kfree(k, frame)
    kfree(k, frame)
    return machine(k)


@seed("PB113")
def the_free_list_comes_back_to_its_middle() -> Machine:
    k = forked()
    listed = k.kmem.frames()
    k.memory.write64(int(listed[20]), int(listed[5]))
    return machine(k)


@seed("PB113")
def a_device_page_was_freed() -> Machine:
    k = forked()
    k.memory.write64(k.kmem.head, 0x1000_0000)
    return machine(k)


@seed("PB113")
def a_store_went_to_a_frame_that_was_freed() -> Machine:
    k = forked()
    k.memory.write64(int(k.kmem.frames()[3]), 0x7)
    return machine(k)


@seed("PB113")
def the_disks_queue_was_freed() -> Machine:
    k = forked()
    assert k.disk
    kfree(k, k.disk[1])
    return machine(k)


@seed("PB113")
def two_processors_have_one_frame_on_their_lists() -> Machine:
    k = forked()
    m = machine(k)
    assert m.pools
    listed = k.kmem.frames()
    other = int(listed[4])
    return replace(m, pools=(*m.pools, Pool("kmem[1]", other)))


@seed("PB113")
def a_superpage_pool_has_a_crooked_block() -> Machine:
    k, _ = superpage()
    m = super_machine(k)
    crooked = SUPER + MEGA + 4 * PAGE
    for number in range(4):
        kfree(k, SUPER + MEGA + number * PAGE)
    reserve(k, SUPER + 2 * MEGA, SUPER + 2 * MEGA + 4 * PAGE)
    k.memory.write64(crooked, 0)
    return replace(m, pools=(Pool("kmem", k.kmem.head), Pool("superfree", crooked, MEGA)))


@seed("PB114")
def a_small_page_lies_under_a_superpage() -> Machine:
    k, sh = superpage()
    instead(k, sh, DATA, SUPER + 5 * PAGE)
    return super_machine(k)


@seed("PB115")
def part_of_a_superpage_was_freed() -> Machine:
    k, _ = superpage()
    kfree(k, SUPER + 5 * PAGE)
    return super_machine(k)


@seed("PB115")
def a_superpage_was_freed_while_it_is_mapped() -> Machine:
    k, _ = superpage()
    k.memory.write64(SUPER, SUPER + MEGA)
    m = super_machine(k)
    assert m.pools
    return replace(m, pools=(m.pools[0], Pool("superfree", SUPER, MEGA)))


@seed("PB116", ask=("PB116",))
def walk_made_a_table_for_a_question() -> Machine:
    k = forked()
    vm.walk(k, named(k, "sh").pagetable, 64 * MEGA, 1)
    return machine(k)


@seed("PB117")
def a_slot_that_is_unused_has_a_page_table() -> Machine:
    k = forked()
    sh = named(k, "sh", 1)
    m = machine(k)
    [space] = [s for s in m.spaces if s.pid == sh.pid]
    return replace(m, spaces=tuple(replace(s, state="unused") if s is space else s for s in m.spaces))


@seed("PB117")
def a_slot_that_is_unused_has_a_page_table_that_was_freed() -> Machine:
    k, root = reaped()
    m = machine(k)
    ghost = Space("sh", AddressSpace(k.memory, root), pid=0, size=0, state="unused")
    return replace(m, spaces=(*m.spaces, ghost))


@seed("PB118")
def the_guard_page_of_a_kernel_stack_is_mapped() -> Machine:
    k = forked()
    put(k, None, KSTACK(3) - PAGE, fresh(k), R | W)
    return machine(k)


@seed("PB119")
def two_kernel_stacks_are_in_one_frame() -> Machine:
    k = forked()
    kept = SV39.pte_pa(pte_of(k, None, KSTACK(1))[1])
    kfree(k, change(k, None, KSTACK(2), to=kept))
    return machine(k)


@seed("PB119")
def two_processes_have_one_kernel_stack() -> Machine:
    return doubted("kstack", "has its kernel stack at 0x3fffffb000, and so has process 1")


@seed("PB110")
def struct_proc_names_another_trapframe_than_the_table() -> Machine:
    return doubted("trapframe", "has its trapframe at 0x80000000, and its table does not map that below the trampoline")


@seed("PB120")
def struct_proc_names_a_page_table_that_cannot_be() -> Machine:
    return doubted(
        "pagetable", "has its page table at 0x803cb123, and none can be there: root 0x803cb123 is not page-aligned"
    )


def doubted(about: str, what: str) -> Machine:
    """A machine of whose shell its struct proc says what cannot be, as readers of guests tell it."""
    return replace(machine(forked()), doubts=(Doubt(about, 2, PROCS + 16, f"process 2 (sh) {what}"),))


def kernel_entries(k: Kernel, start: int, pages: int, flags: int) -> Machine:
    """The kernel's own pages from ``start`` on with these flags in the place of theirs; none for no mapping."""
    for va in range(start, start + pages * PAGE, PAGE):
        pte_pa, pte = pte_of(k, None, va)
        k.memory.write64(pte_pa, SV39.pte(SV39.pte_pa(pte), flags))
    return machine(k)


@seed("PB121")
def the_kernels_text_cannot_be_executed() -> Machine:
    k = forked()
    return kernel_entries(k, KERNBASE, k.layout.etext - KERNBASE >> 12, V | R)


@seed("PB121")
def a_page_of_the_kernels_text_is_not_mapped() -> Machine:
    return kernel_entries(forked(), KERNBASE + PAGE, 1, 0)


@seed("PB121")
def a_page_of_the_kernels_data_cannot_be_written() -> Machine:
    k = forked()
    return kernel_entries(k, k.layout.etext + 2 * PAGE, 1, V | R)


@seed("PB121")
def a_frame_of_the_allocator_is_not_mapped() -> Machine:
    k = forked()
    return kernel_entries(k, k.kmem.head, 1, 0)


@seed("PB121")
def the_allocators_frames_cannot_be_written() -> Machine:
    k = forked()
    return kernel_entries(k, k.kmem.head - 3 * PAGE, 3, V | R)


@seed("PB121")
def a_kernel_stack_cannot_be_written() -> Machine:
    return kernel_entries(forked(), KSTACK(2), 1, V | R)
