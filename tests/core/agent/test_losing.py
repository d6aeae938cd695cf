"""An agent that loses its tunnel connects again: how soon, and how often."""

from msgspec.structs import replace

from pico_core.boundary import (
    Abort,
    Close,
    Connect,
    Connected,
    ConnectFailed,
    ConnectionLost,
    EofReceived,
    Received,
    Send,
    WritingPaused,
    WritingResumed,
)
from pico_core.config.agent import AgentConnectConfig, BackoffConfig
from pico_core.mux.frame import HEADER
from pico_core.websocket.encoding import encode_close, encode_control, encode_frame
from pico_core.websocket.frame import PING
from tests.core.agent.listener_scene import LEAVING, NEXT, again, connecting, registered_raw, server, waits_s, warnings
from tests.core.agent.scene import CONNECT, DIAL, GET, OK, SERVER, SERVICE, agent_config, asked, registered
from tests.play import Data, Nothing, Open, Play, agent_play, joined


def test_a_tunnel_that_lived_is_replaced_at_once() -> None:
    play = registered() >> 60.0 >> EofReceived(SERVER) << Close(SERVER)
    assert waits_s(play) <= 0.1
    assert play << again(NEXT)
    assert warnings(play) == ["tunnel lost: connection closed by the server"]


def test_tunnels_that_are_lost_at_once_are_sought_ever_more_slowly() -> None:
    play = agent_play(agent_config())
    for attempt, backoff_s in enumerate([0.1, 0.2, 0.4, 0.8]):
        connection = 2 + 2 * attempt
        play << server(connection)
        play.server_accepts(connection)
        assert play >> ConnectionLost(connection, "reset") << Nothing()
        assert backoff_s / 2 <= waits_s(play) <= backoff_s
    assert warnings(play) == ["tunnel lost: connection closed by the server"], "one outage"


def test_a_lost_tunnel_takes_its_requests_with_it() -> None:
    play = asked() << DIAL >> Connected(SERVICE, "127.0.0.1", 3000) << Send(SERVICE, GET)
    assert play >> ConnectionLost(SERVER, "reset") << Abort(SERVICE) >> 0.2 << server(6) >> 30.0


def test_a_silent_server_is_left() -> None:
    play = registered()
    play.hear_bytes()
    (ping,) = (play >> 15.0).take()
    assert isinstance(ping, Send)
    assert play >> 21.0 << Close(SERVER) << again(NEXT)
    assert warnings(play) == ["tunnel lost: silent for 10 s after a ping"]


def test_a_ping_on_a_quiet_tunnel_is_answered_in_the_same_turn() -> None:
    play = registered_raw()
    (pong,) = (play >> 3.0 >> Received(SERVER, encode_control(PING, b"a", None))).take()
    assert isinstance(pong, Send)
    assert joined(pong.data)[:2] == b"\x8a\x81"


def test_a_tunnel_whose_server_answers_pings_stays() -> None:
    assert registered() >> 600.0


def test_a_server_that_breaks_the_session_is_left() -> None:
    play = registered()
    play.hear_bytes()
    frame = joined(encode_frame((HEADER.pack(7, 0, 0, 0),), 12, None))
    go_away, closing, closed = (play >> Received(SERVER, frame)).take()
    assert isinstance(go_away, Send)
    assert isinstance(closing, Send)
    assert closed == Close(SERVER)
    assert play >> 0.2 << server(NEXT)


def test_a_close_frame_ends_the_tunnel() -> None:
    play = registered()
    play.hear_bytes()
    answer, closed = (play >> Received(SERVER, encode_close(1001, "", None))).take()
    assert isinstance(answer, Send)
    assert closed == Close(SERVER)


def test_a_tunnel_that_does_not_drain_keeps_its_output() -> None:
    play = asked() << DIAL >> Connected(SERVICE, "127.0.0.1", 3000) << Send(SERVICE, GET)
    assert (
        play
        >> WritingPaused(SERVER)
        >> Received(SERVICE, OK)
        << Nothing()
        >> WritingResumed(SERVER)
        << Data(SERVER, 2, OK)
    )
    assert connecting() >> WritingPaused(SERVER) >> WritingResumed(SERVER)


def test_a_stream_right_behind_the_registration_counts() -> None:
    play = agent_play(agent_config()) << CONNECT
    play.server_accepts(SERVER)
    assert play >> Open(SERVER, 2) >> Data(SERVER, 2, GET) << DIAL


def lost_after(lived_s: float) -> Play:
    """Return an agent whose tunnel is lost after it lived so long."""
    return registered() >> lived_s >> EofReceived(SERVER) << Close(SERVER) >> ConnectionLost(SERVER, "")


def pauses_s(play: Play, until: float) -> list[float]:
    """Let every connection be refused until then; return how long the agent waited before each."""
    waited = []
    connection = NEXT
    while play.now < until:
        waited.append(waits_s(play))
        (connect,) = play.take()
        assert isinstance(connect, Connect)
        assert connect.connection == connection
        play >> ConnectFailed(connection, "connection refused")
        connection += 2
    return waited


def test_after_a_loss_the_pauses_stay_at_a_second_for_five_minutes() -> None:
    play = lost_after(60.0)
    waited = pauses_s(play, 60.0 + 299.0)
    assert max(waited) <= 1.0
    assert min(waited[5:]) >= 0.5
    (told,) = [log for log in play.logs if log.message == "trying often for a while"]
    assert told.fields["every_s"] == 1.0
    assert told.fields["for_s"] == 300.0


def test_later_the_pauses_grow() -> None:
    waited = pauses_s(lost_after(60.0), 60.0 + 500.0)
    assert 7.5 <= waited[-1] <= 15.0


def test_the_pauses_are_keys() -> None:
    backoff = BackoffConfig(first_s=2.0, longest_s=30.0, after_loss_s=4.0, after_loss_for_s=20.0)
    config = agent_config()
    connect = AgentConnectConfig(url=config.connect.url, backoff=backoff)
    play = registered(replace(config, connect=connect)) >> 60.0 >> EofReceived(SERVER) << Close(SERVER)
    waited = pauses_s(play >> ConnectionLost(SERVER, ""), 200.0)
    assert 1.0 <= waited[0] <= 2.0
    assert all(2.0 <= wait_s <= 4.0 for wait_s in waited[1:5])
    assert 15.0 <= waited[-1] <= 30.0


def test_an_attempt_after_a_loss_is_short_at_first() -> None:
    play = lost_after(60.0)
    allowed = []
    for attempt in range(6):
        waits_s(play)
        (connect,) = play.take()
        assert isinstance(connect, Connect)
        allowed.append(connect.timeout_s)
        play >> ConnectFailed(NEXT + 2 * attempt, "timed out")
    assert allowed == [3.0, 6.0, 12.0, 24.0, 30.0, 30.0]


def test_a_draining_node_does_not_lengthen_the_pauses() -> None:
    play = connecting() >> Received(SERVER, LEAVING) << Close(SERVER) >> ConnectionLost(SERVER, "")
    for number in range(40):
        connection = NEXT + 2 * number
        assert 0.5 <= waits_s(play) <= 1.0
        play << server(connection) >> Connected(connection, "127.0.0.1", 8001)
        play.take()
        assert play >> Received(connection, LEAVING) << Close(connection) >> ConnectionLost(connection, "")
    assert waits_s(play) <= 1.0
    (connect,) = play.take()
    assert isinstance(connect, Connect)
    assert play >> ConnectFailed(connect.connection, "connection refused") << Nothing()
    assert waits_s(play) <= 0.1
