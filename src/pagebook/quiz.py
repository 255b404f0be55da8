"""Questions about translation: a small random table, an access, and what it comes to.

The same seed and level make the same question.  What is asked for is drawn first - a success, or a rule to be broken -
and then a table and an access are sought that come to it, so that rare rules are as likely as usual ones.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from pagebook.explain import Explanation, explain, regime_of
from pagebook.machine import Space
from pagebook.memory import Memory
from pagebook.mmu import CAUSES, Extensions, Kind, Mmu, Outcome, Regime
from pagebook.sv import RWX, SV32, SV39, SV48, SV57, A, D, Format, R, U, V, W, X
from pagebook.table import AddressSpace
from pagebook.units import PAGE_SIZE, parse_address

BASE = 0x8000_0000
FRAMES = 64
TABLES = 5  # the first frames are the tables, one for each level; all later ones are pages
NOWHERE = 0x4000_0000
TRIES = 200  # accesses to one table before another one is made
RIGHTS = (R, R | W, R | X, X, R | W | U, R | U, R | X | U, R | W | U, X | U)
NEAR = (0, 1, 2, 3, 5)  # the entries of a table that are used, counted from the first


@dataclass(frozen=True)
class Level:
    """How hard: the formats, the kinds of access, what a question may come to ("" is a success)."""

    formats: tuple[Format, ...]
    kinds: tuple[Kind, ...]
    goals: tuple[str, ...]


LEVELS = {
    "easy": Level(
        (SV39,),
        (Kind.LOAD, Kind.STORE, Kind.FETCH),
        ("", "", "", "v-clear", "supervisor-page", "user-page", "not-readable", "not-writable", "not-executable"),
    ),
    "hard": Level(
        (SV32, SV39, SV48, SV57),
        tuple(Kind),
        (
            "", "", "", "user-page", "not-readable", "not-writable", "w-without-r", "reserved-bits", "n-reserved",
            "pbmt-reserved", "pbmt-3", "pointer-reserved", "napot-reserved", "last-pointer", "misaligned-superpage",
            "a-clear", "d-clear", "table-outside", "target-outside", "non-canonical", "amo-misaligned",
        ),
    ),
}  # fmt: skip


class Question(NamedTuple):
    """A machine of one address space, and an access to it; what it comes to is for the student to say."""

    seed: int
    level: str
    space: Space
    mmu: Mmu
    regime: Regime
    kind: Kind
    va: int
    size: int

    def entries(self) -> list[tuple[int, int]]:
        """The address and value of each PTE that is not zero."""
        format = self.space.table.format
        ptes = self.space.table.ptes(BASE, format.levels * format.entries).tolist()
        return [(BASE + index * format.pte_bytes, pte) for index, pte in enumerate(ptes) if pte]

    def outcome(self) -> Outcome:
        """What the access comes to."""
        return self.mmu.access(self.regime, self.kind, self.va, self.size)

    def solve(self) -> Explanation:
        """The same, and why."""
        return explain(self.mmu, self.space, self.regime, self.kind, self.va, self.size)

    def right(self, answer: str) -> bool:
        """Whether an answer is right: a physical address, or a cause; ValueError when it is neither."""
        outcome = self.outcome()
        cause, pa = parse_answer(answer)
        return outcome.cause == cause if cause is not None else outcome.pa == pa


def parse_answer(text: str) -> tuple[int | None, int | None]:
    """The cause or the physical address that ``"0x80003ff8"``, ``"15"`` or ``"scause 0xf"`` names; else ValueError."""
    word = re.sub(r"^(scause|cause|fault|pa)\b[ =:]*", "", text.strip().lower())
    try:
        number = parse_address(word)
    except ValueError:
        raise ValueError(f"{text!r} is neither a cause nor an address; write 15, 0xf or 0x80003ff8") from None
    if number in CAUSES:
        return number, None
    if number < 1 << 4:
        raise ValueError(f"{text!r} is no cause of a fault at an address; those are {', '.join(map(str, CAUSES))}")
    return None, number


def make_question(seed: int, level: str) -> Question:
    """The question of that seed and level ("easy" or "hard")."""
    rng = random.Random(f"{level} {seed}")
    goal = rng.choice(LEVELS[level].goals)
    while True:
        for question in _attempts(rng, seed, level):
            rule = question.outcome().rule
            if (rule.id if rule else "") == goal:
                return question


def _attempts(rng: random.Random, seed: int, level: str) -> Iterator[Question]:
    """Accesses to one random table."""
    hard = level == "hard"
    format = rng.choice(LEVELS[level].formats)
    wide = format.xlen == 64
    extensions = Extensions()
    if hard:
        extensions = Extensions(rng.random() < 0.5, wide and rng.random() < 0.5, wide and rng.random() < 0.5)
    memory = Memory.anonymous(FRAMES * PAGE_SIZE, BASE)
    places = _fill(rng, memory, format, hard)
    space = Space("the table", AddressSpace(memory, BASE, format))
    mmu = Mmu(memory, extensions)
    for _ in range(TRIES):
        kind = rng.choice(LEVELS[level].kinds)
        va, size = _access(rng, kind, format, rng.choice(places), hard)
        regime = regime_of(space, rng.choice("US"), hard and rng.random() < 0.5, hard and rng.random() < 0.5)
        yield Question(seed, level, space, mmu, regime, kind, va, size)


def _fill(rng: random.Random, memory: Memory, format: Format, hard: bool) -> list[int]:
    """Write a chain of tables with a few leaves; for each PTE an address that it translates, if possible into RAM."""
    path = [rng.randrange(format.entries - NEAR[-1] if hard else 3) for _ in format.steps]
    places = []
    above = 0
    for depth, (level, shift) in enumerate(format.steps):
        table = BASE + depth * PAGE_SIZE
        for index in (path[depth] + step for step in NEAR):
            pte = 0
            if level and index == path[depth]:
                pte = format.pte(table + PAGE_SIZE, V)
            elif not level or (hard and rng.random() < 0.5):
                pte = _leaf(rng, format, level)
            if hard and rng.random() < 0.3:
                pte = rng.choice(SPOILS)(rng, pte, format, level) & (1 << 8 * format.pte_bytes) - 1
            memory.write(table + index * format.pte_bytes, pte.to_bytes(format.pte_bytes, "little"))
            places.append(format.canonical(above | index << shift | _into_ram(rng, format, level)))
        above |= path[depth] << shift
    return places


def _frame(rng: random.Random) -> int:
    return BASE + rng.randrange(TABLES, FRAMES) * PAGE_SIZE


def _into_ram(rng: random.Random, format: Format, level: int) -> int:
    """How far into a page of ``level`` an address is that the page translates into RAM."""
    return _frame(rng) & format.page_bytes(level) - 1


def _leaf(rng: random.Random, format: Format, level: int) -> int:
    """A PTE that maps a page, most often with V."""
    frame = _frame(rng) & -format.page_bytes(level)
    flags = rng.choice(RIGHTS) | rng.choice((V, V, V, V, V, 0))
    return format.pte(frame, flags | rng.choice((A | D, A | D, A, 0)))


def _access(rng: random.Random, kind: Kind, format: Format, place: int, hard: bool) -> tuple[int, int]:
    """Address and size of an access to the page of ``place``; a hard one may straddle, be misaligned or run wild."""
    sizes = {Kind.FETCH: (4,), Kind.AMO: (4, format.xlen // 8)}.get(kind, (1, 2, 4, format.xlen // 8))
    size = rng.choice(sizes)
    va = place + rng.randrange(PAGE_SIZE // size) * size
    if hard and rng.random() < 0.2 and kind is not Kind.FETCH:
        va = place + rng.choice((PAGE_SIZE - size + 1, rng.randrange(PAGE_SIZE)))
    if hard and rng.random() < 0.1 and format.va_bits < format.xlen:
        va ^= 1 << rng.randrange(format.va_bits, format.xlen)
    return va & (1 << format.xlen) - 1, size


def _write_only(rng: random.Random, pte: int, format: Format, level: int) -> int:
    return (pte | W | V) & ~R


def _high_bit(rng: random.Random, pte: int, format: Format, level: int) -> int:
    return pte | V | 1 << rng.randrange(54, 61)


def _memory_type(rng: random.Random, pte: int, format: Format, level: int) -> int:
    return pte | V | rng.randrange(1, 4) << 61


def _napot(rng: random.Random, pte: int, format: Format, level: int) -> int:
    """N set, with 1000 in the low bits of the PPN or something else there."""
    low = rng.choice((8, 8, 8, 4, 0))
    return pte & ~(15 << 10) | (low << 10) | 1 << 63


def _pointer(rng: random.Random, pte: int, format: Format, level: int) -> int:
    """A pointer to one of the tables, as it should be or with a flag of leaves."""
    return format.pte(BASE + rng.randrange(format.levels) * PAGE_SIZE, V | rng.choice((0, 0, A, D, U)))


def _misaligned(rng: random.Random, pte: int, format: Format, level: int) -> int:
    return format.pte(_frame(rng), pte & RWX | R | V | A | D)


def _nowhere(rng: random.Random, pte: int, format: Format, level: int) -> int:
    return format.pte(NOWHERE, pte & 0x3FF | V | A)


Spoil = Callable[[random.Random, int, Format, int], int]
SPOILS: tuple[Spoil, ...] = (_write_only, _high_bit, _memory_type, _napot, _pointer, _misaligned, _nowhere)
"""Ways to spoil a PTE; each gives the new one, which may be wider than a PTE of Sv32."""
