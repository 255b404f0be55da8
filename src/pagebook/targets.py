"""The words a user types for a machine, turned into a Machine.  The only room that knows every way in."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pagebook.errors import BadTarget
from pagebook.examples import rules_machine
from pagebook.machine import Machine
from pagebook.sources.elfcore import read_core
from pagebook.xv6 import boot as xv6
from pagebook.xv6.kernel import Kernel
from pagebook.xv6.memlayout import NPROC
from pagebook.xv6.programs import read_kernel, read_program

MODEL = "xv6"
EXAMPLES = "rules"


@dataclass(frozen=True)
class ModelOptions:
    """How to boot the model: paths of ELF files or None for the package's own, the revision, sizes in bytes."""

    rev: str = "2024"
    kernel: str | None = None
    init: str | None = None
    sh: str | None = None
    program: str | None = None
    ram: int = 128 << 20
    nproc: int = NPROC


def boot_model(options: ModelOptions, progress: Callable[[int], None] | None = None) -> Kernel:
    """Boot the model to its shell's prompt; BadFile, BadTarget, BadAddress or Panic when it cannot be.

    ``progress`` is called with the bytes of RAM just filled.
    """
    return xv6.boot(
        options.rev,
        ram=options.ram,
        nproc=options.nproc,
        kernel=read_kernel(options.kernel) if options.kernel is not None else None,
        init=read_program(options.init) if options.init is not None else None,
        sh=read_program(options.sh) if options.sh is not None else None,
        program=_named_program(options.program) if options.program is not None else None,
        progress=progress,
    )


def _named_program(path: str) -> tuple[str, bytes]:
    """The program, and what xv6 calls it: the file's name without the underscore of xv6's build."""
    return Path(path).name.removeprefix("_") or "program", read_program(path)


def open_target(
    target: str, options: ModelOptions | None = None, progress: Callable[[int], None] | None = None
) -> Machine:
    """The machine that ``target`` names: ``xv6`` boots the model, ``rules`` makes that of the examples, anything else
    is a file saved before.

    ``options`` are for the model only; BadTarget when they come with another target.
    """
    if target == MODEL:
        return xv6.machine(boot_model(options or ModelOptions(), progress))
    if options not in (None, ModelOptions()):
        raise BadTarget(
            f"--rev, --kernel, --init, --sh, --program, --ram and --nproc shape the model; {target!r} is as it is"
        )
    if target == EXAMPLES:
        return rules_machine()
    if not os.access(target, os.F_OK):
        raise BadTarget(
            f"there is no file {target!r}; a target is {MODEL!r}, the model booted afresh, {EXAMPLES!r}, the machine "
            "of the examples, or a file that 'pagebook boot --save FILE' wrote"
        )
    return read_core(target)
