"""The SDK on asyncio and uvloop: a machine in a task of the program's loop. Start at ``connect``."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from pico_asyncio.driver import drive
from pico_asyncio.threads import AsyncioThreads
from pico_core.agent.client import ClientMachine
from pico_core.boundary import Exit, Machine
from pico_core.config.agent import AgentConfig
from pico_core.config.forward import ForwardConfig
from pico_core.config.server import ServerConfig, draw_node_id
from pico_core.config.values import identifier
from pico_core.forward.dialing import DIAL, DialMachine
from pico_core.records import Sink
from pico_core.server.embedded import EmbeddedNode
from pico_driver.embedding.client import Client as Client
from pico_driver.embedding.client import Program, run_with_client
from pico_driver.embedding.dialing import open_stream
from pico_driver.embedding.hub import Hub
from pico_driver.embedding.listener import Listener as Listener
from pico_driver.embedding.listener import StreamListener as StreamListener
from pico_driver.embedding.logging_sink import logging_sink
from pico_driver.embedding.node import Node as Node
from pico_driver.embedding.node import ready
from pico_driver.embedding.settings import (
    client_settings,
    descriptor_limit,
    new_entropy,
    secure_entropy,
    server_settings,
)
from pico_driver.embedding.stream import Stream as Stream
from pico_driver.tls_sections import agent_sections, forward_sections, load_profiles, server_sections

if TYPE_CHECKING:
    from pico_driver.tls_profiles import Profiles

Result = TypeVar("Result")


@asynccontextmanager
async def connect(
    url: str, *, token: str = "", settings: Mapping[str, str] | None = None, sink: Sink = logging_sink
) -> AsyncIterator[Client]:
    """Be an agent of the server at ``url``, its upstream port: give a ``Client`` that registers endpoints.

    ``token`` is what the server asks for, if it does. ``settings`` are further keys of ``pico agent`` as its flags have
    them, such as ``{"connect.tls.root_cas": "ca.pem"}``. What the machine logs goes to ``sink``, by default to the
    logger ``pico``. No connection is opened before an endpoint is registered. At the end of the block everything is
    closed; a block that is cancelled or raises is cut at once.

    Raises ``ConfigError`` where an argument is not valid.
    """
    config = client_settings(AgentConfig, url, token, settings)
    profiles = load_profiles(agent_sections(config))
    async with embedded(ClientMachine(config, new_entropy()), sink, profiles) as hub:
        yield Client(hub)


@asynccontextmanager
async def dial(
    url: str, endpoint: str, *, token: str = "", settings: Mapping[str, str] | None = None, sink: Sink = logging_sink
) -> AsyncIterator[Stream]:
    """Open a stream to a ``tcp`` endpoint through the server at ``url``, its proxy port.

    ``token`` is what the server asks clients for, if it does. ``settings`` are further keys of ``pico forward``:
    ``connect.timeout`` is how long it may take. At the end of the block what was written is delivered; a block that
    raises resets the stream.

    Raises ``RefusedError`` if the server does not let this client in or the endpoint takes no streams,
    ``UnreachableError`` if it has no way there in time, and ``ConfigError``.
    """
    config = client_settings(ForwardConfig, url, token, settings)
    profiles = load_profiles(forward_sections(config))
    name = identifier(endpoint)
    machine = DialMachine(config, new_entropy())
    async with embedded(machine, sink, profiles) as hub, await open_stream(hub, name, DIAL + name) as stream:
        yield stream


@asynccontextmanager
async def serve_node(
    config: ServerConfig | None = None, *, settings: Mapping[str, str] | None = None, sink: Sink = logging_sink
) -> AsyncIterator[Node]:
    """Run a server node in this program: give a ``Node`` when it is ready.

    Without ``config``, every port is a free one of the loopback address and a stop does not wait for balancers;
    ``settings`` are further keys of ``pico server`` as its flags have them, such as ``{"cluster.join": address}``. At
    the end of the block the node drains within its ``grace_period`` and leaves the cluster; a block that is cancelled
    or raises ends it at once.

    Raises ``ClosedError`` if a port cannot be opened, and ``ConfigError``.
    """
    config = config or server_settings(settings)
    entropy = secure_entropy()
    node_id = draw_node_id(config.cluster, entropy)
    machine = EmbeddedNode(config, node_id, entropy, descriptor_limit())
    async with embedded(machine, sink, load_profiles(server_sections(config))) as hub:
        await ready(hub)
        yield Node(hub, node_id, is_secure=config.proxy.tls.enabled)


@asynccontextmanager
async def embedded(machine: Machine, sink: Sink, profiles: "Profiles | None", **more: Any) -> AsyncIterator[Hub]:
    """Run a block while a machine runs beside it; at the end of the block the machine is asked to end.

    ``more`` are further arguments of ``drive``.
    """
    runtime = AsyncioRuntime()
    hub = Hub(runtime)
    driving = asyncio.create_task(drive(machine, sink, profiles=profiles, hub=hub, **more), name="pico")
    try:
        opened = asyncio.create_task(hub.opened.wait())
        await asyncio.wait((driving, opened), return_when=asyncio.FIRST_COMPLETED)
        yield hub
        hub.shut_down()
        await driving
    finally:
        opened.cancel()
        driving.cancel()
        await runtime.end(driving, opened)


async def drive_program(
    machine: Machine, sink: Sink, program: Program, *, profiles: "Profiles | None" = None, **more: Any
) -> Exit:
    """Do what ``run_with_client`` does with a machine. ``more`` are further arguments of ``drive``."""
    return await run_with_client(program, embedded(machine, sink, profiles, **more))


class AsyncioRuntime:
    """A ``Runtime`` of asyncio."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._tasks: set[asyncio.Task[None]] = set()

    def event(self) -> asyncio.Event:
        """Return a new event."""
        return asyncio.Event()

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run ``work`` in a task of its own."""
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def checkpoint(self) -> None:
        """Let the driver take its turn."""
        await asyncio.sleep(0)

    def threads(self, limit: int) -> AsyncioThreads:
        """Return a pool of at most ``limit`` threads."""
        return AsyncioThreads(limit)

    def call(self, work: Callable[..., Coroutine[Any, Any, Result]], *arguments: Any) -> Result:
        """Await ``work`` on the loop, from a thread."""
        return asyncio.run_coroutine_threadsafe(work(*arguments), self._loop).result()

    async def end(self, *others: asyncio.Task[Any]) -> None:
        """Cancel every task, and wait until all of them and ``others`` have ended.

        A cancel meanwhile is passed on afterwards: anyio repeats its cancels until the block is left, and they would
        reach the tasks while these close their connections.
        """
        for task in self._tasks:
            task.cancel()
        waiting: set[asyncio.Task[Any]] = {*self._tasks, *others}
        cancelled: asyncio.CancelledError | None = None
        while waiting:
            try:
                _, waiting = await asyncio.wait(waiting)
            except asyncio.CancelledError as error:
                cancelled = error
                waiting = {task for task in waiting if not task.done()}
        for task in others:
            if not task.cancelled():
                task.exception()  # the driver's own error has come out of the block already
        if cancelled is not None:
            raise cancelled
