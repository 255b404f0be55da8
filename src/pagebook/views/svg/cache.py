"""What a TLB holds after some accesses: each access with what it came to, then the translations that are remembered."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from pagebook.errors import BadTarget
from pagebook.explain import regime_of
from pagebook.machine import Space
from pagebook.mmu import Kind, Mmu, Outcome
from pagebook.sv import flags_text
from pagebook.tlb import Cached, Tlb
from pagebook.units import size_text
from pagebook.views import facts
from pagebook.views.access import kind_text
from pagebook.views.svg.drawing import MARGIN, SIZE, Drawing, spread, text_width
from pagebook.views.text import count_text

MOST = 64  # accesses
USUAL = 8  # where none are given: the first pages of so many runs
ROW, PAD = 26, 10
Row = Sequence[str]
HELD = ("page", "size", "ASID", "is at", "flags", "read from")


def tlb(mmu: Mmu, space: Space, kind: Kind, vas: Sequence[int]) -> Drawing:
    """A TLB that was empty, after one hart's accesses of one byte at ``vas``; without any, at the first runs.

    BadTarget for more than `MOST`.
    """
    vas = vas or [run.va for run, _ in zip(facts.listing(space, facts.Filter()).runs(), range(USUAL), strict=False)]
    if len(vas) > MOST:
        raise BadTarget(f"{len(vas)} accesses are more than a figure has room for: give at most {MOST}")
    cache, regime = Tlb(mmu), regime_of(space)
    accesses = [(f"{number}", *_access(cache, space, kind, va)) for number, va in enumerate(vas, 1)]
    held = cache.entries(0)
    title = f"A TLB after {len(vas)} {kind_text(kind)}{'s' * (len(vas) != 1)} in {space.name}"
    drawing = Drawing(title, f"{title}: it holds {len(held)} translations.")
    y = drawing.heading(
        f"It was empty; the hart runs in mode {regime.priv}, with {space.table.format.name} from {space.table.root:#x}."
    )
    y = _grid(drawing, y, f"{len(vas)} access{'es' * (len(vas) != 1)}", ("", "address", "comes to", "how"), accesses, 3)
    y = _grid(
        drawing, y + MARGIN, f"{count_text(len(held), 'translation')} remembered", HELD,
        [_entry(cached) for cached in held], None,
    )  # fmt: skip
    words = "A and D are as the hart sets them. A real TLB has few places, and may have forgotten any of these."
    drawing.paragraph(MARGIN, y + MARGIN, words, 760, ink="faint")
    return drawing


def _access(cache: Tlb, space: Space, kind: Kind, va: int) -> tuple[str, str, str]:
    """Make one access: its address, what it comes to, and whether the tables were read for it."""
    regime = regime_of(space)
    before = {id(one): one for one in cache.entries(0)}
    outcome = cache.access(0, regime, kind, va, 1)
    _set_bits(cache, outcome)
    known = [one for one in before.values() if one.covers(va, 0)]
    if outcome.rule:
        return f"{va:#x}", f"fault {outcome.cause}", f"{outcome.rule.text}; nothing new is remembered"
    read = f"{len(outcome.parts[0].steps)} PTEs read"
    if not known:
        how = f"{read}, then remembered"
    elif any(one in known for one in cache.entries(0) if id(one) in before):
        how = "remembered: no PTE read"
    else:
        how = f"{read} again: D was still clear in what was remembered"
    return f"{va:#x}", f"{outcome.pa:#x}", how


def _set_bits(cache: Tlb, outcome: Outcome) -> None:
    """Remember the PTE with the A and D that the hart sets, which are not written: the memory is not ours to change."""
    part = outcome.parts[0]
    for cached in cache.entries(0):
        if part.pa is not None and part.after is not None and part.leaf == cached.leaf:
            cached.steps = (*cached.steps[:-1], cached.leaf._replace(pte=part.after))


def _entry(cached: Cached) -> Row:
    leaf = cached.leaf
    pa = cached.format.target(leaf.pte, leaf.level, cached.va)
    asid = "any (G)" if cached.is_global else f"{cached.asid}"
    came = " → ".join(f"{step.pte_pa:#x}" for step in cached.steps)
    return f"{cached.va:#x}", size_text(cached.size), asid, f"{pa:#x}", flags_text(leaf.pte), came


def _grid(drawing: Drawing, y: float, title: str, heads: Row, rows: Iterable[Row], last_sans: int | None) -> float:
    """A table with a title; where it ends.  Column ``last_sans`` holds words, the others numbers."""
    rows = list(rows)
    fonts = ["sans" if number == last_sans else "mono" for number in range(len(heads))]
    widths = [
        max([text_width(head, SIZE, "sans", True), *(text_width(row[n], SIZE, fonts[n]) for row in rows)]) + 2 * PAD
        for n, head in enumerate(heads)
    ]
    drawing.text(MARGIN, y + SIZE, title, font="sans", bold=True)
    y += 2 * SIZE
    edges = spread(widths, 0, MARGIN)
    for number, row in enumerate([heads, *rows]):
        for n, (x, width, word) in enumerate(zip(edges, widths, row, strict=True)):
            drawing.box(x, y, width, ROW, "paper" if number else "panel")
            bad = number > 0 and row[n].startswith("fault ")
            drawing.text(
                x + PAD, y + ROW / 2 + SIZE * 0.36, word, font=fonts[n] if number else "sans", bold=bad or not number,
                ink="bad" if bad else "ink",
            )  # fmt: skip
        y += ROW
    return y
