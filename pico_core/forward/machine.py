"""The forwarder: local ports whose connections go to ``tcp`` endpoints, through the server's proxy port."""

from urllib.parse import quote

from pico_core.boundary import Exit, Listen, ListenFailed, Listening, ShutdownRequested
from pico_core.config.forward import ForwardConfig, PortConfig
from pico_core.config.values import Address
from pico_core.dial import Server, WebSocketDial
from pico_core.entropy import Entropy
from pico_core.machine.base import BaseMachine
from pico_core.machine.channel import TcpChannel
from pico_core.proxy.waiting import WaitingChannel
from pico_core.proxy.websocket_channel import WebSocketChannel


class ForwardMachine(BaseMachine):
    """A ``Machine``. Stops at once when asked to: its connections are the user's own."""

    def __init__(self, config: ForwardConfig, entropy: Entropy) -> None:
        super().__init__()
        self.config = config
        self.entropy = entropy
        self.server = Server(config.connect.url, entropy)
        self._ports: dict[str, PortConfig] = {str(index): port for index, port in enumerate(config.ports)}

    def on_start(self, now: float) -> None:
        """Open the ports."""
        for name, port in self._ports.items():
            self.emit(Listen(name, port.addr.host, port.addr.port))

    def on_listening(self, event: Listening, now: float) -> None:
        """Say where to connect to."""
        endpoint = self._ports[event.listener].endpoint_id
        self.log("info", "forward", "listening", addr=str(Address(event.host, event.port)), endpoint=endpoint)

    def on_listen_failed(self, event: ListenFailed, now: float) -> None:
        """A port that cannot be opened is what the user asked for: give up."""
        address = self._ports[event.listener].addr
        self.emit(Exit(1, f"cannot listen on '{address}': {event.reason}; choose another address"))

    def on_accepted(self, channel: TcpChannel, listener: str, now: float) -> None:
        """Reach the endpoint through the server, then join both."""
        _Connection(self, self._ports[listener].endpoint_id, channel, now)

    def on_shutdown_requested(self, event: ShutdownRequested, now: float) -> None:
        """Stop at once, and say how many connections that cuts. Those that a driver accepts have odd numbers."""
        self.log("info", "forward", "stopped", connections=sum(number % 2 for number in self._connections))
        self.emit(Exit(0, ""))


class _Connection:
    """A local connection for which a WebSocket to the endpoint is being opened."""

    def __init__(self, machine: ForwardMachine, endpoint: str, channel: TcpChannel, now: float) -> None:
        connect = machine.config.connect
        self._machine = machine
        self._endpoint = endpoint
        self._waiting = WaitingChannel(channel, self._cancel)
        target = "/_piko/v1/tcp/" + quote(endpoint, safe="")
        self._dial = WebSocketDial(machine, self, machine.server, target, (), machine.entropy, connect.timeout_s, now)

    def on_dialed(self, channel: TcpChannel, rest: bytes, now: float) -> None:
        """Join."""
        self._waiting.join(WebSocketChannel(channel, self._machine.entropy), now)
        if rest:
            channel.user.on_data(rest, now)

    def on_dial_refused(self, status: int, reason: str, now: float) -> None:
        """The server does not let us reach the endpoint."""
        self._fail(f"the server refused: {status} {reason}")

    def on_dial_failed(self, reason: str, now: float) -> None:
        """The server cannot be reached."""
        self._fail(f"cannot reach the server: {reason}")

    def _cancel(self) -> None:
        self._dial.cancel()

    def _fail(self, reason: str) -> None:
        self._waiting.refuse()
        self._machine.warn(
            "forward",
            "cannot reach the endpoint",
            endpoint=self._endpoint,
            server=str(self._machine.config.connect.url),
            reason=reason,
        )
