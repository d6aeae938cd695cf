"""One call of an application in the program: the ``Upstream`` of an exchange whose messages the program gets.

The client always sees an end. An application that ends before its response has begun is answered for with a 500 that
says so; one that ends in the middle, or sends another length than it said, has its response cut. An application whose
client has left is told, and its call is over for the machine; it may take its time to end.
"""

from collections.abc import Sequence
from typing import Protocol

from pico_core.agent.app_response import response_head, trailer_lines
from pico_core.boundary import Command
from pico_core.errors import LocalProtocolError
from pico_core.http.body import is_bodiless
from pico_core.http.message import MessageError
from pico_core.machine.channel import Channel
from pico_core.pieces import Piece
from pico_core.program import CallBody, CallContinues, CallDropped, CallEnded, CallPaused, CallResponds, CallResumed
from pico_core.proxy.exchange import Exchange
from pico_core.proxy.failures import APP_FAILED
from pico_core.proxy.states import RESPONDING

UNREAD_HIGH_BYTES = 65_536
"""Of a request's body, what the application may leave untaken before its client is paused."""

UNREAD_LOW_BYTES = UNREAD_HIGH_BYTES // 4
"""At so few the client sends on: the pauses are then few, and the application does not wait for the network."""


class AppCallHost(Protocol):
    """The part of a listener's streams that a call needs. So many calls of ``listener`` are ``running``."""

    listener: int
    running: int

    def emit(self, command: Command) -> None:
        """Tell the program."""

    def begin_call(
        self, number: int, exchange: Exchange, fields: bytes, body: bytes, *, last: bool, is_websocket: bool = False
    ) -> None:
        """Have the program call the application."""

    def call_over(self) -> None:
        """A call has ended."""

    def complain(self, reason: str) -> None:
        """Warn that the application failed."""


class ProgramCall:
    """The common part of a request and a WebSocket: bytes that the application has not taken, and its pauses."""

    __slots__ = ("exchange", "host", "number", "paused", "untaken_bytes", "writable")

    def __init__(self, host: AppCallHost, number: int) -> None:
        self.number = number
        self.exchange: Exchange | None = None
        self.host = host
        self.writable = True
        self.untaken_bytes = 0
        self.paused = False

    def pause_response(self) -> None:
        """Let the application wait."""
        if not self.paused:
            self.paused = True
            self.host.emit(CallPaused(self.number))

    def resume_response(self) -> None:
        """Let it go on."""
        if self.paused:
            self.paused = False
            self.host.emit(CallResumed(self.number))

    def offered(self, size: int) -> None:
        """Count the ``size`` bytes that the application is given; the client is paused when much is left untaken."""
        self.untaken_bytes += size
        if self.untaken_bytes > UNREAD_HIGH_BYTES:
            self.writable = False

    def took(self, size: int, now: float) -> None:
        """The application has taken ``size`` bytes: let the client send on when little is left untaken."""
        self.untaken_bytes -= size
        if not self.writable and self.untaken_bytes <= UNREAD_LOW_BYTES:
            self.writable = True
            self.go_on(now)

    def go_on(self, now: float) -> None:
        """Ask the client's side for more."""
        raise NotImplementedError

    def answer_failure(self, reason: str, now: float) -> None:
        """Answer for an application that failed before its response began; ``reason`` is logged where it is told."""
        exchange, self.exchange = self.exchange, None
        if reason:
            self.host.complain(reason)
        if exchange is not None:
            exchange.fail(APP_FAILED.status, APP_FAILED.message, now, reason=APP_FAILED.reason)


class AppUpstream(ProgramCall):
    """An ``Upstream``. Next: ``request`` by the exchange, then what the program says of the call."""

    __slots__ = ("_left_bytes",)

    def __init__(self, host: AppCallHost, number: int) -> None:
        super().__init__(host, number)
        self._left_bytes = -1  # of the length that the head told

    # --- as the upstream of an exchange ---

    def request(
        self,
        exchange: Exchange,
        fields: bytes,
        pieces: Sequence[Piece] = (),
        *,
        last: bool = True,
        trailers: bytes = b"",
    ) -> None:
        """Have the application called."""
        self.exchange = exchange
        body = b"".join(pieces)
        self.offered(len(body))
        self.host.begin_call(self.number, exchange, fields, body, last=last)

    def request_more(self, pieces: Sequence[Piece], *, last: bool, trailers: bytes) -> None:
        """Pass on more of the body."""
        self.offered(sum(map(len, pieces)))
        self.host.emit(CallBody(self.number, tuple(pieces), last))

    def upgrade(self) -> Channel:
        """Raise ``LocalProtocolError``: ``response_head`` takes no 101, so no exchange asks for it."""
        raise LocalProtocolError("this call is not upgraded")

    def upgrade_over(self, now: float) -> None:
        """Do nothing: a call is never upgraded."""

    def give_up(self, now: float) -> None:
        """Tell the application that its client has left."""
        self.exchange = None
        self.host.emit(CallDropped(self.number))

    # --- what the program says ---

    def go_on(self, now: float) -> None:
        """Ask for more of the body."""
        if self.exchange is not None:
            self.exchange.request_writable(now)

    def responds(self, event: CallResponds, now: float) -> None:
        """Begin the response; a head that is not valid counts as a failure of the application."""
        exchange = self.exchange
        if exchange is None:
            return
        try:
            head = response_head(event.status, event.fields, len(event.body) if event.last else -1)
            if is_bodiless(head, exchange.head.method):
                self.exchange = None
                if event.status == 204:
                    head.content_length = -1
                exchange.respond(head, [], now, last=True)
            elif event.last and head.content_length == len(event.body):
                self.exchange = None
                exchange.respond_whole(head, event.body, now)
            else:
                self._left_bytes = head.content_length
                self._count(event.body, last=event.last)
                if event.last:
                    self.exchange = None
                exchange.respond(head, [event.body] if event.body else [], now, last=event.last)
        except MessageError as error:
            self.exchange = exchange
            self._fail(error.reason, now)

    def continues(self, event: CallContinues, now: float) -> None:
        """Go on with the response; a wrong length, or trailers that are not valid, count as a failure."""
        exchange = self.exchange
        if exchange is None:
            return
        try:
            self._count(event.body, last=event.last)
            trailers = trailer_lines(event.trailers)
        except MessageError as error:
            self._fail(error.reason, now)
            return
        if event.last:
            self.exchange = None
        exchange.respond_more([event.body] if event.body else [], now, last=event.last, trailers=trailers)

    def ended(self, event: CallEnded, now: float) -> None:
        """The application has returned or failed: where the response is not over, that is its end."""
        if self.exchange is not None:
            self._fail(event.failure or "it returned without a whole response", now)
        elif event.failure:
            self.host.complain(event.failure)

    # --- inside ---

    def _count(self, body: bytes, *, last: bool) -> None:
        if self._left_bytes >= 0:
            self._left_bytes -= len(body)
            if self._left_bytes < 0 or (last and self._left_bytes):
                raise MessageError(502, "the application's body has another length than its Content-Length")

    def _fail(self, reason: str, now: float) -> None:
        exchange = self.exchange
        if exchange is not None and exchange.state is RESPONDING:
            self.exchange = None
            exchange.failed(APP_FAILED.because(reason), now)
        elif exchange is not None:
            self.answer_failure(reason, now)
