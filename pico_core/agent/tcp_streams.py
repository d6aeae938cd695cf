"""A ``tcp`` listener: every stream of the tunnel becomes one connection to the local service."""

from pico_core.config.agent import ListenerConfig
from pico_core.machine.base import BaseMachine
from pico_core.machine.channel import TcpChannel
from pico_core.proxy.waiting import WaitingChannel
from pico_core.tunnel.channel import StreamChannel


class TcpStreams:
    """See ``pico_core.agent.listener.Service``."""

    def __init__(self, node: BaseMachine, config: ListenerConfig) -> None:
        self.closing = False
        self._node = node
        self._config = config

    def accept(self, channel: StreamChannel, now: float) -> None:
        """Connect to the service and join both."""
        _Dial(self._node, self._config, WaitingChannel(channel))


class _Dial:
    """A connection to the service being opened for a stream."""

    __slots__ = ("_config", "_node", "_waiting")

    def __init__(self, node: BaseMachine, config: ListenerConfig, waiting: WaitingChannel) -> None:
        self._node = node
        self._config = config
        self._waiting = waiting
        node.connect(config.addr.host, config.addr.port, config.timeout_s, self)

    def on_connected(self, channel: TcpChannel, now: float) -> None:
        """Join."""
        self._waiting.join(channel, now)

    def on_connect_failed(self, reason: str, now: float) -> None:
        """Reset the stream, which tells the client."""
        self._node.warn(
            "agent",
            "cannot reach the service",
            endpoint=self._config.endpoint_id,
            addr=str(self._config.addr),
            reason=reason,
        )
        self._waiting.refuse()
