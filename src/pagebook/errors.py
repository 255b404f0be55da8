"""The exception tree.

Every error pagebook raises on purpose is a `PagebookError`.  One about an address carries the facts as
attributes (``va``, ``pa``, ``level``, ``pte``, ``pte_pa``), ``None`` where they do not apply, and its
message says what was found, not only what was wanted.
"""

from __future__ import annotations


class PagebookError(Exception):
    """The root of the tree; the message is one plain sentence with the remedy where there is one."""

    def __init__(
        self,
        message: str,
        *,
        va: int | None = None,
        pa: int | None = None,
        level: int | None = None,
        pte: int | None = None,
        pte_pa: int | None = None,
    ) -> None:
        super().__init__(message)
        self.va = va
        self.pa = pa
        self.level = level
        self.pte = pte
        self.pte_pa = pte_pa


class BadAddress(PagebookError):
    """An address or a size that no table of this format could hold: unaligned, non-canonical, wrapping."""


class OutsideMemory(PagebookError):
    """A physical address that no memory region holds."""


class ReadOnlyMemory(PagebookError):
    """A write to memory that is not ours."""


class AlreadyMapped(PagebookError):
    """A mapping was asked for where a valid PTE stands."""


class NotMapped(PagebookError):
    """No valid leaf PTE stands where one was needed."""


class NotATable(PagebookError):
    """A leaf PTE stands where the walk needs a pointer to the next table, or a pointer where no table can be."""


class OutOfFrames(PagebookError):
    """The frame allocator has no frame left."""


class BadFrame(PagebookError):
    """A frame that its allocator never owned was given back to it, or its free list is damaged."""


class TooManyMappings(PagebookError):
    """A table that lists more mappings than the caller is ready to hold."""


class BadFile(PagebookError):
    """A file that is not what it should be: truncated, of another machine, or with impossible headers."""


class BadTarget(PagebookError):
    """Words that name no machine pagebook can open."""


class SourceLost(PagebookError):
    """The bytes can be read no more: the guest has ended, or what told of it has gone."""


class Panic(PagebookError):
    """The model's kernel panicked: ``reason`` is xv6's own string, the message adds the facts after it."""

    def __init__(self, reason: str, facts: str = "", **where: int | None) -> None:
        super().__init__(f"panic: {reason}" + (f" ({facts})" if facts else ""), **where)
        self.reason = reason
