"""Nothing is left of what has ended: tasks and descriptors are as many as before."""

import gc
import http.client
import logging
import re
import sys
import weakref
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from pico_core.proxy.http1.upstream import UpstreamConnection
from tests.sdk.kit import Kit, descriptors, linked


@pytest.fixture(autouse=True)
def unlogged() -> Iterator[None]:
    """Records of failures would be kept for the report of the test."""
    logging.disable()
    yield
    logging.disable(logging.NOTSET)


@dataclass(frozen=True)
class Figures:
    """The resources that may leak."""

    tasks: int
    descriptors: int
    objects: int
    blocks: int
    resident_kib: int

    @classmethod
    def of(cls, kit: Kit) -> "Figures":
        resident = re.search(r"VmRSS:\s+(\d+)", Path("/proc/self/status").read_text())
        assert resident is not None
        return cls(kit.tasks(), descriptors(), len(gc.get_objects()), sys.getallocatedblocks(), int(resident[1]))

    def compare(self, kit: Kit, count: int, what: str) -> None:
        """Print what has changed (``pytest -s`` shows it), and fail where it is more than caches and fragments take.

        What leaks does so in each cycle: an object, a block of Python's memory, or some kilobytes of other memory. A
        process that other tests have filled has fragments of tens of megabytes.
        """
        after = Figures.of(kit)
        print(f"\n{kit.runtime}, {count} {what}: {self} before, {after} after")
        assert after.objects - self.objects < max(1_000, count // 4)
        assert after.blocks - self.blocks < max(10_000, count)
        assert after.resident_kib - self.resident_kib < max(4_096, 4 * count)


def cycles(kit: Kit, count: int) -> None:
    made: list[weakref.ref[Any]] = []

    async def scenario(kit: Kit) -> None:
        async with linked(kit) as (node, client):
            async with client.listen("kept") as kept:
                await cycle(node, client, kept)
                for _ in range(count // 10):
                    await cycle(node, client, kept)
                gc.collect()
                before = Figures.of(kit)
                for _ in range(count):
                    made[:] = [each for each in made if each() is not None]
                    await cycle(node, client, kept)
                gc.collect()
                await kit.until(lambda: kit.tasks() <= before.tasks and descriptors() <= before.descriptors)
                await kit.until(lambda: not (gc.collect(), [each for each in made if each() is not None])[1])
                before.compare(kit, count, "cycles of streams")

    async def cycle(node: object, client: object, kept: object) -> None:
        async with client.listen("tcp", grace_s=0) as listener:  # type: ignore[attr-defined]
            async with kit.pico.dial(node.proxy_url, "kept") as near:  # type: ignore[attr-defined]
                far = await kept.accept()  # type: ignore[attr-defined]
                await near.write(b"x")
                assert await far.read() == b"x"
                await far.aclose()
                made.extend(map(weakref.ref, (listener, near, far)))
                far = await kept_by(listener, node)
                far.abort()
                made.append(weakref.ref(far))

    async def kept_by(listener: object, node: object) -> Any:
        async with kit.pico.dial(node.proxy_url, "tcp"):  # type: ignore[attr-defined]
            return await listener.accept()  # type: ignore[attr-defined]

    kit.run(scenario)


class EndedError(Exception):
    """The block of a cycle raises: what still runs is cut."""


class Endings:
    """An application that ends in every way, and a client that looks at each of its ends."""

    def __init__(self, kit: Kit) -> None:
        self.kit = kit

    async def app(self, scope: Any, receive: Any, send: Any) -> None:
        path = scope.get("path", "")
        if path in ("", "/fails"):
            raise NotImplementedError
        if path == "/cancels":
            await self.kit.cancel_this()
        if path == "/slow":  # one that ran on would count for max_streams until its listener is over
            await receive()
            await receive()
            return
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body", "body": b"x", "more_body": path != "/done"})
        if path == "/breaks":
            raise NotImplementedError
        if path == "/waits":
            while (await receive())["type"] != "http.disconnect":
                pass
        if path == "/runs":
            await self.kit.event().wait()

    def ask_all(self, address: str) -> http.client.HTTPResponse:
        """See every end but the one of the block, whose beginning is returned."""
        leaving, breaking, running = (begin(address, path) for path in ("/waits", "/breaks", "/runs"))
        kept = http.client.HTTPConnection(address, timeout=20)
        for path, status in (("/done", 200), ("/fails", 500), ("/cancels", 500), ("/done", 200)):
            kept.request("GET", path, headers=FIELDS)
            response = kept.getresponse()
            assert (response.status, bool(response.read())) == (status, True)
        kept.close()
        assert leaving.read(1) == b"x"
        leaving.close()
        assert breaking.read(1) == b"x"
        assert is_broken(breaking)
        assert running.read(1) == b"x"
        return running

    def ask_slow(self, address: str, count: int) -> None:
        """See the ends of requests whose response does not begin; they wait together, since timeouts are coarse."""
        connections = [http.client.HTTPConnection(address, timeout=20) for _ in range(count)]
        for connection in connections:
            connection.request("GET", "/slow", headers=FIELDS)
        for connection in connections:
            response = connection.getresponse()
            assert (response.status, b"service-timeout" in response.read()) == (504, True)
            connection.close()


SLOW_TOGETHER = 250
FIELDS = {"x-pico-endpoint": "app"}


def begin(address: str, path: str) -> http.client.HTTPResponse:
    """Send a request on a connection of its own, which ends with the response."""
    connection = http.client.HTTPConnection(address, timeout=20)
    connection.request("GET", path, headers={**FIELDS, "connection": "close"})
    return connection.getresponse()


def is_broken(response: http.client.HTTPResponse) -> bool:
    """Return whether the rest of a response has no end."""
    try:
        response.read()
    except (http.client.IncompleteRead, ConnectionError):
        return True
    return False


def kept_streams() -> int:
    """Return how many streams servers keep for the next request: those of a tunnel until they have heard of its end."""
    return sum(type(each) is UpstreamConnection for each in gc.get_objects())


def app_cycles(kit: Kit, count: int) -> None:
    """Requests that end in every way; the application is served anew each time, and cut while it runs."""
    endings = Endings(kit)

    async def scenario(kit: Kit) -> None:
        async with linked(kit) as (node, client):

            async def cycle() -> None:
                with pytest.raises(EndedError):
                    async with client.serve("app", endings.app):
                        running = await kit.in_thread(lambda: endings.ask_all(node.proxy_address))
                        raise EndedError
                assert await kit.in_thread(lambda: is_broken(running))

            async def slow(count: int) -> None:
                together = min(count, SLOW_TOGETHER)
                async with client.serve("app", endings.app, timeout_s=0.02, grace_s=0):
                    for _ in range(0, count, together):
                        await kit.in_thread(lambda: endings.ask_slow(node.proxy_address, together))

            async def all_cycles(count: int) -> None:
                for _ in range(count):
                    await cycle()
                await slow(count)
                await kit.until(lambda: not client.hub.calls)
                await kit.until(lambda: not kept_streams())
                gc.collect()

            await all_cycles(min(max(count // 10, 10), 500))
            before = Figures.of(kit)
            await all_cycles(count)
            await kit.until(lambda: kit.tasks() <= before.tasks and descriptors() <= before.descriptors + 2)
            before.compare(kit, count, "cycles of an application")

    kit.run(scenario)


def test_some_cycles_of_an_application(kit: Kit) -> None:
    app_cycles(kit, 20)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_ten_thousand_cycles_of_an_application(kit: Kit) -> None:
    kit.patience_s = 880.0
    app_cycles(kit, 10_000)


def test_some_cycles(kit: Kit) -> None:
    cycles(kit, 30)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_ten_thousand_cycles(kit: Kit) -> None:
    kit.patience_s = 880.0
    cycles(kit, 10_000)
