"""The monitor's client: both monitors, one client at a time, and answers that are trusted in nothing."""

from __future__ import annotations

import socket
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fake_qemu import FakeMonitor, Listener, open_for
from pagebook.errors import BadTarget, PagebookError, SourceLost
from pagebook.sources.processes import Socket
from pagebook.sources.qmp import Monitor, connect, harts_in, host_address_in, ram_in, registers_in, words_in

REGISTERS = """
CPU#0
 V      =   0
 pc       0000000080000c3a
 mtvec    0000000080005b40
 satp     8000000000087fff
""" + "\n".join(f" x{n}/a{n} {n:016x}" for n in range(32)) + """
CPU#1
 pc       0000000080000000
 satp     0000000000000000
 x1/ra    zzz
"""  # fmt: skip

TREE = """FlatView #0
 AS "I/O", root: io
  0000000000000000-000000000000ffff (prio 0, ram): wrong

FlatView #1
 AS "memory", root: system
 AS "cpu-memory-0", root: system
  0000000000001000-000000000000ffff (prio 0, rom): board.mrom
  0000000010000000-0000000010000007 (prio 0, i/o): serial
  0000000020000000-0000000021ffffff (prio 0, romd): flash
  0000000080000000-0000000083ffffff (prio 0, ram): m0
  0000000084000000-0000000087ffffff (prio -1, ram): m1 @0000000000001000
"""


@pytest.mark.parametrize("qmp", [True, False])
@pytest.mark.parametrize("tcp", [True, False])
def test_both_monitors_answer_a_line_with_its_text(qmp: bool, tcp: bool):
    fake = FakeMonitor({"info registers -a": REGISTERS}, qmp=qmp, tcp=tcp)
    with open_for(fake):
        where = Socket(None, "localhost", fake.port) if tcp else Socket(fake.path)
        with Monitor(where) as monitor:
            assert monitor.ask("info registers -a").strip() == REGISTERS.strip()
            assert monitor.running()
            monitor.ask("stop")
            assert not monitor.running()
            assert "unknown command" in monitor.ask("nonsense")
            assert (monitor.peer is None) == tcp
        with Monitor(where) as monitor:  # the first made room
            assert not monitor.running()


def test_a_monitor_on_this_machine_is_reached_where_no_name_has_an_address(monkeypatch: pytest.MonkeyPatch):
    asked = socket.getaddrinfo

    def without_names(host: str | None, *rest: int) -> object:
        if host is not None:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return asked(host, *rest)

    monkeypatch.setattr(socket, "getaddrinfo", without_names)
    fake = FakeMonitor({}, tcp=True)
    with open_for(fake), Monitor(Socket(None, "localhost", fake.port)) as monitor:
        assert monitor.running()


class Script(Listener):
    """Says something to whoever connects, and hangs up after the first line it hears."""

    def __init__(self, first: bytes, then: bytes = b"") -> None:
        self.first, self.then = first, then
        super().__init__()

    def serve(self, client: socket.socket) -> None:
        client.sendall(self.first)
        if self.then:
            client.recv(4096)
            client.sendall(self.then)


HELLO = b'{"QMP": {}}\r\n'
READY = b'{"return": {}, "id": 1}\n'


@pytest.mark.parametrize(
    ("first", "then", "error", "words"),
    [
        (b"SSH-2.0-OpenSSH\r\n", b"", BadTarget, "no QEMU monitor: it says b'SSH"),
        (b"", b"", SourceLost, "QEMU has closed its monitor"),
        (HELLO, b"", SourceLost, "QEMU has closed its monitor"),
        (HELLO, b"not json\n", SourceLost, "does not speak QMP"),
        (HELLO, b"[1]\n", SourceLost, "does not speak QMP"),
        (HELLO, b"[" * 100000 + b"\n", SourceLost, "does not speak QMP"),
        (HELLO, b'{"error": {"class": "CommandNotFound"}, "id": 1}\n', SourceLost, "refuses qmp_capabilities"),
        (HELLO, b'{"return": 1, "id": 7}\n', SourceLost, "QEMU has closed its monitor"),
    ],
)
def test_what_is_no_monitor_or_goes_away_is_told(first: bytes, then: bytes, error: type[PagebookError], words: str):
    with open_for(Script(first, then)) as script, pytest.raises(error, match=words):
        Monitor(Socket(script.path)).close()


class Silent(FakeMonitor):
    """A monitor that greets, and then answers nothing of what it is asked."""

    def serve(self, client: socket.socket) -> None:
        client.sendall(HELLO if self.qmp else b"QEMU 7 monitor\r\n(qemu) ")
        while line := client.recv(4096):
            if b"qmp_capabilities" in line:
                client.sendall(READY)


@pytest.mark.parametrize("qmp", [True, False])
def test_a_monitor_that_falls_silent_is_told(qmp: bool, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("pagebook.sources.qmp.ANSWER_SECONDS", 0.1)
    with (
        open_for(Silent(qmp=qmp)) as fake,
        Monitor(Socket(fake.path)) as monitor,
        pytest.raises(SourceLost, match="does not answer any more: QEMU is stopped or hangs"),
    ):
        monitor.ask("info status")


@pytest.mark.parametrize("qmp", [True, False])
def test_an_answer_that_was_interrupted_is_not_taken_for_the_next(qmp: bool, monkeypatch: pytest.MonkeyPatch):
    def interrupt(end: bytes, deadline: float) -> bytes:
        raise KeyboardInterrupt

    fake = FakeMonitor({"info a": "first\n", "info b": "second\n"}, qmp=qmp)
    with open_for(fake), Monitor(Socket(fake.path)) as monitor:
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(monitor, "_answer", interrupt)
            monitor.ask("info a")
        assert monitor.ask("info b") == "second\n"
        assert monitor.ask("info a") == "first\n"


def test_an_answer_that_is_no_text_is_none():
    with open_for(FakeMonitor({"x": 5})) as fake, Monitor(Socket(fake.path)) as monitor:  # type: ignore[dict-item]
        assert monitor.ask("x") == ""


def test_a_monitor_that_somebody_else_has_is_said_to_be_busy():
    busy = "QEMU serves one client at a time, and another is connected, or QEMU itself is stopped; close that client"
    with open_for(FakeMonitor()) as fake, Monitor(Socket(fake.path)), pytest.raises(BadTarget, match=busy):
        Monitor(Socket(fake.path), greeting_seconds=0.1)


@pytest.mark.parametrize(
    ("where", "words"),
    [
        (Socket("/nowhere/at/all"), "cannot connect to /nowhere/at/all: No such file.*QEMU with -qmp unix"),
        (Socket("/" + "x" * 300), "cannot connect.*too long"),
        (Socket("a\0b"), "cannot connect"),
        (Socket(None, "no such host.invalid", 5), "cannot connect to no such host.invalid:5"),
    ],
)
def test_a_socket_that_is_not_there_is_told(where: Socket, words: str):
    with pytest.raises(BadTarget, match=words):
        connect(where, 1)


def test_a_socket_that_nobody_listens_at_any_more_is_told():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(BadTarget, match=f"nobody listens at 127.0.0.1:{port}: if a QEMU did, it has ended"):
        connect(Socket(None, "127.0.0.1", port), 1)


def test_harts_are_read_with_what_is_there_of_them():
    first, second = harts_in(REGISTERS)
    assert (first.number, first.satp, first.privilege) == (0, 0x8000_0000_0008_7FFF, None)
    assert first.registers == (0x8000_0C3A, *range(1, 32))
    assert (second.number, second.satp, second.registers) == (1, 0, ())
    assert registers_in(REGISTERS, "mtvec") == [0x8000_5B40, None]
    assert harts_in("unknown command") == ()
    assert harts_in(f"CPU#{'7' * 5000}\n pc 123\n") == ()
    assert harts_in("CPU#0\n pc 123\n") == (first._replace(satp=None, registers=()),)


def test_ram_is_what_harts_reach_of_it():
    assert ram_in(TREE) == [(0x8000_0000, 64 << 20, "m0"), (0x8400_0000, 64 << 20, "m1")]
    assert ram_in("nonsense") == []
    assert ram_in(TREE.replace('AS "memory"', "").replace('AS "cpu-memory-0"', "")) == [(0, 0x10000, "wrong")]


def test_a_host_address_is_read_or_none():
    assert host_address_in("Host virtual address for 0x80000000 (m0) is 0x7f300be00000\n") == 0x7F30_0BE0_0000
    assert host_address_in("No memory is mapped at address 0x0") is None


def test_words_are_believed_only_when_all_of_them_are_there():
    text = "0000000080000000: 0x0000000000000001 0x0000000000000002\n0000000080000010: 0x0000000000000003\n"
    assert words_in(text, 0x8000_0000, 3).tolist() == [1, 2, 3]
    for pa, count in ((0x8000_0000, 4), (0x8000_0008, 3)):
        with pytest.raises(SourceLost, match="the monitor gives 3 words"):
            words_in(text, pa, count)
    with pytest.raises(SourceLost, match="Cannot access memory"):
        words_in("0000000080000000: Cannot access memory\n", 0x8000_0000, 1)


@given(st.one_of(st.text(), st.lists(st.sampled_from(REGISTERS.split("\n") + TREE.split("\n"))).map("\n".join)))
def test_no_answer_is_an_error_of_ours(text: str):
    readers: list[Callable[[str], object]] = [harts_in, ram_in, host_address_in, lambda t: registers_in(t, "satp")]
    for read in readers:
        read(text)
    with pytest.raises(SourceLost):
        words_in(text, 0x8000_0000, 1)
