"""The kernel of `guests/kernel`, built with Debian's cross compiler."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

KERNEL = Path(__file__).with_name("kernel")
COMPILER = "riscv64-linux-gnu-gcc"
FLAGS = (
    *("-march=rv64ima_zicsr", "-mabi=lp64", "-mcmodel=medany", "-O2", "-Wall", "-Wextra", "-Werror", "-ffreestanding"),
    *("-nostdlib", "-static", "-fno-pic", "-no-pie", "-fno-stack-protector", "-Wl,--build-id=none"),
)


class ToolMissing(Exception):
    """A program that the guests need is not there; the message says how to install it."""


def tool(name: str, package: str) -> str:
    """The path of a program; ToolMissing when it is not installed."""
    path = shutil.which(name)
    if not path:
        raise ToolMissing(f"{name} is missing: install Debian's {package}")
    return path


def build(folder: Path) -> Path:
    """The kernel as an ELF file in ``folder``."""
    image = folder / "kernel.elf"
    sources = [str(KERNEL / name) for name in ("entry.S", "kernel.c")]
    compiler = tool(COMPILER, "gcc-riscv64-linux-gnu")
    subprocess.run([compiler, *FLAGS, f"-Wl,-T,{KERNEL / 'kernel.ld'}", "-o", str(image), *sources], check=True)
    return image
