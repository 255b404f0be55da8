"""A machine of which only satps or roots are known."""

from __future__ import annotations

import pytest

from pagebook.errors import BadTarget
from pagebook.guests.bare import parse_root, read
from pagebook.machine import Hart
from pagebook.source import Source
from pagebook.sv import SV32, SV39, SV48, SV57
from worlds import BASE, PAGE, World

RAM = World().memory


def source(*satps: int | None) -> Source:
    return Source("a dump", RAM, tuple(Hart(number, satp) for number, satp in enumerate(satps)))


def spaces(*arguments: object, **named: object) -> list[tuple[str, str, int]]:
    machine = read(*arguments, **named)  # type: ignore[arg-type]
    return [(space.name, space.table.format.name, space.table.root) for space in machine.spaces]


@pytest.mark.parametrize("fmt", [SV39, SV48, SV57], ids=lambda fmt: fmt.name)
def test_each_hart_has_the_space_that_its_satp_names(fmt):
    found = spaces(source(fmt.satp(BASE), fmt.satp(BASE + PAGE, asid=3)))
    assert found == [("hart 0", fmt.name, BASE), ("hart 1", fmt.name, BASE + PAGE)]


def test_harts_with_one_root_have_one_space_whatever_their_asid():
    found = spaces(source(SV39.satp(BASE, asid=1), SV39.satp(BASE + PAGE), SV39.satp(BASE, asid=2)))
    assert found == [("harts 0, 2", "Sv39", BASE), ("hart 1", "Sv39", BASE + PAGE)]


def test_a_hart_of_32_bits_has_sv32():
    assert spaces(source(SV32.satp(BASE)), xlen=32) == [("hart 0", "Sv32", BASE)]


def test_a_hart_without_translation_or_of_unknown_satp_has_no_space():
    assert spaces(source(0, None, SV39.satp(BASE))) == [("hart 2", "Sv39", BASE)]


def test_the_harts_come_along_whatever_is_asked():
    given = source(SV39.satp(BASE))
    assert read(given, roots=[(BASE + PAGE, "sv48")]).harts == given.harts
    assert read(given).memory is RAM


def test_given_roots_and_satps_are_taken_instead_of_the_harts():
    given = source(SV39.satp(BASE))
    found = spaces(given, [SV48.satp(BASE + PAGE)], [(BASE, "sv57"), (BASE, "sv57")])
    assert found == [(f"root {BASE + PAGE:#x}", "Sv48", BASE + PAGE), (f"root {BASE:#x}", "Sv57", BASE)]


def refusal(*arguments: object, **named: object) -> str:
    with pytest.raises(BadTarget) as caught:
        read(*arguments, **named)  # type: ignore[arg-type]
    return str(caught.value)


@pytest.mark.parametrize("satps", [(), (None,), (None, None)], ids=str)
def test_without_any_satp_the_error_names_every_remedy(satps):
    message = refusal(source(*satps))
    assert message.startswith("a dump: no satp is known")
    assert all(word in message for word in ("--satp VALUE", "--root PA", "pagebook roots"))


def test_harts_that_do_not_translate_are_told_from_harts_of_which_nothing_is_known():
    assert "its harts do not translate: satp is in Bare mode;" in refusal(source(0, 0))
    assert "Bare mode where it is known;" in refusal(source(0, None))


def test_a_reserved_mode_is_told_with_its_hart():
    message = refusal(source(SV39.satp(BASE), 5 << 60))
    assert message.startswith("hart 1: satp 0x5000000000000000 has the reserved MODE 5")


def test_a_given_satp_in_bare_mode_is_refused():
    assert "satp 0x80000 is in Bare mode" in refusal(source(), [0x80000])


def test_a_root_that_is_not_in_memory_is_refused_with_what_memory_has():
    message = refusal(source(), roots=[(0x1000, "sv39")])
    assert message.startswith("a dump: root 0x1000 cannot be read: ")
    assert "outside memory" in message


@pytest.mark.parametrize(
    ("text", "root"),
    [
        ("0x80000000", (BASE, "sv39")),
        ("0x80000000:sv48", (BASE, "sv48")),
        ("80ff_f000:SV57", (0x80FFF000, "sv57")),
        ("4096:sv32", (4096, "sv32")),
    ],
)
def test_a_root_is_written_as_an_address_and_perhaps_a_format(text, root):
    assert parse_root(text) == root


@pytest.mark.parametrize("text", ["", ":sv39", "0x1000:", "0x1000:sv40", "x:sv39", "0x1234", "-4096"])
def test_any_other_words_are_no_root(text):
    with pytest.raises(ValueError, match=r"."):
        parse_root(text)
