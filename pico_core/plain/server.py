"""A small HTTP/1.1 server on h11, where speed does not matter: GET and HEAD, no bodies, one answer at a time."""

from typing import Protocol

import h11

from pico_core.machine.channel import TcpChannel
from pico_core.pieces import Piece
from pico_core.timers import NEVER, Timers

REQUEST_TIMEOUT_S = 10.0
MAX_HEAD_BYTES = 16_384
JSON = "application/json"
TEXT = "text/plain; charset=utf-8"

ANSWERS_PER_TURN = 16
MAX_TURN_BYTES = 65_536
PAUSE_S = 0.001
"""How much of a pipeline is answered before others have their turn, and we see whether the client reads at all."""


class PlainHandler(Protocol):
    """Answers requests of a ``PlainConnection``."""

    def answer(self, connection: "PlainConnection", path: str, query: str, now: float) -> None:
        """Call ``connection.respond`` once, now or later."""


class PlainConnection:
    """One client's connection to the admin port.

    What comes while an answer is being made, or not being read, waits in the driver and in one read's worth of buffer.
    """

    __slots__ = (
        "_advancing",
        "_answered",
        "_answering",
        "_channel",
        "_http",
        "_method",
        "_service",
        "_timers",
        "_turn_bytes",
        "_waiting",
        "deadline_at",
    )

    def __init__(self, channel: TcpChannel, service: PlainHandler, timers: Timers, now: float) -> None:
        self._channel = channel
        self._service = service
        self._timers = timers
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEAD_BYTES)
        self._method = b""
        self._answering = False
        self._answered = False
        self._advancing = False
        self._waiting = False
        self._turn_bytes = 0
        self.deadline_at = now + REQUEST_TIMEOUT_S
        channel.user = self
        timers.watch(self, now)

    def on_data(self, data: Piece, now: float) -> None:
        """Take bytes from the client."""
        self._turn_bytes = 0
        self._http.receive_data(bytes(data))
        self._advance(now)

    def on_eof(self, now: float) -> None:
        """The client leaves."""
        self._end()

    def on_lost(self, now: float) -> None:
        """The client is gone."""
        self._end()

    def on_writable(self, now: float) -> None:
        """The client reads on: so do we."""
        self._advance(now)

    def on_deadline(self, now: float) -> None:
        """Idle or slow for too long."""
        self._end()

    def respond(self, status: int, content_type: str, body: bytes, now: float) -> None:
        """Answer the request in hand. A client that is gone by now is fine."""
        if self.deadline_at == NEVER or not self._answering:
            return
        self._answering = False
        self._answered = True
        self.deadline_at = now + REQUEST_TIMEOUT_S
        self._turn_bytes += len(body)
        self._send(status, content_type, body)
        self._advance(now)

    def _advance(self, now: float) -> None:
        """Answer what has come, unless that is going on already."""
        if self._advancing or self._waiting:
            return
        self._advancing = True
        try:
            self._answer_requests(now)
        except h11.RemoteProtocolError as error:
            self._refuse(error.error_status_hint, str(error))
        self._advancing = False
        if self._answering or self._waiting or not self._channel.writable:
            self._channel.pause_reading()
        else:
            self._channel.resume_reading()

    def _answer_requests(self, now: float) -> None:
        for _ in range(ANSWERS_PER_TURN):
            if self._answering or (self._answered and not self._settle()) or not self._channel.writable:
                return
            if self._turn_bytes >= MAX_TURN_BYTES and self._http.trailing_data[0]:
                break
            event = self._http.next_event()
            if type(event) is not h11.Request:
                return
            self._receive(event, now)
        self._waiting = True
        self._timers.schedule(now + PAUSE_S, self._continue)

    def _continue(self, now: float) -> None:
        self._waiting = False
        self._turn_bytes = 0
        if self.deadline_at != NEVER:
            self._advance(now)

    def _receive(self, request: h11.Request, now: float) -> None:
        self._method = request.method
        path, _, query = request.target.decode("latin-1").partition("?")
        if request.method not in (b"GET", b"HEAD"):
            self._refuse(405, "only GET and HEAD are served here")
            return
        self._answering = True
        self.deadline_at = now + REQUEST_TIMEOUT_S
        self._service.answer(self, path, query, now)

    def _settle(self) -> bool:
        """Make ready for the next request after an answer, or end the connection; return whether there may be one."""
        self._answered = False
        while type(self._http.next_event()) is h11.Data:
            pass  # a body, which nobody wants
        if self._http.our_state is h11.DONE and self._http.their_state is h11.DONE:
            self._http.start_next_cycle()
            self._method = b""
            return True
        self._end()
        return False

    def _refuse(self, status: int, reason: str) -> None:
        if self._http.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            self._answering = True
            self._send(status, TEXT, reason.encode() + b"\n")
        self._end()

    def _send(self, status: int, content_type: str, body: bytes) -> None:
        head = h11.Response(
            status_code=status,
            headers=[
                ("content-type", content_type),
                ("content-length", str(len(body))),
                ("x-content-type-options", "nosniff"),
            ],
        )
        out = self._http.send(head) or b""
        if self._method != b"HEAD":
            out += self._http.send(h11.Data(data=body)) or b""
        out += self._http.send(h11.EndOfMessage()) or b""
        self._channel.send(out)

    def _end(self) -> None:
        self.deadline_at = NEVER
        self._timers.unwatch(self)
        self._channel.close()
