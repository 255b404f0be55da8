"""Linux for riscv64 as Debian ships it, fetched once and kept under build/: an ordinary package, nothing is built.

The machine's own list of packages stays as it is: a list of one line, for suite trixie, is read with a state of its
own.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

PACKAGE = "debian-installer-13-netboot-riscv64"
SUITE = "trixie"
KERNEL = "usr/lib/debian-installer/images/13/riscv64/text/debian-installer/riscv64/linux"
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
TIMEOUT = 300


class CannotFetch(Exception):
    """The kernel is not to be had; the message says what failed."""


def kernel(folder: Path) -> Path:
    """The kernel image below ``folder``, fetched there when it is not there yet."""
    image = folder / "linux"
    if not image.exists():
        folder.mkdir(parents=True, exist_ok=True)
        _fetch(folder)
        unpacked = folder / "unpacked"
        _run(["dpkg", "-x", str(next(folder.glob(f"{PACKAGE}_*.deb"))), str(unpacked)], folder)
        (unpacked / KERNEL).rename(image)
        _run(["rm", "-r", str(unpacked)], folder)
    return image


def _fetch(folder: Path) -> None:
    lists, cache, sources = folder / "lists", folder / "cache", folder / "sources.list"
    (lists / "partial").mkdir(parents=True, exist_ok=True)
    (cache / "archives" / "partial").mkdir(parents=True, exist_ok=True)
    sources.write_text(f"deb [signed-by={KEYRING}] {_mirror()} {SUITE} main\n")
    options = [
        f"Dir::State::Lists={lists}", f"Dir::Etc::SourceList={sources}", "Dir::Etc::SourceParts=/dev/null",
        f"Dir::Cache={cache}", "APT::Sandbox::User=root",
    ]  # fmt: skip
    apt = ["apt-get", "--quiet", *(word for option in options for word in ("-o", option))]
    _run([*apt, "update"], folder)
    _run([*apt, "download", PACKAGE], folder)


def _mirror() -> str:
    """The mirror that the machine's own list names first for a Debian suite."""
    words = re.compile(r"^(?:URIs:|deb(?: \[[^]]*\])?)\s+(\S+/debian)/?(?:\s|$)", re.MULTILINE)
    for path in [Path("/etc/apt/sources.list"), *sorted(Path("/etc/apt/sources.list.d").glob("debian*"))]:
        found = words.search(path.read_text()) if path.is_file() else None
        if found:
            return found[1]
    raise CannotFetch("no list of packages of this machine names a Debian mirror")


def _run(command: list[str], folder: Path) -> None:
    done = subprocess.run(
        command, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=TIMEOUT, check=False
    )
    if done.returncode:
        raise CannotFetch(f"{' '.join(command)} failed: {(done.stderr or done.stdout).strip()}")
