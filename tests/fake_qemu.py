"""What stands in for a QEMU in the tests: a process with RAM, its directory in /proc, its monitor, its gdbstub."""

from __future__ import annotations

import json
import os
import select
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

LINUX = pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="needs /proc")

# A block of RAM as QEMU has it: private and anonymous, with a page that cannot be accessed on either side.
CHILD = """
import ctypes, mmap, sys
libc, kept = ctypes.CDLL(None), []
for path, shared in [word.split(":") for word in sys.argv[1:]]:
    file = open(path, "r+b")
    data = file.read()
    if shared != "private":
        access = mmap.ACCESS_COPY if shared == "copied" else mmap.ACCESS_WRITE
        block = mmap.mmap(file.fileno(), len(data), access=access)
        start = ctypes.addressof(ctypes.c_char.from_buffer(block))
    else:
        block = mmap.mmap(-1, len(data) + 8192, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        for page in range(4096, len(data) + 4096, 4096):
            piece = data[page - 4096 : page]
            if piece.strip(bytes(1)):  # what is not written stays untouched
                block[page : page + len(piece)] = piece
        address = ctypes.addressof(ctypes.c_char.from_buffer(block))
        for edge in (address, address + len(data) + 4096):
            assert libc.mprotect(ctypes.c_void_p(edge), ctypes.c_size_t(4096), 0) == 0
        start = address + 4096
    kept.append((file, block))
    print(start, flush=True)
for line in sys.stdin:
    at, value = map(int, line.split())
    ctypes.c_uint64.from_address(at).value = value
    print("done", flush=True)
"""


class Guest:
    """A process whose memory is the guest's; ``host`` are the addresses of its blocks."""

    def __init__(self, blocks: list[tuple[Path, str]]) -> None:
        words = [f"{path}:{how}" for path, how in blocks]
        self.child = subprocess.Popen(
            [sys.executable, "-c", CHILD, *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self.child.stdout
        self.host = [int(self.child.stdout.readline()) for _ in blocks]

    def poke(self, block: int, offset: int, value: int) -> None:
        assert self.child.stdin
        assert self.child.stdout
        self.child.stdin.write(f"{self.host[block] + offset} {value}\n")
        self.child.stdin.flush()
        assert self.child.stdout.readline() == "done\n"

    def kill(self) -> None:
        self.child.kill()
        self.child.wait()
        for pipe in (self.child.stdin, self.child.stdout):
            assert pipe
            pipe.close()


@contextmanager
def guest(*blocks: tuple[Path, str]) -> Iterator[Guest]:
    """A process that holds these files as blocks of RAM: ``private``, in memory of its own; ``shared``, mapped so that
    the file has what is written; or ``copied``, mapped so that it has not.
    """
    found = Guest(list(blocks))
    try:
        yield found
    finally:
        if found.child.poll() is None:
            found.kill()


def entry(
    proc: Path,
    pid: int,
    words: list[str],
    *,
    uid: int = 1000,
    program: str | None = "/usr/bin/qemu-system-riscv64",
    comm: str = "qemu-system-ris",
    state: str = "S",
    started: int = 77,
    of: int | None = None,
    cwd: Path | None = None,
) -> Path:
    """A process's directory in a /proc of our own; its memory is that of process ``of``."""
    (proc / "self").mkdir(parents=True, exist_ok=True)
    directory = proc / str(pid)
    directory.mkdir(exist_ok=True)
    (directory / "cmdline").write_bytes(b"".join(os.fsencode(word) + b"\0" for word in words))
    (directory / "comm").write_text(comm + "\n")
    (directory / "status").write_text(f"Name:\t{comm}\nUid:\t{uid}\t{uid}\t{uid}\t{uid}\n")
    (directory / "stat").write_text(f"{pid} (a) name) {state} " + " ".join(["0"] * 18) + f" {started} 0\n")
    for name, target in (("exe", program), ("cwd", cwd)):
        (directory / name).unlink(missing_ok=True)
        if target is not None:
            (directory / name).symlink_to(target)
    if of is not None:
        for name in ("maps", "mem", "pagemap", "fd", "root"):
            (directory / name).symlink_to(f"/proc/{of}/{name}")
    return directory


class Listener:
    """A thread that serves clients on a socket, one at a time, as QEMU does."""

    def __init__(self, tcp: bool = False) -> None:
        self._directory = tempfile.mkdtemp(prefix="pb-")  # short: a socket's path has room for 107 bytes
        self.path = f"{self._directory}/s"
        self.server = socket.create_server(("127.0.0.1", 0)) if tcp else socket.socket(socket.AF_UNIX)
        if not tcp:
            self.server.bind(self.path)
            self.server.listen(1)
        self.port = self.server.getsockname()[1] if tcp else 0
        self.errors: list[BaseException] = []
        self._over = False
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()

    def _serve(self) -> None:
        while not self._over:
            if not select.select([self.server], [], [], 0.02)[0]:
                continue
            client, _ = self.server.accept()
            client.settimeout(10)
            with client:
                try:
                    self.serve(client)
                except (ConnectionError, TimeoutError):
                    pass
                except BaseException as error:
                    self.errors.append(error)
                    raise

    def serve(self, client: socket.socket) -> None:
        raise NotImplementedError

    def close(self) -> None:
        self._over = True
        self.thread.join(15)
        self.server.close()
        shutil.rmtree(self._directory)
        assert not self.thread.is_alive()
        assert not self.errors


class FakeMonitor(Listener):
    """A monitor that knows ``answers``, and stops, goes on and says which; ``asked`` are the lines it was sent."""

    def __init__(
        self, answers: dict[str, str] | None = None, *, qmp: bool = True, tcp: bool = False, running: bool = True,
        ram: tuple[int, bytes] | None = None, saves: bool = True,
    ) -> None:  # fmt: skip
        self.answers = answers or {}
        self.qmp = qmp
        self.running = running
        self.ram = ram
        self.saves = saves
        self.asked: list[str] = []
        super().__init__(tcp)

    def answer(self, line: str) -> str:
        self.asked.append(line)
        words = line.split()
        if line in ("stop", "cont"):
            self.running = line == "cont"
            return ""
        if line == "info status":
            return f"VM status: {'running' if self.running else 'paused'}\n"
        if words[0] in ("pmemsave", "xp") and self.ram:
            return self.memory(words)
        return self.answers.get(line, f"unknown command: '{words[0]}'\n")

    def memory(self, words: list[str]) -> str:
        assert self.ram
        base, data = self.ram
        if words[0] == "pmemsave":
            low = int(words[1], 0) - base
            if not self.saves:
                return "Could not open"
            Path(words[3].strip('"')).write_bytes(data[low : low + int(words[2], 0)])
            return ""
        low, count = int(words[2], 0) - base, int(words[1][1:-2])
        lines = []
        for at in range(low, low + 8 * count, 16):
            pair = [int.from_bytes(data[i : i + 8], "little") for i in range(at, min(at + 16, low + 8 * count), 8)]
            lines.append(f"{base + at:016x}: " + " ".join(f"0x{word:016x}" for word in pair))
        return "\n".join(lines) + "\n"

    def serve(self, client: socket.socket) -> None:
        stream = client.makefile("rwb")
        with stream:
            if self.qmp:
                self._speak_qmp(stream)
            else:
                self._speak_human(stream)

    def _speak_qmp(self, stream) -> None:
        def say(what: object) -> None:
            stream.write(json.dumps(what).encode() + b"\r\n")
            stream.flush()

        say({"QMP": {"version": {"qemu": {"major": 7}}, "capabilities": []}})
        for line in stream:
            request = json.loads(line)
            say({"event": "RESUME", "timestamp": {}})
            if request["execute"] == "qmp_capabilities":
                say({"return": {}, "id": request["id"]})
            else:
                say({"return": self.answer(request["arguments"]["command-line"]), "id": request["id"]})

    def _speak_human(self, stream) -> None:
        stream.write(b"QEMU 7.2.22 monitor - type 'help' for more information\r\n(qemu) ")
        stream.flush()
        for line in stream:
            text = line.decode().strip()
            echo = "\x1b[K".join(text[: n + 1] for n in range(len(text)))
            stream.write((echo + "\x1b[K\r\n" + self.answer(text).replace("\n", "\r\n") + "(qemu) ").encode())
            stream.flush()


def packet(text: str) -> bytes:
    return b"$" + text.encode() + b"#%02x" % (sum(text.encode()) & 0xFF)


TARGET = (
    '<?xml version="1.0"?><target><architecture>riscv:rv64</architecture><xi:include href="cpu.xml"/>'
    '<xi:include href="virtual.xml"/><xi:include href="csr.xml"/></target>'
)
DESCRIPTIONS = {
    "target.xml": TARGET,
    "cpu.xml": "<f>" + "".join(f'<reg name="x{n}" bitsize="64"/>' for n in range(32)) + '<reg name="pc"/></f>',
    "virtual.xml": '<feature><reg name="priv" bitsize="64" regnum="65"/></feature>',
    "csr.xml": '<feature><reg name="sstatus" bitsize="64" regnum="322"/><reg name="satp" bitsize="64" regnum="450"/>'
    '<reg name="after" bitsize="64"/></feature>',
}  # fmt: skip


class FakeStub(Listener):
    """A gdbstub over ``harts``, each (satp, privilege, pc); it stops the guest when somebody connects."""

    def __init__(self, harts: list[tuple[int, int, int]], *, running: bool = True) -> None:
        self.harts = harts
        self.running = running
        self.asked: list[str] = []
        self.special: dict[str, str] = {}
        super().__init__(tcp=True)

    def serve(self, client: socket.socket) -> None:
        if self.running:
            self.say(client, packet("T02thread:p01.01;"))
        self.running = False
        self.chosen = 0
        buffer = b""
        while data := client.recv(4096):
            buffer += data
            while b"$" in buffer and b"#" in buffer and len(buffer) >= buffer.index(b"#") + 3:
                start, end = buffer.index(b"$"), buffer.index(b"#")
                text = buffer[start + 1 : end].decode()
                assert buffer[end + 1 : end + 3] == b"%02x" % (sum(text.encode()) & 0xFF)
                buffer = buffer[end + 3 :]
                self.asked.append(text)
                self.say(client, b"+" + packet(self.answer(text)))

    @staticmethod
    def say(client: socket.socket, data: bytes) -> None:
        with suppress(ConnectionError):  # it may have gone, and what it said before still counts
            client.sendall(data)

    def answer(self, text: str) -> str:
        satp, privilege, pc = self.harts[self.chosen]
        for start, answer in self.special.items():
            if text.startswith(start):
                return answer
        if text.startswith("qSupported"):
            return "PacketSize=1000;qXfer:features:read+;multiprocess+"
        if text == "qfThreadInfo":
            return "m" + ",".join(f"p01.{n + 1:02x}" for n in range(1))
        if text == "qsThreadInfo":
            left = [f"p01.{n + 1:02x}" for n in range(1, len(self.harts))]
            seen = self.asked.count("qsThreadInfo")
            return f"m{left[seen - 1]}" if seen <= len(left) else "l"
        if text.startswith("Hg"):
            self.chosen = int(text.rpartition(".")[2], 16) - 1
            return "OK"
        if text.startswith("qXfer:features:read:"):
            name, where = text.split(":")[3:5]
            low, count = (int(word, 16) for word in where.split(","))
            count = min(count, 60)  # in many pieces
            whole = DESCRIPTIONS[name]
            return ("m" if low + count < len(whole) else "l") + whole[low : low + count]
        if text == "g":
            return b"".join(n.to_bytes(8, "little") for n in (*range(1000, 1032), pc)).hex()
        if text in ("p1c2", "p41"):
            return (satp if text == "p1c2" else privilege).to_bytes(8, "little").hex()
        if text.startswith("D"):
            self.running = True
            return "OK"
        return ""


@contextmanager
def open_for(listener: Listener) -> Iterator[Listener]:
    try:
        yield listener
    finally:
        listener.close()


Answer = Callable[[str], str]
