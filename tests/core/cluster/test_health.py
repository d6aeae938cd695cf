"""The experience with one upstream: pauses that double, single requests after each, and what ends them."""

from pico_core.cluster.health import FIRST_PAUSE_S, LAST_PAUSE_S, Health


def failed_at(*times: float) -> Health:
    health = Health()
    for time in times:
        health.failed(time)
    return health


def test_a_pause_follows_the_first_failure() -> None:
    health = failed_at(10.0)
    assert not health.is_good(10.0)
    assert not health.is_good(10.0 + FIRST_PAUSE_S - 0.01)
    assert health.is_good(10.0 + FIRST_PAUSE_S)


def test_failures_within_a_pause_change_nothing() -> None:
    assert failed_at(10.0, 10.5, 10.9).is_good(11.0)


def test_a_failure_at_the_end_of_a_pause_doubles_it() -> None:
    health = failed_at(10.0, 11.0)
    assert not health.is_good(12.9)
    assert health.is_good(13.0)


def test_pauses_double_up_to_the_longest() -> None:
    health, now = Health(), 0.0
    pauses_s = []
    for _ in range(6):
        health.failed(now)
        pauses_s.append(next(second for second in range(1, 20) if health.is_good(now + second)))
        now += pauses_s[-1]
    assert pauses_s == [1, 2, 4, LAST_PAUSE_S, LAST_PAUSE_S, LAST_PAUSE_S]


def test_one_request_is_let_through_after_a_pause() -> None:
    health = failed_at(10.0)
    health.chosen(11.5)
    assert not health.is_good(12.4), "the next one waits for its answer"
    assert health.is_good(12.5), "or for another pause"
    health.chosen(12.5)
    health.failed(12.6)
    assert not health.is_good(14.5), "it failed within the pause that it began, and doubles it"
    assert health.is_good(14.6)


def test_no_request_is_let_through_to_one_that_is_silent() -> None:
    health = failed_at(10.0)
    health.is_silent = True
    assert not health.is_good(100.0)
    health.heard(20.0)
    assert health.is_good(20.0)
