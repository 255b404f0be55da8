"""kalloc.c and virtio_disk.c: the free list, byte for byte, and every way to break it."""

from __future__ import annotations

import pytest
from twins import BASE, PAGE, Twins, account, free_frames, leave, ram, small, snapshot

from pagebook.errors import BadFrame, Panic
from pagebook.xv6.boot import power_on
from pagebook.xv6.kalloc import freerange, kalloc, kfree, kinit
from pagebook.xv6.programs import KernelImage
from pagebook.xv6.virtio_disk import virtio_disk_init


def test_kinit_puts_every_whole_page_above_end_on_the_list_the_highest_first(rev):
    symbols = {"etext": BASE + PAGE, "end": BASE + PAGE + 0xD60, "trampoline": BASE}
    k = power_on(rev, ram=16 * PAGE, kernel=KernelImage(symbols, ()))
    kinit(k)
    assert free_frames(k) == list(range(BASE + 15 * PAGE, BASE + PAGE, -PAGE))
    assert k.kmem.count == 14
    assert ram(k)[: 2 * PAGE] == bytes(2 * PAGE), "the kernel's own pages are left alone"


def test_a_free_frame_is_0x01_everywhere_but_in_its_link(rev):
    k = small(rev)
    frames = free_frames(k)
    for frame, link in zip(frames, [*frames[1:], 0], strict=True):
        assert k.memory.read(frame, PAGE) == link.to_bytes(8, "little") + b"\x01" * (PAGE - 8)


def test_kalloc_takes_the_head_and_fills_it_with_0x05(rev):
    k = small(rev)
    first, second, *rest = free_frames(k)
    assert (kalloc(k), kalloc(k)) == (first, second)
    assert k.memory.read(second, PAGE) == k.memory.read(first, PAGE) == b"\x05" * PAGE
    assert free_frames(k) == rest


def test_kfree_fills_with_0x01_and_the_last_frame_in_is_the_first_out(rev):
    k = small(rev)
    frames = [kalloc(k) for _ in range(4)]
    before = free_frames(k)
    kfree(k, frames[2])
    kfree(k, frames[0])
    assert free_frames(k) == [frames[0], frames[2], *before]
    assert k.memory.read(frames[0], PAGE) == frames[2].to_bytes(8, "little") + b"\x01" * (PAGE - 8)
    assert kalloc(k) == frames[0]
    account(k, loose=[frames[0], frames[1], frames[3]])


def test_kalloc_gives_0_from_an_empty_list_and_changes_nothing(rev):
    k = small(rev, frames=3)
    held = [kalloc(k) for _ in range(3)]
    before = snapshot(k)
    assert (kalloc(k), kalloc(k)) == (0, 0)
    assert snapshot(k) == before
    assert k.kmem.head == k.kmem.count == 0
    account(k, loose=held)


def test_kalloc_and_kfree_do_what_the_page_by_page_kernel_does(rev):
    twins = Twins(small(rev, frames=9, strict=True))
    held = [twins.call("kalloc") for _ in range(9)]
    assert twins.call("kalloc") == 0
    for frame in (held[4], held[0], held[8]):
        twins.call("kfree", frame)
    assert [twins.call("kalloc") for _ in range(4)] == [held[8], held[0], held[4], 0]


@pytest.mark.parametrize(
    ("pa", "why"),
    [
        (BASE + 5 * PAGE + 8, "0x80005008 is not page-aligned"),
        (BASE + PAGE, "0x80001000 is not in the range the allocator owns"),
        (BASE + 64 * PAGE, "0x80040000 is not in the range the allocator owns"),
        (0, "0x0 is not in the range the allocator owns"),
        (0x1000_0000, "0x10000000 is not in the range the allocator owns"),
    ],
    ids=["unaligned", "below end", "at PHYSTOP", "null", "a device"],
)
def test_kfree_panics_on_what_cannot_be_a_frame(rev, pa, why):
    k = small(rev)
    before = snapshot(k)
    with pytest.raises(Panic) as caught:
        kfree(k, pa)
    assert caught.value.reason == "kfree"
    assert str(caught.value) == f"panic: kfree ({why}, 0x80002000-0x80040000)"
    assert caught.value.pa == pa
    assert snapshot(k) == before
    assert Twins(small(rev, strict=True)).call("kfree", pa) == "panic: kfree"


def test_the_page_that_end_is_in_is_never_a_frame(rev):
    symbols = {"etext": BASE + PAGE, "end": BASE + PAGE + 1, "trampoline": BASE}
    k = power_on(rev, ram=4 * PAGE, kernel=KernelImage(symbols, ()))
    kinit(k)
    assert free_frames(k) == [BASE + 3 * PAGE, BASE + 2 * PAGE]
    with pytest.raises(Panic, match="kfree"):
        kfree(k, BASE + PAGE)


def test_freerange_panics_when_the_range_leaves_memory_and_then_frees_nothing(rev):
    k = small(rev)
    held = [kalloc(k) for _ in range(62)]
    assert held[-1] == BASE + 2 * PAGE
    before = snapshot(k)
    for start, stop in ((BASE + PAGE, BASE + 4 * PAGE), (BASE + 4 * PAGE, k.layout.physstop + PAGE)):
        with pytest.raises(Panic) as caught:
            freerange(k, start, stop)
        assert caught.value.reason == "kfree"
        assert snapshot(k) == before


@pytest.mark.parametrize(
    ("start", "stop", "pages"),
    [
        (4 * PAGE, 4 * PAGE, []),
        (4 * PAGE + 1, 5 * PAGE, []),
        (4 * PAGE, 5 * PAGE - 1, []),
        (4 * PAGE, 5 * PAGE, [4]),
        (4 * PAGE + 1, 7 * PAGE + 5, [5, 6]),
    ],
)
def test_freerange_frees_whole_pages_only_the_lowest_first(rev, start, stop, pages):
    k = small(rev)
    for _ in range(62):
        kalloc(k)
    freerange(k, BASE + start, BASE + stop)
    assert free_frames(k) == [BASE + page * PAGE for page in reversed(pages)]


def test_a_large_memory_is_freed_in_strides_and_every_byte_of_it_is_reported(rev, monkeypatch):
    whole = small(rev)
    monkeypatch.setattr("pagebook.xv6.kalloc.STRIDE", 8 * PAGE)
    steps: list[int] = []
    symbols = {"etext": BASE + PAGE, "end": BASE + PAGE + 0xD60, "trampoline": BASE}
    k = power_on(rev, ram=64 * PAGE, kernel=KernelImage(symbols, ()), progress=steps.append)
    kinit(k)
    assert steps == [7 * PAGE - 0xD60, *[8 * PAGE] * 7]
    assert free_frames(k) == free_frames(whole)
    assert ram(k)[2 * PAGE :] == ram(whole)[2 * PAGE :]


def test_a_frame_freed_twice_is_not_noticed_until_the_list_is_read(rev):
    k = small(rev)
    frame = kalloc(k)
    kfree(k, frame)
    kfree(k, frame)
    assert (kalloc(k), kalloc(k)) == (frame, frame), "the same frame for two owners, as in xv6"
    kfree(k, frame)
    kfree(k, frame)
    with pytest.raises(BadFrame, match=f"comes back to {frame:#x}; a frame was freed twice"):
        k.kmem.frames()


def test_a_link_that_was_overwritten_is_named_by_the_next_kalloc(rev):
    k = small(rev)
    k.memory.write64(k.kmem.head, 0x8000_1000)
    kalloc(k)
    with pytest.raises(BadFrame, match="the free list leads to 0x80001000, which is no frame of"):
        kalloc(k)


def test_the_disk_takes_three_zeroed_frames(rev):
    k = small(rev)
    expected = free_frames(k)[:3]
    virtio_disk_init(k)
    assert k.disk == tuple(expected)
    assert all(k.memory.read(frame, PAGE) == bytes(PAGE) for frame in expected)
    account(k)


@pytest.mark.parametrize("frames", [0, 1, 2])
def test_the_disk_panics_when_fewer_than_three_frames_are_left(rev, frames):
    k = small(rev)
    leave(k, frames)
    with pytest.raises(Panic) as caught:
        virtio_disk_init(k)
    assert caught.value.reason == "virtio disk kalloc"
    assert str(caught.value) == "panic: virtio disk kalloc (no frame is left for the disk's queue)"
    assert k.kmem.count == 0
