"""What scripts and notebooks ask with: the verbs of the command line as functions.

``import pagebook`` hands these out, and loads them when the first is used.  Each takes a Machine or a part of one, and
gives what the rooms below give; that shows itself in a notebook, and leaves as Arrow or as a data frame.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Literal, overload

from pagebook import targets
from pagebook.cases.reading import USUAL_SIZE
from pagebook.checks import looks
from pagebook.checks.looks import Report
from pagebook.checks.registry import choose
from pagebook.decode import PteMeaning, decode_pte
from pagebook.errors import BadTarget
from pagebook.explain import Explanation, explain, regime_of
from pagebook.guests.choosing import GuestOptions
from pagebook.ledger import Ledger
from pagebook.machine import Machine, Space
from pagebook.mmu import Extensions, Kind, Mmu
from pagebook.sv import FORMATS
from pagebook.table import AddressSpace
from pagebook.targets import MODEL, ModelOptions
from pagebook.views import facts, frames
from pagebook.views.frames import Owners
from pagebook.xv6.memlayout import NPROC

__all__ = ["boot", "check", "open", "owners", "pte", "walk"]

USUAL_HART = Extensions()
Access = Literal["load", "store", "fetch", "amo"]


def boot(
    rev: str | None = None,
    *,
    ram: int = 128 << 20,
    kernel: str | None = None,
    init: str | None = None,
    sh: str | None = None,
    program: str | None = None,
    nproc: int = NPROC,
) -> Machine:
    """The model, booted to its shell's prompt: ``pagebook boot``.  The rest as `targets.ModelOptions`.

    Who wants the kernel itself, to call its functions, takes `pagebook.xv6.boot.boot`.
    """
    return _look(MODEL, ModelOptions(rev, kernel, init, sh, program, ram, nproc), GuestOptions())


def open(
    target: str,
    *,
    kernel: str | None = None,
    satps: Sequence[int] = (),
    roots: Sequence[tuple[int, str]] = (),
) -> Machine:
    """One look at the machine that ``target`` names, as on the command line: a file, ``qemu``, ``xv6``, ``rules``.

    ``kernel`` is the guest's ELF file; ``satps``, or ``roots`` as pairs of an address and ``"sv39"``, say where tables
    start that nobody tells.  A guest that runs goes on, and this stays as it was found so far as it was read; take
    `targets.opened` to look again.  What is to be said about the look is a warning.  BadTarget, BadFile.
    """
    return _look(target, ModelOptions(kernel=kernel), GuestOptions(satps=tuple(satps), roots=tuple(roots)))


def _look(target: str, options: ModelOptions, guest: GuestOptions) -> Machine:
    with targets.opened(target, options, guest) as found:
        machine = found.settled()
    for remark in found.remarks:
        warnings.warn(remark, stacklevel=3)
    return machine


@overload
def walk(space: Space | AddressSpace, va: int) -> facts.Walk: ...


@overload
def walk(
    space: Space | AddressSpace,
    va: int,
    access: Access,
    *,
    size: int | None = None,
    priv: str | None = None,
    sum: bool = False,
    mxr: bool = False,
    extensions: Extensions = USUAL_HART,
) -> Explanation: ...


def walk(
    space: Space | AddressSpace,
    va: int,
    access: Access | None = None,
    *,
    size: int | None = None,
    priv: str | None = None,
    sum: bool = False,
    mxr: bool = False,
    extensions: Extensions = USUAL_HART,
) -> facts.Walk | Explanation:
    """One translation, or with ``access`` one access of ``size`` bytes and why it came to what it came to.

    ``priv`` is ``"U"``, ``"S"`` or ``"M"``: without one, user mode in a process.  BadAddress when ``va`` is not
    canonical, or a hart has no such access.
    """
    where = space if isinstance(space, Space) else Space(f"table {space.root:#x}", space)
    if access is None:
        return facts.walk(where, va)
    kind = Kind.__members__.get(access.upper())
    if kind is None:
        raise BadTarget(f"{access!r} is no access; there are {', '.join(one.name.lower() for one in Kind)}")
    regime = regime_of(where, priv, sum, mxr)
    return explain(Mmu(where.table.memory, extensions), where, regime, kind, va, size or USUAL_SIZE[kind])


def owners(machine: Machine, pa: int | None = None, size: int = 1) -> Owners:
    """Whose each frame is, or those that ``size`` bytes from ``pa`` touch, and who maps these.

    As the verb, a ``pa`` that is no address in RAM is a frame's number if it can be.  BadTarget when nothing is there.
    """
    return frames.owners(Ledger(machine), None if pa is None else (pa, pa + size))


def check(machine: Machine, select: Sequence[str] = (), ignore: Sequence[str] = ()) -> Report:
    """What is wrong in its tables and frames, by the rules that the words choose, as ``--select`` and ``--ignore`` do.

    One look, right for what stands still; for a guest that runs there is `checks.looks.confirm`.
    """
    return looks.check(machine, choose(select, ignore))


def pte(value: int, format: str = "sv39", extensions: Extensions = USUAL_HART) -> PteMeaning:
    """A PTE taken apart, read by that format; BadAddress when it is wider, BadTarget when there is no such format."""
    if format.lower() not in FORMATS:
        raise BadTarget(f"there is no format {format!r}; there are {', '.join(FORMATS)}")
    return decode_pte(value, FORMATS[format.lower()], extensions)
