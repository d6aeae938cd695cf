"""The notes of an agent for a person who watches its start: whether each service answers, and that it still connects.

Without such a person they are not made: an agent then opens no connection to its service before a request comes.
"""

from collections.abc import Iterable
from typing import Protocol

from pico_core.config.agent import ListenerConfig
from pico_core.machine.channel import TcpChannel
from pico_core.machine.parts import Connector, Logger

PROBE_TIMEOUT_S = 5.0

PROBE_PAUSE_S = 1.0
"""How long after a service did not answer it is tried again."""

FIRST_WORD_S = 1.0
"""How long an agent connects in silence."""

NEXT_WORD_S = 10.0
"""How long it is silent after each line that says that it still connects."""

MAX_PROBED = 16
"""Services that are tried; a person reads no more rows."""


class WatchHost(Connector, Logger, Protocol):
    """The part of the machine that watching needs."""

    draining: bool

    def seeking(self) -> tuple[str, str]:
        """Return an endpoint that has no tunnel, and why; empty texts where each has one."""


class StartWatch:
    """Next: ``start``. It ends by itself, but for the lines that say that the agent looks for a server."""

    def __init__(self, host: WatchHost, listeners: Iterable[ListenerConfig]) -> None:
        self._host = host
        self._probes = [_Probe(host, each) for each in list(listeners)[:MAX_PROBED]]
        self._since: float | None = None

    def start(self, now: float) -> None:
        """Try each service, and look after a second whether a server was found."""
        self._since = now
        for probe in self._probes:
            probe.begin(now)
        self._host.timers.schedule(now + FIRST_WORD_S, self._look)

    def _look(self, now: float) -> None:
        endpoint, why = self._host.seeking()
        if self._host.draining:
            return
        if not endpoint:
            self._since = None
            self._host.timers.schedule(now + FIRST_WORD_S, self._look)
            return
        if self._since is None:
            self._since = now
        fields = {"reason": why} if why else {}
        self._host.log("info", "agent", "still connecting", endpoint=endpoint, for_s=round(now - self._since), **fields)
        self._host.timers.schedule(now + NEXT_WORD_S, self._look)


class _Probe:
    """Opens a connection to one service, and closes it; again and again until one could be opened."""

    def __init__(self, host: WatchHost, config: ListenerConfig) -> None:
        self._host = host
        self._config = config
        self._reason: str | None = None

    def begin(self, now: float) -> None:
        """Try once."""
        if not self._host.draining:
            addr = self._config.addr
            self._host.connect(addr.host, addr.port, min(self._config.timeout_s, PROBE_TIMEOUT_S), self)

    def on_connected(self, channel: TcpChannel, now: float) -> None:
        """The service accepts connections."""
        channel.close()
        config = self._config
        self._host.log("info", "agent", "the service answers", endpoint=config.endpoint_id, addr=str(config.addr))

    def on_connect_failed(self, reason: str, now: float) -> None:
        """The service does not: say so, where that is new."""
        if reason != self._reason:
            self._reason = reason
            endpoint, addr = self._config.endpoint_id, str(self._config.addr)
            self._host.log("info", "agent", "the service does not answer", endpoint=endpoint, addr=addr, reason=reason)
        self._host.timers.schedule(now + PROBE_PAUSE_S, self.begin)
