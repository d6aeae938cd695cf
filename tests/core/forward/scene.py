"""Where the plays of the forwarder take place: two local ports, and a server at 127.0.0.1:8000."""

import random

from pico_core.boundary import (
    Accepted,
    Connect,
    Connected,
    Listen,
    Listening,
    PauseReading,
    Received,
    ResumeReading,
    Send,
    Tick,
)
from pico_core.config.forward import ForwardConfig, ForwardConnectConfig, PortConfig
from pico_core.config.values import Address, Origin
from pico_core.forward.machine import ForwardMachine
from pico_core.websocket.decoding import FrameDecoder, Item
from pico_core.websocket.encoding import encode_frame
from pico_core.websocket.handshake import accept_handshake
from tests.play import Play, joined

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
    """Return a play in which a client connected to the first port."""
    return forward_play() >> Accepted(LOCAL, "0", "127.0.0.1", 40000) << PauseReading(LOCAL) << CONNECT


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


def next_connect(play: Play) -> Connect:
    """Let time pass until the forwarder connects; return the command."""
    while play.idle:
        due_at = play.machine.deadline()
        assert due_at is not None
        play >> due_at
    (connect,) = play.take()
    assert isinstance(connect, Connect)
    return connect
