"""The client role of HTTP/1.1 on one channel: requests out, responses in, one at a time, kept alive in between."""

from typing import TYPE_CHECKING, Protocol

from pico_core.http.body import BodyReader, EofBody, is_bodiless, response_body
from pico_core.http.message import HeadLimits, MessageError
from pico_core.http.recent import ResponseReader
from pico_core.machine.channel import Channel
from pico_core.pieces import Piece
from pico_core.timers import NEVER

if TYPE_CHECKING:
    from pico_core.proxy.exchange import Exchange

MAX_INTERIM_RESPONSES = 16
"""More 1xx heads than this before a final one is a broken upstream, not a slow one."""

MISDIRECTED = 421
MISDIRECTED_FIELD = b"x-pico-misdirected: true\r\n"
"""A node's own 421 carries this; a service's 421 does not and belongs to the client."""

RESPONSE_LIMITS = HeadLimits()


class UpstreamSource(Protocol):
    """Where an upstream connection came from and goes back to: a tunnel's streams, or a pool of TCP connections."""

    retries_misdirected: bool
    """Whether a marked 421 means that the request was not processed and should be sent elsewhere."""

    def release(self, upstream: "UpstreamConnection", now: float) -> None:
        """The exchange is over and the connection can serve another one."""

    def discard(self, upstream: "UpstreamConnection", now: float) -> None:
        """The connection is gone or was given up; ``upstream.exchange`` is what it served, if anything."""


class UpstreamConnection:
    """A keep-alive connection towards the service. ``exchange`` is the request it serves, ``None`` while it is idle.

    ``Exchange.forward`` sets it and sends the request through ``channel``.
    """

    __slots__ = (
        "_body",
        "_interim",
        "_keep_alive",
        "_reader",
        "channel",
        "deadline_at",
        "exchange",
        "source",
    )

    def __init__(self, channel: Channel, source: UpstreamSource) -> None:
        self.channel = channel
        self.source = source
        self.exchange: Exchange | None = None
        self.deadline_at = NEVER
        self._reader = ResponseReader(RESPONSE_LIMITS)
        self._body: BodyReader | None = None
        self._interim = 0
        self._keep_alive = False
        channel.user = self

    def give_up(self, now: float) -> None:
        """The exchange no longer wants an answer: reset the channel, so that the service sees it at once."""
        self.channel.abort()
        self.exchange = None
        self.source.discard(self, now)

    def leave_to_pipe(self) -> None:
        """The channel carries raw bytes from now on and never comes back here."""
        self.exchange = None
        self._body = None

    def on_data(self, data: Piece, now: float) -> None:
        """Take response bytes."""
        exchange = self.exchange
        if exchange is None:
            self.give_up(now)  # nobody asked for anything: whatever this is must never answer the next request
            return
        try:
            if self._body is not None:
                self._receive_body(exchange, self._body, data, now)
            else:
                self._receive_head(exchange, data if isinstance(data, bytes) else bytes(data), now)
        except MessageError:
            self.channel.abort()
            self._fail(now)

    def _receive_head(self, exchange: "Exchange", data: bytes, now: float) -> None:
        read = self._reader.read(data)
        while read is not None:
            head, rest = read
            if head.status == 101:
                exchange.switch_protocols(head, rest, now)
                return
            if self.source.retries_misdirected and head.status == MISDIRECTED and MISDIRECTED_FIELD in head.fields:
                self.give_up(now)
                exchange.refused(now)
                return
            if head.status >= 200:
                if head.content_length == len(rest) and not (rest and is_bodiless(head, exchange.head.method)):
                    exchange.respond_whole(head, rest, now)
                    self._complete(exchange, head.keep_alive, now)
                    return
                body = response_body(head, exchange.head.method)
                if body is None:
                    exchange.respond(head, None, [], now)
                    self._complete(exchange, head.keep_alive and not rest, now)
                    return
                pieces, rest = body.receive(rest) if rest else ([], rest)
                self._body = body
                exchange.respond(head, body, pieces, now)
                if body.done:
                    self._complete(exchange, head.keep_alive and not rest, now)
                else:
                    self._keep_alive = head.keep_alive
                return
            self._interim += 1
            if self._interim > MAX_INTERIM_RESPONSES:
                raise MessageError(502, "too many interim responses")
            exchange.respond_interim(head)
            if not rest:
                return
            read = self._reader.read(rest)

    def _receive_body(self, exchange: "Exchange", body: BodyReader, data: Piece, now: float) -> None:
        pieces, rest = body.receive(data)
        exchange.respond_more(body, pieces, now)
        if body.done:
            self._complete(exchange, self._keep_alive and not rest, now)

    def on_eof(self, now: float) -> None:
        """The upstream ends its side: the end of a body without length, or a loss."""
        exchange = self.exchange
        body = self._body
        if exchange is not None and isinstance(body, EofBody) and body.eof():
            exchange.respond_more(body, [], now)
            self._complete(exchange, False, now)
            return
        self.channel.close()
        self.on_lost(now)

    def on_lost(self, now: float) -> None:
        """The connection is gone."""
        self._fail(now)

    def on_writable(self, now: float) -> None:
        """More of the request body can be sent."""
        if self.exchange is not None:
            self.exchange.request_writable(now)

    def _fail(self, now: float) -> None:
        exchange = self.exchange
        self.source.discard(self, now)
        self.exchange = None
        if exchange is not None:
            exchange.upstream_lost(now)

    def _complete(self, exchange: "Exchange", reusable: bool, now: float) -> None:
        """The response is complete: give the connection back first, so that the next request finds it."""
        self._body = None
        self._interim = 0
        self.exchange = None
        if reusable and exchange.request_done:
            self.channel.resume_reading()  # a slow client may have stopped it, and is nothing to the next one
            self.source.release(self, now)
        else:
            self.channel.close() if exchange.request_done else self.channel.abort()
            self.source.discard(self, now)
        exchange.complete(now)
