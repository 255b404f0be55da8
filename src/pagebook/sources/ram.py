"""Where a QEMU's guest has its RAM, and how its bytes are reached: a mapped file, the process's memory, or the monitor.

A monitor says exactly what is where.  Without one the command line says how much there is and the machine where it
begins; which block of the process it is shows by its size and, if several have that, by what the kernel's file says.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from elftools.elf.elffile import ELFFile

from pagebook.errors import BadTarget, SourceLost
from pagebook.memory import FetchedRegion, Region
from pagebook.sources.blocks import (
    Block,
    ProcessMemory,
    file_remedy,
    fitting,
    joined,
    map_file,
    read_blocks,
    shared_view,
)
from pagebook.sources.mapped import written_of
from pagebook.sources.processes import CommandLine, Process
from pagebook.sources.qmp import Monitor, host_address_in, ram_in, words_in
from pagebook.units import PAGE_MASK, PAGE_SIZE, size_text

# Where each machine of QEMU has its RAM: the starts of its parts, and how much goes there before the next.
_AT_2G = ((0x8000_0000, 1 << 56),)
LAYOUTS = {
    "virt": _AT_2G,
    "spike": _AT_2G,
    "sifive_u": _AT_2G,
    "sifive_e": _AT_2G,
    "shakti_c": _AT_2G,
    "microchip-icicle-kit": ((0x8000_0000, 1 << 30), (0x10_0000_0000, 1 << 56)),
}
MOST_SAMPLES = 16
_FDT = bytes.fromhex("d00dfeed")
_FDT_STEP = 2 << 20  # QEMU puts the device tree at such a multiple
_XP_WORDS = 4096
_EXECUTABLE = 1


class Place(NamedTuple):
    """A part of the guest's RAM: ``size`` bytes at physical address ``pa``, which are this block of the process."""

    pa: int
    block: Block
    name: str


class Ram(NamedTuple):
    """How to look: each of ``regions`` gives a region with the bytes of now, in part through ``monitor``, if any."""

    regions: tuple[Callable[[], Region], ...] = ()
    remarks: tuple[str, ...] = ()
    monitor: MonitorMemory | None = None


def find_ram(process: Process | None, monitor: Monitor | None, kernel: str | None) -> Ram:
    """The guest's RAM; BadTarget when no way leads to it."""
    if process is None:
        assert monitor
        return _through(monitor, ())
    memory: ProcessMemory | None = None
    refused: BadTarget | None = None
    try:
        memory = ProcessMemory(process)
    except BadTarget as error:
        refused = error
    try:
        blocks = read_blocks(process)
        places, remarks = _told(monitor, blocks) or _sought(process, blocks, memory, kernel)
        regions = tuple(_region(process, memory, place) for place in places)
        if None not in regions:
            return Ram(tuple(one for one in regions if one), remarks)
    except OSError:
        pass
    except BaseException:
        if memory:
            memory.close()
        raise
    if memory:
        memory.close()
    refused = refused or BadTarget(f"the memory map of QEMU {process.pid} cannot be read; {file_remedy(process)}")
    return _named_files(process) or _otherwise(monitor, refused)


def _otherwise(monitor: Monitor | None, refused: BadTarget) -> Ram:
    if monitor is None:
        raise refused
    return _through(monitor, (f"RAM is read through QEMU's monitor, some hundred times slower: {refused}",))


def _told(monitor: Monitor | None, blocks: Sequence[Block]) -> tuple[list[Place], tuple[str, ...]] | None:
    """What a monitor says; None when there is none, or it speaks of addresses that the process does not have.

    RAM that is seen at a second address too is given once, at the first.
    """
    places: list[Place] = []
    for pa, size, name in _pages_of_ram(monitor) if monitor else []:
        host = host_address_in(monitor.ask(f"gpa2hva {pa:#x}")) if monitor else None
        for block in (*blocks, *joined(blocks)):
            if host is not None and block.host <= host and host + size <= block.end:
                part = block.part(host, size)
                if part not in [place.block for place in places]:
                    places.append(Place(pa, part, name))
                break
        else:
            return None
    return (places, ()) if places else None


def _pages_of_ram(monitor: Monitor) -> list[tuple[int, int, str]]:
    """The (physical address, size, name) of all RAM that is whole pages."""
    return [one for one in ram_in(monitor.ask("info mtree -f")) if not (one[0] | one[1]) & PAGE_MASK]


def _sought(
    process: Process, blocks: Sequence[Block], memory: ProcessMemory | None, kernel: str | None
) -> tuple[list[Place], tuple[str, ...]]:
    """What the command line and the blocks' sizes say, held against the kernel's file."""
    options = process.options
    remarks = []
    if options.machine not in LAYOUTS:
        remarks.append(
            f"where RAM begins on the machine {options.machine!r} is assumed to be {_AT_2G[0][0]:#x}; a monitor would "
            "tell: QEMUOPTS += -qmp unix:qmp.sock,server,nowait"
        )
    places: list[Place] = []
    taken: list[Block] = []
    for parts in _parts(options):
        size = sum(size for _, _, size in parts)
        fits = [b for b in fitting(blocks, options.blocks[len(taken)]) if b not in taken] if size else []
        if not fits:
            raise BadTarget(
                f"QEMU {process.pid} has no block of {size_text(size)} for its RAM, which -m or -object gives it"
            )
        evidence = [_evidence(process, memory, block, parts[0][0], kernel) for block in fits] if len(fits) > 1 else []
        right = [block for block, proof in zip(fits, evidence, strict=False) if proof]
        if len(fits) > 1 and not right:
            remarks.append(
                f"{len(fits)} blocks of QEMU {process.pid} have the size of RAM, {size_text(size)}, and none holds the "
                f"kernel's code: the one at {fits[0].host:#x} is taken; a monitor would tell which it is"
            )
        taken.append((right or fits)[0])
        places += [Place(pa, taken[-1].part(taken[-1].host + at, size), "ram") for pa, at, size in parts]
    return places, tuple(remarks)


def _parts(options: CommandLine) -> Iterator[list[tuple[int, int, int]]]:
    """For each backend, the (physical address, offset in the backend, size) of the parts it is used in."""
    layout = iter(LAYOUTS.get(options.machine, _AT_2G))
    pa, room = next(layout)
    for backend in options.blocks:
        parts, offset = [], 0
        while offset < backend.size:
            if not room:
                pa, room = next(layout)
            size = min(backend.size - offset, room)
            parts.append((pa, offset, size))
            offset, pa, room = offset + size, pa + size, room - size
        yield parts


def _region(process: Process, memory: ProcessMemory | None, place: Place) -> Callable[[], Region] | None:
    view = shared_view(process, place.block)
    if view is not None:
        region = Region(place.pa, view, name=place.name, written=written_of(view))
        return lambda: region
    if memory is None:
        return None
    fill, absent = memory.filler(place.block), memory.absent(place.block)
    return lambda: FetchedRegion(place.pa, place.block.size, fill, name=place.name, absent=absent)


def _named_files(process: Process) -> Ram | None:
    """RAM in shared files that can be opened by their names alone, when nothing else of the process can be seen."""
    options, regions = process.options, []
    for backend, parts in zip(options.blocks, _parts(options), strict=True):
        path = process.file(backend.path) if backend.path and backend.shared and backend.kind == "file" else None
        view = None
        if path and backend.size:
            with suppress(OSError, ValueError):
                view = map_file(Path(path), backend.size)
        if view is None:
            return None
        regions += [Region(pa, view[at : at + size], written=written_of(view, at, size)) for pa, at, size in parts]
    return Ram(tuple(lambda region=region: region for region in regions))  # type: ignore[misc]


def _evidence(process: Process, memory: ProcessMemory | None, block: Block, pa: int, kernel: str | None) -> bool:
    """Whether the block holds the kernel's code where the kernel's file says, or a device tree where QEMU puts one."""
    view = shared_view(process, block)

    def read(offset: int, size: int) -> bytes:
        if view is not None:
            return bytes(view[offset : offset + size])
        room = bytearray(size)
        if memory:
            memory.read_into(block.host + offset, memoryview(room))
        return bytes(room)

    with suppress(SourceLost):
        with suppress(OSError, OverflowError):  # a file that is gone by now, or whose headers lie
            if kernel and _holds(kernel, pa, block.size, read):
                return True
        return any(read(at, 4) == _FDT for at in range(0, block.size, _FDT_STEP))
    return False


def _holds(kernel: str, pa: int, size: int, read: Callable[[int, int], bytes]) -> bool:
    """Whether most of some pages of the kernel's code are there; it may have patched a few."""
    same = seen = 0
    with Path(kernel).open("rb") as file:
        for at, address in _code_pages(kernel):
            if pa <= address and address + PAGE_SIZE <= pa + size:
                file.seek(at)
                seen += 1
                same += file.read(PAGE_SIZE) == read(address - pa, PAGE_SIZE)
    return same * 2 > seen


def _code_pages(kernel: str) -> list[tuple[int, int]]:
    """The (offset in the file, physical address) of some pages of the code that an ELF file loads."""
    pages: list[tuple[int, int]] = []
    try:
        with Path(kernel).open("rb") as file:
            for part in ELFFile(file).iter_segments("PT_LOAD"):
                if part["p_flags"] & _EXECUTABLE:
                    step = max(part["p_filesz"] // MOST_SAMPLES & ~PAGE_MASK, PAGE_SIZE)
                    offsets = range(0, part["p_filesz"] - PAGE_SIZE + 1, step)[:MOST_SAMPLES]
                    pages += [(part["p_offset"] + at, part["p_paddr"] + at) for at in offsets]
    except Exception:  # pyelftools trusts what it reads, and a bad file can make it raise anything
        return []
    return pages


def _through(monitor: Monitor, remarks: tuple[str, ...]) -> Ram:
    """RAM by the monitor alone, which must stay connected."""
    ranges = _pages_of_ram(monitor)
    if not ranges:
        raise BadTarget(f"the monitor at {monitor.where} names no RAM; does the machine have any?")
    reader = MonitorMemory(monitor)

    def region(pa: int, size: int, name: str) -> Callable[[], Region]:
        return lambda: FetchedRegion(pa, size, lambda at, room: reader.read_into(pa + at, room), name=name)

    return Ram(tuple(region(*one) for one in ranges), remarks, reader)


class MonitorMemory:
    """Physical memory by the monitor: saved to a file where QEMU runs on this machine, else printed as words."""

    def __init__(self, monitor: Monitor) -> None:
        self.monitor = monitor
        self._directory: Path | None = None
        if monitor.where.path is not None or monitor.where.host in ("localhost", "127.0.0.1", "::1"):
            shm = Path("/dev/shm")
            self._directory = Path(tempfile.mkdtemp(prefix="pagebook-", dir=shm if shm.is_dir() else None))

    def close(self) -> None:
        """Remove what was written."""
        if self._directory:
            shutil.rmtree(self._directory, ignore_errors=True)
            self._directory = None

    def read_into(self, pa: int, room: memoryview) -> None:
        """The bytes from physical address ``pa``."""
        if not self._saved(pa, room):
            self.close()  # QEMU is elsewhere, or another user's: it will not do the next time either
            self._printed(pa, room)

    def _saved(self, pa: int, room: memoryview) -> bool:
        if self._directory is None:
            return False
        path = self._directory / "pages"
        self.monitor.ask(f'pmemsave {pa:#x} {len(room):#x} "{path}"')
        try:
            with path.open("rb") as file:
                return file.readinto(room) == len(room)
        except OSError:
            return False
        finally:
            path.unlink(missing_ok=True)

    def _printed(self, pa: int, room: memoryview) -> None:
        for low in range(0, len(room), _XP_WORDS * 8):
            count = min(_XP_WORDS, (len(room) - low) // 8)
            words = words_in(self.monitor.ask(f"xp /{count}gx {pa + low:#x}"), pa + low, count)
            room[low : low + count * 8] = words.tobytes()


def why_no_kernel(process: Process) -> str:
    """What to say when the kernel's file that the command line names cannot be read; nothing when it can."""
    name = process.options.kernel
    if not name:
        return ""
    path = process.file(name)
    if path is None:
        reason = "is relative to where QEMU was started, which the system does not tell"
    elif not os.access(path, os.R_OK):
        reason = "cannot be read" if os.path.lexists(path) else "is not there any more"
    elif kernel_of(process):
        return ""
    else:
        reason = "is a folder" if Path(path).is_dir() else "is no ELF file, or is being built"
    return f"the kernel of QEMU {process.pid}, {path or name}, {reason}: name its file with --kernel FILE"


def kernel_of(process: Process) -> str | None:
    """The kernel's file, when it is an ELF file that can be read."""
    path = process.file(process.options.kernel) if process.options.kernel else None
    with suppress(OSError):
        if path and Path(path).is_file():
            with Path(path).open("rb") as file:
                return path if file.read(4) == b"\x7fELF" else None
    return None
