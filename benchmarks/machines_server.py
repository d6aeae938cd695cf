"""CPU per request of the server machine alone: no sockets, no driver, 50 clients in turns of 50 requests.

The figure is the first decile of the turns: the cost when nothing else disturbs the machine.

A profile of it: python -m benchmarks.machines_server [seconds]
"""

import cProfile
import pstats
import random
import sys
import time
from collections.abc import Callable

import msgspec

from pico_core.boundary import Accepted, Command, Data, Listening, Received, Send, Tick
from pico_core.config.server import ServerConfig
from pico_core.mux.events import StreamData, StreamOpened
from pico_core.server.node import ServerNode
from pico_core.tunnel.tunnel import Tunnel
from pico_core.websocket.handshake import ClientHandshake

CLIENTS = 50
WALL_S = 1_700_000_000.0
DEFAULT = ServerConfig()
REQUEST = b"GET / HTTP/1.1\r\nHost: 127.0.0.1:8000\r\nx-pico-endpoint: e1\r\n\r\n"
RESPONSE = (
    b"HTTP/1.1 200 OK\r\nServer: nginx/1.22.1\r\nDate: Mon, 23 Nov 2026 02:45:26 GMT\r\n"
    b"Content-Type: text/plain\r\nContent-Length: 6\r\n\r\nhello\n"
)
BROWSER_REQUEST = (
    b"GET /articles/1000000001?page=3 HTTP/1.1\r\nHost: e1.example.com\r\nConnection: keep-alive\r\n"
    b'sec-ch-ua: "Chromium";v="124", "Not-A.Brand";v="99"\r\nsec-ch-ua-mobile: ?0\r\nsec-ch-ua-platform: "Linux"\r\n'
    b"User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/124.0.0.0 "
    b"Safari/537.36\r\n"
    b"X-Request-Id: 8e4b1c62-7f0a-4a55-9e1d-1000000001\r\nAccept: application/json, text/plain, */*\r\n"
    b"Sec-Fetch-Site: same-origin\r\nSec-Fetch-Mode: cors\r\nReferer: https://e1.example.com/start\r\n"
    b"Accept-Encoding: gzip, deflate, br, zstd\r\nAccept-Language: en-GB,en;q=0.9,de;q=0.8\r\n"
    b"Cookie: theme=dark; session=0123456789abcdef0123456789abcdef-1000000001\r\n\r\n"
)
BROWSER_RESPONSE = (
    b"HTTP/1.1 200 OK\r\nServer: nginx\r\nDate: Mon, 23 Nov 2026 02:45:26 GMT\r\n"
    b"Content-Type: application/json; charset=utf-8\r\nContent-Length: 6\r\nVary: Accept-Encoding\r\n"
    b'Cache-Control: no-store\r\nETag: W/"1c4-1000000001"\r\n'
    b"Set-Cookie: session=0123456789abcdef-1000000001; Path=/\r\n"
    b"X-Content-Type-Options: nosniff\r\nStrict-Transport-Security: max-age=31536000\r\n\r\nhello\n"
)
"""A request of a browser, and its answer. In new heads the path, the ID, the cookies, the date and the tag are new."""


def as_bytes(data: Data) -> bytes:
    return data if isinstance(data, bytes) else b"".join(data)


def as_new(head: bytes, turn: int) -> bytes:
    """Return a head with other values: a port, or numbers of a browser's head; a time of the day."""
    head = head.replace(b":8000", b":%d" % (10_000 + turn % 50_000)).replace(
        b"1000000001", b"%d" % (1_000_000_002 + turn)
    )
    return head.replace(b"02:45:26 GMT", b"%06d GMT" % (turn % 1_000_000))


def drain(node: ServerNode) -> list[Command]:
    commands = []
    while (command := node.poll()) is not None:
        commands.append(command)
    return commands


class Agent:
    """The other end of the tunnel: answers every request with the same bytes."""

    def __init__(self, node: ServerNode) -> None:
        self.response = RESPONSE
        self.tunnel = Tunnel(0.0, entropy=random.Random(1), max_incoming_streams=1024)
        handshake = ClientHandshake("h", "/pico/v1/upstream/e1", (), random.Random(1))
        node.handle(Accepted(1, "upstream", "127.0.0.1", 5), 0.0)
        node.handle(Received(1, handshake.request_bytes()), 0.0)
        drain(node)

    def answer(self, data: bytes) -> bytes:
        for event in self.tunnel.receive(data, 0.0):
            if isinstance(event, StreamData):
                event.stream.consume(len(event.data))
                event.stream.send(self.response)
            else:
                assert isinstance(event, StreamOpened), event
        out = []
        while (message := self.tunnel.take_output()) is not None:
            out.append(as_bytes(message))
        return b"".join(out)


def server(*, access_log: bool, config: ServerConfig) -> ServerNode:
    if not access_log:
        log = msgspec.structs.replace(config.proxy.access_log, disable=True)
        config = msgspec.structs.replace(config, proxy=msgspec.structs.replace(config.proxy, access_log=log))
    node = ServerNode(config, "n", random.Random(1))
    node.handle(Tick(WALL_S), 0.0)
    for name in ("admin", "upstream", "proxy"):
        node.handle(Listening(name, "127.0.0.1", 1), 0.0)
    drain(node)
    return node


def first_decile(turns: list[float]) -> float:
    """Return the turn that a tenth of all are quicker than."""
    return sorted(turns)[len(turns) // 10]


def run(
    seconds: float,
    *,
    access_log: bool,
    profile: cProfile.Profile | None = None,
    new_heads: bool = False,
    config: ServerConfig = DEFAULT,
    fields: bytes = b"",
    browser: bool = False,
    clock: Callable[[], float] = time.perf_counter,
) -> float:
    """Return microseconds per request; with ``new_heads`` no head of a connection is like the one before it.

    ``fields`` are more field lines of every request. With ``browser`` the heads are those of a browser.
    ``seconds`` are those of ``clock``.
    """
    request = BROWSER_REQUEST if browser else REQUEST
    request = request[:-2] + fields + request[-2:]
    response = BROWSER_RESPONSE if browser else RESPONSE
    node = server(access_log=access_log, config=config)
    agent = Agent(node)
    clients = range(3, 3 + 2 * CLIENTS, 2)
    for client in clients:
        node.handle(Accepted(client, "proxy", "127.0.0.1", 7), 0.0)
    turns: list[float] = []
    credit = b""  # window updates that the server sends with its answers
    until = clock() + seconds
    while clock() < until or len(turns) < 2:
        if profile:
            profile.enable()
        sent_request = as_new(request, len(turns)) if new_heads else request
        agent.response = as_new(response, len(turns)) if new_heads else response
        began = clock()
        for client in clients:
            node.handle(Received(client, sent_request), 1.0)
        commands = drain(node)
        spent = clock() - began
        if profile:
            profile.disable()
        to_agent = b"".join(as_bytes(command.data) for command in commands if isinstance(command, Send))
        answer = agent.answer(credit + to_agent)
        if profile:
            profile.enable()
        began = clock()
        node.handle(Received(1, answer), 1.0)
        commands = drain(node)
        spent += clock() - began
        if profile:
            profile.disable()
        sent = [command for command in commands if isinstance(command, Send) and command.connection != 1]
        assert len(sent) == CLIENTS, len(sent)
        credit = b"".join(as_bytes(each.data) for each in commands if isinstance(each, Send) and each.connection == 1)
        turns.append(spent / CLIENTS * 1e6)
    return first_decile(turns)


def figures(seconds: float) -> dict[str, float]:
    """Return microseconds per request by the kind of the heads."""
    return {
        "server, equal heads": run(seconds, access_log=False),
        "server, equal heads, access log": run(seconds, access_log=True),
        "server, every head new": run(seconds, access_log=False, new_heads=True),
        "server, heads of a browser": run(seconds, access_log=False, browser=True),
        "server, heads of a browser, every head new": run(seconds, access_log=False, browser=True, new_heads=True),
    }


if __name__ == "__main__":
    profile = cProfile.Profile()
    run(float(sys.argv[1]) if len(sys.argv) > 1 else 2.0, access_log=False, profile=profile)
    pstats.Stats(profile).sort_stats("tottime").print_stats(45)
