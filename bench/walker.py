"""walker.c, compiled for this run: one address at a time by all the rules of `pagebook.mmu`."""

from __future__ import annotations

import ctypes
from ctypes import POINTER, Structure, byref, c_int64, c_uint64, c_void_p
from pathlib import Path

import numpy as np
import numpy.typing as npt

from bench.images import Image
from bench.reference import compiled
from pagebook.mmu import reserved_bits
from pagebook.sv import decode_satp

SOURCE = Path(__file__).with_name("walker.c")


class _Region(Structure):
    _fields_ = (("bytes", c_void_p), ("base", c_uint64), ("size", c_uint64))


class _Hart(Structure):
    _fields_ = (
        ("regions", POINTER(_Region)),
        *(
            (name, c_uint64)
            for name in ("count", "answering", "root", "levels", "reserved", "svadu", "svnapot", "svpbmt")
        ),
        *((name, c_uint64) for name in ("user", "sum", "mxr", "kind", "size")),
    )


_SIGNATURES = {"time_translate": (c_int64, POINTER(_Hart), c_void_p, c_uint64, c_void_p, c_void_p)}


def compile_walker() -> ctypes.CDLL:
    """The walker as a loaded library; NoCompiler, with the reason, when it cannot be made."""
    return compiled(SOURCE, "-O3", _SIGNATURES)


class Walker:
    """The walker set up for one image; what it found stays in ``pas`` and ``status``."""

    def __init__(self, library: ctypes.CDLL, image: Image) -> None:
        self.library = library
        self.vas = image.vas
        self.pas = np.zeros(len(image.vas), np.uint64)
        self.status = np.zeros(len(image.vas), np.uint8)
        regions, devices = image.memory.regions, image.memory.devices
        self._regions = (_Region * (len(regions) + len(devices)))(
            *(_Region(np.frombuffer(one.data, np.uint8).ctypes.data, one.base, one.size) for one in regions),
            *(_Region(None, one.start, len(one)) for one in devices),
        )
        satp, regime, extensions = decode_satp(image.regime.satp), image.regime, image.extensions
        assert satp.format
        self._hart = _Hart(
            self._regions, len(regions), len(self._regions), satp.root, satp.format.levels, reserved_bits(extensions),
            extensions.svadu, extensions.svnapot, extensions.svpbmt,
            regime.priv == "U", regime.sum, regime.mxr, image.kind, image.size,
        )  # fmt: skip

    def run(self) -> float:
        """Translate every address; the seconds it took."""
        pointers = (self.vas.ctypes.data, len(self.vas), self.pas.ctypes.data, self.status.ctypes.data)
        return float(self.library.time_translate(byref(self._hart), *pointers) / 1e9)

    def found(self) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint8]]:
        """Physical addresses and status numbers."""
        return self.pas, self.status
