"""The Linux guest's only file system: a cpio archive with our init and the few nodes it needs, made in Python."""

from __future__ import annotations

import subprocess
from pathlib import Path

COMPILER = "riscv64-linux-gnu-gcc"
DIRECTORY, FILE, CHARACTER_DEVICE = 0o040000, 0o100000, 0o020000


def build(source: Path, folder: Path) -> Path:
    """Compile ``source`` as a static /init and pack it; the archive below ``folder``."""
    program, archive = folder / "init", folder / "initramfs.cpio"
    subprocess.run([COMPILER, "-O1", "-static", "-Wall", "-Wextra", "-o", str(program), str(source)], check=True)
    entries = [
        ("dev", DIRECTORY | 0o755, b"", (0, 0)),
        ("dev/console", CHARACTER_DEVICE | 0o600, b"", (5, 1)),
        ("proc", DIRECTORY | 0o755, b"", (0, 0)),
        ("init", FILE | 0o755, program.read_bytes(), (0, 0)),
        ("TRAILER!!!", 0, b"", (0, 0)),
    ]
    archive.write_bytes(b"".join(_entry(number, *entry) for number, entry in enumerate(entries, 1)))
    return archive


def _entry(inode: int, name: str, mode: int, data: bytes, device: tuple[int, int]) -> bytes:
    """One file in the format that Linux calls newc: thirteen hexadecimal fields, the name, the bytes."""
    fields = [inode, mode, 0, 0, 1, 0, len(data), 0, 0, *device, len(name) + 1, 0]
    head = b"070701" + b"".join(b"%08x" % field for field in fields) + name.encode() + b"\0"
    return _padded(head) + _padded(data)


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)
