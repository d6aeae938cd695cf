"""The means of attackers: raw connections from an address of their own, upgrades, WebSocket and yamux frames."""

import asyncio
import re
import socket
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Final

import uvloop

from benchmarks.fair.children import Job, name_of

ATTACKER = "127.0.0.66"
"""The address of attackers. Honest clients come from 127.0.0.1, so a bound per address can tell them apart."""

IP_BIND_ADDRESS_NO_PORT: Final = 24
"""Linux: the port is chosen when the connection is made, which takes 20 us. Python 3.11 has no name for the option.
``bind`` looks for a port that no connection has: where 20,000 were in TIME_WAIT, that took 4 ms."""

CONNECT_TIMEOUT_S = 10.0
STOP_POLL_S = 0.2
ARRIVALS_PER_S = 500.0
STATUS = re.compile(rb"HTTP/1\.1 (\d\d\d) ")

EMPTY_FRAME = b"\x82\x80\x00\x00\x00\x00"
"""A binary WebSocket frame without payload, masked with zeros."""

UPGRADE = (
    "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
)


def websocket_message(payload: bytes) -> bytes:
    """Return a binary message, masked with zeros."""
    size = len(payload)
    if size < 126:
        head = bytes((0x82, 0x80 | size))
    elif size < 1 << 16:
        head = b"\x82\xfe" + size.to_bytes(2, "big")
    else:
        head = b"\x82\xff" + size.to_bytes(8, "big")
    return head + bytes(4) + payload


def attacker_socket() -> socket.socket:
    """Return a socket that will connect from the attacker's address."""
    connection = socket.socket()
    connection.setsockopt(socket.IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1)
    connection.bind((ATTACKER, 0))
    return connection


def dial(port: int) -> socket.socket:
    """Connect from the attacker's address. Raises ``OSError``."""
    connection = attacker_socket()
    try:
        connection.settimeout(CONNECT_TIMEOUT_S)
        connection.connect(("127.0.0.1", port))
    except BaseException:
        connection.close()
        raise
    return connection


def tunnel_request(endpoint: str) -> bytes:
    """Return the request that registers an endpoint on the upstream port."""
    return f"GET /piko/v1/upstream/{endpoint} HTTP/1.1\r\nHost: fair.test\r\n{UPGRADE}\r\n".encode()


def upgraded(port: int, request: bytes) -> socket.socket:
    """Return a connection that was upgraded. Raises ``OSError`` if it was refused."""
    connection = dial(port)
    connection.sendall(request)
    head = b""
    while b"\r\n\r\n" not in head:
        data = connection.recv(4096)
        if not data:
            raise ConnectionResetError("refused")
        head += data
    if not head.startswith(b"HTTP/1.1 101 "):
        raise ConnectionRefusedError(head.partition(b"\r\n")[0].decode("latin-1"))
    return connection


def count_answers(data: bytes, counts: Counter[str]) -> None:
    """Count answers by the status lines in ``data``, in which nothing else looks like one."""
    counts.update(status.decode() for status in STATUS.findall(data))


async def open_stream(port: int, receive_buffer_bytes: int = 0) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Connect from the attacker's address, with a small receive buffer if one is given."""
    connection = attacker_socket()
    try:
        connection.setblocking(False)
        if receive_buffer_bytes:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer_bytes)
        async with asyncio.timeout(CONNECT_TIMEOUT_S):  # ``wait_for`` of Python 3.11 can lose a cancellation
            await asyncio.get_running_loop().sock_connect(connection, ("127.0.0.1", port))
    except BaseException:
        connection.close()
        raise
    return await asyncio.open_connection(sock=connection, limit=1 << 16)


async def read_status(reader: asyncio.StreamReader) -> str:
    """Return the status of the next answer, whose body is not read."""
    head = await reader.readuntil(b"\r\n\r\n")
    return head[9:12].decode()


def crowd(job: Job, count: int, client: Callable[[Job], Awaitable[None]]) -> None:
    """Run ``count`` clients until the job is over, and count how each ended by itself.

    They come at ``ARRIVALS_PER_S``: what their requests do is measured, not what many new connections at once do.
    """
    uvloop.run(_crowd(job, count, client))


async def _crowd(job: Job, count: int, client: Callable[[Job], Awaitable[None]]) -> None:
    async def one(number: int) -> None:
        await asyncio.sleep(number / ARRIVALS_PER_S)
        try:
            await client(job)
        except (OSError, EOFError) as error:
            job.got.counts[name_of(error)] += 1

    tasks = [asyncio.ensure_future(one(number)) for number in range(count)]
    pending = set(tasks)
    while pending and not job.stopped():
        _, pending = await asyncio.wait(pending, timeout=STOP_POLL_S)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
