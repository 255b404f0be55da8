"""How things look in a notebook: small tables and figures as HTML, in the notebook's own light or dark.

Every text is escaped here, once.  A table shows its first and last rows and says how many it left out, and figures are
bounded, so that a cell stays small whatever the memory holds; what cannot be read is a sentence.  There is no script.
Where a notebook is not trusted its style is taken out; tables, figures and sentences remain.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from functools import singledispatch
from html import escape
from urllib.parse import quote

import numpy as np
import numpy.typing as npt

from pagebook.checks.looks import Report
from pagebook.checks.registry import BY_ID
from pagebook.checks.rule import Finding
from pagebook.columns import Columns
from pagebook.decode import PteMeaning
from pagebook.diff import Difference
from pagebook.errors import PagebookError
from pagebook.explain import Explanation
from pagebook.ledger import Ledger, Role
from pagebook.machine import Machine, Space, Spaces
from pagebook.sv import flags_text
from pagebook.table import AddressSpace
from pagebook.units import PAGE_SHIFT, size_text
from pagebook.views import access, changes, findings, text
from pagebook.views.facts import Filter, Listing, Run, Walk, listing
from pagebook.views.frames import Owned, Owners, who_maps, whose
from pagebook.views.svg import book, directories, fields, layout, steps
from pagebook.views.svg.drawing import FONTS, Drawing, printable
from pagebook.views.svg.themes import HOST, THEMES
from pagebook.views.text import Line, count_text

MOST_ROWS = 24  # of a table that is shown whole
FIRST, LAST = 12, 4  # rows of one that is not
MOST_CELL = 500  # letters
MOST_LINES = 60
ADDRESSES = {"va", "pa", "pte", "pte_pa", "pfn"}

DARK = (
    '[data-jp-theme-light="false"]', '[data-theme="dark"]', 'html[theme="dark"]',
    ".vscode-dark", ".vscode-high-contrast", ".quarto-dark",
)  # fmt: skip
"""Where a notebook is dark: JupyterLab and nbconvert, Sphinx and marimo, Colab, VS Code, Quarto."""
OURS = "div.pagebook.pagebook"
"""The class twice, so that it comes before what notebooks say of their tables and code."""
STYLE = f"""<style>
{OURS}{{color-scheme:light;max-width:100%;overflow-x:auto}}
{",".join(f"{where} {OURS}" for where in DARK)}{{color-scheme:dark}}
{OURS} img{{display:block;max-width:min(100%,56rem);height:auto;margin:.5em 0}}
{OURS} table{{border-collapse:collapse;margin:.5em 0;font-size:90%;table-layout:auto}}
{OURS} th,{OURS} td{{text-align:left;padding:.15em .7em;vertical-align:top;white-space:nowrap}}
{OURS} td.sentence{{white-space:normal;min-width:14em}}
{OURS} td.number,{OURS} th.number{{text-align:right}}
{OURS} code,{OURS} pre{{background:none;color:inherit;font-family:{FONTS["mono"]};font-size:inherit;padding:0}}
{OURS} pre{{font-size:90%;line-height:1.3;overflow-x:auto}}
{OURS} .bad,{OURS} .bad code{{color:{THEMES["light"]["bad"]}}}
{",".join(f"{where} {OURS} .bad,{where} {OURS} .bad code" for where in DARK)}{{color:{THEMES["dark"]["bad"]}}}
{OURS} .dim{{opacity:.7}}
</style>"""


def _variables(theme: str) -> str:
    return ":root{" + "".join(f"--{name}:{value};" for name, value in {**THEMES[theme], **FONTS}.items()) + "}"


INK = f"<style>{_variables('light')}@media (prefers-color-scheme:dark){{{_variables('dark')}}}</style>"
"""The colours of a figure, light or dark as the notebook: browsers tell an image the color-scheme of its element."""
TAG = re.compile("<[^>]*>")
IN_A_URL = " !$'()*+,-./:;=?@[]_{|}~^"
"""What may stand as it is in a data URL in quotes; single quotes may, so the tags of a figure have these."""

Cells = Sequence[str]
"""The cells of a row, HTML each."""


def html(shown: object) -> str:
    """Anything of pagebook's as HTML; an error while it is made is a sentence in its place."""
    try:
        inside = parts(shown)
    except PagebookError as error:
        inside = _sentence(str(error), "bad")
    return f'<div class="pagebook">{STYLE}\n{inside}\n</div>'


def safe(words: str) -> str:
    """Text from anywhere as HTML: on one line, cut where it is longer than anybody reads."""
    return escape(printable(words if len(words) <= MOST_CELL else words[: MOST_CELL - 1] + "…"))


def _class(name: str) -> str:
    return f' class="{name}"' if name else ""


def _code(words: str, kind: str = "") -> str:
    return f"<code{_class(kind)}>{safe(words)}</code>" if words else ""


def _sentence(words: str, kind: str = "") -> str:
    return f"<p{_class(kind)}>{safe(words)}</p>"


def _title(name: str, rest: str) -> str:
    return f"<p><strong>{safe(name)}</strong>{safe(rest)}</p>"


def figure(drawing: Drawing) -> str:
    """A drawing as an image that has all it needs, in the colours of the notebook.

    As an image, and not as SVG within the page: what is not trusted is stripped of SVG, but for its words, and two
    figures of a page would share the names of their patterns.
    """
    head, _, rest = drawing.svg(HOST).partition("\n")
    for name, fonts in FONTS.items():
        rest = rest.replace(fonts, f"var(--{name})")
    svg = TAG.sub(lambda tag: tag[0].replace('"', "'"), head + INK + rest.replace("\n", ""))
    data = quote(svg, safe=IN_A_URL)
    words = escape(f"{drawing.title}: {drawing.description}" if drawing.description else drawing.title)
    return f'<img alt="{words}" src="data:image/svg+xml,{data}"/>'


def _drawn(draw: Callable[[], Drawing]) -> str:
    """A figure, or why there is none."""
    try:
        return figure(draw())
    except PagebookError as error:
        return _sentence(f"no figure: {error}", "bad")


def table(heads: Iterable[str], count: int, cells: Callable[[int], Cells], what: str = "row") -> str:
    """A table of ``count`` rows, the first and last where those are many.

    A head that ends in ``>`` is one of numbers, in ``.`` of sentences.
    """
    named = [(head.rstrip(">."), {">": "number", ".": "sentence"}.get(head[-1:], "")) for head in heads]

    def row(tag: str, inside: Iterable[str]) -> str:
        both = zip(inside, named, strict=True)
        words = (f"<{tag}{_class(kind)}>{cell}</{tag}>" for cell, (_, kind) in both)
        return f"<tr>{''.join(words)}</tr>"

    whole = count <= MOST_ROWS
    rows = [row("td", cells(number)) for number in range(count if whole else FIRST)]
    if not whole:
        left = f"{count - FIRST - LAST:,} of {count:,} {what}s are not shown"
        rows.append(f'<tr><td class="dim" colspan="{len(named)}">… {left} …</td></tr>')
        rows += [row("td", cells(number)) for number in range(count - LAST, count)]
    head = row("th", (safe(name) for name, _ in named))
    return "<table><thead>" + head + "</thead><tbody>\n" + "\n".join(rows) + "\n</tbody></table>"


def lines(found: Iterable[Line]) -> str:
    """What the command line prints, as preformatted text, cut after so many lines."""
    out: list[str] = []
    for line in found:
        if len(out) == MOST_LINES:
            out.append('<span class="dim">… and more lines, which are not shown</span>')
            break
        spans = ((safe(words), "bad" if style == "bad" else "dim" if style == "dim" else "") for words, style in line)
        out.append("".join(f"<span{_class(kind)}>{words}</span>" if kind else words for words, kind in spans))
    return "<pre>" + "\n".join(out) + "</pre>"


def _folded(summary: str, inside: str) -> str:
    return f"<details><summary>{safe(summary)}</summary>{inside}</details>"


@singledispatch
def parts(shown: object) -> str:
    """The parts of what is shown, one function for each type."""
    return _code(repr(shown))


@parts.register
def _(shown: Machine) -> str:
    ledger = Ledger(shown)
    ram = size_text(sum(map(len, ledger.holdings)) << PAGE_SHIFT)
    guest = f", {shown.guest}" if shown.guest and shown.guest not in shown.name else ""
    about = f"{guest}: {ram} of RAM, {count_text(len(shown.spaces), 'address space')}"
    return (
        _title(shown.name, about)
        + (_spaces(shown.spaces, ledger) if shown.spaces else "")
        + _drawn(lambda: book.memory(ledger))
    )


@parts.register
def _(shown: Spaces) -> str:
    return _spaces(shown, None)


def _spaces(spaces: Spaces, ledger: Ledger | None) -> str:
    def cells(number: int) -> Cells:
        space = spaces[number]
        pid, size = ("" if value is None else value for value in (space.pid, space.size))
        row = [
            _code(space.name), f"{pid}", safe(space.state or ""), space.table.format.name,
            _code(f"{space.table.root:#x}"), _code(f"{size:#x}" if isinstance(size, int) else ""),
        ]  # fmt: skip
        if ledger:
            found = ledger.scans[number]
            row.append(f"{len(found.mappings):,}" if found else safe(str(ledger.refused.get(space.name, ""))))
        return row

    heads = ["space", "pid>", "state", "format", "root", "size", *(["mappings>"] if ledger else [])]
    return table(heads, len(spaces), cells, "space")


@parts.register
def _(shown: AddressSpace) -> str:
    return parts(Space(f"table {shown.root:#x}", shown))


@parts.register
def _(shown: Space) -> str:
    table = shown.table
    listed = listing(shown, Filter())
    runs = count_text(len(listed.run_rows), "run")
    about = f": {table.format.name}, root {table.root:#x}, {count_text(listed.mappings, 'page')} mapped in {runs}"
    alone = Machine(shown.name, table.memory, Spaces([shown]))
    rows = _runs(listed) + _problems(listed)
    few = len(listed.run_rows) <= FIRST
    return (
        _title(shown.name, about)
        + (rows if few else _folded(f"the {runs}", rows))
        + _drawn(lambda: layout.layout(alone, shown))
    )


def _runs(listed: Listing) -> str:
    """The runs that are shown, and no other, are taken from the arrays."""
    count = len(listed.run_rows)
    shown = listed.run_rows[_which(count)]
    runs = list(Listing(listed.space, listed.mappings, shown, shown[:0]).runs())

    def cells(number: int) -> Cells:
        run: Run = runs[_at(number, count)]
        return [
            _code(f"{run.va:#x}"), _code(f"{run.va + run.size:#x}"), _code(f"{run.pa:#x}"), size_text(run.size),
            _code(flags_text(run.flags, text.RIGHTS)), f"{run.level}", safe(run.name),
        ]  # fmt: skip

    heads = ["from", "to", "physical", "size>", "rights", "level>", "what"]
    return table(heads, count, cells, "run") if count else ""


def _which(count: int) -> npt.NDArray[np.intp]:
    """The rows that a table of so many shows."""
    return np.arange(count) if count <= MOST_ROWS else np.r_[0:FIRST, count - LAST : count]


def _at(number: int, count: int) -> int:
    """Where a row stands among those that are shown."""
    return number if count <= MOST_ROWS or number < FIRST else number - count


def _problems(listed: Listing) -> str:
    count = len(listed.problem_rows)
    if not count:
        return ""
    some = list(Listing(listed.space, 0, listed.run_rows[:0], listed.problem_rows[:FIRST]).problems())
    said = [
        _sentence(f"{one.va:#x} {one.kind}: level-{one.level} PTE {one.pte:#x} at {one.pte_pa:#x}", "bad")
        for one in some
    ]
    more = count - len(some)
    return "".join(said) + (_sentence(f"and {more:,} more PTEs that no walk can use", "bad") if more else "")


@parts.register
def _(shown: Walk) -> str:
    return _drawn(lambda: directories.directories(shown)) + _folded("as text", lines(text.walk(shown)))


@parts.register
def _(shown: Explanation) -> str:
    return _drawn(lambda: steps.walk(shown)) + _folded("as text", lines(access.access(shown)))


@parts.register
def _(shown: PteMeaning) -> str:
    return _drawn(lambda: fields.pte(shown)) + _folded("as text", lines(access.pte(shown)))


@parts.register
def _(shown: Drawing) -> str:
    return figure(shown)


@parts.register
def _(shown: Ledger) -> str:
    return _title("frames", f" of {shown.machine.name}, each in one role") + _drawn(lambda: book.memory(shown))


@parts.register
def _(shown: Owners) -> str:
    def cells(number: int) -> Cells:
        run: Owned = shown.runs[number]
        unknown = "bad" if run.role is Role.UNKNOWN else ""
        return [
            _code(f"{run.pa:#x}"), _code(f"{run.pa + (run.frames << PAGE_SHIFT):#x}"), f"{run.frames:,}",
            f"<span{_class(unknown)}>{run.role.label}</span>",
            safe(whose(shown.machine, run)) if run.owner or run.refs else "",
        ]  # fmt: skip

    rows = table(["from", "to", "frames>", "role", "whose"], len(shown.runs), cells, "run")
    if shown.uses is None:
        return parts(shown.ledger) + _folded(f"the {count_text(len(shown.runs), 'run')} of frames", rows)
    return (rows if shown.runs else "") + lines(who_maps(shown))


@parts.register
def _(shown: Report) -> str:
    def cells(number: int) -> Cells:
        found = shown.findings[number]
        return [
            f"{_code(found.rule)} {safe(BY_ID[found.rule].name)}",
            f"<span{_class('bad' if found.severity == 'error' else '')}>{safe(found.severity)}</span>",
            _code(findings.place(found)), safe(found.message), safe(found.remedy),
        ]  # fmt: skip

    heads = ["rule", "severity", "where", "what.", "do."]
    rows = table(heads, len(shown.findings), cells, "finding") if shown.findings else ""
    more = [f"{id}: {count_text(count, 'more finding')} like these" for id, count in shown.more.items()]
    return _sentence(findings.summary(shown)) + rows + "".join(map(_sentence, more[:MOST_ROWS]))


@parts.register
def _(shown: Finding) -> str:
    return lines(findings.finding(shown))


@parts.register
def _(shown: Difference) -> str:
    return lines(changes.text(shown))


@parts.register
def _(shown: Columns) -> str:
    count = len(shown)
    rows = shown[_which(count)]
    columns = [_cells(rows, name) for name in shown.names]

    def cells(number: int) -> Cells:
        return [column[_at(number, count)] for column in columns]

    heads = [name if name in shown.words or shown.dtype[name].kind == "O" else f"{name}>" for name in shown.names]
    return _sentence(f"{count:,} rows of {len(shown.names)} columns") + table(heads, count, cells)


def _cells(rows: Columns, name: str) -> list[str]:
    """A column as cells, as a person reads it."""
    absent, values = rows.absent(name), rows[name].tolist()
    if name in rows.words:
        made = [_code(rows.words[name][value]) if value >= 0 else "" for value in values]
    elif rows.dtype[name].kind == "O":
        made = [safe(value) if isinstance(value, str) else "" for value in values]
    elif name in ADDRESSES:
        made = [_code(f"{value:#x}") for value in values]
    elif name == "size":
        made = [size_text(value) for value in values]
    else:
        made = [f"{value:,}" if not isinstance(value, bool) else str(value) for value in values]
    return made if absent is None else ["" if nothing else cell for nothing, cell in zip(absent, made, strict=True)]
