"""Physical memory: bytes at physical addresses, in regions; what is between them is a hole.

A region lies over any buffer - anonymous RAM, a mapped file - and copies nothing; where the bytes cannot be mapped, a
`FetchedRegion` asks for each page once.  Scalar reads give plain ints through 64-bit memoryviews; whole pages come as
NumPy arrays over the same bytes.  Memory knows nothing of page tables.  Words are little-endian, as RISC-V's are.
"""

from __future__ import annotations

import mmap
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from typing import Any

import numpy as np
import numpy.typing as npt

from pagebook.errors import BadAddress, OutsideMemory, ReadOnlyMemory
from pagebook.units import PAGE_MASK, PAGE_SHIFT, PAGE_SIZE, size_text

assert sys.byteorder == "little", "pagebook reads guests' words in place and needs a little-endian host"

PHYSICAL_BITS = 56
MOST_AT_ONCE = 4096
"""Pages fetched in one piece: an interrupt need not wait for more."""
FEWEST_MADE = 4
"""Pages fetched in one piece for which the system is asked to make them all at once."""
_MADV_POPULATE_WRITE = 23  # of Linux from 5.14 on; Python has no name for it
U64 = np.uint64
Pages = npt.NDArray[np.uint64]
Indices = npt.NDArray[np.intp]
Buffer = bytes | bytearray | memoryview | mmap.mmap
Written = Callable[[], Iterable[tuple[int, int]]]


class Region:
    """``size`` bytes from physical address ``base``, page-aligned, over a buffer.

    ``data`` is the bytes, ``words`` the same as 64-bit words (a tail shorter than a word left out), and
    ``pages`` the whole pages as an array of shape (pages, 512) of uint64.  ``direct`` says that these cost nothing.
    ``written()``, where there is one, gives the runs of pages outside which all is zeros and need not be read.
    """

    __slots__ = ("base", "data", "direct", "end", "name", "pages", "size", "words", "words32", "writable", "written")

    def __init__(
        self, base: int, buffer: Buffer, *, name: str = "ram", writable: bool = False, written: Written | None = None
    ) -> None:
        view = memoryview(buffer).cast("B")
        self._stand(base, len(view), name)
        self.written = written
        self.writable = writable and not view.readonly
        self._lay(view if self.writable else view.toreadonly())

    def _stand(self, base: int, size: int, name: str) -> None:
        if base & PAGE_MASK:
            raise BadAddress(f"region {name!r} starts at {base:#x}, which is not page-aligned", pa=base)
        if base < 0 or base + size > 1 << PHYSICAL_BITS:
            raise BadAddress(
                f"region {name!r} at {base:#x} of {size:#x} bytes does not fit in {PHYSICAL_BITS} bits",
                pa=base,
            )
        self.base = base
        self.size = size
        self.end = base + size
        self.name = name

    def _lay(self, view: memoryview) -> None:
        self.data = view
        self.words = self.data[: self.size & ~7].cast("Q")
        self.words32 = self.data[: self.size & ~3].cast("I")
        whole = self.data[: self.size & ~PAGE_MASK]
        self.pages: Pages = np.frombuffer(whole, dtype="<u8").reshape(-1, PAGE_SIZE // 8)
        self.direct = True

    def __repr__(self) -> str:
        rights = "rw" if self.writable else "ro"
        return f"<Region {self.name} {self.base:#x}-{self.end:#x} {size_text(self.size)} {rights}>"

    def runs(self) -> Iterator[tuple[int, int]]:
        """The numbers of the first page and of the one after the last, of each run of whole pages worth reading."""
        pages = self.size >> PAGE_SHIFT
        for first, stop in self.written() if self.written else ((0, pages),):
            yield first, min(stop, pages)

    def view(self, offset: int, size: int) -> memoryview:
        """The ``size`` bytes from ``offset``, in place."""
        return self.data[offset : offset + size]

    def take(self, index: Indices, out: Pages | None = None) -> Pages:
        """The whole pages of these numbers, copied, into ``out`` if given."""
        if self.pages.flags.aligned:
            return self.pages.take(index, axis=0, out=out, mode="clip")
        chosen: Pages = self.pages[index]  # NumPy's take first copies all of what is not aligned
        if out is not None:
            out[...] = chosen
        return chosen

    def words_at(self, offsets: npt.NDArray[np.uint64], width: int = 8) -> npt.NDArray[Any]:
        """The words, ``width`` bytes each (8 or 4), at these offsets, which are multiples of it."""
        words = np.frombuffer(self.words if width == 8 else self.words32, dtype=f"<u{width}")
        index = (offsets >> U64(3 if width == 8 else 2)).astype(np.intp)
        return words.take(index) if words.flags.aligned else words[index]


class FetchedRegion(Region):
    """A region whose bytes are elsewhere and cannot be mapped: each page is fetched once, when it is first asked for.

    ``fill(offset, room)`` puts the bytes from ``offset`` into ``room``, whole pages of any number, or raises a
    PagebookError.  ``absent()``, where there is one, gives for each page whether it is known to be zeros and need not
    be fetched when all are.  Whoever takes ``data``, ``words``, ``words32`` or ``pages`` takes them all: the rest is
    then fetched, and the region is as `direct` as any.  A region never looks twice; a fresh look is a fresh region.  So
    what was worked out from its bytes stays true, and ``kept`` is a place for that.
    """

    __slots__ = ("_absent", "_fill", "_fixed", "_here", "_mapping", "_room", "kept")

    def __init__(
        self,
        base: int,
        size: int,
        fill: Callable[[int, memoryview], None],
        *,
        name: str = "ram",
        absent: Callable[[], npt.NDArray[np.bool_]] | None = None,
    ) -> None:
        if size <= 0 or size & PAGE_MASK:
            raise BadAddress(f"region {name!r} of {size:#x} bytes is not a whole number of {PAGE_SIZE}-byte pages")
        self._stand(base, size, name)
        self.writable = self.direct = False
        self._fill = fill
        self._absent = absent
        self.written = None
        self.kept: dict[Any, Any] = {}
        self._mapping = _sparse(size)
        self._room = memoryview(self._mapping)
        self._fixed: Pages = np.frombuffer(self._room.toreadonly(), dtype="<u8").reshape(-1, PAGE_SIZE // 8)
        try:
            self._here = np.zeros(size >> PAGE_SHIFT, dtype=np.bool_)
        except MemoryError as error:
            raise _no_room(size, "out of memory") from error

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - asked only for slots that are still empty
        if name not in ("data", "words", "words32", "pages"):
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        self._fetch_all()
        self._lay(self._room.toreadonly())
        return getattr(self, name)

    def view(self, offset: int, size: int) -> memoryview:
        """The ``size`` bytes from ``offset``, once their pages are fetched."""
        if size > 0:
            first, last = offset >> PAGE_SHIFT, offset + size - 1 >> PAGE_SHIFT
            if last > first:
                self._fetch_runs(first + np.flatnonzero(~self._here[first : last + 1]))
            elif not self._here[first]:  # without arrays: lists are followed so, link by link
                self._fill(first << PAGE_SHIFT, self._room[first << PAGE_SHIFT : first + 1 << PAGE_SHIFT])
                self._here[first] = True
        return self._room[offset : offset + size].toreadonly()

    def take(self, index: Indices, out: Pages | None = None) -> Pages:
        """The pages of these numbers, once they are fetched."""
        self._fetch(index)
        return self._fixed.take(index, axis=0, out=out, mode="clip")

    def words_at(self, offsets: npt.NDArray[np.uint64], width: int = 8) -> npt.NDArray[Any]:
        """The words at these offsets, once their pages are fetched."""
        self._fetch((offsets >> U64(PAGE_SHIFT)).astype(np.intp))
        words = self._fixed.reshape(-1).view(f"<u{width}")
        return words.take((offsets >> U64(3 if width == 8 else 2)).astype(np.intp))

    def _fetch(self, index: Indices) -> None:
        """Have the pages of these numbers, neighbours in one piece."""
        missing = index[~self._here[index]]
        if len(missing):
            self._fetch_runs(np.unique(missing))

    def _fetch_all(self) -> None:
        if hasattr(mmap, "MADV_HUGEPAGE"):  # a twentieth of the page faults
            with suppress(OSError):
                self._mapping.madvise(mmap.MADV_HUGEPAGE)
        wanted = ~self._here
        if self._absent:
            wanted &= ~self._absent()
        self._fetch_runs(np.flatnonzero(wanted))
        self._here[:] = True

    def _fetch_runs(self, pages: Indices) -> None:
        """Fetch these pages, which ascend."""
        if not len(pages):
            return
        firsts, lasts = pages[:1], pages[-1:]
        if lasts[0] - firsts[0] >= len(pages):  # not one run
            after = np.flatnonzero(np.diff(pages) != 1) + 1  # where a run begins, but for the first
            firsts, lasts = pages[np.append(0, after)], pages[np.append(after, len(pages)) - 1]
        for first, last in zip(firsts.tolist(), lasts.tolist(), strict=True):
            for low in range(first, last + 1, MOST_AT_ONCE):
                high = min(low + MOST_AT_ONCE, last + 1)
                start, size = low << PAGE_SHIFT, high - low << PAGE_SHIFT
                if high - low >= FEWEST_MADE:
                    with suppress(OSError):  # an older system makes each page when it is first written
                        self._mapping.madvise(_MADV_POPULATE_WRITE, start, size)
                self._fill(start, self._room[start : start + size])
                self._here[low:high] = True


def _sparse(size: int) -> mmap.mmap:
    """Zeros of our own that take no memory until they are written, and then a page at a time."""
    if not hasattr(mmap, "MAP_PRIVATE"):
        return mmap.mmap(-1, size)
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | getattr(mmap, "MAP_NORESERVE", 0)
    try:
        buffer = mmap.mmap(-1, size, flags=flags)
    except OSError as error:
        raise _no_room(size, error.strerror) from error
    if hasattr(mmap, "MADV_NOHUGEPAGE"):
        with suppress(OSError):
            buffer.madvise(mmap.MADV_NOHUGEPAGE)
    return buffer


def _untouched(size: int) -> mmap.mmap:
    """Bytes of our own, zero until written, in huge pages where the system has them: a twentieth of the page faults."""
    if not hasattr(mmap, "MAP_PRIVATE"):
        return mmap.mmap(-1, size)
    buffer = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        with suppress(OSError):
            buffer.madvise(mmap.MADV_HUGEPAGE)
    return buffer


def _no_room(size: int, reason: str | None) -> BadAddress:
    return BadAddress(f"there is no room for a copy of {size_text(size)} of memory: {reason}")


def joined(regions: Iterable[Region]) -> list[Region]:
    """The regions by address, those that touch as one: what lies across two is then in one piece, as for the guest.

    The pages of one that is made so are copied when they are first asked for; a tail that is no whole page stays apart.
    """
    found: list[list[Region]] = []
    for region in sorted(regions, key=lambda one: one.base):
        last = found[-1][-1] if found else None
        if last and last.end == region.base and not region.size & PAGE_MASK:
            found[-1].append(region)
        else:
            found.append([region])
    return [_as_one(parts) if len(parts) > 1 else parts[0] for parts in found]


def _as_one(parts: Sequence[Region]) -> Region:
    base, end = parts[0].base, parts[-1].end

    def fill(offset: int, room: memoryview) -> None:
        for part in parts:
            low, high = max(base + offset, part.base), min(base + offset + len(room), part.end)
            if low < high:
                room[low - base - offset : high - base - offset] = part.view(low - part.base, high - low)

    def absent() -> npt.NDArray[np.bool_]:
        found = np.ones(end - base >> PAGE_SHIFT, np.bool_)
        for part in parts:
            for first, stop in part.runs():
                at = part.base - base >> PAGE_SHIFT
                found[at + first : at + stop] = False
        return found

    return FetchedRegion(base, end - base, fill, name=parts[0].name, absent=absent)


class Memory:
    """Regions sorted by address, none overlapping; every read and write goes to the region that holds it.

    ``devices`` are the physical addresses where a hart's access is answered, but no bytes are: nothing is read there.
    """

    def __init__(self, regions: Iterable[Region], devices: Iterable[range] = ()) -> None:
        self.regions = tuple(sorted(regions, key=lambda region: region.base))
        self.devices = tuple(devices)
        for lower, upper in zip(self.regions, self.regions[1:], strict=False):
            if upper.base < lower.end:
                both = " and ".join(f"{one.name} {one.base:#x}-{one.end:#x}" for one in (lower, upper))
                raise BadAddress(f"two pieces of memory overlap: {both}", pa=upper.base)

    @classmethod
    def anonymous(cls, size: int, base: int = 0x8000_0000, name: str = "ram") -> Memory:
        """Writable RAM of ``size`` bytes at ``base`` that costs nothing until it is touched."""
        if size <= 0 or size & PAGE_MASK:
            raise BadAddress(f"RAM of {size} bytes is not a whole number of {PAGE_SIZE}-byte pages")
        return cls([Region(base, _untouched(size), name=name, writable=True)])

    def __repr__(self) -> str:
        return f"Memory([{', '.join(map(repr, self.regions))}])"

    def __contains__(self, pa: int) -> bool:
        return any(region.base <= pa < region.end for region in self.regions)

    def region(self, pa: int, size: int = 1) -> Region:
        """The one region that holds all of [pa, pa + size); OutsideMemory when none does."""
        for region in self.regions:
            if region.base <= pa and pa + size <= region.end:
                return region
        raise self._outside(pa, size)

    def with_devices(self, devices: Iterable[range]) -> Memory:
        """The same bytes, with these devices beside them."""
        return Memory(self.regions, devices)

    def answers(self, pa: int, size: int = 1) -> bool:
        """Whether one region or one device has all of [pa, pa + size)."""
        return any(region.base <= pa and pa + size <= region.end for region in self.regions) or any(
            device.start <= pa and pa + size <= device.stop for device in self.devices
        )

    @property
    def kept(self) -> dict[Any, Any] | None:
        """A place for what was worked out from bytes that never change; None where they may."""
        only = self.regions[0] if len(self.regions) == 1 else None
        return only.kept if isinstance(only, FetchedRegion) else None

    def _outside(self, pa: int, size: int) -> OutsideMemory:
        where = ", ".join(f"{r.name} {r.base:#x}-{r.end:#x}" for r in self.regions) or "no region at all"
        what = f"{size} bytes at physical address {pa:#x} are" if size > 1 else f"physical address {pa:#x} is"
        return OutsideMemory(f"{what} outside memory, which has {where}", pa=pa)

    def read(self, pa: int, size: int) -> bytes:
        """``size`` bytes from ``pa``; regions that touch are read as one."""
        pieces = []
        while size > 0:
            region = self.region(pa)
            count = min(size, region.end - pa)
            pieces.append(bytes(region.view(pa - region.base, count)))
            pa += count
            size -= count
        return b"".join(pieces)

    def write(self, pa: int, data: bytes | bytearray | memoryview) -> None:
        """Put ``data`` at ``pa``, all of it in one region that is ours to change, or nothing."""
        region = self.ours(pa, len(data))
        region.data[pa - region.base : pa - region.base + len(data)] = data

    def ours(self, pa: int, size: int) -> Region:
        """`region`, when it is ours to change; ReadOnlyMemory otherwise."""
        region = self.region(pa, size)
        if not region.writable:
            raise ReadOnlyMemory(f"{region} is not ours to change: write to {pa:#x} refused", pa=pa)
        return region

    def read64(self, pa: int) -> int:
        """The 64-bit word at ``pa``."""
        if pa & 7:
            return self._read(pa, 8)
        region = self.region(pa, 8)
        if not region.direct:
            return int.from_bytes(region.view(pa - region.base, 8), "little")
        return region.words[pa - region.base >> 3]

    def _read(self, pa: int, size: int) -> int:
        return int.from_bytes(self.read(pa, size), "little")

    def read32(self, pa: int) -> int:
        """The 32-bit word at ``pa``."""
        return self._read(pa, 4)

    def read16(self, pa: int) -> int:
        """The 16-bit word at ``pa``."""
        return self._read(pa, 2)

    def read8(self, pa: int) -> int:
        """The byte at ``pa``."""
        return self._read(pa, 1)

    def write64(self, pa: int, value: int) -> None:
        """Put a 64-bit word at ``pa``."""
        if pa & 7:
            self._write(pa, value, 8)
        else:
            region = self.ours(pa, 8)
            region.words[pa - region.base >> 3] = value

    def _write(self, pa: int, value: int, size: int) -> None:
        self.write(pa, value.to_bytes(size, "little"))

    def write32(self, pa: int, value: int) -> None:
        """Put a 32-bit word at ``pa``."""
        self._write(pa, value, 4)

    def write16(self, pa: int, value: int) -> None:
        """Put a 16-bit word at ``pa``."""
        self._write(pa, value, 2)

    def write8(self, pa: int, value: int) -> None:
        """Put a byte at ``pa``."""
        self._write(pa, value, 1)

    def page(self, pa: int) -> Pages:
        """The page that holds ``pa``, as 512 words of uint64 over the memory itself: no copy."""
        region = self.region(pa & ~PAGE_MASK, PAGE_SIZE)
        index = (pa - region.base) >> PAGE_SHIFT
        if not region.direct:
            return np.frombuffer(region.view(index << PAGE_SHIFT, PAGE_SIZE), dtype="<u8")
        page: Pages = region.pages[index]
        return page

    def gather(self, pas: npt.NDArray[np.uint64], out: Pages | None = None) -> tuple[Pages, npt.NDArray[np.bool_]]:
        """Many pages at once: an array of shape (len(pas), 512), copied, into ``out`` if given; and which memory holds.

        A page that no region holds whole reads as zeros and is False in the mask.
        """
        pages: Pages = np.empty((len(pas), PAGE_SIZE // 8), dtype=U64) if out is None else out
        inside = np.zeros(len(pas), dtype=np.bool_)
        for region in self.regions:
            offset = pas - U64(region.base)
            here = offset < U64(region.size & ~PAGE_MASK)
            index = (offset >> U64(PAGE_SHIFT)).astype(np.intp)
            if here.all():
                region.take(index, pages)
                return pages, here
            pages[here] = region.take(index[here])
            inside |= here
        pages[~inside] = 0
        return pages, inside

    def scatter(self, pas: npt.NDArray[np.uint64], pages: Any) -> None:  # noqa: ANN401 - whatever broadcasts
        """Put pages, of shape (len(pas), 512) or anything that broadcasts to it, at the addresses ``pas``.

        Each must lie in a region that is ours to change; when one does not, nothing is written.
        """
        if not len(pas):
            return
        low, high = int(pas.min()), int(pas.max())
        region = self.ours(low, PAGE_SIZE)
        if high + PAGE_SIZE <= region.end:
            region.pages[(pas - U64(region.base)) >> U64(PAGE_SHIFT)] = pages
            return
        homes = [self.ours(pa, PAGE_SIZE) for pa in pas.tolist()]
        for home, pa, page in zip(homes, pas.tolist(), np.broadcast_to(pages, (len(pas), PAGE_SIZE // 8)), strict=True):
            home.pages[pa - home.base >> PAGE_SHIFT] = page
