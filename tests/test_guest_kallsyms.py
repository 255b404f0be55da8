"""The symbols that a kernel keeps of itself: names out of tokens, addresses out of offsets, or nothing at all."""

from __future__ import annotations

import pytest

from linuxes import FakeLinux
from pagebook.guests import kallsyms
from pagebook.guests.view import View


def told(world: FakeLinux) -> dict[str, int]:
    """What the note would tell of the arrays."""
    return {
        "swapper_pg_dir": world.symbols["swapper_pg_dir"],
        "_stext": world.symbols["_stext"],
        **world.store_symbols(),
    }


def test_names_of_any_length_come_out_as_they_were():
    world = FakeLinux()
    world.symbols |= {"a": world.place, "__a__pg_dz": world.place + 5}
    world.symbols |= {"y" * 127: world.place + 6, "Z" * 126: world.place + 7}
    known = told(world)
    assert kallsyms.read(View(world.table), known) == {**world.symbols, "x" * 200: world.place + 1}


@pytest.mark.parametrize("name", ["num_syms", "names", "token_table", "token_index", "offsets", "relative_base"])
def test_an_array_that_is_missing_or_nowhere_gives_no_symbols(name: str):
    world = FakeLinux()
    known = told(world)
    view = View(world.table)
    nowhere = {**known, f"kallsyms_{name}": 0x1000}
    del known[f"kallsyms_{name}"]
    assert kallsyms.read(view, known) == kallsyms.read(view, nowhere) == {}


@pytest.mark.parametrize("count", [0, 1, 1000, (1 << 21) + 1, (1 << 32) - 1])
def test_a_wrong_count_gives_no_symbols(count: int):
    world = FakeLinux()
    known = told(world)
    world.put(known["kallsyms_num_syms"], count, 4)
    assert kallsyms.read(View(world.table), known) == {}


def test_tokens_longer_than_any_give_no_symbols():
    world = FakeLinux()
    known = told(world)
    world.memory.write(world.pa(known["kallsyms_token_table"]), b"a" * 200)
    assert kallsyms.read(View(world.table), known) == {}
