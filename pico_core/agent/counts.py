"""Counters of the requests and connections of one service."""

from pico_core.proxy.exchange import Exchange

CLASSES = ("1xx", "2xx", "3xx", "4xx", "5xx")

NO_REQUESTS = [0] * 6
NO_ERRORS: dict[str, int] = {}
"""What all services share that have had no request, or no error: most of many are idle. They are never changed."""


class ServiceCounts:
    """``requests`` by the class of their status, ``errors`` by the reason why the service gave no whole answer.

    ``retries`` counts the requests that were sent again, on a new connection, since a kept one had ended. Reasons come
    from the closed list of ``proxy.reasons``, so the table is bounded.
    """

    __slots__ = ("connections", "errors", "requests", "retries")

    def __init__(self) -> None:
        self.requests = NO_REQUESTS
        self.errors = NO_ERRORS
        self.connections = 0
        self.retries = 0

    def finished(self, exchange: Exchange) -> None:
        """Count a request that is over."""
        if self.requests is NO_REQUESTS:
            self.requests = [0] * 6
        self.requests[min(exchange.status // 100, 5)] += 1
        if exchange.reason:
            self.failed(exchange.reason)

    def failed(self, reason: str) -> None:
        """Count a connection that the service did not take."""
        if self.errors is NO_ERRORS:
            self.errors = {}
        self.errors[reason] = self.errors.get(reason, 0) + 1
