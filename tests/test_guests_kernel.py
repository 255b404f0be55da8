"""What holds our kernel against what it says: it reads every line, and no difference of any kind goes unseen."""

from __future__ import annotations

from pathlib import Path

import pytest

from guests.build import KERNEL
from guests.compare import WRONG, check_differences, machine_of, root_differences, space_differences
from guests.said import Leaf, Problem, Said, Told, read
from pagebook.machine import Hart
from pagebook.source import Source
from pagebook.sv import SV39, A, D, R, U, V, W, X
from worlds import BASE, PAGE, World

FLAGS = V | R | W | U | A | D


def told() -> tuple[World, Said]:
    """A small guest, and what it would say."""
    world = World(SV39)
    pages = [world.frame() for _ in range(3)]
    for number, pa in enumerate(pages):
        world.table.map(number * PAGE, PAGE, pa, R | W | U | A | D)
    lines = [
        f"image {BASE:x} {BASE:x} {BASE:x}",
        "device 10000000 10001000",
        f"root kernel {world.table.root:x}",
        *(f"map kernel {number * PAGE:x} {pa:x} 1000 {FLAGS:x}" for number, pa in enumerate(pages)),
        "wrong nothing",
        f"free {world.frames.head:x} {BASE:x} {world.stop:x}",
        f"count {pages[0]:x}",
        "ready",
    ]
    return world, read("\n".join(lines))


def machine(world: World, said: Said):
    satp = SV39.satp(world.table.root)
    return machine_of(Source("a guest", world.memory, (Hart(0, satp),)), said, SV39)


def differences(world: World, said: Said) -> list[str]:
    (space,) = machine(world, said).spaces
    return list(space_differences(space, said.spaces["kernel"]))


def test_every_kind_of_line_is_read():
    said = read(
        "image 80000000 80001000 80004000\ndevice 10000000 10001000\nroot a 80400000\nmap a 1000 80401000 1000 d7\n"
        "problem a pointer-on-the-last-level 2000 80402010 20100401\nunder a 400000 200000\nwrong loop\n"
        "free 80428000 80400000 80480000\ncount 80003000\nready\n"
    )
    assert said.spaces == {
        "a": Told(
            0x80400000,
            {Leaf(0x1000, 0x80401000, 0x1000, 0xD7)},
            {Problem(0x2000, 0x80402010, 0x20100401, "pointer on the last level")},
            [range(0x400000, 0x600000)],
        )
    }
    assert (said.image, said.devices) == ((0x80000000, 0x80001000, 0x80004000), [range(0x10000000, 0x10001000)])
    assert (said.wrong, said.free, said.count) == ("loop", (0x80428000, 0x80400000, 0x80480000), 0x80003000)
    assert said.ready
    assert read("stopped without a frame").stopped == "without a frame"


@pytest.mark.parametrize("line", ["hello", "root a", "count", "map a 1 2 3", "free 1 2"])
def test_a_line_that_means_nothing_is_an_error(line):
    with pytest.raises((ValueError, TypeError, KeyError)):
        read(line)


def test_a_guest_that_says_what_it_did_does_not_differ():
    world, said = told()
    assert differences(world, said) == []
    assert list(root_differences(machine(world, said), said, SV39)) == []


@pytest.mark.parametrize("bit", [R, W, X, U, A, D])
def test_one_flag_is_a_difference(bit):
    world, said = told()
    pte_pa, pte, _ = world.table.find(PAGE)
    world.memory.write64(pte_pa, pte ^ bit)
    assert [line.split(" {")[0] for line in differences(world, said)][:2] == [
        "kernel: pagebook lacks",
        "kernel: the guest did not tell",
    ]


def test_a_mapping_more_and_one_less_are_differences():
    world, said = told()
    world.table.map(7 * PAGE, PAGE, world.frame(), R | A)
    assert [line.split(" {")[0] for line in differences(world, said)] == ["kernel: the guest did not tell"]
    world, said = told()
    world.memory.write64(world.table.find(PAGE)[0], 0)
    assert next(iter(differences(world, said))).startswith("kernel: pagebook lacks {")


def test_a_problem_that_the_guest_did_not_tell_is_a_difference_but_not_in_a_loop():
    world, said = told()
    world.put(world.table.root, 5, world.pointer(1 << 40))
    (line,) = differences(world, said)
    assert line.startswith("kernel: the guest did not tell {'va': 5368709120")
    said.spaces["kernel"].loops.append(range(5 << 30, 6 << 30))
    assert differences(world, said) == []


def test_a_root_that_is_not_found_and_one_too_many_are_differences():
    world, said = told()
    said.spaces["other"] = Told(BASE + 20 * PAGE)
    assert f"roots: lacks {BASE + 20 * PAGE:#x} in Sv39" in list(root_differences(machine(world, said), said, SV39))
    world, said = told()
    said.spaces["kernel"].root = BASE + 20 * PAGE
    lines = list(root_differences(machine(world, said), said, SV39))
    assert f"roots: is wrong with {world.table.root:#x} in Sv39" in lines
    assert "roots: with its satp known, the kernel's root is not the first" in lines


def test_a_rule_that_finds_nothing_and_one_that_should_not_are_differences():
    world, said = told()
    silent = list(check_differences(machine(world, said), "nothing"))
    assert silent == [line for line in silent if "PB0" in line]
    world.put(world.table.root, 5, world.pointer(1 << 40))
    assert any("PB009 is not what is wrong" in line for line in check_differences(machine(world, said), "nothing"))
    assert "check: PB005 finds nothing" in list(check_differences(machine(world, said), "misaligned"))


def test_the_kernel_and_the_table_of_rules_have_the_same_wrong_things_in_the_same_order():
    source = (Path(KERNEL) / "kernel.c").read_text()
    names = source.split("names[WRONGS] = {")[1].split("};")[0]
    assert [name.strip().strip('"') for name in names.split(",") if name.strip()] == list(WRONG)
