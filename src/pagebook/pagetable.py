"""Page tables that are ours to change: map, protect, unmap, free.

A `PageTable` is an `AddressSpace` with the allocator that its tables come from.  A range is changed whole or not at
all: everything is checked before the first write.  With ``strict=True`` it is changed as a kernel's page-by-page loop
changes it, which leaves behind what it had done when it failed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from pagebook.errors import BadAddress, BadFrame, NotATable, OutOfFrames, PagebookError
from pagebook.frames import Frames
from pagebook.memory import U64, Memory
from pagebook.sv import FLAGS, KIND_MASK, POINTER, RWX, SV39, Format, R, V, W
from pagebook.table import AddressSpace, Ptes, Slice
from pagebook.units import PAGE_SHIFT, PAGE_SIZE


class PageTable(AddressSpace):
    """An address space that is ours to change, with the allocator its tables come from."""

    def __init__(self, memory: Memory, root: int, frames: Frames, format: Format = SV39) -> None:
        super().__init__(memory, root, format)
        memory.ours(root, PAGE_SIZE)
        self.frames = frames
        self._reach_shift = PAGE_SHIFT + format.index_bits

    @classmethod
    def create(cls, memory: Memory, frames: Frames, format: Format = SV39) -> PageTable:
        """An empty table on a new frame; OutOfFrames when there is none."""
        root = frames.alloc()
        if root is None:
            raise OutOfFrames("no frame is left for a root table")
        memory.write(root, bytes(PAGE_SIZE))
        return cls(memory, root, frames, format)

    def ptes(self, pte_pa: int, count: int) -> Ptes:
        """`AddressSpace.ptes`, of a table that is ours to change; ReadOnlyMemory when it is not."""
        self.memory.ours(pte_pa, count << self._pte_shift)
        return super().ptes(pte_pa, count)

    def _write_pte(self, pte_pa: int, pte: int) -> None:
        index = pte_pa - self._base >> self._pte_shift
        if 0 <= index < len(self._words):
            self._words[index] = pte
        else:
            self.memory.write(pte_pa, pte.to_bytes(self.format.pte_bytes, "little"))

    def pte_address(self, va: int, alloc: bool = False) -> int | None:
        """The address of the last-level PTE for ``va`` (kernel/vm.c: walk).

        Missing tables are made when ``alloc`` is true.  None when a table is missing, or no frame is left for one;
        the tables made until then stay, as in xv6.  NotATable when a superpage maps ``va``.
        """
        pte_pa, pte, level = self.find(va)
        while level:
            if pte & V:
                raise self._superpage(va, pte_pa, pte, level)
            if not alloc:
                return None
            self.ptes(pte_pa, 1)  # ours to change, or no frame is taken
            table = self.frames.alloc()
            if table is None:
                return None
            self.memory.write(table, bytes(PAGE_SIZE))
            self._write_pte(pte_pa, table >> PAGE_SHIFT << 10 | V)
            level -= 1
            pte_pa = table + (self.format.index(va, level) << self._pte_shift)
        return pte_pa

    def map(self, va: int, size: int, pa: int, flags: int, *, level: int = 0, strict: bool = False) -> None:
        """Map [va, va + size) to [pa, pa + size) with ``flags``, as leaves at ``level``.

        Tables come from the allocator in the order in which mapping page by page would take them.  AlreadyMapped,
        OutOfFrames, BadAddress or NotATable when it cannot be done; nothing is changed then unless ``strict``.
        """
        if not 0 <= level < self.format.levels:
            raise BadAddress(f"{self.format.name} has levels 0 to {self.format.levels - 1}, not {level}", va=va)
        page_bytes = self.format.page_bytes(level)
        self.check_range(va, size, page_bytes)
        if pa & page_bytes - 1 or not 0 <= pa <= (self._ppn_mask + 1 << PAGE_SHIFT) - size:
            raise BadAddress(f"pa {pa:#x} is not aligned to {page_bytes:#x}, or {size:#x} bytes more do not fit", pa=pa)
        if flags & ~FLAGS or not flags & RWX or flags & (R | W) == W:
            raise BadAddress(
                f"flags {flags:#x} make no leaf: ten bits, one of R, W, X at least, and W only with R", va=va
            )
        self.map_pages(va, size, pa, flags, level=level, strict=strict)

    def map_pages(self, va: int, size: int, pa: int, flags: int, *, level: int = 0, strict: bool = False) -> None:
        """`map` for a range that is known to be good and flags that are taken as they come (the loop of mappages)."""
        last = va + size - PAGE_SIZE
        if not level and (va == last or (not strict and va >> self._reach_shift == last >> self._reach_shift)):
            self._map_in_table(va, size >> PAGE_SHIFT, pa, flags, strict)
        elif strict:
            self._map_strictly(va, size, pa, flags, level)
        else:
            needed = self._survey(va, size, level)
            if needed and not self.frames.has(needed):
                raise self._out_of_frames(va, needed)
            for start, stop, parent in self._spans(va, size, level):
                tables = self._tables_of_span(start, stop, parent, level)
                self._fill(start, stop, tables, pa + start - va, flags | V, level)

    def _map_in_table(self, va: int, count: int, pa: int, flags: int, strict: bool) -> None:
        """Map ``count`` pages that have their PTEs in one last-level table."""
        pte_pa, pte, level = self.find(va)
        if pte & V:
            raise self.already_mapped(va, pte_pa, pte, level)
        if level:
            if not strict and not self.frames.has(level):
                raise self._out_of_frames(va, level)
            at = self.pte_address(va, alloc=True)
            if at is None:
                raise self._out_of_frames(va, level)
            pte_pa = at
        if count == 1:
            self._write_pte(pte_pa, pa >> PAGE_SHIFT << 10 | flags | V)
        else:
            ptes = self.ptes(pte_pa, count)
            self._check_free(ptes, va, pte_pa, 0)
            ptes[:] = self._leaves(pa, count, flags | V, 0)

    def _out_of_frames(self, va: int, needed: int) -> OutOfFrames:
        return OutOfFrames(f"mapping {va:#x} needs {needed} frames for tables, and the allocator has fewer", va=va)

    def _map_strictly(self, va: int, size: int, pa: int, flags: int, level: int) -> None:
        """A slice at a time, stopping where a page-by-page loop would stop and leaving what it would leave."""
        if level:
            raise BadAddress("strict mapping is xv6's, which has 4096-byte pages only", va=va, level=level)
        end = va + size
        while va < end:
            at, pte, reached = self.find(va)
            if reached and pte & V:
                raise self.already_mapped(va, at, pte, reached)
            pte_pa = self.pte_address(va, alloc=True)
            if pte_pa is None:
                raise self._out_of_frames(va, 1)
            count = min(self.format.entries - self.format.index(va, 0), end - va >> PAGE_SHIFT)
            ptes = self.ptes(pte_pa, count)
            taken = ptes & V != 0
            free = int(taken.argmax()) if taken.any() else count
            ptes[:free] = self._leaves(pa, free, flags | V, 0)
            if free < count:
                raise self.already_mapped(va + free * PAGE_SIZE, pte_pa + (free << self._pte_shift), int(ptes[free]), 0)
            va += count * PAGE_SIZE
            pa += count * PAGE_SIZE

    def _leaves(self, pa: int, count: int, flags: int, level: int) -> Ptes:
        first = pa >> PAGE_SHIFT << 10 | flags
        step = self.format.page_bytes(level) >> PAGE_SHIFT << 10
        return np.arange(first, first + count * step, step, dtype=self._dtype)

    def _spans(self, va: int, size: int, level: int) -> Iterator[tuple[int, int, int]]:
        """[va, va + size) cut where a table one level above the leaves' ends: start, stop, that level.

        When the leaves stand in the root itself there is no level above, and the root's is given.
        """
        parent = min(level + 1, self.format.levels - 1)
        reach = self.format.page_bytes(parent) * self.format.entries
        end = va + size
        while va < end:
            stop = min((va | reach - 1) + 1, end)
            yield va, stop, parent
            va = stop

    def _survey(self, va: int, size: int, level: int) -> int:
        """How many tables mapping the range needs; AlreadyMapped at the first valid PTE in it."""
        needed = 0
        runs: list[tuple[int, int, int]] = []
        for start, stop, parent in self._spans(va, size, level):
            children = self.format.index(stop - 1, parent) - self.format.index(start, parent) + 1
            pte_pa, _, reached = self._reach(start, parent)
            ptes = self.ptes(pte_pa, 1 if reached > parent else children)
            if reached > parent:
                # Of the tables above the leaves', the span before this one has counted those that reach back to it.
                reaches = (self.format.page_bytes(above + 1) for above in range(parent, reached))
                needed += children + sum(start == va or start % reach == 0 for reach in reaches)
                continue
            runs.append((pte_pa, children, start))
            if parent == level:
                self._check_free(ptes, start, pte_pa, level)
            else:
                present = np.flatnonzero(ptes & V).tolist()
                needed += children - len(present)
                for child in present:
                    at = pte_pa + (child << self._pte_shift)
                    runs.append(self._survey_table(int(ptes[child]), at, child, start, stop, level))
        self._check_distinct(runs)
        return needed

    def _check_distinct(self, runs: list[tuple[int, int, int]]) -> None:
        """NotATable when two runs of PTEs (address, how many, va) overlap, so that a change would be made twice."""
        runs.sort()
        for (lower, count, va), (upper, _, other) in pairwise(runs):
            if upper < lower + (count << self._pte_shift):
                first, second = sorted((va, other))
                raise NotATable(
                    f"the pages from {first:#x} and from {second:#x} have PTEs in common, at {upper:#x}: two pointers "
                    "lead to one table",
                    va=second, pte_pa=upper,
                )  # fmt: skip

    def _reach(self, va: int, wanted: int) -> tuple[int, int, int]:
        """The PTE for ``va`` on level ``wanted``, or the absent one above it; AlreadyMapped at a leaf above."""
        pte_pa, pte, level = self.find(va, self.format.steps[: self.format.levels - wanted])
        if level > wanted and pte & V:
            raise self.already_mapped(va, pte_pa, pte, level)
        return pte_pa, pte, level

    def _survey_table(
        self, pointer: int, pte_pa: int, child: int, start: int, stop: int, level: int
    ) -> tuple[int, int, int]:
        """Check the part of [start, stop) that the table named by ``pointer`` covers: its run of PTEs."""
        reach = self.format.page_bytes(level) * self.format.entries
        low = max(start, (start & -reach) + child * reach)
        high = min(stop, (low | reach - 1) + 1)
        if pointer & RWX:
            raise self.already_mapped(low, pte_pa, pointer, level + 1)
        at = self.format.pte_pa(pointer) + (self.format.index(low, level) << self._pte_shift)
        count = (high - low) // self.format.page_bytes(level)
        try:
            ptes = self.ptes(at, count)
        except PagebookError as error:
            raise self._walk_failed(error, low, level, at) from None
        self._check_free(ptes, low, at, level)
        return at, count, low

    def _check_free(self, ptes: Ptes, va: int, pte_pa: int, level: int) -> None:
        taken = np.flatnonzero(ptes & V)
        if len(taken):
            first = int(taken[0])
            at = va + first * self.format.page_bytes(level)
            raise self.already_mapped(at, pte_pa + (first << self._pte_shift), int(ptes[first]), level)

    def _tables_of_span(self, start: int, stop: int, parent: int, level: int) -> npt.NDArray[np.uint64]:
        """The tables that hold the leaves of a surveyed span, the missing ones made, in one array."""
        pte_pa, _, reached = self._reach(start, parent)
        while reached > parent:
            table = int(self._new_tables(1)[0])
            self.memory.write(table, bytes(PAGE_SIZE))
            self._write_pte(pte_pa, table >> PAGE_SHIFT << 10 | V)
            reached -= 1
            pte_pa = table + (self.format.index(start, reached) << self._pte_shift)
        if parent == level:
            return np.array([self.root], dtype=U64)
        children = self.format.index(stop - 1, parent) - self.format.index(start, parent) + 1
        ptes = self.ptes(pte_pa, children)
        absent = np.flatnonzero(ptes & V == 0)
        if len(absent):
            new = self._new_tables(len(absent))
            reach = self.format.page_bytes(level) * self.format.entries - 1
            # Only the first and the last one may not have every entry written.
            if start & reach or stop - start <= reach:
                self.memory.write(int(new[0]), bytes(PAGE_SIZE))
            if stop & reach:
                self.memory.write(int(new[-1]), bytes(PAGE_SIZE))
            ptes[absent] = new >> U64(PAGE_SHIFT) << U64(10) | U64(V)
        return (ptes.astype(U64) >> U64(10) & U64(self._ppn_mask)) << U64(PAGE_SHIFT)

    def _new_tables(self, count: int) -> npt.NDArray[np.uint64]:
        tables = self.frames.alloc_many(count)
        assert len(tables) == count, "the survey asked for these frames"
        return tables

    def _fill(self, start: int, stop: int, tables: npt.NDArray[np.uint64], pa: int, flags: int, level: int) -> None:
        """Write the leaves of a span: whole tables at once, the first and the last one as slices."""
        entries = self.format.entries
        count = (stop - start) // self.format.page_bytes(level)
        leaves = self._leaves(pa, count, flags, level)
        skip = self.format.index(start, level)
        head = min(entries - skip, count) if skip else 0
        whole = (count - head) // entries
        if head:
            self.ptes(int(tables[0]) + (skip << self._pte_shift), head)[:] = leaves[:head]
        if whole:
            first = 1 if head else 0
            self.memory.scatter(
                tables[first : first + whole],
                leaves[head : head + whole * entries].view(U64).reshape(whole, -1),
            )
        tail = count - head - whole * entries
        if tail:
            self.ptes(int(tables[-1]), tail)[:] = leaves[-tail:]

    def protect(self, va: int, size: int, flags: int) -> None:
        """Give every page of the range these R, W, X, U, G bits.

        NotMapped when one is absent, NotATable when one is a pointer; nothing is changed then.
        """
        self.check_range(va, size)
        change = RWX | 1 << 4 | 1 << 5
        if flags & ~change or not flags & RWX or flags & (R | W) == W:
            raise BadAddress(
                f"flags {flags:#x} are no rights: of R, W, X, U, G, with one of R, W, X and W only with R",
                va=va,
            )
        for part in self._checked(va, size, holes=False, free=False, pointer_mask=KIND_MASK):
            assert part.ptes is not None
            part.ptes[:] = part.ptes & ~self._dtype.type(change) | self._dtype.type(flags)

    def unmap(self, va: int, size: int, *, free: bool = False, holes: bool = False, strict: bool = False) -> None:
        """Remove every mapping of the range, and free the frames they map when ``free`` (xv6: uvmunmap).

        Absent pages are an error, NotMapped, and pointers NotATable, unless ``holes``; a frame the allocator cannot
        take back is BadFrame, a table met twice NotATable.  Nothing is changed then unless ``strict``.
        """
        self.check_range(va, size)
        parts: Iterable[Slice]
        if strict:
            parts = self.slices(va, size)
        else:
            parts = self._checked(va, size, holes, free)
            if not holes:
                self._check_distinct([(part.pte_pa, part.pages, part.va) for part in parts])
        for part in parts:
            error, good = self._first_bad(part, holes, free)
            if part.ptes is not None:
                present = part.ptes[:good]
                if free:
                    self._free_mapped(present[present & V != 0], part.level)
                if holes:
                    present[present & V != 0] = 0
                else:
                    present[:] = 0
            if error:
                raise error

    def _free_mapped(self, leaves: Ptes, level: int) -> None:
        self.frames.free_many(self._frames_of(leaves, level).ravel())

    def _frames_of(self, leaves: Ptes, level: int) -> npt.NDArray[np.uint64]:
        """The frames that leaves map, of shape (leaves, 4 KiB frames in each)."""
        first = (leaves.astype(U64) >> U64(10) & U64(self._ppn_mask)) << U64(PAGE_SHIFT)
        within = np.arange(0, self.format.page_bytes(level), PAGE_SIZE, dtype=U64)
        return first[:, None] + within

    def _owned(self, leaves: Ptes, level: int) -> npt.NDArray[np.bool_]:
        """Which leaves map only frames that the allocator would take back."""
        if level:
            last = self._frames_of(leaves, 0).ravel() + U64(self.format.page_bytes(level) - PAGE_SIZE)
            if not self.frames.owns(last).all():
                return np.zeros(len(leaves), dtype=np.bool_)  # without listing the frames of a superpage of 256 TiB
        frames = self._frames_of(leaves, level)
        owned: npt.NDArray[np.bool_] = np.logical_and.reduce(self.frames.owns(frames.ravel()).reshape(frames.shape), 1)
        return owned

    def _checked(self, va: int, size: int, holes: bool, free: bool, pointer_mask: int = FLAGS) -> list[Slice]:
        """The slices of the range; the error of the first bad PTE in them when there is one."""
        parts = []
        for part in self.slices(va, size):
            error, _ = self._first_bad(part, holes, free, pointer_mask)
            if error:
                raise error
            parts.append(part)
        return parts

    def _first_bad(
        self, part: Slice, holes: bool, free: bool, pointer_mask: int = FLAGS
    ) -> tuple[PagebookError | None, int]:
        """What is wrong with the first bad PTE of a slice, and how many before it are good.

        A pointer is V alone among the bits of ``pointer_mask``; xv6 looks at all ten.
        """
        if part.ptes is None:
            return (None if holes else self._not_mapped(part.va, *self.find(part.va))), 0
        ptes = part.ptes
        valid = ptes & V != 0
        bad = np.zeros(part.pages, dtype=np.bool_) if holes else ~valid | (ptes & pointer_mask == POINTER)
        if free:
            bad[valid] |= ~self._owned(ptes[valid], part.level)
        if not bad.any():
            return None, part.pages
        first = int(bad.argmax())
        va = part.va + first * PAGE_SIZE
        pte, pte_pa = int(ptes[first]), part.pte_pa + (first << self._pte_shift)
        return self._why_bad(va, pte_pa, pte, part.level, holes), first

    def _why_bad(self, va: int, pte_pa: int, pte: int, level: int, holes: bool) -> PagebookError:
        if not pte & V:
            return self._not_mapped(va, pte_pa, pte, level)
        where: dict[str, int | None] = {"va": va, "level": level, "pte": pte, "pte_pa": pte_pa}
        if not pte & RWX and not holes:
            return NotATable(
                f"{va:#x} is not mapped by a leaf: PTE {pte:#x} at {pte_pa:#x} has V, and none of R, W, X", **where
            )
        frame = self.format.pte_pa(pte)
        return BadFrame(
            f"{va:#x} maps {frame:#x}, which is no frame of the allocator's (PTE {pte:#x} at {pte_pa:#x})",
            pa=frame, **where,
        )  # fmt: skip

    def free_tree(self, *, strict: bool = False) -> None:
        """Free every table, children before parents and the root last (xv6: freewalk).

        NotATable when a leaf is left, BadFrame when a table is none of the allocator's frames, with nothing freed;
        with ``strict``, the tables before it are gone.
        """
        order: list[tuple[int, int]] = []
        error = self._children_first(self.root, self.format.levels - 1, 0, order, set())
        if not strict:
            if error:
                raise error
            self._check_owned([*order, (self.root, None)])
        for table, pte_pa in order:
            self.frames.free(table)
            self._write_pte(pte_pa, 0)
        if error:
            raise error
        self.frames.free(self.root)

    def _check_owned(self, tables: list[tuple[int, int | None]]) -> None:
        owned = self.frames.owns(np.array([table for table, _ in tables], dtype=U64))
        if not owned.all():
            table, pte_pa = tables[int(owned.argmin())]
            raise BadFrame(f"the table at {table:#x} is on no frame of the allocator's", pa=table, pte_pa=pte_pa)

    def _children_first(
        self, table: int, level: int, va: int, order: list[tuple[int, int]], seen: set[int]
    ) -> PagebookError | None:
        """Append (table, address of the PTE that names it) in the order freewalk frees; what stops it, if anything."""
        seen.add(table)
        try:
            ptes = self.ptes(table, self.format.entries)
        except PagebookError as outside:
            return self._walk_failed(outside, va, level, table)
        for index in np.flatnonzero(ptes & V).tolist():
            pte, pte_pa = int(ptes[index]), table + (index << self._pte_shift)
            at = self.format.canonical(va | index << PAGE_SHIFT + level * self.format.index_bits)
            child = self.format.pte_pa(pte)
            if pte & RWX or not level or child in seen:
                what = "a leaf is still mapped" if pte & RWX else "a second pointer to one table"
                if not level and not pte & RWX:
                    what = "a pointer on the last level"
                return NotATable(
                    f"{what} at {at:#x}: PTE {pte:#x} at {pte_pa:#x} {self.describe_pte(pte)}",
                    va=at, level=level, pte=pte, pte_pa=pte_pa,
                )  # fmt: skip
            error = self._children_first(child, level - 1, at, order, seen)
            if error:
                return error
            order.append((child, pte_pa))
        return None
