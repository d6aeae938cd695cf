"""WSGI applications (PEP 3333) as ASGI ones: each call runs in a thread of a bounded pool."""

import io
import sys
from collections.abc import Callable, Iterable, Iterator, MutableMapping
from typing import Any, TypeAlias
from urllib.parse import unquote_to_bytes

from pico_driver.embedding.asgi import AsgiSend, Receive
from pico_driver.embedding.runtime import Runtime, Threads
from pico_driver.reads import RECEIVE_BUFFER_BYTES

Environ: TypeAlias = dict[str, Any]
WsgiApp: TypeAlias = Callable[[Environ, Callable[..., Any]], Iterable[bytes]]


class WsgiAdapter:
    """An ASGI application that calls a WSGI one, in at most ``limit`` threads. In the end: ``close``.

    A thread waits for its client both ways, so it holds little.
    """

    __slots__ = ("_app", "_limit", "_runtime", "_threads")

    def __init__(self, app: WsgiApp, runtime: Runtime, limit: int) -> None:
        self._app = app
        self._runtime = runtime
        self._limit = limit
        self._threads: Threads | None = None

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: AsgiSend) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            raise RuntimeError("WSGI has requests only")
        if self._threads is None:
            self._threads = self._runtime.threads(self._limit)
        call = _Call(self._app, self._runtime, receive, send)
        await self._threads.run(lambda: call.run(environ_of(scope)))

    def close(self) -> None:
        """Start no more calls."""
        if self._threads is not None:
            self._threads.close()


def environ_of(scope: MutableMapping[str, Any]) -> Environ:
    """Return the variables of a request, as PEP 3333 has them; texts are latin-1 there."""
    host, port = scope["server"]
    environ: Environ = {
        "REQUEST_METHOD": scope["method"],
        "SCRIPT_NAME": "",
        "PATH_INFO": unquote_to_bytes(scope["raw_path"]).decode("latin-1"),
        "QUERY_STRING": scope["query_string"].decode("latin-1"),
        "SERVER_NAME": host,
        "SERVER_PORT": str(port),
        "SERVER_PROTOCOL": f"HTTP/{scope['http_version']}",
        "REMOTE_ADDR": scope["client"][0] if scope["client"] else "",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": scope["scheme"],
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
        "wsgi.input_terminated": True,
        "wsgi.file_wrapper": FileWrapper,
    }
    for name, value in scope["headers"]:
        text = value.decode("latin-1")
        key = name.decode("latin-1").upper().replace("-", "_")
        key = key if key in ("CONTENT_TYPE", "CONTENT_LENGTH") else f"HTTP_{key}"
        environ[key] = f"{environ[key]},{text}" if key in environ else text
    return environ


class FileWrapper:
    """What an application gives for a file: its pieces, each of which is worth a turn of the loop.

    The size that an application suggests does not count: it is 8 KiB as a rule, and each piece waits for the loop.
    """

    def __init__(self, file: Any, _block_bytes: int = 0) -> None:
        self._file = file
        if hasattr(file, "close"):
            self.close = file.close

    def __iter__(self) -> Iterator[bytes]:
        return iter(lambda: self._file.read(RECEIVE_BUFFER_BYTES), b"")


class _Call:
    """One call, in its thread."""

    def __init__(self, app: WsgiApp, runtime: Runtime, receive: Receive, send: AsgiSend) -> None:
        self._app = app
        self._runtime = runtime
        self._receive = receive
        self._send = send
        self._start: dict[str, Any] | None = None
        self._is_started = False

    def run(self, environ: Environ) -> None:
        """Call the application, and send what it gives."""
        environ["wsgi.input"] = io.BufferedReader(_Input(self._runtime, self._receive))
        pieces = self._app(environ, self._start_response)
        try:
            if isinstance(pieces, list | tuple) and len(pieces) == 1 and not self._is_started:
                self._write(pieces[0], more=False)
                return
            for piece in pieces:
                if piece:
                    self._write(piece, more=True)
            self._write(b"", more=False)
        finally:
            close = getattr(pieces, "close", None)
            if close is not None:
                close()

    def _start_response(
        self, status: str, headers: list[tuple[str, str]], exc_info: Any = None
    ) -> Callable[[bytes], None]:
        if self._is_started and exc_info:
            raise exc_info[1].with_traceback(exc_info[2])
        if self._start is not None and not exc_info:
            raise RuntimeError("start_response was called before")
        lines = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]
        self._start = {"type": "http.response.start", "status": int(status[:3]), "headers": lines}
        return lambda data: self._write(data, more=True)

    def _write(self, data: bytes, *, more: bool) -> None:
        if self._start is None:
            raise RuntimeError("start_response was not called")
        messages: list[dict[str, Any]] = [] if self._is_started else [self._start]
        self._is_started = True
        messages.append({"type": "http.response.body", "body": data, "more_body": more})
        self._runtime.call(self._send_all, messages)

    async def _send_all(self, messages: list[dict[str, Any]]) -> None:
        for message in messages:
            await self._send(message)


class _Input(io.RawIOBase):
    """The request's body, read as the application reads it."""

    def __init__(self, runtime: Runtime, receive: Receive) -> None:
        super().__init__()
        self._runtime = runtime
        self._receive = receive
        self._rest = b""
        self._ended = False

    def readable(self) -> bool:
        """Say that it can be read."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Read the bytes that have come, or wait for some. Raises ``OSError`` if the client leaves."""
        while not self._rest and not self._ended:
            message = self._runtime.call(self._next)
            if message["type"] == "http.disconnect":
                raise ConnectionResetError("the client has left")
            self._rest = message["body"]
            self._ended = not message["more_body"]
        size = min(len(self._rest), len(buffer))
        buffer[:size] = self._rest[:size]
        self._rest = self._rest[size:]
        return size

    async def _next(self) -> MutableMapping[str, Any]:
        return await self._receive()
