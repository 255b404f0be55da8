"""The verb draw; the figures, with all their options, are made when one is asked for."""

from __future__ import annotations

import click


class Figures(click.Group):
    """A group of the commands in `figures`, which is loaded late: it would take a fifth of what --help takes."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names of the figures."""
        from pagebook.cli.figures import figures

        return figures.list_commands(ctx)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The figure of this name."""
        from pagebook.cli.figures import figures

        return figures.get_command(ctx, cmd_name)


@click.group(cls=Figures)
def draw() -> None:
    """Draw a figure: SVG, PNG or PDF.

    As SVG on standard output, or as the file that -o names.

    Nothing in a figure is made up: it shows what "owners", "maps", "tree", "walk" and "pte" say of the same target. Its
    size is bounded, whatever the size of the machine. Parts differ by pattern and by words, not by colour alone.

    Every figure takes --theme light, dark or print, and -o FILE.svg, FILE.png or FILE.pdf; the last two need
    "pip install 'pagebook[figures]'". Exit status 0 when a figure was drawn, be it of a fault.

    \b
    pagebook draw memory > memory.svg
    pagebook draw directories 0x3fffffe000 m.core --space sh -o walk.pdf
    pagebook draw walk 0x2ff8 --space sh --access store --theme print -o fault.png
    pagebook draw pte 0x21fdd0c7
    """
