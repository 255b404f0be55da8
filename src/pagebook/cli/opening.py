"""How every verb opens its target: with a progress bar where that takes more than a second."""

from __future__ import annotations

from typing import Any

from pagebook.cli.output import bar
from pagebook.machine import Machine
from pagebook.targets import ModelOptions, open_target
from pagebook.units import size_text

Model = dict[str, Any]
"""The options of the model, as the command line has them."""


def open_machine(target: str, model: Model) -> Machine:
    """The machine that ``target`` names."""
    with bar(f"booting with {size_text(model['ram'])}", model["ram"]) as progress:
        return open_target(target, ModelOptions(**model), progress)
