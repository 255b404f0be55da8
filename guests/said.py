"""What the kernel says on its UART, as data."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple


class Leaf(NamedTuple):
    """A mapping that the kernel made; ``flags`` the low eight bits of its PTE."""

    va: int
    pa: int
    size: int
    flags: int


class Problem(NamedTuple):
    """A PTE that no walk can use."""

    va: int
    pte_pa: int
    pte: int
    kind: str


@dataclass
class Told:
    """A space as the kernel told it; ``loops`` are the ranges of addresses where a loop decides what is mapped."""

    root: int
    leaves: set[Leaf] = field(default_factory=set)
    problems: set[Problem] = field(default_factory=set)
    loops: list[range] = field(default_factory=list)


@dataclass
class Said:
    """All that the kernel said."""

    wrong: str = ""
    devices: list[range] = field(default_factory=list)
    spaces: dict[str, Told] = field(default_factory=dict)
    image: tuple[int, int, int] = (0, 0, 0)
    free: tuple[int, int, int] = (0, 0, 0)
    count: int = 0
    ready: bool = False
    stopped: str = ""


def read(text: str) -> Said:
    """What the whole lines of ``text`` say; ValueError for a line that means nothing."""
    said = Said()
    for line in text.splitlines():
        match line.split():
            case ["image", start, etext, stop]:
                said.image = int(start, 16), int(etext, 16), int(stop, 16)
            case ["device", start, stop]:
                said.devices.append(range(int(start, 16), int(stop, 16)))
            case ["root", name, pa]:
                said.spaces[name] = Told(int(pa, 16))
            case ["map", name, *numbers]:
                said.spaces[name].leaves.add(Leaf(*(int(number, 16) for number in numbers)))
            case ["problem", name, kind, *numbers]:
                problem = Problem(*(int(number, 16) for number in numbers), kind=kind.replace("-", " "))
                said.spaces[name].problems.add(problem)
            case ["under", name, va, size]:
                said.spaces[name].loops.append(range(int(va, 16), int(va, 16) + int(size, 16)))
            case ["free", head, start, stop]:
                said.free = int(head, 16), int(start, 16), int(stop, 16)
            case ["count", pa]:
                said.count = int(pa, 16)
            case ["wrong", name]:
                said.wrong = name
            case ["ready"]:
                said.ready = True
            case ["stopped", *why]:
                said.stopped = " ".join(why)
            case _:
                raise ValueError(f"the kernel says {line!r}")
    return said
