"""The same results as a table for people and as JSON for programs."""

from __future__ import annotations

import json

from bench.rows import OURS, PYTHON, C, Goal, Group, Row, middle_and_least

COLUMNS = (OURS, PYTHON, C)
LEGEND = """\
C is reference.c, gcc -O2, for translations walker.c, gcc -O3; Python is transcription.py.  Times are the thread's
processor time, at the start wall time: medians, in brackets the least.  A ratio is the median of the ratios of
neighbouring runs."""
LEFT = (0, 5, 7)
"""The columns whose text stands at the left: what, and the two verdicts."""

_UNITS = (("s", 1.0), ("ms", 1e-3), ("us", 1e-6), ("ns", 1e-9))


def time_text(times: list[float]) -> str:
    """The median, and in brackets the least, in the median's unit: ``1.05 (0.98) ms``."""
    middle, least = middle_and_least(times)
    unit, size = next((pair for pair in _UNITS if middle >= pair[1]), _UNITS[-1])
    return f"{_digits(middle / size)} ({_digits(least / size)}) {unit}"


def _digits(value: float) -> str:
    """About three digits, never an exponent."""
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def verdict(goal: Goal, value: float) -> str:
    """The target and whether it is met; nothing where there is no target."""
    if goal.bound is None:
        return ""
    return f"{'>=' if goal.at_least else '<='} {goal.bound:g} {'ok' if goal.met(value) else 'MISSED'}"


def text(environment: dict[str, str], groups: list[Group], notes: list[str]) -> str:
    """The environment, the notes, and a table whose columns line up through all groups."""
    blocks = [[_head(group), *(_cells(row) for row in group.rows)] for group in groups]
    every = [cells for block in blocks for cells in block]
    widths = [max(len(cells[column]) for cells in every) for column in range(len(every[0]) - 1)]
    lines = [f"{name:8}{value}" for name, value in environment.items()]
    lines += ["", *notes, LEGEND]
    for block in blocks:
        lines += ["", *(_line(cells, widths) for cells in block)]
    return "\n".join(lines)


def _head(group: Group) -> list[str]:
    names = {OURS: "ours", PYTHON: group.python, C: "C" if any(C in row.times for row in group.rows) else ""}
    cells = [group.name, *names.values()]
    for goal in group.rows[0].goals:
        if names[goal.under]:
            cells += [f"{names[goal.over]} / {names[goal.under]}", ""]
    return _filled(cells, "")


def _cells(row: Row) -> list[str]:
    cells = [row.what, *(time_text(row.times[name]) if name in row.times else "" for name in COLUMNS)]
    judged = dict(row.ratios())
    for goal in row.goals:
        cells += [f"{_digits(judged[goal])}x", verdict(goal, judged[goal])] if goal in judged else ["", ""]
    return _filled(cells, row.note)


def _filled(cells: list[str], note: str) -> list[str]:
    """What, three times, two ratios with their verdicts, and the note."""
    return [*cells, *[""] * (8 - len(cells)), note]


def _line(cells: list[str], widths: list[int]) -> str:
    padded = [
        f"{cell:<{width}}" if number in LEFT else f"{cell:>{width}}"
        for number, (cell, width) in enumerate(zip(cells, widths, strict=False))
    ]
    return "  ".join([*padded, cells[-1]]).rstrip()


def as_json(environment: dict[str, str], groups: list[Group], notes: list[str]) -> str:
    """Everything, each single time too, in seconds."""
    rows = [_row_data(group, row) for group in groups for row in group.rows]
    return json.dumps({"environment": environment, "notes": notes, "rows": rows}, indent=2)


def _row_data(group: Group, row: Row) -> dict[str, object]:
    ratios = [
        {"over": goal.over, "under": goal.under, "ratio": value, "target": verdict(goal, value) or None}
        for goal, value in row.ratios()
    ]
    return {
        "group": group.name,
        "what": row.what,
        "columns": {OURS: "pagebook", PYTHON: group.python, C: "reference.c, gcc -O2; walker.c, gcc -O3"},
        "seconds": {
            name: dict(zip(("median", "min"), middle_and_least(times), strict=True)) | {"runs": times}
            for name, times in row.times.items()
        },
        "ratios": ratios,
        "note": row.note,
    }
