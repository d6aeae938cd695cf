"""The last streams of an endpoint: one client does not keep out others, and a request that finds none waits."""

import msgspec
import pytest

from pico_core.boundary import Accepted, ConnectionLost, PauseReading, Received, Send, Tick, WritingPaused
from pico_core.config.networks import network
from pico_core.config.server import ServerConfig
from tests.core.proxy.scene import AGENT, CLIENT, GET, GET_SENT, OK, error, proxy_play, put
from tests.core.server.test_tcp_route import ASKING
from tests.neighbours import know
from tests.play import Data, Nothing, Open, Play, Reset

BUSY = "too many requests in flight to this endpoint"
SECOND = 7
STRANGER = 9_001
STRANGERS_GET = GET_SENT.replace(b"192.0.2.7", b"192.0.2.99")
SLOW_PUT = put(bytes(100_000))[:-100_000]
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 9000\r\n\r\n"


def crowded(*, greedy: int, request: bytes = GET, max_streams: int = 16) -> Play:
    """Return a play in which one client has sent so many requests to a tunnel with 16 streams, each on a connection."""
    play = proxy_play(msgspec.convert({"upstream": {"max_streams": max_streams}}, ServerConfig))
    for connection in connections(greedy):
        play = play >> Accepted(connection, "proxy", "192.0.2.7", 5000) >> Received(connection, request)
    play.take()
    return play


def connections(count: int) -> range:
    """Return the numbers of the greedy client's connections."""
    return range(1_001, 1_001 + 2 * count, 2)


def stranger(play: Play, connection: int = STRANGER, host: str = "192.0.2.99") -> Play:
    """Let another client connect."""
    return play >> Accepted(connection, "proxy", host, 5000)


def busy(client: int) -> Send:
    """Return the refusal."""
    return error(503, "Service Unavailable", BUSY, client=client)


def streams(play: Play) -> int:
    """Return how many streams the agent has got."""
    return len(play.tunnels[AGENT].streams)


def test_one_client_does_not_get_the_last_eighth() -> None:
    play = crowded(greedy=16)
    assert streams(play) == 14
    assert stranger(play) >> Received(STRANGER, GET) << Open(AGENT, 30) << Data(AGENT, 30, STRANGERS_GET)


def test_who_finds_no_stream_is_told_within_a_tenth_of_a_second() -> None:
    play = crowded(greedy=16)
    last = connections(16)[-2:]
    assert play >> 0.049 << Nothing() >> 0.069 << busy(last[0]) << busy(last[1])
    assert [log.message for log in play.logs if log.level == "warning"] == ["no tunnel can take more requests"] * 2


def test_who_waits_gets_the_stream_that_is_free() -> None:
    play = crowded(greedy=15)
    waiting = connections(15)[-1]
    play = play >> 0.01 << Nothing() >> Data(AGENT, 2, OK) << Send(connections(15)[0], OK)
    assert play >> 0.02 << Data(AGENT, 2, GET_SENT) >> Data(AGENT, 2, OK) << Send(waiting, OK)


def test_who_waits_gets_a_stream_of_a_new_tunnel() -> None:
    play = crowded(greedy=15)
    play.agent_registers(SECOND, "e1")
    assert play >> 0.02 << Open(SECOND, 2) << Data(SECOND, 2, GET_SENT)


def test_who_leaves_while_waiting_is_forgotten() -> None:
    play = crowded(greedy=15) >> ConnectionLost(connections(15)[-1], "")
    play = play >> Data(AGENT, 2, OK) << Send(connections(15)[0], OK)
    assert play >> 1.0 << Nothing()


def test_strangers_share_the_last_eighth() -> None:
    play = crowded(greedy=56, max_streams=64)
    for number in range(8):
        connection = STRANGER + 2 * number
        play = stranger(play, connection, f"192.0.2.{100 + number}") >> Received(connection, GET)
        play = play << Open(AGENT, 114 + 2 * number)
        play.take()
    play = stranger(play, 9_101, "192.0.2.200") >> Received(9_101, GET) << Nothing()
    assert play >> 0.1 << busy(9_101), "nothing is left"


def test_a_second_greedy_client_gets_an_equal_share_at_most() -> None:
    play = crowded(greedy=56, max_streams=64)
    for number in range(20):
        connection = STRANGER + 2 * number
        play = stranger(play, connection) >> Received(connection, GET)
    play.take()
    assert streams(play) == 64
    assert len([each for each in (play >> 0.1).take() if isinstance(each, Send)]) == 12


def test_another_node_reports_whose_requests_it_passes_on() -> None:
    play = crowded(greedy=14)
    forwarded = GET[:-2] + b"X-Forwarded-For: 198.51.100.5\r\n\r\n"
    play = play >> Accepted(STRANGER, "proxy", "192.0.2.7", 5000) >> Received(STRANGER, forwarded) << Nothing()
    assert play >> 0.1 << busy(STRANGER), "a client is not believed"


def test_clients_behind_a_trusted_proxy_and_behind_a_node_are_told_apart() -> None:
    trusted = {"trusted_proxies": [network("10.0.0.0/8")]}
    config = msgspec.convert({"proxy": trusted, "upstream": {"max_streams": 16}}, ServerConfig, from_attributes=True)
    for peer, marker in (("10.0.0.1", b""), ("192.0.2.20", b"x-piko-forward: true\r\n")):
        play = proxy_play(config)
        know(play, 20, "e9")
        client = b"X-Forwarded-For: 198.51.100.%d\r\n"
        for connection in connections(16):
            request = GET[:-2] + marker + client % 5 + b"\r\n"
            play = play >> Accepted(connection, "proxy", peer, 5000) >> Received(connection, request)
        play.take()
        assert streams(play) == 14
        play >> Accepted(STRANGER, "proxy", peer, 5000) >> Received(STRANGER, GET[:-2] + marker + client % 6 + b"\r\n")
        assert Open(AGENT, 30) in play.take()


def test_upgraded_connections_count() -> None:
    play = crowded(greedy=16, request=ASKING)
    assert streams(play) == 14
    assert stranger(play) >> Received(STRANGER, GET) << Open(AGENT, 30) << Data(AGENT, 30, STRANGERS_GET)


def test_slow_uploads_give_way_to_those_that_wait() -> None:
    play = crowded(greedy=14, request=SLOW_PUT)
    for connection in range(STRANGER, STRANGER + 2 * 2, 2):
        play = stranger(play, connection) >> Received(connection, GET)
    play.take()
    play = stranger(play, 9_101) >> Received(9_101, GET) >> 0.1 << busy(9_101) >> 5.5
    play.take()
    play = play >> Received(9_101, GET)
    play = play >> play.now + 0.02
    done = play.take()
    assert len([each for each in done if isinstance(each, Reset)]) == 14
    assert [each for each in done if isinstance(each, Open)] == [Open(AGENT, 34)]


def test_slow_uploads_that_are_in_nobodys_way_go_on() -> None:
    play = crowded(greedy=14, request=SLOW_PUT) >> 9.0
    play = play >> Received(connections(1)[0], b"x") << Data(AGENT, 2, b"x")
    assert not [each for each in (play >> 20.0).take() if isinstance(each, (Reset, Send))]


@pytest.mark.parametrize(("stalled", "reset"), [(True, True), (False, False)])
def test_clients_that_do_not_read_give_way_to_those_that_wait(stalled: bool, reset: bool) -> None:
    play = crowded(greedy=14)
    for number, connection in enumerate(connections(14)):
        play = play >> Data(AGENT, 2 + 2 * number, ANSWER + bytes(500))
        if stalled:
            play = play >> WritingPaused(connection)
    play.take()
    play = play >> 20.0
    assert PauseReading(CLIENT) not in play.take()
    for connection in range(STRANGER, STRANGER + 2 * 3, 2):
        play = stranger(play, connection) >> Received(connection, GET)
    play = play >> play.now + 0.02
    done = play.take()
    assert (Reset(AGENT, 2) in done) is reset


def test_a_node_that_is_late_takes_that_off_the_wait() -> None:
    play = crowded(greedy=15)
    waiting = connections(15)[-1]
    play.now = 0.035
    assert play >> Tick(0.0) << busy(waiting)  # the first check was due at 0.01, so the wait is over at 0.025


def test_a_request_that_a_late_node_reads_waits_as_much_less() -> None:
    play = crowded(greedy=15)
    play.now = 0.045
    play = stranger(play >> Tick(0.0) << busy(connections(15)[-1]), STRANGER, "192.0.2.7")
    play = play >> Received(STRANGER, GET) << Nothing()
    assert play >> 0.055 << Nothing() >> 0.067 << busy(STRANGER)  # 35 ms late: 15 ms are left


@pytest.mark.parametrize("check_first", [True, False])
def test_who_has_waited_to_be_read_is_refused_at_once(check_first: bool) -> None:
    play = crowded(greedy=15)
    play.now = 0.065
    if check_first:
        play = play >> Tick(0.0) << busy(connections(15)[-1])
    play = stranger(play, STRANGER, "192.0.2.7")
    play.take()
    assert play >> Received(STRANGER, GET) << busy(STRANGER)


def test_half_as_many_wait_as_there_are_streams_and_others_are_refused_at_once() -> None:
    play = crowded(greedy=14)
    for connection in range(STRANGER, STRANGER + 2 * 8, 2):
        play = stranger(play, connection, "192.0.2.7") >> Received(connection, GET)
    assert play << Nothing()
    play = stranger(play, 9_101, "192.0.2.7") >> Received(9_101, GET) << busy(9_101)
    assert len([each for each in (play >> 0.1).take() if isinstance(each, Send)]) == 8


def test_so_many_wait_in_a_node_and_others_are_refused_at_once() -> None:
    """Ten tunnels have room for 5120 that wait, of which 2048 may."""
    play = proxy_play(msgspec.convert({"proxy": {"access_log": {"disable": True}}}, ServerConfig))
    for tunnel in range(7, 7 + 2 * 9, 2):
        play.agent_registers(tunnel, "e1")
    greedy = connections(10 * 896 + 2_048)
    for connection in greedy:
        play = play >> Accepted(connection, "proxy", "192.0.2.7", 5000) >> Received(connection, GET)
    assert not [each for each in play.take() if isinstance(each, Send)]
    play = stranger(play, 90_001, "192.0.2.7") >> Received(90_001, GET) << busy(90_001)
    assert len([each for each in (play >> 0.1).take() if isinstance(each, Send)]) == 2_048
