"""Memory that has to be unpacked before it can be looked at: a temporary file without a name, as sparse as can be.

Pages of zeros stay holes, so a mostly empty machine takes little of the disk however large it is; the file is gone when
the process ends, in whatever way.  It is in the folder that TMPDIR names, else in /var/tmp, for /tmp is often memory.
"""

from __future__ import annotations

import mmap
import os
import tempfile
from pathlib import Path
from types import TracebackType

import numpy as np

from pagebook.errors import BadFile
from pagebook.units import PAGE_SIZE

CHUNK = 1 << 20
RESERVE = 64 << 20
"""Bytes of the disk that are left to others."""


class Spool:
    """A file being unpacked, for the use of ``name``; close it, or use it as a context, once it is mapped."""

    def __init__(self, name: str) -> None:
        self.name = name
        try:
            self.folder = _folder()
            self._file = tempfile.TemporaryFile(dir=self.folder, buffering=0)  # noqa: SIM115 - closed by __exit__
        except OSError as error:
            raise BadFile(f"cannot unpack {name}: no temporary file can be made: {error.strerror}") from error

    def __enter__(self) -> Spool:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def put_pages(self, at: int, data: bytes | bytearray | memoryview) -> None:
        """Put ``data`` at byte ``at``, a page's first; pages of zeros are left out, for they are zeros already."""
        view = memoryview(data)
        whole = len(view) // PAGE_SIZE
        filled = np.frombuffer(view[: whole * PAGE_SIZE], np.uint64).reshape(whole, PAGE_SIZE // 8).any(axis=1)
        edges = np.flatnonzero(np.diff(filled, prepend=False, append=False)) * PAGE_SIZE
        for start, stop in edges.reshape(-1, 2).tolist():
            self.put(at + start, view[start:stop])
        if len(view) > whole * PAGE_SIZE:
            self.put(at + whole * PAGE_SIZE, view[whole * PAGE_SIZE :])

    def put(self, at: int, data: bytes | bytearray | memoryview) -> None:
        """Put ``data`` at byte ``at``; BadFile when the disk has no room for it."""
        try:
            room = os.fstatvfs(self._file.fileno())
            if room.f_bavail * room.f_frsize < len(data) + RESERVE:
                raise BadFile(
                    f"cannot unpack {self.name}: the disk of {self.folder} is full; free some of it, or let TMPDIR "
                    "name a folder on another"
                )
            view = memoryview(data)
            while view:
                count = os.pwrite(self._file.fileno(), view, at)
                at, view = at + count, view[count:]
        except OSError as error:
            raise BadFile(f"cannot unpack {self.name} into {self.folder}: {error.strerror}") from error

    def mapped(self, size: int) -> mmap.mmap:
        """The first ``size`` bytes, mapped read-only; what was never put there is zero."""
        try:
            os.ftruncate(self._file.fileno(), size)
            return mmap.mmap(self._file.fileno(), size, access=mmap.ACCESS_READ)
        except (OSError, ValueError, OverflowError) as error:
            raise BadFile(f"cannot unpack {self.name} to {size} bytes: {error}") from error


def _folder() -> str:
    """Where large temporary files go."""
    if "TMPDIR" not in os.environ and Path("/var/tmp").is_dir() and os.access("/var/tmp", os.W_OK):
        return "/var/tmp"
    return tempfile.gettempdir()
