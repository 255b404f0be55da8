"""kernel/exec.c: replace a process's memory by a program's."""

from __future__ import annotations

import struct
from typing import NamedTuple

from pagebook.errors import Panic
from pagebook.sv import W, X
from pagebook.xv6.kernel import Kernel
from pagebook.xv6.memlayout import MAXARG, PGROUNDUP, PGSIZE
from pagebook.xv6.proc import A1, EPC, SP, proc_freepagetable, proc_pagetable
from pagebook.xv6.vm import copyout, uvmalloc, uvmclear, walkaddr

ELF_MAGIC = 0x464C457F
ELF_PROG_LOAD = 1
_ELF_HEADER = struct.Struct("<I12xHHIQQQIHHHHHH")
_PROGRAM_HEADER = struct.Struct("<IIQQQQQQ")


class _Proghdr(NamedTuple):
    type: int
    flags: int
    off: int
    vaddr: int
    paddr: int
    filesz: int
    memsz: int
    align: int


def flags2perm(flags: int) -> int:
    """PTE bits for a segment's flags: bit 0 is X, bit 1 is W; R and U come with every user page."""
    return (X if flags & 1 else 0) | (W if flags & 2 else 0)


def exec(k: Kernel, path: str, argv: list[str]) -> int:
    """Run the program at ``path`` in the current process; argc, or -1 with the process as it was.

    Like the C code it checks little of the file, and fills a gap between segments with the later one's rights.
    """
    p = k.myproc()
    image = k.files.get(path.strip("/"))
    if image is None:
        return -1
    header = image[: _ELF_HEADER.size]
    if len(header) < _ELF_HEADER.size or int.from_bytes(header[:4], "little") != ELF_MAGIC:
        return -1
    pagetable = proc_pagetable(k, p)
    if pagetable == 0:
        return -1
    named: list[tuple[int, int, str]] = []
    sz, loaded = _load(k, pagetable, image, named)
    if not loaded:
        proc_freepagetable(k, pagetable, sz)
        return -1
    return _start(k, path, argv, pagetable, sz, _ELF_HEADER.unpack(header)[4], named)


def _load(k: Kernel, pagetable: int, image: bytes, named: list[tuple[int, int, str]]) -> tuple[int, bool]:
    """Load every segment, noting its name; the size reached, and whether all went well."""
    fields = _ELF_HEADER.unpack_from(image)
    phoff, phnum = fields[5], fields[10]
    sz = 0
    for number in range(phnum):
        at = (phoff + number * _PROGRAM_HEADER.size) & 0xFFFF_FFFF  # `int off` in C, given to a uint
        if at + _PROGRAM_HEADER.size > len(image):
            return sz, False
        ph = _Proghdr(*_PROGRAM_HEADER.unpack_from(image, at))
        if ph.type != ELF_PROG_LOAD:
            continue
        if ph.memsz < ph.filesz or ph.vaddr + ph.memsz >= 1 << 64 or ph.vaddr % PGSIZE:
            return sz, False
        grown = uvmalloc(k, pagetable, sz, ph.vaddr + ph.memsz, flags2perm(ph.flags))
        if grown == 0:
            return sz, False
        sz = grown
        if loadseg(k, pagetable, ph.vaddr, image, ph.off & 0xFFFF_FFFF, ph.filesz & 0xFFFF_FFFF) < 0:
            return sz, False
        name = "text" if ph.flags & 1 else "data" if ph.flags & 2 else "constants"
        named.append((ph.vaddr, PGROUNDUP(ph.vaddr + ph.memsz) - ph.vaddr, name))
    return sz, True


def loadseg(k: Kernel, pagetable: int, va: int, image: bytes, offset: int, sz: int) -> int:
    """Copy ``sz`` bytes of the file into pages that are mapped already; 0, or -1 when the file ends before."""
    for i in range(0, sz, PGSIZE):
        pa = walkaddr(k, pagetable, va + i)
        if pa == 0:
            raise Panic("loadseg: address should exist", f"va {va + i:#x}", va=va + i)
        n = min(sz - i, PGSIZE)
        piece = image[offset + i : offset + i + n]
        k.memory.write(pa, piece)
        if len(piece) != n:
            return -1
    return 0


def _start(
    k: Kernel,
    path: str,
    argv: list[str],
    pagetable: int,
    sz: int,
    entry: int,
    named: list[tuple[int, int, str]],
) -> int:
    """Give the new image a stack with its arguments, and make it the process's; frees the image that loses."""
    p = k.myproc()
    oldsz = p.sz
    stack = (k.layout.userstack + 1) * PGSIZE
    sz = PGROUNDUP(sz)
    top = uvmalloc(k, pagetable, sz, sz + stack, W)
    if top == 0:
        proc_freepagetable(k, pagetable, sz)
        return -1
    uvmclear(k, pagetable, top - stack)
    sp = _push_arguments(k, pagetable, argv, top, top - stack + PGSIZE)
    if sp == 0:
        proc_freepagetable(k, pagetable, top)
        return -1
    oldpagetable, oldname = p.pagetable, p.name
    k.memory.write64(p.trapframe + A1, sp)
    p.name = path.rsplit("/", 1)[-1][:15]
    p.image = (*named, (top - stack, PGSIZE, "guard page"), (top - stack + PGSIZE, stack - PGSIZE, "stack"))
    p.pagetable = pagetable
    p.sz = top
    k.memory.write64(p.trapframe + EPC, entry)
    k.memory.write64(p.trapframe + SP, sp)
    proc_freepagetable(k, oldpagetable, oldsz)
    k.tell(
        "exec",
        f"process {p.pid} ({oldname or 'no name yet'}) becomes {p.name}: a new page table, root {pagetable:#x}, with "
        f"its segments, a guard page and a stack, {top:#x} bytes in all; only then are the old image's frames freed",
    )
    return len(argv)


def _push_arguments(k: Kernel, pagetable: int, argv: list[str], sp: int, stackbase: int) -> int:
    """Put the argument strings and argv[] on the stack; the stack pointer, or 0 when they do not fit."""
    if len(argv) >= MAXARG:
        # The C code pushes the first MAXARG before it gives up, into a stack that is then freed.
        return 0
    ustack = []
    for argument in argv:
        text = argument.encode() + b"\0"
        sp -= len(text)
        sp -= sp % 16
        if sp < stackbase or copyout(k, pagetable, sp, text) < 0:
            return 0
        ustack.append(sp)
    ustack.append(0)
    sp -= len(ustack) * 8
    sp -= sp % 16
    if sp < stackbase or copyout(k, pagetable, sp, struct.pack(f"<{len(ustack)}Q", *ustack)) < 0:
        return 0
    return sp
