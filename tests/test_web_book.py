"""The book of the page: cells say what the ledger says of their frames, and a fold leaves out free frames only."""

from __future__ import annotations

from itertools import groupby

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pagebook.errors import BadAddress
from pagebook.ledger import Ledger, Role
from pagebook.machine import Machine
from pagebook.memory import Memory, Region
from pagebook.targets import ModelOptions, opened
from pagebook.web.app import make_app
from pagebook.web.book import BLOCK_SHIFT, FOLDS, LEAST_FOLD_SHIFT, MOST_CELLS, RESTING, SEVERAL, Book, Folding, Part
from pagebook.web.looks import Looks
from test_web import PORT, TOKEN, api, ask


@pytest.fixture(scope="module")
def looks():
    with opened("xv6", ModelOptions(ram=4 << 20, nproc=8)) as target:
        yield Looks(target, moves=False)


@pytest.fixture(scope="module")
def app(looks):
    return make_app(looks, "127.0.0.1", PORT, TOKEN)


@pytest.mark.parametrize("cells", [1, 3, 16, 100, 1024, 5000])
@pytest.mark.parametrize(("first", "stop"), [(0, 1024), (5, 77), (1023, 1024), (900, 9999)])
def test_cells_say_of_their_frames_what_the_ledger_says(looks, first, stop, cells):
    book = looks.now().book
    found = book.cells(first, stop, cells)
    ledger = Ledger(looks.now().machine)
    assert 1 <= len(found.roles) <= cells
    assert found.first <= first
    size = 1 << found.shift
    assert found.first % size == 0
    assert found.first + len(found.roles) * size >= min(stop, 1024)
    for number in range(len(found.roles)):
        low = found.first + number * size
        roles = ledger.holdings[0].role[low : low + size]
        owners = set(ledger.holdings[0].owner[low : low + size].tolist())
        assert found.present[number] == sum(1 << int(role) for role in np.unique(roles))
        times = np.bincount(roles, minlength=len(Role))
        assert times[found.roles[number]] == times.max()
        assert found.owners[number] == (owners.pop() if len(owners) == 1 else SEVERAL)


def test_frames_of_several_regions_are_numbered_through_and_holes_are_none():
    regions = [Region(base, bytearray(count << 12)) for base, count in ((0x8000_0000, 100), (0x9000_0000, 50))]
    book = Book.of(Ledger(Machine("two", Memory(regions), ())))
    assert len(book) == 150
    assert (book.number(0x8000_0000), book.number(0x9000_0000), book.number(0x9000_0FFF)) == (0, 100, 100)
    assert book.number(0x8800_0000) is None
    assert len(book.cells(0, 150, 150).roles) == 150
    assert len(book.cells(0, 150, 2).roles) == -(-150 >> 7)
    assert book.cells(0, 150, 1).shift > BLOCK_SHIFT


RUNS = st.lists(
    st.tuples(st.sampled_from([Role.FREE, Role.FREE, Role.USER]), st.integers(1, 3000)), min_size=1, max_size=8
)


@given(regions=st.lists(RUNS, min_size=1, max_size=3))
def test_a_folded_book_leaves_out_free_frames_only_and_says_how_many(regions):
    parts, roles, frames = [], [], {}
    for number, runs in enumerate(regions):
        base = 0x8000_0000 + (number << 32)
        role = np.concatenate([np.full(length, kind, np.uint8) for kind, length in runs])
        parts.append(Part(base, len(role), len(role)))
        roles.append(role)
        frames |= {base + (at << 12): int(kind) for at, kind in enumerate(role.tolist())}
    role = np.concatenate(roles)
    book = Book(parts, role, np.arange(len(role), dtype=np.int32))
    folded = book.folded()
    assert sum(part.all for part in folded.parts) == len(book)
    assert sum(part.frames for part in folded.parts) == len(folded) == len(folded.role)
    for pa, kind in frames.items():
        number = folded.number(pa)
        if number is None:
            assert kind == Role.FREE
        else:
            assert (folded.role[number], folded.owner[number]) == (kind, book.owner[book.number(pa)])
    for base, shown, all_ in folded.parts:
        assert {frames[base + (at << 12)] for at in range(all_)} == {int(Role.FREE)} or shown == all_
    longest = max(len(list(run)) if kind == Role.FREE else 0 for kind, run in groupby(folded.role.tolist()))
    block = max(1 << LEAST_FOLD_SHIFT, len(book) // FOLDS)
    assert longest < 7 * block * len(regions), "no long run of free frames is left"


def test_what_was_in_use_a_moment_ago_is_not_folded_yet():
    folding = Folding()
    size = 40 << LEAST_FOLD_SHIFT
    book = lambda used: Book(  # noqa: E731
        [Part(0x8000_0000, size, size)],
        np.where(np.isin(np.arange(size) >> LEAST_FOLD_SHIFT, used), Role.USER, Role.FREE).astype(np.uint8),
        np.zeros(size, np.int32),
    )
    quiet = folding.fold(book([0, 39]), 0.0)
    assert quiet.parts == book([0, 39]).folded().parts, "what is free at first is folded at once"
    taken = folding.fold(book([0, 20, 39]), 10.0)
    assert taken.number(0x8000_0000 + (20 << LEAST_FOLD_SHIFT + 12)) is not None
    for now in (11.0, 10.0 + RESTING - 1):
        assert folding.fold(book([0, 39]), now).parts == taken.parts, "given back, and not folded"
    assert folding.fold(book([0, 39]), 10.0 + RESTING).parts == quiet.parts
    unknown = book([0, 39])
    unknown.role[20 << LEAST_FOLD_SHIFT] = Role.UNKNOWN
    shown = folding.fold(unknown, 11.0 + RESTING)
    assert shown.number(0x8000_0000 + (20 << LEAST_FOLD_SHIFT + 12)) is not None, "what is nobody's is never folded"
    assert folding.fold(book([0, 39]), 12.0 + RESTING).parts == quiet.parts, "and was not in use"
    other = Book([Part(0x9000_0000, size, size)], book([]).role, book([]).owner)
    assert folding.fold(other, 10.0 + RESTING).parts == other.folded().parts, "another machine begins anew"


def test_a_book_in_which_little_is_free_is_not_folded():
    book = Book([Part(0x8000_0000, 4096, 4096)], np.full(4096, Role.USER, np.uint8), np.zeros(4096, np.int32))
    assert book.folded() is book


def test_a_folded_book_is_asked_for_and_named_with_its_parts():
    with opened("xv6", ModelOptions(ram=16 << 20, nproc=8)) as target:
        app = make_app(Looks(target, moves=False), "127.0.0.1", PORT, TOKEN)
        whole, folded = api(app, "book", "cells=4096"), api(app, "book", "cells=4096&folded=1")
        told = api(app, "machine")
    assert (whole["parts"], folded["parts"]) == (told["parts"], told["folded"])
    assert whole["frames"] == sum(part["all"] for part in folded["parts"])
    assert len(folded["roles"]) == folded["frames"] < whole["frames"]


def test_a_machine_without_ram_has_no_cells():
    book = Book.of(Ledger(Machine("none", Memory([]), ())))
    assert len(book) == 0
    with pytest.raises(BadAddress, match="no range of this machine's 0 frames"):
        book.cells(0, 1, 1)


NO_RANGES = (
    "cells=0",
    "from=1024&to=2048",
    "from=5&to=5",
    "from=-1",
    "from=x",
    f"cells={MOST_CELLS + 1}",
    "cells=99999999999999999999",
)


@pytest.mark.parametrize("query", NO_RANGES)
def test_a_range_of_the_book_that_is_none_is_refused(app, query):
    found = ask(app, "/api/book", query)
    assert (found.status, set(found.data)) == (400, {"error"})
