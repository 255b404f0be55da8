"""The command line: verbs on targets.

A verb's words are in a module of its own or its kin's, imported when one of them is called, so that ``--help`` is
quick; what it does is in another (`pagebook.cli.verbs`, ...), imported when its words are good.
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
from importlib import import_module

import click

from pagebook import __version__
from pagebook.errors import PagebookError

OK, NOT_MAPPED, BAD_CALL, INTERRUPTED, BROKEN_PIPE = 0, 1, 2, 130, 141
CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 100}

VERBS = {
    "boot": ("machines", "Boot xv6's memory manager up to the shell, and tell the story."),
    "check": ("checking", "Find what is wrong in page tables."),
    "completion": ("completing", "Print what makes your shell complete pagebook's words."),
    "diff": ("differing", "Say what changed from OLD to NEW."),
    "draw": ("drawing", "Draw a figure: SVG, PNG or PDF."),
    "fault": ("accesses", "Explain a fault from what the panic printed."),
    "maps": ("machines", "List the mappings of TARGET, merged into runs and named."),
    "owners": ("owning", "Say whose each frame is, and who maps it."),
    "pte": ("accesses", "Take a page-table entry apart."),
    "quiz": ("accesses", "Ask what an access comes to, over a small random table."),
    "report": ("reporting", "Write TARGET as one file of HTML, as it is now."),
    "roots": ("rooting", "Search memory for the roots of page tables."),
    "rule": ("checking", 'Explain one rule of "check", or list all.'),
    "satp": ("accesses", "Take a satp value apart: mode, ASID, root table."),
    "serve": ("serving", "Show TARGET as a page in the browser."),
    "translate": ("batches", "Translate many addresses, a row for each."),
    "tree": ("machines", "Show the page tables themselves, level by level."),
    "walk": ("accesses", "Translate one virtual address, step by step."),
    "watch": ("differing", "Say what changes in TARGET as it happens."),
}
"""The module of each verb's words, and the first sentence of its help."""


def verb(name: str) -> click.Command:
    """The verb of a name in VERBS."""
    found: click.Command = getattr(import_module(f"pagebook.cli.{VERBS[name][0]}"), name)
    return found


class Verbs(click.Group):
    """The verbs; the help of all of them is known without importing any."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Their names."""
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The verb of a name, imported; None when there is none."""
        return verb(cmd_name) if cmd_name in VERBS else None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """A line for each."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, what) for name, (_, what) in VERBS.items()])


@click.group(cls=Verbs, context_settings=CONTEXT)
@click.version_option(__version__, prog_name="pagebook")
def cli() -> None:
    """RISC-V virtual memory: build page tables as xv6 builds them, list them, walk them.

    A TARGET is a machine: "xv6", the default, boots the model of xv6's memory manager in this process; "qemu" is the
    guest that runs in QEMU now, "qemu:PID" one of several; anything else is a file: a dump, an ELF core, a raw image
    with its address (FILE@0x80000000), or what "boot --save" wrote. "rules" is a machine with an address space for each
    rule of the MMU, where it is broken.

    \b
    pagebook boot                 boot xv6's memory manager, and tell the story
    pagebook maps                 every mapping of every address space
    pagebook tree --space init    the page tables themselves
    pagebook walk 0x80000000      one address, level by level
    pagebook walk 0x2ff8 --space sh --access store    which rule decides an access
    pagebook owners 0x87f56000    whose a frame is, and who maps it
    pagebook roots m.core         where page tables start, when nothing is known
    pagebook diff old.core new.core    what changed
    pagebook watch qemu           the same, as it happens
    pagebook draw memory          a figure of it: SVG, PNG or PDF
    pagebook translate 0 0x1000   many addresses, a row out for each
    pagebook fault --scause 15 --stval 0 --sepc 8     a panic's numbers, explained
    pagebook check                what is wrong; "rule PB101" tells about a rule
    pagebook pte 0x21fdd0c7       a PTE taken apart; satp does so with satp
    pagebook serve                all of it as a page in the browser
    pagebook report               all of it as one file of HTML, for a bug report
    pagebook completion bash      what makes your shell complete these words
    pagebook quiz                 a table, an access, and a question
    pagebook boot --save m.core   keep the machine; then: pagebook maps m.core

    Exit status: 0; 1 when the address is not mapped, the access faults or nothing was found; 2 when the call or the
    target is bad; 130 after Ctrl-C, 141 when the reader of a pipe closes it before the end.
    """


def shown(text: str) -> str:
    """``text`` on one line and without what a terminal obeys: names come from strangers' files."""
    return text if text.isprintable() else text.encode("unicode_escape").decode()


def main() -> None:
    """The console script: run, and turn every refusal into one plain sentence and an exit status."""
    if sys.stdout is None:  # closed by the caller
        sys.stdout = io.StringIO()
    elif isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        status = cli.main(prog_name="pagebook", standalone_mode=False)
        sys.stdout.flush()
    except click.ClickException as error:
        error.show()
        status = error.exit_code
    except (click.Abort, KeyboardInterrupt):
        status = _refuse("interrupted", INTERRUPTED)
    except PagebookError as error:
        status = _refuse(str(error))
    except MemoryError:
        status = _refuse("this computer has not enough memory for that")
    except BrokenPipeError:  # the reader has seen enough
        _forget_output()
        status = BROKEN_PIPE
    except SystemExit as error:  # 1 is what click makes of a broken pipe, 0 of words for a shell
        status = error.code if isinstance(error.code, int) and error.code != 1 else BROKEN_PIPE
        if status:
            _forget_output()
    except OSError as error:
        _forget_output()
        status = _refuse(f"the system refused: {error.strerror or error}")
    sys.exit(status)


def _refuse(why: str, status: int = BAD_CALL) -> int:
    click.echo(f"pagebook: {shown(why)}", err=True)
    return status


def _forget_output() -> None:
    """Let what standard output still holds go nowhere, lest the interpreter try to write it again as it ends."""
    from pathlib import Path  # whose import takes as long as click's types

    with contextlib.suppress(OSError), Path(os.devnull).open("w") as nowhere:
        os.dup2(nowhere.fileno(), sys.stdout.fileno())
