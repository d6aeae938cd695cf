"""From the arguments of the SDK to a configuration: the keys are those of the commands, and so are their checks."""

import resource
from collections.abc import Mapping

from pico_core.config.agent import AgentConfig
from pico_core.config.inspect import DEFAULT_ADDRESS
from pico_core.config.load import load
from pico_core.config.server import ServerConfig
from pico_core.config.server_ports import ENTRANCES_FIRST
from pico_core.config.values import LOCALHOST
from pico_core.errors import ConfigError
from pico_core.machine.admission import MAX_DESCRIPTORS
from pico_driver.client_proxy import ClientConfig, with_proxy
from pico_driver.embedding.arguments import text, texts
from pico_driver.files import read_secret


def inspector_settings(inspect: str | int) -> dict[str, str]:
    """Return the setting that says where the inspector listens; none if it does not."""
    return {"inspect.bind_addr": DEFAULT_ADDRESS if inspect is True else str(inspect)} if inspect else {}


def client_settings(cls: type[ClientConfig], url: str, token: str, settings: Mapping[str, str] | None) -> ClientConfig:
    """Return the configuration of a client. Raises ``ConfigError`` that names the key."""
    flags = {"connect.url": text("url", url), **texts("settings", settings)}
    if token:
        flags["connect.token"] = text("token", token)
    config = load(cls, None, flags, "", read_secret)
    if isinstance(config, AgentConfig) and config.tracing.endpoint:
        raise ConfigError(NO_TRACING)
    return with_proxy(config)


NO_TRACING = "tracing.endpoint is for the commands; a program has a tracer of its own"

LOCAL_NODE = {
    **{f"{port.key}.bind_addr": f"{LOCALHOST}:0" for port in ENTRANCES_FIRST},
    "drain_delay": "0s",
}
"""A node for one program: free ports of this machine, and no balancer that has to learn of its end."""


def server_settings(settings: Mapping[str, str] | None) -> ServerConfig:
    """Return the configuration of a node. Raises ``ConfigError`` that names the key."""
    config = load(ServerConfig, None, {**LOCAL_NODE, **texts("settings", settings)}, "", read_secret)
    if config.cluster.gossip.keys_file:
        raise ConfigError("cluster.gossip.keys_file is for the command; give the keys as cluster.gossip.keys")
    if config.tracing.endpoint:
        raise ConfigError(NO_TRACING)
    if config.workers != 1:
        raise ConfigError("workers is for the command; a program runs one node")
    return config


def descriptor_limit() -> int:
    """Return how many descriptors this process may have open."""
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return MAX_DESCRIPTORS if soft == resource.RLIM_INFINITY else min(soft, MAX_DESCRIPTORS)
