"""The SDK on trio: a machine in a nursery around the program's block. Start at ``connect``."""

from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import trio

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
from pico_trio.driver import drive

if TYPE_CHECKING:
    from pico_driver.tls_profiles import Profiles

Result = TypeVar("Result")


@asynccontextmanager
async def connect(
    url: str, *, token: str = "", settings: Mapping[str, str] | None = None, sink: Sink = logging_sink
) -> AsyncIterator[Client]:
    """Be an agent of the server at ``url``, its upstream port: give a ``Client`` that registers endpoints.

    Arguments, end and errors are those of ``pico_asyncio.connect``. What the block raises comes out as it is, and not
    in an exception group.
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

    Arguments, end and errors are those of ``pico_asyncio.dial``.
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

    Arguments, end and errors are those of ``pico_asyncio.serve_node``.
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
    failure: BaseException | None = None
    async with trio.open_nursery() as nursery:
        hub = Hub(TrioRuntime(nursery))
        nursery.start_soon(partial(drive, machine, sink, profiles=profiles, hub=hub, **more))
        try:
            await hub.opened.wait()
            yield hub
            hub.shut_down()
            await hub.closed.wait()
        except BaseException as error:  # noqa: BLE001 - it goes on below, outside of the nursery, which would wrap it
            failure = error
        nursery.cancel_scope.cancel()
    if failure is not None:
        raise failure


async def drive_program(
    machine: Machine, sink: Sink, program: Program, *, profiles: "Profiles | None" = None, **more: Any
) -> Exit:
    """Do what ``run_with_client`` does with a machine. ``more`` are further arguments of ``drive``."""
    return await run_with_client(program, embedded(machine, sink, profiles, **more))


def run_program(machine: Machine, sink: Sink, program: Program, **more: Any) -> Exit:
    """Do what ``drive_program`` does, under ``trio.run``; signals are as in ``drive``. Next: end with ``exit.code``."""
    return trio.run(partial(drive_program, machine, sink, program, signals=True, **more))


class TrioThreads:
    """A ``Threads`` of trio."""

    def __init__(self, limit: int) -> None:
        self._limiter = trio.CapacityLimiter(limit)

    async def run(self, work: Callable[[], Result]) -> Result:
        """Run ``work`` in a thread."""
        return await trio.to_thread.run_sync(work, abandon_on_cancel=True, limiter=self._limiter)

    def close(self) -> None:
        """Do nothing: the threads are trio's."""


class TrioRuntime:
    """A ``Runtime`` of trio."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self._nursery = nursery
        self._token = trio.lowlevel.current_trio_token()

    def event(self) -> trio.Event:
        """Return a new event."""
        return trio.Event()

    def spawn(self, work: Coroutine[Any, Any, None]) -> trio.CancelScope:
        """Run ``work`` in a task of its own."""
        scope = trio.CancelScope()
        self._nursery.start_soon(self._work, scope, work)
        return scope

    async def _work(self, scope: trio.CancelScope, work: Coroutine[Any, Any, None]) -> None:
        with scope:
            await work

    async def checkpoint(self) -> None:
        """Let others take their turn; the driver takes its own at once."""
        await trio.lowlevel.checkpoint()

    def threads(self, limit: int) -> TrioThreads:
        """Return a pool of at most ``limit`` threads."""
        return TrioThreads(limit)

    def call(self, work: Callable[..., Coroutine[Any, Any, Result]], *arguments: Any) -> Result:
        """Await ``work`` on the loop, from a thread."""
        return trio.from_thread.run(work, *arguments, trio_token=self._token)
