"""``GET /_pico/v1/tcp/{endpoint}``: one TCP connection to an endpoint, inside a WebSocket on the proxy port."""

import re

from pico_core.errors import ConfigError
from pico_core.http.message import HeadLimits, MessageError, RequestHead
from pico_core.http.parsing import parse_response_head
from pico_core.http.writing import request_bytes
from pico_core.machine.channel import Channel
from pico_core.proxy.endpoint import endpoint_in_path
from pico_core.proxy.exchange import Exchange, Upstream
from pico_core.proxy.websocket_channel import WebSocketChannel
from pico_core.websocket.handshake import HandshakeError, accept_handshake

RESERVED = (b"/_pico/", b"/_piko/")
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
        raise MessageError(400, "invalid endpoint id") from None


def accept_tcp_route(exchange: Exchange, upstream: Upstream, now: float) -> None:
    """Accept the WebSocket and join it with ``upstream``, whose channel is fresh and carries raw bytes.

    Raises ``MessageError`` if the request is not a WebSocket handshake; ``upstream`` is untouched then.
    """
    try:
        response = accept_handshake(request_bytes(exchange.head, b""))
    except HandshakeError as error:
        raise MessageError(error.status, error.reason) from None
    exchange.join(upstream, parse_response_head(response, HeadLimits()), _websocket, now)


def _websocket(channel: Channel) -> Channel:
    return WebSocketChannel(channel, None)
