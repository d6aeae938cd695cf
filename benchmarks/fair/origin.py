"""The service behind the agents: answers, waits, sends many bytes, takes uploads, accepts WebSockets. Prints its port.

``/`` is answered at once, ``/wait/S`` after S seconds, ``/bytes/N`` with N bytes at the speed of the reader. A request
with a body is answered when the body is whole. An upgrade is accepted, and nothing is sent on it. A connection that
sends nothing is kept.

Run as a process of its own: python -m benchmarks.fair.origin
"""

import asyncio
import re
import socket
from typing import cast

import uvloop

HELLO = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 6\r\n\r\nhello\n"
SWITCH = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: ICX+Yqv66kxgM0FcWaLWlFLwTAI=\r\n\r\n"
)
"""Accepts the key of sixteen zero bytes, the only one that is sent here."""

PIECE = bytes(65_536)
SEND_BUFFER_BYTES = 131_072
"""The kernel sizes send buffers by the segments of a connection. Those of loopback have 64 KiB: it would keep up to
4 MiB for each slow reader, and a thousand of them would use up its memory for TCP, so that all connections of the
machine stand still. On Ethernet it keeps less than this at first."""

LENGTH = re.compile(rb"(?im)^content-length:[ \t]*([0-9]+)")


class Service(asyncio.Protocol):
    """One connection. Requests come one at a time, as an agent sends them."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        connection = self._transport.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
        self._head = b""
        self._body_left = 0
        self._answer_left = 0
        self._upgraded = False
        self._paused = False

    def data_received(self, data: bytes) -> None:
        if self._upgraded:
            return
        if self._body_left:
            self._body_left -= len(data)
            if self._body_left <= 0:
                self._transport.write(HELLO)
            return
        self._head += data
        head, end, rest = self._head.partition(b"\r\n\r\n")
        if not end:
            return
        self._head = b""
        length = LENGTH.search(head)
        self._body_left = int(length[1]) - len(rest) if length else 0
        if self._body_left <= 0:
            self._respond(head)

    def _respond(self, head: bytes) -> None:
        _, kind, number = (head.split(b" ", 2)[1] + b"/").split(b"/")[:3]
        if b"\r\nupgrade:" in head.lower():
            self._upgraded = True
            self._transport.write(SWITCH)
        elif kind == b"wait":
            asyncio.get_running_loop().call_later(float(number), self._transport.write, HELLO)
        elif kind == b"bytes":
            self._answer_left = int(number)
            self._transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % self._answer_left)
            self.resume_writing()
        else:
            self._transport.write(HELLO)

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        while self._answer_left and not self._paused:
            piece = PIECE[: self._answer_left]
            self._answer_left -= len(piece)
            self._transport.write(piece)

    def connection_lost(self, error: Exception | None) -> None:
        self._answer_left = 0


async def main() -> None:
    server = await asyncio.get_running_loop().create_server(Service, "127.0.0.1", 0, backlog=4096)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main())
