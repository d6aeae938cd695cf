"""Virtual time: one heap of events to come, one seeded generator behind every choice, one trace of the events."""

import hashlib
import heapq
import random
from collections import Counter
from collections.abc import Callable
from typing import Any


class Violation(AssertionError):  # noqa: N818 - a finding of the simulation, not an error of its own
    """Something happened that must never happen. The text ends with the command that replays it."""


class World:
    """The clock of a simulation. ``after`` schedules a call, ``run`` lets time pass; equal times keep their order."""

    def __init__(self, seed: int, *, replay: str = "", show: Callable[[str], None] | None = None) -> None:
        """``show`` takes the lines of a readable trace; ``replay`` is the command that leads to the same history."""
        self.seed = seed
        self.random = random.Random(seed)
        self.now = 0.0
        self.sometimes: Counter[str] = Counter()
        """How often each rare event happened: a run without one of them proves nothing about it."""
        self.replay = replay
        self.tracing = show is not None
        self._show = show
        self._digest = hashlib.blake2b(digest_size=16)
        self._heap: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._count = 0

    def after(self, delay_s: float, call: Callable[..., None], *arguments: Any) -> None:
        """Call ``call(*arguments)`` in ``delay_s`` seconds."""
        assert delay_s >= 0, f"nothing happens {-delay_s} s ago"
        self._count += 1
        heapq.heappush(self._heap, (self.now + delay_s, self._count, call, arguments))

    def run(self, duration_s: float) -> None:
        """Let time pass."""
        end = self.now + duration_s
        heap = self._heap
        pop = heapq.heappop
        while heap and heap[0][0] <= end:
            self.now, _, call, arguments = pop(heap)
            call(*arguments)
        self.now = end

    def run_until(self, goal: str, problem: Callable[[], str], within_s: float, step_s: float = 0.02) -> float:
        """Let time pass until ``problem()`` is empty, and return how long that took.

        Raises ``Violation`` with the last problem if it is still there after ``within_s``.
        """
        began_at = self.now
        while found := problem():
            if self.now - began_at >= within_s:
                raise self.violation(f"{goal} not within {within_s:g} s: {found}")
            self.run(step_s)
        return self.now - began_at

    def violation(self, text: str) -> Violation:
        """Return the error that says what happened, at which time, and how to see it again."""
        return Violation(f"{text}\n  at {self.now:.6f} s of seed {self.seed}; replay with: {self.replay}")

    def chance(self, share: float) -> bool:
        """Return true in this share of all cases; 0 draws no random number."""
        return share > 0 and self.random.random() < share

    # --- the trace ---

    def trace_digest_only(self) -> None:
        """Keep a digest of the trace without showing it."""
        self.tracing = True

    def note(self, name: str, line: str) -> None:
        """Add a line about ``name`` to the trace. Ask ``tracing`` first: lines cost more than the simulation."""
        text = f"{self.now:11.6f} {name:<12} {line}"
        self._digest.update(text.encode())
        if self._show is not None:
            self._show(text)

    @property
    def digest(self) -> str:
        """The digest of the trace so far, which two runs of one seed must have in common."""
        return self._digest.hexdigest()
