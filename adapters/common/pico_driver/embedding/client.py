"""A connection of the program to a Pico or Piko server: it registers endpoints and serves them. Start at ``Client``."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, TypeAlias

from msgspec.structs import replace

from pico_core.boundary import Exit
from pico_core.config.agent import SERVICE_S, SERVICE_STREAMS, ListenerConfig
from pico_core.config.inspect import PORT
from pico_core.config.values import Origin, identifier, origin
from pico_core.errors import PicoError
from pico_core.program import APP, SOCKET, STREAMS, CloseListener, OpenListener
from pico_driver.embedding.asgi import AppListener, AsgiApp, Lifespan
from pico_driver.embedding.hub import Hub
from pico_driver.embedding.listener import Listener, StreamListener
from pico_driver.embedding.runtime import Runtime
from pico_driver.embedding.wsgi import WsgiAdapter, WsgiApp

PATIENCE_S = 30.0
"""How long the server may be away before an endpoint counts as unreachable: a restart of a node takes less."""

GRACE_S = 5.0
"""How long requests and streams in flight may take at the end of a block. A program that stops is waited for."""


class Client:
    """The agent inside this program. ``connect`` makes it.

    Each method registers one endpoint for as long as its block runs, and enters the block when the endpoint is
    registered. It raises ``RefusedError`` if the server refuses the endpoint, ``UnreachableError`` if the server is
    away for ``patience_s``. At the end of the block what is in flight gets ``grace_s`` to end; a block that raises or
    is cancelled is cut at once.
    """

    def __init__(self, hub: Hub) -> None:
        self.hub = hub

    @property
    def runtime(self) -> Runtime:
        """The loop's tasks and events."""
        return self.hub.runtime

    @property
    def inspector_url(self) -> str:
        """Where the requests of the client's endpoints can be seen; empty without ``inspect`` of ``connect``."""
        address = self.hub.addresses.get(PORT)
        return "" if address is None else f"http://{address}/"

    async def wait_closed(self) -> None:
        """Wait until the client has stopped, by a signal for instance."""
        await self.hub.closed.wait()

    @asynccontextmanager
    async def listen(
        self,
        endpoint: str,
        *,
        timeout_s: float = SERVICE_S,
        max_streams: int = SERVICE_STREAMS,
        patience_s: float = PATIENCE_S,
        grace_s: float = GRACE_S,
    ) -> AsyncIterator[StreamListener]:
        """Register a ``tcp`` endpoint whose streams this program takes itself.

        A stream that is not taken within ``timeout_s`` is reset. Raises ``ConfigError`` for an invalid endpoint
        ID.
        """
        listener = StreamListener(self.hub, identifier(endpoint))
        config = ListenerConfig(
            endpoint_id=endpoint,
            addr=_in_program(listener),
            protocol="tcp",
            timeout_s=timeout_s,
            max_streams=max_streams,
        )
        async with self.registered(listener, config, STREAMS, patience_s, grace_s):
            yield listener

    @asynccontextmanager
    async def serve(
        self,
        endpoint: str,
        app: AsgiApp,
        *,
        timeout_s: float = SERVICE_S,
        max_streams: int = SERVICE_STREAMS,
        config: ListenerConfig | None = None,
        patience_s: float = PATIENCE_S,
        grace_s: float = GRACE_S,
    ) -> AsyncIterator[AppListener]:
        """Register an endpoint whose requests the ASGI application ``app`` answers, without a port.

        Its lifespan begins before the endpoint is registered and ends after the last request. A response has to begin
        within ``timeout_s``, and at most ``max_streams`` requests are answered at once; ``config``, where it is given,
        has these and the other keys of a listener. Raises ``AppError`` if the application does not start.
        """
        lifespan = Lifespan(self.hub, app)
        try:
            await lifespan.start()
            listener = AppListener(self.hub, identifier(endpoint), app, lifespan.state)
            addr = _in_program(listener)
            if config is None:
                config = ListenerConfig(endpoint_id=endpoint, addr=addr, timeout_s=timeout_s, max_streams=max_streams)
            else:
                config = replace(config, endpoint_id=endpoint, addr=addr)
            try:
                async with self.registered(listener, config, APP, patience_s, grace_s):
                    yield listener
            finally:
                listener.cancel_calls()
            await lifespan.stop()
        finally:
            lifespan.cancel()

    @asynccontextmanager
    async def serve_wsgi(
        self, endpoint: str, app: WsgiApp, *, threads: int = 40, **options: Any
    ) -> AsyncIterator[AppListener]:
        """Register an endpoint whose requests the WSGI application ``app`` answers, in at most ``threads`` threads.

        ``options`` are those of ``serve``. A thread cannot be cancelled: it ends when it next reads or sends.
        """
        pool = self.runtime.threads(threads)
        try:
            async with self.serve(endpoint, WsgiAdapter(app, self.runtime, pool), **options) as listener:
                yield listener
        finally:
            pool.close()

    @asynccontextmanager
    async def forward(
        self,
        endpoint: str,
        addr: str,
        *,
        protocol: str = "http",
        config: ListenerConfig | None = None,
        patience_s: float = PATIENCE_S,
        grace_s: float = GRACE_S,
    ) -> AsyncIterator[Listener]:
        """Register an endpoint whose requests go to the service at ``addr``, as with ``pico agent``.

        ``addr`` is a port, a ``host:port`` or a URL with ``http://``; ``protocol`` is ``http`` or ``tcp``. ``config``
        has all other keys of a listener. Raises ``ConfigError`` where one of them is not valid.
        """
        addr_, name = origin(addr), identifier(endpoint)
        if config is None:
            config = ListenerConfig(endpoint_id=name, addr=addr_, protocol=protocol)
        else:
            config = replace(config, endpoint_id=name, addr=addr_, protocol=protocol)
        listener = Listener(self.hub, name)
        async with self.registered(listener, config, SOCKET, patience_s, grace_s):
            yield listener

    @asynccontextmanager
    async def registered(
        self, listener: Listener, config: ListenerConfig, served_by: str, patience_s: float, grace_s: float
    ) -> AsyncIterator[None]:
        """Run a block while a listener is registered."""
        hub, number = self.hub, listener.number
        try:
            hub.driver.announce(OpenListener(number, config, served_by, patience_s))
            await listener.settled.wait()
            if not listener.is_registered and (failure := listener.failure()) is not None:
                raise failure
            yield
            hub.announce(CloseListener(number, grace_s))
            await listener.over.wait()
        finally:
            if not listener.over.is_set():
                hub.announce(CloseListener(number, 0.0))
            hub.remove(number)


Program: TypeAlias = Callable[[Client], Awaitable[None]]
"""A program that runs with a client, and ends when that does."""


async def run_with_client(program: Program, embedded: AbstractAsyncContextManager[Hub]) -> Exit:
    """Run a program with the ``Client`` of an embedded machine, until both have ended; return how the machine ended.

    What the program raises of ``PicoError`` becomes an ``Exit`` with code 1.
    """
    try:
        async with embedded as hub:
            await program(Client(hub))
    except PicoError as error:
        return Exit(1, str(error))
    assert isinstance(hub.outcome, Exit), "a driver that ends otherwise raises"
    return hub.outcome


def _in_program(listener: Listener) -> Origin:
    """Return an address that stands for the program itself as the service of a listener."""
    return Origin("this-program", listener.number)
