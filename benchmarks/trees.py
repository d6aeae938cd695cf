"""The checkouts that a run measures: this one, and with ``--against`` a commit beside it.

An installed package has its bytecode, which pip makes. A checkout may have none, and gets none where the variable
PYTHONDONTWRITEBYTECODE is set: each process would compile what it imports, which takes as long as all else of a start,
and memory. So the processes of a run share a folder of bytecode, which is made first.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("pico_core", "pico_tunnel", "adapters")
"""The folders that are taken of another commit. Benchmarks are those of this checkout: both sides get the same load."""
PATHS = (".", "adapters/common", "adapters/asyncio", "adapters/trio")
MODULES = ("pico_core", "pico_driver", "pico_asyncio", "pico_trio", "pico_tunnel")
GIT_TIMEOUT_S = 60
COMPILE_TIMEOUT_S = 300

IMPORT_ALL = """
import importlib, pkgutil, sys
for name in sys.argv[1:]:
    for each in pkgutil.walk_packages(importlib.import_module(name).__path__, name + ".", lambda name: None):
        if not each.name.endswith(".__main__"):
            try:
                importlib.import_module(each.name)
            except ImportError:
                pass  # of an extra that is not installed
"""


@dataclass(frozen=True)
class Tree:
    """A checkout. ``suffix`` tells its figures from those of this checkout, whose suffix is empty."""

    suffix: str
    environment: Mapping[str, str]
    """Of the processes that run its code, with ``python -P -m``."""


def tree(root: Path, bytecode: str, suffix: str = "") -> Tree:
    """Return the tree of the packages in a folder, whose bytecode it makes in the folder ``bytecode``."""
    paths = [*(str(root / path) for path in PATHS), str(ROOT)]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    environment |= {"PYTHONPATH": os.pathsep.join(dict.fromkeys(paths)), "PYTHONPYCACHEPREFIX": bytecode}
    command = [sys.executable, "-P", "-c", IMPORT_ALL, *MODULES]
    ran = subprocess.run(
        command, env=environment, capture_output=True, text=True, check=False, timeout=COMPILE_TIMEOUT_S
    )
    if ran.returncode:
        raise SystemExit(f"the packages{suffix} cannot be imported: {ran.stderr.strip()}")
    return Tree(suffix, environment)


@contextmanager
def trees(against: str | None) -> Iterator[tuple[Tree, ...]]:
    """Give this tree, and that of a commit in a temporary folder. Raises ``SystemExit`` if git does not know it."""
    with (
        tempfile.TemporaryDirectory(prefix="pico-bytecode-", ignore_cleanup_errors=True) as bytecode,
        tempfile.TemporaryDirectory(prefix="pico-against-") as folder,
    ):
        if against is None:
            yield (tree(ROOT, bytecode),)
        else:
            name = export(against, Path(folder))
            yield tree(ROOT, bytecode), tree(Path(folder), bytecode, f" at {name}")


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
