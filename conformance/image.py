"""The ELF file that a simulator is given: the probe, the header, the tables and the cases, as load segments."""

from __future__ import annotations

import struct
from pathlib import Path

from conformance.generate import Batch
from conformance.layout import CASES, HEADER, RESULT, RESULTS
from conformance.tables import pieces

PROBES = Path(__file__).parent / "probe"
PBMTE, ADUE = 1 << 62, 1 << 61


def build_image(batch: Batch) -> bytes:
    """An ELF executable, 64- or 32-bit as the batch's format, with the symbols that Spike looks for."""
    format = batch.format
    code, symbols = _probe(format.xlen)
    menvcfg = (PBMTE if batch.extensions.svpbmt else 0) | (ADUE if batch.extensions.svadu else 0)
    header = struct.pack("<4Q", CASES, len(batch.cases), RESULTS, menvcfg if format.xlen == 64 else menvcfg >> 32)
    symbols |= {"begin_signature": RESULTS, "end_signature": RESULTS + len(batch.cases) * RESULT.itemsize}
    start = [(0x8000_0000, code), (HEADER, header)]
    body = [*start, *pieces(batch.tables, format), (CASES, batch.cases.tobytes())]
    return _elf(format.xlen, body, symbols)


def _probe(xlen: int) -> tuple[bytes, dict[str, int]]:
    """The probe's bytes from the start of RAM, and its symbols."""
    data = (PROBES / f"probe{xlen}.bin").read_bytes()
    names = (PROBES / f"probe{xlen}.sym").read_text().split()
    return data, {name: int(value, 16) for name, value in zip(names[::2], names[1::2], strict=True)}


def _elf(xlen: int, pieces: list[tuple[int, bytes]], symbols: dict[str, int]) -> bytes:
    wide = xlen == 64
    header_size, segment_size, section_size = (64, 56, 64) if wide else (52, 32, 40)
    strings = b"\0" + b"".join(name.encode() + b"\0" for name in symbols)
    names = b"\0.symtab\0.strtab\0.shstrtab\0"
    table = b"\0" * (24 if wide else 16)
    at = 1
    for name, value in symbols.items():
        if wide:
            table += struct.pack("<IBBHQQ", at, 0x10, 0, 0xFFF1, value, 0)
        else:
            table += struct.pack("<IIIBBH", at, value, 0, 0x10, 0, 0xFFF1)
        at += len(name) + 1
    offset = header_size + segment_size * len(pieces)
    segments, body = b"", b""
    for address, data in pieces:
        if wide:
            segments += struct.pack("<IIQQQQQQ", 1, 7, offset, address, address, len(data), len(data), 8)
        else:
            segments += struct.pack("<8I", 1, offset, address, address, len(data), len(data), 7, 8)
        body += data
        offset += len(data)
    sections = b""
    for name, kind, data, link, entry in (
        (0, 0, b"", 0, 0),
        (1, 2, table, 2, 24 if wide else 16),
        (9, 3, strings, 0, 0),
        (17, 3, names, 0, 0),
    ):
        code = "<IIQQQQIIQQ" if wide else "<10I"
        sections += struct.pack(code, name, kind, 0, 0, offset if data else 0, len(data), link, 1, 1, entry)
        body += data
        offset += len(data)
    ident = b"\x7fELF" + bytes([2 if wide else 1, 1, 1]) + bytes(9)
    code = "<16sHHIQQQIHHHHHH" if wide else "<16sHHIIIIIHHHHHH"
    head = struct.pack(
        code, ident, 2, 243, 1, 0x8000_0000, header_size, offset, 0, header_size, segment_size, len(pieces),
        section_size, 4, 3,
    )  # fmt: skip
    return head + segments + body + sections
