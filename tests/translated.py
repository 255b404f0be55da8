"""Calls of `translate`, and what they give."""

from __future__ import annotations

import csv
import io
import shlex
from pathlib import Path

from calls import Answer, call, saved

COLUMNS = ["va", "cause", "tval", "pa", "pte_pa", "pte_after", "rule"]
HEADER = ",".join(COLUMNS) + "\n"
LISTED = "va, satp, priv, sum, mxr, access, size"
PAGE = Path(__file__).parents[1] / "docs" / "translate.md"


def translate(words: str, fed: str | bytes = "", *, terminal: bool = False) -> Answer:
    """``pagebook translate`` of the saved machine, with ``fed`` on standard input."""
    return call(["translate", saved(), *shlex.split(words)], typed=fed, terminal=terminal)


def rows_of(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def refusal(words: str, fed: str | bytes = "") -> str:
    """The one line on standard error of a call that printed nothing else."""
    return translate(words, fed).refusal.removeprefix("pagebook: ")
