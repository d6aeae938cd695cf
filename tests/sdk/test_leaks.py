"""Nothing is left of what has ended: tasks and descriptors are as many as before."""

import gc
import http.client
import weakref
from typing import Any

import pytest

from tests.sdk.kit import Kit, descriptors, linked


def cycles(kit: Kit, count: int) -> None:
    made: list[weakref.ref[Any]] = []

    async def scenario(kit: Kit) -> None:
        async with linked(kit) as (node, client):
            async with client.listen("kept") as kept:
                await cycle(node, client, kept)
                gc.collect()
                before = kit.tasks(), descriptors()
                for _ in range(count):
                    await cycle(node, client, kept)
                gc.collect()
                await kit.until(lambda: (kit.tasks(), descriptors()) <= before)
                assert len(made) >= 4 * count
                await kit.until(lambda: not (gc.collect(), [each for each in made if each() is not None])[1])

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


def app_cycles(kit: Kit, count: int) -> None:
    """Requests that are answered, that fail, and whose client leaves; the application is served anew each time."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            raise NotImplementedError
        if scope["path"] == "/fails":
            raise NotImplementedError
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body", "body": b"x", "more_body": scope["path"] == "/waits"})
        if scope["path"] == "/waits":
            while (await receive())["type"] != "http.disconnect":
                pass

    def leave(address: str) -> None:
        connection = http.client.HTTPConnection(address, timeout=20)
        connection.request("GET", "/waits", headers={"x-pico-endpoint": "app"})
        assert connection.getresponse().read(1) == b"x"
        connection.close()

    async def scenario(kit: Kit) -> None:
        async with linked(kit) as (node, client):

            async def cycle() -> None:
                async with client.serve("app", app, grace_s=0.05):
                    assert (await kit.get(node.proxy_address)).body == b"x"
                    assert (await kit.get(node.proxy_address, "/fails")).status == 500
                    await kit.in_thread(lambda: leave(node.proxy_address))

            await cycle()
            gc.collect()
            before = kit.tasks(), descriptors()
            for _ in range(count):
                await cycle()
            gc.collect()
            await kit.until(lambda: kit.tasks() <= before[0] and descriptors() <= before[1] + 2)
            assert not client.hub.calls

    kit.run(scenario)


def test_some_cycles_of_an_application(kit: Kit) -> None:
    app_cycles(kit, 20)


@pytest.mark.slow
def test_hundreds_of_cycles_of_an_application(kit: Kit) -> None:
    kit.patience_s = 280.0
    app_cycles(kit, 300)


def test_some_cycles(kit: Kit) -> None:
    cycles(kit, 30)


@pytest.mark.slow
def test_a_thousand_cycles(kit: Kit) -> None:
    kit.patience_s = 280.0
    cycles(kit, 1_000)
