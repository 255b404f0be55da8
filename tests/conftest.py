"""Fixtures for the tests of the core modules, and how long Hypothesis may think."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, settings

from pagebook.sv import Format
from worlds import FORMATS, World

settings.register_profile(
    "pagebook", deadline=None, max_examples=120, derandomize=True, database=None,
    phases=[Phase.explicit, Phase.generate, Phase.shrink],
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)  # fmt: skip
settings.load_profile("pagebook")

for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP):
    if signal.getsignal(number) is signal.SIG_IGN:  # in the background of a shell, or under nohup; children inherit it
        signal.signal(number, signal.SIG_DFL if number is not signal.SIGINT else signal.default_int_handler)


@pytest.fixture(params=FORMATS, ids=lambda fmt: fmt.name)
def fmt(request: pytest.FixtureRequest) -> Format:
    """Each of the four formats."""
    found: Format = request.param
    return found


@pytest.fixture
def world() -> World:
    """Thirty-two frames and an empty Sv39 table."""
    return World()


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[object]:
    """A /proc with one QEMU in it; what a test opens of it is closed afterwards."""
    from scenes import Scene  # boots a model

    with ExitStack() as stack:
        yield Scene(stack, tmp_path)
