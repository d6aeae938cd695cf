"""``GET /_pico/v1/tcp/{endpoint}``: one TCP connection to an endpoint, inside a WebSocket on the proxy port."""

import re
from collections.abc import Collection

from pico_core.errors import ConfigError
from pico_core.http.message import HeadLimits, MessageError, RequestHead, ResponseHead, field_values
from pico_core.http.parsing import parse_response_head
from pico_core.http.writing import request_bytes
from pico_core.machine.channel import Channel, HoldingChannel
from pico_core.pieces import Piece
from pico_core.proxy.endpoint import endpoint_in_path
from pico_core.proxy.exchange import Exchange
from pico_core.proxy.kept import KeptUpstream
from pico_core.proxy.way_check import QUERY
from pico_core.proxy.websocket_channel import SUBPROTOCOL, WebSocketChannel
from pico_core.server.web_pages import check_origin
from pico_core.tunnel.channel import StreamChannel
from pico_core.websocket.handshake import NOT_GET, HandshakeError, accept_handshake

OWN_PATHS = (b"/_pico/", b"/_piko/")
"""Paths below these are the server's own and never reach a service."""

_PATH = re.compile(rb"/_(?:pico|piko)/v1/tcp/([^/?#]+)")


def tcp_endpoint(head: RequestHead) -> str:
    """Return the endpoint of a request below a reserved path.

    Raises ``MessageError``: 404 where there is nothing, 400 where the path does not name an endpoint.
    """
    match = _PATH.fullmatch(head.target.partition(b"?")[0])
    if match is None:
        raise MessageError(404, "not found")
    try:
        return endpoint_in_path(match[1])
    except ConfigError:
        raise MessageError(400, "invalid endpoint id", "no-endpoint") from None


def is_way_check(head: RequestHead, allowed_origins: Collection[str]) -> bool:
    """Return whether a request asks for the way to an endpoint only. Raises ``MessageError`` as an acceptance would."""
    if head.target.partition(b"?")[2] != QUERY:
        return False
    _check_upgrade(head, allowed_origins)
    return True


def tcp_acceptance(head: RequestHead, allowed_origins: Collection[str]) -> ResponseHead:
    """Return the 101 for a WebSocket handshake.

    Raises ``MessageError`` if the request is not a valid one, or that of a page that is not allowed.
    """
    _check_upgrade(head, allowed_origins)
    try:
        agreed = (SUBPROTOCOL,) if field_values(head.fields, SUBPROTOCOL[0]) == [SUBPROTOCOL[1]] else ()
        response = accept_handshake(request_bytes(head, b""), agreed)
    except HandshakeError as error:
        raise MessageError(error.status, error.reason) from None
    return parse_response_head(response, HeadLimits())


def _check_upgrade(head: RequestHead, allowed_origins: Collection[str]) -> None:
    if head.method != b"GET":
        raise MessageError(405, NOT_GET)
    if not head.upgrade:
        raise MessageError(426, "a WebSocket is wanted here")
    check_origin(head.fields, allowed_origins, "proxy.allowed_origins")


class TcpOpening:
    """A fresh stream towards the service, until the agent accepts it, which a Pico agent does when it has connected.

    Then the WebSocket is accepted and joined with it. Until then nothing was processed, so an agent that refuses the
    stream makes the router choose again. Its maker calls ``give_up`` when the request is over.
    """

    __slots__ = ("_acceptance", "_upstream", "exchange")

    def __init__(self, exchange: Exchange, acceptance: ResponseHead, upstream: KeptUpstream, now: float) -> None:
        channel = upstream.channel
        assert isinstance(channel, StreamChannel), "streams of tunnels carry raw bytes"
        self.exchange = exchange
        self._acceptance = acceptance
        self._upstream: KeptUpstream | None = upstream
        channel.user = self
        channel.on_accepted = self._join
        exchange.deadline_at = now + exchange.router.response_timeout_s

    def give_up(self, now: float) -> None:
        """The request is over, perhaps before the agent has accepted the stream: then reset it at once."""
        upstream, self._upstream = self._upstream, None
        if upstream is not None:
            upstream.give_up(now)

    def abandon(self, now: float) -> None:
        """Reset the stream, as if the agent had refused it."""
        if self._upstream is not None:
            self._upstream.channel.abort()
            self.on_lost(now)

    def _join(self, now: float) -> None:
        """Accept the WebSocket."""
        upstream, self._upstream = self._upstream, None
        if upstream is not None:
            self.exchange.join(upstream, self._acceptance, self._websocket, now)

    def _websocket(self, channel: HoldingChannel) -> Channel:
        agreed = field_values(self._acceptance.fields, SUBPROTOCOL[0])
        return WebSocketChannel(channel, None, peer_closes=bool(agreed))

    def on_data(self, data: Piece, now: float) -> None:
        """Not reached: the stream is joined before its first byte."""

    def on_eof(self, now: float) -> None:
        """The agent ended the stream without having accepted it."""
        self.abandon(now)

    def on_lost(self, now: float) -> None:
        """The agent refused the stream, or its tunnel is gone."""
        upstream, self._upstream = self._upstream, None
        if upstream is not None:
            failure = upstream.source.failure_of_loss(upstream)
            upstream.source.discard(upstream, now)
            self.exchange.failed(failure, now)

    def on_writable(self, now: float) -> None:
        """Do nothing: nothing was sent yet."""
