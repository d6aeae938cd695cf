"""The checkouts that a run measures: this one, and with ``--against`` a commit beside it."""

import os
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("pico_core", "pico_tunnel", "adapters")
"""The folders that are taken of another commit. Benchmarks are those of this checkout: both sides get the same load."""
PATHS = (".", "adapters/common", "adapters/asyncio", "adapters/trio")
GIT_TIMEOUT_S = 60


@dataclass(frozen=True)
class Tree:
    """A checkout. ``suffix`` tells its figures from those of this checkout, whose suffix is empty."""

    suffix: str
    environment: Mapping[str, str]
    """Of the processes that run its code, with ``python -P -m``."""


def tree(root: Path, suffix: str = "") -> Tree:
    """Return the tree of the packages in a folder."""
    paths = [*(str(root / path) for path in PATHS), str(ROOT)]
    return Tree(suffix, {**os.environ, "PYTHONPATH": os.pathsep.join(dict.fromkeys(paths))})


@contextmanager
def trees(against: str | None) -> Iterator[tuple[Tree, ...]]:
    """Give this tree, and that of a commit in a temporary folder. Raises ``SystemExit`` if git does not know it."""
    if against is None:
        yield (tree(ROOT),)
        return
    with tempfile.TemporaryDirectory(prefix="pico-against-") as folder:
        yield tree(ROOT), tree(Path(folder), f" at {export(against, Path(folder))}")


def export(commit: str, folder: Path) -> str:
    """Put the packages of a commit into a folder, and return its short hash."""
    if commit.startswith("-"):
        raise SystemExit(f"--against wants a commit, not {commit}")
    name = _git("rev-parse", "--short", "--verify", f"{commit}^{{commit}}").decode().strip()
    archive = _git("archive", "--format=tar", name, *PACKAGES)
    subprocess.run(["tar", "-x", "-C", str(folder)], input=archive, check=True, timeout=GIT_TIMEOUT_S)
    return name


def _git(*arguments: str) -> bytes:
    ran = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, check=False, timeout=GIT_TIMEOUT_S)
    if ran.returncode:
        raise SystemExit(f"git {' '.join(arguments)}: {ran.stderr.decode().strip()}")
    return ran.stdout
