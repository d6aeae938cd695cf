"""The HTTP proxy of an agent or a forwarder where its configuration names none: that of the environment."""

import os
from typing import TYPE_CHECKING, TypeVar

from msgspec.structs import replace

from pico_core.config.proxy import proxy_from_environment

if TYPE_CHECKING:
    from pico_core.config.agent import AgentConfig
    from pico_core.config.forward import ForwardConfig

ClientConfig = TypeVar("ClientConfig", "AgentConfig", "ForwardConfig")


def with_proxy(config: ClientConfig) -> ClientConfig:
    """Add the proxy that the environment names for the server, unless the configuration has one already.

    Raises ``ConfigError`` that names the variable.
    """
    connect = config.connect
    if connect.proxy_url is not None:
        return config
    return replace(config, connect=replace(connect, proxy_url=proxy_from_environment(connect.url, os.environ)))
