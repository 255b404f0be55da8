"""The symbols that a Linux kernel keeps of itself, read out of its memory: no file is needed.

A name is a string of tokens, one byte each, of a table of 256; the addresses are offsets from one base.  Where the
arrays are the kernel tells in its vmcoreinfo (since 6.0).  A layout that this module does not know shows by
the symbols whose addresses are known otherwise, and then nothing is told at all.
"""

from __future__ import annotations

import numpy as np

from pagebook.errors import PagebookError
from pagebook.guests.view import View

MOST_SYMBOLS = 1 << 21
MOST_LETTERS = 1 << 26
_TOKENS = 256
_WITNESSES = ("swapper_pg_dir", "_stext")
_LONGEST_NAMES = 1 << 24
_LONGEST_TABLE = 1 << 15
_LONGEST_TOKEN = 128


def read(view: View, known: dict[str, int]) -> dict[str, int]:
    """Every symbol with its address; nothing where the arrays cannot be found, or contradict those ``known``."""
    try:
        found = _read(view, known)
    except (PagebookError, KeyError, IndexError, ValueError):
        return {}
    return found if all(name in found and found[name] == known.get(name) for name in _WITNESSES) else {}


def _read(view: View, known: dict[str, int]) -> dict[str, int]:
    count = view.number(known["kallsyms_num_syms"], 4)
    names, table = known["kallsyms_names"], known["kallsyms_token_table"]
    if not 0 < count <= MOST_SYMBOLS or not 0 < table - names <= _LONGEST_NAMES:
        return {}
    tokens = _tokens(view, known)
    offsets = np.frombuffer(view.read(known["kallsyms_offsets"], 4 * count), dtype="<u4")
    base = view.number(known["kallsyms_relative_base"])
    addresses = (offsets.astype(np.uint64) + np.uint64(base)).tolist()
    spelled = _spell(view.read(names, table - names), count, tokens)
    symbols: dict[str, int] = {}
    for name, address in zip(spelled, addresses, strict=True):
        symbols.setdefault(name, address)  # of several with one name, as static functions may have, the first
    return symbols


def _tokens(view: View, known: dict[str, int]) -> list[str]:
    starts = np.frombuffer(view.read(known["kallsyms_token_index"], 2 * _TOKENS), dtype="<u2").tolist()
    if max(starts) > _LONGEST_TABLE:
        raise IndexError("a table of tokens longer than any")
    text = view.read(known["kallsyms_token_table"], max(starts) + _LONGEST_TOKEN)
    return [text[start : text.index(b"\0", start, start + _LONGEST_TOKEN)].decode("latin-1") for start in starts]


def _spell(data: bytes, count: int, tokens: list[str]) -> list[str]:
    """The names, each without its first letter, which tells the kind of symbol."""
    spelled = []
    at = letters = 0
    for _ in range(count):
        length = data[at]
        at += 1
        if length & 0x80:
            length = length & 0x7F | data[at] << 7
            at += 1
        end = at + length
        spelled.append("".join([tokens[token] for token in data[at:end]])[1:])
        at = end
        letters += len(spelled[-1])
        if at > len(data) or letters > MOST_LETTERS:
            raise IndexError("names that end after all names, or are longer than any kernel's")
    return spelled
