"""Figures as PNG and PDF, by typst, which draws both from the SVG itself; it comes with ``pagebook[figures]``."""

from __future__ import annotations

import datetime
from typing import Literal

from pagebook.errors import BadTarget

PIXELS = 192  # an inch, of which the SVG has 96: twice as fine as on a screen
PAGE = b'#set page(width: auto, height: auto, margin: 0pt)\n#image(bytes(sys.inputs.svg), format: "svg")'
NO_DATE = datetime.datetime.fromtimestamp(0, datetime.UTC)  # the same figure is the same file


def convert(svg: str, kind: Literal["png", "pdf"]) -> bytes:
    """The figure as ``kind``, ``"png"`` or ``"pdf"``; BadTarget, with the remedy, where typst is not installed."""
    try:
        import typst
    except ImportError as error:
        raise BadTarget(
            f"a figure as {kind.upper()} needs typst: pip install 'pagebook[figures]'; as SVG it needs nothing"
        ) from error
    made: bytes = typst.compile(PAGE, format=kind, ppi=PIXELS, sys_inputs={"svg": svg}, timestamp=NO_DATE)
    return made
