"""Percentiles beside those of a sorted list."""

import random

import pytest

from pico_core.bench.histogram import MAX_US, LatencyHistogram


def test_nothing_recorded_is_zero() -> None:
    histogram = LatencyHistogram()
    assert (histogram.percentile_us(50), histogram.mean_us(), histogram.count) == (0, 0, 0)


@pytest.mark.parametrize("percent", [1, 50, 90, 99, 99.9, 100])
def test_percentiles_are_exact_to_one_part_in_32(percent: float) -> None:
    source = random.Random(7)
    values_s = [source.lognormvariate(-6, 2) for _ in range(10_000)]
    histogram = LatencyHistogram()
    for value_s in values_s:
        histogram.record(value_s)
    exact_us = sorted(values_s)[round(percent * 100) - 1] * 1e6
    assert histogram.percentile_us(percent) == pytest.approx(exact_us, rel=1 / 32, abs=1)
    assert histogram.mean_us() == pytest.approx(sum(values_s) / len(values_s) * 1e6, rel=0.01)


def test_small_values_are_exact() -> None:
    for value_us in range(64):
        histogram = LatencyHistogram()
        histogram.record(value_us / 1e6)
        assert histogram.percentile_us(50) == value_us


def test_its_size_is_bounded() -> None:
    histogram = LatencyHistogram()
    for exponent in range(64):
        for part in range(64):
            histogram.record((1 << exponent) * (1 + part / 64) / 1e6)
    histogram.record(-1.0)
    assert histogram.counters <= 1024
    assert (histogram.min_us, histogram.max_us) == (0, MAX_US)
