"""What the numbers were measured on."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from bench.images import cache_bytes
from pagebook.units import size_text


def environment() -> dict[str, str]:
    """The processor, the system and the versions, as text by name."""
    return {
        "CPU": f"{_cpu()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}",
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "Python": f"{platform.python_implementation()} {platform.python_version()}",
        "NumPy": version("numpy"),
        "gcc": _gcc(),
        "caches": ", ".join(f"L{level} {size_text(size)}" for level, size in sorted(cache_bytes().items())),
        "peers": ", ".join(f"{name} {_version(name)}" for name in ("unicorn", "volatility3")),
    }


def _cpu() -> str:
    """The processor's name where Linux gives it, else what Python knows."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or "unknown"


def _gcc() -> str:
    try:
        done = subprocess.run(["gcc", "-dumpfullversion"], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return "missing"
    return done.stdout.strip()


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "missing"
