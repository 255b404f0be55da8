"""The RAM blocks of a process: which they are, what they hold, and why they cannot be read."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import numpy as np
import pytest

from fake_qemu import LINUX, entry, guest
from pagebook.errors import BadTarget, SourceLost
from pagebook.memory import FetchedRegion
from pagebook.sources.blocks import (
    Block,
    ProcessMemory,
    fitting,
    joined,
    map_file,
    read_blocks,
    shared_view,
    why_refused,
)
from pagebook.sources.processes import Backend, Process, running

PAGE = 4096
MAPS = """\
10000000-10001000 r--p 00000000 08:01 55                         /usr/bin/qemu-system-riscv64
20000000-20800000 rw-p 00000000 00:00 0                          [heap]
30000000-30100000 rw-p 00000000 00:00 0
30100000-30900000 rw-p 00000000 00:00 0
30900000-30901000 ---p 00000000 00:00 0
40000000-40200000 rw-p 00000000 00:00 0
40200000-40800000 rw-p 00000000 00:00 0
50000000-50800000 rwxp 00000000 00:00 0
60000000-60800000 rw-s 00001000 00:1b 7                          /dev/shm/my ram
70000000-70800000 rw-s 00000000 00:01 8                          /memfd:tcg-jit (deleted)
71000000-71800000 rw-s 00000000 00:01 9                          /memfd:memory-backend-memfd (deleted)
nonsense
"""


def process(tmp_path: Path, maps: str | None = None, **more: object) -> Process:
    directory = entry(tmp_path / "proc", 5, ["qemu-system-riscv64"], **more)
    if maps is not None:
        (directory / "maps").write_text(maps)
    (found,) = running(tmp_path / "proc")
    return found


def test_what_can_be_ram_is_read_from_the_maps_and_what_cannot_is_left_out(tmp_path: Path):
    assert read_blocks(process(tmp_path, MAPS)) == [
        Block(0x7100_0000, 8 << 20, True, "/memfd:memory-backend-memfd (deleted)", 9),
        Block(0x6000_0000, 8 << 20, True, "/dev/shm/my ram", 7, 0x1000),
        Block(0x4020_0000, 6 << 20),
        Block(0x4000_0000, 2 << 20),
        Block(0x3010_0000, 8 << 20),
        Block(0x3000_0000, 1 << 20),
    ]


def backend(size: int, kind: str = "ram") -> Backend:
    return Backend(kind, size, None, shared=False)


def test_a_block_is_a_mapping_of_the_size_else_a_run_of_it_else_the_end_of_a_larger_run(tmp_path: Path):
    blocks = read_blocks(process(tmp_path, MAPS))
    assert fitting(blocks, backend(8 << 20)) == [Block(0x3010_0000, 8 << 20)]
    assert fitting([b for b in blocks if b.host != 0x3010_0000], backend(8 << 20)) == [Block(0x4000_0000, 8 << 20)]
    assert fitting(blocks, backend(9 << 20)) == [Block(0x3000_0000, 9 << 20)]
    assert fitting(blocks, backend(7 << 20)) == [Block(0x4010_0000, 7 << 20), Block(0x3020_0000, 7 << 20)]
    assert fitting(blocks, backend(10 << 20)) == []
    assert [b.inode for b in fitting(blocks, backend(8 << 20, "file"))] == [7]
    assert [b.inode for b in fitting(blocks, backend(8 << 20, "memfd"))] == [9]


def test_mappings_of_one_file_are_joined_only_where_it_goes_on():
    parts = [Block(0x3000, PAGE, True, "/f", 7, 0x2000), Block(0x2000, PAGE, True, "/f", 7, 0x1000)]
    assert joined(parts) == [Block(0x2000, 2 * PAGE, True, "/f", 7, 0x1000)]
    assert joined([parts[0], parts[1]._replace(offset=0)]) == [parts[0], parts[1]._replace(offset=0)]
    assert joined([parts[0], parts[1]._replace(inode=8)]) == [parts[0], parts[1]._replace(inode=8)]
    assert joined([parts[0], Block(0x2000, PAGE, True)]) == [parts[0], Block(0x2000, PAGE, True)]


def ram(tmp_path: Path, pages: int = 30) -> tuple[Path, bytes]:
    """A file of junk with untouched pages among it."""
    data = bytearray(np.random.default_rng(1).integers(1, 256, pages * PAGE, np.uint8).tobytes())
    for page in range(0, pages, 3):
        data[page * PAGE : (page + 1) * PAGE] = bytes(PAGE)
    (tmp_path / "ram").write_bytes(data)
    return tmp_path / "ram", bytes(data)


@LINUX
def test_a_process_s_memory_is_read_as_it_is_now_and_untouched_pages_are_known(tmp_path: Path):
    path, data = ram(tmp_path)
    with guest((path, "private")) as child:
        found = process(tmp_path, of=child.child.pid)
        (block,) = fitting(read_blocks(found), backend(len(data)))
        assert block.host == child.host[0]
        memory = ProcessMemory(found)
        absent = memory.absent(block)
        assert absent
        assert absent().tolist() == [not page % 3 for page in range(30)]
        first = FetchedRegion(0x8000_0000, len(data), memory.filler(block), absent=absent)
        assert bytes(first.data) == data
        child.poke(0, 8, 0x1234)
        second = FetchedRegion(0x8000_0000, len(data), memory.filler(block), absent=absent)
        assert second.words[1] == 0x1234
        assert first.words[1] == 0
        memory.close()


@LINUX
def test_a_process_that_ends_while_it_is_read_is_a_clear_error(tmp_path: Path):
    path, data = ram(tmp_path)
    with guest((path, "private")) as child:
        found = process(tmp_path, of=child.child.pid)
        memory = ProcessMemory(found)
        room = bytearray(16)
        memory.read_into(child.host[0] + PAGE, memoryview(room))
        assert room == data[PAGE : PAGE + 16]
        with pytest.raises(SourceLost, match=r"QEMU 5 can be read no more .*the guest has ended"):
            memory.read_into(0x1000, memoryview(room))
        child.kill()
        with pytest.raises(SourceLost, match="there is nothing to read"):
            memory.read_into(child.host[0], memoryview(room))
        memory.close()


@LINUX
def test_without_a_pagemap_every_page_is_fetched(tmp_path: Path):
    path, data = ram(tmp_path)
    with guest((path, "private")) as child:
        found = process(tmp_path, of=child.child.pid)
        (found.directory / "pagemap").unlink()
        memory = ProcessMemory(found)
        (block,) = fitting(read_blocks(found), backend(len(data)))
        assert memory.absent(block) is None
        memory.close()
        (found.directory / "pagemap").write_bytes(bytes(8))  # shorter than it should be
        memory = ProcessMemory(found)
        absent = memory.absent(block)
        assert absent
        assert not absent().any()
        memory.close()


@LINUX
@pytest.mark.parametrize("deleted", [False, True])
def test_a_shared_file_is_mapped_and_shows_what_is_written_later_even_when_its_name_is_gone(
    tmp_path: Path, deleted: bool
):
    path, data = ram(tmp_path)
    with guest((path, "shared")) as child:
        found = process(tmp_path, of=child.child.pid)
        if deleted:
            path.unlink()
        (block,) = fitting(read_blocks(found), backend(len(data), "file"))
        assert block.shared
        view = shared_view(found, block)
        assert view is not None
        assert view.readonly
        assert bytes(view) == data
        child.poke(0, 16, 0xABCD)
        assert view[16:18] == b"\xcd\xab"


def test_only_the_very_file_is_mapped_and_only_if_it_is_long_enough(tmp_path: Path):
    path, data = ram(tmp_path)
    inode = path.stat().st_ino
    assert map_file(path, len(data), 0, inode) == data
    assert map_file(path, PAGE, PAGE, inode) == data[PAGE : 2 * PAGE]
    assert map_file(path, len(data), 0, inode + 1) is None
    assert map_file(path, len(data), PAGE, inode) is None
    assert map_file(tmp_path, PAGE) is None
    os.mkfifo(tmp_path / "pipe")
    assert map_file(tmp_path / "pipe", PAGE) is None
    found = process(tmp_path, MAPS)
    assert shared_view(found, Block(0x1000, PAGE, True, "/nowhere", 3)) is None
    assert shared_view(found, Block(0x1000, PAGE)) is None


MAKEFILE = "add to the Makefile: QEMUOPTS += -object memory-backend-file,id=m,size=128M,mem-path=/dev/shm/xv6,share=on"


@pytest.mark.parametrize(
    ("uid", "scope", "error", "words"),
    [
        (1000, "1\n", errno.EACCES, ["kernel.yama.ptrace_scope is 1;", "sysctl kernel.yama.ptrace_scope=0", MAKEFILE]),
        (1000, "3\n", errno.EPERM, ["ptrace_scope is 3, which only a restart of the system changes", MAKEFILE]),
        (1001, "1\n", errno.EACCES, ["it belongs to user 1000, and you are user 1001", "as root", MAKEFILE]),
        (1000, "0\n", errno.EACCES, ["a container or a security module", "SYS_PTRACE", MAKEFILE]),
        (1000, None, errno.EACCES, ["a container or a security module", MAKEFILE]),
        (0, "1\n", errno.EACCES, ["a container or a security module"]),
        (1000, "what", errno.EACCES, ["a container or a security module"]),
        (1000, "1\n", errno.ENOENT, ["has it ended?"]),
    ],
)  # fmt: skip
def test_the_reason_of_a_refusal_is_named_with_its_remedy(
    tmp_path: Path, uid: int, scope: str | None, error: int, words: list[str]
):
    found = process(tmp_path, MAPS)
    if scope is not None:
        (tmp_path / "proc/sys/kernel/yama").mkdir(parents=True)
        (tmp_path / "proc/sys/kernel/yama/ptrace_scope").write_text(scope)
    text = why_refused(found, OSError(error, os.strerror(error)), uid)
    for word in words:
        assert word in text
    assert ("kernel.yama" in text) == any("ptrace_scope is" in word for word in words)


def test_memory_that_cannot_be_opened_is_refused_in_these_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    found = process(tmp_path, MAPS)
    with pytest.raises(BadTarget, match=r"cannot be read .No such file.*has it ended"):
        ProcessMemory(found)
    (found.directory / "mem").write_bytes(b"")
    real = os.open

    def refuse(path: object, *args: object) -> int:
        if Path(str(path)).name == "mem":
            raise PermissionError(errno.EACCES, "Permission denied")
        return real(path, *args)

    monkeypatch.setattr(os, "open", refuse)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(BadTarget, match=r"Permission denied.*container.*QEMUOPTS"):
        ProcessMemory(found)
