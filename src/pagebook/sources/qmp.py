"""A client of QEMU's monitor on a socket, be it QMP or the human one, and its answers as plain data.

One line goes out, text comes back.  Only lines that change nothing in the guest are ever sent, `stop` and `cont` apart:
`x`, `gva2gpa` and all else that translates an address may set A bits in its page tables.
"""

from __future__ import annotations

import json
import re
import socket
import struct
import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pagebook.errors import BadTarget, SourceLost
from pagebook.machine import Hart
from pagebook.sources.processes import Socket

GREETING_SECONDS = 2.0
ANSWER_SECONDS = 60.0
LONGEST_ANSWER = 64 << 20
_PROMPT = b"(qemu) "
_REMEDY = "start QEMU with -qmp unix:qmp.sock,server,nowait and name that: qmp:qmp.sock"
_HART = re.compile(r"^CPU#([0-9]{1,4})\b", re.M)
_RANGE = re.compile(r"^\s*([0-9a-f]{8,16})-([0-9a-f]{8,16}) \(prio -?\d+, ram\): (\S+)", re.M)
_HOST = re.compile(r"Host virtual address for 0x[0-9a-f]+ \(.*\) is 0x([0-9a-f]{1,16})\b")
_XP_LINE = re.compile(r"^([0-9a-f]+): (0x[0-9a-f]{16}(?: 0x[0-9a-f]{16})*)\s*$", re.M)


class Monitor:
    """A connection to a monitor.  QEMU serves one client at a time, so it is not kept longer than it is needed.

    BadTarget when nobody listens, when somebody else is connected, or when what listens is no monitor; SourceLost when
    it goes away later.
    """

    def __init__(self, where: Socket, greeting_seconds: float = GREETING_SECONDS) -> None:
        self.where = where
        self._socket = connect(where, greeting_seconds)
        self._buffer = bytearray()
        self._asked = 0
        try:
            self._qmp = self._greet(greeting_seconds)
            if self._qmp:
                self._execute("qmp_capabilities")
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Monitor:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Make room for another client."""
        self._socket.close()

    @property
    def peer(self) -> int | None:
        """The process at the other end of a Unix socket; None where the system does not tell."""
        if self.where.path is None or not hasattr(socket, "SO_PEERCRED"):
            return None
        size = struct.calcsize("3i")
        pid: int = struct.unpack("3i", self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size))[0]
        return pid or None

    def ask(self, line: str) -> str:
        """What the human monitor prints for ``line``."""
        if self._qmp:
            answer = self._execute("human-monitor-command", {"command-line": line})
            return answer if isinstance(answer, str) else ""
        self._send(line.encode() + b"\n")
        self._asked += 1
        deadline = time.monotonic() + ANSWER_SECONDS
        while self._asked:  # a prompt for each line: an answer that was interrupted comes first
            text = self._answer(_PROMPT, deadline).decode(errors="replace")
            self._asked -= 1
        return (
            text.partition("\r\n")[2].removesuffix(_PROMPT.decode()).replace("\r\n", "\n")
        )  # after the line's own echo

    def status(self) -> str:
        """What the guest does: ``running``, ``paused``, or such a word with the reason after it."""
        return self.ask("info status").strip().removeprefix("VM status: ")

    def running(self) -> bool:
        """Whether the guest runs; False when it was stopped."""
        return "running" in self.status()

    def _greet(self, seconds: float) -> bool:
        """Whether it speaks QMP, from the first that it says."""
        try:
            first = self._until(b"\n", time.monotonic() + seconds)
            if first.startswith(b"QEMU "):
                self._until(_PROMPT, time.monotonic() + seconds)
                return False
        except TimeoutError as error:
            raise BadTarget(
                f"the monitor at {self.where} does not answer: QEMU serves one client at a time, and another is "
                "connected, or QEMU itself is stopped; close that client, let QEMU go on (kill -CONT), or give it a "
                "second -qmp socket"
            ) from error
        if not first.startswith(b'{"QMP"'):
            raise BadTarget(f"what listens at {self.where} is no QEMU monitor: it says {first[:40]!r}")
        return True

    def _execute(self, command: str, arguments: dict[str, str] | None = None) -> Any:  # noqa: ANN401 - from outside
        self._asked += 1
        request = {"execute": command, "id": self._asked} | ({"arguments": arguments} if arguments else {})
        self._send(json.dumps(request).encode() + b"\n")
        deadline = time.monotonic() + ANSWER_SECONDS
        while True:
            answer = self._object(self._answer(b"\n", deadline))
            if "error" in answer and answer.get("id") in (self._asked, None):
                raise SourceLost(f"the monitor at {self.where} refuses {command}: {answer['error']}")
            if "return" in answer and answer.get("id") == self._asked:  # events, and answers nobody waited for, pass
                return answer["return"]

    def _object(self, line: bytes) -> dict[str, Any]:
        try:
            found = json.loads(line)
        except (ValueError, RecursionError):
            found = None
        if not isinstance(found, dict):
            raise SourceLost(f"the monitor at {self.where} does not speak QMP: it says {line[:40]!r}")
        return found

    def _send(self, data: bytes) -> None:
        try:
            self._socket.settimeout(ANSWER_SECONDS)
            self._socket.sendall(data)
        except OSError as error:
            raise self._lost() from error

    def _answer(self, end: bytes, deadline: float) -> bytes:
        """The same as `_until` once it has greeted us: SourceLost when nothing comes."""
        try:
            return self._until(end, deadline)
        except TimeoutError as error:
            raise SourceLost(
                f"the monitor at {self.where} does not answer any more: QEMU is stopped or hangs; see what it waits for"
            ) from error

    def _until(self, end: bytes, deadline: float) -> bytes:
        """What comes up to and with ``end``; TimeoutError when it does not come."""
        looked = 0
        while (at := self._buffer.find(end, looked)) < 0:
            looked = max(len(self._buffer) - len(end), 0)
            self._receive(deadline)
        found = bytes(self._buffer[: at + len(end)])
        del self._buffer[: at + len(end)]
        return found

    def _receive(self, deadline: float) -> None:
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self._socket.settimeout(left)
        try:
            data = self._socket.recv(1 << 20)
        except TimeoutError:
            raise
        except OSError as error:
            raise self._lost() from error
        if not data:
            raise self._lost()
        self._buffer += data
        if len(self._buffer) > LONGEST_ANSWER:
            raise SourceLost(
                f"the monitor at {self.where} does not stop talking: {len(self._buffer)} bytes, and no end"
            )

    def _lost(self) -> SourceLost:
        if self._socket.fileno() < 0:
            return SourceLost(f"the monitor at {self.where} was let go of before all was read through it")
        return SourceLost(f"QEMU has closed its monitor at {self.where}; the guest has ended")


def connect(where: Socket, seconds: float) -> socket.socket:
    """A connected socket; BadTarget with the reason when there is none to be had."""
    try:
        if where.path is None:
            host = None if where.host == "localhost" else where.host  # the loopback, also where no file names it
            found = socket.create_connection((host, where.port), timeout=seconds)
            found.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # small packets, each waited for
            return found
        found = socket.socket(socket.AF_UNIX)
        try:
            found.settimeout(seconds)
            found.connect(where.path)
        except BaseException:
            found.close()
            raise
        return found
    except (TimeoutError, BlockingIOError) as error:  # as many wait as may: QEMU lets no more queue up
        raise BadTarget(
            f"{where} does not answer: another client is connected, or QEMU itself is stopped; close that client, or "
            "let QEMU go on (kill -CONT)"
        ) from error
    except ConnectionRefusedError as error:
        if where.path is not None and not Path(where.path).is_socket():
            raise BadTarget(f"cannot connect to {where}: it is no socket; {_REMEDY}") from error
        raise BadTarget(f"nobody listens at {where}: if a QEMU did, it has ended") from error
    except (OSError, ValueError, AttributeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise BadTarget(f"cannot connect to {where}: {reason}; {_REMEDY}") from error


def harts_in(text: str) -> tuple[Hart, ...]:
    """The harts in what ``info registers -a`` prints, with pc and x1 to x31 where all of them are there."""
    parts = _HART.split(text)
    return tuple(_hart(int(number), part) for number, part in zip(parts[1::2], parts[2::2], strict=True))


def _hart(number: int, text: str) -> Hart:
    found = [_register(text, name) for name in ("pc", *(f"x{n}/" for n in range(1, 32)))]
    registers = tuple(value for value in found if value is not None)
    return Hart(number, _register(text, "satp"), None, registers if len(registers) == len(found) else ())


def registers_in(text: str, name: str) -> list[int | None]:
    """The register of this name of each hart in what ``info registers -a`` prints; None where it is not there."""
    return [_register(part, name) for part in _HART.split(text)[2::2]]


def _register(text: str, name: str) -> int | None:
    found = re.search(rf"(?:^|\s){name}{r'[a-z0-9]+' if name.endswith('/') else ''}\s+([0-9a-f]{{8,16}})\b", text)
    return int(found[1], 16) if found else None


def ram_in(text: str) -> list[tuple[int, int, str]]:
    """The (start, size, name) of each piece of RAM that harts reach, in what ``info mtree -f`` prints."""
    views = text.split("FlatView #")
    named = [view for view in views if 'AS "memory"' in view or 'AS "cpu-memory-0"' in view]
    for view in named + views:
        ranges = [(int(low, 16), int(high, 16) + 1 - int(low, 16), name) for low, high, name in _RANGE.findall(view)]
        if ranges:
            return [(start, size, name) for start, size, name in ranges if size > 0]
    return []


def host_address_in(text: str) -> int | None:
    """The address in what ``gpa2hva`` prints."""
    found = _HOST.search(text)
    return int(found[1], 16) if found else None


def words_in(text: str, pa: int, count: int) -> npt.NDArray[np.uint64]:
    """The ``count`` words from ``pa`` in what ``xp`` prints for them; SourceLost when it prints anything else."""
    lines = _XP_LINE.findall(text)
    words = [int(word, 16) for _, line in lines for word in line.split()]
    if len(words) != count or int(lines[0][0], 16) != pa:
        raise SourceLost(f"the monitor gives {len(words)} words at {pa:#x} where {count} were asked for: {text[:60]!r}")
    return np.array(words, dtype=np.uint64)
