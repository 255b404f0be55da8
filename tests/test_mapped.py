"""Mapped files and what is known of their holes."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest

from pagebook.guests import vmcoreinfo
from pagebook.guests.roots import find_roots
from pagebook.memory import Memory, Region
from pagebook.sources.files import open_file
from pagebook.sources.mapped import map_file, written_of
from pagebook.sv import SV39
from pagebook.units import PAGE_SIZE
from test_roots import best, kernel_and_processes

NOTE = b"OSRELEASE=6.12.1\nPAGESIZE=4096\n"
BASE = 0x8000_0000


@pytest.fixture
def sparse(tmp_path: Path) -> Path:
    """Sixteen MiB, of which something is written at 1 MiB and at 9 MiB."""
    path = tmp_path / "sparse"
    with path.open("wb") as file:
        file.truncate(16 << 20)
        for at in (1 << 20, 9 << 20):
            file.seek(at)
            file.write(NOTE)
    return path


def test_all_that_was_written_is_told_and_little_else(sparse):
    file = map_file(sparse)
    rest = np.frombuffer(file, np.uint8).reshape(-1, PAGE_SIZE).copy()
    for low, high in file.written(0, len(file)):
        rest[low:high] = 0
    assert not rest.any()
    assert pages(file.written(0, len(file))) < 400, "this file system has no holes: the test shows nothing here"


def test_a_part_of_a_file_counts_from_its_own_start(sparse):
    file = map_file(sparse)
    assert file.written(9 << 20, 1 << 20)[0][0] == 0
    assert file.written(4 << 20, 1 << 20) == []
    assert pages(file.written((1 << 20) - 3 * PAGE_SIZE, 4 * PAGE_SIZE)) <= 4
    assert file.written((1 << 20) - 3 * PAGE_SIZE, 4 * PAGE_SIZE)[-1][1] == 4


def test_a_hole_that_is_filled_is_none_in_the_next_look(sparse):
    file = map_file(sparse)
    assert not any(low <= 1024 < high for low, high in file.written(0, len(file)))
    with sparse.open("r+b") as writer:
        writer.seek(4 << 20)
        writer.write(b"x")
    assert any(low <= 1024 < high for low, high in file.written(0, len(file)))


@pytest.mark.parametrize("error", [OSError(22, "Invalid argument"), AttributeError("SEEK_DATA")])
def test_where_the_system_cannot_tell_everything_is_taken_for_written(sparse, monkeypatch, error):
    def seek(*words: int) -> int:
        raise error

    file = map_file(sparse)
    monkeypatch.setattr(os, "lseek", seek)
    assert file.written(0, len(file)) == [(0, 4096)]


def test_after_many_holes_the_rest_is_taken_for_written(sparse, monkeypatch):
    monkeypatch.setattr("pagebook.sources.mapped.MOST_RUNS", 1)
    first, rest = map_file(sparse).written(0, 16 << 20)
    assert first[0] <= 256 < first[1] == rest[0]
    assert rest[1] == 4096


def test_only_the_whole_of_a_file_tells_of_its_holes(sparse):
    view = memoryview(map_file(sparse))
    assert written_of(view) is not None
    assert written_of(view[PAGE_SIZE:]) is None
    assert written_of(memoryview(b"bytes")) is None


def test_a_raw_image_is_searched_only_where_something_was_written(sparse):
    found = open_file(f"{sparse}@{BASE:#x}")
    (region,) = found.memory.regions
    assert pages(region.runs()) < 400
    assert [note.pa - BASE for note in vmcoreinfo.find(found.memory)] == [9 << 20, 1 << 20]


def test_what_was_not_written_is_not_looked_at():
    data = bytearray(64 * PAGE_SIZE)
    data[5 * PAGE_SIZE : 5 * PAGE_SIZE + len(NOTE)] = NOTE
    runs = [(0, 3), (5, 64)]
    memory = Memory([Region(BASE, data, written=lambda: runs)])
    assert [note.pa for note in vmcoreinfo.find(memory)] == [BASE + 5 * PAGE_SIZE]
    runs[1] = (6, 64)
    assert list(vmcoreinfo.find(memory)) == []


def test_roots_are_the_same_with_the_zeros_unread():
    world, _ = kernel_and_processes(SV39)
    (region,) = world.memory.regions
    some = region.pages.any(axis=1)
    assert not some.all()
    runs = [(page, page + 1) for page in np.flatnonzero(some).tolist()]
    told = Memory([Region(region.base, region.data, written=lambda: runs)])
    sums: list[list[int]] = [[], []]
    assert best(find_roots(told, SV39, sums[0].append)) == best(find_roots(world.memory, SV39, sums[1].append))
    assert sum(sums[0]) == sum(sums[1]) == region.size, "progress ends where all of memory does"


def pages(runs: Iterable[tuple[int, int]]) -> int:
    return sum(high - low for low, high in runs)


def test_what_was_never_written_costs_little_memory_to_search(tmp_path):
    """64 GiB: with one word of 64 bits for each frame it would be 128 MiB."""
    path = tmp_path / "holes"
    with path.open("wb") as file:
        file.truncate(64 << 30)
    code = f"""
import resource
from pagebook.guests.roots import find_roots
from pagebook.sources.files import open_file
memory = open_file("{path}@0x80000000").memory
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
assert find_roots(memory) == []
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 100 << 10
