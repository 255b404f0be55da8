"""vm.c: every panic and its words, what each revision does differently, and who may copy where.

That the bytes are the kernel's, also when memory runs out, is the subject of test_by_page.py.
"""

from __future__ import annotations

import pytest
from twins import (
    BASE,
    MAXVA,
    PAGE,
    REVISIONS,
    TRAMPOLINE,
    R,
    Twins,
    U,
    V,
    W,
    X,
    account,
    first_process,
    free_frames,
    leave,
    outcome,
    small,
    snapshot,
    tables_and_leaves,
)

from pagebook.errors import BadAddress, NotATable, Panic
from pagebook.xv6 import vm
from pagebook.xv6.kalloc import kalloc, kfree
from pagebook.xv6.kernel import Kernel
from pagebook.xv6.memlayout import KSTACK, Device

UART = 0x1000_0000
OLDER, NEWER = ("2022", "2024"), ("2024", "2025")


def table(k: Kernel, *mappings: tuple[int, int]) -> int:
    """A new page table that maps the UART at each (va, perm)."""
    root = vm.uvmcreate(k)
    for va, perm in mappings:
        assert vm.mappages(k, root, va, PAGE, UART, perm) == 0
    return root


def user(k: Kernel, pages: int, perm: int = W) -> int:
    """A new page table with ``pages`` pages of user memory from 0."""
    root = vm.uvmcreate(k)
    assert vm.uvmalloc(k, root, 0, pages * PAGE, perm) == pages * PAGE
    return root


def pte_of(k: Kernel, root: int, va: int) -> int:
    return dict(tables_and_leaves(k, root)[1]).get(va, 0)


def frame_of(k: Kernel, root: int, va: int) -> int:
    return pte_of(k, root, va) >> 10 << 12


# The panics. Tables are taken from the top of RAM: root 0x8003f000, then 0x8003e000 (level 1), 0x8003d000 (level 0).

PANICS = {
    "mappages: va not aligned": (
        NEWER,
        lambda k: vm.mappages(k, table(k), 0x5008, PAGE, UART, R),
        "panic: mappages: va not aligned (va 0x5008)",
    ),
    "mappages: size not aligned": (
        NEWER,
        lambda k: vm.mappages(k, table(k), 0x6000, PAGE + 1, UART, R),
        "panic: mappages: size not aligned (size 0x1001 at va 0x6000)",
    ),
    "mappages: size": (
        REVISIONS,
        lambda k: vm.mappages(k, table(k), 0x9000, 0, UART, R),
        "panic: mappages: size (nothing to map at va 0x9000)",
    ),
    "mappages: remap": (
        REVISIONS,
        lambda k: vm.mappages(k, table(k, (0x1000, R | W)), 0x1000, PAGE, UART, R),
        "panic: mappages: remap (0x1000 is already mapped: PTE 0x4000007 at 0x8003d008 -> 0x10000000 rw--)",
    ),
    "walk": (
        REVISIONS,
        lambda k: vm.walk(k, table(k), MAXVA, 0),
        "panic: walk (va 0x4000000000 is not below MAXVA 0x4000000000)",
    ),
    "kvmmap": (
        REVISIONS,
        lambda k: (root := table(k), leave(k, 0), vm.kvmmap(k, root, 0x3000, UART, PAGE, R)),
        "panic: kvmmap (out of frames while mapping 0x3000, 0x1000 bytes)",
    ),
    "uvmunmap: not aligned": (
        REVISIONS,
        lambda k: vm.uvmunmap(k, table(k), 0x1001, 1, 0),
        "panic: uvmunmap: not aligned (va 0x1001)",
    ),
    "uvmunmap: walk": (
        OLDER,
        lambda k: vm.uvmunmap(k, table(k, (0x1000, R)), 0x20_0000, 1, 0),
        "panic: uvmunmap: walk (0x200000 is not mapped: there is no level-0 table for it (PTE 0x0 at 0x8003e008))",
    ),
    "uvmunmap: not mapped": (
        OLDER,
        lambda k: vm.uvmunmap(k, table(k, (0x1000, R)), 0x2000, 1, 0),
        "panic: uvmunmap: not mapped (0x2000 is not mapped: PTE 0x0 at 0x8003d010 has V = 0)",
    ),
    "uvmunmap: not a leaf": (
        OLDER,
        lambda k: vm.uvmunmap(k, table(k, (0x2000, 0)), 0x2000, 1, 0),
        "panic: uvmunmap: not a leaf "
        "(0x2000 is not mapped by a leaf: PTE 0x4000001 at 0x8003d010 has V, and none of R, W, X)",
    ),
    "kfree": (
        REVISIONS,
        lambda k: vm.uvmunmap(k, table(k, (0x1000, R | W)), 0x1000, 1, 1),
        "panic: kfree "
        "(0x1000 maps 0x10000000, which is no frame of the allocator's (PTE 0x4000007 at 0x8003d008))",
    ),
    "uvmfirst: more than a page": (
        REVISIONS,
        lambda k: vm.uvmfirst(k, table(k), bytes(PAGE)),
        "panic: uvmfirst: more than a page (4096 bytes of initcode)",
    ),
    "freewalk: leaf": (
        REVISIONS,
        lambda k: vm.freewalk(k, table(k, (0x1000, R | W))),
        "panic: freewalk: leaf (a leaf is still mapped at 0x1000: PTE 0x4000007 at 0x8003d008 -> 0x10000000 rw--)",
    ),
    "uvmcopy: pte should exist": (
        OLDER,
        lambda k: vm.uvmcopy(k, table(k), table(k), 0x1000),
        "panic: uvmcopy: pte should exist (va 0x0: PTE 0x0 at 0x8003f000)",
    ),
    "uvmcopy: page not present": (
        OLDER,
        lambda k: vm.uvmcopy(k, table(k, (0x1000, R)), table(k), 0x1000),
        "panic: uvmcopy: page not present (va 0x0: PTE 0x0 at 0x8003d000)",
    ),
    "uvmclear": (
        REVISIONS,
        lambda k: vm.uvmclear(k, table(k), 0x1000),
        "panic: uvmclear (no table for va 0x1000)",
    ),
    "kalloc": (
        REVISIONS,
        lambda k: (root := table(k), leave(k, 5), vm.proc_mapstacks(k, root)),
        "panic: kalloc (no frame is left for the kernel stack of process slot 3)",
    ),
    # Where the C code would write through a null pointer:
    "kvmmake": (
        REVISIONS,
        lambda k: (leave(k, 0), vm.kvmmake(k)),
        "panic: kvmmake (no frame is left for the root; the C code would write through a null pointer here)",
    ),
    "uvmfirst": (
        REVISIONS,
        lambda k: (root := table(k), leave(k, 0), vm.uvmfirst(k, root, b"code")),
        "panic: uvmfirst (no frame is left; the C code would write through a null pointer here)",
    ),
}  # fmt: skip


@pytest.mark.parametrize(
    ("rev", "reason"),
    [(rev, reason) for reason, (revisions, _, _) in PANICS.items() for rev in revisions],
)
def test_a_panic_starts_with_the_words_of_its_revision_and_then_names_the_facts(rev, reason, strict):
    _, provoke, message = PANICS[reason]
    with pytest.raises(Panic) as caught:
        provoke(small(rev, strict=strict))
    assert caught.value.reason == reason
    assert str(caught.value) == message


@pytest.mark.parametrize("reason", [reason for reason, (revisions, _, _) in PANICS.items() if "2025" not in revisions])
def test_the_2025_kernel_has_no_panic_for_absent_pages(reason):
    outcome_of_2025 = outcome(PANICS[reason][1], small("2025"))
    assert outcome_of_2025 in (None, 0)


@pytest.mark.parametrize("reason", ["mappages: va not aligned", "mappages: size not aligned"])
def test_the_2022_kernel_rounds_where_later_ones_panic(reason):
    assert PANICS[reason][1](small("2022")) == 0


def test_a_panic_carries_the_pte_that_it_is_about(rev):
    k = small(rev)
    with pytest.raises(Panic) as caught:
        vm.mappages(k, table(k, (0x1000, R | W)), 0, 4 * PAGE, UART, R)
    error = caught.value
    assert (error.va, error.level, error.pte, error.pte_pa) == (0x1000, 0, 0x400_0007, 0x8003_D008)
    k = small(rev)
    with pytest.raises(Panic) as caught:
        vm.uvmunmap(k, table(k, (0x1000, R | W)), 0x1000, 1, 1)
    assert (caught.value.pa, caught.value.pte_pa) == (UART, 0x8003_D008)


@pytest.mark.parametrize("rev", OLDER)
def test_the_panic_of_uvmcopy_carries_the_pte_that_is_absent(rev):
    k = small(rev)
    with pytest.raises(Panic) as caught:
        vm.uvmcopy(k, table(k), table(k), 0x1000)
    error = caught.value
    assert (error.va, error.level, error.pte, error.pte_pa) == (0, 2, 0, 0x8003_F000)


@pytest.mark.parametrize(
    "call",
    [
        lambda k, root: vm.mappages(k, root, 0x1000, -PAGE, UART, R),
        lambda k, root: vm.mappages(k, root, 0x1000, PAGE, 1 << 56, R),
        lambda k, root: vm.mappages(k, root, 0x1000, PAGE, -PAGE, R),
        lambda k, root: vm.mappages(k, root, 0x1000, PAGE, UART, 1 << 10),
    ],
    ids=["negative size", "pa too large", "negative pa", "perm beyond ten bits"],
)
def test_mappages_refuses_numbers_that_c_could_not_hold(rev, strict, call):
    k = small(rev, strict=strict)
    root = table(k)
    before = snapshot(k)
    with pytest.raises(BadAddress, match=r"^mappages of .* bytes to pa .* with perm .*: no such mapping$"):
        call(k, root)
    assert snapshot(k) == before


@pytest.mark.parametrize("va", [MAXVA, MAXVA + PAGE, 1 << 39, (1 << 64) - PAGE, -PAGE])
def test_an_address_at_or_above_maxva_panics_in_walk_wherever_the_kernel_walks(rev, strict, va):
    k = small(rev, strict=strict)
    root = table(k, (0x1000, R))
    before = snapshot(k)
    for call in (
        lambda: vm.walk(k, root, va, 0),
        lambda: vm.walk(k, root, va, 1),
        lambda: vm.mappages(k, root, va, PAGE, UART, R),
        lambda: vm.uvmclear(k, root, va),
        lambda: vm.ismapped(k, root, va),
    ):
        assert outcome(call) == "panic: walk"
        assert snapshot(k) == before
    if 0 <= va < (1 << 64) - PAGE:
        assert outcome(vm.uvmunmap, k, root, va, 1, 0) == "panic: walk"
    assert vm.walkaddr(k, root, va) == 0
    assert snapshot(k) == before


def test_the_last_page_below_maxva_can_be_mapped_walked_and_unmapped(rev, strict):
    k = small(rev, strict=strict)
    root = table(k)
    assert vm.mappages(k, root, TRAMPOLINE, PAGE, UART, R | U) == 0
    assert vm.walkaddr(k, root, TRAMPOLINE) == vm.walkaddr(k, root, MAXVA - 1) == UART
    vm.uvmunmap(k, root, TRAMPOLINE, 1, 0)
    assert tables_and_leaves(k, root)[1] == []


# walk and walkaddr


def test_walk_without_alloc_is_only_a_question(rev):
    k = small(rev)
    root = table(k, (0x1000, R))
    before = snapshot(k)
    assert vm.walk(k, root, 0x1000, 0) == 0x8003_D008
    assert vm.walk(k, root, 0x2000, 0) == 0x8003_D010, "an absent PTE has an address too"
    assert vm.walk(k, root, 0x20_0000, 0) == 0
    assert vm.walk(k, root, 0x4000_0000, 0) == 0
    assert snapshot(k) == before


def test_walk_with_alloc_makes_zeroed_tables_whose_ptes_have_only_v(rev):
    k = small(rev)
    root = table(k)
    level1, level0, *rest = free_frames(k)
    assert vm.walk(k, root, 0x4020_3000, 1) == level0 + 3 * 8
    assert free_frames(k) == rest
    assert k.memory.read64(root + 8) == level1 >> 12 << 10 | V
    assert k.memory.read64(level1 + 8) == level0 >> 12 << 10 | V
    assert k.memory.read(level0, PAGE) == bytes(PAGE)
    assert tables_and_leaves(k, root) == ([root, level1, level0], [])


def test_walk_that_runs_out_leaves_the_first_table_linked_in_both_modes(rev, strict):
    k = small(rev, strict=strict)
    root = table(k)
    rest = leave(k, 1)
    assert vm.walk(k, root, 0x4000_0000, 1) == 0
    assert len(tables_and_leaves(k, root)[0]) == 2
    account(k, [root], rest)


def test_walk_and_its_callers_refuse_to_read_a_superpage_as_a_table(rev, strict):
    k = small(rev, strict=strict)
    root = table(k)
    k.memory.write64(root + 8, BASE >> 12 << 10 | R | W | X | V)
    before = snapshot(k)
    for call in (
        lambda: vm.walk(k, root, 0x4000_0000, 0),
        lambda: vm.walkaddr(k, root, 0x4000_0000),
        lambda: vm.uvmclear(k, root, 0x4000_0000),
    ):
        with pytest.raises(NotATable, match=r"^a superpage maps 0x40000000: PTE 0x2000000f at 0x8003f008"):
            call()
    assert snapshot(k) == before


def test_walkaddr_gives_the_page_of_a_user_mapping_and_0_for_every_other(rev):
    k = small(rev)
    root = table(k, (0x1000, R | U), (0x2000, R | W), (0x3000, U | X))
    assert vm.walkaddr(k, root, 0x1FFF) == UART, "the page, without the offset"
    assert vm.walkaddr(k, root, 0x3000) == UART
    assert vm.walkaddr(k, root, 0x2000) == 0, "no U"
    assert vm.walkaddr(k, root, 0x4000) == 0, "not V"
    assert vm.walkaddr(k, root, 0x20_0000) == vm.walkaddr(k, root, 0x4000_0000) == 0, "no table"
    k.memory.write64(vm.walk(k, root, 0x4000, 0), UART >> 12 << 10 | U | R)
    assert vm.walkaddr(k, root, 0x4000) == 0, "U and R without V"


# The kernel's page table


def test_the_kernels_table_maps_devices_text_data_trampoline_and_stacks_and_nothing_else(rev):
    devices = (Device("uart0", UART, PAGE), Device("flash", 0x2000_0000, 3 * PAGE))
    k = small(rev, devices=devices, nproc=3)
    vm.kvminit(k)
    top = k.layout.physstop
    expected = {UART: (UART, R | W)}
    expected |= {at: (at, R | W) for at in range(0x2000_0000, 0x2000_3000, PAGE)}
    expected |= {at: (at, R | X) for at in range(BASE, BASE + PAGE, PAGE)}
    expected |= {at: (at, R | W) for at in range(BASE + PAGE, top, PAGE)}
    expected[TRAMPOLINE] = (BASE, R | X)
    found = {va: (pte >> 10 << 12, pte & 0x3FF & ~V) for va, pte in tables_and_leaves(k, k.kernel_pagetable)[1]}
    stacks = {va: found.pop(va) for va in (KSTACK(0), KSTACK(1), KSTACK(2))}
    assert found == expected
    assert [perm for _, perm in stacks.values()] == [R | W] * 3
    assert KSTACK(0) == 0x3F_FFFF_D000 and KSTACK(0) - KSTACK(1) == 2 * PAGE, "a page between is never mapped"
    owners = account(k)
    assert sorted(owner for owner in owners.values() if owner == "stack") == ["stack"] * 3


def test_kvminithart_puts_mode_8_and_the_roots_page_number_into_satp(rev):
    k = small(rev)
    vm.kvminit(k)
    vm.kvminithart(k)
    assert k.satp == 8 << 60 | k.kernel_pagetable >> 12


@pytest.mark.parametrize("frames", range(14))
def test_a_kernel_that_runs_out_of_frames_while_it_makes_its_table_panics(rev, strict, frames):
    k = small(rev, strict=strict)
    leave(k, frames)
    reason = "kvmmake" if frames == 0 else "kvmmap" if frames < 5 else "kalloc"
    if frames < 13:
        with pytest.raises(Panic) as caught:
            vm.kvminit(k)
        assert caught.value.reason == reason
        assert k.kernel_pagetable == 0
    else:
        vm.kvminit(k)
        assert k.kmem.count == frames - 13


# mappages


ROUNDED = [(0, 1), (0x1234, 1), (0x1FFF, 2), (0x1FFF, PAGE + 2), (0x3000, PAGE + 1), (0x3FFF, 2 * PAGE), (5, 3 * PAGE)]


@pytest.mark.parametrize(("va", "size"), ROUNDED)
def test_mappages_of_2022_maps_every_page_that_the_bytes_touch(va, size, strict):
    k = small("2022", strict=strict)
    root = table(k)
    assert vm.mappages(k, root, va, size, UART, R) == 0
    pages = range(va // PAGE, (va + size - 1) // PAGE + 1)
    expected = [(page * PAGE, UART + number * PAGE) for number, page in enumerate(pages)]
    assert [(at, pte >> 10 << 12) for at, pte in tables_and_leaves(k, root)[1]] == expected


@pytest.mark.parametrize("rev", NEWER)
@pytest.mark.parametrize(("va", "size"), ROUNDED)
def test_mappages_since_2024_changes_nothing_for_bytes_that_are_no_whole_pages(rev, va, size, strict):
    k = small(rev, strict=strict)
    root = table(k)
    before = snapshot(k)
    assert outcome(vm.mappages, k, root, va, size, UART, R) == (
        "panic: mappages: va not aligned" if va % PAGE else "panic: mappages: size not aligned"
    )
    assert snapshot(k) == before


@pytest.mark.parametrize("rev", NEWER)
def test_mappages_since_2024_asks_first_for_va_then_for_size_then_for_a_size_at_all(rev):
    k = small(rev)
    root = table(k)
    assert outcome(vm.mappages, k, root, 1, 0, UART, R) == "panic: mappages: va not aligned"
    assert outcome(vm.mappages, k, root, 1, 1, UART, R) == "panic: mappages: va not aligned"
    assert outcome(vm.mappages, k, root, MAXVA, 1, UART, R) == "panic: mappages: size not aligned"
    assert outcome(vm.mappages, k, root, MAXVA, 0, UART, R) == "panic: mappages: size"


def test_mappages_writes_the_given_bits_and_v_and_drops_the_offset_of_pa(rev):
    k = small(rev)
    root = table(k)
    assert vm.mappages(k, root, 0x1000, PAGE, UART + 0x123, 0x3FE) == 0
    assert k.memory.read64(vm.walk(k, root, 0x1000, 0)) == UART >> 12 << 10 | 0x3FF
    assert vm.mappages(k, root, 0x2000, 2 * PAGE, UART + 0x123, 0) == 0
    assert k.memory.read64(vm.walk(k, root, 0x3000, 0)) == (UART >> 12) + 1 << 10 | V


# uvmalloc, uvmdealloc, uvmcopy, uvmclear


def test_user_pages_are_zeroed_and_readable_with_the_bits_asked_for(rev):
    k = small(rev)
    root = user(k, 3, X)
    for va in (0, PAGE, 2 * PAGE):
        assert pte_of(k, root, va) & 0x3FF == R | U | X | V
        assert k.memory.read(frame_of(k, root, va), PAGE) == bytes(PAGE)
    account(k, [root])


@pytest.mark.parametrize(
    ("oldsz", "newsz", "returned", "pages"),
    [
        (0, 0, 0, 0),
        (0x3000, 0x3000, 0x3000, 3),
        (0x2001, 0x2FFF, 0x2FFF, 3),
        (0x2FFF, 0x3000, 0x3000, 3),
        (0x2FFF, 0x3001, 0x3001, 4),
        (0x3000, 0x2000, 0x3000, 3),
        (0x2800, 0x800, 0x2800, 3),
        (0x3000, 0x6000, 0x6000, 6),
    ],
)
def test_uvmalloc_returns_the_size_as_asked_and_maps_only_the_pages_that_are_new(rev, oldsz, newsz, returned, pages):
    k = small(rev)
    root = user(k, (oldsz + PAGE - 1) // PAGE)
    assert vm.uvmalloc(k, root, oldsz, newsz, W) == returned
    assert [va for va, _ in tables_and_leaves(k, root)[1]] == [page * PAGE for page in range(pages)]


@pytest.mark.parametrize(
    ("oldsz", "newsz", "returned", "pages"),
    [
        (0x3000, 0x3000, 0x3000, 3),
        (0x3000, 0x4000, 0x3000, 3),
        (0x3000, 0x2001, 0x2001, 3),
        (0x3000, 0x2000, 0x2000, 2),
        (0x2FFF, 0x2001, 0x2001, 3),
        (0x2001, 0x2000, 0x2000, 2),
        (0x3000, 1, 1, 1),
        (0x3000, 0, 0, 0),
        (0x2801, 0, 0, 0),
        (0x3000, (1 << 64) - 1, 0x3000, 3),
    ],
)
def test_uvmdealloc_frees_whole_pages_only_and_returns_the_new_size(rev, oldsz, newsz, returned, pages):
    k = small(rev)
    root = user(k, 3)
    frames = [frame_of(k, root, va) for va in range(0, 3 * PAGE, PAGE)]
    before = free_frames(k)
    assert vm.uvmdealloc(k, root, oldsz, newsz) == returned
    assert [va for va, _ in tables_and_leaves(k, root)[1]] == [page * PAGE for page in range(pages)]
    assert free_frames(k) == [*reversed(frames[pages:]), *before], "freed in ascending order of va"
    account(k, [root])


@pytest.mark.parametrize("pages", [1, 2, 5])
def test_growing_and_shrinking_twice_leaves_every_byte_as_it_was(rev, pages):
    k = small(rev)
    root = user(k, 1)
    before = snapshot(k)
    for _ in range(2):  # once turns the order of the free list round
        assert vm.uvmalloc(k, root, PAGE, (1 + pages) * PAGE, W) == (1 + pages) * PAGE
        assert vm.uvmdealloc(k, root, (1 + pages) * PAGE, PAGE) == PAGE
    assert snapshot(k) == before


def test_a_failed_uvmalloc_leaves_no_page_behind_in_either_mode(rev, strict):
    k = small(rev, strict=strict)
    root = user(k, 2)
    rest = leave(k, 4)
    assert vm.uvmalloc(k, root, 2 * PAGE, 7 * PAGE, W) == 0
    assert len(tables_and_leaves(k, root)[1]) == 2
    account(k, [root], rest)


def test_uvmcopy_gives_the_child_frames_of_its_own_with_all_ten_bits_of_the_parent(rev):
    k = small(rev)
    old, new = user(k, 3), table(k)
    k.memory.write(frame_of(k, old, PAGE), b"the parent's page")
    pte = pte_of(k, old, PAGE)
    k.memory.write64(vm.walk(k, old, PAGE, 0), pte | 0x3E0)  # G, A, D and both RSW bits
    vm.uvmclear(k, old, 2 * PAGE)
    assert vm.uvmcopy(k, old, new, 3 * PAGE) == 0
    assert [pte_of(k, new, va) & 0x3FF for va in (0, PAGE, 2 * PAGE)] == [0x17, 0x3F7, 0x07]
    copied = frame_of(k, new, PAGE)
    assert k.memory.read(copied, 17) == b"the parent's page"
    k.memory.write(copied, b"the child's page!")
    assert k.memory.read(frame_of(k, old, PAGE), 17) == b"the parent's page"


@pytest.mark.parametrize(("sz", "pages"), [(0, 0), (1, 1), (PAGE, 1), (PAGE + 1, 2), (3 * PAGE, 3)])
def test_uvmcopy_copies_every_page_that_sz_touches(rev, sz, pages):
    k = small(rev)
    old, new = user(k, 3), table(k)
    assert vm.uvmcopy(k, old, new, sz) == 0
    assert [va for va, _ in tables_and_leaves(k, new)[1]] == [page * PAGE for page in range(pages)]
    account(k, [old, new])


def test_uvmcopy_of_2025_keeps_holes_and_makes_no_table_for_them():
    k = small("2025")
    old, new = user(k, 1), table(k)
    for va in (5 * PAGE, 1 << 21, 3 << 30):
        assert vm.mappages(k, old, va, PAGE, kalloc(k), R | W | U) == 0
    assert vm.uvmcopy(k, old, new, 2 << 30) == 0
    tables, leaves = tables_and_leaves(k, new)
    assert [va for va, _ in leaves] == [0, 5 * PAGE, 1 << 21]
    assert len(tables) == 4
    account(k, [old, new])


def test_uvmcopy_of_2025_walks_over_holes_until_the_addresses_end(strict):
    k = small("2025", strict=strict)
    old, new = user(k, 2), table(k)
    assert vm.uvmcopy(k, old, new, MAXVA) == 0
    again = table(k)
    before = snapshot(k)
    with pytest.raises(Panic) as caught:
        vm.uvmcopy(k, old, again, MAXVA + 1)
    assert caught.value.reason == "walk"
    assert len(tables_and_leaves(k, again)[1]) == (2 if strict else 0)
    assert strict or snapshot(k) == before


def test_uvmunmap_of_2025_frees_what_is_there_and_passes_over_holes():
    k = small("2025")
    root = user(k, 1)
    for va in (5 * PAGE, 1 << 21):
        assert vm.mappages(k, root, va, PAGE, kalloc(k), R | W | U) == 0
    frames = [pte >> 10 << 12 for _, pte in tables_and_leaves(k, root)[1]]
    before = free_frames(k)
    vm.uvmunmap(k, root, 0, 1 << 20, 1)
    assert free_frames(k) == [*reversed(frames), *before]
    vm.freewalk(k, root)
    account(k)


def test_uvmclear_takes_u_and_nothing_else(rev):
    k = small(rev)
    root = user(k, 1)
    pte = pte_of(k, root, 0)
    vm.uvmclear(k, root, 0)
    assert pte_of(k, root, 0) == pte & ~U
    vm.uvmclear(k, root, 0x1000)
    assert pte_of(k, root, 0x1000) == 0, "an absent PTE of a table that exists is no error"


def test_freewalk_gives_children_back_before_their_parents_in_ascending_order(rev, strict):
    k = small(rev, strict=strict)
    root = table(k, (0, R), (1 << 21, R), (5 << 30, R))
    level1, a, b, high1, c = (k.kmem.head + offset * PAGE for offset in (5, 4, 3, 2, 1))
    for va in (0, 1 << 21, 5 << 30):
        vm.uvmunmap(k, root, va, 1, 0)
    before = free_frames(k)
    vm.freewalk(k, root)
    assert free_frames(k) == [root, high1, c, level1, b, a, *before]


def test_freewalk_of_a_table_that_leads_out_of_the_allocators_frames_panics_in_kfree(rev, strict):
    k = small(rev, strict=strict)
    k.memory.write(BASE, bytes(PAGE))
    root = table(k, (0, R))
    vm.uvmunmap(k, root, 0, 1, 0)
    k.memory.write64(root + 8 * 8, BASE >> 12 << 10 | V)
    before = snapshot(k)
    with pytest.raises(Panic) as caught:
        vm.freewalk(k, root)
    assert caught.value.reason == "kfree"
    if strict:
        assert k.kmem.count == before[2] + 2, "the two tables before it are gone"
    else:
        assert snapshot(k) == before


def test_uvmfree_of_nothing_frees_only_the_tables(rev):
    k = small(rev)
    count = k.kmem.count
    root = table(k)
    vm.walk(k, root, 0, 1)
    vm.uvmfree(k, root, 0)
    assert k.kmem.count == count
    account(k)


# copyout, copyin, copyinstr

RIGHTS = {
    "rw-u": R | W | U, "r--u": R | U, "r-xu": R | X | U, "rwxu": R | W | X | U, "--xu": X | U,
    "rw--": R | W, "r-x-": R | X,
}  # fmt: skip
MAY_COPY_OUT = {
    "2022": {"rw-u", "r--u", "r-xu", "rwxu", "--xu"},
    "2024": {"rw-u", "rwxu"},
    "2025": {"rw-u", "rwxu"},
}


@pytest.mark.parametrize("rights", RIGHTS)
def test_copyout_writes_a_page_as_its_revision_demands_u_alone_or_u_and_w(rev, rights):
    k = small(rev)
    p = first_process(k)
    frame = kalloc(k)
    vm.mappages(k, p.pagetable, 0, PAGE, frame, RIGHTS[rights])
    p.sz = PAGE
    allowed = rights in MAY_COPY_OUT[rev]
    assert vm.copyout(k, p.pagetable, 8, b"kernel") == (0 if allowed else -1)
    assert k.memory.read(frame + 8, 6) == (b"kernel" if allowed else b"\x05" * 6)


@pytest.mark.parametrize("rights", RIGHTS)
def test_copyin_and_copyinstr_ask_only_for_u(rev, rights):
    k = small(rev)
    p = first_process(k)
    frame = kalloc(k)
    k.memory.write(frame, b"user\0")
    vm.mappages(k, p.pagetable, 0, PAGE, frame, RIGHTS[rights])
    p.sz = PAGE
    allowed = rights.endswith("u")
    data, text = bytearray(), bytearray()
    assert vm.copyin(k, p.pagetable, data, 1, 3) == vm.copyinstr(k, p.pagetable, text, 0, 10) == (0 if allowed else -1)
    assert (data, text) == ((b"ser", b"user\0") if allowed else (b"", b""))


@pytest.mark.parametrize("va", [0x1000_0000, MAXVA - 1, MAXVA, (1 << 64) - 1, -5])
def test_nothing_is_copied_to_or_from_addresses_without_a_page(rev, va):
    k = small(rev)
    p = first_process(k)
    before = snapshot(k)
    data = bytearray()
    assert vm.copyout(k, p.pagetable, va, b"xyz") == -1
    assert vm.copyin(k, p.pagetable, data, va, 3) == -1
    assert vm.copyinstr(k, p.pagetable, data, va, 3) == -1
    assert data == b""
    assert snapshot(k) == before


@pytest.mark.parametrize("va", [0, 0x1000_0000, MAXVA, (1 << 64) - 1])
def test_copying_no_bytes_succeeds_at_any_address_but_a_string_needs_its_nul(rev, va):
    k = small(rev)
    p = first_process(k)
    before = snapshot(k)
    data = bytearray()
    assert vm.copyout(k, p.pagetable, va, b"") == vm.copyin(k, p.pagetable, data, va, 0) == 0
    assert vm.copyinstr(k, p.pagetable, data, va, 0) == -1
    assert snapshot(k) == before and data == b""


def test_copyout_that_fails_has_written_the_pages_before(rev):
    k = small(rev)
    p = first_process(k)
    p.sz = vm.uvmalloc(k, p.pagetable, 0, 2 * PAGE, W)
    assert vm.copyout(k, p.pagetable, PAGE - 2, b"ab" + b"c" * PAGE + b"!") == -1
    assert k.memory.read(frame_of(k, p.pagetable, 0) + PAGE - 2, 2) == b"ab"
    assert k.memory.read(frame_of(k, p.pagetable, PAGE), PAGE) == b"c" * PAGE


def test_copyin_that_fails_has_read_the_pages_before(rev):
    k = small(rev)
    p = first_process(k)
    p.sz = vm.uvmalloc(k, p.pagetable, 0, PAGE, W)
    assert vm.copyout(k, p.pagetable, PAGE - 3, b"end") == 0
    data = bytearray(b"before ")
    assert vm.copyin(k, p.pagetable, data, PAGE - 3, 4) == -1
    assert data == b"before end", "it appends, and keeps what it had read"


def test_copies_cross_pages_whose_frames_are_not_neighbours(rev):
    k = small(rev)
    p = first_process(k)
    p.sz = vm.uvmalloc(k, p.pagetable, 0, 3 * PAGE, W)
    sent = bytes(range(256)) * 34
    assert vm.copyout(k, p.pagetable, 100, sent) == 0
    data = bytearray()
    assert vm.copyin(k, p.pagetable, data, 100, len(sent)) == 0
    assert data == sent


def test_copyinstr_stops_at_the_nul_or_at_max_whichever_is_first(rev):
    k = small(rev)
    p = first_process(k)
    p.sz = vm.uvmalloc(k, p.pagetable, 0, 2 * PAGE, W)
    vm.copyout(k, p.pagetable, PAGE - 3, b"string\0more\0")
    for most, result, copied in ((7, 0, b"string\0"), (6, -1, b"string"), (100, 0, b"string\0"), (2, -1, b"st")):
        text = bytearray()
        assert vm.copyinstr(k, p.pagetable, text, PAGE - 3, most) == result
        assert text == copied
    vm.copyout(k, p.pagetable, PAGE, b"x" * PAGE)
    assert vm.copyinstr(k, p.pagetable, bytearray(), PAGE, PAGE) == -1
    assert vm.copyinstr(k, p.pagetable, bytearray(), PAGE, PAGE + 1) == -1, "the page after it is not mapped"


# Lazy memory (2025)


def lazy(pages: int = 1, lazily: int = 4, strict: bool = False) -> Kernel:
    """A process of 2025 with ``pages`` pages and ``lazily`` more that only its size promises."""
    k = small("2025", strict=strict)
    p = first_process(k)
    p.sz = vm.uvmalloc(k, p.pagetable, 0, pages * PAGE, W) + lazily * PAGE
    return k


def test_vmfault_maps_a_zeroed_page_that_the_size_promises():
    k = lazy()
    p = k.myproc()
    expected = k.kmem.head
    assert vm.vmfault(k, p.pagetable, 3 * PAGE + 77, 1) == expected
    assert pte_of(k, p.pagetable, 3 * PAGE) == expected >> 12 << 10 | R | W | U | V
    assert k.memory.read(expected, PAGE) == bytes(PAGE)
    assert pte_of(k, p.pagetable, 2 * PAGE) == 0
    account(k)


@pytest.mark.parametrize("va", [5 * PAGE, 5 * PAGE + 1, MAXVA - PAGE, MAXVA, (1 << 64) - 8, -8])
def test_vmfault_gives_nothing_at_or_beyond_the_size(va):
    k = lazy()
    before = snapshot(k)
    assert vm.vmfault(k, k.myproc().pagetable, va, 0) == 0
    assert snapshot(k) == before


def test_vmfault_reaches_the_last_byte_of_an_unaligned_size_and_the_rest_of_its_page():
    k = lazy()
    p = k.myproc()
    p.sz = 2 * PAGE + 10
    assert vm.vmfault(k, p.pagetable, 2 * PAGE + 10, 0) == 0
    assert vm.vmfault(k, p.pagetable, 2 * PAGE + 9, 0) != 0


@pytest.mark.parametrize(
    "perm",
    [R | W | U, R | X | U, R | W, R],
    ids=["mapped already", "read-only text", "the stack guard", "a kernel page"],
)
def test_vmfault_leaves_every_page_that_has_v_as_it_is(perm):
    k = lazy()
    p = k.myproc()
    vm.mappages(k, p.pagetable, 2 * PAGE, PAGE, kalloc(k), perm)
    before = snapshot(k)
    assert vm.vmfault(k, p.pagetable, 2 * PAGE, 0) == 0
    assert snapshot(k) == before


def test_vmfault_asks_the_table_it_is_given_but_maps_into_the_process():
    k = lazy()
    p = k.myproc()
    other = table(k, (2 * PAGE, R))
    assert vm.vmfault(k, other, 2 * PAGE, 0) == 0
    frame = vm.vmfault(k, other, 3 * PAGE, 0)
    assert frame_of(k, p.pagetable, 3 * PAGE) == frame
    assert pte_of(k, other, 3 * PAGE) == 0


def test_vmfault_without_frames_gives_0_and_loses_none(strict):
    for frames, tables_left in ((0, 0), (1, 0), (2, 1 if strict else 0)):
        k = lazy(lazily=1 << 20, strict=strict)
        p = k.myproc()
        tables = len(tables_and_leaves(k, p.pagetable)[0])
        rest = leave(k, frames)
        assert vm.vmfault(k, p.pagetable, 3 << 30, 0) == 0
        assert len(tables_and_leaves(k, p.pagetable)[0]) == tables + tables_left
        account(k, loose=rest)


def test_copyout_and_copyin_fault_lazy_pages_in_and_copyinstr_does_not():
    k = lazy()
    p = k.myproc()
    data = bytearray()
    assert vm.copyinstr(k, p.pagetable, data, PAGE, 10) == -1
    assert pte_of(k, p.pagetable, PAGE) == 0
    assert vm.copyout(k, p.pagetable, 2 * PAGE - 2, b"four") == 0
    assert vm.copyin(k, p.pagetable, data, 3 * PAGE, PAGE + 1) == 0
    assert data == bytes(PAGE + 1)
    assert [va for va, _ in tables_and_leaves(k, p.pagetable)[1]][:5] == [va * PAGE for va in range(5)]
    assert vm.copyinstr(k, p.pagetable, data, PAGE, 10) == 0
    account(k)


def test_copies_to_lazy_memory_stop_at_the_size_with_the_pages_before_written():
    k = lazy(lazily=1)
    p = k.myproc()
    assert vm.copyout(k, p.pagetable, 2 * PAGE - 2, b"four") == -1
    assert k.memory.read(frame_of(k, p.pagetable, PAGE) + PAGE - 2, 2) == b"fo"
    data = bytearray()
    assert vm.copyin(k, p.pagetable, data, 2 * PAGE - 2, 4) == -1
    assert data == b"fo"


@pytest.mark.parametrize("rev", OLDER)
def test_before_2025_the_size_promises_nothing(rev):
    k = small(rev)
    p = first_process(k)
    p.sz = 5 * PAGE
    before = snapshot(k)
    assert vm.copyout(k, p.pagetable, PAGE, b"x") == vm.copyin(k, p.pagetable, bytearray(), PAGE, 1) == -1
    assert snapshot(k) == before


def test_ismapped_is_1_for_every_valid_pte_and_0_without_one_or_without_a_table():
    k = small("2025")
    root = table(k, (0x1000, R), (0x2000, 0))
    assert [vm.ismapped(k, root, va) for va in (0x1000, 0x1FFF, 0x2000, 0x3000, 1 << 21, 1 << 30)] == [1, 1, 1, 0, 0, 0]


def test_vmfault_needs_a_current_process():
    k = small("2025")
    with pytest.raises(Panic) as caught:
        vm.vmfault(k, table(k), 0, 0)
    assert str(caught.value) == "panic: myproc (no process is running; the C code would follow a null pointer here)"


def test_the_page_by_page_kernel_agrees_on_lazy_faults():
    twins = Twins(lazy(strict=True))
    p = twins.k.myproc()
    for va in (0, PAGE, 5 * PAGE - 1, 5 * PAGE, 3 * PAGE, 3 * PAGE):
        twins.call("vmfault", p.pagetable, va)
    twins.call("copyout", p.pagetable, 2 * PAGE + 1, b"x" * PAGE)
    twins.call("copyinstr", p.pagetable, 4 * PAGE, PAGE)


def test_a_frame_freed_twice_is_handed_out_twice_as_in_c(rev, strict):
    k = small(rev, strict=strict)
    root = user(k, 1)
    twice = kalloc(k)
    kfree(k, twice)
    kfree(k, twice)
    assert vm.uvmalloc(k, root, PAGE, 3 * PAGE, W) == 3 * PAGE
    assert [frame_of(k, root, va) for va in (PAGE, 2 * PAGE)] == [twice, twice]
