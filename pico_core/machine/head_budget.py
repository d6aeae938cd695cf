"""How much memory the unfinished heads of all connections of a machine take together. Start at ``HeadBudget``."""

from typing import Protocol

MAX_UNFINISHED_BYTES = 16 << 20
"""Whole heads have a few KiB and come at once: this is thousands that come in pieces, or sixteen as long as may be."""

KEPT_SHARE = 7 / 8
"""How much of the budget is left in use when it was exceeded: so one look over all heads lasts for many bytes."""


class HeadHolder(Protocol):
    """The owner of an unfinished head, as the budget knows it."""

    def head_over_budget(self, now: float) -> None:
        """Refuse the head, drop the bytes of it that came, and end the connection; ``HeadBudget`` has released it."""


class HeadBudget:
    """The bytes of unfinished heads by connection. Next: ``hold`` after every piece, and ``release`` in the end.

    When they are more than ``limit_bytes``, the connections with the most of them lose theirs.
    """

    __slots__ = ("_held", "limit_bytes", "refused", "used_bytes")

    def __init__(self, limit_bytes: int = MAX_UNFINISHED_BYTES) -> None:
        self.limit_bytes = limit_bytes
        self.used_bytes = 0
        self.refused = 0
        self._held: dict[HeadHolder, int] = {}

    def hold(self, holder: HeadHolder, pending_bytes: int, now: float) -> None:
        """Take note that ``holder`` has so many bytes of a head; it may be told at once that they are too many."""
        self.used_bytes += pending_bytes - self._held.get(holder, 0)
        self._held[holder] = pending_bytes
        if self.used_bytes > self.limit_bytes:
            self._shrink(now)

    def release(self, holder: HeadHolder) -> None:
        """Take note that the head is whole, or dropped; does nothing if none was held."""
        self.used_bytes -= self._held.pop(holder, 0)

    def _shrink(self, now: float) -> None:
        for holder in sorted(self._held, key=self._held.__getitem__, reverse=True):  # of equal ones the oldest first
            if self.used_bytes <= KEPT_SHARE * self.limit_bytes:
                return
            self.release(holder)
            self.refused += 1
            holder.head_over_budget(now)
