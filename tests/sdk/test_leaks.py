"""Nothing is left of what has ended: tasks and descriptors are as many as before."""

import gc
from typing import Any

import pytest

from tests.sdk.kit import Kit, descriptors, linked


def cycles(kit: Kit, count: int) -> None:
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
                hub = client.hub
                assert not hub._streams  # noqa: SLF001 - what this is about
                assert len(hub._listeners) == 1  # noqa: SLF001

    async def cycle(node: object, client: object, kept: object) -> None:
        async with client.listen("tcp", grace_s=0) as listener:  # type: ignore[attr-defined]
            async with kit.pico.dial(node.proxy_url, "kept") as near:  # type: ignore[attr-defined]
                far = await kept.accept()  # type: ignore[attr-defined]
                await near.write(b"x")
                assert await far.read() == b"x"
                await far.aclose()
                far = await kept_by(listener, node)
                far.abort()

    async def kept_by(listener: object, node: object) -> Any:
        async with kit.pico.dial(node.proxy_url, "tcp"):  # type: ignore[attr-defined]
            return await listener.accept()  # type: ignore[attr-defined]

    kit.run(scenario)


def test_some_cycles(kit: Kit) -> None:
    cycles(kit, 30)


@pytest.mark.slow
def test_a_thousand_cycles(kit: Kit) -> None:
    kit.patience_s = 280.0
    cycles(kit, 1_000)
