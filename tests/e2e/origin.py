"""Services for tests, on threads of the test process: strict about what reaches them, and free to do anything.

A service serves each connection with a function. ``Origin`` is one that speaks HTTP: tests give it a handler a path.
"""

import contextlib
import hashlib
import itertools
import json
import socket
import threading
from collections.abc import Callable, Iterator

from tests.e2e.harness import LOCAL, MIB
from tests.e2e.wire import Head, Wire


class WireService:
    """Listens on ``port`` or one of its own. ``serve`` has a thread each; its asserts end in ``faults``."""

    def __init__(self, serve: Callable[[Wire], None], port: int = 0) -> None:
        self.faults: list[BaseException] = []
        self.connections = 0
        self._serve = serve
        self._listener = socket.create_server((LOCAL, port), backlog=512)
        self.port: int = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.connections += 1
            threading.Thread(target=self._run, args=(connection,), daemon=True).start()

    def _run(self, connection: socket.socket) -> None:
        with Wire(connection) as wire:
            try:
                self._serve(wire)
            except ConnectionError:
                return  # the other side went away; a test that has to know catches this in its handler
            except Exception as error:  # noqa: BLE001 - kept for ``check``, which the test's own thread calls
                self.faults.append(error)

    def check(self) -> None:
        """Raise the faults since the last check."""
        faults, self.faults = self.faults, []
        assert not faults, faults

    def close(self) -> None:
        with contextlib.suppress(OSError):  # wakes ``accept``
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()


@contextlib.contextmanager
def service(serve: Callable[[Wire], None]) -> Iterator[WireService]:
    """A service for the length of a test."""
    running = WireService(serve)
    try:
        yield running
        running.check()
    finally:
        running.close()


class Visit:
    """One request at the origin. The handler reads the body if it wants to, and answers."""

    def __init__(self, wire: Wire, head: Head) -> None:
        self.wire = wire
        self.head = head

    def body(self) -> bytes:
        return self.wire.receive_body(self.head)

    def respond(self, body: bytes = b"", fields: str = "", status: str = "200 OK") -> None:
        """Answer in full, with a Content-Length, in one write."""
        head = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n{fields}\r\n".encode()
        self.wire.send(head if self.head.method == "HEAD" else head + body)

    def begin(self, fields: str, status: str = "200 OK") -> None:
        """Send the head of an answer whose body the handler sends in its own way."""
        self.wire.send(f"HTTP/1.1 {status}\r\n{fields}\r\n".encode())

    def chunk(self, data: bytes) -> None:
        self.wire.send(b"%x\r\n%b\r\n" % (len(data), data))

    def await_end(self) -> bytes:
        """Wait until the other side ends the connection; return how: ``b"FIN"`` or ``b"RST"``."""
        try:
            rest = self.wire.receive()
        except ConnectionResetError:
            return b"RST"
        assert rest == b"", f"more came: {rest[:100]!r}"
        return b"FIN"


def large(visit: Visit) -> None:
    """Answer with 20 MiB."""
    visit.begin(f"Content-Length: {20 * MIB}\r\n")
    visit.wire.send(bytes(20 * MIB))


class HangUpError(ConnectionError):
    """Raised by a handler to end its connection."""


Handler = Callable[[Visit], None]


class Origin(WireService):
    """Speaks HTTP/1.1 with keep-alive. ``/`` and ``/describe`` answer with the request as it arrived."""

    def __init__(self, port: int = 0) -> None:
        self._handlers: dict[str, Handler] = {"/": describe, "/describe": describe}
        self.requests: list[Head] = []
        self._numbers = itertools.count(1)
        super().__init__(self._talk, port)

    def handle(self, handler: Handler) -> str:
        """Have requests for a new path handled by ``handler``; return the path."""
        path = f"/{handler.__name__.strip('_<>')}-{next(self._numbers)}"
        self._handlers[path] = handler
        return path

    def _talk(self, wire: Wire) -> None:
        while True:
            wire.socket.settimeout(None)
            wire.buffer = wire.receive()
            wire.socket.settimeout(20)
            if not wire.buffer:
                return
            head = wire.receive_head()
            assert head["host"], "no Host"
            assert not (head["content-length"] and head["transfer-encoding"]), "ambiguous framing"
            own = [name for name, _ in head.fields if name.startswith(("x-pico", "x-piko"))]
            leaked = [name for name in own if name not in ("x-pico-request-id", "x-pico-replay")]
            assert not leaked, f"internal headers: {leaked}"
            self.requests.append(head)
            self._handlers[head.target.partition("?")[0]](Visit(wire, head))


def describe(visit: Visit) -> None:
    """Describe the request."""
    body = visit.body()
    seen = {
        "method": visit.head.method,
        "target": visit.head.target,
        "fields": visit.head.fields,
        "size": len(body),
        "sha256": hashlib.sha256(body).hexdigest(),
    }
    visit.respond(json.dumps(seen).encode(), "Content-Type: application/json\r\n")
