"""A server that is away, refuses or does not answer: which local connections wait, and for how long."""

import re

import pytest

from pico_core.access.grant import ADVICE, INVALID_TOKEN
from pico_core.boundary import (
    Abort,
    Close,
    Connected,
    ConnectFailed,
    ConnectionLost,
    EofReceived,
    Received,
    ResumeReading,
    Send,
    Tick,
    WritingPaused,
    WritingResumed,
)
from pico_core.records import Record
from pico_core.websocket.handshake import accept_handshake
from tests.core.forward.scene import CONNECTED, LOCAL, SERVER, accepted, asked, next_connect, warning
from tests.play import Nothing, Play, joined


def test_a_server_that_is_away_for_a_while_is_waited_for() -> None:
    play = accepted() >> Received(LOCAL, b"early") >> ConnectFailed(SERVER, "connection refused") << Nothing()
    connection = SERVER
    while play.now < 2.0:
        connection = next_connect(play).connection
        play >> ConnectFailed(connection, "connection refused") << Nothing()
    connection = next_connect(play).connection
    play >> Connected(connection, "127.0.0.1", 8000)
    (request,) = play.take()
    assert isinstance(request, Send)
    play >> Received(connection, accept_handshake(joined(request.data)))
    sent, resumed = play.take()
    assert isinstance(sent, Send)
    assert resumed == ResumeReading(LOCAL)
    assert warning(play) == "cannot reach the server: connection refused"


def test_a_server_that_stays_away_resets_the_local_connection_in_the_end() -> None:
    play = accepted() >> ConnectFailed(SERVER, "connection refused") << Nothing()
    while play.now < 28.9:
        play >> ConnectFailed(next_connect(play).connection, "connection refused") << Nothing()
    play >> ConnectFailed(next_connect(play).connection, "connection refused")
    if play.idle:
        play >> ConnectFailed(next_connect(play).connection, "connection refused")
    assert play << Abort(LOCAL)
    told = [(log.message, log.fields["reason"]) for log in play.logs if log.level == "warning"]
    refused = "cannot reach the server: connection refused"
    assert told == [("cannot reach the endpoint yet", refused), ("cannot reach the endpoint", refused)]


def test_a_process_that_stood_still_in_a_pause_tells_the_reason_of_the_last_attempt() -> None:
    play = accepted() >> ConnectFailed(SERVER, "connection refused") << Nothing()
    play.now = 40.0
    play >> Tick() << Abort(LOCAL)
    assert play.logs[-1].fields["reason"] == "cannot reach the server: connection refused"


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (
            Received(SERVER, b"HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\nhtml"),
            "not the answer of a Pico server: 404 Not Found; check connect.url and what stands before it",
        ),
        (
            Received(
                SERVER,
                b"HTTP/1.1 503 Service Unavailable\r\nx-pico-refused: leaving\r\nContent-Length: 0\r\n\r\n",
            ),
            "the server refused: 503 Service Unavailable",
        ),
        (Received(SERVER, b"220 smtp\r\n\r\n"), "cannot reach the server: the answer is not HTTP/1.1"),
        (EofReceived(SERVER), "cannot reach the server: connection closed during the handshake"),
        (ConnectionLost(SERVER, "reset"), "cannot reach the server: connection closed by the server"),
    ],
)
def test_what_is_not_the_servers_refusal_is_tried_again(
    answer: Received | EofReceived | ConnectionLost, reason: str
) -> None:
    play, _ = asked()
    play >> answer
    if not isinstance(answer, ConnectionLost):
        play << Close(SERVER) >> ConnectionLost(SERVER, "")
    connection = next_connect(play).connection
    assert play >> ConnectionLost(LOCAL, "") << Abort(connection)
    assert warning(play) == reason


def test_a_local_connection_that_ends_during_a_pause() -> None:
    play = accepted() >> ConnectFailed(SERVER, "connection refused") >> ConnectionLost(LOCAL, "")
    assert play >> 60.0


@pytest.mark.parametrize(
    ("status", "text", "advice"),
    [
        ("502 Bad Gateway", "no available upstreams", ""),
        ("401 Unauthorized", INVALID_TOKEN, f"; {ADVICE[INVALID_TOKEN]}"),
    ],
)
def test_the_servers_refusal_resets_the_local_connection(status: str, text: str, advice: str) -> None:
    play, _ = asked()
    body = f'{{"error":"{text}"}}'
    answer = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()
    assert play >> Received(SERVER, answer) << Close(SERVER) << Abort(LOCAL) >> ConnectionLost(SERVER, "") >> 60.0
    assert warning(play) == f"the server refused: {status[:3]} {text}{advice}"


def busy(play: Play, connection: int) -> list[Record]:
    """Let the server say that it has no room at present; return what the forwarder does then."""
    body = '{"error":"too many requests in flight to this endpoint"}'
    play >> Connected(connection, "127.0.0.1", 8000)
    play.take()
    answer = f"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Length: {len(body)}\r\n\r\n{body}"
    closed, *then = (play >> Received(connection, answer.encode())).take()
    assert closed == Close(connection)
    play >> ConnectionLost(connection, "")
    return then


def test_a_503_that_passes_is_waited_for() -> None:
    play = accepted()
    assert busy(play, SERVER) == []
    connection = next_connect(play).connection
    play >> Connected(connection, "127.0.0.1", 8000)
    (request,) = play.take()
    assert isinstance(request, Send)
    assert play >> Received(connection, accept_handshake(joined(request.data))) << ResumeReading(LOCAL)
    assert play.now < 1.0
    assert warning(play) == "the server refused: 503 too many requests in flight to this endpoint"


def test_a_503_that_does_not_pass_resets_the_local_connection() -> None:
    """Long before ``connect.timeout``: the server works, and it has said what it lacks."""
    play = accepted()
    attempts = 1
    then = busy(play, SERVER)
    while not then:
        attempts += 1
        then = busy(play, next_connect(play).connection)
    assert then == [Abort(LOCAL)]
    assert 3.0 < play.now < 5.0
    assert 5 <= attempts <= 15
    assert [log.message for log in play.logs if log.level == "warning"][-1] == "cannot reach the endpoint"


def test_a_server_that_does_not_answer() -> None:
    play, _ = asked()
    assert play >> WritingPaused(SERVER) >> WritingResumed(SERVER) >> 29.0 << Nothing()
    assert play >> 30.9 << Close(SERVER) << Abort(LOCAL)
    assert warning(play) == "cannot reach the server: the server did not answer within 30 s"


def test_what_is_left_of_the_time_is_told_in_three_digits() -> None:
    play = accepted()
    assert busy(play, SERVER) == []
    connection = next_connect(play).connection
    play >> Connected(connection, "127.0.0.1", 8000)
    play.take()
    assert play >> 30.9 << Close(connection) << Abort(LOCAL)
    reason = str(play.logs[-1].fields["reason"])
    assert re.fullmatch(r"cannot reach the server: the server did not answer within [\d.]{4} s", reason)


def test_a_local_connection_that_does_not_wait() -> None:
    assert accepted() >> ConnectionLost(LOCAL, "") << Abort(SERVER) >> CONNECTED << Abort(SERVER)
    play, answer = asked()
    assert play >> ConnectionLost(LOCAL, "") << Close(SERVER) >> Received(SERVER, answer)
    play = accepted() >> ConnectionLost(LOCAL, "") << Abort(SERVER) >> ConnectFailed(SERVER, "aborted")
    assert play
    assert not play.logs[2:]
    play, answer = asked()
    assert play >> WritingPaused(LOCAL) >> WritingResumed(LOCAL)
