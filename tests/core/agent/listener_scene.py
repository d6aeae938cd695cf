"""Where the plays of a listener begin: an agent that asks for its endpoint, refusals, and pauses between attempts."""

from pico_core.boundary import (
    Connect,
    Connected,
    Received,
    Send,
)
from pico_core.websocket.handshake import accept_handshake
from tests.core.agent.scene import CONNECT, OK, SERVER, agent_config
from tests.play import Play, agent_play, joined

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


FINAL = b'HTTP/1.1 400 Bad Request\r\nx-pico-refused: final\r\nContent-Length: 15\r\n\r\n{"error":"why"}'


LEAVING = b'HTTP/1.1 503 Service Unavailable\r\nx-pico-refused: leaving\r\nContent-Length: 15\r\n\r\n{"error":"why"}'
