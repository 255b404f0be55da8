"""Other programs that translate, each on the same image and the same addresses, in the form that suits it best.

gdb-pt-dump walks in this process, on bytes that cost nothing to read, without gdb; unicorn's library is called without
its binding, and once more from C; volatility3, which knows no RISC-V, translates through x86-64 tables that give the
same pages the same frames.  All is in L2, every address meets a good leaf, and of two runs in a turn the better counts.
A peer that is not there is left out, and the report says what to do.
"""

from __future__ import annotations

import ctypes
import importlib
import mmap
import os
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from bench.contest import clock, contest
from bench.images import BASE, Image, Words, all_leaves, table_counts
from bench.reference import NoCompiler, compiled
from bench.rows import OURS, PYTHON, Goal, Row
from bench.same import check_arrays
from bench.translations import COUNT, Batch, each
from pagebook.memory import U64
from pagebook.sv import SV39, A, R, V, X
from pagebook.units import PAGE_SIZE

FEW = 10_000
"""Addresses that a peer translates in a turn."""
X86_PRESENT = 0x67  # present, writable, user, accessed, dirty
CALLS = Path(__file__).with_name("calls.c")
_CALLS = {
    "time_calls": (
        ctypes.c_int64,
        *(ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint32, ctypes.c_void_p, ctypes.c_uint64, ctypes.c_void_p),
    )
}


class Missing(Exception):
    """The peer is not here; the message is the remedy."""


class Peer(ABC):
    """Translates the image's first `FEW` addresses; ``pas`` is what it found."""

    what: ClassVar[str]
    least: ClassVar[float | None]

    def __init__(self, image: Image) -> None:
        self.vas: Words = image.vas[:FEW]
        self.pas: Words = np.zeros(FEW, np.uint64)

    @abstractmethod
    def run(self) -> float:
        """Translate every address; the seconds it took."""


class GdbPtDump(Peer):
    """The walk of its RISC-V backend, which gives the stages; the frame is in the last."""

    what, least = "gdb-pt-dump: walk", 50

    def __init__(self, image: Image) -> None:
        super().__init__(image)
        self.walk: Callable[[int], Any] = backend(image.memory.regions[0].data, image.regime.satp).walk

    def run(self) -> float:
        """Walk to each address."""
        vas, walk = self.vas.tolist(), self.walk
        start = clock()
        found = [walk(va) for va in vas]
        seconds = clock() - start
        self.pas[:] = [one.stages[-1][2] | va % PAGE_SIZE for one, va in zip(found, vas, strict=True)]
        return seconds


def backend(ram: memoryview, satp: int) -> Any:
    """gdb-pt-dump's RISC-V backend on RAM from `BASE`; Missing when GDB_PT_DUMP does not name it."""
    folder = os.environ.get("GDB_PT_DUMP", "")
    if not (Path(folder) / "pt" / "pt_riscv64_parse.py").is_file():
        raise Missing("clone gdb-pt-dump and name the folder in GDB_PT_DUMP")
    sys.path.insert(0, folder)
    try:
        return importlib.import_module("pt.pt_riscv64_parse").PT_RiscV64_Backend(_Bytes(ram, satp))
    finally:
        sys.path.remove(folder)


class _Bytes:
    """What gdb-pt-dump asks of a machine: satp, and bytes at physical addresses."""

    def __init__(self, ram: memoryview, satp: int) -> None:
        self.satp = satp
        self.ram = ram

    def read_register(self, name: str) -> int:
        return self.satp

    def read_physical_memory(self, physical_address: int, length: int) -> memoryview:
        offset = physical_address - BASE
        return self.ram[offset : offset + length]


class Unicorn(Peer):
    """Its translation of one address, called from Python past its binding, which has no such call."""

    what, least = "unicorn: uc_vmem_translate from Python", 40

    def __init__(self, image: Image) -> None:
        super().__init__(image)
        try:
            self.unicorn = importlib.import_module("unicorn")
            self.names = importlib.import_module("unicorn.riscv_const")
        except ImportError:
            raise Missing("pip install unicorn") from None
        self.engine = self._engine(image)
        self.function = importlib.import_module("unicorn.unicorn_py3.unicorn").uclib.uc_vmem_translate
        self.function.argtypes = (ctypes.c_void_p, ctypes.c_uint64, ctypes.c_uint32, ctypes.c_void_p)

    def _engine(self, image: Image) -> Any:
        """A hart in supervisor mode whose RAM is the image's own and whose satp is the image's."""
        unicorn, region = self.unicorn, image.memory.regions[0]
        engine = unicorn.Uc(unicorn.UC_ARCH_RISCV, unicorn.UC_MODE_RISCV64)
        address = ctypes.addressof(ctypes.c_ubyte.from_buffer(region.data))
        engine.mem_map_ptr(region.base, region.size, unicorn.UC_PROT_ALL, ctypes.c_void_p(address))
        engine.reg_write(self.names.UC_RISCV_REG_PRIV, 1)
        engine.reg_write(self.names.UC_RISCV_REG_SATP, image.regime.satp)
        return engine

    def run(self) -> float:
        """Translate each address."""
        translate, handle, rights = self.function, self.engine._uch, self.unicorn.UC_PROT_READ
        first = self.pas.ctypes.data
        pairs = list(zip(self.vas.tolist(), range(first, first + self.pas.nbytes, 8), strict=True))
        start = clock()
        for va, result in pairs:
            translate(handle, va, rights, result)
        return clock() - start


class UnicornFromC(Unicorn):
    """The same without Python around each call: what the library itself takes."""

    what, least = "unicorn: the same from C", None

    def __init__(self, image: Image) -> None:
        super().__init__(image)
        try:
            self.calls = compiled(CALLS, "-O3", _CALLS).time_calls
        except NoCompiler as error:
            raise Missing(str(error)) from None

    def run(self) -> float:
        """Translate each address."""
        pointers = (self.vas.ctypes.data, len(self.vas), self.pas.ctypes.data)
        function = ctypes.cast(self.function, ctypes.c_void_p)
        return float(self.calls(function, self.engine._uch, self.unicorn.UC_PROT_READ, *pointers) / 1e9)


class Loads(Unicorn):
    """A loop in supervisor mode that reads an address and loads from it.

    This is no translation: it gives no physical address, and a fault would end it.  But it is what unicorn is for.
    """

    what, least = "unicorn: a loop of loads in the guest", None
    LOOP = (0x00053283, 0x0002B303, 0x00850513, 0xFEB51AE3)
    """ld t0, 0(a0); ld t1, 0(t0); addi a0, a0, 8; bne a0, a1, -12."""
    VA, PA = 2 << 30, 0x4000_0000

    def __init__(self, image: Image) -> None:
        super().__init__(image)
        self.engine.mem_map(self.PA, 1 << 20)
        self.engine.mem_write(self.PA, np.array(self.LOOP, "<u4").tobytes())
        self.engine.mem_write(self.PA + PAGE_SIZE, self.vas.tobytes())
        image.memory.write64(BASE + 8 * (self.VA >> 30), SV39.pte(self.PA, V | R | X | A))

    def run(self) -> float:
        """Load from each address."""
        first = self.VA + PAGE_SIZE
        self.engine.reg_write(self.names.UC_RISCV_REG_A0, first)
        self.engine.reg_write(self.names.UC_RISCV_REG_A1, first + self.vas.nbytes)
        start = clock()
        self.engine.emu_start(self.VA, self.VA + 4 * len(self.LOOP))
        return clock() - start


class Volatility(Peer):
    """The translate of its x86-64 layer."""

    what, least = "volatility3: translate, of x86-64", 100

    def __init__(self, image: Image) -> None:
        super().__init__(image)
        try:
            contexts = importlib.import_module("volatility3.framework.contexts")
            intel = importlib.import_module("volatility3.framework.layers.intel")
            physical = importlib.import_module("volatility3.framework.layers.physical")
        except ImportError:
            raise Missing("pip install volatility3") from None
        context = contexts.Context()
        ram, root = _as_x86(image)
        context.add_layer(physical.BufferDataLayer(context, "ram", "ram", ram))
        context.config["x86.memory_layer"], context.config["x86.page_map_offset"] = "ram", root
        self.layer = intel.Intel32e(context, "x86", "x86")
        context.add_layer(self.layer)

    def run(self) -> float:
        """Translate each address."""
        vas, translate = self.vas.tolist(), self.layer.translate
        start = clock()
        found = [translate(va) for va in vas]
        seconds = clock() - start
        self.pas[:] = [pa + BASE for pa, _ in found]
        return seconds


def _as_x86(image: Image) -> tuple[mmap.mmap, int]:
    """RAM from address 0 with the image's tables as those of x86-64, and the address of a root above Sv39's."""
    region = image.memory.regions[0]
    ram = mmap.mmap(-1, region.size + PAGE_SIZE)
    tables = np.frombuffer(ram, "<u8").reshape(-1, 512)
    ours = region.pages[: image.tables]
    frames = (ours >> U64(10)) - U64(BASE // PAGE_SIZE)
    tables[: image.tables] = np.where(ours & U64(V) != 0, frames << U64(12) | U64(X86_PRESENT), U64(0))
    tables[-1, 0] = X86_PRESENT
    return ram, region.size


NOTE = """\
Peers translate the same addresses, each in the form that suits it best: gdb-pt-dump without gdb, on bytes at hand;
unicorn past its Python binding, which has no such call, and twice more without Python around each address;
volatility3, which knows no RISC-V, by x86-64 tables of the same pages.  They judge no rights as a hart does."""
PEERS: tuple[type[Peer], ...] = (GdbPtDump, Unicorn, UnicornFromC, Loads, Volatility)


def measure(turns: int) -> tuple[Row, ...]:
    """A row for each peer, or one that says how to get it."""
    return tuple(_row(peer, turns) for peer in PEERS)


def _row(kind: type[Peer], turns: int) -> Row:
    image = all_leaves(kind.what, table_counts()["L2"], COUNT)
    goal = Goal(PYTHON, OURS, kind.least)
    try:
        peer = kind(image)
    except Missing as missing:
        return Row(kind.what, {}, (goal,), f"left out: {missing}")
    ours = Batch(image)
    ours.run()
    peer.run()
    if not isinstance(peer, Loads):
        check_arrays(f"physical addresses of {kind.what}", {OURS: ours.pas[:FEW], PYTHON: peer.pas})
    warm = {PYTHON: lambda: {"each": min(peer.run(), peer.run()) / FEW}, OURS: each(ours)}
    times = contest(warm, turns)
    return Row(kind.what, {PYTHON: times[PYTHON]["each"], OURS: times[OURS]["translate"]}, (goal,))
