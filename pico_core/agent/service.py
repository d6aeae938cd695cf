"""The local service of a listener, as its streams need it, whether they carry HTTP or raw bytes."""

from typing import Protocol

from pico_core.config.agent import ListenerConfig
from pico_core.machine.parts import Connector, Logger


class ServiceHost(Connector, Logger, Protocol):
    """What the streams of a listener need of the machine."""


def warn_unreachable(host: ServiceHost, config: ListenerConfig, reason: str) -> None:
    """Warn that the service could not be connected to; ``reason`` is one readable clause."""
    host.warn("agent", "cannot reach the service", endpoint=config.endpoint_id, addr=str(config.addr), reason=reason)
