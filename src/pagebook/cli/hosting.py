"""What serve does: look at the target, listen, open the browser, and answer until Ctrl-C."""

from __future__ import annotations

import importlib.util
import sys
import webbrowser
from contextlib import ExitStack, suppress

import click

from pagebook.cli import shown
from pagebook.cli.opening import Model, opened, say
from pagebook.errors import BadTarget
from pagebook.targets import RUNNING, Target

LIBRARIES = ("starlette", "uvicorn")
BY_PID = f"{RUNNING}:"  # of a guest that has ended, this names none that is started again


def host(target: str, model: Model, address: str, port: int, browser: bool) -> None:
    """Serve ``target`` until somebody ends it; BadTarget when it cannot be opened or listened for."""
    missing = [name for name in LIBRARIES if importlib.util.find_spec(name) is None]
    if missing:
        raise BadTarget(f"the page needs what is not installed here; run: pip install {' '.join(missing)}")
    from pagebook.web import serving
    from pagebook.web.looks import Looks

    with serving.listen(address, port) as listening, ExitStack() as kept:
        found = kept.enter_context(opened(target, model))
        if not serving.is_loopback(address):
            click.echo(
                f"pagebook: warning: with --host {address}, who reaches this computer and knows the link can read all "
                "of the machine's memory, and what they read crosses the network as it is",
                err=True,
            )

        def again() -> Target:
            """The guest that was started again, where the one before has ended; BadTarget for one of another kernel."""
            kept.close()
            now = kept.enter_context(opened(target, model))
            if now.runs != found.runs:
                kept.close()
                raise BadTarget(
                    f"the guest that runs now is another, {now.runs}, and not {found.runs}; to see it, start 'pagebook "
                    f"serve {shown(target)}' again"
                )
            return now

        moves = found.live and not model.get("freeze")
        looks = Looks(found, moves, again if moves and not target.startswith(BY_PID) else None)
        say(found.remarks)
        counting = looks.counting()
        with suppress(KeyboardInterrupt):  # the usual end
            counting.start()
            kept.callback(counting.join)  # nobody reads when the target is closed
            serving.serve(looks, listening, lambda link: _tell(link, browser))


def _tell(link: str, browser: bool) -> None:
    click.echo("pagebook: Ctrl-C ends it", err=True)
    sys.stdout.write(f"{link}\n")
    sys.stdout.flush()
    if browser and not webbrowser.open(link):
        click.echo("pagebook: no browser could be opened; open the link in one", err=True)
