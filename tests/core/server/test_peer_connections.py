"""Connections to another node: how many are opened at once, and who waits for one."""

from pico_core.boundary import Connect, Connected, ConnectFailed, ConnectionLost, Received, Send
from pico_core.server.peers import CONNECT_TIMEOUT_S
from tests.core.proxy.scene import GET, OK, client_joins
from tests.neighbours import know
from tests.play import Play, server_play

NODE = "192.0.2.20"
FIRST_CLIENT = 1_001
AT_ONCE = 64
EXTRA = 5
ASKING_E2 = GET.replace(b"e1.example", b"e2.example")
POST = GET.replace(b"GET", b"POST")
UPGRADE = GET[:-2] + b"Connection: upgrade\r\nUpgrade: websocket\r\n\r\n"
LATE = GET.replace(b"GET /", b"GET /late")


def clustered() -> Play:
    """Return a server that knows a node, which serves e1 and e2."""
    play = server_play()
    know(play, 20).serves("e2")
    return play


def asks(play: Play, number: int, request: bytes = GET) -> int:
    """Let a new client send a request; return its connection."""
    client = FIRST_CLIENT + 2 * number
    client_joins(play, client) >> Received(client, request)
    return client


def openings(play: Play) -> list[int]:
    """Return the connections that the server opens now."""
    return [each.connection for each in play.take() if isinstance(each, Connect)]


def sent(play: Play) -> dict[int, bytes]:
    """Return what the server sends now, by connection."""
    return {each.connection: each.data for each in play.take() if isinstance(each, Send) and type(each.data) is bytes}


def crowded(extra: int = EXTRA, request: bytes = GET) -> tuple[Play, list[int], list[int]]:
    """Return a server that opens as many connections as it may, its clients, and the connections.

    ``extra`` clients wait with ``request``.
    """
    play = clustered()
    clients = [asks(play, number) for number in range(AT_ONCE)]
    clients += [asks(play, AT_ONCE + number, request) for number in range(extra)]
    opening = openings(play)
    assert len(opening) == AT_ONCE
    return play, clients, opening


def test_a_burst_opens_so_many_connections_at_once_and_the_next_when_one_is_open() -> None:
    play, _, opening = crowded()
    for connection in opening[:EXTRA]:
        play >> Connected(connection, NODE, 8000)
        commands = play.take()
        assert [type(each) for each in commands] == [Connect, Send]
    play >> Connected(opening[EXTRA], NODE, 8000)
    assert openings(play) == []


def test_a_connection_that_is_free_serves_the_one_that_waits_for_longest() -> None:
    play, clients, opening = crowded(extra=2)
    play >> Connected(opening[0], NODE, 8000)
    (further,) = openings(play)
    play >> Received(opening[0], OK)
    assert sorted(sent(play)) == sorted([opening[0], clients[0]])
    for connection in [*opening[1:], further]:
        play >> Connected(connection, NODE, 8000)
        assert openings(play) == []


def test_endpoints_take_turns() -> None:
    play, _, opening = crowded(extra=20)
    asks(play, 500, ASKING_E2)
    play >> Connected(opening[0], NODE, 8000) >> Connected(opening[1], NODE, 8000)
    _, second = openings(play)
    play >> Connected(second, NODE, 8000)
    assert b"x-piko-endpoint: e2" in sent(play)[second]


def test_one_that_may_not_be_sent_twice_waits_for_a_connection_of_its_own() -> None:
    for request in (POST, UPGRADE):
        play, clients, opening = crowded(extra=2, request=request)
        play >> Connected(opening[0], NODE, 8000)
        (further,) = openings(play)
        play >> Received(opening[0], OK)
        assert list(sent(play)) == [clients[0]]
        play >> Connected(further, NODE, 8000)
        assert request.split()[0] in sent(play)[further]


def test_nothing_is_opened_for_a_client_that_left() -> None:
    play, clients, opening = crowded()
    for client in clients[AT_ONCE:]:
        play >> ConnectionLost(client, "closed by the client")
    play.take()
    play >> Connected(opening[0], NODE, 8000)
    assert openings(play) == []
    assert play >> Received(opening[0], OK) << Send(clients[0], OK)


def test_the_next_is_opened_where_one_could_not_be() -> None:
    play, _, opening = crowded()
    play >> ConnectFailed(opening[0], "connection refused")
    assert len(openings(play)) == 1


def test_who_waited_for_as_long_as_opening_may_take_waits_no_longer() -> None:
    play, _, opening = crowded()
    play >> CONNECT_TIMEOUT_S
    asks(play, 500, LATE)
    assert openings(play) == []
    play >> ConnectFailed(opening[0], "timed out")
    (further,) = openings(play)
    play >> Connected(further, NODE, 8000)
    assert sent(play)[further].startswith(b"GET /late ")
