"""A functional TLB: what harts remember of the tables, and where they remember wrongly.

Each hart caches the translations it makes, with the PTEs that each was read from, and forgets only what ``sfence.vma``
tells it to forget.  So it answers the question that hurts in practice: which cached translations no longer match the
tables, and which write made each of them stale?  It has no size and evicts nothing: a real TLB may hold any part of
what this one holds.  Source: privileged specification, "Supervisor Memory-Management Fence Instruction".
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from pagebook.errors import BadAddress, PagebookError
from pagebook.mmu import Kind, Mmu, Outcome, Part, Regime, outcome, split
from pagebook.sv import A, D, Format, G, Satp, decode_satp, flags_text
from pagebook.table import Entry


@dataclass
class Cached:
    """A translation that a hart remembers: ``steps`` are the PTEs it was read from, the leaf last.

    ``va`` is the first address of its page of ``size`` bytes.  ``changed`` is the label of the observation that first
    found the tables to say otherwise, None while they agree.
    """

    hart: int
    asid: int
    va: int
    size: int
    format: Format
    steps: tuple[Entry, ...]
    is_global: bool
    changed: str | None = None

    @property
    def leaf(self) -> Entry:
        """The PTE that it holds."""
        return self.steps[-1]

    def covers(self, va: int, asid: int) -> bool:
        """Whether it would answer for ``va`` in the space of ``asid``."""
        return (self.is_global or self.asid == asid) and va & -self.size == self.va


class Stale(NamedTuple):
    """A cached translation that the tables no longer give: the PTE that was written, what it was, what it is.

    ``label`` names the observation during which the write was first seen.
    """

    cached: Cached
    entry: Entry
    now: int | None
    label: str

    def __str__(self) -> str:
        old, fmt = self.entry.pte, self.cached.format
        what = "is no longer in memory" if self.now is None else _change(old, self.now, fmt)
        return (
            f"hart {self.cached.hart} still translates {self.cached.va:#x} (asid {self.cached.asid}"
            f"{', global' if self.cached.is_global else ''}) by the level-{self.entry.level} PTE {old:#x} at "
            f"{self.entry.pte_pa:#x}, which {what}{f' ({self.label})' if self.label else ''}: an sfence.vma is missing"
        )


def _change(old: int, new: int, format: Format) -> str:
    """What a write did to a PTE, in words."""
    if not new & 1:
        return f"was made invalid, {new:#x}"
    lost, gained = old & ~new & 0xFF, new & ~old & 0xFF
    words = []
    if format.pte_pa(old) != format.pte_pa(new):
        words.append(f"now names {format.pte_pa(new):#x}")
    if lost:
        words.append("lost " + flags_text(lost).replace("-", "").upper())
    if gained:
        words.append("gained " + flags_text(gained).replace("-", "").upper())
    return f"is now {new:#x}" + (f" and {', '.join(words)}" if words else "")


@dataclass
class Tlb:
    """The TLBs of ``harts`` harts over one `Mmu`."""

    mmu: Mmu
    harts: int = 1
    _held: list[dict[tuple[int, int, int], Cached]] = field(init=False)

    def __post_init__(self) -> None:
        self._held = [{} for _ in range(self.harts)]

    def entries(self, hart: int) -> list[Cached]:
        """What a hart remembers."""
        return list(self._of(hart).values())

    def _of(self, hart: int) -> dict[tuple[int, int, int], Cached]:
        if not 0 <= hart < self.harts:
            raise BadAddress(f"there is no hart {hart}; there are {self.harts}, from 0")
        return self._held[hart]

    def access(self, hart: int, regime: Regime, kind: Kind, va: int, size: int = 8, *, commit: bool = False) -> Outcome:
        """What an access comes to when the hart trusts what it remembers.

        A remembered translation that allows the access is used, right or wrong; otherwise the tables are walked, as
        `Mmu.access` does, and what was found is remembered.
        """
        held = self._of(hart)
        satp = decode_satp(regime.satp, regime.xlen)
        trusts = regime.priv != "M" and not (kind is Kind.AMO and va % size)
        parts: list[Part] = []
        for at, count in split(kind, va, size, regime.xlen):
            cached = self._lookup(held, satp, at) if trusts else None
            part = self._use(cached, regime, kind, at, count) if cached else None
            if part is None:
                part = self.mmu.access(regime, kind, at, count, commit=commit).parts[0]
                self._remember(hart, satp, part, commit)
            parts.append(part)
            if part.rule:
                break
        return outcome(kind, parts)

    def _lookup(self, held: dict[tuple[int, int, int], Cached], satp: Satp, va: int) -> Cached | None:
        if satp.format is None or not satp.format.is_canonical(va):
            return None
        return next((cached for cached in held.values() if cached.covers(va, satp.asid)), None)

    def _use(self, cached: Cached, regime: Regime, kind: Kind, va: int, size: int) -> Part | None:
        """The access by the remembered PTE; None when that would fault, or would have to set A or D in memory."""
        leaf, fmt = cached.leaf, cached.format
        wanted = A | (D if kind in (Kind.STORE, Kind.AMO) else 0)
        if leaf.pte & wanted != wanted or self.mmu.judge(leaf.pte, leaf.level, fmt, regime, kind):
            return None
        return self.mmu.reach(va, size, cached.steps, fmt.target(leaf.pte, leaf.level, va), leaf.pte)

    def _remember(self, hart: int, satp: Satp, part: Part, committed: bool) -> None:
        leaf, format = part.leaf, satp.format
        if format is None or leaf is None or part.pa is None or part.after is None:
            return
        size = 1 << 16 if leaf.pte >> 63 else format.page_bytes(leaf.level)
        steps = (*part.steps[:-1], leaf._replace(pte=part.after) if committed else leaf)
        is_global = any(entry.pte & G for entry in steps)
        cached = Cached(hart, satp.asid, part.va & -size, size, format, steps, is_global)
        self._held[hart][-1 if is_global else satp.asid, cached.va, size] = cached

    def sfence_vma(self, hart: int, va: int | None = None, asid: int | None = None) -> int:
        """Forget, on one hart, as ``sfence.vma`` with ``va`` in rs1 and ``asid`` in rs2 does; how many were forgotten.

        None stands for x0: every address, every space.  With an ``asid``, global translations are kept.
        """
        held = self._of(hart)
        gone = [
            key
            for key, cached in held.items()
            if (va is None or va & -cached.size == cached.va)
            and (asid is None or (cached.asid == asid and not cached.is_global))
        ]
        for key in gone:
            del held[key]
        return len(gone)

    def observe(self, label: str) -> list[Stale]:
        """Look at the tables now, and give ``label`` to every change since the last look; what it made stale."""
        fresh = []
        for held in self._held:
            for cached in held.values():
                found = self._compare(cached)
                if found and cached.changed is None:
                    cached.changed = label
                    fresh.append(found._replace(label=label))
                elif found is None:
                    cached.changed = None
        return fresh

    def stale(self) -> list[Stale]:
        """Every cached translation that no longer matches the tables, with the first PTE on its way that changed.

        A and D bits that the hardware set since do not count.
        """
        found = [self._compare(cached) for held in self._held for cached in held.values()]
        return [one for one in found if one]

    def _compare(self, cached: Cached) -> Stale | None:
        fmt = cached.format
        for entry in cached.steps:
            try:
                now = int.from_bytes(self.mmu.memory.read(entry.pte_pa, fmt.pte_bytes), "little")
            except PagebookError:
                return Stale(cached, entry, None, cached.changed or "")
            same = now == entry.pte or (now ^ entry.pte == now & ~entry.pte & (A | D))
            if not same:
                return Stale(cached, entry, now, cached.changed or "")
        return None
