"""The model beside a page-by-page kernel: the same calls, and then the same bytes, also when memory runs out.

Each scenario is run with no frame left, then one, then two, until it succeeds.  A strict model must leave what the
page-by-page kernel leaves; one that undoes must fail when that one fails, and then nothing may have changed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
from twins import (
    BASE,
    MAXVA,
    MODEL,
    PAGE,
    REVISIONS,
    R,
    Twins,
    U,
    W,
    X,
    first_process,
    leave,
    outcome,
    processes,
    small,
    snapshot,
    twin_of,
)

from elves import build_elf
from pagebook.xv6 import vm
from pagebook.xv6.kalloc import kalloc
from pagebook.xv6.kernel import Kernel

MEGA, GIGA = 1 << 21, 1 << 30
UART = 0x1000_0000


class Scenario(NamedTuple):
    """A call, and what makes the machine ready for it and gives its arguments."""

    call: str
    prepare: Callable[[Kernel], tuple[Any, ...]]
    revisions: tuple[str, ...] = REVISIONS


def root_with(k: Kernel, *pages: int, perm: int = W) -> int:
    """A page table with a user page at each address, each with bytes of its own."""
    root = vm.uvmcreate(k)
    for number, va in enumerate(pages):
        frame = kalloc(k)
        k.memory.write(frame, bytes([number + 1]) * PAGE)
        assert vm.mappages(k, root, va, PAGE, frame, R | U | perm) == 0
    return root


def first_pages(count: int) -> list[int]:
    return [page * PAGE for page in range(count)]


def _odd_ptes(k: Kernel) -> tuple[int, int, int]:
    """A parent whose pages have every bit that uvmcopy passes on, and one without U."""
    old = root_with(k, *first_pages(4))
    for page, more in enumerate((0xC0, 0x320, 0, 0x3E0)):
        at = vm.walk(k, old, page * PAGE, 0)
        k.memory.write64(at, k.memory.read64(at) | more)
    vm.uvmclear(k, old, 2 * PAGE)
    return old, root_with(k), 4 * PAGE


def _device_in_the_way(k: Kernel) -> int:
    root = root_with(k, 0, PAGE, 3 * PAGE)
    vm.mappages(k, root, 2 * PAGE, PAGE, UART, R | W | U)
    return root


def _pointer_in_the_way(k: Kernel) -> int:
    root = root_with(k, 0, PAGE, 3 * PAGE)
    vm.mappages(k, root, 2 * PAGE, PAGE, BASE, 0)
    return root


def _everything(k: Kernel) -> tuple[int, int, int, int, int]:
    """More than there are frames for tables: eight, so that the page-by-page kernel is not too long at it."""
    root = root_with(k)
    leave(k, 8)
    return root, 0, (1 << 64) - PAGE, UART, R


def _leaf_behind_tables(k: Kernel) -> tuple[int]:
    root = root_with(k)
    for va in (0, MEGA, GIGA, GIGA + MEGA):
        vm.walk(k, root, va, 1)
    vm.mappages(k, root, GIGA + 5 * PAGE, PAGE, UART, R)
    return (root,)


def _tables_only(k: Kernel) -> tuple[int]:
    root = root_with(k)
    for va in (0, MEGA, 5 * GIGA, MAXVA - PAGE):
        vm.walk(k, root, va, 1)
    return (root,)


def process_with(k: Kernel, pages: int, lazily: int = 0) -> int:
    """A current process with that many pages, and its page table."""
    p = first_process(k)
    p.sz = vm.uvmalloc(k, p.pagetable, 0, pages * PAGE, W) + lazily * PAGE
    for va in range(0, pages * PAGE, PAGE):
        vm.copyout(k, p.pagetable, va, bytes([va >> 12 | 0x80]) * PAGE)
    return p.pagetable


def running(pages: int, *arguments: Any, lazily: int = 0) -> Callable[[Kernel], tuple[Any, ...]]:
    """Prepare `process_with`, for a call of the current process's with these arguments."""

    def prepare(k: Kernel) -> tuple[Any, ...]:
        process_with(k, pages, lazily)
        return arguments

    return prepare


OLDER = ("2022", "2024")
RANGES = {
    # uvmalloc: (root, oldsz, newsz, xperm)
    "uvmalloc from zero": Scenario("uvmalloc", lambda k: (root_with(k), 0, 5 * PAGE, W)),
    "uvmalloc of unaligned sizes": Scenario("uvmalloc", lambda k: (root_with(k, 0, PAGE), 0x1234, 0x5678, X)),
    "uvmalloc of the same size": Scenario("uvmalloc", lambda k: (root_with(k, 0), 0xF00, 0xF00, W)),
    "uvmalloc within a page": Scenario("uvmalloc", lambda k: (root_with(k, 0), 0x10, 0xFFF, W)),
    "uvmalloc of a smaller size": Scenario("uvmalloc", lambda k: (root_with(k, 0, PAGE), 2 * PAGE, PAGE, W)),
    "uvmalloc over the end of a table": Scenario(
        "uvmalloc", lambda k: (root_with(k), MEGA - 2 * PAGE, MEGA + 2 * PAGE, W)
    ),
    "uvmalloc over the end of a gigabyte": Scenario(
        "uvmalloc", lambda k: (root_with(k), GIGA - 2 * PAGE, GIGA + 2 * PAGE, W | X)
    ),
    "uvmalloc to the last page": Scenario("uvmalloc", lambda k: (root_with(k), MAXVA - 2 * PAGE, MAXVA, W)),
    "uvmalloc past the last page": Scenario(
        "uvmalloc", lambda k: (root_with(k), MAXVA - 2 * PAGE, MAXVA + 2 * PAGE, W)
    ),
    "uvmalloc above the last page": Scenario("uvmalloc", lambda k: (root_with(k), MAXVA, MAXVA + PAGE, W)),
    "uvmalloc far above the last page": Scenario("uvmalloc", lambda k: (root_with(k), 2 * MAXVA, 3 * MAXVA, W)),
    "uvmalloc of more than there is": Scenario("uvmalloc", lambda k: (root_with(k), 0, MAXVA // 2, W)),
    "uvmalloc onto a page": Scenario("uvmalloc", lambda k: (root_with(k, 3 * PAGE), 0, 5 * PAGE, W)),
    "uvmalloc onto the first page of a table": Scenario(
        "uvmalloc", lambda k: (root_with(k, MEGA), MEGA - 2 * PAGE, MEGA + 2 * PAGE, W)
    ),
    # mappages: (root, va, size, pa, perm)
    "mappages of a page": Scenario("mappages", lambda k: (root_with(k), 5 * PAGE, PAGE, UART, R | W)),
    "mappages of a page at the top": Scenario("mappages", lambda k: (root_with(k, 0), MAXVA - PAGE, PAGE, UART, R)),
    "mappages of five pages": Scenario("mappages", lambda k: (root_with(k, 9 * PAGE), PAGE, 5 * PAGE, UART, R)),
    "mappages over three tables": Scenario(
        "mappages", lambda k: (root_with(k), MEGA - PAGE, 514 * PAGE, UART, R | W)
    ),
    "mappages over the end of a gigabyte": Scenario(
        "mappages", lambda k: (root_with(k), GIGA - PAGE, 2 * PAGE, UART, X)
    ),
    "mappages past the last page": Scenario(
        "mappages", lambda k: (root_with(k), MAXVA - 2 * PAGE, 3 * PAGE, UART, R)
    ),
    "mappages of the whole of memory": Scenario("mappages", _everything),
    "mappages onto a page": Scenario("mappages", lambda k: (root_with(k, PAGE), PAGE, PAGE, UART, R)),
    "mappages onto the third page": Scenario("mappages", lambda k: (root_with(k, 2 * PAGE), 0, 4 * PAGE, UART, R)),
    "mappages onto a page of the next table": Scenario(
        "mappages", lambda k: (root_with(k, MEGA), MEGA - 2 * PAGE, 4 * PAGE, UART, R)
    ),
    "mappages of bytes": Scenario("mappages", lambda k: (root_with(k), 0x1FFF, 0x1002, UART + 5, R)),
    "mappages of a page and a byte": Scenario("mappages", lambda k: (root_with(k), 0x1000, 0x1001, UART, R)),
    # uvmunmap: (root, va, npages, do_free)
    "uvmunmap that frees": Scenario("uvmunmap", lambda k: (root_with(k, *first_pages(5)), PAGE, 3, 1)),
    "uvmunmap that does not free": Scenario("uvmunmap", lambda k: (root_with(k, *first_pages(5)), PAGE, 3, 0)),
    "uvmunmap of no page": Scenario("uvmunmap", lambda k: (root_with(k, 0), 7 * PAGE, 0, 1)),
    "uvmunmap over two tables": Scenario(
        "uvmunmap", lambda k: (root_with(k, MEGA - PAGE, MEGA), MEGA - PAGE, 2, 1)
    ),
    "uvmunmap over a hole": Scenario("uvmunmap", lambda k: (root_with(k, 0, PAGE, 3 * PAGE), 0, 4, 1)),
    "uvmunmap over missing tables": Scenario(
        "uvmunmap", lambda k: (root_with(k, MEGA - PAGE, 3 * MEGA), MEGA - PAGE, 1 << 10, 1)
    ),
    "uvmunmap over a missing gigabyte": Scenario(
        "uvmunmap", lambda k: (root_with(k, GIGA - PAGE, 2 * GIGA), GIGA - PAGE, 2, 1)
    ),
    "uvmunmap over a device": Scenario("uvmunmap", lambda k: (_device_in_the_way(k), 0, 4, 1)),
    "uvmunmap over a device that it does not free": Scenario("uvmunmap", lambda k: (_device_in_the_way(k), 0, 4, 0)),
    "uvmunmap over a pointer": Scenario("uvmunmap", lambda k: (_pointer_in_the_way(k), 0, 4, 1)),
    "uvmunmap past the last page": Scenario(
        "uvmunmap", lambda k: (root_with(k, MAXVA - 2 * PAGE, MAXVA - PAGE), MAXVA - 2 * PAGE, 3, 1)
    ),
    "uvmunmap of the last page": Scenario("uvmunmap", lambda k: (root_with(k, MAXVA - PAGE), MAXVA - PAGE, 1, 1)),
    "uvmunmap of a range that wraps": Scenario("uvmunmap", lambda k: (root_with(k, 0), PAGE, (1 << 52) - 1, 1)),
    # uvmdealloc: (root, oldsz, newsz)
    "uvmdealloc to zero": Scenario("uvmdealloc", lambda k: (root_with(k, *first_pages(4)), 4 * PAGE, 0)),
    "uvmdealloc of unaligned sizes": Scenario(
        "uvmdealloc", lambda k: (root_with(k, *first_pages(4)), 0x3001, 0x1001)
    ),
    "uvmdealloc within a page": Scenario("uvmdealloc", lambda k: (root_with(k, 0), 0xF00, 1)),
    "uvmdealloc of the same size": Scenario("uvmdealloc", lambda k: (root_with(k, 0), PAGE, PAGE)),
    "uvmdealloc to a larger size": Scenario("uvmdealloc", lambda k: (root_with(k, 0), PAGE, (1 << 64) - 5)),
    "uvmdealloc of a hole": Scenario("uvmdealloc", lambda k: (root_with(k, 0, 2 * PAGE), 3 * PAGE, 1)),
    # uvmcopy: (old, new, sz)
    "uvmcopy": Scenario("uvmcopy", lambda k: (root_with(k, *first_pages(5)), root_with(k), 5 * PAGE)),
    "uvmcopy of an unaligned size": Scenario(
        "uvmcopy", lambda k: (root_with(k, *first_pages(3)), root_with(k), 2 * PAGE + 1)
    ),
    "uvmcopy of nothing": Scenario("uvmcopy", lambda k: (root_with(k, 0), root_with(k), 0)),
    "uvmcopy of every kind of bits": Scenario("uvmcopy", _odd_ptes),
    "uvmcopy over a hole": Scenario("uvmcopy", lambda k: (root_with(k, 0, PAGE, 4 * PAGE), root_with(k), 5 * PAGE)),
    "uvmcopy over a hole at the start": Scenario("uvmcopy", lambda k: (root_with(k, 2 * PAGE), root_with(k), 4 * PAGE)),
    "uvmcopy over missing tables": Scenario(
        "uvmcopy", lambda k: (root_with(k, 0, MEGA, 4 * MEGA), root_with(k), 4 * MEGA + PAGE), ("2025",)
    ),
    "uvmcopy of a parent without its first table": Scenario(
        "uvmcopy", lambda k: (root_with(k, MEGA), root_with(k), 2 * PAGE)
    ),
    "uvmcopy of an empty parent": Scenario("uvmcopy", lambda k: (root_with(k), root_with(k), 2 * PAGE)),
    "uvmcopy onto a page of the child": Scenario(
        "uvmcopy", lambda k: (root_with(k, *first_pages(4)), root_with(k, 2 * PAGE), 4 * PAGE)
    ),
    "uvmcopy of more than memory has addresses": Scenario(
        "uvmcopy", lambda k: (root_with(k, 0, PAGE), root_with(k), MAXVA + PAGE), OLDER
    ),
    # freewalk: (root)
    "freewalk of tables": Scenario("freewalk", _tables_only),
    "freewalk of an empty root": Scenario("freewalk", lambda k: (root_with(k),)),
    "freewalk with a leaf": Scenario("freewalk", _leaf_behind_tables),
}  # fmt: skip

PROGRAM = build_elf(
    [(0, 0x1800, 0x1800, 5, b"text" * 0x600), (2 * PAGE, 0x123, 0x1456, 6, b"d" * 0x123)], entry=0x40
)  # fmt: skip
CUT_SHORT = PROGRAM[:0x1000]


def _with_program(k: Kernel, *arguments: str, file: bytes = PROGRAM) -> tuple[str, list[str]]:
    process_with(k, 3)
    k.files["prog"] = file
    return "/prog", list(arguments)


OTHERS = {
    "uvmcreate": Scenario("uvmcreate", lambda k: ()),
    "uvmfirst": Scenario("uvmfirst", lambda k: (root_with(k, 5 * PAGE), b"code")),
    "uvmfree": Scenario("uvmfree", lambda k: (root_with(k, *first_pages(4)), 3 * PAGE + 1)),
    "uvmfree of less than there is": Scenario("uvmfree", lambda k: (root_with(k, *first_pages(4)), PAGE)),
    "walk that makes two tables": Scenario("walk", lambda k: (root_with(k), GIGA, 1)),
    "proc_mapstacks": Scenario("proc_mapstacks", lambda k: (root_with(k, MAXVA - PAGE),)),
    "proc_mapstacks onto a page": Scenario("proc_mapstacks", lambda k: (root_with(k, MAXVA - 11 * PAGE),)),
    "allocproc": Scenario("allocproc", lambda k: ()),
    "fork": Scenario("fork", running(4)),
    "growproc": Scenario("growproc", running(2, 3 * PAGE)),
    "growproc that shrinks": Scenario("growproc", running(4, -2 * PAGE - 5)),
    "growproc below zero": Scenario("growproc", running(2, -3 * PAGE)),
    "exec": Scenario("exec", lambda k: _with_program(k, "prog", "an argument", "")),
    "exec of a file that is cut short": Scenario("exec", lambda k: _with_program(k, "prog", file=CUT_SHORT)),
    "exec with arguments that do not fit": Scenario("exec", lambda k: _with_program(k, "x" * 2500, "y" * 2500)),
    "sys_exec": Scenario("sys_exec", lambda k: _with_program(k, "prog", "b", "c")),
    "sys_exec with too many arguments": Scenario("sys_exec", lambda k: _with_program(k, *"x" * 32)),
    "sys_exec with an argument that is too long": Scenario("sys_exec", lambda k: _with_program(k, "a", "x" * PAGE)),
    "fork of lazy memory": Scenario("fork", running(2, lazily=3), ("2025",)),
    "vmfault": Scenario("vmfault", lambda k: (process_with(k, 1, 1 << 20), GIGA + 5), ("2025",)),
    "copyout to lazy memory": Scenario(
        "copyout", lambda k: (process_with(k, 1, 1 << 20), MEGA - PAGE - 1, b"x" * (2 * PAGE)), ("2025",)
    ),
    "copyin from lazy memory": Scenario(
        "copyin", lambda k: (process_with(k, 1, 1 << 20), GIGA - 1, 2), ("2025",)
    ),
}  # fmt: skip


def failed(call: str, arguments: tuple[Any, ...], result: Any) -> bool:
    if isinstance(result, tuple):
        result = result[0]
    if isinstance(result, str) or result == -1:
        return True
    if call == "uvmalloc":
        return result == 0 < arguments[2]
    return result in (0, None) and call in ("uvmcreate", "allocproc", "walk", "vmfault")


def rows(scenarios: dict[str, Scenario]) -> list[Any]:
    return [
        pytest.param(rev, scenario, id=f"{name}-{rev}")
        for name, scenario in scenarios.items()
        for rev in scenario.revisions
    ]


def shortages(rev: str, scenario: Scenario) -> range:
    """How many frames to leave: none, one, ... up to what the page-by-page kernel takes."""
    k = small(rev)
    arguments = scenario.prepare(k)
    other = twin_of(k)
    taken = 0
    kalloc_of_other = other.kalloc

    def counted() -> int:
        nonlocal taken
        taken += 1
        return kalloc_of_other()

    other.kalloc = counted  # type: ignore[method-assign]
    outcome(getattr(other, scenario.call), *arguments)
    return range(taken + 1)


@pytest.mark.parametrize(("rev", "scenario"), rows(RANGES | OTHERS))
def test_a_strict_model_leaves_the_bytes_of_the_page_by_page_kernel_at_every_shortage(rev, scenario):
    results = []
    for frames in shortages(rev, scenario):
        k = small(rev, strict=True)
        arguments = scenario.prepare(k)
        leave(k, frames)
        if scenario.call == "uvmfirst" and frames == 0:
            continue  # the kernel would write through a null pointer
        results.append(Twins(k).call(scenario.call, *arguments))
    assert results


@pytest.mark.parametrize(("rev", "scenario"), rows(RANGES))
def test_a_range_operation_that_fails_changes_nothing_unless_strict(rev, scenario):
    for frames in shortages(rev, scenario):
        k = small(rev)
        arguments = scenario.prepare(k)
        leave(k, frames)
        before, other = snapshot(k), twin_of(k)
        mine = outcome(MODEL[scenario.call], k, *arguments)
        his = outcome(getattr(other, scenario.call), *arguments)
        assert failed(scenario.call, arguments, mine) == failed(scenario.call, arguments, his), f"{frames} frames"
        if failed(scenario.call, arguments, mine):
            assert snapshot(k) == before, f"{frames} frames: {mine}"
        else:
            assert (mine, snapshot(k)[:2]) == (his, (bytes(other.ram), other.head)), f"{frames} frames"
    if scenario is RANGES["mappages of the whole of memory"]:
        return  # two things are wrong with it, and the page-by-page kernel comes to the lack of frames first
    k = small(rev)
    arguments = scenario.prepare(k)
    his = outcome(getattr(twin_of(k), scenario.call), *arguments)
    assert outcome(MODEL[scenario.call], k, *arguments) == his, "what is wrong is told in the same words"


@pytest.mark.parametrize(("rev", "scenario"), rows(OTHERS))
def test_what_is_made_of_range_operations_fails_and_succeeds_alike_in_both_modes(rev, scenario):
    for frames in shortages(rev, scenario):
        k = small(rev)
        arguments = scenario.prepare(k)
        leave(k, frames)
        if scenario.call == "uvmfirst" and frames < 3:
            continue  # the kernel does not look whether it could map the page
        other = twin_of(k)
        mine = outcome(MODEL[scenario.call], k, *arguments)
        his = outcome(getattr(other, scenario.call), *arguments)
        assert mine == his, f"{frames} frames"
        assert processes(k) == processes(other), f"{frames} frames"
        if not failed(scenario.call, arguments, mine):
            assert snapshot(k)[:2] == (bytes(other.ram), other.head), f"{frames} frames"


@pytest.mark.parametrize("frames", [0, 1, 2, 3, 9, 256, 257, 258, 259, 260, 261])
def test_stacks_over_the_end_of_a_table_are_mapped_as_if_one_by_one(rev, frames):
    k = small(rev, frames=300, strict=True, nproc=258)
    root = root_with(k)
    leave(k, frames)
    short = "panic: kvmmap" if frames in (1, 2, 258) else "panic: kalloc"
    assert Twins(k).call("proc_mapstacks", root) == (None if frames == 261 else short)


NEEDED = {
    "uvmalloc from zero": 5 + 2,
    "uvmalloc over the end of a gigabyte": 4 + 4,
    "mappages of a page at the top": 2,
    "mappages over three tables": 1 + 3,
    "uvmcopy": 5 + 2,
    "freewalk of tables": 0,
    "allocproc": 1 + 3,
    "fork": 1 + 3 + 4 + 2,
    "growproc": 3,
    "exec": 3 + 4 + 2 + 2,
    "sys_exec": 3 + 3 + 4 + 2 + 2,
}


@pytest.mark.parametrize("name", NEEDED)
def test_a_call_takes_as_many_frames_as_pages_and_tables_and_fails_with_one_less(rev, strict, name):
    scenario = (RANGES | OTHERS)[name]
    for missing in (1, 0):
        k = small(rev, strict=strict)
        arguments = scenario.prepare(k)
        if NEEDED[name] < missing:
            continue
        leave(k, NEEDED[name] - missing)
        result = outcome(MODEL[scenario.call], k, *arguments)
        assert failed(scenario.call, arguments, result) == bool(missing)
    assert k.kmem.count >= 0 if name in ("exec", "sys_exec", "freewalk of tables") else k.kmem.count == 0
