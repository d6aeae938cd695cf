"""The server's side of the requests in a stream, which are recorded as they pass."""

from collections.abc import Sequence

from pico_core.agent.inspector.captured_request import CapturedRequest
from pico_core.http.body import BodyReader, WatchedBody
from pico_core.http.message import ResponseHead
from pico_core.machine.channel import HoldingChannel
from pico_core.machine.parts import AnsweringHost
from pico_core.pieces import Piece
from pico_core.proxy.downstream import ClientFacts
from pico_core.proxy.exchange import Exchange
from pico_core.proxy.http1.downstream import DownstreamConnection
from pico_core.proxy.http1.source import RequestSource


class RecordedConnection(DownstreamConnection):
    """A ``DownstreamConnection``. ``record`` is that of the last request; ``None`` before the first one."""

    __slots__ = ("record",)

    def __init__(
        self, channel: HoldingChannel, router: RequestSource, host: AnsweringHost, client: ClientFacts, now: float
    ) -> None:
        self.record: CapturedRequest | None = None
        super().__init__(channel, router, host, client, now)

    def watch(self, exchange: Exchange, record: CapturedRequest) -> None:
        """Record a request that has begun. The exchange keeps the part of the body that came with the head."""
        self.record = record
        if exchange.replay is not None and exchange.replay.pieces:
            record.add_request(exchange.replay.pieces)
        if self._body is not None:
            self._body = WatchedBody(self._body, record.add_request)

    # --- as the downstream of an exchange ---

    def respond_whole(self, head: ResponseHead, body: bytes, now: float) -> None:
        """Record the response, and send it."""
        record = self.record
        if record is not None:
            record.respond(head, (body,), now)
            record.end(now)
        super().respond_whole(head, body, now)

    def respond(
        self, head: ResponseHead, pieces: Sequence[Piece], now: float, *, last: bool, trailers: bytes = b""
    ) -> None:
        """Record the head and the part of the body that came with it, and send them."""
        record = self.record
        if record is not None:
            record.respond(head, pieces, now)
            if last:
                record.end(now)
        super().respond(head, pieces, now, last=last, trailers=trailers)

    def respond_more(self, pieces: Sequence[Piece], now: float, *, last: bool, trailers: bytes = b"") -> None:
        """Record more of the body, and send it."""
        record = self.record
        if record is not None:
            record.add_response(pieces)
            if last:
                record.end(now)
        super().respond_more(pieces, now, last=last, trailers=trailers)

    def cut(self, now: float) -> None:
        """The response ends before its end."""
        self._end_record(now)
        super().cut(now)

    def abort(self, now: float) -> None:
        """The client is at fault, or does not read."""
        self._end_record(now)
        super().abort(now)

    def upgrade(self, head: ResponseHead, rest: bytes, now: float) -> tuple[HoldingChannel, bytes]:
        """Record the 101; the raw bytes that follow it are counted only."""
        if self.record is not None:
            self.record.respond(head, (), now)
        return super().upgrade(head, rest, now)

    def upgrade_over(self, now: float) -> None:
        """The raw stream has ended."""
        self._end_record(now)
        super().upgrade_over(now)

    def on_eof(self, now: float) -> None:
        """The client has left."""
        super().on_eof(now)
        self._end_record(now)

    def on_lost(self, now: float) -> None:
        """The client is gone."""
        super().on_lost(now)
        self._end_record(now)

    def _receive_body(self, exchange: Exchange, body: BodyReader, data: Piece, now: float) -> None:
        if self.record is not None:
            self.record.request_at = now
        super()._receive_body(exchange, body, data, now)

    def _end_record(self, now: float) -> None:
        if self.record is not None:
            self.record.end(now)
