"""The command line: what it prints, letter by letter, and how it refuses what it cannot do."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest

from calls import FOLDER, SMALL, VERBS, Answer, call, core_of, saved, spawn
from elves import EXECUTE, READ, WRITE, build_elf
from pagebook.cli import verbs
from pagebook.errors import TooManyMappings
from pagebook.machine import Space
from pagebook.sv import SV57, R, W, X
from pagebook.views import facts
from worlds import World

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


@pytest.mark.parametrize("verb", ["maps", "check", "walk 0x1000", "owners", "serve --no-browser", "report -o -"])
def test_a_root_and_a_satp_are_two_ways_to_say_where_a_table_is(verb: str) -> None:
    words = [*verb.split(), saved(), "--satp", "0x8000000000080001", "--root", "0x80002000", "--root", "0x80003000"]
    assert call(words).refusal == (
        "pagebook: --satp and --root both say where a table starts; give one of the two, once for each table, such as "
        "--root 0x80002000 alone"
    )


@pytest.mark.parametrize("command", ["boot", "boot --quiet", "maps", "tree", "walk 0x80000000"])
def test_json_is_all_that_is_printed(command: str) -> None:
    document = json.loads(call(f"{command} --json {SMALL}").must(0).out)
    assert document["schema"] == f"pagebook.{command.split()[0]}"
    assert document["version"] == 1


def test_json_has_the_exit_status_of_the_text() -> None:
    assert json.loads(call(f"walk 0 --json {SMALL}").must(1).out)["mapped"] is False
    assert json.loads(call(f"maps --va 0 --space kernel --json {SMALL}").must(1).out)["spaces"][0]["runs"] == []


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


def test_nothing_found_is_said() -> None:
    assert call(["maps", *SMALL.split(), "--has", "wx"]).err == "pagebook: no mapping is as asked\n"
