"""The ports of a server as a table: all that is asked of each port reads it, and a new port is a new row."""

from collections.abc import Callable
from typing import Protocol, TypeAlias

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
    def proxy(self) -> Address:
        """For clients, shared."""

    @property
    def upstream(self) -> Address:
        """For agents, shared."""

    @property
    def gossip(self) -> Address:
        """For nodes that join, shared."""

    @property
    def own_gossip(self) -> Address:
        """For gossip with this worker alone."""

    @property
    def control(self) -> Address:
        """For the supervisor."""


class PortRow(msgspec.Struct, frozen=True):
    """One port, as the configuration has it.

    ``name`` is what people call it; ``listener`` names it in inputs, commands and limits, and its TLS profile in the
    driver. ``key`` is its section of the configuration. ``bind_addr`` is where a node listens that is alone in its
    process, and ``worker_addr`` where a worker does. ``shared`` says that all workers listen there; at the other ports
    a worker is reached alone, so each has a number of its own. ``auth`` returns what it asks clients for: its own
    section, and behind it those of tenants; ``guard`` is the key that closes it to strangers. ``tls``, ``auth`` and
    ``behind`` (the section with the trusted proxies) are ``None`` for a port that has none. ``header_timeout_s`` is how
    long a trusted proxy may take for its PROXY header. ``datagrams`` names a second listener, for UDP with the same
    number. ``until_exit`` says that the port stays open until the process ends; the others close once the node is
    drained.
    """

    name: str
    listener: str
    key: str
    guard: str
    bind_addr: Callable[[ServerConfig], Address]
    worker_addr: Callable[[ServerConfig, WorkerAddresses], Address]
    shared: bool = False
    auth: Callable[[ServerConfig], tuple[AuthConfig, ...]] | None = None
    tls: Callable[[ServerConfig], ServerTlsConfig] | None = None
    behind: Callable[[ServerConfig], ProxyConfig | UpstreamConfig] | None = None
    header_timeout_s: Callable[[ServerConfig], float] | None = None
    datagrams: str = ""
    until_exit: bool = False

    def auth_sections(self, config: ServerConfig) -> tuple[AuthConfig, ...]:
        """Return ``auth`` of ``config``; none for a port that asks for no token."""
        return () if self.auth is None else self.auth(config)

    def is_guarded(self, config: ServerConfig) -> bool:
        """Whether strangers get nothing here: it asks for a certificate, or all of its clients for a token or key."""
        if self.tls is not None and self.tls(config).asks_for_certificates:
            return True
        sections = self.auth_sections(config)
        if not sections:
            return bool(config.cluster.gossip.keys)
        own, *tenants = sections
        # What is on for the port itself holds for tenants that have nothing of their own.
        return own.is_on or (bool(tenants) and all(each.is_on for each in tenants))

    def tls_profile(self, config: ServerConfig) -> str:
        """Return the name of its TLS profile, empty for plain TCP."""
        return self.listener if self.tls is not None and self.tls(config).enabled else ""

    def has_header(self, config: ServerConfig) -> bool:
        """Whether connections of trusted proxies begin with a PROXY header."""
        return self.behind is not None and self.behind(config).proxy_protocol == REQUIRED


def _any_number(address: Address) -> Address:
    return Address(address.host, 0)


Ports: TypeAlias = tuple[PortRow, ...]

PORTS: Ports = (
    PortRow(
        "admin",
        "admin",
        "admin",
        "admin.auth",
        bind_addr=lambda config: config.admin.bind_addr,
        worker_addr=lambda config, _worker: _any_number(config.admin.bind_addr),
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
        worker_addr=lambda _config, worker: worker.own_gossip,
        datagrams="gossip",
        until_exit=True,
    ),
    PortRow(
        "upstream",
        "upstream",
        "upstream",
        "upstream.auth",
        bind_addr=lambda config: config.upstream.bind_addr,
        worker_addr=lambda _config, worker: worker.upstream,
        shared=True,
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
        worker_addr=lambda _config, worker: worker.proxy,
        shared=True,
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
    worker_addr=lambda config, _worker: _any_number(config.proxy.bind_addr),
    shared=False,
)

WORKER_PORTS: Ports = (
    *PORTS,
    PEERS,
    PortRow(
        "join",
        "join",
        "cluster.gossip",
        "cluster.gossip.keys",
        bind_addr=lambda config: config.cluster.gossip.bind_addr,
        worker_addr=lambda _config, worker: worker.gossip,
        shared=True,
    ),
    PortRow(
        "control",
        "control",
        "admin",
        "admin.auth",
        bind_addr=lambda config: config.admin.bind_addr,
        worker_addr=lambda _config, worker: worker.control,
        until_exit=True,
    ),
)
"""A worker has further ports: for the requests that other nodes forward to it, for nodes that join by the gossip port
of all workers, and for its parent."""

ENTRANCES: Ports = tuple(port for port in reversed(PORTS) if port.auth is not None)
"""Those for clients, agents and operators, in the order in which people name them."""

ENTRANCES_FIRST: Ports = (*ENTRANCES, *(port for port in PORTS if port.auth is None))
