"""Exact timers and the coarse sweep."""

from pico_core.timers import NEVER, SWEEP_INTERVAL_S, Timers
from tests.core.memory import reachable_bytes


class Watched:
    def __init__(self, deadline_at: float, timers: Timers | None = None) -> None:
        self.deadline_at = deadline_at
        self.called_at: list[float] = []
        self.forgets: list[Watched] = []
        self._timers = timers

    def on_deadline(self, now: float) -> None:
        self.called_at.append(now)
        self.deadline_at = NEVER
        for each in self.forgets:
            assert self._timers is not None
            self._timers.unwatch(each)


def test_nothing_waits() -> None:
    timers = Timers()
    assert timers.deadline() == NEVER
    timers.fire(1_000.0)
    assert timers.deadline() == NEVER


def test_timers_fire_in_order_of_time_and_then_of_making() -> None:
    timers = Timers()
    fired: list[tuple[str, float]] = []
    timers.schedule(2.0, lambda now: fired.append(("c", now)))
    timers.schedule(1.0, lambda now: fired.append(("a", now)))
    timers.schedule(1.0, lambda now: fired.append(("b", now)))
    assert timers.deadline() == 1.0
    timers.fire(0.9)
    assert fired == []
    timers.fire(1.0)
    assert fired == [("a", 1.0), ("b", 1.0)]
    assert timers.deadline() == 2.0
    timers.fire(5.0)
    assert fired[2:] == [("c", 5.0)]


def test_a_cancelled_timer_never_fires_and_is_not_waited_for() -> None:
    timers = Timers()
    fired: list[float] = []
    first = timers.schedule(1.0, fired.append)
    second = timers.schedule(2.0, fired.append)
    last = timers.schedule(3.0, fired.append)
    first.cancel()
    first.cancel()
    assert timers.deadline() == 2.0
    second.cancel()
    timers.fire(2.5)
    assert fired == []
    assert timers.deadline() == 3.0
    last.cancel()
    assert timers.deadline() == NEVER


def test_a_timer_may_schedule_another() -> None:
    timers = Timers()
    fired: list[float] = []
    timers.schedule(1.0, lambda now: (timers.schedule(now, fired.append), None)[1])
    timers.fire(1.0)
    assert fired == [1.0]


def test_the_sweep_calls_whose_deadline_has_passed() -> None:
    timers = Timers()
    early, late = Watched(0.7), Watched(10.0)
    timers.watch(early, 0.0)
    assert timers.deadline() == SWEEP_INTERVAL_S
    timers.watch(late, 0.3)
    assert timers.deadline() == SWEEP_INTERVAL_S
    timers.fire(0.5)
    assert timers.deadline() == 0.5 + SWEEP_INTERVAL_S
    timers.fire(0.8)
    assert early.called_at == []
    timers.fire(1.0)
    assert (early.called_at, late.called_at) == ([1.0], [])


def test_a_deadline_is_never_early_and_at_most_a_sweep_late() -> None:
    timers = Timers()
    watched = Watched(3.25)
    timers.watch(watched, 0.0)
    while not watched.called_at:
        timers.fire(timers.deadline())
    assert 3.25 <= watched.called_at[0] <= 3.25 + SWEEP_INTERVAL_S


def test_without_a_watched_timer_there_is_no_sweep() -> None:
    timers = Timers()
    watched = Watched(0.1)
    timers.watch(watched, 0.0)
    timers.unwatch(watched)
    timers.unwatch(watched)
    timers.fire(0.5)
    assert watched.called_at == []
    assert timers.deadline() == NEVER
    timers.watch(watched, 7.0)
    assert timers.deadline() == 7.0 + SWEEP_INTERVAL_S


def test_one_that_is_forgotten_during_the_sweep_is_not_called() -> None:
    timers = Timers()
    first, second = Watched(0.1, timers), Watched(0.1, timers)
    first.forgets = [second]
    timers.watch(first, 0.0)
    timers.watch(second, 0.0)
    timers.fire(0.5)
    assert (first.called_at, second.called_at) == ([0.5], [])


def test_the_earlier_of_both_kinds_is_the_deadline() -> None:
    timers = Timers()
    timers.watch(Watched(9.0), 0.0)
    timers.schedule(0.2, lambda now: None)
    assert timers.deadline() == 0.2
    timers.fire(0.2)
    assert timers.deadline() == 0.5


def test_cancelled_timers_take_no_memory_until_they_would_be_due() -> None:
    timers = Timers()
    fired: list[float] = []
    kept = timers.schedule(60.0, fired.append)
    empty = reachable_bytes(timers)
    for number in range(10_000):
        timers.schedule(30.0 + number, fired.append).cancel()
    assert reachable_bytes(timers) < empty + 32_768
    assert timers.deadline() == 60.0
    timers.fire(100_000.0)
    kept.cancel()
    assert fired == [100_000.0]
    assert timers.deadline() == NEVER


def test_timers_that_are_cancelled_while_others_fire() -> None:
    timers = Timers()
    fired: list[int] = []
    later = [timers.schedule(2.0, lambda now, number=number: fired.append(number)) for number in range(200)]  # type: ignore[misc]

    def cancel_most(now: float) -> None:
        for each in later[:-2]:
            each.cancel()

    timers.schedule(1.0, cancel_most)
    timers.fire(2.0)
    assert fired == [198, 199]
    for each in later:
        each.cancel()
    assert timers.deadline() == NEVER
