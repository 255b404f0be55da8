"""Numbered lines from a file or from the command line, a block at a time.

A block is what one read gives: whoever writes a line into a pipe and waits gets its answer, and a file of any length
takes the memory of one block.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple, Protocol

from pagebook.errors import BadFile

BLOCK = 1 << 18  # bytes
LONGEST = 1 << 12  # characters in a line
BOM = b"\xef\xbb\xbf"


class Input(Protocol):
    """A file of bytes as it is read here."""

    def read1(self, size: int, /) -> bytes:
        """What one read gives, and nothing at the end."""
        ...

    def fileno(self) -> int:
        """The system's number for it."""
        ...

    def tell(self) -> int:
        """How many bytes have been read."""
        ...


class Block(NamedTuple):
    """Some lines of a source; ``first`` is the number of the first of them."""

    first: int
    lines: list[str]

    def kept(self) -> list[str]:
        """The lines that are neither blank nor comments, without spaces around them."""
        return [word for line in self.lines if (word := line.strip()) and word[0] != "#"]

    def number(self, index: int) -> int:
        """The number of a line, given its index among those that are kept."""
        return [number for number, line in enumerate(self.lines, self.first) if Block(0, [line]).kept()][index]


class Source(NamedTuple):
    """Blocks of lines, and what they are called: ``place`` and a line's number say where a row is."""

    place: str
    blocks: Iterable[Block]


def from_words(words: Sequence[str]) -> Source:
    """The source that is a list of addresses at hand."""
    return Source("address", [Block(1, list(words))])


def from_file(file: Input, name: str) -> Source:
    """The source that is an open file.  BadFile when it cannot be read, or has lines too long to be cases."""
    return Source(f"{name}, line", _blocks(file, name))


def _blocks(file: Input, name: str) -> Iterator[Block]:
    number, rest = 1, b""
    while data := _read(file, name):
        head, newline, rest = (rest + data).rpartition(b"\n")
        if newline:
            block = _block(number, head, name)
            yield block
            number += len(block.lines)
        if len(rest) > LONGEST:
            raise _too_long(name, number)
    if rest:
        yield _block(number, rest, name)


def _read(file: Input, name: str) -> bytes:
    try:
        return file.read1(BLOCK)
    except OSError as error:
        raise BadFile(f"cannot read {name}: {error.strerror}") from error


def _block(number: int, data: bytes, name: str) -> Block:
    if number == 1:
        data = data.removeprefix(BOM)
    lines = data.decode("utf-8", "backslashreplace").split("\n")
    if max(map(len, lines)) > LONGEST:
        raise _too_long(name, number + next(i for i, line in enumerate(lines) if len(line) > LONGEST))
    return Block(number, lines)


def _too_long(name: str, number: int) -> BadFile:
    return BadFile(f"{name}, line {number}: longer than {LONGEST} characters, so this is no case")
