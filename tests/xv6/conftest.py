"""What the tests of the model share: the three revisions, and nightly runs that wait for -m nightly."""

from __future__ import annotations

import pytest
from twins import REVISIONS


@pytest.fixture(params=REVISIONS)
def rev(request: pytest.FixtureRequest) -> str:
    """Each revision of xv6."""
    name: str = request.param
    return name


@pytest.fixture(params=[True, False], ids=["strict", "undoing"])
def strict(request: pytest.FixtureRequest) -> bool:
    """Whether a failed range operation leaves what the C code leaves."""
    chosen: bool = request.param
    return chosen


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave nightly tests out unless the command line chooses by marker."""
    if config.getoption("markexpr"):
        return
    nightly = [item for item in items if item.get_closest_marker("nightly")]
    if nightly:
        config.hook.pytest_deselected(items=nightly)
        items[:] = [item for item in items if item not in nightly]
