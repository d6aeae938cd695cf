"""From samples and figures to the table and the limits."""

import math
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from benchmarks.fair.children import Got
from benchmarks.fair.honest import Sample
from benchmarks.fair.row import KIB, MIB, MS, Check, Limits

P99_MS = 100.0
HEALTH_MS = 1000.0
"""The usual time limit of a liveness probe."""

IDLE_FACTORS = {50: 5.0, 99: 10.0, 100: 10.0}
"""By percentile. On a slow machine a limit in milliseconds is this multiple of what the same requests took without
load, if that is more. See ``limit_ms`` for a shared one."""


@dataclass(frozen=True)
class Memory:
    """Bytes of one process: before, the most meanwhile, after."""

    before: int
    top: int
    after: int

    @property
    def growth_mib(self) -> float:
        return (self.top - self.before) / MIB

    @property
    def kept_mib(self) -> float:
        return (self.after - self.before) / MIB


@dataclass(frozen=True)
class Figures:
    """The measurements of one row. ``idle`` are the samples before the load, ``loaded`` those under it."""

    idle: Sequence[Sample]
    loaded: Sequence[Sample]
    nodes: Sequence[Memory]
    agents: Sequence[Memory]
    cpu_percent: float
    """Of the busiest node."""
    cpu_above_idle_percent: float
    slowdown: float
    """How many times longer the work of a node took, because other processes had the cores."""
    log_bytes_per_s: float
    complaints: Sequence[str]
    """Log lines in which nodes call each other unreachable, and errors inside of Pico."""
    ended: Sequence[str]
    """Processes that have ended."""
    got: Got
    notes: Sequence[str] = ()
    """Lines for the reader of the table."""


def percentile_ms(samples: Collection[Sample], percent: float) -> float:
    """Return a percentile of the times, those of failures included; 0 without samples."""
    times = sorted(sample.took_s for sample in samples)
    return times[max(math.ceil(len(times) * percent / 100) - 1, 0)] * 1e3 if times else 0.0


def of_lane(samples: Sequence[Sample], lane: str) -> list[Sample]:
    return [sample for sample in samples if sample.lane.startswith(lane)]


def failures(samples: Sequence[Sample], accepted: Collection[str]) -> Counter[str]:
    """Count the outcomes that are not accepted."""
    return Counter(sample.outcome for sample in samples if sample.outcome not in accepted)


def limit_ms(figures: Figures, base_ms: float, lane: str, percent: int) -> float:
    """Return a limit in milliseconds for this machine, which others may use at the same time.

    The kernel says for how long a node was ready to run while others had the cores: that slowed it, and the limit is as
    much longer. What the same requests took without Pico, in the same seconds, is added.
    """
    idle_ms = percentile_ms(of_lane(figures.idle, lane), percent)
    direct_ms = percentile_ms(of_lane(figures.loaded, "direct"), percent)
    return max(base_ms * figures.slowdown, IDLE_FACTORS[percent] * idle_ms) + direct_ms


def judge(figures: Figures, limits: Limits) -> list[Check]:
    """Return the limits of every row and those of this one."""
    other, same, health = (of_lane(figures.loaded, lane) for lane in ("other", "same", "health"))
    told = [sample for sample in same if sample.outcome.startswith("503")]
    accepted = ("200", "503") if limits.retry_after else ("200", "503", "503 without Retry-After")
    checks = [
        Check("honest requests before the load that failed", failures(figures.idle, ("200",)).total(), 0),
        Check("honest requests of the other endpoint that failed", failures(other, ("200",)).total(), 0),
        Check("honest requests of the other endpoint that were done", len(other), 1, at_least=True),
        _time_check(figures, "p99 of the other endpoint", "other", other, 99, P99_MS),
        Check(
            "honest requests of the endpoint under load neither served nor told 503",
            failures(same, accepted).total(),
            0,
        ),
        _time_check(figures, "p99 of 503s of the endpoint under load", "same", told, 99, P99_MS),
        Check("/health without 200", failures(health, ("200",)).total(), 0),
        _time_check(figures, "slowest /health", "health", health, 100, HEALTH_MS),
        Check("log lines that call a node unreachable, or are errors", len(figures.complaints), 0),
        Check("processes that ended", len(figures.ended), 0),
        Check("growth of a node", max(each.growth_mib for each in figures.nodes), limits.memory_mib, unit=" MiB"),
        Check(
            "growth of an agent", max(each.growth_mib for each in figures.agents), limits.agent_memory_mib, unit=" MiB"
        ),
        Check("log of a node", figures.log_bytes_per_s / KIB, limits.log_kib_per_s, unit=" KiB/s"),
    ]
    if limits.p50_ms is not None:
        checks.append(_time_check(figures, "p50 of the other endpoint", "other", other, 50, limits.p50_ms))
    if limits.kept_mib is not None:
        kept_mib = max(each.kept_mib for each in figures.nodes)
        checks.append(Check("growth of a node that stayed", kept_mib, limits.kept_mib, unit=" MiB"))
    if limits.cpu_percent is not None:
        checks.append(Check("CPU for it", figures.cpu_above_idle_percent, limits.cpu_percent, unit=" % of a core"))
    if limits.same_p50_times is not None:
        idle_ms = percentile_ms(of_lane(figures.idle, "same"), 50)
        limit = limits.same_p50_times * idle_ms * figures.slowdown + percentile_ms(
            of_lane(figures.loaded, "direct"), 50
        )
        checks.append(Check("p50 of the endpoint under load", percentile_ms(same, 50), limit, unit=MS))
    return checks


def _time_check(
    figures: Figures, text: str, lane: str, samples: Sequence[Sample], percent: int, base_ms: float
) -> Check:
    return Check(text, percentile_ms(samples, percent), limit_ms(figures, base_ms, lane, percent), unit=MS)


# --- the table ---

COLUMNS = (
    ("row", 20), ("runtime", 8), ("nodes", 6), ("idle p50/p99", 13), ("direct p99", 11), ("other p50/p99", 16),
    ("failed", 7), ("same p50/p99", 16), ("503", 5), ("bad", 5), ("health", 7), ("MiB node", 15), ("MiB agent", 14),
    ("CPU %", 6), ("slowed", 7), ("verdict", 8), ("the load got", 0),
)  # fmt: skip


def heading() -> str:
    """Return the titles of the columns. Times are in ms; memory is before, at the top, after, of the largest growth."""
    return "".join(title.ljust(width) for title, width in COLUMNS).rstrip()


def line(name: str, runtime: str, figures: Figures, *, holds: bool) -> str:
    """Return the figures of a row under ``heading``."""
    other, same, health = (of_lane(figures.loaded, lane) for lane in ("other", "same", "health"))
    idle = of_lane(figures.idle, "other")
    told = sum(sample.outcome.startswith("503") for sample in same)
    cells = (
        name,
        runtime,
        str(len(figures.nodes)),
        _times(idle),
        f"{percentile_ms(of_lane(figures.loaded, 'direct'), 99):.1f}",
        _times(other),
        str(failures(other, ("200",)).total()),
        _times(same),
        str(told),
        str(failures(same, ("200",)).total() - told),
        f"{percentile_ms(health, 100):.0f}",
        _memory(figures.nodes),
        _memory(figures.agents),
        f"{figures.cpu_percent:.0f}",
        f"{figures.slowdown:.1f}x",
        "ok" if holds else "BROKEN",
        ", ".join(f"{what}: {count}" for what, count in figures.got.counts.most_common()),
    )
    return "".join(cell.ljust(width) for cell, (_, width) in zip(cells, COLUMNS, strict=True)).rstrip()


def outcomes(samples: Sequence[Sample]) -> str:
    """Return what honest requests of the two endpoints and of /health became, where it was not 200."""
    parts = []
    for lane in ("other", "same", "health"):
        failed = failures(of_lane(samples, lane), ("200",))
        if failed:
            parts.append(f"{lane}: " + ", ".join(f"{outcome} x {count}" for outcome, count in failed.most_common()))
    return "; ".join(parts)


def _times(samples: Sequence[Sample]) -> str:
    return f"{percentile_ms(samples, 50):.1f}/{percentile_ms(samples, 99):.1f}"


def _memory(processes: Sequence[Memory]) -> str:
    most = max(processes, key=lambda each: each.growth_mib)
    return "/".join(f"{size / MIB:.0f}" for size in (most.before, most.top, most.after))
