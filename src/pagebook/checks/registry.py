"""All rules by id, and how people choose among them: ids, prefixes of ids, ALL."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from importlib.resources import files

from pagebook.checks import encodings, rights, structure, xv6_frames, xv6_kernel, xv6_pages
from pagebook.checks.rule import Rule
from pagebook.errors import BadTarget

RULES: tuple[Rule, ...] = tuple(
    sorted(
        (*encodings.RULES, *structure.RULES, *rights.RULES, *xv6_pages.RULES, *xv6_frames.RULES, *xv6_kernel.RULES),
        key=lambda rule: rule.id,
    )
)
BY_ID = {rule.id: rule for rule in RULES}
EVERY = "ALL"


def choose(select: Sequence[str] = (), ignore: Sequence[str] = ()) -> tuple[Rule, ...]:
    """The rules that ``select`` names, those on by default when it is empty, without those that ``ignore`` names.

    A word is an id, a prefix of ids (``PB1``), a name, or ``ALL``.  Where a rule is named by both, the longer word
    counts, as in ruff.  BadTarget when a word names no rule, or none is left.
    """
    wanted = _longest(select) if select else {rule.id: 0 for rule in RULES if rule.default}
    unwanted = _longest(ignore)
    chosen = tuple(rule for rule in RULES if rule.id in wanted and wanted[rule.id] > unwanted.get(rule.id, -1))
    if not chosen:
        raise BadTarget("no rule is left to ask: all that are selected are ignored, too")
    return chosen


def _longest(words: Iterable[str]) -> dict[str, int]:
    """For each rule that a word names, how many characters of its id the longest such word has."""
    found: dict[str, int] = {}
    for word in words:
        for rule in named(word):
            length = 0 if word.upper() == EVERY else len(rule.id) if word.lower() == rule.name else len(word)
            found[rule.id] = max(found.get(rule.id, 0), length)
    return found


def named(word: str) -> list[Rule]:
    """The rules of that id, prefix of ids or name; BadTarget, with near ones, when there is none."""
    if word.upper() == EVERY:
        return list(RULES)
    found = [rule for rule in RULES if rule.id.startswith(word.upper()) or rule.name == word.lower()] if word else []
    if not found:
        raise _unknown(word)
    return found


def page(id: str) -> str:
    """The page of documentation of a rule, as it comes with the package."""
    return (files("pagebook.checks") / "pages" / f"{id}.md").read_text(encoding="utf-8")


def _unknown(word: str) -> BadTarget:
    names = [*BY_ID, *(rule.name for rule in RULES)]
    near = difflib.get_close_matches(word.upper(), BY_ID, 3, 0.6) or difflib.get_close_matches(
        word.lower(), names, 3, 0.5
    )
    hint = f"near it are {', '.join(near)}" if near else f"they are {RULES[0].id} to {RULES[-1].id}"
    return BadTarget(f"there is no rule {word!r}; {hint}; 'pagebook rule' lists all")
