"""One request and its response, between the client's connection and an upstream's.

An exchange is created when a request head is complete. The service (server or agent) then chooses an upstream and calls
``forward``, or answers itself with ``fail``. From there request bytes flow towards the upstream and response bytes
back, each at the speed of its receiver, until ``complete``, ``fail`` or the loss of the client ends the exchange.

Life of an exchange::

    CHOOSING --forward--> REQUESTED --response head--> RESPONDING --last byte--> OVER
       ^                      |                            |
       +----- retry ----------+                            +--101--> PIPED --both ends closed--> OVER
       |                      |
       +------- fail ---------+--> OVER

A request goes back to CHOOSING only while no byte of a response has come (nothing the client has seen must be taken
back) and while everything of it that was sent can be sent again.
"""

from enum import Enum
from typing import TYPE_CHECKING, Protocol

import msgspec

from pico_core.http.body import LAST_CHUNK, BodyReader, EofBody, encode_chunk, last_chunk, request_body
from pico_core.http.message import HeadLimits, MessageError, RequestHead, ResponseHead
from pico_core.http.writing import error_response, request_bytes, response_bytes
from pico_core.machine.channel import Channel
from pico_core.pieces import Piece
from pico_core.proxy.pipe import Pipe
from pico_core.timers import NEVER

if TYPE_CHECKING:
    from pico_core.proxy.http1.downstream import DownstreamConnection
    from pico_core.proxy.http1.upstream import UpstreamConnection

MAX_REPLAY_BYTES = 65_536
"""How much of a request body is kept for another try: most form posts and API calls, one socket buffer."""

JOIN_BELOW_BYTES = 16_384
"""Pieces of a write smaller than this in all are copied into one; above it they are written one after the other."""

MAX_TRIES = 4
"""How many upstreams one request may be sent to."""

IDEMPOTENT = frozenset({b"GET", b"HEAD", b"OPTIONS", b"TRACE", b"PUT", b"DELETE"})  # RFC 9110 section 9.2.2

CLIENT_GONE = 499
"""The status in logs and metrics of a request whose client left before the response (nginx's convention)."""

CONNECTION_CLOSE = b"Connection: close\r\n"
CONNECTION_KEEP_ALIVE = b"Connection: keep-alive\r\n"


class ExchangeState(Enum):
    """Where an exchange stands; see the drawing at the top."""

    CHOOSING = "choosing"
    REQUESTED = "requested"
    RESPONDING = "responding"
    PIPED = "piped"
    OVER = "over"


# As globals because they are needed for every request: on CPython 3.11 a member costs 110 ns to look up in its class.
CHOOSING = ExchangeState.CHOOSING
REQUESTED = ExchangeState.REQUESTED
RESPONDING = ExchangeState.RESPONDING
OVER = ExchangeState.OVER


class Router(Protocol):
    """What decides about requests: where they go, how long they may take, who hears of the outcome."""

    head_limits: HeadLimits
    header_timeout_s: float
    idle_timeout_s: float
    response_timeout_s: float
    closing: bool
    """Whether the node is about to stop, so that clients should open no further request on a connection."""

    def begin(self, exchange: "Exchange", now: float) -> None:
        """Choose an upstream for a new exchange: call ``forward`` or ``fail``, now or later."""

    def retry(self, exchange: "Exchange", now: float) -> None:
        """Choose again, if possible another upstream than before."""

    def finished(self, exchange: "Exchange", now: float) -> None:
        """Count and log an exchange that is over."""

    def refused(self, status: int, client: str, now: float) -> None:
        """Count and log something that was no request at all; ``client`` sent it and was answered ``status``."""


class Exchange(msgspec.Struct, eq=False):
    """See the module's text; ``start`` makes one. ``endpoint``, ``route`` and ``avoid`` are the service's own notes."""

    downstream: "DownstreamConnection"
    head: RequestHead
    started_at: float
    _body: BodyReader | None
    request_done: bool
    _replay: list[Piece] | None
    endpoint: str = ""
    upstream: "UpstreamConnection | None" = None
    route: object | None = None
    avoid: tuple[object, ...] = ()
    state: ExchangeState = CHOOSING
    status: int = 0
    tries: int = 0
    received_bytes: int = 0
    sent_bytes: int = 0
    _replay_bytes: int = 0
    _chunked_response: bool = False
    _close_after: bool = False
    _pipe: Pipe | None = None

    @staticmethod
    def start(downstream: "DownstreamConnection", head: RequestHead, now: float) -> "Exchange":
        """Return the exchange for a request whose head has come. Next: ``receive``, then ``Service.begin``."""
        body = request_body(head)
        return Exchange(downstream, head, now, body, body is None, None if body is None else [])

    # --- the request ---

    def receive(self, data: Piece) -> bytes:
        """Take bytes of the request body; return what belongs to the next request.

        Raises ``MessageError`` if the body's framing is broken.
        """
        body = self._body
        if body is None:
            return bytes(data)
        pieces, rest = body.receive(data)
        if pieces or body.done:
            self._pass_on(body, pieces)
        return rest

    def _pass_on(self, body: BodyReader, pieces: list[Piece]) -> None:
        size = sum(map(len, pieces))
        self.received_bytes += size
        out = _framed(pieces, size, body, self.head.chunked)
        if body.done:
            self.request_done = True
            self._body = None
        if self._replay is not None:
            self._replay_bytes += size
            if self._replay_bytes <= MAX_REPLAY_BYTES or self.state is CHOOSING:
                self._replay.extend(out)
            else:
                self._replay = None
        if self.upstream is not None and out:
            self.upstream.channel.send(out[0] if len(out) == 1 and type(out[0]) is bytes else tuple(out))
        self._match_request_speed()

    def _match_request_speed(self) -> None:
        """Read from the client only while its request can go on somewhere; then again, to see whether it leaves."""
        if self.request_done:
            return
        if self.upstream is not None:
            if not self.upstream.channel.writable:
                self.downstream.channel.pause_reading()
        elif self._replay_bytes >= MAX_REPLAY_BYTES:
            self.downstream.channel.pause_reading()

    def request_writable(self, now: float) -> None:
        """The upstream takes more: the request makes progress."""
        self.downstream.channel.resume_reading()
        self.stamp(now)

    def forward(self, upstream: "UpstreamConnection", extra: bytes, now: float) -> None:
        """Send the request to ``upstream``, with the field lines ``extra`` added to its head."""
        self.tries += 1
        self.state = REQUESTED
        self.upstream = upstream
        upstream.exchange = self
        head = request_bytes(self.head, extra)
        upstream.channel.send((head, *self._replay) if self._replay else head)
        if self._replay_bytes > MAX_REPLAY_BYTES:
            self._replay = None
        if self.request_done:
            self.downstream.deadline_at = now + self.downstream.service.response_timeout_s
            return
        if upstream.channel.writable:
            self.downstream.channel.resume_reading()
        else:
            self.downstream.channel.pause_reading()
        self.stamp(now)

    def stamp(self, now: float) -> None:
        """Say by when something must have happened: more of the request, or else the response."""
        downstream = self.downstream
        if self.state is RESPONDING:
            downstream.deadline_at = NEVER if downstream.channel.writable else now + downstream.service.idle_timeout_s
        elif self.request_done:
            downstream.deadline_at = now + downstream.service.response_timeout_s
        else:
            downstream.deadline_at = now + downstream.service.idle_timeout_s

    # --- the response ---

    def respond_interim(self, head: ResponseHead) -> None:
        """Pass on a 1xx head (RFC 9110 section 15.2); a client of HTTP/1.0 must not see it."""
        if self.head.minor_version:
            self.downstream.channel.send(response_bytes(head, b""))

    def respond_whole(self, head: ResponseHead, body: bytes, now: float) -> None:
        """Pass on a response that came in one piece, of known length. Next: ``complete``."""
        self.status = head.status
        self.sent_bytes = len(body)
        if not self.request_done:
            self._close_after = True  # the rest of the request will not be read: say so (RFC 9112 section 9.6)
        self.downstream.channel.send(response_bytes(head, self._connection_field()) + body)

    def respond(self, head: ResponseHead, body: BodyReader | None, pieces: list[Piece], now: float) -> None:
        """Pass on the final head, and what of the body came with it, in one write."""
        self.state = RESPONDING
        self.status = head.status
        self._replay = None
        chunked = head.chunked or isinstance(body, EofBody)
        if chunked and not self.head.minor_version:  # HTTP/1.0 knows no chunks: the end of the connection ends the body
            chunked = False
            self._close_after = True
        self._chunked_response = chunked and body is not None
        if body is None and not self.request_done:
            self._close_after = True
        out: list[Piece] = [response_bytes(head.with_chunks(chunked=chunked), self._connection_field())]
        if body is not None and (pieces or body.done):
            size = sum(map(len, pieces))
            self.sent_bytes += size
            out += _framed(pieces, size, body, self._chunked_response)
        self._send(out, now)

    def respond_more(self, body: BodyReader, pieces: list[Piece], now: float) -> None:
        """Pass on more of the body."""
        size = sum(map(len, pieces))
        self.sent_bytes += size
        out = _framed(pieces, size, body, self._chunked_response)
        if out:
            self._send(out, now)

    def _connection_field(self) -> bytes:
        if self._close_after or not self.head.keep_alive or self.downstream.service.closing:
            self._close_after = True
            return CONNECTION_CLOSE
        return b"" if self.head.minor_version else CONNECTION_KEEP_ALIVE

    def _send(self, out: list[Piece], now: float) -> None:
        channel = self.downstream.channel
        channel.send(b"".join(out) if sum(map(len, out)) <= JOIN_BELOW_BYTES else tuple(out))
        if not channel.writable and self.upstream is not None:
            self.upstream.channel.pause_reading()
        self.stamp(now)

    def response_writable(self, now: float) -> None:
        """The client takes more."""
        if self.upstream is not None:
            self.upstream.channel.resume_reading()
        self.stamp(now)

    def switch_protocols(self, head: ResponseHead, rest: bytes, now: float) -> None:
        """Pass on a 101 and join both sides (RFC 9110 section 7.8); only now may the client's raw bytes go through."""
        if not self.head.upgrade:
            raise MessageError(502, "switching protocols without being asked")
        self.join(self.downstream.channel, response_bytes(head, b"") + rest, now)

    def join(self, left: Channel, response: bytes, now: float) -> None:
        """Send ``response`` to the client and from then on raw bytes both ways between ``left`` and the upstream.

        ``left`` is the client's channel, or one that wraps it.
        """
        upstream = self.upstream
        assert upstream is not None, "there is nothing to join with"
        self.state = ExchangeState.PIPED
        self.status = 101
        self.downstream.deadline_at = NEVER
        upstream.leave_to_pipe()
        channel = self.downstream.channel
        channel.send(response)
        self._pipe = pipe = Pipe(left, upstream.channel, self._pipe_ended)
        backlog = self.downstream.take_backlog()
        if backlog:
            channel.user.on_data(backlog, now)
        pipe.start()

    # --- the end ---

    def complete(self, now: float) -> None:
        """The response is complete."""
        self.upstream = None
        self._over(now)
        self.downstream.exchange_over(not self._close_after and self.request_done, now)

    def fail(self, status: int, message: str, now: float, extra: bytes = b"") -> None:
        """Answer with an error of our own; ``extra`` are more field lines. Only before a response has begun."""
        self._give_up_upstream(now)
        self.status = status
        if not self.request_done:
            self._close_after = True
        extra += self._connection_field()
        answer = error_response(status, message, extra, without_body=self.head.method == b"HEAD")
        self.sent_bytes = len(answer)
        self.downstream.channel.send(answer)
        self._over(now)
        self.downstream.exchange_over(not self._close_after, now)

    def upstream_lost(self, now: float) -> None:
        """The upstream is gone before the response was complete. Its side is cleaned up already."""
        self.upstream = None
        if self.state is RESPONDING:
            self._over(now)
            self.downstream.cut(unframed=self._close_after, now=now)
        elif self._replay_possible() and self.head.method in IDEMPOTENT:
            self.choose_again(now)
        else:
            self.fail(502, "upstream unreachable", now)

    def refused(self, now: float) -> None:
        """The upstream certainly did not process the request: any method may be tried elsewhere."""
        self.upstream = None
        if self._replay_possible():
            self.choose_again(now)
        else:
            self.fail(502, "upstream unreachable", now)

    def abandon_upstream(self, now: float) -> None:
        """Do not wait any longer for an upstream that seems dead, if the request may be sent to another one."""
        if self.state is REQUESTED and self._replay_possible() and self.head.method in IDEMPOTENT:
            self._give_up_upstream(now)
            self.choose_again(now)

    def choose_again(self, now: float) -> None:
        """Have the service choose another upstream, or give up after ``MAX_TRIES``."""
        if self.tries >= MAX_TRIES:
            self.fail(502, "upstream unreachable", now)
            return
        self.state = CHOOSING
        self.downstream.channel.resume_reading()
        self.downstream.service.retry(self, now)

    def _replay_possible(self) -> bool:
        return self.state is not RESPONDING and (self._replay is not None or self._never_had_body())

    def _never_had_body(self) -> bool:
        return self.request_done and not self.received_bytes

    def client_lost(self, now: float) -> None:
        """The client is gone: the upstream must see it at once."""
        if self.state is not OVER:
            self._give_up_upstream(now)
            self.status = self.status or CLIENT_GONE
            self._over(now)

    def client_error(self, error: MessageError, now: float) -> None:
        """The client broke the framing of its request body: its own fault, whatever the upstream does."""
        if self.state is RESPONDING:
            self.client_lost(now)
            self.downstream.cut(unframed=True, now=now)
        else:
            self._close_after = True
            self.fail(error.status, error.reason, now)

    def deadline(self, now: float) -> None:
        """Nothing happened for too long."""
        if self.state is RESPONDING:
            self.client_lost(now)
            self.downstream.cut(unframed=True, now=now)
        elif self.request_done or self.upstream is None or not self.upstream.channel.writable:
            self.fail(504, "upstream timeout", now)
        else:
            self.fail(408, "request timeout", now)

    def _give_up_upstream(self, now: float) -> None:
        upstream, self.upstream = self.upstream, None
        if upstream is not None:
            upstream.give_up(now)

    def _pipe_ended(self, now: float) -> None:
        upstream, self.upstream = self.upstream, None
        pipe, self._pipe = self._pipe, None
        if pipe is not None and upstream is not None:
            self.received_bytes += pipe.left_bytes
            self.sent_bytes += pipe.right_bytes
            upstream.source.discard(upstream, now)
            self._over(now)
            self.downstream.pipe_over(now)

    def _over(self, now: float) -> None:
        self.state = OVER
        self._replay = None
        self.downstream.service.finished(self, now)


def _framed(pieces: list[Piece], size: int, body: BodyReader, chunked: bool) -> list[Piece]:
    """Return ``pieces`` as they go out: as they are, or as one chunk, with the last chunk when the body is done."""
    if not chunked:
        return pieces
    out: list[Piece] = [*encode_chunk(pieces, size)] if size else []
    if body.done:
        out.append(last_chunk(body.trailers) if body.trailers else LAST_CHUNK)
    return out
