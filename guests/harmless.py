"""Every verb on a guest, as a user types it: a stopped guest keeps every byte and stays stopped, a running one runs on.

RAM is hashed before and after each verb, from the file that is the guest's RAM, or as QEMU itself saves it.  The verbs
are those of the command line: one that is not listed here is a failure.  That a hash can differ at all is shown at the
end, by a command that pagebook never sends.
"""

from __future__ import annotations

import hashlib
import mmap
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from guests.qemu import PATIENCE, RAM_BYTES, Guest, running
from pagebook.cli import VERBS
from pagebook.cli import verb as verb_of
from pagebook.sources.processes import Socket
from pagebook.sources.qmp import Monitor
from pagebook.sv import SV39, A
from pagebook.table import AddressSpace
from pagebook.units import PAGE_MASK

RAM = 0x8000_0000
UNTOUCHED = 0x8060_0000  # a superpage of our kernel's own table that nothing uses
WITHOUT_TARGET = {"boot", "rule", "pte", "satp", "quiz", "completion"}
IN_THE_BROWSER = {"serve"}  # it ends when somebody ends it; make browser asks it everything, and hashes RAM too
FOUND_OR_NOT = (0, 1)
INTERRUPTED = 130

Words = list[str]


class Control:
    """The guest by a monitor of its own: stopped, started, asked, hashed."""

    def __init__(self, guest: Guest, folder: Path) -> None:
        self.guest = guest
        self.monitor = Monitor(Socket(str(guest.control)))
        self._saved = folder / "saved"

    def digest(self) -> str:
        """Of all RAM."""
        path = self.guest.ram
        if path is None:
            path = self._saved
            self.monitor.ask(f'pmemsave {RAM:#x} {RAM_BYTES:#x} "{path}"')
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
            if file.tell() != RAM_BYTES:
                raise RuntimeError(f"{path} has {file.tell()} bytes, and RAM {RAM_BYTES}")
        self._saved.unlink(missing_ok=True)
        return found


def verbs(guest: Guest) -> dict[str, list[Words]]:
    """For each verb that takes a target, the words to call it with: as the guest's harts tell, and told its table."""
    target = f"qemu:{guest.pid}"
    root = guest.said.spaces["kernel"].root
    told = ["--root", f"{root:#x}:sv39"]
    satp = ["--satp", f"{SV39.satp(root):#x}"]
    va = f"{UNTOUCHED:#x}"
    return {
        "maps": [[target], [target, *satp], [target, *told, "--pages", "--json"]],
        "tree": [[target, "--space", "hart 0"], [target, "--space", "hart 0", "--format", "vmprint"]],
        "walk": [
            [va, target, "--space", "hart 0"],
            [va, target, "--space", "hart 0", "--access", "store"],
            [va, target, "--space", "hart 0", "--access", "fetch", "--priv", "U"],
        ],
        "owners": [[target], [va, target], [target, *told]],
        "check": [[target], [target, "--select", "ALL", "--format", "sarif"], [target, *satp]],
        "roots": [[target], [target, "--format", "sv39"]],
        "diff": [[target, "--after", "0"], [target, "--after", "0.5", *told], [target, target, *told]],
        "draw": [
            ["memory", target],
            ["layout", target, "--space", "hart 0"],
            ["page-table", target, "--space", "hart 0"],
            ["directories", va, target, "--space", "hart 0"],
            ["walk", va, target, "--space", "hart 0", "--access", "store"],
            ["page", va, target],
            ["tlb", target, "--space", "hart 0", "--va", va],
        ],
        "report": [[target, "-o", "-"], [target, "--walk", f"hart 0:{va}", "--access", "store", "-o", "-"]],
        "watch": [[target, "--for", "1", "--interval", "0.1"]],
        "translate": [
            [target, va, "0x80000000", "--space", "hart 0"],
            [target, va, "--space", "hart 0", "--access", "store", "--priv", "S"],
            [target, va, "--satp", satp[1]],
        ],
        "fault": [[target, "--scause", "15", "--stval", va, "--sepc", "0x80000000", "--space", "hart 0"]],
    }


def unknown_verbs(listed: dict[str, list[Words]]) -> Iterator[str]:
    """A sentence for each verb of the command line of which nothing is said here."""
    for name in VERBS:
        named = {param.name for param in verb_of(name).params}
        if (
            name in listed
            or name in IN_THE_BROWSER
            or (name in WITHOUT_TARGET and not named & {"target", "old", "words"})
        ):
            continue
        yield f"the verb {name} is new: say in guests/harmless.py how it is called on a guest"
    for name in listed.keys() - VERBS.keys():
        yield f"there is no verb {name} any more"


def start(verb: str, words: Words) -> subprocess.Popen[str]:
    """The verb, as a user starts it."""
    return subprocess.Popen(
        [sys.executable, "-m", "pagebook", verb, *words],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def freezes(verb: str) -> bool:
    """Whether the verb can stop a guest."""
    return any("--freeze" in param.opts for param in verb_of(verb).params)


def stopped_guest(guest: Guest, control: Control, listed: dict[str, list[Words]]) -> Iterator[str]:
    """Every verb, with --freeze and without, on a guest that stands still: no byte changes, and it still stands."""
    control.monitor.ask("stop")
    where = "a file" if guest.ram else "the process's own"
    before = control.digest()
    for verb, calls in listed.items():
        wrong = []
        # A guest with one monitor can be stopped by one reader only, so not when it stands there twice.
        every = [*calls, *([*words, "--freeze"] for words in calls if freezes(verb) and len(set(words)) == len(words))]
        for words in every:
            process = start(verb, words)
            said = process.communicate()[1]
            if process.returncode not in FOUND_OR_NOT:
                wrong.append(f"{verb} {' '.join(words)}: exit status {process.returncode}: {said.strip()}")
            if control.digest() != before:
                wrong.append(f"{verb} {' '.join(words)}: RAM is not what it was")
                before = control.digest()
            if control.monitor.running():
                wrong.append(f"{verb} {' '.join(words)}: the guest was stopped, and runs")
                control.monitor.ask("stop")
        print(
            f"{verb:<10} stopped, RAM in {where}: {len(every)} calls, {_verdict(wrong, 'RAM as before, still stopped')}"
        )
        yield from wrong
    control.monitor.ask("cont")


def running_guest(guest: Guest, control: Control, listed: dict[str, list[Words]]) -> Iterator[str]:
    """Every verb that can stop the guest, to its end and interrupted while the guest stands: afterwards it runs."""
    for verb, calls in listed.items():
        if not freezes(verb):
            continue
        wrong = []
        words = [*_long(verb, calls[0]), "--freeze"]
        middle = 0
        for ending in (None, signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            process = start(verb, words)
            middle += ending is not None and _interrupted(process, ending, control)
            process.communicate()
            how = f"{verb} {' '.join(words)}{f', ended by {ending.name}' if ending else ''}"
            if ending is None and process.returncode not in FOUND_OR_NOT:
                wrong.append(f"{how}: exit status {process.returncode}")
            if not control.monitor.running():
                wrong.append(f"{how}: the guest is still stopped")
                control.monitor.ask("cont")
            elif not guest.counts_on():
                wrong.append(f"{how}: the guest runs, and does not count")
        if middle < 2 and verb in ("diff", "watch"):
            wrong.append(f"{verb}: only {middle} of three signals came while the guest was stopped")
        print(f"{verb:<10} running, --freeze, 3 signals, {middle} while stopped: {_verdict(wrong, 'runs on')}")
        yield from wrong


def _long(verb: str, words: Words) -> Words:
    """The same call, taking its time where the verb can."""
    if verb == "diff":
        return [words[0], "--after", "2"]
    return [words[0], "--for", "2"] if verb == "watch" else words


def _interrupted(process: subprocess.Popen[str], ending: signal.Signals, control: Control) -> bool:
    """Send the signal as soon as the guest stands; False when the verb was over before."""
    deadline = time.monotonic() + PATIENCE
    while process.poll() is None and time.monotonic() < deadline:
        if not control.monitor.running():
            process.send_signal(ending)
            return True
    return False


def _verdict(wrong: Words, right: str) -> str:
    return "WRONG" if wrong else right


def touch(guest: Guest) -> None:
    """Clear A of a leaf that the guest does not use, so that whoever walks the table as a hart does leaves a trace."""
    table = AddressSpace(guest.qemu.look().memory, guest.said.spaces["kernel"].root)
    pte_pa = table.entry(UNTOUCHED).pte_pa
    assert guest.ram
    with guest.ram.open("r+b") as file, mmap.mmap(file.fileno(), 0) as ram:
        ram[pte_pa - RAM] &= ~A & 0xFF


def seen(control: Control) -> Iterator[str]:
    """A command that walks the table as a hart does must change the hash, else the hash shows nothing."""
    control.monitor.ask("stop")
    before = control.digest()
    control.monitor.ask(f"gva2gpa {UNTOUCHED | PAGE_MASK & ~7:#x}")
    changed = control.digest() != before
    print(f"{'gva2gpa':<10} which pagebook never sends: {'changes RAM, and is seen' if changed else 'WRONG: not seen'}")
    if not changed:
        yield "gva2gpa sets an A bit, and no hash differs: the hashes show nothing"


def harmless(kernel: Path) -> list[str]:
    """Run it all on our kernel, with its RAM in a file and without; what is wrong, a sentence each."""
    wrong: list[str] = []
    for in_a_file in (True, False):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            with running(kernel, SV39.mode, folder, in_a_file=in_a_file) as guest:
                control = Control(guest, folder)
                try:
                    listed = verbs(guest)
                    if in_a_file:
                        wrong += unknown_verbs(listed)
                        touch(guest)
                    wrong += stopped_guest(guest, control, listed)
                    if in_a_file:
                        wrong += running_guest(guest, control, listed)
                        wrong += seen(control)
                finally:
                    control.monitor.close()
    return wrong
