"""A budget for streams that the peer opens without a use: thousands of clients that leave fit in, floods do not."""

import msgspec

RESET_BURST = 4_096
"""Streams that the peer may open and reset, or open beyond its limit, at once. A load test of a thousand clients ends
so when it is killed, while the rapid-reset floods seen in the field count hundreds of thousands."""

RESETS_PER_SECOND = 1_000.0
"""How fast a spent budget grows again, up to ``RESET_BURST``."""


class ResetBudget(msgspec.Struct, gc=False):
    """Counts the streams without a use that the peer may still open, at ``counted_at``. Every session has its own."""

    left: float = float(RESET_BURST)
    counted_at: float = 0.0

    def spend(self, now: float) -> bool:
        """Take one stream from the budget; return whether there was one left. If not, end the session."""
        earned = (now - self.counted_at) * RESETS_PER_SECOND
        self.left = min(float(RESET_BURST), self.left + earned) - 1.0
        self.counted_at = now
        return self.left >= 0.0
