"""Adding a port is adding a row: a copy of the table with one more row, and no other change."""

import contextlib
import json
import random
import socket
from collections.abc import Iterator
from functools import partial
from typing import Any

from msgspec.structs import replace

import pico_asyncio.embedding
import pico_trio.embedding
from pico_core.agent.client import EmbeddedClient
from pico_core.boundary import Accepted, Listen, Received, Send, StopListening, Tick
from pico_core.config.server import ServerConfig
from pico_core.config.server_ports import PORTS, WORKER_PORTS
from pico_core.config.values import LOCALHOST, Address
from pico_core.forward.dialing import DialMachine
from pico_core.program import SuccessorServes
from pico_core.server.admin.limits import limit_rows
from pico_core.server.embedded import EmbeddedNode
from pico_core.server.exposure import open_ports
from pico_core.server.limits import connection_limits
from pico_core.server.node import ServerNode
from pico_core.server.worker import Worker
from pico_driver.embedding.sdk import Machines, Sdk
from pico_tunnel.shared_ports import SharedPorts
from tests.core.server.test_ports import worker
from tests.play import Play
from tests.sdk.added_port import ECHO, WITH_ECHO
from tests.sdk.kit import Kit
from tests.waiting import PATIENCE_S


def sdk_with_echo(kit: Kit) -> Sdk:
    machines = Machines(EmbeddedClient, DialMachine, partial(EmbeddedNode, ports=WITH_ECHO))
    return Sdk(pico_trio.embedding.embedded if kit.is_trio else pico_asyncio.embedding.embedded, machines)


def echoed(address: str, data: bytes) -> bytes:
    host, _, port = address.rpartition(":")
    with socket.create_connection((host, int(port)), PATIENCE_S) as peer:
        peer.sendall(data)
        peer.shutdown(socket.SHUT_WR)
        return b"".join(iter(partial(peer.recv, 1 << 16), b""))


def test_a_node_serves_it(kit: Kit) -> None:
    async def scenario(kit: Kit) -> None:
        async with sdk_with_echo(kit).serve_node() as node:
            address = node.address_of("echo")
            assert await kit.in_thread(partial(echoed, address, b"abc" * 1000)) == b"abc" * 1000

            shown = await kit.get(node.admin_address, "/status/limits")
            rows = {row["key"]: row for row in json.loads(shown.body)}
            assert rows["connections of the echo port"]["then"] == ECHO.when_full
            metrics = (await kit.get(node.admin_address, "/metrics")).body.decode()
            assert 'listener="echo"' in metrics

    kit.run(scenario)


def started(told: Worker | None, row: Any = ECHO) -> tuple[Play, ServerNode]:
    node = ServerNode(ServerConfig(), "n-1", random.Random(1), worker=told, ports=(*PORTS, row))
    return Play(node) >> Tick(), node


def test_it_has_places_that_no_other_port_takes() -> None:
    for_all, for_one_less = (connection_limits(ServerConfig(), 256, ports=rows) for rows in (WITH_ECHO, PORTS))
    few = for_all.ports["echo"]
    assert (few.most, few.reserve) == (for_all.ports["admin"].most, for_all.ports["admin"].reserve)
    assert for_one_less.ports["proxy"].most - for_all.ports["proxy"].most == few.reserve
    reserved = sum(port.reserve for port in for_all.ports.values()) + for_all.outgoing_reserve
    assert reserved <= for_all.most


def test_an_operator_sees_its_connections() -> None:
    play, node = started(None)
    assert Listen("echo", LOCALHOST, 0) in play.take()
    play >> Accepted(101, "echo", "192.0.2.7", 4000) >> Received(101, b"abc")
    assert Send(101, b"abc") in play.take()
    used = {row.key: row.used for row in limit_rows(node.facts)}
    assert used["connections of the echo port"] == 1


def test_a_peer_without_a_place_is_told_what_the_row_says() -> None:
    for row, is_told in ((ECHO, False), (replace(ECHO, refuses_with_503=True), True)):
        answer = connection_limits(ServerConfig(), 256, ports=(*PORTS, row)).ports["echo"].answer
        assert answer.startswith(b"HTTP/1.1 503 ") is is_told


def test_it_is_named_where_others_may_use_it() -> None:
    row = replace(ECHO, bind_addr=lambda _config: Address("", 7))
    assert ("echo :7", "echo.bind_addr") in open_ports(ServerConfig(), (*PORTS, row))
    sealed = replace(row, sealed=lambda _config: True)
    assert ("echo :7", "echo.bind_addr") not in open_ports(ServerConfig(), (*PORTS, sealed))


def test_each_worker_has_its_own() -> None:
    play, node = started(worker(1))
    assert Listen("echo", LOCALHOST, 0) in play.take()
    assert node.admission.limits.ports["echo"].reserve


@contextlib.contextmanager
def sockets_of_a_worker(row: Any) -> Iterator[tuple[SharedPorts, dict[str, socket.socket]]]:
    free = [replace(each, bind_addr=lambda _config: Address(LOCALHOST, 0)) for each in (*WORKER_PORTS, row)]
    ports = SharedPorts(ServerConfig(), 2, tuple(free))
    try:
        yield ports, ports.open(1)
    finally:
        ports.close_all()


def test_workers_share_it_where_its_row_says_so() -> None:
    row = replace(ECHO, shared=True)
    with sockets_of_a_worker(row) as (ports, opened):
        at = ports.addresses["echo"]
        assert opened["echo"].getsockname() == (LOCALHOST, at.port)
    with sockets_of_a_worker(ECHO) as (ports, opened):
        assert not {"echo"} & {*ports.addresses, *opened}

    told = worker(1)
    play, _ = started(replace(told, shared={**told.shared, "echo": at}), row)
    assert Listen("echo", at.host, at.port) in play.take()
    play >> SuccessorServes()
    assert StopListening("echo", leaves_waiting=True) in play.take()
