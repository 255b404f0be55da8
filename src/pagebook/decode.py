"""A PTE alone: what its bits say, without the memory that it belongs to.

Whether it is sound and what it allows is asked of `mmu`, for every level that it could stand on.
"""

from __future__ import annotations

from typing import NamedTuple

from pagebook.errors import BadAddress
from pagebook.memory import Memory
from pagebook.mmu import RULES, Extensions, Kind, Mmu, Regime, Rule, pointer_mask
from pagebook.shown import in_notebook
from pagebook.sv import RWX, Format, V, flags_text

FLAG_NAMES = {
    "V": "valid", "R": "readable", "W": "writable", "X": "executable", "U": "for user mode", "G": "in every space",
    "A": "accessed", "D": "dirty",
}  # fmt: skip
WHO = {
    "user mode": Regime(0, "U"),
    "supervisor mode": Regime(0, "S"),
    "supervisor mode with SUM": Regime(0, "S", sum=True),
}
"""Who may ask for a page."""
LAST_STEP_FOR_ALL = 5
"""The steps of the specification's algorithm up to this one look at the PTE alone; the later ones at who asks."""


class PteMeaning(NamedTuple):
    """A PTE taken apart.

    ``kind`` is ``"absent"``, ``"table"``, ``"leaf"`` or, when no level could use it, ``"invalid"``; ``broken`` is then
    the rule.  ``levels`` has, for each level from the root down, the rule that the PTE breaks there, or None.
    ``allows`` has, for a leaf, the kinds of access by who makes them; by the rules of Svadu, which set A and D.
    """

    pte: int
    format: Format
    fields: dict[str, int]
    pa: int
    kind: str
    broken: Rule | None
    levels: dict[int, Rule | None]
    allows: dict[str, tuple[Kind, ...]]

    def __repr__(self) -> str:
        what = f", {self.kind} -> {self.pa:#x}" if self.kind in ("leaf", "table") else f", {self.kind}"
        return f"<PTE {self.pte:#x} of {self.format.name}: {flags_text(self.pte)}{what}>"

    def _repr_html_(self) -> str:
        return in_notebook(self)


def decode_pte(pte: int, format: Format, extensions: Extensions) -> PteMeaning:
    """Take ``pte`` apart; BadAddress when it is wider than a PTE of ``format``."""
    if not 0 <= pte < 1 << 8 * format.pte_bytes:
        raise BadAddress(f"{pte:#x} is no PTE of {format.name}: that has {8 * format.pte_bytes} bits", pte=pte)
    mmu = Mmu(Memory(()), extensions)
    levels = {level: _broken(mmu, pte, level, format) for level, _ in format.steps}
    kind = _kind(pte, levels)
    good = [level for level, rule in levels.items() if rule is None]
    allows = {
        who: tuple(k for k in Kind if mmu.judge(pte, good[-1], format, regime, k) is None)
        for who, regime in WHO.items()
        if kind == "leaf"
    }
    broken = levels[0] if kind == "invalid" else None
    return PteMeaning(pte, format, format.decode_pte(pte), format.pte_pa(pte), kind, broken, levels, allows)


def _broken(mmu: Mmu, pte: int, level: int, format: Format) -> Rule | None:
    """The rule that the PTE breaks on ``level``, whoever asks."""
    if level and pte & pointer_mask(format, mmu.extensions) == V:
        return None
    rule = RULES.get(mmu.judge(pte, level, format, WHO["user mode"], Kind.LOAD) or "")
    return rule if rule and rule.step <= LAST_STEP_FOR_ALL else None


def _kind(pte: int, levels: dict[int, Rule | None]) -> str:
    if not pte & V:
        return "absent"
    if all(levels.values()):
        return "invalid"
    return "leaf" if pte & RWX else "table"
