"""Server, agent and forwarder in one network without faults: whole stories."""

import random
import re

from pico_core.agent.machine import AgentMachine
from pico_core.boundary import Exit
from pico_core.config.agent import AgentConfig, AgentConnectConfig, ListenerConfig
from pico_core.config.forward import ForwardConfig, ForwardConnectConfig, PortConfig
from pico_core.config.server import ServerConfig
from pico_core.config.values import Address, Origin
from pico_core.forward.machine import ForwardMachine
from pico_core.server.node import ServerNode
from tests.sim.script import Scene, ScriptedService

PROXY = 8000
UPSTREAM = 8001
SERVICE = 3000
LOCAL = 6379

GET = b"GET /a?b HTTP/1.1\r\nHost: e1.example.com\r\nX-Forwarded-For: 1.2.3.4\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\nContent-Length: 2\r\n\r\nok"
GET_SERVED = (
    b"GET /a?b HTTP/1.1\r\nHost: e1.example.com\r\n"
    b"X-Forwarded-For: 10.0.0.1\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Host: e1.example.com\r\n\r\n"
)


def unnumbered(requests: bytes) -> bytes:
    """Return requests without their IDs, which come last."""
    return re.sub(rb"X-Pico-Request-ID: [0-9a-f]{16}\r\n\r\n", b"\r\n", requests)


def server(name: str = "node-1") -> ServerNode:
    return ServerNode(ServerConfig(), name, random.Random(name))


def agent(protocol: str = "http") -> AgentMachine:
    listener = ListenerConfig(endpoint_id="e1", addr=Origin("service", SERVICE), protocol=protocol)
    connect = AgentConnectConfig(url=Origin("pico", UPSTREAM, "http"))
    return AgentMachine(AgentConfig(listeners=(listener,), connect=connect), random.Random(2))


def staged(protocol: str = "http") -> tuple[Scene, ScriptedService]:
    """Return a scene with the server ``pico``, the agent ``agent``, and the agent's service."""
    scene = Scene()
    service = scene.serve("service", SERVICE)
    scene.add("pico", server())
    scene.add("agent", agent(protocol))
    return scene, service


def test_a_request_goes_all_the_way_and_back() -> None:
    scene, service = staged()
    client = scene.dial("pico", PROXY)
    for count in (1, 2, 3):
        client.send(GET)
        (connection,) = service.lines
        assert unnumbered(connection.received) == GET_SERVED * count
        connection.send(OK)
        assert client.received == OK * count


def test_large_bodies_arrive_as_they_were_sent() -> None:
    scene, service = staged()
    client = scene.dial("pico", PROXY)
    body = random.Random(3).randbytes(3_000_000)
    client.send(b"PUT / HTTP/1.1\r\nHost: e1.example.com\r\nContent-Length: 3000000\r\n\r\n")
    for at in range(0, len(body), 50_000):
        client.send(body[at : at + 50_000])
    (connection,) = service.lines
    assert connection.received.endswith(b"\r\n\r\n" + body)
    head = b"HTTP/1.1 200 OK\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\nContent-Length: 3000000\r\n\r\n"
    connection.send(head)
    for at in range(0, len(body), 50_000):
        connection.send(body[at : at + 50_000])
    assert client.received == head + body


def test_a_tunnel_lives_for_as_long_as_both_ends_do() -> None:
    scene, service = staged()
    scene.run(3_600.0)
    client = scene.dial("pico", PROXY)
    client.send(GET)
    service.lines[0].send(OK)
    assert client.received == OK
    assert [log.message for log in scene.logs["agent"]] == ["endpoint registered"]


def test_a_service_that_breaks_off_is_visible_to_the_client() -> None:
    scene, service = staged()
    client = scene.dial("pico", PROXY)
    client.send(GET)
    service.lines[0].send(OK[:-1])
    service.lines[0].reset()
    assert (client.received, client.ended, client.lost) == (OK[:-1], True, False)


def test_a_client_that_leaves_is_visible_to_the_service() -> None:
    scene, service = staged()
    client = scene.dial("pico", PROXY)
    client.send(GET)
    client.close()
    assert service.lines[0].lost


def test_a_raw_connection_through_forwarder_server_and_agent() -> None:
    scene, service = staged("tcp")
    ports = (PortConfig(addr=Address("", LOCAL), endpoint_id="e1"),)
    connect = ForwardConnectConfig(url=Origin("pico", PROXY, "http"))
    scene.add("forwarder", ForwardMachine(ForwardConfig(ports=ports, connect=connect), random.Random(4)))
    client = scene.dial("forwarder", LOCAL)
    (connection,) = service.lines
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
    scene, service = staged()
    client = scene.dial("pico", PROXY)
    client.send(GET)
    scene.shut_down("agent")
    scene.run(5.0)
    assert scene.exits == {}
    late = scene.dial("pico", PROXY)
    late.send(GET)
    assert late.received.startswith(b"HTTP/1.1 502 Bad Gateway\r\n")
    service.lines[0].send(OK)
    assert client.received.endswith(b"ok")
    assert scene.exits == {"agent": Exit(0, "")}


def test_a_server_that_stops_hands_its_agents_over() -> None:
    scene, service = staged()
    client = scene.dial("pico", PROXY)
    client.send(GET)
    scene.add("pico-2", server("node-2"))
    scene.resolve("pico", "pico-2")
    scene.shut_down("pico")
    scene.run(2.0)
    newcomer = scene.dial("pico", PROXY)
    newcomer.send(GET)
    service.lines[1].send(OK)
    assert newcomer.received == OK
    service.lines[0].send(OK)
    assert client.received == OK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
    assert client.ended
    scene.run(12.0)
    assert scene.exits == {"pico": Exit(0, "")}
    newcomer.send(GET)
    assert unnumbered(service.lines[0].received) == GET_SERVED * 2


def test_an_agent_finds_a_server_that_comes_late() -> None:
    scene = Scene()
    service = scene.serve("service", SERVICE)
    scene.add("agent", agent())
    scene.run(60.0)
    scene.add("pico", server())
    scene.run(80.0)
    client = scene.dial("pico", PROXY)
    client.send(GET)
    service.lines[0].send(OK)
    assert client.received == OK
