"""An agent whose tunnel fills opens a further one, and leaves it when it is not needed any more."""

from msgspec.structs import replace

from pico_core.boundary import Close, Connect, Connected, Exit, Received, Send, ShutdownRequested
from pico_core.config.agent import AgentConfig
from pico_core.records import Record
from tests.core.agent.scene import SERVER, agent_config, registered
from tests.play import Data, End, GoAway, Open, Play, joined

TAKEN = 768
"""Three quarters of the streams of a tunnel."""


def listening(max_streams: int) -> AgentConfig:
    """Return the configuration of an agent whose service takes so many requests."""
    config = agent_config(log_access=False)
    return replace(config, listeners=(replace(config.listeners[0], max_streams=max_streams),))


def filled(play: Play, tunnel: int, count: int, *, begin: int = 0) -> list[Record]:
    """Let the server open streams up to so many; return what the agent does."""
    for number in range(begin, count):
        play >> Open(tunnel, 2 + 2 * number)
    return play.take()


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
