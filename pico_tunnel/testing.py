"""Clusters inside a test, for ``pico_tunnel.pytest_plugin``. Nodes have free ports of the loopback address.

``Cluster`` runs in the thread of ``pico_tunnel.sync``, for plain tests; ``AsyncCluster`` in the loop of the test.
"""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, ExitStack, asynccontextmanager
from importlib import import_module
from types import ModuleType, TracebackType
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import pico_asyncio
from pico_core.config.values import LOCALHOST
from pico_driver.embedding.arguments import count, texts
from pico_tunnel import sync
from pico_tunnel.background import Block, shared
from pico_tunnel.targets import REGISTERED_WITHIN_S, register

if TYPE_CHECKING:
    from anyio.abc import TaskGroup, TaskStatus

Held = TypeVar("Held")


def resolving_localhost(getaddrinfo: Callable[..., Any]) -> Callable[..., Any]:
    """Return a ``getaddrinfo`` for which every name below ``localhost`` is the loopback address."""

    def resolve(host: Any, *arguments: Any, **options: Any) -> Any:
        name = host.decode("ascii", "replace") if isinstance(host, bytes) else host
        if isinstance(name, str) and name.lower().rstrip(".").endswith(".localhost"):
            host = LOCALHOST
        return getaddrinfo(host, *arguments, **options)

    return resolve


def url_of(endpoint: str, proxy_url: str) -> str:
    """Return where clients reach ``endpoint`` through the node at ``proxy_url``."""
    scheme, _, address = proxy_url.partition("://")
    return f"{scheme}://{endpoint}.localhost:{address.rpartition(':')[2]}"


class Names:
    """Names for the endpoints of a cluster that were given none: ``app``, ``app-2``, ..."""

    def __init__(self) -> None:
        self._given = 0

    def next(self) -> str:
        """Return a name of its own."""
        self._given += 1
        return "app" if self._given == 1 else f"app-{self._given}"


class Cluster:
    """Nodes that know each other. ``nodes`` has them in the order of their start, also those that have ended."""

    def __init__(self, nodes: int = 1, settings: Mapping[str, str] | None = None) -> None:
        self.nodes: list[sync.Node] = []
        self._settings = texts("settings", settings)
        self._blocks: list[Block[pico_asyncio.Node]] = []
        self._served = ExitStack()
        self._names = Names()
        try:
            for _ in range(count("nodes", nodes)):
                self.start()
        except BaseException:
            self.close()
            raise

    def start(self) -> sync.Node:
        """Start a further node, which joins the others."""
        join = {"cluster.join": self.nodes[0].gossip_address} if self.nodes else {}
        block = Block(shared(), pico_asyncio.serve_node(settings={**join, **self._settings}))
        self.nodes.append(sync.Node(block.enter()))
        self._blocks.append(block)
        return self.nodes[-1]

    def stop(self, node: int) -> None:
        """Have a node drain and leave the cluster."""
        self._blocks[node].leave()

    def kill(self, node: int) -> None:
        """End a node at once, as a crash does: the others notice by its silence."""
        self._blocks[node].leave(cut=True)

    def serve(self, target: Any, endpoint: str = "", *, node: int = 0) -> str:
        """Register an application, a port or an address at a node, and return its URL through that node.

        It is served until the cluster is closed. Without ``endpoint`` it has a name of its own.
        """
        endpoint = endpoint or self._names.next()
        client = self._served.enter_context(sync.connect(self.nodes[node].upstream_url))
        self._served.enter_context(register(client, endpoint, target, REGISTERED_WITHIN_S))
        return self.url(endpoint, node)

    def url(self, endpoint: str, node: int = 0) -> str:
        """Return the URL of an endpoint through a node."""
        return url_of(endpoint, self.nodes[node].proxy_url)

    def close(self) -> None:
        """End what is served, then the nodes, the last one first."""
        with ExitStack() as ending:
            for block in self._blocks:
                ending.callback(block.leave)
            ending.callback(self._served.close)

    def __enter__(self) -> "Cluster":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class AsyncBlock(Generic[Held]):
    """An async context manager in a task of its own, so that it can be left before those entered later."""

    def __init__(self, manager: AbstractAsyncContextManager[Held]) -> None:
        import anyio

        self._manager = manager
        self._scope = anyio.CancelScope()
        self._leaving = anyio.Event()
        self._over = anyio.Event()

    async def hold(self, *, task_status: "TaskStatus[Held]") -> None:
        """Enter the manager, hold it and leave it: the task."""
        try:
            with self._scope:
                async with self._manager as value:
                    task_status.started(value)
                    await self._leaving.wait()
        finally:
            self._over.set()

    async def leave(self, *, cut: bool = False) -> None:
        """Leave the manager, at once if ``cut``, and wait for that."""
        if cut:
            self._scope.cancel()
        self._leaving.set()
        await self._over.wait()


class AsyncCluster:
    """Nodes that know each other, in the loop of the test. Its methods are those of ``Cluster``."""

    def __init__(self, tasks: "TaskGroup", pico: ModuleType, settings: Mapping[str, str] | None) -> None:
        self.nodes: list[Any] = []
        self._tasks = tasks
        self._pico = pico
        self._settings = texts("settings", settings)
        self._blocks: list[AsyncBlock[Any]] = []
        self._served: list[AsyncBlock[Any]] = []
        self._names = Names()

    async def start(self) -> Any:
        """Start a further node, which joins the others."""
        join = {"cluster.join": self.nodes[0].gossip_address} if self.nodes else {}
        block: AsyncBlock[Any] = AsyncBlock(self._pico.serve_node(settings={**join, **self._settings}))
        self.nodes.append(await self._tasks.start(block.hold))
        self._blocks.append(block)
        return self.nodes[-1]

    async def stop(self, node: int) -> None:
        """Have a node drain and leave the cluster."""
        await self._blocks[node].leave()

    async def kill(self, node: int) -> None:
        """End a node at once, as a crash does: the others notice by its silence."""
        await self._blocks[node].leave(cut=True)

    async def serve(self, target: Any, endpoint: str = "", *, node: int = 0) -> str:
        """Register an application, a port or an address at a node, and return its URL through that node."""
        endpoint = endpoint or self._names.next()
        block: AsyncBlock[Any] = AsyncBlock(self._registered(self.nodes[node].upstream_url, endpoint, target))
        await self._tasks.start(block.hold)
        self._served.append(block)
        return self.url(endpoint, node)

    def url(self, endpoint: str, node: int = 0) -> str:
        """Return the URL of an endpoint through a node."""
        return url_of(endpoint, self.nodes[node].proxy_url)

    @asynccontextmanager
    async def _registered(self, url: str, endpoint: str, target: Any) -> AsyncIterator[Any]:
        async with (
            self._pico.connect(url) as client,
            register(client, endpoint, target, REGISTERED_WITHIN_S) as listener,
        ):
            yield listener

    async def close(self) -> None:
        """End what is served, then the nodes, the last one first."""
        for block in reversed(self._blocks + self._served):
            await block.leave()


@asynccontextmanager
async def async_clusters(backend: str) -> AsyncIterator[Callable[..., Any]]:
    """Give a function that starts clusters on ``backend``, ``asyncio`` or ``trio``; they end with the block."""
    import anyio

    pico = import_module(f"pico_{backend}")
    clusters: list[AsyncCluster] = []
    async with anyio.create_task_group() as tasks:

        async def make(nodes: int = 1, *, settings: Mapping[str, str] | None = None) -> AsyncCluster:
            number = count("nodes", nodes)
            clusters.append(AsyncCluster(tasks, pico, settings))
            for _ in range(number):
                await clusters[-1].start()
            return clusters[-1]

        yield make
        for cluster in reversed(clusters):
            await cluster.close()
