"""The forwarder: local connections reach a ``tcp`` endpoint through the server's proxy port."""

import random

from pico_core.boundary import (
    Abort,
    Accepted,
    Close,
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
    Tick,
    WritingPaused,
    WritingResumed,
)
from pico_core.config.forward import ForwardConfig, ForwardConnectConfig, PortConfig
from pico_core.config.proxy import Proxy
from pico_core.config.values import Address, Origin
from pico_core.dial import HANDSHAKE_S
from pico_core.forward.machine import ForwardMachine
from pico_core.websocket.encoding import encode_close
from pico_core.websocket.handshake import accept_handshake
from tests.core.forward.scene import (
    LOCAL,
    SERVER,
    SERVER_URL,
    accepted,
    asked,
    forward_play,
    heard,
    piped,
    told,
)
from tests.play import Nothing, Play, joined


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
