"""The second in which a node of a cluster has heard that a tunnel leaves, and the other nodes may not have."""

import pytest

from pico_core.boundary import Close, ConnectionLost, EofReceived, Received, Send, ShutdownRequested
from tests.core.proxy.scene import AGENT, CLIENT, GET, GET_SENT, OK, client_joins
from tests.core.server.test_peers import UPLOAD, UPLOAD_SENT, clustered, from_node, with_leaving_agent
from tests.core.server.test_tcp_route import ASKING
from tests.neighbours import know
from tests.play import PIKO, Data, GoAway, Nothing, Open, Play, joined, node_of, server_play

NEWER = 11
OURS = (b"x-piko-instance", b"one")
MARKS = b"x-piko-forward: true\r\nx-pico-forward: true\r\nx-piko-endpoint: e1\r\n\r\n"


def answered(play: Play) -> bytes:
    """Return the first thing that the server sends."""
    first, *_ = play.take()
    assert isinstance(first, Send)
    return joined(first.data)


def test_an_agent_that_comes_back_within_the_second_serves_at_once_and_longer_than_its_old_tunnel() -> None:
    play = with_leaving_agent(clustered())
    play >> 0.3
    play.agent_registers(NEWER, "e1", OURS)
    assert play >> Received(CLIENT, GET) << Open(NEWER, 2) << Data(NEWER, 2, GET_SENT)
    assert play >> Data(NEWER, 2, OK) << Send(CLIENT, OK) >> 1.1 << GoAway(AGENT) << Close(AGENT)
    assert node_of(play).facts.registry.counts() == {"e1": 1}


def test_what_another_node_sends_goes_to_a_tunnel_that_stays_where_there_is_one() -> None:
    play = clustered()
    play.agent_registers(NEWER, "e1", (b"x-piko-instance", b"two"))
    with_leaving_agent(play)
    assert from_node(play, UPLOAD) << Open(NEWER, 2) << Data(NEWER, 2, UPLOAD_SENT)


def test_a_tcp_connection_that_another_node_sends_goes_back_to_it() -> None:
    assert answered(from_node(with_leaving_agent(clustered()), ASKING[:-2] + MARKS)).startswith(b"HTTP/1.1 421 ")


@pytest.mark.parametrize("lost", [False, True])
def test_a_node_that_stops_within_the_second_ends_the_tunnel_with_it(lost: bool) -> None:
    play = with_leaving_agent(clustered()) >> ShutdownRequested() >> 0.2
    play.take()
    assert from_node(play, UPLOAD) << Open(AGENT, 2) << Data(AGENT, 2, UPLOAD_SENT)
    if lost:
        play >> EofReceived(AGENT) >> ConnectionLost(AGENT, "")
    else:
        play >> Received(9, bytes(100_000)) >> Data(AGENT, 2, OK)
    play.take()
    play >> 1.1
    ends = [each for each in play.take() if each == Close(AGENT)]
    assert ends == ([] if lost else [Close(AGENT)])
    assert not node_of(play).facts.tunnels


def test_a_tunnel_that_leaves_is_counted_as_a_connection_and_not_as_a_route() -> None:
    facts = node_of(play := with_leaving_agent(clustered())).facts
    assert len(facts.tunnels) == 1
    assert facts.registry.counts() == {}
    assert play >> 1.1 << GoAway(AGENT) << Close(AGENT) << Nothing()
    assert not facts.tunnels


def test_a_client_whose_request_finds_no_other_tunnel_is_served_by_one_that_leaves() -> None:
    play = with_leaving_agent(alone_with_a_node())
    assert play >> Received(CLIENT, GET) << Open(AGENT, 2) << Data(AGENT, 2, GET_SENT)


def test_an_agent_of_pikos_that_is_sent_away_serves_until_its_tunnel_is_closed() -> None:
    """It opens another one only then."""
    play = alone_with_a_node()
    play.agent_registers(AGENT, "e1", PIKO)
    node_of(play).shed(1, play.now)
    play >> 0.5 << GoAway(AGENT)
    assert play >> Received(CLIENT, GET) << Open(AGENT, 2) << Data(AGENT, 2, GET_SENT)
    play >> Data(AGENT, 2, OK)
    assert Close(AGENT) not in play.take()
    play >> 1.1
    assert Close(AGENT) in play.take()


def alone_with_a_node() -> Play:
    """Return a server that knows a node which serves nothing, and a client."""
    play = server_play()
    know(play, 20).serves("e1", 0)
    return client_joins(play)
