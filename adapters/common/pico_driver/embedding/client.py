"""A connection of the program to a Pico or Piko server: it registers endpoints and serves them. Start at ``Client``."""

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import TypeAlias

from msgspec.structs import replace

from pico_core.boundary import Exit
from pico_core.config.agent import SERVICE_S, SERVICE_STREAMS, ListenerConfig
from pico_core.config.inspect import PORT
from pico_core.config.values import Origin
from pico_core.errors import PicoError
from pico_core.program import SOCKET, STREAMS
from pico_driver.embedding import arguments
from pico_driver.embedding.asgi import AppListener, AsgiApp
from pico_driver.embedding.blocks import AppRegistration, Registration, WsgiRegistration
from pico_driver.embedding.hub import Hub
from pico_driver.embedding.listener import Listener, StreamListener
from pico_driver.embedding.runtime import Runtime
from pico_driver.embedding.wsgi import WsgiAdapter, WsgiApp

PATIENCE_S = 30.0
"""How long the server may be away before an endpoint counts as unreachable: a restart of a node takes less."""

GRACE_S = 5.0
"""How long requests and streams in flight may take at the end of a block. A program that stops is waited for."""

IN_PROGRAM = Origin("this-program", 0)
"""Stands for the address of a service that is the program itself."""


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

    def listen(
        self,
        endpoint: str,
        *,
        timeout_s: float = SERVICE_S,
        max_streams: int = SERVICE_STREAMS,
        patience_s: float = PATIENCE_S,
        grace_s: float = GRACE_S,
    ) -> Registration[StreamListener]:
        """Register a ``tcp`` endpoint whose streams this program takes itself.

        A stream that is not taken within ``timeout_s`` is reset. Raises ``ConfigError`` where an argument is not
        valid.
        """
        config = ListenerConfig(
            endpoint_id=arguments.endpoint_id(endpoint),
            addr=IN_PROGRAM,
            protocol="tcp",
            timeout_s=arguments.seconds("timeout_s", timeout_s, is_zero_allowed=False),
            max_streams=arguments.count("max_streams", max_streams),
        )
        return Registration(self.hub, StreamListener, config, STREAMS, patience_s, grace_s)

    def serve(
        self,
        endpoint: str,
        app: AsgiApp,
        *,
        timeout_s: float = SERVICE_S,
        max_streams: int = SERVICE_STREAMS,
        config: ListenerConfig | None = None,
        patience_s: float = PATIENCE_S,
        grace_s: float = GRACE_S,
    ) -> Registration[AppListener]:
        """Register an endpoint whose requests the ASGI application ``app`` answers, without a port.

        Its lifespan begins before the endpoint is registered and ends after the last request. A response has to begin
        within ``timeout_s``, and at most ``max_streams`` requests are answered at once; ``config``, where it is given,
        has these and the other keys of a listener. Raises ``AppError`` if the application does not start, and
        ``ConfigError`` where an argument is not valid.
        """
        made = _app_config(endpoint, timeout_s, max_streams, config)
        return AppRegistration(self.hub, arguments.application(app), made, patience_s, grace_s)

    def serve_wsgi(
        self,
        endpoint: str,
        app: WsgiApp,
        *,
        threads: int = 40,
        timeout_s: float = SERVICE_S,
        max_streams: int = SERVICE_STREAMS,
        config: ListenerConfig | None = None,
        patience_s: float = PATIENCE_S,
        grace_s: float = GRACE_S,
    ) -> Registration[AppListener]:
        """Register an endpoint whose requests the WSGI application ``app`` answers, in at most ``threads`` threads.

        The other arguments are those of ``serve``. A thread cannot be cancelled: it ends when it next reads or sends.
        """
        made = _app_config(endpoint, timeout_s, max_streams, config)
        adapter = WsgiAdapter(arguments.application(app), self.runtime, arguments.count("threads", threads))
        return WsgiRegistration(self.hub, adapter, made, patience_s, grace_s)

    def forward(
        self,
        endpoint: str,
        addr: str | int,
        *,
        protocol: str = "http",
        config: ListenerConfig | None = None,
        patience_s: float = PATIENCE_S,
        grace_s: float = GRACE_S,
    ) -> Registration[Listener]:
        """Register an endpoint whose requests go to the service at ``addr``, as with ``pico agent``.

        ``addr`` is a port, a ``host:port`` or a URL with ``http://``; ``protocol`` is ``http`` or ``tcp``. ``config``
        has all other keys of a listener. Raises ``ConfigError`` where one of them is not valid.
        """
        service, name = arguments.service(addr), arguments.endpoint_id(endpoint)
        spoken = arguments.protocol(protocol)
        config = arguments.listener_config(config)
        if config is None:
            config = ListenerConfig(endpoint_id=name, addr=service, protocol=spoken)
        else:
            config = replace(config, endpoint_id=name, addr=service, protocol=spoken)
        return Registration(self.hub, Listener, config, SOCKET, patience_s, grace_s)


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


def _app_config(endpoint: str, timeout_s: float, max_streams: int, config: ListenerConfig | None) -> ListenerConfig:
    """Return the configuration of the listener of an application."""
    name = arguments.endpoint_id(endpoint)
    timeout_s = arguments.seconds("timeout_s", timeout_s, is_zero_allowed=False)
    max_streams = arguments.count("max_streams", max_streams)
    config = arguments.listener_config(config)
    if config is None:
        return ListenerConfig(endpoint_id=name, addr=IN_PROGRAM, timeout_s=timeout_s, max_streams=max_streams)
    return replace(config, endpoint_id=name, addr=IN_PROGRAM)
