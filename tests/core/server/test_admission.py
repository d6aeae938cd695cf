"""Which connections a server keeps when there are more than it can have."""

import pytest

from pico_core.boundary import (
    Abort,
    Accepted,
    AcceptFailed,
    Close,
    ConnectionLost,
    EofReceived,
    Received,
    Send,
    SendEof,
)
from pico_core.config.ports import ProxyConfig
from pico_core.config.server import ServerConfig
from pico_core.records import Log
from pico_core.server.limits import connection_limits
from tests.play import Data, Open, Play, joined, server_play

AGENT = 1
GET = b"GET / HTTP/1.1\r\nHost: e1.example.com\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
BODY = b'{"error":"too many connections to this server"}'
FULL = (
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nX-Content-Type-Options: nosniff\r\n"
    b"%bRetry-After: 1\r\nContent-Length: 47\r\nConnection: close\r\n\r\n" + BODY
)
REFUSED = FULL % b"X-Pico-Error: overloaded; by=server\r\n"
CLIENT_REFUSED = FULL % b"X-Pico-Error: overloaded; by=server\r\nX-Pico-Failure: busy\r\n"

MOST = ServerConfig(max_connections=34, max_address_share=1.0)
"""Admin and gossip have 2 each, connections to other nodes 4, those from them 2, agents 8, and clients 16."""


def client(number: int, host: str = "192.0.2.7", port: str = "proxy") -> Accepted:
    return Accepted(number, port, host, 40_000 + number)


def crowded(config: ServerConfig = MOST) -> Play:
    """Return a server with one agent and 16 clients: odd numbers from 101 on, each 0.1 s after the last."""
    play = server_play(config)
    play.agent_registers(AGENT, "e1")
    for each in range(16):
        assert play >> each / 10 >> client(101 + 2 * each)
    return play >> 2.0


def served(play: Play, number: int, stream: int, *, is_open: bool = False) -> Play:
    """Let a client have one response."""
    play >> Received(number, GET)
    if not is_open:
        play << Open(AGENT, stream)
    (request,) = play.take()
    assert isinstance(request, Data)
    return play >> Data(AGENT, stream, OK) << Send(number, OK)


def test_the_parts_of_a_small_limit() -> None:
    limits = connection_limits(ServerConfig(), 256)
    assert (limits.most, limits.outgoing_reserve) == (192, 24)
    assert {name: (port.most, port.reserve) for name, port in limits.ports.items()} == {
        "admin": (12, 12),
        "gossip-streams": (12, 12),
        "upstream": (108, 48),
        "proxy": (84, 24),
        "peers": (72, 12),
    }


def test_the_parts_of_a_usual_limit() -> None:
    limits = connection_limits(ServerConfig(), 1 << 20)
    assert (limits.most, limits.outgoing_reserve) == (1_048_512, 131_064)
    assert limits.ports["admin"].most == limits.ports["gossip-streams"].most == 64
    assert limits.ports["proxy"].most == 589_660


@pytest.mark.parametrize("descriptors", range(1, 300, 7))
def test_every_port_has_a_place_whatever_the_limit(descriptors: int) -> None:
    limits = connection_limits(ServerConfig(), descriptors)
    assert all(port.most >= max(port.reserve, 1) for port in limits.ports.values())


def test_the_configuration_lowers_the_limits_and_never_raises_them() -> None:
    config = ServerConfig(max_connections=1_000, proxy=ProxyConfig(max_connections=100))
    assert connection_limits(config, 1 << 20).most == 1_000
    assert connection_limits(config, 1 << 20).ports["proxy"].most == 100
    assert connection_limits(config, 256).most == 192


def test_a_client_gets_the_place_of_the_longest_idle_one() -> None:
    play = served(crowded(), 101, 2)
    assert play >> client(201) << Close(103)  # 101 was idle for longer before its request
    assert play >> client(203) << Close(105)
    assert play >> ConnectionLost(103, "") >> ConnectionLost(105, "") >> client(205) << Close(107)


def test_a_client_is_refused_where_all_have_requests() -> None:
    play = crowded()
    for number in range(101, 133, 2):
        play >> Received(number, GET)
    play.take()
    assert play >> client(201) << Send(201, CLIENT_REFUSED) << SendEof(201)
    assert play >> Received(201, GET) >> 2.5 >> EofReceived(201) << Close(201) >> ConnectionLost(201, "")
    assert play >> client(203) << Send(203, CLIENT_REFUSED) << SendEof(203) >> 3.6 << Close(203)
    assert play >> Data(AGENT, 2, OK) << Send(101, OK) >> client(205) << Close(101)


def test_a_client_that_has_begun_a_request_is_not_idle() -> None:
    play = crowded() >> Received(101, b"GET / HT")
    assert play >> client(201) << Close(103)


def test_many_refused_peers_get_the_answer_and_no_time() -> None:
    play = crowded()
    for number in range(101, 133, 2):
        play >> Received(number, GET)
    play.take()
    for number in range(201, 233, 2):
        assert play >> client(number) << Send(number, CLIENT_REFUSED) << SendEof(number)
    assert play >> client(233) << Send(233, CLIENT_REFUSED) << Close(233)
    assert play >> ConnectionLost(201, "reset") >> client(235) << Send(235, CLIENT_REFUSED) << SendEof(235)


def test_an_address_is_held_to_its_share_when_little_is_left() -> None:
    """Of 16 places, 14 are for anyone; the last 2 are for addresses with fewer than 8."""
    play = server_play(ServerConfig(max_connections=34))
    for number in range(101, 129, 2):
        assert play >> client(number)
    for number in range(101, 129, 2):
        play >> Received(number, b"GET / HT")
    assert play >> client(201) << Send(201, CLIENT_REFUSED) << SendEof(201)
    assert play >> client(203, "198.51.100.1") >> client(205, "198.51.100.2")
    assert play >> client(207, "198.51.100.3") << Close(203)  # full: the longest idle


def test_an_address_above_its_share_replaces_its_own_idle_connections() -> None:
    play = server_play(ServerConfig(max_connections=34))
    assert play >> client(91, "198.51.100.1") >> 1.0
    for number in range(101, 127, 2):
        assert play >> client(number)
    assert play >> 2.0 >> client(201) << Close(101)
    assert play >> client(203, "198.51.100.1") >> client(205, "198.51.100.1")
    assert play >> client(207, "198.51.100.1") << Close(103)


def test_operators_have_places_that_no_one_else_can_take() -> None:
    play = crowded()
    assert play >> client(301, port="admin") >> client(303, port="admin") >> 3.0
    assert play >> client(305, port="admin") << Close(301)
    play >> Received(305, b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n")
    (answer,) = play.take()
    assert isinstance(answer, Send)
    assert b"200 OK" in joined(answer.data)


def test_agents_get_the_places_of_idle_clients() -> None:
    play = crowded()
    for number in range(401, 415, 2):  # with the first agent, these are the reserve of 8
        assert play >> client(number, port="upstream")
    assert play >> client(415, port="upstream") << Close(101)
    for number in range(105, 133, 2):
        play >> Received(number, GET)
    play.take()
    assert play >> client(417, port="upstream") << Close(103)
    assert play >> client(419, port="upstream") << Close(401)  # it has not registered
    assert play >> client(421, port="upstream") << Close(403)


def test_no_tunnel_is_closed_for_another() -> None:
    play = server_play(MOST)
    for number in range(401, 441, 2):
        play.agent_registers(number, "e1")
    assert play >> client(441, port="upstream") << Send(441, REFUSED) << SendEof(441)


def test_one_line_a_minute_says_what_was_refused_and_closed() -> None:
    play = crowded()
    began = len(play.logs)
    for number in range(101, 133, 2):
        play >> Received(number, GET)
    for number in range(201, 401, 2):
        play >> client(number)
    play.take()
    line = Log(
        "warning",
        "connections",
        "no place for more connections",
        {"listener": "proxy", "open": 16, "refused": 1, "closed_idle": 0},
    )
    assert play.logs[began:] == [line]
    play >> 62.5
    play.take()
    assert [log.fields["refused"] for log in play.logs[began:] if log.subsystem == "connections"] == [1, 99]
    play >> 200.0
    play.take()
    assert len([log for log in play.logs[began:] if log.subsystem == "connections"]) == 2


def test_a_system_without_descriptors_costs_a_few_idle_connections() -> None:
    play = crowded() >> Received(101, b"GET / HT")
    began = len(play.logs)
    play >> AcceptFailed("admin", "too many open files")
    assert [each for each in play.take() if isinstance(each, Close)] == [Close(103 + 2 * each) for each in range(15)]
    assert play.logs[began:][-1] == Log(
        "warning",
        "connections",
        "cannot accept connections",
        {"listener": "admin", "reason": "too many open files", "closed_idle": 15},
    )


def test_a_client_that_does_not_read_is_not_waited_for() -> None:
    """Of the connections that are being closed, the fifth takes the place of the first, if that is not gone."""
    play = crowded()
    for number in range(4):
        assert play >> client(201 + 2 * number) << Close(101 + 2 * number)
    assert play >> client(209) << Close(109) << Abort(101)
    assert play >> ConnectionLost(103, "") >> client(211) << Close(111)
