"""A ``tcp`` listener: every stream of the tunnel becomes one connection to the local service."""

from pico_core.agent.counts import ServiceCounts
from pico_core.agent.service import ServiceHost, connect_failure, warn_failed
from pico_core.config.agent import ListenerConfig
from pico_core.machine.channel import TcpChannel
from pico_core.machine.parts import ConnectUser
from pico_core.proxy.waiting import WaitingChannel
from pico_core.tunnel.channel import StreamChannel


class TcpStreams:
    """A ``StreamHandler`` that joins each stream with a connection of its own."""

    def __init__(self, host: ServiceHost, config: ListenerConfig) -> None:
        self.closing = False
        self.counts = ServiceCounts()
        self.endpoint = config.endpoint_id
        self._host = host
        self._config = config

    def accept(self, channel: StreamChannel, now: float) -> None:
        """Connect to the service and join both."""
        _ServiceConnection(self, self._host, self._config, channel)

    def connect(self, user: ConnectUser) -> int:
        """Open a connection to the service; return its number."""
        config = self._config
        return self._host.connect(config.addr.host, config.addr.port, config.timeout_s, user)


class _ServiceConnection:
    """A connection to the service that is being opened for a stream."""

    __slots__ = ("_channel", "_config", "_connection", "_counts", "_host", "_waiting")

    def __init__(self, streams: TcpStreams, host: ServiceHost, config: ListenerConfig, channel: StreamChannel) -> None:
        self._counts = streams.counts
        self._host = host
        self._config = config
        self._channel = channel
        channel.hold_acceptance()
        self._waiting = WaitingChannel(channel, self._cancel)
        self._connection = streams.connect(self)

    def on_connected(self, channel: TcpChannel, now: float) -> None:
        """Accept the stream, and join it with the connection."""
        self._counts.connections += 1
        self._channel.accept()
        self._waiting.join(channel, now, _ignore_end)

    def on_connect_failed(self, reason: str, now: float) -> None:
        """Refuse the stream, which tells the server that nothing was processed."""
        failure = connect_failure(reason)
        self._counts.failed(failure.reason)
        warn_failed(self._host, self._config, failure)
        self._waiting.refuse()

    def _cancel(self, now: float) -> None:
        self._host.cancel_connect(self._connection)


def _ignore_end(now: float) -> None:
    """Take the end of a pipe; streams are counted by their listener."""
