"""Where the plays of a dial take place: a machine that does nothing but dial one server."""

import random

from pico_core.boundary import (
    Connect,
    ShutdownRequested,
    Tick,
)
from pico_core.config.proxy import Proxy
from pico_core.config.values import Origin
from pico_core.dial import (
    Server,
    WebSocketDial,
)
from pico_core.machine.base import BaseMachine
from pico_core.machine.channel import TcpChannel
from pico_core.websocket.handshake import HandshakeError
from tests.play import Play

A, B, C = "192.0.2.1", "192.0.2.2", "192.0.2.3"


class Dialer(BaseMachine):
    """Dials when asked to stop, which a play can ask any number of times; notes what comes of it."""

    def __init__(self, host: str, path: str, proxy: Proxy | None, tls: str) -> None:
        super().__init__()
        self.outcomes: list[str] = []
        self.dials: list[WebSocketDial] = []
        self._server = Server(Origin(host, 8001, "https" if tls else "http", path), random.Random(1), proxy, tls)

    def on_shutdown_requested(self, event: ShutdownRequested, now: float) -> None:
        dial = WebSocketDial(self, self, self._server, "/t", (), random.Random(1), 10.0, now)
        self.dials.append(dial)

    def on_dialed(self, channel: TcpChannel, rest: bytes, now: float) -> None:
        self.outcomes.append(f"open {rest.decode()}")

    def on_dial_refused(self, error: HandshakeError, now: float) -> None:
        self.outcomes.append(f"{error.refusal.value} {error.status} {error.reason}")

    def on_dial_failed(self, reason: str, now: float) -> None:
        self.outcomes.append(reason)


def dialing(
    host: str = "pico.example.com", path: str = "", proxy: Proxy | None = None, tls: str = ""
) -> tuple[Play, Dialer]:
    machine = Dialer(host, path, proxy, tls)
    return Play(machine) >> Tick() >> ShutdownRequested(), machine


def first_address(play: Play) -> str:
    """Return the address that the play's next command connects to."""
    (connect,) = play.take()
    assert isinstance(connect, Connect)
    return connect.host
