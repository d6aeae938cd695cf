"""The ports that a node opens, in that order: rows of ``config.server_ports``, and what serves their connections."""

from collections.abc import Mapping
from typing import Protocol

from pico_core.config.server import ServerConfig
from pico_core.config.server_ports import PEERS, PORTS, PROXY, WORKER_PORTS, PortRow
from pico_core.machine.channel import TcpChannel
from pico_core.server.ports import Port
from pico_core.server.proxies import TrustedProxies
from pico_core.server.worker import Worker


class Accepts(Protocol):
    """The part that takes the connections of each port."""

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
    accepts: Accepts, config: ServerConfig, proxies: Mapping[str, TrustedProxies], worker: Worker | None
) -> tuple[Port, ...]:
    """Return the ports in the order in which they open.

    A worker has ports that all workers share, and others by which other nodes reach it alone.
    """
    accept = {
        "admin": accepts.accept_operator,
        "gossip": accepts.accept_node,
        "upstream": accepts.accept_agent,
        "proxy": accepts.accept_client,
        "peers": accepts.accept_client,
        "join": accepts.accept_node,
        "control": accepts.accept_supervisor,
    }

    def port(row: PortRow) -> Port:
        address = row.bind_addr(config) if worker is None else row.worker_addr(config, worker)
        as_row = PROXY if row is PEERS else row
        return Port(row, address, accept[row.name], as_row.tls_profile(config), proxies.get(as_row.listener))

    return tuple(port(row) for row in (PORTS if worker is None else WORKER_PORTS))
