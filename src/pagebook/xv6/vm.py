"""kernel/vm.c: the kernel's page table, walk and mappages, user memory, and copying to and from it.

The functions do what their C namesakes do, on the same frames in the same order, but ranges are written by slices
and pages by arrays.  Each ends in `Panic` where the C code panics, with the same words, and then the facts.

When a range operation cannot be done, the C code leaves what it had done so far.  With ``k.strict`` so do these;
without it they look first, and then nothing has changed.
"""

from __future__ import annotations

from bisect import bisect_left
from enum import Enum
from typing import NoReturn

import numpy as np
import numpy.typing as npt

from pagebook.errors import (
    AlreadyMapped,
    BadAddress,
    BadFrame,
    NotATable,
    NotMapped,
    OutOfFrames,
    PagebookError,
    Panic,
)
from pagebook.memory import U64
from pagebook.sv import FLAGS, SV39, R, U, V, W, X, flags_text
from pagebook.units import PAGE_MASK, PAGE_SHIFT, size_text
from pagebook.xv6.kalloc import kalloc, kfree
from pagebook.xv6.kernel import Kernel
from pagebook.xv6.memlayout import KERNBASE, KSTACK, MAXVA, PGROUNDDOWN, PGROUNDUP, PGSIZE, TRAMPOLINE

PageArray = npt.NDArray[np.uint64]
_UINT64 = 1 << 64


class Fill(Enum):
    """What a new page holds before it is mapped."""

    JUNK = "what kalloc left there"
    ZEROS = "zeros"


def panic(reason: str, error: PagebookError) -> NoReturn:
    """Panic with xv6's words and the facts of ``error``."""
    raise Panic(
        reason, str(error), va=error.va, pa=error.pa, level=error.level, pte=error.pte, pte_pa=error.pte_pa
    ) from error


def _panic_walk(va: int) -> NoReturn:
    raise Panic("walk", f"va {va:#x} is not below MAXVA {MAXVA:#x}", va=va)


def kvmmake(k: Kernel) -> int:
    """Make the kernel's direct-map page table; its root."""
    layout = k.layout
    kpgtbl = kalloc(k)
    if not kpgtbl:
        raise Panic("kvmmake", "no frame is left for the root; the C code would write through a null pointer here")
    k.memory.write(kpgtbl, bytes(PGSIZE))
    k.tell("kvmmake", f"a frame for the root of the kernel's page table: {kpgtbl:#x}, zeroed")
    for device in layout.devices:
        kvmmap(k, kpgtbl, device.base, device.base, device.size, R | W)
        k.tell("kvmmap", _mapped(f"the registers of {device.name}", device.base, device.base, device.size, R | W))
    text, data = layout.etext - KERNBASE, layout.physstop - layout.etext
    kvmmap(k, kpgtbl, KERNBASE, KERNBASE, text, R | X)
    k.tell("kvmmap", _mapped("the kernel's text, which nobody may write", KERNBASE, KERNBASE, text, R | X))
    kvmmap(k, kpgtbl, layout.etext, layout.etext, data, R | W)
    k.tell(
        "kvmmap",
        _mapped("the kernel's data and all of RAM above it", layout.etext, layout.etext, data, R | W),
    )
    kvmmap(k, kpgtbl, TRAMPOLINE, layout.trampoline, PGSIZE, R | X)
    k.tell(
        "kvmmap",
        _mapped("the trampoline, once more, at the top", TRAMPOLINE, layout.trampoline, PGSIZE, R | X),
    )
    proc_mapstacks(k, kpgtbl)
    return kpgtbl


def _mapped(what: str, va: int, pa: int, size: int, perm: int) -> str:
    return f"{what}: {va:#x} -> {pa:#x}, {size_text(size)}, {flags_text(perm, 'rwxu')}"


def proc_mapstacks(k: Kernel, kpgtbl: int) -> None:
    """A frame for each process's kernel stack, mapped high, an unmapped guard page under each (kernel/proc.c)."""
    vas = U64(KSTACK(0)) - np.arange(len(k.proc), dtype=U64) * U64(2 * PGSIZE)
    done = _populate(k, kpgtbl, vas, np.full(len(vas), R | W, dtype=U64), Fill.JUNK)
    for p in k.proc[done:]:  # the one that could not be mapped, once more, to panic as the C code does
        pa = kalloc(k)
        if pa == 0:
            raise Panic("kalloc", f"no frame is left for the kernel stack of process slot {p.index}")
        kvmmap(k, kpgtbl, KSTACK(p.index), pa, PGSIZE, R | W)
    k.tell(
        "proc_mapstacks",
        f"{len(k.proc)} kernel stacks, a page each, from {KSTACK(0):#x} down to {KSTACK(len(k.proc) - 1):#x}; "
        "the page below each stays unmapped, so that an overflow faults",
    )


def kvminit(k: Kernel) -> None:
    """Make the one kernel page table."""
    k.kernel_pagetable = kvmmake(k)


def kvminithart(k: Kernel) -> None:
    """Put the kernel's page table into satp, which turns paging on."""
    k.satp = SV39.satp(k.kernel_pagetable)
    k.tell("kvminithart", f"satp = {k.satp:#x}: mode {SV39.name}, root {k.kernel_pagetable:#x}; paging is on")


def walk(k: Kernel, pagetable: int, va: int, alloc: int) -> int:
    """The address of the last-level PTE for ``va``, tables made on the way when ``alloc`` is set; 0 when there is none.

    The C code never asks whether a PTE above the last level is a leaf; where a superpage stands, it would read data as
    a table, and this raises NotATable.
    """
    if not 0 <= va < MAXVA:
        _panic_walk(va)
    return k.table(pagetable).pte_address(va, bool(alloc)) or 0


def walkaddr(k: Kernel, pagetable: int, va: int) -> int:
    """The physical address of the user page that ``va`` is in, 0 when there is none."""
    if not 0 <= va < MAXVA:
        return 0
    pte_pa = walk(k, pagetable, va, 0)
    if pte_pa == 0:
        return 0
    pte = k.memory.read64(pte_pa)
    if not pte & V or not pte & U:
        return 0
    return SV39.pte_pa(pte)


def kvmmap(k: Kernel, kpgtbl: int, va: int, pa: int, sz: int, perm: int) -> None:
    """Add a mapping to the kernel's page table; only used when booting."""
    if mappages(k, kpgtbl, va, sz, pa, perm) != 0:
        raise Panic("kvmmap", f"out of frames while mapping {va:#x}, {sz:#x} bytes", va=va)


def mappages(k: Kernel, pagetable: int, va: int, size: int, pa: int, perm: int) -> int:
    """Map [va, va + size) to the physical memory from ``pa``; 0, or -1 when a table could not be allocated."""
    if (va | size) & PAGE_MASK and k.revision.mappages_aligned:
        if va & PAGE_MASK:
            raise Panic("mappages: va not aligned", f"va {va:#x}", va=va)
        raise Panic("mappages: size not aligned", f"size {size:#x} at va {va:#x}", va=va)
    if size == 0:
        raise Panic("mappages: size", f"nothing to map at va {va:#x}", va=va)
    if size < 0 or not 0 <= pa < 1 << 56 or perm & ~FLAGS:
        raise BadAddress(
            f"mappages of {size:#x} bytes to pa {pa:#x} with perm {perm:#x}: no such mapping", va=va, pa=pa
        )
    first, last = PGROUNDDOWN(va), PGROUNDDOWN(va + size - 1)
    below = min(last + PGSIZE, MAXVA)  # the loop in C would map this far before walk panics
    if first < 0 or first >= MAXVA or (last >= MAXVA and not k.strict):
        _panic_walk(va if first < 0 or first >= MAXVA else MAXVA)
    try:
        k.table(pagetable).map_pages(first, below - first, PGROUNDDOWN(pa), perm, strict=k.strict)
    except OutOfFrames:
        return -1
    except AlreadyMapped as error:
        panic("mappages: remap", error)
    if last >= MAXVA:
        _panic_walk(MAXVA)
    return 0


def uvmunmap(k: Kernel, pagetable: int, va: int, npages: int, do_free: int) -> None:
    """Remove ``npages`` mappings from ``va`` on, and free their frames when ``do_free`` is not 0."""
    if va % PGSIZE:
        raise Panic("uvmunmap: not aligned", f"va {va:#x}", va=va)
    end = (va + npages * PGSIZE) % _UINT64
    if end <= va:
        return
    if not 0 <= va < MAXVA or (end > MAXVA and not k.strict):
        _panic_walk(va if va < 0 or va >= MAXVA else MAXVA)
    try:
        k.table(pagetable).unmap(va, min(end, MAXVA) - va, free=bool(do_free), holes=k.revision.holes, strict=k.strict)
    except NotMapped as error:
        panic("uvmunmap: walk" if error.level else "uvmunmap: not mapped", error)
    except NotATable as error:
        panic("uvmunmap: not a leaf", error)
    except BadFrame as error:
        panic("kfree", error)
    if end > MAXVA:
        _panic_walk(MAXVA)


def uvmcreate(k: Kernel) -> int:
    """An empty user page table; 0 when there is no frame for it."""
    pagetable = kalloc(k)
    if pagetable:
        k.memory.write(pagetable, bytes(PGSIZE))
    return pagetable


def uvmfirst(k: Kernel, pagetable: int, src: bytes) -> None:
    """Put the first process's code, less than a page, at address 0."""
    if len(src) >= PGSIZE:
        raise Panic("uvmfirst: more than a page", f"{len(src)} bytes of initcode")
    mem = kalloc(k)
    if not mem:
        raise Panic("uvmfirst", "no frame is left; the C code would write through a null pointer here")
    k.memory.write(mem, bytes(PGSIZE))
    mappages(k, pagetable, 0, PGSIZE, mem, W | R | X | U)
    k.memory.write(mem, src)


def uvmalloc(k: Kernel, pagetable: int, oldsz: int, newsz: int, xperm: int) -> int:
    """Grow user memory from ``oldsz`` to ``newsz`` with zeroed pages; the new size, or 0 when frames ran out."""
    if newsz < oldsz:
        return oldsz
    start = PGROUNDUP(oldsz)
    if start >= newsz:
        return newsz
    count = PGROUNDUP(newsz) - start >> PAGE_SHIFT
    # One frame more than there is, or one page too high, is as far as the loop can come.
    reachable = min(count, k.kmem.count + 1, max(MAXVA - start, 0) + PGSIZE >> PAGE_SHIFT)
    vas = _pages_from(start, reachable)
    if not k.strict:
        if reachable > k.kmem.count:
            return 0
        if reachable < count:
            _panic_walk(max(start, MAXVA))
        if not _fits(k, pagetable, vas):
            return 0
    done = _populate(k, pagetable, vas, np.full(reachable, R | U | xperm, dtype=U64), Fill.ZEROS)
    if done < count:
        uvmdealloc(k, pagetable, start + done * PGSIZE, start)
        return 0
    return newsz


def _pages_from(va: int, count: int) -> PageArray:
    return np.arange(count, dtype=U64) * U64(PGSIZE) + U64(va)


def _fits(k: Kernel, pagetable: int, vas: PageArray) -> bool:
    """Whether there are frames for all these pages and the tables over them; panics when one is mapped already."""
    if not len(vas):
        return True
    table = k.table(pagetable)
    first, last = int(vas[0]), int(vas[-1])
    clash = np.intersect1d(table.present(first, last + PGSIZE - first)[0], vas)
    if len(clash):
        va = int(clash[0])
        panic("mappages: remap", table.already_mapped(va, *table.find(va)))
    needed = len(vas) + table.missing_tables(vas)
    # A list that is damaged, by a frame freed twice, says no where the C code would go on: so does this.
    return k.kmem.has(needed) or k.kmem.count >= needed


def _populate(k: Kernel, pagetable: int, vas: PageArray, perms: PageArray, fill: Fill | PageArray) -> int:
    """The loops of uvmalloc, uvmcopy and proc_mapstacks: a frame a page, filled and mapped, in the C code's order.

    A frame is zeroed, left as kalloc left it, or copied from its page in the array ``fill``.  Returns how many pages
    were mapped before frames ran out.  The first of neighbouring pages of one last-level table goes through mappages,
    which makes the tables after it took the page's frame; the others of that table follow as one slice.
    """
    table = k.table(pagetable)
    groups = vas >> U64(SV39.steps[-2][1])
    stops = [*(np.flatnonzero(groups[1:] != groups[:-1]) + 1).tolist(), len(vas)]
    done = 0
    while done < len(vas):
        va = int(vas[done])
        mem = kalloc(k)
        if not mem:
            return done
        if fill is not Fill.JUNK:
            k.memory.write(mem, bytes(PGSIZE) if fill is Fill.ZEROS else k.memory.read(int(fill[done]), PGSIZE))
        if mappages(k, pagetable, va, PGSIZE, mem, int(perms[done])) != 0:
            kfree(k, mem)
            return done
        done += 1
        stop = stops[bisect_left(stops, done)]
        if stop == done:
            continue
        index = vas[done:stop] >> U64(PAGE_SHIFT) & U64(SV39.index_mask)
        ptes = table.ptes(PGROUNDDOWN(walk(k, pagetable, va, 0)), SV39.entries)
        taken = np.flatnonzero(ptes[index] & U64(V))
        wanted = int(taken[0]) if len(taken) else stop - done
        frames = k.kmem.alloc_many(wanted)
        got = len(frames)
        if fill is not Fill.JUNK:
            k.memory.scatter(frames, 0 if fill is Fill.ZEROS else k.memory.gather(fill[done : done + got])[0])
        ptes[index[:got]] = frames >> U64(PAGE_SHIFT) << U64(10) | perms[done : done + got] | U64(V)
        done += got
        if got < wanted:
            return done
    return done


def uvmdealloc(k: Kernel, pagetable: int, oldsz: int, newsz: int) -> int:
    """Shrink user memory from ``oldsz`` to ``newsz``; the new size."""
    if newsz >= oldsz:
        return oldsz
    if PGROUNDUP(newsz) < PGROUNDUP(oldsz):
        uvmunmap(k, pagetable, PGROUNDUP(newsz), PGROUNDUP(oldsz) - PGROUNDUP(newsz) >> PAGE_SHIFT, 1)
    return newsz


def freewalk(k: Kernel, pagetable: int) -> None:
    """Free the tables of a page table from which every leaf has been removed."""
    try:
        k.table(pagetable).free_tree(strict=k.strict)
    except NotATable as error:
        panic("freewalk: leaf", error)
    except BadFrame as error:
        panic("kfree", error)


def uvmfree(k: Kernel, pagetable: int, sz: int) -> None:
    """Free user memory, then the tables."""
    if sz > 0:
        uvmunmap(k, pagetable, 0, PGROUNDUP(sz) >> PAGE_SHIFT, 1)
    freewalk(k, pagetable)


def uvmcopy(k: Kernel, old: int, new: int, sz: int) -> int:
    """Copy a parent's memory, ``sz`` bytes from 0, into a child's page table; 0, or -1 with everything freed."""
    if sz <= 0:
        return 0
    top = min(PGROUNDUP(sz), MAXVA)
    vas, ptes = k.table(old).present(0, top)
    missing = None if sz <= MAXVA else MAXVA
    if not k.revision.holes and len(vas) < top >> PAGE_SHIFT:
        gaps = np.flatnonzero(vas != _pages_from(0, len(vas)))
        good = int(gaps[0]) if len(gaps) else len(vas)
        missing = good * PGSIZE
        vas, ptes = vas[:good], ptes[:good]
    if not k.strict and missing is not None:
        _panic_missing(k, old, missing)
    if not k.strict and not _fits(k, new, vas):
        return -1
    sources = (ptes >> U64(10) & U64(SV39.ppn_mask)) << U64(PAGE_SHIFT)
    done = _populate(k, new, vas, ptes & U64(FLAGS), sources)
    if done < len(vas):
        uvmunmap(k, new, 0, int(vas[done]) >> PAGE_SHIFT, 1)
        return -1
    if missing is not None:
        _panic_missing(k, old, missing)
    return 0


def _panic_missing(k: Kernel, old: int, va: int) -> NoReturn:
    if va >= MAXVA:
        _panic_walk(va)
    level, pte_pa, pte = k.table(old).entry(va)
    reason = "uvmcopy: pte should exist" if level else "uvmcopy: page not present"
    raise Panic(reason, f"va {va:#x}: PTE {pte:#x} at {pte_pa:#x}", va=va, level=level, pte=pte, pte_pa=pte_pa)


def uvmclear(k: Kernel, pagetable: int, va: int) -> None:
    """Take U away from a page: exec's stack guard."""
    pte_pa = walk(k, pagetable, va, 0)
    if pte_pa == 0:
        raise Panic("uvmclear", f"no table for va {va:#x}", va=va)
    k.memory.write64(pte_pa, k.memory.read64(pte_pa) & ~U)


def copyout(k: Kernel, pagetable: int, dstva: int, src: bytes) -> int:
    """Copy ``src`` to user address ``dstva``; 0, or -1 at the first page that may not be written."""
    done = 0
    while done < len(src):
        va0 = PGROUNDDOWN(dstva)
        pa0 = _writable(k, pagetable, va0)
        if pa0 == 0:
            return -1
        n = min(PGSIZE - (dstva - va0), len(src) - done)
        k.memory.write(pa0 + (dstva - va0), src[done : done + n])
        done += n
        dstva = va0 + PGSIZE
    return 0


def _writable(k: Kernel, pagetable: int, va0: int) -> int:
    """The frame that copyout may write for the page at ``va0``, as this revision decides it; 0 when it may not."""
    pa0 = walkaddr(k, pagetable, va0)
    if k.revision.copyout == "user":
        return pa0
    if pa0 == 0 and k.revision.copyout == "lazy" and 0 <= va0 < MAXVA:
        pa0 = vmfault(k, pagetable, va0, 0)
    return pa0 if pa0 and k.memory.read64(walk(k, pagetable, va0, 0)) & W else 0


def copyin(k: Kernel, pagetable: int, dst: bytearray, srcva: int, length: int) -> int:
    """Append ``length`` bytes from user address ``srcva`` to ``dst``; 0, or -1 at the first page that is missing."""
    while length > 0:
        va0 = PGROUNDDOWN(srcva)
        pa0 = walkaddr(k, pagetable, va0)
        if pa0 == 0 and k.revision.copyout == "lazy":
            pa0 = vmfault(k, pagetable, va0, 0)
        if pa0 == 0:
            return -1
        n = min(PGSIZE - (srcva - va0), length)
        dst += k.memory.read(pa0 + (srcva - va0), n)
        length -= n
        srcva = va0 + PGSIZE
    return 0


def copyinstr(k: Kernel, pagetable: int, dst: bytearray, srcva: int, max: int) -> int:
    """Append a string from user address ``srcva``, its NUL included, to ``dst``; -1 when it is longer than ``max``."""
    while max > 0:
        va0 = PGROUNDDOWN(srcva)
        pa0 = walkaddr(k, pagetable, va0)
        if pa0 == 0:
            return -1
        n = min(PGSIZE - (srcva - va0), max)
        piece, nul, _ = k.memory.read(pa0 + (srcva - va0), n).partition(b"\0")
        dst += piece + nul
        if nul:
            return 0
        max -= n
        srcva = va0 + PGSIZE
    return -1


def ismapped(k: Kernel, pagetable: int, va: int) -> int:
    """1 when a valid PTE stands for ``va``, else 0 (2025)."""
    pte_pa = walk(k, pagetable, va, 0)
    return k.memory.read64(pte_pa) & V if pte_pa else 0


def vmfault(k: Kernel, pagetable: int, va: int, read: int) -> int:
    """Give the current process the page of ``va`` that a lazy sbrk promised; its frame, or 0 (2025)."""
    p = k.myproc()
    if not 0 <= va < p.sz:
        return 0
    va = PGROUNDDOWN(va)
    if ismapped(k, pagetable, va):
        return 0
    mem = kalloc(k)
    if mem == 0:
        return 0
    k.memory.write(mem, bytes(PGSIZE))
    if mappages(k, p.pagetable, va, PGSIZE, mem, W | U | R) != 0:
        kfree(k, mem)
        return 0
    return mem
