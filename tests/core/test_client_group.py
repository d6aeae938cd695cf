"""The addresses that count as one client, and that everything that has a limit for each client address counts so."""

import pytest

from pico_core.boundary import Accepted, ConnectionLost, Received, Send
from pico_core.client_group import client_group
from pico_core.config.server import ServerConfig
from pico_core.gossip.rate_limit import STRANGER_US, DatagramLimiter
from pico_core.server.address_rate import AddressRate
from pico_core.server.gossip_budget import StreamBudget
from tests.core.held_stream import HeldStream
from tests.play import joined, server_play


@pytest.mark.parametrize(
    ("host", "group"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("192.0.2.2", "192.0.2.2"),
        ("2001:db8:1:2::1", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:ffff:ffff:ffff:ffff", "2001:db8:1:2::/64"),
        ("2001:DB8:1:2::7", "2001:db8:1:2::/64"),
        ("2001:db8:1:3::1", "2001:db8:1:3::/64"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("::ffff:c000:201", "192.0.2.1"),
        ("fe80::1%eth0", "fe80::/64"),
        ("::1", "::/64"),
        ("", ""),
        ("a:b", "a:b"),
        ("@", "@"),
    ],
)
def test_an_ipv4_address_and_an_ipv6_network_are_one_client(host: str, group: str) -> None:
    assert client_group(host) == group


SAME = ("2001:db8:1:2::1", "2001:db8:1:2::2")
OTHER = "2001:db8:1:3::1"


def test_the_share_of_a_port_is_that_of_a_network() -> None:
    """Of 16 places, 14 are for anyone; the last 2 are for networks with fewer than 8."""
    play = server_play(ServerConfig(max_connections=34))
    hosts = [f"2001:db8:1:2::{number:x}" for number in range(101, 129)]
    for number in range(101, 129, 2):
        assert play >> Accepted(number, "proxy", hosts[number - 101], 4000)
        assert play >> Received(number, b"GET / HT")
    play >> Accepted(201, "proxy", "2001:db8:1:2::ffff", 4000)
    answer, *_ = play.take()
    assert isinstance(answer, Send)
    assert joined(answer.data).startswith(b"HTTP/1.1 503 ")
    assert play >> Accepted(203, "proxy", OTHER, 4000)
    for number in range(101, 129, 2):
        play >> ConnectionLost(number, "")
    play.take()
    assert play >> Accepted(301, "proxy", "2001:db8:1:2::ffff", 4000)


def test_a_rate_is_that_of_a_network() -> None:
    rate = AddressRate(1.0, 1)
    assert [rate.take(host, 0.0) for host in (*SAME, OTHER)] == [0, 1, 0]
    assert [rate.take(host, 0.0) for host in ("192.0.2.1", "::ffff:192.0.2.1", "192.0.2.2")] == [0, 1, 0]


def test_a_stranger_to_gossip_is_a_network() -> None:
    limiter = DatagramLimiter(0.1, 1400)
    datagrams = int(STRANGER_US / 40)
    read = sum(limiter.admits(0, (f"2001:db8:1:2::{number:x}", 8003), 0.0, is_member=False) for number in range(1000))
    assert read == datagrams
    assert limiter.admits(0, (OTHER, 8003), 0.0, is_member=False)


def test_streams_of_strangers_share_the_budget_of_their_network() -> None:
    streams = [HeldStream(host) for host in (*SAME, OTHER)]
    budget = StreamBudget(10, 1, 100, 50, client_group)
    for stream in streams:
        budget.add(stream, 0.0)
    assert [stream.has_given_way for stream in streams] == [True, False, False]
