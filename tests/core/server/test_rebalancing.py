"""A node above its share asks agents to go elsewhere; dead and draining nodes are no elsewhere."""

import pytest
from msgspec.structs import replace

from pico_core.config.ports import RebalanceConfig
from pico_core.config.server import ServerConfig
from pico_core.gossip.status import NodeStatus
from pico_core.server.node import ServerNode
from tests.play import GoAway, Play, server_play

CONFIG = ServerConfig(upstream=replace(ServerConfig().upstream, rebalance=RebalanceConfig(threshold=0.2, min_conns=2)))


def four_tunnels() -> Play:
    play = server_play(CONFIG)
    for connection in (1, 3, 5, 7):
        play.agent_registers(connection, "e1", (b"x-pico-instance", b"%d" % connection))
    machine = play.machine
    assert isinstance(machine, ServerNode)
    machine.facts.view.add("other", "192.0.2.20")
    return play


def test_an_empty_node_gets_a_share() -> None:
    play = four_tunnels() >> 1.5
    assert [each for each in play.take() if isinstance(each, GoAway)] == [GoAway(1)]


@pytest.mark.parametrize("status", [NodeStatus.UNREACHABLE, NodeStatus.LEFT])
def test_a_node_that_is_gone_gets_none(status: NodeStatus) -> None:
    play = four_tunnels()
    machine = play.machine
    assert isinstance(machine, ServerNode)
    other = machine.facts.view.get("other")
    assert other is not None
    other.status = status
    play >> 5.0
    assert not any(isinstance(each, GoAway) for each in play.take())
