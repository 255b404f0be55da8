"""One sentence and an exit status when a mapped file loses bytes that are being looked at, in place of a silent end.

The system sends SIGBUS then, and the load that failed is tried again when a handler returns: Python's own handlers,
which run later, would never run.  So the handler is one of C's, and does not return.
"""

from __future__ import annotations

import ctypes
import os
import signal
from contextlib import suppress
from functools import cache

from pagebook.cli import BAD_CALL
from pagebook.files import UNFINISHED

SENTENCE = (
    b"pagebook: a file became shorter while it was read, or its disk failed; open it again when nothing writes it any "
    b"more, or open a copy\n"
)


@cache
def expect_lost_bytes() -> object:
    """From now on the process ends so; what is given back, and kept, is the handler."""
    if not hasattr(signal, "SIGBUS"):
        return None
    handler = ctypes.CFUNCTYPE(None, ctypes.c_int)(_end)
    with suppress(OSError, AttributeError):  # a C library without it
        ctypes.CDLL(None).signal(int(signal.SIGBUS), handler)
    return handler


def _end(number: int) -> None:
    try:
        for path in UNFINISHED:
            with suppress(OSError):
                os.unlink(path)  # noqa: PTH108 - as little as can be
        os.write(2, b"\r" + SENTENCE if os.isatty(2) else SENTENCE)  # over what tells how far it is
    finally:
        os._exit(BAD_CALL)
