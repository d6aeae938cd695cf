"""Which addresses a node tells the others: those that its packets to them come from."""

import random

import pytest

from pico_core.boundary import (
    Accepted,
    Close,
    Connect,
    Exit,
    Listening,
    Resolve,
    Resolved,
    SelectSource,
    SendDatagram,
    SourceSelected,
    Tick,
)
from pico_core.config.ports import ProxyConfig
from pico_core.config.server import ClusterConfig, GossipConfig, ServerConfig
from pico_core.config.values import Address
from pico_core.server.node import ServerNode
from tests.play import Play

NO_ADDRESS = "no address to tell other nodes: none of this host leads to a node to join"
ALL_KEYS = "cluster.gossip.advertise_addr, proxy.advertise_addr, admin.advertise_addr"
ADDRESSES = {
    "gossip": Address("192.0.2.10", 8003),
    "proxy": Address("192.0.2.10", 8000),
    "admin": Address("192.0.2.10", 8002),
}
PORTS = {"admin": 8002, "upstream": 8001, "proxy": 8000, "gossip-streams": 8003, "gossip": 8003}


def opened(config: ServerConfig, host: str = "::") -> Play:
    """Return a node that has just opened its ports; its next commands follow on that."""
    play = Play(ServerNode(config, "node-1", random.Random(1))) >> Tick()
    for name, port in PORTS.items():
        if name == "gossip":
            play.take()
        play >> Listening(name, host, port)
    play.forget_start_warning()
    return play


def joining(*members: str, host: str = "::") -> Play:
    join = tuple(Address(member, 8003) for member in members)
    return opened(ServerConfig(cluster=ClusterConfig(join=join)), host)


def told(play: Play) -> dict[str, Address]:
    """Return the addresses that the node tells others; empty while it does not know them."""
    machine = play.machine
    assert isinstance(machine, ServerNode)
    return machine.facts.addresses


def warnings(play: Play, message: str) -> list[dict[str, str | int | float | bool]]:
    assert play.idle
    return [log.fields for log in play.logs if log.level == "warning" and log.message == message]


def test_a_node_tells_the_address_towards_the_node_to_join() -> None:
    play = joining("192.0.2.20") << SelectSource(1, "192.0.2.20")
    assert told(play) == {}
    play >> SourceSelected(1, "192.0.2.10")
    assert told(play) == ADDRESSES
    assert play << Connect(2, "192.0.2.20", 8003, 5.0)


def test_the_address_towards_another_host_comes_before_that_towards_itself() -> None:
    play = joining("192.0.2.7", "192.0.2.20") << SelectSource(1, "192.0.2.7") << SelectSource(2, "192.0.2.20")
    play >> SourceSelected(1, "192.0.2.7") >> SourceSelected(2, "192.0.2.10")
    assert told(play) == ADDRESSES


def test_a_name_may_lead_to_this_node_alone() -> None:
    play = joining("pico.example") << Resolve(1, "pico.example", 5.0)
    play >> Resolved(1, ("192.0.2.10",), "") << SelectSource(2, "192.0.2.10")
    assert play >> SourceSelected(2, "192.0.2.10")
    assert told(play) == ADDRESSES


def test_ipv6() -> None:
    play = joining("fd00::20") << SelectSource(1, "fd00::20") >> SourceSelected(1, "fd00::10")
    assert told(play)["gossip"] == Address("fd00::10", 8003)
    assert play << Connect(2, "fd00::20", 8003, 5.0)


@pytest.mark.parametrize(
    ("bound", "source"),
    [
        ("::", "127.0.0.1"),
        ("::", "::1"),
        ("::", ""),
        ("::", "0.0.0.0"),
        ("::", "fe80::10%eth0"),
        ("0.0.0.0", "fd00::10"),
        ("::", "nonsense"),
    ],
)
def test_what_other_hosts_cannot_reach_is_not_told_but_said_once(bound: str, source: str) -> None:
    play = joining("192.0.2.20", "127.0.0.1", host=bound) << SelectSource(1, "192.0.2.20")
    play << SelectSource(2, "127.0.0.1") >> SourceSelected(1, source) >> SourceSelected(2, "127.0.0.1")
    assert told(play) == {}
    assert warnings(play, NO_ADDRESS) == [{"targets": "192.0.2.20, 127.0.0.1", "set": ALL_KEYS}]
    play >> 0.5 << SelectSource(3, "192.0.2.20") << SelectSource(4, "127.0.0.1")
    play >> SourceSelected(3, source) >> SourceSelected(4, "127.0.0.1")
    assert len(warnings(play, NO_ADDRESS)) == 1
    play >> 1.0 << SelectSource(5, "192.0.2.20") << SelectSource(6, "127.0.0.1")
    play >> SourceSelected(5, "192.0.2.10") >> SourceSelected(6, "127.0.0.1")
    assert told(play) == ADDRESSES, "the network came up meanwhile"


def test_loopback_is_told_where_all_nodes_to_join_are_there() -> None:
    play = joining("127.0.0.1", "::1") << SelectSource(1, "127.0.0.1") << SelectSource(2, "::1")
    play >> SourceSelected(1, "127.0.0.1") >> SourceSelected(2, "::1")
    assert told(play)["gossip"] == Address("127.0.0.1", 8003)
    play.take()
    assert [log for log in play.logs if log.level == "warning" and log.subsystem != "access"] == []


def test_a_node_that_finds_no_address_gives_up_with_the_keys_to_set() -> None:
    play = joining("192.0.2.20") << SelectSource(1, "192.0.2.20") >> SourceSelected(1, "")
    play.take()
    play >> 61.0
    (exit_,) = [each for each in play.take() if isinstance(each, Exit)]
    assert exit_ == Exit(
        1,
        "no node of '192.0.2.20:8003' answered within cluster.join_timeout (60 s): no address of this host leads "
        f"there, set {ALL_KEYS}, or set cluster.abort_if_join_fails to false",
    )


def test_names_are_looked_up_while_no_address_is_known() -> None:
    play = joining("pico.example") << Resolve(1, "pico.example", 5.0) >> 1.0
    play >> Resolved(1, (), "temporary failure in name resolution") >> 3.0 << Resolve(2, "pico.example", 5.0)
    play >> Resolved(2, ("192.0.2.20",), "") << SelectSource(3, "192.0.2.20") >> SourceSelected(3, "192.0.2.10")
    assert told(play) == ADDRESSES
    assert play << Connect(2, "192.0.2.20", 8003, 5.0)
    assert warnings(play, NO_ADDRESS) == []


def test_at_most_sixteen_addresses_are_asked_about_at_a_time() -> None:
    play = joining("pico.example") << Resolve(1, "pico.example", 5.0)
    play >> Resolved(1, tuple(f"192.0.2.{number}" for number in range(100)), "")
    assert play.take() == [SelectSource(2 + number, f"192.0.2.{number}") for number in range(16)]
    assert play >> 0.7, "there is no further question before these are answered"


def test_configured_addresses_need_no_question() -> None:
    config = ServerConfig(
        proxy=ProxyConfig(advertise_addr=Address("203.0.113.5", 80)),
        cluster=ClusterConfig(
            join=(Address("192.0.2.20", 8003),), gossip=GossipConfig(advertise_addr=Address("203.0.113.5", 83))
        ),
    )
    play = opened(config) << SelectSource(1, "192.0.2.20")
    assert play >> SourceSelected(1, "192.0.2.10") << Connect(2, "192.0.2.20", 8003, 5.0)
    assert told(play) == {
        "gossip": Address("203.0.113.5", 83),
        "proxy": Address("203.0.113.5", 80),
        "admin": Address("192.0.2.10", 8002),
    }
    bound = opened(ServerConfig(), "192.0.2.10")
    assert bound
    assert told(bound) == ADDRESSES


def lone() -> Play:
    """Return a node that joins no other, on a host without a default route."""
    play = opened(ServerConfig()) << SelectSource(1, "192.0.2.1") << SelectSource(2, "2001:db8::1")
    assert play >> SourceSelected(1, "") >> SourceSelected(2, "")
    return play


def test_a_lone_node_tells_the_address_towards_a_default_route() -> None:
    play = opened(ServerConfig()) << SelectSource(1, "192.0.2.1") << SelectSource(2, "2001:db8::1")
    assert play >> SourceSelected(1, "192.0.2.10") >> SourceSelected(2, "fd00::10")
    assert told(play) == ADDRESSES


def test_a_lone_node_without_a_default_route_serves_and_is_silent() -> None:
    play = lone() >> 9.9
    assert play
    assert told(play) == {}
    assert "ready" in [log.message for log in play.logs]
    assert [log for log in play.logs if log.level == "warning" and log.subsystem != "access"] == []
    play >> 10.0 << SelectSource(3, "192.0.2.1") << SelectSource(4, "2001:db8::1")
    assert play >> SourceSelected(3, "192.0.2.10") >> SourceSelected(4, "")
    assert told(play) == ADDRESSES


@pytest.mark.parametrize(("peer", "source"), [("192.0.2.20", "192.0.2.10"), ("127.0.0.1", "127.0.0.1")])
def test_the_first_node_that_joins_shows_a_lone_node_its_address(peer: str, source: str) -> None:
    play = lone() >> Accepted(31, "gossip-streams", peer, 9000)
    play << SelectSource(3, "192.0.2.1") << SelectSource(4, "2001:db8::1") << SelectSource(5, peer) << Close(31)
    assert play >> SourceSelected(3, "") >> SourceSelected(4, "") >> SourceSelected(5, source)
    assert told(play)["gossip"] == Address(source, 8003)


def test_a_peer_shows_the_address_also_while_names_are_unknown_unless_it_is_of_this_host() -> None:
    play = joining("pico.example") << Resolve(1, "pico.example", 5.0)
    assert play >> Accepted(31, "gossip-streams", "127.0.0.1", 9000) << Close(31)
    play >> Accepted(33, "gossip-streams", "192.0.2.20", 9000) << SelectSource(2, "192.0.2.20") << Close(33)
    assert play >> SourceSelected(2, "192.0.2.10")
    assert told(play) == ADDRESSES


@pytest.mark.parametrize(
    ("members", "warned"),
    [(["192.0.2.20"], True), (["pico.example", "127.0.0.1"], True), (["127.0.0.1", "localhost"], False), ([], False)],
)
def test_a_node_that_is_bound_to_loopback_and_joins_other_hosts_says_so(members: list[str], warned: bool) -> None:
    play = joining(*members, host="127.0.0.1")
    assert not any(isinstance(each, SendDatagram) for each in play.take())
    keys = [
        fields["set"] for fields in warnings(play, "other hosts cannot reach the address that this node tells them")
    ]
    assert keys == (ALL_KEYS.split(", ") if warned else [])
