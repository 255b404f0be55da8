"""Page sizes, and numbers as people write and read them.

Addresses and sizes are plain ints everywhere in pagebook; this module is the edge where they become text
and where text becomes them.  Nothing here knows about memory or page tables.
"""

from __future__ import annotations

import re

PAGE_SHIFT = 12
PAGE_SIZE = 1 << PAGE_SHIFT
PAGE_MASK = PAGE_SIZE - 1

_SUFFIXES = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
_SIZE = re.compile(r"(0[xX](?:_?[0-9a-fA-F])+|0|[1-9](?:_?[0-9])*)\s*([kKmMgGtT]?)(?:i?[bB])?")
MOST_DECIMALS = 7  # an address of more digits without 0x is as likely hexadecimal
_BARE_HEX = re.compile(r"[0-9_]*[a-fA-F][0-9a-fA-F_]*")


class Ambiguous(ValueError):
    """Digits alone that may be hexadecimal: the message asks which, and has both."""


def page_down(address: int) -> int:
    """Round an address down to the start of its page (xv6: PGROUNDDOWN)."""
    return address & ~PAGE_MASK


def page_up(address: int) -> int:
    """Round an address up to the next page boundary (xv6: PGROUNDUP)."""
    return (address + PAGE_MASK) & ~PAGE_MASK


def parse_size(text: str) -> int:
    """Bytes meant by ``"128M"``, ``"4096"``, ``"0x1000"`` or ``"1GiB"``; ValueError for anything else."""
    found = _SIZE.fullmatch(text.strip())
    if not found:
        raise ValueError(f"{text!r} is not a size; write bytes, or a number with K, M, G or T: 4096, 128M, 1G")
    return int(found[1], 0) * _SUFFIXES[found[2].upper()]


def parse_address(text: str) -> int:
    """The address in ``"0x3fffffe000"``, ``"3fffffe000"`` or ``"4096"``; ValueError for anything else.

    Digits with a letter a-f among them are hexadecimal without their 0x, as panics print them.
    """
    word = text.strip()
    if word.isdecimal() and len(word) > MOST_DECIMALS:
        raise Ambiguous(f"is {word} hexadecimal? Write 0x{word}, or 0x{int(word):x} if it is not")
    try:
        return int(word, 16) if _BARE_HEX.fullmatch(word) else int(word, 0)
    except ValueError:
        raise ValueError(f"{text!r} is not an address; write it as 0x3fffffe000 or 4096") from None


def size_text(size: int) -> str:
    """A size in the largest unit that divides it: 134217728 is ``"128M"``, 4608 is ``"4608"``."""
    for suffix in ("T", "G", "M", "K"):
        unit = _SUFFIXES[suffix]
        if size and size % unit == 0:
            return f"{size // unit}{suffix}"
    return str(size)
