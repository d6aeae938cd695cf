"""The tunnels of a server: which one gets a request, and how a tunnel ends."""

import random

import msgspec
import pytest

from pico_core.boundary import (
    Abort,
    Accepted,
    Close,
    ConnectionLost,
    EofReceived,
    Received,
    Send,
    ShutdownRequested,
    WritingPaused,
    WritingResumed,
)
from pico_core.config.server import ServerConfig
from pico_core.mux.frame import ACK, HEADER, PING, SYN
from pico_core.websocket.encoding import encode_close, encode_control, encode_frame
from pico_core.websocket.frame import PING as WEBSOCKET_PING
from pico_core.websocket.handshake import ClientHandshake
from tests.core.proxy.scene import AGENT, CLIENT, GET, GET_SENT, OK, client_joins, error, proxy_play
from tests.core.server.tunnel_scene import ACCEPTED, HANDSHAKE, SECOND, connected, masked
from tests.play import Data, End, GoAway, Nothing, Open, Play, Reset, joined, server_play


def test_requests_go_where_fewest_are_in_flight_and_ties_take_turns() -> None:
    play = proxy_play()
    play.agent_registers(SECOND, "e1")
    for connection in (5, 9, 11):
        client_joins(play, connection)
    assert (
        play
        >> Received(CLIENT, GET)
        << Open(AGENT, 2)
        << Data(AGENT, 2, GET_SENT)
        >> Received(5, GET)
        << Open(SECOND, 2)
        << Data(SECOND, 2, GET_SENT)
        >> Data(SECOND, 2, OK)
        << Send(5, OK)
        >> Received(9, GET)
        << Data(SECOND, 2, GET_SENT)
        >> Received(11, GET)
        << Open(AGENT, 4)
        << Data(AGENT, 4, GET_SENT)
    )


def test_a_newer_tunnel_of_the_same_agent_supersedes_the_older_one() -> None:
    play = server_play()
    play.agent_registers(AGENT, "e1", (b"x-piko-instance", b"one"))
    client_joins(play) >> Received(CLIENT, GET) << Open(AGENT, 2) << Data(AGENT, 2, GET_SENT)
    play.agent_registers(SECOND, "e1", (b"X-Pico-Instance", b"one"))
    client_joins(play, 5)
    for _ in range(2):
        play >> Received(5, GET)
        play.take()
        play >> Data(SECOND, 2, OK) << Send(5, OK)
    # What is in flight ends well; then the older tunnel does.
    assert play >> Data(AGENT, 2, OK) << GoAway(AGENT) << End(AGENT, 2) << Close(AGENT) << Send(CLIENT, OK)


def test_an_idle_older_tunnel_ends_at_once() -> None:
    play = server_play()
    play.agent_registers(AGENT, "e1", (b"x-piko-instance", b"one"))
    play.agent_registers(9, "e1", (b"x-piko-instance", b"two"))
    play >> Accepted(SECOND, "upstream", "192.0.2.1", 4000)
    handshake = ClientHandshake("h", "/pico/v1/upstream/e1", ((b"x-piko-instance", b"one"),), random.Random(3))
    play >> Received(SECOND, handshake.request_bytes())
    (accepted, *rest) = play.take()
    assert isinstance(accepted, Send)
    assert rest == [GoAway(AGENT), Close(AGENT)]
    assert ended(play) == "replaced by a newer tunnel of the same agent"


# --- how a tunnel ends ---


def test_an_agent_that_says_goodbye_finishes_what_is_in_flight() -> None:
    assert (
        client_joins(proxy_play(), 5)
        >> Received(CLIENT, GET)
        << Open(AGENT, 2)
        << Data(AGENT, 2, GET_SENT)
        >> GoAway(AGENT)
        << Nothing()
        >> Received(5, GET)
        << Nothing()
        >> Data(AGENT, 2, OK)
        << GoAway(AGENT)
        << End(AGENT, 2)
        << Close(AGENT)
        << Send(CLIENT, OK)
        >> 3.0
        << error(502, "Bad Gateway", "no available upstreams", client=5)
    )


def test_an_agent_that_says_goodbye_loses_its_idle_streams() -> None:
    assert (
        proxy_play()
        >> Received(CLIENT, GET)
        << Open(AGENT, 2)
        << Data(AGENT, 2, GET_SENT)
        >> Data(AGENT, 2, OK)
        << Send(CLIENT, OK)
        >> GoAway(AGENT)
        << GoAway(AGENT)
        << End(AGENT, 2)
        << Close(AGENT)
    )


@pytest.mark.parametrize("gone", [EofReceived(AGENT), ConnectionLost(AGENT, "reset")])
def test_a_bare_end_is_the_loss_of_the_connection(gone: EofReceived | ConnectionLost) -> None:
    play = proxy_play() >> gone
    if isinstance(gone, EofReceived):
        play << Close(AGENT) >> ConnectionLost(AGENT, "")
    assert (
        play >> Received(CLIENT, GET) << Nothing() >> 3.0 << error(502, "Bad Gateway", "no available upstreams") >> 9.0
    )
    assert ended(play) == "the connection was lost"


def ended(play: Play) -> str:
    """Return the reason that the log gives for the end of the only tunnel that ended."""
    (closed,) = [log for log in play.logs if log.message == "tunnel closed"]
    return str(closed.fields["reason"])


@pytest.mark.parametrize("in_flight", [False, True])
def test_an_agent_that_stopped_is_logged_as_such(in_flight: bool) -> None:
    play = proxy_play()
    if in_flight:
        play >> Received(CLIENT, GET) << Open(AGENT, 2) << Data(AGENT, 2, GET_SENT)
    play >> GoAway(AGENT)
    if in_flight:
        play << Nothing() >> ConnectionLost(AGENT, "")
    play.take()
    assert ended(play) == "the agent stopped"


def test_an_agent_that_moved_is_logged_as_such() -> None:
    play = server_play()
    play.agent_registers(AGENT, "e1", (b"x-piko-instance", b"one"))
    play >> ShutdownRequested() >> 1.0 << GoAway(AGENT) >> GoAway(AGENT) << Close(AGENT)
    assert ended(play) == "the agent moved, as asked"


def test_a_tunnel_that_this_server_ends_is_logged_as_such() -> None:
    play = proxy_play() >> ConnectionLost(CLIENT, "") >> ShutdownRequested() >> 0.1  # an agent of Piko's
    assert play << GoAway(AGENT) << Close(AGENT)
    assert ended(play) == "closed by this server"


def test_a_silent_agent_is_dropped_and_its_requests_with_it() -> None:
    play = proxy_play()
    play.hear_bytes()
    (sent,) = (play >> Received(CLIENT, GET)).take()
    assert isinstance(sent, Send)
    assert (play >> 9.0).take() == [Send(AGENT, b"\x82\x0c" + HEADER.pack(2, 1, 0, 1))], "the request waits"
    assert (play >> 15.0).take() == [Send(AGENT, b"\x82\x0c" + HEADER.pack(2, 1, 0, 2))]
    assert play >> 20.5 << Close(AGENT)
    assert play.logs[-1].fields["reason"] == "silent for 10 s after a ping"
    assert play >> 23.5 << error(502, "Bad Gateway", "no available upstreams") >> 31.0 << Abort(AGENT)


def test_pings_on_a_quiet_tunnel_are_answered_in_the_same_turn() -> None:
    play = connected() >> Received(AGENT, HANDSHAKE) << Send(AGENT, ACCEPTED)
    ping = encode_control(WEBSOCKET_PING, b"are you there?", random.Random(1))
    assert play >> 3.0 >> Received(AGENT, ping) << Send(AGENT, b"\x8a\x0eare you there?")
    of_the_session = HEADER.pack(PING, SYN, 0, 7)
    assert play >> masked(of_the_session) << Send(AGENT, b"\x82\x0c" + HEADER.pack(PING, ACK, 0, 7))
    both = joined(encode_frame((of_the_session,), 12, random.Random(1)))
    answers = (Send(AGENT, b"\x8a\x01b"), Send(AGENT, b"\x82\x0c" + HEADER.pack(PING, ACK, 0, 7)))
    first, second = (encode_control(WEBSOCKET_PING, payload, random.Random(1)) for payload in (b"a", b"b"))
    play >> WritingPaused(AGENT) >> Received(AGENT, first + both + second) << Nothing()
    assert play >> WritingResumed(AGENT) << answers[0] << answers[1]


def test_an_agent_that_answers_pings_stays() -> None:
    assert proxy_play() >> 9.0 >> ConnectionLost(CLIENT, "") >> 500.0


def test_a_node_that_stood_still_does_not_close_the_tunnel() -> None:
    play = proxy_play() >> ConnectionLost(CLIENT, "")
    play.hear_bytes()
    play >> 11.0
    play.take()
    play.now = 60.0
    (ping,) = (play >> 60.0).take()
    assert isinstance(ping, Send)


def test_a_stream_that_a_peer_may_not_open_is_refused_and_the_tunnel_lives() -> None:
    play = proxy_play() >> ConnectionLost(CLIENT, "")
    play.hear_bytes()
    done = (play >> masked(HEADER.pack(0, 1, 1, 0))).take()
    assert done == [Send(AGENT, b"\x82\x0c" + HEADER.pack(1, 8, 1, 0))]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (HEADER.pack(9, 0, 0, 0), "unknown version or frame type 0x0009"),
        (HEADER.pack(0, 0, 0, 5), "stream 0 used for a stream"),
    ],
)
def test_a_peer_that_breaks_the_session_is_told_and_closed(data: bytes, reason: str) -> None:
    play = proxy_play() >> ConnectionLost(CLIENT, "")
    play.hear_bytes()
    done = (play >> masked(data)).take()
    assert done == [
        Send(AGENT, b"\x82\x0c" + HEADER.pack(3, 0, 0, 1)),
        Send(AGENT, encode_close(1002, reason, None)),
        Close(AGENT),
    ]
    assert play.logs[-1].fields["reason"] == reason


def test_broken_frames_get_a_close_frame() -> None:
    play = proxy_play() >> ConnectionLost(CLIENT, "")
    play.hear_bytes()
    assert (
        play
        >> Received(AGENT, b"\x82\x00")
        << Send(AGENT, encode_close(1002, "masking is wrong for this side", None))
        << Close(AGENT)
    )


def test_a_close_frame_is_answered() -> None:
    play = proxy_play() >> Received(CLIENT, GET) << Open(AGENT, 2) << Data(AGENT, 2, GET_SENT)
    play.hear_bytes()
    assert (
        play
        >> Received(AGENT, encode_close(1001, "bye", random.Random(1)))
        << Send(AGENT, encode_close(1001, "", None))
        << Close(AGENT)
        >> 3.0
        << error(502, "Bad Gateway", "no available upstreams")
    )


def test_a_tunnel_that_does_not_drain_gets_one_message_at_a_time() -> None:
    play = client_joins(proxy_play(), 5)
    assert (
        play
        >> WritingPaused(AGENT)
        >> Received(CLIENT, GET)
        << Nothing()
        >> Received(5, GET)
        << Nothing()
        >> WritingResumed(AGENT)
        << Open(AGENT, 2)
        << Data(AGENT, 2, GET_SENT)
        << Open(AGENT, 4)
        << Data(AGENT, 4, GET_SENT)
    )


def test_a_paused_connection_without_a_tunnel() -> None:
    assert connected() >> WritingPaused(AGENT) >> WritingResumed(AGENT)


def test_more_idle_streams_than_are_worth_keeping_are_closed() -> None:
    play = server_play(msgspec.convert({"upstream": {"max_streams": 2_048}}, ServerConfig))
    play.agent_registers(AGENT, "e1", (b"x-pico-max-streams", b"2048"))
    clients = range(1_001, 1_001 + 2 * 897, 2)
    for client in clients:
        client_joins(play, client) >> Received(client, GET)
    play.take()
    play = play >> 0.1
    play.take()
    for stream in range(2, 2 + 2 * 896, 2):
        play >> Data(AGENT, stream, OK)
    assert len(play.take()) == 896
    last = clients[-1]
    assert play >> Data(AGENT, 1794, OK) << Send(last, OK) << End(AGENT, 1794)


def test_a_reset_of_one_stream_leaves_the_others_alone() -> None:
    assert (
        client_joins(proxy_play(), 5)
        >> Received(CLIENT, GET.replace(b"GET", b"POST"))
        << Open(AGENT, 2)
        << Data(AGENT, 2, GET_SENT.replace(b"GET", b"POST"))
        >> Received(5, GET)
        << Open(AGENT, 4)
        << Data(AGENT, 4, GET_SENT)
        >> Reset(AGENT, 2)
        << error(502, "Bad Gateway", "upstream unreachable", reason="tunnel-lost")
        >> Data(AGENT, 4, OK)
        << Send(5, OK)
    )
