"""Debian's riscv64 Linux on QEMU, with an init of our own, read while it stands still: `python -m guests.linux`.

For each of Sv39, Sv48 and Sv57: every page that the guest prints from its own pagemap against our translation, its
processes, symbols and page tables against what we find in its RAM alone, and QEMU's ``info mem`` against our listing.
Any difference that is not a known one, and anything the guest could not do, makes the exit status 1.
"""

from __future__ import annotations

import mmap
import re
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from guests import debian, infomem, initramfs
from guests.pagemap import Agreement, Report, compare_names, compare_pages, compare_tables
from guests.virt import RAM, GuestFailed, Virt
from pagebook.guests import linux
from pagebook.machine import Hart, Machine
from pagebook.memory import Memory, Region
from pagebook.scan import scan
from pagebook.source import Source
from pagebook.sv import decode_satp
from pagebook.table import AddressSpace

ROOT = Path(__file__).resolve().parent.parent
CACHE = ROOT / "build" / "linux"
MODES = {"Sv39": "no4lvl", "Sv48": "no5lvl", "Sv57": ""}
HUGE_PAGES = "hugepagesz=2M hugepages=4 hugepagesz=64K hugepages=16"
PROCESSES = ("init", "child")
SETTLING = 1.0  # seconds until the other process, which only waits, has left the hart for good
MOST_TOLD = 40  # differences of one mode
LEAST = {
    "pages with a frame": 4000, "pages with none": 4000, "PROT_NONE pages, frame kept, V = 0": 8,
    "device pages, not in pagemap": 1, "vdso data pages, not in pagemap": 1, "tasks": 40, "symbols": 100,
    "page tables, for Linux and for us": 20, "lines of info mem, the table of init": 100,
    "leaves of 64 KiB pages, the table of init": 128, "leaves of 2 MiB pages, U, the table of init": 3,
    "leaves with PBMT, the table of init": 2,
}  # fmt: skip
"""What must have been compared at least: a guest that maps nothing agrees with everything."""


def run(mode: str, kernel: Path, archive: Path) -> Agreement:
    """Boot in ``mode``, and compare while each of the two processes has the hart."""
    found, report = Agreement(), Report()
    with tempfile.TemporaryDirectory() as folder:
        guest = Virt(kernel, archive, f"{MODES[mode]} {HUGE_PAGES}", Path(folder))
        try:
            for who in PROCESSES:
                report.add(guest.lines_until(f"spin {who}"))
                time.sleep(SETTLING)
                with guest.stopped():
                    _look(mode, guest, report, who, found)
                guest.send("\n")
            guest.lines_until("done")
        finally:
            guest.close()
    found.wrong += [f"the guest could not do it: {what}" for what in report.missing]
    for what, least in LEAST.items():
        if found.counts.get(what, 0) < least:
            found.wrong.append(f"too few were compared: {found.counts.get(what, 0)} of at least {least} {what}")
    return found


def _look(mode: str, guest: Virt, report: Report, who: str, found: Agreement) -> None:
    """Compare everything while ``who`` runs: by the hart's satp, and with nothing but the RAM."""
    satp = int(re.findall(r"^ *satp +([0-9a-f]+)", guest.monitor("info registers"), re.MULTILINE)[0], 16)
    with guest.ram.open("rb") as file:
        memory = Memory([Region(RAM, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))])
    alone = linux.read(Source("the guest", memory))
    _same_machine(mode, linux.read(Source("the guest", memory, (Hart(0, satp),))), alone, satp, who, found)
    for name in PROCESSES:
        compare_pages(report, name, alone, alone.space(name), found)
    compare_names(report, alone, found)
    compare_tables(report, alone, found)
    infomem.compare(guest.monitor("info mem"), alone.space(who).table, found, f"the table of {who}")
    _kernel_half(alone, alone.space(who).table, found)


def _same_machine(mode: str, machine: Machine, alone: Machine, satp: int, who: str, found: Agreement) -> None:
    """With satp and without it the same spaces come out, and satp's is that of the process that runs."""
    current = decode_satp(satp)
    spaces = [[(s.name, s.table.root, s.table.format) for s in m.spaces] for m in (machine, alone)]
    if spaces[0] != spaces[1] or current.root != alone.space(who).table.root:
        found.wrong.append(f"satp {satp:#x} is not the table of {who}: {spaces}")
    if current.format is None or current.format.name != mode:
        found.wrong.append(f"the guest runs in {current.format}, not in {mode}")


def _kernel_half(machine: Machine, table: AddressSpace, found: Agreement) -> None:
    """The upper half of a process's table is the kernel's own table, leaf for leaf."""
    upper = [set(_upper(one)) for one in (table, machine.space("kernel").table)]
    found.count("leaves of the kernel's table that the process's has too", len(upper[0] & upper[1]))
    for va, pte in sorted(upper[0] ^ upper[1]):
        found.wrong.append(f"the kernel's table and the process's differ at {va:#x}: PTE {pte:#x}")


def _upper(table: AddressSpace) -> Iterator[tuple[int, int]]:
    mappings = scan(table).mappings
    upper = mappings[mappings["va"] >= np.uint64(1 << 63)]
    return zip(upper["va"].tolist(), upper["pte"].tolist(), strict=True)


def main(modes: list[str]) -> int:
    """Run these modes; 0 when all agree."""
    started = time.monotonic()
    kernel = debian.kernel(CACHE)
    archive = initramfs.build(ROOT / "guests" / "init.c", CACHE)
    with ThreadPoolExecutor(2) as pool:
        results = dict(zip(modes, pool.map(lambda mode: run(mode, kernel, archive), modes), strict=True))
    for mode, found in results.items():
        print(mode)
        for what, count in found.counts.items():
            print(f"  {count:7,} {what}")
    for mode, found in results.items():
        for sentence in found.wrong[:MOST_TOLD]:
            print(f"DIFFERENT in {mode}: {sentence}")
    wrong = sum(len(found.wrong) for found in results.values())
    print(f"{wrong} differences in {time.monotonic() - started:.0f} s")
    return 1 if wrong else 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:] or list(MODES)))
    except (debian.CannotFetch, GuestFailed) as error:
        sys.exit(f"guests.linux: {error}")
