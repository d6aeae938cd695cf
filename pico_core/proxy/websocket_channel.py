"""Raw bytes inside the binary messages of a WebSocket, as a channel: the TCP route on either end.

Half-close is a WebSocket Close frame: its sender sends no more data, as RFC 6455 section 5.5.1 demands, but still
receives until the peer's own Close. Piko's ends answer a Close by closing both directions, so towards them a half-close
ends the connection, as it does between two of them. Some of Piko's end with a bare FIN, without a Close. Ends of Pico
never do; they tell each other so by a subprotocol, and a bare FIN is then a connection that was cut.
"""

from pico_core.boundary import Data
from pico_core.entropy import Entropy
from pico_core.machine.channel import DISCARD, ChannelUser, HoldingChannel
from pico_core.pieces import Piece
from pico_core.websocket.decoding import CloseReceived, FrameDecoder, FrameError, Item, Ping
from pico_core.websocket.encoding import encode_close, encode_frame, encode_pong
from pico_core.websocket.frame import NORMAL_CLOSURE

SUBPROTOCOL = (b"sec-websocket-protocol", b"pico-tcp")
"""The subprotocol that a client offers and a server agrees to: each end says by a Close frame that it sends no more."""


class WebSocketChannel:
    """Wraps a channel whose handshake is done. ``entropy`` masks what a client sends; ``None`` on the server.

    ``peer_closes`` says that both ends have agreed on ``SUBPROTOCOL``.
    """

    __slots__ = ("_close_sent", "_decoder", "_entropy", "_inner", "_peer_closes", "user")

    def __init__(self, inner: HoldingChannel, entropy: Entropy | None, *, peer_closes: bool) -> None:
        self._peer_closes = peer_closes
        self.user: ChannelUser = DISCARD
        self._inner = inner
        self._entropy = entropy
        self._decoder = FrameDecoder(masked=entropy is None)
        self._close_sent = False
        inner.user = self

    # --- as a channel ---

    @property
    def writable(self) -> bool:
        """Whether the connection takes more."""
        return self._inner.writable

    def send(self, data: Data) -> None:
        """Send one binary message."""
        if not self._close_sent:
            pieces = (data,) if isinstance(data, bytes) else data
            self._inner.send(encode_frame(pieces, sum(map(len, pieces)), self._entropy))

    def send_eof(self) -> None:
        """Send a Close frame."""
        if not self._close_sent:
            self._close_sent = True
            self._inner.send(encode_close(NORMAL_CLOSURE, "", self._entropy))

    def close(self) -> None:
        """Send a Close frame and close the connection after it."""
        self.user = DISCARD
        self.send_eof()
        self._inner.close()

    def abort(self) -> None:
        """Reset the connection."""
        self.user = DISCARD
        self._inner.abort()

    def pause_reading(self) -> None:
        """Stop receiving."""
        self._inner.pause_reading()

    def resume_reading(self) -> None:
        """Receive again."""
        self._inner.resume_reading()

    # --- as the user of the inner channel ---

    def on_data(self, data: Piece, now: float) -> None:
        """Take frames."""
        try:
            items = self._decoder.receive(bytes(data))
        except FrameError as error:
            self._take(error.items, now)
            self._inner.send(encode_close(error.code, str(error), self._entropy))
            self._inner.close()
            self.user.on_lost(now)
            return
        if self._decoder.behind:
            self._inner.hold(b"")
        self._take(items, now)

    def _take(self, items: list[Item], now: float) -> None:
        for event in items:
            if isinstance(event, (bytes, memoryview)):
                self.user.on_data(event, now)
            elif isinstance(event, Ping):
                if self._inner.writable:  # a peer that does not read gets no more pongs
                    self._inner.send(encode_pong(event.payload, self._entropy))
            elif isinstance(event, CloseReceived):
                self.user.on_eof(now)

    def on_eof(self, now: float) -> None:
        """Both directions are over: orderly if the peer sent a Close before, or is one that sends none; else cut."""
        user, self.user = self.user, DISCARD
        self._inner.close()
        if not self._peer_closes:
            user.on_eof(now)
        user.on_lost(now)

    def on_lost(self, now: float) -> None:
        """Pass on that the connection is gone."""
        self.user.on_lost(now)

    def on_writable(self, now: float) -> None:
        """The connection takes more."""
        self.user.on_writable(now)
