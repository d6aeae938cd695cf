"""The dial of WebSocket clients: names and their addresses, each in its turn, within one deadline."""

import random

import pytest

from pico_core.boundary import (
    Abort,
    Close,
    Connect,
    Connected,
    ConnectFailed,
    Received,
    Resolve,
    Resolved,
    Send,
    ShutdownRequested,
    Tick,
)
from pico_core.config.values import Origin
from pico_core.dial import FALLBACK_S, Backoff, Server, WebSocketDial
from pico_core.machine.base import BaseMachine
from pico_core.machine.channel import TcpChannel
from pico_core.websocket.handshake import accept_handshake
from tests.play import Play, joined

A, B, C = "192.0.2.1", "192.0.2.2", "192.0.2.3"


class Dialer(BaseMachine):
    """Dials when asked to stop, which a play can ask any number of times; notes what comes of it."""

    def __init__(self, host: str, tls: str) -> None:
        super().__init__()
        self.outcomes: list[str] = []
        self.dials: list[WebSocketDial] = []
        self._server = Server(Origin(host, 8001, "http"), random.Random(1), tls)

    def on_shutdown_requested(self, event: ShutdownRequested, now: float) -> None:
        dial = WebSocketDial(self, self, self._server, "/t", (), random.Random(1), 10.0, now)
        self.dials.append(dial)

    def on_dialed(self, channel: TcpChannel, rest: bytes, now: float) -> None:
        self.outcomes.append(f"open {rest.decode()}")

    def on_dial_refused(self, status: int, reason: str, now: float) -> None:
        self.outcomes.append(f"{status} {reason}")

    def on_dial_failed(self, reason: str, now: float) -> None:
        self.outcomes.append(reason)


def dialing(host: str = "pico.example.com", tls: str = "") -> tuple[Play, Dialer]:
    machine = Dialer(host, tls)
    return Play(machine) >> Tick() >> ShutdownRequested(), machine


def first_address(play: Play) -> str:
    """Return the address that the play's next command connects to."""
    (connect,) = play.take()
    assert isinstance(connect, Connect)
    return connect.host


def test_an_address_is_not_looked_up() -> None:
    play, machine = dialing("192.0.2.9")
    assert play << Connect(2, "192.0.2.9", 8001, 10.0) >> ConnectFailed(2, "connection refused")
    assert machine.outcomes == ["connection refused"]


def test_a_dial_uses_the_tls_profile_of_its_server() -> None:
    play, _ = dialing("192.0.2.9", tls="servers")
    assert play << Connect(2, "192.0.2.9", 8001, 10.0, "servers")


def test_a_name_is_looked_up_and_its_addresses_are_tried_in_turn() -> None:
    play, machine = dialing()
    play << Resolve(1, "pico.example.com", 10.0) >> Resolved(1, (A, B, C), "")
    (first,) = play.take()
    assert isinstance(first, Connect)
    assert (first.port, first.timeout_s) == (8001, FALLBACK_S)
    play >> ConnectFailed(2, "connection refused")
    second = first_address(play)
    play >> 1.0 >> ConnectFailed(4, "connection refused")
    (third,) = play.take()
    assert isinstance(third, Connect)
    assert third.timeout_s == 9.0
    assert {first.host, second, third.host} == {A, B, C}
    assert play >> ConnectFailed(6, "no route to host")
    assert machine.outcomes == ["no route to host"]


def test_the_next_attempt_begins_with_another_address() -> None:
    play, _ = dialing()
    seen = []
    for number in range(6):
        play.take()
        play >> Resolved(number + 1, (B, A, C), "")
        seen.append(first_address(play))
        play >> Connected(2 * number + 2, seen[-1], 8001)
        play.take()
        play >> play.now + 10.5  # the server accepts and never answers
        play.take()
        play >> ShutdownRequested()
    assert set(seen[:3]) == {A, B, C}
    assert seen[:3] == seen[3:]


def test_clients_spread_over_the_addresses() -> None:
    firsts = {Server(Origin("pico", 1, "http"), random.Random(seed)).turns((A, B, C))[0] for seed in range(20)}
    assert firsts == {A, B, C}


@pytest.mark.parametrize(("error", "reason"), [("no such name", "no such name"), ("", "the name has no address")])
def test_a_name_that_does_not_resolve(error: str, reason: str) -> None:
    play, machine = dialing()
    play.take()
    assert play >> Resolved(1, (), error)
    assert machine.outcomes == [reason]


def test_an_open_websocket_is_handed_over_with_what_came_behind() -> None:
    play, machine = dialing("192.0.2.9")
    play.take()
    play >> Connected(2, "192.0.2.9", 8001)
    (request,) = play.take()
    assert isinstance(request, Send)
    assert play >> Received(2, accept_handshake(joined(request.data)) + b"more")
    assert machine.outcomes == ["open more"]


def test_a_cancelled_dial_says_nothing() -> None:
    play, machine = dialing()
    play.take()
    machine.dials[0].cancel()
    assert play >> Resolved(1, (A,), "")
    play >> ShutdownRequested() << Resolve(2, "pico.example.com", 10.0) >> Resolved(2, (A,), "")
    play.take()
    machine.dials[1].cancel()
    assert play << Abort(2) >> ConnectFailed(2, "aborted")
    play >> ShutdownRequested()
    play.take()
    play >> Resolved(3, (A,), "")
    play.take()
    play >> Connected(4, A, 8001)
    play.take()
    machine.dials[2].cancel()
    assert play << Close(4)
    assert machine.outcomes == []


def test_pauses_double_up_to_the_last_and_begin_anew_after_a_success() -> None:
    backoff = Backoff(1.0, 4.0, random.Random(1))
    bounds = [(0.5, 1.0), (1.0, 2.0), (2.0, 4.0), (2.0, 4.0)]
    for least_s, most_s in bounds:
        assert least_s <= backoff.next_s() <= most_s
    backoff.reset()
    assert 0.5 <= backoff.next_s() <= 1.0
