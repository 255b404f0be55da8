"""kernel/main.c and what follows it: from an empty machine to init and a shell, each waiting at its first prompt."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping

from pagebook.errors import BadTarget, PagebookError, Panic
from pagebook.machine import Area, Hart, Machine, Pool, Space, Spaces
from pagebook.memory import Memory
from pagebook.units import PAGE_SIZE, size_text
from pagebook.xv6 import programs
from pagebook.xv6.exec import exec as exec_
from pagebook.xv6.kalloc import kinit
from pagebook.xv6.kernel import Kernel, Proc, State
from pagebook.xv6.memlayout import (
    KERNBASE,
    KSTACK,
    NPROC,
    PGROUNDUP,
    REVISIONS,
    TRAMPOLINE,
    TRAPFRAME,
    USERSTACK,
    Device,
    Layout,
    Revision,
)
from pagebook.xv6.proc import fork, procinit, userinit, wait
from pagebook.xv6.sysfile import sys_exec
from pagebook.xv6.virtio_disk import virtio_disk_init
from pagebook.xv6.vm import kvminit, kvminithart

USUAL = "2024"


def power_on(
    rev: str | None = None,
    *,
    ram: int = 128 << 20,
    kernel: programs.KernelImage | None = None,
    init: bytes | None = None,
    sh: bytes | None = None,
    nproc: int = NPROC,
    userstack: int = USERSTACK,
    devices: tuple[Device, ...] | None = None,
    strict: bool = False,
    progress: Callable[[int], None] | None = None,
) -> Kernel:
    """A machine with the kernel loaded and nothing run yet.

    ``ram`` is in bytes; ``kernel`` gives linker symbols and fills the kernel's part of RAM; ``rev`` is by default its
    own, else 2024; ``init`` and ``sh`` are ELF files, those of the package when None. BadTarget for an unknown
    revision, BadAddress for sizes that cannot be.
    """
    own = kernel.revision if kernel else None
    revision = _revision(own or USUAL if rev is None else rev)
    _check_ram(ram)
    layout = Layout.of(revision, ram, kernel.symbols if kernel else None, nproc, userstack, devices)
    memory = Memory.anonymous(ram, KERNBASE).with_devices(range(d.base, d.base + d.size) for d in layout.devices)
    k = Kernel(memory, revision, layout, strict, progress=progress)
    if kernel:
        k.symbols = dict(kernel.symbols)
        for pa, data in kernel.pieces:
            memory.write(pa, data)
    k.files = {
        "init": programs.INIT if init is None else init,
        "sh": programs.SH if sh is None else sh,
    }
    return k


def _check_ram(ram: int) -> None:
    """BadTarget when kinit, which writes every byte, would need more memory than this computer has."""
    if ram <= 0 or ram % PAGE_SIZE:
        raise BadTarget(f"RAM of {ram} bytes is not a whole number of {PAGE_SIZE}-byte pages; the usual size is 128M")
    try:
        installed = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except ValueError:  # a system that does not say
        return
    if ram > installed:
        raise BadTarget(
            f"the model would fill {size_text(ram)} of RAM, and this computer has {installed >> 20}M; ask for less"
        )


def _revision(rev: str) -> Revision:
    try:
        return REVISIONS[rev]
    except KeyError:
        raise BadTarget(f"there is no revision {rev!r}; known are {', '.join(REVISIONS)}") from None


def main(k: Kernel) -> None:
    """kernel/main.c, the calls that touch memory, in its order."""
    k.tell(
        "main",
        f"{size_text(k.layout.physstop - KERNBASE)} of RAM at {KERNBASE:#x}, the kernel in it up to {k.layout.end:#x}",
    )
    kinit(k)
    kvminit(k)
    kvminithart(k)
    procinit(k)
    virtio_disk_init(k)
    userinit(k)


def start_init(k: Kernel) -> None:
    """The first process becomes /init: by the system call in initcode, or since 2025 by forkret."""
    k.current = k.initproc
    why = "/init cannot be run: it is no ELF file that xv6 can load, or memory is too small for it"
    if k.revision.initcode:
        if sys_exec(k, "/init", ["/init"]) == -1:
            raise Panic("init exiting", f"{why}; initcode then calls exit")
    elif exec_(k, "/init", ["/init"]) == -1:
        raise Panic("exec", why)


def start_sh(k: Kernel) -> None:
    """init forks, the child becomes sh, and init waits for it."""
    pid = fork(k)
    if pid < 0:
        raise PagebookError("init: fork failed: no frame or no process slot is left for a shell")
    k.current = next(p for p in k.proc if p.pid == pid)
    if sys_exec(k, "sh", ["sh"]) < 0:
        raise PagebookError("init: exec sh failed: it is no ELF file that xv6 can load, or memory is too small for it")
    k.current = k.initproc
    wait(k, 0)


def start_program(k: Kernel, name: str, program: bytes) -> None:
    """The shell forks, and the child becomes the program, an ELF file."""
    k.files[name] = program
    k.current = sh = next(p for p in k.proc if p.name == "sh")
    pid = fork(k)
    if pid < 0:
        raise PagebookError(f"sh: fork failed: no frame or no process slot is left for {name}")
    k.current = next(p for p in k.proc if p.pid == pid)
    if sys_exec(k, name, [name]) < 0:
        raise PagebookError(
            f"sh: exec {name} failed: it is no ELF file that xv6 can load, or memory is too small for it"
        )
    k.current = sh
    wait(k, 0)


def boot(
    rev: str | None = None,
    *,
    program: tuple[str, bytes] | None = None,
    powered: Callable[[Kernel], object] | None = None,
    **options: object,
) -> Kernel:
    """Boot to the shell's prompt, or to the start of ``program``, a name and an ELF file; the rest as `power_on`.

    ``powered`` is called with the machine before anything runs in it.
    """
    k = power_on(rev, **options)  # type: ignore[arg-type]
    if powered:
        powered(k)
    main(k)
    start_init(k)
    start_sh(k)
    if program:
        start_program(k, *program)
    return k


def machine(k: Kernel) -> Machine:
    """The kernel as a Machine: its memory, its address spaces, and the names of what is in them."""
    layout = k.layout
    spaces = [Space("kernel", k.table(k.kernel_pagetable), tuple(_kernel_areas(k)))] if k.kernel_pagetable else []
    spaces += [
        Space(
            _space_name(k, p),
            k.table(p.pagetable),
            tuple(_user_areas(p)),
            p.pid,
            p.sz,
            _user_symbols(k, p),
            p.state.value,
        )
        for p in k.proc
        if p.state is not State.UNUSED and p.pagetable
    ]
    frames = [Area(KERNBASE, PGROUNDUP(layout.end) - KERNBASE, "kernel image")]
    frames += [Area(frame, PAGE_SIZE, "disk queue") for frame in k.disk or ()]
    symbols = {"etext": layout.etext, "end": layout.end, "trampoline": layout.trampoline, **k.symbols}
    return Machine(
        name=f"xv6 ({k.revision.name})",
        memory=k.memory,
        spaces=Spaces(spaces),
        harts=(Hart(0, k.satp),),
        symbols=symbols,
        areas=tuple(frames),
        pools=(Pool("kmem.freelist", k.kmem.head),),
        free_range=(k.kmem.start, k.kmem.stop),
        guest="xv6",
    )


def _space_name(k: Kernel, p: Proc) -> str:
    """The process's name, with its number when another process has the same one."""
    name = p.name or "process"
    same = [q for q in k.proc if q.state is not State.UNUSED and (q.name or "process") == name]
    return name if len(same) == 1 and name != "kernel" else f"{name}.{p.pid}"


def _kernel_areas(k: Kernel) -> list[Area]:
    layout = k.layout
    areas = [Area(device.base, device.size, device.name) for device in layout.devices]
    areas += [
        Area(KERNBASE, layout.etext - KERNBASE, "kernel text"),
        Area(layout.etext, layout.physstop - layout.etext, "kernel data and RAM"),
        Area(TRAMPOLINE, PAGE_SIZE, "trampoline"),
    ]
    return areas + [Area(KSTACK(p.index), PAGE_SIZE, _stack_name(p)) for p in k.proc]


def _stack_name(p: Proc) -> str:
    return f"stack of slot {p.index}, unused" if p.state is State.UNUSED else f"stack of process {p.pid}"


def _user_symbols(k: Kernel, p: Proc) -> Mapping[str, int]:
    """The symbols of the program that a process has become."""
    return programs.ProgramSymbols(k.files[p.name]) if p.image and p.name in k.files else {}


def _user_areas(p: Proc) -> list[Area]:
    end = PGROUNDUP(p.sz)
    areas = [Area(start, min(size, end - start), name) for start, size, name in p.image if start < end]
    top = areas[-1].end if areas else 0
    if end > top:
        areas.append(Area(top, end - top, "heap"))
    return [*areas, Area(TRAPFRAME, PAGE_SIZE, "trapframe"), Area(TRAMPOLINE, PAGE_SIZE, "trampoline")]
