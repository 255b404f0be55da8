"""The RAM blocks of a QEMU process: where they lie in its address space, and their bytes.

A block that is a shared mapping of a file is mapped here too, read-only.  The others are read through /proc/PID/mem,
whose descriptor is opened for reading only.  What a block is for is decided elsewhere.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple
from weakref import finalize

import numpy as np
import numpy.typing as npt

from pagebook.errors import BadTarget, SourceLost
from pagebook.sources.mapped import Mapped
from pagebook.sources.processes import Backend, Process
from pagebook.units import PAGE_SHIFT, size_text

_LINE = re.compile(r"([0-9a-f]{1,16})-([0-9a-f]{1,16}) (\S{4}) ([0-9a-f]{1,16}) \S+ ([0-9]{1,20}) *(.*)")
_PRESENT_OR_SWAPPED = np.uint64(3 << 62)
_CODE = "/memfd:tcg-jit"  # QEMU's own translated code


class Block(NamedTuple):
    """``size`` bytes at the address ``host`` of the process; of the file ``path`` from ``offset`` where it has one."""

    host: int
    size: int
    shared: bool = False
    path: str = ""
    inode: int = 0
    offset: int = 0

    @property
    def end(self) -> int:
        """The first address after it."""
        return self.host + self.size

    def part(self, host: int, size: int) -> Block:
        """The ``size`` bytes of it from ``host``."""
        return self._replace(host=host, size=size, offset=self.offset + host - self.host if self.inode else 0)


def read_blocks(process: Process) -> list[Block]:
    """What the process may read and write, mapping by mapping, highest address first; OSError when it is not told."""
    found: list[Block] = []
    with (process.directory / "maps").open(errors="replace") as lines:
        for line in lines:
            match = _LINE.match(line)
            if match and match[3][:3] == "rw-" and not match[6].startswith(("[", _CODE)):
                start, stop, offset, inode = int(match[1], 16), int(match[2], 16), int(match[4], 16), int(match[5])
                found.append(Block(start, stop - start, match[3][3] == "s", match[6], inode, offset))
    return found[::-1]


def joined(blocks: Sequence[Block]) -> list[Block]:
    """The same with those that touch and go on in the same file, or are of none, made one."""
    found: list[Block] = []
    for upper in blocks:
        last = found[-1] if found else None
        if last and upper.end == last.host and upper.part(last.host, last.size) == last:
            found[-1] = upper._replace(size=upper.size + last.size)
        else:
            found.append(upper)
    return found


def fitting(blocks: Sequence[Block], backend: Backend) -> list[Block]:
    """The blocks that can be this backend's: mappings of its very size, else such runs, else the ends of larger runs.

    The system may split a block where advice was given about a part.  Below a block something else may touch it, but
    above each QEMU leaves a page that cannot be accessed.
    """
    of_kind = [block for block in blocks if _kind(block) == backend.kind]
    runs = joined(of_kind)
    exact = [block for block in of_kind if block.size == backend.size]
    exact = exact or [block for block in runs if block.size == backend.size]
    return exact or [b.part(b.end - backend.size, backend.size) for b in runs if b.size > backend.size]


def _kind(block: Block) -> str:
    return "ram" if not block.inode else "memfd" if block.path.startswith("/memfd:") else "file"


class ProcessMemory:
    """/proc/PID/mem of a process, open for as long as anybody has this object.

    BadTarget, with what is in the way and the remedy, when the system refuses.
    """

    def __init__(self, process: Process) -> None:
        self.process = process
        try:
            self._mem = os.open(process.directory / "mem", os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise BadTarget(why_refused(process, error)) from error
        try:
            self._pagemap: int | None = os.open(process.directory / "pagemap", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            self._pagemap = None
        self.close = finalize(self, _close, self._mem, self._pagemap)

    def read_into(self, host: int, room: memoryview) -> None:
        """The process's bytes from ``host``; SourceLost when they are not there any more."""
        done = 0
        while done < len(room):
            try:
                count = os.preadv(self._mem, [room[done:]], host + done)
            except OSError as error:
                raise self._lost(str(error.strerror)) from error
            if not count:
                raise self._lost("there is nothing to read")
            done += count

    def _lost(self, reason: str) -> SourceLost:
        return SourceLost(f"QEMU {self.process.pid} can be read no more ({reason}): the guest has ended")

    def filler(self, block: Block) -> Callable[[int, memoryview], None]:
        """What fetches a block's bytes."""
        return lambda offset, room: self.read_into(block.host + offset, room)

    def absent(self, block: Block) -> Callable[[], npt.NDArray[np.bool_]] | None:
        """What tells the block's pages that were never touched; None for a file's, which may be in the file."""
        return None if block.inode or self._pagemap is None else lambda: self._untouched(block)

    def _untouched(self, block: Block) -> npt.NDArray[np.bool_]:
        entries = np.zeros(block.size >> PAGE_SHIFT, np.uint64)
        with suppress(OSError):
            if self._pagemap is not None:
                count = os.preadv(self._pagemap, [entries.view(np.uint8).data], (block.host >> PAGE_SHIFT) * 8)
                untouched: npt.NDArray[np.bool_] = entries & _PRESENT_OR_SWAPPED == 0
                untouched[count // 8 :] = False
                return untouched
        return np.zeros(len(entries), np.bool_)


def _close(*descriptors: int | None) -> None:
    for descriptor in descriptors:
        if descriptor is not None:
            os.close(descriptor)


def shared_view(process: Process, block: Block) -> memoryview | None:
    """The bytes of a shared block, mapped read-only from its file; None when the file cannot be opened."""
    if not block.shared:
        return None
    for path in _names(process, block):
        with suppress(OSError, ValueError):
            found = map_file(path, block.size, block.offset, block.inode)
            if found is not None:
                return found
    return None


def _names(process: Process, block: Block) -> Iterator[Path]:
    """Where the file may be: under its name, seen from here or from the process, or among what the process has open."""
    if not block.path.endswith(" (deleted)"):
        yield Path(block.path)
        yield Path(f"{process.directory}/root{block.path}")
    with suppress(OSError):
        yield from (process.directory / "fd").iterdir()


def map_file(path: Path, size: int, offset: int = 0, inode: int | None = None) -> memoryview | None:
    """``size`` bytes of a file; None when it is no such file (of that number, where one is given) or is shorter."""
    if not stat.S_ISREG(path.stat().st_mode):  # opening a pipe would wait
        return None
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        status = os.fstat(descriptor)
        if (inode is not None and status.st_ino != inode) or status.st_size < offset + size:
            return None
        return memoryview(Mapped(descriptor, size, offset))
    finally:
        os.close(descriptor)


def why_refused(process: Process, error: OSError, uid: int | None = None, proc: Path | None = None) -> str:
    """One sentence: what keeps us from a process's memory, and what to do."""
    uid = os.geteuid() if uid is None else uid
    scope = _ptrace_scope(proc or process.directory.parent)
    what = f"the memory of QEMU {process.pid} cannot be read ({error.strerror}): "
    if not isinstance(error, PermissionError):
        return f"{what}has it ended?"
    if uid not in (0, process.uid):
        return (
            f"{what}it belongs to user {process.uid}, and you are user {uid}; read it as that user or as root, or "
            f"{file_remedy(process)}"
        )
    if scope == 3:
        return (
            f"{what}kernel.yama.ptrace_scope is 3, which only a restart of the system changes; {file_remedy(process)}"
        )
    if scope and uid:
        other = "sudo sysctl kernel.yama.ptrace_scope=0"
        return f"{what}kernel.yama.ptrace_scope is {scope}; {file_remedy(process)}; or run: {other}"
    return (
        f"{what}neither its user nor ptrace_scope is in the way, so a container or a security module is; run pagebook "
        f"where QEMU runs, give that container SYS_PTRACE, or {file_remedy(process)}"
    )


def _ptrace_scope(proc: Path) -> int:
    with suppress(OSError, ValueError):
        return int((proc / "sys/kernel/yama/ptrace_scope").read_text())
    return 0


def file_remedy(process: Process) -> str:
    """The remedy that needs no rights: RAM in a file."""
    size = size_text(process.options.memory)
    return (
        f"add to the Makefile: QEMUOPTS += -object memory-backend-file,id=m,size={size},mem-path=/dev/shm/xv6,share=on "
        "-machine memory-backend=m"
    )
