"""Processes do not meet: no address of one leads to memory of another, or to a page table."""

from __future__ import annotations

from itertools import combinations

import pytest

from pagebook.memory import Memory
from pagebook.scan import scan
from pagebook.sv import U
from pagebook.xv6.boot import boot
from pagebook.xv6.kernel import Kernel, Proc, State
from pagebook.xv6.memlayout import KERNBASE, REVISIONS, TRAMPOLINE, TRAPFRAME
from pagebook.xv6.proc import fork
from pagebook.xv6.sysfile import sys_exec
from pagebook.xv6.sysproc import SBRK_LAZY, sys_sbrk
from pagebook.xv6.trap import load, store

DATA = 0x1000  # in init and in sh a page of data


def child_of_init(k, program=None):
    k.current = k.initproc
    pid = fork(k)
    p = k.current = next(p for p in k.proc if p.pid == pid)
    if program:
        assert sys_exec(k, program, [program]) == 1
    return p


def processes(k: Kernel) -> list[Proc]:
    return [p for p in k.proc if p.pid]


def user_frames(k: Kernel, p: Proc) -> set[int]:
    found = scan(k.table(p.pagetable)).mappings
    return set(found["pa"][found["flags"] & U != 0].tolist())


def table_frames(k: Kernel) -> set[int]:
    roots = [k.kernel_pagetable, *(p.pagetable for p in processes(k))]
    return set().union(*(scan(k.table(root)).tables.tolist() for root in roots))


@pytest.fixture(params=REVISIONS)
def k(request):
    return boot(request.param, ram=4 << 20, nproc=8)


def test_two_programs_store_to_one_address_and_each_finds_its_own(k):
    programs = [child_of_init(k, "sh"), child_of_init(k, "sh"), child_of_init(k)]
    for p in programs:
        k.current = p
        assert store(k, DATA, b"process %d" % p.pid)
    for p in programs:
        k.current = p
        assert load(k, DATA, 9) == b"process %d" % p.pid
    assert len({k.table(p.pagetable).translate(DATA) for p in programs}) == 3


def test_without_page_tables_the_second_store_hits_the_first():
    ram = Memory.anonymous(1 << 20, base=0)
    for name in (b"Ada", b"Bob"):
        ram.write(DATA, name)
    assert ram.read(DATA, 3) == b"Bob"


def test_no_address_of_a_process_leads_to_a_frame_of_another_or_to_a_table(k):
    for size in (1, 4096, 3 << 20):
        child_of_init(k, "sh")
        sys_sbrk(k, size, SBRK_LAZY)
        store(k, k.current.sz - 1, b"x")
        child_of_init(k)
    assert len(processes(k)) == 8
    for one, other in combinations(processes(k), 2):
        assert not user_frames(k, one) & user_frames(k, other)
    for p in processes(k):
        assert not user_frames(k, p) & table_frames(k)


@pytest.mark.parametrize("where", ["root table", "kernel", "trapframe", "trampoline", "guard page"])
def test_a_store_outside_a_program_kills_the_program_and_changes_nothing(k, where):
    p = child_of_init(k, "sh")
    va = {
        "root table": p.pagetable,
        "kernel": KERNBASE,
        "trapframe": TRAPFRAME,
        "trampoline": TRAMPOLINE,
        "guard page": 0x2000,
    }[where]
    before = bytes(k.memory.regions[0].data)
    assert not store(k, va, b"mine")
    assert p.state is State.ZOMBIE
    assert bytes(k.memory.regions[0].data) == before
