"""How often the requests of an endpoint may be tried again: a share of its requests, so that retries add no storm."""

SHARE = 0.2
"""Retries per request in the long run."""

RESERVE = 256.0
"""Retries at once: as many as the requests in flight that one lost tunnel leaves behind in a busy endpoint."""

MAX_ENDPOINTS = 4_096
"""Endpoints with a budget that is not full; beyond it the one that was made first is full again."""


class RetryBudget:
    """Tokens by endpoint: a retry takes one, a request returns ``SHARE``. An endpoint that is not here has all."""

    __slots__ = ("_left",)

    def __init__(self) -> None:
        self._left: dict[str, float] = {}

    def __bool__(self) -> bool:
        """Whether any endpoint has used some of its budget; if not, requests need not be counted."""
        return bool(self._left)

    def request(self, endpoint: str) -> None:
        """Count a new request."""
        left = self._left.get(endpoint)
        if left is not None:
            if left + SHARE >= RESERVE:
                del self._left[endpoint]
            else:
                self._left[endpoint] = left + SHARE

    def take(self, endpoint: str) -> bool:
        """Take a retry, and return whether there was one left."""
        left = self._left.get(endpoint, RESERVE)
        if left < 1.0:
            return False
        if endpoint not in self._left and len(self._left) >= MAX_ENDPOINTS:
            del self._left[next(iter(self._left))]
        self._left[endpoint] = left - 1.0
        return True
