"""A small HTTP/1.1 server on h11 for the admin port: GET and HEAD, no bodies, one answer at a time."""

from typing import Protocol

import h11

from pico_core.channel import Payload, TcpChannel
from pico_core.timers import NEVER, Timers

REQUEST_TIMEOUT_S = 10.0
MAX_HEAD_BYTES = 16_384
JSON = "application/json"
TEXT = "text/plain; charset=utf-8"


class PlainService(Protocol):
    """Answers requests of a ``PlainConnection``."""

    def answer(self, connection: "PlainConnection", path: str, query: str, now: float) -> None:
        """Call ``connection.respond`` once, now or later."""


class PlainConnection:
    """One client's connection to the admin port."""

    __slots__ = ("_answering", "_channel", "_http", "_method", "_service", "_timers", "deadline_at")

    def __init__(self, channel: TcpChannel, service: PlainService, timers: Timers, now: float) -> None:
        self._channel = channel
        self._service = service
        self._timers = timers
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEAD_BYTES)
        self._method = b""
        self._answering = False
        self.deadline_at = now + REQUEST_TIMEOUT_S
        channel.user = self
        timers.watch(self, now)

    def on_data(self, data: Payload, now: float) -> None:
        """Take bytes from the client."""
        try:
            self._http.receive_data(bytes(data))
            if self._answering:
                self._channel.pause_reading()
            self._advance(now)
        except h11.RemoteProtocolError as error:
            self._refuse(error.error_status_hint, str(error))

    def on_eof(self, now: float) -> None:
        """The client leaves."""
        self._end()

    def on_lost(self, now: float) -> None:
        """The client is gone."""
        self._end()

    def on_writable(self, now: float) -> None:
        """Nothing waits: answers are written whole."""

    def on_deadline(self, now: float) -> None:
        """Idle or slow for too long."""
        self._end()

    def respond(self, status: int, content_type: str, body: bytes, now: float) -> None:
        """Answer the request in hand. A client that is gone by now is fine."""
        if self.deadline_at == NEVER or not self._answering:
            return
        self._answering = False
        self.deadline_at = now + REQUEST_TIMEOUT_S
        self._send(status, content_type, body)
        self._channel.resume_reading()
        try:
            self._next(now)
        except h11.RemoteProtocolError as error:
            self._refuse(error.error_status_hint, str(error))

    def _advance(self, now: float) -> None:
        while not self._answering:
            event = self._http.next_event()
            if type(event) is h11.Request:
                self._method = event.method
                self._receive(event, now)
            elif type(event) is not h11.EndOfMessage:
                if self._http.their_state is h11.MUST_CLOSE or self._http.our_state is h11.MUST_CLOSE:
                    self._end()
                return

    def _receive(self, request: h11.Request, now: float) -> None:
        path, _, query = request.target.decode("latin-1").partition("?")
        if request.method not in (b"GET", b"HEAD"):
            self._refuse(405, "only GET and HEAD are served here")
            return
        self._answering = True
        self.deadline_at = now + REQUEST_TIMEOUT_S
        self._service.answer(self, path, query, now)

    def _next(self, now: float) -> None:
        while self._http.their_state is h11.SEND_BODY:
            if type(self._http.next_event()) in (h11.EndOfMessage, h11.NEED_DATA):
                break
        if self._http.our_state is h11.DONE and self._http.their_state is h11.DONE:
            self._http.start_next_cycle()
            self._advance(now)
        else:
            self._end()

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
