"""The forwarder: local connections reach a ``tcp`` endpoint through the server's proxy port."""

import random

import pytest

from pico_core.access.grant import ADVICE, INVALID_TOKEN
from pico_core.boundary import (
    Abort,
    Accepted,
    Close,
    ConfigReloaded,
    Connect,
    Connected,
    ConnectFailed,
    ConnectionLost,
    EofReceived,
    Exit,
    Listen,
    ListenFailed,
    Listening,
    PauseReading,
    Received,
    Resolve,
    Resolved,
    ResumeReading,
    Send,
    SendEof,
    ShutdownRequested,
    StopListening,
    Tick,
    WritingPaused,
    WritingResumed,
)
from pico_core.config.forward import ForwardConfig, ForwardConnectConfig, PortConfig
from pico_core.config.proxy import Proxy
from pico_core.config.values import Address, Origin
from pico_core.dial import HANDSHAKE_S
from pico_core.forward.machine import ForwardMachine
from pico_core.records import Record
from pico_core.websocket.decoding import FrameDecoder, Item
from pico_core.websocket.encoding import encode_close, encode_frame
from pico_core.websocket.handshake import accept_handshake
from tests.play import Nothing, Play, joined

LOCAL = 1
SERVER_URL = ForwardConnectConfig(url=Origin("127.0.0.1", 8000, "http"))
SERVER = 2
CONNECT = Connect(SERVER, "127.0.0.1", 8000, 30.0)
CONNECTED = Connected(SERVER, "127.0.0.1", 8000)


def forward_play() -> Play:
    """Return a forwarder with two open ports."""
    ports = (
        PortConfig(addr=Address("127.0.0.1", 6379), endpoint_id="redis"),
        PortConfig(addr=Address("127.0.0.1", 5432), endpoint_id="a:b"),
    )
    return (
        Play(ForwardMachine(ForwardConfig(ports=ports, connect=SERVER_URL), random.Random(1)))
        >> Tick()
        << Listen("0", "127.0.0.1", 6379)
        << Listen("1", "127.0.0.1", 5432)
        >> Listening("0", "127.0.0.1", 6379)
        >> Listening("1", "127.0.0.1", 5432)
    )


def accepted() -> Play:
    """Return a play in which somebody connected to the first port."""
    return forward_play() >> Accepted(LOCAL, "0", "127.0.0.1", 40000) << PauseReading(LOCAL) << CONNECT


def test_a_connection_for_which_there_is_no_descriptor_is_closed() -> None:
    """Of 36 descriptors the process needs 32, and each connection needs two."""
    ports = (PortConfig(addr=Address("127.0.0.1", 6379), endpoint_id="redis"),)
    machine = ForwardMachine(ForwardConfig(ports=ports, connect=SERVER_URL), random.Random(1), descriptors=36)
    play = Play(machine) >> Tick() << Listen("0", "127.0.0.1", 6379) >> Listening("0", "127.0.0.1", 6379)
    for number in (1, 3):
        play >> Accepted(number, "0", "127.0.0.1", 40_000 + number)
        assert play << PauseReading(number) << Connect(number + 1, "127.0.0.1", 8000, 30.0)
    assert play >> Accepted(5, "0", "127.0.0.1", 40_005) << Close(5)
    assert play >> ConnectionLost(5, "") >> ConnectionLost(1, "reset") << Abort(2)
    play >> ConnectFailed(2, "aborted") >> Accepted(7, "0", "127.0.0.1", 40_007) << PauseReading(7)
    assert play << Connect(6, "127.0.0.1", 8000, 30.0)
    (warning,) = [log for log in play.logs if log.subsystem == "connections"]
    assert warning.fields == {"listener": "0", "open": 2, "refused": 1, "closed_idle": 0}


def test_connections_go_on_with_the_address_that_answered() -> None:
    """One address of the name accepts and never answers: it costs the first connection 5 s, and no other one."""
    ports = (PortConfig(addr=Address("127.0.0.1", 6379), endpoint_id="redis"),)
    connect = ForwardConnectConfig(url=Origin("pico.example.com", 8000, "http"))
    machine = ForwardMachine(ForwardConfig(ports=ports, connect=connect), random.Random(1))
    play = Play(machine) >> Tick() << Listen("0", "127.0.0.1", 6379) >> Listening("0", "127.0.0.1", 6379)

    def dialled(local: int) -> Connect:
        play >> Accepted(local, "0", "127.0.0.1", 40_000 + local)
        (lookup,) = [each for each in play.take() if isinstance(each, Resolve)]
        play >> Resolved(lookup.query, ("192.0.2.1", "192.0.2.2"), "")
        (dial,) = play.take()
        assert isinstance(dial, Connect)
        play >> Connected(dial.connection, dial.host, 8000)
        return dial

    silent = dialled(LOCAL).host
    play.take()
    play >> play.now + HANDSHAKE_S
    (second,) = [each for each in play.take() if isinstance(each, Connect)]
    assert second.host != silent
    play >> Connected(second.connection, second.host, 8000)
    (request,) = play.take()
    assert isinstance(request, Send)
    play >> Received(second.connection, accept_handshake(joined(request.data)))
    play.take()
    for local in range(3, 17, 2):
        dial = dialled(local)
        assert dial.host == second.host
        (request,) = play.take()
        assert isinstance(request, Send)
        play >> Received(dial.connection, accept_handshake(joined(request.data)))
        assert play << ResumeReading(local)


def asked() -> tuple[Play, bytes]:
    """Return a play in which the server was asked for the endpoint, and its answer to come."""
    play = accepted() >> CONNECTED
    (request,) = play.take()
    assert isinstance(request, Send)
    assert joined(request.data).startswith(b"GET /_piko/v1/tcp/redis HTTP/1.1\r\nHost: 127.0.0.1:8000\r\n")
    return play, accept_handshake(joined(request.data))


def piped() -> Play:
    """Return a play in which the endpoint was reached."""
    play, answer = asked()
    assert play >> Received(SERVER, answer) << ResumeReading(LOCAL)
    return play


def heard(play: Play) -> list[Item]:
    """Return what the server reads in the messages sent to it."""
    decoder = FrameDecoder(masked=True)
    items: list[Item] = []
    for sent in play.take():
        assert isinstance(sent, Send)
        assert sent.connection == SERVER
        items += decoder.receive(joined(sent.data))
    return items


def told(data: bytes) -> Received:
    """Return a message of the server."""
    return Received(SERVER, joined(encode_frame((data,), len(data), None)))


def warning(play: Play) -> str:
    (log,) = [log for log in play.logs if log.level == "warning"]
    assert log.fields["endpoint"] == "redis"
    assert log.fields["server"] == "http://127.0.0.1:8000"
    return str(log.fields["reason"])


def test_says_where_it_listens() -> None:
    play = forward_play()
    assert play
    assert [log.fields for log in play.logs] == [
        {"addr": "127.0.0.1:6379", "endpoint": "redis"},
        {"addr": "127.0.0.1:5432", "endpoint": "a:b"},
    ]


def test_a_port_that_cannot_be_opened_ends_it() -> None:
    assert (
        forward_play()
        >> ListenFailed("1", "address already in use")
        << Exit(1, "cannot listen on '127.0.0.1:5432': address already in use; choose another address")
    )


def test_the_way_to_the_server() -> None:
    """The path of the URL comes before the endpoint's; the proxy is told in the log, its credentials are not."""
    connect = ForwardConnectConfig(
        url=Origin("pico", 8000, "http", "/in"), proxy_url=Proxy("192.0.2.5", 3128, "Basic x")
    )
    port = PortConfig(addr=Address("127.0.0.1", 6379), endpoint_id="redis")
    play = Play(ForwardMachine(ForwardConfig(ports=(port,), connect=connect), random.Random(1))) >> Tick()
    play << Listen("0", "127.0.0.1", 6379) >> Listening("0", "127.0.0.1", 6379)
    play >> Accepted(LOCAL, "0", "127.0.0.1", 40000) << PauseReading(LOCAL) << Connect(SERVER, "192.0.2.5", 3128, 30.0)
    play >> Connected(SERVER, "192.0.2.5", 3128)
    play.take()
    (request,) = (play >> Received(SERVER, b"HTTP/1.1 200 OK\r\n\r\n")).take()
    assert isinstance(request, Send)
    assert joined(request.data).startswith(b"GET /in/_piko/v1/tcp/redis HTTP/1.1\r\nHost: pico:8000\r\n")
    assert play.logs[0].message == "connecting through a proxy"
    assert play.logs[0].fields == {"proxy": "http://192.0.2.5:3128"}


def test_it_stops_at_once() -> None:
    play = accepted() >> ShutdownRequested() << Exit(0, "")
    assert play
    assert (play.logs[-1].message, play.logs[-1].fields) == ("stopped", {"connections": 1})


def test_bytes_pass_both_ways() -> None:
    play = piped() >> Received(LOCAL, b"PING\r\n")
    assert heard(play) == [b"PING\r\n"]
    assert play >> told(b"+PONG\r\n") << Send(LOCAL, b"+PONG\r\n") >> 1_000.0


def test_what_came_early_is_kept_and_what_follows_the_answer_too() -> None:
    play, answer = asked()
    play >> Received(LOCAL, b"early ") >> Received(LOCAL, b"bird") << Nothing()
    play >> Received(SERVER, answer[:20]) << Nothing() >> Received(SERVER, answer[20:] + told(b"hello").data)
    done = play.take()
    assert [type(each).__name__ for each in done] == ["Send", "Send", "ResumeReading", "Send"]
    assert done[-1] == Send(LOCAL, b"hello")


def test_half_close_is_a_close_frame_in_both_directions() -> None:
    play = piped() >> EofReceived(LOCAL)
    assert [type(each).__name__ for each in heard(play)] == ["CloseReceived"]
    assert play >> told(b"answer") << Send(LOCAL, b"answer")
    assert play >> Received(SERVER, encode_close(1000, "", None)) << SendEof(LOCAL) << Close(LOCAL) << Close(SERVER)


def test_an_early_half_close_is_kept() -> None:
    play, answer = asked()
    play >> Received(LOCAL, b"all") >> EofReceived(LOCAL) << Nothing() >> Received(SERVER, answer)
    done = play.take()
    assert [type(each).__name__ for each in done] == ["Send", "Send", "ResumeReading"]


def test_a_server_that_just_ends_the_connection_ends_both_directions() -> None:
    assert piped() >> EofReceived(SERVER) << Close(SERVER) << SendEof(LOCAL) << Close(LOCAL)


def test_resets_pass() -> None:
    assert piped() >> ConnectionLost(LOCAL, "reset") << Abort(SERVER)
    assert piped() >> ConnectionLost(SERVER, "reset") << Abort(LOCAL)


def test_the_slower_side_sets_the_pace() -> None:
    play = piped() >> WritingPaused(SERVER) >> Received(LOCAL, b"a")
    sent, paused = play.take()
    assert isinstance(sent, Send)
    assert paused == PauseReading(LOCAL)
    assert play >> WritingResumed(SERVER) << ResumeReading(LOCAL)
    assert play >> WritingPaused(LOCAL) >> told(b"x") << Send(LOCAL, b"x") << PauseReading(SERVER)
    assert play >> WritingResumed(LOCAL) << ResumeReading(SERVER)


def next_attempt(play: Play) -> int:
    """Let time pass until the forwarder connects again; return the connection."""
    while play.idle:
        due_at = play.machine.deadline()
        assert due_at is not None
        play >> due_at
    (connect,) = play.take()
    assert isinstance(connect, Connect)
    return connect.connection


def test_a_server_that_is_away_for_a_while_is_waited_for() -> None:
    play = accepted() >> Received(LOCAL, b"early") >> ConnectFailed(SERVER, "connection refused") << Nothing()
    connection = SERVER
    while play.now < 2.0:
        connection = next_attempt(play)
        play >> ConnectFailed(connection, "connection refused") << Nothing()
    connection = next_attempt(play)
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
        play >> ConnectFailed(next_attempt(play), "connection refused") << Nothing()
    play >> ConnectFailed(next_attempt(play), "connection refused")
    if play.idle:
        play >> ConnectFailed(next_attempt(play), "connection refused")
    assert play << Abort(LOCAL)
    told = [(log.message, log.fields["reason"]) for log in play.logs if log.level == "warning"]
    refused = "cannot reach the server: connection refused"
    assert told == [("cannot reach the endpoint yet", refused), ("cannot reach the endpoint", refused)]


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
    connection = next_attempt(play)
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
    connection = next_attempt(play)
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
        then = busy(play, next_attempt(play))
    assert then == [Abort(LOCAL)]
    assert 3.0 < play.now < 5.0
    assert 5 <= attempts <= 15
    assert [log.message for log in play.logs if log.level == "warning"][-1] == "cannot reach the endpoint"


def test_a_server_that_does_not_answer() -> None:
    play, _ = asked()
    assert play >> WritingPaused(SERVER) >> WritingResumed(SERVER) >> 29.0 << Nothing()
    assert play >> 30.9 << Close(SERVER) << Abort(LOCAL)
    assert warning(play) == "cannot reach the server: the server did not answer within 30 s"


def test_a_local_connection_that_does_not_wait() -> None:
    assert accepted() >> ConnectionLost(LOCAL, "") << Abort(SERVER) >> CONNECTED << Abort(SERVER)
    play, answer = asked()
    assert play >> ConnectionLost(LOCAL, "") << Close(SERVER) >> Received(SERVER, answer)
    play = accepted() >> ConnectionLost(LOCAL, "") << Abort(SERVER) >> ConnectFailed(SERVER, "aborted")
    assert play
    assert not play.logs[2:]
    play, answer = asked()
    assert play >> WritingPaused(LOCAL) >> WritingResumed(LOCAL)


# --- other ports while it runs ---


def port(number: int, endpoint: str) -> PortConfig:
    return PortConfig(addr=Address("127.0.0.1", number), endpoint_id=endpoint)


def reloaded(*ports: PortConfig) -> ConfigReloaded:
    return ConfigReloaded(ForwardConfig(ports=ports, connect=SERVER_URL))


def test_ports_are_added_and_removed_while_others_go_on() -> None:
    play = forward_play() >> reloaded(port(6379, "redis"), port(8080, "web"))
    assert play << StopListening("1") << Listen("2", "127.0.0.1", 8080) >> Listening("2", "127.0.0.1", 8080)
    assert [log.fields["changed"] for log in play.logs if log.message == "configuration read again"] == ["ports"]
    assert play >> Accepted(1, "0", "127.0.0.1", 40_000) << PauseReading(1) << CONNECT
    play >> Accepted(3, "2", "127.0.0.1", 40_001) << PauseReading(3) << Connect(4, "127.0.0.1", 8000, 30.0)
    play >> Connected(4, "127.0.0.1", 8000)
    (request,) = play.take()
    assert isinstance(request, Send)
    assert joined(request.data).startswith(b"GET /_piko/v1/tcp/web HTTP/1.1\r\n")


def test_a_connection_of_a_port_that_is_removed_goes_on() -> None:
    play = piped() >> reloaded(port(5432, "a:b")) << StopListening("0")
    play >> Received(LOCAL, b"PING")
    assert heard(play)
    play >> ConnectionLost(LOCAL, "reset")
    play.take()
    assert set(play.machine.admission.ports) == {"0", "1"}  # type: ignore[attr-defined]
    play >> reloaded(port(5432, "c"))
    assert set(play.machine.admission.ports) == {"1"}  # type: ignore[attr-defined]


def test_a_port_for_another_endpoint_stays_open() -> None:
    play = forward_play() >> reloaded(port(6379, "other"), port(5432, "a:b")) << Nothing()
    play >> Accepted(LOCAL, "0", "127.0.0.1", 40_000) << PauseReading(LOCAL) << CONNECT >> CONNECTED
    (request,) = play.take()
    assert isinstance(request, Send)
    assert joined(request.data).startswith(b"GET /_piko/v1/tcp/other HTTP/1.1\r\n")


def test_a_port_that_cannot_be_added_ends_nothing_and_is_tried_again() -> None:
    more = reloaded(port(6379, "redis"), port(5432, "a:b"), port(80, "web"))
    play = forward_play() >> more << Listen("2", "127.0.0.1", 80) >> ListenFailed("2", "permission denied")
    assert play << Nothing()
    (line,) = [log for log in play.logs if log.message == "cannot listen"]
    assert (line.level, line.fields["addr"]) == ("error", "127.0.0.1:80")
    assert play >> more << Listen("3", "127.0.0.1", 80) >> Listening("3", "127.0.0.1", 80)
    assert play >> reloaded() << Nothing()
    assert play.logs[-1].fields == {"reason": "it has no ports"}
