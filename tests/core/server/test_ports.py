"""A port is a row of one table, from which all else is read. Rows that are added: ``tests/sdk/test_added_port.py``."""

import random

import pytest

from pico_core.boundary import Accepted, Listen, StopListening, Tick
from pico_core.config.server import ServerConfig
from pico_core.config.server_ports import ENTRANCES, PEERS, PORTS, WORKER_PORTS, PortRow
from pico_core.config.values import Address
from pico_core.program import SuccessorServes
from pico_core.server.admin.limits import limit_rows
from pico_core.server.exposure import open_ports
from pico_core.server.limits import connection_limits
from pico_core.server.node import ServerNode
from pico_core.server.worker import Worker
from pico_driver.embedding.settings import LOCAL_NODE
from pico_driver.tls_sections import server_sections
from tests.play import Play, server_play


def worker(number: int) -> Worker:
    """Return what one of two workers is told: ``own_gossip`` and ``control`` are its own."""
    return Worker(
        number=number,
        count=2,
        node_id=f"n-{number}",
        group="n-",
        shared={"proxy": Address("", 8000), "upstream": Address("", 8001), "join": Address("", 8003)},
        own_gossip=Address("", 4000 + number),
        control=Address("127.0.0.1", 5000 + number),
        secret="drawn",
    )


def listens(told: Worker | None) -> dict[str, tuple[str, int]]:
    """Return where a node or a worker wants to listen, by listener in the order of the commands."""
    play = Play(ServerNode(ServerConfig(), "node-1", random.Random(1), worker=told)) >> Tick()
    return {each.listener: (each.host, each.port) for each in play.take() if isinstance(each, Listen)}


@pytest.mark.parametrize("port", PORTS, ids=lambda port: str(port.name))
class TestEveryPort:
    """What follows from each row."""

    def test_has_limits(self, port: PortRow) -> None:
        limits = connection_limits(ServerConfig(), 10_000).ports
        assert limits[port.listener].most > 0
        assert set(limits) == {each.listener for each in (*PORTS, PEERS)}, "each limit is that of a port"

    def test_is_opened(self, port: PortRow) -> None:
        listened = listens(None)
        assert list(listened) == [each.listener for each in PORTS]
        assert listened[port.listener][1] == port.bind_addr(ServerConfig()).port

    def test_is_among_the_limits_that_an_operator_sees(self, port: PortRow) -> None:
        play = server_play()
        node = play.machine
        assert isinstance(node, ServerNode)
        before = limit_rows(node.facts)
        play >> Accepted(101, port.listener, "192.0.2.7", 4000)
        changed = {row.key for row, old in zip(limit_rows(node.facts), before, strict=True) if row != old}
        assert changed > {"max_connections"}, "no row tells of its connections"

    def test_is_at_a_free_number_in_a_program(self, port: PortRow) -> None:
        assert LOCAL_NODE[f"{port.key}.bind_addr"] == "127.0.0.1:0"

    def test_is_named_where_others_may_use_it(self, port: PortRow) -> None:
        address = port.bind_addr(ServerConfig())
        assert (f"{port.name} {address}", port.guard) in open_ports(ServerConfig())


@pytest.mark.parametrize("port", WORKER_PORTS, ids=lambda port: str(port.name))
class TestEveryPortOfAWorker:
    """All workers listen at the shared ports, and each has the others alone: two may never bind one address."""

    def test_is_shared_or_its_own(self, port: PortRow) -> None:
        first, second = (listens(worker(number))[port.listener] for number in (1, 2))
        if port.shared:
            assert first == second
            assert first[1]
        else:
            assert first != second or first[1] == 0, "both would bind it"

    def test_has_limits(self, port: PortRow) -> None:
        limits = connection_limits(ServerConfig(), 10_000, is_worker=True).ports
        assert limits[port.listener].most > 0
        assert set(limits) == {each.listener for each in WORKER_PORTS}, "each limit is that of a port"

    def test_is_given_up_to_a_successor_if_shared(self, port: PortRow) -> None:
        play = Play(ServerNode(ServerConfig(), "n-1", random.Random(1), worker=worker(1))) >> Tick()
        play >> SuccessorServes()
        assert (StopListening(port.listener, leaves_waiting=True) in play.take()) is port.shared


def test_ports_with_a_certificate_have_a_profile() -> None:
    assert {port.listener for port in ENTRANCES} == {"proxy", "upstream", "admin"}
    assert not server_sections(ServerConfig()).servers
