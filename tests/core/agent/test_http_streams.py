"""Requests that come through the tunnel reach the service, over connections that are kept."""

import pytest

from pico_core.boundary import (
    Abort,
    Close,
    Connect,
    Connected,
    ConnectFailed,
    ConnectionLost,
    EofReceived,
    PauseReading,
    Received,
    ResumeReading,
    Send,
    WritingPaused,
    WritingResumed,
)
from pico_core.mux.frame import DATA, HEADER, INITIAL_WINDOW_BYTES, RST, SYN, WINDOW_UPDATE
from pico_core.websocket.encoding import encode_frame
from tests.core.agent.scene import DIAL, GET, OK, SERVER, SERVICE, agent_config, asked, registered
from tests.play import Data, End, Nothing, Open, Play, Reset, joined

SECOND = 6
CONNECTED = Connected(SERVICE, "127.0.0.1", 3000)


def failed(reason: str, message: str) -> bytes:
    """Return the 502 that tells the server what failed."""
    body = f'{{"error":"{message}"}}'
    return (
        "HTTP/1.1 502 Bad Gateway\r\nContent-Type: application/json\r\nX-Content-Type-Options: nosniff\r\n"
        f"X-Pico-Failure: {reason}\r\nContent-Length: {len(body)}\r\n\r\n{body}"
    ).encode()


UNREACHABLE = failed("service-refused", "upstream unreachable")
LOST = failed("service-lost", "the service closed the connection without a response")
INVALID = failed(
    "service-invalid; malformed status line", "the service's response was not valid HTTP: malformed status line"
)
POST = GET.replace(b"GET", b"POST")


def dial(connection: int) -> Connect:
    """Return the command that connects to the service."""
    return Connect(connection, "127.0.0.1", 3000, 10.0)


def served(play: Play | None = None) -> Play:
    """Return a play in which the service answered a first request."""
    play = asked(play) << DIAL >> CONNECTED << Send(SERVICE, GET)
    return play >> Received(SERVICE, OK) << Data(SERVER, 2, OK)


def test_a_request_that_was_reset_before_the_agent_came_to_it_is_not_carried_out() -> None:
    """As when the agent was stopped, and goes on after the server has sent the request elsewhere."""
    play = registered()
    frames = HEADER.pack(DATA, SYN, 2, len(GET)) + GET + HEADER.pack(WINDOW_UPDATE, RST, 2, 0)
    assert play >> Received(SERVER, joined(encode_frame((frames,), len(frames), None))) << Nothing()
    assert asked(play) << DIAL


def test_requests_share_a_stream_and_a_connection() -> None:
    play = (
        served() >> 10.0 >> Data(SERVER, 2, GET) << Send(SERVICE, GET) >> Received(SERVICE, OK) << Data(SERVER, 2, OK)
    )
    assert play
    assert b'"subsystem":"agent.access","method":"GET","path":"/","endpoint":"e1","status":200' in play.access_log[0]
    assert b'"client":"192.0.2.7"' in play.access_log[0]


def test_no_access_log_where_none_is_wanted() -> None:
    play = served(registered(agent_config(log_access=False)))
    assert play
    assert play.access_log == []


def test_the_client_address_from_the_server_is_trusted() -> None:
    head = b"GET / HTTP/1.1\r\nHost: e1\r\n"
    fields = b"X-Forwarded-For: 1.2.3.4, 192.0.2.7\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: a.b\r\n"
    assert asked(request=head + fields + b"\r\n") << DIAL >> CONNECTED << Send(SERVICE, head + fields + b"\r\n")
    fields += b"Forwarded: for=1.2.3.4, for=192.0.2.7\r\nX-Forwarded-Port: 443\r\nX-Real-Ip: 1.2.3.4\r\n"
    assert asked(request=head + fields + b"\r\n") << DIAL >> CONNECTED << Send(SERVICE, head + fields + b"\r\n")
    assert asked(request=head + b"\r\n") << DIAL >> CONNECTED << Send(SERVICE, head + b"\r\n")


def test_two_requests_at_once_take_two_connections_and_the_last_one_used_is_taken_first() -> None:
    play = served() >> Data(SERVER, 2, GET) << Send(SERVICE, GET)
    assert (
        asked(play, 4)
        << dial(SECOND)
        >> Connected(SECOND, "127.0.0.1", 3000)
        << Send(SECOND, GET)
        >> Received(SERVICE, OK)
        << Data(SERVER, 2, OK)
        >> Received(SECOND, OK)
        << Data(SERVER, 4, OK)
        >> Data(SERVER, 2, GET)
        << Send(SECOND, GET)
    )


def test_idle_connections_are_closed_in_the_end() -> None:
    assert served() >> 89.0 << Nothing() >> 91.0 << Close(SERVICE) >> Data(SERVER, 2, GET) << dial(SECOND)


@pytest.mark.parametrize("limit", [0, 1])
def test_no_more_connections_are_kept_than_allowed(limit: int) -> None:
    play = registered(agent_config(max_idle_conns=limit))
    asked(play) << DIAL >> CONNECTED << Send(SERVICE, GET)
    asked(play, 4) << dial(SECOND) >> Connected(SECOND, "127.0.0.1", 3000) << Send(SECOND, GET)
    play >> Received(SERVICE, OK)
    if limit == 0:
        play << Close(SERVICE)
    assert play << Data(SERVER, 2, OK) >> Received(SECOND, OK) << Close(SECOND) << Data(SERVER, 4, OK)


def test_an_idle_connection_that_ends_is_forgotten() -> None:
    assert (
        served()
        >> EofReceived(SERVICE)
        << Close(SERVICE)
        >> ConnectionLost(SERVICE, "")
        >> Data(SERVER, 2, GET)
        << dial(SECOND)
    )


@pytest.mark.parametrize("gone", [EofReceived(SERVICE), ConnectionLost(SERVICE, "reset")])
def test_a_stale_connection_is_replaced(gone: EofReceived | ConnectionLost) -> None:
    play = served() >> Data(SERVER, 2, GET) << Send(SERVICE, GET) >> gone
    if isinstance(gone, EofReceived):
        play << Close(SERVICE)
    assert (
        play
        << dial(SECOND)
        >> Connected(SECOND, "127.0.0.1", 3000)
        << Send(SECOND, GET)
        >> Received(SECOND, OK)
        << Data(SERVER, 2, OK)
    )


TIMED_OUT = b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n%b\r\n"
CLOSING = b"Connection: close\r\n"


def test_a_408_that_is_about_the_idle_time_is_not_an_answer() -> None:
    play = served() >> Data(SERVER, 2, GET) << Send(SERVICE, GET) >> Received(SERVICE, TIMED_OUT % CLOSING)
    play = play << Abort(SERVICE) << dial(SECOND) >> Connected(SECOND, "127.0.0.1", 3000) << Send(SECOND, GET)
    assert play >> Received(SECOND, OK) << Data(SERVER, 2, OK)


def test_a_408_on_a_new_connection_is_the_answer() -> None:
    play = asked() << DIAL >> CONNECTED << Send(SERVICE, GET) >> Received(SERVICE, TIMED_OUT % CLOSING)
    assert play << Close(SERVICE) << Data(SERVER, 2, TIMED_OUT % b"")


def test_a_408_that_keeps_the_connection_is_the_answer() -> None:
    play = served() >> Data(SERVER, 2, GET) << Send(SERVICE, GET) >> Received(SERVICE, TIMED_OUT % b"")
    assert play << Data(SERVER, 2, TIMED_OUT % b"")


def test_a_request_that_may_not_be_repeated_gets_its_408() -> None:
    play = served() >> 0.1 >> EofReceived(SERVICE) << Close(SERVICE) >> Data(SERVER, 2, POST) << dial(SECOND)
    play = play >> Connected(SECOND, "127.0.0.1", 3000) << Send(SECOND, POST)
    play = play >> Received(SECOND, TIMED_OUT % CLOSING) << Close(SECOND)
    assert play << Data(SERVER, 2, TIMED_OUT % b"")


@pytest.mark.parametrize("begun", [b"HTTP/1.1 200 O", b"HTTP/1.1 102 Processing\r\n\r\n"])
def test_a_connection_that_ends_within_a_response_was_not_stale(begun: bytes) -> None:
    put = GET.replace(b"GET", b"PUT")
    play = served() >> Data(SERVER, 2, put) << Send(SERVICE, put) >> Received(SERVICE, begun)
    if b"102" in begun:
        play << Data(SERVER, 2, begun)
    assert play >> ConnectionLost(SERVICE, "reset") << Data(SERVER, 2, LOST)


def test_a_request_that_may_have_had_effects_is_not_repeated() -> None:
    assert (
        served()
        >> Data(SERVER, 2, POST)
        << dial(SECOND)
        >> Connected(SECOND, "127.0.0.1", 3000)
        << Send(SECOND, POST)
        >> ConnectionLost(SECOND, "reset")
        << Data(SERVER, 2, LOST)
    )


def test_what_must_not_be_repeated_takes_only_connections_that_are_known_to_last() -> None:
    play = served() >> 1.5 >> Data(SERVER, 2, POST) << dial(SECOND)
    play >> Connected(SECOND, "127.0.0.1", 3000) << Send(SECOND, POST) >> Received(SECOND, OK) << Data(SERVER, 2, OK)
    assert play >> Data(SERVER, 2, POST) << Send(SECOND, POST) >> Received(SECOND, OK) << Data(SERVER, 2, OK)


@pytest.mark.parametrize(("asked_at", "connection"), [(2.9, SECOND), (3.1, 8)])
def test_they_are_idle_for_half_the_time_that_others_survive(asked_at: float, connection: int) -> None:
    play = served() >> 1.5 >> Data(SERVER, 2, POST) << dial(SECOND)
    play >> Connected(SECOND, "127.0.0.1", 3000) << Send(SECOND, POST) >> Received(SECOND, OK) << Data(SERVER, 2, OK)
    play >> asked_at >> Data(SERVER, 2, POST)
    assert play << (Send(SECOND, POST) if connection == SECOND else dial(connection))


def test_a_service_that_ends_idle_connections_is_not_trusted_with_what_must_not_be_repeated() -> None:
    play = served() >> 1.5 >> ConnectionLost(SERVICE, "") >> Data(SERVER, 2, POST) << dial(SECOND)
    play >> Connected(SECOND, "127.0.0.1", 3000) << Send(SECOND, POST) >> Received(SECOND, OK) << Data(SERVER, 2, OK)
    assert play >> Data(SERVER, 2, POST) << dial(8)


@pytest.mark.parametrize("method", [b"GET", b"PUT", b"DELETE", b"POST"])
def test_a_request_is_not_sent_again_when_a_new_connection_ends_without_a_response(method: bytes) -> None:
    request = GET.replace(b"GET", method)
    assert (
        asked(request=request)
        << DIAL
        >> CONNECTED
        << Send(SERVICE, request)
        >> ConnectionLost(SERVICE, "")
        << Data(SERVER, 2, LOST)
    )


def test_a_response_that_is_not_http_is_told_as_that_and_not_asked_for_again() -> None:
    play = asked() << DIAL >> CONNECTED << Send(SERVICE, GET) >> Received(SERVICE, b"SSH-2.0-OpenSSH\r\n\r\n")
    assert play << Abort(SERVICE) << Data(SERVER, 2, INVALID)
    (warning,) = [log for log in play.logs if log.level == "warning"]
    assert (warning.message, warning.fields["failure"]) == ("the service failed", "service-invalid")
    assert warning.fields["reason"] != ""


def test_a_service_that_is_down_is_a_502_and_one_line_in_the_log() -> None:
    play = asked() << DIAL >> ConnectFailed(SERVICE, "connection refused") << Data(SERVER, 2, UNREACHABLE)
    assert play
    (warning,) = [log for log in play.logs if log.level == "warning"]
    assert (warning.subsystem, warning.message) == ("agent", "cannot reach the service")
    assert warning.fields == {
        "endpoint": "e1",
        "addr": "127.0.0.1:3000",
        "failure": "service-refused",
        "reason": "connection refused",
    }


def test_an_agent_without_descriptors_sends_the_request_elsewhere() -> None:
    full = (
        b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nX-Content-Type-Options: nosniff\r\n"
        b"X-Pico-Failure: agent-full\r\nRetry-After: 1\r\nContent-Length: 43\r\n\r\n"
        b'{"error":"the agent is out of descriptors"}'
    )
    play = asked() << DIAL >> ConnectFailed(SERVICE, "too many open files") << Data(SERVER, 2, full)
    assert play
    (warning,) = [log for log in play.logs if log.level == "warning"]
    assert (warning.message, warning.fields["failure"]) == ("cannot reach the service", "agent-full")


def test_many_failures_are_few_lines() -> None:
    play = asked() << DIAL >> ConnectFailed(SERVICE, "connection refused") << Data(SERVER, 2, UNREACHABLE)
    for connection in range(6, 60, 2):
        assert (
            play
            >> Data(SERVER, 2, GET)
            << dial(connection)
            >> ConnectFailed(connection, "connection refused")
            << Data(SERVER, 2, UNREACHABLE)
        )
    assert len([log for log in play.logs if log.level == "warning"]) == 10


def test_a_service_that_does_not_answer_is_a_504() -> None:
    play = asked() << DIAL >> CONNECTED << Send(SERVICE, GET) >> 9.5 << Nothing()
    done = (play >> 11.0).take()
    assert done[0] == Abort(SERVICE)
    assert isinstance(done[1], Data)
    assert done[1].data.startswith(b"HTTP/1.1 504 Gateway Timeout\r\n")


def test_a_connection_that_comes_too_late_serves_the_next_request() -> None:
    assert (
        asked()
        << DIAL
        >> Reset(SERVER, 2)
        << Nothing()
        >> CONNECTED
        << Nothing()
        >> Open(SERVER, 4)
        >> Data(SERVER, 4, GET)
        << Send(SERVICE, GET)
    )


def test_a_dial_that_fails_after_its_request_ended_changes_nothing() -> None:
    play = asked() << DIAL >> Reset(SERVER, 2) << Nothing() >> ConnectFailed(SERVICE, "timed out")
    assert play
    assert [log for log in play.logs if log.level == "warning"] == []


def test_a_client_that_leaves_resets_the_connection_to_the_service() -> None:
    assert asked() << DIAL >> CONNECTED << Send(SERVICE, GET) >> Reset(SERVER, 2) << Abort(SERVICE)


def test_a_service_that_breaks_off_ends_the_stream_without_an_end() -> None:
    assert (
        asked()
        << DIAL
        >> CONNECTED
        << Send(SERVICE, GET)
        >> Received(SERVICE, OK[:-1])
        << Data(SERVER, 2, OK[:-1])
        >> ConnectionLost(SERVICE, "reset")
        << End(SERVER, 2)
    )


def test_a_body_that_comes_while_the_connection_opens_is_bounded() -> None:
    play = registered()
    far = play.tunnels[SERVER]
    head = b"POST / HTTP/1.1\r\nHost: e1\r\nContent-Length: 1000000\r\n\r\n"
    assert (
        asked(play, request=head)
        << DIAL
        >> Data(SERVER, 2, bytes(60_000))
        >> Data(SERVER, 2, bytes(60_000))
        << Nothing()
        >> Data(SERVER, 2, bytes(60_000))
        << Nothing()
        >> Data(SERVER, 2, bytes(80_000))
        << Nothing()
    )
    assert far.streams[2].send_window_bytes < 10_000
    done = (play >> CONNECTED).take()
    assert done == [Send(SERVICE, head + bytes(260_000))]
    assert far.streams[2].send_window_bytes > 100_000


def test_a_body_waits_for_the_connection_to_the_service() -> None:
    head = b"POST / HTTP/1.1\r\nHost: e1\r\nContent-Length: 6\r\n\r\n"
    assert (
        asked(request=head + b"ab")
        << DIAL
        >> Data(SERVER, 2, b"c")
        << Nothing()
        >> CONNECTED
        << Send(SERVICE, head + b"abc")
        >> Data(SERVER, 2, b"d")
        << Send(SERVICE, b"d")
        >> WritingPaused(SERVICE)
        >> Data(SERVER, 2, b"e")
        << Send(SERVICE, b"e")
        >> WritingResumed(SERVICE)
        >> Data(SERVER, 2, b"f")
        << Send(SERVICE, b"f")
        >> Received(SERVICE, OK)
        << Data(SERVER, 2, OK)
    )


def test_a_service_that_takes_no_more_of_a_body_has_the_time_that_a_response_has() -> None:
    head = b"POST / HTTP/1.1\r\nHost: e1\r\nContent-Length: 6\r\n\r\n"
    play = asked(request=head + b"ab") << DIAL >> CONNECTED << Send(SERVICE, head + b"ab") >> WritingPaused(SERVICE)
    play >> Data(SERVER, 2, b"c") << Send(SERVICE, b"c") >> 9.0 << Nothing()
    abort, answer, *_ = (play >> 10.5).take()
    assert abort == Abort(SERVICE)
    assert isinstance(answer, Data)
    assert answer.data.startswith(b"HTTP/1.1 504 Gateway Timeout\r\n")
    assert b"\r\nX-Pico-Failure: service-timeout\r\n" in answer.data


def test_a_client_that_does_not_read_stops_the_service_and_nothing_else() -> None:
    play = registered()
    far = play.tunnels[SERVER]
    far.reading = False
    body = bytes(600_000)
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 600000\r\n\r\n"
    asked(play) << DIAL >> CONNECTED << Send(SERVICE, GET)
    assert (
        play
        >> Received(SERVICE, head + body[:300_000])
        << PauseReading(SERVICE)
        << Data(SERVER, 2, (head + body)[:INITIAL_WINDOW_BYTES])
    )
    asked(play, 4) << dial(SECOND) >> Connected(SECOND, "127.0.0.1", 3000) << Send(SECOND, GET)
    assert play >> Received(SECOND, OK) << Data(SERVER, 4, OK)
    far.streams[2].consume(INITIAL_WINDOW_BYTES)
    far.reading = True
    assert (
        play
        >> Received(SERVER, far.output())
        << ResumeReading(SERVICE)
        << Data(SERVER, 2, (head + body)[INITIAL_WINDOW_BYTES : 300_000 + len(head)])
    )


def test_a_connection_stopped_by_a_slow_client_goes_on_with_the_next_one() -> None:
    play = registered()
    far = play.tunnels[SERVER]
    far.reading = False
    response = b"HTTP/1.1 200 OK\r\nContent-Length: 300000\r\n\r\n" + bytes(300_000)
    asked(play) << DIAL >> CONNECTED << Send(SERVICE, GET)
    assert (
        play
        >> Received(SERVICE, response[:290_000])
        << PauseReading(SERVICE)
        << Data(SERVER, 2, response[:INITIAL_WINDOW_BYTES])
        >> Received(SERVICE, response[290_000:])  # it was on its way
        << ResumeReading(SERVICE)
    )
    far.reading = True
    assert asked(play, 4) << Send(SERVICE, GET) >> Received(SERVICE, OK) << Data(SERVER, 4, OK)


def test_pings_of_the_server_do_not_disturb() -> None:
    play = served()
    play.tunnels[SERVER].tunnel.session.ping()
    assert play >> Received(SERVER, play.tunnels[SERVER].output()) << Nothing()


def test_bytes_that_are_not_a_request_are_refused_and_logged() -> None:
    play = registered() >> Open(SERVER, 2) >> Data(SERVER, 2, b"\x00")
    (refusal, end) = play.take()
    assert isinstance(refusal, Data)
    assert refusal.data.startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert end == End(SERVER, 2)
    warnings = [log.message for log in play.logs if log.level == "warning"]
    assert warnings == ["the server sent bytes that are not a request"]


def test_a_stream_that_ends_is_ended() -> None:
    assert served() >> End(SERVER, 2) << End(SERVER, 2)


def test_one_stream_per_request_as_piko_does() -> None:
    play = registered()
    for stream in (2, 4, 6):
        asked(play, stream, GET[:-2] + b"Connection: close\r\n\r\n")
        if stream == 2:
            play << DIAL >> CONNECTED
        closing = OK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
        assert (
            play
            << Send(SERVICE, GET)
            >> Received(SERVICE, OK)
            << Data(SERVER, stream, closing)
            << End(SERVER, stream)
            >> End(SERVER, stream)
        )
    assert play.tunnels[SERVER].tunnel.session.streams == {}
