"""A server that drains is left for another one, and an agent that stops finishes its requests."""

import msgspec

from pico_core.boundary import (
    Abort,
    Close,
    Connect,
    Connected,
    ConnectFailed,
    ConnectionLost,
    EofReceived,
    Exit,
    Received,
    Send,
    ShutdownRequested,
)
from pico_core.mux.frame import ACK, HEADER, PING
from pico_core.tunnel.agreement import NODE
from pico_core.websocket.encoding import encode_frame
from tests.core.agent.listener_scene import CLOSING_OK, NEXT, again, connecting, warnings
from tests.core.agent.scene import CONNECT, DIAL, GET, OK, SERVER, SERVICE, agent_config, asked, registered
from tests.play import Data, End, GoAway, Nothing, Open, agent_play, joined


def test_on_go_away_the_next_tunnel_comes_first() -> None:
    play = asked() << DIAL >> Connected(SERVICE, "127.0.0.1", 3000) << Send(SERVICE, GET)
    assert play >> GoAway(SERVER) << again(6)
    play.server_accepts(6)
    # Both tunnels work until every node has heard of the new one.
    assert play >> 1.9 << Nothing() >> Open(6, 2) >> Data(6, 2, GET) << Connect(8, "127.0.0.1", 3000, 10.0)
    assert (
        play
        >> 2.1
        << GoAway(SERVER)
        >> Received(SERVICE, OK)
        << Data(SERVER, 2, OK)
        >> End(SERVER, 2)
        << End(SERVER, 2)
        << Close(SERVER)
        >> ConnectionLost(SERVER, "")
        >> 9.0
    )
    assert [log.message for log in play.logs if "elsewhere" in log.message] == [
        "the server asks to go elsewhere, connecting again"
    ]


def test_an_idle_old_tunnel_is_closed_once_no_request_can_be_on_its_way() -> None:
    play = registered() >> GoAway(SERVER) << again(NEXT)
    play.server_accepts(NEXT)
    assert play >> 2.1 << GoAway(SERVER) << Close(SERVER) >> ConnectionLost(SERVER, "") >> 100.0


def test_while_no_other_server_is_found_the_old_tunnel_serves() -> None:
    play = registered() >> GoAway(SERVER) << again(NEXT) >> ConnectFailed(NEXT, "connection refused") << Nothing()
    assert (
        play >> 0.2 << Connect(6, "127.0.0.1", 8001, 6.0) >> ConnectFailed(6, "connection refused") >> Open(SERVER, 2)
    )
    assert play >> Data(SERVER, 2, GET) << Connect(8, "127.0.0.1", 3000, 10.0)


def test_a_tunnel_lost_while_moving_changes_nothing() -> None:
    play = registered() >> GoAway(SERVER) << again(NEXT) >> EofReceived(SERVER) << Close(SERVER)
    assert play >> ConnectionLost(SERVER, "") >> 0.3
    play.server_accepts(NEXT)
    assert play >> 30.0


def test_a_second_go_away_of_a_tunnel_left_already_changes_nothing() -> None:
    play = registered() >> GoAway(SERVER) << again(NEXT)
    play.server_accepts(NEXT)
    assert play >> GoAway(NEXT) << again(6)


# --- leaving ---


def test_an_idle_agent_leaves_at_once() -> None:
    play = registered() >> ShutdownRequested() << GoAway(SERVER) << Close(SERVER) << Exit(0, "")
    assert play
    assert [log.message for log in play.logs][-2:] == ["draining", "stopped"]


def test_a_tunnel_to_a_pico_server_is_closed_by_the_server() -> None:
    """It closes at once, or when its other nodes have heard; until then it may open streams."""
    play = agent_play(agent_config()) << CONNECT
    play.server_accepts(SERVER, (NODE, b"node-1"))
    play >> ShutdownRequested() << GoAway(SERVER)
    assert play >> 0.9 << Nothing() >> Open(SERVER, 2) >> Data(SERVER, 2, GET) << DIAL
    play >> Connected(SERVICE, "127.0.0.1", 3000) << Send(SERVICE, GET)
    assert play >> Received(SERVICE, OK) << Data(SERVER, 2, CLOSING_OK) << End(SERVER, 2) >> End(SERVER, 2)
    assert play >> 1.0 << Nothing() >> EofReceived(SERVER) << Close(SERVER) << Exit(0, "")


def test_an_agent_does_not_wait_for_long_for_the_server_to_close() -> None:
    play = agent_play(agent_config()) << CONNECT
    play.server_accepts(SERVER, (NODE, b"node-1"))
    play >> ShutdownRequested() << GoAway(SERVER)
    assert play >> 4.9 << Nothing() >> 5.1 << Close(SERVER) << Exit(0, "")


def test_a_pong_that_nobody_asked_for_changes_nothing() -> None:
    play = agent_play(agent_config()) << CONNECT
    far = play.server_accepts(SERVER, (NODE, b"node-1"))
    for number in (0, 1, 7):
        pong = HEADER.pack(PING, ACK, 0, number)
        play >> Received(SERVER, joined(encode_frame((pong,), len(pong), None)))
    assert play >> 9.0 << Nothing(), "the tunnel goes on"
    assert far.tunnel.session.failed == ""


def test_an_idle_agent_whose_grace_period_is_short_has_cut_nothing() -> None:
    play = agent_play(msgspec.structs.replace(agent_config(), grace_period_s=0.5)) << CONNECT
    play.server_accepts(SERVER, (NODE, b"node-1"))
    assert play >> ShutdownRequested() << GoAway(SERVER) >> 0.6 << Close(SERVER) << Exit(0, "")
    assert warnings(play) == []


def test_an_agent_that_stops_says_what_it_waits_for_and_for_how_long() -> None:
    play = asked() << DIAL >> ShutdownRequested() << GoAway(SERVER)
    assert play
    assert [log.fields for log in play.logs if log.message == "draining"] == [
        {"streams": 1, "at_most_s": 60.0, "hint": "a second signal stops it at once"}
    ]


def test_a_request_in_flight_is_finished_first() -> None:
    assert (
        asked()
        << DIAL
        >> Connected(SERVICE, "127.0.0.1", 3000)
        << Send(SERVICE, GET)
        >> ShutdownRequested()
        << GoAway(SERVER)
        >> 5.0
        >> Received(SERVICE, OK)
        << Data(SERVER, 2, CLOSING_OK)
        << End(SERVER, 2)
        >> End(SERVER, 2)
        << Close(SERVER)
        << Exit(0, "")
    )


def test_requests_that_do_not_end_are_cut_after_the_grace_period() -> None:
    play = asked() << DIAL >> Connected(SERVICE, "127.0.0.1", 3000) << Send(SERVICE, GET) >> ShutdownRequested()
    assert play << GoAway(SERVER) >> 5.0 >> Received(SERVICE, OK[:-1]) << Data(SERVER, 2, CLOSING_OK[:-1])
    assert play >> 59.5 << Nothing() >> 60.5 << Close(SERVER) << Exit(0, "")
    assert warnings(play) == ["stopped with requests in flight: the grace period is over"]


def test_a_second_signal_ends_the_agent_at_once() -> None:
    play = asked() << DIAL >> ShutdownRequested() << GoAway(SERVER) >> ShutdownRequested()
    assert play << Exit(1, "stopped at once by a second signal")


def test_an_agent_without_a_tunnel_leaves_at_once() -> None:
    assert (
        agent_play(agent_config())
        << CONNECT
        >> ShutdownRequested()
        << Abort(SERVER)
        << Exit(0, "")
        >> Connected(SERVER, "127.0.0.1", 8001)
        << Abort(SERVER)
        >> ConnectionLost(SERVER, "")
    )
    assert (
        agent_play(agent_config())
        << CONNECT
        >> ShutdownRequested()
        << Abort(SERVER)
        << Exit(0, "")
        >> ConnectFailed(SERVER, "aborted")
    )
    assert connecting() >> ShutdownRequested() << Close(SERVER) << Exit(0, "")
    pausing = agent_play(agent_config()) << CONNECT >> ConnectFailed(SERVER, "refused")
    assert pausing >> ShutdownRequested() << Exit(0, "") >> 10.0


def test_a_tunnel_lost_while_leaving_ends_the_agent() -> None:
    play = asked() << DIAL >> ShutdownRequested() << GoAway(SERVER) >> ConnectionLost(SERVER, "reset")
    assert play << Exit(0, "")


def test_leaving_while_moving_leaves_both() -> None:
    play = registered() >> GoAway(SERVER) << again(NEXT) >> Connected(NEXT, "127.0.0.1", 8001)
    play.take()
    assert play >> ShutdownRequested() << Close(NEXT) << GoAway(SERVER) << Close(SERVER) << Exit(0, "")
