"""How often one client address may register tunnels."""

from pico_core.boundary import Accepted, ConnectionLost, Received, Send, SendEof
from pico_core.config.ports import UpstreamConfig
from pico_core.config.server import ServerConfig
from pico_core.server.address_rate import AddressRate
from tests.play import joined, server_play

REGISTER = (
    b"GET /pico/v1/upstream/e1 HTTP/1.1\r\nHost: pico:8001\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: zWE+MNjxat+Rt1hKImWx9Q==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
BODY = b'{"error":"too many registrations from this address"}'
REFUSED = (
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nX-Content-Type-Options: nosniff\r\n"
    b"X-Pico-Error: overloaded; by=server\r\nRetry-After: 5\r\nContent-Length: 52\r\nConnection: close\r\n\r\n" + BODY
)


def test_an_agent_that_registers_too_often_is_told_when_to_come_again() -> None:
    play = server_play(ServerConfig(upstream=UpstreamConfig(registration_rate=0.2, registration_burst=3)))
    for number in (1, 3, 5):
        play.agent_registers(number, "e1")
    assert play >> Accepted(7, "upstream", "192.0.2.1", 4000) >> Received(7, REGISTER) << Send(7, REFUSED) << SendEof(7)
    play >> ConnectionLost(7, "") >> Accepted(9, "upstream", "192.0.2.2", 4000) >> Received(9, REGISTER)
    accepted, *_ = play.take()
    assert isinstance(accepted, Send)
    assert joined(accepted.data).startswith(b"HTTP/1.1 101 ")
    play >> 5.0
    play.take()
    play.agent_registers(11, "e1")


def test_an_honest_agent_with_many_endpoints_is_not_held_up() -> None:
    """It registers 500 endpoints, and again after each of nine restarts within a second."""
    rate = AddressRate(UpstreamConfig().registration_rate, UpstreamConfig().registration_burst)
    for number in range(5_000):
        assert rate.take("192.0.2.1", number / 5_000) == 0


def test_a_thousand_a_second_become_a_hundred() -> None:
    rate = AddressRate(100.0, 5_000)
    taken = [not rate.take("192.0.2.1", number / 1_170) for number in range(60 * 1_170)]
    assert sum(taken[:5_000]) == 5_000
    assert sum(taken[-10 * 1_170 :]) in range(999, 1_002)


def test_the_pause_is_told_in_whole_seconds() -> None:
    rate = AddressRate(0.5, 1)
    assert [rate.take("192.0.2.1", at) for at in (0.0, 0.0, 0.5, 1.5, 2.0)] == [0, 2, 2, 1, 0]


def test_addresses_of_one_ipv6_network_share() -> None:
    rate = AddressRate(1.0, 1)
    assert rate.take("2001:db8:1:2::1", 0.0) == 0
    assert rate.take("2001:db8:1:2:ffff::1", 0.0) == 1
    assert rate.take("2001:db8:1:3::1", 0.0) == 0
    assert rate.take("fe80::1%eth0", 0.0) == 0
    assert rate.take("fe80::2%eth1", 0.0) == 1
    assert rate.take("", 0.0) == rate.take("a:b", 0.0) == 0


def test_many_addresses_keep_the_table_small() -> None:
    rate = AddressRate(1.0, 1)
    assert rate.take("192.0.2.1", 0.0) == 0
    for number in range(4_096):
        assert rate.take(f"10.0.{number >> 8}.{number & 255}", 0.0) == 0
    assert rate.take("10.0.0.255", 0.0) == 1
    assert rate.take("192.0.2.1", 0.0) == 0
