"""What a node offers to everybody, said once at its start."""

from pico_core.config.auth import AuthConfig
from pico_core.config.server import ServerConfig
from pico_core.config.values import Address, is_loopback
from pico_core.machine.parts import Logger

OPEN = "anyone who reaches these ports may use them: set the keys, or let only those reach them whom you trust"


def open_ports(config: ServerConfig) -> list[tuple[str, str]]:
    """Return the ports that other hosts reach and that ask for no token, each with the section to configure."""
    upstream = config.upstream
    rows: list[tuple[str, Address, tuple[AuthConfig, ...]]] = [
        ("proxy", config.proxy.bind_addr, (config.proxy.auth,)),
        ("upstream", upstream.bind_addr, tuple(tenant.auth for tenant in upstream.tenants) or (upstream.auth,)),
        ("admin", config.admin.bind_addr, (config.admin.auth,)),
    ]
    default_is_on = upstream.auth.is_on  # it is for tenants that have no key of their own
    return [
        (f"{name} {address}", f"{name}.auth")
        for name, address, sections in rows
        if not is_loopback(address.host)
        and not all(section.is_on or (name == "upstream" and default_is_on) for section in sections)
    ]


def warn_of_open_ports(host: Logger, config: ServerConfig) -> None:
    """Log one line that names the ports and the keys of the configuration, if there are any."""
    found = open_ports(config)
    if found:
        ports, keys = (", ".join(column) for column in zip(*found, strict=True))
        host.log("warning", "access", OPEN, ports=ports, keys=keys)
