"""One client of a bench: a connection, one request on it at a time, and the next connection when it ends."""

from typing import Protocol

from pico_core.http.body import BodyReader, response_body
from pico_core.http.message import HeadLimits, MessageError, ResponseHead
from pico_core.http.recent import ResponseReader
from pico_core.machine.channel import TcpChannel
from pico_core.machine.parts import Connector
from pico_core.pieces import Piece
from pico_core.timers import NEVER

_LIMITS = HeadLimits()


class Request:
    """A request that a client is to send: its bytes, and the time from which its latency counts."""

    __slots__ = ("data", "since")

    def __init__(self, data: bytes, since: float) -> None:
        self.data = data
        self.since = since


class ClientUser(Protocol):
    """Gives a client its requests, and is told the outcome of each."""

    def on_connection(self) -> None:
        """A connection was opened."""

    def on_response(self, client: "BenchClient", status: int, request: Request, now: float) -> None:
        """The response has come whole. The client is free: give it the next request, now or later."""

    def on_failure(self, client: "BenchClient", reason: str, now: float) -> None:
        """There will be no whole response; ``reason`` is a fixed text. The client is free."""

    def on_received(self, size: int) -> None:
        """So many bytes of responses have come, heads included."""


class BenchClient:
    """Sends requests to one server, one at a time. Next: ``send``."""

    __slots__ = (
        "_body",
        "_channel",
        "_connection",
        "_connector",
        "_head",
        "_host",
        "_method",
        "_port",
        "_reader",
        "_reused",
        "_timeout_s",
        "_tls",
        "_user",
        "deadline_at",
        "request",
    )

    def __init__(
        self, connector: Connector, user: ClientUser, host: str, port: int, tls: str, method: bytes, timeout_s: float
    ) -> None:
        """``timeout_s`` bounds the time from sending a request, or opening its connection, to its last byte."""
        self.deadline_at = NEVER
        self.request: Request | None = None
        """The request that waits for its response."""
        self._connector = connector
        self._user = user
        self._host = host
        self._port = port
        self._tls = tls
        self._method = method
        self._timeout_s = timeout_s
        self._connection = 0
        self._channel: TcpChannel | None = None
        self._reused = False
        self._begin()

    def send(self, request: Request, now: float) -> None:
        """Send a request, on the connection there is or on a new one. Next: the user is told the outcome."""
        assert self.request is None, "one request at a time"
        self.request = request
        self.deadline_at = now + self._timeout_s
        self._connector.timers.watch(self, now)
        if self._channel is None:
            self._reused = False
            self._connection = self._connector.connect(self._host, self._port, self._timeout_s, self, self._tls)
        else:
            self._reused = True
            self._channel.send(request.data)

    def stop(self, now: float) -> None:
        """Give up whatever is in progress; the user is not called."""
        self._drop()
        self._done()

    # --- as the user of the connection that is being opened ---

    def on_connected(self, channel: TcpChannel, now: float) -> None:
        """Send the request that waits."""
        self._connection = 0
        self._channel = channel
        channel.user = self
        self._user.on_connection()
        if self.request is not None:
            channel.send(self.request.data)

    def on_connect_failed(self, reason: str, now: float) -> None:
        """Report that there is no connection."""
        self._connection = 0
        self._fail(f"no connection: {reason}", now)

    # --- as the user of the connection ---

    def on_data(self, data: Piece, now: float) -> None:
        """Take more of the response."""
        self._user.on_received(len(data))
        try:
            rest = self._read(data)
        except MessageError:
            self._fail("not a valid response", now)
            return
        if rest is not None:
            self._finish(now, reusable=not rest)

    def on_eof(self, now: float) -> None:
        """Take the end of the response, if it may end here."""
        if self._body is not None and self._body.eof():
            self._finish(now, reusable=False)
        else:
            self.on_lost(now)

    def on_lost(self, now: float) -> None:
        """Take the end of the connection. A request that it met between two others goes on a new one, once."""
        request, unanswered = self.request, self._head is None and not self._reader.pending_bytes
        refusal = self._channel.refusal if self._channel is not None else ""
        self._drop()
        if request is None:
            return
        if self._reused and unanswered:
            self.request = None
            self.send(request, now)
        else:
            self._fail(refusal or ("connection lost" if unanswered else "response cut"), now)

    def on_writable(self, now: float) -> None:
        """Do nothing: a request is sent at once."""

    def on_deadline(self, now: float) -> None:
        """Give up: the response takes too long."""
        self._fail("timed out", now)

    # --- inside ---

    def _begin(self) -> None:
        self._reader = ResponseReader(_LIMITS)
        self._head: ResponseHead | None = None
        self._body: BodyReader | None = None

    def _read(self, data: Piece) -> Piece | None:
        """Take bytes; return those after the response once it is whole, else ``None``. Raises ``MessageError``."""
        rest = data
        while len(rest):
            if self._head is None:
                read = self._reader.read(bytes(rest))
                if read is None:
                    return None
                head, rest = read
                if head.status < 200 and head.status != 101:
                    continue  # an interim response (RFC 9110, section 15.2)
                self._head = head
                self._body = response_body(head, self._method)
                if self._body is None:
                    return rest
            else:
                assert self._body is not None, "a response without a body ends with its head"
                rest = self._body.receive(rest)[1]
                if self._body.done:
                    return rest
        return None

    def _finish(self, now: float, *, reusable: bool) -> None:
        """Report the response. Bytes after it are not the next one's, so such a connection is not ``reusable``."""
        head, request = self._head, self.request
        self._head = self._body = None
        if request is None or head is None or not (reusable and head.keep_alive and head.status != 101):
            self._drop()
        self._done()
        if request is not None and head is not None:
            self._user.on_response(self, head.status, request, now)

    def _fail(self, reason: str, now: float) -> None:
        self._drop()
        self._done()
        self._user.on_failure(self, reason, now)

    def _done(self) -> None:
        self.request = None
        self.deadline_at = NEVER
        self._connector.timers.unwatch(self)

    def _drop(self) -> None:
        """End the connection, or the attempt to open one."""
        if self._connection:
            self._connector.cancel_connect(self._connection)
            self._connection = 0
        if self._channel is not None:
            self._channel.abort()
            self._channel = None
        self._begin()
