"""Answers about time: those of the tape are of the model at that step, and those of a guest say what changed."""

from __future__ import annotations

import pytest

from pagebook.targets import ModelOptions, Target, opened
from pagebook.web import looks as looks_room
from pagebook.web import tapes as tapes_room
from pagebook.web.app import make_app
from pagebook.web.looks import Looks
from pagebook.xv6.boot import boot, machine
from pagebook.xv6.driving import OPERATIONS, drive
from test_web import PORT, TOKEN, api, refused

SMALL = {"ram": 4 << 20, "nproc": 8}
OPS = "fork.2,sbrk.3.8192,lose.3"


@pytest.fixture(scope="module")
def app():
    with opened("xv6", ModelOptions(**SMALL)) as target:
        yield make_app(Looks(target, moves=False), "127.0.0.1", PORT, TOKEN)


def test_the_tape_tells_the_story_the_operations_and_the_processes(app):
    k = boot(**SMALL)
    found = api(app, "tape")
    assert [(one["function"], one["text"], one["free"]) for one in found["told"]] == k.story
    assert found["told"][-1]["steps"] <= found["steps"]
    assert [one["name"] for one in found["processes"]] == ["init", "sh"]
    assert found["parts"] == []
    assert {one["name"] for one in found["operations"]} == set(OPERATIONS) - {"lazy"}
    assert all(one["idea"].endswith(".") for one in found["operations"])
    assert found["programs"] == ["init", "sh"]


def steps(app, operations):
    """How many steps the tape has with so many of the operations."""
    return api(app, "tape", f"ops={','.join(OPS.split(',')[:operations])}")["steps"]


def test_operations_are_parts_of_the_tape_with_what_came_of_them(app):
    boot_alone = api(app, "tape")["steps"]
    found = api(app, "tape", f"ops={OPS}")
    fork, sbrk, _ = found["parts"]
    assert [one["word"] for one in found["parts"]] == OPS.split(",")
    assert fork["outcome"] == "process 3 is born"
    assert boot_alone < steps(app, 1) < steps(app, 2) == found["steps"] - 1
    assert [len(api(app, "tape", f"ops={ops}")["told"]) for ops in ("", "fork.2")] == [fork["told"], sbrk["told"]]
    assert api(app, "tape")["steps"] == boot_alone, "without them the tape is the boot alone"


def test_what_an_operation_without_a_step_tells_is_its_own_and_not_of_the_one_before(app):
    store = "store.2.0x900000.0x2a"
    before = api(app, "tape", "ops=fork.2")
    found = api(app, "tape", f"ops=fork.2,{store}")
    part = found["parts"][1]
    assert found["steps"] == before["steps"]
    assert part["told"] == len(before["told"])
    assert "0x900000" in found["told"][part["told"]]["text"] or part["told"] == len(found["told"])


def test_every_answer_is_of_the_step_that_is_asked_for(app):
    steps = api(app, "tape", f"ops={OPS}")["steps"]
    k = boot(**SMALL)
    for word in OPS.split(","):
        drive(k, word)
    at_end = api(app, "machine", f"ops={OPS}")
    assert [one["name"] for one in at_end["spaces"]] == [one.name for one in machine(k).spaces]
    free = {one["name"]: one["frames"] for one in at_end["roles"]}
    assert (free["free"], free["unknown"]) == (k.kmem.count, 1)
    assert api(app, "machine", f"ops={OPS}&t={steps}")["roles"] == at_end["roles"]
    found = api(app, "checks", f"ops={OPS}")["findings"]
    assert [one["rule"] for one in found] == ["PB102"]
    assert api(app, "frame", f"ops={OPS}&pa={found[0]['pa']}")["role"] == "unknown"
    assert api(app, "frame", f"ops={OPS}&t={steps - 1}&pa={found[0]['pa']}")["role"] == "free"
    assert api(app, "machine", "t=0")["spaces"] == []
    assert api(app, "checks")["findings"] == [], "the machine itself is as it booted"


def test_steps_are_told_in_words_and_ptes_with_their_place(app):
    found = api(app, "steps", f"ops={OPS}&from={steps(app, 1)}&to={steps(app, 2)}")["steps"]
    assert [one["kind"] for one in found] == ["alloc", "bytes", "pte"] * 2
    alloc, filled, pte = found[:3]
    assert alloc["words"].startswith(f"kalloc takes the frame {alloc['pa']} off the free list; ")
    assert filled["words"] == f"4,096 bytes are written at {alloc['pa']}"
    assert pte["words"] == f"sh (pid 3): the level-0 PTE for {pte['va']}, at {pte['pa']}, now maps {alloc['pa']}, rw-u"
    assert (pte["space"], pte["level"], pte["before"]) == ("sh (pid 3)", 0, "0x0")
    assert int(pte["after"], 16) & 0xFF == 0b10111


def test_in_the_middle_of_something_it_is_said_that_it_is_the_middle(app):
    middle = steps(app, 0) + 3
    said = api(app, "machine", f"ops={OPS}&t={middle}")["remarks"]
    assert said == [f"At step {middle:,} the kernel is in the middle of something: what is half done may look wrong."]
    assert api(app, "machine", f"ops={OPS}&t={steps(app, 1)}")["remarks"] == []


def test_a_longer_sequence_goes_on_from_the_kept_tape(monkeypatch):
    booted = []
    with opened("xv6", ModelOptions(**SMALL)) as target:
        counting = Target(target.name, target.look, boot=lambda powered: booted.append(1) or target.boot(powered))
        app = make_app(Looks(counting, moves=False), "127.0.0.1", PORT, TOKEN)
        for ops in ("", "fork.2", "fork.2,fork.3", "fork.2,fork.3"):
            api(app, "tape", f"ops={ops}")
        assert len(booted) == 1
        api(app, "tape", "ops=fork.1")
        assert len(booted) == 2, "another sequence is another tape"


@pytest.mark.parametrize(
    ("name", "query", "said"),
    [
        ("tape", "ops=dance.1", "'dance' is no operation"),
        ("tape", "ops=fork.9", "there is no process 9"),
        ("tape", f"ops={','.join(['wait.1'] * 65)}", "65 operations are more than a tape takes"),
        ("tape", "ops=exit.1.0,fork.2", "the kernel has panicked"),
        ("tape", "ops=sbrk.2.abc", "sbrk: 'abc' is no number; write it as 4096 or 0x1000"),
        ("tape", "ops=sbrk.2.-99999999999", "sbrk takes an int: -99999999999 is none"),
        ("tape", "ops=store.2.12345678901.1", "the address: is 12345678901 hexadecimal?"),
        ("machine", "t=-1", "t=-1 is no whole number"),
        ("machine", "ops=fork.9", "there is no process 9"),
        ("steps", "from=5&to=4", "steps 5 to 4 of a tape"),
        ("steps", "from=0&to=257", "ask for up to 256 at a time"),
        ("steps", "from=0&to=99999999", "steps 0 to 99999999 of a tape"),
    ],
)
def test_what_no_tape_has_is_refused(app, name, query, said):
    assert said in refused(app, name, query)


def test_a_panic_is_the_end_of_the_tape(app):
    found = api(app, "tape", "ops=exit.1.0")["parts"]
    assert found[0]["ended"]
    assert found[0]["outcome"].startswith("panic: init exiting")


def test_a_machine_that_nobody_recorded_has_no_tape():
    model = machine(boot(**SMALL))
    app = make_app(Looks(Target("file", lambda: model), moves=False), "127.0.0.1", PORT, TOKEN)
    assert not api(app, "machine")["tape"]
    assert "only the model has a tape" in refused(app, "tape", "")
    assert "only the model has a tape" in refused(app, "machine", "t=1")


def test_a_tape_that_would_be_too_long_is_refused_with_the_remedy(app, monkeypatch):
    monkeypatch.setattr(tapes_room, "MOST_RAM", 1 << 20)
    with opened("xv6", ModelOptions(**SMALL)) as target:
        fresh = make_app(Looks(target, moves=False), "127.0.0.1", PORT, TOKEN)
        assert "serve the model with --ram 1G or less" in refused(fresh, "tape", "")


def test_what_changed_in_a_guest_is_kept_for_some_minutes(monkeypatch):
    monkeypatch.setattr(looks_room, "LEAST_PAUSE", 0.0)
    monkeypatch.setattr(looks_room, "SHARE", 0)
    k = boot(**SMALL)
    looks = Looks(Target("moving", lambda: machine(k), live=True), moves=True)
    app = make_app(looks, "127.0.0.1", PORT, TOKEN)
    assert api(app, "changes")["changes"] == []
    drive(k, "lose.2")
    (change,) = api(app, "changes")["changes"]
    assert change["generation"] == looks.now().generation - 1
    assert "".join(text for line in change["lines"] for text, _ in line).strip().startswith("1 frame: free -> unknown")
    monkeypatch.setattr(looks_room, "REMEMBERED", -1.0)
    assert api(app, "changes")["changes"] == []
