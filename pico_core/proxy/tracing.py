"""Spans of requests, as W3C Trace Context joins them: each process on the way makes one, below that of the one before.

A hop takes ``traceparent`` from the request, and writes its own span into it for the next hop. A request that comes
without one begins a trace, or is not traced. A ``traceparent`` that says "not sampled" passes as it came.
"""

from typing import Protocol

import msgspec
from msgspec.structs import replace

from pico_core.config.tracing import TracingConfig
from pico_core.entropy import Entropy
from pico_core.http.writing import LEAST_SERVER_ERROR_STATUS
from pico_core.machine.parts import Emitter, WallClock
from pico_core.proxy.exchange import Exchange
from pico_core.proxy.trace_context import trace_parent, without_trace_parent
from pico_core.records import Span, Spans

MAX_OPEN = 65_536
"""Requests in flight that have a span; of further ones there is none."""

MAX_SPAN_PATH_CHARACTERS = 256


class TracingHost(Emitter, WallClock, Protocol):
    """The part of the machine that tracing needs."""


class _Open(msgspec.Struct, frozen=True):
    """The span of a request in flight."""

    trace_id: str
    span_id: str
    parent_id: str


class Tracer:
    """Makes spans, and emits those of a turn as one batch.

    ``hop`` is what the spans call this process where the request did not come from its client, ``node_id`` its name.
    """

    __slots__ = ("_entropy", "_hop", "_host", "_node_id", "_open", "_ratio", "_spans")

    def __init__(self, host: TracingHost, config: TracingConfig, entropy: Entropy, hop: str, node_id: str = "") -> None:
        self._host = host
        self._ratio = config.sample_ratio
        self._entropy = entropy
        self._hop = hop
        self._node_id = node_id
        self._open: dict[Exchange, _Open] = {}
        self._spans: list[Span] = []

    def begin(self, exchange: Exchange) -> None:
        """Begin the span of a request, if it is to have one, and tell the next hop."""
        head = exchange.head
        fields = head.fields
        parent_id = trace_id = ""
        if found := trace_parent(fields):
            if not found.is_sampled:
                return
            trace_id, parent_id = found.trace_id, found.parent_id
        if len(self._open) >= MAX_OPEN or not (trace_id or self._entropy.random() < self._ratio):
            return
        trace_id = trace_id or f"{self._entropy.getrandbits(128) or 1:032x}"
        span_id = f"{self._entropy.getrandbits(64) or 1:016x}"
        line = f"Traceparent: 00-{trace_id}-{span_id}-01\r\n".encode()
        exchange.head = replace(head, fields=without_trace_parent(fields) + line, onward=b"")
        self._open[exchange] = _Open(trace_id, span_id, parent_id)

    def finished(self, exchange: Exchange, now: float) -> None:
        """End the span of a request, if it has one."""
        found = self._open.pop(exchange, None)
        if found is None:
            return
        ended_at = self._host.wall_s(now)
        if not self._spans:
            self._host.mark_dirty(self)
        self._spans.append(
            Span(
                found.trace_id,
                found.span_id,
                found.parent_id,
                exchange.head.method.decode("latin-1"),
                ended_at - (now - exchange.started_at),
                ended_at,
                (exchange.reason or str(exchange.status)) if _has_failed(exchange) else "",
                self._attributes(exchange),
            )
        )

    def flush(self, now: float) -> None:
        """Emit the spans of the turn."""
        spans, self._spans = self._spans, []
        self._host.emit(Spans(tuple(spans)))

    def _attributes(self, exchange: Exchange) -> dict[str, str | int]:
        head = exchange.head
        found: dict[str, str | int] = {
            "http.request.method": head.method.decode("latin-1"),
            "http.response.status_code": exchange.status,
            "url.path": head.target.partition(b"?")[0][:MAX_SPAN_PATH_CHARACTERS].decode("latin-1"),
            "server.address": head.host.decode("latin-1"),
            "http.request.body.size": exchange.received_bytes,
            "http.response.body.size": exchange.sent_bytes,
            "pico.endpoint": exchange.endpoint,
            "pico.request_id": exchange.request_id.decode("latin-1"),
            "pico.hop": "entry" if exchange.is_entry else self._hop,
            "pico.tries": exchange.tries,
        }
        told = {
            "client.address": exchange.client_host,
            "pico.node": self._node_id,
            "pico.reason": exchange.reason,
            "pico.incomplete": exchange.incomplete,
        }
        return found | {name: text for name, text in told.items() if text}


def _has_failed(exchange: Exchange) -> bool:
    """Return what a server's span calls an error (semantic conventions for HTTP spans)."""
    return exchange.status >= LEAST_SERVER_ERROR_STATUS or bool(exchange.incomplete)
