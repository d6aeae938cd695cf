"""An endpoint stays registered: through lost tunnels, temporary refusals, servers that drain, and its own end."""

import re

import pytest
from msgspec.structs import replace

from pico_core.access.grant import ADVICE, NOT_PERMITTED
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
    WritingPaused,
    WritingResumed,
)
from pico_core.config.agent import AgentConfig, AgentConnectConfig, BackoffConfig, ListenerConfig
from pico_core.config.proxy import Proxy
from pico_core.config.values import Origin
from pico_core.mux.frame import DATA, HEADER, SYN
from pico_core.tunnel.agreement import FIRST_WINDOW, SECOND_AGENT
from pico_core.websocket.encoding import encode_close, encode_control, encode_frame
from pico_core.websocket.frame import PING
from pico_core.websocket.handshake import accept_handshake
from tests.core.agent.scene import CONNECT, DIAL, GET, OK, SERVER, SERVICE, agent_config, asked, registered
from tests.play import Data, End, GoAway, Nothing, Open, Play, agent_play, joined

NEXT = 4
CLOSING_OK = OK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")


def server(connection: int) -> Connect:
    """Return the command that connects to the server."""
    return Connect(connection, "127.0.0.1", 8001, 30.0)


def again(connection: int) -> Connect:
    """Return the command that connects to the server after the loss of a tunnel, for a short time."""
    return Connect(connection, "127.0.0.1", 8001, 3.0)


def connecting() -> Play:
    """Return an agent that has connected and asked for its endpoint."""
    play = agent_play(agent_config()) << CONNECT >> Connected(SERVER, "127.0.0.1", 8001)
    (request,) = play.take()
    assert isinstance(request, Send)
    assert joined(request.data).startswith(b"GET /piko/v1/upstream/e1 HTTP/1.1\r\nHost: 127.0.0.1:8001\r\n")
    assert b"\r\nx-piko-instance: " in joined(request.data)
    assert b"\r\nx-pico-protocol: http\r\n" in joined(request.data)
    assert b"\r\nx-pico-max-streams: 1024\r\n" in joined(request.data)
    return play


def registered_raw(answer: tuple[tuple[bytes, bytes], ...] = ()) -> Play:
    """Return an agent whose tunnel is open, for plays that make and read the frames themselves."""
    play = agent_play(agent_config()) << CONNECT >> Connected(SERVER, "127.0.0.1", 8001)
    (request,) = play.take()
    assert isinstance(request, Send)
    return play >> Received(SERVER, accept_handshake(joined(request.data), answer))


@pytest.mark.parametrize(("answer", "sent_bytes"), [((FIRST_WINDOW,), 65_536), ((), 262_144)])
def test_the_first_window_of_streams_is_the_one_that_the_server_agrees_to(
    answer: tuple[tuple[bytes, bytes], ...], sent_bytes: int
) -> None:
    play = registered_raw(answer)
    head = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
    frames = HEADER.pack(DATA, SYN, 2, len(head)) + head
    play >> Received(SERVER, b"\x82%c" % len(frames) + frames)
    (connect,) = [each for each in play.take() if isinstance(each, Connect)]
    play >> Connected(connect.connection, "127.0.0.1", 3000)
    play.take()
    play >> Received(connect.connection, b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n" + bytes(500_000))
    sent = b"".join(joined(each.data) for each in play.take() if isinstance(each, Send))
    assert sent_bytes < len(sent) < sent_bytes + 200


def test_an_agent_has_one_name_and_each_of_its_listeners_another() -> None:
    config = agent_config()
    second = replace(config.listeners[0], endpoint_id="e2", protocol="tcp")
    play = agent_play(replace(config, listeners=(*config.listeners, second)))
    assert play << CONNECT << server(NEXT)
    play >> Connected(SERVER, "127.0.0.1", 8001) >> Connected(NEXT, "127.0.0.1", 8001)
    one, two = [joined(each.data) for each in play.take() if isinstance(each, Send)]
    assert b"\r\nx-pico-protocol: tcp\r\n" in two
    names = re.compile(rb"x-pi[ck]o-(agent|instance): ([0-9a-f]{16})\r\n")
    first, other = dict(names.findall(one)), dict(names.findall(two))
    assert first[b"agent"] == other[b"agent"]
    assert first[b"instance"] != other[b"instance"]


def test_another_agent_at_the_endpoint_is_told_of() -> None:
    play = registered_raw((SECOND_AGENT,))
    assert play
    assert warnings(play) == ["another agent serves this endpoint too, and gets a part of its requests"]
    assert warnings(registered_raw(((b"x-pico-notice", b"something newer"),))) == []


def test_an_endpoint_that_is_another_agents_is_asked_for_again() -> None:
    answer = refusal(b"409 Conflict").replace(b"\r\n", b"\r\nRetry-After: 5\r\n", 1)
    play = connecting() >> Received(SERVER, answer) << Close(SERVER) >> ConnectionLost(SERVER, "")
    assert play >> 4.9 << Nothing()
    assert play >> 10.1 << server(NEXT)
    assert warnings(play) == ["the server refused: 409 why"]


def refusal(status: bytes) -> bytes:
    """Return the answer of a server that refuses the agent."""
    return b'HTTP/1.1 %b\r\nContent-Length: 15\r\nConnection: close\r\n\r\n{"error":"why"}' % status


def waits_s(play: Play) -> float:
    """Let time pass until the agent's next command, and return how long that took."""
    began_at = play.now
    while play.idle:
        due_at = play.machine.deadline()
        assert due_at is not None
        play >> due_at
    return play.now - began_at


def warnings(play: Play) -> list[str]:
    return [log.message for log in play.logs if log.level == "warning"]


# --- reaching a server ---


def test_the_endpoint_is_registered() -> None:
    play = registered()
    assert play
    assert [(log.level, log.message, log.fields) for log in play.logs] == [
        ("info", "endpoint registered", {"endpoint": "e1", "addr": "127.0.0.1:3000"})
    ]


def test_the_pauses_between_attempts_grow_and_are_jittered() -> None:
    play = agent_play(agent_config())
    drawn = []
    for attempt, backoff_s in enumerate([0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 15.0, 15.0, 15.0]):
        connection = 2 + 2 * attempt
        assert play << server(connection) >> ConnectFailed(connection, "connection refused") << Nothing()
        wait_s = waits_s(play)
        assert backoff_s / 2 <= wait_s <= backoff_s
        drawn.append(wait_s / backoff_s)
    assert len(set(drawn)) == len(drawn)
    assert warnings(play)[0] == "cannot reach the server: connection refused"


@pytest.mark.parametrize(
    "status", [b"408 Request Timeout", b"429 Too Many Requests", b"500 Oops", b"502 Bad Gateway", b"503 Unavailable"]
)
def test_a_refusal_that_may_pass_is_retried(status: bytes) -> None:
    play = connecting() >> Received(SERVER, refusal(status)) << Close(SERVER)
    assert play >> ConnectionLost(SERVER, "") >> 0.2 << server(NEXT)
    assert warnings(play) == [f"the server refused: {status.decode()[:3]} why"]


@pytest.mark.parametrize(("seconds", "earliest", "latest"), [(b"7", 7.0, 14.0), (b"99999", 60.0, 120.0)])
def test_a_server_that_says_when_to_come_again_is_asked_no_earlier(
    seconds: bytes, earliest: float, latest: float
) -> None:
    """The pause is drawn between the one that is asked for, a minute at most, and twice as long."""
    answer = refusal(b"503 Service Unavailable").replace(b"\r\n", b"\r\nRetry-After: " + seconds + b"\r\n", 1)
    play = connecting() >> Received(SERVER, answer) << Close(SERVER) >> ConnectionLost(SERVER, "")
    assert play >> earliest << Nothing()
    assert play >> latest << server(NEXT)


@pytest.mark.parametrize("value", [b"Fri, 01 Jan 2038 00:00:00 GMT", b"-1", b"9999999999", b""])
def test_another_retry_after_changes_nothing(value: bytes) -> None:
    answer = refusal(b"503 Service Unavailable").replace(b"\r\n", b"\r\nRetry-After: " + value + b"\r\n", 1)
    play = connecting() >> Received(SERVER, answer) << Close(SERVER) >> ConnectionLost(SERVER, "")
    assert play >> 0.2 << server(NEXT)


@pytest.mark.parametrize("status", [b"401 Unauthorized", b"403 Forbidden", b"404 Not Found", b"502 Bad Gateway"])
@pytest.mark.parametrize(
    "body", [b"<html>no such page</html>", b'{"error":"unknown route","code":7}', b'["error"]', b""]
)
def test_what_stands_before_the_server_refuses_nothing(status: bytes, body: bytes) -> None:
    answer = b"HTTP/1.1 %b\r\nContent-Length: %d\r\n\r\n%b" % (status, len(body), body)
    play = connecting() >> Received(SERVER, answer) << Close(SERVER) >> ConnectionLost(SERVER, "")
    connection = NEXT
    while play.now < 2.0:  # the server restarts
        waits_s(play)
        play << server(connection) >> Connected(connection, "127.0.0.1", 8001)
        play.take()
        assert play >> Received(connection, answer) << Close(connection) >> ConnectionLost(connection, "")
        connection += 2
    waits_s(play)
    assert play << server(connection)
    play.server_accepts(connection)
    assert play
    (warning,) = warnings(play)
    assert warning.startswith(f"not the answer of a Pico server: {status.decode()}; check connect.url")
    assert play.logs[-1].message == "endpoint registered"


@pytest.mark.parametrize("status", [b"400 Bad Request", b"404 Not Found", b"403 Forbidden"])
def test_a_wrong_url_is_told_and_tried_again(status: bytes) -> None:
    play = connecting() >> Received(SERVER, refusal(status)) << Close(SERVER)
    assert play >> ConnectionLost(SERVER, "") >> 0.2 << server(NEXT)
    number = status.decode()[:3]
    assert warnings(play) == [f"the server refused: {number} why; is connect.url that of its upstream port?"]


def test_an_outage_is_warned_of_once_a_minute() -> None:
    play = agent_play(agent_config())
    connection = SERVER
    while play.now < 130.0:
        assert play << server(connection) >> ConnectFailed(connection, "connection refused") << Nothing()
        waits_s(play)
        connection += 2
    assert warnings(play) == ["cannot reach the server: connection refused"] * 3


FINAL = b'HTTP/1.1 400 Bad Request\r\nx-pico-refused: final\r\nContent-Length: 15\r\n\r\n{"error":"why"}'
PIKO_FINAL = b'HTTP/1.1 401 Unauthorized\r\nContent-Length: 34\r\n\r\n{"error":"endpoint not permitted"}'


@pytest.mark.parametrize(
    ("answer", "reason"), [(FINAL, "400 why"), (PIKO_FINAL, f"401 {NOT_PERMITTED}; {ADVICE[NOT_PERMITTED]}")]
)
def test_a_refusal_of_the_endpoint_is_final(answer: bytes, reason: str) -> None:
    assert (
        connecting()
        >> Received(SERVER, answer)
        << Close(SERVER)
        << Exit(1, f"the server at http://127.0.0.1:8001 refused endpoint 'e1': {reason}")
        >> ConnectionLost(SERVER, "")
        >> 60.0
    )


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (Received(SERVER, b"SSH-2.0-OpenSSH_9.2\r\n\r\n"), "cannot reach the server: the answer is not HTTP/1.1"),
        (EofReceived(SERVER), "cannot reach the server: connection closed during the handshake"),
        (ConnectionLost(SERVER, "reset"), "cannot reach the server: connection closed by the server"),
    ],
)
def test_an_invalid_answer_is_retried(answer: Received | EofReceived | ConnectionLost, reason: str) -> None:
    play = connecting() >> answer
    if not isinstance(answer, ConnectionLost):
        play << Close(SERVER)
    assert play >> 0.2 << server(NEXT)
    assert warnings(play) == [reason]


def test_a_server_that_does_not_answer_is_given_up() -> None:
    play = connecting() >> 29.0 << Nothing() >> 30.9 << Close(SERVER) << server(NEXT)
    assert play
    assert warnings(play) == ["cannot reach the server: the server did not answer within 30 s"]


def test_the_way_to_the_server() -> None:
    """The path of the URL comes before the tunnel's; the proxy is told in the log, its credentials are not."""
    connect = AgentConnectConfig(url=Origin("pico", 8001, "http", "/in"), proxy_url=Proxy("192.0.2.5", 3128, "Basic x"))
    play = agent_play(replace(agent_config(), connect=connect)) << Connect(SERVER, "192.0.2.5", 3128, 30.0)
    play >> Connected(SERVER, "192.0.2.5", 3128)
    play.take()
    (request,) = (play >> Received(SERVER, b"HTTP/1.1 200 OK\r\n\r\n")).take()
    assert isinstance(request, Send)
    assert joined(request.data).startswith(b"GET /in/piko/v1/upstream/e1 HTTP/1.1\r\nHost: pico:8001\r\n")
    assert play.logs[0].message == "connecting through a proxy"
    assert play.logs[0].fields == {"proxy": "http://192.0.2.5:3128"}


# --- losing a tunnel ---


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


def test_a_lost_tunnel_takes_its_requests_with_it() -> None:
    play = asked() << DIAL >> Connected(SERVICE, "127.0.0.1", 3000) << Send(SERVICE, GET)
    assert play >> ConnectionLost(SERVER, "reset") << Abort(SERVICE) >> 0.2 << server(6) >> 30.0


def test_a_silent_server_is_left() -> None:
    play = registered()
    play.tunnels.clear()
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
    play.tunnels.clear()
    frame = joined(encode_frame((HEADER.pack(7, 0, 0, 0),), 12, None))
    go_away, closing, closed = (play >> Received(SERVER, frame)).take()
    assert isinstance(go_away, Send)
    assert isinstance(closing, Send)
    assert closed == Close(SERVER)
    assert play >> 0.2 << server(NEXT)


def test_a_close_frame_ends_the_tunnel() -> None:
    play = registered()
    play.tunnels.clear()
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


LEAVING = b'HTTP/1.1 503 Service Unavailable\r\nx-pico-refused: leaving\r\nContent-Length: 15\r\n\r\n{"error":"why"}'


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


# --- a server that drains ---


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


# --- several listeners ---


def two_listeners() -> Play:
    listeners = tuple(ListenerConfig(endpoint_id=name, addr=Origin("127.0.0.1", 3000)) for name in ("e1", "e2"))
    return agent_play(AgentConfig(listeners=listeners, connect=agent_config().connect)) << server(2) << server(4)


def test_every_listener_has_its_own_tunnel_and_the_last_one_ends_the_agent() -> None:
    play = two_listeners()
    play.server_accepts(2)
    play.server_accepts(4)
    assert play >> Open(4, 2) >> Data(4, 2, GET) << Connect(6, "127.0.0.1", 3000, 10.0)
    assert play >> ShutdownRequested() << GoAway(2) << GoAway(4) << Close(2)
    assert play >> ConnectionLost(4, "reset") << Exit(0, "")


def refused(play: Play, connection: int) -> Play:
    """Let the server refuse the endpoint that asks through ``connection``."""
    play >> Connected(connection, "127.0.0.1", 8001)
    play.take()
    return play >> Received(connection, FINAL) << Close(connection)


def test_one_endpoint_refused_for_good_leaves_the_others() -> None:
    play = two_listeners()
    play.server_accepts(2)
    assert refused(play, 4) >> ConnectionLost(4, "") >> 60.0
    (told,) = [log for log in play.logs if log.level == "error"]
    assert (told.message, told.fields["endpoint"], told.fields["reason"]) == ("endpoint refused", "e2", "400 why")
    assert play >> Open(2, 2) >> Data(2, 2, GET) << Connect(6, "127.0.0.1", 3000, 10.0)


def test_the_last_endpoint_refused_for_good_ends_the_agent() -> None:
    play = refused(two_listeners(), 2)
    assert refused(play, 4) << Exit(1, "the server at http://127.0.0.1:8001 refused endpoint 'e2': 400 why")


def test_leaving_after_a_refusal() -> None:
    play = two_listeners()
    play.server_accepts(2)
    assert refused(play, 4) >> ShutdownRequested() << GoAway(2) << Close(2) << Exit(0, "")


def test_a_refusal_while_a_tunnel_serves_is_tried_again() -> None:
    play = registered() >> GoAway(SERVER) << again(NEXT)
    assert refused(play, NEXT) >> 0.2 << again(6)
    assert play >> Open(SERVER, 2) >> Data(SERVER, 2, GET) << Connect(8, "127.0.0.1", 3000, 10.0)


def test_the_last_stream_may_end_from_either_side() -> None:
    play = asked() << DIAL >> Connected(SERVICE, "127.0.0.1", 3000) << Send(SERVICE, GET)
    assert (
        play
        >> Received(SERVICE, OK)
        << Data(SERVER, 2, OK)
        >> ShutdownRequested()
        << GoAway(SERVER)
        >> End(SERVER, 2)
        << End(SERVER, 2)
        << Close(SERVER)
        << Exit(0, "")
    )


def test_frames_right_behind_the_registration_count() -> None:
    play = agent_play(agent_config()) << CONNECT >> Connected(SERVER, "127.0.0.1", 8001)
    (request,) = play.take()
    assert isinstance(request, Send)
    go_away = joined(encode_frame((HEADER.pack(3, 0, 0, 0),), 12, None))
    assert play >> Received(SERVER, accept_handshake(joined(request.data)) + go_away) << again(NEXT)


def test_an_old_tunnel_lost_before_it_was_left() -> None:
    play = registered() >> GoAway(SERVER) << again(NEXT)
    play.server_accepts(NEXT)
    assert play >> 1.0 >> EofReceived(SERVER) << Close(SERVER) >> ConnectionLost(SERVER, "") >> 60.0
    assert warnings(play) == []


# --- the name of an endpoint ---


@pytest.mark.parametrize(
    ("endpoint", "protocol", "told"),
    [
        ("a.b", "http", "no host name reaches this endpoint: clients have to name it with the header x-pico-endpoint"),
        ("x" * 64, "http", "no host name reaches this endpoint"),
        ("a:b", "http", "no host name reaches this endpoint"),
        ("Api", "http", "an endpoint ID has no case in Pico, and only its header reaches this one in a Piko cluster"),
        ("a.b", "tcp", ""),
        ("my-api_2", "http", ""),
    ],
)
def test_an_endpoint_that_no_host_name_reaches(endpoint: str, protocol: str, told: str) -> None:
    listener = replace(agent_config(protocol).listeners[0], endpoint_id=endpoint)
    play = agent_play(replace(agent_config(), listeners=(listener,))) << CONNECT
    assert play
    assert [message.startswith(told) for message in warnings(play)] == ([True] if told else [])
