"""The client role of HTTP/1.1 on one channel: requests out, responses in, one at a time, kept alive in between."""

from collections.abc import Callable, Sequence

from pico_core.http.body import BodyReader, EofBody, framed, is_bodiless, response_body
from pico_core.http.message import MessageError, ResponseHead
from pico_core.http.recent import ResponseReader
from pico_core.http.writing import request_bytes
from pico_core.machine.channel import Channel, HoldingChannel
from pico_core.pieces import Piece
from pico_core.proxy.exchange import Exchange
from pico_core.proxy.failures import SERVICE_HEADS, SERVICE_INVALID, Failure, told_by_peer
from pico_core.proxy.kept import UpstreamSource
from pico_core.timers import NEVER

MAX_INTERIM_RESPONSES = 256
"""More 1xx heads than this before a final one is a broken upstream. One that works for long sends a 102 every 20 s
(RFC 2518 section 10.1)."""


class UpstreamConnection:
    """A ``KeptUpstream``: a keep-alive connection towards the service."""

    __slots__ = (
        "_body",
        "_head_held",
        "_interim",
        "_keep_alive",
        "_reader",
        "channel",
        "deadline_at",
        "exchange",
        "introduce",
        "reused",
        "source",
    )

    def __init__(self, channel: HoldingChannel, source: UpstreamSource) -> None:
        self.channel = channel
        self.source = source
        self.exchange: Exchange | None = None
        self.introduce: Callable[[], bytes] | None = None
        self.reused = False
        self.deadline_at = NEVER
        self._reader = ResponseReader(source.response_limits)
        self._body: BodyReader | None = None
        self._head_held = False
        self._interim = 0
        self._keep_alive = False
        channel.user = self

    # --- as the upstream of an exchange ---

    @property
    def writable(self) -> bool:
        """Whether the channel takes more."""
        return self.channel.writable

    def request(
        self,
        exchange: Exchange,
        fields: bytes,
        pieces: Sequence[Piece] = (),
        *,
        last: bool = True,
        trailers: bytes = b"",
    ) -> None:
        """Send the head, and what has come of the body, in one write."""
        self.exchange = exchange
        if self.introduce is not None:
            line = self.introduce()
            if line:
                fields += line
                self.introduce = None
        head = request_bytes(exchange.head, fields)
        if exchange.head.chunked:
            pieces = framed(pieces, last=last, trailers=_edited(trailers, exchange))
        self.channel.send((head, *pieces) if pieces else head)

    def request_more(self, pieces: Sequence[Piece], *, last: bool, trailers: bytes) -> None:
        """Send more of the body."""
        exchange = self.exchange
        if exchange is not None and exchange.head.chunked:
            pieces = framed(pieces, last=last, trailers=_edited(trailers, exchange))
        if pieces:
            self.channel.send(pieces[0] if len(pieces) == 1 and type(pieces[0]) is bytes else tuple(pieces))

    def pause_response(self) -> None:
        """Read no more from the channel."""
        self.channel.pause_reading()

    def resume_response(self) -> None:
        """Read from the channel again."""
        self.channel.resume_reading()

    def upgrade(self) -> Channel:
        """Give the channel to a pipe: it carries raw bytes from now on and never comes back here."""
        self.exchange = None
        self._body = None
        return self.channel

    def upgrade_over(self, now: float) -> None:
        """The pipe has ended: the source stops counting this connection."""
        self.source.discard(self, now)

    def give_up(self, now: float) -> None:
        """Reset the channel, so that the service sees at once that its answer is not wanted any more."""
        self.channel.abort()
        self.exchange = None
        if self._head_held:
            self._release_head()
        self.source.discard(self, now)

    # --- as an upstream that is kept ---

    def retire(self) -> None:
        """Close the channel while it is idle."""
        self.channel.close()
        self.source.retired(self)

    # --- what the channel reports ---

    def on_data(self, data: Piece, now: float) -> None:
        """Take response bytes."""
        exchange = self.exchange
        if exchange is None:
            self.give_up(now)  # not an answer to any request: it must never become the answer to the next one
            return
        try:
            if self._body is not None:
                self._receive_body(exchange, self._body, data, now)
            else:
                self._receive_head(exchange, data if isinstance(data, bytes) else bytes(data), now)
        except MessageError as error:
            self.channel.abort()
            self._fail(SERVICE_INVALID.because(error.reason), now)

    def _receive_head(self, exchange: Exchange, data: bytes, now: float) -> None:
        read = self._reader.read(data)
        if self._head_held and read is not None:
            self._release_head()
        while read is not None:
            head, rest = read
            status = head.status
            if status == 101:
                exchange.switch_protocols(head, rest, now)
                return
            if head.failure and self.source.believes_failures:
                failure = told_by_peer(head.failure)
                if failure is not None:
                    if head.content_length == len(rest):
                        self._settle(exchange, head.keep_alive, now)
                    else:
                        self.give_up(now)
                    exchange.failed(failure, now)
                    return
            if status == 408 and self._tells_idleness(exchange, head):
                self.give_up(now)
                exchange.failed(self.source.failure_of_loss(self), now)
                return
            if status >= 200:
                if head.content_length == len(rest) and not (rest and is_bodiless(head, exchange.head.method)):
                    self._settle(exchange, head.keep_alive, now)
                    exchange.respond_whole(head, rest, now)
                else:
                    self._begin_response(exchange, head, rest, now)
                return
            self._interim += 1
            if self._interim > MAX_INTERIM_RESPONSES:
                raise MessageError(502, "too many interim responses")
            exchange.respond_interim(head, now)
            if not rest:
                return
            read = self._reader.read(rest)
        if self._reader.pending_bytes:
            self._head_held = True
            self.source.heads.hold(self, self._reader.pending_bytes, now)

    def _tells_idleness(self, exchange: Exchange, head: ResponseHead) -> bool:
        """Return whether a 408 is about the time in which the connection was idle, and the request can be repeated.

        A service that closes an idle connection may say so (RFC 9110 section 15.5.9), at the moment in which the
        request is sent. One that was sent whole, and got a 408 with the end of the connection, was not read.
        """
        return (
            self.reused
            and not (self._interim or head.keep_alive or self.source.believes_failures)
            and exchange.request_done
            and exchange.may_repeat(self.source.failure_of_loss(self))
        )

    def head_over_budget(self, now: float) -> None:
        """Give the connection up: the unfinished heads of all of them take too much memory."""
        self.channel.abort()
        self._fail(SERVICE_HEADS, now)

    def _release_head(self) -> None:
        self._head_held = False
        self.source.heads.release(self)

    def _begin_response(self, exchange: Exchange, head: ResponseHead, rest: bytes, now: float) -> None:
        """Pass on a final head, and the part of the body that came behind it."""
        body = response_body(head, exchange.head.method)
        if body is None:
            self._settle(exchange, head.keep_alive and not rest, now)
            exchange.respond(head, [], now, last=True)
            return
        pieces, rest = body.receive(rest) if rest else ([], rest)
        if body.done:
            self._settle(exchange, head.keep_alive and not rest, now)
        else:
            self._body = body
            self._keep_alive = head.keep_alive
            if rest:
                self.channel.hold(rest)
        exchange.respond(head, pieces, now, last=body.done, trailers=body.trailers)

    def _receive_body(self, exchange: Exchange, body: BodyReader, data: Piece, now: float) -> None:
        pieces, rest = body.receive(data)
        done = body.done
        if done:
            self._settle(exchange, self._keep_alive and not rest, now)
        elif rest:
            self.channel.hold(rest)
        if pieces or done:
            exchange.respond_more(pieces, now, last=done, trailers=body.trailers)

    def on_eof(self, now: float) -> None:
        """The upstream ends its side: the end of a body without length, or a loss."""
        exchange = self.exchange
        body = self._body
        if exchange is not None and isinstance(body, EofBody) and body.eof():
            self._settle(exchange, False, now)
            exchange.respond_more([], now, last=True)
            return
        self.channel.close()
        self.on_lost(now)

    def on_lost(self, now: float) -> None:
        """Report the failure: the connection is gone."""
        failure = self.source.failure_of_loss(self)
        if self._interim or self._reader.pending_bytes:
            failure = failure.after_response_bytes()
        self._fail(failure, now)

    def on_writable(self, now: float) -> None:
        """More of the request body can be sent."""
        if self.exchange is not None:
            self.exchange.request_writable(now)

    def _fail(self, failure: Failure, now: float) -> None:
        exchange = self.exchange
        if self._head_held:
            self._release_head()
        self.source.discard(self, now)
        self.exchange = None
        if exchange is not None:
            exchange.failed(failure, now)

    def _settle(self, exchange: Exchange, reusable: bool, now: float) -> None:
        """The response has come whole: give the connection back first, so that the next request finds it."""
        self._body = None
        self._interim = 0
        self.exchange = None
        if reusable and exchange.request_done:
            self.channel.resume_reading()  # a slow client may have paused it; the next exchange may have another client
            self.source.release(self, now)
        else:
            self.channel.close() if exchange.request_done else self.channel.abort()
            self.source.discard(self, now)


def _edited(trailers: bytes, exchange: Exchange) -> bytes:
    """Return the edit that a policy makes of the trailers of a request, where one changes its fields."""
    edit = exchange.head.edit_trailers
    return edit(trailers) if trailers and edit is not None else trailers
