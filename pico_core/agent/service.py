"""The local service of a listener, as its streams need it, whether they carry HTTP or raw bytes."""

from typing import Protocol

from pico_core.boundary import OUT_OF_DESCRIPTORS
from pico_core.config.agent import ListenerConfig
from pico_core.machine.head_budget import HeadBudget
from pico_core.machine.parts import AnsweringHost, Connector, Logger
from pico_core.proxy.failures import AGENT_FULL, SERVICE_REFUSED, Failure


class ServiceHost(AnsweringHost, Connector, Logger, Protocol):
    """The part of the machine that the streams of a listener need. ``heads`` is the budget of all unfinished heads."""

    heads: HeadBudget


def connect_failure(reason: str) -> Failure:
    """Return the failure when no connection to the service could be opened, for the ``reason`` of the driver."""
    return (AGENT_FULL if reason == OUT_OF_DESCRIPTORS else SERVICE_REFUSED).because(reason)


def warn_failed(host: ServiceHost, config: ListenerConfig, failure: Failure) -> None:
    """Warn that a request or connection failed at the service."""
    if failure.reason in (SERVICE_REFUSED.reason, AGENT_FULL.reason):
        message, reason = "cannot reach the service", failure.detail
    else:
        message, reason = "the service failed", failure.detail or failure.message
    host.warn(
        "agent", message, endpoint=config.endpoint_id, addr=str(config.addr), failure=failure.reason, reason=reason
    )
