"""A writer of small RISC-V ELF files, for tests only: it checks nothing, so that it can write bad ones.

Layout: header, program headers, the bytes of the segments, then symbol table, strings and section headers.
Nothing here is shared with pagebook, which reads ELF files with pyelftools.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping

EXEC, CORE = 2, 4
LOAD, NOTE = 1, 4
EXECUTE, WRITE, READ = 1, 2, 4

Segment = tuple[int, int, int, int, bytes]
"""(vaddr, filesz, memsz, flags, data) of a PT_LOAD; filesz is claimed as given, whatever the length of data."""

# struct formats of Ehdr (after the 16 bytes of e_ident), Phdr, Shdr and Sym for each class, byte order left out.
_HEADER = {64: "HHIQQQIHHHHHH", 32: "HHIIIIIHHHHHH"}
_SECTION = {64: "IIQQQQIIQQ", 32: "IIIIIIIIII"}
_SIZES = {64: (64, 56, 64, 24), 32: (52, 32, 40, 16)}


def build_elf(
    segments: Iterable[Segment],
    *,
    entry: int = 0,
    kind: int = 2,
    machine: int = 243,
    elfclass: int = 64,
    symbols: Mapping[str, int] | None = None,
    undefined: Iterable[str] = (),
    notes: bytes | None = None,
    order: str = "<",
    sizes: Mapping[str, int] | None = None,
    sections: Mapping[str, bytes] | None = None,
) -> bytes:
    """An ELF file of PT_LOAD segments, a PT_NOTE of the bytes ``notes``, and a symbol table if there are symbols.

    ``kind`` is e_type, ``order`` the byte order as `struct` writes it.  p_paddr is vaddr, p_align is one.  ``sizes``
    are those of some symbols; ``sections`` are further ones that nothing loads.
    """
    header_size, phdr_size, shdr_size, _ = _SIZES[elfclass]
    wanted = [(LOAD, *segment) for segment in segments]
    if notes is not None:
        wanted.append((NOTE, 0, len(notes), 0, READ, notes))
    body = bytearray()
    start = header_size + phdr_size * len(wanted)
    headers = b""
    for what, vaddr, filesz, memsz, flags, data in wanted:
        headers += _program_header(order, elfclass, what, start + len(body), vaddr, filesz, memsz, flags)
        body += data
        body += bytes(-len(body) % 8)
    headers_of_sections, section_at, more = b"", 0, sections or {}
    if symbols or undefined or more:
        table, names = _symbol_table(order, elfclass, symbols or {}, undefined, sizes or {})
        section_names = b"\0.symtab\0.strtab\0.shstrtab\0"
        rows = [(0,) * 10]
        further = []
        for called, contents in more.items():
            further.append((len(section_names), 1, 0, 0, contents))
            section_names += called.encode() + b"\0"
        for name, sh_type, link, size, contents in (
            (1, 2, 2, _SIZES[elfclass][3], table),
            (9, 3, 0, 0, names),
            (17, 3, 0, 0, section_names),
            *further,
        ):
            rows.append((name, sh_type, 0, 0, start + len(body), len(contents), link, int(link > 0), 1, size))
            body += contents
            body += bytes(-len(body) % 8)
        section_at = start + len(body)
        headers_of_sections = b"".join(struct.pack(order + _SECTION[elfclass], *row) for row in rows)
    ident = b"\x7fELF" + bytes([elfclass // 32, 1 if order == "<" else 2, 1]) + bytes(9)
    header = struct.pack(
        order + _HEADER[elfclass],
        kind, machine, 1, entry, header_size if wanted else 0, section_at, 0, header_size, phdr_size, len(wanted),
        shdr_size, 4 + len(more) if headers_of_sections else 0, 3 if headers_of_sections else 0,
    )  # fmt: skip
    return ident + header + headers + bytes(body) + headers_of_sections


def _program_header(
    order: str, elfclass: int, what: int, offset: int, vaddr: int, filesz: int, memsz: int, flags: int
) -> bytes:
    if elfclass == 64:
        return struct.pack(order + "IIQQQQQQ", what, flags, offset, vaddr, vaddr, filesz, memsz, 1)
    return struct.pack(order + "IIIIIIII", what, offset, vaddr, vaddr, filesz, memsz, flags, 1)


def _symbol_table(
    order: str, elfclass: int, symbols: Mapping[str, int], undefined: Iterable[str], sizes: Mapping[str, int]
) -> tuple[bytes, bytes]:
    names, table = b"\0", bytes(_SIZES[elfclass][3])
    rows = [(name, value, 0xFFF1) for name, value in symbols.items()] + [(name, 0, 0) for name in undefined]
    for name, value, section in rows:
        if elfclass == 64:
            table += struct.pack(order + "IBBHQQ", len(names), 0x10, 0, section, value, sizes.get(name, 0))
        else:
            table += struct.pack(order + "IIIBBH", len(names), value, sizes.get(name, 0), 0x10, 0, section)
        names += name.encode() + b"\0"
    return table, names


def note(name: bytes, what: int, contents: bytes, order: str = "<") -> bytes:
    """One ELF note, padded to four bytes, for `build_elf`'s ``notes``."""
    padded = name + b"\0"
    return (
        struct.pack(order + "III", len(padded), len(contents), what)
        + padded + bytes(-len(padded) % 4) + contents + bytes(-len(contents) % 4)
    )  # fmt: skip
