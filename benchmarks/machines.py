"""The machines alone: no sockets, no driver. One process a round, so that another commit can take turns.

A module with ``figures(seconds)`` returns microseconds by what they are of; ``python -m benchmarks.machines MODULE
SECONDS`` runs it once and prints them as JSON.
"""

import importlib
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial

from benchmarks.cases import Case, Group, Run, alternate, case
from benchmarks.trees import Tree

TIMEOUT_S = 300


def group_of(name: str, module: str, unit: str, *references: str) -> Group:
    """Return the group that runs one module of ``benchmarks``, in a process of its own for each tree."""

    def group(run: Run) -> Iterator[Case]:
        """Run it in each tree in turn."""
        seconds = 0.3 if run.short else 1.0
        rounds = min(run.rounds, 2) if run.short else run.rounds
        values = alternate(rounds, [partial(_once, tree, module, seconds) for tree in run.trees])
        yield case(run, name, "machines alone", unit, values, f"one thread, {seconds:g} s a figure", references)

    return group


def _once(tree: Tree, module: str, seconds: float) -> dict[str, float]:
    command = [sys.executable, "-P", "-m", "benchmarks.machines", module, str(seconds)]
    ran = subprocess.run(
        command, env=tree.environment, capture_output=True, text=True, check=False, timeout=TIMEOUT_S
    )  # fmt: skip
    if ran.returncode:
        raise SystemExit(f"{module}{tree.suffix} failed: {(ran.stderr.strip().splitlines() or ['no reason'])[-1]}")
    found: dict[str, float] = json.loads(ran.stdout)
    return {f"{name}{tree.suffix}": value for name, value in found.items()}


if __name__ == "__main__":
    figures: Callable[[float], dict[str, float]] = importlib.import_module(f"benchmarks.{sys.argv[1]}").figures
    print(json.dumps(figures(float(sys.argv[2]))))
