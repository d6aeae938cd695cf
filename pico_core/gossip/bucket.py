"""A token bucket: how much work may be done, with time as an input."""


class Bucket:
    """Work of ``rate`` per second may be done, and what was not done gathers up to ``capacity``."""

    __slots__ = ("_at", "_capacity", "_rate", "_tokens")

    def __init__(self, rate: float, capacity: float, now: float) -> None:
        """The work is in any unit, times are in seconds. The bucket is full at first."""
        self._rate = rate
        self._capacity = capacity
        self._tokens = capacity
        self._at = now

    def has(self, cost: float, now: float) -> bool:
        """Return whether the work may be done now. Next: ``take``."""
        self._tokens = min(self._capacity, self._tokens + (now - self._at) * self._rate)
        self._at = now
        return self._tokens >= cost

    def take(self, cost: float) -> None:
        """The work is done; it may have been more than there was, and is waited for then."""
        self._tokens -= cost
