"""The command line: what it prints, letter by letter, and how it refuses what it cannot do."""

from __future__ import annotations

import errno
import io
import json
import os
import re
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calls import BUFFERED, FOLDER, SMALL, Answer, Stream, call, core_of, on_terminal, saved, spawn
from elves import EXECUTE, READ, WRITE, build_elf
from pagebook import __version__
from pagebook.cli import main, output, verbs
from pagebook.errors import TooManyMappings
from pagebook.machine import Area, Space
from pagebook.sv import SV57, R, W, X
from pagebook.views import facts
from worlds import World

VERBS = ("boot", "maps", "tree", "walk", "fault", "pte", "satp", "quiz")
WORDS = {"walk": "0", "pte": "0", "satp": "0", "fault": "--scause 13 --stval 0"}  # what a verb needs

# What the default model is known to print.  One letter that changes here changes it for everybody's scripts.

MAPS_OF_INIT = """\
init: Sv39, root 0x87f4e000, 6 pages mapped, 6 runs shown
  0x0000000000-0x0000001000 -> 0x87f4b000      4K  r-xu---  text
  0x0000001000-0x0000002000 -> 0x87f48000      4K  rw-u---  data
  0x0000002000-0x0000003000 -> 0x87f47000      4K  rw-----  guard page
  0x0000003000-0x0000004000 -> 0x87f46000      4K  rw-u---  stack
  0x3fffffe000-0x3ffffff000 -> 0x87f56000      4K  rw-----  trapframe
  0x3ffffff000-0x4000000000 -> 0x80006000      4K  r-x----  trampoline
"""

TREE_OF_INIT = """\
init: Sv39, root table 0x87f4e000
  [0] 0x0 PTE 0x21fd2801 at 0x87f4e000 -> table 0x87f4a000
    [0] 0x0 PTE 0x21fd2401 at 0x87f4a000 -> table 0x87f49000
      [0] 0x0 PTE 0x21fd2c1b at 0x87f49000 -> 0x87f4b000 4K r-xu---
      [1] 0x1000 PTE 0x21fd2017 at 0x87f49008 -> 0x87f48000 4K rw-u---
      [2] 0x2000 PTE 0x21fd1c07 at 0x87f49010 -> 0x87f47000 4K rw-----
      [3] 0x3000 PTE 0x21fd1817 at 0x87f49018 -> 0x87f46000 4K rw-u---
  [255] 0x3fc0000000 PTE 0x21fd3401 at 0x87f4e7f8 -> table 0x87f4d000
    [511] 0x3fffe00000 PTE 0x21fd3001 at 0x87f4dff8 -> table 0x87f4c000
      [510] 0x3fffffe000 PTE 0x21fd5807 at 0x87f4cff0 -> 0x87f56000 4K rw-----
      [511] 0x3ffffff000 PTE 0x2000180b at 0x87f4cff8 -> 0x80006000 4K r-x----
"""

VMPRINT_OF_INIT = """\
page table 0x0000000087f4e000
 ..0: pte 0x0000000021fd2801 pa 0x0000000087f4a000
 .. ..0: pte 0x0000000021fd2401 pa 0x0000000087f49000
 .. .. ..0: pte 0x0000000021fd2c1b pa 0x0000000087f4b000
 .. .. ..1: pte 0x0000000021fd2017 pa 0x0000000087f48000
 .. .. ..2: pte 0x0000000021fd1c07 pa 0x0000000087f47000
 .. .. ..3: pte 0x0000000021fd1817 pa 0x0000000087f46000
 ..255: pte 0x0000000021fd3401 pa 0x0000000087f4d000
 .. ..511: pte 0x0000000021fd3001 pa 0x0000000087f4c000
 .. .. ..510: pte 0x0000000021fd5807 pa 0x0000000087f56000
 .. .. ..511: pte 0x000000002000180b pa 0x0000000080006000
"""

VMPRINT_VA_OF_INIT = """\
page table 0x0000000087f4e000
 ..0x0000000000000000: pte 0x0000000021fd2801 pa 0x0000000087f4a000
 .. ..0x0000000000000000: pte 0x0000000021fd2401 pa 0x0000000087f49000
 .. .. ..0x0000000000000000: pte 0x0000000021fd2c1b pa 0x0000000087f4b000
 .. .. ..0x0000000000001000: pte 0x0000000021fd2017 pa 0x0000000087f48000
 .. .. ..0x0000000000002000: pte 0x0000000021fd1c07 pa 0x0000000087f47000
 .. .. ..0x0000000000003000: pte 0x0000000021fd1817 pa 0x0000000087f46000
 ..0x0000003fc0000000: pte 0x0000000021fd3401 pa 0x0000000087f4d000
 .. ..0x0000003fffe00000: pte 0x0000000021fd3001 pa 0x0000000087f4c000
 .. .. ..0x0000003fffffe000: pte 0x0000000021fd5807 pa 0x0000000087f56000
 .. .. ..0x0000003ffffff000: pte 0x000000002000180b pa 0x0000000080006000
"""

WALK_IN_INIT = """\
walk 0x3fffffe123 in init: Sv39, root 0x87f4e000
  va    011111111 111111111 111111110 000100100011
  index       255       511       510 offset 0x123
  level 2: index 255 PTE 0x21fd3401 at 0x87f4e7f8  v------- -> table 0x87f4d000
  level 1: index 511 PTE 0x21fd3001 at 0x87f4dff8  v------- -> table 0x87f4c000
  level 0: index 510 PTE 0x21fd5807 at 0x87f4cff0  vrw----- -> page 0x87f56000
  0x3fffffe123 is mapped to 0x87f56123: the level-0 PTE is a leaf of 4K
"""

WALK_TO_NOTHING = """\
walk 0x4000 in init: Sv39, root 0x87f4e000
  va    000000000 000000000 000000100 000000000000
  index         0         0         4   offset 0x0
  level 2: index 0   PTE 0x21fd2801 at 0x87f4e000  v------- -> table 0x87f4a000
  level 1: index 0   PTE 0x21fd2401 at 0x87f4a000  v------- -> table 0x87f49000
  level 0: index 4   PTE 0x00000000 at 0x87f49020  -------- absent
  0x4000 is not mapped: the level-0 PTE at 0x87f49020 has V = 0
"""

SUMMARY = """\
frames: 32768 of RAM (128M), each in one role
     32546  free
       112  page table
        64  kernel stack
        33  kernel image
         8  user
         3  device queue
         2  trapframe
spaces: 3
  kernel     root 0x87fff000
  init       root 0x87f4e000  pid 1, 0x4000 bytes
  sh         root 0x87f41000  pid 2, 0x4000 bytes
free list: 32546 frames  0x87f42000 0x87f55000 0x87f54000 0x87f53000 ...
"""

GOLDEN = [
    ("maps --space init", 0, MAPS_OF_INIT),
    ("tree --space init", 0, TREE_OF_INIT),
    ("tree --space init --format vmprint", 0, VMPRINT_OF_INIT),
    ("tree --space init --format vmprint-va", 0, VMPRINT_VA_OF_INIT),
    ("walk 0x3fffffe123 --space init", 0, WALK_IN_INIT),
    ("walk 0x4000 --space init", 1, WALK_TO_NOTHING),
    ("boot --quiet", 0, SUMMARY),
]


@pytest.mark.parametrize(("command", "status", "text"), GOLDEN, ids=[command for command, _, _ in GOLDEN])
def test_prints_to_the_letter(command: str, status: int, text: str) -> None:
    assert call(command) == Answer(status, text, "")


def test_tells_the_same_in_a_process_of_its_own() -> None:
    assert spawn("walk 0x4000 --space init") == Answer(1, WALK_TO_NOTHING, "")


def test_xv6_may_be_named_or_left_out() -> None:
    assert call(f"tree xv6 {SMALL}") == call(f"tree {SMALL}")
    assert call(f"walk 0x80000000 xv6 {SMALL}") == call(f"walk 0x80000000 {SMALL}")


def test_the_story_names_each_call_with_the_frames_it_took_and_then_comes_the_summary() -> None:
    answer = call("boot").must(0)
    story, frames, summary = answer.out.partition("frames: ")
    assert frames + summary == SUMMARY
    lines = [re.fullmatch(r"(\w+) +([+-]\d+|-) +(\d+) free  (\S.*\S)", line) for line in story.splitlines()]
    free = 0
    for line in lines:
        assert line, story
        change = 0 if line[2] == "-" else int(line[2])
        assert int(line[3]) == free + change
        free += change
    assert free == 32546
    names = [line[1] for line in lines if line]
    assert names[:4] == ["main", "kinit", "kvmmake", "kvmmap"]
    assert [name for name in names if name in ("fork", "exec")] == ["exec", "fork", "exec"]


@pytest.mark.parametrize("rev", ["2022", "2024", "2025"])
def test_every_revision_boots(rev: str) -> None:
    story = call(f"boot --rev {rev} {SMALL}").must(0).out
    assert ("(initcode) becomes init" in story) == (rev != "2025")
    assert f'"xv6 ({rev})"' in call(f"boot --json --rev {rev} {SMALL}").must(0).out


def test_ram_and_nproc_shape_the_model() -> None:
    answer = call("boot --quiet --ram 0x200000 --nproc 8").must(0)
    assert answer.out.startswith("frames: 512 of RAM (2M)")
    assert "\n         8  kernel stack\n" in answer.out


def test_programs_and_kernel_come_from_elf_files(tmp_path: Path) -> None:
    program = tmp_path / "_prog"
    program.write_bytes(build_elf([(0, 5, 0x2800, READ | WRITE | EXECUTE, b"hello")]))
    kernel = tmp_path / "kernel"
    symbols = {"etext": 0x8000_2000, "end": 0x8000_3800, "_trampoline": 0x8000_1000}
    kernel.write_bytes(build_elf([(0x8000_0000, 4, 4, READ | EXECUTE, b"\x13\0\0\0")], symbols=symbols))
    answer = call(f"boot --quiet {SMALL} --kernel {kernel} --init {program} --sh {program}").must(0)
    assert "\n         4  kernel image\n" in answer.out
    assert answer.out.count("0x5000 bytes") == 2  # three pages of program, guard page, stack
    assert "-> 0x80001000      4K  r-x----  trampoline" in call(f"maps {SMALL} --kernel {kernel}").must(0).out


# maps


def test_maps_lists_every_space_under_a_heading_of_its_own() -> None:
    whole = call(["maps", saved()]).must(0).out
    parts = [call(["maps", saved(), "--space", name]).must(0).out for name in ("kernel", "init", "sh")]
    assert whole == "".join(parts)
    assert parts[1] == call(["maps", saved(), "--space", "1"]).out  # its pid


def test_pages_are_listed_one_by_one_when_asked_for() -> None:
    kernel = call(f"maps --space kernel --pages {SMALL}").must(0).out.splitlines()
    count = re.search(r", (\d+) pages mapped, (\d+) runs shown", kernel[0])
    assert count
    assert count[1] == count[2] == str(len(kernel) - 1)
    assert all("      4K  " in line for line in kernel[1:])


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ("--has u", ["text", "data", "stack"]),
        ("--has wu", ["data", "stack"]),
        ("--has w --lacks u", ["guard page", "trapframe"]),
        ("--lacks vr", []),
        ("--has rwx", []),
        ("--va 0x1fff", ["data"]),
        ("--va 0x1000-0x2001", ["data", "guard page"]),
        ("--va 1000-2000", ["text"]),  # decimal, as no letter says otherwise
        ("--va 3ffffff000-0x10000000000000000", ["trampoline"]),
        ("--va 0x4000-0x3fffffe000", []),
        ("--va 0-0x10000000000000000", ["text", "data", "guard page", "stack", "trapframe", "trampoline"]),
        ("--pa 0x80006abc", ["trampoline"]),
        ("--pa 0-0x80006000", []),
        ("--va 0-0x5000 --has x", ["text"]),
    ],
)  # fmt: skip
def test_maps_shows_only_what_was_asked_for(options: str, names: list[str]) -> None:
    answer = call(["maps", saved(), "--space", "init", *options.split()]).must(0 if names else 1)
    heading, *lines = answer.out.splitlines() or ["nothing, not even a heading: 6 pages mapped, 0 runs shown"]
    assert [line.rsplit("  ", 1)[1] for line in lines] == names
    assert heading.endswith(f": 6 pages mapped, {len(names)} run{'s' * (len(names) != 1)} shown".replace(": 6", " 6"))


def test_spaces_without_anything_asked_for_are_left_out() -> None:
    answer = call(["maps", saved(), "--has", "u"]).must(0)
    assert [line.split(":")[0] for line in answer.out.splitlines() if not line.startswith(" ")] == ["init", "sh"]


def test_neighbours_that_differ_in_a_or_d_are_one_run_unless_a_or_d_are_asked_for() -> None:
    world = World()
    for page, used in enumerate((0, 0x40, 0xC0, 0)):
        world.table.map(page << 12, 4096, 0x8001_0000 + (page << 12), R | W | used)
    core = core_of(world)
    assert call(["maps", core]).must(0).out.endswith("  0x0000-0x4000 -> 0x80010000     16K  rw---ad\n")
    assert call(["maps", core, "--has", "a"]).must(0).out.count("\n") == 2
    assert call(["maps", core, "--lacks", "d"]).must(0).out.count("\n") == 3


# tree and walk


def test_depth_cuts_the_tree() -> None:
    full = call(["tree", saved(), "--space", "init"]).out.splitlines()
    for depth in (1, 2, 3, 5):
        cut = call(["tree", saved(), "--space", "init", "--depth", depth]).must(0).out.splitlines()
        assert cut == [line for line in full if (len(line) - len(line.lstrip())) // 2 <= depth]


def test_vmprint_has_a_line_for_every_pte_and_text_folds_them() -> None:
    pages = call(["maps", saved(), "--space", "kernel", "--pages"]).out.count("\n") - 1
    folded = call(["tree", saved()]).must(0).out
    tables = folded.count("-> table ")
    for style in ("vmprint", "vmprint-va"):
        assert call(["tree", saved(), "--format", style]).must(0).out.count("\n") == 1 + tables + pages
    assert folded.count("\n") < 300 < pages
    assert "[7-511] 0x80007000 PTE 0x20001c07 at 0x801db038 -> 0x80007000 2020K rw-----\n" in folded


def test_a_walk_may_take_an_address_as_a_panic_prints_it() -> None:
    answers = {call(f"walk {va} {saved()} --space init") for va in ("0x3fffffe000", "3fffffe000", "0x3F_FFFF_E000")}
    assert len(answers) == 1


def test_a_walk_ends_at_a_superpage_and_says_its_size() -> None:
    world = World(SV57)
    world.table.map(1 << 56 - 1, 1 << 21, 0x4000_0000, R | X, level=1)
    answer = call(["walk", hex((1 << 55) + 0x12345), core_of(world)]).must(0)
    assert answer.out.endswith(
        "level 1: index 0   PTE 0x1000000b at 0x8001c000  vr-x---- -> page 0x40000000\n"
        "  0x80000000012345 is mapped to 0x40012345: the level-1 PTE is a leaf of 2M\n"
    )


def test_physical_address_0_is_an_address() -> None:
    world = World()
    world.table.map(0x5000, 4096, 0, R)
    answer = call(["walk", "0x5000", core_of(world, "zero.core")]).must(0)
    assert answer.out.endswith("0x5000 is mapped to 0x0: the level-0 PTE is a leaf of 4K\n")
    assert call(["maps", FOLDER / "zero.core"]).must(0).out.endswith("  0x5000-0x6000 -> 0x0      4K  r------\n")
    assert call(["maps", FOLDER / "zero.core", "--pa", "0"]).must(0).out.count("\n") == 2


# Refusals: one line on standard error, nothing on standard output, status 2


NO_ADDRESS = "is not an address; write it as 0x3fffffe000 or 4096"
NO_RANGE = "is no address and no range; write 0x1000, or 0x1000-0x3000"
NO_64_BIT_RANGE = "is no range of 64-bit addresses; write START-END with START below END"
WHICH = "is 2280996864 hexadecimal? Write 0x2280996864, or 0x87f54000 if it is not"
NO_SIZE = "is not a size; write bytes, or a number with K, M, G or T: 4096, 128M, 1G"
NO_FLAG = "is no permission; use letters of 'vrwxugad'"
NO_STYLE = "is not one of 'text', 'vmprint', 'vmprint-va'."


@pytest.mark.parametrize(
    ("command", "why"),
    [
        ("walk xyz", f"Invalid value for 'VA': 'xyz' {NO_ADDRESS}"),
        ("walk ''", f"Invalid value for 'VA': '' {NO_ADDRESS}"),
        ("walk 0x", f"Invalid value for 'VA': '0x' {NO_ADDRESS}"),
        ("walk 1.5", f"Invalid value for 'VA': '1.5' {NO_ADDRESS}"),
        ("walk -1", "No such option"),
        ("walk", "Missing argument 'VA'."),
        ("walk 0 xv6 more", "Got unexpected extra argument (more)"),
        ("maps --va 5-", f"Invalid value for '--va': '5-' {NO_RANGE}"),
        ("maps --va=-5", f"Invalid value for '--va': '-5' {NO_RANGE}"),
        ("maps --pa 1-2-3", f"Invalid value for '--pa': '1-2-3' {NO_RANGE}"),
        ("maps --pa 5-5", f"Invalid value for '--pa': '5-5' {NO_64_BIT_RANGE}"),
        ("maps --pa 5-4", f"Invalid value for '--pa': '5-4' {NO_64_BIT_RANGE}"),
        ("maps --va 0x10000000000000000", f"Invalid value for '--va': '0x10000000000000000' {NO_64_BIT_RANGE}"),
        ("maps --va 0-0x10000000000000001", f"Invalid value for '--va': '0-0x10000000000000001' {NO_64_BIT_RANGE}"),
        ("maps --pa 2280996864", f"Invalid value for '--pa': {WHICH}"),
        ("maps --va 0-2280996864", f"Invalid value for '--va': {WHICH}"),
        ("walk 2280996864", f"Invalid value for 'VA': {WHICH}"),
        ("owners 2280996864", f"Invalid value for FRAME: {WHICH}"),
        ("owners 2280996864 xv6", f"Invalid value for FRAME: {WHICH}"),
        ("owners 2280996864-0x87f55000", f"Invalid value for FRAME: {WHICH}"),
        ("owners 0x1000-zz", f"Invalid value for FRAME: '0x1000-zz' {NO_RANGE}"),
        ("maps --has wq", f"Invalid value for '--has': 'q' {NO_FLAG}"),
        ("maps --lacks '!'", f"Invalid value for '--lacks': '!' {NO_FLAG}"),
        ("maps --ram 1P", f"Invalid value for '--ram': '1P' {NO_SIZE}"),
        ("maps --ram -1", f"Invalid value for '--ram': '-1' {NO_SIZE}"),
        ("maps --nproc many", "Invalid value for '--nproc': 'many' is not a valid integer."),
        ("tree --format html", f"Invalid value for '--format': 'html' {NO_STYLE}"),
        ("tree --depth 0", "Invalid value for '--depth': 0 is not in the range 1<=x<=5."),
        ("tree --json --format vmprint", "--json is a format of its own; leave out --format"),
        ("frobnicate", "No such command 'frobnicate'."),
        ("boot xv6", "Got unexpected extra argument (xv6)"),
    ],
)
def test_bad_words_are_refused_before_anything_is_booted(
    command: str, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for verb in VERBS:
        monkeypatch.setattr(verbs, verb, None)
    assert call(command).refusal.startswith(f"Error: {why}")


@pytest.mark.parametrize(
    ("command", "why"),
    [
        ("walk -- -1", "-0x1 is negative; an address is an unsigned 64-bit number"),
        ("walk 0x10000000000000000", "0x10000000000000000 does not fit in 64 bits"),
        (
            "walk 0x4000000000",
            "0x4000000000 is not canonical in Sv39: bits 63 to 39 must all equal bit 38; "
            "sign-extended from there it is 0xffffffc000000000",
        ),
        ("walk 0 --space nobody", "xv6 (2024) has no address space 'nobody'; it has kernel, init, sh"),
        ("tree --space ''", "xv6 (2024) has no address space ''; it has kernel, init, sh"),
        ("maps --space ''", "xv6 (2024) has no address space ''; it has kernel, init, sh"),
        ("maps --space 3", "xv6 (2024) has no address space '3'; it has kernel, init, sh"),
        ("maps --rev 2023", "there is no revision '2023'; known are 2022, 2024, 2025"),
        ("maps --nproc 0", "NPROC is 0; it must be from 1 to 32768, two pages of address space each"),
        ("maps --nproc 32769", "NPROC is 32769; it must be from 1 to 32768, two pages of address space each"),
        (
            "maps --ram 132K",
            "panic: kvmmake (no frame is left for the root; the C code would write through a null pointer here)",
        ),
    ],
)
def test_what_cannot_be_is_refused_in_one_sentence(command: str, why: str) -> None:
    verb, rest = command.split(" ", 1)
    assert call(f"{verb} {SMALL} {rest}").refusal == f"pagebook: {why}"


@pytest.mark.parametrize("ram", ["0", "3000", "4096", "128K", "256K", "500K", "0x123456", "1000T", f"{10**30}G"])
@pytest.mark.parametrize("verb", ["boot", "maps", "tree", "walk 0"])
def test_too_little_and_too_much_ram_are_refused(verb: str, ram: str) -> None:
    assert call(f"{verb} --ram {ram}").refusal.startswith("pagebook: ")


def test_a_target_that_is_not_there_is_refused_with_what_a_target_is() -> None:
    for name in ("nothere", "", "nothere/m.core", "x" * 300, "/dev/null/m.core"):
        assert call(["maps", name]).refusal == (
            f"pagebook: there is no file {name!r}; a target is 'xv6', the model booted afresh, 'qemu', a guest that "
            "runs in QEMU now, 'rules', the machine of the examples, or a file: a dump, a raw image with its address "
            "(FILE@0x80000000), or what 'pagebook boot --save FILE' wrote"
        )


def test_directories_devices_and_pipes_are_no_targets(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for place, what in ((tmp_path, "a directory"), (tmp_path / "pipe", "a pipe"), ("/dev/zero", "a device")):
        assert call(["tree", place]).refusal == f"pagebook: cannot open '{place}': it is {what}, not a file"


def test_the_options_of_the_model_do_not_go_with_a_file() -> None:
    for option in ("--rev 2022", "--ram 2M", "--nproc 8", "--kernel k", "--init i", "--sh s", "--program p"):
        assert call(f"maps {saved()} {option}").refusal == (
            f"pagebook: {str(saved())!r} was saved by pagebook and says itself where its tables are; leave out the "
            "options"
            if "kernel" in option
            else f"pagebook: {option.split()[0]} would shape the model; {str(saved())!r} is as it is: leave out "
            f"{str(saved())!r} to ask the model"
        )


GOOD_SEGMENT = (0, 4, 0x1000, READ | EXECUTE, b"\x13\0\0\0")
GOOD = build_elf([GOOD_SEGMENT])
BAD_PROGRAMS = {
    "empty": (b"", "is not a whole ELF file"),
    "text": (b"#!/bin/sh\n", "is not a whole ELF file: Magic number does not match"),
    "only a magic": (GOOD[:4], "is not a whole ELF file"),
    "only a header": (GOOD[:64], "is "),
    "cut short": (GOOD[:-5], "is cut short: segment 0 ends at byte"),
    "32-bit": (build_elf([GOOD_SEGMENT], elfclass=32), "is a 32-bit little-endian ELF file for EM_RISCV"),
    "big-endian": (build_elf([GOOD_SEGMENT], order=">"), "is a 64-bit big-endian ELF file for EM_RISCV"),
    "of another machine": (build_elf([GOOD_SEGMENT], machine=62), "is a 64-bit little-endian ELF file for EM_X86_64"),
    "a core": (build_elf([GOOD_SEGMENT], kind=4), "is an ELF file of type ET_CORE"),
    "an object": (build_elf([GOOD_SEGMENT], kind=1), "is an ELF file of type ET_REL"),
    "smaller in memory": (build_elf([(0, 4, 2, READ, b"\0\0\0\0")]), "which cannot be"),
    "wrapping": (build_elf([(0xFFFF_FFFF_FFFF_F000, 4, 0x2000, READ, b"\0\0\0\0")]), "which cannot be"),
}
BAD_PROGRAMS_ONLY = {
    "nothing to load": (build_elf([]), "has nothing to load"),
    "overlapping": (build_elf([(0, 4, 0x1800, READ, b"\0" * 4), (0x1000, 4, 8, READ, b"\0" * 4)]), "overlaps"),
    "descending": (build_elf([(0x2000, 4, 8, READ, b"\0" * 4), (0, 4, 8, READ, b"\0" * 4)]), "overlaps or precedes"),
    "unaligned": (build_elf([(0x800, 4, 8, READ, b"\0" * 4)]), "does not start a page"),
    "past the end": (build_elf([(0x3F_FFFF_E000, 4, 8, READ, b"\0" * 4)]), "past user memory's end"),
}
SYMBOLS = {"etext": 0x8000_2000, "end": 0x8000_4000, "trampoline": 0x8000_1000}
BAD_KERNELS_ONLY = {
    "stripped": (build_elf([(0x8000_0000, 4, 4, READ, b"\0" * 4)]), "has no symbol etext, end, trampoline"),
    "past its end": (build_elf([(0x8000_4000, 4, 4, READ, b"\0" * 4)], symbols=SYMBOLS), "is not between"),
    "below KERNBASE": (build_elf([(0x1000, 4, 4, READ, b"\0" * 4)], symbols=SYMBOLS), "is not between"),
    "etext after end": (build_elf([], symbols={**SYMBOLS, "etext": 0x8000_5000}), "etext"),
    "end past RAM": (build_elf([], symbols={**SYMBOLS, "end": 0x9000_0000}), "end"),
    "unaligned trampoline": (build_elf([], symbols={**SYMBOLS, "trampoline": 0x8000_1004}), "page-aligned"),
}


@pytest.mark.parametrize(
    ("option", "kind"),
    [(option, kind) for option in ("--init", "--sh") for kind in (*BAD_PROGRAMS, *BAD_PROGRAMS_ONLY)]
    + [("--kernel", kind) for kind in (*BAD_PROGRAMS, *BAD_KERNELS_ONLY)],
)
def test_bad_elf_files_are_refused_with_what_was_found(option: str, kind: str, tmp_path: Path) -> None:
    data, why = (BAD_PROGRAMS | BAD_PROGRAMS_ONLY | BAD_KERNELS_ONLY)[kind]
    path = tmp_path / "file"
    path.write_bytes(data)
    answer = call(["boot", *SMALL.split(), option, path]).refusal
    assert answer.startswith("pagebook: ")
    assert why in answer


@pytest.mark.parametrize("option", ["--kernel", "--init", "--sh"])
def test_elf_files_that_cannot_be_read_are_refused_with_the_systems_reason(option: str, tmp_path: Path) -> None:
    assert call(["boot", option, tmp_path / "none"]).refusal.endswith("none': No such file or directory")
    assert call(["boot", option, tmp_path]).refusal.endswith("': Is a directory")


def test_an_elf_file_that_xv6_itself_would_refuse_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "huge"
    path.write_bytes(build_elf([(0, 4, 1 << 30, READ, b"\0" * 4)]))
    assert call(["boot", *SMALL.split(), "--init", path]).refusal.startswith("pagebook: panic: ")
    assert "sh" in call(["boot", *SMALL.split(), "--sh", path]).refusal


# Saved files that are damaged


def decent(answer: Answer) -> None:
    """Some answer, or a refusal in one line."""
    assert answer.status in (0, 1, 2), answer
    if answer.status == 2:
        assert answer.refusal.startswith("pagebook: ")
    else:
        answer.must(answer.status)


def head_of(data: bytes) -> int:
    """Where the headers and the note of a saved machine end."""
    return data.index(b'"free_range"') + 64


@pytest.mark.parametrize("verb", ["maps", "tree", "walk 0x1000"])
def test_a_file_cut_short_anywhere_is_refused(verb: str, tmp_path: Path) -> None:
    data = saved().read_bytes()
    path = tmp_path / "cut"
    head = head_of(data)
    for end in {*range(240), *range(240, head, 97), *range(head, len(data), len(data) // 37), len(data) - 1}:
        path.write_bytes(data[:end])
        assert call([*verb.split(), path]).refusal.startswith("pagebook: "), end


@settings(max_examples=150)
@given(
    flips=st.lists(st.tuples(st.integers(0, 1 << 30), st.integers(1, 255)), min_size=1, max_size=4),
    command=st.sampled_from(["maps", "tree --space init", "walk 0x3fffffe000 --space sh", "maps --pages --has x"]),
    headers=st.booleans(),
)
def test_a_file_with_flipped_bytes_is_refused_or_answered(
    flips: list[tuple[int, int]], command: str, headers: bool
) -> None:
    data = bytearray(saved().read_bytes())
    size = head_of(data) if headers else len(data)
    for at, change in flips:
        data[at % size] ^= change
    path = FOLDER / "flipped"
    path.write_bytes(data)
    words = command.split()
    decent(call([words[0], *([words[1]] if words[0] == "walk" else []), path, *words[1 + (words[0] == "walk") :]]))


@settings(max_examples=60)
@given(st.data())
def test_tables_with_flipped_bytes_are_shown_with_their_problems(data: st.DataObject) -> None:
    image = bytearray(saved().read_bytes())
    tables = json.loads(call(["tree", saved(), "--space", "init", "--json"]).out)
    places = [int(tables["root"], 16), *(int(e["pa"], 16) for e in tables["entries"] if e["kind"] == "table")]
    start = len(image) - (2 << 20)
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.sampled_from(places)) - 0x8000_0000 + data.draw(st.sampled_from([0, 8, 0x7F8, 0xFF0, 0xFF8]))
        image[start + at + data.draw(st.integers(0, 7))] ^= data.draw(st.integers(1, 255))
    path = FOLDER / "tables"
    path.write_bytes(image)
    for verb in ("maps", "tree", "walk 0", "walk 0x3fffffe000"):
        decent(call([*verb.split(), path, "--space", "init"]))


@pytest.mark.parametrize("form", ["Sv32", "Sv39", "Sv48", "Sv57"])
def test_a_root_whose_every_entry_points_at_itself_is_refused(form: str) -> None:
    from pagebook.sv import FORMATS

    world = World(FORMATS[form.lower()])
    world.memory.write(world.table.root, world.pointer(world.table.root).to_bytes(world.format.pte_bytes, "little")
                       * world.format.entries)  # fmt: skip
    core = core_of(world, f"{form}.core")
    for verb in ("maps", "tree", "tree --format vmprint", "maps --json"):
        limit = f"import resource; resource.setrlimit(resource.RLIMIT_AS, ({4 << 30}, {4 << 30}))"
        answer = spawn(f"{verb.replace(' ', f' {core} ', 1) if ' ' in verb else f'{verb} {core}'}", first=limit)
        assert "lists more than" in answer.refusal
    assert call(["walk", "0", core]).must(1).out.endswith("it has none of R, W, X on the last level\n")


def test_names_in_a_file_cannot_steer_a_terminal() -> None:
    world = World()
    world.table.map(0, 4096, 0x8001_0000, R)
    core = core_of(world, "steer.core", [Area(0, 4096, "a\x1b[2J\nb\u202e\ud800")], space="evil\x1b]0;x\x07")
    answer = call(["maps", core]).must(0)
    assert answer.out.splitlines()[0].startswith("evil\\x1b]0;x\\x07: Sv39")
    assert answer.out.splitlines()[1].endswith("  a\\x1b[2J\\nb\\u202e\\ud800")
    assert call(["walk", "0", core, "--space", "kernel"]).refusal.endswith("it has evil\\x1b]0;x\\x07")
    assert "\x1b[2J" not in call(["maps", core], terminal=True).out
    assert json.loads(call(["maps", core, "--json"]).must(0).out)["spaces"][0]["runs"][0]["name"].startswith("a\x1b[2J")


def test_a_saved_machine_without_spaces_is_refused() -> None:
    from pagebook.machine import Machine
    from pagebook.sources.elfcore import write_core

    path = FOLDER / "spaceless.core"
    write_core(Machine("nothing", World().memory, ()), path)
    assert call(["maps", path]).refusal == f"pagebook: {path} has no address space"
    assert call(["tree", path]).refusal == "pagebook: nothing has no address space 'kernel'; it has none at all"


# Saving


def test_a_machine_is_saved_and_opened_again(tmp_path: Path) -> None:
    path = tmp_path / "m.core"
    answer = call(f"boot --quiet {SMALL} --save {path}").must(0)
    assert answer.out.splitlines()[-1] == f"saved: {path}, 2056K; open it with: pagebook maps {path}"
    for verb in ("maps", "tree --space sh", "walk 0x1000 --space sh"):
        words = verb.split()
        given = words[:2] if words[0] == "walk" else words[:1]
        assert call([*given, path, *words[len(given) :]]) == call(f"{verb} {SMALL}")
    assert [file.name for file in tmp_path.iterdir()] == ["m.core"]


def test_saving_again_replaces_the_file_and_keeps_a_symbolic_link(tmp_path: Path) -> None:
    (tmp_path / "real").write_text("old")
    (tmp_path / "link").symlink_to("real")
    call(f"boot --quiet {SMALL} --save {tmp_path}/link").must(0)
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_bytes() == saved().read_bytes()
    assert stat.S_IMODE((tmp_path / "real").stat().st_mode) == 0o666 & ~umask()


def umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


@pytest.mark.parametrize(
    ("place", "why"),
    [
        ("none/m.core", "No such file or directory"),
        ("file/m.core", "Not a directory"),
        ("x" * 256, "File name too long"),
        ("folder", "it is a directory, not a file"),
        ("pipe", "it is a pipe, not a file"),
        ("null", "it is a device, not a file"),
    ],
)
def test_saving_where_no_file_can_be_is_refused_and_leaves_nothing_behind(place: str, why: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "null").symlink_to("/dev/null")
    before = sorted(tmp_path.rglob("*"))
    target = tmp_path / place
    assert call(["boot", *SMALL.split(), "--save", target]).refusal == f"pagebook: cannot write {str(target)!r}: {why}"
    assert sorted(tmp_path.rglob("*")) == before
    assert stat.S_ISCHR(Path("/dev/null").stat().st_mode)


def test_saving_to_no_name_is_refused() -> None:
    assert call(f"boot {SMALL} --save ''").refusal == ("pagebook: cannot write '': it is a directory, not a file")


def test_a_full_disk_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "m.core"
    target.write_text("the old one")
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (99999, 99999))"
    answer = spawn(f"boot {SMALL} --save {target}", first=limit)
    assert answer.refusal == f"pagebook: cannot write '{target}': File too large"
    assert target.read_text() == "the old one"
    assert [file.name for file in tmp_path.iterdir()] == ["m.core"]


def test_a_folder_that_may_not_be_written_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    root = os.geteuid() == 0
    if root:  # who may write anywhere
        os.seteuid(65534)
    try:
        answer = call(f"boot {SMALL} --save {tmp_path}/m.core")
    finally:
        if root:
            os.seteuid(0)
    assert answer.refusal == f"pagebook: cannot write '{tmp_path}/m.core': Permission denied"
    assert list(tmp_path.iterdir()) == []


# Interruptions


def test_ctrl_c_ends_with_status_130_and_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> int:
        raise KeyboardInterrupt

    for verb in VERBS:
        monkeypatch.setattr(verbs, verb, interrupted)
        answer = call(f"{verb} {WORDS.get(verb, '')}").must(130)
        assert answer.out == ""
        assert answer.err.strip() == "pagebook: interrupted"


def test_ctrl_c_while_saving_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("pagebook.sources.elfcore._note", interrupted)
    call(f"boot {SMALL} --save {tmp_path}/m.core").must(130)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT])
def test_the_status_after_a_signal_that_a_verb_was_ended_by_is_the_shell_s(
    number: signal.Signals, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ended(*_: object) -> int:
        raise SystemExit(128 + number)

    monkeypatch.setattr(verbs, "maps", ended)
    assert call("maps") == Answer(128 + number, "", "")


def test_findings_do_not_hide_that_the_reader_has_left() -> None:
    command = [sys.executable, "-m", "pagebook", "check", "rules"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=BUFFERED) as child:
        assert child.stdout
        assert child.stderr
        child.stdout.close()
        assert child.stderr.read() == b""
        assert child.wait(timeout=60) == 141


@pytest.mark.parametrize("words", ["maps --pages --ram 4M", "boot --quiet --ram 2M"])  # more than a pipe holds; less
def test_a_reader_that_has_seen_enough_ends_it_silently_with_the_status_of_any_tool(words: str) -> None:
    command = [sys.executable, "-m", "pagebook", *words.split()]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=BUFFERED) as child:
        assert child.stdout
        assert child.stderr
        if "--pages" in words:
            assert child.stdout.readline().startswith(b"kernel: ")
        child.stdout.close()
        assert child.stderr.read() == b""
        assert child.wait(timeout=60) == 128 + signal.SIGPIPE


@pytest.mark.parametrize("verb", ["maps", "check", "walk 0x1000", "owners", "serve --no-browser", "report -o -"])
def test_a_root_and_a_satp_are_two_ways_to_say_where_a_table_is(verb: str) -> None:
    words = [*verb.split(), saved(), "--satp", "0x8000000000080001", "--root", "0x80002000", "--root", "0x80003000"]
    assert call(words).refusal == (
        "pagebook: --satp and --root both say where a table starts; give one of the two, once for each table, such as "
        "--root 0x80002000 alone"
    )


class Full(Stream):
    """A place where nothing more can be written, ``reason`` being the system's."""

    def __init__(self, reason: int) -> None:
        super().__init__(False)
        self.reason = reason

    def reconfigure(self, **_: object) -> None:
        pass

    def flush(self) -> None:
        raise OSError(self.reason, os.strerror(self.reason))

    def fileno(self) -> int:
        raise io.UnsupportedOperation


@pytest.mark.parametrize(
    ("reason", "status", "err"),
    [(errno.EPIPE, 141, ""), (errno.ENOSPC, 2, "pagebook: the system refused: No space left on device\n")],
)
def test_output_that_cannot_be_written_ends_it_in_one_line_at_most(
    reason: int, status: int, err: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["pagebook", "boot", *SMALL.split()])
    monkeypatch.setattr(sys, "stdout", Full(reason))
    monkeypatch.setattr(sys, "stderr", stderr := Stream(False))
    with pytest.raises(SystemExit) as ended:
        main()
    assert (ended.value.code, stderr.text()) == (status, err)


def test_a_pipe_that_breaks_under_way_is_silent_too(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> int:
        raise BrokenPipeError(errno.EPIPE, "Broken pipe")

    monkeypatch.setattr(verbs, "maps", broken)
    monkeypatch.setattr(sys, "exit", lambda status: (_ for _ in ()).throw(SystemExit(status)))
    assert call("maps") == Answer(141, "", "")


@pytest.mark.parametrize("words", ["maps --pages", "boot --quiet", "--help"])
def test_a_full_disk_under_standard_output_is_one_line(words: str) -> None:
    command = [sys.executable, "-m", "pagebook", *words.split(), *(SMALL.split() if words != "--help" else [])]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, env=BUFFERED)
    assert (done.returncode, done.stderr) == (2, "pagebook: the system refused: No space left on device\n")


def test_too_little_memory_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def starved(*_: object) -> int:
        raise MemoryError

    monkeypatch.setattr(verbs, "maps", starved)
    assert call("maps").refusal == "pagebook: this computer has not enough memory for that"


def test_without_a_standard_output_the_exit_status_still_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["pagebook", "walk", "0x4000", *SMALL.split(), "--space", "init"])
    monkeypatch.setattr(sys, "stdout", None)
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 1


def test_any_stream_will_do_for_a_standard_output(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["pagebook", "walk", "0x4000", "--space", "init"])
    monkeypatch.setattr(sys, "stdout", stdout := io.StringIO())
    with pytest.raises(SystemExit):
        main()
    assert stdout.getvalue() == WALK_TO_NOTHING


def test_text_that_the_terminals_encoding_lacks_is_escaped(tmp_path: Path) -> None:
    answer = spawn(f"boot --quiet {SMALL} --save {tmp_path}/mémoire.core", PYTHONIOENCODING="ascii").must(0)
    assert f"saved: {tmp_path}/m\\xe9moire.core" in answer.out
    assert [file.name for file in tmp_path.iterdir()] == ["mémoire.core"]


# Help


@pytest.mark.parametrize("verb", ["", *VERBS])
def test_help_fits_a_terminal_of_80_columns(verb: str) -> None:
    answer = call([*([verb] if verb else []), "--help"]).must(0)
    assert call([*([verb] if verb else []), "-h"]) == answer
    assert answer.out.startswith(f"Usage: pagebook {verb}".rstrip())
    assert max(map(len, answer.out.splitlines())) <= 80
    assert "..." not in answer.out.replace("[ARGS]...", "")  # nothing is cut off


def test_every_command_that_the_help_shows_is_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    examples = [
        line.strip().split("  ")[0].split(" | ")[0]
        for verb in ("", *VERBS)
        for line in call(f"{verb} --help").out.splitlines()
        if line.startswith("  pagebook ")
    ]
    assert len(examples) >= 12
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("pagebook.cli.hosting.host", lambda *words, **more: None)  # it would serve until Ctrl-C
    for example in sorted(examples, key=lambda line: "--save" not in line):  # what saves a file comes first
        theirs = ("--kernel", "--program", " qemu", "old.core")  # files and machines of the reader's
        if not any(word in example for word in theirs):
            assert call(example.removeprefix("pagebook ")).status in (0, 1), example


def test_without_a_verb_the_help_comes() -> None:
    answer = call("")
    assert (answer.out + answer.err).startswith("Usage: pagebook [OPTIONS] COMMAND")
    assert (answer.status, answer.out) == (2, "") or answer.err == ""  # as click has it: 2 since 8.2, 0 before


def test_the_version_is_the_packages() -> None:
    assert call("--version").must(0).out == f"pagebook, version {__version__}\n"
    assert spawn("--version").out == f"pagebook, version {__version__}\n"


# Terminals

ANSI = re.compile(r"\x1b\[[0-9;]*m")


@pytest.mark.parametrize("verb", ["boot --ram 2M", "maps --ram 2M", "tree --ram 2M", "walk 0 --ram 2M"])
def test_colours_are_for_terminals_and_change_no_word(verb: str) -> None:
    coloured, plain = call(verb, terminal=True), call(verb)
    assert "\x1b[1m" in coloured.out
    assert "\x1b" not in plain.out
    if not verb.startswith("boot"):  # whose story is wrapped
        assert ANSI.sub("", coloured.out) == plain.out
    assert coloured.status == plain.status


def test_a_real_terminal_gets_colours_unless_it_says_no() -> None:
    status, shown = on_terminal("walk 0x4000 --space init")
    assert status == 1
    assert ANSI.sub("", shown) == WALK_TO_NOTHING
    assert "\x1b[1;31m  0x4000 is not mapped" in shown
    assert on_terminal("walk 0x4000 --space init", NO_COLOR="1") == (1, WALK_TO_NOTHING)
    assert call("walk 0x4000 --space init", terminal=True, TERM="dumb") == Answer(1, WALK_TO_NOTHING, "")


def words_of_story(text: str) -> list[str]:
    return [word for word in ANSI.sub("", text).partition("frames: ")[0].split() if word != "free"]


@pytest.mark.parametrize("columns", [80, 120, 300])
def test_the_story_is_wrapped_on_a_terminal_and_whole_in_a_pipe(columns: int) -> None:
    shown = ANSI.sub("", call(f"boot {SMALL}", terminal=True, columns=columns).must(0).out)
    lines = shown.partition("frames: ")[0].splitlines()
    assert max(map(len, lines)) <= columns
    indents = {len(line) - len(line.lstrip()) for line in lines if line.startswith(" ")}
    assert len(indents) == (columns < 300)
    piped = call(f"boot {SMALL}").out.partition("frames: ")[0].splitlines()
    texts = [line.split(" free  ", 1)[1] for line in piped]
    assert " ".join(" ".join(texts).split()) == " ".join(
        " ".join(line[24:] if line[24:] else line for line in lines).split()
    )


def test_a_very_narrow_terminal_still_shows_the_story() -> None:
    shown = ANSI.sub("", call(f"boot {SMALL}", terminal=True, columns=10).must(0).out)
    assert "virtio_disk_init" in shown
    assert max(map(len, shown.partition("frames: ")[0].splitlines())) <= 24 + output.NARROWEST


def test_json_is_one_line_in_a_pipe_and_indented_on_a_terminal() -> None:
    piped, shown = call(f"walk 0 --json {SMALL}"), call(f"walk 0 --json {SMALL}", terminal=True)
    assert piped.out.count("\n") == 1
    assert shown.out.startswith('{\n  "schema": "pagebook.walk",\n')
    assert json.loads(piped.out) == json.loads(shown.out)


@pytest.mark.parametrize("command", ["boot", "boot --quiet", "maps", "tree", "walk 0x80000000"])
def test_json_is_all_that_is_printed(command: str) -> None:
    document = json.loads(call(f"{command} --json {SMALL}").must(0).out)
    assert document["schema"] == f"pagebook.{command.split()[0]}"
    assert document["version"] == 1


def test_json_has_the_exit_status_of_the_text() -> None:
    assert json.loads(call(f"walk 0 --json {SMALL}").must(1).out)["mapped"] is False
    assert json.loads(call(f"maps --va 0 --space kernel --json {SMALL}").must(1).out)["spaces"][0]["runs"] == []


def test_what_takes_long_shows_how_far_it_is_on_a_terminal_only(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(output, "SLOW", 1 << 20)
    shown = call(f"boot --quiet {SMALL} --save {tmp_path}/m.core", terminal=True)
    assert "booting with 2M" in shown.err
    assert f"writing {tmp_path}/m.core" in shown.err
    assert "100%" in shown.err
    call(f"boot --quiet {SMALL} --save {tmp_path}/m.core").must(0)
    call(f"maps {SMALL}").must(0)


def test_one_hostile_space_does_not_hide_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    true_listing = facts.listing

    def listing(space: Space, chosen: facts.Filter, single: bool = False) -> facts.Listing:
        if space.name == "sh":
            raise TooManyMappings("too many")
        return true_listing(space, chosen, single)

    monkeypatch.setattr(facts, "listing", listing)
    answer = call(["maps", *SMALL.split()])
    assert (answer.status, answer.err) == (2, "pagebook: sh: too many\n")
    assert "\ninit: Sv39, root" in answer.out and "\nsh: " not in answer.out


def test_more_runs_than_anybody_reads_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(facts, "MOST_ROWS", 5)
    refusal = call(["maps", "--space", "init", *SMALL.split()]).refusal
    assert refusal.startswith("pagebook: init: init has 6 runs to show, more than 5: ")


def test_the_hint_after_saving_names_the_file_as_one_must_type_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, typed in (("xv6", "./xv6"), ("a b", "'a b'"), ("-x", "./-x")):
        out = call(["boot", "-q", *SMALL.split(), f"--save={name}"]).must(0).out
        assert out.endswith(f"open it with: pagebook maps {typed}\n")


def test_nothing_found_is_said() -> None:
    assert call(["maps", *SMALL.split(), "--has", "wx"]).err == "pagebook: no mapping is as asked\n"
