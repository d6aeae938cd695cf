"""The unfinished heads of all connections of a server share one budget of memory."""

from collections.abc import Sequence

from pico_core.boundary import Accepted, ConnectionLost, PauseReading, Received, Send, SendEof
from pico_core.config.ports import ProxyConfig, ProxyHttpConfig
from pico_core.config.server import ServerConfig
from pico_core.machine.head_budget import HeadBudget
from pico_core.server.node import ServerNode
from tests.core.proxy.scene import error, refusal
from tests.play import Data, Nothing, Open, Play, Reset, server_play

AGENT = 1
BEGIN = b"GET / HTTP/1.1\r\nHost: e1.example.com\r\n"
GET = BEGIN + b"\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
LIMIT = 131_072


def refused(client: int) -> Send:
    return error(503, "Service Unavailable", "too many unfinished requests", "Connection: close", client=client)


def agent_refused(client: int) -> Send:
    return refusal(503, "Service Unavailable", "too many unfinished requests", "Connection: close", client=client)


def limited() -> Play:
    """Return a server whose clients may have 128 KiB of unfinished heads, and an agent."""
    http = ProxyHttpConfig(max_header_bytes=LIMIT, max_unfinished_bytes=LIMIT)
    play = server_play(ServerConfig(proxy=ProxyConfig(http=http)))
    play.agent_registers(AGENT, "e1")
    return play


def budget_of(play: Play) -> HeadBudget:
    assert isinstance(play.machine, ServerNode)
    return play.machine.heads


def begun(play: Play, number: int, size: int, listener: str = "proxy") -> Play:
    """Let a client send the first ``size`` bytes of a head."""
    field = b"x: " + b"a" * 997 + b"\r\n"
    head = (BEGIN + field * (size // 1000 + 1))[:size]
    return play >> Accepted(number, listener, "192.0.2.7", 40_000 + number) >> Received(number, head)


def test_the_longest_unfinished_head_is_refused() -> None:
    play = limited()
    for number, size in ((101, 30_000), (103, 60_000), (105, 40_000)):
        assert begun(play, number, size)
    assert begun(play, 107, 1_073) << refused(103) << SendEof(103)
    assert budget_of(play).used_bytes == 71_073
    assert budget_of(play).refused == 1


def test_of_equal_ones_the_oldest_are_refused_until_an_eighth_is_free() -> None:
    play = limited()
    for number in range(101, 165, 2):
        assert begun(play, number, 4_096)
    begun(play, 201, 100)
    for number in range(101, 111, 2):
        play << refused(number) << SendEof(number)
    assert play
    assert budget_of(play).used_bytes == 27 * 4_096 + 100


def test_a_head_that_exceeds_the_budget_with_its_last_piece_is_served() -> None:
    play = limited()
    assert begun(play, 101, 60_000)
    begun(play, 103, 60_038)
    play >> Received(103, b"\r\nx: " + b"b" * 30_000 + b"\r\n\r\n") << Open(AGENT, 2)
    (request,) = play.take()
    assert isinstance(request, Data)
    assert budget_of(play).used_bytes == 60_000
    assert play >> Data(AGENT, 2, OK) << Send(103, OK)


def test_what_no_longer_waits_is_not_counted() -> None:
    play = limited()
    assert begun(play, 101, 50_000) >> ConnectionLost(101, "")
    assert budget_of(play).used_bytes == 0
    begun(play, 103, 20) >> Received(103, b"\x00")
    assert isinstance(play.take()[0], Send)
    assert budget_of(play).used_bytes == 0
    begun(play, 105, 50_000) >> 10.5
    assert play.take()
    assert budget_of(play).used_bytes == 0


def test_a_refused_client_that_goes_on_keeps_nothing() -> None:
    play = limited()
    assert begun(play, 101, 100_000) << PauseReading(101)
    assert begun(play, 103, 40_000) << refused(101) << SendEof(101)
    assert play >> Received(101, b"x: a\r\n" * 10_000)
    assert budget_of(play).used_bytes == 40_000


def test_a_peer_of_the_upstream_port_shares_the_budget() -> None:
    play = limited()
    assert begun(play, 101, 125_000) << PauseReading(101)
    assert begun(play, 103, 5_000, "upstream")
    assert begun(play, 105, 10_000) << refused(101) << SendEof(101)
    assert play >> ConnectionLost(101, "") >> ConnectionLost(105, "")
    assert budget_of(play).used_bytes == 5_000
    assert play >> ConnectionLost(103, "")
    assert budget_of(play).used_bytes == 0


def test_an_agent_is_told_to_come_again() -> None:
    play = limited()
    for number in range(101, 119, 2):
        assert begun(play, number, 14_500, "upstream")
    begun(play, 119, 14_500, "upstream") << agent_refused(101) << SendEof(101)
    play << agent_refused(103) << SendEof(103) << agent_refused(105) << SendEof(105)
    assert play


def test_the_head_of_a_response_counts_too() -> None:
    play = limited() >> Accepted(101, "proxy", "192.0.2.7", 40_000) >> Received(101, GET) << Open(AGENT, 2)
    play.take()
    head = b"HTTP/1.1 200 OK\r\n" + b"x: 34567890\r\n" * 900
    assert play >> Data(AGENT, 2, head) << Nothing()
    assert budget_of(play).used_bytes == len(head)
    play >> Data(AGENT, 2, b"Content-Length: 2\r\n\r\nok")
    assert len(play.take()) == 1
    assert budget_of(play).used_bytes == 0


def test_the_longest_head_of_a_response_is_given_up() -> None:
    play = limited() >> Accepted(101, "proxy", "192.0.2.7", 40_000) >> Received(101, GET) << Open(AGENT, 2)
    play.take()
    assert play >> Data(AGENT, 2, b"HTTP/1.1 200 OK\r\n" + b"x: 34567890\r\n" * 900)
    for number in range(103, 133, 2):
        begun(play, number, 8_000)
    done = play.take()
    assert Reset(AGENT, 2) in done
    assert b"HTTP/1.1 502 Bad Gateway" in joined_sends(done, 101)
    assert budget_of(play).used_bytes <= LIMIT


def joined_sends(done: Sequence[object], number: int) -> bytes:
    sent = b""
    for each in done:
        if isinstance(each, Send) and each.connection == number:
            sent += each.data if isinstance(each.data, bytes) else b"".join(each.data)
    return sent
