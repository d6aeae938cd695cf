"""A node as a worker: which ports it opens, what it tells others, how it finds its siblings and gives its ports up."""

import random

from pico_core.boundary import (
    Accepted,
    Connect,
    Exit,
    Listen,
    ListenDatagram,
    Listening,
    SelectSource,
    SourceSelected,
    StopListening,
    Tick,
)
from pico_core.config.ports import ProxyConfig
from pico_core.config.server import ClusterConfig, ServerConfig
from pico_core.config.values import Address
from pico_core.program import SuccessorServes
from pico_core.server.node import ServerNode
from pico_core.server.worker import Worker
from tests.core.server.admin.scene import node_appears
from tests.neighbours import know
from tests.play import Play, node_of

WORKER = Worker(
    number=2,
    count=3,
    node_id="n-2-2",
    group="n-",
    shared={"proxy": Address("", 8000), "upstream": Address("", 8001), "join": Address("", 8003)},
    own_gossip=Address("", 4004),
    control=Address("127.0.0.1", 4005),
    secret="drawn",
    siblings=(5001, 5002),
)
OPENED = {"admin": 4002, "gossip-streams": 4004, "upstream": 8001, "proxy": 8000, "peers": 4003, "join": 8003}


def opened(config: ServerConfig | None = None) -> Play:
    """Return a worker that has just opened its ports."""
    play = Play(ServerNode(config or ServerConfig(), WORKER.node_id, random.Random(1), worker=WORKER)) >> Tick()
    play << Listen("admin", "", 0) << Listen("gossip-streams", "", 4004) << Listen("upstream", "", 8001)
    play << Listen("proxy", "", 8000) << Listen("peers", "", 0) << Listen("join", "", 8003)
    play << Listen("control", "127.0.0.1", 4005)
    for name, port in OPENED.items():
        play >> Listening(name, "0.0.0.0", port)
    play << ListenDatagram("gossip", "0.0.0.0", 4004)
    return play >> Listening("control", "127.0.0.1", 4005) >> Listening("gossip", "0.0.0.0", 4004)


def joined(play: Play) -> set[tuple[str, int]]:
    """Return the gossip addresses that the node connects to."""
    return {(each.host, each.port) for each in play.take() if isinstance(each, Connect)}


def test_it_tells_ports_of_its_own_and_joins_its_siblings() -> None:
    play = opened() << SelectSource(1, "192.0.2.1") << SelectSource(2, "2001:db8::1")
    play >> SourceSelected(1, "192.0.2.10") >> SourceSelected(2, "")
    assert joined(play) == {("192.0.2.10", 5001), ("192.0.2.10", 5002)}
    assert node_of(play).facts.addresses == {
        "gossip": Address("192.0.2.10", 4004),
        "proxy": Address("192.0.2.10", 4003),
        "admin": Address("192.0.2.10", 4002),
    }


def test_an_advertised_address_keeps_its_host() -> None:
    proxy = ProxyConfig(advertise_addr=Address("192.0.2.99", 80))
    play = opened(ServerConfig(proxy=proxy)) << SelectSource(1, "192.0.2.1") << SelectSource(2, "2001:db8::1")
    play >> SourceSelected(1, "192.0.2.10") >> SourceSelected(2, "")
    joined(play)
    assert node_of(play).facts.addresses["proxy"] == Address("192.0.2.99", 4003)


def test_without_a_network_the_workers_find_each_other_by_loopback() -> None:
    play = opened() << SelectSource(1, "192.0.2.1") << SelectSource(2, "2001:db8::1")
    play >> SourceSelected(1, "") >> SourceSelected(2, "")
    assert joined(play) == {("127.0.0.1", 5001), ("127.0.0.1", 5002)}


def alone_at_the_end(group: str) -> list[Exit]:
    """Let only a node answer whose ID begins so; return how the worker ended within a minute."""
    play = opened(ServerConfig(cluster=ClusterConfig(join=(Address("192.0.2.20", 8003),))))
    play << SelectSource(1, "192.0.2.20") >> SourceSelected(1, "192.0.2.10")
    assert joined(play) == {("192.0.2.20", 8003), ("192.0.2.10", 5001), ("192.0.2.10", 5002)}
    node_appears(play, f"{group}1-1", "192.0.2.10")
    play >> 61.0
    return [each for each in play.take() if isinstance(each, Exit)]


def test_siblings_are_not_the_nodes_that_it_was_told_to_join() -> None:
    (end,) = alone_at_the_end("n-")
    assert end.message.startswith("no node of '192.0.2.20:8003' answered within cluster.join_timeout (60 s)")
    assert alone_at_the_end("other-") == []


def test_other_nodes_have_the_places_of_nodes_on_either_port_and_clients_those_of_clients() -> None:
    play = opened() >> SourceSelected(1, "192.0.2.10") >> SourceSelected(2, "")
    node = node_of(play)
    know(play, 20)
    play >> Accepted(1, "peers", "192.0.2.20", 5000) >> Accepted(3, "proxy", "192.0.2.20", 5001)
    play >> Accepted(5, "peers", "192.0.2.7", 5002) >> Accepted(7, "proxy", "192.0.2.7", 5003)
    play.take()
    assert set(node.admission.ports["peers"].channels) == {1, 3}
    assert set(node.admission.ports["proxy"].channels) == {5, 7}


def test_it_leaves_its_ports_to_its_successor_with_all_that_waits() -> None:
    play = opened() << SelectSource(1, "192.0.2.1") << SelectSource(2, "2001:db8::1")
    play >> SuccessorServes() >> SuccessorServes()
    done = play.take()
    for listener in ("proxy", "upstream", "join"):
        assert StopListening(listener, leaves_waiting=True) in done
    assert not [each for each in done if isinstance(each, StopListening) and each.listener == "peers"]
    assert [log.message for log in play.logs].count("draining") == 1, "what it has goes on, and the second says nothing"
    assert Exit(0, "") in (play >> 10.0).take()
