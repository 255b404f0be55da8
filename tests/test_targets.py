"""The words for a machine: the model by its name, files by theirs, nothing else."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path

import pytest

from calls import saved
from elves import EXECUTE, READ, build_elf
from fake_xv6 import KERNBASE, Fake, Shape
from pagebook.errors import BadAddress, BadFile, BadTarget, Panic
from pagebook.examples import rules_machine
from pagebook.guests.choosing import GuestOptions
from pagebook.machine import Hart, Machine, to_note
from pagebook.memory import Memory
from pagebook.source import Source
from pagebook.sv import SV39
from pagebook.targets import (
    BROKEN,
    LOOKS,
    MODEL,
    MOVED,
    TORN,
    ModelOptions,
    Outside,
    Target,
    _as_machine,
    boot_model,
    open_target,
    opened,
)
from pagebook.units import PAGE_SIZE
from pagebook.views.facts import Filter, listing
from pagebook.xv6 import boot as xv6
from pagebook.xv6.programs import INIT

SMALL = ModelOptions(ram=2 << 20)


def test_xv6_is_the_model_booted_as_the_options_say() -> None:
    opened = open_target("xv6", ModelOptions(rev="2022", ram=4 << 20, nproc=3))
    assert opened.name == "xv6 (2022)"
    assert opened.memory.regions[0].size == 4 << 20
    assert sum(area.name.startswith("stack of") for area in opened.spaces[0].areas) == 3
    assert opened.memory.regions[0].writable


def test_without_options_the_model_is_the_one_that_boots_by_default() -> None:
    opened = open_target(MODEL)
    assert to_note(opened) == to_note(xv6.machine(xv6.boot()))
    assert ModelOptions() == ModelOptions(rev=None, ram=128 << 20, nproc=64)


def test_a_file_is_opened_whether_as_path_or_with_default_options() -> None:
    assert to_note(open_target(str(saved()))) == to_note(open_target(str(saved()), ModelOptions()))
    assert not open_target(str(saved())).memory.regions[0].writable


def test_rules_is_the_machine_of_the_examples_and_takes_no_options_of_the_model() -> None:
    assert to_note(open_target("rules")) == to_note(rules_machine())
    with pytest.raises(BadTarget, match="would shape the model; 'rules' is as it is"):
        open_target("rules", SMALL)


def test_a_program_is_named_after_its_file_and_run_by_the_shell(tmp_path: Path) -> None:
    for file, name in (("_crash", "crash"), ("grep", "grep"), ("_", "program")):
        (tmp_path / file).write_bytes(INIT)
        k = boot_model(ModelOptions(ram=2 << 20, program=str(tmp_path / file)))
        assert [(p.pid, p.name, p.parent and p.parent.name) for p in k.proc if p.pid] == [
            (1, "init", None), (2, "sh", "init"), (3, name, "sh"),
        ]  # fmt: skip


def test_a_file_named_like_the_model_is_reached_by_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "xv6").write_bytes(saved().read_bytes())
    monkeypatch.chdir(tmp_path)
    assert open_target("./xv6").memory.regions[0].size == 2 << 20
    assert open_target("xv6", SMALL).memory.regions[0].writable


@pytest.mark.parametrize(
    "option",
    [{"rev": "2022"}, {"kernel": "k"}, {"init": "i"}, {"sh": "s"}, {"program": "p"}, {"ram": 2 << 20}, {"nproc": 8}],
    ids=str,
)
def test_options_of_the_model_with_a_file_are_refused(option: dict[str, object]) -> None:
    assert {field.name for field in fields(ModelOptions)} == {"rev", "kernel", "init", "sh", "program", "ram", "nproc"}
    why = "was saved by pagebook and says itself" if "kernel" in option else "would shape the model"
    with pytest.raises(BadTarget, match=why):
        open_target(str(saved()), ModelOptions(**option))  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["nothere", "", "x" * 5000, "/dev/null/x", "XV6"])
def test_a_name_of_nothing_is_refused_with_what_would_be_something(name: str) -> None:
    with pytest.raises(BadTarget, match="a target is 'xv6', the model booted afresh, 'qemu', a guest"):
        open_target(name)


def test_a_file_that_is_no_machine_is_refused(tmp_path: Path) -> None:
    (tmp_path / "kernel").write_bytes(build_elf([(0x8000_0000, 4, 4, READ | EXECUTE, b"\x13\0\0\0")]))
    with pytest.raises(BadFile, match="is an ELF file of type ET_EXEC; a saved machine is of type ET_CORE"):
        open_target(str(tmp_path / "kernel"))


def test_the_model_is_booted_afresh_with_the_files_as_they_were_when_it_was_opened(tmp_path: Path) -> None:
    file = tmp_path / "sh"
    file.write_bytes(INIT)
    with opened("xv6", ModelOptions(ram=2 << 20, sh=str(file))) as target:
        file.write_bytes(b"built anew, and not yet whole")
        assert target.boot is not None
        assert target.boot(lambda k: None).files["sh"] == INIT


def test_programs_are_read_from_their_files(tmp_path: Path) -> None:
    (tmp_path / "init").write_bytes(INIT)
    k = boot_model(ModelOptions(ram=2 << 20, init=str(tmp_path / "init"), sh=str(tmp_path / "init")))
    assert k.files == {"init": INIT, "sh": INIT}


@pytest.mark.parametrize(
    ("options", "error", "why"),
    [
        (ModelOptions(rev="1999"), BadTarget, "there is no revision '1999'; known are 2022, 2024, 2025"),
        (ModelOptions(ram=1 << 60), BadTarget, "ask for less"),
        (ModelOptions(ram=5000), BadTarget, "RAM of 5000 bytes is not a whole number"),
        (ModelOptions(nproc=-1), BadAddress, "NPROC is -1"),
        (ModelOptions(ram=256 << 10), Panic, "out of frames"),
        (ModelOptions(kernel="none"), BadFile, "cannot read kernel 'none'"),
        (ModelOptions(init="none"), BadFile, "cannot read program 'none'"),
        (ModelOptions(sh="none"), BadFile, "cannot read program 'none'"),
        (ModelOptions(program="none"), BadFile, "cannot read program 'none'"),
        (ModelOptions(program=""), BadFile, "cannot read program ''"),
        (ModelOptions(ram=2 << 20, nproc=2, program=str(saved())), BadFile, "is of type ET_EXEC"),
    ],
)
def test_a_model_that_cannot_be_booted_says_why(options: ModelOptions, error: type[Exception], why: str) -> None:
    with pytest.raises(error, match=why):
        boot_model(options)


def test_progress_counts_the_ram_that_booting_fills() -> None:
    counts: list[int] = []
    k = boot_model(ModelOptions(ram=8 << 20), counts.append)
    assert sum(counts) == k.layout.physstop - k.layout.end
    opened: list[int] = []
    open_target("xv6", ModelOptions(ram=8 << 20), opened.append)
    assert opened == counts


def test_what_is_said_of_a_guest_that_moves_is_what_two_looks_find(monkeypatch: pytest.MonkeyPatch) -> None:
    memory = Memory.anonymous(1 << 16)
    said = [("lasting", "for a moment"), ("another moment", "lasting"), ("lasting",), ("new", "lasting"), ()]
    looks = iter(said)

    class Moving:
        find = classmethod(lambda cls, words: cls())
        frozen = close = staticmethod(lambda: None)
        runs = "moving"

        def look(self) -> Source:
            return Source("moving", memory, (Hart(0, SV39.satp(0x8000_0000)),), live=True, remarks=next(looks))

    monkeypatch.setattr("pagebook.sources.qemu.Qemu", Moving)
    with opened("qemu") as target:
        assert target.live
        target.look()
        assert target.remarks == ["lasting"]
        target.look()
        target.look()
        assert target.remarks == ["lasting"]
    assert list(looks) == []


def astray(machine: Machine, skipped: int, number: int) -> Machine:
    """The machine as it is when its free list is read too late: it ends after ``skipped`` frames, at no frame."""
    memory = Memory.anonymous(machine.memory.regions[0].size)
    memory.write(memory.regions[0].base, bytes(machine.memory.regions[0].data))
    (chain,) = machine.free_lists()
    memory.write64(int(chain.frames[skipped]), 0x0505_0505_0505_0505 + number)
    return replace(machine, memory=memory)


def looking(*machines: Machine) -> Target:
    """A running guest that looks so, one look after the other."""
    return Target("guest", iter(machines).__next__, live=True)


def test_a_free_list_that_was_torn_is_read_again_until_it_is_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pagebook.targets.PAUSE", 0)
    whole = open_target(MODEL, SMALL)
    target = looking(astray(whole, 3, 1), astray(whole, 9, 2), whole)
    assert [len(chain.frames) for chain in target.settled().free_lists()] == [
        len(chain.frames) for chain in whole.free_lists()
    ]
    assert target.remarks == []


def test_a_free_list_that_is_whole_at_once_is_read_once() -> None:
    whole = open_target(MODEL, SMALL)
    assert looking(whole).settled().free_lists()


def test_a_free_list_that_is_damaged_for_good_is_what_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pagebook.targets.PAUSE", 0)
    whole = open_target(MODEL, SMALL)
    target = looking(astray(whole, 3, 1), astray(whole, 3, 1))
    (chain,) = target.settled().free_lists()
    assert (len(chain.frames), chain.broken is not None) == (4, True)
    assert target.remarks == []


def test_a_free_list_that_never_stands_still_is_said_to_and_the_longest_is_taken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("pagebook.targets.PAUSE", 0)
    whole = open_target(MODEL, SMALL)
    target = looking(*(astray(whole, 20 - abs(number - 4), number) for number in range(LOOKS)), whole)
    (chain,) = target.settled().free_lists()
    assert len(chain.frames) == 21
    assert target.remarks == [TORN]


def kept(fake: Fake) -> Memory:
    """A copy of its memory as it is now."""
    memory = Memory.anonymous(fake.shape.ram)
    fake.write()
    memory.write(KERNBASE, bytes(fake.memory.regions[0].data))
    return memory


def following(fake: Fake, *looks: tuple[Memory, Memory]) -> Target:
    """A running guest that looks so, one look after the other: the memory at first, and when the look is over."""
    path = str(fake.build())
    sources = iter(
        [Source("guest", first, kernel=path, live=True, again=lambda then=then: then) for first, then in looks]
    )
    return _as_machine("guest", Outside(sources.__next__, live=True), GuestOptions(), None)


@pytest.fixture
def moments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Fake, Memory, Memory]:
    """A guest, its memory now, and when another process is in the slot of one and its root is used for data."""
    monkeypatch.setattr("pagebook.targets.PAUSE", 0)
    fake = Fake(Shape(), tmp_path)
    now, (sh,) = kept(fake), [p for p in fake.k.proc if p.name == "sh"]
    root, sh.pid = sh.pagetable, 727
    later = kept(fake)
    later.write(root, b"\5" * PAGE_SIZE)
    return fake, now, later


def test_processes_that_come_and_go_while_they_are_read_are_read_again(moments: tuple[Fake, Memory, Memory]) -> None:
    fake, now, later = moments
    target = following(fake, (now, later), (now, now), (now, now))
    assert [one.pid for one in target.look().spaces] == [None, 1, 2]
    assert target.remarks == []


def test_a_table_that_became_something_else_is_read_again(moments: tuple[Fake, Memory, Memory]) -> None:
    fake, now, later = moments
    target = following(fake, (later, later), (now, now))
    assert [one.pid for one in target.look().spaces] == [None, 1, 2]
    assert target.remarks == []


def test_a_table_that_is_damaged_for_good_is_shown_as_it_is(moments: tuple[Fake, Memory, Memory]) -> None:
    fake, _, later = moments
    target = following(fake, *[(later, later)] * 2 * (BROKEN + 1))  # and once more, for what is to be remarked
    found = target.look()
    assert [one.pid for one in found.spaces] == [None, 1, 727]
    assert len(listing(found.spaces[2], Filter()).problem_rows)
    assert len(target.remarks) == 1 and "trapframe" in target.remarks[0]


def test_processes_that_never_stand_still_are_said_to(moments: tuple[Fake, Memory, Memory]) -> None:
    fake, now, later = moments
    target = following(fake, *[(now, later)] * (2 * LOOKS))
    target.look()
    assert target.remarks == [MOVED]
