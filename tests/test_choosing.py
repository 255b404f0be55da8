"""Which guest it is: what the user says, then the kernel's symbols, then the harts' satp."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from elves import EXECUTE, READ, build_elf
from pagebook.errors import BadTarget
from pagebook.guests.choosing import GuestOptions, read_guest
from pagebook.machine import Hart
from pagebook.source import Source
from pagebook.sv import SV39
from worlds import World

WORLD = World()


def source(satp: int | None) -> Source:
    return Source("a dump", WORLD.memory, (Hart(0, satp),), no_satp="satp is not known")


def kernel(folder: Path) -> str:
    path = folder / "kernel"
    path.write_bytes(build_elf([(0x8000_0000, 4, 4, READ | EXECUTE, b"\x13\0\0\0")]))
    return str(path)


def test_roots_and_satps_that_the_user_gives_come_first(tmp_path: Path) -> None:
    asked = GuestOptions(kernel(tmp_path), satps=(SV39.satp(WORLD.table.root),))
    found, remarks, *_ = read_guest(source(None), asked)
    assert [space.table.root for space in found.spaces] == [WORLD.table.root]
    assert remarks == ()


def test_a_kernel_that_is_not_known_shows_the_harts_tables_and_says_so(tmp_path: Path) -> None:
    found, remarks, *_ = read_guest(source(SV39.satp(WORLD.table.root)), GuestOptions(kernel(tmp_path)))
    assert [space.name for space in found.spaces] == ["hart 0"]
    assert remarks[0].endswith(
        "is no kernel that pagebook knows: it has no symbols; only the tables of the harts are shown"
    )


def test_a_kernel_file_that_is_gone_is_said_with_the_remedy_and_matters_only_where_nothing_else_is_known() -> None:
    gone = "the kernel is not there any more: name its file with --kernel FILE"
    known, unknown = (replace(source(satp), no_kernel=gone) for satp in (SV39.satp(WORLD.table.root), None))
    found, remarks, *_ = read_guest(known, GuestOptions())
    assert [space.name for space in found.spaces] == ["hart 0"]
    assert remarks == (f"{gone}; only the tables of the harts are shown",)
    with pytest.raises(BadTarget, match=f"^{gone}; without it: satp is not known; say where a table starts"):
        read_guest(unknown, GuestOptions())
    assert read_guest(unknown, GuestOptions(roots=((WORLD.table.root, "sv39"),))).remarks == ()


def test_a_kernel_that_is_not_known_without_satp_is_refused_for_what_it_is(tmp_path: Path) -> None:
    with pytest.raises(BadTarget, match="that pagebook knows: it has no symbols; name the kernel"):
        read_guest(source(None), GuestOptions(kernel(tmp_path)))
    with pytest.raises(BadTarget, match="satp is not known; say where a table starts"):
        read_guest(source(None), GuestOptions())
