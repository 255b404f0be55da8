"""A Linux guest on QEMU's ``virt`` machine: its RAM as a file, its console as lines, its monitor as answers."""

from __future__ import annotations

import json
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

RAM = 0x8000_0000
RAM_BYTES = 512 << 20
PATIENCE = 600.0


class GuestFailed(Exception):
    """The guest did not do what it must; the message holds the end of its console."""


class Virt:
    """A running machine; `close` ends it."""

    def __init__(self, kernel: Path, archive: Path, words: str, folder: Path) -> None:
        self.ram = folder / "ram"
        monitor = folder / "qmp"
        self._process = subprocess.Popen(
            [
                "qemu-system-riscv64", "-M", "virt,memory-backend=ram", "-m", f"{RAM_BYTES >> 20}M",
                "-object", f"memory-backend-file,id=ram,size={RAM_BYTES},mem-path={self.ram},share=on",
                "-cpu", "rv64,svnapot=on,svpbmt=on", "-kernel", str(kernel), "-initrd", str(archive),
                "-append", f"console=ttyS0 quiet {words}", "-display", "none", "-serial", "stdio", "-monitor", "none",
                "-qmp", f"unix:{monitor},server=on,wait=off", "-no-reboot",
            ],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip
        self._monitor = self._connect(monitor)
        self.command("qmp_capabilities")

    def close(self) -> None:
        """End the machine."""
        self._monitor.close()
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            if stream:
                stream.close()

    def _connect(self, path: Path) -> BinaryIO:
        deadline = time.monotonic() + PATIENCE
        while True:
            link = socket.socket(socket.AF_UNIX)
            link.settimeout(PATIENCE)
            try:
                link.connect(str(path))
            except OSError:
                link.close()
                if time.monotonic() > deadline or self._process.poll() is not None:
                    raise GuestFailed("QEMU did not start") from None
                time.sleep(0.02)
            else:
                stream = link.makefile("rwb")
                link.close()
                stream.readline()  # its greeting
                return stream  # type: ignore[return-value]

    def command(self, name: str, **arguments: Any) -> Any:  # noqa: ANN401 - whatever QEMU answers
        """What QMP answers to a command, events left out."""
        request = {"execute": name, **({"arguments": arguments} if arguments else {})}
        self._monitor.write(json.dumps(request).encode() + b"\n")
        self._monitor.flush()
        while line := self._monitor.readline():
            answer = json.loads(line)
            if "return" in answer:
                return answer["return"]
            if "error" in answer:
                raise GuestFailed(f"QEMU refused {name}: {answer['error']}")
        raise GuestFailed(f"QEMU closed its monitor at {name}")

    def monitor(self, line: str) -> str:
        """The text that the human monitor prints for a command."""
        return str(self.command("human-monitor-command", **{"command-line": line}))

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """The guest stands still inside."""
        self.command("stop")
        try:
            yield
        finally:
            self.command("cont")

    def lines_until(self, last: str) -> list[str]:
        """The lines of the console up to ``last``, which must come in time."""
        assert self._process.stdout
        found: list[str] = []
        watch = threading.Timer(PATIENCE, self._process.kill)  # a guest that hangs says nothing, and reading waits
        watch.start()
        try:
            for line in self._process.stdout:
                found.append(line.decode(errors="replace").rstrip())
                if found[-1] == last:
                    return found
                if "Kernel panic" in found[-1]:
                    break
        finally:
            watch.cancel()
        raise GuestFailed(f"the guest did not print {last!r}; the end of its console: {found[-20:]}")

    def send(self, text: str) -> None:
        """Type ``text`` on the guest's console."""
        assert self._process.stdin
        self._process.stdin.write(text.encode())
        self._process.stdin.flush()
