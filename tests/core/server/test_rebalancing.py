"""A node above its share asks agents to go to other nodes; dead and draining nodes do not count."""

from collections.abc import Callable

import pytest
from msgspec.structs import replace

from pico_core.config.ports import RebalanceConfig
from pico_core.config.server import ServerConfig
from tests.neighbours import Neighbour, know
from tests.play import GoAway, Play, server_play

CONFIG = ServerConfig(upstream=replace(ServerConfig().upstream, rebalance=RebalanceConfig(threshold=0.2, min_conns=2)))


def with_other() -> tuple[Play, Neighbour]:
    """Return a server without tunnels, and another node without any."""
    play = server_play(CONFIG)
    return play, know(play, 20, "")


def four_tunnels(play: Play) -> Play:
    for connection in (1, 3, 5, 7):
        play.agent_registers(connection, "e1", (b"x-pico-instance", b"%d" % connection))
    return play


def test_an_empty_node_gets_a_share() -> None:
    play, _ = with_other()
    four_tunnels(play) >> 1.5
    assert [each for each in play.take() if isinstance(each, GoAway)] == [GoAway(1)]


@pytest.mark.parametrize(
    ("goes", "told"), [(Neighbour.falls_silent, "node unreachable"), (Neighbour.leaves, "node left")]
)
def test_a_node_that_is_gone_gets_none(goes: Callable[[Neighbour], None], told: str) -> None:
    play, other = with_other()
    goes(other)
    play >> 5.0
    assert [log.fields["node"] for log in play.logs if log.message == told] == ["node-20"]
    four_tunnels(play) >> 10.0
    assert not any(isinstance(each, GoAway) for each in play.take())
