"""The judgement of ``make fair``: which figures break which limit."""

from collections.abc import Sequence
from dataclasses import replace

from benchmarks.fair.children import Got
from benchmarks.fair.honest import UNEXPLAINED, Sample
from benchmarks.fair.judging import Figures, Memory, judge, percentile_ms
from benchmarks.fair.row import MIB, ROWS, Limits
from benchmarks.fair.rows import STABLE


def samples(lane: str, *times_ms: float, outcome: str = "200") -> list[Sample]:
    return [Sample(lane, float(number), time / 1e3, outcome) for number, time in enumerate(times_ms)]


QUIET = [
    *samples("other kept", 2, 2, 2),
    *samples("same fresh", 2, 2, 2),
    *samples("direct fresh", 1, 1, 1),
    *samples("health", 1, 1, 1),
]

GOOD = Figures(
    idle=QUIET,
    loaded=QUIET,
    nodes=[Memory(32 * MIB, 40 * MIB, 33 * MIB)],
    agents=[Memory(31 * MIB, 31 * MIB, 31 * MIB)],
    cpu_percent=10,
    cpu_above_idle_percent=4,
    slowdown=1,
    log_bytes_per_s=100,
    complaints=[],
    ended=[],
    got=Got(),
)


def broken(figures: Figures, limits: Limits | None = None) -> list[str]:
    return [str(check) for check in judge(figures, limits or Limits()) if not check.holds]


def under(*more: Sequence[Sample]) -> Figures:
    return replace(GOOD, loaded=[*QUIET, *(sample for each in more for sample in each)])


def test_quiet_figures_break_nothing() -> None:
    assert broken(GOOD, Limits(p50_ms=10, kept_mib=2, cpu_percent=5, retry_after=True, same_p50_times=2)) == []


def test_percentiles_count_the_worst_of_few() -> None:
    hundred = samples("other", *range(1, 101))
    assert [percentile_ms(hundred, percent) for percent in (50, 99, 100)] == [50, 99, 100]
    assert percentile_ms(samples("other", 7), 99) == 7
    assert percentile_ms([], 99) == 0


def test_a_failed_request_of_the_other_endpoint() -> None:
    failed = under(samples("other fresh", 5, outcome="503"))
    assert broken(failed) == ["honest requests of the other endpoint that failed: 1, the limit is at most 0"]


def test_a_load_without_a_request() -> None:
    assert broken(replace(GOOD, loaded=[])) == [
        "honest requests of the other endpoint that were done: 0, the limit is at least 1"
    ]


def test_a_site_that_was_broken_before_the_load() -> None:
    idle = [*QUIET, *samples("same kept", 5, outcome="502")]
    assert broken(replace(GOOD, idle=idle)) == [
        "honest requests before the load that failed: 1, the limit is at most 0"
    ]


def test_the_endpoint_under_load_may_say_503_at_once() -> None:
    assert broken(under(samples("same kept", 90, outcome="503"))) == []
    assert broken(under(samples("same kept", 102, outcome="503"))) == [
        "p99 of 503s of the endpoint under load: 102 ms, the limit is at most 101 ms"
    ]
    assert broken(under(samples("same kept", 900))) == []
    assert len(broken(under(samples("same kept", 5, outcome="timeout")))) == 1


def test_a_503_without_retry_after() -> None:
    unexplained = under(samples("same kept", 5, outcome=UNEXPLAINED))
    assert broken(unexplained) == []
    assert len(broken(unexplained, Limits(retry_after=True))) == 1


def test_limits_follow_what_the_machine_took() -> None:
    """Ten times the p99 without load, what requests without Pico took under it, and what others had of the cores."""
    slow = under(samples("other kept", 330), samples("direct fresh", 30))
    assert broken(slow) == ["p99 of the other endpoint: 330 ms, the limit is at most 130 ms"]
    idle = [*QUIET, *samples("other kept", 31)]
    assert broken(replace(slow, idle=idle)) == []
    assert broken(replace(slow, slowdown=3.1)) == []


def test_what_else_breaks() -> None:
    assert broken(replace(GOOD, complaints=["node unreachable"], ended=["pico server"])) == [
        "log lines that call a node unreachable, or are errors: 1, the limit is at most 0",
        "processes that ended: 1, the limit is at most 0",
    ]
    assert broken(GOOD, Limits(memory_mib=7)) == ["growth of a node: 8 MiB, the limit is at most 7 MiB"]
    assert broken(GOOD, Limits(cpu_percent=3)) == ["CPU for it: 4 % of a core, the limit is at most 3 % of a core"]


def test_ci_runs_rows_that_exist() -> None:
    assert set(STABLE) <= set(ROWS)
    assert STABLE
