"""BTF: how the structs of a Linux kernel lie in memory, as the kernel itself carries it for its BPF programs.

Only what is needed to find members of structs by name is read: sizes, and offsets in bytes, those of anonymous members
included.  The blob is trusted in nothing: whatever is wrong with it comes out as one `BadFile`.
"""

from __future__ import annotations

import struct
from array import array
from dataclasses import dataclass

from pagebook.errors import BadFile

MAGIC = 0xEB9F
MOST_TYPES = 1 << 20
MOST_MEMBERS = 1 << 14
_DEEPEST = 8
_LONGEST_NAME = 256
_HEADER = struct.Struct("<HBBIIIII")
_STRUCT, _UNION = 4, 5
# How many words follow the three of each kind of type: so many, and so many for each of its members.
_WORDS = {
    1: (1, 0), 2: (0, 0), 3: (3, 0), 4: (0, 3), 5: (0, 3), 6: (0, 2), 7: (0, 0), 8: (0, 0), 9: (0, 0), 10: (0, 0),
    11: (0, 0), 12: (0, 0), 13: (0, 2), 14: (1, 0), 15: (0, 3), 16: (0, 0), 17: (1, 0), 18: (0, 0), 19: (0, 3),
}  # fmt: skip


@dataclass(frozen=True)
class Layout:
    """A struct: its size, and the offset of each member, all in bytes; bit fields are left out."""

    name: str
    size: int
    offsets: dict[str, int]


def length(header: bytes) -> int:
    """How many bytes the blob has whose first 24 these are; BadFile when it is none."""
    if len(header) < _HEADER.size:
        raise BadFile(f"BTF of {len(header)} bytes is shorter than its header of {_HEADER.size}")
    magic, version, _, size, type_off, type_len, str_off, str_len = _HEADER.unpack_from(header)
    if magic != MAGIC or version != 1 or size < _HEADER.size or type_off % 4 or size % 4:
        raise BadFile(f"BTF starts with magic {magic:#x}, version {version}, header {size}; not with {MAGIC:#x}, 1, 24")
    return int(size + max(type_off + type_len, str_off + str_len))


class Btf:
    """A blob, indexed: `layout` finds structs in it."""

    def __init__(self, blob: bytes) -> None:
        whole = length(blob[: _HEADER.size])
        if whole > len(blob):
            raise BadFile(f"BTF is cut short: it says that it has {whole} bytes, and there are {len(blob)}")
        _, _, _, size, type_off, type_len, str_off, str_len = _HEADER.unpack_from(blob)
        self._words = array("I", blob[size + type_off : size + type_off + (type_len & ~3)])
        self._strings = blob[size + str_off : size + str_off + str_len]
        self._starts = self._index()
        self._budget = MOST_MEMBERS

    def _index(self) -> list[int]:
        """Where each type starts, by its number; number 0 is void."""
        words, starts, at = self._words, [0], 0
        while at + 3 <= len(words):
            info = words[at + 1]
            kind, members = info >> 24 & 0x1F, info & 0xFFFF
            if kind not in _WORDS:
                raise BadFile(f"BTF has a type of unknown kind {kind}, number {len(starts)}")
            starts.append(at)
            if len(starts) > MOST_TYPES:
                raise BadFile(f"BTF has more than {MOST_TYPES} types; no kernel has")
            fixed, each = _WORDS[kind]
            at += 3 + fixed + each * members
        if at != len(words):
            raise BadFile("BTF is damaged: its last type ends after all types")
        return starts

    def layout(self, name: str, *members: str) -> Layout | None:
        """The struct or union of that name that has all these members; None when there is none."""
        self._budget = MOST_MEMBERS
        for start in self._starts[1:]:
            if self._words[start + 1] >> 24 & 0x1F in (_STRUCT, _UNION) and self._named(self._words[start], name):
                offsets: dict[str, int] = {}
                self._members(start, 0, offsets, _DEEPEST)
                if all(member in offsets for member in members):
                    return Layout(name, self._words[start + 2], offsets)
        return None

    def _named(self, at: int, name: str) -> bool:
        return self._strings.startswith(name.encode() + b"\0", at)

    def _members(self, start: int, base: int, offsets: dict[str, int], deeper: int) -> None:
        """Fill in the members of the struct at ``start``, which itself begins ``base`` bytes into the whole."""
        words, info = self._words, self._words[start + 1]
        for at in range(start + 3, start + 3 + 3 * (info & 0xFFFF), 3):
            label, kind, bits = words[at], words[at + 1], words[at + 2]
            if info >> 31:  # then the upper eight bits are the width of a bit field
                if bits >> 24:
                    continue
                bits &= 0xFFFFFF
            name = self._strings[label : max(self._strings.find(b"\0", label, label + _LONGEST_NAME), label)]
            inner = self._starts[kind] if 0 < kind < len(self._starts) else -1
            if name:
                offsets.setdefault(name.decode("utf-8", errors="replace"), base + bits // 8)
            elif inner >= 0 and words[inner + 1] >> 24 & 0x1F in (_STRUCT, _UNION) and deeper:
                self._members(inner, base + bits // 8, offsets, deeper - 1)
            self._budget -= 1
            if self._budget < 0:
                raise BadFile(f"BTF is damaged: one struct in it has more than {MOST_MEMBERS} members")
