"""The ports of a server as a table: all that is asked of each port reads it, and a new port is a new row."""

from collections.abc import Callable, Mapping
from enum import Enum
from typing import Any, Protocol, TypeAlias, TypeVar

import msgspec

from pico_core.config.auth import AuthConfig
from pico_core.config.ports import REQUIRED, ProxyConfig, UpstreamConfig
from pico_core.config.server import ServerConfig
from pico_core.config.tls import ServerTlsConfig
from pico_core.config.values import Address

MAX_DRAWS = 16
"""How often another gossip port is drawn, where any will do, because UDP has no room at the number that TCP got. Even
where half of the numbers are taken on UDP, one start in 65,536 fails."""


class WorkerAddresses(Protocol):
    """Addresses that a worker listens on; ``server.worker`` says which of these it shares with the other workers."""

    @property
    def shared(self) -> Mapping[str, Address]:
        """Those of the ports that all workers listen on, by listener."""

    @property
    def own_gossip(self) -> Address:
        """For gossip with this worker alone."""

    @property
    def control(self) -> Address:
        """For the supervisor."""


Channel = TypeVar("Channel", contravariant=True)

Accept: TypeAlias = Callable[[Any, float], None]
"""What serves a connection, from an instant on. The connection is a ``TcpChannel``; its class is above this floor."""


class Accepts(Protocol[Channel]):
    """The part of a node that takes the connections of its ports."""

    def accept_operator(self, channel: Channel, now: float) -> None:
        """Serve a connection of the admin port."""

    def accept_supervisor(self, channel: Channel, now: float) -> None:
        """Serve a connection of the control port of a worker."""

    def accept_node(self, channel: Channel, now: float) -> None:
        """Serve a connection of the gossip port."""

    def accept_agent(self, channel: Channel, now: float) -> None:
        """Serve a connection of the upstream port."""

    def accept_client(self, channel: Channel, now: float) -> None:
        """Serve a connection of the proxy port."""


class Places(Enum):
    """Which connections a port has; ``server.limits`` divides those of the process by it.

    ``FEW``: a small number that no other port takes. ``SPARE``: as many, but none is kept for them. The ports for
    agents, for clients and for other nodes share the rest.
    """

    FEW = "few"
    SPARE = "spare"
    AGENTS = "agents"
    CLIENTS = "clients"
    NODES = "nodes"


class PortRow(msgspec.Struct, frozen=True):
    """One port: where it listens, what it asks for, what serves its connections, and how many it has.

    ``name`` is what people call it; ``listener`` names it in inputs, commands and limits, and its TLS profile in the
    driver. ``key`` is its section of the configuration. ``bind_addr`` is where a node listens that is alone in its
    process. ``shared`` says that all workers listen there; at the other ports a worker is reached alone, so each has a
    number of its own: any that is free, or ``worker_addr``. ``accept`` returns what serves its connections.

    ``auth`` returns what it asks clients for: its own section, and behind it those of tenants; ``sealed`` says of a
    port that asks for no token whether it asks for a key of the cluster. ``guard`` is the key that closes it to
    strangers. ``tls``, ``auth``, ``sealed`` and ``behind`` (the section with the trusted proxies) are ``None`` for a
    port that has none. ``header_timeout_s`` is how long a trusted proxy may take for its PROXY header.
    ``profile_of`` is the listener whose TLS profile and trusted proxies it has, where it is another one.

    ``places`` says how many connections it has, and ``when_full`` tells operators what becomes of the next one.
    ``refuses_with_503`` says that this one is sent a response of HTTP. ``datagrams`` names a second listener, for UDP
    with the same number. ``until_exit`` says that the port stays open until the process ends; the others close once
    the node is drained.
    """

    name: str
    listener: str
    key: str
    guard: str
    bind_addr: Callable[[ServerConfig], Address]
    accept: Callable[[Accepts[Any]], Accept]
    worker_addr: Callable[[ServerConfig, WorkerAddresses], Address] | None = None
    shared: bool = False
    places: Places = Places.FEW
    when_full: str = "a new one is closed"
    refuses_with_503: bool = False
    profile_of: str = ""
    sealed: Callable[[ServerConfig], bool] | None = None
    auth: Callable[[ServerConfig], tuple[AuthConfig, ...]] | None = None
    tls: Callable[[ServerConfig], ServerTlsConfig] | None = None
    behind: Callable[[ServerConfig], ProxyConfig | UpstreamConfig] | None = None
    header_timeout_s: Callable[[ServerConfig], float] | None = None
    datagrams: str = ""
    until_exit: bool = False

    def address(self, config: ServerConfig, worker: WorkerAddresses | None) -> Address:
        """Return where a node listens, alone or as a worker."""
        if worker is None:
            return self.bind_addr(config)
        if self.shared:
            return worker.shared[self.listener]
        if self.worker_addr is not None:
            return self.worker_addr(config, worker)
        return Address(self.bind_addr(config).host, 0)

    def auth_sections(self, config: ServerConfig) -> tuple[AuthConfig, ...]:
        """Return ``auth`` of ``config``; none for a port that asks for no token."""
        return () if self.auth is None else self.auth(config)

    def is_guarded(self, config: ServerConfig) -> bool:
        """Whether strangers get nothing here: it asks for a certificate, or all of its clients for a token or key."""
        if self.tls is not None and self.tls(config).asks_for_certificates:
            return True
        sections = self.auth_sections(config)
        if not sections:
            return self.sealed is not None and self.sealed(config)
        own, *tenants = sections
        # What is on for the port itself holds for tenants that have nothing of their own.
        return own.is_on or (bool(tenants) and all(each.is_on for each in tenants))

    def tls_profile(self, config: ServerConfig) -> str:
        """Return the name of its TLS profile, empty for plain TCP."""
        return self.profile if self.tls is not None and self.tls(config).enabled else ""

    @property
    def profile(self) -> str:
        """The listener whose TLS profile and trusted proxies it has."""
        return self.profile_of or self.listener

    def has_header(self, config: ServerConfig) -> bool:
        """Whether connections of trusted proxies begin with a PROXY header."""
        return self.behind is not None and self.behind(config).proxy_protocol == REQUIRED


def _is_sealed(config: ServerConfig) -> bool:
    return bool(config.cluster.gossip.keys)


Ports: TypeAlias = tuple[PortRow, ...]

PORTS: Ports = (
    PortRow(
        "admin",
        "admin",
        "admin",
        "admin.auth",
        bind_addr=lambda config: config.admin.bind_addr,
        accept=lambda node: node.accept_operator,
        when_full="a new one gets a 503",
        refuses_with_503=True,
        auth=lambda config: (config.admin.auth,),
        tls=lambda config: config.admin.tls,
        until_exit=True,
    ),
    PortRow(
        "gossip",
        "gossip-streams",
        "cluster.gossip",
        "cluster.gossip.keys",
        bind_addr=lambda config: config.cluster.gossip.bind_addr,
        accept=lambda node: node.accept_node,
        worker_addr=lambda _config, worker: worker.own_gossip,
        when_full="a new one is closed; the other node asks again",
        sealed=_is_sealed,
        datagrams="gossip",
        until_exit=True,
    ),
    PortRow(
        "upstream",
        "upstream",
        "upstream",
        "upstream.auth",
        bind_addr=lambda config: config.upstream.bind_addr,
        accept=lambda node: node.accept_agent,
        shared=True,
        places=Places.AGENTS,
        when_full="agents get a 503 and try another node; open tunnels stay",
        refuses_with_503=True,
        auth=lambda config: (config.upstream.auth, *(tenant.auth for tenant in config.upstream.tenants)),
        tls=lambda config: config.upstream.tls,
        behind=lambda config: config.upstream,
        header_timeout_s=lambda config: config.upstream.registration_timeout_s,
    ),
    PortRow(
        "proxy",
        "proxy",
        "proxy",
        "proxy.auth",
        bind_addr=lambda config: config.proxy.bind_addr,
        accept=lambda node: node.accept_client,
        shared=True,
        places=Places.CLIENTS,
        when_full="idle clients are closed, the longest idle first; then new ones get a 503 with Retry-After",
        refuses_with_503=True,
        auth=lambda config: (config.proxy.auth,),
        tls=lambda config: config.proxy.tls,
        behind=lambda config: config.proxy,
        header_timeout_s=lambda config: config.proxy.http.read_header_timeout_s,
    ),
)
"""In the order in which they open: admin first, so that an operator sees the node come up."""

PROXY = PORTS[-1]

PEERS = msgspec.structs.replace(
    PROXY,
    name="peers",
    listener="peers",
    shared=False,
    places=Places.NODES,
    when_full="idle ones are closed, the longest idle first; then a new one counts as a client's",
    profile_of=PROXY.listener,
)

OF_WORKERS: Ports = (
    PEERS,
    PortRow(
        "gossip",
        "join",
        "cluster.gossip",
        "cluster.gossip.keys",
        bind_addr=lambda config: config.cluster.gossip.bind_addr,
        accept=lambda node: node.accept_node,
        shared=True,
        places=Places.SPARE,
        sealed=_is_sealed,
    ),
    PortRow(
        "control",
        "control",
        "admin",
        "admin.auth",
        bind_addr=lambda config: config.admin.bind_addr,
        accept=lambda node: node.accept_supervisor,
        worker_addr=lambda _config, worker: worker.control,
        places=Places.SPARE,
        refuses_with_503=True,
        until_exit=True,
    ),
)
"""A worker has further ports: for the requests that other nodes forward to it, for nodes that join by the gossip port
of all workers, and for its parent."""

WORKER_PORTS: Ports = (*PORTS, *OF_WORKERS)


def entrances(ports: Ports) -> Ports:
    """Return those that ask for a token: for clients, agents and operators, in the order in which people name them."""
    return tuple(port for port in reversed(ports) if port.auth is not None)


def entrances_first(ports: Ports) -> Ports:
    """Return all of them, ``entrances`` first."""
    return (*entrances(ports), *(port for port in ports if port.auth is None))


ENTRANCES = entrances(PORTS)
ENTRANCES_FIRST = entrances_first(PORTS)
