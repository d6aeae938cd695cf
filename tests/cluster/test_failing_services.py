"""One of three services of an endpoint is failing: no request that another one can serve fails, and it is avoided."""

import contextlib
import signal
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from tests.cluster.harness import await_route, loopback_cluster
from tests.cluster.load import Load
from tests.e2e.harness import LOCAL
from tests.e2e.origin import Visit
from tests.e2e.wire import Wire
from tests.waiting import PATIENCE_S, wait_until

SLOW_S = 5.0
RECOVERY_S = 10.0
"""How long a service that works again may wait for its share."""

SICK_S = 5.0
"""By then the agent's time limit is over, and the service was tried again after its first pauses."""

CLIENTS = 8
PATH = "/echo"


class EchoService:
    """Answers with the query or the body. Until ``recover`` it may be failing.

    It refuses connections (``down``), is silent (``stopped``), answers late (``slow``), or not in HTTP (``garbage``).
    """

    def __init__(self, sickness: str = "") -> None:
        self.asked_at: list[float] = []
        self._sickness = sickness
        self._recovered = threading.Event()
        self._socket = socket.socket()
        self._socket.bind((LOCAL, 0))
        self.port: int = self._socket.getsockname()[1]
        if sickness != "down":
            self._listen()

    def _listen(self) -> None:
        self._socket.listen(512)
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with Wire(connection) as wire, contextlib.suppress(ConnectionError, AssertionError):
            while True:
                visit = Visit(wire, wire.receive_head())
                self.asked_at.append(time.monotonic())
                if self._sickness and not self._recovered.is_set():
                    if self._sickness == "garbage":
                        wire.send(b"SSH-2.0-OpenSSH_9.2\r\n")
                        return
                    self._recovered.wait(SLOW_S if self._sickness == "slow" else None)
                visit.respond(visit.body() or visit.head.target.partition("?")[2].encode())

    def asked(self, after: float) -> int:
        """Return how many requests came after a time."""
        return sum(at >= after for at in self.asked_at)

    def recover(self) -> None:
        if self._sickness == "down":
            self._listen()
        self._recovered.set()

    def close(self) -> None:
        self._recovered.set()
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()


@contextlib.contextmanager
def services(sickness: str) -> Iterator[list[EchoService]]:
    """Three services, of which the first one is failing."""
    running = [EchoService(sickness), EchoService(), EchoService()]
    try:
        yield running
    finally:
        for each in running:
            each.close()


def one_of_three_is_sick(runtime: str, sickness: str, nodes: int, requests: int) -> None:
    """Let one of three services be failing, or its agent be stopped (``frozen``)."""
    of_services = "" if sickness == "frozen" else sickness
    with loopback_cluster(runtime, nodes, "--drain-delay", "0s") as cluster, services(of_services) as running:
        failing, *well = running
        limit = ("--timeout", "3s") if sickness == "stopped" else ()
        # With two nodes the failing service is alone at the one that clients would find nearest.
        for number, each in enumerate(running):
            place = cluster.nodes[min(number, nodes - 1)].place
            cluster.agent(place.upstream, "e1", (LOCAL, each.port), flags=limit)
        for node in cluster.nodes:
            await_route(node.place, "e1", PATH)
        entries = [node.place.proxy for node in cluster.nodes]
        # What the service perhaps processed is repeated only where that changes nothing.
        methods = ("GET", "POST") if sickness in ("down", "slow") else ("GET",)
        frozen = cluster.agents[0] if sickness == "frozen" else None
        if frozen is not None:
            cluster.await_upstreams(3)
        began_at = time.monotonic()
        with Load("e1", PATH, entries, clients=CLIENTS, pause_s=0.0, methods=methods) as load:
            if frozen is not None:
                load.go_on(requests // 10)
                began_at = time.monotonic()
                frozen.signal(signal.SIGSTOP)
            load.go_on(requests)
            wait_until(lambda: load.begun(began_at + SICK_S) >= 100, "requests after the service was tried again")
            total = sum(each.asked(began_at + 1) for each in running)
            share = failing.asked(began_at + 1) / max(total, 1)
            failing.recover() if frozen is None else frozen.signal(signal.SIGCONT)
            recovered_at = time.monotonic()
            wait_until(
                lambda: (
                    failing.asked(time.monotonic() - 0.5) > min(each.asked(time.monotonic() - 0.5) for each in well) / 3
                ),
                "a fair share for the service that recovered",
                RECOVERY_S,
            )
            recovery_s = time.monotonic() - recovered_at
        load.report(
            f"{runtime}, one of three {sickness}, {nodes} node(s): share {share:.2%}, recovered in {recovery_s:.1f} s"
        )
        load.check(requests)
        assert share < 0.01


@pytest.mark.slow
@pytest.mark.parametrize(("sickness", "nodes"), [("down", 1), ("garbage", 2), ("frozen", 1), ("frozen", 2)])
def test_one_of_three_services_is_sick(runtime: str, sickness: str, nodes: int) -> None:
    one_of_three_is_sick(runtime, sickness, nodes, 1_000)


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("nodes", [1, 2])
@pytest.mark.parametrize("sickness", ["down", "stopped", "slow", "garbage", "frozen"])
def test_ten_thousand_requests_with_one_of_three_services_sick(runtime: str, sickness: str, nodes: int) -> None:
    one_of_three_is_sick(runtime, sickness, nodes, 10_000)


@pytest.mark.slow
@pytest.mark.parametrize("nodes", [1, 2])
def test_a_raw_connection_to_an_agent_that_was_stopped(runtime: str, nodes: int) -> None:
    """It is refused where that agent is the only one, and goes to another one where there is one, at any node."""
    with loopback_cluster(runtime, nodes, "--drain-delay", "0s") as cluster, services("") as (first, second, _):
        entry = cluster.nodes[0].place
        frozen = cluster.agent(cluster.nodes[-1].place.upstream, "t1", (LOCAL, first.port), protocol="tcp")
        cluster.await_upstreams(1)
        assert handshake_status(entry.proxy, "t1") == 101
        frozen.signal(signal.SIGSTOP)
        assert handshake_status(entry.proxy, "t1") == 502
        cluster.agent(entry.upstream, "t1", (LOCAL, second.port), protocol="tcp")
        cluster.await_upstreams(2)
        assert [handshake_status(entry.proxy, "t1") for _ in range(20)] == [101] * 20
        frozen.signal(signal.SIGCONT)


def handshake_status(address: tuple[str, int], endpoint: str) -> int:
    """Return the status that a raw connection's WebSocket handshake is answered with."""
    with Wire(socket.create_connection(address, PATIENCE_S)) as wire:
        wire.send(
            f"GET /_pico/v1/tcp/{endpoint} HTTP/1.1\r\nHost: {LOCAL}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            "Sec-WebSocket-Key: kIqtl8dPEU+ET68+Xzi82g==\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
        )
        return wire.receive_head().status


@pytest.mark.slow
@pytest.mark.parametrize("nodes", [1, 2])
def test_one_of_two_agents_does_not_find_its_service(runtime: str, nodes: int) -> None:
    """By a name that does not resolve (http), or at a port where nothing listens (tcp): the other one serves."""
    with loopback_cluster(runtime, nodes, "--drain-delay", "0s") as cluster, services("down") as (down, up, _):
        entry, other = cluster.nodes[0].place, cluster.nodes[-1].place
        cluster.agent(entry.upstream, "e1", ("no-such-name.invalid", 80))
        cluster.agent(other.upstream, "e1", (LOCAL, up.port))
        cluster.agent(entry.upstream, "t1", (LOCAL, down.port), protocol="tcp")
        cluster.agent(other.upstream, "t1", (LOCAL, up.port), protocol="tcp")
        cluster.await_upstreams(4)
        with Load("e1", PATH, [entry.proxy], clients=4) as load:
            load.go_on(100)
        load.check(100)
        assert [handshake_status(entry.proxy, "t1") for _ in range(20)] == [101] * 20
