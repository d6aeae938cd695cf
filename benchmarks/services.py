"""Small services: ``python -m benchmarks.services KIND`` prints its port and serves until it is ended.

``fixed`` answers each read with the same HTTP response, ``sink`` takes uploads, ``events`` streams server-sent events,
``echo`` answers each read after the first with ``MESSAGE_BYTES``, ``websocket`` does so after a handshake.
"""

import asyncio
import sys
from typing import cast

import uvloop

from pico_core.websocket.handshake import accept_handshake

REPLY = (
    b"HTTP/1.1 200 OK\r\nServer: floor\r\nDate: Mon, 23 Nov 2026 02:45:26 GMT\r\n"
    b"Content-Type: text/plain\r\nContent-Length: 6\r\n\r\nhello\n"
)
MESSAGE_BYTES = 256
"""Of a message each way, with the head of its frame where it has one."""
EVENT = b"data: " + bytes(MESSAGE_BYTES - 8).replace(b"\0", b"x") + b"\n\n"
EVENTS_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
EVENT_PAUSE_S = 0.01


class Served(asyncio.Protocol):
    """A connection of one of the services."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)


class Fixed(Served):
    def data_received(self, data: bytes) -> None:
        self.transport.write(REPLY)


class Sink(Served):
    """Reads bodies whose length is stated; the head comes in one read."""

    left: int | None = None

    def data_received(self, data: bytes) -> None:
        size = len(data)
        if self.left is None:
            head = data.partition(b"\r\n\r\n")[0]
            self.left = int(head.lower().partition(b"content-length:")[2].split()[0]) + len(head) + 4
        self.left -= size
        if not self.left:
            self.left = None
            self.transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")


class Events(Served):
    """An event every ``EVENT_PAUSE_S``, until the client leaves."""

    def data_received(self, data: bytes) -> None:
        self.transport.write(EVENTS_HEAD)
        self.send()

    def send(self) -> None:
        if not self.transport.is_closing():
            self.transport.write(b"%x\r\n%b\r\n" % (len(EVENT), EVENT))
            asyncio.get_running_loop().call_later(EVENT_PAUSE_S, self.send)


class Echo(Served):
    """Answers each message of ``MESSAGE_BYTES`` with one of that size."""

    answer = bytes(MESSAGE_BYTES)
    received = 0

    def data_received(self, data: bytes) -> None:
        self.received += len(data)
        count, self.received = divmod(self.received, MESSAGE_BYTES)
        if count:
            self.transport.write(self.answer * count)


class WebSocket(Echo):
    """The same with frames: a client's has a mask, which is four bytes more."""

    answer = bytes((0x82, 126)) + (MESSAGE_BYTES - 4).to_bytes(2, "big") + bytes(MESSAGE_BYTES - 4)
    head: bytes | None = b""

    def data_received(self, data: bytes) -> None:
        if self.head is None:
            super().data_received(data)
            return
        self.head += data
        if self.head.endswith(b"\r\n\r\n"):
            self.transport.write(accept_handshake(self.head))
            self.head = None


KINDS = {"fixed": Fixed, "sink": Sink, "events": Events, "echo": Echo, "websocket": WebSocket}


async def serve(kind: type[Served]) -> None:
    server = await asyncio.get_running_loop().create_server(kind, "127.0.0.1", 0, backlog=4096)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve(KINDS[sys.argv[1]]))
