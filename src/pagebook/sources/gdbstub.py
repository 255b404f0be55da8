"""A client of QEMU's gdbstub: registers of each hart.

Connecting stops the guest, and only `detach` lets it go on: this is for those who want it stopped.  Memory is not read
here: virtual reads would set A bits in the guest's page tables.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import suppress

from pagebook.errors import BadTarget, SourceLost
from pagebook.machine import Hart
from pagebook.sources.processes import Process, Socket
from pagebook.sources.qmp import connect

GREETING_SECONDS = 2.0
ANSWER_SECONDS = 20.0
LONGEST_ANSWER = 4 << 20
MOST_HARTS = 4096
MOST_INCLUDED = 16
_ESTABLISHED, _CONNECTED = "01", "03"  # in /proc/net/tcp and /proc/net/unix
MOST_DESCRIPTION = 1 << 20
PRIVILEGES: dict[int | None, str] = {0: "U", 1: "S", 3: "M"}
_INCLUDE = re.compile(r"<xi:include href=\"([\w.-]+)\"")
_REGISTER = re.compile(r"<reg\b[^<>]*>")
_ATTRIBUTE = re.compile(r"\b(\w+)=\"([^\"]*)\"")


class GdbStub:
    """A connection to a gdbstub, which has stopped the guest; ``was_running`` says whether it ran before.

    BadTarget when nobody listens, or when a debugger is connected already; SourceLost when it goes away later.
    """

    def __init__(self, where: Socket, greeting_seconds: float = GREETING_SECONDS) -> None:
        self.where = where
        self._socket = connect(where, greeting_seconds)
        self._buffer = bytearray()
        self._numbers: dict[str, int] | None = None
        self._architecture = ""
        try:
            # A guest that ran is now stopped, and a packet says so before anything is answered.
            self._features = self.ask("qSupported:xmlRegisters=riscv;multiprocess+", greeting_seconds)
            self.was_running = self._features.startswith("T")
            deadline = time.monotonic() + greeting_seconds
            while self._features.startswith("T"):
                self._features = self._answer(deadline)
        except TimeoutError as error:
            # Whenever this connection's turn comes, it stops the guest: leave word to let it go on.
            with suppress(OSError):
                self._socket.sendall(_packet("D;1"))
            self.close()
            raise BadTarget(
                f"the gdbstub at {where} does not answer: a debugger is connected to it already; detach that"
            ) from error
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Hang up; the guest stays stopped."""
        self._socket.close()

    def detach(self) -> None:
        """Let a guest go on that ran before, and hang up; one that was stopped stays so."""
        try:
            if self.was_running:
                self.ask("D;1" if "multiprocess+" in self._features else "D")
        except TimeoutError as error:
            raise self._silent() from error
        finally:
            self.close()

    def ask(self, packet: str, seconds: float = ANSWER_SECONDS) -> str:
        """The stub's answer to a packet; TimeoutError when there is none."""
        deadline = time.monotonic() + seconds
        try:
            self._socket.sendall(_packet(packet))
            answer = self._answer(deadline)
            self._socket.sendall(b"+")
        except TimeoutError:
            raise
        except OSError as error:
            raise self._lost() from error
        return answer

    def _answer(self, deadline: float) -> str:
        """The next packet's text; acknowledgements before it are passed over."""
        while True:
            start = self._buffer.find(b"$")
            end = self._buffer.find(b"#", start + 1) if start >= 0 else -1
            if 0 <= end <= len(self._buffer) - 3:
                body = bytes(self._buffer[start + 1 : end])
                del self._buffer[: end + 3]
                return _plain(body)
            if len(self._buffer) > LONGEST_ANSWER:
                raise SourceLost(f"the gdbstub at {self.where} does not stop talking")
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError
            self._socket.settimeout(left)
            data = self._socket.recv(1 << 16)
            if not data:
                raise self._lost()
            self._buffer += data

    def _lost(self) -> SourceLost:
        return SourceLost(f"QEMU has closed its gdbstub at {self.where}; the guest has ended")

    def _silent(self) -> SourceLost:
        return SourceLost(f"the gdbstub at {self.where} does not answer any more")

    def harts(self) -> tuple[Hart, ...]:
        """Every hart, its satp, privilege, pc and x1 to x31."""
        try:
            return tuple(self._hart(number, thread) for number, thread in enumerate(self._threads()))
        except TimeoutError as error:
            raise self._silent() from error

    def _threads(self) -> list[str]:
        threads: list[str] = []
        answer = self.ask("qfThreadInfo")
        while answer.startswith("m") and len(threads) < MOST_HARTS:
            threads += answer[1:].split(",")
            answer = self.ask("qsThreadInfo")
        return threads[:MOST_HARTS]

    def _hart(self, number: int, thread: str) -> Hart:
        self.ask(f"Hg{thread}")
        numbers = self._register_numbers()
        privilege = PRIVILEGES.get(self._register(numbers.get("priv")))
        words = _words(self.ask("g"), 33, 4 if "32" in self._architecture else 8)
        registers = (words[32], *words[1:32]) if len(words) == 33 else ()
        return Hart(number, self._register(numbers.get("satp")), privilege, registers)

    def _register(self, number: int | None) -> int | None:
        if number is None:
            return None
        found = self.ask(f"p{number:x}")
        return int.from_bytes(bytes.fromhex(found), "little") if re.fullmatch(r"(?:[0-9a-f]{2})+", found) else None

    def _register_numbers(self) -> dict[str, int]:
        """The stub's number of each register, from its description of the machine."""
        if self._numbers is None:
            target = self._description("target.xml")
            found = re.search(r"<architecture>([^<]*)", target)
            self._architecture = found[1] if found else ""
            included = [self._description(name) for name in _INCLUDE.findall(target)[:MOST_INCLUDED]]
            self._numbers = dict(_numbered(target, *included))
        return self._numbers

    def _description(self, name: str) -> str:
        text = ""
        while len(text) < MOST_DESCRIPTION:
            answer = self.ask(f"qXfer:features:read:{name}:{len(text):x},ffb")
            text += answer[1:]
            if not answer.startswith("m") or len(answer) < 2:
                break
        return text


def taken(process: Process, where: Socket) -> bool:
    """Whether somebody is connected to this stub of the process, as far as the system tells."""
    files = ("net/unix",) if where.path is not None else ("net/tcp", "net/tcp6")
    for name in files:
        with suppress(OSError):
            rows = [row.split() for row in (process.directory / name).read_text(errors="replace").splitlines()[1:]]
            if where.path is None:
                port = f":{where.port:04X}"
                if any(len(row) > 3 and row[1].endswith(port) and row[3] == _ESTABLISHED for row in rows):
                    return True
            elif any(len(row) > 7 and row[5] == _CONNECTED and row[7].endswith(where.path) for row in rows):
                return True
    return False


def _packet(text: str) -> bytes:
    data = text.encode()
    return b"$%s#%02x" % (data, sum(data) & 0xFF)


def _plain(body: bytes) -> str:
    """A packet's text with its escapes and run lengths undone."""
    out = bytearray()
    rest = iter(body)
    for byte in rest:
        if byte == ord("}"):
            out.append(next(rest, 0x20) ^ 0x20)
        elif byte == ord("*") and out:
            out += out[-1:] * max(next(rest, 29) - 29, 0)
        else:
            out.append(byte)
    return out.decode("latin-1")


def _words(text: str, count: int, width: int) -> list[int]:
    """The first ``count`` registers of an answer to ``g``; none when it is shorter or has unknown ones among them."""
    digits = text[: count * width * 2]
    if not re.fullmatch(rf"[0-9a-f]{{{count * width * 2}}}", digits):
        return []
    data = bytes.fromhex(digits)
    return [int.from_bytes(data[at : at + width], "little") for at in range(0, len(data), width)]


def _numbered(*descriptions: str) -> Iterator[tuple[str, int]]:
    """Each register's name and number: the one given, else one more than the last."""
    number = 0
    for text in descriptions:
        for found in _REGISTER.findall(text):
            attributes = dict(_ATTRIBUTE.findall(found))
            if re.fullmatch(r"[0-9]{1,9}", attributes.get("regnum", "")):
                number = int(attributes["regnum"])
            yield attributes.get("name", ""), number
            number += 1
