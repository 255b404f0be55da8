"""Page sizes, and numbers as text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pagebook.units import PAGE_MASK, PAGE_SHIFT, PAGE_SIZE, page_down, page_up, parse_address, parse_size, size_text

NUMBERS = st.integers(0, 1 << 70)


def test_a_page_is_4096_bytes():
    assert (PAGE_SIZE, 1 << PAGE_SHIFT, PAGE_MASK) == (4096, 4096, 0xFFF)


@given(NUMBERS)
def test_an_address_lies_between_its_page_rounded_down_and_rounded_up_less_than_a_page_apart(address: int):
    down, up = page_down(address), page_up(address)
    assert down <= address <= up
    assert down % 4096 == up % 4096 == 0
    assert up - down == (4096 if address % 4096 else 0)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("4096", 4096),
        ("0", 0),
        ("128M", 128 << 20),
        ("128m", 128 << 20),
        ("1GiB", 1 << 30),
        ("1GB", 1 << 30),
        ("2 T", 2 << 40),
        (" 12k ", 12 << 10),
        ("7b", 7),
        ("0x1000", 4096),
        ("0X1f", 31),
        ("0x10M", 16 << 20),
        ("0x1b", 27),
        ("1_000_000", 1_000_000),
        ("0x8000_0000", 0x8000_0000),
    ],
)
def test_a_size_is_read_as_people_write_it(text: str, size: int):
    assert parse_size(text) == size


@pytest.mark.parametrize(
    "text",
    ["", " ", "M", "-1", "+1", "1.5M", "128Q", "128MM", "0x", "0xg", "1e3", "12 34", "0x_", "1__0", "_1", "1_", "010",
     "١٢٨", "nan", "4096\n4096"],
)  # fmt: skip
def test_what_is_no_size_is_refused_with_the_remedy(text: str):
    with pytest.raises(ValueError) as caught:
        parse_size(text)
    assert str(caught.value) == (f"{text!r} is not a size; write bytes, or a number with K, M, G or T: 4096, 128M, 1G")


@given(NUMBERS)
def test_a_size_read_back_from_its_text_is_the_size(size: int):
    assert parse_size(size_text(size)) == size


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0"), (1, "1"), (1023, "1023"), (1024, "1K"), (4608, "4608"), (6144, "6K"), (134217728, "128M"),
     (1 << 30, "1G"), (3 << 40, "3T"), (1 << 56, "65536T"), ((1 << 40) + 1024, "1073741825K")],
)  # fmt: skip
def test_a_size_is_shown_in_the_largest_unit_that_divides_it(size: int, text: str):
    assert size_text(size) == text


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("0x3fffffe000", 0x3FFFFFE000),
        ("3fffffe000", 0x3FFFFFE000),
        ("4096", 4096),
        ("0", 0),
        (" 0X1000 ", 0x1000),
        ("beef", 0xBEEF),
        ("BEEF_0000", 0xBEEF0000),
        ("1_000", 1000),
        ("1e3", 0x1E3),
    ],
)
def test_an_address_is_read_as_panics_and_people_write_it(text: str, address: int):
    assert parse_address(text) == address


@pytest.mark.parametrize(
    "text", ["", "0x", "0xg", "xyz", "1.5", "12 34", "_", "a__b", "a_", "0x1000h", "sh", "010", "--1"]
)
def test_what_is_no_address_is_refused_with_the_remedy(text: str):
    with pytest.raises(ValueError) as caught:
        parse_address(text)
    assert str(caught.value) == f"{text!r} is not an address; write it as 0x3fffffe000 or 4096"


@given(NUMBERS)
def test_an_address_read_back_from_its_hexadecimal_text_is_the_address(address: int):
    assert parse_address(f"{address:#x}") == parse_address(hex(address).upper().replace("X", "x")) == address


@given(st.text(max_size=12))
def test_any_text_is_a_number_or_a_value_error(text: str):
    for parse in (parse_size, parse_address):
        try:
            assert isinstance(parse(text), int)
        except ValueError as error:
            assert str(error).startswith(repr(text))


def test_a_long_word_is_refused_at_once():
    with pytest.raises(ValueError, match="is not an address"):
        parse_address("a" * 2_000_000 + "x")  # would take hours if each letter were tried as the first


def test_many_digits_that_may_be_hexadecimal_are_not_guessed():
    with pytest.raises(ValueError, match=r"^is 80006000 hexadecimal\? Write 0x80006000, or 0x4c4cb70 if it is not$"):
        parse_address("80006000")
