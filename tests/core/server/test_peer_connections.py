"""Connections to another node: how many are opened at once, and who waits for one."""

import msgspec

from pico_core.boundary import Accepted, Connect, Connected, ConnectFailed, ConnectionLost, Received, Send
from pico_core.config.server import ServerConfig
from pico_core.server.crowding import COUNT_S, WAIT_S
from pico_core.server.peers import CONNECT_TIMEOUT_S
from tests.core.proxy.scene import GET, OK, client_joins, error
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


STREAMS = 16
FILLING = STREAMS - STREAMS // 8
"""So many requests fill the other node's only tunnel of an endpoint, as far as one client may."""
LATER = WAIT_S + COUNT_S + 0.001
"""Requests are counted once in ``COUNT_S``."""
TOO_MANY = "too many requests in flight to this endpoint"


def clustered(max_streams: int = 1_024) -> Play:
    """Return a server that knows a node, which serves e1 and e2."""
    play = server_play(msgspec.convert({"upstream": {"max_streams": max_streams}}, ServerConfig))
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


def crowded(extra: int = EXTRA, request: bytes = GET, max_streams: int = 1_024) -> tuple[Play, list[int], list[int]]:
    """Return a server that opens as many connections as it may, its clients, and the connections.

    ``extra`` clients wait with ``request``.
    """
    play = clustered(max_streams)
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


def filled(extra: int = EXTRA) -> tuple[Play, list[int], list[int]]:
    """Return ``crowded``, whose requests of e1 have filled the tunnel of the other node, less one.

    ``extra`` further ones wait in line.
    """
    play, clients, opening = crowded(extra=FILLING - 1 + extra, max_streams=STREAMS)
    for connection in opening[: FILLING - 1]:
        play >> Connected(connection, NODE, 8000)
    assert len(openings(play)) == FILLING - 1
    return play, clients[-extra:], opening[FILLING - 1 :]


def busy(client: int) -> Send:
    """Return the refusal."""
    return error(503, "Service Unavailable", TOO_MANY, client=client)


def test_who_has_waited_in_line_for_a_tunnel_that_is_full_is_refused() -> None:
    play, late, opening = filled()
    play >> WAIT_S >> Connected(opening[0], NODE, 8000)
    assert len(openings(play)) == 1, "one stream was left"
    play >> LATER >> Connected(opening[1], NODE, 8000)
    commands = play.take()
    refusals = [busy(client) for client in late[1:]]
    assert [each for each in commands if each in refusals] == refusals
    assert not [each for each in commands if isinstance(each, Connect)]


def test_a_connection_that_is_free_is_not_for_who_has_waited_in_vain() -> None:
    play, _, opening = filled(extra=2)
    play >> Connected(opening[0], NODE, 8000) >> Connected(opening[1], NODE, 8000)
    play.take()
    client = asks(play, 500)
    play >> LATER >> Received(opening[0], OK)
    assert busy(client) in play.take()


def test_nobody_is_refused_before_the_wait_is_over_or_while_streams_are_left() -> None:
    play, _, opening = filled()
    play >> WAIT_S - 0.001
    for connection in opening[:2]:
        play >> Connected(connection, NODE, 8000)
    assert len(openings(play)) == 2
    play, _, opening = crowded()
    play >> WAIT_S >> Connected(opening[0], NODE, 8000)
    assert len(openings(play)) == 1


def test_a_client_that_has_nothing_in_flight_is_not_refused_in_line() -> None:
    """The last streams of the tunnel are for such ones."""
    play, _, opening = filled(extra=2)
    play >> Accepted(9_001, "proxy", "192.0.2.99", 5000) >> Received(9_001, GET)
    play >> Connected(opening[0], NODE, 8000)
    play.take()
    play >> LATER >> Connected(opening[1], NODE, 8000)
    commands = play.take()
    assert not [each for each in commands if isinstance(each, Send) and each.connection == 9_001]
    assert len([each for each in commands if isinstance(each, Connect)]) == 1


def test_another_endpoint_is_not_refused_for_one_whose_tunnel_is_full() -> None:
    play, _, opening = filled()
    client = asks(play, 500, ASKING_E2)
    play >> WAIT_S >> Connected(opening[0], NODE, 8000)
    (_,) = openings(play)
    play >> LATER >> Connected(opening[1], NODE, 8000)
    commands = play.take()
    (further,) = [each.connection for each in commands if isinstance(each, Connect)]
    assert busy(client) not in commands
    play >> Connected(further, NODE, 8000)
    assert b"x-piko-endpoint: e2" in sent(play)[further]
