"""Server, agent and forwarder joined back to back: whole stories."""

import random

from pico_core.agent.machine import AgentMachine
from pico_core.boundary import Exit, ShutdownRequested
from pico_core.config.agent import AgentConfig, ListenerConfig
from pico_core.config.forward import ForwardConfig, PortConfig
from pico_core.config.server import ServerConfig
from pico_core.config.values import Address, Origin
from pico_core.forward.machine import ForwardMachine
from pico_core.server.node import ServerNode
from tests.core.agent.network import Network, Script

PROXY = 8000
SERVICE = 3000
LOCAL = 6379

GET = b"GET /a?b HTTP/1.1\r\nHost: e1.example.com\r\nX-Forwarded-For: 1.2.3.4\r\n\r\n"
GET_SERVED = (
    b"GET /a?b HTTP/1.1\r\nHost: e1.example.com\r\n"
    b"X-Forwarded-For: 127.0.0.1\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Host: e1.example.com\r\n\r\n"
)
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def server(name: str = "node-1") -> ServerNode:
    return ServerNode(ServerConfig(), name, random.Random(name))


def agent(protocol: str = "http") -> AgentMachine:
    listener = ListenerConfig(endpoint_id="e1", addr=Origin("127.0.0.1", SERVICE), protocol=protocol)
    return AgentMachine(AgentConfig(listeners=(listener,)), random.Random(2))


def staged(protocol: str = "http") -> tuple[Network, ServerNode, AgentMachine, list[Script]]:
    """Return a network with a server, an agent and its service."""
    network = Network()
    service = network.serve(SERVICE)
    one, two = server(), agent(protocol)
    network.add(one)
    network.add(two)
    return network, one, two, service


def test_a_request_goes_all_the_way_and_back() -> None:
    network, _, _, service = staged()
    client = network.dial(PROXY)
    for count in (1, 2, 3):
        client.send(GET)
        (connection,) = service
        assert connection.received == GET_SERVED * count
        connection.send(OK)
        assert client.received == OK * count


def test_large_bodies_arrive_as_they_were_sent() -> None:
    network, _, _, service = staged()
    client = network.dial(PROXY)
    body = random.Random(3).randbytes(3_000_000)
    client.send(b"PUT / HTTP/1.1\r\nHost: e1.example.com\r\nContent-Length: 3000000\r\n\r\n")
    for at in range(0, len(body), 50_000):
        client.send(body[at : at + 50_000])
    (connection,) = service
    assert connection.received.endswith(b"\r\n\r\n" + body)
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 3000000\r\n\r\n"
    connection.send(head)
    for at in range(0, len(body), 50_000):
        connection.send(body[at : at + 50_000])
    assert client.received == head + body


def test_a_tunnel_lives_for_as_long_as_both_ends_do() -> None:
    network, _, two, service = staged()
    network.run(3_600.0)
    client = network.dial(PROXY)
    client.send(GET)
    service[0].send(OK)
    assert client.received == OK
    assert [log.message for log in network.logs[two]] == ["endpoint registered"]


def test_a_service_that_breaks_off_is_visible_to_the_client() -> None:
    network, _, _, service = staged()
    client = network.dial(PROXY)
    client.send(GET)
    service[0].send(OK[:-1])
    service[0].reset()
    assert (client.received, client.ended, client.lost) == (OK[:-1], True, False)


def test_a_client_that_leaves_is_visible_to_the_service() -> None:
    network, _, _, service = staged()
    client = network.dial(PROXY)
    client.send(GET)
    client.close()
    assert service[0].lost


def test_a_raw_connection_through_forwarder_server_and_agent() -> None:
    network, _, _, service = staged("tcp")
    ports = (PortConfig(addr=Address("127.0.0.1", LOCAL), endpoint_id="e1"),)
    network.add(ForwardMachine(ForwardConfig(ports=ports), random.Random(4)))
    client = network.dial(LOCAL)
    (connection,) = service
    connection.send(b"220 hello\r\n")
    assert client.received == b"220 hello\r\n"
    data = random.Random(5).randbytes(1_000_000)
    client.send(data)
    client.end()
    assert connection.received == data
    assert connection.ended
    connection.send(data)
    connection.close()
    assert client.received == b"220 hello\r\n" + data
    assert client.ended


def test_an_agent_that_stops_finishes_its_requests() -> None:
    network, _, two, service = staged()
    client = network.dial(PROXY)
    client.send(GET)
    network.tell(two, ShutdownRequested())
    network.run(5.0)
    assert two not in network.exits
    late = network.dial(PROXY)
    late.send(GET)
    assert late.received.startswith(b"HTTP/1.1 502 Bad Gateway\r\n")
    service[0].send(OK)
    assert client.received.endswith(b"ok")
    assert network.exits[two] == Exit(0, "")


def test_a_server_that_stops_hands_its_agents_over() -> None:
    network, one, _, service = staged()
    client = network.dial(PROXY)
    client.send(GET)
    two = server("node-2")
    network.add(two)  # from now on the ports lead there
    network.tell(one, ShutdownRequested())
    network.run(1.0)
    newcomer = network.dial(PROXY)
    newcomer.send(GET)
    service[1].send(OK)
    assert newcomer.received == OK
    service[0].send(OK)
    assert client.received == OK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
    assert client.ended
    network.run(10.0)
    assert network.exits == {one: Exit(0, "")}
    newcomer.send(GET)
    assert service[0].received == GET_SERVED * 2


def test_an_agent_finds_a_server_that_comes_late() -> None:
    network = Network()
    service = network.serve(SERVICE)
    network.add(agent())
    network.run(60.0)
    network.add(server())
    network.run(80.0)
    client = network.dial(PROXY)
    client.send(GET)
    service[0].send(OK)
    assert client.received == OK
