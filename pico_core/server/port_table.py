"""The ports that a node opens, in that order."""

from collections.abc import Callable, Mapping
from typing import Protocol

from pico_core.config.server import ServerConfig
from pico_core.config.values import Address
from pico_core.machine.channel import TcpChannel
from pico_core.server.ports import Port
from pico_core.server.proxies import TrustedProxies
from pico_core.server.worker import Worker


class Accepts(Protocol):
    """What takes the connections of each port."""

    def accept_operator(self, channel: TcpChannel, now: float) -> None:
        """Serve a connection of the admin port."""

    def accept_supervisor(self, channel: TcpChannel, now: float) -> None:
        """Serve a connection of the control port of a worker."""

    def accept_node(self, channel: TcpChannel, now: float) -> None:
        """Serve a connection of the gossip port."""

    def accept_agent(self, channel: TcpChannel, now: float) -> None:
        """Serve a connection of the upstream port."""

    def accept_client(self, channel: TcpChannel, now: float) -> None:
        """Serve a connection of the proxy port."""


def port_table(
    accepts: Accepts,
    config: ServerConfig,
    current: Callable[[], ServerConfig],
    proxies: Mapping[str, TrustedProxies],
    worker: Worker | None,
) -> tuple[Port, ...]:
    """Return the ports in the order in which they open: admin first, so that an operator sees the node come up.

    ``current`` returns the configuration as it is when asked. A worker has ports that all workers share, and others by
    which other nodes reach it alone; those have any number.
    """
    own = (lambda address: address) if worker is None else (lambda address: Address(address.host, 0))

    def proxy(listener: str, address: Address) -> Port:
        return Port(
            listener,
            listener,
            "proxy",
            address,
            accepts.accept_client,
            tls="proxy" if config.proxy.tls.enabled else "",
            proxies=proxies["proxy"],
            header_timeout_s=lambda: current().proxy.http.read_header_timeout_s,
        )

    gossip = config.cluster.gossip.bind_addr
    admin_tls = "admin" if config.admin.tls.enabled else ""
    ports = (
        Port(
            "admin",
            "admin",
            "admin",
            own(config.admin.bind_addr),
            accepts.accept_operator,
            tls=admin_tls,
            until_exit=True,
        ),
        Port(
            "gossip",
            "gossip-streams",
            "cluster.gossip",
            gossip if worker is None else worker.own_gossip,
            accepts.accept_node,
            datagrams="gossip",
            until_exit=True,
        ),
        Port(
            "upstream",
            "upstream",
            "upstream",
            config.upstream.bind_addr if worker is None else worker.upstream,
            accepts.accept_agent,
            tls="upstream" if config.upstream.tls.enabled else "",
            proxies=proxies["upstream"],
            header_timeout_s=lambda: current().upstream.registration_timeout_s,
        ),
        proxy("proxy", config.proxy.bind_addr if worker is None else worker.proxy),
    )
    if worker is None:
        return ports
    return (
        *ports,
        proxy("peers", own(config.proxy.bind_addr)),
        Port("join", "join", "cluster.gossip", worker.gossip, accepts.accept_node),
        Port("control", "control", "admin", worker.control, accepts.accept_supervisor, until_exit=True),
    )


SHARED = ("proxy", "upstream", "join")
"""The listeners of a worker that others have too."""
