"""Draw again the figures that docs/figures.md shows, and those that the tests hold figures against.

    python -m tools.make_figures            write what is stale
    python -m tools.make_figures --check    name what is stale, write nothing, and exit 1 if there is any

A figure is what a call of pagebook prints; everything runs in this process.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

from tools import kept
from tools.kept import ROOT, Stale

SHOWN = {
    "memory": "memory",
    "physical-address": "physical-address 0x87f3e123",
    "page": "page 0x87f3e000",
    "page-table": "page-table --space sh --table 0x87f3c000",
    "directories": "directories 0x3fffffe123 --space sh",
    "virtual-address": "virtual-address 0x3fffffe123",
    "pte": "pte 0x21fcf81b",
    "layout": "layout --space sh",
    "layout-kernel": "layout",
    "walk": "walk 0x2ff8 --space sh --access store",
    "tlb": "tlb --space sh --va 0 --va 0x10 --va 0x3000 --va 0x9000",
}
"""Figures of the model, in docs/figures: what follows ``pagebook draw``."""

HELD = {
    "rules-memory": "memory rules --theme print",
    "rules-page": "page 0x80003000 rules --theme dark",
    "rules-page-table": "page-table rules --space table-outside --table 0x8000d000",
    "rules-directories": "directories 0x401000 rules --space v-clear --theme dark",
    "rules-directories-outside": "directories 0x401000 rules --space table-outside --theme print",
    "rules-layout": "layout rules --space sound --theme print",
    "rules-layout-nothing": "layout rules --space v-clear",
    "rules-walk": "walk 0x401000 rules --space pointer-reserved --theme dark",
    "rules-tlb": "tlb rules --space not-writable --va 0x401000 --va 0x401008 --access store --theme print",
    "sv32-physical-address": "physical-address --format sv32",
    "sv57-virtual-address": "virtual-address 0xff00000000001000 --format sv57",
    "not-canonical": "virtual-address 0x8000000000 --theme print",
    "sv32-pte": "pte --format sv32 --theme dark",
    "invalid-pte": "pte 0x4000000021fdd0cf --theme print",
    "two-pages": "walk 0xfff --space init --size 4",
    "bare": "walk 0x80000000 --priv M --theme dark",
    "wide-memory": "memory --ram 256M --theme print",
}
"""Figures that only tests/figures has: other targets, other formats, other themes."""


def draw(words: str) -> str:
    """What ``pagebook draw`` prints."""
    return kept.printed("draw", *shlex.split(words))


def paths() -> dict[Path, str]:
    """Every figure that is kept, and the words that draw it."""
    places = (("docs", SHOWN), ("tests", HELD))
    return {ROOT / room / "figures" / f"{name}.svg": words for room, held in places for name, words in held.items()}


def stale() -> Iterator[Stale]:
    """Every figure that is drawn otherwise now."""
    return kept.differing((path, draw(words)) for path, words in paths().items())


if __name__ == "__main__":
    sys.exit(kept.main(__doc__, stale(), sys.argv[1:]))
