"""The part of a runtime that a scenario needs, so that each is written once and runs on asyncio, uvloop and trio."""

import asyncio
import contextlib
import http.client
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from types import ModuleType
from typing import Any, TypeVar

import trio
import uvloop

import pico_asyncio
import pico_trio

Result = TypeVar("Result")
Scenario = Callable[["Kit"], Awaitable[None]]

PATIENCE_S = 30.0
"""How long a whole scenario may take."""


class Kit:
    """One runtime: its package as ``pico``, and the few things that the SDK does not have."""

    def __init__(self, runtime: str) -> None:
        self.runtime = runtime
        self.pico: ModuleType = pico_trio if runtime == "trio" else pico_asyncio
        self.is_trio = runtime == "trio"
        self.patience_s = PATIENCE_S

    async def together(self, *parts: Callable[[], Awaitable[Any]]) -> None:
        """Run all parts; the first one that fails ends the others, and its error comes out as it is."""
        failures: list[BaseException] = []

        async def run(part: Callable[[], Awaitable[Any]]) -> None:
            try:
                await part()
            except Exception as error:
                failures.append(error)
                raise

        try:
            if self.is_trio:
                async with trio.open_nursery() as nursery:
                    for part in parts:
                        nursery.start_soon(run, part)
            else:
                async with asyncio.TaskGroup() as group:
                    for part in parts:
                        group.create_task(run(part))
        except BaseExceptionGroup:
            if not failures:
                raise
            raise failures[0] from None

    async def cancelled(self, work: Callable[[], Awaitable[Any]], when: Callable[[], Awaitable[Any]]) -> None:
        """Run ``work`` until ``when`` has returned, then cancel it and wait for its end."""
        if self.is_trio:
            async with trio.open_nursery() as nursery:

                async def end() -> None:
                    await when()
                    nursery.cancel_scope.cancel()

                nursery.start_soon(end)
                await work()
            return
        task = asyncio.ensure_future(work())
        await when()
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    async def cancel_this(self) -> None:
        """Have what the caller waits for be cancelled: with an error on asyncio, and where its scope ends on trio."""
        if not self.is_trio:
            raise asyncio.CancelledError
        with trio.CancelScope() as scope:
            scope.cancel()
            await trio.sleep_forever()
        raise NotImplementedError

    async def in_thread(self, work: Callable[[], Result]) -> Result:
        """Run blocking work."""
        if self.is_trio:
            return await trio.to_thread.run_sync(work)
        return await asyncio.to_thread(work)

    async def stands_still(self, count: Callable[[], int], address: str, target: str) -> None:
        """Wait until ``count`` has begun and stays as it is while a hundred other requests are answered."""
        before, beats = 0, 0
        while beats < 100:
            assert (await self.get(address, target)).status == 200
            now = count()
            beats = beats + 1 if now and now == before else 0
            before = now

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait for something that no event tells of; the scenario's own limit bounds it."""
        while not condition():
            await (trio.sleep if self.is_trio else asyncio.sleep)(0.005)

    def event(self) -> Any:
        return trio.Event() if self.is_trio else asyncio.Event()

    def tasks(self) -> int:
        """How many tasks there are."""
        if self.is_trio:
            return trio.lowlevel.current_statistics().tasks_living
        return len(asyncio.all_tasks())

    def run(self, scenario: Scenario) -> None:
        async def limited() -> None:
            if self.is_trio:
                with trio.fail_after(self.patience_s):
                    await scenario(self)
            else:
                async with asyncio.timeout(self.patience_s):
                    await scenario(self)

        if self.is_trio:
            trio.run(limited)
            return
        with asyncio.Runner(loop_factory=uvloop.new_event_loop if self.runtime == "uvloop" else None) as runner:
            runner.run(limited())

    async def get(self, address: str, target: str = "/", endpoint: str = "app", **more: Any) -> "Answer":
        """Send one request on a connection of its own."""
        return await self.in_thread(partial(ask, address, target, endpoint, **more))


@dataclass
class Answer:
    status: int
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)


def ask(
    address: str,
    target: str,
    endpoint: str,
    *,
    method: str = "GET",
    body: bytes | Iterator[bytes] | None = None,
    headers: dict[str, str] | None = None,
) -> Answer:
    connection = http.client.HTTPConnection(address, timeout=PATIENCE_S)
    try:
        fields = {"x-pico-endpoint": endpoint, **(headers or {})}
        connection.request(
            method, target, body, fields, encode_chunked=body is not None and not isinstance(body, bytes)
        )
        response = connection.getresponse()
        return Answer(response.status, response.read(), {name.lower(): value for name, value in response.getheaders()})
    finally:
        connection.close()


def descriptors() -> int:
    """How many descriptors this process has open."""
    return len(os.listdir("/proc/self/fd"))


@contextlib.asynccontextmanager
async def linked(kit: Kit, **settings: str) -> AsyncIterator[tuple[Any, Any]]:
    """Give a node and a client of it."""
    async with kit.pico.serve_node(settings=settings) as node, kit.pico.connect(node.upstream_url) as client:
        yield node, client
