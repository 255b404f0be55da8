"""The figures that draw can draw: of a machine, of an address or of a number, as SVG, PNG or PDF."""

from __future__ import annotations

import functools
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, Literal

import click

from pagebook.cli import OK
from pagebook.cli.words import (
    ADDRESS,
    KINDS,
    NUMBER,
    Command,
    access_options,
    hart_options,
    machine_options,
    target_argument,
)

if TYPE_CHECKING:
    from pagebook.views.svg.drawing import Drawing

FileKind = Literal["svg", "png", "pdf"]
SUFFIXES: dict[str, FileKind] = {".svg": "svg", ".png": "png", ".pdf": "pdf"}
USUAL_FORMAT = "sv39"

space_option = click.option(
    "--space", metavar="NAME", default="kernel", show_default=True, help="The address space, by name or pid."
)
format_option = click.option(
    "--format",
    "name",
    type=click.Choice(["sv32", "sv39", "sv48", "sv57"], case_sensitive=False),
    default=USUAL_FORMAT,
    show_default=True,
    help="How it is read.",
)


figures = click.Group("figures")


def figure_options(command: Command) -> Command:
    """The options of every figure; ``command`` gives the drawing."""

    @click.option(
        "--theme", type=click.Choice(["light", "dark", "print"]), default="light", show_default=True,
        help="print has no colours.",
    )  # fmt: skip
    @click.option("-o", "--output", "out", metavar="FILE", help="FILE.svg, FILE.png or FILE.pdf.")
    @functools.wraps(command)
    def written(*, theme: str, out: str | None, **rest: Any) -> int:  # noqa: ANN401
        kind = SUFFIXES.get(PurePath(out).suffix.lower()) if out is not None else "svg"
        if kind is None:
            raise click.BadParameter(f"{out!r} ends neither in .svg nor in .png nor in .pdf", param_hint="-o")
        _write(command(**rest), theme, out, kind)
        return OK

    return written


def _write(drawing: Drawing, theme: str, out: str | None, kind: FileKind) -> None:
    svg = drawing.svg(theme)
    if out is None:
        click.echo(svg, nl=False)
        return
    from pagebook.files import replacing
    from pagebook.views.svg.paper import convert

    made = svg.encode() if kind == "svg" else convert(svg, kind)
    with replacing(out) as file:
        file.write(made)


@figures.command()
@target_argument
@figure_options
@machine_options
def memory(target: str, **model: Any) -> Drawing:  # noqa: ANN401
    """Memory as a book: every frame, and whose it is.

    A cell is a frame, or several where RAM is too much or too mixed; frames that are all alike are one band. The
    legend counts every frame once.

    \b
    pagebook draw memory
    pagebook draw memory qemu -o now.png
    """
    from pagebook.cli.opening import open_machine
    from pagebook.ledger import Ledger
    from pagebook.views.svg import book

    return book.memory(Ledger(open_machine(target, model, settled=True)))


@figures.command("physical-address")
@click.argument("pa", type=ADDRESS, required=False)
@format_option
@figure_options
def physical_address(pa: int | None, name: str) -> Drawing:
    """A physical address: frame and offset.

    Without PA the format alone.

    \b
    pagebook draw physical-address 0x87f56abc
    pagebook draw physical-address --format sv32
    """
    from pagebook.sv import FORMATS
    from pagebook.views.svg import fields

    return fields.physical_address(pa, FORMATS[name.lower()])


@figures.command("virtual-address")
@click.argument("va", type=ADDRESS, required=False)
@format_option
@figure_options
def virtual_address(va: int | None, name: str) -> Drawing:
    """A virtual address: indices and offset.

    Without VA the format alone.

    \b
    pagebook draw virtual-address 0x3fffffe000
    pagebook draw virtual-address --format sv57
    """
    from pagebook.sv import FORMATS
    from pagebook.views.svg import fields

    return fields.virtual_address(va, FORMATS[name.lower()])


@figures.command()
@click.argument("value", metavar="[PTE]", type=NUMBER, required=False)
@format_option
@hart_options
@figure_options
def pte(value: int | None, name: str, hart: dict[str, Any]) -> Drawing:
    """A page-table entry in bits, and what they mean.

    Without PTE the format alone.

    \b
    pagebook draw pte 0x21fdd0c7
    pagebook draw pte --format sv32
    """
    from pagebook.decode import decode_pte
    from pagebook.mmu import Extensions
    from pagebook.sv import FORMATS
    from pagebook.views.svg import fields

    format = FORMATS[name.lower()]
    return fields.pte_format(format) if value is None else fields.pte(decode_pte(value, format, Extensions(**hart)))


@figures.command()
@click.argument("va", type=ADDRESS)
@target_argument
@space_option
@access_options
@hart_options
@figure_options
@machine_options
def walk(
    va: int,
    target: str,
    space: str,
    access: dict[str, Any],
    hart: dict[str, Any],
    **model: Any,  # noqa: ANN401
) -> Drawing:
    """One access, step by step.

    The PTEs that it reads, and the bits that decide.

    The access is a load of one byte, unless --access and --size say otherwise.

    \b
    pagebook draw walk 0x80000000
    pagebook draw walk 0x2ff8 --space sh --access store
    """
    from pagebook.cases.reading import USUAL_SIZE
    from pagebook.cli.opening import open_machine
    from pagebook.explain import explain, regime_of
    from pagebook.mmu import Extensions, Kind, Mmu
    from pagebook.views.svg import steps

    machine = open_machine(target, model)
    one = machine.space(space)
    kind = Kind[(access["kind"] or "load").upper()]
    regime = regime_of(one, access["priv"], bool(access["sum"]), bool(access["mxr"]))
    mmu = Mmu(machine.memory, Extensions(**hart))
    return steps.walk(explain(mmu, one, regime, kind, va, access["size"] or USUAL_SIZE[kind]))


@figures.command("page-table")
@target_argument
@space_option
@click.option("--table", metavar="PA", type=ADDRESS, help="The table at this physical address; without, the root.")
@figure_options
@machine_options
def page_table(target: str, space: str, table: int | None, **model: Any) -> Drawing:  # noqa: ANN401
    """One page of a page table.

    Entries that are alike are one row: those that are empty, and leaves that map one page after the other.

    \b
    pagebook draw page-table --space sh
    pagebook draw page-table --space sh --table 0x87f3c000
    """
    from pagebook.cli.opening import open_machine
    from pagebook.views.svg import tables

    return tables.page_table(open_machine(target, model).space(space), table)


@figures.command()
@click.argument("va", type=ADDRESS)
@target_argument
@space_option
@figure_options
@machine_options
def directories(va: int, target: str, space: str, **model: Any) -> Drawing:  # noqa: ANN401
    """The walk of an address through the page directories.

    From the root to the page, with the index that each part of the address is, the PTE that stands there, and arrows.
    Rights are not asked for: "draw walk" does that.

    \b
    pagebook draw directories 0x3fffffe000 --space sh
    pagebook draw directories 0x80000000 m.core
    """
    from pagebook.cli.opening import open_machine
    from pagebook.views import facts
    from pagebook.views.svg import directories as figure

    return figure.directories(facts.walk(open_machine(target, model).space(space), va))


@figures.command()
@target_argument
@space_option
@figure_options
@machine_options
def layout(target: str, space: str, **model: Any) -> Drawing:  # noqa: ANN401
    """An address space beside physical memory.

    The regions with their rights, guard pages, gaps, and where each region is in physical memory. High addresses are at
    the top. Many runs of one kind are one region.

    \b
    pagebook draw layout --space sh
    pagebook draw layout m.core -o kernel.svg
    """
    from pagebook.cli.opening import open_machine
    from pagebook.views.svg import layout as figure

    machine = open_machine(target, model)
    return figure.layout(machine, machine.space(space))


@figures.command()
@click.argument("frame", metavar="FRAME", type=ADDRESS)
@target_argument
@figure_options
@machine_options
def page(frame: int, target: str, **model: Any) -> Drawing:  # noqa: ANN401
    """One page of memory, and whose it is.

    Its bytes, its owner, and every mapping that leads to it. FRAME is a physical address, or a frame number (the PPN
    of a PTE). Rows of bytes that are equal are one.

    \b
    pagebook draw page 0x87f3e000
    pagebook draw page 0x87f3e m.core
    """
    from pagebook.cli.opening import open_machine
    from pagebook.errors import OutsideMemory
    from pagebook.ledger import Ledger
    from pagebook.views import frames
    from pagebook.views.svg import page as figure

    found = frames.owners(Ledger(open_machine(target, model, settled=True)), (frame, frame + 1))
    if not found.runs:
        raise OutsideMemory(f"no RAM is at {frame:#x}, so there is no page to draw; 'pagebook owners' says who maps it")
    return figure.page(found)


@figures.command()
@target_argument
@click.option("--va", "vas", metavar="ADDRESS", type=ADDRESS, multiple=True, help="Access this; may be repeated.")
@click.option(
    "--access",
    "kind",
    type=KINDS,
    default="load",
    show_default=True,
    help="What is done at each.",
)
@space_option
@hart_options
@figure_options
@machine_options
def tlb(target: str, vas: tuple[int, ...], kind: str, space: str, hart: dict[str, Any], **model: Any) -> Drawing:  # noqa: ANN401
    """What a TLB would hold after some accesses.

    One hart accesses each --va in its turn, one byte at a time; without any, the start of the first runs of the space.

    \b
    pagebook draw tlb --space sh
    pagebook draw tlb --space sh --va 0 --va 0x10 --va 0x3000 --va 0x9000
    """
    from pagebook.cli.opening import open_machine
    from pagebook.mmu import Extensions, Kind, Mmu
    from pagebook.views.svg import cache

    machine = open_machine(target, model)
    return cache.tlb(Mmu(machine.memory, Extensions(**hart)), machine.space(space), Kind[kind.upper()], vas)
