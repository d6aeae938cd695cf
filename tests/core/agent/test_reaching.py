"""An agent reaches a server: its attempts, their pauses, refusals that pass, and those that are final."""

import pytest
from msgspec.structs import replace

from pico_core.access.grant import ADVICE, NOT_PERMITTED
from pico_core.boundary import (
    Close,
    Connect,
    Connected,
    ConnectFailed,
    ConnectionLost,
    EofReceived,
    Exit,
    Received,
    Send,
)
from pico_core.config.agent import AgentConnectConfig
from pico_core.config.proxy import Proxy
from pico_core.config.values import Origin
from tests.core.agent.listener_scene import FINAL, NEXT, connecting, refusal, server, waits_s, warnings
from tests.core.agent.scene import SERVER, agent_config, registered
from tests.play import Nothing, agent_play, joined


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
