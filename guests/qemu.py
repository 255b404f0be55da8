"""A kernel running in QEMU: its RAM as a file that both see, its UART as a file, its registers over QMP."""

from __future__ import annotations

import json
import mmap
import re
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from guests import said
from guests.build import tool
from pagebook.machine import Hart
from pagebook.memory import Memory, Region
from pagebook.source import Source

RAM, RAM_BYTES = 0x8000_0000, 64 << 20
CHOICE = 0x83FF_F000
PATIENCE = 60.0  # seconds; a boot takes a tenth of one where nothing else runs


class GuestFailed(Exception):
    """The guest did not come up, or QEMU does not answer."""


class Guest:
    """A running guest: ``said`` on its UART, and its memory, which moves."""

    def __init__(self, said: said.Said, memory: Memory, monitor: Path) -> None:
        self.said = said
        self.memory = memory
        self._monitor = monitor

    def source(self) -> Source:
        """The guest as pagebook's readers take it."""
        return Source("a guest in QEMU", self.memory, (Hart(0, self.satp(), "S"),), live=True)

    def satp(self) -> int:
        """What satp of the one hart holds, as QEMU says."""
        found = re.search(r"\bsatp\s+([0-9a-f]+)", self._ask("info registers"))
        if not found:
            raise GuestFailed("QEMU's registers have no satp among them")
        return int(found[1], 16)

    def counts_on(self) -> bool:
        """Whether the guest goes on counting, which it does with the MMU on."""
        before = self.memory.read64(self.said.count)
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            if self.memory.read64(self.said.count) != before:
                return True
            time.sleep(0.01)
        return False

    def _ask(self, command: str) -> str:
        """A command of QEMU's human monitor, by way of QMP."""
        with socket.socket(socket.AF_UNIX) as channel:
            channel.settimeout(PATIENCE)
            channel.connect(str(self._monitor))
            with channel.makefile("rw", encoding="utf-8") as lines:
                lines.readline()
                _execute(lines, "qmp_capabilities")
                return str(_execute(lines, "human-monitor-command", **{"command-line": command}))


def _execute(lines: Any, command: str, **arguments: str) -> Any:  # noqa: ANN401 - what QMP returns
    lines.write(json.dumps({"execute": command, "arguments": arguments}) + "\n")
    lines.flush()
    for line in lines:
        answer = json.loads(line)
        if "error" in answer:
            raise GuestFailed(f"QEMU refuses {command}: {answer['error'].get('desc')}")
        if "return" in answer:
            return answer["return"]
    raise GuestFailed(f"QEMU ended before it answered {command}")


@contextmanager
def running(kernel: Path, choice: int, folder: Path) -> Iterator[Guest]:
    """The kernel, told ``choice``, as soon as it says that it is ready; it ends with the block."""
    ram, uart, monitor = folder / "ram", folder / "uart", folder / "qmp"
    process = subprocess.Popen(
        [
            tool("qemu-system-riscv64", "qemu-system-misc"), "-M", "virt,memory-backend=ram", "-cpu", "rv64",
            "-m", f"{RAM_BYTES >> 20}M", "-bios", "none", "-kernel", str(kernel),
            "-object", f"memory-backend-file,id=ram,size={RAM_BYTES},mem-path={ram},share=on",
            "-device", f"loader,addr={CHOICE:#x},data={choice:#x},data-len=8",
            "-display", "none", "-monitor", "none", "-serial", f"file:{uart}",
            "-qmp", f"unix:{monitor},server=on,wait=off",
        ],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        told = _wait(process, uart)
        with ram.open("rb") as file:
            buffer = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)  # closed with the last array over it
        yield Guest(told, Memory([Region(RAM, buffer)]), monitor)
    finally:
        process.kill()
        process.communicate()


def _wait(process: subprocess.Popen[str], uart: Path) -> said.Said:
    deadline = time.monotonic() + PATIENCE
    text = ""
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise GuestFailed(
                f"QEMU ended at once: {(process.communicate()[1] or '').strip() or 'it does not say why'}"
            )
        text = uart.read_text() if uart.exists() else ""
        told = said.read(text[: text.rfind("\n") + 1])
        if told.stopped:
            raise GuestFailed(f"the kernel stopped {told.stopped}")
        if told.ready:
            return told
        time.sleep(0.02)
    raise GuestFailed(f"the kernel is not ready after {PATIENCE:.0f} s; it said last: {text[-200:]!r}")
