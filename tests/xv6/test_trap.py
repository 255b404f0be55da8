"""trap.c: what a store or a load of a program reaches, and who is killed for it."""

from __future__ import annotations

import pytest
from twins import MAXVA, PAGE, R, U, V, W, X, account, first_process, leave, small, snapshot, tables_and_leaves

from pagebook.errors import Panic
from pagebook.xv6 import vm
from pagebook.xv6.kalloc import kalloc
from pagebook.xv6.kernel import Kernel, Proc, State
from pagebook.xv6.proc import fork, wait
from pagebook.xv6.sysproc import SBRK_LAZY, sys_sbrk
from pagebook.xv6.trap import load, store, usertrap

FETCH, LOAD, STORE = 12, 13, 15
OLDER = ("2022", "2024")


def child(k: Kernel, pages: int = 3, lazily: int = 0) -> Proc:
    """A current process that is not init, with ``pages`` pages, and more that only its size promises."""
    init = first_process(k)
    init.name = "init"
    fork(k)
    p = k.current = k.proc[1]
    sys_sbrk(k, pages * PAGE)
    sys_sbrk(k, lazily * PAGE, SBRK_LAZY)
    return p


def page_with(k: Kernel, p: Proc, va: int, perm: int) -> int:
    """Replace the page at ``va`` by one with these rights; its frame."""
    vm.uvmunmap(k, p.pagetable, va, 1, 1)
    frame = kalloc(k)
    k.memory.write(frame, b"a page of the process".ljust(PAGE, b"."))
    vm.mappages(k, p.pagetable, va, PAGE, frame, perm)
    return frame


def killed(k: Kernel, p: Proc) -> bool:
    return p.state is State.ZOMBIE and p.xstate == -1 and p.killed and k.current is None


def test_a_program_loads_what_it_stored_also_across_pages(rev):
    k = small(rev)
    child(k)
    data = bytes(range(256)) * 20
    assert store(k, PAGE - 100, data)
    assert load(k, PAGE - 100, len(data)) == data
    assert load(k, PAGE - 101, 2) == b"\0" + data[:1]
    assert load(k, 0, 0) == b"" and store(k, 0, b"")


@pytest.mark.parametrize(
    ("perm", "loads", "stores"),
    [
        (R | W | U, True, True),
        (R | U, True, False),
        (R | X | U, True, False),
        (X | U, False, False),
        (R | W | X | U, True, True),
        (R | W, False, False),
        (R | X, False, False),
    ],
    ids=["data", "constants", "text", "execute only", "all", "the stack guard", "a page of the kernel"],
)
def test_a_program_needs_u_and_the_right_for_what_it_does(rev, perm, loads, stores):
    for access, allowed in ((load, loads), (store, stores)):
        k = small(rev)
        p = child(k)
        frame = page_with(k, p, PAGE, perm)
        result = access(k, PAGE + 2, 4 if access is load else b"new!")
        assert result == ((b"page" if access is load else True) if allowed else None if access is load else False)
        assert killed(k, p) != allowed
        assert k.memory.read(frame, 6) == (b"a new!" if access is store and allowed else b"a page")


@pytest.mark.parametrize("va", [3 * PAGE, 1 << 30, MAXVA - PAGE, MAXVA - 2 * PAGE, MAXVA, (1 << 64) - 8, -8])
def test_an_access_where_the_program_has_no_memory_kills_it(rev, va):
    for access in (lambda k: load(k, va, 1), lambda k: store(k, va, b"x")):
        k = small(rev)
        p = child(k)
        count = k.kmem.count
        assert not access(k)
        assert killed(k, p)
        assert k.kmem.count == count
        k.current = k.initproc
        assert wait(k, 0) == 2, "its parent buries it"
        account(k)


def test_a_store_that_runs_into_the_end_of_memory_has_written_what_came_before(rev):
    k = small(rev)
    p = child(k, 1)
    assert store(k, PAGE - 2, b"abc") is False
    assert killed(k, p)
    frame = dict(tables_and_leaves(k, p.pagetable)[1])[0] >> 10 << 12
    assert k.memory.read(frame + PAGE - 2, 2) == b"ab"


def test_a_load_that_runs_into_the_end_of_memory_gives_nothing(rev):
    k = small(rev)
    p = child(k, 1)
    assert load(k, PAGE - 2, 3) is None
    assert killed(k, p)


def test_init_that_faults_is_the_end_of_the_kernel(rev):
    k = small(rev)
    init = first_process(k)
    with pytest.raises(Panic) as caught:
        store(k, 5 * PAGE, b"x")
    assert caught.value.reason == "init exiting"
    assert init.killed


def test_the_story_names_cause_process_and_address(rev):
    k = small(rev)
    child(k)
    store(k, 5 * PAGE, b"x")
    told = [event.text for event in k.story if event.function == "usertrap"]
    assert told == ["unexpected scause 0xf pid=2, stval=0x5000: the process is killed"]


# Lazy memory (2025)


@pytest.mark.parametrize("touch", [LOAD, STORE])
def test_touching_lazy_memory_brings_a_zeroed_page(touch):
    k = small("2025")
    p = child(k, 1, 4)
    count = k.kmem.count
    if touch == LOAD:
        assert load(k, 3 * PAGE - 2, 4) == bytes(4)
    else:
        assert store(k, 3 * PAGE - 2, b"four")
        assert load(k, 3 * PAGE - 4, 8) == b"\0\0four\0\0"
    assert k.kmem.count == count - 2
    leaves = dict(tables_and_leaves(k, p.pagetable)[1])
    assert leaves[2 * PAGE] & 0x3FF == leaves[3 * PAGE] & 0x3FF == R | W | U | V
    assert k.story[-1].function == "vmfault"
    account(k)


def test_a_store_to_lazy_memory_ends_where_the_size_ends():
    k = small("2025")
    p = child(k, 1, 1)
    assert store(k, 2 * PAGE - 1, b"x")
    assert store(k, 2 * PAGE, b"x") is False
    assert killed(k, p)


@pytest.mark.parametrize("scause", [FETCH, 0, 2, 5, 7, 14])
def test_only_load_and_store_faults_are_lazy(scause):
    k = small("2025")
    p = child(k, 1, 4)
    count = k.kmem.count
    assert usertrap(k, scause, 2 * PAGE) is False
    assert killed(k, p)
    assert k.kmem.count == count


@pytest.mark.parametrize("rev", OLDER)
@pytest.mark.parametrize("scause", [FETCH, LOAD, STORE])
def test_before_2025_no_fault_is_lazy(rev, scause):
    k = small(rev)
    p = child(k)
    p.sz += 4 * PAGE
    assert usertrap(k, scause, 4 * PAGE) is False
    assert killed(k, p)


@pytest.mark.parametrize("perm", [R | W, R | X | U], ids=["the stack guard", "text"])
def test_a_fault_on_a_page_that_is_there_is_never_repaired(perm):
    k = small("2025")
    p = child(k, 3, 4)
    frame = page_with(k, p, PAGE, perm)
    before = k.memory.read(frame, PAGE)
    assert store(k, PAGE, b"x") is False
    assert killed(k, p)
    assert k.memory.read(frame, PAGE) == before


@pytest.mark.parametrize("frames", [0, 1, 2])
def test_a_process_whose_lazy_page_cannot_be_had_is_killed_and_no_frame_is_lost(frames, strict):
    k = small("2025", strict=strict)
    p = child(k, 1, (1 << 18) + 1)
    rest = leave(k, frames)
    assert store(k, 1 << 30, b"x") is False
    assert killed(k, p)
    account(k, loose=rest)
    assert k.kmem.count == frames - (1 if strict and frames == 2 else 0), "strict: an empty table stays in the tree"


def test_a_usertrap_that_was_lazy_changes_only_the_page_it_is_about():
    k = small("2025")
    child(k, 1, 4)
    assert usertrap(k, LOAD, 2 * PAGE + 5)
    before = snapshot(k)
    assert load(k, 2 * PAGE + 5, 1) == b"\0"
    assert snapshot(k) == before
