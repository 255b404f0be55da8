"""Files of others, mapped read-only: nothing is read until it is looked at, and no size is too large.

What is not a file (a directory, a pipe, a device) is refused before it is opened.  A file that another program cuts
short *while* it is mapped kills this process with SIGBUS when the lost part is looked at, as it does with every program
that maps files; no handler in Python can stand in for the bytes.  So it is asked before every look whether the file is
still `whole`, and the command line has a last word for what is lost within one.
"""

from __future__ import annotations

import errno
import mmap
import os
import stat
import weakref
from pathlib import Path

from pagebook.errors import BadFile
from pagebook.files import what_else
from pagebook.memory import Written
from pagebook.units import PAGE_SHIFT, page_up

MOST_RUNS = 1 << 16  # of one file; what is after so many is taken for written


class Mapped(mmap.mmap):
    """A file mapped read-only that knows its holes.

    To look at a hole is not for nothing: in a file of /dev/shm, as QEMU's RAM may be, the system then gives it memory.
    """

    def __new__(cls, descriptor: int, size: int, offset: int = 0, name: str = "a file") -> Mapped:
        """``size`` bytes from ``offset``, the whole file for 0; the descriptor stays the caller's."""
        found = super().__new__(cls, descriptor, size, access=mmap.ACCESS_READ, offset=offset)
        found.name = name
        found._offset = offset
        found._descriptor = os.dup(descriptor)
        weakref.finalize(found, os.close, found._descriptor)
        return found

    name: str
    _offset: int
    _descriptor: int

    def whole(self) -> None:
        """BadFile when the file is shorter by now than what is mapped of it: the rest must not be looked at."""
        now, wanted = os.fstat(self._descriptor).st_size, self._offset + len(self)
        if now < wanted:
            raise BadFile(
                f"{self.name} became shorter while it was read: {now} bytes are left of {wanted}; open it again when "
                "nothing writes it any more, or open a copy"
            )

    def written(self, at: int, size: int) -> list[tuple[int, int]]:
        """The runs of pages, counted from ``at``, of the ``size`` bytes there that are no holes now."""
        found: list[tuple[int, int]] = []
        start = place = self._offset + at
        try:
            while len(found) < MOST_RUNS:
                data = os.lseek(self._descriptor, place, os.SEEK_DATA)
                if data >= start + size:
                    return found
                place = min(os.lseek(self._descriptor, data, os.SEEK_HOLE), start + size)
                low = max(data - start >> PAGE_SHIFT, found[-1][1] if found else 0)
                found.append((low, page_up(place - start) >> PAGE_SHIFT))
        except AttributeError:  # a system that cannot tell
            place = start
        except OSError as error:
            if error.errno == errno.ENXIO:  # nothing but a hole is left
                return found
        return [*found, (found[-1][1] if found else 0, page_up(size) >> PAGE_SHIFT)]


def written_of(view: memoryview, at: int = 0, size: int | None = None) -> Written | None:
    """What tells the holes of a part of a `Mapped`, of which ``view`` is the whole; None when it is of no file."""
    file = view.obj
    if not isinstance(file, Mapped) or len(view) != len(file):
        return None
    return lambda: file.written(at, len(view) - at if size is None else size)


def map_file(path: str | Path) -> Mapped:
    """The bytes of the file, mapped; BadFile with the reason when there are none or the system refuses."""
    try:
        mode = Path(path).stat().st_mode
        if not stat.S_ISREG(mode):  # opening a pipe would wait for its other end
            raise BadFile(f"cannot open {str(path)!r}: {what_else(mode)}")
        with Path(path).open("rb") as file:
            if not os.fstat(file.fileno()).st_size:
                raise BadFile(f"{path} is empty")
            return Mapped(file.fileno(), 0, name=str(path))
    except OSError as error:
        raise BadFile(f"cannot open {str(path)!r}: {error.strerror}") from error
    except (ValueError, OverflowError) as error:  # a NUL in the name; a size that no address space holds
        raise BadFile(f"cannot open {str(path)!r}: {error}") from error
