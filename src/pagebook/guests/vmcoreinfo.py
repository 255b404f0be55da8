"""What a Linux kernel writes down about itself for those who read its dumps: one page of text in its memory.

Release, build, addresses of a few symbols, offsets in a few structs, numbers.  The page is found by its first word.  It
may be stale, or of a guest in the guest: whoever uses it must prove it by walking the table it names.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice

import numpy as np

from pagebook.memory import U64, Memory
from pagebook.units import PAGE_SHIFT, PAGE_SIZE

_FIRST = b"OSRELEASE="
_LINE = re.compile(r"(SYMBOL|NUMBER)\(([\w.]+)\)=(?:(-?[0-9]{1,20})|(?:0x)?([0-9a-f]{1,16}))", re.ASCII)
_MOST = 64
_STEP = 1 << 14  # pages looked at in one go
_WORD = 1 << 64
_FIRMWARE = 2 << 20


@dataclass(frozen=True)
class Vmcoreinfo:
    """The text taken apart: ``symbols`` are addresses, ``numbers`` whatever the kernel counts, modulo 2^64."""

    pa: int
    release: str
    build: str = ""
    symbols: dict[str, int] = field(default_factory=dict)
    numbers: dict[str, int] = field(default_factory=dict)

    def image_pas(self, va: int) -> Iterator[int]:
        """Where ``va``, an address in the kernel's image, may be: as far as the kernel tells, and else guessed.

        Kernels that do not tell start where RAM does, or 2 MiB after that, where the firmware ends.
        """
        if "va_kernel_pa_offset" in self.numbers:
            yield (va - self.numbers["va_kernel_pa_offset"]) % _WORD
        elif "phys_ram_base" in self.numbers and "KERNEL_LINK_ADDR" in self.numbers:
            for start in (self.numbers["phys_ram_base"], self.numbers["phys_ram_base"] + _FIRMWARE):
                yield (va - self.numbers["KERNEL_LINK_ADDR"] + start) % _WORD


def find(memory: Memory, progress: Callable[[int], None] | None = None) -> Iterator[Vmcoreinfo]:
    """What looks like such a text, from the highest address down, as the kernel makes it early and near the top.

    Not more than 64 pages that start like one are looked at.  ``progress`` is called with the bytes just searched.
    """
    for pa in islice(_pages(memory, progress or (lambda count: None)), _MOST):
        found = parse(memory.read(pa, PAGE_SIZE), pa)
        if found:
            yield found


def _pages(memory: Memory, progress: Callable[[int], None]) -> Iterator[int]:
    first = U64(int.from_bytes(_FIRST[:8], "little"))
    for region in reversed(memory.regions):
        words = region.pages[:, 0]
        for low, high in reversed(list(region.runs())):
            for stop in range(high, low, -_STEP):
                start = max(low, stop - _STEP)
                for page in np.flatnonzero(words[start:stop] == first)[::-1].tolist():
                    yield region.base + (start + page << PAGE_SHIFT)
                progress(stop - start << PAGE_SHIFT)


def parse(page: bytes, pa: int) -> Vmcoreinfo | None:
    """The text at the start of ``page``, which was read from ``pa``; None when it is not such a text."""
    text = page.split(b"\0", 1)[0].decode("ascii", errors="replace")
    lines = text.splitlines()
    plain = dict(line.split("=", 1) for line in lines if "=" in line and "(" not in line)
    release = plain.get("OSRELEASE", "")
    if not release or len(release) > 64 or not release.isprintable():
        return None
    tables: dict[str, dict[str, int]] = {"SYMBOL": {}, "NUMBER": {}}
    for line in lines:
        match = _LINE.fullmatch(line)
        if match:
            kind, name, decimal, digits = match.groups()
            value = int(decimal) if decimal and kind == "NUMBER" else int(decimal or digits, 16)
            tables[kind][name] = value % _WORD
    return Vmcoreinfo(pa, release, plain.get("BUILD-ID", ""), tables["SYMBOL"], tables["NUMBER"])
