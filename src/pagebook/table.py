"""Address spaces: bytes in memory, a format to read them by, and the address of the root.

`AddressSpace` looks, one address at a time, in plain ints; it holds no mapping that the bytes do not hold.  What the
MMU allows (privilege, A and D, reserved encodings) is not decided here; tables are changed in `pagetable`, and listed
whole by `scan`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from pagebook.errors import AlreadyMapped, BadAddress, NotATable, NotMapped, PagebookError
from pagebook.memory import U64, Memory
from pagebook.shown import in_notebook
from pagebook.sv import KIND_MASK, RWX, SV39, Format, V, flags_text
from pagebook.units import PAGE_MASK, PAGE_SHIFT, PAGE_SIZE

Ptes = npt.NDArray[Any]  # uint64, or uint32 in Sv32
_NONE = memoryview(b"").cast("Q")


class Entry(NamedTuple):
    """A PTE that a walk read: its level, where it stands and what it holds."""

    level: int
    pte_pa: int
    pte: int

    def __repr__(self) -> str:
        return f"Entry(level={self.level}, pte_pa={self.pte_pa:#x}, pte={self.pte:#x})"

    @property
    def kind(self) -> str:
        """``"absent"`` (V is 0), ``"table"`` (points to the next level) or ``"mapped"`` (a leaf)."""
        if not self.pte & V:
            return "absent"
        return "mapped" if self.pte & RWX else "table"


class Slice(NamedTuple):
    """A run of PTEs that stand side by side in one table, for consecutive pages from ``va``: ``pages`` of them.

    ``ptes`` is a view of the memory itself, or None where no table is; ``level`` is then that of the absent PTE.
    """

    va: int
    level: int
    pte_pa: int
    pages: int
    ptes: Ptes | None


class AddressSpace:
    """The mappings that start from the table at physical address ``root``."""

    def __init__(self, memory: Memory, root: int, format: Format = SV39) -> None:
        if root & PAGE_MASK:
            raise BadAddress(f"root {root:#x} is not page-aligned", pa=root)
        if root >> PAGE_SHIFT > format.ppn_mask:
            raise BadAddress(
                f"root {root:#x} is not below {format.ppn_mask + 1 << PAGE_SHIFT:#x}, and no PTE of {format.name} "
                "names a page above that",
                pa=root,
            )
        self.memory = memory
        self.format = format
        self.root = root
        # The walk's constants: most tables stand in the region of the root, whose words it reads directly where it can.
        region = memory.region(root, PAGE_SIZE)
        words = _NONE if not region.direct else region.words if format.pte_bytes == 8 else region.words32
        self._base = region.base
        self._words = words
        self._pte_shift = 3 if format.pte_bytes == 8 else 2
        self._constants = (
            region.base,
            words,
            len(words),
            format.index_mask,
            format.ppn_mask,
            self._pte_shift,
        )
        self._ppn_mask = format.ppn_mask
        self._low_half = 1 << (format.va_bits - 1 if format.xlen > format.va_bits else format.va_bits)
        self._dtype = np.dtype(f"<u{format.pte_bytes}")

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.memory!r}, {self.root:#x}, {self.format!r})"

    _repr_html_ = in_notebook

    def find(
        self, va: int, steps: tuple[tuple[int, int], ...] | None = None, pointer_mask: int = KIND_MASK
    ) -> tuple[int, int, int]:
        """Walk to where translation of ``va`` ends: the PTE's address, its value, its level.

        That PTE is a leaf, or absent, or a pointer on the last level, which a walk cannot follow; with only the first
        of the format's ``steps``, it may be a pointer on the last of those.  OutsideMemory when a table is not in
        memory.  This is the only walker; ``va`` must be canonical: only its low ``va_bits`` are looked at.
        """
        base, words, count, mask, ppn_mask, pte_shift = self._constants
        table = self.root
        index = pte = level = 0
        for level, shift in steps or self.format.steps:
            index = (table - base >> pte_shift) + (va >> shift & mask)
            pte = words[index] if 0 <= index < count else self._read_pte(base + (index << pte_shift), va, level)
            if pte & pointer_mask != 1:  # V with none of R, W, X: go on
                break
            table = (pte >> 10 & ppn_mask) << 12
        return base + (index << pte_shift), pte, level

    def _read_pte(self, pte_pa: int, va: int, level: int) -> int:
        try:
            return self.memory.read64(pte_pa) if self._pte_shift == 3 else self.memory.read32(pte_pa)
        except PagebookError as error:
            raise self._walk_failed(error, va, level, pte_pa) from None

    @staticmethod
    def _walk_failed(error: PagebookError, va: int, level: int, pte_pa: int) -> PagebookError:
        """The error of a read, with the walk that needed it."""
        error.va, error.level, error.pte_pa = va, level, pte_pa
        error.args = (f"the walk of {va:#x} needs a level-{level} PTE at {pte_pa:#x}: {error}",)
        return error

    def entry(self, va: int) -> Entry:
        """The PTE that decides the translation of ``va``."""
        pte_pa, pte, level = self.find(self.format.check_canonical(va))
        return Entry(level, pte_pa, pte)

    def steps(self, va: int) -> list[Entry]:
        """Every PTE that the translation of ``va`` reads, the root's first."""
        self.format.check_canonical(va)
        found: list[Entry] = []
        for depth in range(1, self.format.levels + 1):
            pte_pa, pte, level = self.find(va, self.format.steps[:depth])
            if found and level == found[-1].level:
                break
            found.append(Entry(level, pte_pa, pte))
        return found

    def translate(self, va: int) -> int | None:
        """The physical address that ``va`` reaches; BadAddress when it is not canonical.

        None where no leaf maps it, or only a superpage whose address its size does not divide.
        """
        if not 0 <= va < self._low_half:
            self.format.check_canonical(va)
        _, pte, level = self.find(va)
        if not pte & V or not pte & RWX:
            return None
        pa: int = (pte >> 10 & self._ppn_mask) << 12
        if level or pte >> 63:
            if level and pa & self.format.page_bytes(level) - 1:
                return None
            return self.format.target(pte, level, va)
        return pa | va & 0xFFF

    def check_range(self, va: int, size: int, page_bytes: int = PAGE_SIZE) -> None:
        """BadAddress unless [va, va + size) is whole pages, not empty, and one run of canonical addresses."""
        if size <= 0:
            raise BadAddress(f"a range of {size} bytes at {va:#x}: the size must be above zero", va=va)
        for what, number in (("va", va), ("size", size)):
            if number & page_bytes - 1:
                raise BadAddress(f"{what} {number:#x} is not a multiple of the page size {page_bytes:#x}", va=va)
        fmt = self.format
        fmt.check_canonical(va)
        last = va + size - 1
        halves = va >> fmt.va_bits - 1, last >> fmt.va_bits - 1
        if not fmt.is_canonical(last) or (fmt.va_bits < fmt.xlen and halves[0] != halves[1]):
            raise BadAddress(
                f"{size:#x} bytes from {va:#x} end at {last:#x}, past the last canonical address in {fmt.name}",
                va=va,
            )

    def ptes(self, pte_pa: int, count: int) -> Ptes:
        """``count`` PTEs from ``pte_pa`` as an array over the memory itself, writable if the memory is ours."""
        region = self.memory.region(pte_pa, count << self._pte_shift)
        return np.frombuffer(region.view(pte_pa - region.base, count << self._pte_shift), dtype=self._dtype)

    def slices(self, va: int, size: int) -> Iterator[Slice]:
        """The PTEs of [va, va + size), table by table; a superpage is a slice of one.

        BadAddress when the range cuts a superpage in two.
        """
        end = va + size
        while va < end:
            pte_pa, pte, level = self.find(va)
            span = self.format.page_bytes(level)
            if level == 0:
                count = min(self.format.entries - self.format.index(va, 0), end - va >> PAGE_SHIFT)
                yield Slice(va, 0, pte_pa, count, self.ptes(pte_pa, count))
                va += count << PAGE_SHIFT
            elif pte & V:
                if va & span - 1 or va + span > end:
                    raise BadAddress(
                        f"the range cuts the {span:#x}-byte page at {va & -span:#x} (PTE {pte:#x} at {pte_pa:#x})",
                        va=va, level=level, pte=pte, pte_pa=pte_pa,
                    )  # fmt: skip
                yield Slice(va, level, pte_pa, 1, self.ptes(pte_pa, 1))
                va += span
            else:
                until = min((va | span - 1) + 1, end)
                yield Slice(va, level, pte_pa, until - va >> PAGE_SHIFT, None)
                va = until

    def present(self, va: int, size: int) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint64]]:
        """The page addresses of [va, va + size) whose PTE is valid, and those PTEs; NotATable at a superpage."""
        vas, found = [np.empty(0, U64)], [np.empty(0, U64)]
        for part in self.slices(va, size):
            if part.ptes is not None:
                if part.level:
                    raise self._superpage(part.va, part.pte_pa, int(part.ptes[0]), part.level)
                valid = np.flatnonzero(part.ptes & V)
                vas.append(U64(part.va) + (valid.astype(U64) << U64(PAGE_SHIFT)))
                found.append(part.ptes[valid].astype(U64))
        return np.concatenate(vas), np.concatenate(found)

    def _superpage(self, va: int, pte_pa: int, pte: int, level: int) -> NotATable:
        return NotATable(
            f"a superpage maps {va:#x}: PTE {pte:#x} at {pte_pa:#x} {self.describe_pte(pte)} on level {level}",
            va=va, level=level, pte=pte, pte_pa=pte_pa,
        )  # fmt: skip

    def already_mapped(self, va: int, pte_pa: int, pte: int, level: int) -> AlreadyMapped:
        """The error for ``va``, naming the mapping that stands there."""
        return AlreadyMapped(
            f"{va:#x} is already mapped: PTE {pte:#x} at {pte_pa:#x} {self.describe_pte(pte)}",
            va=va, level=level, pte=pte, pte_pa=pte_pa,
        )  # fmt: skip

    def _not_mapped(self, va: int, pte_pa: int, pte: int, level: int) -> NotMapped:
        if level:
            message = f"{va:#x} is not mapped: there is no level-{level - 1} table for it (PTE {pte:#x} at {pte_pa:#x})"
        else:
            message = f"{va:#x} is not mapped: PTE {pte:#x} at {pte_pa:#x} has V = 0"
        return NotMapped(message, va=va, level=level, pte=pte, pte_pa=pte_pa)

    def missing_tables(self, vas: npt.NDArray[np.uint64]) -> int:
        """How many tables must be made before every page of ``vas`` has a last-level PTE."""
        missing = 0
        for parent, shift in self.format.steps[:-1]:
            for group in np.unique(vas >> U64(shift)).tolist():
                _, pte, reached = self.find(group << shift, self.format.steps[: self.format.levels - parent])
                missing += reached > parent or not pte & V
        return missing

    def describe_pte(self, pte: int) -> str:
        """A leaf in a few words for messages: ``-> 0x87f74000 rw-u``."""
        return f"-> {self.format.pte_pa(pte):#x} {flags_text(pte, 'rwxu')}"
