"""The kinds of images: each makes one by chance, as a way to open it and, where it is a file, its words."""

from __future__ import annotations

import gzip
import json
import lzma
import random
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from cores import core, filled
from fake_xv6 import END, GLOBALS, KERNBASE, LONG, PROCS, TALLY, Fake, Shape
from fuzz import graphs
from fuzz.damage import EXTREMES, damaged
from linuxes import BASE as LINUX_BASE
from linuxes import FakeLinux
from pagebook.guests.choosing import GuestOptions, read_guest
from pagebook.machine import Hart, Machine, from_note, to_note
from pagebook.memory import Memory, Region
from pagebook.source import Source
from pagebook.sources.elfcore import write_core
from pagebook.sources.files import open_file
from pagebook.sv import FORMATS, SV39, Format
from pagebook.units import PAGE_SIZE
from pagebook.xv6 import boot as xv6
from test_sources_kdump import FRAMES, flattened, kdump

Opened = Callable[[], Machine | Source]


@dataclass(frozen=True)
class Image:
    """``open`` gives what every question is asked of, or refuses; ``words`` are those of the command line for it."""

    open: Opened
    words: Callable[[], list[str]]


class Makers:
    """Makes images of every kind; what they are made from is made once.  Files lie in ``folder``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.kinds: dict[str, tuple[int, Callable[[random.Random], Image]]] = {
            "noise": (10, self.noise), "graph": (38, self.graph), "core": (28, self.core), "kdump": (10, self.kdump),
            "packed": (2, self.packed), "note": (4, self.note), "model": (3, self.model), "xv6": (2, self.xv6),
            "linux": (3, self.linux),
        }  # fmt: skip

    def make(self, kind: str, rng: random.Random) -> Image:
        """An image of this kind."""
        return self.kinds[kind][1](rng)

    def file(self, data: bytes, name: str = "image") -> str:
        """A file with these bytes."""
        path = self.folder / name
        path.write_bytes(data)
        return str(path)

    # Memory alone.

    def noise(self, rng: random.Random) -> Image:
        return self._bare(rng, *graphs.noise(rng))

    def graph(self, rng: random.Random) -> Image:
        return self._bare(rng, *graphs.graph(rng))

    def _bare(self, rng: random.Random, memory: Memory, fmt: Format) -> Image:
        base = memory.regions[0].base
        size = sum(region.size for region in memory.regions)
        extra = base + PAGE_SIZE * rng.randrange(max(size // PAGE_SIZE, 1))
        roots = ((base, fmt.name.lower()), (extra, rng.choice(list(FORMATS))))[: rng.randint(1, 2)]
        source = Source("fuzzed", memory, (Hart(0, rng.choice((None, fmt.satp(base)))),))

        def words() -> list[str]:
            pieces = ",".join(
                f"{self.file(bytes(region.data), f'piece{number}')}@{region.base:#x}"
                for number, region in enumerate(memory.regions)
            )
            return [pieces, *(word for pa, name in roots for word in ("--root", f"{pa:#x}:{name}"))]

        return Image(lambda: read_guest(source, GuestOptions(roots=roots)).machine, words)

    # Files.

    @cached_property
    def _cores(self) -> list[bytes]:
        memory = Memory([Region(KERNBASE, filled(4))])
        write_core(Machine("saved", memory, (), (Hart(0, 0),)), self.folder / "small")
        return [
            core([(KERNBASE, filled(3))]), core([(0, filled(1)), (KERNBASE, filled(2))], 3, more=64),
            core([(KERNBASE, filled(1)), (KERNBASE + PAGE_SIZE, filled(1))]), (self.folder / "small").read_bytes(),
        ]  # fmt: skip

    @cached_property
    def _kdumps(self) -> list[bytes]:
        plain = [kdump(dict(list(FRAMES.items())[:4]), pack=pack, harts=2) for pack in (0, 1, 32)]
        return [*plain, flattened(plain[1])]

    def _whole_file(self, data: bytes) -> Image:
        satp = SV39.satp(KERNBASE)

        def opened() -> Machine | Source:
            found = open_file(self.file(data))
            return found if isinstance(found, Machine) else read_guest(found, GuestOptions(satps=(satp,))).machine

        return Image(opened, lambda: [self.file(data), "--satp", f"{satp:#x}"])

    def core(self, rng: random.Random) -> Image:
        data = rng.choice(self._cores)
        if rng.random() < 0.1:
            other = rng.choice(self._cores)
            cut = rng.randrange(len(data))
            data = data[:cut] + other[cut:]
        return self._whole_file(damaged(rng, data, head=600))

    def kdump(self, rng: random.Random) -> Image:
        return self._whole_file(damaged(rng, rng.choice(self._kdumps), head=rng.choice((500, 2 * PAGE_SIZE))))

    def packed(self, rng: random.Random) -> Image:
        data = rng.choice(self._cores)
        if rng.random() < 0.5:
            data = damaged(rng, data, head=600)
        data = gzip.compress(data, 1, mtime=0) if rng.random() < 0.7 else lzma.compress(data, preset=0)
        return self._whole_file(damaged(rng, data, head=40) if rng.random() < 0.7 else data)

    # Saved machines.

    @cached_property
    def _model(self) -> tuple[Machine, bytes]:
        machine = xv6.machine(xv6.boot("2024", ram=2 << 20, nproc=8))
        return machine, bytes(machine.memory.regions[0].data)

    def note(self, rng: random.Random) -> Image:
        machine, _ = self._model
        note = json.loads(json.dumps(to_note(machine)))
        for _ in range(rng.randint(1, 3)):
            _spoil(rng, note)

        def words() -> list[str]:
            write_core(from_note(note, machine.memory), self.folder / "saved")
            return [str(self.folder / "saved")]

        return Image(lambda: from_note(note, machine.memory), words)

    def model(self, rng: random.Random) -> Image:
        machine, data = self._model
        tables = [space.table.root for space in machine.spaces]
        memory = Memory([Region(KERNBASE, _spoiled(rng, data, tables), writable=True)])
        found = from_note(to_note(machine), memory)

        def words() -> list[str]:
            write_core(found, self.folder / "saved")
            return [str(self.folder / "saved")]

        return Image(lambda: found, words)

    # Guests.

    @cached_property
    def _xv6(self) -> list[tuple[bytes, bytes, tuple[Hart, ...], list[int]]]:
        found = []
        shapes = (Shape(), Shape(fields=LONG, lists="harts", tally="int", rev="2024"), Shape(lists="one", tally="u8"))
        for number, shape in enumerate(shapes):
            folder = self.folder / f"xv6-{number}"
            folder.mkdir(exist_ok=True)
            fake = Fake(shape, folder)
            fake.build()
            fake.write()
            model = fake.model()
            roots = [space.table.root for space in model.spaces]
            found.append((bytes(fake.memory.regions[0].data), fake.path.read_bytes(), model.harts, roots))
        return found

    def xv6(self, rng: random.Random) -> Image:
        ram, elf, harts, roots = rng.choice(self._xv6)
        state = [GLOBALS, GLOBALS + 64, TALLY, *(PROCS + n * 8 for n in range(0, 256, 3))]
        memory = Memory([Region(KERNBASE, _spoiled(rng, ram, roots + state))])
        if rng.random() < 0.5:
            cut = elf.rfind(b".symtab") if rng.random() < 0.2 else END - KERNBASE
            tail = max(len(elf) - 6000, cut - KERNBASE if cut > len(elf) else 0, 0)
            elf = elf[:tail] + damaged(rng, elf[tail:], 8) if rng.random() < 0.8 else damaged(rng, elf, head=400)
        kernel = self.file(elf, "kernel")
        source = Source("fuzzed", memory, harts, kernel=kernel, again=lambda: memory)

        def words() -> list[str]:
            return [f"{self.file(bytes(memory.regions[0].data))}@{KERNBASE:#x}", "--kernel", self.file(elf, "kernel")]

        return Image(lambda: read_guest(source, GuestOptions(kernel=kernel)).machine, words)

    @cached_property
    def _linux(self) -> tuple[bytes, int, list[int]]:
        world = FakeLinux()
        roots = [world.table.root]
        for pid, name in ((1, "init"), (7, "sh")):
            leader, table = world.process(pid, name)
            world.thread(leader, pid + 100, name)
            roots += [table.root] if table else []
        data = world.finish().read(LINUX_BASE, 4 << 20)
        return data, world.at, roots

    def linux(self, rng: random.Random) -> Image:
        data, end, roots = self._linux
        written = [LINUX_BASE + 0x1000 + rng.randrange(600) for _ in range(4)]
        written += [LINUX_BASE + 0x10000 + rng.randrange(end - 0x10000) for _ in range(8)]
        memory = Memory([Region(LINUX_BASE, _spoiled(rng, data, roots + written))])
        source = Source("fuzzed", memory)

        def words() -> list[str]:
            return [f"{self.file(bytes(memory.regions[0].data))}@{LINUX_BASE:#x}"]

        return Image(lambda: read_guest(source, GuestOptions()).machine, words)


def _spoiled(rng: random.Random, data: bytes, places: list[int]) -> bytearray:
    """RAM with words changed, most of them in the pages of ``places``."""
    ram = bytearray(data)
    for _ in range(rng.randint(1, 12)):
        if rng.random() < 0.8:
            at = (rng.choice(places) - KERNBASE) & -8
            at += 8 * rng.randrange(512) if rng.random() < 0.5 else 0
        else:
            at = 8 * rng.randrange(len(ram) // 8)
        old = int.from_bytes(ram[at : at + 8], "little")
        new = rng.choice((
            old ^ 1 << rng.randrange(64), rng.choice(EXTREMES), rng.choice(places) >> 12 << 10 | 1, rng.choice(places),
            KERNBASE + PAGE_SIZE * rng.randrange(len(ram) // PAGE_SIZE), rng.getrandbits(64),
        ))  # fmt: skip
        ram[at : at + 8] = new.to_bytes(8, "little")
    return ram[: len(data)]


def _spoil(rng: random.Random, note: object) -> None:
    """Change one thing somewhere in JSON."""
    while True:
        keys = list(note) if isinstance(note, dict) else list(range(len(note)))  # type: ignore[arg-type,call-overload]
        if not keys:
            return
        key = rng.choice(keys)
        inner = note[key]  # type: ignore[index]
        if isinstance(inner, dict | list) and inner and rng.random() < 0.8:
            note = inner
            continue
        note[key] = rng.choice((None, -1, 1.5, True, "", "\ud800", [], {}, [1], "sv48", *EXTREMES, 1 << 70))  # type: ignore[index]
        return
