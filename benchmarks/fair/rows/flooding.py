"""One client that sends small things without pause, each of which costs the node more than the client."""

import select
import socket
import time

from benchmarks.fair.children import Job, name_of
from benchmarks.fair.honest import request_bytes
from benchmarks.fair.row import MS, Limits, Stage, row
from benchmarks.fair.site import Setup
from benchmarks.fair.wire import (
    EMPTY_FRAME,
    UPGRADE,
    count_answers,
    dial,
    tunnel_request,
    upgraded,
    websocket_message,
)
from pico_core.mux.frame import ACK, HEADER, PING, SYN, WINDOW_UPDATE

BLOCK_BYTES = 65_536
SELECT_S = 0.1
PING_EVERY_S = 0.05
PING_LIMIT_MS = 50.0
PING_PATIENCE_S = 1.0


def send_without_pause(job: Job, connection: socket.socket, block: bytes) -> None:
    """Send a block again and again, and count the answers that come. Raises ``OSError`` when the node ends it."""
    connection.setblocking(False)
    rest = memoryview(block)
    while not job.stopped():
        readable, writable, _ = select.select([connection], [connection], [], SELECT_S)
        if readable:
            data = connection.recv(1 << 18)
            if not data:
                job.got.counts["closed"] += 1
                return
            count_answers(data, job.got.counts)
        if writable:
            sent = connection.send(rest)
            job.got.counts["KiB sent"] += sent >> 10
            rest = rest[sent:] or memoryview(block)


def flood(job: Job, port: int, request: bytes, block: bytes) -> None:
    """Upgrade a connection and send without pause; again when it was ended."""
    while not job.stopped():
        try:
            with upgraded(port, request) as connection:
                send_without_pause(job, connection, block)
        except OSError as error:
            job.got.counts[name_of(error)] += 1
            job.wait(0.01)


@row("12-byte window updates for unknown streams without pause in one tunnel: p50 at most 10 ms", Limits(p50_ms=10))
def updates(stage: Stage) -> None:
    update = HEADER.pack(WINDOW_UPDATE, 0, 999_999, 1)
    block = websocket_message(update * (BLOCK_BYTES // len(update)))
    stage.attack(flood, stage.home.ports["upstream"], tunnel_request("attacker"), block)
    stage.hold()


@row("window updates, each in a WebSocket message of its own: p50 at most 10 ms", Limits(p50_ms=10))
def updates_apart(stage: Stage) -> None:
    message = websocket_message(HEADER.pack(WINDOW_UPDATE, 0, 999_999, 1))
    block = message * (BLOCK_BYTES // len(message))
    stage.attack(flood, stage.home.ports["upstream"], tunnel_request("attacker"), block)
    stage.hold()


@row(
    "empty WebSocket frames without pause on the route of a TCP endpoint: p50 at most 10 ms",
    Limits(p50_ms=10),
    Setup(tcp_agent=True),
)
def empty_frames(stage: Stage) -> None:
    request = request_bytes("raw", "/_pico/v1/tcp/raw", fields=UPGRADE)
    stage.attack(flood, stage.entry.ports["proxy"], request, EMPTY_FRAME * (BLOCK_BYTES // len(EMPTY_FRAME)))
    stage.hold()


def pipeline_errors(job: Job, port: int) -> None:
    """Pipeline 404 and 502 by turns, and now and then a 400, which ends the connection."""
    pair = request_bytes("none", "/_pico/none") + request_bytes("none")
    block = pair * 500 + b"GET / HTTP/1.1\r\n\r\n"
    while not job.stopped():
        try:
            with dial(port) as connection:
                send_without_pause(job, connection, block)
        except OSError as error:
            job.got.counts[name_of(error)] += 1


@row("one client pipelines what the node answers itself (400, 404, 502): p50 at most 10 ms", Limits(p50_ms=10))
def pipeline(stage: Stage) -> None:
    stage.attack(pipeline_errors, stage.entry.ports["proxy"])
    stage.hold()


def ping_quietly(job: Job, port: int, endpoint: str) -> None:
    """Send a WebSocket ping and a yamux ping by turns on a tunnel that does nothing else, and take the times."""
    number = 0
    with upgraded(port, tunnel_request(endpoint)) as connection:
        connection.settimeout(PING_PATIENCE_S)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while not job.wait(PING_EVERY_S):
            number += 1
            payload = b"%08d" % number
            ping(job, connection, "WebSocket ping", b"\x89\x88" + bytes(4) + payload, b"\x8a\x08" + payload)
            asked, answered = (HEADER.pack(PING, flag, 0, number) for flag in (SYN, ACK))
            ping(job, connection, "yamux ping", websocket_message(asked), b"\x82\x0c" + answered)


def ping(job: Job, connection: socket.socket, name: str, question: bytes, answer: bytes) -> None:
    """Send one ping and take the time until its answer, or until patience ends."""
    began_at = time.monotonic()
    connection.sendall(question)
    received = b""
    try:
        while answer not in received:
            data = connection.recv(4_096)
            if not data:
                raise ConnectionResetError
            received += data
        job.got.counts[f"{name}s answered"] += 1
    except TimeoutError:
        job.got.counts[f"{name}s not answered"] += 1
    job.got.took(name, time.monotonic() - began_at)


@row("a WebSocket ping and a yamux ping on a quiet tunnel are answered within 50 ms")
def pings(stage: Stage) -> None:
    for node in stage.site.nodes:
        stage.attack(ping_quietly, node.ports["upstream"], "quiet")
    stage.hold()
    got = stage.finish()
    for name in ("WebSocket ping", "yamux ping"):
        times_s = got.times_s.get(name, [])
        stage.require(f"{name}s answered", got.counts[f"{name}s answered"], at_least=1)
        stage.require(f"slowest {name}", max(times_s, default=0) * 1e3, at_most=PING_LIMIT_MS, unit=MS)
