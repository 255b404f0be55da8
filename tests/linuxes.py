"""A Linux made by hand: a few pages that hold a kernel's note, symbols, BTF and lists of tasks, for the tests only.

Everything is written here from the formats' descriptions, and shares no code with what reads it.  The kernel's image is
the first 2 MiB of RAM, mapped at `KERNEL`, and all its tables are in it.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping

from pagebook.frames import FreeList
from pagebook.memory import Memory
from pagebook.pagetable import PageTable
from pagebook.sv import SV39, A, D, Format, G, R, U, W, X

BASE = 0x8000_0000
KERNEL = 0xFFFF_FFFF_8000_0000
IMAGE = 2 << 20
PAGE = 4096
NOTE = 0x1000
INIT_STACK, STACK_BYTES = 0x4000, 0x4000
TASK = {"flags": 4, "__state": 24, "stack": 32, "tasks": 0x148, "mm": 0x178, "pid": 0x1A0, "tgid": 0x1A4, "comm": 0x200}
TASK |= {"signal": 0x220, "thread_node": 0x230}
TASK_BYTES, MM_BYTES = 0x280, 0x100
MM = {"pgd": 0x68, "start_code": 0x70, "end_code": 0x78, "start_brk": 0x80, "brk": 0x88}
SIGNAL_HEAD = 0x18
KERNEL_THREAD = 0x200000
BUILD = "68e14006917f09905808299af2c40682b88bcf65"


class FakeLinux:
    """``memory`` with a kernel in it; ``table`` is its own, ``process`` and ``kernel_thread`` add tasks."""

    def __init__(self, format: Format = SV39, *, place: int = KERNEL) -> None:
        self.format = format
        self.place = place
        self.memory = Memory.anonymous(2 * IMAGE, BASE)
        self.frames = FreeList(self.memory, BASE + IMAGE // 2, BASE + IMAGE)
        self.frames.free_range(BASE + IMAGE // 2, BASE + IMAGE)
        self.table = PageTable.create(self.memory, self.frames, format)
        self.table.map(place, IMAGE, BASE, R | W | X | A | D | G)
        self.at = 0x10000
        self.symbols = {
            "_start": place, "_stext": place + 0x2000, "__start_init_stack": place + INIT_STACK,
            "__end_init_stack": place + INIT_STACK + STACK_BYTES, "__init_begin": place + 0x8000,
            "__init_end": place + 0x9000, "_end": place + IMAGE, "swapper_pg_dir": self.va(self.table.root),
        }  # fmt: skip
        self.init_task = self.room(TASK_BYTES)
        self.symbols["init_task"] = self.init_task
        self.last_leader = self.init_task + TASK["tasks"]
        self.fill_task(self.init_task, 0, 0, "swapper/0", flags=KERNEL_THREAD)
        self.link(self.last_leader, self.last_leader)

    def va(self, pa: int) -> int:
        """The kernel's address of ``pa``, which is in its image."""
        return pa - BASE + self.place

    def pa(self, va: int) -> int:
        return va - self.place + BASE

    def room(self, size: int) -> int:
        """The address of ``size`` fresh bytes of the image."""
        at = self.at
        self.at += size + 15 & ~15
        assert self.at < IMAGE // 2
        return at + self.place

    def store(self, data: bytes) -> int:
        at = self.room(len(data))
        self.memory.write(self.pa(at), data)
        return at

    def put(self, va: int, value: int, size: int = 8) -> None:
        self.memory.write(self.pa(va), value.to_bytes(size, "little"))

    def link(self, node: int, following: int) -> None:
        self.put(node, following)

    def fill_task(
        self, at: int, pid: int, tgid: int, name: str, *, flags: int = 0, mm: int = 0, state: int = 1
    ) -> None:
        signal = self.room(64)
        for member, value, size in (
            ("flags", flags, 4), ("__state", state, 4), ("mm", mm, 8), ("pid", pid, 4), ("tgid", tgid, 4),
            ("stack", self.place + INIT_STACK if not pid else self.stack(), 8), ("signal", signal, 8),
        ):  # fmt: skip
            self.put(at + TASK[member], value, size)
        self.memory.write(self.pa(at + TASK["comm"]), name.encode()[:15].ljust(16, b"\0"))
        self.link(signal + SIGNAL_HEAD, at + TASK["thread_node"])
        self.link(at + TASK["thread_node"], signal + SIGNAL_HEAD)

    def stack(self) -> int:
        self.at = self.at + STACK_BYTES - 1 & -STACK_BYTES
        return self.room(STACK_BYTES)

    def new_mm(self) -> tuple[int, PageTable]:
        """The address of a fresh mm, and its table, which has the kernel's upper half."""
        table = PageTable.create(self.memory, self.frames, self.format)
        half = PAGE // 2
        self.memory.write(table.root + half, self.memory.read(self.table.root + half, half))
        mm = self.room(MM_BYTES)
        self.put(mm + MM["pgd"], self.va(table.root))
        for member, value in (("start_code", 0x10000), ("end_code", 0x12345), ("start_brk", 0x20000), ("brk", 0x28000)):
            self.put(mm + MM[member], value)
        table.map(0x10000, 4 * PAGE, BASE + IMAGE, R | X | U | A)
        return mm, table

    def process(
        self, pid: int, name: str, *, mm: int = 0, flags: int = 0, state: int = 1
    ) -> tuple[int, PageTable | None]:
        """A process at the end of the list: the address of its leader, and its table when no ``mm`` was given."""
        table = None
        if not mm and not flags:
            mm, table = self.new_mm()
        at = self.room(TASK_BYTES)
        self.fill_task(at, pid, pid, name, flags=flags, mm=mm, state=state)
        self.link(self.last_leader, at + TASK["tasks"])
        self.last_leader = at + TASK["tasks"]
        self.link(self.last_leader, self.init_task + TASK["tasks"])
        return at, table

    def thread(self, leader: int, pid: int, name: str) -> int:
        """A thread of the process that ``leader`` leads."""
        at = self.room(TASK_BYTES)
        read = self.memory.read64
        mm, signal = read(self.pa(leader + TASK["mm"])), read(self.pa(leader + TASK["signal"]))
        tgid = self.memory.read32(self.pa(leader + TASK["pid"]))
        self.fill_task(at, pid, tgid, name, mm=mm)
        self.put(at + TASK["signal"], signal)
        self.link(at + TASK["thread_node"], read(self.pa(signal + SIGNAL_HEAD)))
        self.link(signal + SIGNAL_HEAD, at + TASK["thread_node"])
        return at

    def finish(
        self, *, types: bool = True, symbols: bool = True, note: bool = True, placed: str | None = "va_kernel_pa_offset"
    ) -> Memory:
        """Write down what the kernel tells of itself: types, symbols, its note; the memory as a reader has it."""
        if types:
            blob = linux_btf()
            self.symbols["__start_BTF"] = self.store(blob)
            self.symbols["__stop_BTF"] = self.symbols["__start_BTF"] + len(blob)
        told = {name: self.symbols[name] for name in ("swapper_pg_dir", "_stext")}
        if symbols:
            told |= self.store_symbols()
        if note:
            self.store_note(NOTE, told, placed)
        return self.memory

    def store_symbols(self) -> dict[str, int]:
        arrays = kallsyms({**self.symbols, "x" * 200: self.place + 1}, self.place)
        return {f"kallsyms_{name}": self.store(data) for name, data in arrays.items()}

    def store_note(self, at: int, symbols: Mapping[str, int], placed: str | None = "va_kernel_pa_offset") -> None:
        """The note at ``at`` in RAM; ``placed`` is the number by which it says where the image is."""
        lines = ["OSRELEASE=6.12.1-test", f"BUILD-ID={BUILD}", "PAGESIZE=4096", "OFFSET(page.flags)=0"]
        lines += [f"SYMBOL({name})={value:x}" for name, value in symbols.items()]
        lines += [f"NUMBER(VA_BITS)={self.format.va_bits}", "NUMBER(PAGE_OFFSET)=0xffffffd600000000"]
        lines += ["NUMBER(phys_ram_base)=2147483648", "NUMBER(PAGE_BUDDY_MAPCOUNT_VALUE)=-268435456"]
        if placed:
            lines.append(f"NUMBER({placed})={self.place - BASE if 'offset' in placed else self.place:#x}")
        self.memory.write(BASE + at, "\n".join(lines).encode() + b"\n\0")


def kallsyms(symbols: Mapping[str, int], base: int) -> dict[str, bytes]:
    """The arrays that a kernel keeps: names as tokens, of which two stand for several letters."""
    tokens = [bytes([code]) for code in range(256)]
    tokens[1], tokens[2], tokens[0], tokens[255] = b"_pg_d", b"__", b"z", b"Z"
    table, index = b"", b""
    for token in tokens:
        index += struct.pack("<H", len(table))
        table += token + b"\0"
    names = b""
    for name in symbols:
        spelled = b"D" + name.encode()
        for code in (1, 2):
            spelled = spelled.replace(tokens[code], bytes([code]))
        count = len(spelled)
        names += bytes([count] if count < 128 else [count & 127 | 128, count >> 7]) + spelled
    return {
        "num_syms": struct.pack("<I", len(symbols)),
        "names": names,
        "token_table": table,
        "token_index": index,
        "offsets": b"".join(struct.pack("<I", value - base) for value in symbols.values()),
        "relative_base": struct.pack("<Q", base),
    }


Member = tuple[str, int, int]
"""(name, offset in bytes, number of its type)"""


def btf(types: Iterable[tuple[int, str, int, list[Member], bytes]]) -> bytes:
    """A blob of types: each (kind, name, size, members, what follows it as bytes)."""
    strings = bytearray(b"\0")
    body = b""

    def label(name: str) -> int:
        if not name:
            return 0
        strings.extend(name.encode() + b"\0")
        return len(strings) - len(name) - 1

    for kind, name, size, members, rest in types:
        body += struct.pack("<III", label(name), kind << 24 | len(members), size)
        for member, offset, number in members:
            body += struct.pack("<III", label(member), number, offset * 8)
        body += rest
    return struct.pack("<HBBIIIII", 0xEB9F, 1, 0, 24, 0, len(body), len(body), len(strings)) + body + bytes(strings)


def linux_btf() -> bytes:
    """The types of `FakeLinux`: pgd is in a struct without a name, as in Linux; another task_struct comes first."""
    inner = [("pgd", 8, 1), *((name, offset - MM["pgd"] + 8, 1) for name, offset in MM.items() if name != "pgd")]
    return btf(
        [
            (1, "long", 8, [], struct.pack("<I", 64)),
            (4, "task_struct", 8, [("not_this_one", 0, 1)], b""),
            (4, "", 0x40, inner, b""),
            (4, "mm_struct", MM_BYTES, [("", MM["pgd"] - 8, 3)], b""),
            (4, "task_struct", TASK_BYTES, [(name, offset, 1) for name, offset in TASK.items()], b""),
            (4, "signal_struct", 64, [("thread_head", SIGNAL_HEAD, 1)], b""),
        ]
    )


def vmlinux(symbols: Mapping[str, int], *, types: bytes | None = None, build: str = BUILD) -> bytes:
    """A RISC-V ELF file with a symbol table, a build id and, if given, a section .BTF."""
    names, table = b"\0", bytes(24)
    for name, value in symbols.items():
        table += struct.pack("<IBBHQQ", len(names), 0x11, 0, 0xFFF1, value, 0)
        names += name.encode() + b"\0"
    note = struct.pack("<III", 4, 20, 3) + b"GNU\0" + bytes.fromhex(build)
    labels = b"\0.symtab\0.strtab\0.BTF\0.shstrtab\0"
    parts = [(1, 2, table, 2, 24), (9, 3, names, 0, 0), (22, 3, labels, 0, 0)]
    if types is not None:
        parts.append((17, 1, types, 0, 0))
    at = 64 + 56
    headers, body = bytes(64), b""
    segment = struct.pack("<IIQQQQQQ", 4, 4, at, 0, 0, len(note), len(note), 4)
    body += note
    for name, kind, data, link, size in parts:
        headers += struct.pack("<IIQQQQIIQQ", name, kind, 0, 0, at + len(body), len(data), link, 1, 1, size)
        body += data
    ident = b"\x7fELF\x02\x01\x01" + bytes(9)
    header = struct.pack(
        "<HHIQQQIHHHHHH", 2, 243, 1, 0, 64, at + len(body), 0, 64, 56, 1, 64, 1 + len(parts), 3
    )  # fmt: skip
    return ident + header + segment + body + headers
