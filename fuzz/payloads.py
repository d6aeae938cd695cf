"""The bytes that fuzzed clients, services and servers send: most are sensible, some are not."""

import random

from pico_core.websocket.encoding import encode_close, encode_frame
from tests.play import joined

LARGE = 70_000

HOST = b"Host: e1.example.com\r\n"
ACCEPTING = (
    b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: XfZxmHWucX6g6LU4W/v5bg==\r\n\r\n"
)
REQUESTS = (
    b"GET / HTTP/1.1\r\n" + HOST + b"\r\n",
    b"HEAD / HTTP/1.1\r\n" + HOST + b"\r\n",
    b"GET / HTTP/1.0\r\n" + HOST + b"\r\n",
    b"GET / HTTP/1.1\r\n" + HOST + b"Connection: close\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: nobody\r\n\r\n",
    b"PUT / HTTP/1.1\r\n" + HOST + b"Content-Length: 5\r\n\r\nhello",
    b"PUT / HTTP/1.1\r\n" + HOST + b"Content-Length: %d\r\n\r\n" % LARGE + bytes(LARGE),
    b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabcXX",
    b"GET / HTTP/1.1\r\n" + HOST + b"Connection: Upgrade\r\nUpgrade: chat\r\n\r\n",
    b"GET /_pico/v1/tcp/e1 HTTP/1.1\r\n" + HOST + ACCEPTING,
    b"PUT / HTTP/1.1\r\n" + HOST + b"Content-Length: 5\r\nExpect: 100-continue\r\n\r\n",
)
RESPONSES = (
    b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok",
    b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % LARGE + bytes(LARGE),
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nokXX",
    b"HTTP/1.1 200 OK\r\n\r\nok",
    b"HTTP/1.1 204 No Content\r\n\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\n",
    b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: chat\r\n\r\nhello",
    b"HTTP/1.1 421 Misdirected Request\r\nContent-Length: 0\r\n\r\n",
)
FRAMES = (
    joined(encode_frame((b"data",), 4, random.Random(1))),
    joined(encode_frame((bytes(LARGE),), LARGE, random.Random(1))),
    encode_close(1000, "", random.Random(1)),
    joined(encode_frame((b"data",), 4, None)),
    encode_close(1000, "", None),
)
HANDSHAKES = tuple(
    b"GET /pico/v1/upstream/%b HTTP/1.1\r\nHost: pico\r\n%b" % (endpoint, instance + ACCEPTING)
    for endpoint, instance in ((b"e1", b"x-piko-instance: 1\r\n"), (b"e1", b""), (b"e2", b""), (b"a%2Fb", b""))
)
REFUSALS = (
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
)

PAYLOADS = (*REQUESTS, *RESPONSES, *FRAMES, *HANDSHAKES, *REFUSALS)
