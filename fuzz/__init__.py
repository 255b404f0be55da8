"""Fuzzing: images, dumps, guests and answers made to be as hostile as can be, and every question asked of each.

Run as ``python -m fuzz`` from the top of the repository.  Nothing here is imported by the package; the writers of files
and kernels are those of the tests.
"""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parent.parent / "tests"))
