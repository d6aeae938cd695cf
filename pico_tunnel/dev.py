"""``pico server --dev``: a node for this machine alone, without a configuration and without other nodes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pico_core.config.values import LOCALHOST
from pico_core.errors import ConfigError

if TYPE_CHECKING:
    from pico_core.config.server import ServerConfig

DEV_FLAGS = {
    "cluster.gossip.bind_addr": f"{LOCALHOST}:0",
    "drain_delay": "0s",
    "grace_period": "3s",
}
"""The defaults of such a node beside its ports: no balancer has to learn of its stop, and no node asks its gossip
port."""


def dev_flags(flags: dict[str, str], path: str | None) -> dict[str, str]:
    """Return the flags of a node for this machine alone. Raises ``ConfigError`` for what contradicts that."""
    if path is not None:
        raise ConfigError("--dev takes no file: leave out --config.path, or --dev")
    if "cluster.join" in flags:
        raise ConfigError("--dev is a node alone: leave out --cluster.join, or --dev")
    from pico_core.config.server import ServerConfig
    from pico_core.config.server_ports import PORTS

    usual = ServerConfig()
    local = {f"{port.key}.bind_addr": f"{LOCALHOST}:{port.bind_addr(usual).port}" for port in PORTS}
    return local | DEV_FLAGS | flags


def check_loopback(config: ServerConfig) -> ServerConfig:
    """Return the configuration. Raises ``ConfigError`` if other machines would reach a port."""
    from pico_core.config.declare import flag_name
    from pico_core.config.server_ports import ENTRANCES_FIRST
    from pico_core.config.values import is_loopback

    for port in ENTRANCES_FIRST:
        address = port.bind_addr(config)
        if not is_loopback(address.host):
            flag = flag_name(f"{port.key}.bind_addr")
            raise ConfigError(f"{flag}: --dev listens on this machine only: give {LOCALHOST}:{address.port}")
    return config
