"""The services behind agents: an HTTP origin whose answers show what it received, and a TCP one that echoes."""

import random

import h11

from pico_core.boundary import Exit, Listen, ShutdownRequested
from pico_core.machine.base import BaseMachine
from pico_core.machine.channel import TcpChannel
from pico_core.pieces import Piece
from tests.sim.world import World

HTTP_PORT = 3000
TCP_PORT = 3001
PIECE_BYTES = 16_384


class Ledger:
    """How often each attempt of each request reached an origin."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._attempts: dict[str, int] = {}

    def begin(self, method: str, attempt: str) -> None:
        """An origin received a request; one that is not idempotent may reach it only once (RFC 9110 section 9.2.2)."""
        count = self._attempts[attempt] = self._attempts.get(attempt, 0) + 1
        if count > 1:
            self._world.sometimes["request sent to an origin twice"] += 1
            if method == "POST":
                raise self._world.violation(f"POST {attempt} was processed {count} times")


def pattern(number: int, size: int) -> bytes:
    """Return the body that belongs to a request's number: no other request has the same."""
    unit = b"%08d" % number
    return (unit * (size // len(unit) + 1))[:size]


class Origin(BaseMachine):
    """An HTTP and a TCP service in one machine."""

    def __init__(self, world: World, ledger: Ledger, entropy: random.Random) -> None:
        super().__init__()
        self.world = world
        self.ledger = ledger
        self.entropy = entropy
        self.requests = 0

    def on_start(self, now: float) -> None:
        self.emit(Listen("http", "", HTTP_PORT))
        self.emit(Listen("tcp", "", TCP_PORT))

    def on_accepted(self, channel: TcpChannel, listener: str, now: float) -> None:
        if listener == "http":
            channel.user = _HttpConnection(self, channel)
        else:
            channel.user = _Echo(channel)

    def on_shutdown_requested(self, event: ShutdownRequested, now: float) -> None:
        self.emit(Exit(0, ""))


class _HttpConnection:
    """Answers ``/size/delay_ms`` with as many bytes of the request's own pattern, after the delay."""

    def __init__(self, origin: Origin, channel: TcpChannel) -> None:
        self._origin = origin
        self._channel = channel
        self._http = h11.Connection(h11.SERVER)
        self._request: h11.Request | None = None
        self._received = 0
        self._rest = b""
        self._chunked = False
        self._lost = False

    def on_data(self, data: Piece, now: float) -> None:
        try:
            self._http.receive_data(bytes(data))
            self._advance(now)
        except h11.RemoteProtocolError as error:
            raise self._origin.world.violation(f"an origin was sent bytes that are not a request: {error}") from error

    def _advance(self, now: float) -> None:
        while True:
            event = self._http.next_event()
            if event is h11.NEED_DATA or event is h11.PAUSED:
                return
            if isinstance(event, h11.Request):
                self._begin(event)
            elif isinstance(event, h11.Data):
                self._received += len(event.data)
            elif isinstance(event, h11.EndOfMessage):
                delay_s = int(self._request.target.split(b"/")[2]) / 1000 if self._request else 0.0
                if delay_s:
                    self._origin.timers.schedule(now + delay_s, self._respond)
                else:
                    self._respond(now)
            else:
                return

    def _begin(self, request: h11.Request) -> None:
        self._request = request
        self._received = 0
        fields = dict(request.headers)
        for name in fields:
            if name.startswith((b"x-pico", b"x-piko")) and name != b"x-pico-request-id":
                raise self._origin.world.violation(f"an origin was shown the header {name!r}")
        self._origin.requests += 1
        self._origin.ledger.begin(request.method.decode(), fields[b"x-attempt"].decode())

    def _respond(self, now: float) -> None:
        request = self._request
        if self._lost or request is None:
            return
        fields = dict(request.headers)
        number = int(fields[b"x-number"])
        size = int(request.target.split(b"/")[1])
        self._chunked = number % 2 == 1
        framing = (b"transfer-encoding", b"chunked") if self._chunked else (b"content-length", b"%d" % size)
        head = h11.Response(
            status_code=200,
            headers=[(b"x-number", b"%d" % number), (b"x-received", b"%d" % self._received), framing],
        )
        self._channel.send(self._http.send(head) or b"")
        self._rest = b"" if request.method == b"HEAD" else pattern(number, size)
        self._send_more(now)

    def _send_more(self, now: float) -> None:
        while self._rest and self._channel.writable:
            piece, self._rest = self._rest[:PIECE_BYTES], self._rest[PIECE_BYTES:]
            self._channel.send(self._http.send(h11.Data(data=piece)) or b"")
        if not self._rest and self._request is not None:
            self._request = None
            end = self._http.send(h11.EndOfMessage())
            if end:
                self._channel.send(end)
            if self._http.our_state is h11.MUST_CLOSE:
                self._channel.close()
                self._lost = True
            else:
                self._http.start_next_cycle()
                self._advance(now)

    def on_eof(self, now: float) -> None:
        self._lost = True
        self._channel.close()

    def on_lost(self, now: float) -> None:
        self._lost = True

    def on_writable(self, now: float) -> None:
        if self._rest:
            self._send_more(now)


class _Echo:
    """Sends all bytes back, and their end after them."""

    def __init__(self, channel: TcpChannel) -> None:
        self._channel = channel

    def on_data(self, data: Piece, now: float) -> None:
        self._channel.send(bytes(data))
        if not self._channel.writable:
            self._channel.pause_reading()

    def on_eof(self, now: float) -> None:
        self._channel.close()

    def on_lost(self, now: float) -> None:
        pass

    def on_writable(self, now: float) -> None:
        self._channel.resume_reading()
