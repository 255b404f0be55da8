"""What harts remember, what makes them forget, and what they remember wrongly."""

from __future__ import annotations

import pytest

from pagebook.errors import BadAddress
from pagebook.memory import Memory, Region
from pagebook.mmu import RULES, Extensions, Kind, Mmu, Outcome, Regime
from pagebook.sv import SV32, SV39, SV48, A, D, G, R, U, V, W, X
from pagebook.tlb import Cached, Stale, Tlb
from pagebook.xv6 import vm
from pagebook.xv6.boot import power_on
from pagebook.xv6.kalloc import kinit
from pagebook.xv6.programs import KernelImage
from worlds import BASE, PAGE

LOAD, STORE, FETCH, AMO = Kind
GOOD = V | R | W | X | A | D
ROOT, MIDDLE, LAST = BASE, BASE + PAGE, BASE + 2 * PAGE
FRAME = BASE + 16 * PAGE
VA = 1 << 30 | 1 << 21 | 1 << 12
LEAF = LAST + 8


def leaf(pa: int = FRAME, flags: int = GOOD) -> int:
    return pa >> 12 << 10 | flags


class Harts:
    """A RAM with an Sv39 table that maps `VA` to `FRAME`, and some harts with TLBs."""

    def __init__(self, harts: int = 1) -> None:
        self.memory = Memory.anonymous(64 * PAGE)
        self.memory.write64(ROOT + 8, leaf(MIDDLE, V))
        self.memory.write64(MIDDLE + 8, leaf(LAST, V))
        self.memory.write64(LEAF, leaf())
        self.tlb = Tlb(Mmu(self.memory, Extensions(svnapot=True)), harts)

    def access(
        self, kind: Kind = LOAD, va: int = VA, hart: int = 0, asid: int = 0, size: int = 4, **more: object
    ) -> Outcome:
        commit = bool(more.pop("commit", True))
        root = int(more.pop("root", ROOT))  # type: ignore[call-overload]
        regime = Regime(SV39.satp(root, asid), **more)  # type: ignore[arg-type]
        return self.tlb.access(hart, regime, kind, va, size, commit=commit)

    def put(self, pte_pa: int, pte: int) -> None:
        self.memory.write64(pte_pa, pte)


# Hits.


def test_what_was_walked_is_remembered_and_used_when_the_table_has_changed():
    harts = Harts()
    walked = harts.access(va=VA + 8)
    assert harts.tlb.entries(0) == [Cached(0, 0, VA, PAGE, SV39, walked.parts[0].steps, False)]
    harts.put(LEAF, 0)
    assert harts.access(STORE, VA + 0x124).pa == FRAME + 0x124
    assert harts.access(LOAD, VA + PAGE).rule is RULES["v-clear"]
    assert len(harts.tlb.entries(0)) == 1


def test_faults_are_not_remembered():
    harts = Harts()
    harts.put(LEAF, 0)
    assert harts.access().cause == 13
    assert harts.tlb.entries(0) == []
    harts.put(LEAF, leaf())
    assert harts.access().pa == FRAME


def test_a_remembered_translation_that_would_fault_is_read_again():
    harts = Harts()
    harts.put(LEAF, leaf(flags=V | R | A | D))
    assert harts.access(STORE).cause == 15
    assert harts.access(LOAD).pa == FRAME
    harts.put(LEAF, leaf(FRAME + PAGE, GOOD))
    assert harts.access(LOAD).pa == FRAME  # a fence is missing
    assert harts.access(STORE).pa == FRAME + PAGE
    assert harts.access(LOAD).pa == FRAME + PAGE
    assert len(harts.tlb.entries(0)) == 1


def test_privilege_is_judged_again_at_every_use():
    harts = Harts()
    harts.put(LEAF, leaf(flags=GOOD | U))
    assert harts.access(priv="U").pa == FRAME
    assert harts.access(priv="S").rule is RULES["user-page"]
    assert harts.access(priv="S", sum=True).pa == FRAME
    assert harts.access(FETCH, sum=True).cause == 12


def test_a_store_to_a_page_remembered_clean_walks_to_set_d():
    harts = Harts()
    harts.put(LEAF, leaf(flags=V | R | W))
    harts.access(LOAD)
    assert harts.memory.read64(LEAF) == leaf(flags=V | R | W | A)
    harts.access(STORE)
    assert harts.memory.read64(LEAF) == leaf(flags=V | R | W | A | D)
    assert [cached.leaf.pte for cached in harts.tlb.entries(0)] == [leaf(flags=V | R | W | A | D)]
    assert harts.tlb.stale() == []


def test_without_commit_nothing_is_written_and_nothing_is_stale():
    harts = Harts()
    harts.put(LEAF, leaf(flags=V | R | W))
    assert harts.access(STORE, commit=False).pa == FRAME
    assert harts.memory.read64(LEAF) == leaf(flags=V | R | W)
    assert harts.tlb.stale() == []


def test_bare_and_machine_mode_pass_the_tlb_by():
    harts = Harts()
    harts.access()
    assert harts.access(priv="M", va=FRAME).pa == FRAME
    assert harts.access(priv="M").cause == 5
    assert harts.tlb.access(0, Regime(0), LOAD, FRAME, 4).pa == FRAME
    assert len(harts.tlb.entries(0)) == 1


def test_a_straddle_uses_two_translations_and_fails_in_the_second():
    harts = Harts()
    end = VA + PAGE - 2
    assert (harts.access(va=end).cause, harts.access(va=end).tval) == (13, VA + PAGE)
    harts.put(LEAF + 8, leaf(FRAME + 4 * PAGE))
    found = harts.access(va=end)
    assert [part.pa for part in found.parts] == [FRAME + PAGE - 2, FRAME + 4 * PAGE]
    harts.put(LEAF, 0)
    harts.put(LEAF + 8, 0)
    assert harts.access(va=end) == found._replace(parts=harts.access(va=end).parts)
    assert len(harts.tlb.entries(0)) == 2


def test_a_misaligned_amo_is_refused_though_its_page_is_remembered():
    harts = Harts()
    harts.access()
    assert harts.access(AMO, VA + 2).rule is RULES["amo-misaligned"]
    assert harts.access(AMO, VA + 4).pa == FRAME + 4


def test_a_remembered_target_may_be_outside_memory_only_when_walked_afresh():
    harts = Harts()
    harts.put(LEAF, leaf(0x4000_0000))
    assert harts.access().cause == 5
    assert harts.tlb.entries(0) == []


@pytest.mark.parametrize("level", [1, 2])
def test_a_superpage_is_one_entry(level: int):
    harts = Harts()
    harts.put((MIDDLE, ROOT)[level - 1] + 8, leaf(BASE))
    size = SV39.page_bytes(level)
    va = VA & -size
    assert harts.access(va=va + 5 * PAGE).pa == BASE + 5 * PAGE
    assert [(cached.va, cached.size) for cached in harts.tlb.entries(0)] == [(va, size)]
    harts.put((MIDDLE, ROOT)[level - 1] + 8, 0)
    assert harts.access(va=va + 7 * PAGE).pa == BASE + 7 * PAGE
    assert harts.access(va=va + size).cause == 13
    assert harts.tlb.sfence_vma(0, va + 63 * PAGE) == 1


def test_a_napot_page_is_one_entry_of_64_kib():
    harts = Harts()
    for index in range(16):
        harts.put(LAST + 8 * index, leaf(FRAME + 8 * PAGE) | 1 << 63)
    assert harts.access(va=VA + 2 * PAGE).pa == FRAME + 3 * PAGE
    assert [(cached.va, cached.size) for cached in harts.tlb.entries(0)] == [(VA & -0x10000, 0x10000)]
    harts.put(LAST + 8 * 9, 0)
    assert harts.access(va=VA + 8 * PAGE).pa == FRAME + 9 * PAGE


def test_sv32_translations_are_remembered_too():
    memory = Memory.anonymous(64 * PAGE)
    memory.write32(BASE + 4, leaf(MIDDLE, V))
    memory.write32(MIDDLE + 4, leaf())
    tlb = Tlb(Mmu(memory))
    for _ in range(2):
        assert tlb.access(0, Regime(SV32.satp(BASE, 3), xlen=32), LOAD, 0x40_1008, 4).pa == FRAME + 8
        memory.write32(MIDDLE + 4, 0)
    assert [(one.asid, one.va) for one in tlb.entries(0)] == [(3, 0x40_1000)]
    assert "by the level-0 PTE 0x200040cf at 0x80001004, which was made invalid, 0x0: " in str(tlb.stale()[0])


# ASIDs, global entries, harts.


def test_each_asid_has_its_own_translations():
    harts = Harts()
    harts.access(asid=1)
    harts.put(LEAF, leaf(FRAME + PAGE))
    assert harts.access(asid=2).pa == FRAME + PAGE
    assert harts.access(asid=1).pa == FRAME


@pytest.mark.parametrize("where", [LEAF, MIDDLE + 8, ROOT + 8])
def test_a_global_bit_anywhere_on_the_way_serves_every_asid(where: int):
    harts = Harts()
    harts.put(where, harts.memory.read64(where) | G)
    harts.access(asid=1)
    harts.put(LEAF, leaf(FRAME + PAGE))
    assert harts.access(asid=2).pa == FRAME
    assert [cached.is_global for cached in harts.tlb.entries(0)] == [True]


def test_each_hart_remembers_for_itself():
    harts = Harts(harts=3)
    harts.access(hart=0)
    harts.access(hart=1)
    harts.put(LEAF, 0)
    assert [harts.access(hart=hart).pa for hart in range(3)] == [FRAME, FRAME, None]
    harts.tlb.sfence_vma(0)
    assert [harts.access(hart=hart).pa for hart in range(3)] == [None, FRAME, None]
    for hart in (-1, 3):
        for ask in (harts.tlb.entries, harts.tlb.sfence_vma, lambda hart: harts.access(hart=hart)):
            with pytest.raises(BadAddress, match=f"^there is no hart {hart}; there are 3, from 0$"):
                ask(hart)


# sfence.vma.


@pytest.mark.parametrize(
    ("va", "asid", "left"),
    [
        (None, None, set()),
        (VA, None, {(1, 1), (2, 1), "global"}),
        (VA + 0xFFF, None, {(1, 1), (2, 1), "global"}),
        (None, 1, {(2, 0), (2, 1), "global"}),
        (VA, 1, {(1, 1), (2, 0), (2, 1), "global"}),
        (VA + 2 * PAGE, None, {(1, 0), (1, 1), (2, 0), (2, 1)}),
        (VA + 2 * PAGE, 1, {(1, 0), (1, 1), (2, 0), (2, 1), "global"}),
        (VA, 3, {(1, 0), (1, 1), (2, 0), (2, 1), "global"}),
    ],
)
def test_each_form_of_sfence_vma_forgets_what_it_names(va: int | None, asid: int | None, left: set[object]):
    harts = Harts()
    harts.put(LEAF + 8, leaf(FRAME + PAGE))
    harts.put(LEAF + 16, leaf(FRAME + 2 * PAGE, GOOD | G))
    for space in (1, 2):
        for page in range(2):
            harts.access(va=VA + page * PAGE, asid=space)
    harts.access(va=VA + 2 * PAGE, asid=1)
    forgotten = harts.tlb.sfence_vma(0, va, asid)
    entries = harts.tlb.entries(0)
    assert {"global" if one.is_global else (one.asid, one.va - VA >> 12) for one in entries} == left
    assert forgotten == 5 - len(entries)


# Stale translations.


def change(harts: Harts, pte_pa: int, pte: int) -> str:
    """The text about the one translation that a write makes stale."""
    harts.put(pte_pa, pte)
    (found,) = harts.tlb.stale()
    return str(found)


START = "hart 0 still translates 0x40201000 (asid 0) by the level-0 PTE 0x200040cf at 0x80002008, which "
END = ": an sfence.vma is missing"


@pytest.mark.parametrize(
    ("pte", "text"),
    [
        (0, "was made invalid, 0x0"),
        (leaf() & ~V, "was made invalid, 0x200040ce"),
        (leaf() & ~W, "is now 0x200040cb and lost W"),
        (leaf(flags=V | R | U), "is now 0x20004013 and lost WXAD, gained U"),
        (leaf(FRAME + PAGE), "is now 0x200044cf and now names 0x80011000"),
        (leaf(FRAME + PAGE, GOOD | U), "is now 0x200044df and now names 0x80011000, gained U"),
        (leaf() | 1 << 8, "is now 0x200041cf"),
    ],
)
def test_what_a_write_did_is_told_in_words(pte: int, text: str):
    harts = Harts()
    harts.access()
    assert harts.tlb.stale() == []
    assert change(harts, LEAF, pte) == START + text + END


def test_the_pointer_that_changed_is_named():
    harts = Harts(harts=2)
    harts.put(LEAF, leaf(flags=GOOD | G))
    harts.access(hart=1, asid=7)
    assert change(harts, MIDDLE + 8, leaf(BASE + 3 * PAGE, V)) == (
        "hart 1 still translates 0x40201000 (asid 7, global) by the level-1 PTE 0x20000801 at 0x80001008, "
        "which is now 0x20000c01 and now names 0x80003000: an sfence.vma is missing"
    )


def test_a_table_that_has_left_memory_is_stale():
    harts = Harts()
    harts.access()
    harts.tlb.mmu.memory = Memory([])
    assert str(harts.tlb.stale()[0]) == (
        "hart 0 still translates 0x40201000 (asid 0) by the level-2 PTE 0x20000401 at 0x80000008, "
        "which is no longer in memory: an sfence.vma is missing"
    )


def test_a_and_d_that_hardware_set_since_make_nothing_stale_but_taking_them_does():
    harts = Harts()
    harts.put(LEAF, leaf(flags=V | R | W))
    harts.access()
    harts.put(LEAF, leaf(flags=V | R | W | A | D))
    assert harts.tlb.stale() == []
    assert change(harts, LEAF, leaf(flags=V | R | W)).endswith("is now 0x20004007 and lost A" + END)


def test_an_observation_names_the_write_that_made_each_translation_stale():
    harts = Harts(harts=2)
    harts.put(LEAF + 8, leaf(FRAME + PAGE))
    harts.access(hart=0)
    harts.access(hart=1)
    harts.access(hart=1, va=VA + PAGE)
    assert harts.tlb.observe("nothing") == []
    harts.put(LEAF, 0)
    fresh = harts.tlb.observe("unmap of the first page")
    assert [(one.cached.hart, one.cached.va, one.label) for one in fresh] == [
        (0, VA, "unmap of the first page"), (1, VA, "unmap of the first page"),
    ]  # fmt: skip
    assert str(fresh[0]) == START + "was made invalid, 0x0 (unmap of the first page)" + END
    harts.put(LEAF + 8, leaf(FRAME))
    assert [(one.cached.va, one.label) for one in harts.tlb.observe("remap")] == [(VA + PAGE, "remap")]
    assert [one.label for one in harts.tlb.stale()] == ["unmap of the first page", "unmap of the first page", "remap"]
    harts.put(LEAF, leaf())  # put back: those translations are right again
    assert harts.tlb.observe("put back") == []
    assert [one.label for one in harts.tlb.stale()] == ["remap"]
    harts.put(LEAF, 0)
    assert [one.label for one in harts.tlb.observe("again")] == ["again", "again"]
    harts.tlb.sfence_vma(1)
    assert [one.cached.hart for one in harts.tlb.stale()] == [0]


def test_another_format_on_the_same_asid_does_not_answer_for_what_it_finds_not_canonical():
    memory = Memory([Region(BASE, bytearray(8 * PAGE), writable=True)])
    for level in range(3):
        memory.write64(BASE + level * PAGE, leaf(BASE + (level + 1) * PAGE, V))
    memory.write64(BASE + 8, leaf(BASE + PAGE, V))
    memory.write64(BASE + 3 * PAGE, leaf(BASE + 4 * PAGE))
    tlb = Tlb(Mmu(memory))
    va = 1 << 39
    assert tlb.access(0, Regime(SV48.satp(BASE)), LOAD, va).pa == BASE + 4 * PAGE
    assert tlb.access(0, Regime(SV39.satp(BASE)), LOAD, va).rule is RULES["non-canonical"]


# What it is for: xv6 with copy-on-write.


def test_a_copy_on_write_fork_that_forgets_its_fence_is_caught_and_named():
    symbols = {"etext": BASE + PAGE, "end": BASE + 2 * PAGE, "trampoline": BASE}
    k = power_on("2024", ram=64 * PAGE, kernel=KernelImage(symbols, ((BASE, bytes(PAGE)),)), nproc=2)
    kinit(k)
    parent, child = vm.uvmcreate(k), vm.uvmcreate(k)
    assert vm.uvmalloc(k, parent, 0, 2 * PAGE, W) == 2 * PAGE
    tlb = Tlb(Mmu(k.memory), harts=2)
    old, new = (Regime(SV39.satp(root), "U") for root in (parent, child))
    frames = [tlb.access(0, old, STORE, page, commit=True).pa for page in (0, PAGE)]
    tlb.access(1, old, LOAD, 0, commit=True)
    assert tlb.observe("before fork") == []

    for va in (0, PAGE):  # uvmcopy with copy-on-write, and no sfence_vma() at its end
        pte_pa = vm.walk(k, parent, va, 0)
        pte = k.memory.read64(pte_pa) & ~W
        k.memory.write64(pte_pa, pte)
        assert vm.mappages(k, child, va, PAGE, SV39.pte_pa(pte), pte & (R | X | U)) == 0

    assert Mmu(k.memory).access(old, STORE, PAGE).rule is RULES["not-writable"]
    assert tlb.access(0, old, STORE, PAGE, commit=True).pa == frames[1]  # the child sees the parent's store
    found = tlb.observe("cow fork")
    assert [(one.cached.hart, one.cached.va) for one in found] == [(0, 0), (0, PAGE), (1, 0)]
    assert all(isinstance(one, Stale) and one.now is not None and not one.now & W for one in found)
    pte_pa = vm.walk(k, parent, PAGE, 0)
    pte = k.memory.read64(pte_pa)
    assert str(found[1]) == (
        f"hart 0 still translates 0x1000 (asid 0) by the level-0 PTE {pte | W:#x} at {pte_pa:#x}, "
        f"which is now {pte:#x} and lost W (cow fork): an sfence.vma is missing"
    )

    tlb.sfence_vma(0)
    assert tlb.access(0, old, STORE, PAGE, commit=True).cause == 15
    assert [one.cached.hart for one in tlb.stale()] == [1]
    tlb.sfence_vma(1)
    assert tlb.stale() == []
    assert tlb.access(1, new, LOAD, PAGE, commit=True).pa == frames[1]
