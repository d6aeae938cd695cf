"""An agent whose tunnel fills opens a further one, and leaves it when it is not needed any more."""

import pytest
from msgspec.structs import replace

from pico_core.agent import growth
from pico_core.boundary import Close, Connect, Connected, Exit, Received, Send, ShutdownRequested
from pico_core.config.agent import AgentConfig, HttpClientConfig
from pico_core.records import Record
from pico_core.tunnel.agreement import MAX_STREAMS
from pico_core.tunnel.tunnel import Tunnel
from pico_core.websocket.handshake import accept_handshake
from tests.core.agent.scene import CONNECT, GET, OK, SERVER, agent_config, registered
from tests.play import Data, End, FarEnd, GoAway, Nothing, Open, Play, agent_play, joined

TAKEN = 768
"""Three quarters of the streams of a tunnel."""


def listening(max_streams: int) -> AgentConfig:
    """Return the configuration of an agent whose service takes so many requests."""
    config = agent_config(log_access=False)
    listener = replace(config.listeners[0], max_streams=max_streams, http_client=HttpClientConfig())
    return replace(config, listeners=(listener,))


def filled(play: Play, tunnel: int, count: int, *, begin: int = 0) -> list[Record]:
    """Let the server open streams up to so many; return what the agent does."""
    for number in range(begin, count):
        play >> Open(tunnel, 2 + 2 * number)
    return play.take()


def permitting(max_streams: int, told: bytes) -> Play:
    """Return the play of an agent whose server's answer has the field for the streams of a tunnel."""
    play = agent_play(listening(max_streams)) << CONNECT >> Connected(SERVER, "192.0.2.9", 8001)
    (request,) = play.take()
    assert isinstance(request, Send)
    play >> Received(SERVER, accept_handshake(joined(request.data), ((MAX_STREAMS, told),)))
    play.tunnels[SERVER] = FarEnd(Tunnel(play.now, entropy=None))
    assert play.take() == []
    return play


@pytest.mark.parametrize("permitted", [1, 2, 3, 8, 30, 100, 860])
def test_three_quarters_are_those_of_what_the_server_permits(permitted: int) -> None:
    play = permitting(4_096, b"%d" % permitted)
    at = permitted - permitted // 4
    assert filled(play, SERVER, at - 1) == []
    (connect,) = filled(play, SERVER, at, begin=at - 1)
    assert isinstance(connect, Connect)
    play >> Connected(connect.connection, "192.0.2.9", 8001)
    (request,) = play.take()
    assert isinstance(request, Send)
    assert b"x-pico-max-streams: 1024\r\n" in joined(request.data), "the next server may permit more"


@pytest.mark.parametrize("told", [b"0", b"-1", b"", b"99999999", b"4096", b"30, 30", b"x"])
def test_a_server_that_permits_more_or_says_something_else_changes_nothing(told: bytes) -> None:
    play = permitting(4_096, told)
    assert filled(play, SERVER, TAKEN - 1) == []
    assert len(filled(play, SERVER, TAKEN, begin=TAKEN - 1)) == 1


def test_what_the_server_does_not_permit_is_asked_for_in_a_further_tunnel() -> None:
    play = permitting(100, b"30")
    (connect,) = filled(play, SERVER, 23)
    assert isinstance(connect, Connect)
    play >> Connected(connect.connection, "192.0.2.9", 8001)
    (request,) = play.take()
    assert isinstance(request, Send)
    assert b"x-pico-max-streams: 70\r\n" in joined(request.data)


def test_an_endpoint_has_a_bounded_number_of_tunnels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(growth, "MAX_TUNNELS", 1)
    play = permitting(4_096, b"30")
    assert filled(play, SERVER, 30) == []


def grown(max_streams: int = 4_096) -> tuple[Play, int]:
    """Return a play with a further tunnel, and its number."""
    play = registered(listening(max_streams))
    assert filled(play, SERVER, TAKEN - 1) == []
    (connect,) = filled(play, SERVER, TAKEN, begin=TAKEN - 1)
    assert isinstance(connect, Connect)
    assert connect.port == 8001
    return play, connect.connection


def test_a_tunnel_that_fills_gets_a_sibling_with_a_name_of_its_own() -> None:
    play, further = grown()
    play >> Connected(further, "192.0.2.9", 8001)
    (request,) = play.take()
    assert isinstance(request, Send)
    assert b"x-pico-max-streams: 1024\r\n" in joined(request.data)
    assert b"/upstream/e1 " in joined(request.data)
    messages = [log.message for log in play.logs]
    assert messages == ["endpoint registered", "opening a further tunnel"]


def test_only_one_is_opened_at_a_time() -> None:
    play, further = grown()
    assert filled(play, SERVER, TAKEN + 50, begin=TAKEN) == []
    play.server_accepts(further)
    assert filled(play, SERVER, TAKEN + 100, begin=TAKEN + 50) == []
    assert len(filled(play, further, TAKEN)) == 1, "both fill: a third one"
    assert [log.message for log in play.logs][2] == "further tunnel opened"


def test_the_service_gets_no_more_than_it_takes() -> None:
    play, further = grown(1_100)
    play >> Connected(further, "192.0.2.9", 8001)
    (request,) = play.take()
    assert isinstance(request, Send)
    assert b"x-pico-max-streams: 76\r\n" in joined(request.data)
    play = registered(listening(1_024))
    assert filled(play, SERVER, 1_024) == []


def test_a_tunnel_that_is_not_needed_is_left() -> None:
    play, further = grown()
    play.server_accepts(further)
    for number in range(TAKEN - 512):
        play >> End(SERVER, 2 + 2 * number)
    play.take()
    done = (play >> 10.5).take()
    assert done == [GoAway(further), Close(further)]
    assert [log.message for log in play.logs][-1] == "leaving a tunnel that is not needed"
    assert filled(play, SERVER, TAKEN + TAKEN - 512, begin=TAKEN), "and opened again when it is needed"


def test_a_tunnel_stays_while_the_other_cannot_carry_everything_twice() -> None:
    play, further = grown()
    play.server_accepts(further)
    for number in range(TAKEN - 513):
        play >> End(SERVER, 2 + 2 * number)
    play.take()
    assert play >> 10.5 << Nothing()


def test_a_refused_sibling_ends_nothing() -> None:
    play, further = grown()
    play >> Connected(further, "192.0.2.9", 8001)
    play.take()
    body = b'{"error":"no room"}'
    head = b"HTTP/1.1 403 Forbidden\r\nx-pico-refused: final\r\nContent-Length: %d\r\n\r\n" % len(body)
    play >> Received(further, head + body)
    assert not [each for each in play.take() if isinstance(each, (Exit, Connect))]
    assert play.logs[-1].message == "further tunnel refused"
    assert filled(play, SERVER, TAKEN + 10, begin=TAKEN) == [], "not again for a minute"
    play = play >> 61.0
    play.take()
    assert filled(play, SERVER, TAKEN + 20, begin=TAKEN + 10)


def test_an_agent_that_stops_leaves_all_its_tunnels() -> None:
    play, further = grown()
    play.server_accepts(further)
    play >> ShutdownRequested()
    assert GoAway(further) in (done := play.take())
    assert GoAway(SERVER) in done
    for number in range(TAKEN):
        play >> End(SERVER, 2 + 2 * number)
    assert Exit(0, "") in (play >> 1.0).take()


def test_requests_of_both_tunnels_reach_the_service() -> None:
    play, further = grown()
    play.server_accepts(further)
    play >> Open(further, 2) >> Data(further, 2, b"GET / HTTP/1.1\r\nHost: e1.example.com\r\n\r\n")
    (connect,) = play.take()
    assert isinstance(connect, Connect)
    assert connect.port == 3000


def test_as_many_connections_are_kept_as_the_service_gets_requests_at_once() -> None:
    play, further = grown()
    play.server_accepts(further)
    assert filled(play, further, TAKEN - 1) == []
    streams = [(SERVER, 2 + 2 * number) for number in range(TAKEN)]
    streams += [(further, 2 + 2 * number) for number in range(TAKEN - 1)]
    for tunnel, stream in streams:
        play >> Data(tunnel, stream, GET)
    connects = [each for each in play.take() if isinstance(each, Connect)]
    assert len(connects) == len(streams)
    for connect in connects:
        play >> Connected(connect.connection, "127.0.0.1", 3000)
    play.take()
    for connect in connects:
        play >> Received(connect.connection, OK)
    assert [each for each in play.take() if isinstance(each, Close)] == []
    for tunnel, stream in streams:
        play >> Data(tunnel, stream, GET)
    sent = play.take()
    assert len(sent) == len(streams)
    assert all(isinstance(each, Send) for each in sent), "no request needs a new connection"
