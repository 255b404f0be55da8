"""What the model loads: a kernel's image and symbols, and the programs it runs.

INIT and SH are small programs of our own, built from the C beside this file; they run on a real xv6 too.  Other
programs and kernels are read, with every check, from ELF files; what reads those is imported when there is one.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from pagebook.errors import BadFile
from pagebook.units import PAGE_MASK
from pagebook.xv6.memlayout import KERNBASE, TRAPFRAME

if TYPE_CHECKING:
    from pagebook.elf import Elf

_HERE = Path(__file__).parent
INIT = (_HERE / "init").read_bytes()
SH = (_HERE / "sh").read_bytes()
INITCODE = (_HERE / "initcode").read_bytes()
_UNALIGNED = b"mappages: va not aligned"  # a panic of 2024's


@dataclass(frozen=True)
class KernelImage:
    """A kernel's symbols, and the bytes it puts at physical addresses."""

    symbols: dict[str, int]
    pieces: tuple[tuple[int, bytes], ...]

    @property
    def revision(self) -> str | None:
        """The revision whose rules its code follows, by what it can and what it says; None where it is not xv6."""
        if "mappages" not in self.symbols:
            return None
        if "vmfault" in self.symbols:
            return "2025"
        return "2024" if any(_UNALIGNED in data for _, data in self.pieces) else "2022"


def read_kernel(path: str | Path) -> KernelImage:
    """The kernel in an ELF file; BadFile when it is none, or lacks the linker symbols that the model needs."""
    data, elf = _read(path, "kernel", "a kernel")
    symbols = dict(elf.symbols)
    if "_trampoline" in symbols:
        symbols.setdefault("trampoline", symbols["_trampoline"])
    missing = [name for name in ("etext", "end", "trampoline") if name not in symbols]
    if missing:
        raise BadFile(f"{path} has no symbol {', '.join(missing)}; give the kernel as linked, not stripped")
    for segment in elf.loads:
        if segment.filesz and not KERNBASE <= segment.paddr <= symbols["end"] - segment.filesz:
            raise BadFile(
                f"{path}: a load segment of {segment.filesz:#x} bytes at {segment.paddr:#x} is not between "
                f"KERNBASE {KERNBASE:#x} and end {symbols['end']:#x}"
            )
    return KernelImage(symbols, tuple((s.paddr, data[s.offset : s.offset + s.filesz]) for s in elf.loads if s.filesz))


def read_program(path: str | Path) -> bytes:
    """A program's ELF file, checked as far as exec relies on it and further: nothing in it overlaps or overflows."""
    data, elf = _read(path, "program", "a program for xv6")
    _check_program(elf)
    return data


def _read(path: str | Path, what: str, kind: str) -> tuple[bytes, Elf]:
    from pagebook.elf import read_bytes, read_elf

    data = read_bytes(path, what)
    return data, read_elf(io.BytesIO(data), str(path), len(data)).expect("ET_EXEC", kind)


class ProgramSymbols(Mapping[str, int]):
    """The symbols in the bytes of a program's ELF file, read when they are first asked for; none where it is none."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    @cached_property
    def _found(self) -> dict[str, int]:
        from pagebook.elf import read_elf

        try:
            return read_elf(io.BytesIO(self._data), "program", len(self._data)).symbols
        except BadFile:
            return {}

    def __getitem__(self, name: str) -> int:
        return self._found[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._found)

    def __len__(self) -> int:
        return len(self._found)


def _check_program(elf: Elf) -> None:
    if not elf.loads:
        raise BadFile(f"{elf.name} has nothing to load")
    end = 0
    for segment in elf.loads:
        if segment.vaddr & PAGE_MASK:
            raise BadFile(f"{elf.name}: the segment at {segment.vaddr:#x} does not start a page; xv6's exec refuses it")
        if segment.vaddr < end:
            raise BadFile(
                f"{elf.name}: the segment at {segment.vaddr:#x} overlaps or precedes one that ends at {end:#x}"
            )
        end = segment.vaddr + segment.memsz
        if end > TRAPFRAME:
            raise BadFile(f"{elf.name}: the segment at {segment.vaddr:#x} reaches {end:#x}, past user memory's end")
