"""axe-core, which looks for what people with other eyes and hands cannot use: fetched at the time of the test."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import tarfile
from pathlib import Path
from typing import Any

VERSION = "4.10.3"
SHA256 = "0f2b4d7dcdf7d1219df8d1959ad68e565f51d14c3f0d88bb71cd59abeb956292"
SERIOUS = ("serious", "critical")


def axe_script(folder: Path) -> str | None:
    """The script of axe-core, fetched by npm into ``folder`` and checked; None where there is no npm."""
    if shutil.which("npm") is None:
        return None
    command = ["npm", "pack", f"axe-core@{VERSION}", "--silent", "--pack-destination", str(folder)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, timeout=300)
    package = folder / f"axe-core-{VERSION}.tgz"
    found = hashlib.sha256(package.read_bytes()).hexdigest()
    assert found == SHA256, f"axe-core {VERSION} has the hash {found}, not the one that is known"
    with tarfile.open(package) as tar:
        member = tar.extractfile("package/axe.min.js")
        assert member
        return member.read().decode()


def serious(page: Any, script: str) -> list[str]:  # noqa: ANN401 - a page of Playwright's
    """What axe-core finds serious or critical on the page as it is now, a sentence each."""
    page.evaluate(script)
    found = page.evaluate("async () => (await axe.run(document, {resultTypes: ['violations']})).violations")
    return [_sentence(one) for one in found if one["impact"] in SERIOUS]


def _sentence(one: dict[str, Any]) -> str:
    first = one["nodes"][0]
    return f"{one['id']} ({one['impact']}): {one['help']}: {first['html'][:160]} {first['failureSummary'][:200]}"
