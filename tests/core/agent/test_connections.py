"""A listener with ``connections``: so many tunnels from the start, each to another worker of the server."""

from msgspec.structs import replace

from pico_core.agent.growth import MAX_MOVES, REFUSED_PAUSE_S, RELEASE_CHECK_S
from pico_core.boundary import Connect, Connected, ConnectionLost, Received, Send
from pico_core.config.agent import AgentConfig
from pico_core.tunnel.agreement import NODE, WORKERS
from pico_core.tunnel.tunnel import Tunnel
from pico_core.websocket.handshake import accept_handshake
from tests.core.agent.scene import CONNECT, SERVER, agent_config
from tests.play import FarEnd, Play, agent_play, joined


def config(connections: int, max_streams: int = 4_096) -> AgentConfig:
    whole = agent_config(log_access=False)
    listener = replace(whole.listeners[0], connections=connections, max_streams=max_streams)
    return replace(whole, listeners=(listener,))


def accepted(play: Play, connection: int, node: bytes = b"", workers: bytes = b"") -> tuple[bytes, list[int]]:
    """Let the server accept a tunnel; return the request for it, and the connections that the agent then asks for."""
    play >> Connected(connection, "192.0.2.9", 8001)
    (request,) = play.take()
    assert isinstance(request, Send)
    told = [(name, value) for name, value in ((NODE, node), (WORKERS, workers)) if value]
    play >> Received(connection, accept_handshake(joined(request.data), tuple(told)))
    play.tunnels[connection] = FarEnd(Tunnel(play.now, entropy=None))
    return joined(request.data), dialled(play)


def dialled(play: Play) -> list[int]:
    return [each.connection for each in play.take() if isinstance(each, Connect) and each.port == 8001]


def test_the_others_are_opened_once_the_server_has_taken_the_first() -> None:
    play = agent_play(config(3)) << CONNECT
    request, others = accepted(play, SERVER)
    assert len(others) == 2
    assert b"x-pico-max-streams: 1024\r\n" in request
    assert [accepted(play, each)[1] for each in others] == [[], []]
    assert [each.message for each in play.logs] == ["endpoint registered", *["further tunnel opened"] * 2]
    assert dialled(play >> play.now + 3 * RELEASE_CHECK_S) == [], "idle ones stay"


def test_they_share_the_streams_of_the_service() -> None:
    play = agent_play(config(4, max_streams=100)) << CONNECT
    request, others = accepted(play, SERVER)
    assert b"x-pico-max-streams: 25\r\n" in request
    assert len(others) == 3
    play = agent_play(config(4, max_streams=2)) << CONNECT
    request, others = accepted(play, SERVER)
    assert b"x-pico-max-streams: 1\r\n" in request
    assert len(others) == 1, "a tunnel without a stream is of no use"


def test_a_lost_one_comes_back() -> None:
    play = agent_play(config(2)) << CONNECT
    (other,) = accepted(play, SERVER)[1]
    accepted(play, other)
    play >> ConnectionLost(other, "reset")
    assert len(dialled(play >> play.now + 2.0)) == 1
    assert "endpoint lost" not in [each.message for each in play.logs]


def test_a_refused_one_is_tried_again_after_a_while() -> None:
    play = agent_play(config(2)) << CONNECT
    (other,) = accepted(play, SERVER)[1]
    play >> Connected(other, "192.0.2.9", 8001)
    play.take()
    play >> Received(other, b"HTTP/1.1 403 Forbidden\r\nx-pico-refused: final\r\nContent-Length: 0\r\n\r\n")
    dialled_at: list[float] = []
    for _ in range(15):
        play >> play.now + 5.0  # the far end answers pings when the play takes what was sent
        dialled_at += [play.now for _ in dialled(play)]
    assert len(dialled_at) == 1
    assert dialled_at[0] >= REFUSED_PAUSE_S
    assert "further tunnel refused" in [each.message for each in play.logs]


def test_a_tunnel_to_a_worker_that_has_one_is_opened_anew() -> None:
    play = agent_play(config(2)) << CONNECT
    (other,) = accepted(play, SERVER, b"n-1", b"2")[1]
    (again,) = accepted(play, other, b"n-1", b"2")[1]
    assert accepted(play, again, b"n-2", b"2")[1] == []


def test_it_is_opened_anew_so_often_and_no_more() -> None:
    play = agent_play(config(2)) << CONNECT
    (other,) = accepted(play, SERVER, b"n-1", b"2")[1]
    count = 0
    while more := accepted(play, other, b"n-1", b"2")[1]:
        (other,) = more
        count += 1
    assert count == MAX_MOVES


def test_more_tunnels_than_workers_share_them() -> None:
    play = agent_play(config(3)) << CONNECT
    second, third = accepted(play, SERVER, b"n-1", b"2")[1]
    assert accepted(play, second, b"n-2", b"2")[1] == []
    assert accepted(play, third, b"n-2", b"2")[1] == []


def test_nodes_that_share_no_ports_get_what_the_balancer_gives_them() -> None:
    play = agent_play(config(2)) << CONNECT
    (other,) = accepted(play, SERVER, b"n-1")[1]
    assert accepted(play, other, b"n-1", b"many")[1] == []
