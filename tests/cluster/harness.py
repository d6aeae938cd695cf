"""Clusters of real processes: nodes that come and go at fixed addresses, and the agents behind them.

Every time in here is a limit or a pace; nothing is guessed to have happened because some time has passed.
"""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from tests.e2e.harness import LOCAL, Lines, Process
from tests.e2e.wire import Wire, receive_response, request
from tests.ports import reserved_port
from tests.waiting import PATIENCE_S, wait_until

Address: TypeAlias = tuple[str, int]
Connect: TypeAlias = Callable[[Address], socket.socket]

PICO = (sys.executable, "-m", "pico_tunnel")

FULL_VIEW_S = 2.0
"""How long a cluster may take to know all its nodes, once they can find each other."""

DETECTION_S = 5.0
"""How long a small cluster may take to call a silent node unreachable."""


def connect(address: Address) -> socket.socket:
    """Connect from the namespace of this process."""
    return socket.create_connection(address, PATIENCE_S)


class Command(Process):
    """A running command line, such as ``pico`` in a namespace of its own."""

    def __init__(self, *command: str, environment: dict[str, str] | None = None) -> None:
        self.arguments = command
        self.stopping = False
        self.popen = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONUNBUFFERED": "1", **(environment or {})},
        )
        assert self.popen.stdout is not None
        assert self.popen.stderr is not None
        self.stdout = Lines(self.popen.stdout)
        self.stderr = Lines(self.popen.stderr)

    def ask_to_stop(self) -> None:
        """Next: ``await_stop``."""
        if self.alive:
            self.stopping = True
            self.signal(signal.SIGCONT)  # a test may have paused it
            self.signal()

    def await_stop(self) -> None:
        """Wait until a process that was asked to stop has left as well as ``stop`` demands it."""
        if not self.stopping:
            self.check()
            return
        try:
            code = self.wait()
        except subprocess.TimeoutExpired:
            self.popen.kill()
            self.wait()
            raise AssertionError(f"{self.arguments} does not stop:\n{self.errors()}") from None
        self.check()
        assert code == 0, f"{self.arguments} left with {code}:\n{self.errors()}"


@dataclass
class Place:
    """Where a node lives. A node that comes back comes back here, unless the place is changed meanwhile."""

    name: str
    host: str
    proxy_port: int = 8000
    upstream_port: int = 8001
    admin_port: int = 8002
    gossip_port: int = 8003
    prefix: tuple[str, ...] = ()
    arguments: tuple[str, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def proxy(self) -> Address:
        return (self.host, self.proxy_port)

    @property
    def upstream(self) -> Address:
        return (self.host, self.upstream_port)

    @property
    def admin(self) -> Address:
        return (self.host, self.admin_port)


class NodeProcess:
    """A server node that can be ended and started again; every start is a new process with a new node ID."""

    def __init__(self, place: Place, reach: Connect = connect) -> None:
        self.place = place
        self.reach = reach
        self.former: list[Command] = []
        self.process = self._start()

    def _start(self) -> Command:
        place = self.place
        return Command(*place.prefix, *PICO, *place.arguments, environment=place.environment)

    @property
    def id(self) -> str:
        return str(self.process.await_log("ready")["node_id"])

    def start(self) -> None:
        """Start again; ``is_ready`` or ``id`` say when it serves."""
        assert not self.process.alive
        self.former.append(self.process)
        self.process = self._start()

    def restart(self) -> float:
        """Stop and start as a rolling update does, until the node is ready; return how long the stop took."""
        began_at = time.monotonic()
        self.process.stop()
        took_s = time.monotonic() - began_at
        self.start()
        wait_until(self.is_ready, f"{self.place.name} ready")
        return took_s

    def is_ready(self) -> bool:
        return ask(self.place.admin, "/ready", self.reach) == 200

    def members(self) -> set[str]:
        """Return the IDs of the other nodes that count as active here, as the log tells it."""
        active: set[str] = set()
        for line in list(self.process.stderr.lines):
            record = json.loads(line)  # a server logs nothing else
            if record["message"] in ("node joined", "node reachable"):
                active.add(record["node"])
            elif record["message"] in ("node left", "node unreachable", "node forgotten"):
                active.discard(record["node"])
        return active

    def upstreams(self) -> int:
        """Return how many upstreams this node knows of in the whole cluster."""
        return sum(row["upstreams"] for row in json.loads(self.fetch("/status/cluster/nodes")))

    def fetch(self, path: str) -> bytes:
        """Return the answer of the admin port."""
        with get(self.place.admin, path, self.reach) as wire:
            head, body = receive_response(wire)
        assert head.status == 200, (path, body)
        return body

    def await_stop(self) -> None:
        """Wait for the end of a node that was asked to stop, and check all its logs."""
        self.process.await_stop()
        for process in self.former:
            process.check()


def get(address: Address, path: str, reach: Connect = connect) -> Wire:
    """Send a GET on a connection of its own, which is returned."""
    wire = Wire(reach(address))
    wire.send(f"GET {path} HTTP/1.1\r\nHost: {address[0]}\r\nConnection: close\r\n\r\n".encode())
    return wire


def ask(address: Address, path: str, reach: Connect = connect) -> int:
    """Return the status of a GET; 0 without an answer."""
    try:
        with get(address, path, reach) as wire:
            wire.socket.settimeout(2.0)
            return wire.receive_head().status
    except (OSError, AssertionError):
        return 0


def await_route(place: Place, endpoint: str, path: str) -> None:
    """Wait until a node on loopback serves requests for an endpoint."""
    wait_until(lambda: request(place.proxy_port, endpoint, path)[0].status == 200, f"a route from {place.name}")


class Cluster:
    """Nodes, and the agents before them. Ends what it started, agents first."""

    def __init__(self, runtime: str) -> None:
        self.runtime = runtime
        self.nodes: list[NodeProcess] = []
        self.agents: list[Command] = []
        self.resources = contextlib.ExitStack()

    def agent(
        self,
        upstream: Address,
        endpoint: str,
        origin: Address,
        prefix: Sequence[str] = (),
        flags: Sequence[str] = (),
        protocol: str = "http",
    ) -> Command:
        """Start an agent and wait until it is registered."""
        process = Command(
            *prefix,
            *PICO,
            *("agent", protocol, endpoint, f"{origin[0]}:{origin[1]}", "--access-log.disable"),
            *("--connect.url", f"http://{upstream[0]}:{upstream[1]}", "--runtime", self.runtime, *flags),
        )
        self.agents.append(process)
        process.await_log("endpoint registered")
        return process

    def holder(self) -> NodeProcess:
        """Return the node that was the first to get a tunnel, once there is one."""
        holders: list[NodeProcess] = []

        def look() -> bool:
            holders.extend(node for node in self.nodes if node.process.logged("tunnel opened"))
            return bool(holders)

        wait_until(look, "a tunnel")
        return holders[0]

    def is_whole(self) -> bool:
        """Return whether each node counts exactly the others as active."""
        ids = {node.id for node in self.nodes if node.process.alive}
        return all(node.members() == ids - {node.id} for node in self.nodes if node.process.alive)

    def await_whole(self, timeout_s: float = PATIENCE_S) -> float:
        """Return how long it took until the cluster was one."""
        began_at = time.monotonic()
        views = [(node.id, node.members()) for node in self.nodes if node.process.alive]
        wait_until(self.is_whole, f"one cluster, of {views}", timeout_s)
        return time.monotonic() - began_at

    def await_upstreams(self, count: int) -> None:
        """Wait until every node knows of that many upstreams, as it must before one can go without a lost request."""
        wait_until(lambda: all(node.upstreams() == count for node in self.nodes), f"{count} upstreams on all nodes")

    def close(self) -> None:
        """Stop everything that runs; all of it must leave well. The resources go last, even if something does not."""
        with contextlib.ExitStack() as stack:
            stack.callback(self.resources.close)
            for node in self.nodes:
                stack.callback(node.await_stop)
            for node in self.nodes:
                stack.callback(node.process.ask_to_stop)
            for agent in self.agents:
                stack.callback(agent.await_stop)
            for agent in self.agents:
                stack.callback(agent.ask_to_stop)


@contextlib.contextmanager
def loopback_cluster(runtime: str, count: int, *flags: str) -> Iterator[Cluster]:
    """A whole cluster of nodes with ports of their own on one address, each told the addresses of all."""
    cluster = Cluster(runtime)
    try:
        ports = [[cluster.resources.enter_context(reserved_port()) for _ in range(4)] for _ in range(count)]
        join = ",".join(f"{LOCAL}:{gossip}" for *_, gossip in ports)
        for index, (proxy, upstream, admin, gossip) in enumerate(ports):
            arguments = (
                *("server", "--runtime", runtime, "--cluster.node-id-prefix", f"n{index}-", "--cluster.join", join),
                *("--proxy.bind-addr", f"{LOCAL}:{proxy}", "--upstream.bind-addr", f"{LOCAL}:{upstream}"),
                *("--admin.bind-addr", f"{LOCAL}:{admin}", "--cluster.gossip.bind-addr", f"{LOCAL}:{gossip}"),
                *("--proxy.access-log.disable", *flags),
            )
            place = Place(f"n{index}", LOCAL, proxy, upstream, admin, gossip, arguments=arguments)
            cluster.nodes.append(NodeProcess(place))
        cluster.await_whole()
        yield cluster
    finally:
        cluster.close()
