"""Kernels that never ran: the model's memory with a process table, free lists and counts written into its image.

A `Shape` says what a fork's author did to the structs; a `Fake` boots the model, writes its state where that kernel
would keep it, and makes the ELF file, with or without DWARF, that tells where that is.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dwarves as dw
from elves import EXECUTE, READ, WRITE, build_elf
from pagebook.guests.xv6 import read
from pagebook.machine import Machine
from pagebook.source import Reading, Source
from pagebook.xv6 import programs
from pagebook.xv6.boot import boot, machine
from pagebook.xv6.kernel import Kernel, State
from pagebook.xv6.proc import exit as exit_
from pagebook.xv6.proc import fork

KERNBASE, TRAMPOLINE, ETEXT = 0x8000_0000, 0x8000_6000, 0x8000_7000
GLOBALS, PROCS, TALLY = 0x8000_7000, 0x8000_A000, 0x8008_0000
END = 0x8010_0123
PAGE, SUPERPAGE = 4096, 2 << 20
STATES = {0: "UNUSED", 1: "USED", 2: "SLEEPING", 3: "RUNNABLE", 4: "RUNNING", 5: "ZOMBIE"}
SH = build_elf(
    [(0, 96, 0x1200, READ | EXECUTE, bytes(range(96))), (0x2000, 8, 100, READ | WRITE, b"data of ")],
    entry=16, symbols={"main": 16, "getcmd": 48, "buf": 0x2000},
)  # fmt: skip
OLD_STATES = {0: "UNUSED", 1: "SLEEPING", 2: "RUNNABLE", 3: "RUNNING", 4: "ZOMBIE", 9: "USED"}
PLAIN = (
    ("lock", 24),
    ("state", 4),
    ("pid", 4),
    ("kstack", 8),
    ("sz", 8),
    ("pagetable", 8),
    ("trapframe", 8),
    ("name", 16),
)
LONG = (
    ("lock", 24), ("mask", 8), ("name", 16), ("priority", 4), ("state", 4), ("ticks", 8), ("trapframe", 8), ("pid", 4),
    ("killed", 4), ("sz", 8), ("context", 112), ("pagetable", 8), ("kstack", 8), ("handler", 8),
)  # fmt: skip


@dataclass(frozen=True)
class Shape:
    """One fork.

    ``lists``: ``one``, ``harts`` (an array of kmem), ``super`` (a second list in it), ``apart`` (a struct of its own
    for superpages).  ``tally``: None, ``u8``, ``int``, ``member`` (of a struct with a lock), ``records`` (with a lock
    each), ``pointer`` (made after the image), ``held`` (a pointer too, in a struct).  ``pointers``: proc is an array of
    pointers.  ``mark``: a pointer has the address of the first frame that is counted, or so many bytes ``before`` it.
    """

    fields: tuple[tuple[str, int], ...] = PLAIN
    nproc: int = 16
    lists: str = "one"
    tally: str | None = None
    first: int = KERNBASE
    states: Any = None
    pointers: bool = False
    mark: bool = False
    before: int = 0
    stacks: int = 2 * PAGE
    rev: str = "2022"
    ram: int = 4 << 20

    @property
    def words(self) -> dict[int, str]:
        return self.states or STATES

    @property
    def offsets(self) -> dict[str, int]:
        found, at = {}, 0
        for name, size in self.fields:
            found[name] = at
            at += size
        return found

    @property
    def stride(self) -> int:
        return sum(size for _, size in self.fields)


class Fake:
    """A booted model, ``k``, that looks like a kernel of the shape; ``path`` is its ELF file."""

    def __init__(self, shape: Shape, directory: Path, **options: Any) -> None:
        self.shape = shape
        self.text = random.Random(5).randbytes(ETEXT - KERNBASE)
        self.symbols = {
            "etext": ETEXT, "end": END, "trampoline": TRAMPOLINE, "uservec": TRAMPOLINE, "kalloc": KERNBASE + 64,
            "kernel_pagetable": GLOBALS + 8, "panicked": GLOBALS + 16, "kmem": GLOBALS + 64,
            "supermem": GLOBALS + 0x400,
            "disk": GLOBALS + 0x500, "stack0": GLOBALS + 0x800, "proc": PROCS, "tally": TALLY,
        }  # fmt: skip
        image = programs.KernelImage(self.symbols, ((KERNBASE, self.text),))
        self.k: Kernel = boot(shape.rev, ram=shape.ram, nproc=shape.nproc, kernel=image, sh=SH, **options)
        self.memory = self.k.memory
        self.shared: dict[int, int] = {}
        self.path = directory / "kernel" / "kernel"
        self.path.parent.mkdir(exist_ok=True)
        (directory / "user").mkdir(exist_ok=True)
        (directory / "user" / "_init").write_bytes(programs.INIT)
        (directory / "user" / "_sh").write_bytes(SH)

    def source(self, **more: Any) -> Source:
        """The memory as a source, once everything is written into it."""
        self.write()
        return Source("guest", self.memory, harts=self.model().harts, kernel=str(self.path), **more)

    def model(self) -> Machine:
        return machine(self.k)

    def build(self, *, dwarf: bool = True) -> Path:
        """The kernel's ELF file."""
        sizes = {"proc": self.shape.nproc * (8 if self.shape.pointers else self.shape.stride), "stack0": 2 * PAGE}
        segment = (KERNBASE, len(self.text), END - KERNBASE, READ | WRITE | EXECUTE, self.text)
        sections = dw.sections(self.dies()) if dwarf else {}
        self.path.write_bytes(
            build_elf([segment], entry=KERNBASE, symbols=self.symbols, sizes=sizes, sections=sections)
        )
        return self.path

    # What the kernel's C would look like.

    def dies(self) -> list[dw.Die]:
        int4, uint64, char = dw.base("int", 4, 5), dw.base("unsigned long", 8), dw.base("unsigned char", 1, 8)
        lock = dw.structure("spinlock", 24, [dw.member("locked", int4, 0)])
        states = dw.enumeration(self.shape.words)
        pte = dw.pointer(uint64)
        pagetable = dw.typedef("pagetable_t", pte)
        name, context = dw.array(char, 16), dw.structure("context", 112, [dw.member("ra", uint64, 0)])
        frame = dw.structure("trapframe", 288, [dw.member("kernel_satp", uint64, 0)])
        to_frame = dw.pointer(frame)
        kinds = {
            "lock": lock, "state": states, "pid": int4, "killed": int4, "priority": int4, "name": name,
            "context": context,
            "pagetable": pagetable, "kpagetable": pagetable, "trapframe": to_frame, "usyscall": to_frame,
        }  # fmt: skip
        vma = dw.structure(
            "vma", 24, [dw.member("used", int4, 0), dw.member("addr", uint64, 8), dw.member("len", int4, 16)]
        )
        kinds["vma"] = vmas = dw.array(vma, 4)
        members = [dw.member(field, kinds.get(field, uint64), at) for field, at in self.shape.offsets.items()]
        proc = dw.structure("proc", self.shape.stride, members)
        to_proc = dw.pointer(proc)
        procs = dw.array(to_proc if self.shape.pointers else proc, self.shape.nproc)
        run = dw.structure("run", 8, [])
        link = dw.pointer(run)
        run.children.append(dw.member("next", link, 0))
        stack = dw.array(char, self.shape.stacks)
        disk = dw.structure("disk", 64, [dw.member(n, pte, at) for n, at in (("desc", 8), ("avail", 16), ("used", 24))])
        dies = [
            int4, uint64, char, lock, states, pte, pagetable, name, context, frame, to_frame, proc, to_proc, procs, run,
            link, stack, disk, vma, vmas, *self._lists(lock, link), *self._tally(int4, uint64, char, lock),
        ]  # fmt: skip
        for called, kind in (
            ("kernel_pagetable", pagetable), ("panicked", int4), ("proc", procs), ("stack0", stack), ("disk", disk),
        ):  # fmt: skip
            if called in self.symbols:
                dies.append(dw.variable(called, kind, self.symbols[called]))
        return dies

    def _lists(self, lock: dw.Die, link: dw.Die) -> list[dw.Die]:
        members = [dw.member("lock", lock, 0), dw.member("freelist", link, 24)]
        at = self.symbols["kmem"]
        if self.shape.lists == "super":
            kmem = dw.structure("", 40, [*members, dw.member("superfreelist", link, 32)])
            return [kmem, dw.variable("kmem", kmem, at)]
        kmem = dw.structure("", 32, members)
        if self.shape.lists == "harts":
            harts = dw.array(kmem, 3)
            return [kmem, harts, dw.variable("kmem", harts, at)]
        if self.shape.lists == "apart":
            apart = dw.structure("", 32, [dw.member("lock", lock, 0), dw.member("list", link, 24)])
            return [
                kmem,
                dw.variable("kmem", kmem, at),
                apart,
                dw.variable("supermem", apart, self.symbols["supermem"]),
            ]
        return [kmem, dw.variable("kmem", kmem, at)]

    @property
    def frames(self) -> int:
        return (KERNBASE + self.shape.ram - self.shape.first) // PAGE

    def _tally(self, int4: dw.Die, uint64: dw.Die, char: dw.Die, lock: dw.Die) -> list[dw.Die]:
        match self.shape.tally:
            case "u8" | "int":
                numbers = dw.array(char if self.shape.tally == "u8" else int4, self.frames)
                return [numbers, dw.variable("tally", numbers, TALLY)]
            case "member":
                numbers = dw.array(int4, self.frames)
                kind = dw.structure(
                    "", 24 + 4 * self.frames, [dw.member("lock", lock, 0), dw.member("cnt", numbers, 24)]
                )
                return [numbers, kind, dw.variable("tally", kind, TALLY)]
            case "records":
                record = dw.structure("record", 32, [dw.member("cnt", int4, 0), dw.member("lock", lock, 8)])
                records = dw.array(record, self.frames)
                return [record, records, dw.variable("tally", records, TALLY)]
            case "pointer":
                to_int, to_char = dw.pointer(int4), dw.pointer(char)
                mark = [to_char, dw.variable("mark", to_char, TALLY + 8)] if self.shape.mark else []
                return [to_int, dw.variable("tally", to_int, TALLY), *mark]
            case "held":
                to_int, to_char = dw.pointer(int4), dw.pointer(char)
                held = dw.structure("", 16, [dw.member("cnt", to_int, 0), dw.member("first", to_char, 8)])
                return [to_int, to_char, held, dw.variable("tally", held, TALLY)]
        return []

    # What stands in its memory.

    def write(self) -> None:
        """Write the model's state where this kernel keeps it."""
        memory, k = self.memory, self.k
        memory.write64(self.symbols["kernel_pagetable"], k.kernel_pagetable)
        for slot in range(self.shape.nproc):
            at = PROCS + slot * self.shape.stride
            if self.shape.pointers:
                at = PROCS + self.shape.nproc * 8 + slot * self.shape.stride
                memory.write64(PROCS + slot * 8, at)
            self.write_proc(slot, at)
        for number, frame in enumerate(k.disk or ()):
            memory.write64(self.symbols["disk"] + 8 + 8 * number, frame)
        self.write_lists()
        if self.shape.tally:
            self.write_tally()

    def address(self, slot: int, field: str) -> int:
        """Where a member of a slot's struct proc stands."""
        start = PROCS + (self.shape.nproc * 8 if self.shape.pointers else 0)
        return start + slot * self.shape.stride + self.shape.offsets[field]

    def write_proc(self, slot: int, at: int) -> None:
        p = self.k.proc[slot]
        numbers = {name: value for value, name in self.shape.words.items()}
        words = {State.UNUSED: "UNUSED", State.USED: "USED", State.RUNNABLE: "RUNNABLE", State.ZOMBIE: "ZOMBIE"}
        values = {
            "state": numbers[words[p.state]], "pid": p.pid, "kstack": p.kstack, "sz": p.sz, "pagetable": p.pagetable,
            "trapframe": p.trapframe,
        }  # fmt: skip
        sizes = dict(self.shape.fields)
        for name, value in values.items():
            octets = value.to_bytes(sizes[name], "little", signed=value < 0)
            self.memory.write(at + self.shape.offsets[name], octets)
        self.memory.write(at + self.shape.offsets["name"], p.name.encode().ljust(16, b"\0"))

    def write_lists(self) -> None:
        kmem = self.symbols["kmem"]
        if self.shape.lists == "one":
            self.memory.write64(kmem + 24, self.k.kmem.head)
            return
        frames = self.k.kmem.frames().tolist()
        if self.shape.lists == "harts":  # the third hart has none
            for number, part in enumerate((frames[: len(frames) // 3], frames[len(frames) // 3 :], [])):
                self.memory.write64(kmem + 32 * number + 24, self.chain(part))
            return
        blocks = [pa for pa in range(KERNBASE, KERNBASE + self.shape.ram, SUPERPAGE) if pa in set(frames)]
        whole = [pa for pa in blocks if set(range(pa, pa + SUPERPAGE, PAGE)) <= set(frames)]
        inside = {frame for pa in whole for frame in range(pa, pa + SUPERPAGE, PAGE)}
        for pa in whole:
            self.memory.write(pa, b"\1" * SUPERPAGE)
        self.memory.write64(kmem + 24, self.chain([frame for frame in frames if frame not in inside]))
        at = kmem + 32 if self.shape.lists == "super" else self.symbols["supermem"] + 24
        self.memory.write64(at, self.chain(whole))
        self.superpages = whole

    def chain(self, frames: list[int]) -> int:
        """Link these frames into a free list; its head."""
        for number, pa in enumerate(frames, 1):
            self.memory.write64(pa, frames[number] if number < len(frames) else 0)
        return frames[0] if frames else 0

    def write_tally(self) -> None:
        """A 1 for each frame that is not free, more for those in ``shared``."""
        free = set(self.k.kmem.frames().tolist())
        width, stride = {"u8": (1, 1), "records": (4, 32)}.get(self.shape.tally or "", (4, 4))
        at = TALLY + (24 if self.shape.tally == "member" else 0)
        if self.shape.tally in ("pointer", "held"):
            at = self.tally_room
            self.memory.write64(TALLY, at)
            self.memory.write64(TALLY + 8, self.shape.first - self.shape.before)
        for number in range(self.frames):
            pa = self.shape.first + number * PAGE
            used = END <= pa < KERNBASE + self.shape.ram and pa not in free
            self.memory.write(at + number * stride, self.shared.get(pa, int(used)).to_bytes(width, "little"))

    tally_room = 0

    def told(self) -> dict[str, int]:
        """What --offsets would have to say."""
        wanted = ("state", "pid", "sz", "pagetable", "trapframe", "kstack", "name")
        return {"proc.size": self.shape.stride, "kmem.freelist": 24} | {
            f"proc.{name}": self.shape.offsets[name] for name in wanted
        }


def look(fake: Fake, **options: Any) -> Reading:
    fake.build()
    return read(fake.source(), str(fake.path), **options)


def busy(fake: Fake) -> None:
    """A zombie, a process with sh's name, and one that is only being made."""
    k = fake.k
    if fake.shape.nproc < 5:
        return
    k.current = next(p for p in k.proc if p.name == "sh")
    child, second = fork(k), fork(k)
    assert second > child > 0
    k.current = next(p for p in k.proc if p.pid == child)
    exit_(k, 3)
    half = next(p for p in k.proc if p.state is State.UNUSED)
    half.state, half.pid = State.USED, 77
