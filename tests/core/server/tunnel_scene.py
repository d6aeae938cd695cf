"""Where the plays of tunnels begin: the bytes of an agent's registration, and a server that has accepted it."""

import random

from pico_core import __version__
from pico_core.boundary import (
    Accepted,
    Received,
)
from pico_core.websocket.encoding import encode_frame
from tests.core.proxy.scene import AGENT
from tests.play import Play, joined, server_play

HANDSHAKE = (
    b"GET /piko/v1/upstream/my-endpoint HTTP/1.1\r\n"
    b"Host: 127.0.0.1:8001\r\n"
    b"User-Agent: Go-http-client/1.1\r\n"
    b"Connection: Upgrade\r\n"
    b"Sec-WebSocket-Key: XfZxmHWucX6g6LU4W/v5bg==\r\n"
    b"Sec-WebSocket-Version: 13\r\n"
    b"Upgrade: websocket\r\n\r\n"
)
ACCEPTED = (
    b"HTTP/1.1 101 Switching Protocols\r\n"
    b"Upgrade: websocket\r\n"
    b"Connection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: eH9tvi9/SXjIsi7bZTj5zLSjk/I=\r\n"
    b"x-pico-node: node-1\r\n"
    b"x-pico-version: %b\r\n\r\n" % __version__.encode()
)
SECOND = 7


def connected(play: Play | None = None) -> Play:
    """Return a play in which an agent connected to the upstream port."""
    return (play or server_play()) >> Accepted(AGENT, "upstream", "192.0.2.1", 4000)


def masked(data: bytes) -> Received:
    """Return what a peer sends that makes its own frames."""
    return Received(AGENT, joined(encode_frame((data,), len(data), random.Random(1))))
