"""The words a user types for a machine, turned into a Machine.  The only room that knows every way in.

A `Target` can be looked at again and again: what is running has moved by then, all else is as it was.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, fields, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from weakref import WeakSet

from pagebook.errors import BadTarget
from pagebook.examples import rules_machine
from pagebook.guests.choosing import GuestOptions, read_guest
from pagebook.machine import Machine
from pagebook.source import Reading, Source
from pagebook.units import page_up
from pagebook.xv6 import boot as xv6
from pagebook.xv6.kernel import Kernel
from pagebook.xv6.memlayout import NPROC
from pagebook.xv6.programs import KernelImage, read_kernel, read_program

if TYPE_CHECKING:
    from pagebook.sources.mapped import Mapped

MODEL = "xv6"
EXAMPLES = "rules"
RUNNING = "qemu"
PAUSE = 0.02  # seconds between two looks at what moves
RESTLESS = 256  # frames at the start of a free list that come and go within a look
LOOKS = 8  # at most, for one in which the free lists are whole
BROKEN = 3  # further looks at tables that may be broken by themselves
MOVED = (
    "processes came and went every time their tables were read, so what is told of one may be of what came after it; "
    "ask again, or stop the guest for it with --freeze"
)
TORN = (
    "the free list moved every time it was read, so some free frames count as unknown; ask again, or stop the guest "
    "for it with --freeze"
)

Progress = Callable[[int], None]
Powered = Callable[[Kernel], object]


@dataclass(frozen=True)
class ModelOptions:
    """How to boot the model: paths of ELF files or None for the package's own, the revision, sizes in bytes.

    ``rev`` is None for that of the kernel's file, or 2024 without one.
    """

    rev: str | None = None
    kernel: str | None = None
    init: str | None = None
    sh: str | None = None
    program: str | None = None
    ram: int = 128 << 20
    nproc: int = NPROC


@dataclass(frozen=True)
class Target:
    """A machine that can be looked at: each `look` is the machine as it is then.

    ``live`` when it moves by itself; `frozen` is then a block in which it does not.  ``remarks`` are sentences for the
    user, added to by every look; ``paused`` has the one that says why the guest stood still at the last look, if it did
    and it was not we who stopped it.  ``careful`` is a look that takes more time, to have free lists whole.  ``whole``
    raises BadFile when what earlier looks gave must be read no more.  ``boot`` boots the model afresh; what it is given
    is called with the machine before anything runs in it.  ``runs`` is what a guest runs, as one that is started again
    does: its kernel's file where that is known.
    """

    name: str
    look: Callable[[], Machine]
    live: bool = False
    frozen: Callable[[], AbstractContextManager[None]] = nullcontext
    remarks: list[str] = field(default_factory=list)
    paused: list[str] = field(default_factory=list)
    careful: Callable[[], Machine] | None = None
    whole: Callable[[], object] = lambda: None
    boot: Callable[[Powered], Kernel] | None = None
    runs: str = ""

    def settled(self) -> Machine:
        """A look in which the free lists are whole, for questions about all frames; with a remark if there is none.

        A list that is read while frames are taken from it ends in the middle, or leads astray; what it held then seems
        nobody's.  It is whole when it ends at the lowest frame, which is freed first and taken last, or where it ended
        in the look before.
        """
        look = self.careful or self.look
        found = look()
        if not self.live or self.paused:
            return found
        best, most = found, -1
        ends: list[tuple[int, int | None]] | None = None
        for _ in range(LOOKS):
            found = replace(found, chains=tuple(found.free_lists()))
            lowest = page_up(found.free_range[0]) if found.free_range else 0
            before, ends = ends, [chain.end for chain in found.free_lists()]
            if ends == before or all(end in ((0, None), (lowest, None)) for end in ends):
                return found
            free = sum(len(chain.frames) for chain in found.free_lists())
            if free > most:
                best, most = found, free  # the others are let go of: each may hold a copy of all memory
            time.sleep(PAUSE)
            found = look()
        if TORN not in self.remarks:
            self.remarks.append(TORN)
        return best


class Files(NamedTuple):
    """The files that the model is booted with, as they were read; None for the package's own."""

    kernel: KernelImage | None
    init: bytes | None
    sh: bytes | None
    program: tuple[str, bytes] | None


def read_files(options: ModelOptions) -> Files:
    """The files that ``options`` name; BadFile where one cannot be read."""
    return Files(
        read_kernel(options.kernel) if options.kernel is not None else None,
        read_program(options.init) if options.init is not None else None,
        read_program(options.sh) if options.sh is not None else None,
        _named_program(options.program) if options.program is not None else None,
    )


def boot_model(
    options: ModelOptions,
    progress: Progress | None = None,
    powered: Powered | None = None,
    files: Files | None = None,
    strict: bool = False,
) -> Kernel:
    """Boot the model to its shell's prompt; BadFile, BadTarget, BadAddress or Panic when it cannot be.

    ``progress`` is called with the bytes of RAM just filled, ``powered`` with the machine before anything runs in it.
    ``files`` are those of the options, where they were read before.  With ``strict`` a call that fails in the middle
    leaves what the C code leaves.
    """
    return xv6.boot(
        options.rev,
        ram=options.ram,
        nproc=options.nproc,
        **(files or read_files(options))._asdict(),
        progress=progress,
        powered=powered,
        strict=strict,
    )


def other_year(options: ModelOptions) -> Iterator[str]:
    """That the model follows another revision than the kernel's file does, where it was told to."""
    if options.kernel is not None and options.rev is not None:
        own = read_kernel(options.kernel).revision
        if own not in (None, options.rev):
            yield (
                f"{options.kernel} follows the rules of {own}, and --rev {options.rev} has the model follow others; "
                "leave out --rev for the kernel's own"
            )


def _named_program(path: str) -> tuple[str, bytes]:
    """The program, and what xv6 calls it: the file's name without the underscore of xv6's build."""
    return Path(path).name.removeprefix("_") or "program", read_program(path)


def open_target(target: str, options: ModelOptions | None = None, progress: Progress | None = None) -> Machine:
    """One look at the machine that ``target`` names; as `opened`."""
    with opened(target, options, progress=progress) as found:
        return found.look()


@contextmanager
def opened(
    target: str,
    options: ModelOptions | None = None,
    guest: GuestOptions | None = None,
    progress: Progress | None = None,
) -> Iterator[Target]:
    """The machine that ``target`` names, until the block ends.

    ``xv6`` boots the model and ``rules`` makes the machine of the examples; ``qemu``, ``qemu:PID`` and ``qmp:PATH`` are
    running guests; anything else is a file.  ``options`` but their kernel are for the model only, ``guest`` is for what
    is not; BadTarget when they come with another target.
    """
    options, guest = options or ModelOptions(), guest or GuestOptions()
    if target == MODEL:
        if guest != GuestOptions():
            raise BadTarget(
                "--satp, --root and --offsets say how to read a guest; the model knows where its tables are"
            )
        files = read_files(options)
        model = xv6.machine(boot_model(options, progress, files=files))

        def again(powered: Powered) -> Kernel:
            return boot_model(options, powered=powered, files=files, strict=True)

        yield Target(model.name, lambda: model, remarks=list(other_year(options)), boot=again)
        return
    _only_the_kernel(target, options)
    if target == EXAMPLES:
        yield Target(EXAMPLES, rules_machine)
        return
    with opened_source(target, progress) as found:
        guest = GuestOptions(options.kernel, guest.satps, guest.roots, guest.offsets)
        yield _as_machine(target, found, guest, progress)


def _only_the_kernel(target: str, options: ModelOptions) -> None:
    usual = ModelOptions()
    given = [one.name for one in fields(options) if getattr(options, one.name) != getattr(usual, one.name)]
    shaping = [f"--{name}" for name in given if name != "kernel"]
    if shaping:
        raise BadTarget(
            f"{', '.join(shaping)} would shape the model; {target!r} is as it is: leave out {target!r} to ask the model"
        )


class Outside(NamedTuple):
    """Bytes that are not ours: how to look at them, whether they move, how to stop that; what runs there, if known."""

    look: Callable[[], Source | Machine]
    live: bool = False
    frozen: Callable[[], AbstractContextManager[None]] = nullcontext
    runs: str = ""


def _as_machine(name: str, outside: Outside, guest: GuestOptions, progress: Progress | None) -> Target:
    look, live = outside.look, outside.live
    remarks: list[str] = []
    paused: list[str] = []

    def steady(source: Source, restless: int = 0) -> tuple[Machine, tuple[str, ...]]:
        """What is read of it, or of later looks, until nothing moved meanwhile that leads to tables."""
        reading = _read(source, guest, progress, restless)
        for attempt in range(1, LOOKS):
            if not reading.moved and (not reading.broken or attempt > BROKEN):
                break
            time.sleep(PAUSE)
            later = look()
            assert isinstance(later, Source)
            reading = _read(later, guest, progress, restless)
        return reading.machine, (*reading.remarks, *((MOVED,) if reading.moved else ()))

    def machine(restless: int = 0) -> Machine:
        found = look()
        if isinstance(found, Source):
            remarks[:] = [one for one in remarks if one not in paused]
            paused[:] = [found.paused] if found.paused else []
            found, said = steady(found, restless)
            if live and not paused and set(said) - set(remarks):  # it moved while it was read: what is so is so again
                time.sleep(PAUSE)
                again = look()
                assert isinstance(again, Source)
                said = tuple(one for one in said if one in steady(again)[1])
            remarks.extend(one for one in (*said, *paused) if one not in remarks)
        elif guest != GuestOptions():
            raise BadTarget(
                f"{name!r} was saved by pagebook and says itself where its tables are; leave out the options"
            )
        return found

    if live:
        careful = partial(machine, RESTLESS)
        return Target(name, machine, live, outside.frozen, remarks, paused, careful, runs=outside.runs)
    return Target(name, machine, remarks=remarks, whole=look)


def _read(source: Source, guest: GuestOptions, progress: Progress | None, restless: int = 0) -> Reading:
    """What runs there, and all that is to be said of it."""
    found = read_guest(source, guest, progress, restless)
    return found._replace(remarks=source.remarks + found.remarks)


@contextmanager
def opened_source(target: str, progress: Progress | None = None) -> Iterator[Outside]:
    """The bytes that ``target`` names: how to look at them, whether they move, and how to stop that."""
    if target.partition(":")[0] in (RUNNING, "qmp") and not os.access(target, os.F_OK):
        from pagebook.sources.qemu import Qemu

        qemu = Qemu.find(target)
        try:
            yield Outside(qemu.look, True, qemu.frozen, qemu.runs)
        finally:
            qemu.close()
        return
    from pagebook.sources.files import open_file

    if not os.access(target, os.F_OK) and "@" not in target:
        raise BadTarget(
            f"there is no file {target!r}; a target is {MODEL!r}, the model booted afresh, {RUNNING!r}, a guest that "
            f"runs in QEMU now, {EXAMPLES!r}, the machine of the examples, or a file: a dump, a raw image with its "
            "address (FILE@0x80000000), or what 'pagebook boot --save FILE' wrote"
        )
    held: WeakSet[Mapped] = WeakSet()
    found = open_file(target, progress, held)

    def look() -> Source | Machine:
        for file in held:
            file.whole()
        return found

    yield Outside(look)


@contextmanager
def source_of(target: str, progress: Progress | None = None) -> Iterator[Source]:
    """The bytes of ``target`` before anyone has said what runs there; those of a whole machine when it is one."""
    if target in (MODEL, EXAMPLES):
        machine = open_target(target, None, progress)
        yield Source(machine.name, machine.memory, machine.harts)
        return
    with opened_source(target, progress) as outside:
        found = outside.look()
        yield Source(found.name, found.memory, found.harts) if isinstance(found, Machine) else found
