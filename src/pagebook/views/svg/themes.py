"""How figures look: colours by theme, and patterns, so that nothing is said by colour alone.

The hues are those of Okabe and Ito, which people with any kind of colour vision tell apart; a role has that of the
page's book.  ``print`` has no colours.
"""

from __future__ import annotations

from pagebook.ledger import Role

HATCHES = {
    "slash": "M-1 7L7 -1M-1 1L1 -1M5 7L7 5",
    "backslash": "M-1 -1L7 7M5 -1L7 1M-1 5L1 7",
    "cross": "M0 0L6 6M6 0L0 6",
    "horizontal": "M0 1.5H6M0 4.5H6",
    "vertical": "M1.5 0V6M4.5 0V6",
    "grid": "M0 3H6M3 0V6",
    "dots": "M1 1.5h1.2M4 4.5h1.2",
}
"""Patterns by name: what is drawn in a tile of 6 by 6."""

ROLE_HATCH = {
    Role.UNKNOWN: "cross",
    Role.FREE: "",
    Role.KERNEL_IMAGE: "",
    Role.DEVICE_QUEUE: "dots",
    Role.KERNEL_STACK: "horizontal",
    Role.TRAPFRAME: "vertical",
    Role.USER: "slash",
    Role.SHARED: "grid",
    Role.PAGE_TABLE: "backslash",
}
ROLE_ORDER = tuple(sorted(Role, key=lambda role: -role.value))
"""The roles as a legend lists them: the most telling first."""


def role_fill(role: Role) -> str:
    """The name of the colour of a role."""
    return role.name.lower()


HOST = "host"
"""The theme of a document that gives the colours itself, as variables of CSS."""

Colours = dict[str, str]
"""A theme: the colour of each name that the figures use."""

THEMES: dict[str, Colours] = {
    "light": {
        "paper": "#ffffff", "ink": "#16191d", "faint": "#57606a", "line": "#6e7781", "panel": "#f1f4f7",
        "hatch": "#3c454e", "accent": "#0b5394", "mark": "#fff2bf", "bad": "#a8320a", "wrong": "#fde3d8",
        "leaf": "#d6ebf8", "table": "#d5efe5", "ghost": "#aab2bb",
        "unknown": "#f3b79f", "free": "#ffffff", "kernel_image": "#9cc8e6", "device_queue": "#ecd0de",
        "kernel_stack": "#c9e6f7", "trapframe": "#f6ee9e", "user": "#a5dcc9", "shared": "#f7d491",
        "page_table": "#b9bdc6",
    },
    "dark": {
        "paper": "#12161c", "ink": "#eef2f6", "faint": "#a7b1bc", "line": "#7d8893", "panel": "#1d232b",
        "hatch": "#c4ccd4", "accent": "#7cc4ff", "mark": "#4d4210", "bad": "#ff9a76", "wrong": "#4a2315",
        "leaf": "#163a52", "table": "#143f33", "ghost": "#5a646e",
        "unknown": "#7c3316", "free": "#12161c", "kernel_image": "#0f4f7c", "device_queue": "#723f62",
        "kernel_stack": "#1d6288", "trapframe": "#666013", "user": "#125f48", "shared": "#7a520b",
        "page_table": "#565c67",
    },
    "print": {
        "paper": "#ffffff", "ink": "#000000", "faint": "#333333", "line": "#000000", "panel": "#f2f2f2",
        "hatch": "#000000", "accent": "#000000", "mark": "#dddddd", "bad": "#000000", "wrong": "#e4e4e4",
        "leaf": "#ffffff", "table": "#ededed", "ghost": "#777777",
        "unknown": "#ffffff", "free": "#ffffff", "kernel_image": "#b4b4b4", "device_queue": "#ffffff",
        "kernel_stack": "#ffffff", "trapframe": "#ffffff", "user": "#ffffff", "shared": "#ffffff",
        "page_table": "#e2e2e2",
    },
}  # fmt: skip
THEMES[HOST] = {name: f"var(--{name})" for name in THEMES["light"]}


def variables(theme: str) -> str:
    """A theme as CSS: what a page declares for the figures inside it."""
    return " ".join(f"--{name}: {colour};" for name, colour in THEMES[theme].items())
