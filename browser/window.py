"""Debian's Chromium, driven by Playwright."""

from __future__ import annotations

import shutil
import sys
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome")


def chromium(playwright: Any) -> Any:  # noqa: ANN401 - both are Playwright's
    """The browser, started; exits with the remedy when there is none."""
    found = next((path for name in NAMES if (path := shutil.which(name))), None)
    if found is None:
        sys.exit("chromium is missing: install Debian's chromium")
    return playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
