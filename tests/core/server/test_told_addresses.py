"""Addresses that another node tells, which this host must not take for the other one's."""

import pytest

from pico_core.boundary import Received
from pico_core.config.values import Address
from pico_core.server.node import ServerNode
from tests.core.proxy.scene import CLIENT, GET, client_joins, error
from tests.core.server.admin.scene import node_appears
from tests.core.server.test_own_host import warnings
from tests.play import Play, server_play

CANNOT_REACH = "a node tells an address that other hosts cannot reach: set the key there"


def known(host: str, **values: str) -> Play:
    """Return a server at 10.0.0.1 that has heard from a node at ``host``, which serves e1."""
    play = server_play()
    node_appears(play, "node-2", host, **{"endpoint:e1": "1", **values})
    return play


def addresses(play: Play) -> tuple[Address | None, Address | None]:
    """Return the proxy and the admin address of the other node."""
    machine = play.machine
    assert isinstance(machine, ServerNode)
    node = machine.facts.view.get("node-2")
    assert node is not None
    return node.proxy_addr, node.admin_addr


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]", "0.0.0.0", "[::]", "localhost"])
def test_no_request_goes_to_our_own_host_in_place_of_another_one(host: str) -> None:
    play = known("10.0.0.2", proxy_addr=f"{host}:8000", admin_addr=f"{host}:8002")
    assert addresses(play) == (None, None)
    assert warnings(play, CANNOT_REACH) == [
        {"node": "node-2", "addr": f"{host}:8000", "set": "proxy.advertise_addr"},
        {"node": "node-2", "addr": f"{host}:8002", "set": "admin.advertise_addr"},
    ]
    assert client_joins(play) >> Received(CLIENT, GET) << error(502, "Bad Gateway", "no available upstreams")


def test_a_node_is_told_of_once_however_often_its_address_changes() -> None:
    play = known("10.0.0.2", proxy_addr="127.0.0.1:8000")
    values = {"a": "1", "b": "2", "proxy_addr": "127.0.0.1:8001"}
    node_appears(play, "node-2", "10.0.0.2", **values)
    assert addresses(play) == (None, None)
    assert len(warnings(play, CANNOT_REACH)) == 1
    node_appears(play, "node-2", "10.0.0.2", **{str(n): "" for n in range(9)}, proxy_addr="10.0.0.2:8000")
    assert addresses(play) == (Address("10.0.0.2", 8000), None)


@pytest.mark.parametrize("host", ["127.0.0.1", "10.0.0.1"])
def test_a_node_of_the_same_host_may_tell_a_loopback_address(host: str) -> None:
    play = known(host, proxy_addr="127.0.0.1:9000")
    assert addresses(play) == (Address("127.0.0.1", 9000), None)
    assert warnings(play, CANNOT_REACH) == []


def test_a_gossip_address_that_means_our_own_host_is_told_of() -> None:
    play = server_play()
    node_appears(play, "node-2", "127.0.0.1", heard_from="10.0.0.2")
    machine = play.machine
    assert isinstance(machine, ServerNode)
    assert machine.facts.view.get("node-2") is None
    assert warnings(play, CANNOT_REACH) == [
        {"node": "node-2", "addr": "127.0.0.1:8003", "set": "cluster.gossip.advertise_addr"}
    ]
