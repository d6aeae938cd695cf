"""A server that speaks as Piko's v0.9 does, in threads: an upstream port for agents, and a proxy port for clients.

It knows nothing of Pico: its yamux and its frames are written from captures of Piko. As there, the header of a data
frame and its payload are two WebSocket messages, a request has a stream of its own and ``Connection: close``, the 101
tells nothing, and a stream of raw bytes ends in both directions when one of them ends.
"""

import base64
import contextlib
import hashlib
import queue
import socket
import struct
import threading
from typing import Self

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
DATA, WINDOW_UPDATE, PING, GO_AWAY = range(4)
SYN, ACK, FIN, RST = 1, 2, 4, 8
WINDOW = 262_144
HEADER = struct.Struct(">BBHII")
TIMEOUT_S = 20.0


class WebSocket:
    """Binary messages over a socket, on the server's side."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._rest = b""
        self._lock = threading.Lock()

    def accept(self, key: bytes) -> None:
        accept = base64.b64encode(hashlib.sha1(key + GUID, usedforsecurity=False).digest())
        self._connection.sendall(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: %b\r\n\r\n" % accept
        )

    def send(self, *messages: bytes) -> None:
        with self._lock:
            for data in messages:
                size = len(data)
                if size < 126:
                    head = bytes((0x82, size))
                elif size < 65_536:
                    head = struct.pack(">BBH", 0x82, 126, size)
                else:
                    head = struct.pack(">BBQ", 0x82, 127, size)
                self._connection.sendall(head + data)

    def receive(self) -> bytes:
        """Return the payload of the next message; empty at the end."""
        while head := self._read(2):
            kind, size = head[0] & 15, head[1] & 127
            if size > 125:
                size = int.from_bytes(self._read(2 if size == 126 else 8))
            mask, data = self._read(4), self._read(size)
            repeated = (mask * (size // 4 + 1))[:size]
            plain = (int.from_bytes(data) ^ int.from_bytes(repeated)).to_bytes(size)
            if kind == 8:
                break
            if kind in (0, 2) and plain:
                return plain
        return b""

    def _read(self, size: int) -> bytes:
        while len(self._rest) < size:
            data = self._connection.recv(1 << 18)
            if not data:
                return b""
            self._rest += data
        data, self._rest = self._rest[:size], self._rest[size:]
        return data


class Stream:
    """One yamux stream that the server has opened."""

    def __init__(self, session: "Session", number: int) -> None:
        self._session = session
        self._number = number
        self._window = WINDOW
        self._may_send = threading.Condition()
        self._received: queue.Queue[bytes] = queue.Queue()

    def begin(self) -> None:
        self._session.send(HEADER.pack(0, WINDOW_UPDATE, SYN, self._number, 0))

    def send(self, data: bytes) -> None:
        while data:
            with self._may_send:
                assert self._may_send.wait_for(lambda: self._window, TIMEOUT_S), "the agent grants no window"
                piece, data = data[: self._window], data[self._window :]
                self._window -= len(piece)
            self._session.send(HEADER.pack(0, DATA, 0, self._number, len(piece)), piece)

    def end(self) -> None:
        self._session.send(HEADER.pack(0, WINDOW_UPDATE, FIN, self._number, 0))

    def receive(self) -> bytes:
        """Return what has come, and grant as much again; empty at the end."""
        data = self._received.get(timeout=TIMEOUT_S)
        if data:
            self._session.send(HEADER.pack(0, WINDOW_UPDATE, 0, self._number, len(data)))
        return data

    def on_frame(self, kind: int, flags: int, value: int, payload: bytes) -> None:
        if kind == WINDOW_UPDATE:
            with self._may_send:
                self._window += value
                self._may_send.notify()
        elif payload:
            self._received.put(payload)
        if flags & (FIN | RST):
            self._received.put(b"")


class Session:
    """The server's end of one tunnel."""

    def __init__(self, channel: WebSocket) -> None:
        self.send = channel.send
        self._channel = channel
        self._next = 2
        self._streams: dict[int, Stream] = {}
        self._lock = threading.Lock()
        self._rest = b""
        self.answered_pings = 0
        self.went_away = False

    def open(self) -> Stream:
        with self._lock:
            number, self._next = self._next, self._next + 2
            self._streams[number] = stream = Stream(self, number)
        stream.begin()
        return stream

    def ping(self) -> None:
        self.send(HEADER.pack(0, PING, SYN, 0, 7))

    def run(self) -> None:
        while header := self._read(HEADER.size):
            version, kind, flags, number, value = HEADER.unpack(header)
            assert version == 0
            if kind == PING:
                self.answered_pings += bool(flags & ACK) and value == 7
                if flags & SYN:
                    self.send(HEADER.pack(0, PING, ACK, 0, value))
            elif kind == GO_AWAY:
                self.went_away = True
            else:
                payload = self._read(value) if kind == DATA else b""
                self._streams[number].on_frame(kind, flags, value, payload)
        for stream in self._streams.values():
            stream.on_frame(DATA, RST, 0, b"")

    def _read(self, size: int) -> bytes:
        while len(self._rest) < size:
            message = self._channel.receive()
            if not message:
                return b""
            self._rest += message
        data, self._rest = self._rest[:size], self._rest[size:]
        return data


class Piko:
    """A node: ``upstream_url`` for agents, ``proxy_address`` and ``proxy_url`` for clients.

    It does not let agents register the endpoint ``forbidden``.
    """

    def __init__(self) -> None:
        self.sessions: dict[str, list[Session]] = {}
        self._connections: set[socket.socket] = set()
        self._ports = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
        self.upstream_url = f"http://127.0.0.1:{self._ports[0].getsockname()[1]}"
        self.proxy_address = f"127.0.0.1:{self._ports[1].getsockname()[1]}"
        self.proxy_url = f"http://{self.proxy_address}"

    def __enter__(self) -> Self:
        for port, serve in zip(self._ports, (self._agent, self._client), strict=True):
            threading.Thread(target=self._accept, args=(port, serve), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        for port in self._ports:
            port.shutdown(socket.SHUT_RDWR)
            port.close()
        self.cut()

    def cut(self) -> None:
        """End every connection with a bare FIN, as a server that leaves or sheds tunnels does."""
        for connection in list(self._connections):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def _accept(self, port: socket.socket, serve: object) -> None:
        assert callable(serve)
        while True:
            try:
                connection, _ = port.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection, serve), daemon=True).start()

    def _serve(self, connection: socket.socket, serve: object) -> None:
        assert callable(serve)
        self._connections.add(connection)
        with connection, contextlib.suppress(OSError):
            head = b""
            while b"\r\n\r\n" not in head:
                data = connection.recv(65_536)
                if not data:
                    return
                head += data
            head, _, rest = head.partition(b"\r\n\r\n")
            start, *lines = head.split(b"\r\n")
            pairs = [line.partition(b":") for line in lines]
            fields = {name.lower(): value.strip() for name, _, value in pairs}
            try:
                serve(connection, start, fields, rest)
            finally:
                self._connections.discard(connection)

    def _agent(self, connection: socket.socket, start: bytes, fields: dict[bytes, bytes], rest: bytes) -> None:
        endpoint = start.split()[1].removeprefix(b"/piko/v1/upstream/").decode()
        if endpoint == "forbidden":
            refuse(connection, b"401 Unauthorized", b'{"error":"endpoint not permitted"}')
            return
        channel = WebSocket(connection)
        session = Session(channel)
        sessions = self.sessions.setdefault(endpoint, [])
        sessions.append(session)
        try:
            channel.accept(fields[b"sec-websocket-key"])
            session.run()
        finally:
            sessions.remove(session)

    def _client(self, connection: socket.socket, start: bytes, fields: dict[bytes, bytes], rest: bytes) -> None:
        path = start.split()[1]
        is_raw = path.startswith(b"/_piko/v1/tcp/")
        name = path.removeprefix(b"/_piko/v1/tcp/") if is_raw else fields.get(b"x-piko-endpoint", b"")
        endpoint = (name or fields[b"host"].partition(b".")[0]).decode()
        sessions = self.sessions.get(endpoint)
        if not sessions:
            refuse(connection, b"502 Bad Gateway", b'{"error":"no available upstreams"}\n')
            return
        stream = sessions[-1].open()
        if is_raw:
            channel = WebSocket(connection)
            channel.accept(fields[b"sec-websocket-key"])
            copy_both(channel.receive, channel.send, stream, connection)
            return
        upgrade = fields.get(b"upgrade", b"")
        added = {b"x-forwarded-for": b"127.0.0.1", b"x-piko-forward": b"true", b"accept-encoding": b"gzip"}
        fields = {**fields, **added, b"connection": b"Upgrade" if upgrade else b"close"}
        lines = b"".join(b"%b: %b\r\n" % (key.title(), value) for key, value in fields.items())
        stream.send(b"%b\r\n%b\r\n%b" % (start, lines, rest))
        copy_both(lambda: connection.recv(65_536), connection.sendall, stream, connection)


def refuse(connection: socket.socket, status: bytes, body: bytes) -> None:
    connection.sendall(
        b"HTTP/1.1 %b\r\nContent-Type: application/json; charset=utf-8\r\nContent-Length: %d\r\n\r\n%b"
        % (status, len(body), body)
    )


def copy_both(receive: object, send: object, stream: Stream, connection: socket.socket) -> None:
    """Copy until either direction ends, which ends both."""
    assert callable(receive)
    assert callable(send)

    def to_agent() -> None:
        with contextlib.suppress(OSError):
            while data := receive():
                stream.send(data)
        with contextlib.suppress(OSError):
            stream.end()

    threading.Thread(target=to_agent, daemon=True).start()
    with contextlib.suppress(OSError):
        while data := stream.receive():
            send(data)
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
