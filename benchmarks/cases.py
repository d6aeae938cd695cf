"""The options of a run, its results, and how they are printed."""

import os
import statistics
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field

from benchmarks.trees import Tree
from pico_tunnel.runtime import RUNTIMES

Samples = dict[str, list[float]]
"""Figures of each subject, one a round."""

REFERENCES = ("fixed reply", "nginx", "haproxy", "piko")
"""The figure that each one is a ratio to, where the same run measured it."""


@dataclass(frozen=True)
class Run:
    """The options of a group."""

    trees: tuple[Tree, ...]
    runtimes: tuple[str, ...] = RUNTIMES
    rounds: int = 5
    seconds: int = 2
    """Of one load."""
    clients: int = 50
    short: bool = False
    command: str = ""
    """The options that repeat this run."""


@dataclass(frozen=True)
class Case:
    """Figures that were taken in alternating rounds, with their conditions."""

    group: str
    name: str
    unit: str
    values: Samples
    conditions: str
    command: str
    references: tuple[str, ...] = REFERENCES
    load_average: float = field(default_factory=lambda: round(os.getloadavg()[0], 1))
    """Of the last minute, when the case ended; its own load is in it."""

    def middles(self) -> dict[str, float]:
        """Return the median of each subject."""
        return {subject: statistics.median(figures) for subject, figures in self.values.items()}

    def ratios(self, subject: str) -> dict[str, float]:
        """Return the medians of the rounds' ratios to each reference, and to the same of another commit."""
        at = subject.rpartition(" at ")[1:] if " at " in subject else ()
        others = []
        for each in self.references:  # those of the same tree, where it has them
            others += [name for name in (each + "".join(at), each) if name in self.values][:1]
        others += [each for each in self.values if each.startswith(f"{subject} at ")]
        found = {}
        for other in others:
            pairs = zip(self.values[subject], self.values[other], strict=True)
            if other != subject and all(self.values[other]):
                found[other] = statistics.median(figure / reference for figure, reference in pairs)
        return found

    def lines(self) -> Iterator[str]:
        """The case as text."""
        yield f"{self.group}: {self.name}, {self.unit}"
        yield f"    {self.about()}"
        width = max(map(len, self.values), default=0)
        for subject, middle in self.middles().items():
            found = self.ratios(subject).items()
            ratios = "  ".join(f"{ratio:.2f} x {other.removeprefix(f'{subject} ')}" for other, ratio in found)
            least = f"(least {figure(min(self.values[subject]))})"
            yield f"    {subject:{width}} {figure(middle):>9} {least:18} {ratios}".rstrip()
        yield f"    again: {self.command}"

    def about(self) -> str:
        """The conditions."""
        rounds = max(map(len, self.values.values()), default=0)
        return f"{self.conditions}; rounds {rounds}, load average {self.load_average}"

    def as_json(self) -> dict[str, object]:
        """Return the case with its medians and ratios."""
        ratios = {subject: self.ratios(subject) for subject in self.values}
        return {**asdict(self), "medians": self.middles(), "ratios": ratios}


Group = Callable[[Run], Iterable[Case]]


def case(
    run: Run,
    group: str,
    name: str,
    unit: str,
    values: Samples,
    conditions: str,
    references: tuple[str, ...] = REFERENCES,
) -> Case:
    """Return a case of a run. Raises ``SystemExit`` if nothing was measured."""
    if not values:
        raise SystemExit(f"{group}: nothing was measured for {name}")
    python = f"{sys.implementation.name} {sys.version_info.major}.{sys.version_info.minor}"
    command = f"python -m benchmarks {group}{run.command}"
    return Case(group, name, unit, values, f"{conditions}; {python}", command, references)


def alternate(rounds: int, measures: Sequence[Callable[[], Mapping[str, float]]]) -> Samples:
    """Let the measures take turns, so that each round of one lies beside the same round of the others."""
    values: Samples = {}
    for _ in range(rounds):
        for measure in measures:
            for subject, value in measure().items():
                values.setdefault(subject, []).append(value)
    return values


def figure(value: float) -> str:
    """Return a number with three digits that count."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.3g}"
