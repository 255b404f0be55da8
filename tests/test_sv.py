"""Formats as data: PTE and satp fields, canonical addresses, flags as text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pagebook import sv
from pagebook.errors import BadAddress
from pagebook.sv import SV32, SV39, SV48, SV57, Format, Satp, decode_satp, flags_text, parse_flags
from worlds import FORMATS

WORDS = st.integers(0, (1 << 64) - 1)


@pytest.mark.parametrize(
    ("fmt", "levels", "va_bits", "entries", "pte_bytes", "ppn_mask", "shifts", "spans"),
    [
        (SV32, 2, 32, 1024, 4, 0x3FFFFF, (22, 12), (4 << 10, 4 << 20)),
        (SV39, 3, 39, 512, 8, (1 << 44) - 1, (30, 21, 12), (4 << 10, 2 << 20, 1 << 30)),
        (SV48, 4, 48, 512, 8, (1 << 44) - 1, (39, 30, 21, 12), (4 << 10, 2 << 20, 1 << 30, 512 << 30)),
        (SV57, 5, 57, 512, 8, (1 << 44) - 1, (48, 39, 30, 21, 12), (4 << 10, 2 << 20, 1 << 30, 512 << 30, 256 << 40)),
    ],
)  # fmt: skip
def test_each_format_has_the_numbers_of_the_specification(
    fmt, levels, va_bits, entries, pte_bytes, ppn_mask, shifts, spans
):
    assert (fmt.levels, fmt.va_bits, fmt.entries, fmt.index_mask) == (levels, va_bits, entries, entries - 1)
    assert (fmt.pte_bytes, fmt.ppn_mask, fmt.shifts) == (pte_bytes, ppn_mask, shifts)
    assert fmt.entries * fmt.pte_bytes == 4096
    assert tuple(fmt.page_bytes(level) for level in range(levels)) == spans
    assert fmt.steps == tuple(zip(range(levels - 1, -1, -1), shifts, strict=True))
    assert repr(fmt) == f"pagebook.sv.{fmt.name.upper()}"
    assert eval(repr(fmt).removeprefix("pagebook.")) is fmt
    assert sv.FORMATS[fmt.name.lower()] is fmt


def test_the_low_ten_bits_of_a_pte_are_those_of_the_specification():
    assert (sv.V, sv.R, sv.W, sv.X, sv.U, sv.G, sv.A, sv.D) == (1, 2, 4, 8, 16, 32, 64, 128)
    assert (sv.RSW, sv.RWX, sv.FLAGS, sv.KIND_MASK, sv.POINTER) == (0x300, 0xE, 0x3FF, 0xF, 1)


@given(WORDS)
def test_the_fields_of_a_pte_fill_it_without_a_gap_and_give_it_back(word: int):
    for fmt in FORMATS:
        width = 8 * fmt.pte_bytes
        pte = word & (1 << width) - 1
        low = 0
        for part in fmt.pte_fields:
            assert part.low == low
            low += part.bits
        assert low == width
        fields = fmt.decode_pte(pte)
        assert sum(fields[part.name] << part.low for part in fmt.pte_fields) == pte
        assert fmt.pte_pa(pte) == fields["PPN"] << 12
        assert fields["V"] == pte & 1
        if fmt.xlen == 64:
            assert (fields["N"], fields["PBMT"], fields["reserved"]) == (pte >> 63, pte >> 61 & 3, pte >> 54 & 0x7F)


@given(WORDS, st.integers(0, 0x3FF))
def test_a_pte_holds_the_address_and_the_flags_it_was_made_of(word: int, flags: int):
    for fmt in FORMATS:
        pa = word & fmt.ppn_mask << 12
        pte = fmt.pte(pa, flags)
        assert (fmt.pte_pa(pte), pte & 0x3FF) == (pa, flags)
        assert pte < 1 << (54 if fmt.xlen == 64 else 32)


def test_xv6s_macros_give_the_same_ptes():
    assert SV39.pte(0x87F74000, 0xC7) == 0x21FDD0C7
    assert SV39.pte_pa(0x21FDD0C7) == 0x87F74000
    assert [SV39.index(0x3FFFFFE000, level) for level in (2, 1, 0)] == [255, 511, 510]
    assert SV39.satp(0x87FFF000) == 0x8000000000087FFF


@given(WORDS)
def test_an_address_split_into_indices_and_offset_is_put_together_again(word: int):
    for fmt in FORMATS:
        va = fmt.canonical(word)
        indices, offset = fmt.split_va(va)
        assert len(indices) == fmt.levels
        again = 0
        for level, index in zip(range(fmt.levels - 1, -1, -1), indices, strict=True):
            assert index == fmt.index(va, level) < fmt.entries
            again += index * fmt.page_bytes(level)
        assert fmt.canonical(again + offset) == va


@given(WORDS)
def test_an_address_is_canonical_exactly_when_sign_extending_its_low_bits_gives_it_back(word: int):
    for fmt in FORMATS:
        low = word & (1 << fmt.va_bits) - 1
        signed = low - (1 << fmt.va_bits) if low >> fmt.va_bits - 1 else low
        extended = signed % (1 << fmt.xlen)
        assert fmt.canonical(word) == extended
        assert fmt.is_canonical(extended)
        assert fmt.check_canonical(extended) == extended
        assert fmt.is_canonical(word) == (word == extended)


def test_the_edges_of_the_two_halves_are_canonical_and_what_lies_between_is_not(fmt: Format):
    half = 1 << fmt.va_bits - 1
    if fmt is SV32:
        assert all(fmt.is_canonical(va) for va in (0, half - 1, half, (1 << 32) - 1))
        assert not fmt.is_canonical(1 << 32)
    else:
        assert [fmt.is_canonical(va) for va in (0, half - 1, half, 2 * half)] == [True, True, False, False]
        assert [fmt.is_canonical((1 << 64) + va) for va in (-half - 1, -half, -1, 0)] == [False, True, True, False]
    assert not fmt.is_canonical(-1)


@pytest.mark.parametrize(
    ("fmt", "va", "message"),
    [
        (
            SV39,
            0x4000000000,
            "0x4000000000 is not canonical in Sv39: bits 63 to 39 must all equal bit 38; sign-extended from there it "
            "is 0xffffffc000000000",
        ),
        (
            SV48,
            0x1_0000_0000_1000,
            "0x1000000001000 is not canonical in Sv48: bits 63 to 48 must all equal bit 47; sign-extended from there "
            "it is 0x1000",
        ),
        (SV39, -4096, "-0x1000 is negative; an address is an unsigned 64-bit number"),
        (SV57, 1 << 64, "0x10000000000000000 does not fit in 64 bits"),
        (SV32, 1 << 32, "0x100000000 does not fit in 32 bits"),
        (SV32, -1, "-0x1 is negative; an address is an unsigned 32-bit number"),
    ],
)
def test_an_address_that_is_not_canonical_is_refused_with_the_reason(fmt: Format, va: int, message: str):
    with pytest.raises(BadAddress) as caught:
        fmt.check_canonical(va)
    assert str(caught.value) == message
    assert caught.value.va == va


@given(WORDS, st.integers(0, 0xFFFF))
def test_a_satp_value_says_the_format_the_asid_and_the_root_it_was_made_of(word: int, asid: int):
    for fmt in FORMATS:
        root = word & fmt.ppn_mask << 12
        asid &= 0x1FF if fmt is SV32 else 0xFFFF
        value = fmt.satp(root, asid)
        assert value >> fmt.xlen == 0
        assert decode_satp(value, fmt.xlen) == Satp(fmt, asid, root)


@given(WORDS)
def test_every_64_bit_satp_value_is_decoded_or_has_a_reserved_mode(value: int):
    mode = value >> 60
    formats = {0: None, 8: SV39, 9: SV48, 10: SV57}
    if mode in formats:
        assert decode_satp(value) == Satp(formats[mode], value >> 44 & 0xFFFF, (value & (1 << 44) - 1) << 12)
    else:
        with pytest.raises(BadAddress) as caught:
            decode_satp(value)
        assert str(caught.value) == f"satp {value:#x} has the reserved MODE {mode}"


def test_both_modes_of_a_32_bit_satp_are_known():
    assert decode_satp(0x80080001, 32) == Satp(SV32, 0, 0x80001000)
    assert decode_satp(0xFFFFFFFF, 32) == Satp(SV32, 0x1FF, 0x3FFFFF000)
    assert decode_satp(0, 32) == decode_satp(0) == Satp(None, 0, 0)


@pytest.mark.parametrize(("value", "xlen"), [(1 << 64, 64), (-1, 64), (1 << 32, 32)])
def test_a_satp_value_wider_than_the_register_is_refused(value: int, xlen: int):
    with pytest.raises(BadAddress) as caught:
        decode_satp(value, xlen)
    assert str(caught.value) == f"{value:#x} is not a {xlen}-bit satp value"


@pytest.mark.parametrize(
    ("fmt", "root", "asid"),
    [(SV39, 0x80000001, 0), (SV39, 1 << 56, 0), (SV39, -4096, 0), (SV39, 0x80000000, 1 << 16), (SV39, 0x80000000, -1),
     (SV32, 1 << 34, 0), (SV32, 0, 1 << 9)],
)  # fmt: skip
def test_satp_refuses_a_root_or_an_asid_it_has_no_bits_for(fmt: Format, root: int, asid: int):
    with pytest.raises(BadAddress) as caught:
        fmt.satp(root, asid)
    top, bits = ("0x400000000", 9) if fmt is SV32 else ("0x100000000000000", 16)
    assert str(caught.value) == (
        f"satp of {fmt.name} holds a page-aligned root below {top} and an ASID of {bits} bits, not root {root:#x} "
        f"and ASID {asid}"
    )
    assert caught.value.pa == root


@given(st.integers(0, 0xFF))
def test_flags_read_back_from_their_text_are_the_flags(flags: int):
    assert parse_flags(flags_text(flags)) == parse_flags(flags_text(flags).upper()) == flags


def test_flags_are_shown_as_letters_in_the_order_asked_for():
    assert flags_text(0x17) == "vrw-u---"
    assert flags_text(0x17, "rwxu") == "rw-u"
    assert flags_text(0, "dagu") == "----"
    assert (parse_flags(""), parse_flags("rwu"), parse_flags("-rw-u---")) == (0, 0x16, 0x16)


@pytest.mark.parametrize(("text", "letter"), [("rwz", "z"), ("r w", " "), ("7", "7")])
def test_a_letter_that_is_no_permission_is_refused(text: str, letter: str):
    with pytest.raises(ValueError) as caught:
        parse_flags(text)
    assert str(caught.value) == f"{letter!r} is no permission; use letters of 'vrwxugad'"


def test_a_satp_value_taken_apart_shows_its_root_in_hexadecimal():
    assert repr(decode_satp(0x8001000000087FFF)) == "Satp(format=pagebook.sv.SV39, asid=0x10, root=0x87fff000)"
