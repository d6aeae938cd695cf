"""The order in which connections with much to do are served: each gets a share of a turn, and the rest waits.

A turn of a driver ends only when the machine has handled all that was received. Bytes alone do not bound that: a read
of 256 KiB may hold one frame or 21,000. So every parser stops after a number of frames, chunks or requests, and its
channel holds back what is left (``channel.HoldingChannel``) until ``Turns`` calls it. Why: ``docs/decisions/turns.md``.
"""

from collections import deque
from collections.abc import Callable
from typing import Protocol

from pico_core.timers import Timers

TURN_PAUSE_S = 0.001
"""Between two turns of held connections: the driver looks at all other sockets meanwhile."""

PARTS_PER_TURN = 4
"""How many held connections go on in one turn. Each uses about a millisecond."""


class Waiting(Protocol):
    """A part that has had its share of a turn."""

    def on_turn(self, now: float) -> None:
        """Go on. Called once for each ``Turns.wait``."""


class Turns:
    """The held connections of a machine, first come, first served. ``clock`` returns the time of the last input."""

    __slots__ = ("_clock", "_due", "_timers", "_waiting")

    def __init__(self, timers: Timers, clock: Callable[[], float]) -> None:
        self._timers = timers
        self._clock = clock
        self._waiting: deque[Waiting] = deque()  # each channel at most once
        self._due = False

    def wait(self, part: Waiting) -> None:
        """Have ``part.on_turn`` called in a later turn."""
        self._waiting.append(part)
        if not self._due:
            self._due = True
            self._timers.schedule(self._clock() + TURN_PAUSE_S, self._go_on)

    def _go_on(self, now: float) -> None:
        for _ in range(min(PARTS_PER_TURN, len(self._waiting))):
            self._waiting.popleft().on_turn(now)
        self._due = bool(self._waiting)
        if self._due:
            self._timers.schedule(now + TURN_PAUSE_S, self._go_on)
