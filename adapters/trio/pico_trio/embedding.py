"""The SDK on trio: a machine in a nursery around the program's block. Start at ``connect``."""

from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, TypeVar, Unpack

import trio

from pico_core.agent.client import EmbeddedClient
from pico_core.boundary import Exit, Machine
from pico_core.forward.dialing import DialMachine
from pico_core.records import Sink
from pico_core.server.embedded import EmbeddedNode
from pico_driver.embedding.client import Client as Client
from pico_driver.embedding.client import Program, run_with_client
from pico_driver.embedding.hub import Hub
from pico_driver.embedding.listener import Listener as Listener
from pico_driver.embedding.listener import StreamListener as StreamListener
from pico_driver.embedding.node import Node as Node
from pico_driver.embedding.runtime import Latch
from pico_driver.embedding.sdk import Machines, Sdk
from pico_driver.embedding.stream import Stream as Stream
from pico_driver.options import DriverOptions
from pico_trio.driver import drive

Result = TypeVar("Result")


@asynccontextmanager
async def embedded(
    machine: Machine, sink: Sink, *, signals: bool = False, **options: Unpack[DriverOptions]
) -> AsyncIterator[Hub]:
    """Run a block while a machine runs beside it; at the end of the block the machine is asked to end."""
    failure: BaseException | None = None
    async with trio.open_nursery() as nursery:
        hub = Hub(TrioRuntime(nursery))
        nursery.start_soon(partial(drive, machine, sink, signals=signals, hub=hub, **options))
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


_sdk = Sdk(embedded, Machines(EmbeddedClient, DialMachine, EmbeddedNode))
connect, dial, serve_node = _sdk.connect, _sdk.dial, _sdk.serve_node


async def drive_program(
    machine: Machine, sink: Sink, program: Program, *, signals: bool = False, **options: Unpack[DriverOptions]
) -> Exit:
    """Do what ``run_with_client`` does with a machine."""
    return await run_with_client(program, embedded(machine, sink, signals=signals, **options))


def run_program(machine: Machine, sink: Sink, program: Program, **options: Unpack[DriverOptions]) -> Exit:
    """Do what ``drive_program`` does, under ``trio.run``; signals are as in ``drive``. Next: end with ``exit.code``."""
    return trio.run(partial(drive_program, machine, sink, program, signals=True, **options))


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

    def is_running_here(self) -> bool:
        """Return whether the caller runs in this loop."""
        try:
            return trio.lowlevel.current_trio_token() is self._token
        except RuntimeError:  # there is none
            return False

    def event(self) -> trio.Event:
        """Return an event of this loop that is not set."""
        return trio.Event()

    async def wait(self, event: Latch, timeout_s: float) -> bool:
        """Wait until an event is set, at most so long; return whether it is."""
        with trio.move_on_after(timeout_s):
            await event.wait()
        return event.is_set()

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
