"""Active checks of a local service: an agent whose service is down says so before a client finds out.

A check is a connection, or a GET whose answer is below 400. After a few that fail in a row the listener leaves routing;
after one that succeeds it comes back.
"""

from collections.abc import Callable
from typing import Protocol

from pico_core.config.agent import ListenerConfig, service_profile
from pico_core.http.writing import LEAST_ERROR_STATUS
from pico_core.machine.channel import TcpChannel
from pico_core.machine.parts import Connector, Logger
from pico_core.plain.client import PlainRequest, PlainResponse
from pico_core.timers import Timers

MAX_CHECK_BODY_BYTES = 1 << 20
"""Nothing of it is looked at; a page that a person sees fits, and an endless one is cut."""


class CheckHost(Connector, Logger, Protocol):
    """The part of the machine that checks need."""

    timers: Timers


class HealthCheck:
    """Checks one service. ``changed(is_healthy, now)`` is called when the result changes. Next: ``start``."""

    def __init__(self, host: CheckHost, config: ListenerConfig, changed: Callable[[bool, float], None]) -> None:
        self.is_healthy = True
        self._host = host
        self._config = config
        self._changed = changed
        self._failures = 0
        self._stopped = False

    def start(self, now: float) -> None:
        """Check now, and then at each interval."""
        self._check(now)

    def stop(self) -> None:
        """Check no more; the result of the check that is on its way does not count."""
        self._stopped = True

    def _check(self, now: float) -> None:
        if self._stopped:
            return
        check, addr = self._config.health_check, self._config.addr
        if check.protocol == "tcp":
            self._host.connect(addr.host, addr.port, check.timeout_s, self)
            return
        PlainRequest(
            self._host,
            addr,
            check.path,
            self,
            check.timeout_s,
            now,
            tls=service_profile(self._config) if addr.is_secure else "",
            max_body_bytes=MAX_CHECK_BODY_BYTES,
        )

    # --- the results ---

    def on_connected(self, channel: TcpChannel, now: float) -> None:
        """The service accepts connections."""
        channel.close()
        self._succeeded(now)

    def on_connect_failed(self, reason: str, now: float) -> None:
        """The service cannot be reached: the check failed, with ``reason``."""
        self._failed(reason, now)

    def on_response(self, response: PlainResponse, now: float) -> None:
        """The service answered: the check failed if the status is 400 or above."""
        # As balancers count: a redirection is an answer of a service that works.
        if response.status < LEAST_ERROR_STATUS:
            self._succeeded(now)
        else:
            self._failed(f"answered {response.status}", now)

    def on_no_response(self, reason: str, now: float) -> None:
        """No whole answer came: the check failed, with ``reason``."""
        self._failed(reason, now)

    def _succeeded(self, now: float) -> None:
        self._failures = 0
        self._settle(True, "", now)

    def _failed(self, reason: str, now: float) -> None:
        self._failures += 1
        if self._failures >= self._config.health_check.failures:
            self._settle(False, reason, now)
        else:
            self._again(now)

    def _settle(self, is_healthy: bool, reason: str, now: float) -> None:
        self._again(now)
        if self._stopped or is_healthy is self.is_healthy:
            return
        self.is_healthy = is_healthy
        endpoint, addr = self._config.endpoint_id, str(self._config.addr)
        if is_healthy:
            self._host.log("info", "agent", "the service is healthy again", endpoint=endpoint, addr=addr)
        else:
            message = "the service is unhealthy: its endpoint takes no requests here until it recovers"
            self._host.log("warning", "agent", message, endpoint=endpoint, addr=addr, reason=reason)
        self._changed(is_healthy, now)

    def _again(self, now: float) -> None:
        if not self._stopped:
            self._host.timers.schedule(now + self._config.health_check.interval_s, self._check)
