"""Files of others, mapped read-only: nothing is read until it is looked at, and no size is too large.

What is not a file (a directory, a pipe, a device) is refused before it is opened.  A file that another program cuts
short *while* it is mapped kills this process with SIGBUS when the lost part is looked at, as it does with every program
that maps files; no handler in Python can stand in for the bytes.
"""

from __future__ import annotations

import mmap
import os
import stat
from pathlib import Path

from pagebook.errors import BadFile


def map_file(path: str | Path) -> mmap.mmap:
    """The bytes of the file, mapped; BadFile with the reason when there are none or the system refuses."""
    try:
        if not stat.S_ISREG(Path(path).stat().st_mode):  # opening a pipe would wait for its other end
            raise BadFile(f"cannot open {str(path)!r}: it is a directory, a device or a pipe, not a file")
        with Path(path).open("rb") as file:
            if not os.fstat(file.fileno()).st_size:
                raise BadFile(f"{path} is empty")
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except OSError as error:
        raise BadFile(f"cannot open {str(path)!r}: {error.strerror}") from error
    except (ValueError, OverflowError) as error:  # a NUL in the name; a size that no address space holds
        raise BadFile(f"cannot open {str(path)!r}: {error}") from error
