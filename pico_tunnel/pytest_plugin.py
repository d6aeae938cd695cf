"""Fixtures for pytest: clusters in this process, and applications behind them (``docs/testing.md``).

pytest imports this module at every start, so what a fixture needs is imported when a test uses it.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Protocol

import pytest

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Iterator, Mapping

    from pico_tunnel.testing import AsyncCluster, Cluster


class MakeCluster(Protocol):
    """The type of ``pico_cluster``."""

    def __call__(self, nodes: int = 1, *, settings: Mapping[str, str] | None = None) -> Cluster:
        """Run a cluster until the test ends; ``settings`` are keys of ``pico server``, for every node."""


class MakeUrl(Protocol):
    """The type of ``pico_url``."""

    def __call__(self, target: Any, endpoint: str = "") -> str:
        """Serve ``target`` behind a node until the test ends, and return its URL."""


class MakeAsyncCluster(Protocol):
    """The type of ``pico_async_cluster``."""

    def __call__(self, nodes: int = 1, *, settings: Mapping[str, str] | None = None) -> Awaitable[AsyncCluster]:
        """Run a cluster until the test ends; ``settings`` are keys of ``pico server``, for every node."""


class MakeAsyncUrl(Protocol):
    """The type of ``pico_async_url``."""

    def __call__(self, target: Any, endpoint: str = "") -> Awaitable[str]:
        """Serve ``target`` behind a node until the test ends, and return its URL."""


@pytest.fixture
def pico_cluster(pico_localhost: None) -> Iterator[MakeCluster]:  # noqa: ARG001 - for its effect
    """Give a function that runs clusters of nodes in this process, until the test ends.

    ``cluster = pico_cluster(3)``
    """
    from pico_tunnel.testing import Cluster

    with ExitStack() as clusters:
        yield lambda nodes=1, *, settings=None: clusters.enter_context(Cluster(nodes, settings))


@pytest.fixture
def pico_url(pico_cluster: MakeCluster) -> MakeUrl:
    """Give a function that serves applications behind a node of the test's own.

    ``url = pico_url(app)``. An ASGI or WSGI application runs in the thread of ``pico_tunnel.sync``; a target may be a
    port or an address as well.
    """
    running: list[Cluster] = []

    def make(target: Any, endpoint: str = "") -> str:
        if not running:
            running.append(pico_cluster())
        return running[0].serve(target, endpoint)

    return make


@pytest.fixture
async def pico_async_cluster(
    anyio_backend_name: str,
    pico_localhost: None,  # noqa: ARG001 - for its effect
) -> AsyncIterator[MakeAsyncCluster]:
    """Give a function that runs clusters of nodes in the loop of the test, asyncio or trio.

    ``cluster = await pico_async_cluster(3)``. This fixture and ``pico_async_url`` need anyio's plugin: mark the test
    with ``pytest.mark.anyio``.
    """
    from pico_tunnel.testing import async_clusters

    async with async_clusters(anyio_backend_name) as make:
        yield make


@pytest.fixture
async def pico_async_url(pico_async_cluster: MakeAsyncCluster) -> MakeAsyncUrl:
    """Give a function that serves applications behind a node, all in the loop of the test.

    ``url = await pico_async_url(app)``
    """
    running: list[AsyncCluster] = []

    async def make(target: Any, endpoint: str = "") -> str:
        if not running:
            running.append(await pico_async_cluster())
        return await running[0].serve(target, endpoint)

    return make


@pytest.fixture
def pico_localhost(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have Python resolve names below ``localhost`` to the loopback address (RFC 6761 section 6.3) during the test.

    Browsers and curl do so; whether Python does depends on the system. It does not change uvloop's own look-ups.
    """
    import socket

    from pico_tunnel.testing import resolving_localhost

    monkeypatch.setattr(socket, "getaddrinfo", resolving_localhost(socket.getaddrinfo))
