"""Raw clients of HTTP and TCP, which hide nothing that a library would hide."""

import contextlib
import json
import re
import select
import socket
import struct
from collections.abc import Iterator

from tests.e2e.harness import LOCAL
from tests.waiting import PATIENCE_S


class Wire:
    """A raw connection with a buffer."""

    def __init__(self, connection: socket.socket) -> None:
        self.socket = connection
        self.buffer = b""
        connection.settimeout(PATIENCE_S)

    def __enter__(self) -> "Wire":
        return self

    def __exit__(self, *exception: object) -> None:
        self.socket.close()

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def send_eof(self) -> None:
        with contextlib.suppress(OSError):  # the other side has reset the connection
            self.socket.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        """Close so that the peer sees a reset."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        with contextlib.suppress(OSError):  # wakes a thread that receives: its call would keep the connection open
            self.socket.shutdown(socket.SHUT_RD)
        self.socket.close()

    def receive(self) -> bytes:
        """Return some bytes, none at the end of the stream."""
        if self.buffer:
            data, self.buffer = self.buffer, b""
            return data
        return self.socket.recv(1 << 18)

    def has_data(self) -> bool:
        """Return whether bytes, or the end of the stream, can be received without waiting."""
        return bool(self.buffer or select.select([self.socket], [], [], 0)[0])

    def receive_until(self, end: bytes) -> bytes:
        """Return everything up to and with ``end``; raises ``ConnectionError`` if the stream ends before it begins."""
        while end not in self.buffer:
            data = self.socket.recv(65_536)
            if not data and not self.buffer:
                raise ConnectionAbortedError(f"the connection ended before {end!r}")
            assert data, f"the connection ended without {end!r}, after {self.buffer[-1000:]!r}"
            self.buffer += data
        found, _, self.buffer = self.buffer.partition(end)
        return found + end

    def receive_exactly(self, size: int) -> bytes:
        pieces = []
        while size:
            data = self.receive()
            assert data, f"the connection ended {size} bytes early"
            if len(data) > size:
                data, self.buffer = data[:size], data[size:]
            pieces.append(data)
            size -= len(data)
        return b"".join(pieces)

    def receive_rest(self) -> bytes:
        """Return everything up to the end of the stream; raises ``ConnectionError`` if that is a reset."""
        pieces = []
        while data := self.receive():
            pieces.append(data)
        return b"".join(pieces)

    def receive_head(self) -> "Head":
        return Head(self.receive_until(b"\r\n\r\n"))

    def receive_body(self, head: "Head") -> bytes:
        """Return the body of a message as its head frames it."""
        if head["transfer-encoding"] == "chunked":
            return b"".join(self.receive_chunks())
        return self.receive_exactly(int(head["content-length"] or 0))

    def receive_chunks(self) -> Iterator[bytes]:
        """The chunks of a body, each as it comes; ends after the last chunk and its trailers, which it keeps."""
        while size := int(self.receive_until(b"\r\n")[:-2].partition(b";")[0], 16):
            yield self.receive_exactly(size)
            assert self.receive_exactly(2) == b"\r\n"
        self.trailers = []
        while (line := self.receive_until(b"\r\n")) != b"\r\n":
            self.trailers.append(line[:-2].decode())


class Head:
    """A message head, parsed strictly. ``head["name"]`` is a field's value, or empty."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.start, *lines = data[:-4].decode("ascii").split("\r\n")
        self.fields: list[tuple[str, str]] = []
        for line in lines:
            match = re.fullmatch(r"([!#$%&'*+.^_`|~0-9A-Za-z-]+): ?(.*)", line)
            assert match is not None, f"no field line: {line!r}"
            self.fields.append((match[1].lower(), match[2].strip()))

    def __getitem__(self, name: str) -> str:
        values = self.all(name)
        assert len(values) <= 1, f"{name} comes more than once: {values}"
        return values[0] if values else ""

    def all(self, name: str) -> list[str]:
        return [value for each, value in self.fields if each == name]

    @property
    def method(self) -> str:
        return self.start.split(" ")[0]

    @property
    def target(self) -> str:
        return self.start.split(" ")[1]

    @property
    def status(self) -> int:
        return int(self.start.split(" ")[1])


def dial(port: int) -> Wire:
    return Wire(socket.create_connection((LOCAL, port), PATIENCE_S))


def request(
    port: int, endpoint: str, target: str = "/", method: str = "GET", fields: str = "", body: bytes = b""
) -> tuple[Head, bytes]:
    """Do one request on a connection of its own and return the response."""
    with dial(port) as wire:
        wire.send(request_bytes(endpoint, target, method, fields, body))
        return receive_response(wire, method)


def request_bytes(endpoint: str, target: str = "/", method: str = "GET", fields: str = "", body: bytes = b"") -> bytes:
    """Return a request with the field lines ``fields`` (each with its line end)."""
    length = f"Content-Length: {len(body)}\r\n" if body else ""
    head = f"{method} {target} HTTP/1.1\r\nHost: {endpoint}.pico.test\r\n{fields}{length}\r\n"
    return head.encode() + body


def receive_response(wire: Wire, method: str = "GET") -> tuple[Head, bytes]:
    """Return the next final response."""
    head = wire.receive_head()
    while head.status < 200:
        head = wire.receive_head()
    if method == "HEAD" or head.status in (204, 304):
        return head, b""
    return head, wire.receive_body(head)


def assert_error(response: tuple[Head, bytes], status: int, message: str, *, is_client: bool = True) -> None:
    """Check that a response is an error of Pico's own, in its exact form: to a client, or to another node."""
    head, body = response
    told = json.loads(body)
    assert (head.status, told["error"]) == (status, message)
    if "reason" in told:  # from the proxy port
        assert head["x-pico-error"] == f"{told['reason']}; by={told['by']}"
        assert head["x-pico-request-id"] in (told["request_id"], *([] if is_client else [""]))
    assert head["content-type"] == "application/json"
    assert head["x-content-type-options"] == "nosniff"
