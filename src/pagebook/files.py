"""Files that appear whole or not at all.

What is written goes beside its place and is renamed at the end, so that neither an error nor Ctrl-C leaves half a file
or destroys the one that was there.
"""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from pagebook.errors import BadFile

UNFINISHED: set[str] = set()
"""What is being written beside its place, for who must end this process at once."""


def what_else(mode: int) -> str:
    """That something with this ``st_mode`` is no file, and what it is."""
    kinds = {stat.S_IFDIR: "a directory", stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket"}
    return f"it is {kinds.get(stat.S_IFMT(mode), 'a device')}, not a file"


@contextmanager
def replacing(path: str | Path) -> Iterator[IO[bytes]]:
    """A file to write, which takes its place when the block ends without an exception.

    A symbolic link stays and what it leads to is replaced.  BadFile when the system refuses, and for anything there
    that is not a file.
    """
    place = Path(os.path.realpath(path))
    try:
        if place.exists() and not place.is_file():
            raise BadFile(f"cannot write {str(path)!r}: {what_else(place.stat().st_mode)}")
        with tempfile.NamedTemporaryFile(dir=place.parent, prefix=".pagebook.", delete=False) as file:
            temporary = Path(file.name)
            UNFINISHED.add(file.name)
            try:
                yield file
                file.flush()
                temporary.chmod(0o666 & ~_umask())
                temporary.replace(place)
            except BaseException:
                temporary.unlink(missing_ok=True)
                raise
            finally:
                UNFINISHED.discard(file.name)
    except OSError as error:
        raise BadFile(f"cannot write {str(path)!r}: {error.strerror}") from error


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
