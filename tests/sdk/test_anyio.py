"""Inside anyio, as Starlette and FastAPI are: its cancel scopes cancel again at each wait, until the block is left."""

import gc
import warnings
from contextlib import suppress
from typing import Any

import anyio
import anyio.abc
import pytest

import pico_asyncio
import pico_trio
from pico_driver.embedding.errors import StreamBrokenError
from tests.sdk.kit import descriptors


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_scope_that_is_cancelled_closes_everything(backend: str) -> None:
    pico = pico_asyncio if backend == "asyncio" else pico_trio

    async def cut() -> None:
        async with anyio.create_task_group() as tasks:

            async def run_node(*, task_status: anyio.abc.TaskStatus[Any]) -> None:
                with anyio.CancelScope() as scope:
                    async with pico.serve_node() as node:
                        task_status.started((node, scope))
                        await anyio.sleep_forever()

            node, scope = await tasks.start(run_node)
            with suppress(StreamBrokenError):
                async with pico.connect(node.upstream_url) as client:
                    async with client.listen("tcp") as listener, pico.dial(node.proxy_url, "tcp") as near:
                        await listener.accept()
                        scope.cancel()
                        await near.read()

    async def scenario() -> None:
        with anyio.fail_after(30):
            await cut()
            gc.collect()
            before = descriptors()
            with warnings.catch_warnings(record=True) as told:
                warnings.simplefilter("always")
                for _ in range(5):
                    await cut()
                gc.collect()
            assert descriptors() <= before
            assert [str(each.message) for each in told] == []

    anyio.run(scenario, backend=backend)
