"""A guest that runs in QEMU: found, looked at again and again, stopped for a while if that is asked.

Nothing here changes the guest: RAM is opened for reading only, and its own addresses are never given to QEMU to
translate.  `stop` and `cont` are sent in `frozen`, and nowhere else.
"""

from __future__ import annotations

import os
import re
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Any

from pagebook.errors import BadAddress, BadTarget, OutsideMemory, PagebookError, SourceLost
from pagebook.machine import Hart
from pagebook.memory import Memory, joined
from pagebook.source import Source
from pagebook.sources.gdbstub import GdbStub, taken
from pagebook.sources.processes import PROC, Process, Socket, choose, is_port, process_at, running
from pagebook.sources.qmp import Monitor, harts_in, registers_in
from pagebook.sources.ram import Ram, find_ram, kernel_of, why_no_kernel
from pagebook.sv import RWX, U, V, X, decode_satp
from pagebook.table import AddressSpace

MONITOR_LINE = "QEMUOPTS += -qmp unix:qmp.sock,server,nowait"
HANDLER_BYTES = 256
"""So near behind mtvec the pc may be in an M-mode handler, whatever the tables say of its page."""
_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
_TERMINALS = (signal.SIGTTIN, signal.SIGTTOU)  # what suspends a job in the background that uses its terminal
_STAYING = b"\npagebook: not suspended, for the guest would stay stopped; Ctrl-C ends it and lets the guest run\n"
_LOCAL = ("localhost", "127.0.0.1", "::1")


class Qemu:
    """A running guest.  `look` gives its bytes of now; `frozen` stops it meanwhile; `close` lets go of it."""

    def __init__(self, name: str, process: Process | None, monitors: tuple[Socket, ...], *, must: bool = False) -> None:
        """``must`` says that the user named the monitor: that it does not answer is then an error."""
        self.name = name
        self.process = process
        self._monitors = monitors
        self._must = must
        self._held: Monitor | None = None
        self._stub: GdbStub | None = None
        self._stopped = False
        self._undo: Callable[[], object] | None = None  # what lets the guest run on that we have stopped
        self._silent: str | None = None  # why no monitor answers; none is asked again, but to freeze
        self.kernel = kernel_of(process) if process else None
        self._no_kernel = why_no_kernel(process) if process else ""
        self.runs = process.runs if process and not must else ""  # whatever is behind its monitor is meant
        with self._monitor() as monitor:
            self._ram = find_ram(process, monitor, self.kernel)
            if self._ram.monitor:
                self._held = monitor

    @classmethod
    def find(cls, words: str, *, proc: Path = PROC, uid: int | None = None) -> Qemu:
        """The guest that ``qemu``, ``qemu:PID``, ``qmp:PATH`` or ``qmp:HOST:PORT`` names; BadTarget if none."""
        kind, _, which = words.partition(":")
        if kind == "qmp" and which:
            return cls._behind(words, which, proc)
        if words == "qemu":
            process = choose(running(proc), os.getuid() if uid is None else uid)
        elif kind == "qemu" and re.fullmatch(r"[0-9]{1,10}", which):
            process = _numbered(int(which), proc)
        else:
            raise BadTarget(f"{words!r} names no QEMU: write qemu, qemu:PID, qmp:PATH or qmp:HOST:PORT")
        kernel = process.options.kernel
        return cls(f"qemu {process.pid}" + (f" ({kernel})" if kernel else ""), process, _monitors_of(process))

    @classmethod
    def _behind(cls, words: str, which: str, proc: Path) -> Qemu:
        """The guest behind a monitor, and its process when that is one of this machine."""
        host, _, port = which.rpartition(":")
        if re.fullmatch(r"[0-9]{5,}", port) and not is_port(port):
            raise BadTarget(f"{words!r}: {port} is no port; those go from 1 to 65535")
        local = not host or "/" in host or not is_port(port)
        where = Socket(which) if local else Socket(None, host.strip("[]"), int(port))
        process = None
        with Monitor(where) as monitor, suppress(PagebookError):
            if monitor.peer:
                process = process_at(proc / str(monitor.peer))
            elif where.host in _LOCAL:
                process = next((one for one in running(proc) if where.port in _ports(one)), None)
        return cls(words, process, (where,), must=True)

    def __enter__(self) -> Qemu:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the process and its monitor.

        What earlier looks have not fetched can still be fetched from a process, not through a monitor.
        """
        with suppress(SourceLost):  # a signal can come after the guest stopped and before the block that it is for
            self._thaw()
        if self._ram.monitor:
            self._ram.monitor.close()
        self._ram = Ram()
        if self._held:
            self._held.close()
            self._held = None

    def look(self) -> Source:
        """The guest as it is now; SourceLost when it has ended.

        Each call gives memory of its own, in which every page is fetched at most once; mapped memory moves on.
        """
        if self.process and not self.process.alive():
            raise SourceLost(f"QEMU {self.process.pid} has ended")
        if not self._ram.regions:
            raise SourceLost(f"{self.name} was let go of; find it again")
        memory = self._memory()
        source = Source(
            self.name,
            memory,
            kernel=self.kernel,
            live=not self._stopped,
            remarks=self._ram.remarks,
            no_kernel=self._no_kernel,
            again=None if self._stopped else self._memory,
        )
        if self._stub:
            return replace(source, harts=self._stub.harts(), live=False, again=None)
        with self._monitor() as monitor:
            if monitor:
                paused = self._paused(monitor)
                live = source.live and not paused
                again = source.again if live else None
                return replace(source, harts=_harts(monitor, memory), live=live, paused=paused, again=again)
        unknown = self._why_unknown()
        said = (unknown,) if self._silent else ()  # there is a monitor: that it does not answer is news
        return replace(source, remarks=(*source.remarks, *said), no_satp=unknown)

    def _memory(self) -> Memory:
        """Its bytes of now."""
        return Memory(joined(region() for region in self._ram.regions))

    def _paused(self, monitor: Monitor) -> str:
        """What to say when somebody else has stopped the guest; nothing when it runs, or it was we."""
        status = "" if self._undo else monitor.status()
        if not status.startswith("paused"):
            return ""
        others = " or debugger" if "debug" in status else ""
        return f"the guest is {status} and nothing in it moves: cont in its monitor{others} lets it run"

    def _why_unknown(self) -> str:
        what = "satp, privilege and registers of the harts are not known: "
        if self._silent:
            return what + self._silent
        if self.process and self.process.options.gdb:
            return (
                f"{what}QEMU's gdbstub tells them, but stops the guest, so it is asked only with --freeze; or add to "
                f"the Makefile: {MONITOR_LINE}"
            )
        return f"{what}this QEMU has no monitor to ask; add to the Makefile: {MONITOR_LINE}"

    @contextmanager
    def _monitor(self) -> Iterator[Monitor | None]:
        """The monitor that is held, or one for as long as this lasts: QEMU serves one client at a time."""
        monitor = self._held or self._connect()
        try:
            yield monitor
        finally:
            if monitor and monitor is not self._held:
                monitor.close()

    def _connect(self) -> Monitor | None:
        if self._silent and not self._must:
            return None
        for where in self._monitors:
            try:
                return Monitor(where)
            except BadTarget as error:
                if self._must:
                    raise
                self._silent = str(error)
        return None

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Stop the guest for as long as this lasts; one that was stopped before stays so afterwards.

        By the monitor's stop and cont, or by a gdbstub, which stops the guest as long as it is connected; BadTarget
        when there is neither.
        """
        self._silent = None
        with self._monitor() as monitor:
            if monitor:
                with self._stopped_by(monitor):
                    yield
                return
        gdb = self.process.options.gdb if self.process else None
        if not self.process or not gdb:
            why = self._silent or f"this QEMU has no monitor to ask for it; add to the Makefile: {MONITOR_LINE}"
            raise BadTarget(f"the guest cannot be stopped: {why}")
        with self._stopped_by_gdb(self.process, gdb):
            yield

    @contextmanager
    def _stopped_by(self, monitor: Monitor) -> Iterator[None]:
        before, self._held = self._held, monitor
        ran = monitor.running()
        with _ended_in_order() as ending:
            try:
                try:
                    if ran:
                        self._undo = lambda: monitor.ask("cont")
                        with _uninterrupted():
                            monitor.ask("stop")
                    self._stopped = True
                    yield
                finally:
                    ending.armed = False
            finally:  # also when a signal came just before that
                self._held, self._stopped = before, False
                self._thaw()

    @contextmanager
    def _stopped_by_gdb(self, process: Process, where: Socket) -> Iterator[None]:
        if taken(process, where):  # a connection that waits would stop the guest when the debugger leaves it
            raise BadTarget(
                f"the guest cannot be stopped: a debugger is connected to its gdbstub at {where}; detach that, or "
                + (f"free its monitor: {self._silent}" if self._silent else f"add to the Makefile: {MONITOR_LINE}")
            )
        with _ended_in_order() as ending:
            try:
                try:
                    with _uninterrupted():
                        self._stub = GdbStub(where)
                        self._undo = self._stub.detach
                    yield
                finally:
                    ending.armed = False
            finally:
                self._stub = None
                self._thaw()

    def _thaw(self) -> None:
        """Let the guest run on if it was we who stopped it; once."""
        undo, self._undo = self._undo, None
        if undo:
            undo()


def _numbered(pid: int, proc: Path) -> Process:
    processes = running(proc)
    for process in processes:
        if process.pid == pid:
            return process
    listed = ", ".join(f"qemu:{one}" for one in processes) or "none at all"
    raise BadTarget(f"process {pid} is no qemu-system-riscv64; of those there are: {listed}")


def _monitors_of(process: Process) -> tuple[Socket, ...]:
    """The monitors of its command line, their paths as we can open them."""
    found = []
    for where in process.options.monitors:
        path = process.file(where.path) if where.path is not None else None
        if where.path is None or path is not None:
            found.append(where._replace(path=path))
    return tuple(found)


def _ports(process: Process) -> list[int]:
    return [where.port for where in process.options.monitors if where.path is None]


def _harts(monitor: Monitor, memory: Memory) -> tuple[Hart, ...]:
    """What the monitor tells of the harts, and what follows from it."""
    text = monitor.ask("info registers -a")
    handlers = registers_in(text, "mtvec")
    return tuple(_judged(hart, memory, at) for hart, at in zip(harts_in(text), handlers, strict=True))


def _judged(hart: Hart, memory: Memory, handler: int | None) -> Hart:
    """The hart with its privilege, which QEMU's monitor does not tell, by the page that it fetches from.

    U fetches only from U pages and S never does; what S and U cannot fetch, M does.  M-mode code in a page that S may
    execute cannot be told from S, so near behind mtvec nothing is said.
    """
    if not hart.registers or not hart.satp or (handler and 0 <= hart.registers[0] - (handler & ~3) < HANDLER_BYTES):
        return hart
    xlen = 64 if hart.satp >> 32 or max(hart.registers) >> 32 else 32
    try:
        satp = decode_satp(hart.satp, xlen)
        if satp.format is None:
            return hart
        pte = AddressSpace(memory, satp.root, satp.format).entry(hart.registers[0]).pte
    except (BadAddress, OutsideMemory):
        return hart
    fetched = pte & V and pte & RWX and pte & X
    return hart._replace(privilege="M" if not fetched else "U" if pte & U else "S")


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Signals that would end us wait until this is over."""
    waiting: list[int] = []
    before = _handled(_ENDING, lambda number, frame: waiting.append(number))
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for number in waiting:
            signal.raise_signal(number)


class _Ending:
    """Ends us by an exception at the first signal while it is armed; what comes later waits, in ``kept``."""

    def __init__(self) -> None:
        self.armed = True
        self.kept: list[int] = []

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """Take a signal."""
        if not self.armed:
            self.kept.append(number)
            return
        self.armed = False  # what the exception leads to must not be interrupted
        raise KeyboardInterrupt if number == signal.SIGINT else SystemExit(128 + number)


@contextmanager
def _ended_in_order() -> Iterator[_Ending]:
    """What would end us does so as one exception, and not while what it leads to is under way.

    What would suspend us does not: the guest would stay stopped for as long.
    """
    ending = _Ending()
    usual = (signal.SIG_DFL, signal.default_int_handler)
    before = _handled([n for n in _ENDING if signal.getsignal(n) in usual], ending)
    before |= _handled([n for n in (signal.SIGTSTP,) if signal.getsignal(n) in usual], _stay)
    before |= _handled([n for n in _TERMINALS if signal.getsignal(n) in usual], signal.SIG_IGN)
    try:
        yield ending
    finally:
        ending.armed = False
        for number, handler in before.items():
            signal.signal(number, handler)
        for number in ending.kept:
            signal.raise_signal(number)


def _stay(number: int, frame: FrameType | None) -> None:
    """Say that we are not suspended."""
    with suppress(OSError):
        os.write(2, _STAYING)


def _handled(
    numbers: Sequence[int], handler: Callable[[int, FrameType | None], object] | signal.Handlers
) -> dict[int, Any]:
    """Set this handler; what stood there before.  Only the main thread can, and only there do handlers run."""
    if threading.current_thread() is not threading.main_thread():
        return {}
    return {number: signal.signal(number, handler) for number in numbers}
