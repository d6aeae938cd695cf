"""The ports that a node opens, in that order: rows of ``config.server_ports``, and what a node makes of them."""

from collections.abc import Mapping

from pico_core.config.server import ServerConfig
from pico_core.config.server_ports import OF_WORKERS, Accepts, Ports
from pico_core.machine.channel import TcpChannel
from pico_core.server.ports import Port
from pico_core.server.proxies import TrustedProxies
from pico_core.server.worker import Worker


def port_table(
    accepts: Accepts[TcpChannel],
    config: ServerConfig,
    proxies: Mapping[str, TrustedProxies],
    worker: Worker | None,
    rows: Ports,
) -> tuple[Port, ...]:
    """Return the ports in the order in which they open.

    A worker has ports that all workers share, and others by which other nodes reach it alone.
    """
    return tuple(
        Port(
            row,
            row.address(config, worker),
            row.accept(accepts),
            row.tls_profile(config),
            proxies.get(row.profile),
        )
        for row in (rows if worker is None else (*rows, *OF_WORKERS))
    )
