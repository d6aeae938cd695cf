"""The way between an agent or a forwarder and its server: balancers, proxies, paths, and nodes that are gone."""

import signal
from base64 import b64encode
from collections.abc import Callable

import pytest

from tests.e2e.harness import LOCAL, Fleet, Server
from tests.e2e.origin import Origin, service
from tests.e2e.relay import first_head, join
from tests.e2e.wire import Wire, dial, request
from tests.waiting import wait_until

NAME = "pico.test"
"""The server's name, which only the proxy of these tests knows."""

BASIC = "Basic " + b64encode(b"me:s3cret").decode()
PAGE = b"<html><body>Nobody is here.</body></html>"


def page(status: str) -> bytes:
    """Return what a balancer answers when no server is behind it."""
    return f"HTTP/1.1 {status}\r\nContent-Type: text/html\r\nContent-Length: {len(PAGE)}\r\n\r\n".encode() + PAGE


def proxy(port: int, authorization: str = "") -> Callable[[Wire], None]:
    """Return an HTTP proxy that knows one server by its name; ``port`` is where it really listens."""

    def serve(wire: Wire) -> None:
        head = first_head(wire)
        assert (head.method, head.target) == ("CONNECT", f"{NAME}:80")
        assert head["host"] == f"{NAME}:80"
        if head["proxy-authorization"] != authorization:
            wire.send(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
            return
        wire.send(b"HTTP/1.1 200 Connection established\r\n\r\n")
        join(wire, port)

    return serve


# --- balancers -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", ["404 Not Found", "401 Unauthorized", "502 Bad Gateway"])
def test_a_balancer_answers_while_the_server_restarts(fleet: Fleet, origin: Origin, status: str) -> None:
    """Every endpoint of the agent survives, with one warning each."""
    port = fleet.reserve_port()
    server = fleet.server(upstream_port=port)
    answered: list[str] = []
    is_away = False

    def balance(wire: Wire) -> None:
        if is_away:
            first_head(wire)
            wire.send(page(status))
            answered.append(status)
        else:
            join(wire, port)

    with service(balance) as balancer:
        agents = [fleet.agent(balancer.port, name, origin.port) for name in ("one", "two")]
        for agent in agents:
            agent.await_log("endpoint registered")
        marks = [agent.mark() for agent in agents]
        is_away = True
        server.process.kill()
        wait_until(lambda: len(answered) >= 10, "the agents try again and again")
        for agent, mark in zip(agents, marks, strict=True):
            agent.await_log("not the answer of a Pico server", since=mark)  # one may have made most of the attempts
        again = fleet.server(upstream_port=port)
        is_away = False
        for agent, mark in zip(agents, marks, strict=True):
            agent.await_log("endpoint registered", since=mark)
            (warning,) = agent.logged("not the answer of a Pico server", since=mark)
            assert warning["message"].startswith(f"not the answer of a Pico server: {status}; check connect.url")
        assert request(again.proxy_port, "one", "/describe")[0].status == 200
        for agent in agents:
            agent.stop()


def test_a_forwarder_waits_while_a_balancer_answers(fleet: Fleet) -> None:
    server = fleet.server()
    answers = iter([page("404 Not Found"), page("503 Service Unavailable")])

    def balance(wire: Wire) -> None:
        asked = wire.receive()
        answer = None if b"?check " in asked else next(answers, None)
        if answer is None:
            join(wire, server.proxy_port, asked)
        else:
            wire.send(answer)

    def greet(wire: Wire) -> None:
        wire.send(b"hello")
        wire.receive_rest()

    with service(greet) as greeter, service(balance) as balancer:
        fleet.agent(server, "tcp", greeter.port, kind="tcp")
        url = f"http://{LOCAL}:{balancer.port}"
        forwarder = fleet.start("forward", "tcp", f"{LOCAL}:0", "tcp", "--connect.url", url)
        with dial(forwarder.port("forward")) as wire:
            assert wire.receive_exactly(5) == b"hello"
        forwarder.stop()  # a process writes its log some milliseconds after what it tells of
        assert [record["reason"][:40] for record in forwarder.logged("cannot reach the endpoint yet")] == [
            "not the answer of a Pico server: 404 Not",
            "not the answer of a Pico server: 503 Ser",
        ]


@pytest.mark.parametrize(
    "is_refused", [pytest.param(True, id="refused"), pytest.param(False, id="silent", marks=pytest.mark.slow)]
)
def test_a_balancer_that_keeps_an_agent_at_its_dead_node_for_seconds(
    fleet: Fleet, origin: Origin, is_refused: bool
) -> None:
    """It chooses by the client's address alone, so no other port helps; the agent is there when it moves on."""
    nodes = [fleet.server(), fleet.server()]
    ports = [node.upstream_port for node in nodes]
    tried: list[int] = []

    def balance(wire: Wire) -> None:
        number = 0 if len(tried) < 5 else 1  # four attempts at the dead node; a test that sees them would be too late
        tried.append(number)
        if number == 0 and len(tried) > 1 and not is_refused:
            wire.socket.settimeout(None)
            wire.receive_rest()
        else:
            join(wire, ports[number])

    with service(balance) as balancer:
        agent = fleet.agent(balancer.port, "e1", origin.port, "--connect.timeout", "1s")
        agent.await_log("endpoint registered")
        mark = agent.mark()
        nodes[0].process.kill()
        wait_until(lambda: request(nodes[1].proxy_port, "e1", "/describe")[0].status == 200, "e1 is served again")
        assert tried == [0] * 5 + [1], "the first attempt that can succeed does"
        agent.stop()  # a process writes its log some milliseconds after what it tells of
        reason = "connection closed" if is_refused else "the server did not answer within 1 s"
        assert agent.logged("tunnel lost: connection closed by the server", since=mark)
        assert agent.logged(f"cannot reach the server: {reason}", since=mark)
        (registered,) = agent.logged("endpoint registered", since=mark)
        assert registered["node"] == nodes[1].process.await_log("ready")["node_id"]


def test_connections_that_lead_to_a_dead_node_do_not_hold_the_agent(fleet: Fleet, origin: Origin) -> None:
    """A balancer chooses by the agent's address and port, and has not noticed that one node was killed."""
    nodes = [fleet.server(), fleet.server()]
    ports = [node.upstream_port for node in nodes]
    chosen: list[int] = []

    def balance(wire: Wire) -> None:
        number = wire.socket.getpeername()[1] // 2 % 2
        chosen.append(number)
        join(wire, ports[number])

    with service(balance) as balancer:
        agents = [fleet.agent(balancer.port, f"e{number}", origin.port) for number in range(4)]
        for agent in agents:
            agent.await_log("endpoint registered")
        marks = [agent.mark() for agent in agents]
        dead = chosen[0]
        nodes[dead].process.kill()
        alive = nodes[1 - dead]
        for number in range(len(agents)):
            wait_until(
                lambda number=number: request(alive.proxy_port, f"e{number}", "/describe")[0].status == 200,  # type: ignore[misc]
                f"e{number} is served by the node that is left",
            )
        for agent, mark in zip(agents, marks, strict=True):
            agent.stop()
            assert not agent.logged("endpoint refused", since=mark)


def test_a_path_before_the_tunnel_and_the_endpoint(fleet: Fleet) -> None:
    """A balancer leads to the cluster by the path, and takes it away."""
    server = fleet.server()
    ports = {"/tunnels": server.upstream_port, "/proxy": server.proxy_port}

    def balance(wire: Wire) -> None:
        head = first_head(wire)
        prefix = next((prefix for prefix in ports if head.target.startswith(f"{prefix}/")), None)
        if prefix is None:
            wire.send(page("404 Not Found"))
        else:
            join(wire, ports[prefix], head.data.replace(prefix.encode(), b"", 1))

    def greet(wire: Wire) -> None:
        wire.send(b"hello")
        wire.receive_rest()

    with service(greet) as greeter, service(balance) as balancer:
        url = f"http://{LOCAL}:{balancer.port}"
        agent = fleet.start("agent", "tcp", "tcp", str(greeter.port), "--connect.url", f"{url}/tunnels/")
        agent.await_log("endpoint registered")
        forwarder = fleet.start("forward", "tcp", f"{LOCAL}:0", "tcp", "--connect.url", f"{url}/proxy")
        with dial(forwarder.port("forward")) as wire:
            assert wire.receive_exactly(5) == b"hello"
        agent.stop()
        forwarder.stop()


# --- proxies ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("variable", ["HTTP_PROXY", "http_proxy", ""])
def test_agents_and_forwarders_go_through_a_proxy(fleet: Fleet, monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    """Named in the environment or by a key. The credentials reach the proxy and nothing else."""
    server = fleet.server()

    def greet(wire: Wire) -> None:
        wire.send(b"hello")
        wire.receive_rest()

    with (
        service(greet) as greeter,
        service(proxy(server.upstream_port, BASIC)) as upstream,
        service(proxy(server.proxy_port, BASIC)) as downstream,
    ):
        started = []
        for port, command in (
            (upstream.port, ("agent", "tcp", "tcp", str(greeter.port))),
            (downstream.port, ("forward", "tcp", f"{LOCAL}:0", "tcp")),
        ):
            url = f"http://me:s3cret@{LOCAL}:{port}"
            if variable:
                monkeypatch.setenv(variable, url)
            flags = () if variable else ("--connect.proxy-url", url)
            started.append(fleet.start(*command, "--connect.url", f"http://{NAME}", *flags))
            record = started[-1].await_log("connecting through a proxy")
            assert record["proxy"] == f"http://{LOCAL}:{port}"
        agent, forwarder = started
        agent.await_log("endpoint registered")
        with dial(forwarder.port("forward")) as wire:
            assert wire.receive_exactly(5) == b"hello"
        for process in started:
            process.stop()
            assert "s3cret" not in process.errors()


def test_a_server_in_no_proxy_is_reached_directly(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch, origin: Origin
) -> None:
    monkeypatch.setenv("HTTP_PROXY", f"http://{LOCAL}:{fleet.reserve_port()}")
    fleet.agent(fleet.server(), "origin", origin.port)  # loopback addresses never go through a proxy
    monkeypatch.setenv("NO_PROXY", f".other, {NAME}")
    agent = fleet.start("agent", "http", "e", str(origin.port), "--connect.url", f"http://{NAME}")
    record = agent.await_log("cannot reach the server")
    assert "proxy" not in record["message"]
    agent.stop()


@pytest.mark.parametrize("credentials", ["", "me:wrong@"])
def test_a_proxy_that_wants_other_credentials(fleet: Fleet, origin: Origin, credentials: str) -> None:
    with service(proxy(1, BASIC)) as running:
        url = f"http://{credentials}{LOCAL}:{running.port}"
        agent = fleet.start(
            "agent", "http", "e", str(origin.port), "--connect.url", f"http://{NAME}", "--connect.proxy-url", url
        )
        what = "it refused the credentials" if credentials else "it wants credentials, give them in its URL"
        told = f"cannot reach the server: through the proxy http://{LOCAL}:{running.port}: {what}: 407 Proxy"
        agent.await_log(told)
        wait_until(lambda: running.connections >= 2, "the agent tries again")
        agent.stop()
        assert "wrong" not in agent.errors()


def test_what_is_not_a_proxy_or_is_away(fleet: Fleet, origin: Origin) -> None:
    def babble(wire: Wire) -> None:
        first_head(wire)
        wire.send(b"220 mail.example.com ESMTP\r\n\r\n")

    with service(babble) as babbler:
        for port, what in (
            (babbler.port, "the answer is not HTTP/1.1: is it an HTTP proxy?"),
            (fleet.reserve_port(), "connection refused"),
        ):
            url = f"http://{LOCAL}:{port}"
            agent = fleet.start(
                "agent", "http", "e", str(origin.port), "--connect.url", f"http://{NAME}", "--connect.proxy-url", url
            )
            agent.await_log(f"cannot reach the server: through the proxy {url}: {what}")
            agent.stop()


def test_a_wrong_proxy_is_refused_at_once(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "socks5://me:s3cret@h:1")
    agent = fleet.start("agent", "http", "e", "1", "--connect.url", f"http://{NAME}")
    assert agent.wait() == 2
    (line,) = agent.stderr.lines
    assert line.startswith("pico: HTTP_PROXY in the environment: wants the URL of an HTTP proxy")
    assert "s3cret" not in line


# --- which side ended a tunnel ---------------------------------------------------------------------------------------


def ended(server: Server) -> str:
    """Return the reason that the server gives for the end of a tunnel."""
    return str(server.process.await_log("tunnel closed")["reason"])


@pytest.mark.parametrize(
    ("number", "reason"),
    [
        (signal.SIGTERM, "the agent stopped"),
        (signal.SIGINT, "the agent stopped"),
        (signal.SIGKILL, "the connection was lost"),
    ],
)
def test_the_server_says_how_an_agent_ended(fleet: Fleet, origin: Origin, number: int, reason: str) -> None:
    server = fleet.server()
    agent = fleet.agent(server, "origin", origin.port)
    agent.signal(number)
    agent.wait()
    assert ended(server) == reason


def test_a_server_that_stops_says_that_it_ended_the_tunnel(fleet: Fleet, origin: Origin) -> None:
    server = fleet.server()
    fleet.agent(server, "origin", origin.port)
    server.process.stop()
    assert ended(server) == "closed by this server"


# --- the Host that the service is told -------------------------------------------------------------------------------


@pytest.mark.parametrize("host_header", ["keep", "rewrite", "localhost"])
def test_the_host_header(fleet: Fleet, origin: Origin, host_header: str) -> None:
    server = fleet.server()
    fleet.agent(server, "e", origin.port, "--host-header", host_header)
    told = {"keep": "e.pico.test", "rewrite": f"localhost:{origin.port}", "localhost": "localhost"}
    for _ in range(2):
        assert request(server.proxy_port, "e", "/describe")[0].status == 200
        head = origin.requests[-1]
        assert head["host"] == told[host_header]
        assert head["x-forwarded-host"] == "e.pico.test"
