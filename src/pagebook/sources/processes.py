"""QEMU processes of this machine, found in /proc, and what their command lines say.

Only what the options themselves tell: nothing is opened, and no guest's byte is looked at.  A command line is a user's
text; what cannot be read in it is passed over.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from pagebook.errors import BadTarget
from pagebook.units import size_text

PROC = Path("/proc")
PROGRAM = "qemu-system-riscv"
COMM = PROGRAM[:15]  # the kernel keeps no more of a name

_MEMORY = re.compile(r"([0-9]{1,20}(?:\.[0-9]{1,20})?)([bBkKmMgGtT]?)")
_OWNER = re.compile(r"^Uid:\s+([0-9]{1,10})\b", re.M)
_UNITS = {"B": 0, "K": 10, "M": 20, "G": 30, "T": 40}
DEFAULT_MEMORY = 128 << 20
DEFAULT_MACHINE = "spike"
MOST_ARGUMENTS = 1 << 20
MOST_STATUS = 1 << 12


class Backend(NamedTuple):
    """A ``-object memory-backend-...``: its kind (``ram``, ``file``, ``memfd``), bytes, file, and who shares it."""

    kind: str
    size: int
    path: str | None
    shared: bool


class Socket(NamedTuple):
    """Where a monitor or a gdbstub listens: ``path`` of a Unix socket, or ``host`` and ``port``."""

    path: str | None = None
    host: str = ""
    port: int = 0

    def __str__(self) -> str:
        return self.path if self.path is not None else f"{self.host or 'localhost'}:{self.port}"


@dataclass(frozen=True)
class CommandLine:
    """What a QEMU was told, as far as it matters here.

    ``blocks`` are the backends that RAM is made of, in order; one of kind ``ram`` where none is named.
    ``monitors`` are sockets with QMP or the human monitor behind them.
    """

    machine: str = DEFAULT_MACHINE
    memory: int = DEFAULT_MEMORY
    kernel: str | None = None
    blocks: tuple[Backend, ...] = ()
    monitors: tuple[Socket, ...] = ()
    gdb: Socket | None = None


@dataclass(frozen=True)
class Process:
    """A QEMU that runs: its number, its owner, its command line, and its directory in /proc."""

    pid: int
    uid: int
    options: CommandLine
    directory: Path
    started: str = ""

    def __str__(self) -> str:
        kernel = self.options.kernel or "no -kernel"
        return f"{self.pid} ({kernel}, {size_text(self.options.memory)})"

    def alive(self) -> bool:
        """Whether it still runs, and its number is not another's by now."""
        return bool(self.started) and _started(self.directory) == self.started

    @property
    def cwd(self) -> Path | None:
        """Where it was started; None where the system does not tell."""
        try:
            return (self.directory / "cwd").readlink()
        except OSError:
            return None

    @property
    def runs(self) -> str:
        """What it was started with, which one that is started again has too: the kernel's file, or where it was."""
        kernel = self.options.kernel and self.file(self.options.kernel)
        return kernel or self.options.kernel or f"what was started in {self.cwd or 'a folder that is not known'}"

    def file(self, name: str) -> str | None:
        """A file name of its command line, as we can open it; None for a relative one when `cwd` is not known."""
        cwd = None if Path(name).is_absolute() else self.cwd
        if cwd is None and not Path(name).is_absolute():
            return None
        return str(Path(cwd or "/") / name)


def running(proc: Path = PROC) -> list[Process]:
    """The QEMUs for RISC-V that /proc shows, whoever owns them; BadTarget where there is no /proc."""
    if not (proc / "self").exists():
        raise BadTarget(
            "this system has no /proc, so a running QEMU cannot be found: give it -qmp unix:qmp.sock,server,nowait and "
            "open qmp:qmp.sock"
        )
    found = [process_at(entry) for entry in proc.iterdir() if entry.name.isdecimal()]
    return sorted((one for one in found if one), key=lambda one: one.pid)


def process_at(directory: Path) -> Process | None:
    """The QEMU of this directory in /proc; None when it is another program, or has ended."""
    try:
        words = _words(directory)
        if not words or not _is_qemu(directory, words[0]):
            return None
        started = _started(directory)
        return Process(int(directory.name), _uid(directory), parse(words[1:]), directory, started) if started else None
    except OSError:
        return None


def _words(directory: Path) -> list[str]:
    with (directory / "cmdline").open("rb") as file:
        text = file.read(MOST_ARGUMENTS)
    return [os.fsdecode(word) for word in text.rstrip(b"\0").split(b"\0")] if text else []


def _is_qemu(directory: Path, first: str) -> bool:
    """By the program's file, where that can be asked, else by the name that the kernel or the command line has."""
    try:
        return (directory / "exe").readlink().name.startswith(PROGRAM)
    except OSError:
        name = (directory / "comm").read_text(errors="replace").strip()
        return name.startswith(COMM) or Path(first).name.startswith(PROGRAM)


def _uid(directory: Path) -> int:
    found = _OWNER.search((directory / "status").read_text(errors="replace"))
    if not found:
        raise OSError(f"{directory} names no owner")
    return int(found[1])


def _started(directory: Path) -> str:
    """When the process was started, in the system's ticks; empty when it has ended, or is about to be buried."""
    try:
        descriptor = os.open(f"{directory}/stat", os.O_RDONLY | os.O_CLOEXEC)
        try:
            fields = os.read(descriptor, MOST_STATUS).rpartition(b")")[2].decode("ascii", "replace").split()
        finally:
            os.close(descriptor)
    except OSError:
        return ""
    return fields[19] if len(fields) > 19 and fields[0] not in ("Z", "X") else ""


def choose(processes: Sequence[Process], uid: int) -> Process:
    """The only QEMU of this user (of anybody, for root); BadTarget, with the list to choose from, otherwise."""
    ours = [one for one in processes if uid in (0, one.uid)]
    if len(ours) == 1:
        return ours[0]
    if ours:
        names = "; ".join(f"qemu:{one}" + (f" in {one.cwd}" if one.cwd else "") for one in ours)
        raise BadTarget(f"{len(ours)} QEMUs are running; choose one: {names}")
    others = ", ".join(f"{one} of user {one.uid}" for one in processes)
    remedy = f"for those of others it takes their rights, or root's: {others}" if others else "start one: make qemu"
    raise BadTarget(f"no qemu-system-riscv64 of this user is running; {remedy}")


def parse(words: Sequence[str]) -> CommandLine:
    """What the words after the program's name say."""
    read = _Reading()
    for option, value in _options(words):
        read.take(option, value)
    return read.result()


def _options(words: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Each option with the word after it, which may be another option; the guest's own words are no option."""
    rest = iter(zip(words, [*words, ""][1:], strict=True))
    for word, after in rest:
        if word.startswith("-"):
            option = word.removeprefix("-").removeprefix("-")
            yield option, after
            if option == "append":
                next(rest, None)


class _Reading:
    """The options so far."""

    def __init__(self) -> None:
        self.machine: dict[str, str] = {}
        self.memory = DEFAULT_MEMORY
        self.kernel: str | None = None
        self.mem_path: str | None = None
        self.backends: dict[str, Backend] = {}
        self.nodes: list[str] = []
        self.chardevs: dict[str, Socket] = {}
        self.mons: list[str] = []
        self.monitors: list[Socket] = []
        self.gdb: Socket | None = None

    def take(self, option: str, value: str) -> None:
        pairs = keyvals(value)
        first = pairs.get("", "")
        match option:
            case "M" | "machine":
                self.machine |= pairs | ({"type": first} if first else {})
            case "m":
                self.memory = memory_size(pairs.get("size", first)) or self.memory
            case "kernel":
                self.kernel = value
            case "mem-path":
                self.mem_path = value
            case "object":
                self._object(_json(value) or pairs)
            case "numa" if first == "node" or _json(value):
                self.nodes += [node for node in [(_json(value) or pairs).get("memdev")] if node]
            case "chardev":
                self._chardev(_json(value) or pairs)
            case "mon":
                self.mons.append(pairs.get("chardev", first))
            case "qmp" | "qmp-pretty" | "monitor":
                self._listening(self.monitors, value)
            case "gdb":
                self.gdb = socket_of(value) or self.gdb
            case "s":
                self.gdb = Socket(host="localhost", port=1234)

    def _object(self, pairs: dict[str, str]) -> None:
        kind = pairs.get("qom-type", pairs.get("", ""))
        if kind.startswith("memory-backend-"):
            size = memory_size(pairs.get("size", ""), unit="B")
            kind = kind.removeprefix("memory-backend-")
            shared = pairs.get("share", "on" if kind == "memfd" else "off") in ("on", "yes", "true")
            self.backends[pairs.get("id", "")] = Backend(kind, size, pairs.get("mem-path"), shared)

    def _chardev(self, pairs: dict[str, str]) -> None:
        if pairs.get("", pairs.get("backend")) == "socket":
            socket = _socket(pairs.get("path"), pairs.get("host", ""), pairs.get("port", ""))
            if socket and pairs.get("server", "off") != "off":
                self.chardevs[pairs.get("id", "")] = socket

    @staticmethod
    def _listening(sockets: list[Socket], value: str) -> None:
        socket = socket_of(value)
        if socket and keyvals(value).get("server", "off") != "off":
            sockets.append(socket)

    def result(self) -> CommandLine:
        named = [self.backends[name] for name in self.nodes if name in self.backends]
        if not named and self.machine.get("memory-backend") in self.backends:
            named = [self.backends[self.machine["memory-backend"]]]
        whole = Backend("ram" if self.mem_path is None else "file", self.memory, self.mem_path, shared=False)
        monitors = [*self.monitors, *(self.chardevs[name] for name in self.mons if name in self.chardevs)]
        return CommandLine(
            machine=self.machine.get("type", DEFAULT_MACHINE),
            memory=self.memory,
            kernel=self.kernel,
            blocks=tuple(named) or (whole,),
            monitors=tuple(monitors),
            gdb=self.gdb,
        )


def keyvals(text: str) -> dict[str, str]:
    """QEMU's ``a,b=c,d``: the first word without ``=`` under ``""``, other such words as ``on`` (``nowait``: off)."""
    pairs: dict[str, str] = {}
    for number, part in enumerate(part.replace("\0", ",") for part in text.replace(",,", "\0").split(",")):
        key, equals, value = part.partition("=")
        if equals:
            pairs[key] = value
        elif not number:
            pairs[""] = part
        else:
            pairs[part.removeprefix("no")] = "off" if part.startswith("no") else "on"
    return pairs


def _json(text: str) -> dict[str, str] | None:
    """An option written as a JSON object, as QEMU also takes them; its values as text."""
    if not text.startswith("{"):
        return None
    with suppress(ValueError, RecursionError):
        found = json.loads(text)
        if isinstance(found, dict):
            return {str(key): _as_text(value) for key, value in found.items()}
    return None


def _as_text(value: object) -> str:
    return str(value) if not isinstance(value, bool) else "on" if value else "off"


def memory_size(text: str, unit: str = "M") -> int:
    """The bytes that QEMU means by ``128M``, ``1.5G`` or, in MiB, ``128``; 0 for what is no size."""
    with suppress(ValueError, OverflowError):
        if text.lower().startswith("0x"):
            return int(text, 16) << _UNITS[unit]
    found = _MEMORY.fullmatch(text)
    return int(float(found[1]) * (1 << _UNITS[found[2].upper() or unit])) if found and len(text) < 20 else 0


def socket_of(text: str) -> Socket | None:
    """The socket in ``unix:PATH,...``, ``tcp:HOST:PORT,...`` or ``tcp::PORT``; None for anything else."""
    kind, _, rest = text.partition(":")
    where = keyvals(rest).get("", "")
    if kind == "unix":
        return _socket(where, "", "")
    host, _, port = where.rpartition(":")
    return _socket(None, host, port) if kind == "tcp" else None


def is_port(text: str) -> bool:
    """Whether this is the number of a TCP port."""
    return re.fullmatch(r"[0-9]{1,5}", text) is not None and 0 < int(text) < 1 << 16


def _socket(path: str | None, host: str, port: str) -> Socket | None:
    if path:
        return Socket(path)
    host = "localhost" if host in ("", "0.0.0.0", "::", "[::]") else host.strip("[]")
    return Socket(None, host, int(port)) if is_port(port) else None
