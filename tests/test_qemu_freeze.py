"""A guest that is stopped while it is read: it goes on afterwards, whatever happens meanwhile."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from itertools import count
from types import FrameType

import pytest

from fake_qemu import LINUX, FakeMonitor, FakeStub, open_for
from pagebook.errors import BadTarget
from pagebook.sources.qemu import Qemu
from scenes import CODE, MAKEFILE, SATP, Scene, same_tables

pytestmark = LINUX


@pytest.mark.parametrize("runs", [True, False])
@pytest.mark.parametrize("qmp", [True, False])
def test_a_frozen_guest_is_stopped_meanwhile_and_then_as_it_was(scene: Scene, runs: bool, qmp: bool):
    child = scene.start()
    fake = scene.monitor(child, running=runs, qmp=qmp)
    qemu = scene.find(f"qmp:{fake.path}")
    with qemu.frozen():
        assert not fake.running
        source = qemu.look()
        assert not source.live
        assert bool(source.paused) is not runs
        assert [h.satp for h in source.harts] == [SATP]
        same_tables(source)
    assert fake.running == runs
    assert ("stop" in fake.asked) == ("cont" in fake.asked) == runs
    assert qemu.look().live == runs


@pytest.mark.parametrize(
    ("status", "said"),
    [
        ("running", ""),
        ("running (single step mode)", ""),
        ("paused", "the guest is paused and nothing in it moves: cont in its monitor lets it run"),
        ("paused (debug)", "the guest is paused (debug) and nothing in it moves: cont in its monitor or debugger lets"),
        ("who knows", ""),
    ],
)
def test_a_guest_that_somebody_else_has_stopped_is_told(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, status: str, said: str
):
    fake = scene.monitor(scene.start())
    qemu = scene.find(f"qmp:{fake.path}")
    real = fake.answer
    monkeypatch.setattr(fake, "answer", lambda line: f"VM status: {status}\n" if line == "info status" else real(line))
    source = qemu.look()
    assert source.paused.startswith(said)
    assert (bool(source.paused), source.live) == (bool(said), not said)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT])
def test_a_frozen_guest_goes_on_when_we_are_interrupted_or_ended(scene: Scene, number: signal.Signals):
    fake = scene.monitor(scene.start())
    qemu = scene.find(f"qmp:{fake.path}")
    before = signal.getsignal(number)
    with pytest.raises((KeyboardInterrupt, SystemExit)), qemu.frozen():
        assert not fake.running
        signal.raise_signal(number)
    assert fake.running
    assert signal.getsignal(number) is before


def test_while_the_guest_stands_nothing_suspends_us(scene: Scene, capfd: pytest.CaptureFixture[str]):
    fake = scene.monitor(scene.start())
    qemu = scene.find(f"qmp:{fake.path}")
    numbers = (signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU)
    before = [signal.getsignal(number) for number in numbers]
    with qemu.frozen():
        for number in numbers:
            signal.raise_signal(number)  # we go on, and so does the test
    assert fake.running
    assert [signal.getsignal(number) for number in numbers] == before == [signal.SIG_DFL] * 3
    assert capfd.readouterr().err == (
        "\npagebook: not suspended, for the guest would stay stopped; Ctrl-C ends it and lets the guest run\n"
    )


def test_a_signal_while_the_guest_is_let_go_on_waits_until_it_does(scene: Scene, monkeypatch: pytest.MonkeyPatch):
    fake = scene.monitor(scene.start())
    qemu = scene.find(f"qmp:{fake.path}")
    real = fake.answer

    def answer(line: str) -> str:
        if line == "cont":
            os.kill(os.getpid(), signal.SIGINT)
        return real(line)

    monkeypatch.setattr(fake, "answer", answer)
    with pytest.raises(KeyboardInterrupt), qemu.frozen():
        pass
    assert fake.running


def let_go_of_before_the_block(qemu: Qemu, fake: FakeMonitor | FakeStub) -> None:
    block = qemu.frozen()
    block.__enter__()
    assert not fake.running
    qemu.close()
    assert fake.running
    block.__exit__(None, None, None)


def test_a_guest_whose_frozen_block_never_begins_goes_on_when_it_is_let_go_of(scene: Scene):
    """A signal can come when the guest has been stopped and the block that it was stopped for has not begun."""
    fake = scene.monitor(scene.start())
    qemu = scene.find(f"qmp:{fake.path}")
    let_go_of_before_the_block(qemu, fake)
    assert fake.asked.count("cont") == 1


def test_wherever_a_signal_comes_while_the_guest_stands_it_goes_on(scene: Scene):
    """Between any two calls: in contextlib's, too, where no block of ours has begun or is still there."""
    fake = scene.monitor(scene.start())
    gc.freeze()  # what is there already is not what gc.collect has to look for, call after call
    scene.stack.callback(gc.unfreeze)
    for number in count():
        left, sent = number, False

        def between(frame: FrameType, event: str, arg: object) -> None:
            nonlocal left, sent
            if not fake.running and not sent:
                left -= 1
                if left < 0:
                    sent = True
                    signal.raise_signal(signal.SIGINT)

        with suppress(KeyboardInterrupt), Qemu.find(f"qmp:{fake.path}", proc=scene.proc, uid=1000) as qemu:
            sys.setprofile(between)
            try:
                with qemu.frozen():
                    pass
            finally:
                sys.setprofile(None)
        gc.collect()
        assert fake.running, f"it stands after a signal at call {number}"
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
        if not sent:
            break
    assert number > 100


def test_a_guest_on_a_gdbstub_whose_frozen_block_never_begins_goes_on_too(scene: Scene):
    fake = FakeStub([(SATP, 1, CODE)], running=True)
    scene.stack.enter_context(open_for(fake))
    scene.start("-S", "-gdb", f"tcp::{fake.port}")
    qemu = scene.find()
    let_go_of_before_the_block(qemu, fake)


def test_an_error_in_a_frozen_look_lets_the_guest_go_on(scene: Scene):
    fake = scene.monitor(scene.start())
    qemu = scene.find(f"qmp:{fake.path}")
    with pytest.raises(ZeroDivisionError), qemu.frozen():
        _ = 1 // 0
    assert fake.running


def test_freezing_works_in_another_thread_too(scene: Scene):
    fake = scene.monitor(scene.start())
    qemu = scene.find(f"qmp:{fake.path}")
    seen: list[bool] = []

    def work() -> None:
        with qemu.frozen():
            seen.append(fake.running)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [False]
    assert fake.running


@pytest.mark.parametrize("runs", [True, False])
def test_a_gdbstub_is_asked_only_when_the_guest_is_to_be_stopped(scene: Scene, runs: bool):
    fake = FakeStub([(SATP, 1, CODE)], running=runs)
    scene.stack.enter_context(open_for(fake))
    scene.start("-S", "-gdb", f"tcp::{fake.port}")
    qemu = scene.find()
    source = qemu.look()
    assert source.harts == ()
    assert "gdbstub tells them, but stops the guest, so it is asked only with --freeze" in source.no_satp
    assert fake.asked == []
    with qemu.frozen():
        assert not fake.running
        source = qemu.look()
        assert [(h.satp, h.privilege, h.registers[0]) for h in source.harts] == [(SATP, "S", CODE)]
        assert (source.live, source.remarks) == (False, ())
    assert fake.running == runs


def test_a_gdbstub_with_a_debugger_on_it_is_left_alone(scene: Scene):
    """A connection that waits in line would stop the guest when the debugger leaves."""
    fake = FakeStub([(SATP, 1, CODE)])
    scene.stack.enter_context(open_for(fake))
    scene.start("-gdb", f"tcp::{fake.port}")
    (scene.proc / "5/net").mkdir()
    (scene.proc / "5/net/tcp").write_text(f"head\n 0: 0100007F:{fake.port:04X} 0100007F:1111 01 0\n")
    with pytest.raises(BadTarget, match=r"a debugger is connected to its gdbstub.*detach that"), scene.find().frozen():
        pass
    assert fake.asked == []


def test_a_guest_without_monitor_or_gdbstub_cannot_be_stopped(scene: Scene):
    scene.start()
    qemu = scene.find()
    message = f"cannot be stopped: this QEMU has no monitor to ask for it; .*{MAKEFILE}"
    with pytest.raises(BadTarget, match=message), qemu.frozen():
        pass


ENDED = """
import os, signal
from pagebook.sources.qemu import _ended_in_order
def hit(where):
    if where in {places!r}:
        os.kill(os.getpid(), signal.{name})
with _ended_in_order() as ending:
    try:
        try:
            hit("inside")
        finally:
            hit("leaving")
            ending.armed = False
            hit("left")
    finally:
        hit("before cont")
        print("cont", flush=True)
        hit("after cont")
print("went on")
"""


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT"])
@pytest.mark.parametrize(
    "places", [["inside"], ["leaving"], ["left"], ["before cont"], ["after cont"], ["inside", "leaving", "before cont"]]
)
def test_whenever_a_signal_comes_the_guest_is_let_go_on_first(name: str, places: list[str]):
    done = subprocess.run(
        [sys.executable, "-c", ENDED.format(places=places, name=name)], capture_output=True, text=True, timeout=60
    )
    assert done.stdout == "cont\n"
    assert done.returncode != 0
