"""The tape: what is played is what was done, in the C code's order, forwards and backwards."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pagebook.errors import BadTarget
from pagebook.ledger import Ledger, Role
from pagebook.sv import RWX, SV39, V
from pagebook.units import PAGE_SIZE
from pagebook.xv6.boot import boot, machine
from pagebook.xv6.driving import OPERATIONS, drive, words
from pagebook.xv6.memlayout import REVISIONS
from pagebook.xv6.recording import Recorder
from pagebook.xv6.tape import Kind

RAM = 2 << 20
SMALL = {"ram": RAM, "nproc": 4}


def taped(rev="2024", strict=False):
    made = []
    k = boot(rev, powered=lambda k: made.append(Recorder.on(k)), strict=strict, **SMALL)
    made[0].settle()
    return k, made[0]


def ram(memory):
    return memory.regions[0].pages


def same(k, tape):
    """Whether the tape's machine is the kernel's: every byte, the free list, the spaces and all that is in them."""
    ours, played = machine(k), tape.machine()
    assert np.array_equal(ram(k.memory), ram(tape.memory))
    assert played.pools == ours.pools
    assert tape.free == k.kmem.count
    assert [(one.name, one.table.root, one.pid, one.size, one.areas, one.state) for one in played.spaces] == [
        (one.name, one.table.root, one.pid, one.size, one.areas, one.state) for one in ours.spaces
    ]
    assert played.harts == ours.harts
    assert played.areas == ours.areas


def test_the_model_does_the_same_with_a_tape_and_without_one():
    k, recorder = taped()
    plain = boot("2024", **SMALL)
    assert np.array_equal(ram(k.memory), ram(plain.memory))
    assert k.story == plain.story
    assert [told.event for told in recorder.tape.told] == k.story


@pytest.mark.parametrize("rev", REVISIONS)
def test_the_end_of_the_tape_is_the_machine_and_its_start_is_the_machine_without_power(rev):
    k, recorder = taped(rev)
    tape = recorder.tape
    same(k, tape)
    tape.seek(0)
    assert not ram(tape.memory).any()
    assert tape.free == 0
    assert tape.machine().spaces == ()
    tape.seek(len(tape))
    same(k, tape)


def test_what_was_done_is_undone_byte_for_byte():
    k, recorder = taped()
    tape = recorder.tape
    for word in words("fork.2,exec.3.init,sbrk.3.20000,store.3.0x5000.7,exit.3.0,wait.2"):
        drive(k, word)
    recorder.settle()
    same(k, tape)
    there, kept = ram(tape.memory).copy(), []
    for position in range(len(tape), -1, -7):
        tape.seek(position)
        changed = np.nonzero(ram(tape.memory) != there)
        kept.append((position, tape.machine().pools, changed, there[changed]))
        there[changed] = ram(tape.memory)[changed]
    for position, pools, changed, after in reversed(kept):
        tape.seek(position)
        assert np.array_equal(ram(tape.memory), there), position
        assert tape.machine().pools == pools
        there[changed] = after


def test_a_page_of_zeros_that_is_written_whole_is_a_step_like_any() -> None:
    k, recorder = taped()
    tape = recorder.tape
    frame = k.kmem.alloc()
    for byte in (0, 7, 0):
        k.memory.write(frame, bytes([byte]) * PAGE_SIZE)
        recorder.settle()
        same_bytes(k, tape)
    tape.seek(0)
    tape.seek(len(tape))
    same_bytes(k, tape)


def same_bytes(k, tape):
    assert np.array_equal(ram(k.memory), ram(tape.memory))


def test_at_every_step_the_free_list_is_whole_and_nothing_is_taken_that_is_not_free():
    _, recorder = taped()
    tape = recorder.tape
    free = []
    for number in range(len(tape)):
        step = tape.step(number)
        if step.kind is Kind.ALLOC:
            assert free.pop() == step.pa
            assert step.after == (free[-1] if free else 0)
        elif step.kind is Kind.FREE:
            assert step.after == (free[-1] if free else 0)
            free.append(step.pa)
        if number % 97 == 0:
            tape.seek(number + 1)
            chain = tape.machine().free_lists()[0]
            assert not chain.broken
            assert chain.frames.tolist() == free[::-1]


def test_a_pte_leads_only_to_what_is_there_by_then():
    """In the C code a page is taken before the PTE that maps it, and a table before the one that names it."""
    k, recorder = taped()
    tape, start = recorder.tape, k.kmem.start
    used = set()
    for number in range(len(tape)):
        step = tape.step(number)
        if step.kind is Kind.ALLOC:
            used.add(step.pa)
        elif step.kind is Kind.FREE:
            used.discard(step.pa)
        elif step.kind is Kind.PTE and step.after & V:
            frame = SV39.pte_pa(step.after)
            assert frame in used or step.after & RWX, "a pointer leads to a table"
            assert step.pa - step.pa % PAGE_SIZE in used, "it stands in a table"
            if frame >= start and step.root != k.kernel_pagetable:
                assert frame in used, "a user's page was taken before it was mapped"


def test_the_steps_of_sbrk_are_those_of_uvmalloc_page_by_page():
    k, recorder = taped()
    tape = recorder.tape
    first = len(tape)
    drive(k, "sbrk.2.8192")
    recorder.settle()
    steps = [tape.step(number) for number in range(first, len(tape))]
    assert [step.kind for step in steps] == [Kind.ALLOC, Kind.BYTES, Kind.PTE] * 2
    for alloc, filled, pte in (steps[:3], steps[3:]):
        assert filled.pa == alloc.pa
        assert filled.after == PAGE_SIZE
        assert SV39.pte_pa(pte.after) == alloc.pa
    assert steps[5].va == steps[2].va + PAGE_SIZE


def test_an_sbrk_that_fails_takes_every_frame_and_gives_each_back_as_the_c_code_does():
    k, recorder = taped(strict=True)
    tape, free = recorder.tape, k.kmem.frames()
    first = len(tape)
    assert drive(k, f"sbrk.2.{RAM}").outcome == "sbrk gives -1: there is no memory for that"
    recorder.settle()
    same(k, tape)
    kinds = [tape.step(number).kind for number in range(first, len(tape))]
    assert kinds.count(Kind.ALLOC) == len(free)
    taken = [tape.step(number).pa for number in range(first, len(tape)) if tape.step(number).kind is Kind.ALLOC]
    given = [tape.step(number).pa for number in range(first, len(tape)) if tape.step(number).kind is Kind.FREE]
    tables = [pa for pa in taken if pa not in given]
    assert [pa for pa in taken if pa not in tables] == given, "the list is the other way round, and the tables stay"
    assert k.kmem.frames().tolist() == given[::-1]


def test_exit_and_wait_free_each_page_before_its_pte_is_cleared():
    k, recorder = taped()
    tape = recorder.tape
    drive(k, "fork.2")
    drive(k, "exit.3.0")
    recorder.settle()
    first = len(tape)
    drive(k, "wait.2")
    recorder.settle()
    steps = [tape.step(number) for number in range(first, len(tape))]
    freed = [step.pa for step in steps if step.kind is Kind.FREE]
    assert len(freed) == len(set(freed)) > 5
    for before, after in pairwise(steps):
        if after.kind is Kind.PTE and before.kind is Kind.FREE:
            assert not after.after & V
            assert SV39.pte_pa(after.before) == before.pa


def test_a_table_that_is_being_built_is_a_space_of_its_own():
    k, recorder = taped()
    tape = recorder.tape
    first = len(tape)
    drive(k, "exec.2.sh")
    recorder.settle()
    seen = set()
    for position in range(first, len(tape) + 1):
        tape.seek(position)
        seen |= {space.name.split()[0] for space in tape.machine().spaces}
    assert seen == {"kernel", "init", "sh", "new"}
    same(k, tape)


def test_every_frame_has_one_role_at_any_step():
    _, recorder = taped()
    tape = recorder.tape
    for position in range(0, len(tape), 131):
        tape.seek(position)
        counts = Ledger(tape.machine()).counts()
        assert sum(counts.values()) == RAM // PAGE_SIZE
        assert counts[Role.FREE] == tape.free


OPS = st.lists(
    st.one_of(
        st.sampled_from(["fork", "wait"]).flatmap(lambda name: st.integers(1, 4).map(lambda pid: f"{name}.{pid}")),
        st.builds("exec.{}.{}".format, st.integers(1, 4), st.sampled_from(["sh", "init"])),
        st.builds("sbrk.{}.{}".format, st.integers(1, 4), st.integers(-30_000, 900_000)),
        st.builds("lazy.{}.{}".format, st.integers(1, 4), st.integers(-30_000, 300_000)),
        st.builds("store.{}.{:#x}.{}".format, st.integers(2, 4), st.integers(0, 0x9000), st.integers(0, 255)),
        st.builds("exit.{}.0".format, st.integers(2, 4)),
        st.builds("lose.{}".format, st.integers(1, 4)),
    ),
    max_size=10,
)


@settings(max_examples=40)
@given(OPS, st.sampled_from(["2024", "2025"]), st.booleans())
def test_whatever_is_driven_the_tape_ends_as_the_kernel_does_and_goes_back_to_where_it_was(operations, rev, strict):
    k, recorder = taped(rev, strict)
    tape = recorder.tape
    first = len(tape)
    before = ram(tape.memory).copy()
    for word in operations:
        try:
            done = drive(k, word)
        except BadTarget:
            continue
        recorder.settle()
        same(k, tape)
        if done.ended:
            break
    tape.seek(first)
    assert np.array_equal(ram(tape.memory), before)
    tape.seek(len(tape))
    same(k, tape)


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("dance.1", "is no operation; there are fork"),
        ("fork", "is not written as fork.PID"),
        ("sbrk.1", "is not written as sbrk.PID.BYTES"),
        ("fork.77", "there is no process 77; there are 1, 2"),
        ("fork.x", "there is no process x"),
        ("exec.2.cat", "there is no program 'cat'; there are init, sh"),
        ("sbrk.2.many", "'many' is no number"),
        ("sbrk.2.0x80000000", "sbrk takes an int"),
        ("lazy.2.1", "knows no lazy sbrk"),
        ("store.2.0.256", "store writes a byte"),
        ("store.2.-1.0", "is no 64-bit address"),
        ("load.2.0x10000000000000000", "is no 64-bit address"),
    ],
)
def test_what_is_no_operation_is_refused_with_what_there_is(word, said):
    k = boot("2024", **SMALL)
    with pytest.raises(BadTarget, match=said.replace(".", r"\.")):
        drive(k, word)


OUTCOMES = [
    ("fork.2", "process 3 is born"),
    ("exec.3.init", "the process runs init"),
    ("sbrk.3.1", "the process had 0x4000 bytes and has 0x4001"),
    ("sbrk.3.0x7fffffff", "sbrk gives -1"),
    ("store.3.0x1000.42", "0x2a is at 0x1000"),
    ("load.3.0x1000", "at 0x1000 is 0x2a"),
    ("lose.3", "is nobody's now: a leak"),
    ("wait.2", "no child has exited"),
    ("wait.3", "there is no child"),
    ("store.3.0x9000.1", "a fault: process 3 is killed"),
    ("wait.2", "process 3 is gone"),
    ("exit.2.0", "a zombie until process 1 waits"),
    ("exit.1.0", "panic: init exiting"),
]


def test_each_operation_says_what_came_of_it():
    k = boot("2024", **SMALL)
    for word, said in OUTCOMES:
        done = drive(k, word)
        assert said in done.outcome, word
        assert done.ended == said.startswith("panic")
    assert {word.split(".")[0] for word, _ in OUTCOMES} | {"lazy"} == set(OPERATIONS)


def test_a_process_that_has_exited_does_nothing_more():
    k = boot("2024", **SMALL)
    drive(k, "fork.2")
    drive(k, "exit.3.0")
    with pytest.raises(BadTarget, match="has exited, and only its parent's wait"):
        drive(k, "fork.3")


def test_lazy_memory_gets_its_frame_when_it_is_touched():
    k, recorder = taped("2025")
    tape = recorder.tape
    first = len(tape)
    assert "bytes and has" in drive(k, "lazy.2.8192").outcome
    recorder.settle()
    assert len(tape) == first, "a promise takes nothing"
    drive(k, "store.2.0x4000.1")
    recorder.settle()
    assert [tape.step(n).kind for n in range(first, len(tape))] == [Kind.ALLOC, Kind.BYTES, Kind.PTE, Kind.BYTES]
