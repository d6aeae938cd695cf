"""The layer between the tunnel and the streams of a listener that records requests."""

from collections.abc import Mapping
from typing import Protocol

from pico_core.agent.inspector.captured_request import CapturedRequest
from pico_core.agent.inspector.connection import RecordedConnection
from pico_core.agent.inspector.far_end import ReplayDownstream
from pico_core.agent.inspector.store import Store
from pico_core.agent.request_streams import TUNNEL_CLIENT, RequestStreams
from pico_core.http.client_lines import lines_as_they_came
from pico_core.http.message import MessageError, RequestHead, ResponseHead
from pico_core.machine.parts import AnsweringHost, WallClock
from pico_core.proxy.downstream import ClientFacts
from pico_core.proxy.exchange import Exchange
from pico_core.tunnel.channel import StreamChannel

REPLAY_FIELD = b"X-Pico-Replay: %d\r\n"
"""Tells the service which record a request repeats."""


class RecordingHost(AnsweringHost, WallClock, Protocol):
    """The part of the machine that recording needs."""


class InspectedStreams:
    """A ``StreamHandler`` and ``Router`` that records the requests, and lets ``inner`` decide about them.

    Where nothing is recorded, a listener has ``inner`` alone.
    """

    def __init__(self, inner: RequestStreams, store: Store, host: RecordingHost) -> None:
        self.head_limits = inner.head_limits
        self.heads = inner.heads
        self.header_timeout_s = inner.header_timeout_s
        self.idle_timeout_s = inner.idle_timeout_s
        self.response_timeout_s = inner.response_timeout_s
        self.timed_out = inner.timed_out
        self.counts = inner.counts
        self._inner = inner
        self._store = store
        self._host = host

    @property
    def closing(self) -> bool:
        """Whether the agent is about to stop."""
        return self._inner.closing

    @closing.setter
    def closing(self, value: bool) -> None:
        self._inner.closing = value

    def accept(self, channel: StreamChannel, now: float) -> None:
        """Serve the requests of a stream."""
        RecordedConnection(channel, self, self._host, TUNNEL_CLIENT, now)

    def replay(self, head: RequestHead, body: bytes, original: int, now: float) -> CapturedRequest:
        """Send a request to the service that did not come through the tunnel; return its record.

        ``original`` is the number of the record that it repeats.
        """
        downstream = ReplayDownstream(self._host)
        exchange = Exchange.start(self, downstream, head, now, bodiless=not body)
        downstream.exchange = exchange
        exchange.endpoint = self._inner.config.endpoint_id
        head.fields += REPLAY_FIELD % original
        record = self._begin(exchange, now)
        record.replay_of = original
        downstream.record = record
        if body:
            record.add_request((body,))
            exchange.receive([body], now, last=True)
        downstream.start(now)
        self._inner.begin(exchange, now)
        return record

    # --- as the router of the requests ---

    def begin(self, exchange: Exchange, now: float) -> None:
        """Record the head, then send the request to the service."""
        downstream = exchange.downstream
        assert isinstance(downstream, RecordedConnection), "it is made by ``accept``"
        exchange.endpoint = self._inner.config.endpoint_id
        downstream.watch(exchange, self._begin(exchange, now))
        self._inner.begin(exchange, now)

    def _begin(self, exchange: Exchange, now: float) -> CapturedRequest:
        return self._store.begin(exchange, lines_as_they_came(exchange.head), now, self._host.wall_s(now))

    def answered(self, exchange: Exchange, now: float) -> None:
        """See ``inner``."""
        self._inner.answered(exchange, now)

    def failed(self, exchange: Exchange, now: float) -> None:
        """See ``inner``."""
        self._inner.failed(exchange, now)

    def retry(self, exchange: Exchange, now: float) -> None:
        """See ``inner``."""
        self._inner.retry(exchange, now)

    def own_answer(self, exchange: Exchange, status: int, message: str, fields: bytes) -> tuple[ResponseHead, bytes]:
        """See ``inner``."""
        return self._inner.own_answer(exchange, status, message, fields)

    def finished(self, exchange: Exchange, now: float) -> None:
        """Record how the exchange ended."""
        downstream = exchange.downstream
        assert isinstance(downstream, (RecordedConnection, ReplayDownstream)), "it is one of ours"
        if downstream.record is not None:
            downstream.record.finished(exchange)
        self._inner.finished(exchange, now)

    def refused(self, error: MessageError, client: ClientFacts, now: float) -> tuple[bytes, Mapping[str, str], bytes]:
        """See ``inner``."""
        return self._inner.refused(error, client, now)
