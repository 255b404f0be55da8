"""xv6's memory manager once more, a page and a word at a time: what the model is compared with.

It works on a bytearray and shares nothing with pagebook, neither code nor constants; every loop is one page long and
undoes nothing.  Slow and plain on purpose: each function can be read against the kernel's of the same name.
"""

from __future__ import annotations

from dataclasses import dataclass, field

PAGE = 4096
TOP = 1 << 38
TRAMPOLINE = TOP - PAGE
TRAPFRAME = TRAMPOLINE - PAGE
V, R, W, X, U = 1, 2, 4, 8, 16
WORD = 1 << 64


class Died(Exception):
    """The kernel panicked, with these words."""


def up(address: int) -> int:
    return (address + PAGE - 1) % WORD // PAGE * PAGE


def down(address: int) -> int:
    return address // PAGE * PAGE


def kernel_stack(slot: int) -> int:
    return TRAMPOLINE - 2 * PAGE * (slot + 1)


@dataclass(eq=False)
class Process:
    slot: int
    state: str = "unused"
    pid: int = 0
    name: str = ""
    sz: int = 0
    pagetable: int = 0
    trapframe: int = 0
    xstate: int = 0
    parent: Process | None = None


@dataclass(eq=False)
class ByPage:
    """The kernel of one year over ``ram``, which stands at ``base``; ``head`` is the first free frame."""

    year: int
    ram: bytearray
    end: int
    etext: int
    trampoline: int
    base: int = 0x8000_0000
    head: int = 0
    nproc: int = 8
    userstack: int = 1
    devices: tuple[tuple[int, int], ...] = ()
    files: dict[str, bytes] = field(default_factory=dict)
    proc: list[Process] = field(default_factory=list)
    current: Process | None = None
    init: Process | None = None
    nextpid: int = 1
    kernel_pagetable: int = 0
    disk: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        self.proc = self.proc or [Process(slot) for slot in range(self.nproc)]
        self.stop = self.base + len(self.ram)

    # Bytes.

    def word(self, pa: int) -> int:
        at = pa - self.base
        assert 0 <= at <= len(self.ram) - 8, f"{pa:#x} is not in RAM"
        return int.from_bytes(self.ram[at : at + 8], "little")

    def put(self, pa: int, value: int) -> None:
        at = pa - self.base
        assert 0 <= at <= len(self.ram) - 8, f"{pa:#x} is not in RAM"
        self.ram[at : at + 8] = value.to_bytes(8, "little")

    def get_bytes(self, pa: int, count: int) -> bytes:
        at = pa - self.base
        assert 0 <= at <= len(self.ram) - count, f"{pa:#x} is not in RAM"
        return bytes(self.ram[at : at + count])

    def put_bytes(self, pa: int, data: bytes) -> None:
        at = pa - self.base
        assert 0 <= at <= len(self.ram) - len(data), f"{pa:#x} is not in RAM"
        self.ram[at : at + len(data)] = data

    def fill(self, pa: int, byte: int) -> None:
        self.put_bytes(pa, bytes([byte]) * PAGE)

    # kalloc.c

    def kinit(self) -> None:
        page = up(self.end)
        while page + PAGE <= self.stop:
            self.kfree(page)
            page += PAGE

    def kfree(self, pa: int) -> None:
        if pa % PAGE or pa < self.end or pa >= self.stop:
            raise Died("kfree")
        self.fill(pa, 1)
        self.put(pa, self.head)
        self.head = pa

    def kalloc(self) -> int:
        frame = self.head
        if frame:
            self.head = self.word(frame)
            self.fill(frame, 5)
        return frame

    def free_frames(self) -> list[int]:
        frames = []
        at = self.head
        while at:
            frames.append(at)
            at = self.word(at)
        return frames

    # vm.c

    def walk(self, pagetable: int, va: int, alloc: bool) -> int:
        if va >= TOP:
            raise Died("walk")
        for shift in (30, 21):
            at = pagetable + (va >> shift & 511) * 8
            pte = self.word(at)
            if pte & V:
                pagetable = pte >> 10 << 12
                continue
            if not alloc:
                return 0
            pagetable = self.kalloc()
            if pagetable == 0:
                return 0
            self.fill(pagetable, 0)
            self.put(at, pagetable >> 12 << 10 | V)
        return pagetable + (va >> 12 & 511) * 8

    def walkaddr(self, pagetable: int, va: int) -> int:
        if va >= TOP:
            return 0
        at = self.walk(pagetable, va, False)
        pte = self.word(at) if at else 0
        return pte >> 10 << 12 if pte & V and pte & U else 0

    def kvmmap(self, pagetable: int, va: int, pa: int, size: int, perm: int) -> None:
        if self.mappages(pagetable, va, size, pa, perm) != 0:
            raise Died("kvmmap")

    def mappages(self, pagetable: int, va: int, size: int, pa: int, perm: int) -> int:
        if self.year >= 2024:
            if va % PAGE:
                raise Died("mappages: va not aligned")
            if size % PAGE:
                raise Died("mappages: size not aligned")
        if size == 0:
            raise Died("mappages: size")
        page, last = down(va), down((va + size - 1) % WORD)
        while True:
            at = self.walk(pagetable, page, True)
            if at == 0:
                return -1
            if self.word(at) & V:
                raise Died("mappages: remap")
            self.put(at, pa >> 12 << 10 | perm | V)
            if page == last:
                return 0
            page = (page + PAGE) % WORD
            pa += PAGE

    def uvmunmap(self, pagetable: int, va: int, npages: int, free: bool) -> None:
        if va % PAGE:
            raise Died("uvmunmap: not aligned")
        page, end = va, (va + npages * PAGE) % WORD
        while page < end:
            at = self.walk(pagetable, page, False)
            pte = self.word(at) if at else 0
            if self.year < 2025:
                if at == 0:
                    raise Died("uvmunmap: walk")
                if not pte & V:
                    raise Died("uvmunmap: not mapped")
                if pte & 0x3FF == V:
                    raise Died("uvmunmap: not a leaf")
            if pte & V:
                if free:
                    self.kfree(pte >> 10 << 12 & (1 << 56) - 1)
                self.put(at, 0)
            page = (page + PAGE) % WORD

    def uvmcreate(self) -> int:
        pagetable = self.kalloc()
        if pagetable:
            self.fill(pagetable, 0)
        return pagetable

    def uvmfirst(self, pagetable: int, code: bytes) -> None:
        if len(code) >= PAGE:
            raise Died("uvmfirst: more than a page")
        frame = self.kalloc()
        self.fill(frame, 0)
        self.mappages(pagetable, 0, PAGE, frame, R | W | X | U)
        self.put_bytes(frame, code)

    def uvmalloc(self, pagetable: int, oldsz: int, newsz: int, xperm: int) -> int:
        if newsz < oldsz:
            return oldsz
        oldsz = up(oldsz)
        page = oldsz
        while page < newsz:
            frame = self.kalloc()
            if frame == 0:
                self.uvmdealloc(pagetable, page, oldsz)
                return 0
            self.fill(frame, 0)
            if self.mappages(pagetable, page, PAGE, frame, R | U | xperm) != 0:
                self.kfree(frame)
                self.uvmdealloc(pagetable, page, oldsz)
                return 0
            page += PAGE
        return newsz

    def uvmdealloc(self, pagetable: int, oldsz: int, newsz: int) -> int:
        if newsz >= oldsz:
            return oldsz
        if up(newsz) < up(oldsz):
            self.uvmunmap(pagetable, up(newsz), (up(oldsz) - up(newsz)) // PAGE, True)
        return newsz

    def freewalk(self, pagetable: int) -> None:
        for index in range(512):
            pte = self.word(pagetable + index * 8)
            if pte & V and pte & (R | W | X):
                raise Died("freewalk: leaf")
            if pte & V:
                self.freewalk(pte >> 10 << 12)
                self.put(pagetable + index * 8, 0)
        self.kfree(pagetable)

    def uvmfree(self, pagetable: int, sz: int) -> None:
        if sz > 0:
            self.uvmunmap(pagetable, 0, up(sz) // PAGE, True)
        self.freewalk(pagetable)

    def uvmcopy(self, old: int, new: int, sz: int) -> int:
        for page in range(0, sz, PAGE):
            at = self.walk(old, page, False)
            pte = self.word(at) if at else 0
            if not pte & V:
                if self.year >= 2025:
                    continue
                raise Died("uvmcopy: page not present" if at else "uvmcopy: pte should exist")
            frame = self.kalloc()
            if frame:
                self.put_bytes(frame, self.get_bytes(pte >> 10 << 12, PAGE))
                if self.mappages(new, page, PAGE, frame, pte & 0x3FF) == 0:
                    continue
                self.kfree(frame)
            self.uvmunmap(new, 0, page // PAGE, True)
            return -1
        return 0

    def uvmclear(self, pagetable: int, va: int) -> None:
        at = self.walk(pagetable, va, False)
        if at == 0:
            raise Died("uvmclear")
        self.put(at, self.word(at) & ~U)

    def copyout(self, pagetable: int, va: int, data: bytes) -> int:
        while data:
            page = down(va)
            frame = self.walkaddr(pagetable, page)
            if self.year >= 2025 and frame == 0 and page < TOP:
                frame = self.vmfault(pagetable, page)
            if frame == 0:
                return -1
            if self.year >= 2024 and not self.word(self.walk(pagetable, page, False)) & W:
                return -1
            piece, data = data[: PAGE - va % PAGE], data[PAGE - va % PAGE :]
            self.put_bytes(frame + va % PAGE, piece)
            va = page + PAGE
        return 0

    def copyin(self, pagetable: int, va: int, length: int) -> tuple[int, bytes]:
        data = b""
        while len(data) < length:
            page = down(va)
            frame = self.walkaddr(pagetable, page)
            if self.year >= 2025 and frame == 0:
                frame = self.vmfault(pagetable, page)
            if frame == 0:
                return -1, data
            data += self.get_bytes(frame + va % PAGE, min(PAGE - va % PAGE, length - len(data)))
            va = page + PAGE
        return 0, data

    def copyinstr(self, pagetable: int, va: int, most: int) -> tuple[int, bytes]:
        data = b""
        while len(data) < most:
            frame = self.walkaddr(pagetable, down(va))
            if frame == 0:
                return -1, data
            byte = self.get_bytes(frame + va % PAGE, 1)
            data += byte
            if byte == b"\0":
                return 0, data
            va += 1
        return -1, data

    def ismapped(self, pagetable: int, va: int) -> int:
        at = self.walk(pagetable, va, False)
        return self.word(at) & V if at else 0

    def vmfault(self, pagetable: int, va: int) -> int:
        p = self.running()
        if va >= p.sz:
            return 0
        va = down(va)
        if self.ismapped(pagetable, va):
            return 0
        frame = self.kalloc()
        if frame == 0:
            return 0
        self.fill(frame, 0)
        if self.mappages(p.pagetable, va, PAGE, frame, R | W | U) != 0:
            self.kfree(frame)
            return 0
        return frame

    # proc.c

    def proc_mapstacks(self, root: int) -> None:
        for p in self.proc:
            stack = self.kalloc()
            if stack == 0:
                raise Died("kalloc")
            self.kvmmap(root, kernel_stack(p.slot), stack, PAGE, R | W)

    def running(self) -> Process:
        assert self.current is not None
        return self.current

    def allocproc(self) -> Process | None:
        for p in self.proc:
            if p.state == "unused":
                break
        else:
            return None
        p.pid = self.nextpid
        self.nextpid += 1
        p.state = "used"
        p.trapframe = self.kalloc()
        if p.trapframe:
            p.pagetable = self.proc_pagetable(p)
            if p.pagetable:
                return p
        self.freeproc(p)
        return None

    def freeproc(self, p: Process) -> None:
        if p.trapframe:
            self.kfree(p.trapframe)
        p.trapframe = 0
        if p.pagetable:
            self.proc_freepagetable(p.pagetable, p.sz)
        p.pagetable = p.sz = p.pid = p.xstate = 0
        p.parent = None
        p.name = ""
        p.state = "unused"

    def proc_pagetable(self, p: Process) -> int:
        pagetable = self.uvmcreate()
        if pagetable == 0:
            return 0
        if self.mappages(pagetable, TRAMPOLINE, PAGE, self.trampoline, R | X) < 0:
            self.uvmfree(pagetable, 0)
            return 0
        if self.mappages(pagetable, TRAPFRAME, PAGE, p.trapframe, R | W) < 0:
            self.uvmunmap(pagetable, TRAMPOLINE, 1, False)
            self.uvmfree(pagetable, 0)
            return 0
        return pagetable

    def proc_freepagetable(self, pagetable: int, sz: int) -> None:
        self.uvmunmap(pagetable, TRAMPOLINE, 1, False)
        self.uvmunmap(pagetable, TRAPFRAME, 1, False)
        self.uvmfree(pagetable, sz)

    def growproc(self, n: int) -> int:
        p = self.running()
        sz = p.sz
        if n > 0:
            if self.year >= 2025 and sz + n > TRAPFRAME:
                return -1
            sz = self.uvmalloc(p.pagetable, sz, sz + n, W)
            if sz == 0:
                return -1
        elif n < 0:
            sz = self.uvmdealloc(p.pagetable, sz, (sz + n) % WORD)
        p.sz = sz
        return 0

    def sbrk(self, n: int, kind: int = 1) -> int:
        n = (n + (1 << 31)) % (1 << 32) - (1 << 31)
        p = self.running()
        old = p.sz
        if self.year < 2025 or kind == 1 or n < 0:
            return -1 if self.growproc(n) < 0 else old
        if old + n > TRAPFRAME:
            return -1
        p.sz += n
        return old

    def fork(self) -> int:
        p = self.running()
        child = self.allocproc()
        if child is None:
            return -1
        if self.uvmcopy(p.pagetable, child.pagetable, p.sz) < 0:
            self.freeproc(child)
            return -1
        child.sz = p.sz
        self.put_bytes(child.trapframe, self.get_bytes(p.trapframe, 36 * 8))
        self.put(child.trapframe + 14 * 8, 0)
        child.name = p.name
        child.parent = p
        child.state = "runnable"
        return child.pid

    def exit(self, status: int) -> None:
        p = self.running()
        if p is self.init:
            raise Died("init exiting")
        for other in self.proc:
            if other.parent is p:
                other.parent = self.init
        p.xstate = status
        p.state = "zombie"
        self.current = None

    def wait(self, va: int) -> int:
        """As the kernel's, but 0 where it would sleep."""
        p = self.running()
        children = 0
        for other in self.proc:
            if other.parent is not p:
                continue
            children += 1
            if other.state == "zombie":
                pid = other.pid
                if va and self.copyout(p.pagetable, va, (other.xstate % (1 << 32)).to_bytes(4, "little")) < 0:
                    return -1
                self.freeproc(other)
                return pid
        return 0 if children else -1

    # exec.c and sysfile.c

    def exec(self, path: str, argv: list[str]) -> int:
        p = self.running()
        file = self.files.get(path.strip("/"))
        if file is None or len(file) < 64 or file[:4] != b"\x7fELF":
            return -1
        pagetable = self.proc_pagetable(p)
        if pagetable == 0:
            return -1
        sz, ok = self.load(pagetable, file)
        if ok:
            sz = up(sz)
            top = self.uvmalloc(pagetable, sz, sz + (self.userstack + 1) * PAGE, W)
            if top:
                sz = top
                sp = self.push(pagetable, argv, top)
                if sp:
                    self.put(p.trapframe + 15 * 8, sp)
                    p.name = path[path.rfind("/") + 1 :][:15]
                    old, oldsz = p.pagetable, p.sz
                    p.pagetable, p.sz = pagetable, top
                    self.put(p.trapframe + 3 * 8, int.from_bytes(file[24:32], "little"))
                    self.put(p.trapframe + 6 * 8, sp)
                    self.proc_freepagetable(old, oldsz)
                    return len(argv)
        self.proc_freepagetable(pagetable, sz)
        return -1

    def load(self, pagetable: int, file: bytes) -> tuple[int, bool]:
        sz = 0
        at = int.from_bytes(file[32:40], "little")
        for _ in range(int.from_bytes(file[56:58], "little")):
            at %= 1 << 32
            header = file[at : at + 56]
            at += 56
            if len(header) < 56:
                return sz, False
            kind, flags = (int.from_bytes(header[i : i + 4], "little") for i in (0, 4))
            offset, va, _, filesz, memsz, _ = (int.from_bytes(header[i : i + 8], "little") for i in range(8, 56, 8))
            if kind != 1:
                continue
            if memsz < filesz or (va + memsz) % WORD < va or va % PAGE:
                return sz, False
            new = self.uvmalloc(pagetable, sz, va + memsz, (X if flags & 1 else 0) | (W if flags & 2 else 0))
            if new == 0:
                return sz, False
            sz = new
            offset, filesz = offset % (1 << 32), filesz % (1 << 32)
            for done in range(0, filesz, PAGE):
                frame = self.walkaddr(pagetable, va + done)
                if frame == 0:
                    raise Died("loadseg: address should exist")
                count = min(PAGE, filesz - done)
                piece = file[offset + done : offset + done + count]
                self.put_bytes(frame, piece)
                if len(piece) != count:
                    return sz, False
        return sz, True

    def push(self, pagetable: int, argv: list[str], top: int) -> int:
        self.uvmclear(pagetable, top - (self.userstack + 1) * PAGE)
        bottom = top - self.userstack * PAGE
        sp, pointers = top, []
        for number, argument in enumerate(argv):
            if number >= 32:
                return 0
            text = argument.encode() + b"\0"
            sp = (sp - len(text)) % WORD // 16 * 16
            if sp < bottom or self.copyout(pagetable, sp, text) < 0:
                return 0
            pointers.append(sp)
        pointers.append(0)
        sp = (sp - 8 * len(pointers)) % WORD // 16 * 16
        array = b"".join(pointer.to_bytes(8, "little") for pointer in pointers)
        if sp < bottom or self.copyout(pagetable, sp, array) < 0:
            return 0
        return sp

    def sys_exec(self, path: str, argv: list[str]) -> int:
        if len(path.encode()) >= 128:
            return -1
        frames, result = [], -1
        for number in range(32):
            if number == len(argv):
                result = self.exec(path, argv)
                break
            frame = self.kalloc()
            if frame == 0:
                break
            frames.append(frame)
            text = argv[number].encode() + b"\0"
            self.put_bytes(frame, text[:PAGE])
            if len(text) > PAGE:
                break
        for frame in frames:
            self.kfree(frame)
        return result

    # main.c and what follows it

    def main(self, initcode: bytes) -> None:
        self.kinit()
        root = self.kernel_pagetable = self.kalloc()
        self.fill(root, 0)
        for at, size in self.devices:
            self.kvmmap(root, at, at, size, R | W)
        self.kvmmap(root, self.base, self.base, self.etext - self.base, R | X)
        self.kvmmap(root, self.etext, self.etext, self.stop - self.etext, R | W)
        self.kvmmap(root, TRAMPOLINE, self.trampoline, PAGE, R | X)
        self.proc_mapstacks(root)
        self.disk = tuple(self.kalloc() for _ in range(3))
        if 0 in self.disk:
            raise Died("virtio disk kalloc")
        for frame in self.disk:
            self.fill(frame, 0)
        p = self.init = self.allocproc()
        assert p is not None
        if self.year < 2025:
            self.uvmfirst(p.pagetable, initcode)
            p.sz = PAGE
            self.put(p.trapframe + 3 * 8, 0)
            self.put(p.trapframe + 6 * 8, PAGE)
            p.name = "initcode"
        p.state = "runnable"

    def start(self) -> None:
        """The first process runs /init, which forks; the child runs sh."""
        self.current = self.init
        if self.year < 2025:
            assert self.sys_exec("/init", ["/init"]) == 1
        else:
            assert self.exec("/init", ["/init"]) == 1
        pid = self.fork()
        self.current = next(p for p in self.proc if p.pid == pid)
        assert self.sys_exec("sh", ["sh"]) == 1
        self.current = self.init
