"""reference.c, compiled for this run and called through ctypes; it measures its own time."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from ctypes import POINTER, Structure, byref, c_int64, c_uint64, c_void_p
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pagebook.xv6.memlayout import KERNBASE, Layout

SOURCE = Path(__file__).with_name("reference.c")
MAPPING = np.dtype([("va", "<u8"), ("pa", "<u8"), ("flags", "<u8")])
Mappings = npt.NDArray[np.void]


class NoCompiler(Exception):
    """There is no gcc, or it cannot make a shared library here."""


class _Machine(Structure):
    _fields_ = (("ram", c_void_p), ("base", c_uint64), ("end", c_uint64), ("physstop", c_uint64), ("head", c_uint64))


class _Device(Structure):
    _fields_ = (("base", c_uint64), ("size", c_uint64))


class _Layout(Structure):
    _fields_ = (
        ("etext", c_uint64),
        ("trampoline", c_uint64),
        ("nproc", c_uint64),
        ("ndevices", c_uint64),
        ("devices", _Device * 8),
    )


_U64S = POINTER(c_uint64)
_SIGNATURES = {
    "time_kinit": (c_int64, POINTER(_Machine)),
    "time_kvmmake": (c_int64, POINTER(_Machine), POINTER(_Layout), _U64S),
    "make_root": (c_uint64, POINTER(_Machine)),
    "time_map": (c_int64, POINTER(_Machine), c_uint64, c_uint64, c_uint64, c_uint64, c_uint64),
    "time_list": (c_int64, POINTER(_Machine), c_uint64, c_uint64, POINTER(c_void_p), _U64S),
    "release": (None, c_void_p),
    "time_walks": (c_int64, POINTER(_Machine), c_uint64, c_void_p, c_uint64, _U64S),
}


def compile_reference() -> ctypes.CDLL:
    """The reference as a loaded library; NoCompiler, with the reason, when it cannot be made."""
    return compiled(SOURCE, "-O2", _SIGNATURES)


def compiled(source: Path, optimise: str, signatures: Mapping[str, tuple[Any, ...]]) -> ctypes.CDLL:
    """A C file as a loaded library whose functions have these results and arguments; NoCompiler when it cannot be."""
    gcc = shutil.which("gcc")
    if not gcc:
        raise NoCompiler("gcc is not installed")
    with tempfile.TemporaryDirectory() as folder:
        library = Path(folder) / f"{source.stem}.so"
        command = [gcc, optimise, "-Wall", "-Werror", "-shared", "-fPIC", "-o", str(library), str(source)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise NoCompiler(f"gcc cannot compile {source.name}: {done.stderr.strip()}")
        loaded = ctypes.CDLL(str(library))
    for name, (result, *arguments) in signatures.items():
        function = getattr(loaded, name)
        function.restype, function.argtypes = result, arguments
    return loaded


class Reference:
    """One machine of the C reference over RAM of ours; each method gives the seconds that the C code took."""

    def __init__(self, library: ctypes.CDLL, ram: memoryview, end: int, physstop: int) -> None:
        self.library = library
        self.ram = ram
        address = ctypes.addressof(ctypes.c_ubyte.from_buffer(ram))
        self._machine = _Machine(address, KERNBASE, end, physstop, 0)

    @property
    def freelist(self) -> int:
        """The head of the free list."""
        return int(self._machine.head)

    def kinit(self) -> float:
        """Free every page."""
        return float(self.library.time_kinit(byref(self._machine)) / 1e9)

    def kvmmake(self, layout: Layout) -> tuple[float, int]:
        """Make the kernel's page table; its root comes second."""
        devices = (_Device * 8)(*(_Device(device.base, device.size) for device in layout.devices))
        plan = _Layout(layout.etext, layout.trampoline, layout.nproc, len(layout.devices), devices)
        root = c_uint64()
        return self.library.time_kvmmake(byref(self._machine), byref(plan), byref(root)) / 1e9, root.value

    def make_root(self) -> int:
        """An empty table."""
        return int(self.library.make_root(byref(self._machine)))

    def map(self, root: int, va: int, size: int, pa: int, perm: int) -> float:
        """Map a range page by page."""
        return float(self.library.time_map(byref(self._machine), root, va, size, pa, perm) / 1e9)

    def list(self, root: int, most: int) -> tuple[float, Mappings]:
        """Every leaf below ``root``, of which there are ``most`` at most, as a copy of the array that C filled."""
        found, count = c_void_p(), c_uint64()
        seconds = self.library.time_list(byref(self._machine), root, most, byref(found), byref(count)) / 1e9
        assert found.value is not None and count.value <= most
        held = (ctypes.c_ubyte * (count.value * MAPPING.itemsize)).from_address(found.value)
        mappings = np.frombuffer(memoryview(held), dtype=MAPPING).copy()
        self.library.release(found)
        return seconds, mappings

    def walks(self, root: int, vas: npt.NDArray[np.uint64]) -> tuple[float, int]:
        """Walk to every address; the sum of the PTEs' addresses comes second."""
        total = c_uint64()
        seconds = self.library.time_walks(byref(self._machine), root, vas.ctypes.data, len(vas), byref(total)) / 1e9
        return seconds, total.value
