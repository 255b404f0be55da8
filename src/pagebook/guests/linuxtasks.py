"""The tasks of a Linux kernel, read from its lists: who they are, and where their page tables and stacks are.

The lists lie in somebody else's memory, which may be damaged or move while it is read: each is followed as far as it
makes sense, all together never more than `MOST_STEPS` steps, and it is told whether each came back to its start.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from pagebook.errors import PagebookError
from pagebook.guests.btf import Btf
from pagebook.guests.view import View
from pagebook.machine import Area

MOST_TASKS = 1 << 16
MOST_STEPS = 4 * MOST_TASKS
_NAME_BYTES = 16
_KERNEL_THREAD = 0x200000
_STATES = {0: "run", 1: "sleep", 2: "disk sleep", 4: "stopped", 8: "traced"}
_AREAS = (("code", "start_code", "end_code"), ("data", "start_data", "end_data"), ("heap", "start_brk", "brk"))


@dataclass(frozen=True)
class Layouts:
    """Offsets of the members that are needed, and how large a kernel's stack is, in bytes."""

    task: Mapping[str, int]
    mm: Mapping[str, int]
    signal: Mapping[str, int]
    stack_bytes: int

    @classmethod
    def of(cls, btf: Btf, stack_bytes: int) -> Layouts | None:
        """Those of a kernel; None where its types have not the members that every Linux has."""
        task = btf.layout("task_struct", "tasks", "mm", "comm", "pid", "tgid", "flags", "stack")
        mm = btf.layout("mm_struct", "pgd")
        if task is None or mm is None:
            return None
        signal = btf.layout("signal_struct", "thread_head") if {"signal", "thread_node"} <= set(task.offsets) else None
        return cls(task.offsets, mm.offsets, signal.offsets if signal else {}, stack_bytes)


@dataclass(frozen=True)
class Task:
    """A task; ``mm`` is 0 for one without memory of its own, ``pgd`` the virtual address of its root.

    ``stack`` is where the kernel works for it, ``areas`` what is known of its own addresses.
    """

    pid: int
    tgid: int
    name: str
    state: str | None
    stack: Area | None
    mm: int
    pgd: int
    areas: tuple[Area, ...]


@dataclass(frozen=True)
class Tasks:
    """All that were found; ``whole`` when every list came back to its start."""

    found: tuple[Task, ...]
    whole: bool


def read(view: View, init_task: int, layouts: Layouts) -> Tasks:
    """Every task, the kernel's first one first, threads after the leader of their process."""
    reader = _Reader(view, layouts)
    found = [task for leader in reader.leaders(init_task) for task in reader.threads(leader)]
    return Tasks(tuple(found), reader.whole)


class _Reader:
    def __init__(self, view: View, layouts: Layouts) -> None:
        self.view = view
        self.layouts = layouts
        self.whole = True
        self.steps = 0
        self.seen: set[int] = set()

    def _list(self, head: int) -> Iterator[int]:
        """The addresses of the list's nodes, ``head`` left out."""
        seen = {head}
        try:
            node = self.view.number(head)
            while node != head:
                self.steps += 1
                if node in seen or self.steps > MOST_STEPS:
                    self.whole = False
                    return
                seen.add(node)
                yield node
                node = self.view.number(node)
        except PagebookError:
            self.whole = False

    def leaders(self, init_task: int) -> Iterator[int]:
        """The addresses of the tasks that lead a process, which are all on one list."""
        yield init_task
        offset = self.layouts.task["tasks"]
        for node in self._list(init_task + offset):
            yield node - offset

    def threads(self, leader: int) -> Iterator[Task]:
        """The leader and its threads, those that were not met before."""
        yield from self._task(leader)
        if self.layouts.signal and leader in self.seen:
            try:
                signal = self.view.number(leader + self.layouts.task["signal"])
            except PagebookError:
                self.whole = False
                return
            for node in self._list(signal + self.layouts.signal["thread_head"]):
                yield from self._task(node - self.layouts.task["thread_node"])

    def _task(self, at: int) -> Iterator[Task]:
        if at in self.seen or len(self.seen) >= MOST_TASKS:
            self.whole = self.whole and at in self.seen
            return
        try:
            task = self._read(at)
        except PagebookError:
            self.whole = False
            return
        self.seen.add(at)
        yield task

    def _read(self, at: int) -> Task:
        view, task = self.view, self.layouts.task
        kernels = view.number(at + task["flags"], 4) & _KERNEL_THREAD
        mm = 0 if kernels else view.number(at + task["mm"])
        pid = view.number(at + task["pid"], 4)
        state = task.get("__state", task.get("state"))
        return Task(
            pid=pid,
            tgid=view.number(at + task["tgid"], 4),
            name=view.text(at + task["comm"], _NAME_BYTES),
            state=None if state is None else _STATES.get(view.number(at + state, 4) & 0xF),
            stack=self._stack(view.number(at + task["stack"]), pid),
            mm=mm,
            pgd=view.number(mm + self.layouts.mm["pgd"]) if mm else 0,
            areas=tuple(self._areas(mm)) if mm else (),
        )

    def _stack(self, at: int, pid: int) -> Area | None:
        size = self.layouts.stack_bytes
        return Area(at, size, f"stack of process {pid}") if at and size else None

    def _areas(self, mm: int) -> Iterator[Area]:
        members = self.layouts.mm
        for name, first, last in _AREAS:
            if first in members and last in members:
                start, stop = self.view.number(mm + members[first]), self.view.number(mm + members[last])
                if start < stop < 1 << 63:
                    yield Area(start, stop - start, name)
