"""The words for a file, and raw images: where bytes lie is said by the user, and a file wins over the grammar."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cores import PAGE, RAM, core, filled
from pagebook.errors import BadFile, BadTarget, PagebookError, ReadOnlyMemory
from pagebook.source import Source
from pagebook.sources.files import MOST_PIECES, open_file


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def source(words: str) -> Source:
    found = open_file(words)
    assert isinstance(found, Source)
    return found


def regions(words: str) -> list[tuple[int, int]]:
    return [(region.base, region.size) for region in source(words).memory.regions]


def refusal(words: str) -> str:
    with pytest.raises(PagebookError) as caught:
        open_file(words)
    assert isinstance(caught.value, BadTarget | BadFile)
    return str(caught.value)


def test_a_raw_image_lies_where_its_address_says_and_has_no_harts() -> None:
    Path("ram.img").write_bytes(filled(3))
    found = source("ram.img@0x80000000")
    assert found.memory.read(RAM, 3 * PAGE) == filled(3)
    assert (found.name, found.harts, found.kernel, found.live) == ("ram.img@0x80000000", (), None, False)
    assert found.no_satp == "ram.img@0x80000000 does not say what satp was: name the kernel with --kernel"
    assert regions("ram.img@4096") == [(0x1000, 3 * PAGE)]
    assert regions("ram.img@8000f000") == [(0x8000_F000, 3 * PAGE)]


def test_pieces_lie_each_where_its_address_says_in_any_order() -> None:
    Path("low").write_bytes(filled(2, 1))
    Path("high").write_bytes(filled(3, 2))
    found = source("high@0x100000000,low@0x80000000")
    assert [(r.base, r.size) for r in found.memory.regions] == [(RAM, 2 * PAGE), (1 << 32, 3 * PAGE)]
    assert found.memory.read(1 << 32, 3 * PAGE) == filled(3, 2)


def test_pieces_that_touch_are_one() -> None:
    Path("low").write_bytes(filled(2, 1))
    Path("high").write_bytes(filled(3, 2))
    Path("tail").write_bytes(filled(1, 3)[:-1])
    (region,) = source("high@0x80002000,low@0x80000000").memory.regions
    assert (region.base, bytes(region.view(0, region.size))) == (RAM, filled(2, 1) + filled(3, 2))
    assert bytes(region.view(2 * PAGE - 8, 16)) == filled(2, 1)[-8:] + filled(3, 2)[:8]
    assert regions("low@0x80000000,tail@0x80002000") == [(RAM, 2 * PAGE), (RAM + 2 * PAGE, PAGE - 1)]
    assert regions("low@0x80000000,low@0x80003000") == [(RAM, 2 * PAGE), (RAM + 3 * PAGE, 2 * PAGE)]


def test_a_file_named_like_pieces_is_that_file() -> None:
    Path("low@0x80000000,high@0x90000000").write_bytes(core([(RAM, filled(1))]))
    Path("a,b").write_bytes(filled(1))
    Path("a").write_bytes(filled(2))
    Path("b").write_bytes(filled(3))
    Path("c@0x5000").write_bytes(filled(4))
    assert regions("low@0x80000000,high@0x90000000") == [(RAM, PAGE)]
    assert regions("a,b@0x1000") == [(0x1000, PAGE)]
    assert regions("a@0x1000,b@0x8000") == [(0x1000, 2 * PAGE), (0x8000, 3 * PAGE)]
    assert regions("b@0x8000,a,b@0x1000,a@0x4000") == [(0x1000, PAGE), (0x4000, 2 * PAGE), (0x8000, 3 * PAGE)]
    assert regions("c@0x5000@0x1000") == [(0x1000, 4 * PAGE)]
    assert refusal("c@0x5000").startswith("c@0x5000 is neither an ELF core nor a kdump")


def test_a_raw_image_without_its_address_is_refused_with_the_remedy() -> None:
    Path("ram.img").write_bytes(filled(1))
    assert refusal("ram.img") == (
        "ram.img is neither an ELF core nor a kdump; if it is a raw image, say the physical address of its first byte: "
        "ram.img@0x80000000"
    )
    assert refusal("ram.img@0x1000,ram.img") == (
        "'ram.img' is one of several pieces, so it needs its address: ram.img@0x80000000"
    )


@pytest.mark.parametrize(
    ("words", "why"),
    [
        ("", "a piece is empty"),
        ("@0x1000", "there is no file '@0x1000'"),
        ("none", "there is no file 'none'"),
        ("none@0x1000", "there is no file 'none'"),
        ("ram@0x1000,none@0x8000", "there is no file 'none'"),
        ("ram@0x1000,", "a piece is empty"),
        ("ram@", "the address of 'ram': '' is not an address"),
        ("ram@here", "the address of 'ram': 'here' is not an address"),
        ("ram@80000000", "the address of 'ram': is 80000000 hexadecimal? Write 0x80000000"),
        ("ram@0x80000800", "the address of 'ram', 0x80000800, is not that of a page"),
        ("ram@-4096", "the address of 'ram', -0x1000, is not that of a page"),
        ("ram@0x100000000000000", "does not fit in 56 bits"),
        ("ram@0xffffffffffffffffffffff000", "does not fit in 56 bits"),
        ("ram@0x1000,ram@0x1000", "overlap"),
        ("ram@0x1000,ram@0x2000", "overlap"),
        ("nul\0@0x1000", "there is no file 'nul\\x00'"),
        ("nul\0", "there is no file 'nul\\x00'"),
        ("\udcff@0x1000", "there is no file"),
        ("," * MOST_PIECES, "257 pieces are too many"),
        ("x" * 5000, "there is no file 'xxx"),
    ],
)
def test_words_that_name_nothing_are_refused(words: str, why: str) -> None:
    Path("ram").write_bytes(filled(2))
    assert why in refusal(words)


@pytest.mark.parametrize("words", ["{}", "{}@0x1000"])
def test_what_is_no_file_is_refused_without_waiting(words: str) -> None:
    Path("empty").touch()
    Path("folder").mkdir()
    os.mkfifo("pipe")
    assert refusal(words.format("empty")) == "empty is empty"
    for name, what in (("folder", "a directory"), ("pipe", "a pipe"), ("/dev/zero", "a device")):
        assert refusal(words.format(name)) == f"cannot open {name!r}: it is {what}, not a file"


def test_a_file_that_may_not_be_read_is_refused_with_the_systems_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("secret").write_bytes(core())

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("pathlib.Path.open", refuse)
    assert refusal("secret") == "cannot open 'secret': Permission denied"


def test_a_file_too_large_to_be_mapped_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("large").write_bytes(core())

    def refuse(*_: object, **__: object) -> None:
        raise OverflowError("mmap length is too large")

    monkeypatch.setattr("pagebook.sources.mapped.Mapped", refuse)
    assert refusal("large") == "cannot open 'large': mmap length is too large"


def test_an_image_larger_than_memory_is_mapped_and_not_read() -> None:
    size = 1 << 40
    with Path("sparse").open("wb") as file:
        file.truncate(size)
        file.seek(size - 8)
        file.write(b"the end.")
    found = source("sparse@0x80000000")
    assert regions("sparse@0x80000000") == [(RAM, size)]
    assert found.memory.read(RAM + size - 8, 8) == b"the end."


def test_an_image_whose_end_is_no_page_is_opened_and_that_is_told() -> None:
    Path("odd").write_bytes(filled(1) + b"odd")
    found = source("odd@0x80000000")
    assert found.memory.read(RAM + PAGE, 3) == b"odd"
    assert found.remarks == ("the last 3 bytes at 0x80001000 are no whole page: no table is seen there",)


def test_an_address_given_to_a_core_makes_plain_bytes_of_it_and_that_is_told() -> None:
    Path("core").write_bytes(core([(RAM, filled(1))]).ljust(4 * PAGE, b"\0"))
    found = source("core@0x1000")
    assert found.memory.read(0x1000, 4) == b"\x7fELF"
    assert found.remarks[0] == (
        "core starts as a core or a dump does, but is taken for plain bytes at 0x1000, as you say"
    )


def test_files_are_read_only() -> None:
    Path("ram").write_bytes(filled(1))
    with pytest.raises(ReadOnlyMemory):
        source("ram@0x1000").memory.write64(0x1000, 1)
    assert Path("ram").read_bytes() == filled(1)


@given(st.text(st.sampled_from("ab,@0x1\0./~"), max_size=24))
def test_any_words_are_a_source_or_a_refusal(words: str) -> None:
    Path("a").write_bytes(filled(1))
    Path("b").write_bytes(core())
    try:
        open_file(words)
    except BadTarget:
        pass
    except BadFile as error:
        assert "\n" not in str(error)
