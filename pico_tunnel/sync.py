"""The SDK for programs without an event loop: scripts, threads, notebooks, tests that are plain functions.

The names and arguments are those of ``pico_asyncio``; what is awaited there blocks here, and async context managers are
plain ones. Everything runs in one thread (``pico_tunnel/background.py``). Its objects may be used from any thread but
that one, in which applications run: there, ``pico_asyncio`` is at hand.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import TypedDict, Unpack

import pico_asyncio
from pico_core.config.agent import ListenerConfig
from pico_core.config.server import ServerConfig
from pico_core.records import Sink
from pico_driver.embedding import listener as listeners
from pico_driver.embedding.asgi import AsgiApp
from pico_driver.embedding.errors import ClosedError
from pico_driver.embedding.listener import ListenerEvent
from pico_driver.embedding.logging_sink import logging_sink
from pico_driver.embedding.wsgi import WsgiApp
from pico_driver.sockets import READ_BYTES
from pico_tunnel.background import shared


class Patience(TypedDict, total=False):
    """How long registering may take, and the end of the block; ``pico_asyncio.Client`` has the defaults."""

    patience_s: float
    grace_s: float


class Limits(Patience, total=False):
    """Those of a listener as well."""

    timeout_s: float
    max_streams: int


class AppOptions(Limits, total=False):
    """Or all keys of the listener at once."""

    config: ListenerConfig | None


class ForwardOptions(Patience, total=False):
    """How a service is reached."""

    protocol: str
    config: ListenerConfig | None


@contextmanager
def connect(
    url: str,
    *,
    token: str = "",
    inspect: str | int = "",
    settings: Mapping[str, str] | None = None,
    sink: Sink = logging_sink,
) -> Iterator["Client"]:
    """Be an agent of the server at ``url``, its upstream port: give a ``Client`` that registers endpoints.

    Arguments, end and errors are those of ``pico_asyncio.connect``. What is logged goes to ``sink`` in the thread of
    the loop.
    """
    connecting = pico_asyncio.connect(url, token=token, inspect=inspect, settings=settings, sink=sink)
    with shared().held(connecting) as client:
        yield Client(client)


@contextmanager
def dial(
    url: str, endpoint: str, *, token: str = "", settings: Mapping[str, str] | None = None, sink: Sink = logging_sink
) -> Iterator["Stream"]:
    """Open a stream to a ``tcp`` endpoint through the server at ``url``, its proxy port.

    Arguments, end and errors are those of ``pico_asyncio.dial``.
    """
    with shared().held(pico_asyncio.dial(url, endpoint, token=token, settings=settings, sink=sink)) as stream:
        yield Stream(stream)


@contextmanager
def serve_node(
    config: ServerConfig | None = None, *, settings: Mapping[str, str] | None = None, sink: Sink = logging_sink
) -> Iterator["Node"]:
    """Run a server node in this program: give a ``Node`` when it is ready.

    Arguments, end and errors are those of ``pico_asyncio.serve_node``.
    """
    with shared().held(pico_asyncio.serve_node(config, settings=settings, sink=sink)) as node:
        yield Node(node)


class Client:
    """The agent inside this program. ``connect`` makes it. Each method is the one of ``pico_asyncio.Client``."""

    def __init__(self, client: pico_asyncio.Client) -> None:
        self._client = client

    @property
    def inspector_url(self) -> str:
        """Where the requests of the client's endpoints can be seen; empty without ``inspect`` of ``connect``."""
        return self._client.inspector_url

    @contextmanager
    def listen(self, endpoint: str, **options: Unpack[Limits]) -> Iterator["StreamListener"]:
        """Register a ``tcp`` endpoint whose streams this program takes itself."""
        with shared().held(self._client.listen(endpoint, **options)) as listener:
            yield StreamListener(listener)

    @contextmanager
    def serve(self, endpoint: str, app: AsgiApp, **options: Unpack[AppOptions]) -> Iterator["Listener"]:
        """Register an endpoint whose requests the ASGI application ``app`` answers, in the thread of the loop."""
        with shared().held(self._client.serve(endpoint, app, **options)) as listener:
            yield Listener(listener)

    @contextmanager
    def serve_wsgi(
        self, endpoint: str, app: WsgiApp, *, threads: int = 40, **options: Unpack[AppOptions]
    ) -> Iterator["Listener"]:
        """Register an endpoint whose requests the WSGI application ``app`` answers, in at most ``threads`` threads."""
        with shared().held(self._client.serve_wsgi(endpoint, app, threads=threads, **options)) as listener:
            yield Listener(listener)

    @contextmanager
    def forward(self, endpoint: str, addr: str, **options: Unpack[ForwardOptions]) -> Iterator["Listener"]:
        """Register an endpoint whose requests go to the service at ``addr``, as with ``pico agent``."""
        with shared().held(self._client.forward(endpoint, addr, **options)) as listener:
            yield Listener(listener)

    def wait_closed(self, timeout_s: float | None = None) -> None:
        """Wait until the client has stopped. Raises ``TimeoutError`` after ``timeout_s``."""
        shared().call(self._client.wait_closed, timeout_s=timeout_s)


class Listener:
    """An endpoint that is registered while its block runs. ``Client`` makes it."""

    def __init__(self, listener: listeners.Listener) -> None:
        self._listener = listener

    def __repr__(self) -> str:
        return repr(self._listener)

    @property
    def endpoint(self) -> str:
        """The endpoint ID."""
        return self._listener.endpoint

    @property
    def url(self) -> str:
        """Where clients reach the endpoint, as the server told last; empty where it does not tell."""
        return self._listener.url

    @property
    def node(self) -> str:
        """The ID of the node that has the tunnel."""
        return self._listener.node

    @property
    def is_registered(self) -> bool:
        """Whether there is a tunnel now."""
        return self._listener.is_registered

    def events(self) -> Iterator[ListenerEvent]:
        """Give what has become of the endpoint and becomes of it, until the listener is over. Waits for each."""
        while (event := shared().call(self._listener.next_event)) is not None:
            yield event


class StreamListener(Listener):
    """A listener whose streams the program takes: ``for stream in listener``, or ``accept()``."""

    _listener: listeners.StreamListener

    def accept(self, timeout_s: float | None = None) -> "Stream":
        """Return the next stream.

        Raises ``RefusedError`` or ``ClosedError`` when the listener is over, ``TimeoutError`` after ``timeout_s``.
        """
        return Stream(shared().call(self._listener.accept, timeout_s=timeout_s))

    def __iter__(self) -> "StreamListener":
        return self

    def __next__(self) -> "Stream":
        try:
            return self.accept()
        except ClosedError:
            raise StopIteration from None


class Stream:
    """A duplex stream of bytes. One thread may read while another one writes.

    As a context manager it is closed at the end, and reset where the block raises. As an iterator it gives the pieces
    that come, until the peer's end of stream. Errors are those of ``pico_asyncio.Stream``.
    """

    def __init__(self, stream: pico_asyncio.Stream) -> None:
        self._stream = stream

    @property
    def endpoint(self) -> str:
        """The endpoint ID."""
        return self._stream.endpoint

    def read(self, max_bytes: int = READ_BYTES, timeout_s: float | None = None) -> bytes:
        """Return what has come, at most ``max_bytes``, or wait for it; empty at the peer's end of stream.

        Raises ``TimeoutError`` after ``timeout_s``; nothing is lost by that.
        """
        return shared().call(self._stream.read, max_bytes, timeout_s=timeout_s)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Write all of ``data``; waits while the peer does not take more."""
        shared().call(self._stream.write, data)

    def write_eof(self) -> None:
        """End this direction (half-close); reading goes on."""
        shared().call(self._stream.write_eof)

    def close(self) -> None:
        """End both directions; what was written is still delivered."""
        shared().call(self._stream.aclose)

    def abort(self) -> None:
        """Reset the stream, so that the peer can tell that it was cut."""
        shared().call(self._abort)

    async def _abort(self) -> None:
        self._stream.abort()

    def __enter__(self) -> "Stream":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.close()
        else:
            self.abort()

    def __iter__(self) -> "Stream":
        return self

    def __next__(self) -> bytes:
        data = self.read()
        if not data:
            raise StopIteration
        return data


class Node:
    """A node that serves while its block runs. ``serve_node`` makes it. Addresses are ``host:port``."""

    def __init__(self, node: pico_asyncio.Node) -> None:
        self._node = node

    def __repr__(self) -> str:
        return repr(self._node)

    @property
    def node_id(self) -> str:
        """The ID by which other nodes and status pages know the node."""
        return self._node.node_id

    def address_of(self, port: str) -> str:
        """Where the port of that name listens. Raises ``KeyError`` if the node has none."""
        return self._node.address_of(port)

    @property
    def proxy_address(self) -> str:
        """Where clients connect."""
        return self._node.proxy_address

    @property
    def upstream_address(self) -> str:
        """Where agents connect."""
        return self._node.upstream_address

    @property
    def admin_address(self) -> str:
        """Where operators connect."""
        return self._node.admin_address

    @property
    def gossip_address(self) -> str:
        """Where other nodes join."""
        return self._node.gossip_address

    @property
    def proxy_url(self) -> str:
        """The URL for clients, and for ``dial``."""
        return self._node.proxy_url

    @property
    def upstream_url(self) -> str:
        """The URL for agents, and for ``connect``."""
        return self._node.upstream_url

    def wait_closed(self, timeout_s: float | None = None) -> None:
        """Wait until the node has stopped. Raises ``TimeoutError`` after ``timeout_s``."""
        shared().call(self._node.wait_closed, timeout_s=timeout_s)
