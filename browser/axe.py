"""axe-core, which looks for what people with other eyes and hands cannot use."""

from __future__ import annotations

from typing import Any

from axe_playwright_python.sync_playwright import Axe

SERIOUS = ("serious", "critical")


def serious(page: Any) -> list[str]:  # noqa: ANN401 - a page of Playwright's
    """What axe-core finds serious or critical on the page as it is now, a sentence each."""
    return [_sentence(one) for one in Axe().run(page).response["violations"] if one["impact"] in SERIOUS]


def _sentence(one: dict[str, Any]) -> str:
    first = one["nodes"][0]
    return f"{one['id']} ({one['impact']}): {one['help']}: {first['html'][:160]} {first['failureSummary'][:200]}"
