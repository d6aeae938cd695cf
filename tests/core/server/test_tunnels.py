"""The upstream port: who gets a tunnel, how it lives, and how it ends."""

import random

import msgspec
import pytest

from pico_core import __version__
from pico_core.boundary import (
    Abort,
    Accepted,
    Close,
    ConnectionLost,
    EofReceived,
    Received,
    Send,
    SendEof,
    ShutdownRequested,
    WritingPaused,
    WritingResumed,
)
from pico_core.config.ports import UpstreamConfig
from pico_core.config.server import ServerConfig
from pico_core.gossip.state import MAX_ENDPOINTS
from pico_core.mux.frame import ACK, HEADER, PING, SYN
from pico_core.proxy.reasons import reason_of
from pico_core.websocket.encoding import encode_close, encode_control, encode_frame
from pico_core.websocket.frame import PING as WEBSOCKET_PING
from pico_core.websocket.handshake import ClientHandshake
from tests.core.proxy.scene import AGENT, CLIENT, GET, GET_SENT, OK, client_joins, error, proxy_play, refusal
from tests.play import Data, End, GoAway, Nothing, Open, Play, Reset, joined, server_play

HANDSHAKE = (
    b"GET /piko/v1/upstream/my-endpoint HTTP/1.1\r\n"
    b"Host: 127.0.0.1:8001\r\n"
    b"User-Agent: Go-http-client/1.1\r\n"
    b"Connection: Upgrade\r\n"
    b"Sec-WebSocket-Key: XfZxmHWucX6g6LU4W/v5bg==\r\n"
    b"Sec-WebSocket-Version: 13\r\n"
    b"Upgrade: websocket\r\n\r\n"
)
ACCEPTED = (
    b"HTTP/1.1 101 Switching Protocols\r\n"
    b"Upgrade: websocket\r\n"
    b"Connection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: eH9tvi9/SXjIsi7bZTj5zLSjk/I=\r\n"
    b"x-pico-node: node-1\r\n"
    b"x-pico-version: %b\r\n\r\n" % __version__.encode()
)
SECOND = 7


def connected(play: Play | None = None) -> Play:
    """Return a play in which somebody connected to the upstream port."""
    return (play or server_play()) >> Accepted(AGENT, "upstream", "192.0.2.1", 4000)


def masked(data: bytes) -> Received:
    """Return what a peer sends that makes its own frames."""
    return Received(AGENT, joined(encode_frame((data,), len(data), random.Random(1))))


# --- registration ---


def test_the_101_is_the_registration() -> None:
    play = connected() >> Received(AGENT, HANDSHAKE[:50]) << Nothing() >> Received(AGENT, HANDSHAKE[50:])
    assert play << Send(AGENT, ACCEPTED)
    (opened,) = [log for log in play.logs if log.subsystem == "upstream" and log.message == "tunnel opened"]
    assert opened.fields == {"endpoint": "my-endpoint", "client": "192.0.2.1"}
    request = GET.replace(b"e1", b"My-Endpoint")
    # What a Piko server sends: SYN on an empty window update or, as here, on the data.
    (sent,) = (client_joins(play) >> Received(CLIENT, request)).take()
    assert isinstance(sent, Send)
    assert b"GET / HTTP/1.1\r\nHost: My-Endpoint.example.com\r\n" in joined(sent.data)


def test_a_smaller_first_window_is_agreed_on_by_repeating_the_offer() -> None:
    offer = b"X-Pico-First-Window: 65536\r\n\r\n"
    play = connected() >> Received(AGENT, HANDSHAKE[:-2] + offer)
    own = ACCEPTED.index(b"x-pico-node")
    assert play << Send(AGENT, ACCEPTED[:own] + offer.lower()[:-2] + ACCEPTED[own:])
    (sent,) = (client_joins(play) >> Received(CLIENT, GET.replace(b"e1", b"my-endpoint"))).take()
    assert isinstance(sent, Send)
    # The stream begins with 64 KiB each way, and the server grants the rest of a full window with the SYN.
    assert bytes.fromhex("0001 0001 00000002 00030000") in joined(sent.data)


@pytest.mark.parametrize(("configured", "announced", "told"), [(30, 1_024, b"30"), (1_024, 76, b"76")])
def test_the_agent_is_told_how_many_streams_the_server_opens_at_most(
    configured: int, announced: int, told: bytes
) -> None:
    config = msgspec.convert({"upstream": {"max_streams": configured}}, ServerConfig)
    offer = b"X-Pico-Max-Streams: %d\r\n\r\n" % announced
    (answer,) = (connected(server_play(config)) >> Received(AGENT, HANDSHAKE[:-2] + offer)).take()
    assert isinstance(answer, Send)
    assert b"\r\nx-pico-max-streams: %b\r\n" % told in joined(answer.data)


@pytest.mark.parametrize("value", [b"65537", b"0", b"-1", b"65536, 65536", b"9" * 100])
def test_another_first_window_is_not_agreed_on(value: bytes) -> None:
    play = connected() >> Received(AGENT, HANDSHAKE[:-2] + b"X-Pico-First-Window: %b\r\n\r\n" % value)
    assert play << Send(AGENT, ACCEPTED)


def test_endpoints_have_no_case() -> None:
    play = server_play()
    play.agent_registers(AGENT, "My%2DEndpoint")
    request = GET.replace(b"e1", b"MY-endpoint")
    assert (
        client_joins(play)
        >> Received(CLIENT, request)
        << Open(AGENT, 2)
        << Data(AGENT, 2, GET_SENT.replace(b"e1", b"MY-endpoint"))
    )


def test_an_endpoint_that_no_host_name_reaches_is_warned_of_once() -> None:
    play = server_play()
    play.agent_registers(AGENT, "a.b")
    play.agent_registers(9, "a.b")
    play.agent_registers(SECOND, "Api")  # a host name has no case, and neither has an endpoint
    assert play
    (warning,) = [log for log in play.logs if log.level == "warning"]
    assert warning.message.startswith("no host name reaches this endpoint")
    assert warning.fields == {"endpoint": "a.b"}


@pytest.mark.slow
def test_a_node_takes_no_more_endpoints_than_it_can_tell_the_others_of() -> None:
    """Each registration beyond is told why and when to come again; names that come and go do not fill the node."""
    play = server_play(ServerConfig(upstream=UpstreamConfig(registration_burst=3 * MAX_ENDPOINTS)))
    tunnels = range(1, 2 * MAX_ENDPOINTS, 2)
    for connection in tunnels:
        play >> Accepted(connection, "upstream", "192.0.2.1", 4000)
        play >> Received(connection, HANDSHAKE.replace(b"my-endpoint", b"e%d" % connection))
    assert len(play.take()) == MAX_ENDPOINTS
    beyond = 2 * MAX_ENDPOINTS + 1
    reason = f"this node serves {MAX_ENDPOINTS} endpoints and takes no further one; connect again, or add nodes"
    refused = refusal(503, "Service Unavailable", reason, "Retry-After: 10", "Connection: close", client=beyond)
    play >> Accepted(beyond, "upstream", "192.0.2.1", 4000)
    assert play >> Received(beyond, HANDSHAKE) << refused << SendEof(beyond)
    same = beyond + 2
    play >> Accepted(same, "upstream", "192.0.2.1", 4000)
    assert play >> Received(same, HANDSHAKE.replace(b"my-endpoint", b"e1")) << Send(same, ACCEPTED)
    for number in range(300):
        leaving, coming = tunnels[number + 1], same + 2 + 2 * number
        play >> EofReceived(leaving) >> ConnectionLost(leaving, "")
        play >> Accepted(coming, "upstream", "192.0.2.1", 4000)
        assert (
            play >> Received(coming, HANDSHAKE.replace(b"my-endpoint", b"new-%d" % number)) << Close(leaving)
            << Send(coming, ACCEPTED)
        )  # fmt: skip


def test_frames_right_behind_the_handshake_count() -> None:
    go_away = HEADER.pack(3, 0, 0, 0)
    behind = joined(encode_frame((go_away,), len(go_away), random.Random(1)))
    play = connected() >> Received(AGENT, HANDSHAKE + behind) << Send(AGENT, ACCEPTED)
    (sent, closed) = play.take()
    assert isinstance(sent, Send)
    assert joined(sent.data) == b"\x82\x0c" + go_away
    assert closed == Close(AGENT)


@pytest.mark.parametrize(
    ("old", "new", "status", "phrase", "reason"),
    [
        (b"/piko/v1/upstream/", b"/nowhere/", 404, "Not Found",
         "not found: agents connect to /pico/v1/upstream/{endpoint}"),
        (b"my-endpoint", b"a/b", 404, "Not Found", "not found: agents connect to /pico/v1/upstream/{endpoint}"),
        (b"my-endpoint", b"", 404, "Not Found", "not found: agents connect to /pico/v1/upstream/{endpoint}"),
        (b"Version: 13", b"Version: 8", 426, "Upgrade Required", "not a WebSocket handshake of version 13"),
        (b"Upgrade: websocket\r\n", b"", 400, "Bad Request", "not a WebSocket handshake of version 13"),
        (b"Host: 127.0.0.1:8001\r\n", b"", 400, "Bad Request", "missing Host"),
        (b"GET ", b"\x16\x03\x01", 400, "Bad Request", "malformed request line"),
        (b"Go-http", b"x" * 17_000, 431, "Request Header Fields Too Large", "message head too large"),
    ],
)  # fmt: skip
def test_what_is_no_registration_is_refused(old: bytes, new: bytes, status: int, phrase: str, reason: str) -> None:
    assert old in HANDSHAKE
    play = connected()
    refused = refusal(status, phrase, reason, "Connection: close", client=AGENT)
    assert (
        play
        >> Received(AGENT, HANDSHAKE.replace(old, new, 1))
        << refused
        << SendEof(AGENT)
        >> Received(AGENT, b"more")
        >> ConnectionLost(AGENT, "")
        >> 30.0
    )
    (warning,) = [log for log in play.logs if log.level == "warning"]
    assert warning.fields == {"client": "192.0.2.1", "status": status, "code": reason_of(status), "reason": reason}


def test_an_endpoint_that_is_none_is_refused() -> None:
    play = connected() >> Received(AGENT, HANDSHAKE.replace(b"my-endpoint", b"a%2Fb"))
    (answer, closed) = play.take()
    assert isinstance(answer, Send)
    assert joined(answer.data).startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert b"\r\nx-pico-refused: final\r\n" in joined(answer.data)
    assert closed == SendEof(AGENT)


def test_a_node_that_stops_takes_no_new_tunnel() -> None:
    play = server_play() >> ShutdownRequested()
    assert (
        connected(play)
        >> Received(AGENT, HANDSHAKE)
        << refusal(
            503,
            "Service Unavailable",
            "this node is about to stop; connect again",
            "x-pico-refused: leaving",
            "Connection: close",
            client=AGENT,
            reason="draining",
        )
        << SendEof(AGENT)
    )


@pytest.mark.parametrize("so_far", [b"", HANDSHAKE[:-2]])
def test_half_a_handshake_is_not_waited_for(so_far: bytes) -> None:
    play = connected()
    if so_far:
        play >> Received(AGENT, so_far)
    assert play >> 9.5 << Nothing() >> 10.5 << Close(AGENT) >> 20.6 << Abort(AGENT)


def test_somebody_who_leaves_before_the_handshake_is_forgotten() -> None:
    assert connected() >> EofReceived(AGENT) << Close(AGENT) >> ConnectionLost(AGENT, "") >> 30.0
    assert connected() >> ConnectionLost(AGENT, "reset") >> 30.0


def test_warnings_about_refusals_are_limited() -> None:
    play = server_play()
    for connection in range(1, 101, 2):
        play >> Accepted(connection, "upstream", "192.0.2.1", 4000) >> Received(connection, b" ")
    play.take()
    assert len([log for log in play.logs if log.level == "warning"]) == 10
    play >> 11.0 >> Accepted(201, "upstream", "192.0.2.1", 4000) >> Received(201, b" ")
    play.take()
    suppressed, last = [log for log in play.logs if log.level == "warning"][10:]
    assert suppressed.fields == {"suppressed": 40}
    assert last.fields["client"] == "192.0.2.1"


# --- several tunnels for one endpoint ---


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
    play.tunnels.clear()  # from now on its bytes are only bytes
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


def test_a_node_that_stood_still_does_not_blame_the_agent() -> None:
    play = proxy_play() >> ConnectionLost(CLIENT, "")
    play.tunnels.clear()
    play >> 11.0
    play.take()
    play.now = 60.0
    (ping,) = (play >> 60.0).take()
    assert isinstance(ping, Send)


def test_a_stream_that_a_peer_may_not_open_is_refused_and_the_tunnel_lives() -> None:
    play = proxy_play() >> ConnectionLost(CLIENT, "")
    play.tunnels.clear()
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
    play.tunnels.clear()
    done = (play >> masked(data)).take()
    assert done == [
        Send(AGENT, b"\x82\x0c" + HEADER.pack(3, 0, 0, 1)),
        Send(AGENT, encode_close(1002, reason, None)),
        Close(AGENT),
    ]
    assert play.logs[-1].fields["reason"] == reason


def test_broken_frames_get_a_close_frame() -> None:
    play = proxy_play() >> ConnectionLost(CLIENT, "")
    play.tunnels.clear()
    assert (
        play
        >> Received(AGENT, b"\x82\x00")
        << Send(AGENT, encode_close(1002, "masking is wrong for this side", None))
        << Close(AGENT)
    )


def test_a_close_frame_is_answered() -> None:
    play = proxy_play() >> Received(CLIENT, GET) << Open(AGENT, 2) << Data(AGENT, 2, GET_SENT)
    play.tunnels.clear()
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
