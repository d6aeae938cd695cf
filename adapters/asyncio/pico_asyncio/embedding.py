"""The SDK on asyncio and uvloop: a machine in a task of the program's loop. Start at ``connect``."""

import asyncio
import contextlib
import math
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, TypeVar, Unpack

from pico_asyncio.driver import drive
from pico_asyncio.threads import AsyncioThreads
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

Result = TypeVar("Result")


@asynccontextmanager
async def embedded(
    machine: Machine, sink: Sink, *, signals: bool = False, **options: Unpack[DriverOptions]
) -> AsyncIterator[Hub]:
    """Run a block while a machine runs beside it; at the end of the block the machine is asked to end."""
    runtime = AsyncioRuntime()
    hub = Hub(runtime)
    driving = asyncio.create_task(drive(machine, sink, signals=signals, hub=hub, **options), name="pico")
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


_sdk = Sdk(embedded, Machines(EmbeddedClient, DialMachine, EmbeddedNode))
connect, dial, serve_node = _sdk.connect, _sdk.dial, _sdk.serve_node


async def drive_program(
    machine: Machine, sink: Sink, program: Program, *, signals: bool = False, **options: Unpack[DriverOptions]
) -> Exit:
    """Do what ``run_with_client`` does with a machine."""
    return await run_with_client(program, embedded(machine, sink, signals=signals, **options))


class AsyncioRuntime:
    """A ``Runtime`` of asyncio."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._tasks: set[asyncio.Task[None]] = set()

    def is_running_here(self) -> bool:
        """Return whether the caller runs in this loop."""
        try:
            return asyncio.get_running_loop() is self._loop
        except RuntimeError:  # there is none
            return False

    def event(self) -> asyncio.Event:
        """Return an event of this loop that is not set."""
        return asyncio.Event()

    async def wait(self, event: Latch, timeout_s: float) -> bool:
        """Wait until an event is set, at most so long; return whether it is."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(None if timeout_s == math.inf else timeout_s):
                await event.wait()
        return event.is_set()

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
