"""The SDK on any loop: an adapter says how it runs a machine beside a block, and which machines there are."""

import random
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import NamedTuple, TypeAlias

from pico_core.boundary import Machine
from pico_core.config.agent import AgentConfig
from pico_core.config.forward import ForwardConfig
from pico_core.config.server import ServerConfig, draw_node_id
from pico_core.program import DIAL
from pico_core.records import Sink
from pico_driver.embedding.arguments import endpoint_id, texts, wrong
from pico_driver.embedding.client import Client
from pico_driver.embedding.dialing import open_stream
from pico_driver.embedding.hub import Hub
from pico_driver.embedding.logging_sink import logging_sink
from pico_driver.embedding.node import Node, ready
from pico_driver.embedding.settings import client_settings, descriptor_limit, inspector_settings, server_settings
from pico_driver.embedding.stream import Stream
from pico_driver.entropy import new_entropy, secure_entropy
from pico_driver.tls_sections import agent_sections, forward_sections, load_profiles, server_sections

Embedded: TypeAlias = Callable[..., AbstractAsyncContextManager[Hub]]
"""Runs a block while a machine runs beside it: machine, sink, and ``profiles`` among the options of a driver."""


class Machines(NamedTuple):
    """The machines of the SDK. They stand above this package, so an adapter names them."""

    client: Callable[[AgentConfig, random.Random], Machine]
    dial: Callable[[ForwardConfig, random.Random], Machine]
    node: Callable[[ServerConfig, str, random.Random, int], Machine]


class Sdk:
    """``connect``, ``dial`` and ``serve_node`` of one adapter."""

    def __init__(self, embedded: Embedded, machines: Machines) -> None:
        self._embedded = embedded
        self._machines = machines

    @asynccontextmanager
    async def connect(
        self,
        url: str,
        *,
        token: str = "",
        inspect: str | int = "",
        settings: Mapping[str, str] | None = None,
        sink: Sink = logging_sink,
    ) -> AsyncIterator[Client]:
        """Be an agent of the server at ``url``, its upstream port: give a ``Client`` that registers endpoints.

        ``token`` is what the server asks for, if it does. ``inspect`` opens a page that shows the requests of the
        client's endpoints (``docs/inspector.md``): an address such as ``127.0.0.1:0``, a port, or ``True`` for
        ``127.0.0.1:4040``. ``settings`` are further keys of ``pico agent`` as its flags have them, such as
        ``{"connect.tls.root_cas": "ca.pem"}``. What the machine logs goes to ``sink``, by default to the logger
        ``pico``. No connection to the server is opened before an endpoint is registered. At the end of the block
        everything is closed; a block that is cancelled or raises is cut at once. What it raises comes out as it is, on
        trio too, and not in an exception group.

        Raises ``ConfigError`` where an argument is not valid, and ``ClosedError`` if the page's port cannot be opened.
        """
        config = client_settings(
            AgentConfig, url, token, {**inspector_settings(inspect), **texts("settings", settings)}
        )
        machine = self._machines.client(config, new_entropy())
        async with self._embedded(machine, sink, profiles=load_profiles(agent_sections(config))) as hub:
            if config.inspect.bind_addr is not None:
                await ready(hub)
            yield Client(hub)

    @asynccontextmanager
    async def dial(
        self,
        url: str,
        endpoint: str,
        *,
        token: str = "",
        settings: Mapping[str, str] | None = None,
        sink: Sink = logging_sink,
    ) -> AsyncIterator[Stream]:
        """Open a stream to a ``tcp`` endpoint through the server at ``url``, its proxy port.

        ``token`` is what the server asks clients for, if it does. ``settings`` are further keys of ``pico forward``:
        ``connect.timeout`` is how long it may take. At the end of the block what was written is delivered; a block that
        raises resets the stream.

        Raises ``RefusedError`` if the server does not let this client in or the endpoint takes no streams,
        ``UnreachableError`` if it has no way there in time, and ``ConfigError``.
        """
        config = client_settings(ForwardConfig, url, token, settings)
        profiles = load_profiles(forward_sections(config))
        name = endpoint_id(endpoint)
        machine = self._machines.dial(config, new_entropy())
        async with (
            self._embedded(machine, sink, profiles=profiles) as hub,
            await open_stream(hub, name, DIAL + name) as stream,
        ):
            yield stream

    @asynccontextmanager
    async def serve_node(
        self,
        config: ServerConfig | None = None,
        *,
        settings: Mapping[str, str] | None = None,
        sink: Sink = logging_sink,
    ) -> AsyncIterator[Node]:
        """Run a server node in this program: give a ``Node`` when it is ready.

        Without ``config``, every port is a free one of the loopback address and a stop does not wait for balancers;
        ``settings`` are further keys of ``pico server`` as its flags have them, such as ``{"cluster.join": address}``.
        At the end of the block the node drains within its ``grace_period`` and leaves the cluster; a block that is
        cancelled or raises ends it at once.

        Raises ``ClosedError`` if a port cannot be opened, and ``ConfigError``.
        """
        if config is None:
            config = server_settings(settings)
        elif not isinstance(config, ServerConfig):
            raise wrong("config", "a ServerConfig", config)
        entropy = secure_entropy()
        node_id = draw_node_id(config.cluster, entropy)
        machine = self._machines.node(config, node_id, entropy, descriptor_limit())
        async with self._embedded(machine, sink, profiles=load_profiles(server_sections(config))) as hub:
            await ready(hub)
            yield Node(hub, node_id, is_secure=config.proxy.tls.enabled)
