"""A file appears whole or not at all."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from pagebook.errors import BadFile
from pagebook.files import replacing


def test_the_file_takes_its_place_at_the_end_of_the_block_with_the_rights_of_any_new_file(tmp_path: Path) -> None:
    place = tmp_path / "file"
    place.write_bytes(b"old")
    with replacing(place) as file:
        file.write(b"new")
        assert place.read_bytes() == b"old"
    plain = tmp_path / "plain"
    plain.touch()
    assert place.read_bytes() == b"new"
    assert place.stat().st_mode == plain.stat().st_mode
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "plain"]


@pytest.mark.parametrize("kind", [ValueError, KeyboardInterrupt])
def test_an_exception_leaves_the_old_file_and_nothing_else(kind: type[BaseException], tmp_path: Path) -> None:
    place = tmp_path / "file"
    place.write_bytes(b"old")
    with pytest.raises(kind), replacing(place) as file:
        file.write(b"new")
        raise kind
    assert place.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [place]


def test_a_symbolic_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("real")
    with replacing(tmp_path / "link") as file:
        file.write(b"new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_bytes() == b"new"


def test_what_is_no_file_is_not_replaced(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for place, what in (
        (tmp_path, "a directory"), (tmp_path / "pipe", "a pipe"), (Path("/dev/null"), "a device"),
    ):  # fmt: skip
        with pytest.raises(BadFile, match=f"it is {what}, not a file$"), replacing(place):
            pass
    assert [path.name for path in tmp_path.iterdir()] == ["pipe"]


def test_a_system_that_refuses_is_quoted(tmp_path: Path) -> None:
    place = tmp_path / "file"
    with pytest.raises(BadFile, match=rf"^cannot write '{place}': No space left on device$"), replacing(place):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    with (
        pytest.raises(BadFile, match=r"/none/file': No such file or directory$"),
        replacing(tmp_path / "none" / "file"),
    ):
        pass
    assert list(tmp_path.iterdir()) == []
