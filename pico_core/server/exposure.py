"""The ports that a node offers to every host, said at its start and where a reload changes it."""

from pico_core.config.server import ServerConfig
from pico_core.config.server_ports import ENTRANCES_FIRST
from pico_core.config.values import is_loopback
from pico_core.machine.parts import Logger

OPEN = "anyone who reaches these ports may use them: set the keys, or let only those reach them whom you trust"

UNGUARDED = "these ports asked for a token, a certificate or a key until the configuration was read again"


def open_ports(config: ServerConfig) -> list[tuple[str, str]]:
    """Return the ports that other hosts reach, each with the section to configure.

    Those that ask for a token, or for a certificate, are left out. A host that reaches the gossip port of a cluster
    without a key can join it and take its requests.
    """
    return [
        (f"{port.name} {address}", port.guard)
        for port in ENTRANCES_FIRST
        if not is_loopback((address := port.bind_addr(config)).host) and not port.is_guarded(config)
    ]


def warn_of_open_ports(host: Logger, config: ServerConfig) -> None:
    """Log one line that names the ports and the keys of the configuration, if there are any."""
    found = open_ports(config)
    if found:
        ports, keys = (", ".join(column) for column in zip(*found, strict=True))
        host.log("warning", "access", OPEN, ports=ports, keys=keys)


def warn_of_lost_guards(host: Logger, before: ServerConfig, after: ServerConfig) -> None:
    """Log what a reload has opened: ports that asked for a token, certificate or key before, and policies."""
    lost = [port for port in ENTRANCES_FIRST if port.is_guarded(before) and not port.is_guarded(after)]
    if lost:
        ports = ", ".join(f"{port.name} {port.bind_addr(after)}" for port in lost)
        host.log("warning", "access", UNGUARDED, ports=ports, keys=", ".join(port.guard for port in lost))
    if before.policies and not after.policies:
        host.log("warning", "access", "no policy holds any more", keys="policies")
