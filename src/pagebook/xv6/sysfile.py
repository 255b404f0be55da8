"""kernel/sysfile.c: the system call around exec, which takes a frame for each argument."""

from __future__ import annotations

from pagebook.xv6.exec import exec as exec_
from pagebook.xv6.kalloc import kalloc, kfree
from pagebook.xv6.kernel import Kernel
from pagebook.xv6.memlayout import MAXARG, MAXPATH, PGSIZE


def sys_exec(k: Kernel, path: str, argv: list[str]) -> int:
    """exec as a program calls it: every argument is first copied to a frame of its own, freed at the end."""
    if len(path.encode()) >= MAXPATH:
        return -1
    frames: list[int] = []
    result = -1
    for argument in argv[:MAXARG]:
        frame = kalloc(k)
        if frame == 0:
            break
        frames.append(frame)
        text = argument.encode() + b"\0"
        k.memory.write(frame, text[:PGSIZE])
        if len(text) > PGSIZE:
            break
    else:
        if len(argv) < MAXARG:
            listed = " ".join(map(hex, frames))
            k.tell("sys_exec", f"{path}: a frame for each argument string, {listed}")
            result = exec_(k, path, argv)
    for frame in frames:
        kfree(k, frame)
    k.tell("sys_exec", f"{path} {'runs' if result >= 0 else 'cannot be run'}; the arguments' frames are given back")
    return result
