"""What scripts ask with: the verbs as functions, handed out by the package itself."""

from __future__ import annotations

import subprocess
import sys
import warnings
from pathlib import Path

import pytest

import pagebook
from pagebook.errors import BadAddress, BadTarget
from pagebook.machine import Machine, Space
from pagebook.mmu import Extensions
from pagebook.sources.elfcore import write_core
from pagebook.targets import open_target
from pagebook.views import data


@pytest.fixture(scope="module")
def model() -> Machine:
    return pagebook.boot()


def test_the_package_hands_out_the_verbs_and_nothing_else():
    assert {"boot", "check", "open", "owners", "pte", "walk"} <= set(dir(pagebook))
    assert all(callable(getattr(pagebook, name)) for name in pagebook.__all__ if name != "__version__")
    with pytest.raises(AttributeError, match="module 'pagebook' has no attribute 'nonsense'"):
        pagebook.nonsense  # noqa: B018


def test_a_module_of_the_package_is_still_a_module():
    code = "import pagebook.diff, pagebook.explain; import pagebook; print(pagebook.diff.compare.__name__)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "compare\n"


def test_boot_is_the_model_shaped_as_the_options_of_the_command_line_shape_it():
    found = pagebook.boot("2022", ram=16 << 20, nproc=8)
    assert (found.name, found.memory.regions[0].size) == ("xv6 (2022)", 16 << 20)
    assert sum("stack of" in area.name for area in found.spaces["kernel"].areas) == 8
    with pytest.raises(BadTarget, match="no revision '1999'"):
        pagebook.boot("1999")


def test_open_opens_what_a_saved_machine_was(model: Machine, tmp_path: Path):
    write_core(model, tmp_path / "m.core")
    found = pagebook.open(str(tmp_path / "m.core"))
    assert found.maps().tolist() == model.maps().tolist()
    with pytest.raises(BadTarget, match="no file 'nowhere'"):
        pagebook.open("nowhere")


def test_open_reads_bare_memory_from_the_roots_that_are_given(model: Machine, tmp_path: Path):
    path = tmp_path / "ram.img"
    path.write_bytes(model.memory.read(0x8000_0000, 128 << 20))
    sh = model.spaces["sh"].table
    found = pagebook.open(f"{path}@0x80000000", roots=[(sh.root, "sv39")])
    assert [space.table.root for space in found.spaces] == [sh.root]
    satps = pagebook.open(f"{path}@0x80000000", satps=[sh.format.satp(sh.root)])
    assert satps.spaces[0].maps()["va"].tolist() == model.spaces["sh"].maps()["va"].tolist()


def test_what_is_to_be_said_of_a_look_is_a_warning(monkeypatch: pytest.MonkeyPatch, model: Machine):
    from contextlib import contextmanager

    from pagebook import targets

    @contextmanager
    def opened(*_):
        yield targets.Target("a guest", lambda: model, remarks=["it moved"])

    monkeypatch.setattr(targets, "opened", opened)
    with pytest.warns(UserWarning, match="it moved") as said:
        assert pagebook.open("a guest") is model
    assert said[0].filename == __file__


def test_spaces_are_found_by_name_pid_root_and_place(model: Machine):
    sh = model.spaces["sh"]
    assert model.spaces["2"] is sh and model.spaces[2] is sh and model.spaces[hex(sh.table.root)] is sh
    assert model.spaces[1:] == (model.spaces["init"], sh) and "sh" in model.spaces and sh in model.spaces
    assert "nobody" not in model.spaces
    assert model.spaces._ipython_key_completions_() == ["kernel", "init", "sh"]
    with pytest.raises(BadTarget, match="no address space 'nobody'; there is kernel, init, sh"):
        model.spaces["nobody"]
    with pytest.raises(IndexError):
        model.spaces[3]


def test_maps_are_those_of_the_verb(model: Machine):
    from pagebook.views import facts

    for space in model.spaces:
        assert [tuple(row) for row in space.maps().tolist()] == [
            (run.va, run.pa, run.size, run.flags, run.level, run.pages, run.name)
            for run in facts.listing(space, facts.Filter()).runs()
        ]
    every = model.maps()
    assert len(every) == sum(len(space.maps()) for space in model.spaces)
    assert every[every["space"] == 2]["va"].tolist() == model.spaces["sh"].maps()["va"].tolist()
    assert len(model.mappings()) == sum(len(space.mappings()) for space in model.spaces)


def test_walk_is_the_verb_with_and_without_an_access(model: Machine):
    sh = model.spaces["sh"]
    found = pagebook.walk(sh, 0x3FF8)
    assert found.pa == sh.table.translate(0x3FF8)
    fault = pagebook.walk(sh, 0x2FF8, "store")
    assert fault.outcome.rule and fault.outcome.rule.id == "supervisor-page" and fault.regime.priv == "U"
    assert pagebook.walk(sh, 0x2FF8, "store", priv="S").outcome.pa == 0x87F3AFF8
    assert pagebook.walk(sh, 0x1000, "load", priv="S").outcome.rule.id == "user-page"
    assert pagebook.walk(sh, 0x1000, "load", priv="S", sum=True).outcome.cause is None
    assert pagebook.walk(sh, 0x1FFE, "load", size=8).pages[1].va == 0x2000
    svade = Extensions(svadu=False)
    assert pagebook.walk(sh, 0x1000, "load", extensions=svade).outcome.rule.id == "a-clear"
    assert pagebook.walk(sh.table, 0x3FF8).pa == found.pa and pagebook.walk(sh.table, 0, "fetch").regime.priv == "S"
    with pytest.raises(BadTarget, match="'jump' is no access; there are load, store, fetch, amo"):
        pagebook.walk(sh, 0, "jump")
    with pytest.raises(BadAddress):
        pagebook.walk(sh, 1 << 39)


def test_owners_check_and_pte_are_the_verbs(model: Machine):
    assert pagebook.owners(model).uses is None
    uses = pagebook.owners(model, 0x80006).uses
    assert uses is not None and [use.space.name for use in uses] == ["kernel", "kernel", "init", "sh"]
    rules = open_target("rules")
    assert {found.rule for found in pagebook.check(rules, ["PB001", "PB002"], ["PB002"]).findings} == {"PB001"}
    assert data.pte(pagebook.pte(0x21FDD0C7))["kind"] == "leaf"
    assert pagebook.pte(0x21FDD0C7, "Sv32").format.name == "Sv32"
    with pytest.raises(BadTarget, match="no format 'sv40'; there are sv32, sv39, sv48, sv57"):
        pagebook.pte(0, "sv40")


def test_a_look_that_has_nothing_to_say_warns_of_nothing():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert isinstance(pagebook.open("rules").spaces["sound"], Space)
