"""proc.c and sysproc.c: processes are born, copied, grown and buried, and no frame is lost on the way."""

from __future__ import annotations

import pytest
from twins import (
    PAGE,
    TRAMPOLINE,
    TRAPFRAME,
    R,
    Twins,
    U,
    V,
    W,
    X,
    account,
    first_process,
    free_frames,
    leave,
    processes,
    small,
    snapshot,
    tables_and_leaves,
)

from pagebook.errors import Panic
from pagebook.xv6 import vm
from pagebook.xv6.kernel import Kernel, Proc, State
from pagebook.xv6.memlayout import KSTACK
from pagebook.xv6.proc import (
    TRAPFRAME_BYTES,
    allocproc,
    exit,
    fork,
    freeproc,
    growproc,
    proc_pagetable,
    procinit,
    userinit,
    wait,
)
from pagebook.xv6.programs import INITCODE
from pagebook.xv6.sysproc import SBRK_EAGER, SBRK_LAZY, sys_sbrk

OLDER = ("2022", "2024")


def parent(k: Kernel, pages: int = 3) -> Proc:
    """init, current, with pages of distinct bytes and a trapframe full of registers."""
    p = first_process(k)
    p.sz = vm.uvmalloc(k, p.pagetable, 0, pages * PAGE, W)
    p.name = "parent"
    for page in range(pages):
        vm.copyout(k, p.pagetable, page * PAGE, bytes([0x40 + page]) * PAGE)
    k.memory.write(p.trapframe, bytes(range(256)) * 16)
    return p


def child_of(k: Kernel) -> Proc:
    """A child of the current process, which stays current."""
    pid = fork(k)
    return next(p for p in k.proc if p.pid == pid)


def contents(k: Kernel, p: Proc) -> dict[int, tuple[int, bytes]]:
    """Page address to PTE bits and bytes."""
    leaves = tables_and_leaves(k, p.pagetable)[1]
    return {va: (pte & 0x3FF, k.memory.read(pte >> 10 << 12, PAGE)) for va, pte in leaves if va < TRAPFRAME}


# allocproc, freeproc, userinit


def test_procinit_leaves_every_slot_unused_and_gives_each_its_stacks_address(rev):
    k = small(rev, nproc=5)
    procinit(k)
    assert [(p.index, p.state, p.kstack) for p in k.proc] == [(i, State.UNUSED, KSTACK(i)) for i in range(5)]


def test_allocproc_takes_the_first_free_slot_the_next_pid_and_four_frames(rev):
    k = small(rev, nproc=3)
    trapframe, root, level1, level0 = free_frames(k)[:4]
    p, q = allocproc(k), allocproc(k)
    assert p is k.proc[0] and q is k.proc[1]
    assert (p.pid, q.pid, p.state, p.sz) == (1, 2, State.USED, 0)
    assert (p.trapframe, p.pagetable) == (trapframe, root)
    assert tables_and_leaves(k, root) == (
        [root, level1, level0],
        [
            (TRAPFRAME, trapframe >> 12 << 10 | R | W | V),
            (TRAMPOLINE, k.layout.trampoline >> 12 << 10 | R | X | V),
        ],
    )
    freeproc(k, p)
    again = allocproc(k)
    assert again is p and again.pid == 3
    account(k)


def test_allocproc_without_a_free_slot_takes_neither_a_pid_nor_a_frame(rev):
    k = small(rev, nproc=2)
    allocproc(k)
    allocproc(k)
    before = snapshot(k)
    assert allocproc(k) is None
    assert (snapshot(k), k.nextpid) == (before, 3)


@pytest.mark.parametrize("frames", range(4))
def test_allocproc_without_frames_gives_all_back_and_uses_up_a_pid(rev, strict, frames):
    k = small(rev, strict=strict)
    rest = leave(k, frames)
    assert allocproc(k) is None
    assert k.nextpid == 2
    assert k.kmem.count == frames
    account(k, loose=rest)


@pytest.mark.parametrize("frames", range(3))
def test_proc_pagetable_without_frames_gives_0_and_loses_none(rev, strict, frames):
    k = small(rev, strict=strict)
    p = first_process(k)
    rest = leave(k, frames)
    assert proc_pagetable(k, p) == 0
    account(k, loose=rest)


def test_proc_pagetable_takes_trampoline_out_again_when_the_trapframe_cannot_be_mapped(rev, monkeypatch):
    k = small(rev)
    p = first_process(k)
    real = vm.mappages

    def fails_for_the_trapframe(k: Kernel, pagetable: int, va: int, size: int, pa: int, perm: int) -> int:
        return -1 if va == TRAPFRAME else real(k, pagetable, va, size, pa, perm)

    monkeypatch.setattr("pagebook.xv6.proc.mappages", fails_for_the_trapframe)
    assert proc_pagetable(k, p) == 0
    account(k)


def test_freeproc_frees_trapframe_then_pages_then_tables_children_first(rev):
    k = small(rev)
    p = parent(k, 2)
    tables, leaves = tables_and_leaves(k, p.pagetable)
    frames = {va: pte >> 10 << 12 for va, pte in leaves}
    root, high1, high0, low1, low0 = tables
    before = free_frames(k)
    trapframe = p.trapframe
    k.initproc = None
    freeproc(k, p)
    freed = [trapframe, frames[0], frames[PAGE], low0, low1, high0, high1, root]
    assert free_frames(k) == [*reversed(freed), *before]
    assert (p.state, p.pid, p.sz, p.name, p.image, p.killed, p.xstate, p.parent) == (
        State.UNUSED, 0, 0, "", (), False, 0, None,
    )  # fmt: skip


@pytest.mark.parametrize("rev", OLDER)
def test_the_first_process_starts_with_a_page_of_initcode(rev):
    k = small(rev)
    userinit(k)
    p = k.initproc
    assert p is k.proc[0]
    assert (p.pid, p.sz, p.name, p.state) == (1, PAGE, "initcode", State.RUNNABLE)
    assert contents(k, p) == {0: (R | W | X | U | V, INITCODE.ljust(PAGE, b"\0"))}
    registers = k.memory.read(p.trapframe, PAGE)
    assert registers == bytes([5]) * 24 + bytes(8) + bytes([5]) * 16 + PAGE.to_bytes(8, "little") + bytes([5]) * 4040
    account(k)


def test_the_first_process_of_2025_starts_with_nothing():
    k = small("2025")
    userinit(k)
    p = k.initproc
    assert p is k.proc[0]
    assert (p.pid, p.sz, p.name, p.state) == (1, 0, "", State.RUNNABLE)
    assert contents(k, p) == {}
    account(k)


@pytest.mark.parametrize("frames", range(4))
def test_userinit_panics_where_the_kernel_would_follow_a_null_pointer(rev, frames):
    k = small(rev)
    leave(k, frames)
    with pytest.raises(Panic) as caught:
        userinit(k)
    assert str(caught.value) == "panic: userinit (no frame is left; the C code would follow a null pointer here)"


# growproc and sbrk


@pytest.mark.parametrize(
    ("n", "sz"),
    [
        (0, 3 * PAGE),
        (1, 3 * PAGE + 1),
        (5 * PAGE, 8 * PAGE),
        (-1, 3 * PAGE - 1),
        (-PAGE, 2 * PAGE),
        (-3 * PAGE, 0),
        (-3 * PAGE - 1, 3 * PAGE),
        (-(1 << 31), 3 * PAGE),
    ],
)
def test_growproc_changes_the_size_and_shrinking_below_zero_succeeds_without_effect(rev, n, sz):
    k = small(rev)
    p = parent(k)
    assert growproc(k, n) == 0
    assert p.sz == sz
    assert list(contents(k, p)) == list(range(0, sz, PAGE))
    account(k)


def test_growproc_that_runs_out_leaves_the_process_as_it_was(rev, strict):
    k = small(rev, strict=strict)
    p = parent(k)
    before = contents(k, p)
    rest = leave(k, 4)
    assert growproc(k, 5 * PAGE) == -1
    assert p.sz == 3 * PAGE and contents(k, p) == before
    account(k, loose=rest)


def test_memory_that_was_given_back_and_taken_again_is_zero(rev):
    k = small(rev)
    p = parent(k)
    growproc(k, -PAGE)
    growproc(k, PAGE)
    assert contents(k, p)[2 * PAGE] == (R | W | U | V, bytes(PAGE))
    assert contents(k, p)[PAGE][1] == b"\x41" * PAGE


@pytest.mark.parametrize("rev", OLDER)
def test_before_2025_growproc_knows_no_limit_but_memory(rev):
    k = small(rev)
    p = parent(k)
    p.sz = TRAPFRAME - PAGE
    assert growproc(k, PAGE) == 0, "the page below the trapframe"
    assert p.sz == TRAPFRAME
    with pytest.raises(Panic) as caught:
        growproc(k, PAGE)
    assert caught.value.reason == "mappages: remap"
    assert caught.value.va == TRAPFRAME


@pytest.mark.parametrize(("n", "result"), [(PAGE, 0), (PAGE + 1, -1), (2 * PAGE, -1)])
def test_growproc_of_2025_stops_at_the_trapframe(n, result):
    k = small("2025")
    p = parent(k)
    p.sz = TRAPFRAME - PAGE
    before = snapshot(k)
    assert growproc(k, n) == result
    assert p.sz == TRAPFRAME - PAGE + (n if result == 0 else 0)
    if result:
        assert snapshot(k) == before


def test_eager_sbrk_returns_the_old_size_and_takes_the_frames_at_once(rev):
    k = small(rev)
    p = parent(k)
    count = k.kmem.count
    assert sys_sbrk(k, 2 * PAGE) == 3 * PAGE
    assert (p.sz, k.kmem.count) == (5 * PAGE, count - 2)
    assert sys_sbrk(k, -PAGE) == 5 * PAGE
    assert (p.sz, k.kmem.count) == (4 * PAGE, count - 1)
    assert sys_sbrk(k, 0) == 4 * PAGE
    leave(k, 0)
    assert sys_sbrk(k, 1) == -1
    assert p.sz == 4 * PAGE


@pytest.mark.parametrize("kind", [0, SBRK_LAZY, 3, -1])
def test_lazy_sbrk_takes_no_frame_and_every_kind_but_1_is_lazy(kind):
    k = small("2025")
    p = parent(k)
    leave(k, 0)
    before = snapshot(k)
    assert sys_sbrk(k, 100 * PAGE + 7, kind) == 3 * PAGE
    assert p.sz == 103 * PAGE + 7
    assert sys_sbrk(k, 0, kind) == 103 * PAGE + 7
    assert snapshot(k) == before


def test_lazy_sbrk_shrinks_eagerly_and_passes_over_pages_that_were_never_touched():
    k = small("2025")
    p = parent(k)
    sys_sbrk(k, 10 * PAGE, SBRK_LAZY)
    assert vm.vmfault(k, p.pagetable, 8 * PAGE, 0)
    count = k.kmem.count
    assert sys_sbrk(k, -6 * PAGE, SBRK_LAZY) == 13 * PAGE
    assert (p.sz, k.kmem.count) == (7 * PAGE, count + 1)
    account(k)


@pytest.mark.parametrize(("n", "allowed"), [(PAGE, True), (PAGE + 1, False)])
def test_lazy_sbrk_stops_at_the_trapframe(n, allowed):
    k = small("2025")
    p = parent(k)
    p.sz = TRAPFRAME - PAGE
    assert sys_sbrk(k, n, SBRK_LAZY) == (TRAPFRAME - PAGE if allowed else -1)
    assert p.sz == (TRAPFRAME if allowed else TRAPFRAME - PAGE)


@pytest.mark.parametrize("rev", OLDER)
def test_before_2025_sbrk_is_eager_whatever_the_second_argument(rev):
    k = small(rev)
    p = parent(k)
    assert sys_sbrk(k, PAGE, SBRK_LAZY) == 3 * PAGE
    assert len(contents(k, p)) == 4


@pytest.mark.parametrize(
    ("n", "means"), [(1 << 32, 0), ((1 << 32) + 5, 5), (1 << 31, -(1 << 31)), (-(1 << 31) - 1, (1 << 31) - 1)]
)
def test_sbrk_sees_the_low_32_bits_of_its_argument_as_an_int(rev, n, means):
    k, same = small(rev), small(rev)
    p, q = parent(k), parent(same)
    assert sys_sbrk(k, n, SBRK_EAGER) == sys_sbrk(same, means, SBRK_EAGER)
    assert p.sz == q.sz
    assert snapshot(k) == snapshot(same)


def test_the_story_tells_how_a_process_grew(rev):
    k = small(rev)
    parent(k)
    sys_sbrk(k, PAGE)
    assert k.story[-1].text == "process 1 (parent) goes from 0x3000 to 0x4000 bytes, at once"
    if rev == "2025":
        sys_sbrk(k, PAGE, SBRK_LAZY)
        assert k.story[-1].text == (
            "process 1 (parent) goes from 0x4000 to 0x5000 bytes, without a frame, until it is touched"
        )


# fork


def test_fork_copies_memory_rights_registers_and_name_and_shares_no_frame(rev):
    k = small(rev)
    p = parent(k)
    vm.uvmclear(k, p.pagetable, PAGE)
    q = child_of(k)
    assert (q.pid, q.state, q.parent, q.name, q.sz) == (2, State.RUNNABLE, p, "parent", 3 * PAGE)
    assert contents(k, q) == contents(k, p)
    registers = bytearray(k.memory.read(p.trapframe, TRAPFRAME_BYTES))
    registers[112:120] = bytes(8)
    assert k.memory.read(q.trapframe, PAGE) == registers + b"\x05" * (PAGE - TRAPFRAME_BYTES)
    account(k)


def test_what_parent_and_child_store_after_fork_stays_their_own(rev):
    k = small(rev)
    p = parent(k)
    q = child_of(k)
    vm.copyout(k, p.pagetable, 0, b"parent")
    vm.copyout(k, q.pagetable, PAGE, b"child")
    assert contents(k, q)[0][1] == b"\x40" * PAGE
    assert contents(k, p)[PAGE][1] == b"\x41" * PAGE


def test_fork_of_2025_leaves_lazy_memory_lazy_in_the_child():
    k = small("2025")
    p = parent(k)
    sys_sbrk(k, 10 * PAGE, SBRK_LAZY)
    vm.vmfault(k, p.pagetable, 7 * PAGE, 0)
    q = child_of(k)
    assert q.sz == 13 * PAGE
    assert list(contents(k, q)) == [0, PAGE, 2 * PAGE, 7 * PAGE]
    account(k)


@pytest.mark.parametrize("rev", OLDER)
def test_fork_before_2025_panics_at_a_hole_in_the_parent(rev):
    k = small(rev)
    p = parent(k)
    vm.uvmunmap(k, p.pagetable, PAGE, 1, 1)
    with pytest.raises(Panic) as caught:
        fork(k)
    assert caught.value.reason == "uvmcopy: page not present"
    assert caught.value.va == PAGE


def test_fork_without_a_slot_gives_minus_1_and_changes_nothing(rev):
    k = small(rev, nproc=2)
    parent(k)
    assert fork(k) == 2
    before, table = snapshot(k), processes(k)
    assert fork(k) == -1
    assert (snapshot(k), processes(k), k.nextpid) == (before, table, 3)


@pytest.mark.parametrize("frames", range(10))
def test_fork_without_frames_gives_minus_1_uses_up_a_pid_and_loses_nothing(rev, strict, frames):
    k = small(rev, strict=strict)
    p = parent(k, 4)
    before, table, registers = contents(k, p), processes(k), k.memory.read(p.trapframe, PAGE)
    rest = leave(k, frames)
    free = sorted(free_frames(k))
    assert fork(k) == -1
    assert sorted(free_frames(k)) == free
    assert contents(k, p) == before
    assert processes(k) == table
    assert k.memory.read(p.trapframe, PAGE) == registers
    assert k.nextpid == 3
    account(k, loose=rest)


# exit and wait


def test_exit_keeps_the_frames_until_the_parent_waits(rev):
    k = small(rev)
    p = parent(k)
    count = k.kmem.count
    q = child_of(k)
    k.current = q
    after_fork = k.kmem.count
    exit(k, 7)
    assert (q.state, q.xstate, k.current, k.kmem.count) == (State.ZOMBIE, 7, None, after_fork)
    k.current = p
    assert wait(k, PAGE + 4) == 2
    assert contents(k, p)[PAGE][1][:12] == b"\x41\x41\x41\x41\x07\0\0\0\x41\x41\x41\x41"
    assert k.kmem.count == count
    account(k)


def test_a_negative_status_is_written_as_an_int(rev):
    k = small(rev)
    p = parent(k)
    k.current = child_of(k)
    exit(k, -1)
    k.current = p
    assert wait(k, 16) == 2
    assert contents(k, p)[0][1][16:21] == b"\xff\xff\xff\xff\x40"


def test_wait_gives_minus_1_without_children_and_0_where_the_kernel_would_sleep(rev):
    k = small(rev)
    p = parent(k)
    assert wait(k, 0) == -1
    child_of(k)
    before = snapshot(k)
    assert wait(k, 0) == 0
    assert snapshot(k) == before
    p.killed = True
    assert wait(k, 0) == -1, "a killed process does not sleep"


def test_wait_whose_status_cannot_be_written_keeps_the_zombie(rev):
    k = small(rev)
    p = parent(k)
    q = child_of(k)
    k.current = q
    exit(k, 3)
    k.current = p
    before = snapshot(k)
    assert wait(k, 3 * PAGE) == -1
    assert (q.state, snapshot(k)) == (State.ZOMBIE, before)
    assert wait(k, 0) == 2


def test_wait_takes_the_zombie_in_the_lowest_slot_first(rev):
    k = small(rev)
    p = parent(k, 1)
    first, second = child_of(k), child_of(k)
    for q, status in ((second, 2), (first, 1)):
        k.current = q
        exit(k, status)
    k.current = p
    assert [wait(k, 0), wait(k, 0), wait(k, 0)] == [2, 3, -1]


def test_wait_of_2025_may_take_a_frame_for_the_status_before_it_frees_the_child():
    k = small("2025")
    p = parent(k)
    sys_sbrk(k, 2 * PAGE, SBRK_LAZY)
    k.current = child_of(k)
    exit(k, 9)
    k.current = p
    head = k.kmem.head
    assert wait(k, 4 * PAGE) == 2
    assert dict(tables_and_leaves(k, p.pagetable)[1])[4 * PAGE] >> 10 << 12 == head
    assert contents(k, p)[4 * PAGE][1][:4] == b"\x09\0\0\0"
    account(k)


def test_init_may_not_exit(rev):
    k = small(rev)
    parent(k)
    before = snapshot(k)
    with pytest.raises(Panic) as caught:
        exit(k, 0)
    assert caught.value.reason == "init exiting"
    assert str(caught.value) == "panic: init exiting (process 1 is the one that waits for all others)"
    assert snapshot(k) == before


def test_the_children_of_a_process_that_exits_become_inits(rev):
    k = small(rev)
    p = parent(k, 1)
    q = child_of(k)
    k.current = q
    grandchild = child_of(k)
    exit(k, 0)
    assert grandchild.parent is p
    k.current = grandchild
    exit(k, 5)
    k.current = p
    assert {wait(k, 0), wait(k, 0)} == {q.index + 1, 3}
    assert wait(k, 0) == -1
    account(k)


def test_a_family_lives_and_dies_byte_for_byte_as_in_the_page_by_page_kernel(rev):
    k = small(rev, strict=True)
    parent(k)
    twins = Twins(k)
    assert twins.call("fork") == 2
    assert twins.call("growproc", PAGE + 5) == 0
    assert twins.call("fork") == 3
    twins.run(2)
    assert twins.call("fork") == 4
    assert twins.call("sbrk", -2 * PAGE) == 4 * PAGE + 5
    twins.call("exit", 1)
    twins.run(1)
    twins.call("exit", -2)
    twins.run(0)
    assert twins.call("wait", 8) == 2
    assert twins.call("wait", 2 * PAGE - 2) == 3
    assert twins.call("wait", 0) == 0
    twins.run(3)
    twins.call("exit", 0)
    twins.run(0)
    assert twins.call("wait", 0) == 4
    assert twins.call("wait", 0) == -1
