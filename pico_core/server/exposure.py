"""What a node offers to everybody, said once at its start."""

from pico_core.config.auth import AuthConfig
from pico_core.config.server import ServerConfig
from pico_core.config.tls import ServerTlsConfig
from pico_core.config.values import Address, is_loopback
from pico_core.machine.parts import Logger

OPEN = "anyone who reaches these ports may use them: set the keys, or let only those reach them whom you trust"


def open_ports(config: ServerConfig) -> list[tuple[str, str]]:
    """Return the ports that other hosts reach, each with the section to configure.

    Those are left out that ask for a token, or for a certificate. Whoever reaches the gossip port of a cluster without
    a key can join it and take its requests.
    """
    upstream = config.upstream
    of_agents = tuple(tenant.auth for tenant in upstream.tenants) or (upstream.auth,)
    rows: list[tuple[str, Address, tuple[AuthConfig, ...], ServerTlsConfig]] = [
        ("proxy", config.proxy.bind_addr, (config.proxy.auth,), config.proxy.tls),
        ("upstream", upstream.bind_addr, of_agents, upstream.tls),
        ("admin", config.admin.bind_addr, (config.admin.auth,), config.admin.tls),
    ]
    default_is_on = upstream.auth.is_on  # it is for tenants that have no key of their own
    gossip = config.cluster.gossip
    found = [] if gossip.keys or is_loopback(gossip.bind_addr.host) else [_gossip(gossip.bind_addr)]
    return [
        (f"{name} {address}", f"{name}.auth")
        for name, address, sections, tls in rows
        if not is_loopback(address.host)
        and not tls.asks_for_certificates
        and not all(section.is_on or (name == "upstream" and default_is_on) for section in sections)
    ] + found


def _gossip(address: Address) -> tuple[str, str]:
    return f"gossip {address}", "cluster.gossip.keys"


def warn_of_open_ports(host: Logger, config: ServerConfig) -> None:
    """Log one line that names the ports and the keys of the configuration, if there are any."""
    found = open_ports(config)
    if found:
        ports, keys = (", ".join(column) for column in zip(*found, strict=True))
        host.log("warning", "access", OPEN, ports=ports, keys=keys)
