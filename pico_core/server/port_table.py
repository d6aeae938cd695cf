"""The ports that a node opens, in that order: rows of ``config.server_ports``, and what serves their connections."""

from collections.abc import Mapping
from typing import Protocol

from pico_core.config.server import ServerConfig
from pico_core.config.server_ports import CONTROL, JOIN, PEERS, PORTS, PROXY, PortRow
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
    addresses = {} if worker is None else _addresses(config, worker)

    def port(row: PortRow) -> Port:
        as_row = PROXY if row is PEERS else row
        address = addresses.get(row.name) or row.bind_addr(config)
        return Port(row, address, accept[row.name], as_row.tls_profile(config), proxies.get(as_row.listener))

    return tuple(port(row) for row in (PORTS if worker is None else (*PORTS, PEERS, JOIN, CONTROL)))


def _addresses(config: ServerConfig, worker: Worker) -> dict[str, Address]:
    """Return where the ports of a worker listen; those by which it is reached alone have any number."""
    return {
        "admin": Address(config.admin.bind_addr.host, 0),
        "gossip": worker.own_gossip,
        "upstream": worker.upstream,
        "proxy": worker.proxy,
        "peers": Address(config.proxy.bind_addr.host, 0),
        "join": worker.gossip,
        "control": worker.control,
    }


SHARED = ("proxy", "upstream", "join")
"""The listeners of a worker that others have too."""
