"""How often the requests of an endpoint may be tried again: a share of them, so that they do not multiply the load."""

SHARE = 0.2
"""Retries per request in the long run."""

RESERVE = 256.0
"""Retries at once: as many as the requests in flight that one lost tunnel leaves behind in a busy endpoint."""

MAX_BUDGETS = 4_096
"""Endpoints with a budget that is not full; beyond it the one that was made first is full again."""


class RetryBudget:
    """Tokens by endpoint: a retry takes one, a request returns ``SHARE``.

    ``left`` has the endpoints that have used some of theirs; while it is empty, requests need not be counted.
    """

    __slots__ = ("left",)

    def __init__(self) -> None:
        self.left: dict[str, float] = {}

    def request(self, endpoint: str) -> None:
        """Count a new request of ``endpoint``, which earns ``SHARE`` of a further attempt."""
        left = self.left.get(endpoint)
        if left is not None:
            if left + SHARE >= RESERVE:
                del self.left[endpoint]
            else:
                self.left[endpoint] = left + SHARE

    def has_left(self, endpoint: str) -> bool:
        """Return whether a request of ``endpoint`` may be sent again. Next, when it is: ``take``."""
        return self.left.get(endpoint, RESERVE) >= 1.0

    def take(self, endpoint: str) -> None:
        """Count a request that is sent again."""
        if endpoint not in self.left and len(self.left) >= MAX_BUDGETS:
            del self.left[next(iter(self.left))]
        self.left[endpoint] = max(self.left.get(endpoint, RESERVE) - 1.0, 0.0)
