"""How often one client address may do something: a token bucket for each address."""

import math

from pico_core.client_group import client_group

MAX_BUCKETS = 4_096
"""Addresses whose bucket is not full; beyond it the one that was used first is full again."""


class AddressRate:
    """Tokens by address: an act takes one, and ``rate`` of them come back each second, up to ``burst``."""

    __slots__ = ("_burst", "_left", "_rate")

    def __init__(self, rate: float, burst: int) -> None:
        self._rate = rate
        self._burst = float(burst)
        self._left: dict[str, tuple[float, float]] = {}  # tokens, and when that was counted

    def configure(self, rate: float, burst: int) -> None:
        """Go by other numbers, with every bucket full. The same numbers change nothing."""
        if (rate, float(burst)) != (self._rate, self._burst):
            self._rate, self._burst = rate, float(burst)
            self._left.clear()

    def take(self, host: str, now: float) -> int:
        """Take a token of ``host`` and return 0, or return how many seconds to wait where none is left."""
        address = client_group(host)
        tokens, counted_at = self._left.pop(address, (self._burst, now))
        tokens = min(tokens + (now - counted_at) * self._rate, self._burst)
        if len(self._left) >= MAX_BUCKETS:
            del self._left[next(iter(self._left))]
        if tokens < 1.0:
            self._left[address] = (tokens, now)
            return math.ceil((1.0 - tokens) / self._rate)
        self._left[address] = (tokens - 1.0, now)
        return 0
