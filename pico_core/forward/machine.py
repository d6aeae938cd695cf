"""The forwarder: local ports whose connections go to ``tcp`` endpoints, through the server's proxy port."""

from urllib.parse import quote

from pico_core.boundary import Exit, Listen, ListenFailed, Listening, ShutdownRequested
from pico_core.config.forward import ForwardConfig, PortConfig
from pico_core.config.values import Address
from pico_core.entropy import Entropy
from pico_core.machine.base import BaseMachine
from pico_core.machine.channel import TcpChannel
from pico_core.pieces import Piece
from pico_core.proxy.waiting import WaitingChannel
from pico_core.proxy.websocket_channel import WebSocketChannel
from pico_core.timers import NEVER
from pico_core.websocket.handshake import ClientHandshake, HandshakeError


class ForwardMachine(BaseMachine):
    """A ``Machine``. Stops at once when asked to: its connections are the user's own."""

    def __init__(self, config: ForwardConfig, entropy: Entropy) -> None:
        super().__init__()
        self.config = config
        self.entropy = entropy
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
        _Dial(self, self._ports[listener].endpoint_id, WaitingChannel(channel))

    def on_shutdown_requested(self, event: ShutdownRequested, now: float) -> None:
        """Stop."""
        self.emit(Exit(0, ""))


class _Dial:
    """A WebSocket to the server being opened for a local connection."""

    def __init__(self, node: ForwardMachine, endpoint: str, waiting: WaitingChannel) -> None:
        url = node.config.connect.url
        self.deadline_at = node.now + node.config.connect.timeout_s
        self._node = node
        self._endpoint = endpoint
        self._waiting = waiting
        self._channel: TcpChannel | None = None
        self._handshake = ClientHandshake(
            str(Address(url.host, url.port)), "/_piko/v1/tcp/" + quote(endpoint, safe=""), (), node.entropy
        )
        node.connect(url.host, url.port, node.config.connect.timeout_s, self)

    # --- as a dialer ---

    def on_connected(self, channel: TcpChannel, now: float) -> None:
        """Ask for the endpoint."""
        if self._waiting.lost:
            channel.abort()
            return
        self._channel = channel
        channel.user = self
        self._node.timers.watch(self, now)
        channel.send(self._handshake.request_bytes())

    def on_connect_failed(self, reason: str, now: float) -> None:
        """The server cannot be reached."""
        self._fail(f"cannot reach the server: {reason}")

    # --- as the user of the connection ---

    def on_data(self, data: Piece, now: float) -> None:
        """Take the server's answer."""
        try:
            rest = self._handshake.receive(bytes(data))
        except HandshakeError as error:
            self._refused(error)
            return
        if rest is not None and self._channel is not None:
            self._end()
            channel = self._channel
            self._waiting.join(WebSocketChannel(channel, self._node.entropy), now)
            if rest:
                channel.user.on_data(rest, now)

    def on_eof(self, now: float) -> None:
        """The answer ends early."""
        try:
            self._handshake.receive_eof()
        except HandshakeError as error:
            self._refused(error)

    def on_lost(self, now: float) -> None:
        """The connection broke."""
        self._fail("connection closed by the server")

    def on_writable(self, now: float) -> None:
        """The request was sent whole."""

    def on_deadline(self, now: float) -> None:
        """The server does not answer."""
        self._fail("the server did not answer in time")

    # --- inside ---

    def _refused(self, error: HandshakeError) -> None:
        self._fail(f"the server refused: {error.status} {error.reason}" if error.status else error.reason)

    def _fail(self, reason: str) -> None:
        self._end()
        if self._channel is not None:
            self._channel.close()
        self._waiting.refuse()
        self._node.warn(
            "forward",
            "cannot reach the endpoint",
            endpoint=self._endpoint,
            server=str(self._node.config.connect.url),
            reason=reason,
        )

    def _end(self) -> None:
        self.deadline_at = NEVER
        self._node.timers.unwatch(self)
