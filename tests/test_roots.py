"""Roots of page tables found in memory of which nothing is known, and not found where there are none."""

from __future__ import annotations

import json
import random
import tracemalloc
from collections.abc import Callable

import numpy as np
import pytest

from calls import call, core_of
from pagebook.errors import PagebookError
from pagebook.frames import FreeList
from pagebook.guests.roots import Candidate, find_roots
from pagebook.guests.survey import CHUNK, Frames
from pagebook.machine import Hart
from pagebook.memory import U64, Memory, Region
from pagebook.pagetable import PageTable
from pagebook.sv import SV32, SV39, SV48, SV57, A, D, Format, G, R, U, V, W, X
from pagebook.xv6.boot import boot, machine
from worlds import BASE, FORMATS, PAGE, World

WIDE = (SV39, SV48, SV57)
ENTRIES = 512


def best(found: list[Candidate]) -> list[tuple[int, Format]]:
    return [(candidate.root, candidate.format) for candidate in found]


def words(memory: Memory) -> np.ndarray:
    return np.frombuffer(memory.regions[0].data, dtype=U64).reshape(-1, ENTRIES)


def kernel_and_processes(fmt: Format, processes: int = 3, pages: int = 200) -> tuple[World, list[int]]:
    """A kernel that maps all of RAM and some processes, each with a page at the top that they share."""
    world = World(fmt, pages)
    top = (1 << fmt.va_bits - 1) - PAGE
    world.table.map(BASE, pages * PAGE, BASE, R | W | X | G | A | D)
    world.table.map(top, PAGE, BASE, R | X)
    roots = [world.table.root]
    for _ in range(processes):
        process = PageTable.create(world.memory, world.frames, fmt)
        for va in (0, PAGE, 5 * PAGE):
            process.map(va, PAGE, world.frame(), R | W | U)
        process.map(top, PAGE, BASE, R | X)
        roots.append(process.root)
    return world, roots


@pytest.mark.parametrize("fmt", FORMATS, ids=lambda fmt: fmt.name)
def test_kernel_and_processes_are_found_and_the_kernel_first(fmt):
    world, roots = kernel_and_processes(fmt)
    found = find_roots(world.memory, fmt)
    assert sorted(best(found)) == sorted((root, fmt) for root in roots)
    assert found[0].root == roots[0]
    assert found[0].mappings == 201


@pytest.mark.parametrize("fmt", WIDE, ids=lambda fmt: fmt.name)
def test_the_format_is_found_with_the_roots(fmt):
    world, roots = kernel_and_processes(fmt)
    assert sorted(best(find_roots(world.memory))) == sorted((root, fmt) for root in roots)


@pytest.mark.parametrize("rev", ["2022", "2024", "2025"])
def test_every_root_of_the_booted_model_is_found_and_nothing_else(rev):
    m = machine(boot(rev, ram=16 << 20))
    found = find_roots(m.memory)
    assert sorted(best(found)) == sorted((space.table.root, SV39) for space in m.spaces)
    assert found[0].root == m.space("kernel").table.root


@pytest.mark.parametrize("fmt", WIDE, ids=lambda fmt: fmt.name)
@pytest.mark.parametrize("level", [1, 2])
def test_the_format_of_superpages_is_told_by_how_they_follow_each_other(fmt, level):
    memory = Memory.anonymous(64 * PAGE)
    frames = FreeList(memory, BASE, BASE + 64 * PAGE)
    frames.free_range(BASE, BASE + 64 * PAGE)
    table = PageTable.create(memory, frames, fmt)
    size = fmt.page_bytes(level)
    table.map(BASE, size * 4, BASE, R | W | X, level=level)
    assert best(find_roots(memory)) == [(table.root, fmt)]


@pytest.mark.parametrize("fmt", WIDE, ids=lambda fmt: fmt.name)
def test_a_root_whose_satp_is_in_memory_says_so_and_comes_first(fmt):
    world, roots = kernel_and_processes(fmt)
    at = world.frame() + 0x128
    world.memory.write64(at, fmt.satp(roots[2], asid=7))
    found = find_roots(world.memory)
    assert found[0].root == roots[2]
    assert f"memory holds it as a satp value of {fmt.name} once, first at {at:#x}" in found[0].evidence


def test_the_first_place_of_a_pointer_is_told_whatever_chunk_it_is_in():
    world, roots = kernel_and_processes(SV39, pages=3 * CHUNK)
    places = sorted(world.frame() + 8 * n for n in range(5))
    for at in places:
        world.memory.write64(at, roots[1])
    (one,) = (candidate for candidate in find_roots(world.memory) if candidate.root == roots[1])
    assert f"memory holds it as an address 5 times, first at {places[0]:#x}" in one.evidence


def test_a_known_satp_is_the_strongest_evidence():
    world, roots = kernel_and_processes(SV39)
    found = find_roots(world.memory, harts=(Hart(0, None), Hart(1, SV39.satp(roots[3])), Hart(2, 7 << 60)))
    assert found[0].root == roots[3]
    assert found[0].evidence[0] == "the satp of hart 1 names it"


def test_a_satp_that_leads_to_no_table_is_still_shown_and_one_outside_memory_is_not():
    memory = Memory.anonymous(16 * PAGE)
    found = find_roots(memory, harts=(Hart(0, SV48.satp(BASE + PAGE)), Hart(1, SV39.satp(0x1000))))
    assert best(found) == [(BASE + PAGE, SV48)]
    assert "it maps nothing of RAM" in found[0].evidence


def test_a_kernel_s_map_of_ram_tells_its_own_pointers():
    fmt, offset = SV39, 0xFFFFFFD8_0000_0000 - BASE
    world = World(fmt, 200)
    world.table.map(BASE + offset, 200 * PAGE, BASE, R | W | G | A | D)
    at = world.frame()
    world.memory.write64(at, world.table.root + offset)
    (found,) = find_roots(world.memory)
    assert f"memory holds its address in the kernel's map of RAM ({offset:+#x}) once" in found.evidence


def test_one_format_is_taken_for_all_where_the_bytes_fit_two():
    world, roots = kernel_and_processes(SV48)
    lone, middle, last = (world.frame() for _ in range(3))
    world.put(lone, 1, world.pointer(middle))
    world.put(middle, 1, world.pointer(last))
    world.put(last, 1, SV48.pte(BASE, V | R | A))  # a 2 MiB page, or in Sv39 one of 4 KiB
    found = dict(best(find_roots(world.memory)))
    assert found == {root: SV48 for root in (*roots, lone)}


def test_tables_that_others_point_to_are_no_roots_and_a_root_may_point_to_itself():
    world, roots = kernel_and_processes(SV39)
    world.put(roots[0], 300, world.pointer(roots[0]))
    assert sorted(best(find_roots(world.memory))) == sorted((root, SV39) for root in roots)


@pytest.mark.parametrize("wrong", ["reserved", "misaligned", "outside", "last"], ids=str)
def test_a_table_with_an_entry_that_is_wrong_is_still_found(wrong):
    world, roots = kernel_and_processes(SV39)
    pte = {
        "reserved": SV39.pte(BASE, V | R) | 1 << 56,
        "misaligned": SV39.pte(BASE + PAGE, V | R),
        "outside": world.pointer(1 << 40),
        "last": world.pointer(BASE),
    }[wrong]
    table = roots[0] if wrong != "last" else SV39.pte_pa(world.table.find(BASE, SV39.steps[:2])[1])
    world.put(table, 400, pte)
    assert sorted(best(find_roots(world.memory))) == sorted((root, SV39) for root in roots)


def test_an_empty_table_and_one_that_maps_only_devices_are_no_roots():
    world = World(SV39)
    assert find_roots(world.memory) == []
    world.table.map(0x1000_0000, PAGE, 0x1000_0000, R | W)
    assert find_roots(world.memory) == []


def test_memory_in_several_regions_is_searched_as_one():
    world, _ = kernel_and_processes(SV39)
    data = world.ram
    cut = 100 * PAGE
    parts = [Region(BASE, data[:cut]), Region(BASE + cut, data[cut:]), Region(0x1000, bytes(PAGE + 100))]
    assert best(find_roots(Memory(parts))) == best(find_roots(world.memory))


def test_frames_are_numbered_in_the_order_of_their_addresses():
    sizes = {0x8000: 3 * PAGE, 0x1000: 2 * PAGE + 5, 0x4000: 1}
    frames = Frames(Memory([Region(base, bytes(size)) for base, size in sizes.items()]))
    assert frames.count == 5
    pas = frames.addresses(np.arange(5))
    assert pas.tolist() == [0x1000, 0x2000, 0x8000, 0x9000, 0xA000]
    assert frames.numbers(pas).tolist() == [0, 1, 2, 3, 4]
    assert frames.numbers(np.array([0, 0xFFF, 0x3000, 0x4000, 0xB000, 1 << 60], dtype=U64)).tolist() == [-1] * 6


NOISE: dict[str, Callable[[np.random.Generator, tuple[int, int]], np.ndarray]] = {
    "zeros": lambda rng, shape: np.zeros(shape, U64),
    "random bytes": lambda rng, shape: rng.integers(0, 1 << 64, shape, dtype=np.uint64),
    "text": lambda rng, shape: rng.integers(32, 127, (shape[0], PAGE), dtype=np.uint8).view(U64),
    "pointers to words": lambda rng, shape: U64(BASE) + (rng.integers(0, shape[0] * 512, shape, dtype=U64) << U64(3)),
    "pointers to pages": lambda rng, shape: U64(BASE) + (rng.integers(0, shape[0], shape, dtype=U64) << U64(12)),
    "kernel pointers": lambda rng, shape: U64(0xFFFFFFD8 << 32) + rng.integers(0, 1 << 30, shape, dtype=U64) * U64(8),
    "small numbers": lambda rng, shape: rng.integers(0, 1000, shape, dtype=U64),
    "pairs of small numbers": lambda rng, shape: rng.integers(0, 4096, (shape[0], 1024), dtype=np.uint32).view(U64),
    "frames that xv6 freed": lambda rng, shape: np.full(shape, 0x0101010101010101, U64),
    "frames that xv6 gave out": lambda rng, shape: np.full(shape, 0x0505050505050505, U64),
    "satp values": lambda rng, shape: U64(SV39.satp(BASE)) + rng.integers(0, shape[0], shape, dtype=U64),
    "leaves": lambda rng, shape: U64(BASE >> 2 | V | R | W) + (rng.integers(0, shape[0], shape, dtype=U64) << U64(10)),
    "pointers of tables to anywhere": lambda rng, shape: (
        U64(BASE >> 2 | V) + (rng.integers(0, shape[0], shape, dtype=U64) << U64(10))
    ),
}


@pytest.mark.parametrize("kind", NOISE)
def test_where_there_is_no_table_no_root_is_found(kind):
    memory = Memory.anonymous(600 * PAGE)
    words(memory)[:] = NOISE[kind](np.random.default_rng(5), (600, ENTRIES))
    assert find_roots(memory) == []


@pytest.mark.parametrize("kind", [kind for kind in NOISE if kind not in ("pointers of tables to anywhere", "leaves")])
def test_among_noise_the_roots_are_the_first(kind):
    world, roots = kernel_and_processes(SV39)
    free = world.frames.frames()
    noise = NOISE[kind](np.random.default_rng(7), (200, ENTRIES))
    words(world.memory)[(free - U64(BASE)) >> U64(12)] = noise[: len(free)]
    assert sorted(best(find_roots(world.memory))[: len(roots)]) == sorted((root, SV39) for root in roots)


@pytest.mark.parametrize("fmt", [SV39, SV57], ids=lambda fmt: fmt.name)
def test_tables_that_all_point_to_themselves_or_in_a_ring_cost_bounded_memory(fmt):
    memory = Memory.anonymous(512 * PAGE)
    numbers = np.arange(512, dtype=U64)
    words(memory)[:] = ((U64(BASE >> 12) + (numbers + U64(1)) % U64(512)) << U64(10) | U64(V))[:, None]
    words(memory)[:, 0] = U64(SV39.pte(BASE, V | R | W))
    tracemalloc.start()
    find_roots(memory, fmt)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 256 << 20


def test_a_tree_with_more_mappings_than_can_be_listed_says_so():
    memory = Memory.anonymous(16 * PAGE)
    for level in range(3):
        target = BASE + (level + 1) * PAGE
        pte = SV39.pte(target, V) if level < 2 else SV39.pte(BASE, V | R)
        words(memory)[level] = U64(pte)
    (found,) = find_roots(memory)
    assert (found.root, found.mappings) == (BASE, 512**3)
    assert "its mappings were not listed: there are too many" in found.evidence


def test_any_bytes_are_searched_without_an_error():
    rng = random.Random(3)
    for seed in range(60):
        pages = rng.choice([1, 2, 7, 40])
        memory = Memory.anonymous(pages * PAGE)
        array = words(memory)
        array[:] = np.random.default_rng(seed).integers(0, 1 << 64, array.shape, dtype=np.uint64)
        array &= U64(rng.choice([(1 << 64) - 1, 0x003FFFFF_FFFFFFFF, 0x203FF4FF, 0x2000_3C0F]))
        for fmt in (None, *FORMATS):
            for candidate in find_roots(memory, fmt):
                assert candidate.root in memory
                assert candidate.mappings > 0


def test_progress_is_told_all_of_memory():
    seen: list[int] = []
    memory = Memory([Region(0x1000, bytes(PAGE)), Region(BASE, bytes(3 * CHUNK * PAGE))])
    find_roots(memory, progress=seen.append)
    assert sum(seen) == (3 * CHUNK + 1) * PAGE
    assert len(seen) == 4


def test_memory_without_a_whole_frame_has_no_roots():
    assert find_roots(Memory([])) == []
    assert find_roots(Memory([Region(0x1000, b"short")])) == []


def test_sv32_is_searched_when_it_is_asked_for():
    world, roots = kernel_and_processes(SV32)
    world.memory.write32(world.frame() + 4, SV32.satp(roots[1]))
    found = find_roots(world.memory, SV32)
    assert sorted(best(found)) == sorted((root, SV32) for root in roots)
    assert any("as a satp value of Sv32 once" in reason for c in found if c.root == roots[1] for reason in c.evidence)


def test_the_verb_shows_the_roots_and_maps_takes_them():
    world, roots = kernel_and_processes(SV48, processes=1)
    path = core_of(world, "roots.core")
    lines = call(["roots", path]).must(0).out.splitlines()
    assert lines[0] == "a world: 2 likely roots, best first"
    assert lines[1].startswith(f"  {roots[0]:#x}  Sv48  score ")
    assert lines[1].endswith(f"--root {roots[0]:#x}:sv48")
    document = json.loads(call(["roots", path, "--json", "--most", "1"]).must(0).out)
    assert (document["schema"], document["found"]) == ("pagebook.roots", 2)
    (one,) = document["roots"]
    assert (one["root"], one["format"], one["mappings"]) == (hex(roots[0]), "sv48", 201)
    assert call(["roots", path, "--most", "1"]).must(0).out.splitlines()[-1] == "  and 1 more: --most 2 shows them all"
    assert call(["roots", path, "--format", "sv32"]).status in (0, 1)


def test_the_verb_finds_nothing_with_status_1(tmp_path):
    path = tmp_path / "zeros.img"
    path.write_bytes(bytes(4 * PAGE))
    answer = call(["roots", f"{path}@0x80000000"])
    assert (answer.status, answer.out.splitlines()[0].split(": ")[-1]) == (1, "0 likely roots")


def test_a_refused_region_is_a_refusal_of_the_search():
    class Lost(PagebookError):
        pass

    def progress(count: int) -> None:
        raise Lost("gone")

    with pytest.raises(Lost):
        find_roots(Memory([Region(BASE, bytes(PAGE))]), progress=progress)
