"""The blocks of a ``Client``: an endpoint is registered while one runs.

They are classes: two generators of ``asynccontextmanager``, one inside the other, take 1.4 KiB while their block runs,
which is a fifth of what an idle endpoint takes.
"""

from types import TracebackType
from typing import Generic, TypeVar

from msgspec.structs import replace

from pico_core.config.agent import ListenerConfig
from pico_core.config.values import Origin
from pico_core.errors import LocalProtocolError, PicoError
from pico_core.program import APP, SOCKET, CloseListener, OpenListener
from pico_driver.embedding import arguments
from pico_driver.embedding.asgi import AppListener, AsgiApp, Lifespan
from pico_driver.embedding.hub import Hub
from pico_driver.embedding.listener import Listener
from pico_driver.embedding.wsgi import WsgiAdapter

AnyListener = TypeVar("AnyListener", bound=Listener)


class Registration(Generic[AnyListener]):
    """An ``async with`` block in which an endpoint is registered; it gives the listener.

    At the end of the block the endpoint drains for ``grace_s``; a block that raises or is cancelled is cut at once.
    """

    __slots__ = ("_config", "_grace_s", "_hub", "_kind", "_listener", "_patience_s", "_served_by")

    def __init__(
        self,
        hub: Hub,
        kind: type[AnyListener],
        config: ListenerConfig,
        served_by: str,
        patience_s: float,
        grace_s: float,
    ) -> None:
        """``config.addr`` counts for a service on a socket only."""
        self._hub = hub
        self._kind = kind
        self._config: ListenerConfig | None = config
        self._served_by = served_by
        self._patience_s = arguments.seconds("patience_s", patience_s)
        self._grace_s = arguments.seconds("grace_s", grace_s)
        self._listener: AnyListener | None = None

    async def __aenter__(self) -> AnyListener:
        config, self._config = self._unused(), None
        listener = self._listener = self._new_listener(config.endpoint_id)
        if self._served_by != SOCKET:
            config = replace(config, addr=Origin("this-program", listener.number))
        try:
            self._hub.driver.announce(OpenListener(listener.number, config, self._served_by, self._patience_s))
            await listener.registered()
        except BaseException:
            self._cut(listener)
            raise
        return listener

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        listener = self._listener
        assert listener is not None, "it was entered"
        try:
            if kind is None:
                self._hub.announce(CloseListener(listener.number, self._grace_s))
                await listener.over.wait()
        finally:
            self._cut(listener)

    def _unused(self) -> ListenerConfig:
        if not self._hub.runtime.is_running_here():
            raise LocalProtocolError("the client belongs to another loop; pico_tunnel.sync may be used from any thread")
        if self._config is None:
            raise RuntimeError("this block was entered before: call the client's method again")
        return self._config

    def _new_listener(self, endpoint: str) -> AnyListener:
        return self._kind(self._hub, endpoint)

    def _cut(self, listener: AnyListener) -> None:
        if not listener.over.is_set():
            self._hub.announce(CloseListener(listener.number, 0.0))
        self._hub.remove(listener.number)


class AppRegistration(Registration[AppListener]):
    """The block of an application: its lifespan begins before the endpoint is registered, and ends after it."""

    __slots__ = ("_app", "_lifespan")

    def __init__(self, hub: Hub, app: AsgiApp, config: ListenerConfig, patience_s: float, grace_s: float) -> None:
        super().__init__(hub, AppListener, config, APP, patience_s, grace_s)
        self._app = app
        self._lifespan: Lifespan | None = None

    async def __aenter__(self) -> AppListener:
        self._unused()
        lifespan = self._lifespan = Lifespan(self._hub, self._app)
        try:
            await lifespan.start()
            listener = await self._registered(lifespan)
        except BaseException:
            self._end()
            raise
        if not lifespan.is_supported:
            self._lifespan = None  # its task has ended
        return listener

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            await super().__aexit__(kind, error, traceback)
            if kind is None and self._lifespan is not None:
                self._cancel_calls()
                await self._lifespan.stop(self._grace_s)
        finally:
            self._end()

    async def _registered(self, lifespan: Lifespan) -> AppListener:
        try:
            return await super().__aenter__()
        except PicoError:
            await lifespan.stop(self._grace_s)  # it has started well
            raise

    def _new_listener(self, endpoint: str) -> AppListener:
        assert self._lifespan is not None, "it has started"
        return AppListener(self._hub, endpoint, self._app, self._lifespan.state)

    def _cancel_calls(self) -> None:
        if self._listener is not None:
            self._listener.cancel_calls()

    def _end(self) -> None:
        """End what still runs of the application."""
        self._cancel_calls()
        if self._lifespan is not None:
            self._lifespan.cancel()


class WsgiRegistration(AppRegistration):
    """The block of a WSGI application, whose threads end with it."""

    __slots__ = ("_adapter",)

    def __init__(
        self, hub: Hub, adapter: WsgiAdapter, config: ListenerConfig, patience_s: float, grace_s: float
    ) -> None:
        super().__init__(hub, adapter, config, patience_s, grace_s)
        self._adapter = adapter

    def _end(self) -> None:
        super()._end()
        self._adapter.close()
