"""All of ``fuzz/``, or the files of chosen parsers, again and again with fresh choices until the time is over."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from benchmarks.security.site import Figure

PROJECT: Final = Path(__file__).resolve().parents[2]

NAMES: Final = tuple(sorted(file.stem.removeprefix("test_") for file in (PROJECT / "fuzz").glob("test_*.py")))
"""The files of ``fuzz/``: ``gossip`` is ``fuzz/test_gossip.py``."""


def paths(chosen: str) -> list[str]:
    """Return what to run: each path for the whole time. ``chosen`` has names with commas between, or is ``each``.

    Raises ``ValueError`` for a name that is not there.
    """
    if not chosen:
        return ["fuzz"]
    names = NAMES if chosen == "each" else chosen.split(",")
    unknown = [name for name in names if name not in NAMES]
    if unknown:
        raise ValueError(f"nothing to fuzz by the name of {', '.join(unknown)}; there are each, {', '.join(NAMES)}")
    return [f"fuzz/test_{name}.py" for name in names]


def figures(minutes: float, chosen: str = "") -> Iterator[Figure]:
    """Run what was chosen, one path after the other, each for so many minutes."""
    for path in paths(chosen):
        yield _fuzz(path, minutes)


def _fuzz(path: str, minutes: float) -> Figure:
    """Run the fuzzing with fresh choices until the time is over; a run that has begun is ended then."""
    until, runs, code = time.monotonic() + minutes * 60, 0, 0
    environment = {**os.environ, "HYPOTHESIS_PROFILE": "long"}
    command = [sys.executable, "-m", "pytest", "-x", "-n", "2", path]
    while code == 0 and (left_s := until - time.monotonic()) > 0:
        try:
            code = subprocess.run(command, check=False, cwd=PROJECT, env=environment, timeout=left_s).returncode
            runs += 1
        except subprocess.TimeoutExpired:
            break
    return Figure(f"{path} for {minutes:g} minutes", f"{runs} whole runs, code {code}", "no failure", code == 0)
