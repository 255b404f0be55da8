"""Drawing: boxes, lines, arrows and text at places, turned into SVG in the colours of a theme.

Shapes name colours (`themes`), never hold them, so that one drawing is shown in each theme.  What is drawn decides how
large the picture is; nothing can stand outside it.  The SVG is plain: no script, no style sheet, no font and no link.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from html import escape
from itertools import pairwise

from pagebook.shown import in_notebook, plain
from pagebook.views.svg.themes import HATCHES, HOST, THEMES, Colours

MARGIN = 24
HEADING = 1100  # the widest that a title may be
CONTENT = "text"  # the attribute that is what an element holds
SIZE = 13
TITLE_SIZE = 20
LINE = 1.45  # height of a line of text, in font sizes
MONO_WIDTH = 0.605  # of the widest of the usual monospaced fonts, in font sizes
FONTS = {
    "mono": "ui-monospace, 'DejaVu Sans Mono', Menlo, Consolas, monospace",
    "sans": "'DejaVu Sans', Verdana, Arial, sans-serif",
}
NARROWEST = 0.45  # of all characters, in font sizes
MOST_TITLE, MOST_DESCRIPTION = 200, 4000  # characters; both are read aloud
_NARROW, _WIDE = "ijl.,:;'|!()[]/ -It1fr", "mwMW%@—…"
_LETTERS_END = 0x530  # Latin, Greek and Cyrillic are below, and monospaced in the usual fonts

Point = tuple[float, float]
Edge = tuple[float, float, float]
"""The x, the top and the bottom of an upright edge."""


def printable(text: str) -> str:
    """``text`` with everything written out that could not be shown, or whose width nobody knows."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(char if _is_plain(char) else f"\\u{ord(char):x}" for char in text)


def _is_plain(char: str) -> bool:
    if char in "…→←·—–×":
        return True
    return char.isprintable() and ord(char) < _LETTERS_END and unicodedata.category(char)[0] != "M"


def text_width(text: str, size: float = SIZE, font: str = "mono", bold: bool = False) -> float:
    """How wide a text is at most, in the fonts that browsers take."""
    if font == "mono":
        return len(text) * size * MONO_WIDTH
    widths = (NARROWEST if c in _NARROW else 1.0 if c in _WIDE else 0.8 if c.isupper() else 0.66 for c in text)
    return sum(widths) * size * (1.08 if bold else 1)


def cut(text: str, room: float, size: float = SIZE, font: str = "mono", bold: bool = False) -> str:
    """As much of a text as has room, with an ellipsis where it goes on."""
    most = int(room / (size * NARROWEST)) + 1  # a name from a file may be as long as the file
    text = printable(text[:most])
    if text_width(text, size, font, bold) <= room:
        return text
    text = text[:most]
    while text and text_width(text + "…", size, font, bold) > room:
        text = text[:-1]
    return text + "…" if text else ""


def _start(text: str, most: int) -> str:
    """A text, or its start with an ellipsis where it has more than ``most`` characters."""
    return text if len(text) <= most else text[: most - 1] + "…"


def wrap(text: str, room: float, size: float = SIZE, font: str = "sans") -> list[str]:
    """A text as lines that have room; a word that has none is cut."""
    lines: list[str] = []
    for word in printable(text).split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and text_width(longer, size, font) <= room:
            lines[-1] = longer
        else:
            lines.append(cut(word, room, size, font))
    return lines


def number(value: float) -> str:
    """A coordinate: a tenth of a pixel is enough."""
    return f"{round(value + 0.0, 1):g}" if abs(value) < 1e5 else f"{value:.0f}"


class Drawing:
    """A figure: its title, what it shows in a sentence for those who cannot see it, and its shapes."""

    def __init__(self, title: str, description: str) -> None:
        self.title = printable(_start(title, MOST_TITLE))
        self.description = printable(_start(description, MOST_DESCRIPTION))
        self.right = self.bottom = 0.0
        self._shapes: list[tuple[str, dict[str, str]]] = []  # a tag and its attributes
        self._hatches: set[str] = set()

    def heading(self, *notes: str) -> float:
        """The title at the top, and under it notes, a line each; where the figure itself can start."""
        y: float = MARGIN + TITLE_SIZE
        self.text(MARGIN, y, self.title, size=TITLE_SIZE, font="sans", bold=True, room=HEADING)
        y += SIZE * 1.6
        for note in notes:
            y = self.paragraph(MARGIN, y, note, HEADING, ink="faint")
        return y + MARGIN - SIZE * LINE

    def _put(self, tag: str, right: float, bottom: float, /, **attributes: str | float) -> None:
        self.right, self.bottom = max(self.right, right), max(self.bottom, bottom)
        named = {
            name.rstrip("_").replace("_", "-"): value if isinstance(value, str) else number(value)
            for name, value in attributes.items()
            if value != ""
        }
        self._shapes.append((tag, named))

    def box(
        self, x: float, y: float, width: float, height: float, fill: str = "paper", *, line: str = "line",
        weight: float = 1, dash: str = "", hatch: str = "", round: float = 0,
    ) -> None:  # fmt: skip
        """A rectangle, filled, with a pattern over the colour if one is named; ``line`` is the colour of its edge."""
        place: dict[str, float | str] = {"x": x, "y": y, "width": width, "height": height, "rx": round or ""}
        edge: dict[str, float | str] = {
            "stroke": line or "none",
            "stroke_width": weight if line else "",
            "stroke_dasharray": dash,
        }
        plain = not hatch
        self._put("rect", x + width, y + height, fill=fill or "none", **place, **(edge if plain else {}))
        if hatch:
            self._hatches.add(hatch)
            self._put("rect", x + width, y + height, fill=f"url(#{hatch})", **place, **edge)

    def line(self, points: Sequence[Point], ink: str = "line", *, weight: float = 1, dash: str = "") -> None:
        """A line through points."""
        right, bottom = max(x for x, _ in points), max(y for _, y in points)
        if len(points) == 2:
            (x1, y1), (x2, y2) = points
            self._put(
                "line", right, bottom, x1=x1, y1=y1, x2=x2, y2=y2, stroke=ink, stroke_width=weight,
                stroke_dasharray=dash,
            )  # fmt: skip
            return
        path = " ".join(f"{number(x)},{number(y)}" for x, y in points)
        self._put(
            "polyline", right, bottom, points=path, fill="none", stroke=ink, stroke_width=weight, stroke_dasharray=dash
        )

    def arrow(self, points: Sequence[Point], ink: str = "accent", *, weight: float = 1.6, dash: str = "") -> None:
        """A line through points with a head at the last, straight to the right, left, up or down of the one before."""
        (x0, y0), (x, y) = points[-2:]
        size = 4 + 2 * weight
        dx, dy = (x > x0) - (x < x0), (y > y0) - (y < y0)
        if x != x0 and y != y0:
            dx, dy = (dx, 0) if abs(x - x0) > abs(y - y0) else (0, dy)
        back = (x - dx * size, y - dy * size)
        self.line([*points[:-1], back], ink, weight=weight, dash=dash)
        side = size * 0.55
        corners = [(x, y), (back[0] + dy * side, back[1] + dx * side), (back[0] - dy * side, back[1] - dx * side)]
        path = " ".join(f"{number(a)},{number(b)}" for a, b in corners)
        self._put("polygon", max(a for a, _ in corners), max(b for _, b in corners), points=path, fill=ink)

    def band(self, start: Edge, end: Edge, ink: str, dash: str = "") -> None:
        """A band, that can be seen through, from one upright edge to another."""
        (x1, top1, bottom1), (x2, top2, bottom2) = start, end
        middle = number((x1 + x2) / 2)
        a, b, c, d = (f"{number(x)} {number(y)}" for x, y in ((x1, top1), (x2, top2), (x2, bottom2), (x1, bottom1)))
        path = f"M{a}C{middle} {number(top1)} {middle} {number(top2)} {b}L{c}"
        path += f"C{middle} {number(bottom2)} {middle} {number(bottom1)} {d}Z"
        look = {"fill": ink, "fill_opacity": "0.1", "stroke": ink, "stroke_dasharray": dash}
        self._put("path", max(x1, x2), max(bottom1, bottom2), d=path, **look)

    def text(
        self, x: float, y: float, text: str, *, size: float = SIZE, ink: str = "ink", anchor: str = "start",
        font: str = "mono", bold: bool = False, room: float = 0, plate: str = "",
    ) -> float:  # fmt: skip
        """A line of text, its baseline at ``y``, cut to ``room`` if given, on a ``plate`` of a colour; its width."""
        text = cut(text, room, size, font, bold) if room else printable(text)
        if not text:
            return 0
        width = text_width(text, size, font, bold)
        left = {"start": x, "middle": x - width / 2, "end": x - width}[anchor]
        if plate:
            self.box(left - 2, y - size * 0.9, width + 4, size * 1.2, plate, line="")
        self._put(
            "text", left + width, y + size * 0.3, x=x, y=y, fill=ink, font_size=size, font_family=font,
            font_weight="bold" if bold else "", text_anchor=anchor if anchor != "start" else "",
            text_=escape(text, quote=False).replace("  ", " \u00a0"),
        )  # fmt: skip
        return width

    def paragraph(self, x: float, y: float, text: str, room: float, *, ink: str = "ink", size: float = SIZE) -> float:
        """Lines of text wrapped into ``room``, the first with its baseline at ``y``; the baseline after the last."""
        for line in wrap(text, room, size):
            self.text(x, y, line, size=size, ink=ink, font="sans")
            y += size * LINE
        return y

    def __repr__(self) -> str:
        return f"<Drawing: {plain(self.title, 160)}>"

    _repr_html_ = in_notebook

    def svg(self, theme: str = "light") -> str:
        """The drawing as an SVG document; ``theme`` is one of `THEMES`."""
        return self._drawn('xmlns="http://www.w3.org/2000/svg"', "", "", theme, THEMES[theme])

    def inline(self, name: str) -> str:
        """The drawing as a part of a page of HTML, which gives the colours as variables (`themes.variables`).

        ``name`` is the figure's own on that page: all its ids start with it.
        """
        title, desc = f"{name}-title", f"{name}-desc"
        labels = f'aria-labelledby="{title}" aria-describedby="{desc}"'
        return self._drawn(labels, f' id="{title}"', f' id="{desc}"', name, THEMES[HOST])

    @property
    def width(self) -> float:
        """How wide the picture is, in pixels where nobody says otherwise."""
        return self.right + MARGIN

    def _drawn(self, attributes: str, title: str, desc: str, ids: str, colours: Colours) -> str:
        """The picture; ``ids`` starts the ids of its patterns, the others are attributes of its elements."""
        width, height = number(self.width), number(self.bottom + MARGIN)
        lines = [
            f'<svg {attributes} width="{width}" height="{height}" viewBox="0 0 {width} {height}" role="img">',
            f"<title{title}>{escape(self.title, quote=False)}</title>",
            f"<desc{desc}>{escape(self.description, quote=False)}</desc>",
        ]
        if self._hatches:
            lines += ["<defs>", *(_pattern(hatch, ids, colours) for hatch in sorted(self._hatches)), "</defs>"]
        lines.append(f'<rect width="{width}" height="{height}" fill="{colours["paper"]}"/>')
        lines += [_element(*shape, ids, colours) for shape in self._shapes]
        return "\n".join([*lines, "</svg>", ""])


def _pattern(hatch: str, ids: str, colours: Colours) -> str:
    return (
        f'<pattern id="{ids}-{hatch}" width="6" height="6" patternUnits="userSpaceOnUse">'
        f'<path d="{HATCHES[hatch]}" fill="none" stroke="{colours["hatch"]}" stroke-width="0.8"/></pattern>'
    )


def _element(tag: str, attributes: dict[str, str], ids: str, colours: Colours) -> str:
    words, inside = [], attributes.get(CONTENT)
    for name, value in attributes.items():
        if name == CONTENT:
            continue
        if name in ("fill", "stroke"):
            value = value.replace("url(#", f"url(#{ids}-") if value.startswith("url(") else colours.get(value, value)
        elif name == "font-family":
            value = FONTS[value]
        words.append(f'{name}="{value}"')
    start = f"<{tag} {' '.join(words)}"
    return f"{start}>{inside}</{tag}>" if inside else f"{start}/>"


def spread(widths: Sequence[float], gap: float, start: float) -> list[float]:
    """The left edges of boxes of these widths, side by side with gaps."""
    edges = [start]
    for width, _ in pairwise([*widths, 0.0]):
        edges.append(edges[-1] + width + gap)
    return edges[: len(widths)]
