"""Real processes of Pico for tests: start, wait by conditions, look into, end by their process id.

Nothing here sleeps for a guessed time and no port is guessed: a process says in its log where it listens.
"""

import contextlib
import json
import re
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, TypeAlias

PATIENCE_S = 20.0
"""How long a test waits for something that must happen."""

POLL_S = 0.01

MIB = 1 << 20

LOCAL = "127.0.0.1"

Record: TypeAlias = dict[str, Any]


def wait_until(condition: Callable[[], object], what: str, timeout_s: float = PATIENCE_S) -> None:
    """Wait for what only asking can tell."""
    give_up_at = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < give_up_at, f"{what}: not within {timeout_s:g} s"
        time.sleep(POLL_S)


class Lines:
    """What a process writes to one of its streams, line by line, as it comes."""

    def __init__(self, stream: IO[bytes]) -> None:
        self.lines: list[str] = []
        self._stream = stream
        self._changed = threading.Condition()
        self._ended = False
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        with self._stream:
            for line in self._stream:
                with self._changed:
                    self.lines.append(line.decode())
                    self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def await_line(self, wanted: Callable[[str], bool], what: str, since: int, timeout_s: float) -> str:
        """Return the first line from number ``since`` on that is ``wanted``."""
        found: list[str] = []
        read = since

        def look() -> bool:
            nonlocal read
            found.extend(line for line in self.lines[read:] if wanted(line))
            read = len(self.lines)
            return bool(found) or self._ended

        with self._changed:
            self._changed.wait_for(look, timeout_s)
        assert found, f"{what}: not within {timeout_s:g} s in:\n{''.join(self.lines)}"
        return found[0]

    def finish(self) -> None:
        """Wait until everything that was written is here."""
        self._thread.join(PATIENCE_S)


class Process:
    """A running ``pico`` command. Next: ``await_log``, and in the end ``stop``, ``kill`` or ``check``."""

    def __init__(self, *arguments: str) -> None:
        self.arguments = arguments
        self.popen = subprocess.Popen(
            [sys.executable, "-m", "pico_tunnel", *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        assert self.popen.stdout is not None
        assert self.popen.stderr is not None
        self.stdout = Lines(self.popen.stdout)
        self.stderr = Lines(self.popen.stderr)

    @property
    def pid(self) -> int:
        return self.popen.pid

    @property
    def alive(self) -> bool:
        return self.popen.poll() is None

    # --- logs ---

    def await_log(
        self,
        message: str,
        *,
        since: int = 0,
        timeout_s: float = PATIENCE_S,
        **fields: object,
    ) -> Record:
        """Return the first log record whose message begins so and which has these fields."""

        def wanted(line: str) -> bool:
            record = json.loads(line) if line.startswith("{") else {}
            return str(record.get("message", "")).startswith(message) and fields.items() <= record.items()

        return dict(json.loads(self.stderr.await_line(wanted, f"'{message}' {fields} in the log", since, timeout_s)))

    def mark(self) -> int:
        """Return a place in the log for ``since``."""
        return len(self.stderr.lines)

    def logged(self, message: str, *, since: int = 0) -> list[Record]:
        """Return the log records so far whose message begins so."""
        records = [json.loads(line) for line in self.stderr.lines[since:] if line.startswith("{")]
        return [record for record in records if record["message"].startswith(message)]

    def await_access(self, **fields: object) -> Record:
        """Return the first access log record with these fields."""

        def wanted(line: str) -> bool:
            return bool(fields.items() <= json.loads(line).items())

        return dict(json.loads(self.stdout.await_line(wanted, f"{fields} in the access log", 0, PATIENCE_S)))

    def port(self, subsystem: str) -> int:
        """Return the port of a listener, once it listens."""
        record = self.await_log("listening", subsystem=subsystem)
        return int(record["addr"].rpartition(":")[2])

    # --- memory ---

    def resident_bytes(self) -> int:
        """Return how much memory the process has now."""
        return self._status("VmRSS")

    def peak_bytes(self) -> int:
        """Return the most memory the process had since ``reset_peak``."""
        return self._status("VmHWM")

    def reset_peak(self) -> None:
        Path(f"/proc/{self.pid}/clear_refs").write_text("5")

    def _status(self, field: str) -> int:
        match = re.search(rf"{field}:\s+(\d+) kB", Path(f"/proc/{self.pid}/status").read_text())
        assert match is not None
        return int(match[1]) * 1024

    # --- the end ---

    def signal(self, number: int = signal.SIGTERM) -> None:
        self.popen.send_signal(number)

    def wait(self, timeout_s: float = PATIENCE_S) -> int:
        """Return the exit code."""
        code = self.popen.wait(timeout_s)
        self.stdout.finish()
        self.stderr.finish()
        return code

    def stop(self) -> None:
        """End the process as an operator does: it must leave with 0, and must not have stumbled on its way."""
        if self.alive:
            self.signal()
        try:
            code = self.wait()
        except subprocess.TimeoutExpired:
            self.popen.kill()
            self.wait()
            raise AssertionError(f"{self.arguments} does not stop:\n{self.errors()}") from None
        self.check()
        assert code == 0, f"{self.arguments} left with {code}:\n{self.errors()}"

    def kill(self) -> None:
        """End the process as the kernel does when memory is short."""
        self.popen.kill()
        self.wait()
        self.check()

    def errors(self) -> str:
        return "".join(self.stderr.lines)

    def check(self) -> None:
        """Hold everything written so far against: no traceback, no internal error, one JSON object a line."""
        for line in (*self.stderr.lines, *self.stdout.lines):
            assert "Traceback" not in line, self.errors()
            assert "internal error" not in line, self.errors()
            if not line.startswith("pico: "):
                assert json.loads(line).get("level") != "error", line


class Fleet:
    """Starts processes on one runtime and ends them all, newest first."""

    def __init__(self, runtime: str) -> None:
        self.runtime = runtime
        self._processes: list[Process] = []

    def start(self, *arguments: str) -> Process:
        process = Process(*arguments, "--runtime", self.runtime)
        self._processes.append(process)
        return process

    def server(self, *flags: str, proxy_port: int = 0, upstream_port: int = 0) -> "Server":
        return Server(self, flags, proxy_port, upstream_port)

    def agent(self, server: "Server | int", endpoint: str, address: object, *flags: str, kind: str = "http") -> Process:
        """Start an agent, and wait until it is registered if ``server`` is a server and not just a port."""
        port = server if isinstance(server, int) else server.upstream_port
        process = self.start("agent", kind, endpoint, str(address), "--connect.url", f"http://{LOCAL}:{port}", *flags)
        if not isinstance(server, int):
            process.await_log("endpoint registered")
        return process

    def forward(self, server: "Server", endpoint: str, *flags: str) -> tuple[Process, int]:
        """Start a forwarder and return it with its port."""
        url = f"http://{LOCAL}:{server.proxy_port}"
        process = self.start("forward", "tcp", f"{LOCAL}:0", endpoint, "--connect.url", url, *flags)
        return process, process.port("forward")

    def check(self) -> None:
        """Nothing that runs has stumbled."""
        for process in self._processes:
            process.check()

    def close(self) -> None:
        """Stop what still runs; every one of them must leave well."""
        with contextlib.ExitStack() as stack:
            for process in self._processes:
                if process.alive:
                    stack.callback(process.stop)
                else:
                    stack.callback(process.check)


@contextlib.contextmanager
def fleet_of(runtime: str) -> Iterator[Fleet]:
    fleet = Fleet(runtime)
    try:
        yield fleet
    finally:
        fleet.close()


class Server:
    """A server node that is ready, and its ports."""

    def __init__(self, fleet: Fleet, flags: tuple[str, ...], proxy_port: int, upstream_port: int) -> None:
        self.process = fleet.start(
            "server",
            f"--proxy.bind-addr={LOCAL}:{proxy_port}",
            f"--upstream.bind-addr={LOCAL}:{upstream_port}",
            f"--admin.bind-addr={LOCAL}:0",
            f"--cluster.gossip.bind-addr={LOCAL}:0",
            *(("--drain-delay", "0s") if "--drain-delay" not in flags else ()),
            *flags,
        )
        self.process.await_log("ready")
        self.proxy_port = self.process.port("proxy")
        self.upstream_port = self.process.port("upstream")
        self.admin_port = self.process.port("admin")


@contextlib.contextmanager
def reserved_port() -> Iterator[int]:
    """A port that nobody listens on, and that nobody else is given meanwhile; a server may be told to take it."""
    with socket.socket() as reservation:
        reservation.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        reservation.bind((LOCAL, 0))
        yield reservation.getsockname()[1]


# --- raw clients -----------------------------------------------------------------------------------------------------


class Wire:
    """A raw connection with a buffer: what an HTTP library would hide is visible here."""

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

    def receive_until(self, end: bytes) -> bytes:
        """Return everything up to and with ``end``."""
        while end not in self.buffer:
            data = self.socket.recv(65_536)
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
    """A message head, strict about what it is made of. ``head["name"]`` is a field's value, or empty."""

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


def assert_error(response: tuple[Head, bytes], status: int, message: str) -> None:
    """Hold an error of Pico's own against its exact form."""
    head, body = response
    assert (head.status, json.loads(body)) == (status, {"error": message})
    assert head["content-type"] == "application/json"
    assert head["x-content-type-options"] == "nosniff"
