"""A /proc with one QEMU in it, its RAM that of a model, as the readers of guests find it."""

from __future__ import annotations

import os
from contextlib import ExitStack
from pathlib import Path

from fake_qemu import FakeMonitor, Guest, entry, guest, open_for
from pagebook.scan import scan
from pagebook.source import Source
from pagebook.sources.qemu import Qemu
from pagebook.table import AddressSpace
from pagebook.xv6.boot import boot, machine

PAGE = 4096
BASE = 0x8000_0000
SIZE = 2060 << 10  # nothing else in a process is of this size
MODEL = machine(boot(ram=SIZE))
RAM = bytes(MODEL.memory.regions[0].data)
ROOT = MODEL.space("kernel").table.root
SATP = 8 << 60 | ROOT >> 12
CODE = BASE + 0x10
XV6 = ["qemu-system-riscv64", "-machine", "virt", "-bios", "none", "-kernel", "kernel/kernel", "-m", "2060K"]
MAKEFILE = r"QEMUOPTS \+= -qmp unix:qmp.sock,server,nowait"


class Scene:
    """A /proc with one QEMU in it, number 5 of user 1000, and whatever the test opens besides."""

    def __init__(self, stack: ExitStack, tmp_path: Path) -> None:
        self.stack = stack
        self.path = tmp_path
        self.proc = tmp_path / "proc"
        self.opened: list[Qemu] = []

    def start(self, *words: str, how: str = "private", parts: tuple[int, ...] = (SIZE,), data: bytes = RAM) -> Guest:
        blocks, low = [], 0
        for number, size in enumerate(parts):
            path = self.path / f"ram{number}"
            path.write_bytes(data[low : low + size])
            blocks.append((path, how))
            low += size
        child = self.stack.enter_context(guest(*blocks))
        entry(self.proc, 5, [*XV6, *words], of=child.child.pid, cwd=self.path)
        return child

    def monitor(self, child: Guest | None, registers: str = "", **more: object) -> FakeMonitor:
        answers = {"info mtree -f": f"FlatView\n  {BASE:016x}-{BASE + SIZE - 1:016x} (prio 0, ram): board.ram\n"}
        if child:  # whoever serves the socket is the guest's process, and that is us
            (self.proc / str(os.getpid())).symlink_to("5")
            answers[f"gpa2hva {BASE:#x}"] = f"Host virtual address for {BASE:#x} (board.ram) is {child.host[0]:#x}\n"
        answers["info registers -a"] = registers or hart(0, SATP, CODE)
        fake = FakeMonitor(answers, **more)  # type: ignore[arg-type]
        self.stack.enter_context(open_for(fake))
        return fake

    def find(self, words: str = "qemu") -> Qemu:
        found = Qemu.find(words, proc=self.proc, uid=1000)
        self.stack.callback(found.close)
        return found


def hart(number: int, satp: int, pc: int, mtvec: int = 0) -> str:
    registers = " ".join(f"x{n}/r{n} {n:016x}" for n in range(32))
    return f"\nCPU#{number}\n pc {pc:016x}\n mtvec {mtvec:016x}\n satp {satp:016x}\n {registers}\n"


def same_tables(source: Source) -> None:
    """The source lists the model's kernel table."""
    listed = scan(AddressSpace(source.memory, ROOT))
    assert listed.mappings.tolist() == scan(MODEL.space("kernel").table).mappings.tolist()
