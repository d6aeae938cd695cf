"""Work that is done in steps, so that a search through a long body does not hold up the requests of an agent."""

from collections import deque
from collections.abc import Generator
from typing import TypeAlias, TypeVar

from pico_core.timers import Timers

Result = TypeVar("Result")
Steps: TypeAlias = Generator[int, None, Result]
"""Gives how many bytes each step has passed over, and returns the result."""

SMALL_BYTES = 65_536
"""Bodies of one exchange that are searched at once: that takes less than the turns would."""

STEP_BYTES = 1_048_576
"""At most in one step."""

SEARCH_TURN_BYTES = 8 * STEP_BYTES
"""At most in one turn of the machine: some milliseconds."""

PAUSE_S = 0.001
"""Between two turns; what the agent has to do meanwhile comes first."""


def finished(work: Steps[Result]) -> Result:
    """Do all of the work now, and return its result."""
    while True:
        try:
            next(work)
        except StopIteration as end:
            result: Result = end.value
            return result


class Searches:
    """The searches of an agent, one after the other. Next: ``begin``."""

    def __init__(self, timers: Timers) -> None:
        self._timers = timers
        self._waiting: deque[Steps[None]] = deque()

    def begin(self, work: Steps[None], size: int, now: float) -> None:
        """Do the work: at once if it is about at most ``SMALL_BYTES``, else in turns that begin soon."""
        if size <= SMALL_BYTES:
            finished(work)
            return
        self._waiting.append(work)
        if len(self._waiting) == 1:
            self._timers.schedule(now + PAUSE_S, self._turn)

    def _turn(self, now: float) -> None:
        passed = 0
        while self._waiting and passed < SEARCH_TURN_BYTES:
            try:
                passed += next(self._waiting[0])
            except StopIteration:
                self._waiting.popleft()
        if self._waiting:
            self._timers.schedule(now + PAUSE_S, self._turn)
