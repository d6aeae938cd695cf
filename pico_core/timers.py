"""Timers of a machine: exact ones for rare events, and one coarse sweep for everything a connection waits for.

A request arms no timer: it stamps ``deadline_at`` on its connection and the sweep looks at all stamps twice a second.
That costs nothing per request and 60 ns per connection and sweep; deadlines are therefore up to half a second late.
"""

import heapq
import math
from collections.abc import Callable
from typing import Protocol, TypeAlias

SWEEP_INTERVAL_S = 0.5
"""How often the deadlines of watched parts are looked at, all of them: so nothing is sorted when one changes."""

MAX_VOID = 64
"""Cancelled timers that are kept whatever else waits; of more, at most half of all timers are void."""

Callback: TypeAlias = Callable[[float], None]

NEVER = math.inf


class Watched(Protocol):
    """An object with a deadline that the sweep watches."""

    @property
    def deadline_at(self) -> float:
        """When something must have happened."""

    def on_deadline(self, now: float) -> None:
        """``deadline_at`` has passed. Set a new one, or end; else it is called again at the next sweep."""


class Timer:
    """One pending call. ``cancel`` makes it void."""

    __slots__ = ("_timers", "callback")

    def __init__(self, timers: "Timers", callback: Callback) -> None:
        self.callback: Callback | None = callback
        self._timers = timers

    def cancel(self) -> None:
        """Never call back. Safe to repeat, and after the call."""
        if self.callback is not None:
            self.callback = None
            self._timers.voided()


class Timers:
    """All timers of one machine. Call ``fire`` with every input's time; ``deadline`` says when it is needed."""

    __slots__ = ("_count", "_heap", "_sweep_at", "_void", "_watched")

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Timer]] = []
        self._count = 0
        self._void = 0
        self._watched: dict[Watched, None] = {}
        self._sweep_at = NEVER

    def schedule(self, at: float, callback: Callback) -> Timer:
        """Call ``callback(now)`` at ``at`` (seconds); equal times keep their order. Next: ``Timer.cancel``, perhaps."""
        timer = Timer(self, callback)
        self._count += 1
        heapq.heappush(self._heap, (at, self._count, timer))
        return timer

    def voided(self) -> None:
        """Count a timer that was cancelled. Most are, long before they are due: they are not kept until then."""
        self._void += 1
        if self._void > MAX_VOID and 2 * self._void > len(self._heap):
            self._heap[:] = [entry for entry in self._heap if entry[2].callback is not None]
            heapq.heapify(self._heap)
            self._void = 0

    def watch(self, watched: Watched, now: float) -> None:
        """Include ``watched`` in the sweep until ``unwatch``."""
        self._watched[watched] = None
        if self._sweep_at == NEVER:
            self._sweep_at = now + SWEEP_INTERVAL_S

    def unwatch(self, watched: Watched) -> None:
        """Forget ``watched``; does nothing if it is unknown."""
        self._watched.pop(watched, None)

    def deadline(self) -> float:
        """Return when ``fire`` is next due, in seconds on the clock of ``now``; ``NEVER`` if nothing waits."""
        heap = self._heap
        while heap and heap[0][2].callback is None:
            heapq.heappop(heap)
            self._void -= 1
        return min(heap[0][0], self._sweep_at) if heap else self._sweep_at

    def fire(self, now: float) -> None:
        """Call everything that is due at ``now``."""
        heap = self._heap
        while heap and heap[0][0] <= now:
            timer = heapq.heappop(heap)[2]
            callback, timer.callback = timer.callback, None
            if callback is None:
                self._void -= 1
            else:
                callback(now)
        if self._sweep_at <= now:
            for watched in [each for each in self._watched if each.deadline_at <= now]:
                if watched in self._watched:
                    watched.on_deadline(now)
            self._sweep_at = now + SWEEP_INTERVAL_S if self._watched else NEVER
