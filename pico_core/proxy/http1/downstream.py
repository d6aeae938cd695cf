"""The server role of HTTP/1.1 on one channel: requests in, one exchange at a time, pipelined ones in order."""

from pico_core.http.message import MessageError
from pico_core.http.recent import RequestReader
from pico_core.http.writing import CONNECTION_CLOSE, error_response
from pico_core.machine.channel import Channel
from pico_core.pieces import Piece
from pico_core.proxy.exchange import RESPONDING, Exchange, Router
from pico_core.timers import NEVER, Timers

MAX_BACKLOG_BYTES = 65_536
"""Pipelined requests that wait for the one in flight; beyond it the client is no longer read."""

LINGER_S = 2.0
LINGER_MOST_S = 30.0
"""How long an answered client may be silent, and how long it may go on sending, before its connection is closed.

Closing while the client sends would reset the connection and destroy the answer on its way (RFC 9112 section 9.6).
"""


class DownstreamConnection:
    """A client's connection. ``service`` decides about its requests; ``client`` is the peer's address.

    ``added_fields`` are ready field lines about the connection that the service adds to every request of it.
    """

    __slots__ = (
        "_advancing",
        "_backlog",
        "_linger_until",
        "_lingering",
        "_reader",
        "_timers",
        "added_fields",
        "channel",
        "client",
        "deadline_at",
        "exchange",
        "service",
    )

    def __init__(self, channel: Channel, service: Router, timers: Timers, client: str, now: float) -> None:
        self.channel = channel
        self.service = service
        self.client = client
        self.added_fields = b""
        self.exchange: Exchange | None = None
        self.deadline_at = now + service.header_timeout_s
        self._timers = timers
        self._reader = RequestReader(service.head_limits)
        self._backlog = b""
        self._advancing = False
        self._lingering = False
        self._linger_until = NEVER
        channel.user = self
        timers.watch(self, now)

    # --- what the channel reports ---

    def on_data(self, data: Piece, now: float) -> None:
        """Take bytes from the client."""
        exchange = self.exchange
        if self._lingering:
            self.deadline_at = min(now + LINGER_S, self._linger_until)
        elif exchange is None:
            self._advance(data if isinstance(data, bytes) else bytes(data), now)
        elif exchange.request_done:
            self._keep_for_later(bytes(data))
        else:
            self._receive_body(exchange, data, now)

    def on_eof(self, now: float) -> None:
        """The client ended its side. In HTTP that is taken as leaving: the service must see it at once."""
        self._gone(now)
        self.channel.close()

    def on_lost(self, now: float) -> None:
        """The client is gone."""
        self._gone(now)

    def on_writable(self, now: float) -> None:
        """The client takes more of the response."""
        if self.exchange is not None:
            self.exchange.response_writable(now)
        elif self._backlog:
            self._go_on(now)

    def on_deadline(self, now: float) -> None:
        """Idle, slow or stuck for too long."""
        if self.exchange is not None:
            self.exchange.deadline(now)
        elif self._lingering or not self._reader.pending_bytes:
            self._end()
            self.channel.close()
        else:
            self._refuse(MessageError(408, "request timeout"), now)

    # --- what the exchange reports ---

    def exchange_over(self, keep: bool, now: float) -> None:
        """The exchange has sent its last byte. Go on with the next request, or end the connection."""
        done = self.exchange
        self.exchange = None
        if not keep:
            if done is not None and done.request_done:
                self._end()
                self.channel.close()
            else:
                self._linger(now)
            return
        self.deadline_at = now + self.service.idle_timeout_s
        if not self._backlog:
            self.channel.resume_reading()
        elif not self._advancing:
            self._go_on(now)

    def cut(self, unframed: bool, now: float) -> None:
        """The response ends before its end: close so that the client can tell.

        Where only the end of the connection ends the body (``unframed``), nothing but a reset says so.
        """
        self.exchange = None
        self._end()
        if unframed:
            self.channel.abort()
        else:
            self.channel.close()

    def take_backlog(self) -> bytes:
        """Hand over what came behind an upgrade request: it belongs to the new protocol."""
        backlog, self._backlog = self._backlog, b""
        return backlog

    def pipe_over(self, now: float) -> None:
        """The raw bytes after an upgrade have ended on both sides; the channel is closed already."""
        self.exchange = None
        self._end()

    # --- inside ---

    def _go_on(self, now: float) -> None:
        """Serve what waits, and read more only when little of it is left: requests come faster than they are served."""
        self._advance(b"", now)
        if len(self._backlog) >= MAX_BACKLOG_BYTES:
            self.channel.pause_reading()

    def _advance(self, data: bytes, now: float) -> None:
        """Read requests until one is in flight, the bytes run out, or the client does not read its answers."""
        self._advancing = True
        while self.exchange is None and not self._lingering:
            if not self.channel.writable:
                self._keep_for_later(data)
                break
            if self._backlog:
                data = self.take_backlog() + data
                self.channel.resume_reading()
            if not data:
                break
            try:
                read = self._reader.read(data)
                data = b""
                if read is None:
                    self._wait_for_head(now)
                    break
                head, rest = read
                exchange = Exchange.start(self, head, now)
                if rest:
                    self._backlog = exchange.receive(rest)
                self.exchange = exchange
                self.service.begin(exchange, now)
            except MessageError as error:
                self._refuse(error, now)
        self._advancing = False

    def _wait_for_head(self, now: float) -> None:
        """A head has begun: it must be complete in time, however slowly it drips."""
        latest = now + self.service.header_timeout_s
        if self.deadline_at > latest:
            self.deadline_at = latest

    def _receive_body(self, exchange: Exchange, data: Piece, now: float) -> None:
        try:
            rest = exchange.receive(data)
        except MessageError as error:
            exchange.client_error(error, now)
            return
        if exchange.state is not RESPONDING:
            exchange.stamp(now)
        if rest:
            self._keep_for_later(rest)

    def _keep_for_later(self, data: bytes) -> None:
        self._backlog += data
        if len(self._backlog) >= MAX_BACKLOG_BYTES:
            self.channel.pause_reading()

    def _refuse(self, error: MessageError, now: float) -> None:
        """Answer what is no request at all, and close."""
        self.channel.send(error_response(error.status, error.reason, CONNECTION_CLOSE))
        self.service.refused(error.status, self.client, now)
        self._linger(now)

    def _linger(self, now: float) -> None:
        """Close without a reset destroying the answer on its way: read a little longer (RFC 9112 section 9.6)."""
        self._backlog = b""
        self._lingering = True
        self._linger_until = now + LINGER_MOST_S
        self.deadline_at = now + LINGER_S
        self.channel.resume_reading()
        self.channel.send_eof()

    def _gone(self, now: float) -> None:
        exchange, self.exchange = self.exchange, None
        self._end()
        if exchange is not None:
            exchange.client_lost(now)

    def _end(self) -> None:
        self._backlog = b""
        self.deadline_at = NEVER
        self._timers.unwatch(self)
