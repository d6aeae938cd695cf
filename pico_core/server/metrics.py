"""Counters of a server: integers that are cheap to raise. Text is made only for a scrape (``admin.metrics_text``).

What clients send must not decide how much is counted: labels come from the fixed sets below, everything else is one
more label, ``other``. A histogram is thirteen times as many series as a counter, so latency is kept more narrowly:
requests with an ``other`` method share one histogram, and requests that were answered without being sent anywhere have
none, because their time says nothing. So 100,000 random methods, hosts and endpoints add fewer than 20 series.
"""

from pico_core.config.server_ports import PORTS, Ports, entrances
from pico_core.plain.exposition import Histogram
from pico_core.proxy.exchange import Exchange
from pico_core.proxy.failures import ALL_REASONS
from pico_core.proxy.reasons import REASONS
from pico_core.proxy_protocol import HEADER_DEFECTS

OTHER = b"other"

METHODS = (b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"OPTIONS", b"PATCH", b"TRACE")
"""Methods with a label of their own; everything else a client may think of is ``other``."""

STATUSES = frozenset(
    {101, *range(200, 209), 226, *range(300, 306), 307, 308, *range(400, 419), *range(421, 427), 428, 429, 431, 451}
    | {499, *range(500, 509), 510, 511}
)
"""Final statuses in use (IANA's registry, and 499 for a client that left): the rest, from an odd service, is 0."""

SWITCHED = 101
"""An upgraded connection lives as long as its users want, so its time is not a latency."""

LATENCY_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.25, 1.0, 2.5, 10.0)
SIZE_BUCKETS_BYTES = (100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000, 100_000_000, 1_000_000_000)


class RequestMetrics:
    """The requests of one status and method. ``latency_s`` is shared among methods without a label of their own."""

    __slots__ = ("count", "latency_s")

    def __init__(self, latency_s: Histogram) -> None:
        self.count = 0
        self.latency_s = latency_s


class ServerMetrics:
    """The counters of a server about requests."""

    def __init__(self, ports: Ports = PORTS) -> None:
        self.requests_in_flight = 0
        self.upstream_requests = 0
        self.retries = 0
        self.retries_denied = 0
        self.failures = dict.fromkeys(ALL_REASONS, 0)
        self.errors = dict.fromkeys(REASONS, 0)
        self.forwarded_requests = 0
        self.incomplete = {"client": 0, "upstream": 0}
        self.registrations_refused = 0
        self.proxy_headers_refused = {
            (port.listener, defect): 0
            for port in entrances(ports)
            if port.behind is not None
            for defect in HEADER_DEFECTS
        }
        self.second_agents = {"accepted": 0, "refused": 0}
        self.log_lines_dropped = 0
        self.requests: dict[tuple[int, bytes], RequestMetrics] = {}
        self.other_latency_s = Histogram(LATENCY_BUCKETS_S)
        self.request_bytes = Histogram(SIZE_BUCKETS_BYTES)
        self.response_bytes = Histogram(SIZE_BUCKETS_BYTES)

    def request(self, exchange: Exchange, now: float) -> None:
        """Count an exchange that is over."""
        key = (exchange.status, exchange.head.method)
        metrics = self.requests.get(key)
        if metrics is None:
            metrics = self.series(*key)
        metrics.count += 1
        if exchange.reason:
            self.errors[exchange.reason] += 1
        if exchange.incomplete:
            self.incomplete[exchange.incomplete] += 1
        if exchange.route is not None and exchange.status != SWITCHED:
            metrics.latency_s.observe(now - exchange.started_at)
        self.response_bytes.observe(exchange.sent_bytes)
        if exchange.received_bytes:
            self.request_bytes.observe(exchange.received_bytes)
        else:
            self.request_bytes.counts[0] += 1

    def refused(self, status: int, reason: str) -> None:
        """Count bytes that were not a request."""
        self.errors[reason] += 1
        self.series(status, OTHER).count += 1

    def series(self, status: int, method: bytes) -> RequestMetrics:
        """Return the counters for a status and method, with a bounded number of both."""
        if method not in METHODS:
            method = OTHER
        if status not in STATUSES:
            status = 0
        metrics = self.requests.get((status, method))
        if metrics is None:
            latency_s = self.other_latency_s if method == OTHER else Histogram(LATENCY_BUCKETS_S)
            metrics = self.requests[status, method] = RequestMetrics(latency_s)
        return metrics
