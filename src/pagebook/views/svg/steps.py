"""One access as a strip of steps: the address, every PTE that is read with the bits that decided, what it comes to."""

from __future__ import annotations

from pagebook.explain import Explanation, Page, Step
from pagebook.sv import decode_satp, flags_text
from pagebook.views import access
from pagebook.views.facts import leaf
from pagebook.views.svg.drawing import LINE, MARGIN, SIZE, Drawing, text_width, wrap
from pagebook.views.svg.fields import PAD, bottom_of, pte_parts, strip, va_parts, words

BADGE = 15
INDENT = MARGIN + 2 * BADGE + 16
GAP = 26


def walk(found: Explanation, reasons: bool = True) -> Drawing:
    """What `explain` found, step by step, downwards; without its ``reasons`` where those stand beside the figure."""
    title = f"A {access.kind_text(found.kind)} at {found.va:#x} in {found.space.name}"
    drawing = Drawing(title, f"{title}: {found.verdict}")
    first = next(access.access(found))
    y = drawing.heading("".join(text for text, _ in first))
    fmt = decode_satp(found.regime.satp, found.regime.xlen).format
    number = 1
    for page in found.pages:
        if fmt is None or found.regime.priv == "M":
            said = f"{access.MODES[found.regime.priv]} uses physical addresses; no PTE is read"
            drawing.text(INDENT, y + BADGE + 5, said, font="sans", bold=True)
            _badge(drawing, y, number)
            y, number = y + 2 * BADGE + 12, number + 1
            break
        y = _down(drawing, y) if number > 1 else y
        _badge(drawing, y, number)
        drawing.text(INDENT, y + BADGE + 5, f"the virtual address {page.va:#x}", font="sans", bold=True)
        y = bottom_of(strip(drawing, INDENT, y + 2 * BADGE, va_parts(page.va, fmt)))
        number += 1
        for step in page.steps:
            y = _down(drawing, y)
            _badge(drawing, y, number)
            y = _step(drawing, found, page, step, y)
            number += 1
    y = _down(drawing, y) if number > 1 else y
    _badge(drawing, y, number, bad=found.outcome.rule is not None)
    y = _verdict(drawing, found, y)
    lines = list(access.reasons(found))[1:]
    if lines and reasons:
        words(drawing, INDENT, y + GAP, lines)
    return drawing


def _badge(drawing: Drawing, y: float, number: int, bad: bool = False) -> None:
    drawing.box(MARGIN, y, 2 * BADGE, 2 * BADGE, "wrong" if bad else "panel", line="bad" if bad else "ink", round=BADGE)
    drawing.text(MARGIN + BADGE, y + BADGE + SIZE * 0.36, f"{number}", anchor="middle", bold=True)


def _down(drawing: Drawing, y: float) -> float:
    """An arrow from one step to the next, in the margin; where the next starts."""
    drawing.arrow([(MARGIN + BADGE, y - 8), (MARGIN + BADGE, y + GAP - 4)], "ink", weight=1.4)
    return y + GAP


def _step(drawing: Drawing, found: Explanation, page: Page, step: Step, y: float) -> float:
    """A PTE that was read: where it stands, its fields, where it leads."""
    entry, fmt = step.entry, found.space.table.format
    says = f"level {entry.level}: PTE {step.number} of the table at {entry.pte_pa - step.number * fmt.pte_bytes:#x}"
    drawing.text(INDENT, y + BADGE + 5, says, font="sans", bold=True)
    marked = set(found.decided) & set(step.fields) if step.rule else set()
    y = bottom_of(strip(drawing, INDENT, y + 2 * BADGE, pte_parts(entry.pte, fmt, marked))) + SIZE * LINE
    pa, _ = leaf(fmt, entry.pte, entry.level, page.va)
    leads = {
        "absent": "absent: it leads nowhere",
        "table": f"a pointer to the table at {pa:#x}",
        "mapped": f"a leaf, {flags_text(entry.pte, 'rwxugad')}: it maps the page at {pa:#x}",
    }[entry.kind]
    drawing.text(INDENT, y, f"PTE {entry.pte:#x} at {entry.pte_pa:#x}, {leads}")
    if entry is page.steps[-1].entry and page.after is not None and page.after != entry.pte:
        y += SIZE * LINE
        letters = flags_text(page.after & ~entry.pte).replace("-", "").upper()
        drawing.text(INDENT, y, f"the hart sets {' and '.join(letters)}: the PTE is then {page.after:#x}")
    return y


def _verdict(drawing: Drawing, found: Explanation, y: float) -> float:
    bad = found.outcome.rule is not None
    room = 760.0
    lines = wrap(found.verdict, room, SIZE + 1)
    width = max(text_width(line, SIZE + 1, "sans", True) for line in lines) + 2 * PAD
    height = len(lines) * (SIZE + 1) * LINE + PAD
    drawing.box(INDENT, y, width, height, "wrong" if bad else "table", line="bad" if bad else "ink", weight=2)
    for number, line in enumerate(lines):
        at = y + PAD / 2 + (number + 0.72) * (SIZE + 1) * LINE
        drawing.text(INDENT + PAD, at, line, size=SIZE + 1, font="sans", bold=True, ink="bad" if bad else "ink")
    return y + height
