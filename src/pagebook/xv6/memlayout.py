"""kernel/memlayout.h, riscv.h and param.h: where things stand, and what the revisions do differently.

Constants keep their C names.  What a course or a port may change is data: a `Layout` is one kernel's addresses
and limits, a `Revision` one row of what the years changed in the code.
"""

from __future__ import annotations

from dataclasses import dataclass

from pagebook.errors import BadAddress
from pagebook.units import PAGE_MASK, PAGE_SIZE

PGSIZE = PAGE_SIZE
MAXVA = 1 << 9 + 9 + 9 + 12 - 1
KERNBASE = 0x8000_0000
UART0 = 0x1000_0000
VIRTIO0 = 0x1000_1000
PLIC = 0x0C00_0000
TRAMPOLINE = MAXVA - PGSIZE
TRAPFRAME = TRAMPOLINE - PGSIZE
NPROC = 64
MAXARG = 32
MAXPATH = 128
USERSTACK = 1


def PGROUNDUP(sz: int) -> int:
    """The first page boundary at or above ``sz``."""
    return sz + PAGE_MASK & ~PAGE_MASK


def PGROUNDDOWN(a: int) -> int:
    """The last page boundary at or below ``a``."""
    return a & ~PAGE_MASK


def KSTACK(p: int) -> int:
    """Virtual address of the kernel stack of process slot ``p``; the page below each is never mapped."""
    return TRAMPOLINE - (p + 1) * 2 * PGSIZE


@dataclass(frozen=True)
class Device:
    """A device's registers, identity-mapped by kvmmake."""

    name: str
    base: int
    size: int


@dataclass(frozen=True)
class Revision:
    """What one year's xv6 does that another's does not.

    ``mappages_aligned``: it panics where older code rounds.  ``copyout``: what it asks of the page it writes:
    ``"user"`` (V and U), ``"writable"`` (V, U and W) or ``"lazy"`` (faults the page in, then W).  ``holes``: uvmunmap
    and uvmcopy pass over pages that are absent.  ``lazy``: sbrk may grow without memory and vmfault brings it.
    ``initcode``: the first process starts from a page of machine code that calls exec, not from forkret.  The
    addresses are those of this revision's kernel as Debian 12's cross compiler builds it.
    """

    name: str
    commit: str
    plic_bytes: int
    mappages_aligned: bool
    copyout: str
    holes: bool
    lazy: bool
    initcode: bool
    etext: int
    end: int
    trampoline: int


REVISIONS = {
    revision.name: revision
    for revision in (
        Revision(
            "2022", "f5b93ef", 0x40_0000, mappages_aligned=False, copyout="user", holes=False, lazy=False,
            initcode=True, etext=0x8000_8000, end=0x8002_1D60, trampoline=0x8000_7000,
        ),
        Revision(
            "2024", "de247db5e638", 0x400_0000, mappages_aligned=True, copyout="writable", holes=False, lazy=False,
            initcode=True, etext=0x8000_7000, end=0x8002_0C60, trampoline=0x8000_6000,
        ),
        Revision(
            "2025", "5474d4bf72fd", 0x400_0000, mappages_aligned=True, copyout="lazy", holes=True, lazy=True,
            initcode=False, etext=0x8000_7000, end=0x8002_0B88, trampoline=0x8000_6000,
        ),
    )
}  # fmt: skip


@dataclass(frozen=True)
class Layout:
    """One kernel's addresses and limits: linker symbols, top of RAM, table sizes, devices in kvmmake's order."""

    etext: int
    end: int
    trampoline: int
    physstop: int
    devices: tuple[Device, ...]
    nproc: int = NPROC
    userstack: int = USERSTACK

    def __post_init__(self) -> None:
        if not KERNBASE < self.etext <= self.end < self.physstop or self.physstop & PAGE_MASK:
            raise BadAddress(
                f"a kernel needs {KERNBASE:#x} < etext <= end < PHYSTOP, and PHYSTOP page-aligned; "
                f"these are etext {self.etext:#x}, end {self.end:#x}, PHYSTOP {self.physstop:#x}"
            )
        if self.etext & PAGE_MASK or self.trampoline & PAGE_MASK or not KERNBASE <= self.trampoline < self.etext:
            raise BadAddress(
                f"etext {self.etext:#x} and trampoline {self.trampoline:#x} must be page-aligned, "
                "the trampoline in the kernel's text"
            )
        if not 1 <= self.nproc <= 32768:
            raise BadAddress(f"NPROC is {self.nproc}; it must be from 1 to 32768, two pages of address space each")
        if not 1 <= self.userstack <= 4096:
            raise BadAddress(f"USERSTACK is {self.userstack} pages; it must be from 1 to 4096")

    @classmethod
    def of(
        cls,
        revision: Revision,
        ram: int = 128 << 20,
        symbols: dict[str, int] | None = None,
        nproc: int = NPROC,
        userstack: int = USERSTACK,
        devices: tuple[Device, ...] | None = None,
    ) -> Layout:
        """The layout of ``revision`` with ``ram`` bytes at KERNBASE, its linker symbols or a real kernel's."""
        known = symbols or {}
        return cls(
            etext=known.get("etext", revision.etext),
            end=known.get("end", revision.end),
            trampoline=known.get("trampoline", revision.trampoline),
            physstop=KERNBASE + ram,
            devices=standard_devices(revision) if devices is None else devices,
            nproc=nproc,
            userstack=userstack,
        )


def standard_devices(revision: Revision) -> tuple[Device, ...]:
    """QEMU's virt board as kvmmake maps it: UART0, the virtio disk, the PLIC."""
    return (
        Device("uart0", UART0, PGSIZE),
        Device("virtio0", VIRTIO0, PGSIZE),
        Device("PLIC", PLIC, revision.plic_bytes),
    )
