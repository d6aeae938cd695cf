"""A port is a row of one table; what cannot be read from the table has to know every row."""

import random

import pytest

from pico_core.boundary import Listen, Tick
from pico_core.config.server import ServerConfig
from pico_core.config.server_ports import ENTRANCES, PEERS, PORTS, PortRow
from pico_core.server.exposure import open_ports
from pico_core.server.limits import connection_limits
from pico_core.server.node import ServerNode
from pico_driver.embedding.node import Node
from pico_driver.embedding.settings import LOCAL_NODE
from pico_driver.tls_sections import server_sections
from tests.play import Play


@pytest.mark.parametrize("port", PORTS, ids=lambda port: str(port.name))
class TestEveryPort:
    """What each row needs elsewhere."""

    def test_has_limits(self, port: PortRow) -> None:
        limits = connection_limits(ServerConfig(), 10_000).ports
        assert limits[port.listener].most > 0
        assert set(limits) == {each.listener for each in (*PORTS, PEERS)}, "each limit is that of a port"

    def test_is_opened(self, port: PortRow) -> None:
        play = Play(ServerNode(ServerConfig(), "node-1", random.Random(1))) >> Tick()
        listened = [each for each in play.take() if isinstance(each, Listen)]
        assert [each.listener for each in listened] == [each.listener for each in PORTS]
        assert listened[PORTS.index(port)].port == port.bind_addr(ServerConfig()).port

    def test_has_an_address_in_a_program(self, port: PortRow) -> None:
        assert isinstance(getattr(Node, f"{port.name}_address"), property)
        assert LOCAL_NODE[f"{port.key}.bind_addr"] == "127.0.0.1:0"

    def test_is_named_where_others_may_use_it(self, port: PortRow) -> None:
        address = port.bind_addr(ServerConfig())
        assert (f"{port.name} {address}", port.guard) in open_ports(ServerConfig())


def test_ports_with_a_certificate_have_a_profile() -> None:
    assert {port.listener for port in ENTRANCES} == {"proxy", "upstream", "admin"}
    assert not server_sections(ServerConfig()).servers
