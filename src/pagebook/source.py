"""What comes from outside before anyone has said what runs there: bytes, and what was found beside them.

A running QEMU and a dump both give a `Source`; a guest makes a `Machine` of it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from pagebook.machine import Hart, Machine
from pagebook.memory import Memory


@dataclass(frozen=True)
class Source:
    """Memory from outside.

    ``kernel`` is the path of the kernel's ELF file where it is known; ``no_kernel``, where one is named that cannot be
    read, says so and what to do.  ``live`` says that the bytes move while they are read.  ``remarks`` are sentences for
    the user: what does not fit.  ``paused``, where a guest was stopped by somebody else, says so and what lets it run.
    ``no_satp``, where the satp of the harts is not known, says why and how it could be, to whom that matters.
    ``again``, of bytes that move, gives the memory as it is then, by which it is seen what moved meanwhile.
    """

    name: str
    memory: Memory
    harts: tuple[Hart, ...] = ()
    kernel: str | None = None
    live: bool = False
    remarks: tuple[str, ...] = ()
    paused: str = ""
    no_satp: str = ""
    no_kernel: str = ""
    again: Callable[[], Memory] | None = None


class Reading(NamedTuple):
    """The machine that a guest made of a source, and sentences for the user about what does not fit or is not known.

    ``moved``: a process came, went or had another table before its tables were read; ``broken``: a table of a process
    has PTEs that no walk can use, as it has when its frame is used for something else by now, or is damaged.
    """

    machine: Machine
    remarks: tuple[str, ...]
    moved: bool = False
    broken: bool = False
