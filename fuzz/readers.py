"""One harness for each reader of bytes from outside, and what inputs for it start from.

A harness takes any bytes and returns, or raises PagebookError; everything else it does is a fault of pagebook.  Guided
fuzzing looks for such inputs (`fuzz.guided`), and the tests replay those that are kept in tests/corpus.
"""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import random
import signal
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import click

import fake_qemu
from cores import core, filled, patched
from elves import build_elf, note
from fake_xv6 import KERNBASE, Fake, Shape
from fuzz import answers, questions
from fuzz.work import MOST_SECONDS
from linuxes import linux_btf
from pagebook.cases import reading
from pagebook.cases.lines import from_file
from pagebook.cli import words
from pagebook.errors import PagebookError
from pagebook.guests import btf, kernelfile, vmcoreinfo
from pagebook.guests.choosing import GuestOptions, read_guest
from pagebook.machine import Machine, Space, to_note
from pagebook.memory import Memory, Region
from pagebook.mmu import Extensions
from pagebook.rows import answer
from pagebook.source import Source
from pagebook.sources import blocks, gdbstub, processes, qmp
from pagebook.sources.files import open_file
from pagebook.sv import FORMATS, SV39
from pagebook.units import PAGE_SIZE
from test_qmp import REGISTERS, TREE
from test_sources_kdump import flattened, kdump
from worlds import World

PAGES = 8  # of the RAM that holds an input's tables
RECORD = 10  # bytes of an input that become a word of RAM: where, and what
HEAD = 120  # bytes of a kernel's ELF file before its text, which is not part of an input
SHAPES = (Shape(), Shape(lists="harts", tally="int"))
PARTS = b"\n--\n"  # between the files of a process in one input
SOCKET = processes.Socket("/qemu.sock")
WORDS = (words.SIZE, words.ADDRESS, words.RANGE, words.FLAGS, words.ROOT, words.OFFSETS)
HEADER = b"va,satp,priv,sum,mxr,access,size\n"

Harness = Callable[[bytes], object]


class Heard:
    """The other end of a socket: it says this, and then hangs up; after a last byte of 0xff it is silent instead."""

    def __init__(self, data: bytes) -> None:
        self.stream = io.BytesIO(data.removesuffix(b"\xff"))
        self.silent = data.endswith(b"\xff")

    def recv(self, size: int) -> bytes:
        found = self.stream.read(min(size, 512))
        if not found and self.silent:
            raise TimeoutError
        return found

    def ignore(self, *given: object) -> int:
        return 9

    sendall = settimeout = close = fileno = ignore


class Readers:
    """The harnesses by name, and what they need; files lie in ``folder``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.harnesses: dict[str, tuple[Harness, Callable[[], Iterable[bytes]]]] = {
            "core": (self.file, self.cores), "kdump": (self.file, self.kdumps), "packed": (self.file, self.packs),
            "note": (self.note, self.notes), "kernel": (self.kernel, self.kernels),
            "tables": (self.tables, self.graphs), "monitor": (self.monitor, self.dialogues),
            "texts": (self.texts, self.said), "gdbstub": (self.gdbstub, self.packets),
            "process": (self.process, self.entries), "vmcoreinfo": (self.vmcoreinfo, lambda: [answers.NOTE.encode()]),
            "btf": (self.btf, lambda: [linux_btf(), linux_btf()[:-1], b""]), "cases": (self.cases, self.lines),
            "words": (self.words, self.typed),
        }  # fmt: skip

    def judge(self, name: str, data: bytes) -> str:
        """``answered`` or ``refused``; TooSlow or whatever else the reader raises is its fault."""
        signal.setitimer(signal.ITIMER_PROF, MOST_SECONDS)
        try:
            self.harnesses[name][0](data)
        except (PagebookError, click.UsageError) as error:
            if not str(error):
                raise questions.Untrue("a refusal without a word") from error
            return "refused"
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
        return "answered"

    # Files: the input is one.

    def file(self, data: bytes) -> None:
        path = self.folder / "image"
        path.write_bytes(data)
        with suppress(PagebookError):
            open_file(f"{path}@{KERNBASE:#x}")
        found = open_file(str(path))
        if isinstance(found, Source):
            root = found.memory.regions[0].base
            read_guest(found, GuestOptions(satps=(SV39.satp(root),)))

    def cores(self) -> Iterator[bytes]:
        plain = core([(KERNBASE, filled(1))])
        yield from (plain, core([(0, filled(1)), (KERNBASE, bytes(64))], 2, more=64))
        yield from (patched(plain, "H", 18, 62), patched(plain, "QQ", 64 + 24, 0, 0))

    def kdumps(self) -> Iterator[bytes]:
        for pack in (0, 1, 32):
            yield kdump({2: filled(1), 5: bytes(PAGE_SIZE)}, pack=pack, harts=1)
        yield flattened(kdump({}, pack=1, harts=1))

    def packs(self) -> Iterator[bytes]:
        for data in (core([(KERNBASE, b"")]), core([(KERNBASE, filled(1))])):
            yield from (gzip.compress(data, 9, mtime=0), bz2.compress(data), lzma.compress(data, preset=0), data)
            with suppress(ImportError):
                from backports import zstd

                yield zstd.compress(data)

    # What pagebook saved: the input is the JSON of its note.

    def note(self, data: bytes) -> None:
        world = self._world.memory.regions[0]
        path = self.folder / "saved"
        image = (world.base, world.size, world.size, 6, bytes(world.data))
        path.write_bytes(build_elf([image], kind=4, notes=note(b"PAGEBOOK", 1, data)))
        found = open_file(str(path))
        assert isinstance(found, Machine)
        _ask(found, len(data))

    @cached_property
    def _world(self) -> Machine:
        world = World(SV39, 6)
        world.table.map(0x1000, PAGE_SIZE, KERNBASE, 0xDF)
        return Machine("saved", world.memory, (Space("kernel", world.table),))

    def notes(self) -> Iterator[bytes]:
        full = to_note(self._world) | {
            "harts": [[0, SV39.satp(KERNBASE), "S", [1] * 32]], "symbols": {"end": KERNBASE}, "guest": "xv6",
            "areas": [[KERNBASE, PAGE_SIZE, "kernel image"]], "devices": [[1 << 28, PAGE_SIZE]],
            "pools": [["kmem", KERNBASE, PAGE_SIZE]], "free_range": [KERNBASE, KERNBASE + PAGE_SIZE],
            "counts": ["counts", KERNBASE, 4, 2, KERNBASE, 0],
        }  # fmt: skip
        yield from (json.dumps(each).encode() for each in (to_note(self._world), full))

    # A kernel's ELF file, its text left out: symbols and DWARF, over the RAM of the shape that the first byte names.

    @cached_property
    def _fakes(self) -> list[Fake]:
        made = []
        for number, shape in enumerate(SHAPES):
            place = self.folder / f"fake{number}"
            place.mkdir()
            made.append(Fake(shape, place))
            made[-1].build()
            made[-1].write()
        return made

    def kernel(self, data: bytes) -> None:
        fake = self._fakes[data[0] % len(SHAPES) if data else 0]
        whole, rest = fake.path.read_bytes(), data[1:]
        path = self.folder / "kernel"
        path.write_bytes(rest[:HEAD] + whole[HEAD : self._end(whole)] + rest[HEAD:])
        kernelfile._kernels.clear()  # which knows a file by its time and size
        source = Source("fuzzed", fake.memory, fake.model().harts, kernel=str(path))
        machine = read_guest(source, GuestOptions()).machine
        machine.free_lists()

    @staticmethod
    def _end(whole: bytes) -> int:
        return HEAD + int.from_bytes(whole[96:104], "little")  # p_filesz of the only segment

    def kernels(self) -> Iterator[bytes]:
        for number, fake in enumerate(self._fakes):
            whole = fake.path.read_bytes()
            yield bytes([number]) + whole[:HEAD] + whole[self._end(whole) :]

    # Page tables: a format, a question, and words of RAM; the first page is the root.

    def tables(self, data: bytes) -> None:
        ram = bytearray(PAGES * PAGE_SIZE)
        for at in range(3, len(data) - RECORD + 1, RECORD):
            where = int.from_bytes(data[at : at + 2], "little") % (len(ram) // 8) * 8
            ram[where : where + 8] = data[at + 2 : at + RECORD]
        fmt = list(FORMATS)[data[0] % len(FORMATS) if data else 0]
        memory = Memory([Region(KERNBASE, bytes(ram))])
        machine = read_guest(Source("fuzzed", memory), GuestOptions(roots=((KERNBASE, fmt),))).machine
        _ask(machine, int.from_bytes(data[1:3], "little"))

    def graphs(self) -> Iterator[bytes]:
        page = KERNBASE >> 12
        chain = [(0, page + 1 << 10 | 1), (512, page + 2 << 10 | 1), (1024, page + 5 << 10 | 0xDF)]
        loop = [(number, page << 10 | 1) for number in range(6)]
        odd = [(0, page << 10 | 0xC7), (1, 1 << 63 | page << 10 | 0xCF), (2, 3 << 61 | 0x17), (3, (page + 1) << 10 | 3)]
        for number in range(32):
            entries = (chain, loop, odd, chain + odd)[number % 4]
            head = bytes([number // 4 % len(FORMATS), number, 0])
            yield head + b"".join(at.to_bytes(2, "little") + pte.to_bytes(8, "little") for at, pte in entries)

    # What a QEMU says: the input is all that comes from its socket, or one text.

    def monitor(self, data: bytes) -> None:
        with mock.patch.object(qmp, "connect", lambda *_: Heard(data)), qmp.Monitor(SOCKET) as monitor:
            qmp.ram_in(monitor.ask("info mtree -f"))
            qmp.harts_in(monitor.ask("info registers -a"))
            monitor.running()

    def dialogues(self) -> Iterator[bytes]:
        said = [{"QMP": {}}, *({"return": x, "id": n} for n, x in enumerate(({}, TREE, REGISTERS, "VM status"), 1))]
        yield b"".join(json.dumps(each).encode() + b"\r\n" for each in said)
        yield b'{"QMP": {}}\n{"event": "STOP"}\n{"error": {"desc": "no"}, "id": 1}\n'
        yield ("QEMU 7 monitor\r\n(qemu) " + "".join(f"x\r\n{x}(qemu) " for x in (TREE, REGISTERS, "VM"))).encode()

    def texts(self, data: bytes) -> None:
        text = data[1:].decode("utf-8", "replace")
        readers: list[Callable[[], object]] = [
            lambda: qmp.harts_in(text), lambda: qmp.registers_in(text, "satp"), lambda: qmp.ram_in(text),
            lambda: qmp.host_address_in(text), lambda: qmp.words_in(text, KERNBASE, 4),
            lambda: gdbstub._words(text, 33, 8), lambda: dict(gdbstub._numbered(text)),
            lambda: gdbstub._plain(data[1:]),
        ]  # fmt: skip
        readers[data[0] % len(readers) if data else 0]()

    def said(self) -> Iterator[bytes]:
        texts = (REGISTERS, REGISTERS, TREE, answers.HOST, answers.XP, "00" * 8 * 33)
        for number, text in enumerate((*texts, fake_qemu.DESCRIPTIONS["csr.xml"], "m0*}*}}12*~")):
            yield bytes([number]) + text.encode()

    def gdbstub(self, data: bytes) -> None:
        with mock.patch.object(gdbstub, "connect", lambda *_: Heard(data)):
            stub = gdbstub.GdbStub(SOCKET)
            stub.harts()
            stub.detach()

    def packets(self) -> Iterator[bytes]:
        described = [f"l{text}" for text in fake_qemu.DESCRIPTIONS.values()]
        said = ["T02", "multiprocess+", "m1", "l", "OK", *described, "03" + "00" * 7, "00*0*0" * 33, "07" * 8, "OK"]
        for some in (said, said[1:]):
            yield b"".join(map(fake_qemu.packet, some))

    def process(self, data: bytes) -> None:
        place = self.folder / "7"
        (place / "net").mkdir(parents=True, exist_ok=True)
        parts = data.split(PARTS)
        for number, name in enumerate(("cmdline", "maps", "stat", "comm", "status", "net/unix", "net/tcp")):
            (place / name).write_bytes(parts[number] if number < len(parts) else b"")
        found = processes.process_at(place) or processes.Process(7, 1, processes.CommandLine(), place)
        str(found)
        for backend in found.options.blocks:
            blocks.fitting(blocks.read_blocks(found), backend)
        for where in (*found.options.monitors, SOCKET, processes.Socket(None, "localhost", 1234)):
            gdbstub.taken(found, where)

    def entries(self) -> Iterator[bytes]:
        stat = "7 (a) S " + " ".join(["0"] * 18) + " 77 0\n"
        unix = "Num\n0: 2 0 10000 1 03 9 /qemu.sock\n"
        tcp = "sl\n0: 0100007F:04D2 0:0 01\n"
        for line in answers.LINES:
            words = "\0".join(["qemu-system-riscv64", *line.split(), ""])
            yield PARTS.decode().join((words, answers.MAPS, stat, "qemu-system-ris", "Uid:\t1\n", unix, tcp)).encode()

    # What a Linux tells of itself.

    def vmcoreinfo(self, data: bytes) -> None:
        pages = (bytes(PAGE_SIZE) + data).ljust(len(data) + 3 * PAGE_SIZE & -PAGE_SIZE, b"\0")
        for found in vmcoreinfo.find(Memory([Region(KERNBASE, pages)])):
            list(found.image_pas(1 << 63))

    def btf(self, data: bytes) -> None:
        types = btf.Btf(data)
        for name, member in (("task_struct", "pid"), ("mm_struct", "pgd"), ("", "pgd")):
            types.layout(name, member)

    # What a user gives: files of accesses, and words.

    def cases(self, data: bytes) -> None:
        satp: int | str = SV39.satp(KERNBASE) if data[:1] > b"\x7f" else "each row says it"
        source = from_file(SimpleNamespace(read1=io.BytesIO(data[1:]).read1), "cases")  # type: ignore[arg-type]
        given = reading.Defaults(satp)
        list(reading.read(source, given, lambda rows: answer(self._world.memory, Extensions(), rows, given.xlen)))

    def lines(self) -> Iterator[bytes]:
        row = f'0x1000,{SV39.satp(KERNBASE):#x},S,1,0,load,8\n"4096",0,M,false,true,AMO,\n'
        yield from (b"\xff0x1000\n4096\n# no\n3ff\n", b"\0" + HEADER + row.encode(), b"\xffva,access\n0x10,fetch\n")

    def words(self, data: bytes) -> None:
        text = data[1:].decode("utf-8", "surrogateescape")
        which = data[0] % (len(WORDS) + 1) if data else 0
        if which < len(WORDS):
            WORDS[which].convert(text, None, None)
        elif ".." not in text and "/" not in text.replace("/dev/null", ""):  # no file of this machine's
            open_file(text)

    def typed(self) -> Iterator[bytes]:
        texts = ("128MiB", "0x3fffffe000", "0x1000-0x3000", "rwxuad", "0x80000000:sv48", "proc.pagetable=0x50,NPROC=64")
        for number, text in enumerate((*texts, "/dev/null@0x80000000,a@b@4096")):
            yield bytes([number]) + text.encode()


def _ask(machine: Machine, choice: int) -> None:
    """One of all questions, as ``choice`` says; a refusal of it is an answer, too."""
    found = list(questions.of_machine(machine, random.Random(choice)))
    with suppress(PagebookError):
        found[choice % len(found)][1]()
