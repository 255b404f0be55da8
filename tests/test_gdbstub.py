"""The gdbstub's client: registers, and a guest that goes on as it was."""

from __future__ import annotations

import socket
import time
from contextlib import suppress
from pathlib import Path

import pytest

from fake_qemu import FakeStub, entry, open_for
from pagebook.errors import BadTarget, SourceLost
from pagebook.machine import Hart
from pagebook.sources.gdbstub import GdbStub, taken
from pagebook.sources.processes import Socket, running

SATP = 0x8000_0000_0008_7FFF
HARTS = [(SATP, 1, 0x8000_0000), (0, 3, 0x1000), (SATP + 1, 0, 0x20)]


def stub(fake: FakeStub, seconds: float = 2.0) -> GdbStub:
    return GdbStub(Socket(None, "127.0.0.1", fake.port), seconds)


def test_every_hart_has_its_satp_privilege_and_registers():
    with open_for(FakeStub(HARTS)) as fake:
        client = stub(fake)
        registers = tuple(range(1001, 1032))
        assert client.harts() == (
            Hart(0, SATP, "S", (0x8000_0000, *registers)),
            Hart(1, 0, "M", (0x1000, *registers)),
            Hart(2, SATP + 1, "U", (0x20, *registers)),
        )
        client.detach()


@pytest.mark.parametrize("running", [True, False])
def test_a_guest_is_stopped_meanwhile_and_then_as_it_was(running: bool):
    with open_for(FakeStub(HARTS, running=running)) as fake:
        client = stub(fake)
        assert client.was_running == running
        assert not fake.running
        client.detach()
        assert fake.running == running
        assert ("D;1" in fake.asked) == running


@pytest.mark.parametrize(
    ("special", "expected"),
    [
        ({"qXfer": "E00"}, (None, None, True)),
        ({"qXfer": "m"}, (None, None, True)),
        ({"p": "E14"}, (None, None, True)),
        ({"g": "xx"}, (SATP, "S", False)),
        ({"g": "00"}, (SATP, "S", False)),
    ],
)
def test_what_a_stub_does_not_tell_is_not_known(special: dict[str, str], expected: tuple[int | None, str | None, bool]):
    with open_for(FakeStub(HARTS[:1])) as fake:
        fake.special |= special
        client = stub(fake)
        (hart,) = client.harts()
        assert (hart.satp, hart.privilege, bool(hart.registers)) == expected
        client.detach()


def test_runs_and_escapes_are_undone():
    with open_for(FakeStub(HARTS)) as fake:
        fake.special["m"] = "0* 1}\x11f2"  # 0000 1 followed by an escaped 1, then f2
        client = stub(fake)
        assert client.ask("m0,4") == "000011f2"
        client.detach()


def test_a_stub_that_does_not_answer_has_a_debugger():
    with open_for(FakeStub(HARTS)) as fake:
        client = stub(fake)
        with pytest.raises(BadTarget, match="a debugger is connected to it already; detach that"):
            stub(fake, 0.1)
        client.detach()


def test_a_connection_whose_turn_came_too_late_lets_the_guest_go_on():
    with open_for(FakeStub(HARTS)) as fake:
        client = stub(fake)
        with pytest.raises(BadTarget):
            stub(fake, 0.1)
        client.detach()
        deadline = time.monotonic() + 5
        while not (fake.asked.count("D;1") == 2 and fake.running) and time.monotonic() < deadline:
            time.sleep(0.01)
        assert fake.asked.count("D;1") == 2
        assert fake.running


def test_a_stub_that_goes_away_is_told():
    with open_for(FakeStub(HARTS)) as fake:
        client = stub(fake)
        client._socket.close()
        with pytest.raises(SourceLost, match="QEMU has closed its gdbstub"):
            client.harts()


class Silent(FakeStub):
    """A stub that answers the greeting and nothing else."""

    def answer(self, text: str) -> str:
        if not text.startswith("qSupported"):
            time.sleep(0.3)
        return super().answer(text)


def test_a_stub_that_falls_silent_is_told_even_when_the_guest_shall_go_on(monkeypatch: pytest.MonkeyPatch):
    with open_for(Silent(HARTS)) as fake:
        client = stub(fake)
        monkeypatch.setattr(GdbStub.ask, "__defaults__", (0.05,))
        with pytest.raises(SourceLost, match="does not answer any more"):
            client.harts()
        with pytest.raises(SourceLost, match="does not answer any more"):
            client.detach()


class Restless(FakeStub):
    """A stub that says again and again that the guest has stopped, and never what it can do."""

    def answer(self, text: str) -> str:
        return "T05" if text.startswith("qSupported") else super().answer(text)

    @staticmethod
    def say(client: socket.socket, data: bytes) -> None:
        with suppress(OSError):
            while data.startswith(b"+$T"):
                client.sendall(data)
                time.sleep(0.01)
            client.sendall(data)


def test_a_stub_that_tells_of_stops_without_end_is_given_up():
    with open_for(Restless(HARTS)) as fake:
        began = time.monotonic()
        with pytest.raises(BadTarget, match="does not answer"):
            stub(fake, 0.2)
        assert time.monotonic() - began < 5


def test_whether_a_debugger_is_connected_shows_in_the_system_s_tables(tmp_path: Path):
    directory = entry(tmp_path, 5, ["qemu-system-riscv64"])
    (process,) = running(tmp_path)
    where = Socket(None, "localhost", 26000)
    assert not taken(process, where)
    (directory / "net").mkdir()
    head = "  sl  local_address rem_address   st\n"
    listening = "   0: 00000000:6590 00000000:0000 0A 00000000:00000000\n"
    (directory / "net/tcp").write_text(head + listening)
    assert not taken(process, where)
    (directory / "net/tcp6").write_text(head + listening + "   1: 0000000001:6590 000001:C350 01 00000000:00000000\n")
    assert taken(process, where)
    assert not taken(process, Socket(None, "localhost", 26001))
    (directory / "net/unix").write_text("Num RefCount\n0: 0002 0000 00010000 0001 01 99 /a/gdb\n")
    assert not taken(process, Socket("gdb"))
    (directory / "net/unix").write_text("Num RefCount\n0: 0003 0000 00000000 0001 03 99 /a/gdb\n")
    assert taken(process, Socket("gdb"))
