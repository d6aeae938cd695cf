"""A small HTTP/1.1 client on h11: one request on a connection of its own, no redirects. Start at ``PlainRequest``."""

from collections.abc import Sequence
from typing import Protocol

import h11
import msgspec

from pico_core.config.values import Address
from pico_core.http.message import MAX_OWN_HEAD_BYTES
from pico_core.machine.channel import TcpChannel
from pico_core.machine.parts import Connector
from pico_core.pieces import Piece
from pico_core.timers import NEVER

MAX_RESPONSE_BODY_BYTES = 16 << 20
"""Eight times the gossip about a node with 20,000 endpoints, the most that is kept of one node."""


class PlainResponse(msgspec.Struct, frozen=True):
    """A whole response; ``content_type`` is empty where the response has none."""

    status: int
    content_type: str
    body: bytes


class PlainAsker(Protocol):
    """The part that makes a ``PlainRequest``. One of these is called, once, and never by the constructor."""

    def on_response(self, response: PlainResponse, now: float) -> None:
        """The response has come whole, with whatever status."""

    def on_no_response(self, reason: str, now: float) -> None:
        """There will be no response; ``reason`` is one readable clause."""


class PlainRequest:
    """One request without a body on a connection of its own, within ``timeout_s`` from connecting to the last byte.

    ``target`` is the path and query, ready for the request line; ``fields`` are sent besides the usual ones. A response
    above ``max_body_bytes`` counts as none. ``tls`` names a TLS profile of the driver; empty means plain TCP. Next: the
    asker is told of the outcome.
    """

    __slots__ = (
        "_address",
        "_asker",
        "_body",
        "_body_bytes",
        "_channel",
        "_connection",
        "_connector",
        "_fields",
        "_head",
        "_http",
        "_max_body_bytes",
        "_method",
        "_target",
        "deadline_at",
    )

    def __init__(
        self,
        connector: Connector,
        address: Address,
        target: str,
        asker: PlainAsker,
        timeout_s: float,
        now: float,
        *,
        fields: Sequence[tuple[str, str]] = (),
        tls: str = "",
        max_body_bytes: int = MAX_RESPONSE_BODY_BYTES,
        method: str = "GET",
    ) -> None:
        self._method = method
        self.deadline_at = now + timeout_s
        self._connector = connector
        self._address = address
        self._target = target
        self._asker = asker
        self._fields = fields
        self._max_body_bytes = max_body_bytes
        self._http = h11.Connection(h11.CLIENT, max_incomplete_event_size=MAX_OWN_HEAD_BYTES)
        self._head: h11.Response | None = None
        self._body: list[bytes] = []
        self._body_bytes = 0
        self._channel: TcpChannel | None = None
        connector.timers.watch(self, now)
        self._connection = connector.connect(address.host, address.port, timeout_s, self, tls)

    # --- as the user of the connection that is being opened ---

    def on_connected(self, channel: TcpChannel, now: float) -> None:
        """Send the request."""
        self._channel = channel
        channel.user = self
        host = str(Address(self._address.host, self._address.port))
        fields = [("Host", host), ("User-Agent", "pico"), ("Accept", "*/*"), ("Connection", "close")]
        fields += self._fields
        out = self._http.send(h11.Request(method=self._method, target=self._target, headers=fields)) or b""
        channel.send(out + (self._http.send(h11.EndOfMessage()) or b""))

    def on_connect_failed(self, reason: str, now: float) -> None:
        """Report that there is no server to ask."""
        self._fail(reason, now)

    # --- as the user of the connection ---

    def on_data(self, data: Piece, now: float) -> None:
        """Take more of the response."""
        self._receive(bytes(data), now)

    def on_eof(self, now: float) -> None:
        """Take the end of the response, if it may end here."""
        self._receive(b"", now)

    def on_lost(self, now: float) -> None:
        """Report that the connection broke."""
        self._fail((self._channel and self._channel.refusal) or "connection lost", now)

    def on_writable(self, now: float) -> None:
        """Do nothing: the whole request was sent already."""

    def on_deadline(self, now: float) -> None:
        """Give up: the response takes too long."""
        if self._channel is None:
            self._connector.cancel_connect(self._connection)
        self._fail("timed out", now)

    # --- inside ---

    def _receive(self, data: bytes, now: float) -> None:
        try:
            self._http.receive_data(data)
            while self._take(self._http.next_event(), now):
                pass
        except h11.RemoteProtocolError as error:
            self._fail(f"no HTTP response: {error}" if data else "connection closed early", now)

    def _take(self, event: h11.Event | type[h11.NEED_DATA] | type[h11.PAUSED], now: float) -> bool:
        """Take one event; return whether there may be more."""
        if isinstance(event, h11.Response):
            self._head = event
        elif isinstance(event, h11.Data):
            self._body.append(bytes(event.data))
            self._body_bytes += len(event.data)
            if self._body_bytes > self._max_body_bytes:
                self._fail("the response is too long", now)
                return False
        elif isinstance(event, h11.EndOfMessage):
            self._succeed(now)
            return False
        return isinstance(event, h11.Event)

    def _succeed(self, now: float) -> None:
        head, channel = self._head, self._channel
        assert head is not None, "h11 gives the head first"
        assert channel is not None, "the response came through it"
        content_type = next((value for name, value in head.headers if name == b"content-type"), b"")
        self._end()
        channel.close()
        response = PlainResponse(head.status_code, content_type.decode("latin-1"), b"".join(self._body))
        self._asker.on_response(response, now)

    def _fail(self, reason: str, now: float) -> None:
        self._end()
        if self._channel is not None:
            self._channel.abort()
        self._asker.on_no_response(reason, now)

    def _end(self) -> None:
        self.deadline_at = NEVER
        self._connector.timers.unwatch(self)
