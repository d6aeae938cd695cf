"""A small HTTP/1.1 server on h11: GET and HEAD, POST where it is wanted, and changes of one path; one answer at a time.

Start at ``PlainConnection``.
"""

import re
from collections.abc import Callable
from http import HTTPStatus
from typing import Protocol

import h11
import msgspec

from pico_core.http.message import MAX_OWN_HEAD_BYTES, HeadLimits, MessageError
from pico_core.http.parsing import parse_request_head
from pico_core.machine.admission import Dismissible
from pico_core.machine.channel import TcpChannel
from pico_core.machine.parts import AnsweringHost
from pico_core.machine.turns import TURN_PAUSE_S
from pico_core.pieces import Piece
from pico_core.timers import NEVER

QUESTION_TIMEOUT_S = 10.0
"""Seconds for a client to send its next request whole, and again for the handler to answer it."""

JSON = "application/json"
PLAIN_TEXT = "text/plain; charset=utf-8"
HTML = "text/html; charset=utf-8"

MALFORMED_REQUEST = "malformed request"

_HEAD_LIMITS = HeadLimits(max_head_bytes=MAX_OWN_HEAD_BYTES)

_HIGH_BYTE = re.compile(rb"[!-~]+ ([!-~]*+)([\x80-\xff])")
"""A byte of the target that h11 refuses, unlike the other ports, which pass it on."""

CHANGES = ("PUT", "DELETE")
CHANGEABLE = "/log-levels"
"""The path for these methods, with all paths below it. A page in a browser cannot send them to another origin: the
browser asks first, by a method that is refused (Fetch standard, CORS-preflight)."""

CLOSE_FIELD = (("connection", "close"),)
FIELDS_OF_STATUS: dict[int, tuple[tuple[str, str], ...]] = {
    401: (("www-authenticate", "Bearer"),),
    503: (("retry-after", "1"),),
}
"""The fields that an answer of a status must have (RFC 9110 sections 11.6.1 and 15.6.4): a node is ready, or has room
for another question, within about a second."""

ANSWERS_PER_TURN = 16
ANSWERED_PER_TURN_BYTES = 65_536
"""How many answers, or about how many bytes of them, a pipeline gets at once: then other connections have their turn,
and the driver can say whether the client reads at all."""


class Question(msgspec.Struct, frozen=True):
    """One request: ``path`` and ``query`` as sent, ``fields`` the header fields, names in lower case.

    ``method`` is ``POST``, or that of a change, ``PUT`` or ``DELETE``, and ``GET`` for all others. ``client`` is the
    address that asks, and ``body`` that of a POST.
    """

    path: str
    query: str
    fields: tuple[tuple[bytes, bytes], ...]
    method: str = "GET"
    client: str = ""
    body: bytes = b""

    @property
    def host(self) -> str:
        """The value of Host; browsers always send it, a client of HTTP/1.0 may not."""
        return self.field(b"host")

    def field(self, name: bytes) -> str:
        """Return the value of a field by its name in lower case; empty where it is absent."""
        return next((value.decode("latin-1") for found, value in self.fields if found == name), "")


class PlainHandler(Protocol):
    """Answers the requests of a ``PlainConnection``."""

    def answer(self, connection: "PlainConnection", question: Question, now: float) -> None:
        """Call ``connection.respond`` once, now or later."""


class PlainConnection(Dismissible):
    """One client's connection. ``handler`` is asked for every request, and its answer is sent with ``respond``.

    Requests that come while an answer is being made, or is not read by the client, wait: in the driver, and in a buffer
    of one read. The connection ends by itself: when the client leaves, after a request that cannot be served or whose
    body has not come with it, or when the next request or its answer takes longer than ``QUESTION_TIMEOUT_S``.
    An answer may also be a stream (``begin_stream``), which is the connection's last.
    """

    __slots__ = (
        "_advancing",
        "_answered",
        "_answering",
        "_body",
        "_channel",
        "_handler",
        "_host",
        "_http",
        "_max_body_bytes",
        "_method",
        "_posted",
        "_stream_ended",
        "_stream_resumed",
        "_turn_bytes",
        "_waiting",
        "deadline_at",
    )

    def __init__(
        self, channel: TcpChannel, handler: PlainHandler, host: AnsweringHost, now: float, max_body_bytes: int = 0
    ) -> None:
        """``max_body_bytes`` is how long the body of a POST may be; 0 refuses every POST."""
        self._max_body_bytes = max_body_bytes
        self._posted: h11.Request | None = None
        self._body = bytearray()
        self._channel = channel
        self._handler = handler
        self._host = host
        self._http = _new_parser()
        self._method = b""
        self._answering = False
        self._answered = False
        self._advancing = False
        self._waiting = False
        self._turn_bytes = 0
        self._stream_ended: Callable[[], None] | None = None
        self._stream_resumed: Callable[[float], None] | None = None
        self.deadline_at = now + QUESTION_TIMEOUT_S
        channel.user = self
        host.timers.watch(self, now)

    @property
    def idle_since(self) -> float:
        """Since when no answer is being made."""
        return NEVER if self._answering or self._waiting else self.deadline_at - QUESTION_TIMEOUT_S

    def dismiss(self, now: float) -> None:
        """End the connection: others need its place."""
        self._end()

    def on_data(self, data: Piece, now: float) -> None:
        """Take bytes from the client; one that gets a stream must not send more, and ends it by that."""
        if self._stream_ended is not None:
            self._end()
            return
        self._turn_bytes = 0
        self._http.receive_data(bytes(data))
        self._advance(now)

    def on_eof(self, now: float) -> None:
        """End the connection: the client leaves."""
        self._end()

    def on_lost(self, now: float) -> None:
        """End the connection: the client is gone."""
        self._end()

    def on_writable(self, now: float) -> None:
        """Answer further requests: the client reads again."""
        if self._stream_ended is None:
            self._advance(now)
        elif self._stream_resumed is not None:
            self._stream_resumed(now)

    def on_deadline(self, now: float) -> None:
        """End the connection: it was idle or slow for too long, or its stream has had its time."""
        if not self.end_stream(now):
            self._end()

    def begin_stream(
        self,
        content_type: str,
        until: float,
        ended: Callable[[], None],
        now: float,
        resumed: Callable[[float], None] | None = None,
    ) -> bool:
        """Answer the request that the handler was asked for with a body that goes on until ``until``.

        Return whether there is one; not for HEAD, which gets the head alone, nor for a client that is gone. Next:
        ``send_more``, or ``pass_on``, which has ``resumed`` called; until ``ended`` is called, or ``end_stream``.
        """
        if self.deadline_at == NEVER or not self._answering:
            return False
        fields = (("cache-control", "no-store"), ("x-accel-buffering", "no"))  # the latter for nginx on the way
        self._channel.send(self._head_of(200, content_type, now, *fields))
        if self._method == b"HEAD":
            self._channel.send(self._http.send(h11.EndOfMessage()) or b"")
            self._has_answered(now)
            return False
        self._stream_ended = ended
        self._stream_resumed = resumed
        self.deadline_at = until
        self._channel.resume_reading()
        return True

    def send_more(self, data: bytes) -> None:
        """Send more of a stream. A client that has not taken the earlier bytes is dropped: nothing piles up for it."""
        if self._stream_ended is None:
            return
        if not self._channel.writable:
            self._drop()
            return
        self._channel.send(self._http.send(h11.Data(data=data)) or b"")

    def pass_on(self, data: bytes) -> bool:
        """Send more of a stream, and return whether there may be more at once. If not, ``resumed`` is called later."""
        if self._stream_ended is not None:
            self._channel.send(self._http.send(h11.Data(data=data)) or b"")
        return self._channel.writable

    def end_stream(self, now: float) -> bool:
        """End a stream in order, or drop a client that does not take it; return whether there was a stream."""
        if self._stream_ended is None:
            return False
        if self._channel.writable:
            self._channel.send(self._http.send(h11.EndOfMessage()) or b"")
            self._linger(now)
        else:
            self._drop()
        return True

    def respond(
        self, status: int, content_type: str, body: bytes, now: float, fields: tuple[tuple[str, str], ...] = ()
    ) -> None:
        """Answer the request that the handler was asked for, with ``fields`` beside the usual ones.

        Does nothing if the client is gone, or has its answer.
        """
        if self.deadline_at == NEVER or not self._answering:
            return
        self._turn_bytes += len(body)
        close = CLOSE_FIELD if self._http.their_state is h11.SEND_BODY else ()
        self._send(status, content_type, body, now, *fields, *close)
        self._has_answered(now)

    def refuse(self, status: int, reason: str, now: float) -> None:
        """Answer ``{"error": reason}``, as ``respond`` does."""
        self.respond(status, JSON, b'{"error": %b}' % msgspec.json.encode(reason), now)

    def _has_answered(self, now: float) -> None:
        self._answering = False
        self._answered = True
        self.deadline_at = now + QUESTION_TIMEOUT_S
        self._advance(now)

    def _advance(self, now: float) -> None:
        """Answer the requests that have come, unless that is going on already."""
        if self._advancing or self._waiting:
            return
        self._advancing = True
        try:
            self._answer_requests(now)
        except h11.RemoteProtocolError as error:
            self._refuse(error.error_status_hint, MALFORMED_REQUEST, now)
        self._advancing = False
        if self.deadline_at == NEVER:
            return
        if self._stream_ended is None and (self._answering or self._waiting or not self._channel.writable):
            self._channel.pause_reading()
        else:
            self._channel.resume_reading()

    def _answer_requests(self, now: float) -> None:
        for _ in range(ANSWERS_PER_TURN):
            if self._answering or (self._answered and not self._settle(now)) or not self._channel.writable:
                return
            if self._turn_bytes >= ANSWERED_PER_TURN_BYTES and self._http.trailing_data[0]:
                break
            if self._posted is None:
                request = self._next_request(now)
                if request is None:
                    return
                self._receive(request, now)
            if self._posted is not None and not self._receive_body(self._posted, now):
                return
        self._waiting = True
        self._host.timers.schedule(now + TURN_PAUSE_S, self._continue)

    def _next_request(self, now: float) -> h11.Request | None:
        """Return the next request if its head has come; refuse one that is malformed."""
        head, _ = self._http.trailing_data
        if head[:1] in (b"\r", b"\n"):  # empty lines before a request (RFC 9112 section 2.2), which h11 does not skip
            head = head.lstrip(b"\r\n")
            self._http = _new_parser()
            if head:
                self._http.receive_data(head)
        self._method = b"HEAD" if head.startswith(b"HEAD ") else b""  # it may be one that h11 refuses
        try:
            event = self._http.next_event()
        except h11.RemoteProtocolError as error:
            status = error.error_status_hint
            self._refuse(status, _why_malformed(head) if status == HTTPStatus.BAD_REQUEST else MALFORMED_REQUEST, now)
            return None
        return event if type(event) is h11.Request else None

    def _continue(self, now: float) -> None:
        self._waiting = False
        self._turn_bytes = 0
        if self.deadline_at != NEVER:
            self._advance(now)

    def _receive(self, request: h11.Request, now: float) -> None:
        self._method = request.method
        if request.method == b"POST" and self._max_body_bytes:
            self._posted = request
            return
        path = request.target.decode("latin-1").partition("?")[0]
        method = request.method.decode("ascii")
        is_change = method in CHANGES and (path == CHANGEABLE or path.startswith(f"{CHANGEABLE}/"))
        if not is_change and method not in ("GET", "HEAD"):
            served = "GET, HEAD and POST" if self._max_body_bytes else "GET and HEAD"
            self._refuse(405, f"only {served} are served here", now, ("allow", served.replace(" and", ",")))
            return
        while type(self._http.next_event()) is h11.Data:
            pass  # a body, which is dropped
        self._ask(request, now, method if is_change else "GET")

    def _receive_body(self, request: h11.Request, now: float) -> bool:
        """Take the bytes of the body of a POST that have come; return whether it is whole."""
        while type(event := self._http.next_event()) is h11.Data:
            self._body += event.data
            if len(self._body) > self._max_body_bytes:
                self._posted = None
                self._refuse(413, f"a body has at most {self._max_body_bytes} bytes here", now)
                return False
        if type(event) is not h11.EndOfMessage:
            return False
        body, self._body, self._posted = bytes(self._body), bytearray(), None
        self._ask(request, now, "POST", body)
        return True

    def _ask(self, request: h11.Request, now: float, method: str, body: bytes = b"") -> None:
        self._answering = True
        self.deadline_at = now + QUESTION_TIMEOUT_S
        path, _, query = request.target.decode("latin-1").partition("?")
        question = Question(path, query, tuple(request.headers), method, self._channel.host, body)
        self._handler.answer(self, question, now)

    def _settle(self, now: float) -> bool:
        """Prepare for the next request after an answer, or end the connection; return whether there may be one."""
        self._answered = False
        if self._http.our_state is h11.DONE and self._http.their_state is h11.DONE:
            self._http.start_next_cycle()
            self._method = b""
            return True
        self._linger(now)
        return False

    def _refuse(self, status: int, reason: str, now: float, *fields: tuple[str, str]) -> None:
        if self._http.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            body = reason.encode() + b"\n"
            head = self._head(status, PLAIN_TEXT, body, now, *CLOSE_FIELD, *fields)
            self._channel.send(head if self._method == b"HEAD" else head + body)
        self._linger(now)

    def _send(self, status: int, content_type: str, body: bytes, now: float, *fields: tuple[str, str]) -> None:
        out = self._head(status, content_type, body, now, *fields)
        if self._method != b"HEAD":
            out += self._http.send(h11.Data(data=body)) or b""
        out += self._http.send(h11.EndOfMessage()) or b""
        self._channel.send(out)

    def _head(self, status: int, content_type: str, body: bytes, now: float, *fields: tuple[str, str]) -> bytes:
        return self._head_of(status, content_type, now, ("content-length", str(len(body))), *fields)

    def _head_of(self, status: int, content_type: str, now: float, *fields: tuple[str, str]) -> bytes:
        date = self._host.dates.value(now)
        head = h11.Response(
            status_code=status,
            reason=HTTPStatus(status).phrase,
            headers=[
                ("content-type", content_type),
                *fields[:1],
                ("x-content-type-options", "nosniff"),
                *fields[1:],
                *FIELDS_OF_STATUS.get(status, ()),
                *((("date", date),) if date else ()),
            ],
        )
        return self._http.send(head) or b""

    def _linger(self, now: float) -> None:
        self._stop()
        self._host.lingering.begin(self._channel, now)

    def _end(self) -> None:
        self._stop()
        self._channel.close()

    def _drop(self) -> None:
        self._stop()
        self._channel.abort()

    def _stop(self) -> None:
        self.deadline_at = NEVER
        self._host.timers.unwatch(self)
        ended, self._stream_ended, self._stream_resumed = self._stream_ended, None, None
        if ended is not None:
            ended()


def _new_parser() -> h11.Connection:
    return h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_OWN_HEAD_BYTES)


def _why_malformed(received: bytes) -> str:
    """Return why h11 refuses a head with status 400, as the other ports would say it; h11's own text may hold it."""
    high = _HIGH_BYTE.match(received)
    if high:
        return f"malformed request line: byte 0x{high[2][0]:02x} at place {len(high[1]) + 1} of the target"
    head, end, _ = received.partition(b"\r\n\r\n")
    try:
        if end:
            parse_request_head(head + end, _HEAD_LIMITS)
    except MessageError as error:
        return error.reason
    return MALFORMED_REQUEST
