"""A raw stream in the hands of the program."""

from types import TracebackType

from pico_core.errors import ConfigError
from pico_driver.embedding.connection import ProgramConnection
from pico_driver.embedding.errors import StreamBrokenError, StreamClosedError
from pico_driver.embedding.hub import Hub
from pico_driver.embedding.runtime import Event
from pico_driver.reads import RECEIVE_BUFFER_BYTES
from pico_driver.sockets import READ_BYTES


class Stream:
    """A duplex stream of bytes: one connection of a client to a ``tcp`` endpoint.

    One task may read while another one writes. As an async context manager it is closed at the end, and reset where the
    block raises. As an async iterator it gives the pieces that come, until the peer's end of stream.
    """

    def __init__(self, hub: Hub, endpoint: str) -> None:
        """Streams are made by listeners and by ``dial``."""
        self.endpoint = endpoint
        self.connection = ProgramConnection(hub, self._changed)
        self._runtime = hub.runtime
        self._waiting: Event | None = None
        self._ended = False
        self._closed = False

    async def read(self, max_bytes: int = READ_BYTES) -> bytes:
        """Return bytes that have come, at most ``max_bytes``, or wait for some; empty at the peer's end of stream.

        Raises ``StreamBrokenError`` if the stream was reset, ``StreamClosedError`` if this side has closed it, and
        ``ConfigError`` for less than one byte, whose result would look like an end of stream.
        """
        connection = self.connection
        if max_bytes < 1:
            raise ConfigError(f"max_bytes wants 1 or more, found {max_bytes}")
        while True:
            if data := connection.take(max_bytes):
                return data
            if connection.broken:
                raise StreamBrokenError(f"the stream of '{self.endpoint}' is broken: {connection.broken}")
            if self._closed:
                raise StreamClosedError("the stream is closed")
            if not connection.sendable:
                await self._runtime.checkpoint()
                return b""
            await self._change()

    async def write(self, data: bytes | bytearray | memoryview) -> None:
        """Write all of ``data``; waits while the peer does not take more (the window of its stream).

        Raises ``StreamBrokenError`` if the stream was reset, ``StreamClosedError`` after ``write_eof`` and ``aclose``.
        """
        view = memoryview(data)
        # One input carries as much as one read of a socket.
        for start in range(0, len(view), RECEIVE_BUFFER_BYTES):
            await self._writable()
            self.connection.give(bytes(view[start : start + RECEIVE_BUFFER_BYTES]))
            await self._runtime.checkpoint()
        await self._writable()

    async def write_eof(self) -> None:
        """End this direction (half-close); reading goes on. Does nothing the second time."""
        if not self._ended:
            await self._writable()
            self._ended = True
            self.connection.give_eof()
            await self._runtime.checkpoint()

    async def aclose(self) -> None:
        """End both directions; what was written is still delivered. Does nothing if the stream is over."""
        self.close()
        await self._runtime.checkpoint()

    def close(self) -> None:
        """Do what ``aclose`` does, without giving others a turn."""
        if not self.connection.is_over and not self._ended:
            self._ended = True
            self.connection.give_eof()
        self._ended = self._closed = True
        self.connection.hang_up(None)

    def abort(self) -> None:
        """Reset the stream, so that the peer can tell that it was cut."""
        if not self.connection.is_over:
            self.connection.broken = "this side has reset it"
            self._ended = True
            self.connection.hang_up(ConnectionError("reset by the program"))

    async def __aenter__(self) -> "Stream":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            await self.aclose()
        else:
            self.abort()

    def __aiter__(self) -> "Stream":
        return self

    async def __anext__(self) -> bytes:
        data = await self.read()
        if not data:
            raise StopAsyncIteration
        return data

    # --- inside ---

    async def _writable(self) -> None:
        connection = self.connection
        while True:
            if connection.broken:
                raise StreamBrokenError(f"the stream of '{self.endpoint}' is broken: {connection.broken}")
            if self._ended:
                raise StreamClosedError("the stream is closed for writing")
            if connection.is_over:
                raise StreamBrokenError(f"the stream of '{self.endpoint}' is over: the other side has closed it")
            if not connection.paused:
                return
            await self._change()

    async def _change(self) -> None:
        if self._waiting is None:
            self._waiting = self._runtime.event()
        await self._waiting.wait()

    def _changed(self) -> None:
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.set()
