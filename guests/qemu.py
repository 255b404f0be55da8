"""Our kernel running in QEMU: its UART as a file, all else as pagebook itself finds it in the process."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from guests.build import tool
from guests.said import Said, read
from pagebook.sources.qemu import Qemu

RAM_BYTES = 64 << 20
CHOICE = 0x83FF_F000
PATIENCE = 60.0  # seconds; a boot takes a tenth of one where nothing else runs


class GuestFailed(Exception):
    """The guest did not come up."""


class Guest(NamedTuple):
    """A running guest: what it ``said`` on its UART, and the QEMU it runs in, as pagebook finds it.

    ``ram`` is the file that is its RAM, where it is one; ``control`` a second QMP socket, which pagebook leaves alone.
    """

    said: Said
    qemu: Qemu
    pid: int
    ram: Path | None
    control: Path

    def counts_on(self) -> bool:
        """Whether the guest goes on counting, which it does with the MMU on."""
        memory = self.qemu.look().memory
        before = memory.read64(self.said.count)
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            if memory.read64(self.said.count) != before:
                return True
            time.sleep(0.01)
        return False


@contextmanager
def running(kernel: Path, choice: int, folder: Path, *, in_a_file: bool = True) -> Iterator[Guest]:
    """The kernel, told ``choice``, as soon as it says that it is ready; it ends with the block.

    Its RAM is a file that QEMU shares, or else the process's own.
    """
    ram, uart, monitor, control = folder / "ram", folder / "uart", folder / "qmp", folder / "control"
    uart.unlink(missing_ok=True)  # of a guest before, which said that it is ready
    backend = f"memory-backend-file,id=ram,size={RAM_BYTES},mem-path={ram},share=on"
    process = subprocess.Popen(
        [
            tool("qemu-system-riscv64", "qemu-system-misc"), "-cpu", "rv64",
            *(("-M", "virt,memory-backend=ram", "-object", backend) if in_a_file else ("-M", "virt")),
            "-m", f"{RAM_BYTES >> 20}M", "-bios", "none", "-kernel", str(kernel),
            "-device", f"loader,addr={CHOICE:#x},data={choice:#x},data-len=8",
            "-display", "none", "-monitor", "none", "-serial", f"file:{uart}",
            "-qmp", f"unix:{monitor},server=on,wait=off", "-qmp", f"unix:{control},server=on,wait=off",
        ],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        told = _wait(process, uart)
        with Qemu.find(f"qemu:{process.pid}") as qemu:
            yield Guest(told, qemu, process.pid, ram if in_a_file else None, control)
    finally:
        process.kill()
        process.communicate()


def _wait(process: subprocess.Popen[str], uart: Path) -> Said:
    deadline = time.monotonic() + PATIENCE
    text = ""
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise GuestFailed(
                f"QEMU ended at once: {(process.communicate()[1] or '').strip() or 'it does not say why'}"
            )
        text = uart.read_text() if uart.exists() else ""
        told = read(text[: text.rfind("\n") + 1])
        if told.stopped:
            raise GuestFailed(f"the kernel stopped {told.stopped}")
        if told.ready:
            return told
        time.sleep(0.02)
    raise GuestFailed(f"the kernel is not ready after {PATIENCE:.0f} s; it said last: {text[-200:]!r}")
