"""A WebSocket whose server is an application in the program: the ``Upstream`` of its exchange, and then a channel.

wsproto has the frames (RFC 6455): messages of the application become bytes for the client's side of the pipe, and bytes
from there messages. A message has a bound, and so has what the application may leave untaken.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from pico_core.agent.app_call import AppCallHost, ProgramCall
from pico_core.agent.app_response import response_head
from pico_core.boundary import Data
from pico_core.http.message import MessageError, ResponseHead, field_values
from pico_core.machine.channel import DISCARD, Channel, ChannelUser
from pico_core.pieces import Piece
from pico_core.program import (
    CallAccepts,
    CallCloses,
    CallDropped,
    CallEnded,
    CallMessage,
    CallSends,
)
from pico_core.proxy.exchange import Exchange
from pico_core.timers import Timer, Timers
from pico_core.websocket.frame import (
    ABNORMAL_CLOSURE,
    INTERNAL_ERROR,
    MESSAGE_TOO_BIG,
    NO_STATUS,
    NORMAL_CLOSURE,
)

if TYPE_CHECKING:
    from wsproto.connection import Connection
    from wsproto.events import Event

MAX_MESSAGE_BYTES = 16 << 20
"""A client's message that is longer ends the WebSocket with ``MESSAGE_TOO_BIG``."""

CLOSE_S = 10.0
"""How long a client may take to answer a Close frame."""


class TimedMachine(Protocol):
    """The part of the machine that a WebSocket needs. ``now`` is the time of the input that is being handled."""

    timers: Timers
    now: float


class WebSocketUpstream(ProgramCall):
    """One WebSocket. Next: ``request`` by the exchange, ``accepts`` or ``closes`` of the application."""

    def __init__(self, host: AppCallHost, number: int, machine: TimedMachine) -> None:
        super().__init__(host, number)
        self.user: ChannelUser = DISCARD
        self._machine = machine
        self._frames: Connection | None = None
        self._parts: list[bytes | str] = []
        self._parts_size = 0
        self._over = False
        self._close_sent = False
        self._timer: Timer | None = None

    # --- as the upstream of an exchange ---

    def request(
        self,
        exchange: Exchange,
        fields: bytes,
        pieces: Sequence[Piece] = (),
        *,
        last: bool = True,
        trailers: bytes = b"",
    ) -> None:
        """Have the application asked whether it accepts."""
        self.exchange = exchange
        self.host.begin_call(self.number, exchange, fields, b"", last=True, is_websocket=True)

    def request_more(self, pieces: Sequence[Piece], *, last: bool, trailers: bytes) -> None:
        """Drop a body: the handshake has none."""

    def upgrade(self) -> Channel:
        """Carry messages from now on."""
        return self

    def upgrade_over(self, now: float) -> None:
        """The pipe has ended."""
        self._dropped(ABNORMAL_CLOSURE, "")

    def give_up(self, now: float) -> None:
        """The client has left before the WebSocket was open."""
        self.exchange = None
        self._dropped(ABNORMAL_CLOSURE, "")

    # --- what the program says ---

    def accepts(self, event: CallAccepts, now: float) -> None:
        """Open the WebSocket."""
        exchange, self.exchange = self.exchange, None
        if exchange is None:
            return
        from wsproto.connection import Connection, ConnectionType  # wsproto takes 10 ms, which most agents do without
        from wsproto.utilities import generate_accept_token

        key = field_values(exchange.head.fields, b"sec-websocket-key")[0]
        try:
            checked = response_head(200, (*event.fields, (b"sec-websocket-accept", generate_accept_token(key))), 0)
            head = ResponseHead(101, 1, b"Switching Protocols", checked.fields, True, upgrade=b"websocket")
            self._frames = Connection(ConnectionType.SERVER)
            exchange.switch_protocols(head, b"", now)
        except MessageError as error:
            self.exchange = exchange
            self.answer_failure(error.reason, now)

    def sends(self, event: CallSends, now: float) -> None:
        """Send a message."""
        from wsproto.events import BytesMessage, TextMessage

        if isinstance(event.message, str):
            self._send(TextMessage(event.message), now)
        else:
            self._send(BytesMessage(event.message), now)

    def closes(self, event: CallCloses, now: float) -> None:
        """Refuse the WebSocket, or close it."""
        exchange, self.exchange = self.exchange, None
        if exchange is not None:
            self._over = True
            exchange.respond_whole(response_head(403, (), 0), b"", now)
        else:
            self._close(event.code, event.reason, now)

    def go_on(self, now: float) -> None:
        """Ask for more of the client's bytes."""
        if not self._over:
            self.user.on_writable(now)

    def ended(self, event: CallEnded, now: float) -> None:
        """The application has returned or failed: the WebSocket ends with it."""
        is_open = self.exchange is None
        self.answer_failure(event.failure, now)
        if is_open:
            self._close(INTERNAL_ERROR if event.failure else NORMAL_CLOSURE, "", now)

    # --- as a channel ---

    def send(self, data: Data) -> None:
        """Take bytes of the client."""
        frames = self._frames
        if frames is None or self._over:
            return
        from wsproto.utilities import ProtocolError

        now = self._machine.now
        try:
            frames.receive_data(data if isinstance(data, bytes) else b"".join(data))
            for event in frames.events():
                if not self._take(event, now):
                    return
        except ProtocolError:
            self._finish(ABNORMAL_CLOSURE, "", now)

    def send_eof(self) -> None:
        """The client ends its direction without a Close frame."""
        self._finish(ABNORMAL_CLOSURE, "", self._machine.now)

    def close(self) -> None:
        """The pipe is over."""
        self.user = DISCARD
        self._dropped(ABNORMAL_CLOSURE, "")

    def abort(self) -> None:
        """End at once: the client is gone."""
        self.close()

    def pause_reading(self) -> None:
        """Let the application wait."""
        self.pause_response()

    def resume_reading(self) -> None:
        """Let it go on."""
        self.resume_response()

    # --- inside ---

    def _take(self, event: "Event", now: float) -> bool:
        """Take an event of the client; return whether the WebSocket goes on."""
        from wsproto.events import CloseConnection, Message, Ping

        if isinstance(event, Message):
            self._parts.append(event.data if isinstance(event.data, str) else bytes(event.data))
            self._parts_size += len(event.data)
            if self._parts_size > MAX_MESSAGE_BYTES:
                self._send(CloseConnection(MESSAGE_TOO_BIG, "the message is too long"), now)
                self._finish(MESSAGE_TOO_BIG, "the message is too long", now)
                return False
            if event.message_finished:
                self.offered(self._parts_size)
                is_text = isinstance(event.data, str)
                message = "".join(map(str, self._parts)) if is_text else b"".join(map(_bytes, self._parts))
                self._parts, self._parts_size = [], 0
                self.host.emit(CallMessage(self.number, message))
        elif isinstance(event, Ping):
            self._send(event.response(), now)
        elif isinstance(event, CloseConnection):
            if not self._close_sent:
                self._send(event.response(), now)
            self._finish(event.code or NO_STATUS, event.reason or "", now)
            return False
        return True

    def _send(self, event: "Event", now: float) -> None:
        if self._frames is not None and not self._over and not self._close_sent:
            self.user.on_data(self._frames.send(event), now)

    def _close(self, code: int, reason: str, now: float) -> None:
        if self._over or self._close_sent or self._frames is None:
            return
        from wsproto.events import CloseConnection

        self._send(CloseConnection(code, reason), now)
        self._close_sent = True
        self._timer = self._machine.timers.schedule(now + CLOSE_S, lambda now: self._finish(ABNORMAL_CLOSURE, "", now))

    def _finish(self, code: int, reason: str, now: float) -> None:
        """End the pipe behind what was sent."""
        if self._over:
            return
        self._dropped(code, reason)
        user, self.user = self.user, DISCARD
        user.on_eof(now)
        user.on_lost(now)

    def _dropped(self, code: int, reason: str) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if not self._over:
            self._over = True
            self.host.emit(CallDropped(self.number, code, reason))


def _bytes(part: bytes | str) -> bytes:
    return part if isinstance(part, bytes) else part.encode()


def subprotocols(fields: bytes) -> tuple[str, ...]:
    """Return the subprotocols that the client offers."""
    offered = b",".join(field_values(fields, b"sec-websocket-protocol")).decode("latin-1").split(",")
    return tuple(each.strip() for each in offered if each.strip())
