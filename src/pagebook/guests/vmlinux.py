"""A Linux kernel's ELF file, vmlinux: its symbols, its build and its BTF; what is not in it is None or empty.

The debugging information proper is not read: that of a distribution's kernel is some hundred megabytes, and BTF says
the same of structs in four.
"""

from __future__ import annotations

import mmap
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

from elftools.elf.elffile import ELFFile

from pagebook.elf import read_elf
from pagebook.errors import BadFile
from pagebook.files import what_else

_BUILD_BYTES = 20


@dataclass(frozen=True)
class Vmlinux:
    """What the file says: ``builds`` are the build ids that its notes could hold, as hexadecimal text."""

    name: str
    symbols: dict[str, int]
    builds: tuple[str, ...]
    btf: bytes | None


def is_elf(path: str) -> bool:
    """Whether a file starts as ELF does; a boot image does not, and has neither symbols nor sections."""
    try:
        with Path(path).open("rb") as file:
            return stat.S_ISREG(Path(path).stat().st_mode) and file.read(4) == b"\x7fELF"
    except OSError:
        return False


def read(path: str) -> Vmlinux:
    """Read the file; BadFile when it is not a RISC-V kernel with a symbol table."""
    try:
        mode = Path(path).stat().st_mode
        if not stat.S_ISREG(mode):
            raise BadFile(f"cannot open the kernel {path!r}: {what_else(mode)}")
        with Path(path).open("rb") as file:
            size = file.seek(0, 2)
            if not size:
                raise BadFile(f"the kernel {path} is empty")
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                return _read(data, path, size)
    except OSError as error:
        raise BadFile(f"cannot open the kernel {path!r}: {error.strerror}") from error


def _read(data: mmap.mmap, path: str, size: int) -> Vmlinux:
    if data[:4] != b"\x7fELF":
        raise BadFile(
            f"{path} is not an ELF file, so it has no symbols; give the vmlinux that the boot image was made from"
        )
    elf = read_elf(data, path, size)
    if not elf.symbols:
        raise BadFile(f"{path} has no symbol table; give the vmlinux that was not stripped")
    builds = tuple(text.hex() for name, _, text in elf.notes if name == "GNU" and len(text) == _BUILD_BYTES)
    try:
        section = ELFFile(cast(BinaryIO, data)).get_section_by_name(".BTF")
        btf = None if section is None else bytes(section.data())
    except Exception as error:  # pyelftools trusts what it reads, and a bad file can make it raise anything
        raise BadFile(f"{path}: its .BTF section cannot be read: {str(error) or type(error).__name__}") from error
    return Vmlinux(path, elf.symbols, builds, btf)
