"""The verb serve: a machine as a page in the browser."""

from __future__ import annotations

from typing import Any

import click

from pagebook.cli import OK
from pagebook.cli.words import machine_options, target_argument

LOOPBACK = "127.0.0.1"


@click.command()
@target_argument
@click.option("--port", metavar="N", type=click.IntRange(0, 65535), default=0, help="Listen there; else a free port.")
@click.option("--host", metavar="ADDRESS", default=LOOPBACK, show_default=True, help="Listen on this address.")
@click.option("--no-browser", is_flag=True, help="Only print the link; open nothing.")
@machine_options
def serve(target: str, port: int, host: str, no_browser: bool, **model: Any) -> int:  # noqa: ANN401
    """Show TARGET as a page in the browser.

    The book of its memory, its address spaces, walks step by step, and what is wrong. A running guest is followed and
    never stopped. The page only reads, and only who has the link sees it. Ctrl-C ends it.

    \b
    pagebook serve
    pagebook serve m.core --no-browser
    pagebook serve qemu --kernel kernel/kernel
    """
    from pagebook.cli import hosting

    hosting.host(target, model, host, port, browser=not no_browser)
    return OK
