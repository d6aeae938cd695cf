"""The Prometheus text format, version 0.0.4: the few lines of it that are needed to write it.

Why this is not left to prometheus-client: ``docs/decisions/metrics-text.md``. Its parser is the oracle in the tests.
"""

from bisect import bisect_left
from collections.abc import Mapping
from typing import TypeAlias

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

METRIC_PREFIX = "pico_"

Number: TypeAlias = int | float
"""A whole number is written without a decimal point."""


class Histogram:
    """Counts of observations by upper bound (inclusive), their sum, and one bucket more for what is above."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        """Count one value, in the unit of ``bounds``."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value


def labels(**values: str) -> str:
    """Return label names and values as they stand between the braces."""
    return ",".join([f'{name}="{_escaped(value)}"' for name, value in values.items()])


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


class Exposition:
    """Gathers families of samples, each by its ``labels``, empty for none. Next: ``text``.

    Names come without ``prefix``; ``meaning`` is one line without backslashes.
    """

    def __init__(self, prefix: str = METRIC_PREFIX) -> None:
        self._prefix = prefix
        self._lines: list[str] = []

    def counter(self, name: str, meaning: str, samples: Mapping[str, Number]) -> None:
        """Add totals; ``name`` ends in ``_total``."""
        self._family(name, meaning, "counter", samples)

    def gauge(self, name: str, meaning: str, samples: Mapping[str, Number]) -> None:
        """Add values that go up and down."""
        self._family(name, meaning, "gauge", samples)

    def histogram(self, name: str, meaning: str, samples: Mapping[str, Histogram]) -> None:
        """Add distributions: cumulative buckets with ``le``, then ``_sum`` and ``_count``."""
        self._head(name, meaning, "histogram")
        for label, histogram in samples.items():
            self._buckets(self._prefix + name, label, histogram)

    def text(self) -> bytes:
        """Return the text that was gathered."""
        return "".join(self._lines).encode()

    def _head(self, name: str, meaning: str, kind: str) -> None:
        self._lines.append(f"# HELP {self._prefix}{name} {meaning}\n# TYPE {self._prefix}{name} {kind}\n")

    def _family(self, name: str, meaning: str, kind: str, samples: Mapping[str, Number]) -> None:
        self._head(name, meaning, kind)
        for label, value in samples.items():
            self._lines.append(f"{self._prefix}{name}{_braced(label)} {value}\n")

    def _buckets(self, name: str, label: str, histogram: Histogram) -> None:
        """Buckets hold what is at most their bound, so each one counts those before it too."""
        before = f"{label}," if label else ""
        count = 0
        for bound, more in zip((*histogram.bounds, "+Inf"), histogram.counts, strict=True):
            count += more
            self._lines.append(f'{name}_bucket{{{before}le="{bound}"}} {count}\n')
        self._lines.append(f"{name}_sum{_braced(label)} {histogram.total!r}\n{name}_count{_braced(label)} {count}\n")


def _braced(label: str) -> str:
    return f"{{{label}}}" if label else ""
