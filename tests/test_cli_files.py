"""The command line and files: saved machines that are damaged, saving, and what it leaves when it cannot."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calls import FOLDER, SMALL, Answer, call, core_of, saved, spawn
from pagebook.machine import Area
from pagebook.sv import R
from worlds import World


def decent(answer: Answer) -> None:
    """Some answer, or a refusal in one line."""
    assert answer.status in (0, 1, 2), answer
    if answer.status == 2:
        assert answer.refusal.startswith("pagebook: ")
    else:
        answer.must(answer.status)


def head_of(data: bytes) -> int:
    """Where the headers and the note of a saved machine end."""
    return data.index(b'"free_range"') + 64


@pytest.mark.parametrize("verb", ["maps", "tree", "walk 0x1000"])
def test_a_file_cut_short_anywhere_is_refused(verb: str, tmp_path: Path) -> None:
    data = saved().read_bytes()
    path = tmp_path / "cut"
    head = head_of(data)
    for end in {*range(240), *range(240, head, 97), *range(head, len(data), len(data) // 37), len(data) - 1}:
        path.write_bytes(data[:end])
        assert call([*verb.split(), path]).refusal.startswith("pagebook: "), end


@settings(max_examples=150)
@given(
    flips=st.lists(st.tuples(st.integers(0, 1 << 30), st.integers(1, 255)), min_size=1, max_size=4),
    command=st.sampled_from(["maps", "tree --space init", "walk 0x3fffffe000 --space sh", "maps --pages --has x"]),
    headers=st.booleans(),
)
def test_a_file_with_flipped_bytes_is_refused_or_answered(
    flips: list[tuple[int, int]], command: str, headers: bool
) -> None:
    data = bytearray(saved().read_bytes())
    size = head_of(data) if headers else len(data)
    for at, change in flips:
        data[at % size] ^= change
    path = FOLDER / "flipped"
    path.write_bytes(data)
    words = command.split()
    decent(call([words[0], *([words[1]] if words[0] == "walk" else []), path, *words[1 + (words[0] == "walk") :]]))


@settings(max_examples=60)
@given(st.data())
def test_tables_with_flipped_bytes_are_shown_with_their_problems(data: st.DataObject) -> None:
    image = bytearray(saved().read_bytes())
    tables = json.loads(call(["tree", saved(), "--space", "init", "--json"]).out)
    places = [int(tables["root"], 16), *(int(e["pa"], 16) for e in tables["entries"] if e["kind"] == "table")]
    start = len(image) - (2 << 20)
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.sampled_from(places)) - 0x8000_0000 + data.draw(st.sampled_from([0, 8, 0x7F8, 0xFF0, 0xFF8]))
        image[start + at + data.draw(st.integers(0, 7))] ^= data.draw(st.integers(1, 255))
    path = FOLDER / "tables"
    path.write_bytes(image)
    for verb in ("maps", "tree", "walk 0", "walk 0x3fffffe000"):
        decent(call([*verb.split(), path, "--space", "init"]))


@pytest.mark.parametrize("form", ["Sv32", "Sv39", "Sv48", "Sv57"])
def test_a_root_whose_every_entry_points_at_itself_is_refused(form: str) -> None:
    from pagebook.sv import FORMATS

    world = World(FORMATS[form.lower()])
    world.memory.write(world.table.root, world.pointer(world.table.root).to_bytes(world.format.pte_bytes, "little")
                       * world.format.entries)  # fmt: skip
    core = core_of(world, f"{form}.core")
    for verb in ("maps", "tree", "tree --format vmprint", "maps --json"):
        limit = f"import resource; resource.setrlimit(resource.RLIMIT_AS, ({4 << 30}, {4 << 30}))"
        answer = spawn(f"{verb.replace(' ', f' {core} ', 1) if ' ' in verb else f'{verb} {core}'}", first=limit)
        assert "lists more than" in answer.refusal
    assert call(["walk", "0", core]).must(1).out.endswith("it has none of R, W, X on the last level\n")


def test_names_in_a_file_cannot_steer_a_terminal() -> None:
    world = World()
    world.table.map(0, 4096, 0x8001_0000, R)
    core = core_of(world, "steer.core", [Area(0, 4096, "a\x1b[2J\nb\u202e\ud800")], space="evil\x1b]0;x\x07")
    answer = call(["maps", core]).must(0)
    assert answer.out.splitlines()[0].startswith("evil\\x1b]0;x\\x07: Sv39")
    assert answer.out.splitlines()[1].endswith("  a\\x1b[2J\\nb\\u202e\\ud800")
    assert call(["walk", "0", core, "--space", "kernel"]).refusal.endswith("it has evil\\x1b]0;x\\x07")
    assert "\x1b[2J" not in call(["maps", core], terminal=True).out
    assert json.loads(call(["maps", core, "--json"]).must(0).out)["spaces"][0]["runs"][0]["name"].startswith("a\x1b[2J")


def test_a_saved_machine_without_spaces_is_refused() -> None:
    from pagebook.machine import Machine
    from pagebook.sources.elfcore import write_core

    path = FOLDER / "spaceless.core"
    write_core(Machine("nothing", World().memory, ()), path)
    assert call(["maps", path]).refusal == f"pagebook: {path} has no address space"
    assert call(["tree", path]).refusal == "pagebook: nothing has no address space 'kernel'; it has none at all"


def test_a_machine_is_saved_and_opened_again(tmp_path: Path) -> None:
    path = tmp_path / "m.core"
    answer = call(f"boot --quiet {SMALL} --save {path}").must(0)
    assert answer.out.splitlines()[-1] == f"saved: {path}, 2056K; open it with: pagebook maps {path}"
    for verb in ("maps", "tree --space sh", "walk 0x1000 --space sh"):
        words = verb.split()
        given = words[:2] if words[0] == "walk" else words[:1]
        assert call([*given, path, *words[len(given) :]]) == call(f"{verb} {SMALL}")
    assert [file.name for file in tmp_path.iterdir()] == ["m.core"]


def test_saving_again_replaces_the_file_and_keeps_a_symbolic_link(tmp_path: Path) -> None:
    (tmp_path / "real").write_text("old")
    (tmp_path / "link").symlink_to("real")
    call(f"boot --quiet {SMALL} --save {tmp_path}/link").must(0)
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_bytes() == saved().read_bytes()
    assert stat.S_IMODE((tmp_path / "real").stat().st_mode) == 0o666 & ~umask()


def umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


@pytest.mark.parametrize(
    ("place", "why"),
    [
        ("none/m.core", "No such file or directory"),
        ("file/m.core", "Not a directory"),
        ("x" * 256, "File name too long"),
        ("folder", "it is a directory, not a file"),
        ("pipe", "it is a pipe, not a file"),
        ("null", "it is a device, not a file"),
    ],
)
def test_saving_where_no_file_can_be_is_refused_and_leaves_nothing_behind(place: str, why: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "null").symlink_to("/dev/null")
    before = sorted(tmp_path.rglob("*"))
    target = tmp_path / place
    assert call(["boot", *SMALL.split(), "--save", target]).refusal == f"pagebook: cannot write {str(target)!r}: {why}"
    assert sorted(tmp_path.rglob("*")) == before
    assert stat.S_ISCHR(Path("/dev/null").stat().st_mode)


def test_saving_to_no_name_is_refused() -> None:
    assert call(f"boot {SMALL} --save ''").refusal == ("pagebook: cannot write '': it is a directory, not a file")


def test_a_full_disk_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "m.core"
    target.write_text("the old one")
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (99999, 99999))"
    answer = spawn(f"boot {SMALL} --save {target}", first=limit)
    assert answer.refusal == f"pagebook: cannot write '{target}': File too large"
    assert target.read_text() == "the old one"
    assert [file.name for file in tmp_path.iterdir()] == ["m.core"]


def test_a_folder_that_may_not_be_written_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    root = os.geteuid() == 0
    if root:  # who may write anywhere
        os.seteuid(65534)
    try:
        answer = call(f"boot {SMALL} --save {tmp_path}/m.core")
    finally:
        if root:
            os.seteuid(0)
    assert answer.refusal == f"pagebook: cannot write '{tmp_path}/m.core': Permission denied"
    assert list(tmp_path.iterdir()) == []


def test_the_hint_after_saving_names_the_file_as_one_must_type_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, typed in (("xv6", "./xv6"), ("a b", "'a b'"), ("-x", "./-x")):
        out = call(["boot", "-q", *SMALL.split(), f"--save={name}"]).must(0).out
        assert out.endswith(f"open it with: pagebook maps {typed}\n")


def test_two_builds_of_a_kernel_are_told_apart(tmp_path: Path) -> None:
    other = tmp_path / "other.core"
    call(["boot", "--quiet", "--rev", "2022", *SMALL.split(), "--save", other]).must(0)
    found = call(["diff", other, saved()])
    assert found.status == 1
    assert found.err.startswith("pagebook: two builds of a kernel: end is at 0x8")
    assert call(["diff", saved(), "xv6", *SMALL.split()]) == Answer(0, "no difference: xv6 (2024)\n", "")
