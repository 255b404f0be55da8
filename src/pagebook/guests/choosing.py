"""Which guest it is: by what the user says, then by the kernel's symbols, then by the satp of its harts.

What reads each kind is imported when there is one: it takes longer than the model's boot.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from pagebook.errors import BadTarget
from pagebook.source import Reading, Source

LINUX = "swapper_pg_dir"
ONLY_HARTS = "only the tables of the harts are shown"


@dataclass(frozen=True)
class GuestOptions:
    """What the user says of a guest: its kernel's ELF file, values of satp, roots as (address, format's name).

    ``offsets`` are where fields stand, for a kernel without debugging information.
    """

    kernel: str | None = None
    satps: tuple[int, ...] = ()
    roots: tuple[tuple[int, str], ...] = ()
    offsets: Mapping[str, int] = field(default_factory=dict)


def read_guest(
    source: Source, options: GuestOptions, progress: Callable[[int], None] | None = None, restless: int = 0
) -> Reading:
    """What runs in ``source``; BadTarget, with the remedies, when nothing says where its tables are.

    ``progress`` is called with the bytes just searched, where all of memory is.  ``restless`` frames at the start of
    each free list are read before all else, so that they are what they were when the list began.
    """
    from pagebook.guests import bare, linux, xv6
    from pagebook.guests.kernelfile import kernel_in

    if options.satps or options.roots:
        return Reading(bare.read(source, options.satps, options.roots), ())
    path = options.kernel or source.kernel
    if path is None:
        return _without_a_kernel(source, progress)
    kernel = kernel_in(path, source.memory)
    if xv6.recognised(kernel.symbols) or options.offsets:
        return xv6.read(source, kernel, options.offsets, restless)
    if LINUX in kernel.symbols:
        return Reading(linux.read(source, path), ())
    known = "it has no symbols" if not kernel.symbols else f"it has neither kernel_pagetable nor {LINUX}"
    remark = f"{path} is no kernel that pagebook knows: {known}"
    if all(hart.satp is None for hart in source.harts):
        raise BadTarget(f"{remark}; name the kernel as it was linked, with its symbols, or {bare.REMEDY}")
    return Reading(bare.read(source), (f"{remark}; {ONLY_HARTS}",))


def _without_a_kernel(source: Source, progress: Callable[[int], None] | None) -> Reading:
    """Linux, which tells of itself in its memory; anything else by its harts alone."""
    from pagebook.guests import bare, linux

    if linux.recognise(source.memory, progress) is not None:
        return Reading(linux.read(source), ())
    try:
        found = bare.read(source)
    except BadTarget as error:
        raise BadTarget(f"{source.no_kernel}; without it: {error}") if source.no_kernel else error from None
    return Reading(found, (f"{source.no_kernel}; {ONLY_HARTS}",) if source.no_kernel else ())
