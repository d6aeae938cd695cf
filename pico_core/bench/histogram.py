"""Latencies in a bounded number of counters, exact to 1.6 %. Start at ``LatencyHistogram``."""

import math

_EXACT_BITS = 6
"""A value keeps its highest bit and the five after it, so that two values in one counter differ by 1/32 at most."""

_HALF = 1 << (_EXACT_BITS - 1)

MAX_US = (1 << 36) - 1
"""Longer times (19 hours) count as this."""


class LatencyHistogram:
    """Counts latencies in microseconds. It has at most 1,024 counters, whatever is recorded."""

    __slots__ = ("_counts", "count", "max_us", "min_us", "total_us")

    def __init__(self) -> None:
        self._counts: dict[int, int] = {}
        self.count = 0
        self.total_us = 0
        self.min_us = 0
        self.max_us = 0

    def record(self, latency_s: float) -> None:
        """Count one latency, in seconds. A negative one counts as 0."""
        value_us = min(max(round(latency_s * 1e6), 0), MAX_US)
        index = _index(value_us)
        self._counts[index] = self._counts.get(index, 0) + 1
        self.min_us = min(self.min_us, value_us) if self.count else value_us
        self.max_us = max(self.max_us, value_us)
        self.count += 1
        self.total_us += value_us

    def percentile_us(self, percent: float) -> int:
        """Return the latency that ``percent`` of all do not exceed, in microseconds; 0 where none was recorded."""
        left = math.ceil(round(percent * self.count / 100, 6))
        for index in sorted(self._counts):
            left -= self._counts[index]
            if left <= 0:
                return min(max(_middle_us(index), self.min_us), self.max_us)
        return self.max_us

    @property
    def counters(self) -> int:
        """How many counters are in use."""
        return len(self._counts)

    def mean_us(self) -> int:
        """Return the mean, in microseconds; 0 where none was recorded."""
        return round(self.total_us / self.count) if self.count else 0


def _index(value_us: int) -> int:
    shift = max(value_us.bit_length() - _EXACT_BITS, 0)
    return shift * _HALF + (value_us >> shift)


def _middle_us(index: int) -> int:
    shift = max(index // _HALF - 1, 0)
    lowest_us = (index - shift * _HALF) << shift
    return lowest_us + ((1 << shift) >> 1)
