"""What a QEMU and the system say, damaged: to the readers of monitor and gdbstub answers, command lines and /proc."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path

from fake_qemu import DESCRIPTIONS
from fuzz.damage import damaged_text
from pagebook.guests import vmcoreinfo
from pagebook.memory import Memory, Region
from pagebook.sources import blocks, gdbstub, processes, qmp
from test_qmp import REGISTERS, TREE

LINES = (
    "-machine virt -bios none -kernel kernel/kernel -m 128M -smp 3 -nographic -qmp unix:q.sock,server,nowait -s",
    "-object memory-backend-file,id=m,size=64M,mem-path=/dev/shm/x,share=on -M memory-backend=m -machine virt -m 4G",
    '-object {"qom-type":"memory-backend-memfd","id":"m","size":4194304,"share":false} -M memory-backend=m',
    "-chardev socket,id=c,path=a,,b,server=on -mon chardev=c,mode=control -gdb tcp::26000 -monitor tcp:127.0.0.1:55",
    "-numa node,memdev=a -object memory-backend-ram,id=a,size=8M -numa cpu,node-id=0 -m size=1.5G,maxmem=1T -mem-path",
)
MAPS = """55d0c0000000-55d0c0001000 r--p 00000000 08:01 131 /usr/bin/qemu-system-riscv64
7f1000000000-7f1008000000 rw-p 00000000 00:00 0
7f1008000000-7f1008001000 ---p 00000000 00:00 0
7f2000000000-7f2004000000 rw-s 00000000 00:01 42 /memfd:memory-backend-memfd (deleted)
7f2004000000-7f2008000000 rw-s 04000000 00:01 42 /memfd:memory-backend-memfd (deleted)
7ffe00000000-7ffe00021000 rw-p 00000000 00:00 0 [stack]
"""
XP = (
    "0000000080000000: 0x0000000000000297 0x0202859300000000\n0000000080000010: 0x0000000000000001 0x0000000000000002\n"
)
HOST = "Host virtual address for 0x80000000 (mach-virt.ram) is 0x7f1000000000\n"
NOTE = (
    "OSRELEASE=6.1\nPAGESIZE=4096\nSYMBOL(swapper_pg_dir)=ffffffff81000000\nOFFSET(page.flags)=0\nNUMBER(VA_BITS)=39\n"
)

Questions = Iterator[tuple[str, Callable[[], object]]]


def questions(rng: random.Random, folder: Path) -> Questions:
    """Each reader, with what it may come to read."""
    yield "info registers", lambda: qmp.harts_in(damaged_text(rng, REGISTERS))
    yield "register", lambda: qmp.registers_in(damaged_text(rng, REGISTERS), rng.choice(("mtvec", "satp", "x1/", "pc")))
    yield "info mtree", lambda: qmp.ram_in(damaged_text(rng, TREE))
    yield "gpa2hva", lambda: qmp.host_address_in(damaged_text(rng, HOST))
    yield "xp", lambda: qmp.words_in(damaged_text(rng, XP), 0x8000_0000, 4)
    yield "gdb registers", lambda: gdbstub._words(damaged_text(rng, "00" * 8 * 33), 33, rng.choice((4, 8)))
    if rng.random() < 0.2:  # of many lines each
        yield (
            "gdb description",
            lambda: dict(gdbstub._numbered(*(damaged_text(rng, text) for text in DESCRIPTIONS.values()))),
        )
    yield "gdb packet", lambda: gdbstub._plain(damaged_text(rng, "m0*}*}}12*~").encode("utf-8", "replace"))
    yield "command line", lambda: processes.parse(damaged_text(rng, rng.choice(LINES).replace(" ", "\n")).split("\n"))
    yield "maps", lambda: _maps(rng, folder)
    yield "vmcoreinfo", lambda: _note(rng)


def _maps(rng: random.Random, folder: Path) -> None:
    (folder / "maps").write_text(damaged_text(rng, MAPS), errors="replace")
    process = processes.Process(1, 1, processes.CommandLine(), folder)
    found = blocks.read_blocks(process)
    for backend in (
        processes.Backend("ram", 128 << 20, None, False),
        processes.Backend("memfd", 128 << 20, None, True),
    ):
        blocks.fitting(found, backend)


def _note(rng: random.Random) -> None:
    text = damaged_text(rng, NOTE).encode("utf-8", "replace")
    memory = Memory([Region(0x8000_0000, (bytes(4096) + text + b"\0").ljust(3 * 4096, b"\0"))])
    for found in vmcoreinfo.find(memory):
        list(found.image_pas(1 << 63))
