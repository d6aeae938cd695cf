"""The server role of HTTP/1.1 on one channel: requests in, one exchange at a time, pipelined ones in order."""

from collections.abc import Sequence
from typing import Final

from pico_core.http.body import BodyReader, LimitedBody, framed, is_bodiless, request_body
from pico_core.http.client_lines import REQUEST_ID_LINE
from pico_core.http.message import MessageError, RequestHead, ResponseHead
from pico_core.http.recent import RequestReader
from pico_core.http.writing import (
    CONNECTION_CLOSE,
    CONNECTION_KEEP_ALIVE,
    LEAST_ERROR_STATUS,
    refusal,
    response_bytes,
)
from pico_core.machine.admission import Dismissible
from pico_core.machine.channel import HoldingChannel
from pico_core.machine.parts import AnsweringHost
from pico_core.pieces import JOIN_BELOW_BYTES, Piece
from pico_core.proxy.downstream import ClientFacts
from pico_core.proxy.exchange import Exchange
from pico_core.proxy.http1.source import RequestSource
from pico_core.timers import NEVER

MAX_BACKLOG_BYTES = 65_536
"""Pipelined requests that wait for the one in flight; beyond it the client is no longer read."""


_REQUESTS_AT_ONCE: Final = range(16)
"""How many pipelined requests are answered in one turn: a millisecond, if this node answers them. Those that go to
a service come one at a time anyway."""


LONG_HEAD_BYTES = 65_536
"""A head that is longer is read one piece a turn: checking a read of 256 KiB takes a millisecond."""


class DownstreamConnection(Dismissible):
    """A client's connection, and the ``Downstream`` of the exchange in flight. ``router`` decides about its requests.

    What belongs to one request begins anew with each: its head, the reader of its body (``None`` once the request is
    whole), whether the connection ends after the response, and whether the response is sent in chunks.
    """

    __slots__ = (
        "_advancing",
        "_backlog",
        "_body",
        "_chunked",
        "_close_after",
        "_ended",
        "_head_held",
        "_host",
        "_idle_since",
        "_idle_until",
        "_reader",
        "_request",
        "channel",
        "client",
        "exchange",
        "router",
    )

    _request: RequestHead
    _body: BodyReader | None

    def __init__(
        self, channel: HoldingChannel, router: RequestSource, host: AnsweringHost, client: ClientFacts, now: float
    ) -> None:
        self.channel = channel
        self.router = router
        self.client = client
        self.exchange: Exchange | None = None
        self._host = host
        self._reader = RequestReader(router.head_limits)
        self._body = None
        self._close_after = False
        self._chunked = False
        self._backlog = b""
        self._advancing = False
        self._ended = False
        self._head_held = False
        self._idle_since = now
        self._idle_until = now + router.header_timeout_s
        channel.user = self
        host.timers.watch(self, now)

    @property
    def deadline_at(self) -> float:
        """When something must have happened: the exchange's own deadline, or the end of what the client may idle."""
        exchange = self.exchange
        return self._idle_until if exchange is None else exchange.deadline_at

    @property
    def idle_since(self) -> float:
        """Since when the client has not begun a request; ``NEVER`` where it has, or may still read an answer."""
        waits = self.exchange is None and not self._backlog and not self._ended and not self._reader.pending_bytes
        return self._idle_since if waits else NEVER

    def dismiss(self, now: float) -> None:
        """Close the connection, which is idle (RFC 9112 section 9.5)."""
        self._end()
        self.channel.close()

    # --- what the channel reports ---

    def on_data(self, data: Piece, now: float) -> None:
        """Take bytes from the client."""
        if self.exchange is None:
            self._advance(data if isinstance(data, bytes) else bytes(data), now)
        elif self._body is None:
            self._keep_for_later(bytes(data))
        else:
            self._receive_body(self.exchange, self._body, data, now)

    def on_eof(self, now: float) -> None:
        """The client ended its side. In HTTP that is taken as leaving: the service must see it at once."""
        self._gone(now)
        self.channel.close()

    def on_lost(self, now: float) -> None:
        """Give up what is in flight: the client is gone."""
        self._gone(now)

    def on_writable(self, now: float) -> None:
        """The client takes more of the response."""
        if self.exchange is not None:
            if self.exchange.upstream is not None:
                self.exchange.response_writable(now)
        elif self._backlog:
            self._go_on(now)

    def on_deadline(self, now: float) -> None:
        """Idle, slow or stuck for too long."""
        if self.exchange is not None:
            self.exchange.on_deadline(now)
        elif not self._reader.pending_bytes:
            self._end()
            self.channel.close()
        else:
            self._refuse(MessageError(408, "request timeout"), now)

    # --- as the downstream of an exchange ---

    @property
    def writable(self) -> bool:
        """Whether the connection takes more."""
        return self.channel.writable

    def pause_request(self) -> None:
        """Read no more from the connection."""
        self.channel.pause_reading()

    def resume_request(self) -> None:
        """Read from the connection again."""
        self.channel.resume_reading()

    def limit_request(self, most_bytes: int) -> None:
        """Read the rest of the body with a limit."""
        if self._body is not None and self.exchange is not None:
            self._body = LimitedBody(self._body, most_bytes - self.exchange.received_bytes)

    def respond_interim(self, head: ResponseHead, now: float) -> None:
        """Send a 1xx head; a client of HTTP/1.0 must not see one (RFC 9110 section 15.2)."""
        if self._request.minor_version:
            self.channel.send(response_bytes(head, b""))

    def respond_whole(self, head: ResponseHead, body: bytes, now: float) -> None:
        """Send a whole response in one write, and go on."""
        if self._body is not None:
            self._close_after = True  # the rest of the request will not be read: say so (RFC 9112 section 9.6)
        self.channel.send(response_bytes(head, self._extra_fields(head, now)) + body)
        self._exchange_over(now)

    def respond(
        self, head: ResponseHead, pieces: Sequence[Piece], now: float, *, last: bool, trailers: bytes = b""
    ) -> None:
        """Send the head, and the part of the body that came with it, in one write."""
        request = self._request
        if head.content_length < 0 and not head.chunked and not is_bodiless(head, request.method):
            head = head.with_chunks(chunked=True)
        if head.chunked and not request.minor_version:  # HTTP/1.0 knows no chunks: the connection's end ends the body
            head = head.with_chunks(chunked=False)
            self._close_after = True
        if last and self._body is not None:
            self._close_after = True
        self._chunked = head.chunked and not is_bodiless(head, request.method)
        out = [response_bytes(head, self._extra_fields(head, now))]
        self._send([*out, *framed(pieces, last=last, trailers=trailers)] if self._chunked else [*out, *pieces])
        if last:
            self._exchange_over(now)

    def respond_more(self, pieces: Sequence[Piece], now: float, *, last: bool, trailers: bytes = b"") -> None:
        """Send more of the body."""
        out = framed(pieces, last=last, trailers=trailers) if self._chunked else pieces
        if out:
            self._send(out)
        if last:
            self._exchange_over(now)

    def cut(self, now: float) -> None:
        """Close without the end of the body; where only the connection's end would be the end, reset it instead."""
        self.exchange = None
        self._end()
        if self._close_after:
            self.channel.abort()
        else:
            self.channel.close()

    def abort(self, now: float) -> None:
        """Reset the connection."""
        self.exchange = None
        self._end()
        self.channel.abort()

    def upgrade(self, head: ResponseHead, rest: bytes, now: float) -> tuple[HoldingChannel, bytes]:
        """Send the 101; the bytes behind the upgrade request belong to the new protocol."""
        self.channel.send(response_bytes(head, b"") + rest)
        backlog, self._backlog = self._backlog, b""
        return self.channel, backlog

    def upgrade_over(self, now: float) -> None:
        """Forget the exchange; the channel is closed already."""
        self.exchange = None
        self._end()

    # --- inside ---

    def _extra_fields(self, head: ResponseHead, now: float) -> bytes:
        """Return the fields that a final head needs beside its own."""
        extra = b"" if head.dated else self._host.dates.line(now)
        if head.status >= LEAST_ERROR_STATUS and (exchange := self.exchange) and exchange.is_entry:
            extra = REQUEST_ID_LINE % exchange.request_id + extra
        if self._close_after or self.router.closing:
            self._close_after = True
            return extra + CONNECTION_CLOSE
        return extra if self._request.minor_version else extra + CONNECTION_KEEP_ALIVE

    def _send(self, out: Sequence[Piece]) -> None:
        self.channel.send(b"".join(out) if sum(map(len, out)) <= JOIN_BELOW_BYTES else tuple(out))

    def _exchange_over(self, now: float) -> None:
        """The last byte of a response is sent. Go on with the next request, or end the connection."""
        self.exchange = None
        if self._close_after or self._body is not None:
            self._linger(now)
            return
        self._idle_since = now
        self._idle_until = now + self.router.idle_timeout_s
        if not self._backlog:
            self.channel.resume_reading()
        elif not self._advancing:
            self._go_on(now)

    def _go_on(self, now: float) -> None:
        """Serve what waits, and read more only when little of it is left: requests come faster than they are served."""
        self._advance(b"", now)
        if len(self._backlog) >= MAX_BACKLOG_BYTES:
            self.channel.pause_reading()

    def _advance(self, data: bytes, now: float) -> None:
        """Read requests until one is in flight, the bytes run out, the client reads no answers, or its turn is over."""
        self._advancing = True
        for _ in _REQUESTS_AT_ONCE:
            if self.exchange is not None or self._ended:
                break
            if not self.channel.writable:
                self._keep_for_later(data)
                break
            if self._backlog:
                data, self._backlog = self._backlog + data, b""
                self.channel.resume_reading()
            if not data:
                break
            try:
                read = self._reader.read(data)
                data = b""
                if read is None:
                    if self._reader.pending_bytes:
                        self._wait_for_head(now)
                    break
                if self._head_held:
                    self._release_head()
                head, rest = read
                self._request = head
                self._close_after = not head.keep_alive
                body = self._body = request_body(head)
                exchange = Exchange.start(self.router, self, head, now, body is None)
                if body is None:
                    self._backlog = rest
                elif rest:
                    self._begin_body(exchange, body, rest, now)
                self.exchange = exchange
                self.router.begin(exchange, now)
            except MessageError as error:
                self._refuse(error, now)
        else:
            if self.exchange is None and self._backlog:
                rest, self._backlog = self._backlog, b""
                self.channel.hold(rest)
        self._advancing = False

    def _begin_body(self, exchange: Exchange, body: BodyReader, data: bytes, now: float) -> None:
        """Take the bytes that came behind the head of a request with a body."""
        pieces, rest = body.receive(data)
        if body.done:
            self._body = None
            self._backlog = rest
        elif rest:
            self.channel.hold(rest)
        exchange.receive(pieces, now, last=body.done, trailers=body.trailers)

    def _wait_for_head(self, now: float) -> None:
        """A head has begun: it must be complete in time, however slowly it arrives."""
        latest = now + self.router.header_timeout_s
        if self._idle_until > latest:
            self._idle_until = latest
        self._head_held = True
        pending_bytes = self._reader.pending_bytes
        self.router.heads.hold(self, pending_bytes, now)
        if pending_bytes >= LONG_HEAD_BYTES and not self._ended:
            self.channel.hold(b"")

    def head_over_budget(self, now: float) -> None:
        """Refuse the unfinished head, since those of all clients take too much memory."""
        self._refuse(MessageError(503, "too many unfinished requests"), now)

    def _release_head(self) -> None:
        self._head_held = False
        self.router.heads.release(self)

    def _drop_head(self) -> None:
        if self._head_held:
            self._release_head()
        self._reader.clear()

    def _receive_body(self, exchange: Exchange, body: BodyReader, data: Piece, now: float) -> None:
        try:
            pieces, rest = body.receive(data)
        except MessageError as error:
            self._close_after = True
            exchange.client_error(error, now)
            return
        done = body.done
        if done:
            self._body = None
        elif rest:
            self.channel.hold(rest)
        exchange.receive(pieces, now, last=done, trailers=body.trailers)
        if done and rest:
            self._keep_for_later(rest)

    def _keep_for_later(self, data: bytes) -> None:
        self._backlog += data
        if len(self._backlog) >= MAX_BACKLOG_BYTES:
            self.channel.pause_reading()

    def _refuse(self, error: MessageError, now: float) -> None:
        """Answer bytes that are not a request, and close."""
        fields, details, request_id = self.router.refused(error, self.client, now)
        extra = (REQUEST_ID_LINE % request_id if request_id else b"") + self._host.dates.line(now)
        bodiless = self._reader.is_head_request
        self.channel.send(refusal(error.status, error.reason, extra, fields=fields, details=details, bodiless=bodiless))
        self._linger(now)

    def _linger(self, now: float) -> None:
        """Close so that the client gets the answer: it may be sending, and its kernel may drop what it has not read."""
        self._end()
        self._host.lingering.begin(self.channel, now)

    def _gone(self, now: float) -> None:
        exchange, self.exchange = self.exchange, None
        self._end()
        if exchange is not None:
            exchange.client_lost(now)

    def _end(self) -> None:
        self._backlog = b""
        self._ended = True
        self._drop_head()
        self._idle_until = NEVER
        self._host.timers.unwatch(self)
