"""What changed between two machines: held against a plain comparison of dicts, and on the model's fork and exec."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pagebook.diff import Difference, compare
from pagebook.ledger import Ledger, Role
from pagebook.machine import Machine, Pool, Space, from_note, to_note
from pagebook.memory import Memory, Region
from pagebook.scan import scan
from pagebook.sv import FORMATS, SV39, A, D, R, U, V, W, X
from pagebook.views import changes
from pagebook.xv6 import boot
from pagebook.xv6.kernel import Kernel
from pagebook.xv6.proc import fork, growproc
from pagebook.xv6.sysfile import sys_exec
from worlds import BASE, PAGE, World


def frozen(machine: Machine) -> Machine:
    """The machine as it is now, over a copy of its bytes."""
    regions = [Region(one.base, bytes(one.data), name=one.name) for one in machine.memory.regions]
    return from_note(to_note(machine), Memory(regions))


def between(old: Machine, new: Machine) -> Difference:
    return compare(Ledger(old), Ledger(new))


def lines(found: Difference) -> list[str]:
    return ["".join(text for text, _ in line) for line in changes.text(found)]


def small(**options: Any) -> Kernel:
    return boot.boot(ram=2 << 20, nproc=8, **options)


def process(k: Kernel, name: str) -> Any:
    return next(p for p in k.proc if p.name == name)


def test_a_machine_does_not_differ_from_itself():
    machine = boot.machine(small())
    found = between(machine, frozen(machine))
    assert not found
    assert lines(found) == ["no difference: xv6 (2024)"]


def test_a_fork_is_a_new_space_and_frames_that_were_free():
    k = small()
    before = frozen(boot.machine(k))
    k.current = process(k, "sh")
    pid = fork(k)
    found = between(before, boot.machine(k))
    (change,) = found.spaces
    assert (change.old, change.new and change.new.pid) == (None, pid)
    assert sum(change.came["pages"].tolist()) == 6
    assert {(one.old_role, one.role, one.owner, one.frames) for one in found.frames} == {
        (Role.FREE, Role.PAGE_TABLE, "sh (pid 3)", 5),
        (Role.FREE, Role.USER, "sh (pid 3)", 4),
        (Role.FREE, Role.TRAPFRAME, "sh (pid 3)", 1),
    }
    back = between(boot.machine(k), before)
    assert {(one.old_role, one.role) for one in back.frames} == {(one.role, one.old_role) for one in found.frames}
    assert lines(back)[1].startswith("sh (pid 3): gone, root 0x")


def test_an_exec_is_another_program_in_the_same_process():
    k = small()
    k.current = process(k, "sh")
    fork(k)
    before = frozen(boot.machine(k))
    k.files["again"] = k.files["init"]
    k.current = next(p for p in k.proc if p.pid == 3)
    sys_exec(k, "again", ["again"])
    found = between(before, boot.machine(k))
    (change,) = found.spaces
    assert lines(found)[1].startswith("again (pid 3): was sh: another program (exec), root 0x")
    assert change.old is not None and change.new is not None
    assert change.old.table.root != change.new.table.root


def test_a_process_that_grows_has_a_new_size_and_new_pages():
    k = small()
    before = frozen(boot.machine(k))
    k.current = process(k, "sh")
    growproc(k, 3 * PAGE)
    found = between(before, boot.machine(k))
    text = lines(found)
    assert text[1] == "sh (pid 2): size 0x4000 -> 0x7000, 3 pages came"
    assert [one.frames for one in found.frames if one.role is Role.USER] == [3]


def test_a_page_that_leads_elsewhere_and_rights_that_changed_are_told_apart_and_a_and_d_are_neither():
    world = World(pages=16)
    frames = [world.frame() for _ in range(4)]
    for index in range(3):
        world.table.map(index * PAGE, PAGE, frames[index], R | W | U)
    machine = Machine("m", world.memory, (Space("p", world.table, pid=1, size=3 * PAGE),))
    before = frozen(machine)
    at = world.table.entry(0).pte_pa
    world.memory.write64(at, SV39.pte(frames[3], V | R | W | U))
    world.memory.write64(at + 8, SV39.pte(frames[1], V | R | U))
    world.memory.write64(at + 16, SV39.pte(frames[2], V | R | W | U | A | D))
    (change,) = between(before, machine).spaces
    assert [(one.va, one.size, one.old_pa, one.pa) for one in change.moved] == [(0, PAGE, frames[0], frames[3])]
    assert [(one.va, one.old_flags, one.flags) for one in change.rights] == [(PAGE, V | R | W | U, V | R | U)]
    assert len(change.came) == len(change.went) == 0


def test_ram_that_only_one_has_is_told():
    old, new = (Machine("m", Memory.anonymous(count * PAGE), ()) for count in (2, 5))
    found = between(old, new)
    assert [(one.frames, one.first, one.old_role, one.role) for one in found.frames] == [
        (3, BASE + 2 * PAGE, None, Role.UNKNOWN)
    ]
    assert lines(found)[1] == f"  3 frames: no RAM -> unknown  from {BASE + 2 * PAGE:#x}"


RIGHTS = st.sampled_from([R | U, R | W | U, R | X | U, R | W])
MAPPINGS = st.dictionaries(
    st.sampled_from([*range(6), 511, 512, 1 << 18, (1 << 27) - 1]), st.tuples(st.integers(0, 5), RIGHTS), max_size=6
)


@settings(max_examples=150)
@given(st.sampled_from(sorted(FORMATS)), MAPPINGS, MAPPINGS)
def test_mappings_that_came_went_moved_or_changed_are_those_of_two_dicts(
    name: str, first: dict[int, tuple[int, int]], then: dict[int, tuple[int, int]]
):
    fmt = FORMATS[name]
    machines = []
    for mapped in (first, then):
        world = World(fmt, pages=64)
        for page, (frame, flags) in mapped.items():
            va = fmt.canonical(page % (1 << fmt.va_bits - 12) << 12)
            if world.table.find(va)[1] & V:
                continue
            world.table.map(va, PAGE, BASE + (frame << 12), flags)
        machines.append(Machine("m", world.memory, (Space("s", world.table),)))
    old, new = (
        {row[0]: (row[1], row[6] & ~(A | D)) for row in scan(m.spaces[0].table).mappings.tolist()} for m in machines
    )
    changes_found = between(*machines).spaces
    expected = {
        "came": sorted(set(new) - set(old)),
        "went": sorted(set(old) - set(new)),
        "moved": sorted(va for va in set(old) & set(new) if old[va][0] != new[va][0]),
        "rights": sorted(va for va in set(old) & set(new) if old[va][0] == new[va][0] and old[va][1] != new[va][1]),
    }
    found: dict[str, list[int]] = {kind: [] for kind in expected}
    for change in changes_found:
        for kind in ("came", "went"):
            for va, size in getattr(change, kind)[["va", "size"]].tolist():
                found[kind] += range(va, va + size, PAGE)
        for kind in ("moved", "rights"):
            for one in getattr(change, kind):
                found[kind] += range(one.va, one.va + one.size, PAGE)
    assert {kind: sorted(vas) for kind, vas in found.items()} == expected


@pytest.mark.parametrize("fmt", ["sv39", "sv48"])
def test_a_superpage_in_the_place_of_pages_went_and_came(fmt: str):
    world = World(FORMATS[fmt], pages=1600)
    world.table.map(0, PAGE, BASE, R | U)
    machine = Machine("m", world.memory, (Space("s", world.table),), pools=(Pool("free", world.frames.head),))
    before = frozen(machine)
    steps = world.table.steps(0)
    world.memory.write64(steps[-2].pte_pa, FORMATS[fmt].pte(BASE + (2 << 20), V | R | U))
    (change,) = between(before, machine).spaces
    assert change.came[["va", "size"]].tolist() == [(0, 2 << 20)]
    assert change.went[["va", "size"]].tolist() == [(0, PAGE)]
