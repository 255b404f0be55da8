"""A machine to learn from: for each rule of the MMU an address space in which one access breaks it.

Each space is a chain of three tables that maps the page at `VA` with every right of the kernel's; one of its PTEs is
then spoilt.  It is an ordinary Machine, with the word ``rules`` as its target.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from pagebook.machine import Machine, Space, Spaces
from pagebook.memory import Memory
from pagebook.mmu import RULES, Extensions, Kind
from pagebook.sv import SV39, A, D, R, U, V, W, X
from pagebook.table import AddressSpace
from pagebook.units import PAGE_SIZE

BASE = 0x8000_0000
NOWHERE = 0x4000_0000
VA = 0x40_1000  # entry 0 of the root, then 2, then 1
EVERY = V | R | W | X | A | D
N, PBMT = 1 << 63, 1 << 61
USUAL_HART = Extensions()


@dataclass(frozen=True)
class Example:
    """How a rule is broken: the PTE on ``level`` becomes what it is with ``clear`` cleared and ``set`` set.

    With ``elsewhere`` its PPN names a place without memory.  The rest says which access meets it, on which hart.
    """

    clear: int = 0
    set: int = 0
    level: int = 0
    elsewhere: bool = False
    kind: Kind = Kind.LOAD
    priv: str = "S"
    va: int = VA
    size: int = 4
    extensions: Extensions = USUAL_HART


EXAMPLES = {
    "amo-misaligned": Example(kind=Kind.AMO, va=VA + 2),
    "non-canonical": Example(va=VA | 1 << 39),
    "table-outside": Example(level=1, elsewhere=True),
    "v-clear": Example(clear=V),
    "w-without-r": Example(clear=R | X, kind=Kind.STORE),
    "reserved-bits": Example(set=1 << 54),
    "n-reserved": Example(set=N),
    "pbmt-reserved": Example(set=PBMT),
    "pbmt-3": Example(set=3 * PBMT, extensions=Extensions(svpbmt=True)),
    "pointer-reserved": Example(set=A | D, level=1),
    "napot-reserved": Example(set=N, extensions=Extensions(svnapot=True)),
    "last-pointer": Example(clear=R | W | X | A | D),
    "misaligned-superpage": Example(set=R, level=1),
    "user-page": Example(set=U),
    "supervisor-page": Example(priv="U", kind=Kind.STORE),
    "not-readable": Example(clear=R | W),
    "not-writable": Example(clear=W, kind=Kind.STORE),
    "not-executable": Example(clear=X, kind=Kind.FETCH),
    "a-clear": Example(clear=A, extensions=Extensions(svadu=False)),
    "d-clear": Example(clear=D, kind=Kind.STORE, extensions=Extensions(svadu=False)),
    "target-outside": Example(elsewhere=True, kind=Kind.FETCH),
}


def rules_machine() -> Machine:
    """The machine, with a space named after each rule and one, ``sound``, that breaks none."""
    levels = SV39.levels
    memory = Memory.anonymous((levels + 1) * (1 + len(RULES)) * PAGE_SIZE, BASE)
    spaces = []
    for number, (name, example) in enumerate([("sound", Example()), *EXAMPLES.items()]):
        root = BASE + number * (levels + 1) * PAGE_SIZE
        for pte_pa, pte in _chain(root, example):
            memory.write64(pte_pa, pte)
        spaces.append(Space(name, AddressSpace(memory, root)))
    return Machine("rules", memory, Spaces(spaces))


def _chain(root: int, example: Example) -> Iterator[tuple[int, int]]:
    """The address and value of the PTE on each level; the page after the tables is what the last one maps."""
    for depth, (level, _) in enumerate(SV39.steps):
        table = root + depth * PAGE_SIZE
        pte = SV39.pte(table + PAGE_SIZE, V if level else EVERY)
        if level == example.level:
            here = NOWHERE if example.elsewhere else SV39.pte_pa(pte)
            pte = SV39.pte(here, pte & 0x3FF) & ~example.clear | example.set
        yield table + SV39.index(VA, level) * SV39.pte_bytes, pte
