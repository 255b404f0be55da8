"""The exception tree: one root, facts as attributes, the message first."""

from __future__ import annotations

import inspect
import pickle

import pytest

from pagebook import errors
from pagebook.errors import NotMapped, PagebookError, Panic

FACTS = {"va": 1, "pa": 2, "level": 0, "pte": 4, "pte_pa": 5}
CLASSES = [found for _, found in inspect.getmembers(errors, inspect.isclass)]


def test_the_tree_has_the_branches_that_its_users_catch():
    assert {found.__name__ for found in CLASSES} == {
        "PagebookError", "BadAddress", "OutsideMemory", "ReadOnlyMemory", "AlreadyMapped", "NotMapped", "NotATable",
        "OutOfFrames", "BadFrame", "TooManyMappings", "BadFile", "BadTarget", "SourceLost", "Panic",
    }  # fmt: skip


@pytest.mark.parametrize("kind", CLASSES)
def test_every_error_is_a_pagebook_error_with_a_sentence_on_what_it_means(kind: type):
    assert issubclass(kind, PagebookError)
    assert not issubclass(PagebookError, (ValueError, OSError, KeyError))
    assert inspect.getdoc(kind) != inspect.getdoc(Exception)


@pytest.mark.parametrize("kind", CLASSES)
def test_an_error_carries_the_facts_it_was_given_and_none_for_the_others(kind: type):
    error = kind("what was found", **FACTS)
    assert {name: getattr(error, name) for name in FACTS} == FACTS
    assert {name: getattr(kind("what was found"), name) for name in FACTS} == dict.fromkeys(FACTS)
    assert "what was found" in str(error)


def test_a_panic_says_xv6s_string_first_and_the_facts_after_it():
    panic = Panic("mappages: remap", "va 0x1000", va=0x1000)
    assert str(panic) == "panic: mappages: remap (va 0x1000)"
    assert (panic.reason, panic.va, panic.pa) == ("mappages: remap", 0x1000, None)
    assert str(Panic("kerneltrap")) == "panic: kerneltrap"


def test_an_unknown_fact_is_refused():
    with pytest.raises(TypeError):
        NotMapped("x", frame=1)  # type: ignore[call-arg]


def test_an_error_survives_pickling_with_its_facts():
    again = pickle.loads(pickle.dumps(NotMapped("gone", va=4096, level=1)))
    assert (type(again), str(again), again.va, again.level) == (NotMapped, "gone", 4096, 1)
