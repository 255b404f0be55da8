"""Make the virtual environment that the Makefile works in: ``make_venv.py DIRECTORY REQUIREMENT...``.

A bare Debian has python3 without pip and without ensurepip.  Then pip's wheel is fetched from PyPI, checked against the
hash that the index gives, and run from its file to install itself.  Uses only the standard library.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import re
import subprocess
import sys
import tempfile
import urllib.error
import urllib.parse
import urllib.request
import venv
from pathlib import Path
from typing import Any

INDEX = os.environ.get("PIP_INDEX_URL", "https://pypi.org/simple").rstrip("/")


def fetch(url: str, accept: str = "*/*") -> bytes:
    """The body at ``url``; exits with a plain sentence when there is no answer."""
    try:
        request = urllib.request.Request(url, headers={"Accept": accept})
        with urllib.request.urlopen(request, timeout=60) as answer:
            return bytes(answer.read())
    except (urllib.error.URLError, TimeoutError) as error:
        sys.exit(f"cannot fetch {url}: {error}\nWithout a network, install Debian's python3-venv and run make again.")


def pip_wheel() -> tuple[str, bytes]:
    """The newest released wheel of pip that this Python can run: its file name and contents, hash checked."""
    page = json.loads(fetch(f"{INDEX}/pip/", "application/vnd.pypi.simple.v1+json"))
    released = [(version_of(file), file) for file in page["files"] if version_of(file) and not file.get("yanked")]
    _, newest = max(released, key=lambda found: found[0])
    data = fetch(urllib.parse.urljoin(f"{INDEX}/pip/", newest["url"]))
    if hashlib.sha256(data).hexdigest() != newest["hashes"]["sha256"]:
        sys.exit(f"{newest['filename']} does not have the hash that {INDEX} gives for it; nothing was installed")
    return newest["filename"], data


def version_of(file: dict[str, Any]) -> tuple[int, ...]:
    """The version of a wheel that runs here, as numbers; empty for a pre-release, another file, another Python."""
    name = re.fullmatch(r"pip-([0-9.]+)-py3-none-any\.whl", file["filename"])
    python = re.fullmatch(r">=\s*3\.([0-9]+)", file.get("requires-python") or ">=3.0")
    if not name or not python or int(python[1]) > sys.version_info.minor:
        return ()
    return tuple(map(int, name[1].split(".")))


def install_pip(python: Path) -> None:
    """Give the environment its pip, from the standard library's copy or from PyPI."""
    if importlib.util.find_spec("ensurepip"):
        subprocess.run([python, "-m", "ensurepip", "--upgrade", "--default-pip"], check=True, stdout=subprocess.DEVNULL)
        return
    name, data = pip_wheel()
    with tempfile.TemporaryDirectory() as folder:
        wheel = Path(folder) / name
        wheel.write_bytes(data)
        subprocess.run([python, f"{wheel}/pip", "install", "--quiet", "--no-index", wheel], check=True)


def main() -> None:
    """Make the environment unless it is there, and install what is asked for."""
    directory, requirements = Path(sys.argv[1]), sys.argv[2:]
    python = directory / "bin" / "python"
    if subprocess.run([python, "-m", "pip", "--version"], capture_output=True).returncode if python.exists() else True:
        print(f"making a virtual environment in {directory}", flush=True)
        venv.create(directory, with_pip=False, clear=True, symlinks=True)
        install_pip(python)
    print(f"installing {' '.join(requirements)}", flush=True)
    environment = {**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_ROOT_USER_ACTION": "ignore"}
    done = subprocess.run([python, "-m", "pip", "install", "--quiet", *requirements], env=environment)
    sys.exit(done.returncode)


if __name__ == "__main__":
    main()
