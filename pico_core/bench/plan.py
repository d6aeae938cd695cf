"""The plan of a bench, and its outcome."""

from collections.abc import Mapping

import msgspec

from pico_core.bench.histogram import LatencyHistogram
from pico_core.config.values import Origin

MAX_OUTCOMES = 32
"""How many statuses and failures are counted apart; the services choose the statuses. The others share one row."""

OTHERS = "other"

NUMBER = b"{n}"
"""Stands for the number of the request, in its target and in its fields."""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """A load: ``clients`` send requests to ``server`` for ``duration_s``.

    ``rate`` is the number of requests a second in all, spread evenly; each has a time at which it is due, and what it
    waits for a free client counts as its latency (so a slow server cannot hide behind the requests it delays). With a
    rate of 0 every client sends its next request as soon as it has the response to the last.

    ``endpoints`` get the requests in turn; without any, the host of ``server`` or the fields name it. ``fields`` are
    field lines, each with its CRLF. ``NUMBER`` in ``target`` and ``fields`` becomes the number of the request. The body
    has ``body_bytes`` bytes. ``tls`` names a TLS profile of the driver; empty means plain TCP.
    """

    server: Origin
    target: bytes = b"/"
    method: bytes = b"GET"
    endpoints: tuple[str, ...] = ()
    fields: bytes = b""
    body_bytes: int = 0
    clients: int = 50
    rate: float = 0.0
    duration_s: float = 10.0
    timeout_s: float = 10.0
    keep_alive: bool = True
    tls: str = ""


class Outcome(msgspec.Struct):
    """The outcome of a plan so far. ``latency`` holds that of every response that came whole, whatever its status."""

    latency: LatencyHistogram = msgspec.field(default_factory=LatencyHistogram)
    statuses: dict[str, int] = msgspec.field(default_factory=dict)
    failures: dict[str, int] = msgspec.field(default_factory=dict)
    """Requests without a whole response, by the reason."""
    connections: int = 0
    received_bytes: int = 0
    elapsed_s: float = 0.0
    late: int = 0
    """Requests that were due and were never sent, because no client was free before the end."""

    @property
    def failed(self) -> int:
        """How many requests got no whole response."""
        return sum(self.failures.values())

    @property
    def refused(self) -> int:
        """How many responses had an error status (4xx, 5xx)."""
        return sum(count for status, count in self.statuses.items() if not status.startswith(("2", "3")))

    def summary(self) -> dict[str, object]:
        """Return all figures, ready for JSON; times are in milliseconds."""
        latency = self.latency
        per_second = latency.count / self.elapsed_s if self.elapsed_s else 0.0
        return {
            "responses": latency.count,
            "per_second": round(per_second, 1),
            "elapsed_s": round(self.elapsed_s, 3),
            "statuses": dict(sorted(self.statuses.items())),
            "failures": dict(sorted(self.failures.items())),
            "late": self.late,
            "connections": self.connections,
            "received_bytes": self.received_bytes,
            "latency_ms": {
                "min": latency.min_us / 1000,
                "mean": latency.mean_us() / 1000,
                **{f"p{percent:g}": latency.percentile_us(percent) / 1000 for percent in (50, 75, 90, 99, 99.9)},
                "max": latency.max_us / 1000,
            },
        }


def count(counts: dict[str, int], kind: str) -> None:
    """Count one of ``kind``, within ``MAX_OUTCOMES``."""
    if kind not in counts and len(counts) >= MAX_OUTCOMES:
        kind = OTHERS
    counts[kind] = counts.get(kind, 0) + 1


def request_template(plan: Plan) -> Mapping[str, bytes]:
    """Return the request's bytes for each endpoint (an empty one where the plan names none), with its body.

    ``NUMBER`` is still to be replaced.
    """
    named = (b"\r\n" + plan.fields.lower()).find(b"\r\nhost:") >= 0
    lines = b"" if named else b"Host: %b\r\n" % plan.server.authority.encode()
    lines += plan.fields
    if plan.body_bytes or plan.method in (b"POST", b"PUT", b"PATCH"):
        lines += b"Content-Length: %d\r\n" % plan.body_bytes
    if not plan.keep_alive:
        lines += b"Connection: close\r\n"
    start = b"%b %b HTTP/1.1\r\n" % (plan.method, plan.target)
    body = b"\r\n" + bytes(plan.body_bytes)
    return {
        endpoint: start + lines + (b"X-Pico-Endpoint: %b\r\n" % endpoint.encode() if endpoint else b"") + body
        for endpoint in plan.endpoints or ("",)
    }
