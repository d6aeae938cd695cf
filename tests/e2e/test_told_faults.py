"""Twenty faults, each made with real processes: ``pico explain`` or ``pico doctor`` tells it by name and what to do.

None needs root. What lies between nodes is a relay of this process, to which each node has others send its gossip; the
wrong clock is the one that the server's Python tells.
"""

import contextlib
import json
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.certificates import issue, write_authority
from tests.e2e.harness import LOCAL, Fleet, Server
from tests.e2e.origin import HangUpError, Origin, Visit, service
from tests.e2e.relay import join
from tests.e2e.test_explain import garbage, known_at, silent, two_nodes
from tests.e2e.test_tokens import OTHER_SECRET, SECRET, token
from tests.e2e.told_faults import FAULTS, is_told, table
from tests.e2e.wire import Wire, dial, request, request_bytes
from tests.ports import reserved_port
from tests.waiting import wait_until

ROOT = Path(__file__).parents[2]


class Scene(NamedTuple):
    """The things that a maker may use."""

    fleet: Fleet
    origin: Origin
    folder: Path
    environment: pytest.MonkeyPatch


Maker = Callable[[Scene], str]
MAKERS: dict[str, Maker] = {}


def maker(name: str) -> Callable[[Maker], Maker]:
    def remember(make: Maker) -> Maker:
        MAKERS[name] = make
        return make

    return remember


def pico(*arguments: str) -> str:
    command = [sys.executable, "-m", "pico_tunnel", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert "Traceback" not in done.stderr, done.stderr
    return done.stdout + done.stderr


def explain(server: Server, *arguments: str) -> str:
    return pico("explain", *arguments, "--server.url", f"http://{LOCAL}:{server.admin_port}")


def doctor_agent(url: str, *flags: str, service_port: int) -> str:
    return pico("doctor", "agent", "http", "web", str(service_port), "--connect.url", url, *flags)


def doctor_server(server: Server) -> str:
    ports = {name: server.process.port(name) for name in ("proxy", "upstream", "admin", "gossip")}
    ports["cluster.gossip"] = ports.pop("gossip")
    return pico("doctor", "server", *(f"--{name}.bind-addr={LOCAL}:{port}" for name, port in ports.items()))


def statuses(server: Server) -> list[str]:
    with dial(server.admin_port) as wire:
        wire.send(f"GET /status/cluster/nodes HTTP/1.1\r\nHost: {LOCAL}\r\n\r\n".encode())
        return [node["status"] for node in json.loads(wire.receive_body(wire.receive_head()))]


@maker("wrong token")
def wrong_token(scene: Scene) -> str:
    key = scene.folder / "key"
    key.write_text(SECRET)
    server = scene.fleet.server("--upstream.auth.hmac-secret-key-file", str(key))
    url = f"http://{LOCAL}:{server.upstream_port}"
    right, wrong = (token("web", secret=secret) for secret in (SECRET, OTHER_SECRET))
    assert "FAIL" not in doctor_agent(url, "--connect.token", right, service_port=scene.origin.port)
    return doctor_agent(url, "--connect.token", wrong, service_port=scene.origin.port)


@maker("agent down")
def agent_down(scene: Scene) -> str:
    with two_nodes(scene.fleet) as (first, second):
        agent = scene.fleet.agent(second, "web", scene.origin.port)
        known_at(first, "web")
        agent.stop()
        wait_until(lambda: request(first.proxy_port, "web")[0]["x-pico-error"] == "no-tunnel; by=server", "its end")
        return explain(first, "web")


def failing(scene: Scene, port: int) -> str:
    """Return what is told after one request to a service at ``port`` of the second node's agent."""
    with two_nodes(scene.fleet) as (first, second):
        scene.fleet.agent(second, "web", port, "--timeout", "1s")
        known_at(first, "web")
        return explain(first, "web")


@maker("service down")
def service_down(scene: Scene) -> str:
    return failing(scene, scene.fleet.reserve_port())


@maker("service slow")
def service_slow(scene: Scene) -> str:
    with service(silent) as running:
        return failing(scene, running.port)


@maker("garbage from the service")
def service_garbage(scene: Scene) -> str:
    with service(garbage) as running:
        return failing(scene, running.port)


class GossipRelay:
    """Passes datagrams and streams on to a gossip port, unless it is cut."""

    def __init__(self, port: int, target: int) -> None:
        self.is_cut = False
        self._target = target
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind((LOCAL, port))
        self._socket.settimeout(0.2)
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._closed.is_set():
            with contextlib.suppress(TimeoutError, ConnectionError):
                data, _ = self._socket.recvfrom(65_536)
                if not self.is_cut:
                    self._socket.sendto(data, (LOCAL, self._target))

    def close(self) -> None:
        self._closed.set()
        self._thread.join()
        self._socket.close()


class RelayedNodes(NamedTuple):
    """Two nodes, and what passes on the gossip that is sent to each."""

    first: Server
    second: Server
    to_first: GossipRelay
    to_second: GossipRelay


@contextlib.contextmanager
def relayed_nodes(fleet: Fleet, *common: str) -> Iterator[RelayedNodes]:
    """Two nodes whose gossip to each other goes through relays, on UDP; no streams pass, which repair and greet."""
    with contextlib.ExitStack() as stack:

        def node(*flags: str) -> tuple[Server, GossipRelay]:
            port = stack.enter_context(reserved_port())
            server = fleet.server("--cluster.gossip.advertise-addr", f"{LOCAL}:{port}", *common, *flags)
            relay = GossipRelay(port, server.process.port("gossip"))
            stack.callback(relay.close)
            return server, relay

        first, to_first = node()
        second, to_second = node("--cluster.join", f"{LOCAL}:{first.process.port('gossip')}")
        both = ["active", "active"]
        wait_until(lambda: statuses(first) == both and statuses(second) == both, "two nodes that know each other")
        yield RelayedNodes(first, second, to_first, to_second)


@maker("stale route")
def stale_route(scene: Scene) -> str:
    slow = ("--cluster.gossip.interval", "1s")  # the node is missed only after this scene
    with relayed_nodes(scene.fleet, *slow) as (first, second, to_first, _):
        agent = scene.fleet.agent(second, "web", scene.origin.port)
        known_at(first, "web")
        to_first.is_cut = True
        agent.kill()
        second.process.await_log("tunnel closed")
        return explain(first, "web")


@maker("node draining")
def node_draining(scene: Scene) -> str:
    first = scene.fleet.server()
    joined = ("--cluster.join", f"{LOCAL}:{first.process.port('gossip')}")
    second = scene.fleet.server("--drain-delay", "8s", *joined)
    second.process.signal(signal.SIGTERM)
    second.process.await_log("draining")
    told = explain(first, "web")
    assert second.process.wait() == 0
    return told


@maker("node paused")
def node_paused(scene: Scene) -> str:
    with two_nodes(scene.fleet) as (first, second):
        scene.fleet.agent(second, "web", scene.origin.port)
        known_at(first, "web")
        second.process.signal(signal.SIGSTOP)
        try:
            wait_until(lambda: "unreachable" in statuses(first), "it is missed")
            return explain(first, "web")
        finally:
            second.process.signal(signal.SIGCONT)


@maker("gossip cut one way")
def gossip_cut(scene: Scene) -> str:
    with relayed_nodes(scene.fleet) as (first, _, _, to_second):
        to_second.is_cut = True
        wait_until(lambda: "unreachable" in statuses(first), "it is missed")
        return explain(first, "web")


@maker("DNS wrong")
def wrong_name(scene: Scene) -> str:
    return doctor_agent("http://nowhere.invalid:8001", service_port=scene.origin.port)


@maker("balancer cutting upgrades")
def cutting_balancer(scene: Scene) -> str:
    server = scene.fleet.server()

    def balance(wire: Wire) -> None:
        lines = wire.receive_until(b"\r\n\r\n").split(b"\r\n")
        kept = [line for line in lines if not line.lower().startswith((b"upgrade:", b"connection:"))]
        join(wire, server.upstream_port, b"\r\n".join(kept))

    with service(balance) as balancer:
        return doctor_agent(f"http://{LOCAL}:{balancer.port}", service_port=scene.origin.port)


@maker("endpoint misspelt")
def misspelt(scene: Scene) -> str:
    server = scene.fleet.server()
    scene.fleet.agent(server, "my-endpoint", scene.origin.port)
    return explain(server, "my-endpiont")


@maker("limit reached")
def limit_reached(scene: Scene) -> str:
    began, over = threading.Event(), threading.Event()

    def long(visit: Visit) -> None:
        began.set()
        over.wait(30)
        visit.respond()

    server = scene.fleet.server()
    scene.fleet.agent(server, "web", scene.origin.port, "--max-streams", "1")
    with dial(server.proxy_port) as wire:
        wire.send(request_bytes("web", scene.origin.handle(long)))
        assert began.wait(20)
        told = explain(server, "web")
        over.set()
        assert wire.receive_head().status == 200
    return told


@maker("certificate expired")
def expired(scene: Scene) -> str:
    files = issue(scene.folder, "localhost", days=-1)
    tls = ("--upstream.tls.cert", files.cert, "--upstream.tls.key", files.key)
    server = scene.fleet.server(*tls)
    trust = ("--connect.tls.root-cas", write_authority(scene.folder))
    return doctor_agent(f"https://localhost:{server.upstream_port}", *trust, service_port=scene.origin.port)


@maker("clock wrong")
def wrong_clock(scene: Scene) -> str:
    late = "import time\nright = time.time\ntime.time = lambda: right() - 3600\n"
    (scene.folder / "sitecustomize.py").write_text(late)
    scene.environment.setenv("PYTHONPATH", str(scene.folder))
    server = scene.fleet.server()
    scene.environment.delenv("PYTHONPATH")
    return doctor_agent(f"http://{LOCAL}:{server.upstream_port}", service_port=scene.origin.port)


@maker("full disk for logs")
def full_disk(scene: Scene) -> str:
    server = scene.fleet.server(stdout="/dev/full")

    def is_counted() -> bool:
        """Log another line, with which the node learns how many were lost before."""
        assert request(server.proxy_port, "web")[0].status == 502
        return "pico_log_lines_dropped_total 0" not in metrics(server)

    wait_until(is_counted, "lines are lost")
    return doctor_server(server)


def metrics(server: Server) -> str:
    with dial(server.admin_port) as wire:
        wire.send(f"GET /metrics HTTP/1.1\r\nHost: {LOCAL}\r\n\r\n".encode())
        return wire.receive_body(wire.receive_head()).decode()


@maker("descriptor limit")
def descriptors(scene: Scene) -> str:
    server = scene.fleet.server("--max-address-share", "1", descriptors=96)
    most = int(metrics(server).partition('pico_connections_limit{listener="proxy"} ')[2].split()[0])
    with contextlib.ExitStack() as stack:
        for _ in range(most):
            stack.enter_context(dial(server.proxy_port)).send(b"GET / HTTP/1.1\r\n")
        wait_until(lambda: f'pico_connections{{listener="proxy"}} {most}' in metrics(server), "they are open")
        return doctor_server(server)


@maker("head too large")
def large_head(scene: Scene) -> str:
    server = scene.fleet.server()
    fields = "".join(f"X-{number}: {'x' * 8_000}\r\n" for number in range(256))
    with dial(server.proxy_port) as wire:
        with contextlib.suppress(ConnectionError):  # the server may close before it has read all
            wire.send(request_bytes("web", fields=fields))
        head = wire.receive_head()
    assert head.status == 431
    return explain(server, "--request", head["x-pico-request-id"])


@maker("body cut")
def cut_body(scene: Scene) -> str:
    def cut(visit: Visit) -> None:
        visit.begin("Content-Length: 100\r\n")
        visit.wire.send(b"x" * 10)
        raise HangUpError

    with two_nodes(scene.fleet) as (first, second):
        scene.fleet.agent(second, "web", scene.origin.port)
        known_at(first, "web")
        with dial(first.proxy_port) as wire:
            wire.send(request_bytes("web", scene.origin.handle(cut)))
            assert wire.receive_head().status == 200
            with contextlib.suppress(ConnectionError):
                wire.receive_rest()
        told = explain(first, "web")
        line = next((line for line in told.splitlines() if "  200  " in line), "")
        assert line, told
        return explain(second, "--request", line.split()[-1])


@maker("policy refusal")
def refused(scene: Scene) -> str:
    path = scene.folder / "server.yaml"
    path.write_text("policies:\n  - endpoints: [web]\n    allowed_networks: [192.0.2.0/24]\n")
    server = scene.fleet.server("--config.path", str(path))
    head, _ = request(server.proxy_port, "web")
    assert head.status == 403
    return explain(server, "--request", head["x-pico-request-id"])


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_told(
    fleet: Fleet, origin: Origin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    told = MAKERS[name](Scene(fleet, origin, tmp_path, monkeypatch))
    assert is_told(FAULTS[name].says, told), told
    assert is_told(FAULTS[name].advises, told), told


def test_the_page_has_the_table() -> None:
    assert len(FAULTS) == 20
    assert table() in (ROOT / "docs" / "troubleshooting.md").read_text()
